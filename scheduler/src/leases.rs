//! How leases end: with an outcome, given back, expired, or lost with their worker; and what that means for the task.

use std::collections::BTreeSet;

use ppwasm_proto::fabric::{GiveBackReason, LeaseId, SessionId};
use ppwasm_proto::wire::Verdict;
use ppwasm_proto::{Attempt, TaskId};

use crate::command::{Command, Outbox};
use crate::event::Ended;
use crate::fleet::{HeldLease, LeaseState, WorkerKey};
use crate::job::{self, Failed, Job, JobKey, Place, Touched};
use crate::record::{DrainReason, OutcomeKind, Record, TaskEnd};
use crate::scheduler::{Cancels, Scheduler, Timer};
use crate::sessions::Standing;
use crate::time::Micros;
use crate::verify::is_testimony;

/// A worker's word on run times is believed down to this part of the time that its slots were occupied.
const OCCUPIED_PART: u64 = 4;
/// Of that time, what each task that was granted to anybody meanwhile may have kept the coordinator from this worker.
const OTHERS_TASK: Micros = Micros::from_millis(1);

/// How an attempt came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// The task did not run, or was stopped in order. Counts against nobody.
    NeverRan,
    /// The lease was not renewed. Counts, but the task is not to blame.
    Expired,
    /// The worker could not run it. Counts, and the worker is to blame.
    Failed,
    /// The worker died. Counts when the task was running, and makes it suspect.
    Died,
    /// What ran it died, in a worker that lives.
    SlotDied,
}

impl Scheduler {
    pub(crate) fn leases_ended(&mut self, session: SessionId, ended: &[Ended], out: &mut Outbox) {
        let Some(key) = self.of_session(session) else {
            return;
        };
        let occupied = self.occupied_per_task(key, ended.len());
        let mut cancels = Cancels::new();
        for ended in ended {
            self.lease_ended(key, ended, occupied, &mut cancels, out);
        }
        if let Some(worker) = self.fleet.workers.get_mut(&key) {
            let since = (self.now, self.counters.granted);
            worker.saturated_since = (!worker.has_free_slot()).then_some(since);
        }
        self.refresh_worker(key);
        self.send_cancels(cancels, out);
        let told: BTreeSet<LeaseId> = (out.commands.iter())
            .filter_map(|command| match command {
                Command::Acknowledge {
                    session: to,
                    leases,
                } if *to == session => Some(leases),
                _ => None,
            })
            .flatten()
            .copied()
            .collect();
        let leases: Vec<LeaseId> = (ended.iter())
            .filter(|ended| !told.contains(&ended.claim.lease))
            .filter(|ended| !self.is_withheld(session, &ended.claim))
            .map(|ended| ended.claim.lease)
            .collect();
        if !leases.is_empty() {
            out.commands.push(Command::Acknowledge { session, leases });
        }
    }

    /// How long each of so many tasks occupied a slot at least, by the scheduler's own clock, when all slots had work since
    /// the last ended: what a worker says about its speed is believed only as far as it delivers.
    ///
    /// What all workers wait for is not this one's doing. A coordinator that has much to do lets a message of each of a
    /// thousand workers wait for those of all others; would that be taken for run time, tasks would be granted one by one,
    /// and there would be still more messages.
    fn occupied_per_task(&self, key: WorkerKey, count: usize) -> Micros {
        let Some(worker) = self.fleet.workers.get(&key) else {
            return Micros::ZERO;
        };
        let Some((since, granted)) = worker.saturated_since else {
            return Micros::ZERO;
        };
        let time = self.now.since(since).0;
        let meanwhile = self.counters.granted - granted;
        let time = time.saturating_sub(meanwhile.saturating_mul(OTHERS_TASK.0));
        let slots = u64::from(worker.usable_slots());
        Micros(time.saturating_mul(slots) / (count as u64).max(1))
    }

    fn lease_ended(
        &mut self,
        key: WorkerKey,
        ended: &Ended,
        occupied: Micros,
        cancels: &mut Cancels,
        out: &mut Outbox,
    ) {
        let claim = &ended.claim;
        let Some(worker) = self.fleet.workers.get(&key) else {
            return;
        };
        let held = worker.leases.get(&claim.lease).copied();
        let job_key = self.job_keys.get(&claim.identity.job).copied();
        let is_its_own = match held {
            Some(held) => {
                Some(held.job) == job_key
                    && held.task == claim.identity.task.0
                    && held.attempt == claim.attempt
                    || !self.jobs.contains_key(&held.job)
            }
            None => match self.standing(worker, claim) {
                Standing::Genuine => true,
                Standing::Foreign => false,
                Standing::Lapsed => {
                    self.counters.late_outcomes += 1;
                    return;
                }
            },
        };
        if !is_its_own {
            self.counters.foreign_leases += 1;
            return;
        }
        self.release(key, claim.lease);
        let takes = |job: &Job| job.takes(claim.identity.task.0, claim.lease);
        let job = job_key.and_then(|key| Some((key, self.jobs.get(&key)?)));
        let worker = self.fleet.workers.get(&key);
        let (Some((job_key, job)), Some(worker)) = (job.filter(|(_, job)| takes(job)), worker)
        else {
            self.counters.late_outcomes += 1;
            return;
        };
        let task = claim.identity.task.0;
        let said_before = |touched: &Touched| is_testimony(touched, &worker.id, claim.lease);
        if job.touched.get(&task).is_some_and(said_before) {
            return;
        }
        if self.is_disbelieved(&worker.id) {
            self.counters.late_outcomes += 1;
            if held.is_some_and(|held| held.is_live()) {
                self.lost(key, job_key, task, claim.attempt, Loss::NeverRan, out);
            }
            return;
        }
        let is_verified = self.verifies(job, task);
        if matches!(
            ended.outcome,
            OutcomeKind::Cancelled | OutcomeKind::Abandoned
        ) {
            if held.is_some_and(|held| held.is_live()) {
                self.lost(key, job_key, task, claim.attempt, Loss::NeverRan, out);
            }
            return;
        }
        if !held.is_some_and(|held| held.is_live()) {
            self.counters.late_outcomes_taken += 1;
        }
        let client = job.client;
        if let Some(held) = held {
            let run_time = self.measure(key, job_key, ended, &held, occupied);
            self.queue.settle(client, held.charged, run_time.0);
        }
        self.worker_succeeded(key, ended.outcome);
        if is_verified {
            self.testify(key, job_key, ended, cancels, out);
            return;
        }
        self.counters.ended += 1;
        let worker = self.fleet.workers.get(&key);
        if let Some(worker) = worker.map(|worker| worker.id.clone()) {
            let end = TaskEnd::Outcome {
                outcome: ended.outcome,
                attempt: claim.attempt,
                lease: claim.lease,
                worker,
                verification: None,
            };
            self.end_task(job_key, task, end, Some(key), cancels, out);
        }
    }

    /// Learns from an outcome. Returns the run time as far as it is believed.
    fn measure(
        &mut self,
        key: WorkerKey,
        job: JobKey,
        ended: &Ended,
        held: &HeldLease,
        occupied: Micros,
    ) -> Micros {
        let longest = self.now.since(held.granted);
        let run_time = ended
            .run_time
            .min(longest)
            .max(Micros(occupied.0 / OCCUPIED_PART));
        if held.is_adopted {
            // Nobody knows since when it ran.
            return run_time;
        }
        if let (Some(worker), Some(job)) =
            (self.fleet.workers.get_mut(&key), self.jobs.get_mut(&job))
        {
            worker.run_time.add(run_time);
            if ended.outcome == OutcomeKind::Succeeded {
                if let Some(yardstick) = job.run_time.known() {
                    worker.learn_speed(yardstick, run_time);
                }
                job.run_time.add(worker.unscaled(run_time));
            }
        }
        run_time
    }

    fn worker_succeeded(&mut self, key: WorkerKey, outcome: OutcomeKind) {
        if let Some(worker) = self.fleet.workers.get_mut(&key)
            && outcome != OutcomeKind::Trapped
        {
            worker.failures_in_row = 0;
            worker.blame = worker.blame.saturating_sub(1);
        }
    }

    /// Ends a task for good. `by` is the worker that ran it to its end.
    pub(crate) fn end_task(
        &mut self,
        job_key: JobKey,
        task: u64,
        end: TaskEnd,
        by: Option<WorkerKey>,
        cancels: &mut Cancels,
        out: &mut Outbox,
    ) {
        let Some(job) = self.jobs.get_mut(&job_key) else {
            return;
        };
        if !job.ended.insert(task) {
            return;
        }
        self.unconfirmed.remove(&(job_key, task));
        let touched = job.touched.remove(&task);
        let outcome = end.outcome();
        if outcome != OutcomeKind::Succeeded {
            let tries = touched.as_ref().map_or(0, |touched| touched.tries);
            job.failed.insert(task, Failed { outcome, tries });
        }
        out.records.push(Record::TaskEnded {
            job: job.id,
            task: TaskId(task),
            end,
        });
        let client = job.client;
        let mut failed_at = Vec::new();
        if let Some(touched) = touched {
            match touched.place {
                Place::Ready => {
                    job.ready.remove(&task);
                }
                Place::Alone => {
                    self.alone.remove(&(job_key, task));
                }
                Place::Leased | Place::BackingOff(_) | Place::Withheld => {}
            }
            if touched.leases.is_full() {
                job.doubled -= 1;
            }
            for (worker, lease) in touched.leases.iter() {
                self.revoke_lease(worker, lease);
                cancels.entry(worker).or_default().push(lease);
            }
            failed_at = touched.failed_at;
        }
        self.uncount_tasks(client, 1);
        self.refresh_job(job_key);
        if outcome == OutcomeKind::Succeeded {
            self.blame(&failed_at, by, out);
        }
        self.end_job_if_complete(job_key, out);
    }

    /// A task ran that others had failed: it was them.
    fn blame(&mut self, failed_at: &[WorkerKey], by: Option<WorkerKey>, out: &mut Outbox) {
        for key in failed_at {
            let limit = self.config.worker_failures_max.saturating_mul(2);
            let Some(worker) = self.fleet.workers.get_mut(key) else {
                continue;
            };
            if by == Some(*key) || worker.drained.is_some() {
                continue;
            }
            worker.blame = worker.blame.saturating_add(2);
            if worker.blame >= limit {
                let id = worker.id.clone();
                self.drain_for(&id, DrainReason::FailsTasks, out);
            }
        }
    }

    /// Marks a lease as no longer the task's. It occupies its slot until the worker has given it back.
    pub(crate) fn revoke_lease(&mut self, worker: WorkerKey, lease: LeaseId) {
        let held = self
            .fleet
            .workers
            .get_mut(&worker)
            .and_then(|worker| worker.leases.get_mut(&lease));
        if let Some(held) = held {
            held.state = LeaseState::Revoked;
        }
    }

    /// Takes a lease out of its slot, and out of its task if it is the task's.
    fn release(&mut self, key: WorkerKey, lease: LeaseId) {
        let Some(worker) = self.fleet.workers.get_mut(&key) else {
            return;
        };
        if worker.alone == Some(lease) {
            worker.alone = None;
        }
        let Some(held) = worker.leases.remove(&lease) else {
            return;
        };
        if held.is_live() {
            self.unlink(held.job, held.task, lease);
        }
    }

    fn unlink(&mut self, job: JobKey, task: u64, lease: LeaseId) {
        let Some(job) = self.jobs.get_mut(&job) else {
            return;
        };
        let Some(touched) = job.touched.get_mut(&task) else {
            return;
        };
        let was_double = touched.leases.is_full();
        if touched.leases.remove(lease) && was_double {
            job.doubled -= 1;
        }
    }

    pub(crate) fn leases_given_back(
        &mut self,
        session: SessionId,
        given: &[(LeaseId, GiveBackReason)],
        out: &mut Outbox,
    ) {
        let Some(key) = self.of_session(session) else {
            return;
        };
        for (lease, reason) in given {
            let Some(held) = self.held(key, *lease) else {
                continue;
            };
            let loss = match reason {
                GiveBackReason::Cancelled
                | GiveBackReason::Draining
                | GiveBackReason::NoSlot
                | GiveBackReason::LeaseEnded => Loss::NeverRan,
                GiveBackReason::ImageUnavailable
                | GiveBackReason::InputUnavailable
                | GiveBackReason::LimitsUnsupported
                | GiveBackReason::HostFailed => Loss::Failed,
                GiveBackReason::SlotDied => Loss::SlotDied,
            };
            if *reason == GiveBackReason::ImageUnavailable
                && let Some(job) = self.jobs.get(&held.job)
            {
                let function = job.spec.function;
                self.set_image_held(key, function, false);
            }
            if *reason == GiveBackReason::NoSlot || matches!(loss, Loss::Failed | Loss::SlotDied) {
                self.leave_alone_for_a_while(key);
            }
            self.lose(key, *lease, loss, out);
        }
        self.refresh_worker(key);
    }

    fn held(&self, key: WorkerKey, lease: LeaseId) -> Option<HeldLease> {
        self.fleet.workers.get(&key)?.leases.get(&lease).copied()
    }

    /// A worker that fails waits longer each time before it is given more, so that failing fast attracts nothing.
    fn leave_alone_for_a_while(&mut self, key: WorkerKey) {
        let Some(worker) = self.fleet.workers.get_mut(&key) else {
            return;
        };
        worker.failures_in_row = worker.failures_in_row.saturating_add(1);
        let failures = worker.failures_in_row;
        let pause = backoff(self.config.backoff, self.config.backoff_max, failures);
        let until = self.now + pause;
        if let Some(worker) = self.fleet.workers.get_mut(&key) {
            worker.blocked_until = worker.blocked_until.max(until);
            let until = worker.blocked_until;
            self.timers.insert((until, Timer::Blocked(key)));
        }
    }

    /// Looks at a worker's leases when the first of them may have expired.
    pub(crate) fn watch_leases(&mut self, key: WorkerKey) {
        let Some(worker) = self.fleet.workers.get_mut(&key) else {
            return;
        };
        let live = worker.leases.values().filter(|held| held.is_live());
        let first = live.map(|held| held.expires).min();
        if let Some(first) = first
            && worker.timer.is_none_or(|timer| timer > first)
        {
            worker.timer = Some(first);
            self.timers.insert((first, Timer::Leases(key)));
        }
    }

    pub(crate) fn expire_leases(&mut self, key: WorkerKey, out: &mut Outbox) {
        let now = self.now;
        let Some(worker) = self.fleet.workers.get_mut(&key) else {
            return;
        };
        if worker.timer.is_some_and(|timer| timer > now) {
            return;
        }
        worker.timer = None;
        if worker.session.is_none() {
            return;
        }
        let expired: Vec<LeaseId> = worker
            .leases
            .iter()
            .filter(|(_, held)| held.is_live() && held.expires <= now)
            .map(|(lease, _)| *lease)
            .collect();
        for lease in &expired {
            self.revoke(key, *lease, Loss::Expired, out);
        }
        if !expired.is_empty() {
            self.send_cancels(Cancels::from([(key, expired)]), out);
        }
        self.watch_leases(key);
    }

    /// Takes a lease from its task, which goes on elsewhere. It occupies its slot until the worker has given it back.
    pub(crate) fn revoke(&mut self, key: WorkerKey, lease: LeaseId, loss: Loss, out: &mut Outbox) {
        let Some(held) = self.held(key, lease) else {
            return;
        };
        self.revoke_lease(key, lease);
        self.unlink(held.job, held.task, lease);
        self.lost(key, held.job, held.task, held.attempt, loss, out);
    }

    /// A lease ends without an outcome and leaves its slot.
    pub(crate) fn lose(&mut self, key: WorkerKey, lease: LeaseId, loss: Loss, out: &mut Outbox) {
        let Some(worker) = self.fleet.workers.get(&key) else {
            return;
        };
        let Some(held) = worker.leases.get(&lease).copied() else {
            return;
        };
        let loss = match loss {
            Loss::Died if !worker.may_run(lease) => Loss::NeverRan,
            loss => loss,
        };
        self.release(key, lease);
        if held.is_live() {
            self.lost(key, held.job, held.task, held.attempt, loss, out);
        }
    }

    /// Every lease of a worker ends without an outcome.
    pub(crate) fn lose_all(&mut self, key: WorkerKey, loss: Loss, out: &mut Outbox) {
        let Some(worker) = self.fleet.workers.get(&key) else {
            return;
        };
        // Which may have run is to be known before the first is taken out.
        let leases: Vec<(LeaseId, Loss)> = worker
            .leases
            .keys()
            .map(|lease| match loss {
                Loss::Died if !worker.may_run(*lease) => (*lease, Loss::NeverRan),
                loss => (*lease, loss),
            })
            .collect();
        for (lease, loss) in leases {
            let Some(held) = self.held(key, lease) else {
                continue;
            };
            self.release(key, lease);
            if held.is_live() {
                self.lost(key, held.job, held.task, held.attempt, loss, out);
            }
        }
    }

    /// What the loss of an attempt means for its task. The lease is out of the task already.
    fn lost(
        &mut self,
        worker: WorkerKey,
        job_key: JobKey,
        task: u64,
        attempt: Attempt,
        loss: Loss,
        out: &mut Outbox,
    ) {
        let Some(job) = self.jobs.get_mut(&job_key) else {
            return;
        };
        let Some(touched) = job.touched.get_mut(&task) else {
            return;
        };
        if loss != Loss::NeverRan {
            let suspect = matches!(loss, Loss::Died | Loss::SlotDied);
            touched.losses.push(job::Loss { attempt, suspect });
            if matches!(loss, Loss::Failed | Loss::SlotDied) && !touched.failed_at.contains(&worker)
            {
                touched.failed_at.push(worker);
            }
            self.counters.lost += 1;
            if let Some(worker) = self.fleet.workers.get(&worker) {
                out.records.push(Record::AttemptLost {
                    job: job.id,
                    task: TaskId(task),
                    attempt,
                    worker: worker.id.clone(),
                    suspect,
                });
            }
        }
        if touched.leases.len() > 0 {
            return;
        }
        let losses = u32::try_from(touched.losses.len()).unwrap_or(u32::MAX);
        let pause = if loss == Loss::NeverRan {
            Micros::ZERO
        } else {
            backoff(self.config.backoff, self.config.backoff_max, losses)
        };
        let jitter = self.random_below(pause.0 / 4);
        self.requeue(job_key, task, Micros(pause.0 + jitter), out);
    }

    /// Decides where a task without leases goes on, if anywhere.
    pub(crate) fn requeue(&mut self, job_key: JobKey, task: u64, pause: Micros, out: &mut Outbox) {
        let until = self.now + pause;
        let Some(job) = self.jobs.get_mut(&job_key) else {
            return;
        };
        let attempts_max = usize::try_from(job.spec.attempts_max).unwrap_or(usize::MAX);
        let Some(touched) = job.touched.get_mut(&task) else {
            return;
        };
        let suspicions = touched.suspicions();
        let given_up = if suspicions >= self.config.suspicions_max {
            Some(TaskEnd::Quarantined)
        } else if touched.losses.len() >= attempts_max {
            Some(TaskEnd::Abandoned)
        } else {
            None
        };
        if let Some(end) = given_up {
            let mut cancels = Cancels::new();
            if touched.testimonies.is_empty() {
                self.end_task(job_key, task, end, None, &mut cancels, out);
            } else {
                self.settle(job_key, task, Verdict::Unanswered, &mut cancels, out);
            }
            self.send_cancels(cancels, out);
            return;
        }
        if pause > Micros::ZERO {
            touched.place = Place::BackingOff(until);
            self.timers.insert((until, Timer::Task(job_key, task)));
        } else if suspicions >= self.config.suspicions_alone {
            touched.place = Place::Alone;
            self.alone.insert((job_key, task));
        } else {
            touched.place = Place::Ready;
            job.ready.insert(task);
        }
        self.refresh_job(job_key);
    }

    pub(crate) fn end_backoff_if_due(&mut self, job_key: JobKey, task: u64) {
        let Some(job) = self.jobs.get_mut(&job_key) else {
            return;
        };
        let Some(touched) = job.touched.get_mut(&task) else {
            return;
        };
        if !matches!(touched.place, Place::BackingOff(until) if until <= self.now) {
            return;
        }
        if touched.suspicions() >= self.config.suspicions_alone {
            touched.place = Place::Alone;
            self.alone.insert((job_key, task));
        } else {
            touched.place = Place::Ready;
            job.ready.insert(task);
        }
        self.refresh_job(job_key);
    }
}

/// The pause after so many failures: doubles with each, up to a limit.
pub(crate) fn backoff(first: Micros, max: Micros, failures: u32) -> Micros {
    let doublings = failures.saturating_sub(1).min(30);
    Micros(first.0.saturating_mul(1 << doublings)).min(max)
}
