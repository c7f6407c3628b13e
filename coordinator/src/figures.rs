//! What is counted while a coordinator runs: numbers that only grow, and how long commits take.
//!
//! Counting is a few atomic additions; who wants to see the figures reads them. What is at a moment (queues, workers) is
//! asked of the core.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ppwasm_proto::fabric::OutcomeKind;
use ppwasm_proto::wire::{ErrorCode, Message};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn add_one(&self) {
        self.add(1);
    }

    /// So many more.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// How many there were.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How often values were at most so large.
#[derive(Debug)]
pub struct Histogram<const N: usize> {
    bounds: [u64; N],
    /// The last is for what is larger than every bound.
    counts: [AtomicU64; N],
    larger: AtomicU64,
    sum: AtomicU64,
}

impl<const N: usize> Histogram<N> {
    const fn new(bounds: [u64; N]) -> Self {
        Self {
            bounds,
            counts: [const { AtomicU64::new(0) }; N],
            larger: AtomicU64::new(0),
            sum: AtomicU64::new(0),
        }
    }

    fn add(&self, value: u64) {
        let place = self.bounds.iter().position(|bound| value <= *bound);
        let count = place.and_then(|place| self.counts.get(place));
        count
            .unwrap_or(&self.larger)
            .fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// Each bound, and how many values were not larger; then how many there were, and their sum.
    pub fn cumulative(&self) -> (Vec<(u64, u64)>, u64, u64) {
        let mut total = 0;
        let mut below = Vec::with_capacity(N);
        for (bound, count) in self.bounds.iter().zip(&self.counts) {
            total += count.load(Ordering::Relaxed);
            below.push((*bound, total));
        }
        total += self.larger.load(Ordering::Relaxed);
        (below, total, self.sum.load(Ordering::Relaxed))
    }
}

/// Codes of refusals that are told apart; there are as many as the protocol has.
const CODES_MAX: usize = 64;

/// The figures of a coordinator.
#[derive(Debug)]
pub struct Figures {
    /// Tasks by how they ended: succeeded, raised, trapped, limit exceeded, cancelled, abandoned.
    pub tasks_ended: [Counter; 6],
    /// Jobs that were submitted.
    pub jobs_submitted: Counter,
    /// Function images that were built.
    pub images_built: Counter,
    /// Functions that could not be loaded.
    pub images_failed: Counter,
    /// Bytes of blobs that peers put.
    pub blob_bytes_in: Counter,
    /// Bytes of blobs that peers got.
    pub blob_bytes_out: Counter,
    /// Those who joined.
    pub joins_issued: Counter,
    /// Those who tried to join and did not.
    pub joins_refused: Counter,
    /// Certificates that were renewed.
    pub renewals: Counter,
    /// Identities that were revoked.
    pub revocations: Counter,
    /// Sessions that were taken up.
    pub sessions: Counter,
    /// Rows and blobs that maintenance removed.
    pub rows_removed: Counter,
    /// Blobs that maintenance removed.
    pub blobs_removed: Counter,
    /// Jobs that were forgotten because their time was over.
    pub jobs_expired: Counter,
    /// Microseconds from giving a batch to the store to its being durable.
    pub commit_us: Histogram<12>,
    /// Writes in a batch.
    pub commit_writes: Histogram<8>,
    refused: Mutex<Vec<(ErrorCode, u64)>>,
}

impl Default for Figures {
    fn default() -> Self {
        Self {
            tasks_ended: Default::default(),
            jobs_submitted: Counter::default(),
            images_built: Counter::default(),
            images_failed: Counter::default(),
            blob_bytes_in: Counter::default(),
            blob_bytes_out: Counter::default(),
            joins_issued: Counter::default(),
            joins_refused: Counter::default(),
            renewals: Counter::default(),
            revocations: Counter::default(),
            sessions: Counter::default(),
            rows_removed: Counter::default(),
            blobs_removed: Counter::default(),
            jobs_expired: Counter::default(),
            commit_us: Histogram::new([
                100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 500_000,
                2_000_000,
            ]),
            commit_writes: Histogram::new([1, 4, 16, 64, 256, 1024, 4096, 8192]),
            refused: Mutex::default(),
        }
    }
}

impl Figures {
    pub(crate) fn commit(&self, writes: u64, took: Duration) {
        self.commit_writes.add(writes);
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.commit_us.add(us);
    }

    pub(crate) fn ended(&self, kind: OutcomeKind) {
        let place = match kind {
            OutcomeKind::Succeeded => 0,
            OutcomeKind::Raised => 1,
            OutcomeKind::Trapped => 2,
            OutcomeKind::LimitExceeded => 3,
            OutcomeKind::Cancelled => 4,
            OutcomeKind::Abandoned => 5,
        };
        if let Some(counter) = self.tasks_ended.get(place) {
            counter.add_one();
        }
    }

    /// Notes what a message to a peer refuses, if it does.
    pub(crate) fn sent(&self, message: &Message) {
        let code = match message {
            Message::Failed(failed) => failed.code,
            Message::Refused(refused) => refused.code,
            _ => return,
        };
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, count)) = refused.iter_mut().find(|(known, _)| *known == code) {
            *count += 1;
        } else if refused.len() < CODES_MAX {
            refused.push((code, 1));
        }
    }

    /// What was refused, by code.
    pub fn refused(&self) -> Vec<(ErrorCode, u64)> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_what_is_not_larger() {
        let histogram = Histogram::new([1, 10]);
        for value in [0, 1, 2, 10, 11] {
            histogram.add(value);
        }
        assert_eq!(histogram.cumulative(), (vec![(1, 2), (10, 4)], 5, 24));
    }
}
