//! The calls of a job's tasks, but for those that were let go.

use std::collections::VecDeque;

use super::index;
use crate::store::Body;

#[derive(Debug, Default)]
pub(super) struct Calls {
    /// Those of tasks below are of no more use to anybody.
    gone: u64,
    kept: VecDeque<Body>,
}

impl Calls {
    /// How many there are, with those that are gone.
    pub(super) fn len(&self) -> u64 {
        self.gone + self.kept.len() as u64
    }

    /// Those from task `first` on that are there, and the first one's task.
    pub(super) fn from(&self, first: u64) -> (u64, impl Iterator<Item = &Body>) {
        let first = first.max(self.gone);
        let calls = self.kept.iter().skip(index(first - self.gone));
        (first, calls)
    }

    pub(super) fn extend(&mut self, calls: impl IntoIterator<Item = Body>) {
        self.kept.extend(calls);
    }

    pub(super) fn truncate(&mut self, tasks: u64) {
        self.kept.truncate(index(tasks.saturating_sub(self.gone)));
    }

    /// Lets go of those below; gives back those that are blobs.
    pub(super) fn let_go(&mut self, below: u64) -> Vec<Body> {
        let count = index(below.saturating_sub(self.gone)).min(self.kept.len());
        let gone = self.kept.drain(..count);
        let blobs = gone
            .filter(|call| matches!(call, Body::Blob { .. }))
            .collect();
        self.gone += count as u64;
        if self.kept.capacity() > 4096 && self.kept.len() < self.kept.capacity() / 4 {
            self.kept.shrink_to(2 * self.kept.len());
        }
        blobs
    }
}
