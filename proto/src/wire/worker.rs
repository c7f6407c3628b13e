//! Between a worker and the coordinator: leases and slots one way, results the other.

use minicbor::{Decode, Encode};

use super::limited::{Bytes, List, Ranged, Text};
use super::outcome::{BlobRef, Payload};
use super::{
    BATCH_MAX, CREDIT_MAX, DIGESTS_MAX, ErrorCode, GROUPS_MAX, HELD_MAX, LABEL_BYTES_MAX,
    LEASE_MS_MAX, LEASE_MS_MIN, MANIFEST_BYTES_MAX, REASON_BYTES_MAX, REPORT_EVERY_MS_MAX,
    REPORT_EVERY_MS_MIN, SIGNATURE_BYTES_MAX, SLOTS_MAX,
};
use crate::digest::Digest;
use crate::fabric::{Claim, GiveBackReason, LeaseId, LeaseToken, OutcomeKind};
use crate::identity::{Attempt, JobId, TaskId};
use crate::limits::Limits;

/// Worker: it holds these leases. Those that it does not name are given up.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Report {
    /// Grows with each report of the session; the answer names it.
    #[n(0)]
    pub number: u64,
    /// Every lease that waits for a slot.
    #[n(1)]
    pub waiting: List<LeaseId, HELD_MAX>,
    /// Every lease that occupies one. Leases whose result was sent are in neither list.
    #[n(2)]
    pub running: List<LeaseId, { SLOTS_MAX as usize }>,
}

/// Coordinator: the report has arrived.
///
/// The leases that it named, but for `refused`, are the worker's until `lease_ms` after it sent the report.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Renewed {
    /// The report's number.
    #[n(0)]
    pub number: u64,
    /// The duration of leases from now on.
    #[n(1)]
    pub lease_ms: Ranged<LEASE_MS_MIN, LEASE_MS_MAX>,
    /// When to send the next report, after this one.
    #[n(2)]
    pub report_every_ms: Ranged<REPORT_EVERY_MS_MIN, REPORT_EVERY_MS_MAX>,
    /// Leases of the report that are not the worker's any longer: it stops working on them and drops results.
    #[n(3)]
    pub refused: List<LeaseId, HELD_MAX>,
}

/// Coordinator: run these tasks.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Grant {
    /// Tasks by the terms that they share.
    #[n(0)]
    pub groups: List<GrantGroup, GROUPS_MAX>,
    /// How long the leases last, unless a report names them before.
    #[n(1)]
    pub lease_ms: Ranged<LEASE_MS_MIN, LEASE_MS_MAX>,
}

/// Tasks of one job, and everything that they share.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct GrantGroup {
    /// The job.
    #[n(0)]
    pub job: JobId,
    /// Digest of its function bundle: its image is got by this name.
    #[n(1)]
    pub function: Digest,
    /// What each task may use.
    #[n(2)]
    pub limits: Limits,
    /// Where clocks and random bytes come from.
    #[n(3)]
    pub time: TimeSource,
    /// Standard input of each task.
    #[n(4)]
    pub stdin: Option<BlobRef>,
    /// Files granted to each task: an input tree.
    #[n(5)]
    pub inputs: Option<BlobRef>,
    /// Calls may see what earlier calls of the job left in the slot.
    #[n(6)]
    pub keep_instance: Option<bool>,
    /// The digest of the memory after the call is wanted.
    #[n(7)]
    pub hash_memory: Option<bool>,
    /// The tasks.
    #[n(8)]
    pub tasks: List<GrantedTask, BATCH_MAX>,
    /// The identity that random bytes follow from; absent for the job's own.
    #[n(9)]
    pub stream: Option<JobId>,
}

/// One task that a worker shall run. Job and task are its identity.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct GrantedTask {
    /// The right to run it.
    #[n(0)]
    pub lease: LeaseId,
    /// The task.
    #[n(1)]
    pub task: TaskId,
    /// Which try this is.
    #[n(2)]
    pub attempt: Attempt,
    /// Proof that the coordinator gave it to this worker; goes back with the result.
    #[n(3)]
    pub token: LeaseToken,
    /// The encoded call.
    #[n(4)]
    pub call: Payload,
    /// Run it while no other task runs: it is suspected of taking workers down.
    #[n(5)]
    pub alone: Option<bool>,
    /// The identity that its random bytes follow from, as its task 0; absent for the group's and its own number.
    #[n(6)]
    pub stream: Option<JobId>,
}

/// Where a task's clocks and random bytes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub enum TimeSource {
    /// The clock starts at this time and moves by rule; random bytes follow from the task's identity.
    #[n(0)]
    Deterministic {
        /// Nanoseconds since 1970.
        #[n(0)]
        start_ns: u64,
    },
    /// The worker's clocks and entropy.
    #[n(1)]
    Real {},
}

/// Worker: these leases have ended with a result. It keeps them until they are acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Ended {
    /// The results.
    #[n(0)]
    pub results: List<TaskResult, BATCH_MAX>,
}

/// How one attempt ended.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct TaskResult {
    /// Which one, with the proof that came with it.
    #[n(0)]
    pub claim: Claim,
    /// How it ended, in one word.
    #[n(1)]
    pub kind: OutcomeKind,
    /// The outcome as [`encode_outcome`](super::encode_outcome) writes it; of the same kind.
    #[n(2)]
    pub outcome: Payload,
    /// What it wrote to standard output; absent when nothing.
    #[n(3)]
    pub stdout: Option<Payload>,
    /// What it wrote to standard error; absent when nothing.
    #[n(4)]
    pub stderr: Option<Payload>,
    /// What it used.
    #[n(5)]
    pub usage: Usage,
}

/// What an attempt used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Usage {
    /// From start to end of the call.
    #[n(0)]
    pub wall_us: u64,
    /// Size of the memory at the end.
    #[n(1)]
    pub memory_bytes: u64,
    /// Digest of the memory after the call, if it was asked for.
    #[n(2)]
    pub memory_digest: Option<Digest>,
}

/// Worker: these leases were not worked on, or could not be.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct GiveBack {
    /// The leases.
    #[n(0)]
    pub leases: List<GivenBack, BATCH_MAX>,
}

/// A lease that is given back without a result.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct GivenBack {
    /// The lease.
    #[n(0)]
    pub lease: LeaseId,
    /// Why.
    #[n(1)]
    pub why: GiveBackReason,
    /// Details for people.
    #[n(2)]
    pub detail: Option<Text<REASON_BYTES_MAX>>,
}

/// Coordinator: these results are durable or of no use. The worker forgets them.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Acknowledge {
    /// The leases whose results these are.
    #[n(0)]
    pub leases: List<LeaseId, BATCH_MAX>,
}

/// Coordinator: stop working on these leases, whether they run or wait, and give them back.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Cancel {
    /// The leases.
    #[n(0)]
    pub leases: List<LeaseId, BATCH_MAX>,
}

/// Coordinator: give back those of these leases that wait; they are wanted elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct TakeBack {
    /// The leases.
    #[n(0)]
    pub leases: List<LeaseId, BATCH_MAX>,
}

/// Coordinator: change the number of slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SetSlots {
    /// Slots from now on. Tasks that run on a slot above it end first.
    #[n(0)]
    pub slots: Ranged<1, SLOTS_MAX>,
}

/// Worker: it has another number of slots now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SlotsSet {
    /// The slots; 0 when it takes nothing for now.
    #[n(0)]
    pub slots: Ranged<0, SLOTS_MAX>,
    /// Leases that it holds at most, those that run included.
    #[n(1)]
    pub credit: Ranged<0, CREDIT_MAX>,
}

/// Coordinator: finish what you hold, take nothing new, and leave when all is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Drain {}

/// Worker: it takes nothing new and will leave when all is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Draining {}

/// Worker: it has stopped all that it ran and closes the session. What it held goes to others at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Goodbye {}

/// Coordinator: the image of a function can be got as a blob.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ImageReady {
    /// Digest of the function bundle.
    #[n(0)]
    pub function: Digest,
    /// The guest module it is for.
    #[n(1)]
    pub guest: Digest,
    /// The function image.
    #[n(2)]
    pub image: BlobRef,
    /// The base image that it belongs on.
    #[n(3)]
    pub base: Option<BlobRef>,
}

/// Worker: it holds the images of these functions, ready to run, or holds them no longer.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ImagesHeld {
    /// Functions whose image it holds since the last such message.
    #[n(0)]
    pub held: List<Digest, DIGESTS_MAX>,
    /// Functions whose image it has dropped.
    #[n(1)]
    pub dropped: List<Digest, DIGESTS_MAX>,
}

/// Coordinator: the guest module compiled for the worker's target can be got as a blob.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ArtifactReady {
    /// The guest module.
    #[n(0)]
    pub guest: Digest,
    /// Target triple that it was compiled for.
    #[n(1)]
    pub target: Text<LABEL_BYTES_MAX>,
    /// CPU profile that it was compiled for.
    #[n(2)]
    pub cpu_profile: Text<LABEL_BYTES_MAX>,
    /// The artifact: native code, loaded only when the signature holds.
    #[n(3)]
    pub artifact: BlobRef,
    /// The signed manifest.
    #[n(4)]
    pub manifest: Bytes<MANIFEST_BYTES_MAX>,
    /// Ed25519 signature of the manifest.
    #[n(5)]
    pub signature: Bytes<SIGNATURE_BYTES_MAX>,
}

/// Coordinator: the image that was asked for cannot be had, and the tasks that need it not be run.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ImageMissing {
    /// Digest of the function bundle.
    #[n(0)]
    pub function: Digest,
    /// Why.
    #[n(1)]
    pub code: ErrorCode,
}

/// Worker: it needs the image of this function, for tasks that it was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ImageWanted {
    /// Digest of the function bundle.
    #[n(0)]
    pub function: Digest,
}
