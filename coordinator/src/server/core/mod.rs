//! The loop that owns the scheduler: events in, one batch to the store, and only then what follows from it.
//!
//! Steps are put into groups; a group is committed as one batch, and its effects are carried out in order once it, and all
//! before it, are durable. A grant of tasks that were just appended goes out at once when it overtakes nothing: such a task
//! runs while it is written ([`Command::may_be_early`]). Bodies go around the scheduler: they come in with an event and leave with the record that
//! names them.

mod directory;
mod effects;
mod explain;
mod input;
mod queries;
mod verified;
mod withheld;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ppwasm_proto::fabric::{SessionId, WorkerId};
use ppwasm_proto::wire::{BlobRef, CREDIT_MAX, List};
use ppwasm_proto::{JobId, TaskId};
use ppwasm_scheduler::{
    Command, Event, Micros, Outbox, Record, RequestId, Scheduler, TaskEnd, Timestamp,
};
use tokio::sync::{Semaphore, mpsc, watch as signal};
use tokio::task::JoinSet;
use tracing::{error, info};

use self::directory::{Directory, place};
use self::effects::Effect;
pub(crate) use self::explain::time;
pub(crate) use self::input::{Ask, Input, LookedUp, Offer, failed};
use self::withheld::Withheld;
pub(crate) use self::withheld::digest as result_digest;
use super::session::Outgoing;
use super::terms::JobTerms;
use super::watch::{self, Watch};
use super::{ServerError, Shared};
use crate::store::{Batch, Body, CommitError, TaskResult, Write};
/// Events that wait for the core, each a message at most.
pub(crate) const INPUTS_MAX: usize = 256;
/// Events that are handled before what came of them is committed.
const INPUTS_PER_GROUP_MAX: usize = 256;
/// Writes from which a group ends.
const GROUP_WRITES: usize = 4096;
/// Bytes of bodies from which a group ends.
const GROUP_BYTES: usize = 4 << 20;
/// Groups that wait for those before them; with more nothing is read from sessions.
const GROUPS_MAX: usize = 8;
/// Groups that the store has at a time: one is written while the next one is collected.
const IN_FLIGHT_MAX: usize = 2;
/// Tasks that a client may append beyond those that are durable.
pub(crate) const APPEND_CREDIT: u64 = 8192;
/// Images that are built at a time.
const BUILDS_MAX: usize = 1;
/// Tries to build an image when the builder fails.
const BUILD_TRIES: u32 = 5;
/// Time between them.
const BUILD_PAUSE: Duration = Duration::from_secs(1);
/// How often free space is looked at.
const SPACE_EVERY: Duration = Duration::from_millis(500);
/// Bytes beyond those that the store keeps free: nothing new is begun with less, so that what has begun can be recorded.
const SPACE_MARGIN: u64 = 64 << 20;
/// Jobs that are forgotten, or whose blobs are said again, in one step.
const JOBS_PER_STEP: usize = 200;
/// Jobs that are read at a time when the coordinator starts.
const JOBS_PER_READ: u32 = 1000;
/// Watches of one job.
const JOB_WATCHES_MAX: usize = 64;

/// Steps that become durable together, and what follows.
#[derive(Default)]
struct Group {
    writes: Vec<Write>,
    bytes: usize,
    effects: Vec<Effect>,
    /// Writes and effects that a grant must not overtake.
    ordered: usize,
}

impl Group {
    fn push_effect(&mut self, effect: Effect) {
        let is_answer = matches!(&effect, Effect::Command(command) if command.is_answer());
        self.ordered += usize::from(!is_answer);
        self.effects.push(effect);
    }
}

/// A group that the store has.
struct InFlight {
    effects: Vec<Effect>,
    ordered: usize,
    writes: u64,
    since: Instant,
}

/// Who waits for an answer of the scheduler.
struct Asker {
    session: SessionId,
    request: u32,
    job: JobId,
    kind: AskKind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum AskKind {
    Open,
    Append,
    /// More of a message whose beginning was appended by itself.
    AppendRest,
    Other,
}

/// Bodies of the event that is being handled.
#[derive(Default)]
struct Bodies {
    details: Vec<u8>,
    /// The bundle, and other blobs that the job names.
    blobs: Vec<BlobRef>,
    first: u64,
    calls: Vec<Body>,
    /// Of tasks whose outcome is known as they are added.
    found: BTreeMap<TaskId, TaskResult>,
    results: Vec<(ppwasm_proto::fabric::LeaseId, TaskResult)>,
    next_result: usize,
}

/// A session as the core knows it.
struct Connected {
    outgoing: mpsc::Sender<Outgoing>,
    /// Whose it is, once it has said hello.
    worker: Option<WorkerId>,
    /// The minor version that both speak.
    minor: u64,
}

pub(crate) struct Core {
    shared: Arc<Shared>,
    scheduler: Scheduler,
    started: Instant,
    inputs: mpsc::Receiver<Input>,
    stop: signal::Receiver<bool>,
    committed: mpsc::Receiver<Result<(), CommitError>>,
    commit: mpsc::Sender<Result<(), CommitError>>,
    open: Group,
    waiting: VecDeque<Group>,
    /// The groups that the store has.
    in_flight: VecDeque<InFlight>,
    /// `ordered` of the group whose effects are being carried out.
    leaving: usize,
    sessions: HashMap<SessionId, Connected>,
    askers: HashMap<RequestId, Asker>,
    next_request: u64,
    watches: HashMap<JobId, Vec<Arc<Watch>>>,
    directory: Directory,
    /// Slots that the operator gave workers, as the store has them.
    slots: HashMap<WorkerId, u64>,
    /// When free space was looked at, and whether it was enough to begin something new.
    space: Option<(Instant, bool)>,
    builds: JoinSet<()>,
    may_build: Arc<Semaphore>,
    outbox: Outbox,
    /// Bodies of outcomes that wait for another worker's.
    withheld: Withheld,
}

impl Core {
    /// A core that goes on where the store ends.
    pub(crate) fn restore(
        shared: Arc<Shared>,
        inputs: mpsc::Receiver<Input>,
        stop: signal::Receiver<bool>,
    ) -> Result<Self, ServerError> {
        let mut records = Vec::new();
        (shared.store).recover(&mut |record| records.push(record))?;
        let directory = read_directory(&shared, &records)?;
        let (jobs, epoch_number) = (directory.live(), shared.store.epoch().number());
        info!(jobs, epoch = epoch_number, "restored what is in the store");
        let mut config = shared.config.scheduler.clone();
        config.lease_key = shared.store.lease_key();
        let mut outbox = Outbox::default();
        let (epoch, now) = (shared.store.epoch(), Timestamp::ZERO);
        let scheduler = Scheduler::restore(config, epoch, now, records, &mut outbox)?;
        let wished = shared.store.wished_slots()?.into_iter();
        let slots = wished.map(|(worker, slots)| (worker, slots.into()));
        let slots = slots.collect();
        let (commit, committed) = mpsc::channel(IN_FLIGHT_MAX);
        let mut core = Self {
            shared,
            scheduler,
            started: Instant::now(),
            inputs,
            stop,
            committed,
            commit,
            open: Group::default(),
            waiting: VecDeque::new(),
            in_flight: VecDeque::new(),
            leaving: 0,
            sessions: HashMap::new(),
            askers: HashMap::new(),
            next_request: 0,
            watches: HashMap::new(),
            directory,
            slots,
            space: None,
            builds: JoinSet::new(),
            may_build: Arc::new(Semaphore::new(BUILDS_MAX)),
            outbox,
            withheld: Withheld::default(),
        };
        core.take_step(&mut Bodies::default());
        core.stop_failed_jobs();
        Ok(core)
    }

    /// Runs until it is told to stop, or the store fails.
    pub(crate) async fn run(mut self) -> Result<(), ServerError> {
        let mut arrived = Vec::with_capacity(INPUTS_PER_GROUP_MAX);
        loop {
            self.end_group();
            self.submit()?;
            while self.builds.try_join_next().is_some() {}
            let deadline = self.scheduler.next_deadline();
            let deadline = deadline.map(|at| self.started + Duration::from_micros(at.0));
            let has_room = self.waiting.len() < GROUPS_MAX;
            tokio::select! {
                biased;
                _ = self.stop.changed() => {
                    // What is on its way to the disk is still acknowledged.
                    while !self.in_flight.is_empty() && let Some(result) = self.committed.recv().await {
                        self.has_committed(result)?;
                    }
                    return Ok(());
                }
                Some(result) = self.committed.recv() => self.has_committed(result)?,
                _ = self.inputs.recv_many(&mut arrived, INPUTS_PER_GROUP_MAX), if has_room => {
                    for input in arrived.drain(..) {
                        self.take(input);
                    }
                }
                () = until(deadline), if has_room => {
                    let now = self.now();
                    self.scheduler.tick(now, &mut self.outbox);
                    self.take_step(&mut Bodies::default());
                }
            }
        }
    }

    /// The oldest group that was on its way is durable, or will never be.
    fn has_committed(&mut self, result: Result<(), CommitError>) -> Result<(), ServerError> {
        if let Err(error) = &result {
            error!(error = %chain(error), "the store did not take a batch");
        }
        result?;
        if let Some(group) = self.in_flight.pop_front() {
            self.shared
                .figures
                .commit(group.writes, group.since.elapsed());
            self.carry_out_all(group.effects, group.ordered);
        }
        Ok(())
    }

    fn carry_out_all(&mut self, effects: Vec<Effect>, ordered: usize) {
        self.leaving = ordered;
        for effect in effects {
            self.carry_out(effect);
        }
        self.leaving = 0;
    }

    fn now(&self) -> Timestamp {
        Timestamp(Micros::from(self.started.elapsed()).0)
    }

    fn handle(&mut self, event: Event, bodies: &mut Bodies) {
        let now = self.now();
        self.scheduler.handle(now, event, &mut self.outbox);
        self.take_step(bodies);
    }

    // From a step to writes and effects.

    fn take_step(&mut self, bodies: &mut Bodies) {
        let mut records = std::mem::take(&mut self.outbox.records);
        for record in records.drain(..) {
            self.take_record(record, bodies);
        }
        self.outbox.records = records;
        let mut commands = std::mem::take(&mut self.outbox.commands);
        for command in commands.drain(..) {
            if let Some(command) = self.grant_early(command) {
                self.open.push_effect(Effect::Command(command));
            }
        }
        self.outbox.commands = commands;
        if self.open.writes.len() >= GROUP_WRITES || self.open.bytes >= GROUP_BYTES {
            self.end_group();
        }
    }

    /// Carries a command out if it need not wait for the store; otherwise it comes back.
    fn grant_early(&mut self, command: Command) -> Option<Command> {
        let waiting = self.waiting.iter().map(|group| group.ordered);
        let in_flight = self.in_flight.iter().map(|group| group.ordered);
        let ordered =
            self.leaving + self.open.ordered + waiting.sum::<usize>() + in_flight.sum::<usize>();
        if !command.may_be_early() || ordered > 0 {
            return Some(command);
        }
        match command {
            Command::Grant {
                session,
                mut leases,
                lasts,
            } => {
                let calls = self.shared.recent_calls(&leases);
                if calls.is_some() && self.scheduler.make_early(session, &mut leases) {
                    self.grant(session, leases, lasts, calls);
                    return None;
                }
                Some(Command::Grant {
                    session,
                    leases,
                    lasts,
                })
            }
            command => {
                self.carry_out_command(command);
                None
            }
        }
    }

    fn take_record(&mut self, record: Record, bodies: &mut Bodies) {
        let group = &mut self.open;
        group.ordered += usize::from(!record.lets_grants_pass());
        let write = match record {
            Record::JobSubmitted { job, spec } => {
                group.writes.extend(bodies.blobs.drain(..).map(pin));
                group.push_effect(Effect::JobSubmitted(job));
                let details = std::mem::take(&mut bodies.details);
                Write::JobSubmitted { job, spec, details }
            }
            Record::TasksAdded { job, first, count } => {
                // Those before `first` were there already.
                let known = usize::try_from(first - bodies.first.min(first)).unwrap_or(usize::MAX);
                let count = usize::try_from(count).unwrap_or(usize::MAX);
                let calls: Vec<_> = bodies.calls.drain(..).skip(known).take(count).collect();
                group.bytes += calls.iter().map(row_bytes).sum::<usize>();
                self.shared.recent.keep(job, first, &calls);
                Write::TasksAdded { job, first, calls }
            }
            Record::TaskEnded { job, task, end } => {
                let worker = match &end {
                    TaskEnd::Outcome { worker, .. } => Some(worker.clone()),
                    _ => None,
                };
                let verification = end.verification().cloned().map(Box::new);
                let kind = end.outcome();
                let is_cached = end.origin().is_some();
                let mut told = None;
                let write = match &end {
                    TaskEnd::Outcome { .. } | TaskEnd::Cached { .. } => {
                        let result = match &end {
                            TaskEnd::Outcome { lease, .. } => {
                                let withheld = self.withheld.take(job, task, *lease);
                                withheld.unwrap_or_else(|| bodies.result(*lease))
                            }
                            _ => bodies.found.remove(&task).unwrap_or_default(),
                        };
                        if self.watches.contains_key(&job) {
                            told = watch::told(task, &end, &result);
                        }
                        group.bytes += row_bytes(&result.outcome)
                            + row_bytes(&result.stdout)
                            + row_bytes(&result.stderr);
                        let epoch = self.shared.store.epoch();
                        Write::TaskEnded {
                            job,
                            task,
                            cache: self.directory.cache_note(job, &end, epoch),
                            end,
                            result: Box::new(result),
                        }
                    }
                    TaskEnd::Disputed { .. } | TaskEnd::Abandoned | TaskEnd::Quarantined => {
                        self.withheld.forget_task(job, task);
                        Write::Record(Record::TaskEnded { job, task, end })
                    }
                };
                let effect = Effect::TaskEnded {
                    job,
                    task,
                    kind,
                    worker,
                    told,
                    verification,
                    is_cached,
                };
                group.push_effect(effect);
                write
            }
            Record::JobEnded { job, how } => {
                self.withheld.forget_job(job);
                group.push_effect(Effect::JobEnded(job, how));
                Write::Record(Record::JobEnded { job, how })
            }
            Record::JobRetried { job, lease_floor } => {
                group.push_effect(Effect::JobRetried(job));
                Write::Record(Record::JobRetried { job, lease_floor })
            }
            Record::AttemptLost { job, .. } => {
                group.push_effect(Effect::AttemptsLost(job, 1));
                Write::Record(record)
            }
            Record::AttemptFound { job, .. } => {
                group.push_effect(Effect::AttemptsLost(job, -1));
                Write::Record(record)
            }
            Record::WorkerGone { ref worker } => {
                group.push_effect(Effect::WorkerGone(worker.clone()));
                Write::Record(record)
            }
            Record::JobForgotten { job } => {
                group.push_effect(Effect::JobForgotten(job));
                Write::Record(Record::JobForgotten { job })
            }
            record => Write::Record(record),
        };
        group.writes.push(write);
    }

    fn end_group(&mut self) {
        if !self.open.writes.is_empty() || !self.open.effects.is_empty() {
            self.waiting.push_back(std::mem::take(&mut self.open));
        }
    }

    /// Gives the store what it can take; carries out at once what waits for nothing.
    fn submit(&mut self) -> Result<(), ServerError> {
        while let Some(group) = self.waiting.front() {
            if group.writes.is_empty() {
                let group = self.waiting.pop_front().unwrap_or_default();
                match self.in_flight.back_mut() {
                    Some(last) => {
                        last.effects.extend(group.effects);
                        last.ordered += group.ordered;
                    }
                    None => self.carry_out_all(group.effects, group.ordered),
                }
                continue;
            }
            if self.in_flight.len() >= IN_FLIGHT_MAX {
                return Ok(());
            }
            let group = self.waiting.pop_front().unwrap_or_default();
            let commit = self.commit.clone();
            let in_flight = InFlight {
                effects: group.effects,
                ordered: group.ordered,
                writes: group.writes.len() as u64,
                since: Instant::now(),
            };
            let batch = Batch::at(wall_ms(), group.writes);
            let done = move |result: Result<Vec<_>, _>| {
                // There is room for every group that is in flight.
                let _ = commit.try_send(result.map(|_| ()));
            };
            match self.shared.store.commit(batch, Box::new(done)) {
                Ok(()) => self.in_flight.push_back(in_flight),
                Err(refused) => return Err(refused.why.into()),
            }
        }
        Ok(())
    }
}

impl Bodies {
    fn result(&mut self, lease: ppwasm_proto::fabric::LeaseId) -> TaskResult {
        // Records come in the order of the results.
        let from = self.next_result;
        let rest = self.results.iter_mut().enumerate().skip(from);
        for (index, (of, result)) in rest {
            if *of == lease {
                self.next_result = index + 1;
                return std::mem::take(result);
            }
        }
        let found = self.results.iter_mut().find(|(of, _)| *of == lease);
        found
            .map(|(_, result)| std::mem::take(result))
            .unwrap_or_default()
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// Everything that is listed, as the store and its records have it.
fn read_directory(shared: &Shared, records: &[Record]) -> Result<Directory, ServerError> {
    let mut directory = Directory::new(shared.config.keep_for, shared.shelf.guest());
    let mut released = HashSet::new();
    for record in records {
        if let Record::TasksReleased { job, .. } = record {
            released.insert(*job);
        }
    }
    let mut last = 0;
    loop {
        let page = shared.store.jobs(last, JOBS_PER_READ)?;
        let Some(end) = page.last() else { break };
        last = end.number;
        for entry in page {
            if let Some(terms) = JobTerms::from_bytes(&entry.details) {
                directory.add(&entry, &terms, released.contains(&entry.job));
            }
        }
    }
    for record in records {
        match record {
            Record::TaskEnded { job, end, .. } => {
                if let Some(listed) = directory.job_mut(*job) {
                    listed.kinds[place(end.outcome())] += 1;
                    if let Some(verification) = end.verification() {
                        listed.verified.add(end.outcome(), verification);
                    }
                    if end.origin().is_some() {
                        listed.count_cached(end.outcome());
                    }
                }
            }
            Record::JobRetried { job, .. } => {
                if let Some(listed) = directory.job_mut(*job) {
                    listed.forget_failures();
                }
            }
            Record::AttemptLost { job, .. } => {
                if let Some(listed) = directory.job_mut(*job) {
                    listed.lost_attempts += 1;
                }
            }
            Record::AttemptFound { job, .. } => {
                if let Some(listed) = directory.job_mut(*job) {
                    listed.lost_attempts = listed.lost_attempts.saturating_sub(1);
                }
            }
            _ => {}
        }
    }
    Ok(directory)
}

/// An error and its causes as one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line = format!("{line}: {error}");
        cause = error.source();
    }
    line
}

/// Keeps a blob that a job names.
fn pin(blob: BlobRef) -> Write {
    Write::Bundle {
        digest: blob.digest,
        body: Body::Blob {
            digest: blob.digest,
            size: blob.bytes,
        },
    }
}

fn list<T>(items: Vec<T>) -> List<T, { CREDIT_MAX as usize }> {
    // The scheduler grants no worker more than that.
    List::try_from(items).unwrap_or_default()
}

fn row_bytes(body: &Body) -> usize {
    match body {
        Body::Inline(bytes) => bytes.len(),
        Body::Blob { .. } => 40,
    }
}

/// The time on the wall, in milliseconds since 1970.
pub(crate) fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0))
}
