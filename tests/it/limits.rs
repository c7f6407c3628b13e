//! Every limit ends a call with an outcome that names it, and the next call in the same slot is right.

use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use ppwasm_host::{
    CancelToken, Function, Host, HostError, Report, Slot, StartPath, Task, TimeSource,
};
use ppwasm_proto::{Call, LimitKind, Limits, Outcome, TrapCause, Value};

use crate::support::{
    NOTHING, PATHS, RunIn, exceeded, function, host, machine, on_both_paths, on_slot_thread,
    raised, returned, task, task_of, trapped,
};

const SOURCE: &str = include_str!("python/limits.py");

/// What is promised: so long after its limit, or after a cancel, a call has ended.
const PROMISED: Duration = Duration::from_millis(100);
/// No attempt takes longer than this, however busy the machine is.
const NEVER_LATER: Duration = Duration::from_secs(5);
/// Attempts on a busy machine, one of which has to keep the promise.
const ATTEMPTS: u32 = 12;

/// Calls that compute without end: in Python, in the interpreter's C code, in a library's.
const SPINS: [&str; 19] = [
    "python_loop",
    "loop_that_catches_everything",
    "generator_in_c",
    "sum_in_c",
    "huge_power",
    "huge_text",
    "regular_expression",
    "sorting",
    "sorting_once",
    "hashing",
    "query",
    "copying",
    "searching",
    "compressing",
    "growing_again_and_again",
    "host_calls",
    "random_bytes",
    "scratch_writes",
    "sleeping_by_rule",
];
/// Calls that sleep without end when time is real.
const SLEEPS: [&str; 3] = ["sleep", "sleep_in_select", "sleep_again_and_again"];

/// Asserts that the slot still works: a call in it is right.
#[track_caller]
fn assert_sound(slot: &mut Slot, add: &Function, after: &str) {
    assert_eq!(slot.call(add, [20, 22]), "42", "after {after}");
}

/// Calls that ended later than promised.
#[derive(Default)]
struct Late(Vec<String>);

impl Late {
    /// Repeats `attempt`, which tells how late a call ended, until once it was in time.
    fn measure(&mut self, what: &str, mut attempt: impl FnMut() -> Duration) {
        let mut best = Duration::MAX;
        for _ in 0..ATTEMPTS {
            let late = attempt();
            best = best.min(late);
            if late > NEVER_LATER {
                self.0.push(format!("{what} ended {late:?} late"));
                return;
            }
            if best <= PROMISED {
                return;
            }
        }
        self.0.push(format!("{what} ended {best:?} late at best"));
    }

    #[track_caller]
    fn assert_none(self) {
        assert!(self.0.is_empty(), "{}", self.0.join("; "));
    }
}

/// A call with real time, in which a sleep is a sleep.
fn real(call: Call, limits: Limits) -> Task {
    task_of(call).limits(limits).time(TimeSource::Real)
}

#[test]
fn a_call_that_spins_ends_at_its_wall_time_limit() {
    let _quiet = machine();
    let add = function(SOURCE, "add");
    let limit = Duration::from_millis(300);
    let limits = Limits {
        wall_time_max: limit,
        ..Limits::default()
    };
    on_both_paths(|slot| {
        let mut late = Late::default();
        for name in SPINS {
            let spin = function(SOURCE, name);
            late.measure(name, || {
                let report = slot.report(&spin, task(NOTHING).limits(limits));
                assert_eq!(exceeded(&report), (LimitKind::WallTime, 300), "{name}");
                assert_sound(slot, &add, name);
                report
                    .usage
                    .wall_time
                    .checked_sub(limit)
                    .expect("not before its limit")
            });
        }
        late.assert_none();
    });
}

#[test]
fn a_call_that_sleeps_ends_at_its_wall_time_limit() {
    let _quiet = machine();
    let add = function(SOURCE, "add");
    let limit = Duration::from_millis(50);
    let limits = Limits {
        wall_time_max: limit,
        ..Limits::default()
    };
    on_both_paths(|slot| {
        let mut late = Late::default();
        for name in SLEEPS {
            let sleep = function(SOURCE, name);
            late.measure(name, || {
                let report = slot.report(&sleep, real(Call::new(), limits));
                assert_eq!(exceeded(&report), (LimitKind::WallTime, 50), "{name}");
                assert_sound(slot, &add, name);
                report
                    .usage
                    .wall_time
                    .checked_sub(limit)
                    .expect("not before its limit")
            });
        }
        late.assert_none();
    });
}

/// CPU time that the calling thread has used.
fn thread_cpu_time() -> Duration {
    // The first number is the time on a CPU in nanoseconds.
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    Duration::from_nanos(
        text.split(' ')
            .next()
            .and_then(|ns| ns.parse().ok())
            .expect("a number"),
    )
}

#[test]
fn a_call_that_computes_ends_at_its_cpu_time_limit() {
    let _quiet = machine();
    let add = function(SOURCE, "add");
    let limit = Duration::from_millis(100);
    let limits = Limits {
        cpu_time_max: limit,
        ..Limits::default()
    };
    on_both_paths(|slot| {
        let mut late = Late::default();
        for name in ["python_loop", "sum_in_c", "regular_expression"] {
            let spin = function(SOURCE, name);
            assert_sound(slot, &add, name);
            late.measure(name, || {
                let before = thread_cpu_time();
                let report = slot.report(&spin, task(NOTHING).limits(limits));
                assert_eq!(exceeded(&report), (LimitKind::CpuTime, 100), "{name}");
                (thread_cpu_time() - before).saturating_sub(limit)
            });
            assert_sound(slot, &add, name);
        }
        late.assert_none();
    });
}

/// Sleeping costs no CPU time; it does cost wall time.
#[test]
fn a_sleep_costs_no_cpu_time() {
    let sleep_for = function(SOURCE, "sleep_for");
    let limits = Limits {
        cpu_time_max: Duration::from_millis(150),
        ..Limits::default()
    };
    on_both_paths(|slot| {
        let report = slot.report(&sleep_for, real(Call::with_args([0.3]), limits));
        assert_eq!(returned(&report), "True");
        assert!(report.usage.wall_time >= Duration::from_millis(300));
    });
}

/// The shorter of the two limits is the one that ends a call.
#[test]
fn wall_and_cpu_time_are_told_apart() {
    let spin = function(SOURCE, "python_loop");
    let millis = Duration::from_millis;
    on_both_paths(|slot| {
        let mut end = |wall, cpu| {
            let limits = Limits {
                wall_time_max: wall,
                cpu_time_max: cpu,
                ..Limits::default()
            };
            exceeded(&slot.report(&spin, task(NOTHING).limits(limits)))
        };
        assert_eq!(end(millis(30), millis(60_000)), (LimitKind::WallTime, 30));
        assert_eq!(end(millis(60_000), millis(30)), (LimitKind::CpuTime, 30));
        assert_eq!(end(millis(1), millis(1)), (LimitKind::WallTime, 1));
    });
}

/// One copy or fill of more than a GiB ends in its midst: the guest makes them in pieces.
#[test]
fn a_long_copy_ends_in_its_midst() {
    let _quiet = machine();
    let add = function(SOURCE, "add");
    let limits = Limits {
        memory_bytes_max: 2 << 30,
        ..Limits::default()
    };
    on_both_paths(|slot| {
        let mut late = Late::default();
        for name in ["filling_at_once", "copying_at_once"] {
            let function = function(SOURCE, name);
            late.measure(name, || {
                let cancelled = cancel_after_beginning(
                    slot,
                    &function,
                    TimeSource::Deterministic { start_ns: 0 },
                    limits,
                );
                assert_sound(slot, &add, name);
                // Not until it is put away: giving back that much memory takes its time.
                let Cancelled { began, at, report } = cancelled;
                (began + report.usage.wall_time).saturating_duration_since(at)
            });
        }
        late.assert_none();
    });
}

/// A call that was cancelled: just before it began, when it was cancelled, and what became of it.
struct Cancelled {
    began: Instant,
    at: Instant,
    report: Report,
}

/// Starts a call and cancels it when it has said that it has begun.
fn cancel_after_beginning(
    slot: &mut Slot,
    function: &Function,
    time: TimeSource,
    limits: Limits,
) -> Cancelled {
    let cancel = CancelToken::new();
    let (begun, begins) = sync_channel(1);
    let task = task(NOTHING)
        .limits(limits)
        .time(time)
        .cancel_token(cancel.clone())
        .output_sink(Box::new(move |_, _| {
            begun.send(()).expect("somebody waits")
        }));
    std::thread::scope(|scope| {
        let canceller = scope.spawn(move || {
            begins
                .recv_timeout(Duration::from_secs(60))
                .expect("the call begins");
            cancel.cancel();
            Instant::now()
        });
        let began = Instant::now();
        let report = slot.report(function, task);
        assert_eq!(report.outcome, Outcome::Cancelled);
        let at = canceller.join().expect("no panic");
        Cancelled { began, at, report }
    })
}

/// Starts a call, cancels it when it has begun, and tells how long it took from there to end.
fn cancelled_after_beginning(slot: &mut Slot, function: &Function, time: TimeSource) -> Duration {
    let cancelled = cancel_after_beginning(slot, function, time, Limits::default());
    Instant::now().saturating_duration_since(cancelled.at)
}

#[test]
fn a_call_that_runs_or_sleeps_ends_when_it_is_cancelled() {
    let _quiet = machine();
    let add = function(SOURCE, "add");
    let by_rule = TimeSource::Deterministic { start_ns: 0 };
    let spins = SPINS.map(|name| (name, by_rule));
    let sleeps = SLEEPS.map(|name| (name, TimeSource::Real));
    on_both_paths(|slot| {
        let mut late = Late::default();
        for (name, time) in spins.into_iter().chain(sleeps) {
            let function = function(SOURCE, name);
            late.measure(name, || {
                let after = cancelled_after_beginning(slot, &function, time);
                assert_sound(slot, &add, name);
                after
            });
        }
        late.assert_none();
    });
}

#[test]
fn a_call_that_was_cancelled_before_does_not_start() {
    let add = function(SOURCE, "add");
    let print = function(SOURCE, "write");
    on_both_paths(|slot| {
        let cancel = CancelToken::new();
        cancel.cancel();
        let report = slot.report(&print, task([1, 5]).cancel_token(cancel));
        assert_eq!(report.outcome, Outcome::Cancelled);
        assert_eq!(report.stdout, b"");
        assert_sound(slot, &add, "a cancel");
    });
}

/// A call that waits for a slot ends when it is cancelled, though the slot stays busy.
#[test]
fn a_call_that_waits_for_a_slot_ends_when_it_is_cancelled() {
    let host = Host::builder().slots(1).build().expect("a host");
    let spin = host
        .load(&crate::support::bundle(SOURCE, "python_loop"))
        .expect("loads");
    let add = host
        .load(&crate::support::bundle(SOURCE, "add"))
        .expect("loads");
    let busy = host.start(&spin, task(NOTHING));
    let before = host.start(&add, task([1, 1]));
    let waiting = host.start(&add, task([1, 2]));
    let behind = host.start(&add, task([1, 3]));
    waiting.cancel();
    assert_eq!(waiting.wait().expect("runs").outcome, Outcome::Cancelled);
    busy.cancel();
    assert_eq!(busy.wait().expect("runs").outcome, Outcome::Cancelled);
    assert_eq!(returned(&before.wait().expect("runs")), "2");
    assert_eq!(returned(&behind.wait().expect("runs")), "4");
}

/// One token for many tasks: those that run end and those that wait do not start.
#[test]
fn one_token_cancels_all_that_have_it() {
    let spin = function(SOURCE, "python_loop");
    let cancel = CancelToken::new();
    let runs: Vec<_> = (0..20)
        .map(|_| host().start(&spin, task(NOTHING).cancel_token(cancel.clone())))
        .collect();
    assert!(!cancel.is_cancelled());
    cancel.cancel();
    for run in runs {
        assert_eq!(run.wait().expect("runs").outcome, Outcome::Cancelled);
    }
    assert_eq!(host().call(&function(SOURCE, "add"), [1, 1]), "2");
}

#[test]
fn output_ends_at_its_limit_and_is_kept_up_to_it() {
    let add = function(SOURCE, "add");
    let write = function(SOURCE, "write");
    let endless = function(SOURCE, "print_without_end");
    on_both_paths(|slot| {
        for (descriptor, limit) in [(1, LimitKind::Stdout), (2, LimitKind::Stderr)] {
            for allowed in [0, 1, 100, 20_000] {
                let limits = Limits {
                    stdout_bytes_max: if descriptor == 1 { allowed } else { 7 },
                    stderr_bytes_max: if descriptor == 2 { allowed } else { 7 },
                    ..Limits::default()
                };
                let mut run = |count: u64| {
                    let report = slot.report(&write, task([descriptor, count]).limits(limits));
                    let output = if descriptor == 1 {
                        &report.stdout
                    } else {
                        &report.stderr
                    };
                    assert_eq!(output.len() as u64, count.min(allowed));
                    report
                };
                assert_eq!(returned(&run(allowed)), allowed.to_string());
                assert_eq!(exceeded(&run(allowed + 1)), (limit, allowed));
            }
        }
        let limits = Limits {
            stdout_bytes_max: 1 << 20,
            ..Limits::default()
        };
        let report = slot.report(&endless, task(NOTHING).limits(limits));
        assert_eq!(exceeded(&report), (LimitKind::Stdout, 1 << 20));
        assert_eq!(report.stdout.len(), 1 << 20);
        assert_sound(slot, &add, "too much output");
    });
}

#[test]
fn a_reply_ends_at_its_limit() {
    let add = function(SOURCE, "add");
    let returns = function(SOURCE, "returns");
    let raises = function(SOURCE, "raises");
    let limits = Limits {
        result_bytes_max: 1024,
        ..Limits::default()
    };
    on_both_paths(|slot| {
        // An array of two, a 0, a byte string's head of 3 bytes.
        let report = slot.report(&returns, task([1024 - 5]).limits(limits));
        let Outcome::Succeeded { value } = report.outcome else {
            panic!("{:?}", report.outcome)
        };
        assert_eq!(value.as_bytes().len(), 1022);
        let report = slot.report(&returns, task([1024 - 4]).limits(limits));
        assert_eq!(exceeded(&report), (LimitKind::Result, 1024));
        let report = slot.report(&raises, task([10]).limits(limits));
        assert_eq!(raised(&report), ("ValueError", "xxxxxxxxxx"));
        let report = slot.report(&raises, task([100_000]).limits(limits));
        assert_eq!(exceeded(&report), (LimitKind::Result, 1024));
        assert_sound(slot, &add, "too long a reply");
    });
}

#[test]
fn memory_ends_at_its_limit() {
    let add = function(SOURCE, "add");
    let allocate = function(SOURCE, "allocate");
    const PAGE: u64 = 65_536;
    on_both_paths(|slot| {
        let count = 100 << 20;
        let mut run = |memory_bytes_max| {
            let limits = Limits {
                memory_bytes_max,
                ..Limits::default()
            };
            slot.report(&allocate, task([count]).limits(limits))
        };
        let used = run(1 << 30).usage.memory_bytes;
        assert!(used > count && used.is_multiple_of(PAGE));
        assert_eq!(returned(&run(used)), count.to_string());
        assert_eq!(run(used).usage.memory_bytes, used);
        let report = run(used - PAGE);
        assert_eq!(exceeded(&report), (LimitKind::Memory, used - PAGE));
        assert!(report.usage.memory_bytes < used);
        // Not only whole pages can be asked for.
        assert_eq!(exceeded(&run(used - 1)), (LimitKind::Memory, used - 1));
        assert_sound(slot, &add, "no memory");
    });
}

#[test]
fn allocating_without_end_ends() {
    let add = function(SOURCE, "add");
    let limits = Limits {
        memory_bytes_max: 128 << 20,
        ..Limits::default()
    };
    on_both_paths(|slot| {
        for name in ["allocate_without_end", "allocate_in_c"] {
            let report = slot.report(&function(SOURCE, name), task(NOTHING).limits(limits));
            assert_eq!(exceeded(&report), (LimitKind::Memory, 128 << 20), "{name}");
            assert!(report.usage.memory_bytes <= 128 << 20);
            assert_sound(slot, &add, name);
        }
        // What no memory could hold is Python's own error and no limit of ours.
        let report = slot.report(&function(SOURCE, "impossible_size"), task(NOTHING));
        assert_eq!(raised(&report).0, "MemoryError");
        assert_sound(slot, &add, "an impossible size");
    });
}

/// An argument that does not fit into the memory.
#[test]
fn a_call_larger_than_the_memory_is_past_the_memory_limit() {
    let size = function("def size(x): return len(x)", "size");
    let limits = Limits {
        memory_bytes_max: 80 << 20,
        ..Limits::default()
    };
    on_both_paths(|slot| {
        let large = Value::Bytes(vec![7; 100 << 20]);
        let report = slot.report(&size, task([large]).limits(limits));
        assert_eq!(exceeded(&report), (LimitKind::Memory, 80 << 20));
        let fits = Value::Bytes(vec![7; 1 << 20]);
        assert_eq!(
            returned(&slot.report(&size, task([fits]).limits(limits))),
            (1 << 20).to_string()
        );
    });
}

#[test]
fn scratch_bytes_end_at_their_limit() {
    let fill = function(SOURCE, "fill_file");
    let unhandled = function(SOURCE, "fill_file_and_raise");
    let again = function(SOURCE, "room_comes_back");
    let limits = Limits {
        scratch_bytes_max: 5_000,
        ..Limits::default()
    };
    on_both_paths(|slot| {
        let mut run = |function: &Function, path: &str, count: u64| {
            let call = Call {
                args: vec![path.into(), count.into()],
                kwargs: Vec::new(),
            };
            slot.report(function, task_of(call).limits(limits))
        };
        for path in ["/work/file", "/tmp/file"] {
            assert_eq!(returned(&run(&fill, path, 5_000)), "[5000, None, 5000]");
            assert_eq!(returned(&run(&fill, path, 5_001)), "[5000, 'ENOSPC', 5000]");
            let report = run(&unhandled, path, 5_001);
            assert_eq!(
                raised(&report),
                ("OSError", "[Errno 51] No space left on device")
            );
        }
        let report = run(&again, "/tmp/file", 5_000);
        assert_eq!(
            returned(&report),
            format!("[{}]", ["[5000, None, 5000]"; 3].join(", "))
        );
    });
}

#[test]
fn scratch_files_end_at_their_limit() {
    let make = function(SOURCE, "make_files");
    on_both_paths(|slot| {
        for allowed in [0, 1, 100] {
            let limits = Limits {
                scratch_files_max: allowed,
                ..Limits::default()
            };
            let mut run = |count| slot.report(&make, task([count]).limits(limits));
            assert_eq!(returned(&run(allowed)), format!("[{allowed}, None]"));
            assert_eq!(
                returned(&run(allowed + 1)),
                format!("[{allowed}, 'ENOSPC']")
            );
        }
    });
}

#[test]
fn a_guest_that_ends_itself_ends_nothing_else() {
    let add = function(SOURCE, "add");
    on_both_paths(|slot| {
        let report = slot.report(&function(SOURCE, "abort"), task(NOTHING));
        assert_eq!(trapped(&report), TrapCause::Abort);
        assert_sound(slot, &add, "abort");
        for code in [0, 3, 255] {
            let report = slot.report(&function(SOURCE, "hard_exit"), task([code]));
            assert_eq!(trapped(&report), TrapCause::Exit { code });
            assert_sound(slot, &add, "os._exit");
        }
    });
}

#[test]
fn recursion_ends() {
    let add = function(SOURCE, "add");
    on_both_paths(|slot| {
        let report = slot.report(&function(SOURCE, "endless_python_recursion"), task(NOTHING));
        assert_eq!(raised(&report).0, "RecursionError");
        assert_sound(slot, &add, "recursion in Python");
        let report = slot.report(&function(SOURCE, "deep_in_both"), task(NOTHING));
        assert_eq!(
            returned(&report),
            "['RecursionError', 'RecursionError', 'RecursionError']"
        );
        assert_sound(slot, &add, "recursion in Python and C");
        let report = slot.report(&function(SOURCE, "deep_in_c"), task(NOTHING));
        let cause = trapped(&report);
        assert!(
            matches!(
                cause,
                TrapCause::StackOverflow | TrapCause::MemoryOutOfBounds
            ),
            "{cause:?}"
        );
        assert_sound(slot, &add, "recursion in C");
        let filled = function(SOURCE, "recursion_that_fills_the_memory");
        let limits = Limits {
            memory_bytes_max: 128 << 20,
            ..Limits::default()
        };
        let report = slot.report(&filled, task(NOTHING).limits(limits));
        assert_eq!(returned(&report), "'MemoryError'");
        assert_sound(slot, &add, "recursion that fills the memory");
        // Deeper than Python allows unless it is asked, on the heap and not on the stack.
        let deep = function(SOURCE, "deep_in_python");
        let report = slot.report(&deep, task([20_000]));
        assert_eq!(raised(&report).0, "RecursionError");
        assert_sound(slot, &add, "a large recursion limit");
    });
}

/// Each of them on the host's own slots as well, whose threads have to go on.
#[test]
fn the_hosts_own_slots_survive_everything() {
    for &path in PATHS {
        let host = Host::builder()
            .slots(1)
            .start_path(path)
            .build()
            .expect("a host");
        let add = crate::support::function_on(&host, SOURCE, "add");
        for name in [
            "abort",
            "deep_in_c",
            "endless_python_recursion",
            "allocate_without_end",
        ] {
            let function = crate::support::function_on(&host, SOURCE, name);
            let report: Report = host.run(&function, task(NOTHING)).expect("runs");
            assert!(
                !matches!(report.outcome, Outcome::Succeeded { .. }),
                "{name}"
            );
            assert_eq!((&host).call(&add, [1, 1]), "2", "after {name}");
        }
    }
}

#[test]
fn limits_outside_their_range_are_refused() {
    let add = function(SOURCE, "add");
    on_slot_thread(|| {
        let mut slot = host().slot_with(StartPath::Best).expect("a slot");
        for limits in [
            Limits {
                memory_bytes_max: (64 << 20) - 1,
                ..Limits::default()
            },
            Limits {
                memory_bytes_max: (4 << 30) + 1,
                ..Limits::default()
            },
            Limits {
                wall_time_max: Duration::ZERO,
                ..Limits::default()
            },
            Limits {
                result_bytes_max: 1023,
                ..Limits::default()
            },
        ] {
            let refused = slot.run(&add, task([1, 1]).limits(limits));
            assert!(matches!(refused, Err(HostError::Limits(_))), "{refused:?}");
        }
        assert_sound(&mut slot, &add, "wrong limits");
    });
}

/// A thread whose stack is too small is told so; nothing overflows.
#[test]
fn a_thread_with_a_small_stack_is_refused() {
    let add = function(SOURCE, "add");
    let thread = std::thread::Builder::new()
        .stack_size(4 << 20)
        .spawn(move || {
            let mut slot = host().slot_with(StartPath::Best).expect("a slot");
            slot.run(&add, task([1, 1]))
        });
    let refused = thread.expect("a thread").join().expect("no panic");
    assert!(
        matches!(refused, Err(HostError::StackTooSmall { .. })),
        "{refused:?}"
    );
}
