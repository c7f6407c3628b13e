//! How much memory calls may take beside what their images have, all together.
//!
//! A system that gives out more memory than it has ends a process when all of it is asked for, and with it every call that it
//! runs. So the host keeps count: a call whose memory would grow past what the machine has is not run here to its end, as if
//! the system itself had refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a host takes before its first call: artifact, library and images come to 110 MiB, and changed pages of images to some
/// 40 for each slot.
const HOST_BYTES: u64 = 192 << 20;
/// Of the rest of a machine's memory, what calls may take: five eighths. Other programs run there too.
const EIGHTHS: u64 = 5;

/// What calls may take, and what they have taken.
#[derive(Debug)]
pub(crate) struct Budget {
    bytes_max: u64,
    taken: AtomicU64,
}

impl Budget {
    /// For a machine with so much memory; without a limit when that is not known.
    pub(crate) fn of_machine(memory_bytes: Option<u64>) -> Self {
        let rest = |bytes: u64| bytes.saturating_sub(HOST_BYTES) / 8 * EIGHTHS;
        Self::new(memory_bytes.map_or(u64::MAX, rest))
    }

    pub(crate) const fn new(bytes_max: u64) -> Self {
        Self {
            bytes_max,
            taken: AtomicU64::new(0),
        }
    }

    fn take(&self, bytes: u64) -> bool {
        let more = |taken: u64| {
            let after = taken.checked_add(bytes)?;
            (after <= self.bytes_max).then_some(after)
        };
        self.taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_ok()
    }
}

/// What one sandbox has taken. It is given back with the sandbox.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<Budget>,
    taken: u64,
}

impl Share {
    pub(crate) fn of(budget: &Arc<Budget>) -> Self {
        Self {
            budget: Arc::clone(budget),
            taken: 0,
        }
    }

    /// Takes so many bytes more; false when they are not there.
    pub(crate) fn take(&mut self, bytes: u64) -> bool {
        let is_there = self.budget.take(bytes);
        if is_there {
            self.taken += bytes;
        }
        is_there
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.taken.fetch_sub(self.taken, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_can_be_taken_again_and_no_more() {
        let budget = Arc::new(Budget::of_machine(Some(HOST_BYTES + 800)));
        let mut first = Share::of(&budget);
        assert!(first.take(300));
        assert!(first.take(100));
        let mut second = Share::of(&budget);
        assert!(!second.take(101));
        assert!(second.take(100));
        assert!(!second.take(1));
        assert!(!first.take(u64::MAX));
        drop(first);
        assert!(second.take(400));
        assert!(!second.take(1));
        drop(second);
        assert!(Share::of(&budget).take(500));
    }

    #[test]
    fn nothing_is_refused_where_nothing_is_known() {
        let budget = Arc::new(Budget::of_machine(None));
        assert!(Share::of(&budget).take(1 << 50));
    }
}
