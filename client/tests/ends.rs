//! How a client takes what a coordinator does: scripted ones, over links in memory.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::time::Duration;

use ppwasm_client::{Client, ClientConfig, ClientError, JobEvent, JobRequest, Order};
use ppwasm_link::memory::{MemoryHub, MemoryLink, MemoryListener, MemoryReceiver, MemorySender};
use ppwasm_link::{BlobRequest, Incoming, Link, LinkReceiver, LinkSender, Listener, Peer};
use ppwasm_proto::wire::{
    CloseCode, ErrorCode, Failed, JobOpened, JobProgress, JobState, List, MINOR, Message, Payload,
    Ranged, Refused, TaskCounts, TasksAppended, Text, Welcome,
};
use ppwasm_proto::{Call, FunctionBundle, JobId, TaskId};

const PATIENCE: Duration = Duration::from_secs(30);
/// Time for a first session that is too short for none, and long enough for one on a machine that stands still for a while.
const FIRST: Duration = Duration::from_secs(3);

async fn soon<T>(work: impl Future<Output = T>) -> T {
    let work = tokio::time::timeout(PATIENCE, work).await;
    work.expect("it took too long")
}

fn start(hub: &MemoryHub, config: ClientConfig) -> Client {
    Client::start(hub.dialer(Peer::Client("c".parse().unwrap())), config)
}

fn id() -> JobId {
    JobId::from_bytes([7; 16])
}

fn welcome(minor: u64) -> Welcome {
    Welcome {
        minor,
        session: 1,
        epoch: 1,
        report_every_ms: 5000,
        lease_ms: 30_000,
        refused: List::new(),
        build: Text::default(),
        guest: None,
        renew_certificate: None,
        wall_clock_s: None,
        slots: None,
    }
}

/// The next link, its hello taken.
async fn greeted(listener: &mut MemoryListener) -> (MemorySender, MemoryReceiver) {
    let link: MemoryLink = soon(listener.accept()).await.unwrap();
    let (sender, mut receiver, _) = link.split();
    let hello = message(&mut receiver).await;
    assert!(matches!(hello, Message::Hello(_)), "{hello:?}");
    (sender, receiver)
}

async fn welcomed(listener: &mut MemoryListener) -> (MemorySender, MemoryReceiver) {
    let (mut sender, receiver) = greeted(listener).await;
    sender.send(welcome(MINOR).into()).await.unwrap();
    (sender, receiver)
}

async fn message(receiver: &mut MemoryReceiver) -> Message {
    match soon(receiver.receive()).await.unwrap() {
        Incoming::Message(message) => message,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_first_session_is_given_up_after_its_time_and_everybody_told() {
    let hub = MemoryHub::new();
    let first_within = Some(Duration::from_millis(100));
    let config = ClientConfig {
        first_within,
        ..ClientConfig::default()
    };
    let client = start(&hub, config);
    let waiting = client.cancel(id());
    let (connected, waited) = soon(async { tokio::join!(client.connected(), waiting) }).await;
    for error in [connected.map(drop), waited].map(Result::unwrap_err) {
        assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
    }
    let late = soon(client.results(id(), Order::Task)).await.unwrap_err();
    assert!(matches!(late, ClientError::Unreachable { .. }), "{late}");
}

#[tokio::test]
async fn a_silent_coordinator_is_unreachable_too() {
    let hub = MemoryHub::new();
    let mut listener = hub.listen();
    let first_within = Some(FIRST);
    let config = ClientConfig {
        first_within,
        ..ClientConfig::default()
    };
    let client = start(&hub, config);
    let _held = greeted(&mut listener).await;
    let error = soon(client.connected()).await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn later_sessions_are_waited_for_beyond_the_first_ones_time() {
    let hub = MemoryHub::new();
    let mut listener = hub.listen();
    let first_within = Some(FIRST);
    let config = ClientConfig {
        first_within,
        ..ClientConfig::default()
    };
    let client = start(&hub, config);
    let link = welcomed(&mut listener).await;
    soon(client.connected()).await.unwrap();
    let asking = tokio::spawn(async move { client.cancel(id()).await });
    // Longer than the first session may take: the test is about time that has passed.
    tokio::time::sleep(FIRST + Duration::from_millis(100)).await;
    drop(link);
    // What was not answered is asked again, in a session that comes later than the first one had to.
    let (mut sender, mut receiver) = welcomed(&mut listener).await;
    let Message::CancelJob(ask) = message(&mut receiver).await else {
        panic!("something else was asked");
    };
    let request = ask.request;
    let done = ppwasm_proto::wire::Done { request };
    sender.send(done.into()).await.unwrap();
    soon(asking).await.unwrap().unwrap();
}

#[tokio::test]
async fn codes_that_stay_end_the_client_and_others_do_not() {
    for code in CloseCode::ALL.iter().copied() {
        let hub = MemoryHub::new();
        let mut listener = hub.listen();
        let client = start(&hub, ClientConfig::default());
        let (sender, _receiver) = welcomed(&mut listener).await;
        soon(client.connected()).await.unwrap();
        let results = soon(client.results(id(), Order::Task)).await;
        sender.close(code, "that is why");
        let is_final = matches!(
            code,
            CloseCode::Revoked
                | CloseCode::Expired
                | CloseCode::IdentityRefused
                | CloseCode::VersionUnsupported
                | CloseCode::Refused
                | CloseCode::Malformed
                | CloseCode::FrameTooLong
                | CloseCode::WrongMessage
        );
        if !is_final {
            let _again = welcomed(&mut listener).await;
            continue;
        }
        let error = match results {
            Ok(mut results) => soon(results.next()).await.unwrap_err(),
            Err(error) => error,
        };
        match error {
            ClientError::Rejected { code: told, reason } => {
                assert_eq!((told, reason.as_str()), (code, "that is why"));
            }
            other => panic!("{code}: {other:?}"),
        }
        let submitted = client.submit(JobRequest::new(id(), &bundle()));
        assert!(soon(submitted).await.is_err());
    }
}

fn bundle() -> FunctionBundle {
    FunctionBundle::function("job", "job.py", "def f(x): return x", "f").unwrap()
}

#[tokio::test]
async fn a_refusal_says_why_and_one_with_a_time_is_tried_again() {
    let hub = MemoryHub::new();
    let mut listener = hub.listen();
    let client = start(&hub, ClientConfig::default());
    let refused = |retry_after_ms| Refused {
        code: ErrorCode::VersionUnsupported,
        reason: Text::truncated("too new"),
        retry_after_ms,
        spoken: Some(Text::truncated("1 to 3")),
    };
    let (mut sender, _receiver) = greeted(&mut listener).await;
    sender.send(refused(Some(1)).into()).await.unwrap();
    sender.close(CloseCode::Refused, "");
    let (mut sender, _receiver) = greeted(&mut listener).await;
    sender.send(refused(None).into()).await.unwrap();
    match soon(client.connected()).await.unwrap_err() {
        ClientError::NoSession {
            code,
            reason,
            spoken,
        } => {
            assert_eq!(code, ErrorCode::VersionUnsupported);
            assert_eq!(
                (reason.as_str(), spoken.as_deref()),
                ("too new", Some("1 to 3"))
            );
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_version_that_nobody_speaks_ends_the_client() {
    let hub = MemoryHub::new();
    let mut listener = hub.listen();
    let client = start(&hub, ClientConfig::default());
    let (mut sender, _receiver) = greeted(&mut listener).await;
    sender.send(welcome(999).into()).await.unwrap();
    let error = soon(client.connected()).await.unwrap_err();
    let code = CloseCode::VersionUnsupported;
    assert!(
        matches!(error, ClientError::Rejected { code: c, .. } if c == code),
        "{error}"
    );
}

#[tokio::test]
async fn what_loading_wrote_comes_first_and_once() {
    let hub = MemoryHub::new();
    let mut listener = hub.listen();
    let client = start(&hub, ClientConfig::default());
    let (mut sender, mut receiver) = welcomed(&mut listener).await;
    let mut results = soon(client.results(id(), Order::Task)).await.unwrap();
    let watch = message(&mut receiver).await;
    let Message::WatchJob(watch) = watch else {
        panic!("{watch:?}");
    };
    let text = |text: &[u8]| Some(Payload::Inline(text.try_into().unwrap()));
    let progress = |is_last| JobProgress {
        request: watch.request,
        state: if is_last {
            JobState::Ended
        } else {
            JobState::Open
        },
        counts: TaskCounts::default(),
        is_last,
        load_failure: None,
        load_stdout: text(b"hello"),
        load_stderr: text(b"warning"),
    };
    sender.send(progress(false).into()).await.unwrap();
    match soon(results.next_event()).await.unwrap() {
        Some(JobEvent::Loaded(output)) => {
            assert_eq!(
                (&output.stdout[..], &output.stderr[..]),
                (&b"hello"[..], &b"warning"[..])
            );
        }
        other => panic!("{other:?}"),
    }
    sender.send(progress(true).into()).await.unwrap();
    assert_eq!(soon(results.next_event()).await.unwrap(), None);
    assert_eq!(results.end().unwrap().state, JobState::Ended);
}

#[tokio::test]
async fn a_client_that_leaves_says_so() {
    let hub = MemoryHub::new();
    let mut listener = hub.listen();
    let client = start(&hub, ClientConfig::default());
    let (_sender, mut receiver) = welcomed(&mut listener).await;
    soon(client.connected()).await.unwrap();
    soon(client.leave()).await;
    let closed = soon(receiver.receive()).await.unwrap_err();
    let is_orderly = matches!(
        closed,
        ppwasm_link::Closed::ByPeer {
            code: CloseCode::Finished,
            ..
        }
    );
    assert!(is_orderly, "{closed:?}");
}

/// A job that takes tasks, and the number of its submission.
async fn opened(sender: &mut MemorySender, receiver: &mut MemoryReceiver) -> u32 {
    // The bundle comes first.
    let Incoming::Blob(BlobRequest::Put { answer, .. }) = soon(receiver.receive()).await.unwrap()
    else {
        panic!("no bundle came");
    };
    answer.send(Ok(())).unwrap();
    let Message::OpenJob(open) = message(receiver).await else {
        panic!("no job was opened");
    };
    let opened = JobOpened {
        request: open.request,
        is_duplicate: false,
        next: TaskId(0),
        credit: Ranged::clamped(100),
        is_closed: false,
    };
    sender.send(opened.into()).await.unwrap();
    open.request
}

/// The first task of the next append, and how many it has.
async fn appended(receiver: &mut MemoryReceiver) -> (u64, usize) {
    match message(receiver).await {
        Message::AppendTasks(append) => (append.first.0, append.calls.len()),
        other => panic!("{other:?}"),
    }
}

fn failed(request: u32, code: ErrorCode, retry_after_ms: Option<u64>) -> Message {
    Failed {
        request,
        code,
        reason: Text::default(),
        retry_after_ms,
    }
    .into()
}

#[tokio::test]
async fn appends_behind_one_that_is_refused_for_now_are_sent_again() {
    let hub = MemoryHub::new();
    let mut listener = hub.listen();
    let client = start(&hub, ClientConfig::default());
    let (mut sender, mut receiver) = welcomed(&mut listener).await;
    let bundle = FunctionBundle::function("m", "m.py", "def f(): pass\n", "f").unwrap();
    let submitting = client.submit(JobRequest::new(id(), &bundle));
    let (submission, request) =
        soon(async { tokio::join!(submitting, opened(&mut sender, &mut receiver)) }).await;
    let mut submission = submission.unwrap();
    let call = Call::with_args([1]);
    for task in 0..3 {
        submission.append(&call).await.unwrap();
        assert_eq!(appended(&mut receiver).await, (task, 1));
    }
    let durable = |next| TasksAppended {
        request,
        next: TaskId(next),
        credit: Ranged::clamped(100),
    };
    let busy = failed(request, ErrorCode::Busy, Some(20));
    let behind = failed(request, ErrorCode::WrongOrder, None);
    sender.send(busy).await.unwrap();
    sender.send(behind.clone()).await.unwrap();
    assert_eq!(appended(&mut receiver).await, (0, 3));
    // The third one's answer comes only now.
    sender.send(behind.clone()).await.unwrap();
    sender.send(durable(3).into()).await.unwrap();
    submission.append(&call).await.unwrap();
    assert_eq!(appended(&mut receiver).await, (3, 1));
    // Nothing that was refused for now is missing any more: the coordinator and this client do not agree.
    sender.send(behind).await.unwrap();
    let refused = soon(submission.finish()).await.unwrap_err();
    let code = match refused {
        ClientError::Refused { code, .. } => code,
        other => panic!("{other}"),
    };
    assert_eq!(code, ErrorCode::WrongOrder);
}
