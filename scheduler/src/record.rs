//! What has been decided: the facts from which a restarted scheduler is rebuilt.
//!
//! Records hold no bodies. What a restart needs is their sum, so a store may keep them as rows of tables and write them
//! out again, as long as it keeps this order: jobs as they were submitted; of each job the submission first, then
//! [`TasksAdded`](Record::TasksAdded), [`TasksReleased`](Record::TasksReleased), the losses, the ends, its own end.
//! After a [`JobRetried`](Record::JobRetried) the failed ends before it count no longer.

use ppwasm_proto::fabric::{ClientName, LeaseId, Priority, WorkerId};
use ppwasm_proto::wire::{Origin, Verification};
use ppwasm_proto::{Attempt, Digest, JobId, Limits, TaskId};

pub use ppwasm_proto::fabric::OutcomeKind;

/// A decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A job exists; it is open and has no tasks yet.
    JobSubmitted {
        /// Its id.
        job: JobId,
        /// What it is.
        spec: Box<JobSpec>,
    },
    /// A job has tasks `first` to `first + count − 1` as well.
    TasksAdded {
        /// The job.
        job: JobId,
        /// The first: as many as it had before.
        first: u64,
        /// How many, at least one.
        count: u64,
    },
    /// A job takes no more tasks.
    JobClosed {
        /// The job.
        job: JobId,
        /// How many it has.
        tasks: u64,
    },
    /// Tasks with numbers below this one may be with workers. One such record covers many grants, ahead of them.
    TasksReleased {
        /// The job.
        job: JobId,
        /// The first task that cannot have been granted yet.
        below: u64,
    },
    /// A task has ended, for good.
    TaskEnded {
        /// The job.
        job: JobId,
        /// The task.
        task: TaskId,
        /// How.
        end: TaskEnd,
    },
    /// An attempt came to nothing, which counts against the task.
    AttemptLost {
        /// The job.
        job: JobId,
        /// The task.
        task: TaskId,
        /// The attempt.
        attempt: Attempt,
        /// Who had it.
        worker: WorkerId,
        /// It ran, or may have run, when the worker died.
        suspect: bool,
    },
    /// An attempt that was counted as lost is not: its worker came back with it.
    AttemptFound {
        /// The job.
        job: JobId,
        /// The task.
        task: TaskId,
        /// The attempt.
        attempt: Attempt,
    },
    /// A job has ended. Tasks of it that have not are cancelled, or fail as the image did.
    JobEnded {
        /// The job.
        job: JobId,
        /// How.
        how: JobEnd,
    },
    /// The failed tasks of a job that had ended are queued again, and it is running again.
    JobRetried {
        /// The job.
        job: JobId,
        /// Leases below this one are from before, and bring nothing more.
        lease_floor: LeaseId,
    },
    /// A job is gone.
    JobForgotten {
        /// The job.
        job: JobId,
    },
    /// A worker may have been granted leases from now on.
    WorkerJoined {
        /// The worker.
        worker: WorkerId,
    },
    /// A worker has left, or stayed away too long: nobody waits for it after a restart.
    WorkerGone {
        /// The worker.
        worker: WorkerId,
    },
    /// A worker is granted nothing until it is undrained.
    WorkerDrained {
        /// The worker.
        worker: WorkerId,
        /// Why.
        why: DrainReason,
    },
    /// A worker is granted leases again.
    WorkerUndrained {
        /// The worker.
        worker: WorkerId,
    },
}

impl Record {
    /// Whether commands that [may be early](crate::Command::may_be_early) can go out before this record is durable: when it is lost
    /// with the coordinator, so is the task, nobody was told of it, and its lease counts for nothing (see
    /// [`Command::may_be_early`](crate::Command::may_be_early)). An end does not, also not that of a task that is known as it is
    /// added: what follows from it is in order with grants.
    pub const fn lets_grants_pass(&self) -> bool {
        matches!(self, Self::TasksAdded { .. } | Self::TasksReleased { .. })
    }
}

/// What a job is, once and for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobSpec {
    /// Who submitted it.
    pub owner: ClientName,
    /// How urgent it is among the owner's jobs.
    pub priority: Priority,
    /// Digest of the function's bundle.
    pub function: Digest,
    /// What each task may use.
    pub limits: Limits,
    /// How many attempts of a task may be lost before it is abandoned, from 1 to 100.
    pub attempts_max: u32,
    /// Same task, same outcome: a second attempt beside a slow one is harmless.
    pub is_deterministic: bool,
    /// Share of its tasks, in percent, whose outcome is recorded only when another worker gave the same: 0 to 100.
    pub verify_percent: u8,
    /// Tasks of it may end with an outcome that is known from an earlier job, and what they bring is kept for later ones.
    pub is_cached: bool,
    /// Digest of everything else that makes it what it is, which the scheduler does not look into.
    pub body: Digest,
}

/// How a task ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskEnd {
    /// A worker brought an outcome.
    Outcome {
        /// Which kind.
        outcome: OutcomeKind,
        /// The attempt that brought it.
        attempt: Attempt,
        /// Its lease: by it the driver knows the body that belongs to it.
        lease: LeaseId,
        /// The worker.
        worker: WorkerId,
        /// What came of running it on others too, if that was asked for.
        verification: Option<Box<Verification>>,
    },
    /// It did not run: the same had been run for an earlier job.
    Cached {
        /// Which kind.
        outcome: OutcomeKind,
        /// Where the outcome comes from.
        origin: Box<Origin>,
    },
    /// Workers contradicted each other about its outcome, and nobody could decide.
    Disputed {
        /// Who said what.
        verification: Box<Verification>,
    },
    /// Too many attempts were lost.
    Abandoned,
    /// Workers died while they ran it, the last one while it ran nothing else.
    Quarantined,
}

impl TaskEnd {
    /// The kind of outcome that a client sees.
    pub const fn outcome(&self) -> OutcomeKind {
        match self {
            Self::Outcome { outcome, .. } | Self::Cached { outcome, .. } => *outcome,
            Self::Disputed { .. } | Self::Abandoned | Self::Quarantined => OutcomeKind::Abandoned,
        }
    }

    /// What came of verifying it, if that was asked for and it got as far.
    pub fn verification(&self) -> Option<&Verification> {
        match self {
            Self::Outcome { verification, .. } => verification.as_deref(),
            Self::Disputed { verification } => Some(verification),
            Self::Cached { .. } | Self::Abandoned | Self::Quarantined => None,
        }
    }

    /// The earlier task whose outcome it has, if it did not run.
    pub fn origin(&self) -> Option<&Origin> {
        match self {
            Self::Cached { origin, .. } => Some(origin),
            _ => None,
        }
    }
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum JobEnd {
    /// Every task has.
    Finished,
    /// Its owner gave it up.
    Cancelled,
    /// Its function has no image.
    ImageFailed,
}

/// Why a worker is drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DrainReason {
    /// Somebody asked for it.
    Requested,
    /// It failed tasks that others then ran.
    FailsTasks,
    /// Its certificate is no longer good.
    Revoked,
    /// Others contradicted its outcomes.
    GivesWrongResults,
}
