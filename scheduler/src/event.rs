//! What happened: facts that the driver tells the scheduler.
//!
//! Nothing in an event is trusted but what the driver itself put there: sessions, workers and clients, which it knows
//! from certificates. What contradicts the scheduler's own state is counted and ignored.

use ppwasm_proto::fabric::{
    ClientName, GiveBackReason, Held, Incarnation, LeaseId, OutcomeKind, SessionId, WorkerId,
};
use ppwasm_proto::wire::Origin;
use ppwasm_proto::{Digest, JobId};

use crate::record::JobSpec;
use crate::time::Micros;

pub use ppwasm_proto::fabric::Claim;

/// A client's request, numbered by the driver, so that it can pass on the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A client opens a job. Answered. The same again is accepted again; the same id with another body is refused.
    JobSubmitted {
        /// Whom to answer.
        request: RequestId,
        /// The id that the client made.
        job: JobId,
        /// What it is. The owner in it is the client of the session.
        spec: Box<JobSpec>,
    },
    /// A client adds the next tasks to its open job. Answered. What was added already is accepted again.
    TasksAppended {
        /// Whom to answer.
        request: RequestId,
        /// Who asks.
        client: ClientName,
        /// Its job.
        job: JobId,
        /// The first task's number: how many the client believes to have added.
        first: u64,
        /// How many.
        count: u64,
        /// Those of them whose outcome is known from an earlier job; looked at for a job that is cached.
        found: Vec<Found>,
    },
    /// A client says that its job has exactly so many tasks. Answered.
    JobClosed {
        /// Whom to answer.
        request: RequestId,
        /// Who asks.
        client: ClientName,
        /// Its job.
        job: JobId,
        /// How many.
        tasks: u64,
    },
    /// A client gives its job up. Answered; a job that has ended stays as it ended.
    JobCancelled {
        /// Whom to answer.
        request: RequestId,
        /// Who asks.
        client: ClientName,
        /// Its job.
        job: JobId,
    },
    /// A client wants the failed tasks of its finished job run again. Answered.
    RetryRequested {
        /// Whom to answer.
        request: RequestId,
        /// Who asks.
        client: ClientName,
        /// Its job.
        job: JobId,
    },
    /// The driver removes a job that has ended: its time of keeping is over, or its owner wants it gone. Answered.
    JobForgotten {
        /// Whom to answer.
        request: RequestId,
        /// The job.
        job: JobId,
    },
    /// The image of a function exists.
    ImageReady {
        /// The function.
        function: Digest,
        /// How many bytes a worker has to fetch.
        bytes: u64,
    },
    /// The image of a function cannot be made: loading it raises, or it is no Python. Ends every job of it.
    ImageFailed {
        /// The function.
        function: Digest,
    },
    /// A worker has a session. Answered with a welcome.
    WorkerJoined {
        /// The session.
        session: SessionId,
        /// What the worker is and has.
        hello: Box<Hello>,
    },
    /// A session has ended.
    WorkerLeft {
        /// The session.
        session: SessionId,
        /// How.
        how: Leaving,
    },
    /// A worker says which leases it holds. Answered.
    WorkerReported {
        /// The session.
        session: SessionId,
        /// The report's number, for the answer.
        report: u64,
        /// Every lease that waits for a slot or occupies one. Those named are renewed.
        waiting: Vec<LeaseId>,
        /// Those that occupy a slot.
        running: Vec<LeaseId>,
    },
    /// Attempts have ended with outcomes. Each is acknowledged once it is durable or of no use. The driver keeps the bodies
    /// of those that [`Scheduler::is_withheld`](crate::Scheduler::is_withheld).
    LeasesEnded {
        /// The session.
        session: SessionId,
        /// The attempts.
        ended: Vec<Ended>,
    },
    /// Leases will bring no outcome.
    LeasesGivenBack {
        /// The session.
        session: SessionId,
        /// Which, and why.
        given: Vec<(LeaseId, GiveBackReason)>,
    },
    /// A worker has so many slots now, and holds at most so many leases. No slots: nothing is granted.
    SlotsSet {
        /// The session.
        session: SessionId,
        /// Slots.
        slots: u32,
        /// Leases that it holds at most, those that run included.
        credit: u32,
    },
    /// A worker holds the image of a function now, or no longer.
    ImageHeld {
        /// The session.
        session: SessionId,
        /// The function.
        function: Digest,
        /// Whether it does.
        is_held: bool,
    },
    /// The worker itself takes nothing new and will leave when all is delivered.
    WorkerDraining {
        /// The session.
        session: SessionId,
    },
    /// Somebody wants a worker drained. Lasts over sessions and restarts. Answered.
    DrainRequested {
        /// Whom to answer.
        request: RequestId,
        /// The worker.
        worker: WorkerId,
    },
    /// Somebody wants a drained worker used again. Answered.
    UndrainRequested {
        /// Whom to answer.
        request: RequestId,
        /// The worker.
        worker: WorkerId,
    },
    /// A worker's certificate is no longer good: its session ends and nothing of it counts.
    WorkerRevoked {
        /// The worker.
        worker: WorkerId,
    },
}

/// A task whose outcome is known already. The driver keeps its bodies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its number in its job.
    pub task: u64,
    /// How the earlier one ended.
    pub outcome: OutcomeKind,
    /// Which one that was.
    pub origin: Box<Origin>,
}

/// What a worker says about itself when it joins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Its name, from the certificate.
    pub worker: WorkerId,
    /// The life of its process.
    pub incarnation: Incarnation,
    /// How many tasks it runs at once.
    pub slots: u32,
    /// How many leases it holds at most, those that run included.
    pub credit: u32,
    /// Target and CPU profile, for people.
    pub label: Box<str>,
    /// Target triple: another one is another architecture or engine.
    pub target: Box<str>,
    /// It takes the random stream of each task from its grant, which tasks of jobs that are cached need.
    pub takes_streams: bool,
    /// It will leave soon.
    pub is_draining: bool,
    /// Leases that it holds from before, and results that wait for their acknowledgement.
    pub held: Vec<Held>,
    /// Functions whose image it holds.
    pub images: Vec<Digest>,
}

/// An attempt that ended with an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Which, and that it was given to the worker.
    pub claim: Claim,
    /// How.
    pub outcome: OutcomeKind,
    /// How long it ran, by the worker.
    pub run_time: Micros,
    /// Size of the encoded outcome.
    pub outcome_bytes: u64,
    /// Digest of outcome and output, for a job that is verified: equal ones are equal to the byte.
    pub digest: Digest,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// The worker said goodbye: it had stopped what it ran.
    Orderly,
    /// It went silent or the connection broke.
    Lost,
}
