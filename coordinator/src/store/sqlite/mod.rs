//! The store in SQLite: one file with a write-ahead log, one thread that writes, a few connections that read.
//!
//! ```text
//! lock              held while a coordinator runs; says who
//! coordinator.db    the tables (schema.rs), with -wal and -shm beside it while it is used, -seal (seal.rs) while not
//! blobs/            what is too large for a row
//! ```

mod apply;
mod backup;
mod cached;
mod check;
mod log;
mod maintain;
mod open;
mod read;
mod readers;
mod recover;
mod row;
mod schema;
mod seal;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ppwasm_proto::fabric::{Epoch, LeaseKey, WorkerId};
use ppwasm_proto::{Digest, JobId};
use ppwasm_scheduler::Record;

pub use backup::backup_store;
pub use check::{Finding, Report, check};

use super::error::EndCause;
use super::{
    Ack, AuditEvent, BATCH_WRITES_MAX, Batch, Body, CachedOutcome, Certificate, CommitError,
    Denied, EndedTask, JobEntry, MaintainedAck, Maintenance, NotTaken, OpenError,
    QUEUE_BATCHES_MAX, QUEUE_BYTES_MAX, ReadError, Store, Token,
};
use crate::blobs::{BlobLimits, Blobs};
use crate::faults::Faults;
use apply::Known;
use open::{Lock, Opened};
use readers::Readers;
use writer::{Gauge, Request, Writer};

/// The first SQLite without the bug that loses transactions when the log begins anew.
pub const SQLITE_VERSION_MIN: &str = "3.51.3";
/// Bytes of the write-ahead log after which it is moved into the database.
pub const WAL_BYTES_MAX: u64 = writer::WAL_BYTES_MAX;
/// The database's file in the store's folder.
pub const STORE_FILE: &str = "coordinator.db";
/// The seal's file in the store's folder, while it is closed.
pub const SEAL_FILE: &str = "coordinator.db-seal";
const LOCK_FILE: &str = "lock";
const BLOB_FOLDER: &str = "blobs";

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// 32 random bytes, from which a new store's secrets are made. An old store has its own.
    pub entropy: [u8; 32],
    /// Who opens it, for whoever finds it in use: program, process, address.
    pub holder: String,
    /// What blobs may take.
    pub blobs: BlobLimits,
    /// Free bytes below which the store begins nothing new; `None` for as many as blobs leave free.
    pub begin_bytes_min: Option<u64>,
    /// How long a reader may take. Default 1 s, so that the log can be emptied.
    pub read_time_max: Duration,
    /// Open it on a network file system all the same.
    pub allow_network: bool,
    pub(super) seams: Seams,
}

/// What tests put in place of the system.
#[derive(Clone, Debug)]
pub(super) struct Seams {
    pub(super) faults: Faults,
    pub(super) free: fn(&Path) -> io::Result<u64>,
    pub(super) file_system: fn(&Path) -> io::Result<Option<&'static str>>,
    pub(super) sqlite_version: fn() -> i32,
    pub(super) migrations: &'static [&'static str],
    /// Pages that the database may have, for a disk that is full.
    pub(super) pages_max: Option<u32>,
    /// Bytes of the log after which it is emptied.
    pub(super) wal_bytes_max: u64,
    /// Leave the log alone, for a test that copies it.
    pub(super) no_idle_checkpoint: bool,
}

impl Options {
    /// The usual ones.
    pub fn new(entropy: [u8; 32]) -> Self {
        Self {
            entropy,
            holder: format!("process {}", std::process::id()),
            blobs: BlobLimits::default(),
            begin_bytes_min: None,
            read_time_max: Duration::from_secs(1),
            allow_network: false,
            seams: Seams {
                faults: Faults::default(),
                free: crate::disk::free_bytes,
                file_system: open::network_file_system,
                sqlite_version: rusqlite::version_number,
                migrations: schema::MIGRATIONS,
                pages_max: None,
                wal_bytes_max: WAL_BYTES_MAX,
                no_idle_checkpoint: false,
            },
        }
    }
}

/// The store in SQLite. Dropping it writes what is queued and closes it.
pub struct SqliteStore {
    folder: PathBuf,
    epoch: Epoch,
    lease_key: LeaseKey,
    blobs: Blobs,
    gauge: Arc<Gauge>,
    readers: Readers,
    requests: Option<SyncSender<Request>>,
    writer: Option<JoinHandle<()>>,
    /// Released last.
    _lock: Lock,
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteStore")
            .field("folder", &self.folder)
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

impl SqliteStore {
    /// Opens the store in `folder`, which is made when it is not there. Its next epoch is durable when this returns.
    ///
    /// The whole database is read and checked, so this takes time in proportion to it. Blobs are not: each is when it
    /// is read.
    ///
    /// # Errors
    ///
    /// [`OpenError`] says what the file is or where it is damaged. Nothing was changed then, unless the store had
    /// been opened once before, by an older version: migrations that were committed stay.
    pub fn open(folder: &Path, options: &Options) -> Result<Self, OpenError> {
        let Opened {
            db,
            lock,
            meta,
            epoch,
        } = open::open(folder, options)?;
        let seams = &options.seams;
        let path = folder.join(STORE_FILE);
        let blobs = Blobs::build(
            &folder.join(BLOB_FOLDER),
            options.blobs,
            true,
            seams.free,
            seams.faults.clone(),
        )
        .map_err(|source| OpenError::Blobs {
            path: folder.to_owned(),
            source,
        })?;
        let gauge = Arc::new(Gauge::default());
        let (requests, receiver) = sync_channel(QUEUE_BATCHES_MAX);
        let writer = Writer {
            db,
            file: path.clone(),
            wal: folder.join(format!("{STORE_FILE}-wal")),
            blobs: blobs.clone(),
            gauge: gauge.clone(),
            epoch: epoch.number().into(),
            faults: seams.faults.clone(),
            known: Known::default(),
            cursor: crate::blobs::Cursor::default(),
            free_bytes_min: (options.begin_bytes_min).unwrap_or(options.blobs.free_bytes_min),
            free: seams.free,
            space: None,
            wal_bytes_max: seams.wal_bytes_max,
            idle_time: match seams.no_idle_checkpoint {
                true => Duration::MAX,
                false => writer::IDLE_TIME,
            },
        };
        let writer = thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run(&receiver))
            .map_err(|source| OpenError::io("start a thread for", folder, source))?;
        Ok(Self {
            folder: folder.to_owned(),
            epoch,
            lease_key: meta.key(),
            blobs,
            gauge,
            readers: Readers::new(path, options.read_time_max),
            requests: Some(requests),
            writer: Some(writer),
            _lock: lock,
        })
    }

    /// The folder that it is in.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Why it writes nothing more, once it does not.
    pub fn ended(&self) -> Option<Arc<EndCause>> {
        self.gauge.ended.get().cloned()
    }

    /// Runs a query of a test's own as any reader does.
    #[cfg(test)]
    pub(super) fn read_raw(&self, sql: &str) -> Result<i64, ReadError> {
        self.readers
            .with(|db| Ok(db.query_row(sql, [], |row| row.get(0))?))
    }

    fn send(&self, request: Request) -> Result<(), (Request, CommitError)> {
        let closed = || CommitError::Ended(Arc::new(EndCause::Closed));
        if let Some(cause) = self.ended() {
            return Err((request, CommitError::Ended(cause)));
        }
        let Some(requests) = &self.requests else {
            return Err((request, closed()));
        };
        match requests.try_send(request) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(request)) => Err((request, self.busy())),
            Err(TrySendError::Disconnected(request)) => Err((request, closed())),
        }
    }

    fn busy(&self) -> CommitError {
        CommitError::Busy {
            batches: self.gauge.batches.load(Ordering::Acquire),
            bytes: self.gauge.bytes.load(Ordering::Acquire),
        }
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        drop(self.requests.take());
        if let Some(writer) = self.writer.take()
            // An acknowledgement may have held the last handle.
            && writer.thread().id() != thread::current().id()
        {
            let _ = writer.join();
        }
    }
}

impl Store for SqliteStore {
    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn lease_key(&self) -> LeaseKey {
        self.lease_key
    }

    fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    fn commit(&self, batch: Batch, done: Ack) -> Result<(), NotTaken> {
        let bytes = batch.bytes();
        let before = self.gauge.bytes.fetch_add(bytes, Ordering::AcqRel);
        self.gauge.batches.fetch_add(1, Ordering::AcqRel);
        let request = Request::Commit { batch, bytes, done };
        let sent = match before + bytes > QUEUE_BYTES_MAX && before > 0 {
            true => Err((request, self.busy())),
            false => self.send(request),
        };
        let Err((request, why)) = sent else {
            return Ok(());
        };
        self.gauge.bytes.fetch_sub(bytes, Ordering::AcqRel);
        self.gauge.batches.fetch_sub(1, Ordering::AcqRel);
        let batch = match request {
            Request::Commit { batch, .. } => batch,
            Request::Maintain { .. } => Batch::default(),
        };
        Err(NotTaken { batch, why })
    }

    fn maintain(&self, work: Maintenance, done: MaintainedAck) -> Result<(), CommitError> {
        let request = Request::Maintain { work, done };
        self.send(request).map_err(|(_, why)| why)
    }

    fn recover(&self, each: &mut dyn FnMut(Record)) -> Result<(), ReadError> {
        self.readers.unlimited(|db| recover::recover(db, each))
    }

    fn job(&self, job: &JobId) -> Result<Option<JobEntry>, ReadError> {
        self.readers.with(|db| read::job(db, job))
    }

    fn jobs(&self, after: u64, limit: u32) -> Result<Vec<JobEntry>, ReadError> {
        self.readers.with(|db| read::jobs(db, after, limit))
    }

    fn ended_before(&self, before_ms: u64, limit: u32) -> Result<Vec<JobId>, ReadError> {
        self.readers
            .with(|db| read::ended_before(db, before_ms, limit))
    }

    fn calls(&self, job: &JobId, first: u64, count: u64) -> Result<Vec<Body>, ReadError> {
        let count = count.min(BATCH_WRITES_MAX as u64);
        self.readers
            .with(|db| read::calls_of(db, job, first, count))
    }

    fn outcomes(
        &self,
        job: &JobId,
        first: u64,
        limit: u32,
        bytes_max: usize,
    ) -> Result<Vec<EndedTask>, ReadError> {
        self.readers
            .with(|db| read::outcomes(db, job, first, limit, bytes_max))
    }

    fn cached(
        &self,
        keys: &[Digest],
        bytes_max: usize,
    ) -> Result<Vec<Option<CachedOutcome>>, ReadError> {
        self.readers.with(|db| cached::cached(db, keys, bytes_max))
    }

    fn run_time_us(&self, job: &JobId) -> Result<u64, ReadError> {
        self.readers.with(|db| read::run_time_us(db, job))
    }

    fn bundle(&self, digest: &Digest) -> Result<Option<Body>, ReadError> {
        self.readers.with(|db| read::bundle(db, digest))
    }

    fn token(&self, hash: &Digest) -> Result<Option<Token>, ReadError> {
        self.readers.with(|db| read::token(db, hash))
    }

    fn certificates(&self, identity: &str, limit: u32) -> Result<Vec<Certificate>, ReadError> {
        self.readers
            .with(|db| read::certificates(db, identity, limit))
    }

    fn denied(&self) -> Result<Vec<Denied>, ReadError> {
        self.readers.with(read::denied)
    }

    fn wished_slots(&self) -> Result<Vec<(WorkerId, u32)>, ReadError> {
        self.readers.with(read::wished_slots)
    }

    fn events(&self, first: u64, limit: u32) -> Result<Vec<AuditEvent>, ReadError> {
        self.readers.with(|db| read::events(db, first, limit))
    }

    fn backup(&self, folder: &Path) -> Result<(), ReadError> {
        let _keep = self.blobs.keep_all();
        self.readers
            .unlimited(|db| backup::backup(db, &self.blobs, folder))
    }
}

#[cfg(test)]
pub(super) use schema::{VERSION_1, VERSION_2, VERSION_3, VERSION_4};

/// What the connection that writes is told, by name.
#[cfg(test)]
pub(super) fn settings(folder: &Path) -> Vec<(&'static str, String)> {
    let Opened { db, .. } = open::open(folder, &Options::new([0; 32])).unwrap();
    let names = [
        "journal_mode",
        "synchronous",
        "fullfsync",
        "checkpoint_fullfsync",
        "foreign_keys",
        "trusted_schema",
        "cell_size_check",
        "wal_autocheckpoint",
        "application_id",
        "user_version",
    ];
    let value = |name| {
        let text = |row: &rusqlite::Row<'_>| {
            let value: rusqlite::types::Value = row.get(0)?;
            Ok(match value {
                rusqlite::types::Value::Integer(number) => number.to_string(),
                rusqlite::types::Value::Text(text) => text,
                other => format!("{other:?}"),
            })
        };
        (name, db.pragma_query_value(None, name, text).unwrap())
    };
    names.map(value).to_vec()
}

/// Makes a store believe that it was opened so often.
#[cfg(test)]
pub(super) fn set_epoch(folder: &Path, epoch: i64) {
    let db = rusqlite::Connection::open(folder.join(STORE_FILE)).unwrap();
    let mut meta = read::meta(&db).unwrap();
    meta.epoch = epoch;
    meta.put(&db).unwrap();
}
