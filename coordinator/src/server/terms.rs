//! What a job is besides what the scheduler looks into: kept as the message that opened it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use ppwasm_proto::fabric::ClientName;
use ppwasm_proto::wire::{Message, OpenJob, TimeSource};
use ppwasm_proto::{Digest, JobId};
use ppwasm_scheduler::JobSpec;

use crate::store::Store;

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

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
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
            body: Digest::of(&self.to_bytes()),
        }
    }
}

/// The terms of jobs, read from the store when they are needed.
#[derive(Debug, Default)]
pub(crate) struct Catalog(Mutex<HashMap<JobId, Arc<JobTerms>>>);

impl Catalog {
    /// `None` when the job is gone or cannot be read.
    pub(crate) fn terms(&self, store: &dyn Store, job: JobId) -> Option<Arc<JobTerms>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(terms) = known.get(&job) {
            return Some(Arc::clone(terms));
        }
        let entry = store.job(&job).ok()??;
        let terms = Arc::new(JobTerms::from_bytes(&entry.details)?);
        if known.len() >= REMEMBERED_MAX {
            known.clear();
        }
        known.insert(job, Arc::clone(&terms));
        Some(terms)
    }
}
