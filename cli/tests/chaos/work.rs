//! A job whose results show by themselves whether they are right.

use std::collections::BTreeMap;
use std::time::Duration;

use ppwasm_client::{Client, ClientError, JobRequest, Order, TaskResult};
use ppwasm_proto::{Attempt, Call, FunctionBundle, JobId, Outcome, Value};

use crate::cluster::within;

/// Most tasks do little; some work for 10 to 50 ms, some have a result that travels as a blob.
const SOURCE: &str = "
def work(n):
    value = (n * 2654435761 + 12345) % 4294967296
    if n % 60 == 7:
        total = 0
        for i in range(60_000 + n % 7 * 30_000):
            total += i ^ n
        assert total > 0
    if n % 150 == 3:
        return [value, bytes([n % 251]) * 80_000]
    return value

def long(n):
    total = 0
    for i in range(600_000):
        total += i ^ n
    return n + 1

def busy(n):
    while True:
        n += 1
";

pub(crate) fn bundle(function: &str) -> FunctionBundle {
    FunctionBundle::function("job", "job.py", SOURCE, function).unwrap()
}

pub(crate) fn id(number: u8) -> JobId {
    JobId::from_bytes([number; 16])
}

/// What `work(n)` returns.
fn expected(n: u64) -> Value {
    let value = Value::from(((n * 2_654_435_761 + 12_345) % 4_294_967_296) as i64);
    if n % 150 == 3 {
        let large = Value::Bytes(vec![(n % 251) as u8; 80_000]);
        Value::List(vec![value, large])
    } else {
        value
    }
}

/// Fails when a result of `work` is not the right one.
pub(crate) fn check(result: &TaskResult) {
    let n = result.task.0;
    match &result.outcome {
        Outcome::Succeeded { value } => {
            let found = value.decode().unwrap();
            assert_eq!(found, expected(n), "the result of task {n}");
        }
        other => panic!("task {n} ended with {other:?}"),
    }
}

/// What the tasks of a job have ended with, and by which attempt.
pub(crate) type Recorded = BTreeMap<u64, Option<Attempt>>;

/// Takes the results of a job of `work` as they come until it ends, and checks each. Each comes within the patience of all
/// tests: how many there are, and how fast the machine is, does not matter.
pub(crate) async fn all_results(client: &Client, job: JobId) -> Result<Recorded, ClientError> {
    all_results_of(client, job, Order::Completion, &mut |result| check(result)).await
}

/// The same of any job, in an order, with a check of its own.
pub(crate) async fn all_results_of(
    client: &Client,
    job: JobId,
    order: Order,
    check: &mut (dyn FnMut(&TaskResult) + Send),
) -> Result<Recorded, ClientError> {
    let mut results = client.results(job, order).await?;
    let mut recorded = Recorded::new();
    while let Some(result) = within("a result", results.next()).await? {
        check(&result);
        let before = recorded.insert(result.task.0, result.attempt);
        assert_eq!(before, None, "task {} came twice", result.task.0);
    }
    let end = results.end().expect("the end");
    assert_eq!(
        end.counts.succeeded,
        recorded.len() as u64,
        "what the coordinator counts"
    );
    Ok(recorded)
}

/// Submits the first `tasks` of `function`, with a pause after each hundred.
pub(crate) async fn submit(
    client: &Client,
    job: JobId,
    function: &str,
    tasks: u64,
    pause: Duration,
) -> Result<u64, ClientError> {
    let mut submission = client
        .submit(JobRequest::new(job, &bundle(function)))
        .await?;
    for n in 0..tasks {
        submission.append(&Call::with_args([n as i64])).await?;
        if n % 100 == 99 && !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
    submission.finish().await
}

/// Attempts at tasks of a job that had begun and came to nothing.
pub(crate) async fn lost_attempts(client: &Client, job: JobId) -> u64 {
    let details = within("a job", client.job(job)).await.unwrap();
    details.summary.counts.lost_attempts
}
