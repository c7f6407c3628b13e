//! One installation for a test: a coordinator in a folder of its own, its clock, and whoever talks to it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use ppwasm_certs::{Credentials, JoinToken, Role, UnixTime, tls};
use ppwasm_coordinator::server::{BuildError, BuiltImage, ImageBuilder};
use ppwasm_coordinator::service::{
    Builders, Coordinator, CoordinatorConfig, OPERATOR_FILE, StartError,
};
use ppwasm_proto::fabric::{Claim, Incarnation, OutcomeKind};
use ppwasm_proto::wire::{
    AppendTasks, BlobRef, Bytes, CloseCode, CloseJob, Ended, Failed, Grant, Hello, JobOpened, List,
    MINOR, MINOR_MIN, Message, OpenJob, Payload, TaskResult, Text, TimeSource, Usage, Welcome,
    WorkerOffer, encode_outcome,
};
use ppwasm_proto::{Digest, EncodedValue, JobId, Limits, Outcome, TaskId, TaskIdentity, Value};
use ppwasm_session::join;
use ppwasm_session::{Connector, Session, SessionError};
use rustls::time_provider::TimeProvider;
use tempfile::TempDir;

/// Whatever is waited for comes within this time, or never.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What does not come in time does not come.
#[track_caller]
pub(crate) fn soon<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let caller = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(PATIENCE, future).await {
            Ok(output) => output,
            Err(_) => panic!("it did not come in time: {caller}"),
        }
    }
}

/// A clock that goes ahead when it is told to.
#[derive(Debug, Default)]
pub(crate) struct Clock(AtomicU64);

impl Clock {
    pub(crate) fn advance(&self, seconds: u64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }

    pub(crate) fn now(&self) -> UnixTime {
        let real = SystemTime::UNIX_EPOCH.elapsed().unwrap();
        let ahead = Duration::from_secs(self.0.load(Ordering::SeqCst));
        UnixTime::since_unix_epoch(real + ahead)
    }
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(self.now())
    }
}

/// Images without a guest: the workers here do not look into them.
#[derive(Debug)]
pub(crate) struct NoImages;

impl ImageBuilder for NoImages {
    fn guest(&self) -> Digest {
        Digest::of(b"guest")
    }

    fn build(&self, bundle: &[u8]) -> Result<BuiltImage, BuildError> {
        match bundle {
            b"broken" => Err(BuildError::Function(Box::new(Outcome::Cancelled))),
            bundle => Ok(BuiltImage {
                image: [b"image of ", bundle].concat(),
                ..BuiltImage::default()
            }),
        }
    }
}

pub(crate) struct Installation {
    pub(crate) folder: TempDir,
    pub(crate) clock: Arc<Clock>,
    pub(crate) coordinator: Coordinator,
}

impl Installation {
    pub(crate) async fn start() -> Self {
        let (folder, clock) = (tempfile::tempdir().unwrap(), Arc::<Clock>::default());
        let coordinator = start(folder.path(), &clock).await.unwrap();
        Self {
            folder,
            clock,
            coordinator,
        }
    }

    /// Stops in good order and starts again.
    pub(crate) async fn restart(self) -> Self {
        let Self {
            folder,
            clock,
            coordinator,
        } = self;
        soon(coordinator.stop()).await.unwrap();
        let coordinator = soon(async {
            loop {
                match start(folder.path(), &clock).await {
                    // What still reads in the background holds the store.
                    Err(StartError::Store(_)) => {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    started => return started.unwrap(),
                }
            }
        });
        Self {
            coordinator: coordinator.await,
            folder,
            clock,
        }
    }

    pub(crate) async fn token(&self, role: Role, name: Option<&str>) -> JoinToken {
        let token = self.coordinator.mint(role, name, None).await.unwrap();
        token.parse().unwrap()
    }

    pub(crate) async fn join(&self, role: Role, name: &str) -> Credentials {
        let token = self.token(role, None).await;
        soon(join(&[self.coordinator.address()], &token, name))
            .await
            .unwrap()
    }

    pub(crate) fn operator(&self) -> Credentials {
        let path = self.folder.path().join(OPERATOR_FILE);
        Credentials::load(&path).unwrap().unwrap()
    }

    pub(crate) fn connector(&self, credentials: &Credentials) -> Connector {
        let clock = Arc::clone(&self.clock);
        Connector::new(tls::client_config(credentials, clock).unwrap()).unwrap()
    }

    pub(crate) async fn connect(&self, credentials: &Credentials) -> Talk {
        let connector = self.connector(credentials);
        let session = soon(connector.connect(self.coordinator.address())).await;
        Talk {
            session: session.unwrap(),
            connector,
        }
    }

    /// A client's session that is welcome.
    pub(crate) async fn client(&self, credentials: &Credentials) -> Talk {
        let mut talk = self.connect(credentials).await;
        talk.say(hello(None)).await;
        talk.welcomed().await;
        talk
    }

    /// A worker's session that is welcome.
    pub(crate) async fn worker(&self, credentials: &Credentials, slots: u64) -> Talk {
        let mut talk = self.connect(credentials).await;
        talk.say(hello(Some(offer(slots)))).await;
        talk.welcomed().await;
        talk
    }
}

pub(crate) async fn start(folder: &Path, clock: &Arc<Clock>) -> Result<Coordinator, StartError> {
    start_with(config(folder, clock)).await
}

/// Settings for a test: a port of its own, and short times.
pub(crate) fn config(folder: &Path, clock: &Arc<Clock>) -> CoordinatorConfig {
    let mut config = CoordinatorConfig::new(folder);
    config.listen = "127.0.0.1:0".parse().unwrap();
    config.clock = Arc::<Clock>::clone(clock);
    config.scheduler.reconnect_grace = ppwasm_scheduler::Micros::from_millis(100);
    config.scheduler.restart_grace = ppwasm_scheduler::Micros::from_millis(500);
    config
}

pub(crate) async fn start_with(config: CoordinatorConfig) -> Result<Coordinator, StartError> {
    Coordinator::start(config, Builders::Here(Arc::new(NoImages))).await
}

pub(crate) fn hello(worker: Option<WorkerOffer>) -> Hello {
    Hello {
        minor_min: MINOR_MIN,
        minor_max: MINOR,
        build: Text::truncated("a test"),
        worker,
    }
}

pub(crate) fn offer(slots: u64) -> WorkerOffer {
    WorkerOffer {
        target: Text::truncated("x86_64-unknown-linux-gnu"),
        cpu_profile: Text::truncated("x86-64-v3"),
        slots,
        label: Some(Text::truncated("a machine")),
        guests: List::new(),
        functions: List::new(),
        incarnation: Incarnation(1),
        credit: slots * 2,
        held: List::new(),
        is_draining: None,
        memory_bytes: None,
        engine: None,
        wants_guest: None,
    }
}

/// One end of a session, as a peer has it.
pub(crate) struct Talk {
    pub(crate) session: Session,
    /// Its socket.
    connector: Connector,
}

impl Talk {
    pub(crate) async fn say(&mut self, message: impl Into<Message>) {
        soon(self.session.sender.send(&message.into()))
            .await
            .unwrap();
    }

    pub(crate) async fn hear(&mut self) -> Message {
        soon(self.session.receiver.receive()).await.unwrap()
    }

    pub(crate) async fn ask(&mut self, message: impl Into<Message>) -> Message {
        self.say(message).await;
        self.hear().await
    }

    pub(crate) async fn welcomed(&mut self) -> Welcome {
        match self.hear().await {
            Message::Welcome(welcome) => welcome,
            other => panic!("{other:?}"),
        }
    }

    /// What it hears next of a kind; others are passed over.
    pub(crate) async fn hear_until<T>(&mut self, pick: impl Fn(Message) -> Option<T>) -> T {
        loop {
            if let Some(found) = pick(self.hear().await) {
                return found;
            }
        }
    }

    /// How the session ends; what is said until then is passed over.
    pub(crate) async fn end(&mut self) -> (CloseCode, String) {
        soon(async {
            loop {
                match self.session.receiver.receive().await {
                    Ok(_) => {}
                    Err(SessionError::ClosedByPeer { code, reason }) => {
                        return (code, reason.to_string());
                    }
                    Err(other) => panic!("{other}"),
                }
            }
        })
        .await
    }

    pub(crate) async fn put(&self, bytes: &[u8]) -> BlobRef {
        soon(self.session.blobs.put(bytes)).await.unwrap()
    }

    pub(crate) async fn bye(self) {
        self.session.sender.finish(CloseCode::Finished, "").await;
        self.connector.settle().await;
    }

    /// Submits a job of so many tasks under request 1.
    pub(crate) async fn submit(&mut self, job: JobId, tasks: usize) {
        let function = self.put(b"a function").await;
        let opened = self.ask(open(job, function)).await;
        assert!(
            matches!(opened, Message::JobOpened(JobOpened { request: 1, .. })),
            "{opened:?}"
        );
        if tasks > 0 {
            let call = Payload::Inline(Bytes::try_from(b"call".to_vec()).unwrap());
            let append = AppendTasks {
                request: 1,
                first: TaskId(0),
                calls: List::try_from(vec![call; tasks]).unwrap(),
            };
            let appended = self.ask(append).await;
            assert!(
                matches!(appended, Message::TasksAppended(_)),
                "{appended:?}"
            );
        }
        let tasks = tasks as u64;
        let closed = self.ask(CloseJob { request: 1, tasks }).await;
        assert!(matches!(closed, Message::Done(_)), "{closed:?}");
    }

    /// As a worker: the next tasks that it is granted.
    pub(crate) async fn granted(&mut self) -> Vec<Claim> {
        let grant: Grant = self
            .hear_until(|message| match message {
                Message::Grant(grant) => Some(grant),
                _ => None,
            })
            .await;
        let claims = grant.groups.into_iter().flat_map(|group| {
            group.tasks.into_iter().map(move |task| Claim {
                lease: task.lease,
                identity: TaskIdentity::new(group.job, task.task),
                attempt: task.attempt,
                token: task.token,
            })
        });
        claims.collect()
    }

    /// As a worker: says how these ended.
    pub(crate) async fn ends(&mut self, claims: &[Claim], outcome: &Outcome) {
        let results = claims.iter().map(|claim| TaskResult {
            claim: *claim,
            kind: kind(outcome),
            outcome: Payload::Inline(Bytes::try_from(encode_outcome(outcome)).unwrap()),
            stdout: None,
            stderr: None,
            usage: Usage {
                wall_us: 1000,
                ..Usage::default()
            },
        });
        let results = List::try_from(results.collect::<Vec<_>>()).unwrap();
        self.say(Ended { results }).await;
    }
}

pub(crate) fn open(job: JobId, function: BlobRef) -> OpenJob {
    OpenJob {
        request: 1,
        job,
        function,
        name: Text::truncated("a job"),
        priority: Default::default(),
        limits: Limits::default(),
        time: TimeSource::Deterministic { start_ns: 0 },
        attempts_max: None,
        stdin: None,
        inputs: None,
        keep_instance: None,
        hash_memory: None,
        stop_at_failure: None,
        keep_for_s: None,
        stream: None,
        verify_percent: None,
        cache: None,
    }
}

pub(crate) fn id(number: u8) -> JobId {
    JobId::from_bytes([number; 16])
}

pub(crate) fn succeeded() -> Outcome {
    Outcome::Succeeded {
        value: EncodedValue::from_bytes(Value::from(1i64).encode().unwrap()),
    }
}

#[track_caller]
pub(crate) fn failure(message: Message) -> Failed {
    match message {
        Message::Failed(failed) => failed,
        other => panic!("{other:?}"),
    }
}

fn kind(outcome: &Outcome) -> OutcomeKind {
    match outcome {
        Outcome::Succeeded { .. } => OutcomeKind::Succeeded,
        Outcome::Raised(_) => OutcomeKind::Raised,
        other => panic!("{other:?}"),
    }
}
