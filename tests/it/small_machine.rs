//! Small machines. Linux only: other systems are not asked how much room there is.

use ppwasm_host::{Host, HostError, Run, Task, TimeSource};
use ppwasm_proto::{Call, Outcome, Value};

use crate::children::{Child, child_of};
use crate::support::{PATHS, function_on};

/// All slots make ready for their first calls at once, where there is room for one pool of sandboxes and not for two.
#[test]
fn slots_begin_side_by_side_in_a_small_address_space() {
    const TEST: &str = "small_machine::slots_begin_side_by_side_in_a_small_address_space";
    const SLOTS: usize = 4;
    if child_of(TEST).is_none() {
        Child::of_test(TEST).with_addresses(80 << 30).succeeds();
        return;
    }
    for path in PATHS {
        let builder = Host::builder().slots(SLOTS).start_path(*path);
        let host = builder.build().expect("a host");
        assert_eq!(host.slots(), SLOTS);
        let waits = function_on(
            &host,
            "import time\ndef waits(x):\n    time.sleep(0.2)\n    return x\n",
            "waits",
        );
        let task = |x: i64| Task::new(Call::with_args([x])).time(TimeSource::Real);
        let runs: Vec<_> = (0..20).map(|x| host.start(&waits, task(x))).collect();
        for run in runs {
            let report = run.wait().expect("every slot can run calls");
            assert!(
                matches!(report.outcome, Outcome::Succeeded { .. }),
                "{:?}",
                report.outcome
            );
        }
    }
}

/// What calls hold together stays within the machine's memory, and comes back with each that ends.
#[test]
fn calls_that_need_more_memory_than_there_is_are_not_run() {
    const SOURCE: &str = "import time
def holds(mib, seconds):
    blocks = [bytes(1 << 20) for _ in range(mib)]
    time.sleep(seconds)
    return len(blocks)
";
    for path in PATHS {
        let builder = Host::builder().slots(2).memory_bytes(512 << 20);
        let host = builder.start_path(*path).build().expect("a host");
        let holds = function_on(&host, SOURCE, "holds");
        let start = |mib: i64, seconds: f64| {
            let call = Call::with_args([Value::from(mib), Value::from(seconds)]);
            host.start(&holds, Task::new(call).time(TimeSource::Real))
        };
        let succeeds = |mib: i64| {
            let report = start(mib, 0.0).wait().expect("there is room");
            assert!(
                matches!(report.outcome, Outcome::Succeeded { .. }),
                "{:?}",
                report.outcome
            );
        };
        let lacks = |run: Run| match run.wait() {
            Err(HostError::System { source, .. }) => {
                assert_eq!(source.kind(), std::io::ErrorKind::OutOfMemory);
            }
            other => panic!("it ran: {other:?}"),
        };
        succeeds(200);
        lacks(start(400, 0.0));
        succeeds(200);
        let first = start(240, 8.0);
        let second = start(240, 8.0);
        let ends = [first.wait(), second.wait()];
        // There is not enough for both, and for neither when they grow side by side.
        assert!(ends.iter().any(Result::is_err), "{ends:?}");
        succeeds(200);
    }
}
