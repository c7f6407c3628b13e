//! The host's slots: raised and lowered while calls run, shared by many functions, and given up.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ppwasm_host::{CancelToken, Function, Host, HostError, StartPath, Task};
use ppwasm_proto::{FunctionBundle, Outcome};

use crate::support::{
    NOTHING, PATHS, RunIn, bundle, function, function_on, host, on_slot_thread, raised, returned,
    task, wait_until,
};

/// Says that it runs, and goes on until it is cancelled.
const SPIN: &str = "import os\ndef spin():\n    os.write(1, b'runs')\n    while True: pass\n";
const DOUBLE: &str = "def double(x):\n    return 2 * x\n";
const LONG: Duration = Duration::from_secs(60);

fn host_with(slots: usize) -> Host {
    Host::builder().slots(slots).build().expect("a host")
}

/// A spinning task, and the end of a channel that hears when it runs.
fn spinning() -> (Task, Receiver<()>) {
    let (sender, receiver) = sync_channel(1);
    let sink = move |_, _: &[u8]| sender.send(()).expect("somebody waits");
    (task(NOTHING).output_sink(Box::new(sink)), receiver)
}

#[test]
fn as_many_calls_run_at_a_time_as_there_are_slots() {
    let host = host_with(1);
    let spin = function_on(&host, SPIN, "spin");
    let start = || {
        let (task, begins) = spinning();
        (host.start(&spin, task), begins)
    };
    let first = start();
    first.1.recv_timeout(LONG).expect("the first runs");
    let second = start();
    let third = start();
    assert!(
        second.1.recv_timeout(Duration::from_millis(50)).is_err(),
        "one slot runs two calls"
    );

    host.set_slots(3).expect("threads");
    assert_eq!(host.slots(), 3);
    second
        .1
        .recv_timeout(LONG)
        .expect("a second slot takes the second call");
    third
        .1
        .recv_timeout(LONG)
        .expect("a third slot takes the third call");

    // Fewer slots: those that run are finished, and then only one takes calls.
    host.set_slots(1).expect("no threads are needed");
    let fourth = start();
    let fifth = start();
    first.0.cancel();
    second.0.cancel();
    assert_eq!(first.0.wait().expect("runs").outcome, Outcome::Cancelled);
    assert_eq!(second.0.wait().expect("runs").outcome, Outcome::Cancelled);
    assert!(
        fourth.1.recv_timeout(Duration::from_millis(50)).is_err(),
        "a slot too many"
    );
    third.0.cancel();
    fourth
        .1
        .recv_timeout(LONG)
        .expect("the last slot takes the fourth call");
    assert!(
        fifth.1.recv_timeout(Duration::from_millis(50)).is_err(),
        "a slot too many"
    );
    for (run, _) in [fourth, fifth] {
        run.cancel();
        assert_eq!(run.wait().expect("runs").outcome, Outcome::Cancelled);
    }
}

#[test]
fn without_slots_calls_wait() {
    let host = host_with(0);
    let double = function_on(&host, DOUBLE, "double");
    let (sender, receiver) = channel();
    host.start_with(&double, task([21]), move |report| {
        sender.send(report).expect("somebody waits");
    });
    assert!(receiver.recv_timeout(Duration::from_millis(50)).is_err());
    host.set_slots(1).expect("a thread");
    let report = receiver
        .recv_timeout(LONG)
        .expect("a slot takes it")
        .expect("runs");
    assert_eq!(returned(&report), "42");
}

#[test]
fn raising_and_lowering_loses_and_repeats_nothing() {
    const CALLS: usize = 600;
    for &path in PATHS {
        let host = Host::builder()
            .slots(1)
            .start_path(path)
            .build()
            .expect("a host");
        let double = function_on(&host, DOUBLE, "double");
        let counted: Arc<Vec<AtomicUsize>> = Arc::new((0..CALLS).map(|_| 0.into()).collect());
        let ended = Arc::new(AtomicUsize::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0..CALLS {
                    let (counted, ended) = (Arc::clone(&counted), Arc::clone(&ended));
                    host.start_with(&double, task([number]), move |report| {
                        let report = report.expect("runs");
                        assert_eq!(returned(&report), (2 * number).to_string());
                        counted[number].fetch_add(1, Ordering::Relaxed);
                        ended.fetch_add(1, Ordering::Relaxed);
                    });
                }
            });
            for slots in [4, 1, 0, 3, 2, 6, 0, 1, 5].into_iter().cycle().take(60) {
                host.set_slots(slots).expect("threads");
                assert_eq!(host.slots(), slots);
                std::thread::yield_now();
            }
            host.set_slots(2).expect("threads");
        });
        wait_until("all calls end", || ended.load(Ordering::Relaxed) >= CALLS);
        drop(host);
        assert!(
            counted
                .iter()
                .all(|count| count.load(Ordering::Relaxed) == 1)
        );
    }
}

/// Functions outnumber slots, so that slots switch between images all the time.
#[test]
fn many_functions_share_few_slots() {
    const FUNCTIONS: usize = 25;
    const ROUNDS: usize = 12;
    for &path in PATHS {
        let host = Host::builder()
            .slots(2)
            .start_path(path)
            .build()
            .expect("a host");
        let functions: Vec<Function> = (0..FUNCTIONS)
            .map(|number| {
                // Images of different sizes.
                let source = format!(
                    "state = list(range({number} * 500))\n\
                     def f(x):\n    state.append(x)\n    return [{number}, x, len(state)]\n"
                );
                function_on(&host, &source, "f")
            })
            .collect();
        let runs: Vec<_> = (0..FUNCTIONS * ROUNDS)
            .map(|at| (at, host.start(&functions[at * 7 % FUNCTIONS], task([at]))))
            .collect();
        for (at, run) in runs {
            let number = at * 7 % FUNCTIONS;
            let wanted = format!("[{number}, {at}, {}]", number * 500 + 1);
            assert_eq!(returned(&run.wait().expect("runs")), wanted);
        }
    }
}

#[test]
fn calls_that_wait_when_the_host_is_dropped_are_told_so() {
    let host = host_with(1);
    let double = function_on(&host, DOUBLE, "double");
    let spin = function_on(&host, SPIN, "spin");
    let (busy, begins) = spinning();
    let cancel = CancelToken::new();
    let running = host.start(&spin, busy.cancel_token(cancel.clone()));
    begins.recv_timeout(LONG).expect("it runs");
    let waiting: Vec<_> = (0..10).map(|x| host.start(&double, task([x]))).collect();
    let (sender, receiver) = channel();
    host.start_with(&double, task([1]), move |report| {
        sender.send(report).expect("somebody waits");
    });
    let told = std::thread::spawn(move || {
        let told = receiver.recv_timeout(LONG);
        // Not before: the slot would be free for what waits.
        cancel.cancel();
        told
    });
    drop(host);
    for run in waiting {
        assert!(matches!(run.wait(), Err(HostError::Stopped)));
    }
    let told = told.join().expect("no panic");
    assert!(matches!(told, Ok(Err(HostError::Stopped))), "{told:?}");
    // What ran has been finished, and was waited for.
    let report = running.wait().expect("runs");
    assert_eq!(report.outcome, Outcome::Cancelled);
}

/// The last owner of the host may be what is called when a call has ended.
#[test]
fn a_host_can_be_dropped_by_a_slot() {
    let host = Arc::new(host_with(2));
    let double = function_on(&host, DOUBLE, "double");
    let (sender, receiver) = channel();
    let kept = Arc::new(Mutex::new(Some(Arc::clone(&host))));
    let last = Arc::clone(&kept);
    let (go, gone) = channel::<()>();
    host.start_with(&double, task([1]), move |report| {
        // Not before the other owner is gone.
        gone.recv_timeout(LONG).expect("told to go on");
        let host = last.lock().expect("no panic").take();
        drop(host);
        sender.send(report).expect("somebody waits");
    });
    drop(host);
    go.send(()).expect("it waits");
    let report = receiver
        .recv_timeout(LONG)
        .expect("dropping ends")
        .expect("runs");
    assert_eq!(returned(&report), "2");
}

/// A panic in what the caller does with a report is the caller's; the slot takes the next call.
#[test]
fn a_slot_goes_on_when_a_callback_panics() {
    let host = host_with(1);
    let double = function_on(&host, DOUBLE, "double");
    for _ in 0..3 {
        host.start_with(&double, task([1]), |_| std::panic::panic_any("on purpose"));
    }
    assert_eq!((&host).call(&double, [4]), "8");
}

/// A panic while the call runs, here of its sink, on both start paths: the call is told, the next one runs.
#[test]
fn a_slot_goes_on_when_a_call_panics() {
    for &path in PATHS {
        let host = Host::builder()
            .slots(1)
            .start_path(path)
            .build()
            .expect("a host");
        let says = function_on(&host, "def says():\n    print('x', flush=True)\n", "says");
        let panics = task(NOTHING).output_sink(Box::new(|_, _| panic!("a test's sink")));
        let end = host.start(&says, panics).wait();
        assert!(matches!(end, Err(HostError::Panicked)), "{end:?}");
        let report = host.run(&says, task(NOTHING)).expect("the slot goes on");
        assert_eq!(report.stdout, b"x\n");
    }
}

#[test]
fn a_slot_moves_between_threads() {
    let double = function(DOUBLE, "double");
    let dirty = function("def f(n):\n    return sum(bytearray(b'x') * n)\n", "f");
    for &path in PATHS {
        let mut slot = host().slot_with(path).expect("a slot");
        for round in 0..6_u64 {
            let (double, dirty) = (&double, &dirty);
            let slot = &mut slot;
            let digests = on_slot_thread(|| {
                assert_eq!(
                    slot.call(dirty, [1000 + round]),
                    (120 * (1000 + round)).to_string()
                );
                let report = slot.report(double, task([21]).hash_memory(true));
                assert_eq!(returned(&report), "42");
                report.memory_digest
            });
            let again = on_slot_thread(|| {
                slot.report(double, task([21]).hash_memory(true))
                    .memory_digest
            });
            assert_eq!(digests, again, "{path:?}: memory differs on another thread");
        }
    }
}

#[test]
fn a_host_shared_between_threads_answers_each_its_own() {
    let double = function(DOUBLE, "double");
    std::thread::scope(|scope| {
        for thread in 0..6_u64 {
            let double = &double;
            scope.spawn(move || {
                for number in 0..40 {
                    let x = thread * 1_000 + number;
                    assert_eq!(host().call(double, [x]), (2 * x).to_string());
                }
            });
        }
    });
}

/// What a bundle may say and a host has to answer: the next load is right.
#[test]
fn bundles_that_do_not_load_say_why() {
    use ppwasm_host::LoadError;

    let cases = [
        ("def f(:\n", "f", "SyntaxError"),
        ("x = 1\n", "f", "ppwasm.NoSuchFunction"),
        ("f = 3\n", "f", "ppwasm.NotAFunction"),
        ("import no_such_module\n", "f", "ModuleNotFoundError"),
        ("raise ValueError('at load')\n", "f", "ValueError"),
        ("import sys\nsys.exit(3)\n", "f", "SystemExit"),
    ];
    for (source, name, wanted) in cases {
        match host().load(&bundle(source, name)) {
            Err(LoadError::Raised(exception)) => assert_eq!(exception.type_name, wanted),
            other => panic!("{source:?}: {other:?}"),
        }
    }
    for source in ["import os\nos._exit(3)\n", "import os\nos.abort()\n"] {
        let refused = host().load(&bundle(source, "f"));
        assert!(matches!(refused, Err(LoadError::Trapped(_))), "{refused:?}");
    }
    assert_eq!(host().call(&function(DOUBLE, "double"), [1]), "2");
}

#[test]
fn wrong_arguments_and_results_are_the_calls_own_errors() {
    let double = function(DOUBLE, "double");
    let report = host().report(&double, task([1, 2]));
    let (kind, message) = raised(&report);
    assert_eq!(kind, "TypeError");
    assert!(message.contains("takes 1 positional argument"), "{message}");
    let cannot = function("def f(): return [1, {'k': open('/tmp/x', 'w')}]", "f");
    let report = host().report(&cannot, task(NOTHING));
    let (kind, message) = raised(&report);
    assert_eq!(kind, "ppwasm.CannotTravel");
    assert!(
        message.contains("result[1]['k']") || message.contains("result[1][\"k\"]"),
        "{message}"
    );
}

/// A script runs anew at each call, with its own arguments.
#[test]
fn a_script_runs_at_each_call() {
    let source =
        "import sys\nseen = globals().get('seen', 0) + 1\nprint(seen, sys.argv[1:], __name__)\n";
    let script = FunctionBundle::script("job", "job.py", source).expect("a bundle");
    let script = host().load(&script).expect("loads");
    for &path in PATHS {
        on_slot_thread(|| {
            let mut slot = host().slot_with(path).expect("a slot");
            for argument in ["one", "two"] {
                let report = slot.report(&script, task([argument]));
                assert_eq!(returned(&report), "None");
                let output = String::from_utf8_lossy(&report.stdout).into_owned();
                assert_eq!(output, format!("1 ['{argument}'] __main__\n"));
            }
        });
    }
}

/// Which path `Best` is depends on the machine; it is always one of the two.
#[test]
fn the_best_start_path_is_one_of_the_two() {
    let slot = host().slot_with(StartPath::Best).expect("a slot");
    assert!(PATHS.contains(&slot.start_path()));
}
