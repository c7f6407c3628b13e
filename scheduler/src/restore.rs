//! Rebuilds a scheduler from what was recorded, and ends the wait for workers that were there before.
//!
//! Leases are not recorded. What may be with a worker is known from three things that are: the roster of workers that
//! may hold leases, the highest task that was released, and what has ended. So after a restart everything released that
//! has not ended is withheld until every worker of the roster is back and has named what it holds, or the grace is over.
//! What was never released goes on at once.

use std::collections::BTreeSet;

use ppwasm_proto::JobId;
use ppwasm_proto::fabric::{ClientName, Epoch, LeaseId, WorkerId};

use crate::command::{Command, Outbox};
use crate::config::Config;
use crate::job::{self, Failed, Job, JobKey, Place, Touched};
use crate::record::{DrainReason, JobEnd, JobSpec, OutcomeKind, Record};
use crate::scheduler::{Restart, Scheduler, Timer};
use crate::time::{Micros, Timestamp};

/// Records that contradict each other: the store is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("record {number} contradicts those before it: {reason}")]
pub struct RestoreError {
    /// Which one, from 0.
    pub number: u64,
    /// How.
    pub reason: Contradiction,
}

/// How a record contradicts those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Contradiction {
    /// It is about a job that is not there.
    #[error("there is no such job")]
    NoSuchJob,
    /// It submits a job that is there.
    #[error("the job exists")]
    JobExists,
    /// It is about a task that is not there.
    #[error("there is no such task")]
    NoSuchTask,
    /// It ends a task that has ended.
    #[error("the task has ended")]
    TaskHasEnded,
    /// It adds tasks that do not follow those that are there.
    #[error("the tasks do not follow those before")]
    TasksDoNotFollow,
    /// It is about a job that has ended.
    #[error("the job has ended")]
    JobHasEnded,
    /// It retries or forgets a job that has not ended, or calls one finished that is not.
    #[error("the job has not ended")]
    JobRuns,
}

impl Scheduler {
    /// A scheduler that goes on where these records end. `epoch` is larger than any before.
    ///
    /// What has to be done at once, like asking for images, is in `out`.
    ///
    /// # Errors
    ///
    /// The first record that contradicts those before it.
    pub fn restore(
        config: Config,
        epoch: Epoch,
        now: Timestamp,
        records: impl IntoIterator<Item = Record>,
        out: &mut Outbox,
    ) -> Result<Self, RestoreError> {
        let mut scheduler = Self::new(config, epoch);
        scheduler.now = now;
        for (number, record) in (0..).zip(records) {
            let applied = scheduler.apply(record);
            applied.map_err(|reason| RestoreError { number, reason })?;
        }
        scheduler.resume(out);
        Ok(scheduler)
    }

    fn apply(&mut self, record: Record) -> Result<(), Contradiction> {
        // What live operation would do besides is done once, by `resume`.
        let mut nothing = Outbox::default();
        match record {
            Record::JobSubmitted { job, spec } => {
                if self.job_keys.contains_key(&job) {
                    return Err(Contradiction::JobExists);
                }
                self.add_job(job, spec, &mut nothing);
            }
            Record::TasksAdded { job, first, count } => {
                let (key, job) = self.recorded_job(job)?;
                if job.end.is_some() {
                    return Err(Contradiction::JobHasEnded);
                }
                if job.count != first || first.checked_add(count).is_none() {
                    return Err(Contradiction::TasksDoNotFollow);
                }
                self.add_tasks(key, count);
            }
            Record::JobClosed { job, tasks } => {
                let (_, job) = self.recorded_job(job)?;
                if job.count != tasks {
                    return Err(Contradiction::TasksDoNotFollow);
                }
                job.is_closed = true;
            }
            Record::TasksReleased { job, below } => {
                let (_, job) = self.recorded_job(job)?;
                job.released = job.released.max(below);
            }
            Record::TaskEnded { job, task, end } => {
                self.apply_task_end(job, task.0, end.outcome())?;
            }
            Record::AttemptLost {
                job,
                task,
                attempt,
                suspect,
                ..
            } => {
                let touched = self.recorded_task(job, task.0)?;
                touched.losses.push(job::Loss { attempt, suspect });
            }
            Record::AttemptFound { job, task, attempt } => {
                let touched = self.recorded_task(job, task.0)?;
                touched.losses.retain(|loss| loss.attempt != attempt);
            }
            Record::JobEnded { job, how } => {
                let (key, job) = self.recorded_job(job)?;
                if job.end.is_some() {
                    return Err(Contradiction::JobHasEnded);
                }
                if how == JobEnd::Finished && !job.is_complete() {
                    return Err(Contradiction::JobRuns);
                }
                self.end_job(key, how, &mut nothing);
            }
            Record::JobRetried { job, lease_floor } => {
                let (key, job) = self.recorded_job(job)?;
                if job.end != Some(JobEnd::Finished) {
                    return Err(Contradiction::JobRuns);
                }
                self.reopen(key, lease_floor, &mut nothing);
            }
            Record::JobForgotten { job } => {
                let (key, job) = self.recorded_job(job)?;
                if job.end.is_none() {
                    return Err(Contradiction::JobRuns);
                }
                self.remove_job(key);
            }
            Record::WorkerJoined { worker } => {
                self.roster.insert(worker);
            }
            Record::WorkerGone { worker } => {
                self.roster.remove(&worker);
            }
            Record::WorkerDrained { worker, why } => {
                self.drained.insert(worker, why);
            }
            Record::WorkerUndrained { worker } => {
                self.drained.remove(&worker);
            }
        }
        Ok(())
    }

    fn recorded_job(&mut self, job: JobId) -> Result<(JobKey, &mut Job), Contradiction> {
        let key = self.job_keys.get(&job).ok_or(Contradiction::NoSuchJob)?;
        let job = self.jobs.get_mut(key).ok_or(Contradiction::NoSuchJob)?;
        Ok((*key, job))
    }

    fn recorded_task(&mut self, job: JobId, task: u64) -> Result<&mut Touched, Contradiction> {
        let (_, job) = self.recorded_job(job)?;
        if job.end.is_some() {
            return Err(Contradiction::JobHasEnded);
        }
        if task >= job.count {
            return Err(Contradiction::NoSuchTask);
        }
        if job.ended.contains(task) {
            return Err(Contradiction::TaskHasEnded);
        }
        let withheld = || Touched::new(Place::Withheld);
        job.ready.remove(&task);
        let touched = job.touched.entry(task).or_insert_with(withheld);
        touched.place = Place::Withheld;
        Ok(touched)
    }

    fn apply_task_end(
        &mut self,
        id: JobId,
        task: u64,
        outcome: OutcomeKind,
    ) -> Result<(), Contradiction> {
        let (_, job) = self.recorded_job(id)?;
        if job.end.is_some() {
            return Err(Contradiction::JobHasEnded);
        }
        if task >= job.count {
            return Err(Contradiction::NoSuchTask);
        }
        if !job.ended.insert(task) {
            return Err(Contradiction::TaskHasEnded);
        }
        job.touched.remove(&task);
        job.ready.remove(&task);
        if outcome != OutcomeKind::Succeeded {
            job.failed.insert(task, Failed { outcome, tries: 0 });
        }
        let client = job.client;
        self.uncount_tasks(client, 1);
        Ok(())
    }

    /// After the last record: asks for images, withholds what may be with workers, ends what was about to end.
    fn resume(&mut self, out: &mut Outbox) {
        let is_empty = self.roster.is_empty();
        let keys: Vec<JobKey> = self.jobs.keys().copied().collect();
        for key in keys {
            let Some(job) = self.jobs.get_mut(&key) else {
                continue;
            };
            if job.end.is_some() {
                // Nothing is left of it, until it is retried.
                job.next_fresh = job.count;
                job.ended_ahead = 0;
                continue;
            }
            withhold_released(job);
            self.refresh_job(key);
            self.end_job_if_complete(key, out);
        }
        out.commands.extend(
            self.functions
                .iter()
                .filter(|(_, known)| !known.jobs.is_empty())
                .map(|(function, _)| Command::BuildImage {
                    function: *function,
                }),
        );
        let until = self.now + self.config.restart_grace;
        self.restart = Some(Restart {
            until,
            awaited: self.roster.clone(),
        });
        if is_empty {
            self.end_restart(out);
        } else {
            self.timers.insert((until, Timer::Restart));
        }
    }

    pub(crate) fn no_longer_await(&mut self, worker: &WorkerId, out: &mut Outbox) {
        if let Some(restart) = &mut self.restart {
            restart.awaited.remove(worker);
            if restart.awaited.is_empty() {
                self.end_restart(out);
            }
        }
    }

    pub(crate) fn end_restart_if_due(&mut self, out: &mut Outbox) {
        let is_due = |restart: &Restart| restart.until <= self.now;
        if self.restart.as_ref().is_some_and(is_due) {
            self.end_restart(out);
        }
    }

    /// Nobody is waited for any longer: what no worker has claimed goes on.
    fn end_restart(&mut self, out: &mut Outbox) {
        let Some(restart) = self.restart.take() else {
            return;
        };
        self.fleet.witnesses_changed = true;
        for worker in &restart.awaited {
            self.set_on_roster(worker, false, out);
        }
        let keys: Vec<JobKey> = self.jobs.keys().copied().collect();
        for key in keys {
            let Some(job) = self.jobs.get(&key) else {
                continue;
            };
            let is_withheld = |touched: &Touched| touched.place == Place::Withheld;
            let withheld = job
                .touched
                .iter()
                .filter(|(_, touched)| is_withheld(touched));
            let withheld: Vec<u64> = withheld.map(|(task, _)| *task).collect();
            for task in withheld {
                self.requeue(key, task, Micros::ZERO, out);
            }
        }
    }

    /// What a restart would have to know, for comparing. Everything in it is a sum of records.
    pub fn durable(&self) -> Durable {
        let jobs = self.jobs.values().map(|job| DurableJob {
            job: job.id,
            spec: job.spec.clone(),
            tasks: job.count,
            is_closed: job.is_closed,
            end: job.end,
            released: job.released,
            lease_floor: job.lease_floor,
            ended: (0..job.count)
                .filter(|task| job.ended.contains(*task))
                .collect(),
            failed: job
                .failed
                .iter()
                .map(|(task, failed)| (*task, failed.outcome))
                .collect(),
            losses: job
                .touched
                .iter()
                .filter(|(_, touched)| !touched.losses.is_empty())
                .map(|(task, touched)| {
                    let mut losses = touched.losses.clone();
                    losses.sort_unstable();
                    let losses = losses.iter().map(|loss| (loss.attempt.0, loss.suspect));
                    (*task, losses.collect())
                })
                .collect(),
        });
        let clients = self.queue.clients.values();
        Durable {
            jobs: jobs.collect(),
            clients: clients
                .map(|client| {
                    (
                        client.name.clone(),
                        client.jobs,
                        client.open_jobs,
                        client.tasks,
                    )
                })
                .collect(),
            drained: self
                .drained
                .iter()
                .map(|(id, why)| (id.clone(), *why))
                .collect(),
            roster: self.roster.clone(),
        }
    }
}

/// Moves what may be with workers out of what was never granted.
fn withhold_released(job: &mut Job) {
    let released = job.released.min(job.count);
    for task in 0..released {
        if !job.ended.contains(task) {
            job.ready.remove(&task);
            let withheld = || Touched::new(Place::Withheld);
            let touched = job.touched.entry(task).or_insert_with(withheld);
            touched.place = Place::Withheld;
        }
    }
    job.next_fresh = released;
    job.ended_ahead = job.ended.count_from(released);
}

/// The part of the state that survives a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Durable {
    /// Jobs in the order of their submission.
    pub jobs: Vec<DurableJob>,
    /// Clients with their jobs, open jobs and open tasks.
    pub clients: BTreeSet<(ClientName, usize, usize, u64)>,
    /// Workers that are granted nothing.
    pub drained: Vec<(WorkerId, DrainReason)>,
    /// Workers that may hold leases.
    pub roster: BTreeSet<WorkerId>,
}

/// A job's part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DurableJob {
    /// Its id.
    pub job: JobId,
    /// What it is.
    pub spec: Box<JobSpec>,
    /// Tasks added.
    pub tasks: u64,
    /// No more will come.
    pub is_closed: bool,
    /// How it ended.
    pub end: Option<JobEnd>,
    /// Tasks below may be with workers.
    pub released: u64,
    /// Leases below bring nothing.
    pub lease_floor: LeaseId,
    /// Tasks that have ended.
    pub ended: Vec<u64>,
    /// Those that did not succeed.
    pub failed: Vec<(u64, OutcomeKind)>,
    /// Attempts counted as lost, with whether they are suspect.
    pub losses: Vec<(u64, Vec<(u32, bool)>)>,
}
