//! Workers come, report, change and go.
//!
//! A worker that comes back in the same life of its process keeps the leases that it names; those that it does not name
//! it never received, which counts against nobody. In another life its process had ended, and whatever ran is lost and
//! suspect. A lease that the scheduler does not know any more, or has never known because it was restarted, is taken
//! over when its token proves that this worker was given it.

use std::collections::{BTreeMap, BTreeSet};

use ppwasm_proto::fabric::{Claim, Held, HeldState, LeaseId, SessionId, WorkerId};

use crate::command::{Accepted, CloseReason, Command, Lease, Outbox, Pace, Refusal};
use crate::config::{CREDIT_MAX, SLOTS_MAX};
use crate::event::{Hello, Leaving, RequestId};
use crate::fleet::{HeldLease, LeaseState, Worker, WorkerKey};
use crate::job::{Place, Touched};
use crate::leases::Loss;
use crate::record::{DrainReason, Record};
use crate::scheduler::{Scheduler, Timer};
use crate::time::Micros;
use crate::verify::is_testimony;

/// Lease duration over the time between reports: five may be lost.
const REPORTS_PER_LEASE: u64 = 6;

/// What a claim is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Genuine,
    /// It was given in an epoch that is over, and was good in that one only.
    Lapsed,
    /// It was given to nobody, or to another worker.
    Foreign,
}

impl Scheduler {
    pub(crate) fn join(&mut self, session: SessionId, hello: Hello, out: &mut Outbox) {
        if self.fleet.by_session.contains_key(&session) {
            // The same message again.
            self.counters.stale_sessions += 1;
            return;
        }
        if let Err(why) = self.admit(session, &hello.worker) {
            out.commands.push(Command::CloseSession { session, why });
            return;
        }
        let key = match self.fleet.by_id.get(&hello.worker) {
            Some(key) => *key,
            None => self.fleet.add(hello.worker.clone()),
        };
        self.replace_session(key, session, &hello, out);
        self.set_on_roster(&hello.worker, true, out);

        let refused = self.reconcile(key, &hello, out);
        if let Some(worker) = self.fleet.workers.get_mut(&key) {
            worker.takes_streams = hello.takes_streams;
            worker.is_draining = hello.is_draining;
            worker.drained = self.drained.get(&hello.worker).copied();
            worker.label = hello.label;
            worker.target = hello.target;
        }
        self.drop_images_of(key);
        for function in hello.images {
            self.set_image_held(key, function, true);
        }
        self.set_capacity(key, hello.slots, hello.credit);
        self.watch_leases(key);
        let pace = self.pace();
        out.commands.push(Command::Welcome {
            session,
            pace,
            refused,
        });
        self.no_longer_await(&hello.worker, out);
    }

    fn admit(&self, session: SessionId, worker: &WorkerId) -> Result<(), CloseReason> {
        if self.drained.get(worker) == Some(&DrainReason::Revoked) {
            return Err(CloseReason::Revoked);
        }
        match self.fleet.by_id.get(worker) {
            Some(key) => {
                let known = self.fleet.workers.get(key);
                let last = known.and_then(|worker| worker.last_session);
                if last.is_some_and(|last| last >= session) {
                    return Err(CloseReason::Replaced);
                }
            }
            None if self.fleet.workers.len() >= self.config.workers_max => {
                return Err(CloseReason::TooManyWorkers);
            }
            None => {}
        }
        Ok(())
    }

    fn replace_session(
        &mut self,
        key: WorkerKey,
        session: SessionId,
        hello: &Hello,
        out: &mut Outbox,
    ) {
        let Some(worker) = self.fleet.workers.get_mut(&key) else {
            return;
        };
        let is_same_life = worker.last_session.is_some() && worker.incarnation == hello.incarnation;
        let old = worker.session.replace(session);
        worker.last_session = Some(session);
        worker.incarnation = hello.incarnation;
        worker.orphaned_until = None;
        worker.saturated_since = None;
        if let Some(old) = old {
            self.fleet.by_session.remove(&old);
            out.commands.push(Command::CloseSession {
                session: old,
                why: CloseReason::Replaced,
            });
        }
        self.fleet.by_session.insert(session, key);
        if !is_same_life {
            self.lose_all(key, Loss::Died, out);
            if let Some(worker) = self.fleet.workers.get_mut(&key) {
                worker.failures_in_row = 0;
                worker.blocked_until = self.now;
            }
        }
    }

    /// Compares what a worker holds with what it was given. Returns what is not its own any longer.
    fn reconcile(&mut self, key: WorkerKey, hello: &Hello, out: &mut Outbox) -> Vec<LeaseId> {
        let credit = usize::try_from(CREDIT_MAX).unwrap_or(usize::MAX);
        let named: BTreeMap<LeaseId, &Held> = hello
            .held
            .iter()
            .take(credit)
            .map(|held| (held.claim.lease, held))
            .collect();
        let known: Vec<LeaseId> = match self.fleet.workers.get(&key) {
            Some(worker) => worker.leases.keys().copied().collect(),
            None => return Vec::new(),
        };
        for lease in known {
            if !named.contains_key(&lease) {
                self.lose(key, lease, Loss::NeverRan, out);
            }
        }
        let mut refused = Vec::new();
        for (lease, held) in named {
            let is_held = self.keep(key, lease, held.state) || self.adopt(key, held, out);
            if !is_held {
                refused.push(lease);
            }
        }
        let past_credit = hello.held.iter().skip(credit).map(|held| held.claim.lease);
        refused.extend(past_credit);
        refused
    }

    fn keep(&mut self, key: WorkerKey, lease: LeaseId, state: HeldState) -> bool {
        let lease_end = self.now + self.pace().lease;
        let Some(worker) = self.fleet.workers.get_mut(&key) else {
            return false;
        };
        let Some(held) = worker.leases.get_mut(&lease) else {
            return false;
        };
        if held.is_live() {
            held.state = LeaseState::Live;
            held.expires = lease_end;
            held.is_running = state == HeldState::Running;
        }
        // A revoked one is refused and stays in its slot until the worker has given it back.
        held.is_live()
    }

    /// Takes over a lease that is not known. False when it brings nothing.
    fn adopt(&mut self, key: WorkerKey, held: &Held, out: &mut Outbox) -> bool {
        let Some(worker) = self.fleet.workers.get(&key) else {
            return false;
        };
        if worker.leases.contains_key(&held.claim.lease) {
            return false;
        }
        match self.standing(worker, &held.claim) {
            Standing::Genuine => {}
            // What it is for may be gone.
            Standing::Lapsed => return false,
            Standing::Foreign => {
                self.counters.foreign_leases += 1;
                return false;
            }
        }
        let Some((job_key, job)) = self.find_job(held.claim.identity.job) else {
            return false;
        };
        let (task, lease) = (held.claim.identity.task.0, held.claim.lease);
        if !job.takes(task, lease) || self.is_disbelieved(&worker.id) {
            return false;
        }
        let said_before = |touched: &Touched| is_testimony(touched, &worker.id, lease);
        if job.touched.get(&task).is_some_and(said_before) {
            // It waits for another worker, and is acknowledged after that.
            return true;
        }
        let place = job.touched.get(&task).map(|touched| touched.place);
        let is_full = job
            .touched
            .get(&task)
            .is_some_and(|touched| touched.leases.is_full());
        if is_full || place == Some(Place::Alone) {
            // Its outcome will count all the same if it has one already.
            return held.state == HeldState::Finished;
        }
        if held.state == HeldState::Finished && place == Some(Place::Leased) {
            return true;
        }
        let lease_end = self.now + self.pace().lease;
        let adopted = HeldLease {
            job: job_key,
            task,
            attempt: held.claim.attempt,
            granted: self.now,
            expires: lease_end,
            state: LeaseState::Live,
            is_running: held.state == HeldState::Running,
            is_adopted: true,
            charged: 0,
        };
        if let Some(worker) = self.fleet.workers.get_mut(&key) {
            worker.leases.insert(lease, adopted);
        }
        self.link(key, lease, &held.claim, out);
        true
    }

    /// Puts an adopted lease into its task, wherever that was.
    fn link(&mut self, key: WorkerKey, lease: LeaseId, claim: &Claim, out: &mut Outbox) {
        let task = claim.identity.task.0;
        let Some(job_key) = self.job_keys.get(&claim.identity.job).copied() else {
            return;
        };
        let Some(job) = self.jobs.get_mut(&job_key) else {
            return;
        };
        let touched = job
            .touched
            .entry(task)
            .or_insert_with(|| Touched::new(Place::Withheld));
        let losses = touched.losses.len();
        touched.losses.retain(|loss| loss.attempt != claim.attempt);
        if touched.losses.len() < losses {
            out.records.push(Record::AttemptFound {
                job: claim.identity.job,
                task: claim.identity.task,
                attempt: claim.attempt,
            });
        }
        if claim.attempt.epoch_number() == self.epoch.number() {
            touched.tries = touched.tries.max(claim.attempt.number());
        }
        if touched.place == Place::Ready {
            job.ready.remove(&task);
        }
        touched.place = Place::Leased;
        touched.leases.add(key, lease);
        if touched.leases.is_full() {
            job.doubled += 1;
        }
        self.refresh_job(job_key);
    }

    /// Whether the coordinator, in this life or another, gave the lease to the worker.
    pub(crate) fn standing(&self, worker: &Worker, claim: &Claim) -> Standing {
        let key = &self.config.lease_key;
        let (lease, identity, attempt) = (claim.lease, claim.identity, claim.attempt);
        if claim.token == key.token(&worker.id, lease, identity, attempt) {
            return Standing::Genuine;
        }
        if claim.token != key.early_token(&worker.id, lease, identity, attempt) {
            return Standing::Foreign;
        }
        if lease.epoch_number() == u64::from(self.epoch.number()) {
            Standing::Genuine
        } else {
            Standing::Lapsed
        }
    }

    /// Gives leases of one job tokens that are good in this epoch only, so that they can go out before what they are for is
    /// durable. False, and nothing is changed, where that is not worth it: when a task runs for long, or may, it shall
    /// outlive the coordinator.
    pub fn make_early(&self, session: SessionId, leases: &mut [Lease]) -> bool {
        let worker = self.fleet.of_session(session);
        let worker = worker.and_then(|key| self.fleet.workers.get(&key));
        let job = leases.first().map(|lease| lease.claim.identity.job);
        let job = job.and_then(|id| self.find_job(id)).map(|(_, job)| job);
        let (Some(worker), Some(job)) = (worker, job) else {
            return false;
        };
        let run_time = job.run_time.known();
        if run_time.is_none_or(|run_time| run_time > self.config.early_run_time_max) {
            return false;
        }
        for Lease { claim, .. } in leases {
            let (lease, identity, attempt) = (claim.lease, claim.identity, claim.attempt);
            let key = &self.config.lease_key;
            claim.token = key.early_token(&worker.id, lease, identity, attempt);
        }
        true
    }

    pub(crate) fn leave(&mut self, session: SessionId, how: Leaving, out: &mut Outbox) {
        let Some(key) = self.of_session(session) else {
            return;
        };
        self.fleet.by_session.remove(&session);
        let until = (self.now + self.config.reconnect_grace).max(self.forgiving_until);
        let Some(worker) = self.fleet.workers.get_mut(&key) else {
            return;
        };
        worker.session = None;
        match how {
            Leaving::Orderly => self.depart(key, Loss::NeverRan, out),
            Leaving::Lost => {
                worker.orphaned_until = Some(until);
                self.timers.insert((until, Timer::Orphans(key)));
                self.refresh_worker(key);
            }
        }
    }

    pub(crate) fn end_orphans_if_due(&mut self, key: WorkerKey, out: &mut Outbox) {
        let until = self
            .fleet
            .workers
            .get(&key)
            .and_then(|worker| worker.orphaned_until);
        if until.is_some_and(|until| until <= self.now) {
            self.depart(key, Loss::Died, out);
        }
    }

    /// A worker without a session is given up: its leases go back.
    fn depart(&mut self, key: WorkerKey, loss: Loss, out: &mut Outbox) {
        self.lose_all(key, loss, out);
        let Some(worker) = self.fleet.workers.get_mut(&key) else {
            return;
        };
        worker.orphaned_until = None;
        let id = worker.id.clone();
        self.set_on_roster(&id, false, out);
        self.refresh_worker(key);
        self.free_reservation(key);
        self.no_longer_await(&id, out);
        if self.fleet.workers.len() * 2 > self.config.workers_max {
            self.drop_images_of(key);
            self.fleet.remove(key);
        }
    }

    pub(crate) fn free_reservation(&mut self, key: WorkerKey) {
        if let Some(worker) = self.fleet.workers.get_mut(&key)
            && let Some(reserved) = worker.reserved.take()
        {
            self.fleet.reserved.remove(&reserved);
            self.refresh_worker(key);
        }
    }

    pub(crate) fn report(
        &mut self,
        session: SessionId,
        report: u64,
        waiting: &[LeaseId],
        running: &[LeaseId],
        out: &mut Outbox,
    ) {
        let Some(key) = self.of_session(session) else {
            return;
        };
        let pace = self.pace();
        let lease_end = self.now + pace.lease;
        let settled = self.now.0.checked_sub(pace.report_every.0);
        let Some(worker) = self.fleet.workers.get_mut(&key) else {
            return;
        };
        let mut refused = Vec::new();
        let mut named = BTreeSet::new();
        let with_state = |leases: &[LeaseId], runs: bool| -> Vec<(LeaseId, bool)> {
            leases.iter().map(|lease| (*lease, runs)).collect()
        };
        let waiting = with_state(waiting, false);
        for (lease, runs) in waiting.into_iter().chain(with_state(running, true)) {
            if !named.insert(lease) {
                continue;
            }
            match worker.leases.get_mut(&lease) {
                Some(held) if held.is_live() => {
                    held.expires = lease_end;
                    held.is_running = runs;
                }
                _ => refused.push(lease),
            }
        }
        // A revoked lease that the worker has had time to hear of, and does not hold, is out of its slot.
        worker.leases.retain(|lease, held| {
            held.is_live()
                || named.contains(lease)
                || settled.is_none_or(|settled| held.granted.0 > settled)
        });
        if worker
            .alone
            .is_some_and(|alone| !worker.leases.contains_key(&alone))
        {
            worker.alone = None;
        }
        self.refresh_worker(key);
        out.commands.push(Command::Renew {
            session,
            report,
            pace,
            refused,
        });
    }

    pub(crate) fn set_slots(&mut self, session: SessionId, slots: u32, credit: u32) {
        if let Some(key) = self.of_session(session) {
            self.set_capacity(key, slots, credit);
        }
    }

    fn set_capacity(&mut self, key: WorkerKey, slots: u32, credit: u32) {
        if let Some(worker) = self.fleet.workers.get_mut(&key) {
            worker.slots = slots.min(SLOTS_MAX);
            worker.credit = credit.min(CREDIT_MAX);
        }
        self.refresh_worker(key);
    }

    pub(crate) fn worker_draining(&mut self, session: SessionId) {
        let Some(key) = self.of_session(session) else {
            return;
        };
        if let Some(worker) = self.fleet.workers.get_mut(&key) {
            worker.is_draining = true;
        }
        self.free_reservation(key);
        self.refresh_worker(key);
    }

    pub(crate) fn drain(&mut self, request: RequestId, worker: WorkerId, out: &mut Outbox) {
        let is_known = self.fleet.by_id.contains_key(&worker) || self.roster.contains(&worker);
        if !is_known && !self.drained.contains_key(&worker) {
            self.answer(request, Err(Refusal::UnknownWorker), out);
            return;
        }
        if !self.drained.contains_key(&worker) {
            self.drain_for(&worker, DrainReason::Requested, out);
        }
        self.answer(request, Ok(Accepted::Done), out);
    }

    /// Drains a worker and asks for what waits there.
    pub(crate) fn drain_for(&mut self, worker: &WorkerId, why: DrainReason, out: &mut Outbox) {
        self.drained.insert(worker.clone(), why);
        out.records.push(Record::WorkerDrained {
            worker: worker.clone(),
            why,
        });
        let Some(key) = self.fleet.by_id.get(worker).copied() else {
            return;
        };
        if let Some(worker) = self.fleet.workers.get_mut(&key) {
            worker.drained = Some(why);
        }
        self.free_reservation(key);
        self.refresh_worker(key);
        self.take_back_waiting(key, usize::MAX, out);
    }

    pub(crate) fn undrain(&mut self, request: RequestId, worker: WorkerId, out: &mut Outbox) {
        match self.drained.get(&worker) {
            None if self.fleet.by_id.contains_key(&worker) => {}
            None | Some(DrainReason::Revoked) => {
                self.answer(request, Err(Refusal::UnknownWorker), out);
                return;
            }
            Some(
                DrainReason::Requested | DrainReason::FailsTasks | DrainReason::GivesWrongResults,
            ) => {
                self.drained.remove(&worker);
                out.records.push(Record::WorkerUndrained {
                    worker: worker.clone(),
                });
            }
        }
        if let Some(key) = self.fleet.by_id.get(&worker).copied() {
            if let Some(worker) = self.fleet.workers.get_mut(&key) {
                worker.drained = None;
                worker.blame = 0;
                worker.contradicted = 0;
                worker.failures_in_row = 0;
            }
            self.refresh_worker(key);
        }
        self.answer(request, Ok(Accepted::Done), out);
    }

    pub(crate) fn revoke_worker(&mut self, worker: WorkerId, out: &mut Outbox) {
        if self.drained.get(&worker) == Some(&DrainReason::Revoked) {
            return;
        }
        let key = self.fleet.by_id.get(&worker).copied();
        if let Some(key) = key
            && let Some(session) = self.session_of(key)
        {
            self.fleet.by_session.remove(&session);
            if let Some(worker) = self.fleet.workers.get_mut(&key) {
                worker.session = None;
            }
            out.commands.push(Command::CloseSession {
                session,
                why: CloseReason::Revoked,
            });
        }
        self.drain_for(&worker, DrainReason::Revoked, out);
        self.disbelieve(&worker, out);
        match key {
            Some(key) => self.depart(key, Loss::NeverRan, out),
            None => {
                self.set_on_roster(&worker, false, out);
                self.no_longer_await(&worker, out);
            }
        }
    }

    /// Lease and report times for as many workers as there are.
    pub(crate) fn pace(&self) -> Pace {
        let workers = self.fleet.by_session.len() as u64;
        let per_s = u64::from(self.config.reports_per_s_max.max(1));
        let stretched = Micros(workers.saturating_mul(1_000_000) / per_s);
        let report_every = self.config.report_every.max(stretched);
        let lease = Micros(report_every.0.saturating_mul(REPORTS_PER_LEASE));
        Pace {
            lease: self.config.lease.max(lease),
            report_every,
        }
    }

    /// The worker of a session; counts when there is none.
    pub(crate) fn of_session(&mut self, session: SessionId) -> Option<WorkerKey> {
        let worker = self.fleet.of_session(session);
        if worker.is_none() {
            self.counters.stale_sessions += 1;
        }
        worker
    }
}
