//! Client, coordinator and workers in one process, with the real guest.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use ppwasm_client::{Client, ClientConfig, ClientError, JobRequest, Order, Results, TaskResult};
use ppwasm_coordinator::blobs::BlobLimits;
use ppwasm_coordinator::server::{
    BuildError, BuiltImage, HostImages, ImageBuilder, Server, ServerConfig, ServerError,
};
use ppwasm_coordinator::store::{MemoryStore, Options, SqliteStore, Store};
use ppwasm_host::Host;
use ppwasm_link::memory::{MemoryHub, MemoryListener};
use ppwasm_link::{Closed, Dialer, Link, LinkReceiver, LinkSender, Listener, Peer};
use ppwasm_proto::fabric::Incarnation;
use ppwasm_proto::wire::{self, CloseCode, ErrorCode, JobState, Message};
use ppwasm_proto::{Call, Digest, Exception, FunctionBundle, JobId, Outcome, Value};
use ppwasm_worker::agent::{Config as AgentConfig, ExitReason};
use ppwasm_worker::{Handle, Worker, WorkerConfig, WorkerEnd};
use tokio::task::JoinHandle;

const SOURCE: &str = "
import time
def square(x): return x * x
def picky(x):
    if x % 10 == 3: raise ValueError(f'not {x}')
    print('took', x)
    return x
def forever(x):
    while True: pass
def large(x): return bytes([x]) * 200_000
def slow(x):
    total = 0
    for i in range(200_000): total += i * x
    return total
";
/// Whatever is waited for comes within this time, or never.
const PATIENCE: Duration = Duration::from_secs(60);

/// Builds images; every worker has a host of its own.
static BUILDER: LazyLock<Arc<Host>> = LazyLock::new(|| Arc::new(host(1)));

fn host(slots: usize) -> Host {
    Host::builder().slots(slots).build().expect("a host")
}

fn bundle(name: &str) -> FunctionBundle {
    FunctionBundle::function("job", "job.py", SOURCE, name).unwrap()
}

fn id(number: u8) -> JobId {
    JobId::from_bytes([number; 16])
}

async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    let work = tokio::time::timeout(PATIENCE, work).await;
    work.unwrap_or_else(|_| panic!("waited a minute: {what}"))
}

struct Cluster {
    hub: MemoryHub,
    folder: tempfile::TempDir,
    listening: JoinHandle<()>,
}

impl Cluster {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let limits = BlobLimits::default();
        let store = MemoryStore::new([1; 32], folder.path(), limits).unwrap();
        Self::on(folder, Arc::new(store))
    }

    fn durable() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(folder.path(), &Options::new([1; 32])).unwrap();
        Self::on(folder, Arc::new(store))
    }

    fn on(folder: tempfile::TempDir, store: Arc<dyn Store>) -> Self {
        Self::with_images(
            folder,
            store,
            Arc::new(HostImages::new(Arc::clone(&BUILDER))),
        )
    }

    fn with_images(
        folder: tempfile::TempDir,
        store: Arc<dyn Store>,
        images: Arc<dyn ImageBuilder>,
    ) -> Self {
        let hub = MemoryHub::new();
        let listening = serve_with(store, hub.listen(), images).unwrap();
        Self {
            hub,
            folder,
            listening,
        }
    }

    /// The coordinator crashes, and another one starts from the same store.
    async fn restart(&mut self) {
        self.listening.abort();
        let _ = (&mut self.listening).await;
        let store = within("the store's lock", async {
            loop {
                match SqliteStore::open(self.folder.path(), &Options::new([1; 32])) {
                    Ok(store) => return store,
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        });
        let store = store.await;
        self.listening = serve(Arc::new(store), self.hub.listen()).unwrap();
    }

    fn client(&self) -> Client {
        let identity = Peer::Client("tester".parse().unwrap());
        Client::start(self.hub.dialer(identity), ClientConfig::default())
    }

    fn worker(&self, name: &str, slots: u32) -> (JoinHandle<WorkerEnd>, Handle) {
        let seed = name.bytes().map(u64::from).sum();
        let config = WorkerConfig {
            agent: AgentConfig::new(Incarnation(seed), seed, slots),
            label: name.into(),
        };
        let dialer = self.hub.dialer(Peer::Worker(name.parse().unwrap()));
        let worker = Worker::new(Arc::new(host(slots as usize)), dialer, config);
        let handle = worker.handle();
        (tokio::spawn(worker.run()), handle)
    }
}

fn serve(store: Arc<dyn Store>, listener: MemoryListener) -> Result<JoinHandle<()>, ServerError> {
    let images = Arc::new(HostImages::new(Arc::clone(&BUILDER)));
    serve_with(store, listener, images)
}

fn serve_with(
    store: Arc<dyn Store>,
    mut listener: MemoryListener,
    images: Arc<dyn ImageBuilder>,
) -> Result<JoinHandle<()>, ServerError> {
    let mut config = ServerConfig::new(1);
    config.scheduler.reconnect_grace = ppwasm_scheduler::Micros::from_millis(300);
    let server = Server::start(store, images, config)?;
    Ok(tokio::spawn(async move {
        while let Some(link) = listener.accept().await {
            server.serve(link);
        }
    }))
}

async fn submit(client: &Client, request: JobRequest, tasks: i64) -> Result<u64, ClientError> {
    let mut job = client.submit(request).await?;
    for x in 0..tasks {
        job.append(&Call::with_args([x])).await?;
    }
    job.finish().await
}

async fn all(results: &mut Results) -> Vec<TaskResult> {
    let mut all = Vec::new();
    while let Some(result) = within("a result", results.next()).await.unwrap() {
        all.push(result);
    }
    all
}

fn check_squares(results: &[TaskResult], tasks: i64) {
    assert_eq!(results.len() as i64, tasks, "every task once");
    for (x, result) in (0..tasks).zip(results) {
        assert_eq!(result.task.0 as i64, x);
        let Outcome::Succeeded { value } = &result.outcome else {
            panic!("{:?}", result.outcome);
        };
        assert_eq!(value.decode().unwrap(), Value::from(x * x));
    }
}

#[tokio::test]
async fn a_thousand_tasks_come_back_right_once_and_in_order() {
    let cluster = Cluster::new();
    let client = cluster.client();
    let _worker = cluster.worker("one", 2);
    let tasks = submit(&client, JobRequest::new(id(1), &bundle("square")), 1000);
    assert_eq!(within("the submission", tasks).await.unwrap(), 1000);
    let mut results = client.results(id(1), Order::Task).await.unwrap();
    check_squares(&all(&mut results).await, 1000);
    let end = results.end().unwrap();
    assert_eq!((end.state, end.counts.succeeded), (JobState::Ended, 1000));

    let mut results = client.results(id(1), Order::Completion).await.unwrap();
    let mut all = all(&mut results).await;
    all.sort_by_key(|result| result.task);
    check_squares(&all, 1000);
}

#[tokio::test]
async fn exceptions_output_and_large_results_arrive() {
    let cluster = Cluster::new();
    let client = cluster.client();
    let _worker = cluster.worker("one", 2);
    submit(&client, JobRequest::new(id(1), &bundle("picky")), 20)
        .await
        .unwrap();
    let mut results = client.results(id(1), Order::Completion).await.unwrap();
    for result in all(&mut results).await {
        let x = result.task.0;
        match result.outcome {
            Outcome::Raised(exception) => {
                assert_eq!(x % 10, 3);
                assert_eq!(exception.message, format!("not {x}"));
            }
            Outcome::Succeeded { .. } => {
                assert_ne!(x % 10, 3);
                assert_eq!(result.stdout, format!("took {x}\n").as_bytes());
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(results.end().unwrap().counts.raised, 2);

    submit(&client, JobRequest::new(id(2), &bundle("large")), 5)
        .await
        .unwrap();
    let mut results = client.results(id(2), Order::Task).await.unwrap();
    for (x, result) in all(&mut results).await.into_iter().enumerate() {
        let Outcome::Succeeded { value } = result.outcome else {
            panic!("{:?}", result.outcome);
        };
        let expected = Value::Bytes(vec![u8::try_from(x).unwrap(); 200_000]);
        assert_eq!(value.decode().unwrap(), expected);
    }
}

#[tokio::test]
async fn a_function_that_cannot_be_loaded_ends_its_job_and_says_why() {
    let cluster = Cluster::new();
    let client = cluster.client();
    let broken = FunctionBundle::function("job", "job.py", "def f(:", "f").unwrap();
    let mut job = client
        .submit(JobRequest::new(id(1), &broken))
        .await
        .unwrap();
    let _ = job.append(&Call::with_args([1])).await;
    let mut results = client.results(id(1), Order::Task).await.unwrap();
    assert_eq!(all(&mut results).await, []);
    let end = results.end().unwrap();
    assert_eq!(end.state, JobState::FunctionInvalid);
    let Some(Outcome::Raised(exception)) = &end.load_failure else {
        panic!("{end:?}");
    };
    assert_eq!(exception.type_name, "SyntaxError");
}

/// Loads functions in processes that die.
struct Dying;

impl ImageBuilder for Dying {
    fn guest(&self) -> Digest {
        BUILDER.guest_digest()
    }

    fn build(&self, _: &[u8]) -> Result<BuiltImage, BuildError> {
        let why = "its process ended early: signal: 9 (SIGKILL)";
        Err(BuildError::Builder(why.into()))
    }
}

#[tokio::test]
async fn whoever_loads_functions_and_always_dies_is_told_to_the_client() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path(), &Options::new([1; 32])).unwrap();
    let mut cluster = Cluster::with_images(folder, Arc::new(store), Arc::new(Dying));
    let client = cluster.client();
    let why = async |client: &Client| {
        let mut results = client.results(id(1), Order::Task).await.unwrap();
        assert_eq!(all(&mut results).await, []);
        let end = results.end().unwrap();
        assert_eq!(end.state, JobState::FunctionInvalid);
        let shown = client.job(id(1)).await.unwrap();
        assert_eq!(shown.load_failure, end.load_failure);
        match &end.load_failure {
            Some(Outcome::Raised(exception)) => {
                assert_eq!(exception.type_name, Exception::NOT_LOADED);
                exception.message.clone()
            }
            other => panic!("{other:?}"),
        }
    };
    let request = JobRequest::new(id(1), &bundle("square"));
    let mut job = client.submit(request).await.unwrap();
    let _ = job.append(&Call::with_args([1])).await;
    assert_eq!(
        within("the end", why(&client)).await,
        "the coordinator tried 5 times: the image could not be built: its process ended early: signal: 9 (SIGKILL)"
    );
    cluster.restart().await;
    let text = within("the end again", why(&client)).await;
    assert!(text.contains("does not know any more why"), "{text}");
}

#[tokio::test]
async fn a_cancelled_job_ends_and_its_slots_are_free() {
    let cluster = Cluster::new();
    let client = cluster.client();
    let _worker = cluster.worker("one", 2);
    submit(&client, JobRequest::new(id(1), &bundle("forever")), 50)
        .await
        .unwrap();
    submit(&client, JobRequest::new(id(2), &bundle("square")), 100)
        .await
        .unwrap();
    within("the cancel", client.cancel(id(1))).await.unwrap();
    let mut results = client.results(id(1), Order::Task).await.unwrap();
    assert_eq!(all(&mut results).await, []);
    let end = results.end().unwrap();
    assert_eq!((end.state, end.counts.cancelled), (JobState::Cancelled, 50));
    let mut results = client.results(id(2), Order::Task).await.unwrap();
    check_squares(&all(&mut results).await, 100);
}

#[tokio::test]
async fn a_worker_that_is_lost_loses_no_task_and_slots_change_meanwhile() {
    let cluster = Cluster::new();
    let client = cluster.client();
    let (lost, _) = cluster.worker("lost", 1);
    let (_stays, stays) = cluster.worker("stays", 1);
    submit(&client, JobRequest::new(id(1), &bundle("square")), 3000)
        .await
        .unwrap();
    let mut results = client.results(id(1), Order::Task).await.unwrap();
    let mut have = Vec::new();
    while have.len() < 300 {
        have.extend(within("a result", results.next()).await.unwrap());
    }
    lost.abort();
    stays.set_slots(2).await;
    have.extend(all(&mut results).await);
    check_squares(&have, 3000);
}

#[tokio::test]
async fn the_same_job_again_is_the_same_job_and_another_one_is_refused() {
    let cluster = Cluster::new();
    let first = cluster.client();
    let request = JobRequest::new(id(1), &bundle("square"));
    assert_eq!(submit(&first, request.clone(), 500).await.unwrap(), 500);
    drop(first);

    // The client comes back for its results.
    let again = cluster.client();
    assert!(again.submit(request.clone()).await.unwrap().is_known());
    assert_eq!(
        within("the same again", submit(&again, request, 500))
            .await
            .unwrap(),
        500
    );
    let other = again.submit(JobRequest::new(id(1), &bundle("slow"))).await;
    assert!(
        matches!(
            other,
            Err(ClientError::Refused {
                code: ErrorCode::Conflict,
                ..
            })
        ),
        "{other:?}"
    );
    let _worker = cluster.worker("one", 2);
    let mut results = again.results(id(1), Order::Task).await.unwrap();
    check_squares(&all(&mut results).await, 500);
}

#[tokio::test]
async fn a_restarted_coordinator_goes_on_and_everybody_comes_back() {
    let mut cluster = Cluster::durable();
    let client = cluster.client();
    let _worker = cluster.worker("one", 2);
    submit(&client, JobRequest::new(id(1), &bundle("square")), 2000)
        .await
        .unwrap();
    let mut results = client.results(id(1), Order::Task).await.unwrap();
    let mut have = Vec::new();
    while have.len() < 200 {
        have.extend(within("a result", results.next()).await.unwrap());
    }
    cluster.restart().await;
    have.extend(all(&mut results).await);
    check_squares(&have, 2000);
}

#[tokio::test]
async fn a_drained_worker_leaves_when_all_is_delivered() {
    let cluster = Cluster::new();
    let client = cluster.client();
    let (leaving, handle) = cluster.worker("leaving", 1);
    submit(&client, JobRequest::new(id(1), &bundle("square")), 1000)
        .await
        .unwrap();
    let mut results = client.results(id(1), Order::Task).await.unwrap();
    let first = within("a result", results.next()).await.unwrap().unwrap();
    handle.drain().await;
    let why = within("the worker to leave", leaving).await.unwrap();
    assert!(matches!(why, WorkerEnd::Left(ExitReason::Drained)));
    let _other = cluster.worker("other", 2);
    let mut have = vec![first];
    have.extend(all(&mut results).await);
    check_squares(&have, 1000);
}

/// What a peer that speaks for itself sends first.
fn hello() -> wire::Hello {
    wire::Hello {
        minor_min: wire::MINOR_MIN,
        minor_max: wire::MINOR,
        build: wire::Text::default(),
        worker: None,
    }
}

/// Opens a link as a client of this name, says these, and gives how the link ends.
async fn end_after(cluster: &Cluster, messages: Vec<Message>) -> Closed {
    let dialer = cluster.hub.dialer(Peer::Client("rude".parse().unwrap()));
    let (mut sender, mut receiver, _) = dialer.dial().await.unwrap().split();
    for message in messages {
        // The link may end before all is said.
        let _ = sender.send(message).await;
    }
    within("the end", async {
        loop {
            if let Err(closed) = receiver.receive().await {
                return closed;
            }
        }
    })
    .await
}

#[tokio::test]
async fn who_says_what_has_no_place_is_closed_and_others_go_on() {
    let cluster = Cluster::new();
    let client = cluster.client();
    let _worker = cluster.worker("one", 2);
    let goodbye = || Message::from(wire::Goodbye {});
    let worker_hello = wire::Hello {
        minor_min: wire::MINOR + 1,
        minor_max: wire::MINOR + 1,
        ..hello()
    };
    let cases = [
        (vec![goodbye()], CloseCode::WrongMessage),
        (
            vec![hello().into(), hello().into()],
            CloseCode::WrongMessage,
        ),
        (
            vec![hello().into(), wire::Draining {}.into()],
            CloseCode::WrongMessage,
        ),
        (vec![worker_hello.into()], CloseCode::Refused),
        (vec![hello().into(), goodbye()], CloseCode::Finished),
    ];
    for (messages, expected) in cases {
        match end_after(&cluster, messages).await {
            Closed::ByPeer { code, .. } => assert_eq!(code, expected),
            closed @ Closed::Lost => panic!("{closed:?} instead of {expected}"),
        }
    }
    submit(&client, JobRequest::new(id(1), &bundle("square")), 100)
        .await
        .unwrap();
    let mut results = client.results(id(1), Order::Task).await.unwrap();
    check_squares(&all(&mut results).await, 100);
}

#[tokio::test]
async fn another_clients_job_is_no_job() {
    let cluster = Cluster::new();
    let owner = cluster.client();
    let request = JobRequest::new(id(1), &bundle("square"));
    submit(&owner, request.clone(), 10).await.unwrap();
    let identity = Peer::Client("stranger".parse().unwrap());
    let stranger = Client::start(cluster.hub.dialer(identity), ClientConfig::default());
    let code = |error: ClientError| match error {
        ClientError::Refused { code, .. } => code,
        other => panic!("{other:?}"),
    };
    let mut results = stranger.results(id(1), Order::Task).await.unwrap();
    let watched = within("an answer", results.next()).await.unwrap_err();
    assert_eq!(code(watched), ErrorCode::NotFound);
    let cancelled = stranger.cancel(id(1)).await.unwrap_err();
    assert_eq!(code(cancelled), ErrorCode::NotFound);
    let forgotten = stranger.forget(id(1)).await.unwrap_err();
    assert_eq!(code(forgotten), ErrorCode::NotFound);
    let taken = stranger.submit(request).await.unwrap_err();
    assert_eq!(code(taken), ErrorCode::Conflict);
}
