//! Where an outcome comes from that was not computed for the task that has it.

use minicbor::{Decode, Encode};

use super::error::WireError;
use super::limited::Text;
use super::{LABEL_BYTES_MAX, Verdict, Verification, stored};
use crate::digest::Digest;
use crate::fabric::WorkerId;
use crate::identity::{Attempt, JobId, TaskId};

/// The task from which an outcome was taken, and what shows that both are the same call. Recorded with the outcome, and as
/// durable: it stays when the earlier job is gone.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Origin {
    /// What the cache found it by: a digest of owner, function, call, guest, limits, inputs, clock and random stream.
    #[n(0)]
    pub key: Digest,
    /// Digest of the function bundle.
    #[n(1)]
    pub function: Digest,
    /// Digest of the encoded call.
    #[n(2)]
    pub call: Digest,
    /// Digest of the guest that ran it.
    #[n(3)]
    pub guest: Digest,
    /// Digest of the digests of outcome, standard output and standard error.
    #[n(4)]
    pub result: Digest,
    /// The job that computed it.
    #[n(5)]
    pub job: JobId,
    /// That job's place in the order of submission.
    #[n(6)]
    pub number: u64,
    /// The task in it.
    #[n(7)]
    pub task: TaskId,
    /// The attempt that brought it.
    #[n(8)]
    pub attempt: Attempt,
    /// The worker that ran it.
    #[n(9)]
    pub worker: WorkerId,
    /// The target triple that the worker said it runs on.
    #[n(10)]
    pub target: Text<LABEL_BYTES_MAX>,
    /// The CPU profile that it said it has.
    #[n(11)]
    pub cpu_profile: Text<LABEL_BYTES_MAX>,
    /// Version and commit of the worker's program, as it said.
    #[n(12)]
    pub build: Text<LABEL_BYTES_MAX>,
    /// When it was recorded, in milliseconds since 1970.
    #[n(13)]
    pub recorded_ms: u64,
    /// How long it ran then, by the worker, in microseconds.
    #[n(14)]
    pub run_us: u64,
    /// What came of running it again elsewhere; absent when that was not asked for.
    #[n(15)]
    pub verification: Option<Verification>,
}

impl Origin {
    /// How it is stored: as it is on the wire.
    pub fn to_bytes(&self) -> Vec<u8> {
        stored::to_bytes(self)
    }

    /// Reads what was stored.
    ///
    /// # Errors
    ///
    /// When the bytes are not the encoding of an origin.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WireError> {
        stored::from_bytes("Origin", bytes)
    }

    /// Whether another worker gave the same bytes then.
    pub fn is_confirmed(&self) -> bool {
        let verification = self.verification.as_ref();
        verification.is_some_and(|of| of.verdict == Verdict::Confirmed)
    }
}
