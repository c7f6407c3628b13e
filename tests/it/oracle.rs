//! The overlay start path against the pooled one, its oracle: the same program has the same outcome,
//! output and whole memory on both, also in a slot that has run other things before.

use ppwasm_host::{Function, Report, Slot, StartPath, Task};
use ppwasm_proto::{Call, Limits, Value};

use crate::random_programs;
use crate::support::{NOTHING, RunIn, function, host, on_slot_thread, task, value};

const CORPUS: &str = include_str!("python/corpus.py");
/// Seeds of random programs; a seed that ever failed is listed in `SEEDS_KEPT` for ever.
const SEEDS: std::ops::Range<u64> = 0..240;
const SEEDS_KEPT: [u64; 0] = [];
/// Every so many random programs are bundles of their own, with an image of their own.
const BUNDLE_EVERY: u64 = 8;

/// A memory that programs can reach the end of in little time.
fn limits() -> Limits {
    Limits {
        memory_bytes_max: 160 << 20,
        ..Limits::default()
    }
}

/// Asserts that two runs cannot be told apart.
#[track_caller]
fn assert_equal(what: &str, wanted: &Report, found: &Report) {
    assert_eq!(wanted.outcome, found.outcome, "{what}: outcome");
    assert_eq!(wanted.stdout, found.stdout, "{what}: stdout");
    assert_eq!(wanted.stderr, found.stderr, "{what}: stderr");
    assert_eq!(
        wanted.usage.memory_bytes, found.usage.memory_bytes,
        "{what}: memory size"
    );
    assert!(wanted.memory_digest.is_some());
    assert_eq!(wanted.memory_digest, found.memory_digest, "{what}: memory");
}

fn slots() -> (Slot, Slot) {
    let slot = |path| host().slot_with(path).expect("a slot");
    (slot(StartPath::Overlay), slot(StartPath::Pooled))
}

fn program_names() -> Vec<String> {
    let report = host().report(&function(CORPUS, "programs"), task(NOTHING));
    let Value::List(names) = value(&report) else {
        panic!()
    };
    names
        .iter()
        .map(|name| name.to_python_repr().trim_matches('\'').to_owned())
        .collect()
}

#[test]
fn a_corpus_of_programs_runs_the_same_on_both_paths() {
    let names = program_names();
    assert!(names.len() >= 35, "{names:?}");
    on_slot_thread(|| {
        let (mut overlay, mut pooled) = slots();
        let run = |slot: &mut Slot, function: &Function| {
            slot.report(function, task(NOTHING).limits(limits()).hash_memory(true))
        };
        let functions: Vec<Function> = names.iter().map(|name| function(CORPUS, name)).collect();
        let wanted: Vec<Report> = functions
            .iter()
            .map(|function| run(&mut pooled, function))
            .collect();
        for (at, (name, function)) in names.iter().zip(&functions).enumerate() {
            for round in ["first", "second"] {
                let found = run(&mut overlay, function);
                assert_equal(&format!("{name}, {round} run"), &wanted[at], &found);
            }
        }
        // Backwards, so that each comes after another one than before.
        for (at, (name, function)) in names.iter().zip(&functions).enumerate().rev() {
            assert_equal(
                &format!("{name}, backwards"),
                &wanted[at],
                &run(&mut overlay, function),
            );
        }
    });
}

/// All programs in one function image: the slot puts the same image back after very different calls.
#[test]
fn one_image_runs_a_corpus_of_programs_the_same_on_both_paths() {
    let dispatch = function(
        &format!("{CORPUS}\ndef by_name(name): return globals()[name]()"),
        "by_name",
    );
    let names = program_names();
    on_slot_thread(|| {
        let (mut overlay, mut pooled) = slots();
        let run = |slot: &mut Slot, name: &str| {
            slot.report(&dispatch, task([name]).limits(limits()).hash_memory(true))
        };
        for name in &names {
            assert_equal(name, &run(&mut pooled, name), &run(&mut overlay, name));
        }
    });
}

#[test]
fn random_programs_run_the_same_on_both_paths() {
    let run = function(CORPUS, "run");
    let between = function("def f(x): return x + 1", "f");
    let seeds: Vec<u64> = SEEDS_KEPT.into_iter().chain(SEEDS).collect();
    // Two threads, each with slots of its own, as a worker has them.
    std::thread::scope(|scope| {
        for part in seeds.chunks(seeds.len().div_ceil(2)) {
            let (run, between) = (&run, &between);
            scope.spawn(move || {
                on_slot_thread(|| {
                    let (mut overlay, mut pooled) = slots();
                    let mut ended_well = 0;
                    for &seed in part {
                        let source = random_programs::program(seed);
                        let (function, call) = if seed % BUNDLE_EVERY == 0 {
                            (function(&source, "run"), Call::new())
                        } else {
                            (run.clone(), Call::with_args([source.as_str()]))
                        };
                        let task = || Task::new(call.clone()).limits(limits()).hash_memory(true);
                        let first = overlay.report(&function, task());
                        let second = overlay.report(&function, task());
                        let oracle = pooled.report(&function, task());
                        let what = format!("seed {seed}\n{source}\n");
                        assert_equal(&format!("{what}first run"), &oracle, &first);
                        assert_equal(&format!("{what}second run"), &oracle, &second);
                        if seed % 5 == 0 {
                            assert_eq!(overlay.call(between, [seed]), (seed + 1).to_string());
                            let third = overlay.report(&function, task());
                            assert_equal(&format!("{what}after another"), &oracle, &third);
                        }
                        ended_well += usize::from(matches!(
                            oracle.outcome,
                            ppwasm_proto::Outcome::Succeeded { .. }
                        ));
                    }
                    // Programs that only fail would prove little.
                    assert!(
                        ended_well * 10 > part.len() * 9,
                        "{ended_well} of {}",
                        part.len()
                    );
                });
            });
        }
    });
}
