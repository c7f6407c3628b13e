//! Sandboxes that check their accesses and reserve little: what small address spaces get. They run as the others do,
//! to the last bit of memory, also when their memory grows out of what was reserved for it and moves.

use std::sync::LazyLock;

use ppwasm_host::{Bounds, Function, Host, Report, StartPath};
use ppwasm_proto::Limits;

use crate::support::{NOTHING, PATHS, RunIn, function, function_on, host, on_slot_thread, task};

const CORPUS: &str = include_str!("python/corpus.py");

static CHECKED: LazyLock<Host> = LazyLock::new(|| {
    let builder = Host::builder().bounds(Bounds::Checked).slots(1);
    builder.build().expect("a host")
});

/// Runs a program of the corpus with little memory on both kinds of host; both reports.
fn run_both(program: &str, memory_bytes_max: u64, path: StartPath) -> [Report; 2] {
    let limits = || Limits {
        memory_bytes_max,
        ..Limits::default()
    };
    let run = |host: &Host, function: &Function| {
        let mut slot = host.slot_with(path).expect("a slot");
        // The second call finds what the first one left, if anything.
        let task = || task(NOTHING).limits(limits()).hash_memory(true);
        let first = slot.report(function, task());
        let second = slot.report(function, task());
        assert_eq!(first.outcome, second.outcome, "{program} twice");
        assert_eq!(first.memory_digest, second.memory_digest, "{program} twice");
        second
    };
    let guarded = function(CORPUS, program);
    let checked = function_on(&CHECKED, CORPUS, program);
    assert_eq!(guarded.image().digest(), checked.image().digest());
    on_slot_thread(|| [run(host(), &guarded), run(&CHECKED, &checked)])
}

#[test]
fn checked_sandboxes_run_the_same_as_guarded_ones() {
    assert_eq!(CHECKED.target().bounds(), Bounds::Checked);
    assert!(CHECKED.target().name().ends_with("-checked"));
    for &path in PATHS {
        // The last two leave what is reserved, up to their limit.
        for (program, mib) in [
            ("classes", 512),
            ("floats", 512),
            ("recursion", 512),
            ("raises", 512),
            ("growing", 512),
            ("growing_and_keeping", 512),
            ("out_of_memory", 300),
            ("out_of_memory_uncaught", 300),
        ] {
            let [guarded, checked] = run_both(program, mib << 20, path);
            assert_eq!(guarded.outcome, checked.outcome, "{program}, {path:?}");
            assert!(guarded.memory_digest.is_some());
            assert_eq!(
                guarded.memory_digest, checked.memory_digest,
                "{program}, {path:?}"
            );
            assert_eq!(guarded.usage.memory_bytes, checked.usage.memory_bytes);
            if program == "out_of_memory" {
                assert!(checked.usage.memory_bytes > 250 << 20, "it did not move");
            }
        }
    }
}
