//! A host that runs for long keeps its size: calls and functions leave nothing behind in the process.
//!
//! Each test runs in a process of its own, where nothing else allocates.

use std::fs;

use ppwasm_host::{Host, StartPath};

use crate::children::{Child, alone, child_of};
use crate::support::{PATHS, RunIn, function_on, on_slot_thread, returned, task};

const DOUBLE: &str = "state = []\ndef double(x):\n    state.append([x] * 100)\n    return 2 * x\n";

/// Resident memory of this process in KiB.
fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .expect("a size");
    line.split_whitespace()
        .nth(1)
        .and_then(|kib| kib.parse().ok())
        .expect("a number")
}

/// Mappings of this process, and descriptors open on memory files.
fn mappings_and_memory_files() -> (usize, usize) {
    let mappings = fs::read_to_string("/proc/self/maps")
        .expect("Linux")
        .lines()
        .count();
    let files = fs::read_dir("/proc/self/fd")
        .expect("Linux")
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .filter(|target| target.to_string_lossy().contains("memfd:"))
        .count();
    (mappings, files)
}

fn run_many(path: StartPath, calls: u64) {
    let host = Host::builder().slots(0).build().expect("a host");
    let double = function_on(&host, DOUBLE, "double");
    on_slot_thread(|| {
        let mut slot = host.slot_with(path).expect("a slot");
        let mut run = |calls: u64| {
            for x in 0..calls {
                let report = slot.report(&double, task([x]));
                assert_eq!(returned(&report), (2 * x).to_string());
            }
        };
        run(calls / 10);
        let (before, mappings) = (resident_kib(), mappings_and_memory_files());
        run(calls);
        let (after, mappings_after) = (resident_kib(), mappings_and_memory_files());
        let grown = after.saturating_sub(before);
        assert!(grown < 4 << 10, "{path:?}: {calls} calls left {grown} KiB");
        assert!(
            mappings_after.0 <= mappings.0 + 8,
            "{mappings:?} {mappings_after:?}"
        );
        assert_eq!(mappings_after.1, mappings.1, "memory files");
    });
}

#[test]
fn calls_do_not_grow_the_process() {
    alone("bounded::calls_do_not_grow_the_process", || {
        for &path in PATHS {
            let calls = match path {
                StartPath::Pooled => 5_000,
                _ => 20_000,
            };
            run_many(path, calls);
        }
    });
}

#[test]
fn functions_that_are_dropped_leave_nothing() {
    const TEST: &str = "bounded::functions_that_are_dropped_leave_nothing";
    if child_of(TEST).is_none() {
        // Images go back to the system when they are freed: what the C library would keep of them, some rounds 10 MiB and
        // some 26 and never more, is not what this is about.
        Child::of_test(TEST)
            .env("MALLOC_MMAP_THRESHOLD_", "65536")
            .succeeds();
        return;
    }
    let host = Host::builder().slots(1).build().expect("a host");
    let round = |first: u64| {
        let functions: Vec<_> = (first..first + 30)
            .map(|number| {
                let size = number % 100 * 1_000;
                let source =
                    format!("n = {number}\nblock = [0] * {size}\ndef f(x): return n + x\n");
                function_on(&host, &source, "f")
            })
            .collect();
        for (number, function) in (first..).zip(&functions) {
            assert_eq!((&host).call(function, [1]), (number + 1).to_string());
        }
        let bytes: usize = functions.iter().map(|f| f.image().page_bytes().len()).sum();
        assert!(
            bytes > 8 << 20,
            "images of {bytes} bytes in all prove nothing"
        );
        mappings_and_memory_files()
    };
    round(0);
    let held = round(100);
    let before = (resident_kib(), mappings_and_memory_files());
    for number in 2..10 {
        round(number * 100);
    }
    let after = (resident_kib(), mappings_and_memory_files());
    // Each round loads images of over 8 MiB; the allocator may keep some of the small things.
    let grown = after.0.saturating_sub(before.0);
    assert!(grown < 16 << 10, "functions left {grown} KiB");
    assert!(
        after.1.0 <= before.1.0 + 8,
        "mappings: {before:?} {after:?}"
    );
    assert_eq!(after.1.1, before.1.1, "memory files: {before:?} {after:?}");
    // While they are held, each has its memory file where there are such: the count above means something.
    let has_files = PATHS.contains(&StartPath::Overlay);
    let files = if has_files { 25 } else { 0 };
    assert!(held.1 >= before.1.1 + files, "{held:?} {before:?}");
}

/// Slots that come and go, and guests that are thrown away after a trap.
#[test]
fn slots_and_trapped_guests_leave_nothing() {
    alone("bounded::slots_and_trapped_guests_leave_nothing", || {
        let host = Host::builder().slots(0).build().expect("a host");
        let double = function_on(&host, DOUBLE, "double");
        let exit = function_on(&host, "import os\ndef exit(): os._exit(3)\n", "exit");
        let round = || {
            for &path in PATHS {
                on_slot_thread(|| {
                    let mut slot = host.slot_with(path).expect("a slot");
                    for _ in 0..20 {
                        assert_eq!(slot.call(&double, [2]), "4");
                        crate::support::trapped(&slot.report(&exit, task([0; 0])));
                    }
                });
            }
            (resident_kib(), mappings_and_memory_files())
        };
        round();
        let before = round();
        let mut after = before;
        for _ in 0..10 {
            after = round();
        }
        let grown = after.0.saturating_sub(before.0);
        assert!(grown < 8 << 10, "slots left {grown} KiB");
        assert!(
            after.1.0 <= before.1.0 + 8,
            "mappings: {before:?} {after:?}"
        );
        assert_eq!(after.1.1, before.1.1, "memory files: {before:?} {after:?}");
    });
}
