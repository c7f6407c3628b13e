use std::collections::BTreeSet;
use std::time::Duration;

use ppwasm_proto::fabric::{LeaseId, Priority};
use ppwasm_proto::wire::Message;
use ppwasm_proto::{Attempt, Digest, Limits};
use ppwasm_scheduler::{JobEnd, JobSpec, Record};
use tokio::sync::mpsc;

use super::*;
use crate::blobs::BlobLimits;
use crate::store::{Batch, MemoryStore, Store, Write};

const BUNDLE: &[u8] = b"a bundle";
const PATIENCE: Duration = Duration::from_secs(60);

fn job() -> JobId {
    JobId::from_bytes([1; 16])
}

fn commit(store: &dyn Store, writes: Vec<Write>) {
    let done = Box::new(|acked: Result<Vec<_>, _>| drop(acked.unwrap()));
    store.commit(Batch::at(1, writes), done).unwrap();
}

/// A job with so many tasks, none of which has ended.
fn store_with(folder: &std::path::Path, tasks: u64) -> Arc<MemoryStore> {
    let limits = BlobLimits {
        free_bytes_min: 0,
        ..BlobLimits::default()
    };
    let store = MemoryStore::new([7; 32], folder, limits).unwrap();
    let digest = Digest::of(BUNDLE);
    let spec = JobSpec {
        owner: "anna".parse().unwrap(),
        priority: Priority(0),
        function: digest,
        limits: Limits::default(),
        attempts_max: 5,
        is_deterministic: true,
        verify_percent: 0,
        is_cached: false,
        body: Digest::of(b"terms"),
    };
    let body = Body::Inline(BUNDLE.to_vec());
    commit(
        &store,
        vec![
            Write::Bundle { digest, body },
            Write::JobSubmitted {
                job: job(),
                spec: Box::new(spec),
                details: Vec::new(),
            },
            Write::TasksAdded {
                job: job(),
                first: 0,
                calls: (0..tasks).map(|_| Body::Inline(vec![1])).collect(),
            },
        ],
    );
    Arc::new(store)
}

fn end(task: u64) -> (TaskEnd, TaskResult) {
    let end = TaskEnd::Outcome {
        outcome: OutcomeKind::Succeeded,
        attempt: Attempt(1),
        lease: LeaseId(task),
        worker: "w".parse().unwrap(),
        verification: None,
    };
    // Every seventh is too large to be given along.
    let bytes = if task.is_multiple_of(7) {
        TOLD_BYTES_MAX + 1
    } else {
        9
    };
    let result = TaskResult {
        outcome: Body::Inline(vec![task as u8; bytes]),
        ..TaskResult::default()
    };
    (end, result)
}

/// Makes the end of a task durable and tells it.
fn ends(store: &MemoryStore, watch: &Watch, task: u64) {
    let (end, result) = end(task);
    let told = told(TaskId(task), &end, &result);
    assert_eq!(told.is_none(), task.is_multiple_of(7));
    commit(
        store,
        vec![Write::TaskEnded {
            job: job(),
            task: TaskId(task),
            end,
            result: Box::new(result),
            cache: None,
        }],
    );
    watch.begin(so_far(None));
    watch.tell(task, told);
}

fn so_far(load_stdout: Option<Payload>) -> WatchEnd {
    WatchEnd {
        state: JobState::Ended,
        counts: TaskCounts::default(),
        load_failure: None,
        load_stdout,
        load_stderr: None,
    }
}

fn job_ends(store: &MemoryStore, watch: &Watch, how: JobEnd) {
    let record = Record::JobEnded { job: job(), how };
    commit(store, vec![Write::Record(record)]);
    watch.end(so_far(None));
}

/// Takes results until the job's end, giving credit for each; the tasks in the order in which they came.
async fn receive(watch: &Watch, messages: &mut mpsc::Receiver<Message>) -> Vec<u64> {
    let mut tasks = Vec::new();
    loop {
        let next = tokio::time::timeout(PATIENCE, messages.recv()).await;
        match next.expect("it goes on").expect("it has not ended") {
            Message::Results(results) => {
                for result in &results.results {
                    let (_, stored) = end(result.task.0);
                    assert_eq!(result.outcome, payload(stored.outcome));
                    tasks.push(result.task.0);
                }
                watch.add_credit(results.results.len() as u64);
            }
            Message::JobProgress(progress) => {
                assert!(progress.is_last);
                return tasks;
            }
            other => panic!("{other:?}"),
        }
    }
}

fn start(
    store: &Arc<MemoryStore>,
    order: WatchOrder,
    credit: u64,
) -> (Arc<Watch>, mpsc::Receiver<Message>) {
    let watch = Arc::new(Watch::new(1, job(), order, credit));
    let (sender, messages) = mpsc::channel(1);
    let (their, store) = (Arc::clone(&watch), Arc::clone(store));
    let sender = WatchSender::new(their, store, sender, 0);
    tokio::spawn(async move { sender.run().await.unwrap() });
    (watch, messages)
}

/// A shuffled 0..count, by a small generator.
fn shuffled(count: u64, seed: u64) -> Vec<u64> {
    let mut tasks: Vec<u64> = (0..count).collect();
    let mut state = seed | 1;
    for last in (1..tasks.len()).rev() {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        tasks.swap(last, (state >> 33) as usize % (last + 1));
    }
    tasks
}

#[tokio::test]
async fn every_result_comes_once_whatever_ends_first() {
    for (seed, order) in (0..40).zip([WatchOrder::Task, WatchOrder::Completion].iter().cycle()) {
        let folder = tempfile::tempdir().unwrap();
        // More than may be told at a time, in some.
        let count = if seed < 4 { 2 * TOLD_MAX as u64 } else { 300 };
        let store = store_with(folder.path(), count);
        let ending = shuffled(count, seed);
        let (early, late) = ending.split_at(ending.len() / 3);
        let (watch, mut messages) = start(&store, *order, 5 + seed);
        // What ended before anybody watched is missed, as the core does it.
        for task in early {
            ends(&store, &Watch::new(9, job(), *order, 0), *task);
        }
        watch.miss();
        let telling = async {
            for (number, task) in late.iter().enumerate() {
                ends(&store, &watch, *task);
                if (number as u64).is_multiple_of(1 + seed % 5) && count < 1000 {
                    tokio::task::yield_now().await;
                }
            }
            job_ends(&store, &watch, JobEnd::Finished);
        };
        let (came, ()) = tokio::join!(receive(&watch, &mut messages), telling);
        assert_eq!(came.len() as u64, count, "seed {seed}");
        let distinct: BTreeSet<u64> = came.iter().copied().collect();
        assert_eq!(distinct.len() as u64, count, "seed {seed}");
        if *order == WatchOrder::Task {
            assert!(came.is_sorted(), "seed {seed}");
        }
    }
}

#[tokio::test]
async fn what_ended_behind_a_gap_comes_when_the_job_is_cancelled() {
    let folder = tempfile::tempdir().unwrap();
    let store = store_with(folder.path(), 30);
    let (watch, mut messages) = start(&store, WatchOrder::Task, 100);
    for task in [0, 1, 4, 7, 9] {
        ends(&store, &watch, task);
        // It has looked at it, and waits for those before it.
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }
    job_ends(&store, &watch, JobEnd::Cancelled);
    let came = receive(&watch, &mut messages).await;
    assert_eq!(came, [0, 1, 4, 7, 9]);
}

#[tokio::test]
async fn what_loading_wrote_comes_before_results_that_are_in_the_store_already() {
    let folder = tempfile::tempdir().unwrap();
    let store = store_with(folder.path(), 3);
    for task in 0..3 {
        ends(&store, &Watch::new(9, job(), WatchOrder::Task, 0), task);
    }
    let (watch, mut messages) = start(&store, WatchOrder::Task, 100);
    watch.miss();
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    assert!(messages.try_recv().is_err(), "a result came too early");

    let written = Payload::Inline(b"written".as_slice().try_into().unwrap());
    watch.begin(so_far(Some(written.clone())));
    let first = tokio::time::timeout(PATIENCE, messages.recv()).await;
    match first.unwrap().unwrap() {
        Message::JobProgress(progress) => {
            assert_eq!(
                (progress.load_stdout, progress.is_last),
                (Some(written), false)
            );
        }
        other => panic!("{other:?}"),
    }
    watch.end(so_far(None));
    assert_eq!(receive(&watch, &mut messages).await, [0, 1, 2]);
}
