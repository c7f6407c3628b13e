//! Why a task does not run, from the same state and the same scoring by which it would be granted.

use std::ops::Bound;

use ppwasm_proto::fabric::{SessionId, WorkerId};
use ppwasm_proto::{Attempt, Digest, JobId, TaskId};

use crate::fleet::{SPEED_ONE, Worker};
use crate::job::{Job, Place, Touched};
use crate::placement::{self, Cost};
use crate::record::{DrainReason, JobEnd, OutcomeKind};
use crate::scheduler::Scheduler;
use crate::time::{Micros, Timestamp};

/// Workers that an explanation lists.
const WORKERS_LISTED_MAX: usize = 8;

/// Where a task stands and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Explanation {
    /// There is no such job.
    UnknownJob,
    /// The job has fewer tasks, so far.
    NotAdded {
        /// How many.
        tasks: u64,
        /// No more will come.
        is_closed: bool,
    },
    /// The task has ended.
    Ended {
        /// How.
        outcome: OutcomeKind,
    },
    /// The job has ended before the task could.
    JobEnded {
        /// How.
        how: JobEnd,
    },
    /// The function's image is being made.
    WaitsForImage,
    /// It may be with a worker that was there before the coordinator's restart.
    WaitsForWorkersToComeBack {
        /// Until then at the latest.
        until: Timestamp,
        /// These.
        awaited: Vec<WorkerId>,
    },
    /// Attempts were lost; it is tried again in a while.
    BackingOff {
        /// Then.
        until: Timestamp,
        /// Lost attempts.
        lost: u32,
    },
    /// Workers died of it, or of what ran beside it: it waits for a worker to be empty.
    WaitsToRunAlone {
        /// How often.
        suspicions: u32,
    },
    /// Workers have it.
    Leased {
        /// The attempts.
        attempts: Vec<LeasedTo>,
    },
    /// It has an outcome, and another worker is to confirm it.
    Unconfirmed {
        /// Who has answered, on which target.
        answers: Vec<(WorkerId, Box<str>)>,
        /// Until then at the latest.
        until: Timestamp,
        /// Others that have it.
        attempts: Vec<LeasedTo>,
        /// The workers that it may go to.
        witnesses: Vec<WorkerId>,
    },
    /// It is its turn when it has a worker.
    Queued {
        /// Tasks of its job that go first.
        ahead_in_job: u64,
        /// Ready tasks of all jobs.
        ready: u64,
        /// What speaks for or against each worker, the best first.
        workers: Vec<Candidate>,
        /// Workers beyond those listed.
        more_workers: u64,
    },
}

/// An attempt that a worker has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeasedTo {
    /// Who.
    pub worker: WorkerId,
    /// Which.
    pub attempt: Attempt,
    /// Since when.
    pub since: Timestamp,
    /// It occupies a slot, by the worker's last report.
    pub is_running: bool,
    /// Leases that the worker got before and still has.
    pub ahead: u64,
}

/// A worker as the task's next place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Who.
    pub worker: WorkerId,
    /// When the task would end there.
    pub cost: Cost,
    /// Why it gets nothing now.
    pub obstacle: Option<Obstacle>,
}

/// Why a worker is not given a task now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Obstacle {
    /// It has no session.
    Away,
    /// It is drained.
    Drained(DrainReason),
    /// It is about to leave.
    Draining,
    /// It has no slots.
    NoSlots,
    /// It failed, and is left alone for a while.
    LeftAlone {
        /// Until then.
        until: Timestamp,
    },
    /// It runs one task alone, or is about to.
    RunsAlone,
    /// It has as much as it takes, or as it is given ahead.
    Full,
    /// It failed this task before and there are others.
    FailedIt,
    /// The others would have done everything before it had done this.
    TooSlow,
    /// The job is cached, and it is of a version that cannot run tasks of such a job.
    TooOld,
}

/// A worker as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerView {
    /// Who.
    pub worker: WorkerId,
    /// Target and CPU profile, as it says.
    pub label: Box<str>,
    /// Its session, while it has one.
    pub session: Option<SessionId>,
    /// Its slots.
    pub slots: u32,
    /// Leases that occupy it.
    pub leases: u32,
    /// Measured speed in percent of the average of all slots that can be used, so that it is 100 where all are alike.
    pub speed_percent: u64,
    /// Average run time of what it ran.
    pub run_time: Option<Micros>,
    /// Why it gets nothing now.
    pub obstacle: Option<Obstacle>,
    /// Its outcomes that two others contradicted.
    pub contradicted: u32,
}

/// How much there is of everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Jobs that are known, those that have ended included.
    pub jobs: u64,
    /// Tasks that have not ended.
    pub open_tasks: u64,
    /// Those of them that a worker could be given.
    pub ready_tasks: u64,
    /// Workers that are known.
    pub workers: u64,
    /// Workers that have a session.
    pub connected: u64,
    /// Slots of those.
    pub slots: u64,
    /// Leases that occupy them.
    pub leases: u64,
}

/// A job as it is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobView {
    /// Tasks added so far.
    pub tasks: u64,
    /// No more will come.
    pub is_closed: bool,
    /// Those that have ended with an outcome of their own.
    pub ended: u64,
    /// Those of them that did not succeed.
    pub failed: u64,
    /// Those that workers have.
    pub leased: u64,
    /// Those whose outcome waits for another worker's.
    pub unconfirmed: u64,
    /// How the job ended.
    pub end: Option<JobEnd>,
    /// Average run time of its tasks.
    pub run_time: Option<Micros>,
}

impl Scheduler {
    /// Why a task does not run, or what became of it.
    pub fn explain(&self, job: JobId, task: TaskId) -> Explanation {
        let Some((_, job)) = self.find_job(job) else {
            return Explanation::UnknownJob;
        };
        let task = task.0;
        if task >= job.count {
            return Explanation::NotAdded {
                tasks: job.count,
                is_closed: job.is_closed,
            };
        }
        if job.ended.contains(task) {
            let failed = job.failed.get(&task).map(|failed| failed.outcome);
            let outcome = failed.unwrap_or(OutcomeKind::Succeeded);
            return Explanation::Ended { outcome };
        }
        if let Some(how) = job.end {
            return Explanation::JobEnded { how };
        }
        let touched = job.touched.get(&task);
        if let Some(touched) = touched.filter(|touched| !touched.testimonies.is_empty()) {
            return self.explain_unconfirmed(job, touched);
        }
        let place = touched.map_or(Place::Ready, |touched| touched.place);
        match (place, touched) {
            (Place::Leased, Some(touched)) => self.explain_leased(touched),
            (Place::Withheld, _) if self.restart.is_some() => self.explain_withheld(),
            (Place::BackingOff(until), Some(touched)) => Explanation::BackingOff {
                until,
                lost: u32::try_from(touched.losses.len()).unwrap_or(u32::MAX),
            },
            (Place::Alone, Some(touched)) => Explanation::WaitsToRunAlone {
                suspicions: touched.suspicions(),
            },
            _ => self.explain_queued(job, task, touched),
        }
    }

    fn explain_unconfirmed(&self, job: &Job, touched: &Touched) -> Explanation {
        let answers = touched.testimonies.iter();
        let first = touched
            .testimonies
            .first()
            .map_or(self.now, |one| one.since);
        let witnesses = self.witnesses_for(job, touched).into_iter();
        let names = witnesses.filter_map(|key| Some(self.fleet.workers.get(&key)?.id.clone()));
        Explanation::Unconfirmed {
            answers: answers
                .map(|one| (one.worker.clone(), one.target.clone()))
                .collect(),
            until: first + self.config.verify_wait,
            attempts: self.leased_to(touched),
            witnesses: names.take(WORKERS_LISTED_MAX).collect(),
        }
    }

    fn explain_leased(&self, touched: &Touched) -> Explanation {
        Explanation::Leased {
            attempts: self.leased_to(touched),
        }
    }

    fn leased_to(&self, touched: &Touched) -> Vec<LeasedTo> {
        let attempts = touched.leases.iter().filter_map(|(key, lease)| {
            let worker = self.fleet.workers.get(&key)?;
            let held = worker.leases.get(&lease)?;
            Some(LeasedTo {
                worker: worker.id.clone(),
                attempt: held.attempt,
                since: held.granted,
                is_running: held.is_running,
                ahead: worker.leases.range(..lease).count() as u64,
            })
        });
        attempts.collect()
    }

    fn explain_withheld(&self) -> Explanation {
        let restart = self.restart.as_ref();
        Explanation::WaitsForWorkersToComeBack {
            until: restart.map_or(self.now, |restart| restart.until),
            awaited: restart
                .into_iter()
                .flat_map(|restart| restart.awaited.iter().take(WORKERS_LISTED_MAX).cloned())
                .collect(),
        }
    }

    fn explain_queued(&self, job: &Job, task: u64, touched: Option<&Touched>) -> Explanation {
        let function = self.functions.get(&job.spec.function);
        if !function.is_some_and(|function| function.is_ready) {
            return Explanation::WaitsForImage;
        }
        let run_time = job.run_time.or(self.config.run_time_guess);
        let workers = self.fleet.workers.iter().map(|(worker_key, worker)| {
            let has_image = function.is_some_and(|known| known.holders.contains(worker_key));
            let cost = placement::cost(worker, run_time, has_image, &self.config);
            let has_failed_it = touched.is_some_and(|touched| {
                touched.failed_at.contains(worker_key)
                    && self.fleet.has_other_than(*worker_key, job)
            });
            let obstacle = self.obstacle(worker).or_else(|| {
                if !worker.suits(job) {
                    Some(Obstacle::TooOld)
                } else if has_failed_it {
                    Some(Obstacle::FailedIt)
                } else if self
                    .others_are_faster(job, *worker_key, cost.total())
                    .is_some()
                {
                    Some(Obstacle::TooSlow)
                } else {
                    None
                }
            });
            let worker = worker.id.clone();
            Candidate {
                worker,
                cost,
                obstacle,
            }
        });
        let mut workers: Vec<Candidate> = workers.collect();
        workers.sort_by_key(|candidate| {
            let obstacle = candidate.obstacle.is_some();
            (obstacle, candidate.cost.total(), candidate.worker.clone())
        });
        let more_workers = workers.len().saturating_sub(WORKERS_LISTED_MAX) as u64;
        workers.truncate(WORKERS_LISTED_MAX);
        let returned = job.ready.range(..task).count() as u64;
        let fresh = match task.checked_sub(job.next_fresh) {
            Some(fresh) => {
                let ended = job.ended_ahead - job.ended.count_from(task).min(job.ended_ahead);
                fresh - ended.min(fresh)
            }
            None => 0,
        };
        Explanation::Queued {
            ahead_in_job: returned + fresh,
            ready: self.queue.ready_tasks,
            workers,
            more_workers,
        }
    }

    fn obstacle(&self, worker: &Worker) -> Option<Obstacle> {
        if worker.session.is_none() {
            Some(Obstacle::Away)
        } else if let Some(why) = worker.drained {
            Some(Obstacle::Drained(why))
        } else if worker.is_draining {
            Some(Obstacle::Draining)
        } else if worker.usable_slots() == 0 {
            Some(Obstacle::NoSlots)
        } else if worker.blocked_until > self.now {
            let until = worker.blocked_until;
            Some(Obstacle::LeftAlone { until })
        } else if worker.reserved.is_some() || worker.alone.is_some() {
            Some(Obstacle::RunsAlone)
        } else if !worker.is_free() {
            Some(Obstacle::Full)
        } else {
            None
        }
    }

    /// Every worker that is known, by name.
    pub fn workers(&self) -> Vec<WorkerView> {
        self.workers_after(None, usize::MAX)
    }

    /// At most `limit` workers, by name, those after this one.
    pub fn workers_after(&self, after: Option<&WorkerId>, limit: usize) -> Vec<WorkerView> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let keys = self.fleet.by_id.range((from, Bound::Unbounded));
        let workers = keys.filter_map(|(_, key)| self.fleet.workers.get(key));
        // Speeds are measured against what each job's tasks took before, and drift together when all get faster: a first
        // task that began cold makes everybody look fast. What they are worth is how they stand to each other.
        let (weight, slots) = (self.fleet.weight, self.fleet.slots);
        let average = weight.checked_div(slots).unwrap_or(SPEED_ONE).max(1);
        let view = |worker: &Worker| WorkerView {
            worker: worker.id.clone(),
            label: worker.label.clone(),
            session: worker.session,
            slots: worker.slots,
            leases: worker.load(),
            speed_percent: worker.speed * 100 / average,
            run_time: worker.run_time.known(),
            obstacle: self.obstacle(worker),
            contradicted: worker.contradicted,
        };
        workers.take(limit).map(view).collect()
    }

    /// How many tries at a task are known of: those that were lost, and those that workers have. `None` without such a
    /// task.
    pub fn attempts(&self, job: JobId, task: TaskId) -> Option<u32> {
        let (_, job) = self.find_job(job)?;
        if task.0 >= job.count {
            return None;
        }
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Some(match (job.touched.get(&task.0), job.failed.get(&task.0)) {
            (Some(touched), _) => touched
                .tries
                .max(number(touched.losses.len() + touched.leases.len())),
            (None, Some(failed)) => failed.tries,
            (None, None) => 0,
        })
    }

    /// Whether a worker is known, connected or not.
    pub fn knows_worker(&self, worker: &WorkerId) -> bool {
        self.fleet.by_id.contains_key(worker)
    }

    /// Workers that have the image of a function, or were told to fetch it.
    pub fn image_holders(&self, function: &Digest) -> u64 {
        let known = self.functions.get(function);
        known.map_or(0, |function| function.holders.len() as u64)
    }

    /// The fleet, counted.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals {
            jobs: self.jobs.len() as u64,
            open_tasks: self.queue.tasks,
            ready_tasks: self.queue.ready_tasks,
            ..Totals::default()
        };
        for worker in self.fleet.workers.values() {
            totals.workers += 1;
            if worker.session.is_some() {
                totals.connected += 1;
                totals.slots += u64::from(worker.slots);
                totals.leases += u64::from(worker.load());
            }
        }
        totals
    }

    /// How far a job is.
    pub fn job(&self, job: JobId) -> Option<JobView> {
        let (key, job) = self.find_job(job)?;
        let unconfirmed = self.unconfirmed.range((key, 0)..=(key, u64::MAX));
        let is_leased = |touched: &&Touched| touched.place == Place::Leased;
        Some(JobView {
            tasks: job.count,
            is_closed: job.is_closed,
            ended: job.ended.len(),
            failed: job.failed.len() as u64,
            unconfirmed: unconfirmed.count() as u64,
            leased: job.touched.values().filter(is_leased).count() as u64,
            end: job.end,
            run_time: job.run_time.known(),
        })
    }
}
