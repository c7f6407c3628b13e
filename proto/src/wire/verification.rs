//! What came of running tasks again on another worker.

use minicbor::{Decode, Encode};

use super::error::WireError;
use super::limited::{List, Ranged, Text};
use super::{LABEL_BYTES_MAX, ODD_WORKERS_MAX, TARGET_PAIRS_MAX, TESTIMONIES_MAX, Verdict, stored};
use crate::fabric::WorkerId;

/// What came of running one task again on another worker. Recorded with its outcome, and as durable.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Verification {
    /// What came of it, in one word.
    #[n(0)]
    pub verdict: Verdict,
    /// Who answered, in the order in which answers came.
    #[n(1)]
    pub testimonies: List<Testimony, TESTIMONIES_MAX>,
}

/// A worker that answered, and whether with the outcome that was recorded.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Testimony {
    /// The worker.
    #[n(0)]
    pub worker: WorkerId,
    /// The target triple that it said it runs on.
    #[n(1)]
    pub target: Text<LABEL_BYTES_MAX>,
    /// Its outcome and output are those that were recorded, to the byte.
    #[n(2)]
    pub agrees: bool,
}

impl Verification {
    /// How it is stored: as it is on the wire.
    pub fn to_bytes(&self) -> Vec<u8> {
        stored::to_bytes(self)
    }

    /// Reads what was stored.
    ///
    /// # Errors
    ///
    /// When the bytes are not the encoding of a verification.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WireError> {
        stored::from_bytes("Verification", bytes)
    }

    /// Who answered otherwise than what was recorded.
    pub fn odd(&self) -> impl Iterator<Item = &Testimony> {
        self.testimonies
            .iter()
            .filter(|testimony| !testimony.agrees)
    }

    /// The targets of the first two that agree, in alphabetical order: what the task was verified on.
    pub fn targets(&self) -> Option<(&str, &str)> {
        let mut agreeing = self.testimonies.iter().filter(|one| one.agrees);
        let (first, second) = (agreeing.next()?, agreeing.next()?);
        let (first, second) = (first.target.as_str(), second.target.as_str());
        Some(if first <= second {
            (first, second)
        } else {
            (second, first)
        })
    }
}

/// What verification came to in a job so far.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct JobVerification {
    /// Share of its tasks that is verified, in percent.
    #[n(0)]
    pub percent: Ranged<1, 100>,
    /// Tasks that have an answer and wait for another worker's.
    #[n(1)]
    pub waiting: u64,
    /// Tasks whose outcome another worker confirmed, by what the two run on.
    #[n(2)]
    pub confirmed: List<VerifiedOn, TARGET_PAIRS_MAX>,
    /// Tasks that were recorded without: there was no other worker.
    #[n(3)]
    pub alone: u64,
    /// Tasks that were recorded without: no other worker answered, or it reached a limit.
    #[n(4)]
    pub unanswered: u64,
    /// Tasks that were given up: workers contradicted each other and nobody could decide.
    #[n(5)]
    pub disputed: u64,
    /// Workers whose answers were not those that were recorded.
    #[n(6)]
    pub odd: List<OddWorker, ODD_WORKERS_MAX>,
}

/// Tasks that were confirmed between two targets.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct VerifiedOn {
    /// One target; the first in the alphabet. Empty for all pairs that are not listed.
    #[n(0)]
    pub first: Text<LABEL_BYTES_MAX>,
    /// The other, which may be the same.
    #[n(1)]
    pub second: Text<LABEL_BYTES_MAX>,
    /// How many tasks.
    #[n(2)]
    pub tasks: u64,
}

/// A worker whose answers differed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct OddWorker {
    /// The worker.
    #[n(0)]
    pub worker: WorkerId,
    /// Answers of it that two others contradicted, or that nobody could decide about.
    #[n(1)]
    pub answers: u64,
}
