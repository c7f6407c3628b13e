//! Gives tasks to workers: who is next, where it goes, and what is taken back or given twice at the tail.

use std::collections::BTreeMap;

use ppwasm_proto::fabric::{Claim, LeaseId};
use ppwasm_proto::{Attempt, TaskId, TaskIdentity};

use crate::command::{Command, Lease, Outbox};
use crate::fleet::{HeldLease, LeaseState, SPEED_ONE, Worker, WorkerKey};
use crate::job::{Job, JobKey, Place, Touched};
use crate::placement::{along_max, cost, others_take, waiting_max};
use crate::record::{Record, TaskEnd};
use crate::scheduler::{Cancels, Scheduler, Timer};
use crate::time::Micros;

/// Jobs that one step tries in vain before it leaves the rest for the next.
const JOBS_SKIPPED_MAX: usize = 32;
/// Workers that are compared for one task.
const CANDIDATES_MAX: usize = 16;
/// Tasks of a job that one step tries to place before it goes on to those that were never granted.
const RETURNED_TRIED_MAX: usize = 4;
/// The same of a job that is verified: each may wait for other workers.
const VERIFIED_TRIED_MAX: usize = 64;
/// Tasks that wait for a worker of their own that one step looks at.
const ALONE_TRIED_MAX: usize = 64;
/// Tasks, at the least and at the most, whose grant one `TasksReleased` covers.
const RELEASED: (u64, u64) = (16, 4096);
/// Time between looks for leases to take back.
const STEAL_EVERY: Micros = Micros::from_millis(20);
/// Jobs that one look for slow attempts goes through.
const SECOND_ATTEMPT_JOBS_MAX: usize = 64;

/// Leases by worker and job, in the order in which they were granted.
type Grants = BTreeMap<(WorkerKey, JobKey), Vec<Lease>>;

impl Scheduler {
    /// Grants what can be granted.
    pub(crate) fn assign(&mut self, out: &mut Outbox) {
        self.settle_unconfirmed(out);
        let mut grants = Grants::new();
        if !self.alone.is_empty() || !self.fleet.reserved.is_empty() {
            self.assign_alone(&mut grants, out);
        }
        if !self.fleet.free.is_empty() {
            self.assign_ready(&mut grants, out);
            self.use_idle_workers(&mut grants, out);
        }
        self.send_grants(grants, out);
    }

    fn assign_ready(&mut self, grants: &mut Grants, out: &mut Outbox) {
        let mut skipped = Vec::new();
        let mut last = None;
        for _ in 0..self.config.grants_per_step_max {
            if self.fleet.free.is_empty() || skipped.len() >= JOBS_SKIPPED_MAX {
                return;
            }
            let Some(job) = self.queue.next(&skipped) else {
                return;
            };
            match self.place_next(job, last) {
                Some((task, worker)) => {
                    last = Some(worker);
                    self.grant(job, task, worker, false, grants, out);
                }
                None => skipped.push(job),
            }
        }
        self.set_timer(Micros::ZERO, Timer::Assign);
    }

    /// A task of the job and the worker for it; `last` is sent a message anyway.
    fn place_next(&mut self, job_key: JobKey, last: Option<WorkerKey>) -> Option<(u64, WorkerKey)> {
        let job = self.jobs.get(&job_key)?;
        let mut withheld = None;
        let is_verified = job.spec.verify_percent > 0;
        let tried_max = if is_verified {
            VERIFIED_TRIED_MAX
        } else {
            RETURNED_TRIED_MAX
        };
        for task in job.ready.iter().take(tried_max) {
            let touched = job.touched.get(task);
            let choice = match touched {
                Some(touched) if !touched.testimonies.is_empty() => {
                    self.choose_witness(job, touched, last)
                }
                Some(touched) => self.choose(job, &touched.failed_at, last),
                None => self.choose(job, &[], last),
            };
            match choice {
                Choice::Worker(worker) => return Some((*task, worker)),
                Choice::Withheld(others) => withheld = Some(others),
                Choice::Nobody => {}
            }
        }
        let is_held_up = is_verified && self.unconfirmed.len() >= self.config.unconfirmed_max;
        if let Some(fresh) = job.first_fresh().filter(|_| !is_held_up) {
            match self.choose(job, &[], last) {
                Choice::Worker(worker) => return Some((fresh, worker)),
                Choice::Withheld(others) => withheld = Some(others),
                Choice::Nobody => {}
            }
        }
        let others = withheld?;
        // If they have not done it in twice the time, the estimate was wrong, and nobody is kept from it any longer.
        let patience = self.now + Micros(others.0.saturating_mul(2));
        let job = self.jobs.get_mut(&job_key)?;
        let until = *job.patience_until.get_or_insert(patience);
        if until > self.now {
            self.timers.insert((until, Timer::Assign));
        }
        None
    }

    /// Where a task of the job would end first.
    fn choose(&self, job: &Job, avoid: &[WorkerKey], last: Option<WorkerKey>) -> Choice {
        let function = self.functions.get(&job.spec.function);
        let holders = function.map(|function| &function.holders);
        let least_loaded = self.fleet.free.iter().take(CANDIDATES_MAX);
        let least_loaded = least_loaded.map(|(_, _, key)| *key);
        let more = if self.fleet.free.len() > CANDIDATES_MAX {
            CANDIDATES_MAX
        } else {
            0
        };
        let with_image = holders.into_iter().flatten().take(more).copied();
        let keys = last.into_iter().chain(least_loaded).chain(with_image);
        let best = self.goes_along(job, avoid, last);
        match best.or_else(|| self.best(job, keys, avoid, last)) {
            None => Choice::Nobody,
            Some((key, total)) => match self.others_are_faster(job, key, total) {
                Some(others) => Choice::Withheld(others),
                None => Choice::Worker(key),
            },
        }
    }

    /// Where a task that others have answered for would end first. Nobody is kept from it for being slow: there may be
    /// no faster one of its kind.
    fn choose_witness(&self, job: &Job, touched: &Touched, last: Option<WorkerKey>) -> Choice {
        let keys = self.witnesses_for(job, touched).into_iter();
        match self.best(job, keys, &[], last) {
            Some((key, _)) => Choice::Worker(key),
            None => Choice::Nobody,
        }
    }

    /// The worker that is sent a message anyway, if the task would end earlier nowhere by what another message costs:
    /// nobody else has to be looked at.
    fn goes_along(
        &self,
        job: &Job,
        avoid: &[WorkerKey],
        last: Option<WorkerKey>,
    ) -> Option<(WorkerKey, Micros)> {
        let (key, total) = self.best(job, last.into_iter(), avoid, last)?;
        let (fastest, _) = self.fleet.usable.last()?;
        let run_time = job.run_time.or(self.config.run_time_guess).0;
        let elsewhere = run_time.saturating_mul(SPEED_ONE) / (*fastest).max(1);
        (total.0 < elsewhere.saturating_add(self.config.grant_cost.0)).then_some((key, total))
    }

    /// The one of these workers where a task of the job would end first, and when.
    fn best(
        &self,
        job: &Job,
        keys: impl Iterator<Item = WorkerKey>,
        avoid: &[WorkerKey],
        last: Option<WorkerKey>,
    ) -> Option<(WorkerKey, Micros)> {
        let run_time = job.run_time.or(self.config.run_time_guess);
        let function = self.functions.get(&job.spec.function);
        let holders = function.map(|function| &function.holders);
        let mut best: Option<((Micros, WorkerKey), Micros)> = None;
        for key in keys {
            let Some(worker) = self.fleet.workers.get(&key) else {
                continue;
            };
            if !worker.is_free()
                || !worker.suits(job)
                || avoid.contains(&key) && self.fleet.has_other_than(key, job)
            {
                continue;
            }
            let goes_along = last == Some(key);
            if !worker.has_free_slot() {
                let waiting = u64::from(worker.load() - worker.usable_slots());
                let max = waiting_max(worker, self.queue.ready_tasks, self.fleet.weight);
                let along = match job.run_time.known() {
                    Some(_) => along_max(worker, run_time, &self.config),
                    None => 0,
                };
                let takes = match goes_along {
                    true => waiting < max.max(along),
                    false => {
                        // A message of its own is for as many as would go along with it.
                        let wanted = u64::from(worker.wanted_waiting(&self.config));
                        waiting + along.min(wanted / 2).max(1) <= max.min(wanted)
                    }
                };
                if !takes {
                    continue;
                }
            }
            let has_image = holders.is_some_and(|holders| holders.contains(&key));
            let total = cost(worker, run_time, has_image, &self.config).total();
            let message = if goes_along {
                Micros::ZERO
            } else {
                self.config.grant_cost
            };
            let order = (Micros(total.0.saturating_add(message.0)), key);
            if best.is_none_or(|(best, _)| order < best) {
                best = Some((order, total));
            }
        }
        best.map(|((_, key), total)| (key, total))
    }

    /// How long the rest of the fleet takes for everything, if this worker, at this cost, takes longer for one task.
    pub(crate) fn others_are_faster(
        &self,
        job: &Job,
        key: WorkerKey,
        total: Micros,
    ) -> Option<Micros> {
        let run_time = job.run_time.known()?;
        let worker = self.fleet.workers.get(&key)?;
        let own_weight = worker.speed * u64::from(worker.usable_slots());
        let others_weight = self.fleet.weight.saturating_sub(own_weight);
        let (speed, fastest) = self.fleet.usable.last()?;
        let is_impatient = job.patience_until.is_some_and(|until| until <= self.now);
        if worker.speed >= *speed || others_weight == 0 || is_impatient {
            return None;
        }
        // A relative speed that the plain averages contradict is not trusted with keeping anybody idle.
        let own_average = worker.run_time.known();
        let fastest_average = self.fleet.workers.get(fastest)?.run_time.known()?;
        if own_average.is_some_and(|own| own <= fastest_average) {
            return None;
        }
        let others = others_take(run_time, self.queue.ready_tasks, others_weight, *speed);
        (total > others).then_some(others)
    }

    fn grant(
        &mut self,
        job_key: JobKey,
        task: u64,
        key: WorkerKey,
        alone: bool,
        grants: &mut Grants,
        out: &mut Outbox,
    ) {
        let lease_end = self.now + self.pace().lease;
        let Some(lease) = LeaseId::new(self.epoch, self.next_lease) else {
            return;
        };
        let (Some(job), Some(worker)) = (
            self.jobs.get_mut(&job_key),
            self.fleet.workers.get_mut(&key),
        ) else {
            return;
        };
        let touched = job
            .touched
            .entry(task)
            .or_insert_with(|| Touched::new(Place::Ready));
        let Some(attempt) = Attempt::of_epoch(self.epoch, touched.tries.saturating_add(1)) else {
            let mut cancels = Cancels::new();
            self.end_task(job_key, task, TaskEnd::Abandoned, None, &mut cancels, out);
            self.send_cancels(cancels, out);
            return;
        };
        self.next_lease += 1;
        self.counters.granted += 1;
        touched.tries += 1;
        touched.place = Place::Leased;
        touched.leases.add(key, lease);
        if touched.leases.is_full() {
            job.doubled += 1;
        }
        if task >= job.next_fresh {
            // Those that are passed over have ended.
            job.ended_ahead -= task - job.next_fresh;
            job.next_fresh = task + 1;
        } else {
            job.ready.remove(&task);
        }
        if job.next_fresh > job.released {
            job.released = released_up_to(job);
            out.records.push(Record::TasksReleased {
                job: job.id,
                below: job.released,
            });
        }

        let run_time = job.run_time.or(self.config.run_time_guess);
        let charged = run_time.0.max(1);
        let held = HeldLease {
            job: job_key,
            task,
            attempt,
            granted: self.now,
            expires: lease_end,
            state: LeaseState::Live,
            is_running: false,
            is_adopted: false,
            charged,
        };
        worker.leases.insert(lease, held);
        if alone {
            worker.alone = Some(lease);
        }
        if worker.timer.is_none() {
            worker.timer = Some(lease_end);
            self.timers.insert((lease_end, Timer::Leases(key)));
        }
        let identity = TaskIdentity::new(job.id, TaskId(task));
        let token = self
            .config
            .lease_key
            .token(&worker.id, lease, identity, attempt);
        let claim = Claim {
            lease,
            identity,
            attempt,
            token,
        };
        grants
            .entry((key, job_key))
            .or_default()
            .push(Lease { claim, alone });

        let client = job.client;
        self.queue.charge(client, charged);
        self.refresh_job(job_key);
        self.refresh_worker(key);
    }

    fn send_grants(&mut self, grants: Grants, out: &mut Outbox) {
        let lasts = self.pace().lease;
        for ((worker, job), leases) in grants {
            let Some(session) = self.session_of(worker) else {
                continue;
            };
            if let Some(job) = self.jobs.get(&job) {
                let function = job.spec.function;
                let holds = |worker: &Worker| worker.images.contains(&function);
                if !self.fleet.workers.get(&worker).is_some_and(holds) {
                    self.set_image_held(worker, function, true);
                    out.commands.push(Command::SendImage { session, function });
                }
            }
            out.commands.push(Command::Grant {
                session,
                leases,
                lasts,
            });
        }
    }

    /// Tasks that may take their worker with them get one for themselves.
    fn assign_alone(&mut self, grants: &mut Grants, out: &mut Outbox) {
        let reserved: Vec<_> = self
            .fleet
            .reserved
            .iter()
            .map(|(task, key)| (*task, *key))
            .collect();
        for (task, key) in reserved {
            let is_usable = self
                .fleet
                .workers
                .get(&key)
                .is_some_and(|worker| worker.is_usable(self.now) && !worker.is_mute(self.now));
            if !is_usable || !self.alone.contains(&task) {
                self.free_reservation(key);
            }
        }
        let waiting: Vec<_> = self.alone.iter().take(ALONE_TRIED_MAX).copied().collect();
        for (job, task) in waiting {
            if !self.has_image(job) {
                continue;
            }
            let Some(key) = self.reserve(job, task, out) else {
                continue;
            };
            let is_empty = self
                .fleet
                .workers
                .get(&key)
                .is_some_and(|worker| worker.leases.is_empty());
            if is_empty {
                self.free_reservation(key);
                self.alone.remove(&(job, task));
                self.grant(job, task, key, true, grants, out);
            }
        }
    }

    fn has_image(&self, job: JobKey) -> bool {
        let function = self.jobs.get(&job).map(|job| job.spec.function);
        let function = function.and_then(|function| self.functions.get(&function));
        function.is_some_and(|function| function.is_ready)
    }

    /// The worker that is to run this task alone: the emptiest, and not more than a quarter of all at a time.
    fn reserve(&mut self, job: JobKey, task: u64, out: &mut Outbox) -> Option<WorkerKey> {
        if let Some(key) = self.fleet.reserved.get(&(job, task)) {
            return Some(*key);
        }
        if self.fleet.reserved.len() >= (self.fleet.usable.len() / 4).max(1) {
            return None;
        }
        let of_task = self.jobs.get(&job)?;
        let touched = of_task.touched.get(&task)?;
        let failed_at = touched.failed_at.clone();
        let key = self
            .fleet
            .usable
            .iter()
            .filter_map(|(_, key)| Some((*key, self.fleet.workers.get(key)?)))
            .filter(|(_, worker)| worker.reserved.is_none() && worker.alone.is_none())
            .filter(|(_, worker)| !worker.is_mute(self.now))
            .filter(|(_, worker)| worker.suits(of_task) && !touched.has_answered(&worker.id))
            .min_by_key(|(key, worker)| (failed_at.contains(key), worker.load(), *key))
            .map(|(key, _)| key)?;
        self.fleet.workers.get_mut(&key)?.reserved = Some((job, task));
        self.fleet.reserved.insert((job, task), key);
        self.refresh_worker(key);
        self.take_back_waiting(key, usize::MAX, out);
        Some(key)
    }

    /// Asks a worker for the newest leases that wait there.
    pub(crate) fn take_back_waiting(&mut self, key: WorkerKey, max: usize, out: &mut Outbox) {
        let Some(worker) = self.fleet.workers.get_mut(&key) else {
            return;
        };
        let Some(session) = worker.session else {
            return;
        };
        let slots = usize::try_from(worker.slots).unwrap_or(usize::MAX);
        let waiting = worker.leases.len().saturating_sub(slots);
        let mut leases = Vec::new();
        for (lease, held) in worker.leases.iter_mut().rev().take(waiting.min(max)) {
            if held.state == LeaseState::Live && !held.is_running {
                held.state = LeaseState::TakingBack;
                leases.push(*lease);
            }
        }
        if !leases.is_empty() {
            self.counters.taken_back += leases.len() as u64;
            out.commands.push(Command::TakeBack { session, leases });
        }
    }

    /// Slots are free and nothing that is ready fits: what waits elsewhere may come, what is slow may run twice.
    fn use_idle_workers(&mut self, grants: &mut Grants, out: &mut Outbox) {
        let first = self
            .fleet
            .free
            .first()
            .and_then(|(_, _, key)| self.fleet.workers.get(key));
        let Some(idle) = first.filter(|worker| worker.has_free_slot()) else {
            return;
        };
        if self.queue.ready_tasks > 0 {
            return;
        }
        if self.now >= self.next_steal {
            let speed = idle.speed;
            self.steal(speed, out);
        } else {
            self.timers.insert((self.next_steal, Timer::Assign));
        }
        if self.config.second_attempts && self.now >= self.next_second_attempts {
            self.start_second_attempts(grants, out);
        }
    }

    /// Takes back leases that would wait longest, if an idle worker of this speed would have ended them before.
    fn steal(&mut self, idle_speed: u64, out: &mut Outbox) {
        self.next_steal = self.now + STEAL_EVERY;
        let mut idle_slots = 0;
        let mut coming = 0;
        let mut victim: Option<(Micros, WorkerKey, usize)> = None;
        for (key, worker) in &self.fleet.workers {
            let slots = usize::try_from(worker.usable_slots()).unwrap_or(usize::MAX);
            let waiting = worker.leases.len().saturating_sub(slots);
            if waiting == 0 {
                if worker.is_free() {
                    idle_slots += slots.saturating_sub(worker.leases.len());
                }
                continue;
            }
            let newest = worker.leases.values().rev().take(waiting);
            let is_coming = |held: &&HeldLease| held.state == LeaseState::TakingBack;
            let waiting_there = waiting - newest.clone().filter(is_coming).count();
            coming += waiting - waiting_there;
            if waiting_there == 0 {
                continue;
            }
            let run_time = worker.run_time.or(self.config.run_time_guess);
            let wait = Micros(run_time.0.saturating_mul(waiting as u64) / (slots as u64).max(1));
            let there = wait.0.saturating_add(run_time.0);
            let here = run_time.0.saturating_mul(worker.speed) / idle_speed.max(1);
            let is_worth_it = wait > self.config.steal_wait && there > here;
            if is_worth_it && victim.is_none_or(|(longest, _, _)| wait > longest) {
                victim = Some((wait, *key, waiting_there));
            }
        }
        let room = idle_slots.saturating_sub(coming);
        let Some((_, key, waiting)) = victim.filter(|_| room > 0) else {
            return;
        };
        self.take_back_waiting(key, room.min(waiting.div_ceil(2)), out);
        self.set_timer(STEAL_EVERY, Timer::Assign);
    }

    /// Gives the slowest attempts of nearly finished jobs to an idle worker as well.
    fn start_second_attempts(&mut self, grants: &mut Grants, out: &mut Outbox) {
        self.next_second_attempts = self.now + self.config.second_attempts_min;
        let mut is_worth_a_look = false;
        let open = self.jobs.iter().filter(|(_, job)| self.is_nearly_done(job));
        let open: Vec<JobKey> = open
            .map(|(key, _)| *key)
            .take(SECOND_ATTEMPT_JOBS_MAX)
            .collect();
        for job_key in open {
            is_worth_a_look = true;
            while let Some((task, key)) = self.slow_attempt(job_key) {
                self.counters.second_attempts += 1;
                self.grant(job_key, task, key, false, grants, out);
            }
        }
        if is_worth_a_look {
            let at = self.next_second_attempts;
            self.timers.insert((at, Timer::Assign));
        }
    }

    fn is_nearly_done(&self, job: &Job) -> bool {
        let percent = u64::from(self.config.second_attempts_after_percent);
        job.end.is_none()
            && job.is_closed
            && job.spec.is_deterministic
            && job.ready_len() == 0
            && job.ended.len().saturating_mul(100) >= job.count.saturating_mul(percent)
    }

    /// A task of the job that takes too long, and an idle worker for it.
    fn slow_attempt(&self, job_key: JobKey) -> Option<(u64, WorkerKey)> {
        let job = self.jobs.get(&job_key)?;
        let percent = u64::from(self.config.second_attempts_percent);
        if job.doubled >= (job.count.saturating_mul(percent) / 100).max(1) {
            return None;
        }
        let run_time = job.run_time.known()?;
        let idle = self
            .fleet
            .free
            .iter()
            .take(CANDIDATES_MAX)
            .map(|(_, _, key)| *key);
        let idle = idle.filter(|key| {
            self.fleet
                .workers
                .get(key)
                .is_some_and(|worker| worker.has_free_slot() && worker.suits(job))
        });
        let idle: Vec<WorkerKey> = idle.collect();
        let slow = job
            .touched
            .iter()
            .filter(|(_, touched)| touched.leases.len() == 1);
        slow.filter(|(_, touched)| touched.suspicions() == 0)
            .filter_map(|(task, touched)| {
                let (key, lease) = touched.leases.iter().next()?;
                let worker = self.fleet.workers.get(&key)?;
                let elapsed = self.now.since(worker.leases.get(&lease)?.granted);
                let normal = Micros(worker.scaled(run_time).0.saturating_mul(3) / 2);
                let is_slow = elapsed > normal.max(self.config.second_attempts_min);
                let other = idle.iter().find(|other| {
                    **other != key
                        && !touched.failed_at.contains(other)
                        && !self.has_answered(touched, **other)
                })?;
                is_slow.then_some((elapsed, *task, *other))
            })
            .max_by_key(|(elapsed, task, _)| (*elapsed, std::cmp::Reverse(*task)))
            .map(|(_, task, key)| (task, key))
    }
}

/// Who gets a task.
enum Choice {
    Worker(WorkerKey),
    /// Somebody could, but would end later than the others, who take this long, with everything.
    Withheld(Micros),
    Nobody,
}

/// Covers a part of what is queued, so that the records are few and a restart has to ask workers about few tasks.
fn released_up_to(job: &Job) -> u64 {
    let queued = job.count - job.next_fresh;
    let ahead = (queued / 16).clamp(RELEASED.0, RELEASED.1);
    job.next_fresh.saturating_add(ahead)
}
