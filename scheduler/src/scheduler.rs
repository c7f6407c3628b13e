//! The state machine: its state, and the three calls that move it.

use std::collections::{BTreeMap, BTreeSet};

use ppwasm_proto::fabric::{Epoch, SessionId, WorkerId};
use ppwasm_proto::{Digest, JobId};

use crate::command::{Command, Outbox};
use crate::config::Config;
use crate::event::Event;
use crate::fleet::{Fleet, WorkerKey};
use crate::job::{Job, JobKey};
use crate::queue::Queue;
use crate::record::{DrainReason, JobSpec, Record};
use crate::time::{Micros, Timestamp};

/// The scheduler. See the crate's documentation for what it promises.
#[derive(Debug)]
pub struct Scheduler {
    pub(crate) config: Config,
    pub(crate) epoch: Epoch,
    pub(crate) now: Timestamp,
    pub(crate) random: u64,
    pub(crate) next_lease: u64,
    next_job: u64,
    pub(crate) jobs: BTreeMap<JobKey, Job>,
    pub(crate) job_keys: BTreeMap<JobId, JobKey>,
    pub(crate) queue: Queue,
    pub(crate) functions: BTreeMap<Digest, Function>,
    pub(crate) fleet: Fleet,
    /// Tasks with an outcome that waits for another worker to confirm it.
    pub(crate) unconfirmed: BTreeSet<(JobKey, u64)>,
    /// Tasks that run alone or not at all.
    pub(crate) alone: BTreeSet<(JobKey, u64)>,
    /// Workers that are granted nothing, whether they are there or not.
    pub(crate) drained: BTreeMap<WorkerId, DrainReason>,
    /// Workers that may hold leases.
    pub(crate) roster: BTreeSet<WorkerId>,
    pub(crate) restart: Option<Restart>,
    /// Until then workers whose sessions break may take to come back: the driver was stopped, and they with it.
    pub(crate) forgiving_until: Timestamp,
    pub(crate) timers: BTreeSet<(Timestamp, Timer)>,
    pub(crate) next_steal: Timestamp,
    pub(crate) next_second_attempts: Timestamp,
    pub(crate) counters: Counters,
}

/// What of a restart is not over yet.
#[derive(Clone, Debug)]
pub(crate) struct Restart {
    pub until: Timestamp,
    /// Workers that may hold leases and have not come back.
    pub awaited: BTreeSet<WorkerId>,
}

/// A function and its image.
#[derive(Clone, Debug)]
pub(crate) struct Function {
    pub is_ready: bool,
    /// Jobs of it that are known and have not ended.
    pub jobs: BTreeSet<JobKey>,
    /// Workers that hold the image, or were told to fetch it.
    pub holders: BTreeSet<WorkerKey>,
}

/// What is to be looked at when its time has come. One that is no longer true does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// The grace after a restart.
    Restart,
    /// The leases of a worker with a session.
    Leases(WorkerKey),
    /// The leases of a worker without.
    Orphans(WorkerKey),
    /// A worker that was left alone.
    Blocked(WorkerKey),
    /// A task that backs off.
    Task(JobKey, u64),
    /// An outcome that waits for another worker.
    Unconfirmed(JobKey, u64),
    /// Grants that had to wait.
    Assign,
}

/// How often something was not as it should be. For metrics and for tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages of sessions that have ended.
    pub stale_sessions: u64,
    /// Leases that were named by a worker to which they were not given.
    pub foreign_leases: u64,
    /// Outcomes for tasks that had ended, or jobs that are gone.
    pub late_outcomes: u64,
    /// Outcomes under a lease that had expired or was lost, and that counted nevertheless.
    pub late_outcomes_taken: u64,
    /// Grants.
    pub granted: u64,
    /// Tasks that ended with an outcome.
    pub ended: u64,
    /// Tasks that ended as they were added, with an outcome that was known.
    pub from_cache: u64,
    /// Attempts that were counted as lost.
    pub lost: u64,
    /// Leases that were taken back for an idle worker.
    pub taken_back: u64,
    /// Second attempts beside a slow one.
    pub second_attempts: u64,
    /// Tasks whose outcome another worker confirmed.
    pub confirmed: u64,
    /// Tasks that were to be verified and were recorded without.
    pub unverified: u64,
    /// Tasks that were given up because workers contradicted each other.
    pub disputed: u64,
    /// Outcomes that two other workers contradicted.
    pub contradicted: u64,
    /// Times that the driver was found to have been stopped.
    pub pauses: u64,
}

/// Timers that one step looks at.
const TIMERS_PER_STEP_MAX: usize = 4096;

impl Scheduler {
    /// A scheduler without any history.
    pub fn new(config: Config, epoch: Epoch) -> Self {
        let random = config.seed ^ (u64::from(epoch.number()) << 32);
        Self {
            config,
            epoch,
            now: Timestamp::ZERO,
            random,
            next_lease: 0,
            next_job: 0,
            jobs: BTreeMap::new(),
            job_keys: BTreeMap::new(),
            queue: Queue::default(),
            functions: BTreeMap::new(),
            fleet: Fleet::default(),
            unconfirmed: BTreeSet::new(),
            alone: BTreeSet::new(),
            drained: BTreeMap::new(),
            roster: BTreeSet::new(),
            restart: None,
            forgiving_until: Timestamp::ZERO,
            timers: BTreeSet::new(),
            next_steal: Timestamp::ZERO,
            next_second_attempts: Timestamp::ZERO,
            counters: Counters::default(),
        }
    }

    /// Takes note of an event and decides what follows. What is due by `now` happens first.
    pub fn handle(&mut self, now: Timestamp, event: Event, out: &mut Outbox) {
        self.advance(now, out);
        match event {
            Event::JobSubmitted { request, job, spec } => self.submit(request, job, spec, out),
            Event::TasksAppended {
                request,
                client,
                job,
                first,
                count,
                found,
            } => self.append(
                request,
                &client,
                job,
                first..first.saturating_add(count),
                found,
                out,
            ),
            Event::JobClosed {
                request,
                client,
                job,
                tasks,
            } => self.close(request, &client, job, tasks, out),
            Event::JobCancelled {
                request,
                client,
                job,
            } => self.cancel(request, &client, job, out),
            Event::RetryRequested {
                request,
                client,
                job,
            } => self.retry(request, &client, job, out),
            Event::JobForgotten { request, job } => self.forget(request, job, out),
            Event::ImageReady { function, .. } => self.image_ready(function),
            Event::ImageFailed { function } => self.image_failed(function, out),
            Event::WorkerJoined { session, hello } => self.join(session, *hello, out),
            Event::WorkerLeft { session, how } => self.leave(session, how, out),
            Event::WorkerReported {
                session,
                report,
                waiting,
                running,
            } => self.report(session, report, &waiting, &running, out),
            Event::LeasesEnded { session, ended } => self.leases_ended(session, &ended, out),
            Event::LeasesGivenBack { session, given } => {
                self.leases_given_back(session, &given, out);
            }
            Event::SlotsSet {
                session,
                slots,
                credit,
            } => self.set_slots(session, slots, credit),
            Event::ImageHeld {
                session,
                function,
                is_held,
            } => self.image_held(session, function, is_held),
            Event::WorkerDraining { session } => self.worker_draining(session),
            Event::DrainRequested { request, worker } => self.drain(request, worker, out),
            Event::UndrainRequested { request, worker } => self.undrain(request, worker, out),
            Event::WorkerRevoked { worker } => self.revoke_worker(worker, out),
        }
        self.assign(out);
    }

    /// Does what is due by `now`.
    pub fn tick(&mut self, now: Timestamp, out: &mut Outbox) {
        self.advance(now, out);
        self.assign(out);
    }

    /// When [`tick`](Self::tick) has something to do, if no event comes before.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.timers.first().map(|(at, _)| *at)
    }

    fn advance(&mut self, now: Timestamp, out: &mut Outbox) {
        let now = now.max(self.now);
        // Short leases are over in less than a pause.
        let pause = self.config.pause.min(Micros(self.config.lease.0 / 6));
        let was_stopped = self
            .next_deadline()
            .is_some_and(|due| now.since(due) > pause)
            && now.since(self.now) > pause;
        self.now = now;
        if was_stopped {
            self.forgive_pause();
        }
        for _ in 0..TIMERS_PER_STEP_MAX {
            match self.timers.first() {
                Some((at, _)) if *at <= now => {}
                _ => break,
            }
            if let Some((_, timer)) = self.timers.pop_first() {
                self.fire(timer, out);
            }
        }
    }

    fn fire(&mut self, timer: Timer, out: &mut Outbox) {
        match timer {
            Timer::Restart => self.end_restart_if_due(out),
            Timer::Leases(worker) => self.expire_leases(worker, out),
            Timer::Orphans(worker) => self.end_orphans_if_due(worker, out),
            Timer::Blocked(worker) => self.refresh_worker(worker),
            Timer::Task(job, task) => self.end_backoff_if_due(job, task),
            Timer::Unconfirmed(job, task) => self.end_wait_if_due(job, task, out),
            Timer::Assign => {}
        }
    }

    /// Nobody could renew while the driver was stopped: everything that would be over by now starts anew. Sessions may
    /// have broken meanwhile, and their workers come back as after a restart.
    fn forgive_pause(&mut self) {
        self.counters.pauses += 1;
        let lease_end = self.now + self.pace().lease;
        let grace = self.config.restart_grace.max(self.config.reconnect_grace);
        let orphans_end = self.now + grace;
        self.forgiving_until = orphans_end;
        let mut orphans = Vec::new();
        for (key, worker) in &mut self.fleet.workers {
            for lease in worker.leases.values_mut() {
                lease.expires = lease.expires.max(lease_end);
            }
            if let Some(until) = &mut worker.orphaned_until {
                *until = orphans_end;
                orphans.push(*key);
            }
        }
        for key in orphans {
            self.timers.insert((orphans_end, Timer::Orphans(key)));
        }
        if let Some(restart) = &mut self.restart {
            restart.until = restart.until.max(self.now + self.config.reconnect_grace);
            self.timers.insert((restart.until, Timer::Restart));
        }
    }

    pub(crate) fn new_job_key(&mut self) -> JobKey {
        self.next_job += 1;
        JobKey(self.next_job)
    }

    /// Brings what is derived from a job up to date. To be called after anything about it has changed.
    pub(crate) fn refresh_job(&mut self, key: JobKey) {
        let Some(job) = self.jobs.get_mut(&key) else {
            return;
        };
        let has_image = self
            .functions
            .get(&job.spec.function)
            .is_some_and(|function| function.is_ready);
        let ready = if job.end.is_none() && has_image {
            job.ready_len()
        } else {
            0
        };
        let was = std::mem::replace(&mut job.counted_ready, ready);
        self.queue.ready_tasks = self.queue.ready_tasks - was + ready;
        if (was > 0) != (ready > 0) {
            let (client, priority) = (job.client, job.spec.priority);
            self.queue.set_ready(client, priority, key, ready > 0);
        }
    }

    pub(crate) fn refresh_worker(&mut self, key: WorkerKey) {
        self.fleet.refresh(key, self.now, &self.config);
    }

    /// A random number below `bound`: splitmix64.
    pub(crate) fn random_below(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        if bound == 0 { 0 } else { mixed % bound }
    }

    pub(crate) fn find_job(&self, id: JobId) -> Option<(JobKey, &Job)> {
        let key = self.job_keys.get(&id)?;
        Some((*key, self.jobs.get(key)?))
    }

    /// The session of a worker that has one.
    pub(crate) fn session_of(&self, key: WorkerKey) -> Option<SessionId> {
        self.fleet.workers.get(&key)?.session
    }

    /// What was submitted under this id, while it is known.
    pub fn job_spec(&self, job: JobId) -> Option<&JobSpec> {
        self.find_job(job).map(|(_, job)| &*job.spec)
    }

    /// How often something was not as it should be.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Tasks that have not ended, of all jobs.
    pub const fn open_tasks(&self) -> u64 {
        self.queue.tasks
    }

    pub(crate) fn set_timer(&mut self, after: Micros, timer: Timer) {
        self.timers.insert((self.now + after, timer));
    }

    /// Sends revocations that came of one decision.
    pub(crate) fn send_cancels(&mut self, cancels: Cancels, out: &mut Outbox) {
        for (worker, leases) in cancels {
            self.refresh_worker(worker);
            if let Some(session) = self.session_of(worker) {
                out.commands.push(Command::Cancel { session, leases });
            }
        }
    }

    /// Records that a worker takes part, or no longer.
    pub(crate) fn set_on_roster(&mut self, worker: &WorkerId, is_on: bool, out: &mut Outbox) {
        let worker = worker.clone();
        if is_on {
            if self.roster.insert(worker.clone()) {
                out.records.push(Record::WorkerJoined { worker });
            }
        } else if self.roster.remove(&worker) {
            out.records.push(Record::WorkerGone { worker });
        }
    }
}

/// Leases to be cancelled, by worker.
pub(crate) type Cancels = BTreeMap<WorkerKey, Vec<ppwasm_proto::fabric::LeaseId>>;
