//! Bodies of outcomes that are neither recorded nor acknowledged: another worker is to confirm them first.
//!
//! In memory only. Whoever brought one keeps it until it is acknowledged, and brings it again after a restart. The scheduler
//! bounds how many there are.

use std::collections::BTreeMap;

use ppwasm_proto::fabric::LeaseId;
use ppwasm_proto::{Digest, JobId, TaskId};

use crate::store::TaskResult;

/// Bodies by task and lease.
#[derive(Debug, Default)]
pub(super) struct Withheld(BTreeMap<(JobId, TaskId, LeaseId), TaskResult>);

impl Withheld {
    /// Keeps a result. What was said first under a lease stays.
    pub(super) fn keep(&mut self, job: JobId, task: TaskId, lease: LeaseId, result: TaskResult) {
        self.0.entry((job, task, lease)).or_insert(result);
    }

    /// The task has ended with the outcome under this lease, or with one that was not kept; nothing else of it is needed.
    pub(super) fn take(&mut self, job: JobId, task: TaskId, lease: LeaseId) -> Option<TaskResult> {
        let result = self.0.remove(&(job, task, lease));
        self.forget_task(job, task);
        result
    }

    /// A task has ended.
    pub(super) fn forget_task(&mut self, job: JobId, task: TaskId) {
        self.forget((job, task, LeaseId(0)), (job, task, LeaseId(u64::MAX)));
    }

    /// A job has ended.
    pub(super) fn forget_job(&mut self, job: JobId) {
        let first = (job, TaskId(0), LeaseId(0));
        self.forget(first, (job, TaskId(u64::MAX), LeaseId(u64::MAX)));
    }

    fn forget(&mut self, first: (JobId, TaskId, LeaseId), last: (JobId, TaskId, LeaseId)) {
        if self.0.is_empty() {
            return;
        }
        let keys: Vec<_> = self.0.range(first..=last).map(|(key, _)| *key).collect();
        for key in keys {
            self.0.remove(&key);
        }
    }
}

/// A digest of all that a worker brought for a task: equal ones stand for equal bytes, wherever those are.
pub(crate) fn digest(result: &TaskResult) -> Digest {
    let mut digests = Vec::with_capacity(3 * 32);
    for body in [&result.outcome, &result.stdout, &result.stderr] {
        digests.extend_from_slice(body.digest().as_bytes());
    }
    Digest::of(&digests)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Body;

    fn result(outcome: &[u8], stdout: &[u8]) -> TaskResult {
        TaskResult {
            outcome: Body::Inline(outcome.to_vec()),
            stdout: Body::Inline(stdout.to_vec()),
            ..TaskResult::default()
        }
    }

    #[test]
    fn what_was_said_first_stays_and_nothing_is_left_of_what_has_ended() {
        let job = |byte| JobId::from_bytes([byte; 16]);
        let (one, two) = (TaskId(1), TaskId(2));
        let mut withheld = Withheld::default();
        withheld.keep(job(1), one, LeaseId(1), result(b"first", b""));
        withheld.keep(job(1), one, LeaseId(1), result(b"second", b""));
        withheld.keep(job(1), one, LeaseId(2), result(b"other", b""));
        withheld.keep(job(1), two, LeaseId(3), result(b"two", b""));
        withheld.keep(job(2), one, LeaseId(4), result(b"job two", b""));
        let taken = withheld.take(job(1), one, LeaseId(1));
        assert_eq!(taken, Some(result(b"first", b"")));
        assert_eq!(withheld.0.len(), 2);
        assert_eq!(withheld.take(job(1), one, LeaseId(2)), None);
        withheld.forget_job(job(1));
        assert_eq!(withheld.0.len(), 1);
        withheld.forget_task(job(2), one);
        assert!(withheld.0.is_empty());
    }

    #[test]
    fn a_digest_tells_outcome_and_output_apart_and_not_where_they_are() {
        let inline = result(b"1", b"out");
        assert_eq!(digest(&inline), digest(&inline.clone()));
        assert_ne!(digest(&inline), digest(&result(b"2", b"out")));
        assert_ne!(digest(&inline), digest(&result(b"1", b"other")));
        assert_ne!(digest(&result(b"a", b"b")), digest(&result(b"b", b"a")));
        let blob = TaskResult {
            outcome: Body::Blob {
                digest: Digest::of(b"1"),
                size: 1,
            },
            ..inline.clone()
        };
        assert_eq!(digest(&inline), digest(&blob));
        let slower = TaskResult {
            run_time_us: 7,
            memory_bytes: 8,
            ..inline.clone()
        };
        assert_eq!(digest(&inline), digest(&slower));
    }
}
