//! Calls that were appended a moment ago. Whoever submits tasks one at a time waits for the grant that follows at once:
//! it needs no reading.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ppwasm_proto::JobId;

use crate::store::Body;

/// Appends that are kept.
const APPENDS_MAX: usize = 64;
/// Calls of one that is. Those of a larger one are queued longer than anything is kept here.
const CALLS_MAX: usize = 16;
/// Bytes of each of its calls.
const CALL_BYTES_MAX: usize = 1024;

/// The last small appends. What is not here is in the store.
#[derive(Debug, Default)]
pub(crate) struct RecentCalls(Mutex<VecDeque<Append>>);

#[derive(Debug)]
struct Append {
    job: JobId,
    first: u64,
    calls: Vec<Body>,
}

impl RecentCalls {
    /// Keeps calls of a job from task `first` on, if they are few and small.
    pub(crate) fn keep(&self, job: JobId, first: u64, calls: &[Body]) {
        let is_small =
            |call: &Body| matches!(call, Body::Inline(bytes) if bytes.len() <= CALL_BYTES_MAX);
        if calls.len() > CALLS_MAX || !calls.iter().all(is_small) {
            return;
        }
        let mut appends = self.appends();
        if appends.len() >= APPENDS_MAX {
            appends.pop_front();
        }
        let calls = calls.to_vec();
        appends.push_back(Append { job, first, calls });
    }

    /// `count` calls from task `first` on, if all of them are in one append.
    pub(crate) fn calls(&self, job: JobId, first: u64, count: usize) -> Option<Vec<Body>> {
        self.appends().iter().rev().find_map(|append| {
            let from = usize::try_from(first.checked_sub(append.first)?).ok()?;
            let calls = append.calls.get(from..from.checked_add(count)?)?;
            (append.job == job).then(|| calls.to_vec())
        })
    }

    /// The job's name may stand for another from now on.
    pub(crate) fn forget(&self, job: JobId) {
        self.appends().retain(|append| append.job != job);
    }

    fn appends(&self) -> MutexGuard<'_, VecDeque<Append>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(number: u64) -> Body {
        Body::Inline(number.to_le_bytes().to_vec())
    }

    #[test]
    fn small_appends_are_found_and_nothing_else_is() {
        let (recent, job) = (RecentCalls::default(), JobId::from_bytes([1; 16]));
        let other = JobId::from_bytes([2; 16]);
        recent.keep(job, 10, &[call(10), call(11), call(12)]);
        assert_eq!(recent.calls(job, 11, 2), Some(vec![call(11), call(12)]));
        for (job, first, count) in [(job, 9, 1), (job, 12, 2), (job, 13, 1), (other, 11, 1)] {
            assert_eq!(recent.calls(job, first, count), None);
        }
        recent.keep(job, 20, &[Body::Inline(vec![0; CALL_BYTES_MAX + 1])]);
        recent.keep(job, 30, &vec![call(0); CALLS_MAX + 1]);
        assert_eq!(recent.calls(job, 20, 1), None);
        assert_eq!(recent.calls(job, 30, 1), None);
        recent.forget(job);
        assert_eq!(recent.calls(job, 11, 1), None);
        for first in 0..=APPENDS_MAX as u64 {
            recent.keep(job, first, &[call(first)]);
        }
        assert_eq!(recent.calls(job, 0, 1), None);
        assert_eq!(recent.calls(job, 1, 1), Some(vec![call(1)]));
    }
}
