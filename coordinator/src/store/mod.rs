//! What the coordinator has to remember.
//!
//! A [`Store`] takes [`Batch`]es of [`Write`]s: the scheduler's records and the bodies that belong to them, identities,
//! audit events. It promises:
//!
//! 1. **Acknowledged is durable.** The [`Ack`] of a batch is called with `Ok` only when all of it survives the loss of
//!    the process (and, for [`SqliteStore`], of power). [`MemoryStore`] survives nothing, and promises the rest.
//! 2. **A batch is there whole or not at all**, in the order in which batches were given; each sees what those before
//!    it wrote. A batch that contradicts what is there is refused by name ([`Refusal`]) and leaves no trace, nor does
//!    it disturb its neighbours.
//! 3. **Saying the same twice changes nothing.** The same job, tasks, outcome or token again is [`Answer::Known`];
//!    another one under the same name is refused. So what happened to a commit of unknown result is found out by
//!    reading it by its name, or by writing it again.
//! 4. **An outcome never changes**, unless the job is retried, which only failed ones do not survive.
//! 5. **What is read is what was written.** Every row carries a checksum; one that does not hold is an error.
//! 6. **Nothing is named that is not there.** A blob is durable before a row refers to it, and stays while one does.
//! 7. **One coordinator.** Each opening takes a larger [`Epoch`]; a store that was opened again by another refuses to
//!    write. After an error of the disk a store writes nothing more: reopening is the only way on.
//!
//! What a store does not do: decide. It keeps no leases, queues nothing for anybody and reads no clock that matters:
//! times come in with the batch.
//!
//! No async runtime is needed: an acknowledgement is a plain closure, called on the store's own thread; it has to be
//! short, such as passing the result on through a channel.

mod body;
mod error;
mod limits;
mod memory;
mod sqlite;
#[cfg(test)]
mod tests;
mod write;

use std::path::Path;
use std::time::Duration;

use ppwasm_proto::fabric::{Epoch, LeaseKey, WorkerId};
use ppwasm_proto::{Digest, JobId, TaskId};
use ppwasm_scheduler::Record;

pub use body::Body;
pub use error::{CommitError, EndCause, Foreign, OpenError, ReadError, Refusal, StoreDamage};
pub use memory::MemoryStore;
pub use sqlite::{
    Finding, Options, Report, SEAL_FILE, SQLITE_VERSION_MIN, STORE_FILE, SqliteStore,
    WAL_BYTES_MAX, backup_store, check,
};
pub use write::{
    AuditEvent, Batch, CacheNote, CachedOutcome, Certificate, Denied, DeniedSubject, EndedTask,
    JobEntry, TaskResult, Token, Write,
};

use crate::blobs::Blobs;

/// Bytes of a body that is kept in a row; larger ones are blobs.
pub const INLINE_BYTES_MAX: usize = 64 << 10;
/// Writes in one batch.
pub const BATCH_WRITES_MAX: usize = 8192;
/// Bytes of bodies in one batch.
pub const BATCH_BYTES_MAX: usize = 16 << 20;
/// Batches that wait to be written.
pub const QUEUE_BATCHES_MAX: usize = 1024;
/// Bytes of bodies that wait to be written.
pub const QUEUE_BYTES_MAX: usize = 64 << 20;
/// Outcomes that can be found by their key.
pub const CACHED_MAX: u64 = 1_000_000;
/// Bytes of a text or a small body: a job's details, a certificate, an audit event.
pub const DETAIL_BYTES_MAX: usize = 64 << 10;

/// Called once with what came of a batch.
pub type Ack = Box<dyn FnOnce(Result<Vec<Answer>, CommitError>) + Send>;
/// Called once with what a piece of maintenance did.
pub type MaintainedAck = Box<dyn FnOnce(Result<Maintained, CommitError>) + Send>;

/// What came of one write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is there now.
    Done,
    /// It was there before.
    Known,
    /// The token that was redeemed.
    Redeemed(Token),
}

/// A batch that was not taken, and why.
#[derive(Debug, thiserror::Error)]
#[error("the batch was not taken")]
pub struct NotTaken {
    /// The batch, for another try.
    pub batch: Batch,
    /// Why.
    #[source]
    pub why: CommitError,
}

/// Work to be done now and then, in bounded pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Maintenance {
    /// The time on the wall, in milliseconds since 1970.
    pub now_ms: u64,
    /// Rows that one piece removes at most.
    pub rows_max: u32,
    /// Blobs after whose removal one piece ends.
    pub blobs_max: u32,
    /// How long a blob that nobody names, or an upload, is kept.
    pub blob_age: Duration,
    /// How long a bundle that no job uses is kept.
    pub bundle_age: Duration,
    /// Outcomes that can be found by their key; beyond that those of the oldest jobs cannot any more.
    pub cached_max: u64,
}

impl Maintenance {
    /// The usual amounts: 2,000 rows, 100 blobs, an hour for blobs, 30 days for bundles, [`CACHED_MAX`] outcomes.
    pub const fn at(now_ms: u64) -> Self {
        Self {
            now_ms,
            rows_max: 2000,
            blobs_max: 100,
            blob_age: Duration::from_secs(3600),
            bundle_age: Duration::from_secs(30 * 24 * 3600),
            cached_max: CACHED_MAX,
        }
    }
}

/// What a piece of maintenance did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Maintained {
    /// Rows of forgotten jobs, unused bundles and expired tokens that were removed.
    pub rows: u64,
    /// Blobs that were removed.
    pub blobs: u64,
    /// Bytes in them.
    pub blob_bytes: u64,
    /// Something is left to do: come again soon.
    pub more: bool,
}

/// What the coordinator has to remember; the module says what each implementation promises.
///
/// A third implementation could be PostgreSQL: shards instead of the one lock, the epoch checked in each transaction
/// (`SELECT epoch FROM shard … FOR SHARE`), the same rows, blobs in an object store.
pub trait Store: Send + Sync {
    /// The number of this opening; larger than all before.
    fn epoch(&self) -> Epoch;

    /// The secret that makes tokens of leases; the same for the life of the store.
    fn lease_key(&self) -> LeaseKey;

    /// Where bodies go that are larger than [`INLINE_BYTES_MAX`].
    fn blobs(&self) -> &Blobs;

    /// Queues a batch and returns; `done` is called when it is durable or has failed.
    ///
    /// # Errors
    ///
    /// [`CommitError::Busy`] when too much waits already, or the store has ended. Then `done` is not called.
    fn commit(&self, batch: Batch, done: Ack) -> Result<(), NotTaken>;

    /// Queues a bounded piece of maintenance.
    ///
    /// # Errors
    ///
    /// As [`Store::commit`].
    fn maintain(&self, work: Maintenance, done: MaintainedAck) -> Result<(), CommitError>;

    /// Gives `each` the records that a restarted scheduler is rebuilt from, in the order that it asks for.
    ///
    /// # Errors
    ///
    /// A row does not hold, rows are missing, or the disk fails. What was given out until then is not the whole.
    fn recover(&self, each: &mut dyn FnMut(Record)) -> Result<(), ReadError>;

    /// A job.
    ///
    /// # Errors
    ///
    /// The row does not hold, or the disk fails; so for all that follow.
    fn job(&self, job: &JobId) -> Result<Option<JobEntry>, ReadError>;

    /// At most `limit` jobs in the order of their submission, those after number `after`.
    ///
    /// # Errors
    ///
    /// As [`Store::job`].
    fn jobs(&self, after: u64, limit: u32) -> Result<Vec<JobEntry>, ReadError>;

    /// Jobs that ended at `before_ms` or earlier, at most `limit`, the oldest first.
    ///
    /// # Errors
    ///
    /// As [`Store::job`].
    fn ended_before(&self, before_ms: u64, limit: u32) -> Result<Vec<JobId>, ReadError>;

    /// The arguments of `count` tasks from `first` on; fewer when the job has fewer. At most
    /// [`BATCH_WRITES_MAX`] at a time.
    ///
    /// # Errors
    ///
    /// As [`Store::job`].
    fn calls(&self, job: &JobId, first: u64, count: u64) -> Result<Vec<Body>, ReadError>;

    /// Outcomes from task `first` on, in order, those that are there: at most `limit`, and no more after those
    /// that together have `bytes_max` bytes.
    ///
    /// # Errors
    ///
    /// As [`Store::job`].
    fn outcomes(
        &self,
        job: &JobId,
        first: u64,
        limit: u32,
        bytes_max: usize,
    ) -> Result<Vec<EndedTask>, ReadError>;

    /// The outcome of one task.
    ///
    /// # Errors
    ///
    /// As [`Store::job`].
    fn outcome(&self, job: &JobId, task: TaskId) -> Result<Option<EndedTask>, ReadError> {
        let found = self.outcomes(job, task.0, 1, usize::MAX)?;
        Ok(found.into_iter().next().filter(|ended| ended.task == task))
    }

    /// Outcomes by the keys of their tasks, in the order of the keys: `None` for what is not there, is gone, or does not
    /// count any more. Ends early, so that there may be fewer than keys, after those that together have `bytes_max` bytes.
    ///
    /// # Errors
    ///
    /// As [`Store::job`].
    fn cached(
        &self,
        keys: &[Digest],
        bytes_max: usize,
    ) -> Result<Vec<Option<CachedOutcome>>, ReadError>;

    /// How long all tasks of a job ran together that have ended, in microseconds, by what workers said. Takes time in
    /// proportion to their number.
    ///
    /// # Errors
    ///
    /// As [`Store::job`], but the rows' checksums are not looked at.
    fn run_time_us(&self, job: &JobId) -> Result<u64, ReadError>;

    /// A function's bundle.
    ///
    /// # Errors
    ///
    /// As [`Store::job`].
    fn bundle(&self, digest: &Digest) -> Result<Option<Body>, ReadError>;

    /// A join token that has not been redeemed, by the digest of its secret.
    ///
    /// # Errors
    ///
    /// As [`Store::job`].
    fn token(&self, hash: &Digest) -> Result<Option<Token>, ReadError>;

    /// The certificates that were issued to an identity, the newest first, at most `limit`.
    ///
    /// # Errors
    ///
    /// As [`Store::job`].
    fn certificates(&self, identity: &str, limit: u32) -> Result<Vec<Certificate>, ReadError>;

    /// All that is denied.
    ///
    /// # Errors
    ///
    /// As [`Store::job`].
    fn denied(&self) -> Result<Vec<Denied>, ReadError>;

    /// The slots that workers shall have, by the operator's wish, those for whom there is one.
    ///
    /// # Errors
    ///
    /// As [`Store::job`].
    fn wished_slots(&self) -> Result<Vec<(WorkerId, u32)>, ReadError>;

    /// At most `limit` audit events from number `first` on, counted from 0.
    ///
    /// # Errors
    ///
    /// As [`Store::job`]; also when the chain of digests is broken.
    fn events(&self, first: u64, limit: u32) -> Result<Vec<AuditEvent>, ReadError>;

    /// Copies the store, with every blob that it names, into the new folder `folder`. Writing goes on meanwhile.
    ///
    /// # Errors
    ///
    /// The folder exists, the disk fails, or the store cannot be copied.
    fn backup(&self, folder: &Path) -> Result<(), ReadError>;
}
