//! Small machines. Linux only: other systems are not asked how much room there is.

use ppwasm_host::{Host, Task, TimeSource};
use ppwasm_proto::{Call, Outcome};

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
