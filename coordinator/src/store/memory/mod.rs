//! The store of a coordinator that does not outlive its process, and the model that the durable one is compared with.

mod cached;
mod calls;
mod tables;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ppwasm_proto::fabric::{Epoch, LeaseId, LeaseKey, OutcomeKind, WorkerId};
use ppwasm_proto::{Attempt, Digest, JobId, TaskId};
use ppwasm_scheduler::{DrainReason, JobEnd, JobSpec, Record, TaskEnd};

use self::cached::Cached;
use self::calls::Calls;
use crate::blobs::{BlobError, BlobLimits, Blobs, Cursor};
use crate::store::{
    Ack, AuditEvent, Batch, Body, CachedOutcome, Certificate, CommitError, Denied, EndedTask,
    JobEntry, MaintainedAck, Maintenance, NotTaken, ReadError, Store, Token,
};

/// Keeps everything in memory, and large bodies in a folder that is worth nothing afterwards. Acknowledges at once, on
/// the caller's thread.
#[derive(Debug)]
pub struct MemoryStore {
    lease_key: LeaseKey,
    blobs: Blobs,
    tables: Mutex<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    last_job: u64,
    jobs: BTreeMap<u64, Job>,
    ids: HashMap<JobId, u64>,
    /// In the order in which they were first heard of.
    workers: Vec<(WorkerId, bool, Option<DrainReason>)>,
    worker_places: HashMap<WorkerId, usize>,
    bundles: BTreeMap<Digest, Bundle>,
    blob_refs: HashMap<Digest, u64>,
    tokens: BTreeMap<Digest, Token>,
    certificates: Vec<Certificate>,
    denied: BTreeMap<(bool, Vec<u8>), Denied>,
    wished_slots: BTreeMap<WorkerId, u32>,
    cached: BTreeMap<Digest, Cached>,
    events: Vec<AuditEvent>,
    cursor: Cursor,
}

#[derive(Debug)]
struct Job {
    id: JobId,
    spec: Box<JobSpec>,
    details: Vec<u8>,
    submitted_ms: u64,
    calls: Calls,
    released: u64,
    is_closed: bool,
    ended: Option<(JobEnd, u64)>,
    round: u64,
    lease_floor: LeaseId,
    /// With the round in which each ended.
    outcomes: BTreeMap<u64, (u64, EndedTask)>,
    losses: BTreeMap<(u64, Attempt), Loss>,
}

#[derive(Clone, Debug)]
struct Loss {
    round: u64,
    worker: WorkerId,
    suspect: bool,
}

#[derive(Debug)]
struct Bundle {
    jobs: u64,
    used_ms: u64,
    body: Body,
}

impl MemoryStore {
    /// An empty store, with its blobs in `folder`. `entropy` is 32 random bytes.
    ///
    /// # Errors
    ///
    /// When the folder cannot be made.
    pub fn new(entropy: [u8; 32], folder: &Path, limits: BlobLimits) -> Result<Self, BlobError> {
        Ok(Self {
            lease_key: LeaseKey::from_bytes(entropy),
            blobs: Blobs::open_volatile(folder, limits)?,
            tables: Mutex::default(),
        })
    }

    /// Lets go of what is kept of the first `below` tasks of a job, all of which have ended: somebody has their results,
    /// and nobody will ask again. Nothing can be recovered of the job afterwards.
    pub fn let_go(&self, job: &JobId, below: u64) {
        self.tables().let_go(job, below);
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn epoch(&self) -> Epoch {
        Epoch::FIRST
    }

    fn lease_key(&self) -> LeaseKey {
        self.lease_key
    }

    fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    fn commit(&self, batch: Batch, done: Ack) -> Result<(), NotTaken> {
        let result = self.tables().batch(batch, &self.blobs);
        done(result);
        Ok(())
    }

    fn maintain(&self, work: Maintenance, done: MaintainedAck) -> Result<(), CommitError> {
        let maintained = self.tables().maintain(&work, &self.blobs);
        done(Ok(maintained));
        Ok(())
    }

    fn recover(&self, each: &mut dyn FnMut(Record)) -> Result<(), ReadError> {
        let tables = self.tables();
        for (worker, is_joined, drained) in &tables.workers {
            let worker = || worker.clone();
            if *is_joined {
                each(Record::WorkerJoined { worker: worker() });
            }
            if let Some(why) = *drained {
                let worker = worker();
                each(Record::WorkerDrained { worker, why });
            }
        }
        tables.jobs.values().for_each(|job| job.recover(each));
        Ok(())
    }

    fn job(&self, job: &JobId) -> Result<Option<JobEntry>, ReadError> {
        let tables = self.tables();
        let number = tables.ids.get(job);
        Ok(number.and_then(|number| tables.jobs.get(number).map(|job| job.entry(*number))))
    }

    fn jobs(&self, after: u64, limit: u32) -> Result<Vec<JobEntry>, ReadError> {
        let tables = self.tables();
        let later = tables.jobs.range(after.saturating_add(1)..);
        let entries = later.map(|(number, job)| job.entry(*number));
        Ok(entries.take(limit as usize).collect())
    }

    fn ended_before(&self, before_ms: u64, limit: u32) -> Result<Vec<JobId>, ReadError> {
        let tables = self.tables();
        let ended = tables.jobs.iter().filter_map(|(number, job)| {
            let (_, at_ms) = job.ended.filter(|(_, at_ms)| *at_ms <= before_ms)?;
            Some((at_ms, *number, job.id))
        });
        let mut ended: Vec<_> = ended.collect();
        ended.sort_unstable();
        Ok(ended
            .into_iter()
            .take(limit as usize)
            .map(|(_, _, job)| job)
            .collect())
    }

    fn calls(&self, job: &JobId, first: u64, count: u64) -> Result<Vec<Body>, ReadError> {
        let tables = self.tables();
        let count = count.min(super::BATCH_WRITES_MAX as u64);
        let Some(job) = tables.find(job) else {
            return Ok(Vec::new());
        };
        let (from, calls) = job.calls.from(first);
        if from > first {
            return Ok(Vec::new());
        }
        Ok(calls.take(index(count)).cloned().collect())
    }

    fn cached(
        &self,
        keys: &[Digest],
        bytes_max: usize,
    ) -> Result<Vec<Option<CachedOutcome>>, ReadError> {
        Ok(self.tables().cached(keys, bytes_max))
    }

    fn run_time_us(&self, job: &JobId) -> Result<u64, ReadError> {
        let tables = self.tables();
        let ended = tables.find(job).into_iter().flat_map(|job| &job.outcomes);
        Ok(ended.map(|(_, (_, ended))| ended.result.run_time_us).sum())
    }

    fn outcomes(
        &self,
        job: &JobId,
        first: u64,
        limit: u32,
        bytes_max: usize,
    ) -> Result<Vec<EndedTask>, ReadError> {
        let tables = self.tables();
        let mut found = Vec::new();
        let Some(job) = tables.find(job) else {
            return Ok(found);
        };
        let mut bytes = 0;
        for (round, ended) in job.outcomes.range(first..).map(|(_, ended)| ended) {
            if found.len() >= limit as usize || bytes >= bytes_max {
                break;
            }
            if job.counts(*round, &ended.end) {
                bytes += ended
                    .result
                    .bodies()
                    .map(Body::row_bytes)
                    .iter()
                    .sum::<usize>();
                found.push(ended.clone());
            }
        }
        Ok(found)
    }

    fn bundle(&self, digest: &Digest) -> Result<Option<Body>, ReadError> {
        Ok(self
            .tables()
            .bundles
            .get(digest)
            .map(|bundle| bundle.body.clone()))
    }

    fn token(&self, hash: &Digest) -> Result<Option<Token>, ReadError> {
        Ok(self.tables().tokens.get(hash).cloned())
    }

    fn certificates(&self, identity: &str, limit: u32) -> Result<Vec<Certificate>, ReadError> {
        let tables = self.tables();
        let newest = tables.certificates.iter().rev();
        let of_identity = newest.filter(|certificate| certificate.identity == identity);
        Ok(of_identity.take(limit as usize).cloned().collect())
    }

    fn denied(&self) -> Result<Vec<Denied>, ReadError> {
        Ok(self.tables().denied.values().cloned().collect())
    }

    fn wished_slots(&self) -> Result<Vec<(WorkerId, u32)>, ReadError> {
        let wished = &self.tables().wished_slots;
        Ok(wished
            .iter()
            .map(|(worker, slots)| (worker.clone(), *slots))
            .collect())
    }

    fn events(&self, first: u64, limit: u32) -> Result<Vec<AuditEvent>, ReadError> {
        let tables = self.tables();
        let events = tables.events.iter().skip(index(first));
        Ok(events.take(limit as usize).cloned().collect())
    }

    /// There is nothing that could be kept.
    fn backup(&self, folder: &Path) -> Result<(), ReadError> {
        Err(ReadError::Io {
            action: "back up a store in memory to",
            path: folder.to_owned(),
            source: io::ErrorKind::Unsupported.into(),
        })
    }
}

impl Job {
    fn entry(&self, number: u64) -> JobEntry {
        JobEntry {
            number,
            job: self.id,
            spec: self.spec.clone(),
            details: self.details.clone(),
            submitted_ms: self.submitted_ms,
            tasks: self.calls.len(),
            is_closed: self.is_closed,
            ended: self.ended,
        }
    }

    /// A failure of before the last retry is as if it had not been.
    fn counts(&self, round: u64, end: &TaskEnd) -> bool {
        round == self.round || end.outcome() == OutcomeKind::Succeeded
    }

    fn recover(&self, each: &mut dyn FnMut(Record)) {
        let (job, spec, tasks) = (self.id, self.spec.clone(), self.calls.len());
        each(Record::JobSubmitted { job, spec });
        if tasks > 0 {
            let (first, count) = (0, tasks);
            each(Record::TasksAdded { job, first, count });
        }
        if self.is_closed {
            each(Record::JobClosed { job, tasks });
        }
        if self.released > 0 {
            let below = self.released;
            each(Record::TasksReleased { job, below });
        }
        let end = |ended: &EndedTask| Record::TaskEnded {
            job,
            task: ended.task,
            end: ended.end.clone(),
        };
        if self.round > 0 {
            for (round, ended) in self.outcomes.values() {
                let (task, end) = match *round < self.round {
                    true => (ended.task, ended.end.clone()),
                    // It had failed in some way, which is forgotten.
                    false => (ended.task, TaskEnd::Abandoned),
                };
                each(Record::TaskEnded { job, task, end });
            }
            let how = JobEnd::Finished;
            each(Record::JobEnded { job, how });
            let lease_floor = self.lease_floor;
            each(Record::JobRetried { job, lease_floor });
        }
        for ((task, attempt), loss) in &self.losses {
            if loss.round == self.round {
                each(Record::AttemptLost {
                    job,
                    task: TaskId(*task),
                    attempt: *attempt,
                    worker: loss.worker.clone(),
                    suspect: loss.suspect,
                });
            }
        }
        for (round, ended) in self.outcomes.values() {
            if *round == self.round {
                each(end(ended));
            }
        }
        if let Some((how, _)) = self.ended {
            each(Record::JobEnded { job, how });
        }
    }
}

fn index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
