//! What a job is served with, beyond its function.

use ppwasm_certs::Role;
use ppwasm_proto::wire::{
    AppendTasks, Bytes, CloseJob, ErrorCode, JobState, List, Message, Payload, Ranged, ShowJob,
    WatchJob, WatchOrder,
};
use ppwasm_proto::{Exception, Outcome, TaskId};

use crate::installation::{Installation, failure, id, open, succeeded};

#[tokio::test]
async fn standard_input_and_files_are_passed_on_and_have_to_be_there() {
    let installation = Installation::start().await;
    let worker = installation.join(Role::Worker, "lab-1").await;
    let mut worker = installation.worker(&worker, 1).await;
    let ann = installation.join(Role::Client, "ann").await;
    let mut ann = installation.client(&ann).await;
    let function = ann.put(b"a function").await;
    let missing = ppwasm_proto::wire::BlobRef::of(b"nobody has put this");
    let mut job = open(id(1), function);
    job.stdin = Some(missing);
    assert_eq!(
        failure(ann.ask(job.clone()).await).code,
        ErrorCode::NotFound
    );
    let (stdin, inputs) = (ann.put(b"lines\n").await, ann.put(b"a tree").await);
    job.stdin = Some(stdin);
    job.inputs = Some(inputs);
    assert!(matches!(ann.ask(job).await, Message::JobOpened(_)));
    append(&mut ann, 1).await;
    let grant = worker
        .hear_until(|message| match message {
            Message::Grant(grant) => Some(grant),
            _ => None,
        })
        .await;
    assert_eq!(grant.groups[0].stdin, Some(stdin));
    assert_eq!(grant.groups[0].inputs, Some(inputs));
    let got = worker.session.blobs.get(stdin.digest, 100).await.unwrap();
    assert_eq!(got, b"lines\n");
}

async fn append(client: &mut crate::installation::Talk, tasks: usize) {
    let call = Payload::Inline(Bytes::try_from(b"call".to_vec()).unwrap());
    let calls = List::try_from(vec![call; tasks]).unwrap();
    let append = AppendTasks {
        request: 1,
        first: TaskId(0),
        calls,
    };
    assert!(matches!(
        client.ask(append).await,
        Message::TasksAppended(_)
    ));
    let tasks = tasks as u64;
    let closed = client.ask(CloseJob { request: 1, tasks }).await;
    assert!(matches!(closed, Message::Done(_)));
}

#[tokio::test]
async fn a_job_that_stops_at_a_failure_is_cancelled_by_the_first() {
    let installation = Installation::start().await;
    let worker = installation.join(Role::Worker, "lab-1").await;
    let mut worker = installation.worker(&worker, 1).await;
    let ann = installation.join(Role::Client, "ann").await;
    let mut ann = installation.client(&ann).await;
    let function = ann.put(b"a function").await;
    let mut job = open(id(1), function);
    job.stop_at_failure = Some(true);
    assert!(matches!(ann.ask(job).await, Message::JobOpened(_)));
    append(&mut ann, 100).await;
    let claims = worker.granted().await;
    worker.ends(&claims[..1], &succeeded()).await;
    let raised = Outcome::Raised(Exception::default());
    let next = worker.granted().await;
    worker.ends(&next[..1], &raised).await;
    let watch = WatchJob {
        request: 2,
        job: id(1),
        order: WatchOrder::Completion,
        cursor: 0,
        credit: Ranged::clamped(1000),
    };
    ann.say(watch).await;
    let end = ann
        .hear_until(|message| match message {
            Message::JobProgress(progress) if progress.is_last => Some(progress),
            _ => None,
        })
        .await;
    assert_eq!(end.state, JobState::Cancelled);
    assert_eq!((end.counts.succeeded, end.counts.raised), (1, 1));
    assert_eq!(end.counts.cancelled, 98);
    let Message::JobShown(shown) = ann
        .ask(ShowJob {
            request: 3,
            job: id(1),
        })
        .await
    else {
        panic!("not shown");
    };
    assert_eq!(shown.job.counts, end.counts);
}

#[tokio::test]
async fn two_watches_under_one_number_are_refused() {
    let installation = Installation::start().await;
    let ann = installation.join(Role::Client, "ann").await;
    let mut ann = installation.client(&ann).await;
    ann.submit(id(1), 1).await;
    let watch = WatchJob {
        request: 2,
        job: id(1),
        order: WatchOrder::Completion,
        cursor: 0,
        credit: Ranged::clamped(1000),
    };
    ann.say(watch).await;
    assert_eq!(failure(ann.ask(watch).await).code, ErrorCode::Conflict);
}
