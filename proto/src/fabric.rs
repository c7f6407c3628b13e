//! What coordinator and workers call each other, and what a worker's right to an attempt consists of.
//!
//! Plain values; how they are written on the wire stands in the wire messages. What makes an attempt of one life of the
//! coordinator comparable with those of another is the [`Epoch`]: it is the high part of every [`LeaseId`] and of every
//! [`Attempt`] that the coordinator gives out, so both grow across restarts without a durable record for each grant.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::identity::{Attempt, TaskIdentity};

/// Bytes of a worker's or client's name.
pub const NAME_BYTES_MAX: usize = 64;
/// Bits of a lease that count within an epoch.
const LEASE_NUMBER_BITS: u32 = 43;
/// Bits of an attempt that count within an epoch.
const ATTEMPT_NUMBER_BITS: u32 = 12;
/// Separates tokens of leases from every other use of the same key.
const TOKEN_CONTEXT: &[u8] = b"ppwasm 2026-11-24 lease token";
/// Separates tokens that are good in one epoch only.
const EARLY_TOKEN_CONTEXT: &[u8] = b"ppwasm 2026-11-28 lease token of one epoch";
/// Separates samples of tasks from every other use of the same key.
const SAMPLE_CONTEXT: &[u8] = b"ppwasm 2026-11-28 sample of tasks";

/// A life of the coordinator: one more at each start, durable before anything else happens in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(u32);

impl Epoch {
    /// The first.
    pub const FIRST: Self = Self(1);
    /// The last: a million restarts. It follows from the width of [`Attempt`].
    pub const MAX: Self = Self((1 << (32 - ATTEMPT_NUMBER_BITS)) - 1);

    /// Epoch `number`, from 1 to [`Epoch::MAX`].
    pub const fn new(number: u32) -> Option<Self> {
        if number >= Self::FIRST.0 && number <= Self::MAX.0 {
            Some(Self(number))
        } else {
            None
        }
    }

    /// Its number.
    pub const fn number(self) -> u32 {
        self.0
    }

    /// The one after it, `None` after the last.
    pub const fn next(self) -> Option<Self> {
        Self::new(self.0 + 1)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A worker's right to one attempt. Never given out twice; later ones are larger, also across restarts.
///
/// The epoch is the high 20 bits of 63, a count the low 43: it fits a signed 64-bit column.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub u64);

impl LeaseId {
    /// The largest number within an epoch.
    pub const NUMBER_MAX: u64 = (1 << LEASE_NUMBER_BITS) - 1;

    /// Lease `number` of an epoch, `None` when the number is too large.
    pub const fn new(epoch: Epoch, number: u64) -> Option<Self> {
        if number > Self::NUMBER_MAX {
            return None;
        }
        Some(Self((epoch.0 as u64) << LEASE_NUMBER_BITS | number))
    }

    /// The epoch's number; 0 or too large when a peer made the lease up.
    pub const fn epoch_number(self) -> u64 {
        self.0 >> LEASE_NUMBER_BITS
    }

    /// The number within the epoch.
    pub const fn number(self) -> u64 {
        self.0 & Self::NUMBER_MAX
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch_number(), self.number())
    }
}

impl fmt::Debug for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LeaseId({self})")
    }
}

impl Attempt {
    /// How many attempts a task can have in one epoch.
    pub const TRIES_MAX: u32 = (1 << ATTEMPT_NUMBER_BITS) - 1;

    /// Try `number` of an epoch, from 1; `None` past [`Attempt::TRIES_MAX`].
    pub const fn of_epoch(epoch: Epoch, number: u32) -> Option<Self> {
        if number == 0 || number > Self::TRIES_MAX {
            return None;
        }
        Some(Self(epoch.0 << ATTEMPT_NUMBER_BITS | number))
    }

    /// The number of the epoch in which it was given out.
    pub const fn epoch_number(self) -> u32 {
        self.0 >> ATTEMPT_NUMBER_BITS
    }

    /// Its number within the epoch.
    pub const fn number(self) -> u32 {
        self.0 & Self::TRIES_MAX
    }
}

/// Proof that the coordinator gave a lease to a worker, which survives the coordinator's memory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseToken([u8; 16]);

impl LeaseToken {
    /// A token that was received.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for LeaseToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LeaseToken({:02x}{:02x}…)", self.0[0], self.0[1])
    }
}

/// The coordinator's secret that makes tokens. As durable as its store: without it, what workers hold is refused.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LeaseKey([u8; 32]);

impl LeaseKey {
    /// A key from 32 random bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The token of a lease on an attempt, for one worker.
    pub fn token(
        &self,
        worker: &WorkerId,
        lease: LeaseId,
        identity: TaskIdentity,
        attempt: Attempt,
    ) -> LeaseToken {
        self.token_in(TOKEN_CONTEXT, worker, lease, identity, attempt)
    }

    /// The token of a lease that is good in its own epoch only: what it is for may not be durable.
    pub fn early_token(
        &self,
        worker: &WorkerId,
        lease: LeaseId,
        identity: TaskIdentity,
        attempt: Attempt,
    ) -> LeaseToken {
        self.token_in(EARLY_TOKEN_CONTEXT, worker, lease, identity, attempt)
    }

    fn token_in(
        &self,
        context: &[u8],
        worker: &WorkerId,
        lease: LeaseId,
        identity: TaskIdentity,
        attempt: Attempt,
    ) -> LeaseToken {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        let mut fixed = [0; 36];
        fixed[..8].copy_from_slice(&lease.0.to_le_bytes());
        fixed[8..24].copy_from_slice(identity.job.as_bytes());
        fixed[24..32].copy_from_slice(&identity.task.0.to_le_bytes());
        fixed[32..].copy_from_slice(&attempt.0.to_le_bytes());
        hasher.update(context);
        hasher.update(&fixed);
        hasher.update(worker.as_str().as_bytes());
        let mut token = [0; 16];
        token.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        LeaseToken(token)
    }
}

impl LeaseKey {
    /// A number that follows from a task and that nobody knows who has not the key: which tasks of a job are in a sample.
    pub fn sample(&self, identity: TaskIdentity) -> u64 {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(SAMPLE_CONTEXT);
        hasher.update(identity.job.as_bytes());
        hasher.update(&identity.task.0.to_le_bytes());
        let mut number = [0; 8];
        number.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        u64::from_le_bytes(number)
    }
}

impl fmt::Debug for LeaseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LeaseKey(secret)")
    }
}

/// Everything that says which attempt a worker speaks of, and that it was given to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Claim {
    /// The right to it.
    pub lease: LeaseId,
    /// The task.
    pub identity: TaskIdentity,
    /// The attempt.
    pub attempt: Attempt,
    /// The proof.
    pub token: LeaseToken,
}

/// How far a worker is with a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HeldState {
    /// Waits for a slot.
    Waiting,
    /// Occupies a slot.
    Running,
    /// Has a result, which waits for its acknowledgement.
    Finished,
}

/// A lease that a worker holds when it comes or comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Held {
    /// What it is for.
    pub claim: Claim,
    /// How far it is.
    pub state: HeldState,
}

/// How a task ended, in one word: an [`Outcome`](crate::Outcome) without what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OutcomeKind {
    /// The function returned.
    Succeeded,
    /// It raised an exception.
    Raised,
    /// The guest trapped.
    Trapped,
    /// It reached a limit.
    LimitExceeded,
    /// Its owner cancelled it.
    Cancelled,
    /// Given up by the system.
    Abandoned,
}

/// Why a worker gives a lease back without a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GiveBackReason {
    /// It was cancelled or taken back before it ended.
    Cancelled,
    /// The worker drains and had not started it.
    Draining,
    /// It has no slot for it.
    NoSlot,
    /// The function's image could not be got or loaded.
    ImageUnavailable,
    /// Arguments or inputs could not be got.
    InputUnavailable,
    /// The machine has not what the task's limits ask for.
    LimitsUnsupported,
    /// The host failed; the task is not to blame.
    HostFailed,
    /// The process that ran it died; the task may be to blame.
    SlotDied,
    /// The lease had ended before the work had.
    LeaseEnded,
}

/// An authenticated connection's lifetime. The coordinator numbers them; later ones are larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A life of a worker's process: a random number that it draws when it starts.
///
/// A worker that comes back with the same one was disconnected; with another one, its process had ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u64);

/// How urgent a job is among its owner's jobs: higher goes first. Between owners the fair share decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(pub i8);

/// Text that is not a name of a worker or client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a name is 1 to {NAME_BYTES_MAX} characters of a-z, 0-9, '-', '_' and '.', the first a letter or digit"
)]
pub struct ParseNameError;

fn name(text: &str) -> Result<Arc<str>, ParseNameError> {
    let bytes = text.as_bytes();
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let allowed = |byte: &u8| plain(byte) || matches!(byte, b'-' | b'_' | b'.');
    match bytes.first() {
        Some(first)
            if plain(first) && bytes.len() <= NAME_BYTES_MAX && bytes.iter().all(allowed) =>
        {
            Ok(text.into())
        }
        _ => Err(ParseNameError),
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = ParseNameError;

            fn from_str(text: &str) -> Result<Self, ParseNameError> {
                name(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }
    };
}

name! {
    /// A worker, by the name in its certificate.
    WorkerId
}

name! {
    /// A client, by the name in its certificate: whoever owns jobs.
    ClientName
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{JobId, TaskId};

    #[test]
    fn epochs_end_where_attempts_do() {
        assert_eq!(Epoch::new(0), None);
        assert_eq!(Epoch::new((1 << 20) - 1), Some(Epoch::MAX));
        assert_eq!(Epoch::new(1 << 20), None);
        assert_eq!(Epoch::MAX.next(), None);
        assert_eq!(Epoch::FIRST.next(), Epoch::new(2));
    }

    #[test]
    fn leases_and_attempts_grow_within_and_across_epochs() {
        let second = Epoch::new(2).unwrap();
        let last = LeaseId::new(Epoch::FIRST, LeaseId::NUMBER_MAX).unwrap();
        assert!(last < LeaseId::new(second, 0).unwrap());
        assert_eq!(LeaseId::new(second, LeaseId::NUMBER_MAX + 1), None);
        let top = LeaseId::new(Epoch::MAX, LeaseId::NUMBER_MAX).unwrap();
        assert!(i64::try_from(top.0).is_ok());
        assert_eq!(
            (top.epoch_number(), top.number()),
            ((1 << 20) - 1, LeaseId::NUMBER_MAX)
        );

        let last = Attempt::of_epoch(Epoch::FIRST, Attempt::TRIES_MAX).unwrap();
        let next = Attempt::of_epoch(second, 1).unwrap();
        assert!(last < next);
        assert_eq!((next.epoch_number(), next.number()), (2, 1));
        assert_eq!(Attempt::of_epoch(second, 0), None);
        assert_eq!(Attempt::of_epoch(second, Attempt::TRIES_MAX + 1), None);
        assert_eq!(
            Attempt::of_epoch(Epoch::MAX, Attempt::TRIES_MAX),
            Some(Attempt(u32::MAX))
        );
    }

    #[test]
    fn a_token_is_for_one_worker_lease_task_and_attempt() {
        let key = LeaseKey::from_bytes([3; 32]);
        let worker: WorkerId = "lab-1".parse().unwrap();
        let job = |byte| TaskIdentity::new(JobId::from_bytes([byte; 16]), TaskId(5));
        let token = key.token(&worker, LeaseId(1), job(1), Attempt(1));
        assert_eq!(token, key.token(&worker, LeaseId(1), job(1), Attempt(1)));
        let others = [
            LeaseKey::from_bytes([4; 32]).token(&worker, LeaseId(1), job(1), Attempt(1)),
            key.token(&"lab-2".parse().unwrap(), LeaseId(1), job(1), Attempt(1)),
            key.token(&worker, LeaseId(2), job(1), Attempt(1)),
            key.token(&worker, LeaseId(1), job(2), Attempt(1)),
            key.token(&worker, LeaseId(1), job(1), Attempt(2)),
        ];
        assert!(others.iter().all(|other| *other != token));
        assert_eq!(format!("{key:?}"), "LeaseKey(secret)");
    }

    #[test]
    fn names_are_checked_at_their_limit_and_one_past() {
        let longest = "a".repeat(NAME_BYTES_MAX);
        for good in ["a", "lab-7.example_x", longest.as_str()] {
            assert_eq!(good.parse::<WorkerId>().unwrap().as_str(), good);
        }
        let longer = "a".repeat(NAME_BYTES_MAX + 1);
        for bad in [
            "",
            "-a",
            ".",
            "A",
            "a b",
            "a/b",
            "a%41",
            "ä",
            "a\0",
            longer.as_str(),
        ] {
            assert!(bad.parse::<ClientName>().is_err(), "{bad:?}");
        }
    }
}
