//! The first messages of a session: who can do what, and on which terms they go on.
//!
//! The one who connected says [`Hello`]; the coordinator answers [`Welcome`] or [`Refused`]. Role and name are not in it:
//! they come from the certificate.

use minicbor::{Decode, Encode};

use super::limited::{List, Text};
use super::{DIGESTS_MAX, ErrorCode, HELD_MAX, LABEL_BYTES_MAX, REASON_BYTES_MAX};
use crate::digest::Digest;
use crate::fabric::{Held, Incarnation, LeaseId};

/// What the one who connected can do and what it still has.
///
/// Nothing in it is believed before [`Introduction`](super::Introduction) was made from it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Hello {
    /// Lowest minor version that it speaks.
    #[n(0)]
    pub minor_min: u64,
    /// Highest minor version that it speaks.
    #[n(1)]
    pub minor_max: u64,
    /// Version and commit of its program, for people.
    #[n(2)]
    pub build: Text<LABEL_BYTES_MAX>,
    /// What a worker offers; absent from a client.
    #[n(3)]
    pub worker: Option<WorkerOffer>,
}

/// What a worker offers.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct WorkerOffer {
    /// Target triple that its artifacts are for: `x86_64-unknown-linux-gnu`.
    #[n(0)]
    pub target: Text<LABEL_BYTES_MAX>,
    /// CPU profile of its artifacts: `x86-64-v3`.
    #[n(1)]
    pub cpu_profile: Text<LABEL_BYTES_MAX>,
    /// Tasks that it can run at the same time.
    #[n(2)]
    pub slots: u64,
    /// What people call the machine; the certificate's name is what counts.
    #[n(3)]
    pub label: Option<Text<LABEL_BYTES_MAX>>,
    /// Guest modules that it has an artifact for, ready to run.
    #[n(4)]
    pub guests: List<Digest, DIGESTS_MAX>,
    /// Functions whose images it holds.
    #[n(5)]
    pub functions: List<Digest, DIGESTS_MAX>,
    /// The life of its process.
    #[n(6)]
    pub incarnation: Incarnation,
    /// Leases that it holds at most, those that run included.
    #[n(7)]
    pub credit: u64,
    /// Leases that it holds from a session before, and results that wait for their acknowledgement: those follow in
    /// [`Ended`](super::Ended).
    #[n(8)]
    pub held: List<Held, HELD_MAX>,
    /// It takes no new work and will leave soon.
    #[n(9)]
    pub is_draining: Option<bool>,
    /// Memory for tasks in bytes; absent when it does not know.
    #[n(10)]
    pub memory_bytes: Option<u64>,
    /// wasmtime's compatibility hash of its engine: artifacts for another cannot be loaded.
    #[n(11)]
    pub engine: Option<Digest>,
    /// It has no guest that it can run, and wants what it needs for one: [`ArtifactReady`](super::ArtifactReady) follows,
    /// and no task.
    #[n(12)]
    pub wants_guest: Option<bool>,
}

/// The terms of the session.
///
/// Durations are relative: no clock of the coordinator is on the wire. They are believed only after
/// [`Terms`](super::Terms) was made from it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Welcome {
    /// The minor version that both speak from here on.
    #[n(0)]
    pub minor: u64,
    /// Number of this session at the coordinator.
    #[n(1)]
    pub session: u64,
    /// The coordinator's epoch: grows with each start of it.
    #[n(2)]
    pub epoch: u64,
    /// A worker reports its leases this often.
    #[n(3)]
    pub report_every_ms: u64,
    /// A lease ends this long after the report that named it, or the hello, was sent.
    #[n(4)]
    pub lease_ms: u64,
    /// Leases of the hello that are not the worker's any longer: stop, drop results.
    #[n(5)]
    pub refused: List<LeaseId, HELD_MAX>,
    /// Version and commit of the coordinator's program, for people.
    #[n(6)]
    pub build: Text<LABEL_BYTES_MAX>,
    /// The guest module that functions are built for.
    #[n(7)]
    pub guest: Option<Digest>,
    /// Set when the certificate shall be renewed at once: it ends in less time than is left for renewing at leisure.
    #[n(8)]
    pub renew_certificate: Option<bool>,
    /// Seconds since 1970 at the coordinator: for telling a person that a clock is off, for nothing else.
    #[n(9)]
    pub wall_clock_s: Option<u64>,
    /// Slots that the operator gave this worker, when they are not those that it offered.
    #[n(10)]
    pub slots: Option<u64>,
}

/// No session; the connection ends after this.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Refused {
    /// Why, for programs.
    #[n(0)]
    pub code: ErrorCode,
    /// Why, for people.
    #[n(1)]
    pub reason: Text<REASON_BYTES_MAX>,
    /// When trying again may help: not before this time has passed.
    #[n(2)]
    pub retry_after_ms: Option<u64>,
    /// For [`ErrorCode::VersionUnsupported`](super::ErrorCode::VersionUnsupported): versions that would be spoken.
    #[n(3)]
    pub spoken: Option<Text<LABEL_BYTES_MAX>>,
}

/// Asks for a [`Pong`] with the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Ping {
    /// Anything.
    #[n(0)]
    pub number: u64,
}

/// The answer to a [`Ping`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Pong {
    /// The ping's number.
    #[n(0)]
    pub number: u64,
}
