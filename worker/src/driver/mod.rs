//! Drives the agent: a link on one side, a host on the other.
//!
//! One task owns the agent and renews its leases; guests run on the host's own threads, so that no guest can keep a lease
//! from being renewed. What the host and the link say comes in through one bounded queue each.

mod materials;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ppwasm_host::wasi::{InputTree, SharedBytes, Sink};
use ppwasm_host::{CancelToken, Function, Host, HostError, Image, Report, Task};
use ppwasm_link::{
    BlobFailure, BlobPeer, Closed, Dialer, Incoming, Link, LinkReceiver, LinkSender,
};
use ppwasm_proto::fabric::{GiveBackReason, LeaseId};
use ppwasm_proto::wire::{
    self, BATCH_BYTES, BATCH_MAX, BlobRef, CertificateIssued, CloseCode, ErrorCode, GrantGroup,
    INLINE_BYTES_MAX, ImageWanted, List, Message, Payload, Refused, RenewCertificate, TaskResult,
    Terms, encode_outcome,
};
use ppwasm_proto::{Digest, TaskIdentity};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::agent::{self, Agent, Closed as Why, Command, Event, ExitReason, Finished, Granted};
use crate::messages;

use self::materials::{Given, Key, MATERIAL_BYTES_MAX, Material, Materials, Missing};

/// Things that the host has done and the agent has not heard of.
const DONE_MAX: usize = 8192;
/// Messages that wait to be sent.
const OUTGOING_MAX: usize = 256;
/// Messages that are taken before results are sent.
const ROUND_MAX: usize = 128;
/// Bytes of an image that is taken.
const IMAGE_BYTES_MAX: u64 = 4 << 30;
/// Bytes of a call that is taken.
const CALL_BYTES_MAX: u64 = 1 << 30;
/// Functions whose images are kept loaded; beyond it the one used longest ago goes.
const FUNCTIONS_MAX: usize = 64;
/// Time between looks at whether the certificate has to be renewed.
const RENEWAL_PAUSE_MIN: Duration = Duration::from_secs(1);
const RENEWAL_PAUSE_MAX: Duration = Duration::from_secs(600);
/// How long results wait for more to go with them while other tasks run.
const LINGER: Duration = Duration::from_micros(500);

/// Settings.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// The agent's.
    pub agent: agent::Config,
    /// What people call the machine.
    pub label: String,
}

/// A worker that has not started.
pub struct Worker<D: Dialer> {
    host: Arc<Host>,
    dialer: Arc<D>,
    label: String,
    profile: String,
    agent: Agent,
    started: Instant,
    done: mpsc::Receiver<Done>,
    tell: mpsc::Sender<Done>,
    session: Option<Session>,
    tasks: JoinSet<()>,
    leases: HashMap<LeaseId, Lease>,
    results: HashMap<LeaseId, TaskResult>,
    functions: HashMap<Digest, Held>,
    used: u64,
    /// Where output goes as it comes, beside the results.
    output: Option<OutputHook>,
    materials: Materials,
    /// Results that the agent wants sent.
    unsent: Vec<(ppwasm_proto::fabric::Claim, Finished)>,
    send_at: Option<Instant>,
    exit: Option<WorkerEnd>,
    renewer: Option<Box<dyn Renewer>>,
}

/// How a worker ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkerEnd {
    /// It left, or is not wanted.
    Left(ExitReason),
    /// The coordinator's functions are built for another guest, or its artifacts for another engine: with what the
    /// worker has now it cannot go on.
    GuestChanged,
    /// The coordinator will not have it, today or tomorrow.
    Refused {
        /// Why, for programs.
        code: ErrorCode,
        /// Why, for people.
        reason: String,
    },
}

/// Keeps the certificate of a worker good.
pub trait Renewer: Send + 'static {
    /// Time until it should be renewed; `None` when it never has to be.
    fn due_in(&self, now: SystemTime) -> Option<Duration>;

    /// What to ask the coordinator; `None` when it cannot be asked.
    fn begin(&mut self, now: SystemTime) -> Option<RenewCertificate>;

    /// Takes the answer.
    fn finish(&mut self, issued: CertificateIssued);
}

/// Makes what a task's output goes to as it comes, beside its result. Asked for each attempt.
pub type OutputHook = Box<dyn FnMut(TaskIdentity) -> Option<Sink> + Send>;

/// What a worker in the client's own process is given beforehand.
#[derive(Default)]
pub struct Prepared {
    /// A function that is loaded.
    pub function: Option<Function>,
    /// Standard input of tasks whose job names none.
    pub stdin: SharedBytes,
    /// Files of tasks whose job names none.
    pub inputs: Option<Arc<InputTree>>,
    /// Sees what tasks write as they write it.
    pub output: Option<OutputHook>,
}

/// Changes a worker that runs.
#[derive(Clone, Debug)]
pub struct Handle(mpsc::Sender<Done>);

impl Handle {
    /// Runs so many tasks at once from now on; those that run are finished.
    pub async fn set_slots(&self, slots: u32) {
        let _ = self.0.send(Done::SetSlots(slots)).await;
    }

    /// Finishes what runs, gives the rest back, and leaves.
    pub async fn drain(&self) {
        let _ = self.0.send(Done::Drain).await;
    }
}

/// What comes in beside the coordinator's messages.
enum Done {
    Ran(LeaseId, Box<Result<Report, HostError>>),
    Uploaded(LeaseId, Box<Result<(TaskResult, Finished), Ended>>),
    Loaded(Digest, Option<Function>),
    Call(LeaseId, Option<Arc<[u8]>>),
    Material(Key, Option<Material>),
    SetSlots(u32),
    Drain,
}

/// A result whose bodies are too large for a message, and could not be put yet.
struct Ended(Box<Report>);

struct Session {
    outgoing: mpsc::Sender<Outgoing>,
    incoming: mpsc::Receiver<Result<Message, Closed>>,
    blobs: Box<dyn Blobs>,
}

#[allow(
    clippy::large_enum_variant,
    reason = "nearly all are messages, which are moved"
)]
enum Outgoing {
    Message(Message),
    Close,
}

struct Lease {
    granted: Option<Granted>,
    group: Arc<GrantGroup>,
    call: Payload,
    state: LeaseState,
}

enum LeaseState {
    Waiting,
    /// For its image or its call.
    Preparing,
    Running(CancelToken),
    /// Its result waits for a session to put large bodies.
    Uploading,
}

enum Held {
    /// Leases wait for it.
    Fetching,
    Ready(Function, u64),
}

/// Blobs at the coordinator, whatever the link.
trait Blobs: Send + Sync {
    fn get(&self, digest: Digest, max: u64) -> Getting<Arc<[u8]>>;
    fn put(&self, bytes: Arc<[u8]>) -> Getting<BlobRef>;
}

type Getting<T> = std::pin::Pin<Box<dyn Future<Output = Result<T, BlobFailure>> + Send + 'static>>;

impl<B: BlobPeer> Blobs for B {
    fn get(&self, digest: Digest, max: u64) -> Getting<Arc<[u8]>> {
        let peer = self.clone();
        Box::pin(async move { BlobPeer::get(&peer, digest, max).await })
    }

    fn put(&self, bytes: Arc<[u8]>) -> Getting<BlobRef> {
        let peer = self.clone();
        Box::pin(async move { BlobPeer::put(&peer, bytes).await })
    }
}

impl<D: Dialer> Worker<D> {
    /// A worker that runs tasks on `host` for whoever `dialer` leads to.
    pub fn new(host: Arc<Host>, dialer: D, config: WorkerConfig) -> Self {
        let (tell, done) = mpsc::channel(DONE_MAX);
        Self {
            profile: host.cpu_profile().to_string(),
            host,
            dialer: Arc::new(dialer),
            label: config.label,
            agent: Agent::new(config.agent),
            started: Instant::now(),
            done,
            tell,
            session: None,
            tasks: JoinSet::new(),
            leases: HashMap::new(),
            results: HashMap::new(),
            functions: HashMap::new(),
            used: 0,
            output: None,
            materials: Materials::default(),
            unsent: Vec::new(),
            send_at: None,
            exit: None,
            renewer: None,
        }
    }

    /// Takes what is there already in this process, so that it does not have to be asked for.
    pub fn prepare(&mut self, prepared: Prepared) {
        if let Some(function) = prepared.function {
            let digest = function.bundle_digest();
            self.used += 1;
            let held = Held::Ready(function, self.used);
            self.functions.insert(digest, held);
            let event = Event::ImageHeld {
                function: digest,
                is_held: true,
            };
            // The hello says it; there is nobody to be told before.
            self.agent_event(event, &mut Vec::new());
        }
        self.materials.give_always(prepared.stdin, prepared.inputs);
        self.output = prepared.output;
    }

    /// Has `renewer` keep its certificate good.
    #[must_use]
    pub fn renewed_by(mut self, renewer: impl Renewer) -> Self {
        self.renewer = Some(Box::new(renewer));
        self
    }

    /// Changes it while it runs.
    pub fn handle(&self) -> Handle {
        Handle(self.tell.clone())
    }

    /// Runs until it was drained, or is no longer wanted. Dropping the future is a crash: tasks that run are cancelled,
    /// the coordinator finds the link lost.
    pub async fn run(mut self) -> WorkerEnd {
        let (connected, mut connections) = mpsc::channel::<Option<D::Link>>(1);
        let mut commands = Vec::new();
        loop {
            let now = self.started.elapsed();
            self.agent.tick(now, &mut commands);
            if self.carry_out(&mut commands) {
                let (dialer, connected) = (Arc::clone(&self.dialer), connected.clone());
                self.tasks.spawn(async move {
                    let _ = connected.send(dialer.dial().await.ok()).await;
                });
            }
            self.send_results();
            if let Some(why) = self.exit.take() {
                return self.end(why).await;
            }
            while self.tasks.try_join_next().is_some() {}
            let deadline = self.agent.next_deadline().map(|at| self.started + at);
            let deadlines = [deadline, self.send_at, self.renew()];
            let deadline = deadlines.into_iter().flatten().min();
            tokio::select! {
                Some(done) = self.done.recv() => {
                    self.done(done, &mut commands);
                    for _ in 0..ROUND_MAX {
                        let Ok(done) = self.done.try_recv() else { break };
                        self.done(done, &mut commands);
                    }
                }
                message = receive(&mut self.session) => {
                    self.take(message, &mut commands);
                }
                Some(link) = connections.recv() => match link {
                    Some(link) => {
                        self.open(link);
                        self.agent_event(Event::SessionOpened, &mut commands);
                    }
                    None => self.agent_event(Event::ConnectFailed, &mut commands),
                },
                () = until(deadline) => {}
            }
        }
    }

    async fn end(mut self, why: WorkerEnd) -> WorkerEnd {
        for lease in self.leases.values() {
            if let LeaseState::Running(cancel) = &lease.state {
                cancel.cancel();
            }
        }
        // The goodbye is sent before the link ends.
        if let Some(session) = self.session.take() {
            let _ = session.outgoing.send(Outgoing::Close).await;
            let mut incoming = session.incoming;
            let over = async { while incoming.recv().await.is_some_and(|m| m.is_ok()) {} };
            let _ = tokio::time::timeout(Duration::from_secs(5), over).await;
        }
        why
    }

    fn agent_event(&mut self, event: Event, commands: &mut Vec<Command>) {
        let now = self.started.elapsed();
        self.agent.handle(now, event, commands);
    }

    // The session.

    fn open(&mut self, link: D::Link) {
        let (mut sender, mut receiver, blobs) = link.split();
        let (outgoing, mut queue) = mpsc::channel(OUTGOING_MAX);
        let (arrived, incoming) = mpsc::channel(OUTGOING_MAX);
        self.tasks.spawn(async move {
            // The end of either half is the end of both.
            let writing = async {
                while let Some(next) = queue.recv().await {
                    match next {
                        Outgoing::Message(message) => {
                            if sender.send(message).await.is_err() {
                                return None;
                            }
                        }
                        Outgoing::Close => return Some(sender),
                    }
                }
                None
            };
            let reading = async {
                loop {
                    let next = match receiver.receive().await {
                        Ok(Incoming::Message(message)) => Ok(message),
                        // Nobody gets blobs from a worker.
                        Ok(Incoming::Blob(_)) => continue,
                        Err(closed) => Err(closed),
                    };
                    let is_over = next.is_err();
                    if arrived.send(next).await.is_err() || is_over {
                        return;
                    }
                }
            };
            tokio::select! {
                sender = writing => if let Some(sender) = sender {
                    sender.close(CloseCode::Finished, "the worker leaves");
                },
                () = reading => {}
            }
        });
        self.session = Some(Session {
            outgoing,
            incoming,
            blobs: Box::new(blobs),
        });
    }

    fn take(&mut self, message: Result<Message, Closed>, commands: &mut Vec<Command>) {
        let message = match message {
            Ok(message) => message,
            Err(closed) => {
                self.session = None;
                let event = match closed {
                    Closed::ByPeer { code, .. } => Event::SessionClosed(match code {
                        CloseCode::Superseded => Why::Replaced,
                        CloseCode::Revoked => Why::Revoked,
                        _ => Why::Other,
                    }),
                    Closed::Lost => Event::SessionLost,
                };
                return self.agent_event(event, commands);
            }
        };
        match message {
            Message::Welcome(welcome) => match Terms::try_from(welcome) {
                Ok(terms)
                    if terms
                        .welcome
                        .guest
                        .is_some_and(|g| g != self.host.guest_digest()) =>
                {
                    self.exit = Some(WorkerEnd::GuestChanged);
                }
                Ok(terms) => {
                    let slots = terms
                        .welcome
                        .slots
                        .and_then(|slots| u32::try_from(slots).ok());
                    let event = Event::Welcomed {
                        lease: terms.lease,
                        report_every: terms.report_every,
                        refused: terms.welcome.refused.into_vec(),
                    };
                    self.agent_event(event, commands);
                    if let Some(slots) = slots {
                        self.set_slots(slots, commands);
                    }
                    self.resume(commands);
                }
                Err(_) => self.lose_session(commands),
            },
            Message::Refused(refused) => self.refused(refused, commands),
            Message::CertificateIssued(issued) => {
                if let Some(renewer) = &mut self.renewer {
                    renewer.finish(issued);
                }
            }
            Message::Grant(grant) => {
                let lasts = Duration::from_millis(grant.lease_ms.value());
                for group in grant.groups {
                    self.granted(group, lasts, commands);
                }
            }
            Message::ImageReady(ready) => {
                self.fetch_image(ready.function, ready.image);
            }
            Message::ImageMissing(missing) => self.loaded(missing.function, None, commands),
            Message::SetSlots(set) => {
                self.set_slots(u32::try_from(set.slots.value()).unwrap_or(1), commands);
            }
            Message::Ping(ping) => {
                let number = ping.number;
                self.send(wire::Pong { number }.into());
            }
            other => {
                if let Some(event) = messages::event(other) {
                    self.agent_event(event, commands);
                }
            }
        }
    }

    fn refused(&mut self, refused: Refused, commands: &mut Vec<Command>) {
        tracing::warn!(code = %refused.code, reason = refused.reason.as_str(), "refused");
        match refused.code {
            ErrorCode::TargetUnsupported => self.exit = Some(WorkerEnd::GuestChanged),
            ErrorCode::VersionUnsupported
            | ErrorCode::PermissionDenied
            | ErrorCode::InvalidValue
            | ErrorCode::Revoked
            | ErrorCode::Expired => {
                self.exit = Some(WorkerEnd::Refused {
                    code: refused.code,
                    reason: refused.reason.into_string(),
                });
            }
            _ => self.lose_session(commands),
        }
    }

    /// Asks for a new certificate when it is time; when it will be.
    fn renew(&mut self) -> Option<Instant> {
        self.session.as_ref()?;
        let renewer = self.renewer.as_mut()?;
        let now = SystemTime::now();
        if renewer.due_in(now)?.is_zero()
            && let Some(message) = renewer.begin(now)
        {
            self.send(message.into());
        }
        let due_in = self.renewer.as_ref()?.due_in(now)?;
        // A clock that is set shows within that time.
        Some(Instant::now() + due_in.clamp(RENEWAL_PAUSE_MIN, RENEWAL_PAUSE_MAX))
    }

    fn lose_session(&mut self, commands: &mut Vec<Command>) {
        self.session = None;
        self.agent_event(Event::SessionLost, commands);
    }

    /// After a session began: what an earlier one was asked for is asked for again.
    fn resume(&mut self, commands: &mut Vec<Command>) {
        self.materials.forget_awaited();
        let is_fetching = |held: &Held| matches!(held, Held::Fetching);
        let fetching = self.functions.iter().filter(|(_, held)| is_fetching(held));
        let fetching: Vec<_> = fetching.map(|(function, _)| *function).collect();
        for function in fetching {
            self.send(ImageWanted { function }.into());
        }
        let preparing = |lease: &Lease| matches!(lease.state, LeaseState::Preparing);
        let preparing = self.leases.iter().filter(|(_, lease)| preparing(lease));
        let preparing: Vec<_> = preparing.map(|(lease, _)| *lease).collect();
        for lease in preparing {
            self.make_ready(lease, commands);
        }
    }

    fn send(&mut self, message: Message) {
        if let Some(session) = &self.session
            && session
                .outgoing
                .try_send(Outgoing::Message(message))
                .is_err()
        {
            // The coordinator does not read; the agent hears of the end as of a loss.
            self.session = None;
            let _ = self.tell.try_send(Done::Call(LeaseId(0), None));
        }
    }

    // The agent's commands.

    /// True when a connection is wanted.
    fn carry_out(&mut self, commands: &mut Vec<Command>) -> bool {
        let mut connect = false;
        let mut next = VecDeque::from(std::mem::take(commands));
        while let Some(command) = next.pop_front() {
            match command {
                Command::Connect => connect = true,
                Command::Disconnect => {
                    if let Some(session) = &self.session {
                        let _ = session.outgoing.try_send(Outgoing::Close);
                    }
                    if self.exit.is_none() && !next.iter().any(|c| matches!(c, Command::Exit(_))) {
                        self.session = None;
                    }
                }
                Command::Send(agent::Message::Ended(results)) => self.unsent.extend(results),
                Command::Send(message @ agent::Message::Hello { .. }) => {
                    // What was to be sent in the session before is offered again by the agent.
                    self.unsent.clear();
                    if let Some(hello) = messages::hello(message, &self.label, &self.profile) {
                        self.send(hello);
                    }
                }
                Command::Send(message) => {
                    if let agent::Message::GaveBack(given) = &message {
                        for (lease, _) in given {
                            self.leases.remove(lease);
                        }
                    }
                    for message in messages::to_wire(message) {
                        self.send(message);
                    }
                }
                Command::Start(granted) => {
                    let lease = granted.claim.lease;
                    if let Some(held) = self.leases.get_mut(&lease) {
                        held.granted = Some(granted);
                        held.state = LeaseState::Preparing;
                    }
                    self.make_ready(lease, commands);
                }
                Command::Stop(lease) => self.stop(lease, commands),
                Command::DropResult(lease) => {
                    self.results.remove(&lease);
                    self.leases.remove(&lease);
                }
                Command::Exit(why) => self.exit = Some(WorkerEnd::Left(why)),
            }
            next.extend(commands.drain(..));
        }
        connect
    }

    fn granted(&mut self, mut group: GrantGroup, lasts: Duration, commands: &mut Vec<Command>) {
        let tasks = std::mem::take(&mut group.tasks);
        let group = Arc::new(group);
        let mut leases = Vec::with_capacity(tasks.len());
        for task in tasks {
            let granted = Granted {
                claim: messages::claim(&group, &task),
                alone: task.alone == Some(true),
            };
            leases.push(granted);
            self.leases.entry(task.lease).or_insert_with(|| Lease {
                granted: None,
                group: Arc::clone(&group),
                call: task.call,
                state: LeaseState::Waiting,
            });
        }
        self.agent_event(Event::Granted { leases, lasts }, commands);
    }

    /// Starts a lease, or gets what is missing for that.
    fn make_ready(&mut self, id: LeaseId, commands: &mut Vec<Command>) {
        let Some(lease) = self.leases.get(&id) else {
            let failed = Event::ExecutionFailed(id, GiveBackReason::InputUnavailable);
            return self.agent_event(failed, commands);
        };
        let group = Arc::clone(&lease.group);
        let function = match self.functions.get_mut(&group.function) {
            Some(Held::Ready(function, used)) => {
                self.used += 1;
                *used = self.used;
                function.clone()
            }
            Some(Held::Fetching) => return,
            None => {
                self.functions.insert(group.function, Held::Fetching);
                let function = group.function;
                return self.send(ImageWanted { function }.into());
            }
        };
        let given = match self.materials.of(&group) {
            Ok(given) => given,
            Err(Missing::Awaited) => return,
            Err(Missing::Wanted(key, blob)) => return self.fetch_material(key, blob),
        };
        let Some(lease) = self.leases.get(&id) else {
            return;
        };
        match &lease.call {
            Payload::Inline(bytes) => {
                let call = messages::decode_call(bytes);
                self.start(id, &group, &function, call, given, commands);
            }
            Payload::Blob(blob) => {
                let (digest, tell) = (blob.digest, self.tell.clone());
                let Some(session) = &self.session else { return };
                let getting = session.blobs.get(digest, CALL_BYTES_MAX);
                self.tasks.spawn(async move {
                    match getting.await {
                        Err(BlobFailure::Lost) => {}
                        got => drop(tell.send(Done::Call(id, got.ok())).await),
                    }
                });
            }
        }
    }

    fn start(
        &mut self,
        id: LeaseId,
        group: &GrantGroup,
        function: &Function,
        call: Option<ppwasm_proto::Call>,
        given: Given,
        commands: &mut Vec<Command>,
    ) {
        let Some(call) = call else {
            return self.fail(id, GiveBackReason::InputUnavailable, commands);
        };
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        let Some(granted) = lease.granted else { return };
        let cancel = CancelToken::new();
        let mut task = Task::new(call)
            .limits(group.limits)
            .identity(granted.claim.identity)
            .time(messages::time(group.time))
            .keep_instance(group.keep_instance == Some(true))
            .hash_memory(group.hash_memory == Some(true))
            .stdin(given.stdin)
            .cancel_token(cancel.clone());
        if let Some(inputs) = given.inputs {
            task = task.inputs(inputs);
        }
        let hook = self.output.as_mut();
        if let Some(sink) = hook.and_then(|output| output(granted.claim.identity)) {
            task = task.output_sink(sink);
        }
        lease.state = LeaseState::Running(cancel);
        let tell = self.tell.clone();
        // On the slot's thread. Nobody listens any more when the worker has ended.
        self.host.start_with(function, task, move |report| {
            let _ = tell.blocking_send(Done::Ran(id, Box::new(report)));
        });
    }

    fn fetch_material(&mut self, key: Key, blob: BlobRef) {
        let Some(session) = &self.session else { return };
        let (usage, _) = key;
        let getting = session.blobs.get(blob.digest, MATERIAL_BYTES_MAX);
        let tell = self.tell.clone();
        self.tasks.spawn(async move {
            let material = match getting.await {
                Ok(bytes) => Material::read(usage, bytes),
                // The next session gets it.
                Err(BlobFailure::Lost) => return,
                Err(_) => None,
            };
            let _ = tell.send(Done::Material(key, material)).await;
        });
    }

    fn material_came(&mut self, key: Key, material: Option<Material>, commands: &mut Vec<Command>) {
        let is_there = material.is_some();
        self.materials.came(key, material);
        let named = |group: &GrantGroup| [group.stdin, group.inputs];
        let waiting = |lease: &Lease| {
            let mut named = named(&lease.group).into_iter().flatten();
            matches!(lease.state, LeaseState::Preparing) && named.any(|blob| blob.digest == key.1)
        };
        let waiting = self.leases.iter().filter(|(_, lease)| waiting(lease));
        let waiting: Vec<_> = waiting.map(|(lease, _)| *lease).collect();
        for lease in waiting {
            if is_there {
                self.make_ready(lease, commands);
            } else {
                self.fail(lease, GiveBackReason::InputUnavailable, commands);
            }
        }
    }

    fn fail(&mut self, lease: LeaseId, why: GiveBackReason, commands: &mut Vec<Command>) {
        self.leases.remove(&lease);
        self.agent_event(Event::ExecutionFailed(lease, why), commands);
    }

    fn stop(&mut self, id: LeaseId, commands: &mut Vec<Command>) {
        match self.leases.get(&id).map(|lease| &lease.state) {
            Some(LeaseState::Running(cancel)) => cancel.cancel(),
            Some(LeaseState::Uploading) => {}
            Some(LeaseState::Waiting | LeaseState::Preparing) | None => {
                self.leases.remove(&id);
                self.agent_event(Event::ExecutionStopped(id), commands);
            }
        }
    }

    // What the host has done.

    fn done(&mut self, done: Done, commands: &mut Vec<Command>) {
        match done {
            Done::Ran(lease, report) => self.ran(lease, *report, commands),
            Done::Uploaded(lease, uploaded) => match *uploaded {
                Ok((result, finished)) => {
                    self.results.insert(lease, result);
                    self.agent_event(Event::ExecutionEnded(finished), commands);
                }
                Err(Ended(report)) => self.finish(lease, *report, commands),
            },
            Done::Loaded(function, loaded) => self.loaded(function, loaded, commands),
            Done::Call(lease, None) => {
                if self.session.is_none() {
                    self.agent_event(Event::SessionLost, commands);
                }
                if self.leases.contains_key(&lease) {
                    self.fail(lease, GiveBackReason::InputUnavailable, commands);
                }
            }
            Done::Call(id, Some(bytes)) => {
                let Some(lease) = self.leases.get(&id) else {
                    return;
                };
                let group = Arc::clone(&lease.group);
                if let Some(Held::Ready(function, _)) = self.functions.get(&group.function)
                    && let Ok(given) = self.materials.of(&group)
                {
                    let function = function.clone();
                    let call = messages::decode_call(&bytes);
                    self.start(id, &group, &function, call, given, commands);
                } else {
                    // Dropped while the call was on its way.
                    self.make_ready(id, commands);
                }
            }
            Done::Material(key, material) => self.material_came(key, material, commands),
            Done::SetSlots(slots) => self.set_slots(slots, commands),
            Done::Drain => self.agent_event(Event::DrainRequested, commands),
        }
    }

    fn ran(
        &mut self,
        lease: LeaseId,
        report: Result<Report, HostError>,
        commands: &mut Vec<Command>,
    ) {
        match report {
            Ok(report) if report.outcome == ppwasm_proto::Outcome::Cancelled => {
                self.leases.remove(&lease);
                self.agent_event(Event::ExecutionStopped(lease), commands);
            }
            Ok(report) => self.finish(lease, report, commands),
            Err(error) => {
                let why = match error {
                    HostError::Limits(_) => GiveBackReason::LimitsUnsupported,
                    HostError::Stopped => GiveBackReason::Cancelled,
                    _ => GiveBackReason::HostFailed,
                };
                self.fail(lease, why, commands);
            }
        }
    }

    /// Makes a result of a report. Bodies that are too large for a message are put as blobs first.
    fn finish(&mut self, id: LeaseId, report: Report, commands: &mut Vec<Command>) {
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        let Some(granted) = lease.granted else { return };
        let outcome = encode_outcome(&report.outcome);
        let kind = messages::kind(&report.outcome);
        let finished = Finished {
            lease: id,
            outcome: kind,
            run_time: report.usage.wall_time,
            outcome_bytes: outcome.len() as u64,
        };
        let result = TaskResult {
            claim: granted.claim,
            kind,
            outcome: Payload::empty(),
            stdout: None,
            stderr: None,
            usage: wire::Usage {
                wall_us: u64::try_from(report.usage.wall_time.as_micros()).unwrap_or(u64::MAX),
                memory_bytes: report.usage.memory_bytes,
                memory_digest: report.memory_digest,
            },
        };
        let largest = outcome
            .len()
            .max(report.stdout.len())
            .max(report.stderr.len());
        if largest <= INLINE_BYTES_MAX {
            let inline = |bytes: Vec<u8>| {
                let bytes = wire::Bytes::try_from(bytes);
                bytes.map_or_else(|_| Payload::empty(), Payload::Inline)
            };
            let some = |bytes: Vec<u8>| (!bytes.is_empty()).then(|| inline(bytes));
            let result = TaskResult {
                outcome: inline(outcome),
                stdout: some(report.stdout),
                stderr: some(report.stderr),
                ..result
            };
            self.results.insert(id, result);
            return self.agent_event(Event::ExecutionEnded(finished), commands);
        }
        lease.state = LeaseState::Uploading;
        let tell = self.tell.clone();
        let blobs = self.session.as_ref().map(|session| {
            let bodies = [outcome, report.stdout.clone(), report.stderr.clone()];
            bodies.map(|bytes| put(&*session.blobs, bytes))
        });
        self.tasks.spawn(async move {
            let uploaded = async {
                let [outcome, stdout, stderr] = blobs?;
                let (outcome, stdout, stderr) = (outcome.await?, stdout.await?, stderr.await?);
                let some = |payload: Payload| (payload.byte_count() > 0).then_some(payload);
                Some(TaskResult {
                    outcome,
                    stdout: some(stdout),
                    stderr: some(stderr),
                    ..result
                })
            };
            let uploaded = match uploaded.await {
                Some(result) => Ok((result, finished)),
                None => {
                    // There is no session, or it is lost: the next one is tried.
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    Err(Ended(Box::new(report)))
                }
            };
            let _ = tell.send(Done::Uploaded(id, Box::new(uploaded))).await;
        });
    }

    fn set_slots(&mut self, slots: u32, commands: &mut Vec<Command>) {
        // With fewer threads than the agent believes tasks would wait in the host: the host's number counts.
        let wanted = usize::try_from(slots).unwrap_or(usize::MAX);
        if self.host.set_slots(wanted).is_ok() {
            let slots = u32::try_from(self.host.slots()).unwrap_or(slots);
            self.agent_event(Event::SlotsSet(slots), commands);
        }
    }

    // Images.

    fn fetch_image(&mut self, function: Digest, image: BlobRef) {
        if matches!(self.functions.get(&function), Some(Held::Ready(..))) {
            return;
        }
        self.functions.insert(function, Held::Fetching);
        let Some(session) = &self.session else { return };
        let getting = session.blobs.get(image.digest, IMAGE_BYTES_MAX);
        let (host, tell) = (Arc::clone(&self.host), self.tell.clone());
        self.tasks.spawn(async move {
            let bytes = match getting.await {
                Ok(bytes) => bytes,
                // The next session asks again.
                Err(BlobFailure::Lost) => return,
                Err(_) => return drop(tell.send(Done::Loaded(function, None)).await),
            };
            // The blob has been compared with its digest; the image says itself which function it is.
            let load = move || {
                let loaded = host.load_image(Image::from_bytes(&bytes).ok()?).ok()?;
                (loaded.bundle_digest() == function).then_some(loaded)
            };
            let loaded = tokio::task::spawn_blocking(load).await.ok().flatten();
            let _ = tell.send(Done::Loaded(function, loaded)).await;
        });
    }

    fn loaded(&mut self, digest: Digest, loaded: Option<Function>, commands: &mut Vec<Command>) {
        let waiting = |lease: &Lease| {
            lease.group.function == digest && matches!(lease.state, LeaseState::Preparing)
        };
        let waiting = self.leases.iter().filter(|(_, lease)| waiting(lease));
        let waiting: Vec<_> = waiting.map(|(lease, _)| *lease).collect();
        let Some(function) = loaded else {
            if !matches!(self.functions.get(&digest), Some(Held::Ready(..))) {
                self.functions.remove(&digest);
                for lease in waiting {
                    self.fail(lease, GiveBackReason::ImageUnavailable, commands);
                }
            }
            return;
        };
        self.used += 1;
        self.functions
            .insert(digest, Held::Ready(function, self.used));
        let event = Event::ImageHeld {
            function: digest,
            is_held: true,
        };
        self.agent_event(event, commands);
        for lease in waiting {
            self.make_ready(lease, commands);
        }
        if self.functions.len() > FUNCTIONS_MAX {
            self.drop_oldest(commands);
        }
    }

    fn drop_oldest(&mut self, commands: &mut Vec<Command>) {
        let ready = self
            .functions
            .iter()
            .filter_map(|(function, held)| match held {
                Held::Ready(_, used) => Some((*used, *function)),
                Held::Fetching => None,
            });
        if let Some((_, function)) = ready.min() {
            self.functions.remove(&function);
            let is_held = false;
            self.agent_event(Event::ImageHeld { function, is_held }, commands);
        }
    }

    // Results.

    /// Sends results, unless more will come at once to go with them.
    fn send_results(&mut self) {
        if self.unsent.is_empty() {
            self.send_at = None;
            return;
        }
        let now = Instant::now();
        let send_at = *self.send_at.get_or_insert(now + LINGER);
        let others_run = self.agent.running().next().is_some();
        if others_run && now < send_at && self.unsent.len() < BATCH_MAX {
            return;
        }
        self.send_at = None;
        let mut batch = Vec::new();
        let mut bytes = 0;
        for (claim, _) in std::mem::take(&mut self.unsent) {
            let Some(result) = self.results.get(&claim.lease) else {
                continue;
            };
            bytes += weight(result);
            batch.push(result.clone());
            if batch.len() >= BATCH_MAX || bytes >= BATCH_BYTES {
                let results = List::try_from(std::mem::take(&mut batch)).unwrap_or_default();
                self.send(wire::Ended { results }.into());
                bytes = 0;
            }
        }
        if !batch.is_empty() {
            let results = List::try_from(batch).unwrap_or_default();
            self.send(wire::Ended { results }.into());
        }
    }
}

impl<D: Dialer> Drop for Worker<D> {
    fn drop(&mut self) {
        for lease in self.leases.values() {
            if let LeaseState::Running(cancel) = &lease.state {
                cancel.cancel();
            }
        }
    }
}

fn weight(result: &TaskResult) -> usize {
    let inline = |payload: &Payload| match payload {
        Payload::Inline(bytes) => bytes.len(),
        Payload::Blob(_) => 0,
    };
    let optional = |payload: &Option<Payload>| payload.as_ref().map_or(0, inline);
    inline(&result.outcome) + optional(&result.stdout) + optional(&result.stderr)
}

fn put(blobs: &dyn Blobs, bytes: Vec<u8>) -> impl Future<Output = Option<Payload>> + use<> {
    let putting = (bytes.len() > INLINE_BYTES_MAX).then(|| blobs.put(bytes.clone().into()));
    async move {
        match putting {
            Some(putting) => putting.await.ok().map(Payload::Blob),
            None => wire::Bytes::try_from(bytes).ok().map(Payload::Inline),
        }
    }
}

async fn receive(session: &mut Option<Session>) -> Result<Message, Closed> {
    match session {
        Some(session) => session.incoming.recv().await.unwrap_or(Err(Closed::Lost)),
        None => std::future::pending().await,
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
