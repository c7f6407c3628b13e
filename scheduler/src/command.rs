//! What is to be done: commands that the driver carries out once the records beside them are durable.
//!
//! Clients that watch a job are told from the records [`TaskEnded`](Record::TaskEnded) and
//! [`JobEnded`](Record::JobEnded), after they are durable: there is no command that repeats them.

use ppwasm_proto::Digest;
use ppwasm_proto::fabric::{Claim, LeaseId, SessionId};

use crate::event::RequestId;
use crate::record::{JobEnd, Record};
use crate::time::Micros;

/// What a step gave: first make all `records` durable together, then carry out `commands` in order. Some commands
/// [may be early](Command::may_be_early).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outbox {
    /// Decisions.
    pub records: Vec<Record>,
    /// Consequences.
    pub commands: Vec<Command>,
}

impl Outbox {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.commands.is_empty()
    }

    /// Empties it for the next step and keeps the room.
    pub fn clear(&mut self) {
        self.records.clear();
        self.commands.clear();
    }
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Tell a client that its request holds, durably.
    Accept {
        /// Which request.
        request: RequestId,
        /// What came of it.
        accepted: Accepted,
    },
    /// Tell a client that its request does not hold.
    Refuse {
        /// Which request.
        request: RequestId,
        /// Why.
        why: Refusal,
        /// When it is worth another try; `None` when it never is.
        retry_after: Option<Micros>,
    },
    /// Make the image of a function, or find it, and say [`ImageReady`](crate::Event::ImageReady) or
    /// [`ImageFailed`](crate::Event::ImageFailed). Repeated after a restart.
    BuildImage {
        /// The function.
        function: Digest,
    },
    /// Tell a worker that it will need an image. Comes before the first grant of that function.
    SendImage {
        /// Its session.
        session: SessionId,
        /// The function.
        function: Digest,
    },
    /// Tell a worker that it is in.
    Welcome {
        /// Its session.
        session: SessionId,
        /// How long its leases last from now, and when to report.
        pace: Pace,
        /// Leases that it brought and that are not its own any longer: stop, drop results.
        refused: Vec<LeaseId>,
    },
    /// Tell a worker that the leases it named in a report are renewed, from when it sent it.
    Renew {
        /// Its session.
        session: SessionId,
        /// The report.
        report: u64,
        /// How long from then, and when to report again.
        pace: Pace,
        /// Leases that it named and that are not its own any longer.
        refused: Vec<LeaseId>,
    },
    /// Give a worker leases, all of one job.
    Grant {
        /// Its session.
        session: SessionId,
        /// The leases. Bodies and limits are the driver's to add.
        leases: Vec<Lease>,
        /// How long they last, unless renewed.
        lasts: Micros,
    },
    /// Make a worker stop these, whether they run or wait, and give them back.
    Cancel {
        /// Its session.
        session: SessionId,
        /// The leases.
        leases: Vec<LeaseId>,
    },
    /// Ask a worker to give back those of these that wait: another one is idle.
    TakeBack {
        /// Its session.
        session: SessionId,
        /// The leases.
        leases: Vec<LeaseId>,
    },
    /// Tell a worker that it can forget the results of these.
    Acknowledge {
        /// Its session.
        session: SessionId,
        /// The leases.
        leases: Vec<LeaseId>,
    },
    /// End a session.
    CloseSession {
        /// Which.
        session: SessionId,
        /// Why.
        why: CloseReason,
    },
}

impl Command {
    /// Whether it can be carried out before the records beside it are durable, provided that all records that are not yet
    /// [let it pass](Record::lets_grants_pass), that no other command waits but [answers](Self::is_answer), and that its
    /// leases get [tokens](crate::Scheduler::make_early) of their epoch only.
    ///
    /// A task is then begun while it becomes durable, instead of after. Nothing can come of it that was not durable: its
    /// outcome is a later record, and no later coordinator takes one under such a token. The task may have been lost with
    /// the coordinator, and what has its number now be another one.
    pub const fn may_be_early(&self) -> bool {
        matches!(self, Self::SendImage { .. } | Self::Grant { .. })
    }

    /// Whether it is for a client, whose order among those for workers means nothing.
    pub const fn is_answer(&self) -> bool {
        matches!(self, Self::Accept { .. } | Self::Refuse { .. })
    }
}

/// One attempt given to a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Lease, task, attempt and proof: what the worker names it by.
    pub claim: Claim,
    /// Run it while nothing else runs: workers died of it, or of what ran beside it.
    pub alone: bool,
}

/// How long leases last and how often workers report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Duration of leases.
    pub lease: Micros,
    /// Time between reports.
    pub report_every: Micros,
}

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// The job has so many tasks; when it was known before, continue from there.
    Job {
        /// How many.
        tasks: u64,
        /// It was known before this request.
        is_known: bool,
    },
    /// The job had ended before the request, in this way.
    Ended(JobEnd),
    /// It is done.
    Done,
}

/// Why a request does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such job, or it is another's: which of the two is not said.
    UnknownJob,
    /// There is no such worker.
    UnknownWorker,
    /// Another job has this id.
    JobDiffers,
    /// The job takes no more tasks.
    JobIsClosed,
    /// The job has ended, and not in a way that allows this.
    JobHasEnded,
    /// The job has not ended.
    JobRuns,
    /// Tasks before these are missing; the job has so many.
    TasksMissing {
        /// How many.
        tasks: u64,
    },
    /// A number is outside what is allowed.
    OutOfRange,
    /// The client has too many open jobs, or the coordinator keeps too many jobs.
    TooManyJobs,
    /// The client or the coordinator has too many tasks queued.
    TooManyTasks,
}

/// Why the coordinator ends a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The same worker has a newer session.
    Replaced,
    /// The certificate is no longer good.
    Revoked,
    /// There are too many workers.
    TooManyWorkers,
}
