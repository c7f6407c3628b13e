//! The simulation's own simple truth, which shares no code with the scheduler. It sees what goes out, what is durable
//! and what runs, and says when that cannot be.

use std::collections::{BTreeMap, BTreeSet};

use ppwasm_proto::fabric::{LeaseId, LeaseToken, WorkerId};
use ppwasm_proto::wire::{Origin, Verdict, Verification};
use ppwasm_proto::{Attempt, JobId};
use ppwasm_scheduler::{Command, DrainReason, JobEnd, OutcomeKind, Record, TaskEnd};

/// A broken promise.
pub type Broken = String;

macro_rules! promise {
    ($condition:expr, $($what:tt)+) => {
        if !$condition {
            return Err(format!($($what)+));
        }
    };
}

// After the macro, which it uses.
mod known;

#[derive(Debug, Default)]
pub(crate) struct Oracle {
    /// Leases that went out: to whom and for what.
    pub grants: BTreeMap<LeaseId, Given>,
    /// The last attempt of each task, and in which of the coordinator's lives it was.
    attempts: BTreeMap<(JobId, u64), (Attempt, usize)>,
    jobs: BTreeMap<JobId, JobTruth>,
    /// Ends of steps whose commands went out: nothing may be granted after.
    decided: BTreeSet<JobId>,
    decided_tasks: BTreeSet<(JobId, u64)>,
    /// Leases under which an outcome was made, and whether it is the true one.
    answers: BTreeMap<LeaseId, bool>,
    /// Tasks of which a worker has brought outcomes, by lease.
    answered: BTreeMap<(JobId, u64, WorkerId), BTreeSet<LeaseId>>,
    /// Workers whose outcomes count no longer.
    disbelieved: BTreeSet<WorkerId>,
    /// Those whose earlier outcomes do not count now.
    distrusted: BTreeSet<WorkerId>,
    /// Workers that cannot run tasks of jobs that are cached.
    unsuited: BTreeSet<WorkerId>,
    from_cache: u64,
    /// Those of them that were begun before, early, and lost with the coordinator.
    known_later: u64,
    confirmed: u64,
    caught: u64,
    /// Lives that the coordinator has had before this one.
    lives: usize,
    /// Leases that went out before what they came with was durable.
    early: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Given {
    pub worker: WorkerId,
    pub job: JobId,
    pub task: u64,
    pub attempt: Attempt,
    pub token: LeaseToken,
    /// In which of the coordinator's lives.
    pub life: usize,
}

#[derive(Debug, Default)]
struct JobTruth {
    tasks: u64,
    is_closed: bool,
    attempts_max: usize,
    verify_percent: u8,
    is_cached: bool,
    ended: BTreeMap<u64, TaskEnd>,
    failed: BTreeSet<u64>,
    losses: BTreeMap<u64, BTreeMap<Attempt, bool>>,
    end: Option<JobEnd>,
    /// Leases below are from before a retry: their tasks had ended.
    floor: Option<LeaseId>,
    promised: Promised,
    /// How many of its tasks were durable when each life of the coordinator began; lives before it was submitted have 0.
    tasks_at: Vec<u64>,
}

#[derive(Debug, Default)]
struct Promised {
    is_accepted: bool,
    tasks: u64,
    is_closed: bool,
    is_over: bool,
}

impl JobTruth {
    /// Whether a task that was given out in a life of the coordinator was not durable when the next one began: what has
    /// its number now is another one.
    fn has_lost(&self, task: u64, life: usize, lives: usize) -> bool {
        let durable = self.tasks_at.get(life + 1).copied().unwrap_or(0);
        life < lives && task >= durable
    }
}

impl Oracle {
    /// Of a world in which these workers cannot run tasks of jobs that are cached.
    pub(crate) fn new(unsuited: BTreeSet<WorkerId>) -> Self {
        Self {
            unsuited,
            ..Self::default()
        }
    }

    /// A lease goes out.
    pub(crate) fn granted(&mut self, lease: LeaseId, given: Given) -> Result<(), Broken> {
        promise!(
            !self.decided.contains(&given.job),
            "lease {lease} for a job that has ended"
        );
        let task = (given.job, given.task);
        let before = self.attempts.insert(task, (given.attempt, given.life));
        promise!(
            before.is_none_or(|(before, _)| before < given.attempt),
            "{lease}: attempt {} of task {} after {before:?}",
            given.attempt,
            given.task
        );
        promise!(
            !self.grants.contains_key(&lease),
            "lease {lease} is given twice"
        );
        promise!(
            !self.decided_tasks.contains(&task),
            "lease {lease} for task {} that has ended",
            given.task
        );
        let is_cached = self.jobs.get(&given.job).is_some_and(|job| job.is_cached);
        promise!(
            !is_cached || !self.unsuited.contains(&given.worker),
            "lease {lease} of a job that is cached for {}, which cannot run it",
            given.worker
        );
        self.grants.insert(lease, given);
        Ok(())
    }

    /// The commands of a step with this record go out now.
    pub(crate) fn decided(&mut self, record: &Record) {
        match record {
            Record::JobEnded { job, .. } => {
                self.decided.insert(*job);
            }
            Record::JobRetried { job, .. } => {
                self.decided.remove(job);
                // Those that failed go on; which they are is durable before.
                self.decided_tasks.retain(|(of, _)| of != job);
            }
            Record::TaskEnded { job, task, .. } => {
                self.decided_tasks.insert((*job, task.0));
            }
            _ => {}
        }
    }

    /// A grant goes out although what it came with is not durable.
    pub(crate) fn is_early(&mut self, command: &Command) {
        if let Command::Grant { leases, .. } = command {
            self.early += leases.len() as u64;
        }
    }

    pub(crate) const fn early(&self) -> u64 {
        self.early
    }

    pub(crate) const fn life(&self) -> usize {
        self.lives
    }

    /// The coordinator has forgotten what is not durable.
    pub(crate) fn restarted(&mut self) {
        self.lives += 1;
        for job in self.jobs.values_mut() {
            job.tasks_at.resize(self.lives, 0);
            job.tasks_at.push(job.tasks);
        }
        let ended = self.jobs.iter().filter(|(_, job)| job.end.is_some());
        self.decided = ended.map(|(id, _)| *id).collect();
        let tasks = self
            .jobs
            .iter()
            .flat_map(|(id, job)| job.ended.keys().map(|task| (*id, *task)));
        self.decided_tasks = tasks.collect();
    }

    /// A record is durable now.
    pub(crate) fn durable(&mut self, record: &Record) -> Result<(), Broken> {
        match record {
            Record::JobSubmitted { job, spec } => {
                let truth = JobTruth {
                    attempts_max: usize::try_from(spec.attempts_max).unwrap_or(0),
                    verify_percent: spec.verify_percent,
                    is_cached: spec.is_cached,
                    ..JobTruth::default()
                };
                promise!(self.jobs.insert(*job, truth).is_none(), "job {job} twice");
            }
            Record::TasksAdded { job, first, count } => {
                let job = self.job(job)?;
                promise!(
                    job.tasks == *first,
                    "tasks from {first} after {}",
                    job.tasks
                );
                job.tasks += count;
            }
            Record::JobClosed { job, tasks } => {
                let job = self.job(job)?;
                promise!(job.tasks == *tasks, "closed at {tasks} of {}", job.tasks);
                job.is_closed = true;
            }
            Record::TaskEnded { job, task, end } => self.task_ended(*job, task.0, end)?,
            Record::AttemptLost {
                job,
                task,
                attempt,
                suspect,
                ..
            } => {
                let job = self.job(job)?;
                job.losses
                    .entry(task.0)
                    .or_default()
                    .insert(*attempt, *suspect);
            }
            Record::AttemptFound { job, task, attempt } => {
                let job = self.job(job)?;
                let found = job.losses.entry(task.0).or_default().remove(attempt);
                promise!(
                    found.is_some(),
                    "attempt {attempt} of {task} found and never lost"
                );
            }
            Record::JobEnded { job, how } => {
                let job = self.job(job)?;
                promise!(job.end.is_none(), "a job ends {how:?} and {:?}", job.end);
                let complete = job.is_closed && job.ended.len() as u64 == job.tasks;
                promise!(
                    complete || *how != JobEnd::Finished,
                    "finished with {} of {}",
                    job.ended.len(),
                    job.tasks
                );
                job.end = Some(*how);
            }
            Record::JobRetried { job, lease_floor } => {
                let job = self.job(job)?;
                promise!(
                    job.end == Some(JobEnd::Finished),
                    "retried after {:?}",
                    job.end
                );
                job.end = None;
                job.floor = Some(*lease_floor);
                job.promised.is_over = false;
                for task in std::mem::take(&mut job.failed) {
                    job.ended.remove(&task);
                    job.losses.remove(&task);
                }
            }
            Record::WorkerDrained {
                worker,
                why: DrainReason::GivesWrongResults,
            } => {
                self.disbelieved.insert(worker.clone());
                self.distrusted.insert(worker.clone());
                self.caught += 1;
            }
            Record::WorkerDrained {
                worker,
                why: DrainReason::Revoked,
            } => {
                self.distrusted.insert(worker.clone());
            }
            Record::WorkerDrained { worker, .. } | Record::WorkerUndrained { worker } => {
                self.distrusted.remove(worker);
            }
            Record::JobForgotten { .. }
            | Record::TasksReleased { .. }
            | Record::WorkerJoined { .. }
            | Record::WorkerGone { .. } => {}
        }
        Ok(())
    }

    fn job(&mut self, job: &JobId) -> Result<&mut JobTruth, Broken> {
        self.jobs
            .get_mut(job)
            .ok_or_else(|| format!("a record about {job}, which nobody submitted"))
    }

    fn task_ended(&mut self, id: JobId, task: u64, end: &TaskEnd) -> Result<(), Broken> {
        if let TaskEnd::Outcome {
            lease,
            worker,
            attempt,
            ..
        } = end
        {
            let given = self.grants.get(lease);
            let is_its_own = given.is_some_and(|given| {
                given.worker == *worker
                    && given.job == id
                    && given.task == task
                    && given.attempt == *attempt
            });
            promise!(
                is_its_own,
                "{worker} ended task {task} under {lease}, which was {given:?}"
            );
        }
        if let Some(verification) = end.verification() {
            self.verified(task, end, verification)?;
        }
        if let TaskEnd::Cached { outcome, origin } = end {
            self.is_known(id, task, *outcome, origin)?;
        }
        let life = match end {
            TaskEnd::Outcome { lease, .. } => self.grants.get(lease).map(|given| given.life),
            _ => None,
        };
        let lives = self.lives;
        let job = self.job(&id)?;
        promise!(
            life.is_none_or(|life| !job.has_lost(task, life, lives)),
            "task {task} ends under a lease from before it was there"
        );
        promise!(
            job.verify_percent < 100
                || end.origin().is_some_and(Origin::is_confirmed)
                || end.verification().is_some()
                || end.outcome() == OutcomeKind::Abandoned,
            "task {task} is recorded without having been verified"
        );
        promise!(
            job.verify_percent > 0 || end.verification().is_none(),
            "task {task} is verified and nobody asked"
        );
        promise!(job.end.is_none(), "task {task} ends after its job");
        promise!(task < job.tasks, "task {task} of {}", job.tasks);
        let losses = job.losses.get(&task);
        let lost = losses.map_or(0, BTreeMap::len);
        let suspect = losses.map_or(0, |losses| {
            losses.values().filter(|suspect| **suspect).count()
        });
        match end {
            TaskEnd::Abandoned => promise!(
                lost >= job.attempts_max,
                "task {task} abandoned after {lost} losses"
            ),
            TaskEnd::Quarantined => promise!(
                suspect >= 3,
                "task {task} quarantined after {suspect} suspicions"
            ),
            TaskEnd::Outcome { .. } | TaskEnd::Cached { .. } | TaskEnd::Disputed { .. } => {}
        }
        if end.outcome() != OutcomeKind::Succeeded {
            job.failed.insert(task);
        }
        let before = job.ended.insert(task, end.clone());
        promise!(before.is_none(), "task {task} ends {end:?} and {before:?}");
        Ok(())
    }

    /// A worker has made an outcome, true or not.
    pub(crate) fn answered(&mut self, lease: LeaseId, is_true: bool) {
        self.answers.insert(lease, is_true);
        if let Some(given) = self.grants.get(&lease) {
            let key = (given.job, given.task, given.worker.clone());
            self.answered.entry(key).or_default().insert(lease);
        }
    }

    /// Lies are all different here: what two workers agree on is the truth, and who is odd then is a liar.
    fn verified(&mut self, task: u64, end: &TaskEnd, of: &Verification) -> Result<(), Broken> {
        let agreeing = of.testimonies.iter().filter(|one| one.agrees);
        let agreeing: BTreeSet<_> = agreeing.map(|one| &one.worker).collect();
        let everybody: BTreeSet<_> = of.testimonies.iter().map(|one| &one.worker).collect();
        promise!(
            everybody.len() == of.testimonies.len(),
            "a worker answered twice for task {task}"
        );
        match (of.verdict, end) {
            (Verdict::Confirmed, TaskEnd::Outcome { lease, worker, .. }) => {
                promise!(
                    agreeing.len() >= 2 && agreeing.contains(worker),
                    "task {task} of {worker} is confirmed by {agreeing:?}"
                );
                promise!(
                    self.answers.get(lease) == Some(&true),
                    "a lie about task {task} is confirmed by {agreeing:?}"
                );
                self.confirmed += 1;
            }
            (Verdict::Alone | Verdict::Unanswered, TaskEnd::Outcome { .. }) => promise!(
                of.testimonies.len() == 1,
                "task {task} is not confirmed by {everybody:?}"
            ),
            (Verdict::Disputed, TaskEnd::Disputed { .. }) => promise!(
                agreeing.is_empty() && everybody.len() >= 2,
                "{everybody:?} are said to contradict each other"
            ),
            (verdict, end) => promise!(false, "{verdict} and {end:?}"),
        }
        Ok(())
    }

    /// A client is told that its request holds.
    pub(crate) fn accepted(&mut self, job: JobId, what: Promise) -> Result<(), Broken> {
        let Some(truth) = self.jobs.get_mut(&job) else {
            return Err(format!("{what:?} of {job} is accepted and not durable"));
        };
        let promised = &mut truth.promised;
        match what {
            Promise::Submitted => promised.is_accepted = true,
            Promise::Tasks(tasks) => {
                promise!(
                    truth.tasks >= tasks || truth.end.is_some(),
                    "{tasks} tasks accepted, {} durable",
                    truth.tasks
                );
                promised.tasks = promised.tasks.max(tasks.min(truth.tasks));
            }
            Promise::Closed => {
                promise!(
                    truth.is_closed || truth.end.is_some(),
                    "close accepted and not durable"
                );
                promised.is_closed = truth.is_closed;
            }
            Promise::Over => {
                promise!(truth.end.is_some(), "end accepted and not durable");
                promised.is_over = true;
            }
        }
        Ok(())
    }

    /// A worker is told that its result is not needed any more.
    pub(crate) fn acknowledged(&self, worker: &WorkerId, lease: LeaseId) -> Result<(), Broken> {
        // What a liar named is not a result of its own.
        let Some(given) = self
            .grants
            .get(&lease)
            .filter(|given| given.worker == *worker)
        else {
            return Ok(());
        };
        let key = (given.job, given.task, given.worker.clone());
        let counts_once = self
            .answered
            .get(&key)
            .is_some_and(|leases| leases.len() > 1);
        if self.disbelieved.contains(worker) || counts_once {
            return Ok(());
        }
        let job = self.jobs.get(&given.job);
        let is_durable = job.is_none_or(|job| {
            job.end.is_some() || job.ended.contains_key(&given.task) || job.floor > Some(lease)
        });
        promise!(
            is_durable,
            "{lease} of task {} is acknowledged and not durable",
            given.task
        );
        Ok(())
    }

    /// Everything that was promised is in what a restart begins with.
    pub(crate) fn check_restored(
        &self,
        scheduler: &ppwasm_scheduler::Scheduler,
    ) -> Result<(), Broken> {
        for (id, truth) in &self.jobs {
            let Some(view) = scheduler.job(*id) else {
                return Err(format!("job {id} is lost"));
            };
            promise!(
                view.tasks == truth.tasks,
                "{} of {} tasks restored",
                view.tasks,
                truth.tasks
            );
            promise!(
                view.tasks >= truth.promised.tasks,
                "{} of {} accepted tasks restored",
                view.tasks,
                truth.promised.tasks
            );
            promise!(
                view.is_closed || !truth.promised.is_closed,
                "an accepted close is lost"
            );
            promise!(
                view.ended == truth.ended.len() as u64,
                "{} of {} ends restored",
                view.ended,
                truth.ended.len()
            );
            promise!(
                view.end == truth.end,
                "ended {:?}, restored {:?}",
                truth.end,
                view.end
            );
            promise!(
                truth.end.is_some() || !truth.promised.is_over,
                "an accepted end is lost"
            );
        }
        Ok(())
    }

    /// After the heal phase: every job has ended.
    pub(crate) fn unfinished(&self) -> Option<String> {
        let open = self.jobs.iter().find(|(_, job)| job.end.is_none());
        open.map(|(id, job)| {
            let missing = (0..job.tasks).find(|task| !job.ended.contains_key(task));
            format!(
                "job {id}: {} of {} tasks ended, closed: {}, the first that has not: {missing:?}",
                job.ended.len(),
                job.tasks,
                job.is_closed
            )
        })
    }

    /// The first task of a job that has not ended.
    pub(crate) fn first_open(&self) -> Option<(JobId, u64)> {
        self.jobs
            .iter()
            .filter(|(_, job)| job.end.is_none())
            .find_map(|(id, job)| {
                (0..job.tasks)
                    .find(|task| !job.ended.contains_key(task))
                    .map(|task| (*id, task))
            })
    }

    pub(crate) fn ended(&self) -> u64 {
        self.jobs.values().map(|job| job.ended.len() as u64).sum()
    }

    pub(crate) fn given_up(&self) -> u64 {
        let ends = self.jobs.values().flat_map(|job| job.ended.values());
        ends.filter(|end| !matches!(end, TaskEnd::Outcome { .. } | TaskEnd::Cached { .. }))
            .count() as u64
    }

    /// Tasks that were confirmed, and workers that were found out.
    pub(crate) const fn verdicts(&self) -> (u64, u64) {
        (self.confirmed, self.caught)
    }

    /// Tasks that ended with what was known; those of them that a coordinator before had begun and lost.
    pub(crate) const fn known(&self) -> (u64, u64) {
        (self.from_cache, self.known_later)
    }

    pub(crate) fn is_over(&self, job: JobId) -> bool {
        self.jobs.get(&job).is_some_and(|job| job.end.is_some())
    }
}

/// What a client was promised.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Promise {
    Submitted,
    Tasks(u64),
    Closed,
    Over,
}
