//! A job that asks to keep its instance finds what its last call left; nobody else ever does.

use ppwasm_host::{Function, Host, Slot, StartPath, Task};
use ppwasm_proto::{Call, FunctionBundle, JobId, Outcome, TaskId, TaskIdentity, Value};

const COUNTER: &str = "
seen = []
def f(x):
    open('/tmp/file', 'a').write('x')
    seen.append(x)
    return [seen, open('/tmp/file').read()]
";

fn call(slot: &mut Slot, function: &Function, job: u8, keep: bool, x: i64) -> (usize, usize) {
    let identity = TaskIdentity::new(JobId::from_bytes([job; 16]), TaskId(0));
    let task = Task::new(Call::with_args([x]))
        .identity(identity)
        .keep_instance(keep);
    let report = slot.run(function, task).expect("the host runs it");
    let Outcome::Succeeded { value } = report.outcome else {
        panic!("{:?}", report.outcome);
    };
    let Value::List(items) = value.decode().expect("a value") else {
        panic!("not a list");
    };
    let [Value::List(seen), Value::Str(file)] = items.as_slice() else {
        panic!("{items:?}");
    };
    assert_eq!(seen.last(), Some(&Value::from(x)));
    (seen.len(), file.to_string().len())
}

#[test]
fn what_a_job_keeps_is_its_own() {
    let host = Host::builder().slots(1).build().unwrap();
    let bundle = FunctionBundle::function("job", "job.py", COUNTER, "f").unwrap();
    let function = host.load(&bundle).unwrap();
    let large = i64::MAX;
    std::thread::Builder::new()
        .stack_size(32 << 20)
        .spawn(move || {
            let mut slot = host.slot().unwrap();
            let keeps = slot.start_path() == StartPath::Overlay;
            for round in 1..=5 {
                let expected = if keeps { round } else { 1 };
                assert_eq!(call(&mut slot, &function, 1, true, 7), (expected, expected));
            }
            // Another job that keeps, then one that does not, then the first again.
            assert_eq!(call(&mut slot, &function, 2, true, 8), (1, 1));
            assert_eq!(call(&mut slot, &function, 2, false, large), (1, 1));
            assert_eq!(call(&mut slot, &function, 1, true, 9), (1, 1));
        })
        .unwrap()
        .join()
        .unwrap();
}
