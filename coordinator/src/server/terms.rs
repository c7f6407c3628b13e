//! What a job is besides what the scheduler looks into: kept as the message that opened it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ppwasm_proto::fabric::ClientName;
use ppwasm_proto::wire::{Message, NAME_BYTES_MAX, OpenJob, Text, TimeSource};
use ppwasm_proto::{Digest, JobId};
use ppwasm_scheduler::JobSpec;

use crate::store::{JobEntry, Store};

/// Tries at a task when the client does not say.
const ATTEMPTS_DEFAULT: u32 = 5;
/// Jobs whose terms are remembered; then they are read again.
const REMEMBERED_MAX: usize = 10_000;

/// The terms of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JobTerms {
    /// The message that opened it, as request 0.
    pub open: OpenJob,
}

impl JobTerms {
    pub(crate) fn new(mut open: OpenJob) -> Self {
        open.request = 0;
        Self { open }
    }

    /// How they are stored.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        Message::from(self.open.clone()).encode_body(&mut bytes);
        bytes
    }

    /// A digest of all of it.
    pub(crate) fn digest(&self) -> Digest {
        Digest::of(&self.to_bytes())
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        match Message::from_body(bytes) {
            Ok(Message::OpenJob(open)) => Some(Self { open }),
            _ => None,
        }
    }

    pub(crate) fn spec(&self, owner: ClientName) -> JobSpec {
        let attempts = self.open.attempts_max.map(|max| max.value());
        JobSpec {
            owner,
            priority: self.open.priority,
            function: self.open.function.digest,
            limits: self.open.limits,
            attempts_max: attempts.map_or(ATTEMPTS_DEFAULT, |max| {
                u32::try_from(max).unwrap_or(ATTEMPTS_DEFAULT)
            }),
            is_deterministic: matches!(self.open.time, TimeSource::Deterministic { .. })
                && self.open.keep_instance != Some(true),
            verify_percent: (self.open.verify_percent).map_or(0, |percent| {
                // The field's type says that it is at most 100.
                u8::try_from(percent.value()).unwrap_or(100)
            }),
            is_cached: self.open.cache == Some(true),
            body: self.digest(),
        }
    }
}

/// The terms of jobs, read from the store when they are needed.
#[derive(Debug, Default)]
pub(crate) struct Catalog(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    terms: HashMap<JobId, Arc<JobTerms>>,
    /// Entry points of functions.
    entries: HashMap<Digest, Text<NAME_BYTES_MAX>>,
}

impl Catalog {
    /// A job is gone; another one may come under its id.
    pub(crate) fn forget(&self, job: JobId) {
        self.known().terms.remove(&job);
    }

    pub(crate) fn entry(&self, function: &Digest) -> Option<Text<NAME_BYTES_MAX>> {
        self.known().entries.get(function).cloned()
    }

    pub(crate) fn set_entry(&self, function: Digest, entry: Text<NAME_BYTES_MAX>) {
        let mut known = self.known();
        if known.entries.len() >= REMEMBERED_MAX {
            known.entries.clear();
        }
        known.entries.insert(function, entry);
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The terms of a job that was just read; `None` when they cannot be.
    pub(crate) fn remember(&self, entry: &JobEntry) -> Option<Arc<JobTerms>> {
        let terms = Arc::new(JobTerms::from_bytes(&entry.details)?);
        let mut known = self.known();
        if known.terms.len() >= REMEMBERED_MAX {
            known.terms.clear();
        }
        known.terms.insert(entry.job, Arc::clone(&terms));
        Some(terms)
    }

    /// `None` when the job is gone or cannot be read.
    pub(crate) fn terms(&self, store: &dyn Store, job: JobId) -> Option<Arc<JobTerms>> {
        if let Some(terms) = self.known().terms.get(&job) {
            return Some(Arc::clone(terms));
        }
        // Not under the lock: the store may take its time.
        self.remember(&store.job(&job).ok()??)
    }
}
