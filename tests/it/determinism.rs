//! The same task gives the same bytes and the same memory; another task has another random stream; time
//! moves by rule. Real time is asked for, and then differs.

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ppwasm_host::wasi::STEP_NS;
use ppwasm_host::{Function, Host, Report, Task, TimeSource};
use ppwasm_proto::{Call, JobId, Outcome, TaskId, TaskIdentity, Value};

use crate::support::{
    NOTHING, RunIn, function, function_on, on_both_paths, on_slot_thread, returned, task, task_of,
    value,
};

const SOURCE: &str = include_str!("python/determinism.py");
/// 2024-02-29 12:00:00 UTC.
const START_NS: u64 = 1_709_208_000_000_000_000;

fn identity(job: u8, task: u64) -> TaskIdentity {
    TaskIdentity::new(JobId::from_bytes([job; 16]), TaskId(task))
}

fn of(identity: TaskIdentity) -> Task {
    task_of(Call::new())
        .identity(identity)
        .time(TimeSource::Deterministic { start_ns: START_NS })
        .hash_memory(true)
}

fn assert_same(first: &Report, second: &Report) {
    assert_eq!(first.outcome, second.outcome);
    assert_eq!(first.stdout, second.stdout);
    assert_eq!(first.stderr, second.stderr);
    assert!(first.memory_digest.is_some());
    assert_eq!(first.memory_digest, second.memory_digest);
}

#[test]
fn the_same_task_gives_the_same_bytes_and_memory() {
    // Two hosts, as two machines would be.
    let hosts = [(); 2].map(|()| Host::builder().slots(1).build().expect("a host"));
    let run = |host: &Host| {
        let everything = function_on(host, SOURCE, "everything");
        [(), ()].map(|()| host.run(&everything, of(identity(1, 1))).expect("runs"))
    };
    let [first, second] = run(&hosts[0]);
    let [third, fourth] = run(&hosts[1]);
    let Value::Dict(seen) = value(&first) else {
        panic!()
    };
    assert!(seen.len() > 15, "{seen:?}");
    for other in [second, third, fourth] {
        assert_same(&first, &other);
    }
}

#[test]
fn loading_gives_the_same_image_on_every_host() {
    let hosts = [(); 2].map(|()| Host::builder().slots(1).build().expect("a host"));
    let images = hosts.map(|host| function_on(&host, SOURCE, "everything").image().to_bytes());
    assert!(!images[0].is_empty());
    assert_eq!(images[0], images[1]);
}

/// The values that differ between tasks, by name.
fn streams(report: &Report) -> Vec<(String, String)> {
    let Value::Dict(seen) = value(report) else {
        panic!()
    };
    seen.iter()
        .map(|(name, value)| (name.to_python_repr(), value.to_python_repr()))
        .collect()
}

#[test]
fn another_task_has_another_random_stream() {
    let random = function(SOURCE, "random_streams");
    on_both_paths(|slot| {
        let tasks = [
            identity(1, 1),
            identity(1, 2),
            identity(2, 1),
            identity(1, u64::MAX),
        ];
        let reports = tasks.map(|identity| streams(&slot.report(&random, of(identity))));
        for at in 0..reports[0].len() {
            let name = &reports[0][at].0;
            let values: BTreeSet<&str> = reports.iter().map(|r| r[at].1.as_str()).collect();
            assert_eq!(values.len(), tasks.len(), "{name}: {values:?}");
        }
        // And each its own again.
        for (identity, wanted) in tasks.into_iter().zip(&reports) {
            assert_eq!(&streams(&slot.report(&random, of(identity))), wanted);
        }
    });
}

/// A generator with a seed of its own gives Python's numbers whatever the task.
#[test]
fn a_seed_of_the_programs_own_holds() {
    let seeded = function(SOURCE, "seeded");
    on_both_paths(|slot| {
        for task in 0..2 {
            let report = slot.report(&seeded, of(identity(3, task)));
            assert_eq!(
                returned(&report),
                "[0.32383276483316237, 0.32383276483316237]"
            );
        }
    });
}

#[test]
fn hashes_of_text_are_fixed() {
    let hashes = function(SOURCE, "hashes");
    on_both_paths(|slot| {
        let first = slot.report(&hashes, of(identity(1, 1)));
        let second = slot.report(&hashes, of(identity(2, 2)));
        assert_eq!(returned(&first), returned(&second));
        // Recorded: another value would change the order of every set of text.
        assert_eq!(returned(&first), "[-941050884, -941050884, 0]");
    });
}

#[test]
fn the_clock_starts_at_the_submit_time_and_moves_by_rule() {
    let clock = function(SOURCE, "clock");
    on_both_paths(|slot| {
        for start_ns in [START_NS, 0, 1] {
            let time = TimeSource::Deterministic { start_ns };
            let report = slot.report(&clock, task(NOTHING).time(time));
            let wanted = format!(
                "[{start_ns}, {STEP_NS}, {STEP_NS}, {}]",
                86_400_000_000_000 + STEP_NS
            );
            assert_eq!(returned(&report), wanted);
        }
    });
    let calendar = function(SOURCE, "calendar");
    on_both_paths(|slot| {
        let report = slot.report(&calendar, of(identity(1, 1)));
        assert_eq!(
            returned(&report),
            "['2024-02-29T12:00:00', 'Thu Feb 29 12:00:00 2024']"
        );
    });
}

#[test]
fn a_sleep_takes_no_time() {
    let sleeps = function(SOURCE, "sleeps");
    on_both_paths(|slot| {
        let began = Instant::now();
        let report = slot.report(&sleeps, of(identity(1, 1)));
        assert_eq!(returned(&report), "True");
        // It sleeps for two days.
        assert!(began.elapsed() < Duration::from_secs(30));
    });
}

fn now_ns() -> u128 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_nanos()
}

#[test]
fn real_time_and_entropy_are_the_machines() {
    let real = function(SOURCE, "real");
    let random = function(SOURCE, "random_streams");
    on_both_paths(|slot| {
        let mut run =
            |function: &Function| slot.report(function, of(identity(1, 1)).time(TimeSource::Real));
        let before = now_ns();
        let report = run(&real);
        let after = now_ns();
        let Value::List(seen) = value(&report) else {
            panic!()
        };
        let told: u128 = seen[0].to_python_repr().parse().expect("a number");
        assert!((before..=after).contains(&told), "{before} {told} {after}");
        assert_eq!(
            seen[1].to_python_repr(),
            "True",
            "a sleep in real time takes that time"
        );
        assert!(after - before >= 50_000_000);
        let (first, second) = (streams(&run(&random)), streams(&run(&random)));
        for (one, other) in first.iter().zip(&second) {
            assert_ne!(one, other);
        }
    });
}

/// Captured values and arguments in another order are another program; in the same order they are the same.
#[test]
fn keyword_arguments_keep_their_order() {
    let names = function("def names(**kwargs): return list(kwargs)", "names");
    on_slot_thread(|| {
        let mut slot = crate::support::host().slot().expect("a slot");
        let call = Call::new()
            .with_kwarg("z", 1)
            .with_kwarg("a", 2)
            .with_kwarg("m", 3);
        let report = slot.report(&names, task_of(call));
        assert_eq!(returned(&report), "['z', 'a', 'm']");
        assert!(matches!(report.outcome, Outcome::Succeeded { .. }));
    });
}
