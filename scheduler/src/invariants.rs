//! What has to hold between any two steps, over all tables. For tests and simulations: it walks everything.

use crate::fleet::WorkerKey;
use crate::job::{Job, JobKey, Place};
use crate::scheduler::Scheduler;

/// Reports a broken invariant.
macro_rules! hold {
    ($condition:expr, $($what:tt)+) => {
        if !$condition {
            return Err(format!($($what)+));
        }
    };
}

impl Scheduler {
    /// Checks the scheduler against itself.
    ///
    /// # Errors
    ///
    /// The first contradiction, for people. It is a bug in this crate.
    pub fn check_invariants(&self) -> Result<(), String> {
        let mut ready = 0;
        let mut open = 0;
        for (key, job) in &self.jobs {
            self.check_job(*key, job)
                .map_err(|what| format!("job {}: {what}", job.id))?;
            ready += job.counted_ready;
            open += job.open_tasks();
        }
        hold!(
            self.queue.ready_tasks == ready,
            "ready tasks: {} for {ready}",
            self.queue.ready_tasks
        );
        hold!(
            self.queue.tasks == open,
            "open tasks: {} for {open}",
            self.queue.tasks
        );
        self.check_clients()?;
        self.check_unconfirmed()?;
        for (job, task) in &self.alone {
            let touched = self.jobs.get(job).and_then(|job| job.touched.get(task));
            let is_alone = touched.is_some_and(|touched| touched.place == Place::Alone);
            hold!(
                is_alone,
                "task {task} of {job:?} does not wait to run alone"
            );
        }
        self.check_fleet()
    }

    fn check_job(&self, key: JobKey, job: &Job) -> Result<(), String> {
        hold!(
            self.job_keys.get(&job.id) == Some(&key),
            "is not found by its id"
        );
        hold!(
            job.next_fresh <= job.count,
            "fresh from {} of {}",
            job.next_fresh,
            job.count
        );
        hold!(
            job.released >= job.next_fresh || job.end.is_some(),
            "{} granted and {} released",
            job.next_fresh,
            job.released
        );
        let ahead = (job.next_fresh..job.count)
            .filter(|task| job.ended.contains(*task))
            .count() as u64;
        hold!(
            job.ended_ahead == ahead || job.end.is_some(),
            "{} ended ahead for {ahead}",
            job.ended_ahead
        );
        hold!(
            job.ended.len() <= job.count,
            "{} of {} ended",
            job.ended.len(),
            job.count
        );
        if job.end.is_some() {
            hold!(
                job.touched.is_empty() && job.ready.is_empty(),
                "has ended and goes on"
            );
        } else {
            hold!(!job.is_complete(), "is complete and has not ended");
        }
        let mut doubled = 0;
        for (task, touched) in &job.touched {
            hold!(*task < job.next_fresh, "task {task} is touched and fresh");
            hold!(
                !job.ended.contains(*task),
                "task {task} is touched and has ended"
            );
            let leases = touched.leases.len();
            doubled += u64::from(touched.leases.is_full());
            hold!(
                (leases > 0) == (touched.place == Place::Leased),
                "task {task} is {:?} with {leases} leases",
                touched.place
            );
            hold!(
                job.ready.contains(task) == (touched.place == Place::Ready),
                "task {task} is {:?}",
                touched.place
            );
            hold!(
                self.alone.contains(&(key, *task)) == (touched.place == Place::Alone),
                "task {task} is {:?}",
                touched.place
            );
            if let Place::BackingOff(until) = touched.place {
                let timer = (until, crate::scheduler::Timer::Task(key, *task));
                hold!(
                    self.timers.contains(&timer),
                    "task {task} backs off for ever"
                );
            }
            hold!(
                touched.place != Place::Withheld || self.restart.is_some(),
                "task {task} is withheld for ever"
            );
            for (worker, lease) in touched.leases.iter() {
                let held = self
                    .fleet
                    .workers
                    .get(&worker)
                    .and_then(|worker| worker.leases.get(&lease));
                let is_its = held
                    .is_some_and(|held| held.is_live() && held.job == key && held.task == *task);
                hold!(
                    is_its,
                    "task {task} has lease {lease}, which {worker:?} has not"
                );
            }
        }
        hold!(
            job.doubled == doubled,
            "{} doubled for {doubled}",
            job.doubled
        );
        for task in &job.ready {
            hold!(
                job.touched.contains_key(task),
                "task {task} is ready and unknown"
            );
        }
        if job.end.is_none() {
            let untouched = (0..job.next_fresh)
                .find(|task| !job.ended.contains(*task) && !job.touched.contains_key(task));
            hold!(untouched.is_none(), "task {untouched:?} is nowhere");
        }
        let is_queued = self.queue.clients.get(&job.client).is_some_and(|client| {
            client
                .ready
                .contains(&(std::cmp::Reverse(job.spec.priority), key))
        });
        hold!(
            is_queued == (job.counted_ready > 0),
            "is queued: {is_queued}"
        );
        Ok(())
    }

    fn check_unconfirmed(&self) -> Result<(), String> {
        let mut found = 0;
        for (key, job) in &self.jobs {
            for (task, touched) in &job.touched {
                let answers = &touched.testimonies;
                hold!(
                    self.unconfirmed.contains(&(*key, *task)) != answers.is_empty(),
                    "task {task} of {}: {} testimonies",
                    job.id,
                    answers.len()
                );
                found += usize::from(!answers.is_empty());
                for (place, one) in answers.iter().enumerate() {
                    let equals = |other: &crate::job::Testimony| {
                        other.worker == one.worker
                            || other.digest == one.digest && other.outcome == one.outcome
                    };
                    hold!(
                        !answers.iter().take(place).any(equals),
                        "task {task} of {}: {} has answered and it is not over",
                        job.id,
                        one.worker
                    );
                    hold!(
                        !self.is_disbelieved(&one.worker),
                        "task {task} of {}: {} is believed",
                        job.id,
                        one.worker
                    );
                }
            }
        }
        hold!(
            found == self.unconfirmed.len(),
            "{} unconfirmed for {found}",
            self.unconfirmed.len()
        );
        let mut witnesses = 0;
        for (key, worker) in &self.fleet.workers {
            let of_target = self.fleet.witnesses.get(&worker.target);
            let is_one = of_target.is_some_and(|keys| keys.contains(key));
            hold!(
                is_one == worker.can_witness(),
                "{} is a witness: {is_one}",
                worker.id
            );
            witnesses += usize::from(is_one);
        }
        hold!(
            witnesses == self.fleet.witness_count,
            "{} witnesses for {witnesses}",
            self.fleet.witness_count
        );
        Ok(())
    }

    fn check_clients(&self) -> Result<(), String> {
        for (key, client) in &self.queue.clients {
            let jobs = || self.jobs.values().filter(|job| job.client == *key);
            let tasks: u64 = jobs().map(Job::open_tasks).sum();
            hold!(
                client.tasks == tasks,
                "{}: {} tasks for {tasks}",
                client.name,
                client.tasks
            );
            let open = jobs().filter(|job| job.end.is_none()).count();
            hold!(
                client.open_jobs == open,
                "{}: {} open jobs for {open}",
                client.name,
                client.open_jobs
            );
            hold!(
                client.jobs == jobs().count(),
                "{}: {} jobs",
                client.name,
                client.jobs
            );
            let is_runnable = self.queue.runnable.contains(&(client.virtual_time, *key));
            hold!(
                is_runnable != client.ready.is_empty(),
                "{} is runnable: {is_runnable}",
                client.name
            );
        }
        Ok(())
    }

    fn check_fleet(&self) -> Result<(), String> {
        let (mut weight, mut slots, mut free, mut usable) = (0, 0, 0, 0);
        for (key, worker) in &self.fleet.workers {
            let is_usable = worker.is_usable(self.now);
            if is_usable {
                weight += worker.speed * u64::from(worker.usable_slots());
                slots += u64::from(worker.usable_slots());
                usable += 1;
            }
            free += usize::from(worker.is_free());
            hold!(
                is_usable || !worker.is_free(),
                "{} is free and not usable",
                worker.id
            );
            hold!(
                self.fleet.by_id.get(&worker.id) == Some(key),
                "{} is not found by its name",
                worker.id
            );
            if let Some(session) = worker.session {
                hold!(
                    self.fleet.by_session.get(&session) == Some(key),
                    "{} is not found by its session",
                    worker.id
                );
                hold!(
                    worker.orphaned_until.is_none(),
                    "{} is there and orphaned",
                    worker.id
                );
                hold!(
                    self.roster.contains(&worker.id),
                    "{} is not on the roster",
                    worker.id
                );
            } else {
                hold!(
                    worker.leases.is_empty() || worker.orphaned_until.is_some(),
                    "{} is away with leases",
                    worker.id
                );
            }
            if let Some(alone) = worker.alone {
                hold!(
                    worker.leases.contains_key(&alone),
                    "{} runs {alone} alone and has it not",
                    worker.id
                );
            }
            if let Some(reserved) = worker.reserved {
                hold!(
                    self.fleet.reserved.get(&reserved) == Some(key),
                    "{} is reserved for nothing",
                    worker.id
                );
            }
            self.check_leases(*key)?;
        }
        hold!(
            self.fleet.weight == weight,
            "weight {} for {weight}",
            self.fleet.weight
        );
        hold!(
            self.fleet.slots == slots,
            "slots {} for {slots}",
            self.fleet.slots
        );
        hold!(
            self.fleet.free.len() == free,
            "free {} for {free}",
            self.fleet.free.len()
        );
        hold!(
            self.fleet.usable.len() == usable,
            "usable {} for {usable}",
            self.fleet.usable.len()
        );
        let sessions = self
            .fleet
            .workers
            .values()
            .filter(|worker| worker.session.is_some())
            .count();
        hold!(
            self.fleet.by_session.len() == sessions,
            "sessions {} for {sessions}",
            self.fleet.by_session.len()
        );
        for (function, known) in &self.functions {
            for worker in &known.holders {
                let holds = self
                    .fleet
                    .workers
                    .get(worker)
                    .is_some_and(|worker| worker.images.contains(function));
                hold!(holds, "{worker:?} does not hold {function}");
            }
        }
        Ok(())
    }

    fn check_leases(&self, key: WorkerKey) -> Result<(), String> {
        let Some(worker) = self.fleet.workers.get(&key) else {
            return Ok(());
        };
        for (lease, held) in worker.leases.iter().filter(|(_, held)| held.is_live()) {
            let touched = self
                .jobs
                .get(&held.job)
                .and_then(|job| job.touched.get(&held.task));
            let is_linked = touched
                .is_some_and(|touched| touched.leases.iter().any(|link| link == (key, *lease)));
            hold!(is_linked, "{}: lease {lease} is not its task's", worker.id);
            let is_watched = worker.timer.is_some_and(|timer| timer <= held.expires);
            hold!(
                is_watched || worker.session.is_none(),
                "{}: lease {lease} never expires",
                worker.id
            );
        }
        Ok(())
    }
}
