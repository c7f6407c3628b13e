//! Drives the agent: a link on one side, a host on the other.
//!
//! One task owns the agent and renews its leases; guests run on the host's own threads, so that no guest can keep a lease
//! from being renewed. What the host and the link say comes in through one bounded queue each.

mod functions;
mod materials;
mod results;
mod session;
mod tasks;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ppwasm_host::wasi::{InputTree, SharedBytes, Sink};
use ppwasm_host::{Function, Host, HostError, Report};
use ppwasm_link::{DialError, Dialer};
use ppwasm_proto::fabric::{Claim, GiveBackReason, LeaseId};
use ppwasm_proto::wire::{CertificateIssued, ErrorCode, RenewCertificate, TaskResult};
use ppwasm_proto::{Digest, TaskIdentity};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::agent::{self, Agent, Command, Event, ExitReason, Finished};
use crate::messages;

use self::functions::Held;
use self::materials::{Key, Material, Materials};
use self::results::Ended;
use self::session::{Outgoing, Session, receive};
use self::tasks::{Lease, LeaseState};

/// Things that the host has done and the agent has not heard of.
const DONE_MAX: usize = 8192;
/// Messages that are taken before results are sent.
const ROUND_MAX: usize = 128;

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
    offer: messages::Offer,
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
    /// Hears why the host could not run a task.
    failure: Option<FailureHook>,
    /// Commands of the agent from before it ran.
    due: Vec<Command>,
    materials: Materials,
    /// Results that the agent wants sent.
    unsent: Vec<(Claim, Finished)>,
    send_at: Option<Instant>,
    exit: Option<WorkerEnd>,
    renewer: Option<Box<dyn Renewer>>,
}

/// How a worker ended.
#[derive(Clone, Debug)]
pub enum WorkerEnd {
    /// It left, or is not wanted.
    Left(ExitReason),
    /// The coordinator's functions are built for another guest, or its artifacts for another engine: with what the
    /// worker has now it cannot go on.
    GuestChanged,
    /// One end does not take the other's certificate.
    Rejected(DialError),
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

/// Hears why the host could not run a task, which is then tried elsewhere or given up.
pub type FailureHook = Box<dyn FnMut(&HostError) + Send>;

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
    /// Hears what goes wrong with the host.
    pub failure: Option<FailureHook>,
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

impl<D: Dialer> Worker<D> {
    /// A worker that runs tasks on `host` for whoever `dialer` leads to.
    pub fn new(host: Arc<Host>, dialer: D, config: WorkerConfig) -> Self {
        let (tell, done) = mpsc::channel(DONE_MAX);
        Self {
            offer: messages::Offer::of(&host),
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
            failure: None,
            due: Vec::new(),
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
            // The hello says it. What is due anyway is carried out when the worker runs.
            let mut commands = std::mem::take(&mut self.due);
            self.agent_event(event, &mut commands);
            self.due = commands;
        }
        self.materials.give_always(prepared.stdin, prepared.inputs);
        self.output = prepared.output;
        self.failure = prepared.failure;
    }

    /// Has `hears` told why the host could not run a task.
    #[must_use]
    pub fn tells_failures(mut self, hears: FailureHook) -> Self {
        self.failure = Some(hears);
        self
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
        let (connected, mut connections) = mpsc::channel(1);
        let mut commands = std::mem::take(&mut self.due);
        loop {
            let now = self.started.elapsed();
            self.agent.tick(now, &mut commands);
            if self.carry_out(&mut commands) {
                let (dialer, connected) = (Arc::clone(&self.dialer), connected.clone());
                self.tasks.spawn(async move {
                    let _ = connected.send(dialer.dial().await).await;
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
                    Ok(link) => {
                        self.open(link);
                        self.agent_event(Event::SessionOpened, &mut commands);
                    }
                    Err(error) => self.not_connected(error, &mut commands),
                },
                () = until(deadline) => {}
            }
        }
    }

    fn not_connected(&mut self, error: DialError, commands: &mut Vec<Command>) {
        let reason = std::error::Error::source(&error).map(ToString::to_string);
        tracing::warn!(%error, reason, "no session");
        match error {
            DialError::Unreachable(_) => self.agent_event(Event::ConnectFailed, commands),
            DialError::Rejected(..) => self.exit = Some(WorkerEnd::Rejected(error)),
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

    fn set_slots(&mut self, slots: u32, commands: &mut Vec<Command>) {
        // With fewer threads than the agent believes tasks would wait in the host: the host's number counts.
        let wanted = usize::try_from(slots).unwrap_or(usize::MAX);
        if self.host.set_slots(wanted).is_ok() {
            let slots = u32::try_from(self.host.slots()).unwrap_or(slots);
            self.agent_event(Event::SlotsSet(slots), commands);
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

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
