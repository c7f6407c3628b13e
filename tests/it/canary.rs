//! Nothing of a call is left for the next one in the same slot: whatever it planted wherever Python
//! keeps something, and however it ended.

use ppwasm_host::{Function, Slot, Task};
use ppwasm_proto::{Call, LimitKind, Limits, Outcome, TrapCause, Value};

use crate::support::{NOTHING, RunIn, function, on_both_paths, returned, task, task_of, value};

const SOURCE: &str = include_str!("python/canary.py");

/// A task that plants and then ends as `mode` says.
fn planting(mode: &str) -> Task {
    let limits = Limits {
        stdout_bytes_max: 1 << 10,
        result_bytes_max: 1 << 10,
        ..Limits::default()
    };
    task([mode]).limits(limits).stdin(&b"canary"[..])
}

fn looking() -> Task {
    task(["look"]).hash_memory(true)
}

/// Every probe sees a difference right after its own planter: none of them is blind.
#[test]
fn every_probe_sees_its_canary() {
    let names = function(SOURCE, "names");
    let plant_one = function(SOURCE, "plant_one");
    on_both_paths(|slot| {
        let Value::List(names) = value(&slot.report(&names, task(NOTHING))) else {
            panic!()
        };
        assert!(names.len() > 25, "{} probes", names.len());
        let blind: Vec<String> = names
            .into_iter()
            .filter_map(|name| {
                let shown = name.to_python_repr();
                let planting = task_of(Call::with_args([name])).stdin(&b"canary"[..]);
                let report = slot.report(&plant_one, planting);
                let Value::List(seen) = value(&report) else {
                    panic!("{shown}")
                };
                (seen[0] == seen[1]).then_some(shown)
            })
            .collect();
        assert!(
            blind.is_empty(),
            "probes that do not see their own canary: {blind:?}"
        );
    });
}

/// Whether a call ended as it should.
type Ended = fn(&Outcome) -> bool;

/// What is seen, and the whole memory, after a call that did `before`.
fn look_after(slot: &mut Slot, look: &Function, before: &str) -> (Value, String) {
    let report = slot.report(look, looking());
    let digest = report
        .memory_digest
        .expect("a digest was asked for")
        .to_string();
    assert_eq!(report.stdout, b"", "output of another call, after {before}");
    assert_eq!(report.stderr, b"", "output of another call, after {before}");
    (value(&report), digest)
}

fn assert_same(before: &Value, after: &Value, mode: &str) {
    let (Value::Dict(before), Value::Dict(after)) = (before, after) else {
        panic!()
    };
    for ((name, was), (_, is)) in before.iter().zip(after) {
        let (name, was, is) = (
            name.to_python_repr(),
            was.to_python_repr(),
            is.to_python_repr(),
        );
        assert_eq!(was, is, "{name} differs after a call that ended by {mode}");
    }
}

#[test]
fn no_canary_is_found_by_the_next_call() {
    let canary = function(SOURCE, "canary");
    // The same probes in another bundle, so another image.
    let other = function(&format!("{SOURCE}\nother = True\n"), "canary");
    let modes: [(&str, Ended); 6] = [
        ("return", |outcome| {
            matches!(outcome, Outcome::Succeeded { .. })
        }),
        (
            "raise",
            |outcome| matches!(outcome, Outcome::Raised(error) if error.type_name == "RuntimeError"),
        ),
        (
            "exit politely",
            |outcome| matches!(outcome, Outcome::Raised(error) if error.exit_code == Some(3)),
        ),
        ("exit", |outcome| {
            matches!(
                outcome,
                Outcome::Trapped {
                    cause: TrapCause::Exit { code: 3 }
                }
            )
        }),
        ("print", |outcome| {
            matches!(
                outcome,
                Outcome::LimitExceeded {
                    limit: LimitKind::Stdout,
                    ..
                }
            )
        }),
        ("return too much", |outcome| {
            matches!(
                outcome,
                Outcome::LimitExceeded {
                    limit: LimitKind::Result,
                    ..
                }
            )
        }),
    ];
    on_both_paths(|slot| {
        let (first, digest) = look_after(slot, &canary, "nothing");
        let (first_other, digest_other) = look_after(slot, &other, "nothing");
        for (mode, ended) in modes {
            // Twice, so that a slot that keeps its pages has some to put back.
            for _ in 0..2 {
                let report = slot.report(&canary, planting(mode));
                assert!(ended(&report.outcome), "{mode}: {:?}", report.outcome);
                let (seen, memory) = look_after(slot, &canary, mode);
                assert_same(&first, &seen, mode);
                assert_eq!(memory, digest, "memory differs after {mode}");
            }
            let report = slot.report(&canary, planting(mode));
            assert!(ended(&report.outcome), "{mode}: {:?}", report.outcome);
            let (seen, memory) = look_after(slot, &other, mode);
            assert_same(&first_other, &seen, mode);
            assert_eq!(memory, digest_other, "memory differs after {mode}");
        }
    });
}

/// What loading a bundle changed is in its own image and in no other.
#[test]
fn no_canary_of_one_function_is_found_by_another() {
    let look = function(SOURCE, "canary");
    let planted = format!("{SOURCE}\nfor plant, _ in PROBES.values():\n    plant()\n");
    on_both_paths(|slot| {
        let (first, digest) = look_after(slot, &look, "nothing");
        let loaded = function(&planted, "names");
        assert!(returned(&slot.report(&loaded, task(NOTHING))).contains("allocator"));
        let (seen, memory) = look_after(slot, &look, "another function");
        assert_same(&first, &seen, "another function");
        assert_eq!(memory, digest);
    });
}
