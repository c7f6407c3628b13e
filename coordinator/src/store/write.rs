//! What is written and read.

use ppwasm_proto::fabric::WorkerId;
use ppwasm_proto::{Digest, JobId, TaskId};
use ppwasm_scheduler::{JobEnd, JobSpec, Record, TaskEnd};

use super::Body;

/// Writes that become durable together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The time on the wall, in milliseconds since 1970: when what is in it was submitted or ended.
    pub at_ms: u64,
    /// In order.
    pub writes: Vec<Write>,
}

/// Something to remember.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// A record without a body. [`Record::TasksAdded`] and [`Record::TaskEnded`] with an outcome have one: those are
    /// [`Write::TasksAdded`] and [`Write::TaskEnded`].
    Record(Record),
    /// [`Record::JobSubmitted`], with what the scheduler does not look into. Its bundle has to be there.
    JobSubmitted {
        /// Its id.
        job: JobId,
        /// What it is.
        spec: Box<JobSpec>,
        /// Name, options and so on, as the server encodes them.
        details: Vec<u8>,
    },
    /// [`Record::TasksAdded`], with the arguments of each task.
    TasksAdded {
        /// The job.
        job: JobId,
        /// The number of the first.
        first: u64,
        /// The encoded arguments.
        calls: Vec<Body>,
    },
    /// [`Record::TaskEnded`], with what the worker brought.
    TaskEnded {
        /// The job.
        job: JobId,
        /// The task.
        task: TaskId,
        /// How it ended.
        end: TaskEnd,
        /// What came of it.
        result: Box<TaskResult>,
        /// For a job that is cached: it is to be found by its call from now on. An outcome that may be another next time has
        /// none.
        cache: Option<Box<CacheNote>>,
    },
    /// A function's bundle, or another blob that jobs have in common. Saying it again makes it new: it is kept for
    /// [`Maintenance::bundle_age`](super::Maintenance::bundle_age) after it was said last, and while a job names it.
    Bundle {
        /// Its digest.
        digest: Digest,
        /// Its bytes.
        body: Body,
    },
    /// A join token.
    TokenIssued(Token),
    /// A join token is used up: this and its lookup are one. Refused when it is unknown or has expired.
    TokenRedeemed {
        /// The digest of its secret.
        hash: Digest,
    },
    /// A certificate was issued.
    CertificateIssued(Certificate),
    /// A certificate or an identity is good no longer.
    Denied(Denied),
    /// Something that an auditor wants to know.
    Audited(AuditEvent),
    /// How many slots a worker shall have, as the operator wishes, whenever it comes.
    SlotsWished {
        /// Which worker.
        worker: WorkerId,
        /// How many.
        slots: u32,
    },
}

/// What a worker brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskResult {
    /// The encoded outcome.
    pub outcome: Body,
    /// What was written to stdout.
    pub stdout: Body,
    /// What was written to stderr.
    pub stderr: Body,
    /// How long it ran, by the worker, in microseconds.
    pub run_time_us: u64,
    /// Memory that it had at its end, by the worker, in bytes.
    pub memory_bytes: u64,
}

/// What is kept with an outcome that later tasks may end with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheNote {
    /// A digest of everything but the call that the outcome follows from.
    pub setting: Digest,
    /// The guest that ran it.
    pub guest: Digest,
    /// Target, CPU profile and build of the worker, as it said.
    pub machine: [Box<str>; 3],
}

/// An outcome that was found by its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedOutcome {
    /// The job that computed it.
    pub job: JobId,
    /// That job's place in the order of submission.
    pub number: u64,
    /// The task, and what came of it.
    pub ended: EndedTask,
    /// The guest that ran it.
    pub guest: Digest,
    /// Target, CPU profile and build of the worker, as it said.
    pub machine: [Box<str>; 3],
}

/// A task that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedTask {
    /// Which.
    pub task: TaskId,
    /// How.
    pub end: TaskEnd,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// What came of it; empty for a task that was given up.
    pub result: TaskResult,
}

/// A job as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobEntry {
    /// Its place in the order of submission.
    pub number: u64,
    /// Its id.
    pub job: JobId,
    /// What it is.
    pub spec: Box<JobSpec>,
    /// What else it is.
    pub details: Vec<u8>,
    /// When it was submitted, in milliseconds since 1970.
    pub submitted_ms: u64,
    /// How many tasks it has so far.
    pub tasks: u64,
    /// Whether more can come.
    pub is_closed: bool,
    /// How and when it ended.
    pub ended: Option<(JobEnd, u64)>,
}

/// A right to join, which works once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The digest of its secret; the secret itself is kept nowhere.
    pub hash: Digest,
    /// Role, name and so on, as the server encodes them.
    pub details: Vec<u8>,
    /// From when on it is worth nothing, in milliseconds since 1970.
    pub expires_ms: u64,
}

/// A certificate that was issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Its serial number, at most 20 bytes.
    pub serial: Vec<u8>,
    /// Whose it is.
    pub identity: String,
    /// The certificate, as the server encodes it.
    pub details: Vec<u8>,
    /// When it ends, in milliseconds since 1970.
    pub expires_ms: u64,
}

/// What is denied.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeniedSubject {
    /// One certificate, by its serial number.
    Serial(Vec<u8>),
    /// Every certificate of an identity.
    Identity(String),
}

/// A denial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// What is denied.
    pub subject: DeniedSubject,
    /// Why, for people.
    pub reason: String,
    /// Since when, in milliseconds since 1970.
    pub at_ms: u64,
}

/// Something that an auditor wants to know. Never changed and never removed; each carries the digest of all before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEvent {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// What kind, in the words of the design.
    pub kind: String,
    /// The rest, as the server encodes it.
    pub body: Vec<u8>,
}

impl Batch {
    /// A batch of `writes` at a time.
    pub const fn at(at_ms: u64, writes: Vec<Write>) -> Self {
        Self { at_ms, writes }
    }

    /// Bytes in its bodies.
    pub fn bytes(&self) -> usize {
        self.writes.iter().map(Write::bytes).sum()
    }
}

impl Write {
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::JobSubmitted { details, .. } => details.len(),
            Self::TasksAdded { calls, .. } => calls.iter().map(Body::row_bytes).sum(),
            Self::TaskEnded { result, .. } => result.bodies().map(Body::row_bytes).iter().sum(),
            Self::Bundle { body, .. } => body.row_bytes(),
            Self::TokenIssued(token) => token.details.len(),
            Self::CertificateIssued(certificate) => certificate.details.len(),
            Self::Audited(event) => event.body.len() + event.kind.len(),
            Self::Denied(denied) => denied.reason.len(),
            Self::Record(_) | Self::TokenRedeemed { .. } | Self::SlotsWished { .. } => 0,
        }
    }
}

impl TaskResult {
    pub(super) fn bodies(&self) -> [&Body; 3] {
        [&self.outcome, &self.stdout, &self.stderr]
    }
}
