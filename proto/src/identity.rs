//! Who a task is: job, task and attempt, and the random stream that follows from it.
//!
//! Nothing here makes up an identity; the clock and the source of random bytes are the caller's.

use std::fmt;
use std::str::FromStr;

use crate::digest::{Digest, ParseHexError, parse_hex, write_hex};

/// Separates the random stream from every other use of the same identity.
const SEED_CONTEXT: &str = "ppwasm 2026-11-22 random stream of a task";
/// Separates job identities from every other use of the same digest.
const JOB_CONTEXT: &str = "ppwasm 2026-11-22 job identity from content";

/// A job: one submission. 16 bytes, written as 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId([u8; 16]);

impl JobId {
    /// An identity from 16 bytes, random ones when every submission shall differ from every other.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The identity that follows from what is submitted, so that submitting it again is the same job:
    /// same random streams, same results.
    pub fn from_content(content: &Digest) -> Self {
        let key = blake3::derive_key(JOB_CONTEXT, content.as_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&key[..16]);
        Self(bytes)
    }

    /// The 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JobId({self})")
    }
}

impl FromStr for JobId {
    type Err = ParseHexError;

    fn from_str(text: &str) -> Result<Self, ParseHexError> {
        parse_hex(text).map(Self)
    }
}

/// A task's position in its job, from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(pub u64);

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a try at a task, from 1. It only grows; a higher one fences the lower ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attempt(pub u32);

impl Attempt {
    /// The first try.
    pub const FIRST: Self = Self(1);

    /// The try after this one, `None` after the last possible.
    pub fn next(self) -> Option<Self> {
        self.0.checked_add(1).map(Self)
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A task of a job. The attempt is left out on purpose: every attempt is the same computation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskIdentity {
    /// The job.
    pub job: JobId,
    /// The task in it.
    pub task: TaskId,
}

impl TaskIdentity {
    /// Task `task` of job `job`.
    pub const fn new(job: JobId, task: TaskId) -> Self {
        Self { job, task }
    }

    /// The seed of the random stream that the guest reads: the same for every attempt, another for every
    /// other task. It is BLAKE3's `derive_key` over the job's 16 bytes and the task's number as 8 bytes,
    /// little-endian.
    pub fn seed(&self) -> [u8; 32] {
        let mut identity = [0; 24];
        identity[..16].copy_from_slice(self.job.as_bytes());
        identity[16..].copy_from_slice(&self.task.0.to_le_bytes());
        blake3::derive_key(SEED_CONTEXT, &identity)
    }
}

impl fmt::Display for TaskIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.job, self.task)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn same_task_same_stream_other_task_other_stream() {
        let jobs = [
            JobId::from_bytes([1; 16]),
            JobId::from_content(&Digest::of(b"f")),
        ];
        let tasks = || {
            jobs.iter()
                .flat_map(|job| (0..500).map(|task| (*job, TaskId(task))))
        };
        let seeds: Vec<_> = tasks()
            .map(|(job, task)| TaskIdentity::new(job, task).seed())
            .collect();
        let again: Vec<_> = tasks()
            .map(|(job, task)| TaskIdentity::new(job, task).seed())
            .collect();
        assert_eq!(seeds, again);
        assert_eq!(seeds.iter().collect::<HashSet<_>>().len(), 1000);
    }

    /// A changed seed changes the results of jobs that are recorded already.
    #[test]
    fn seed_is_pinned() {
        let identity = TaskIdentity::new(JobId::from_bytes([7; 16]), TaskId(3));
        let hex: String = identity
            .seed()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(
            hex,
            "a22feb4407aff585a8ee54c3c559efc44fe6221eb3533977d5e230dd8d24f809"
        );
    }

    #[test]
    fn job_text_round_trips() {
        let job = JobId::from_content(&Digest::of(b"content"));
        assert_eq!(job.to_string().parse(), Ok(job));
        assert!("00".parse::<JobId>().is_err());
    }

    #[test]
    fn attempts_only_grow() {
        assert_eq!(Attempt::FIRST.next(), Some(Attempt(2)));
        assert_eq!(Attempt(u32::MAX).next(), None);
    }
}
