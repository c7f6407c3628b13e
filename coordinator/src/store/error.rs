//! What can go wrong with a store.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ppwasm_proto::{Digest, JobId, TaskId};

use super::SEAL_FILE;
use crate::blobs::BlobError;

/// Why a store cannot be opened. Nothing was changed in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The linked SQLite has a bug that corrupts stores.
    #[error("SQLite {found} is older than {min}, the first without its WAL-reset bug")]
    SqliteTooOld {
        /// Its version.
        found: String,
        /// What is needed.
        min: &'static str,
    },
    /// The folder is on a file system on which locks and syncs cannot be relied on.
    #[error("{} is on a network file system ({kind})", path.display())]
    NetworkFileSystem {
        /// The folder.
        path: PathBuf,
        /// Which.
        kind: &'static str,
    },
    /// Another coordinator has it open.
    #[error("{} is in use by {holder}", path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
        /// Who, as it wrote down.
        holder: String,
    },
    /// It is not a store of this program.
    #[error("{} is not a store of ppwasm: {found}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: Foreign,
    },
    /// A newer version of this program has written it.
    #[error("{} has version {found}; this program knows up to {known}", path.display())]
    NewerVersion {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest that is known.
        known: i64,
    },
    /// It is damaged.
    #[error("{} is damaged: {damage}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What and where.
        damage: StoreDamage,
    },
    /// It has been opened as often as it can be.
    #[error("{} has been opened {opened} times, which is all that its epochs allow", path.display())]
    EpochsExhausted {
        /// The file.
        path: PathBuf,
        /// How often.
        opened: i64,
    },
    /// The disk is full: opening writes a little.
    #[error("no space to open {}", path.display())]
    NoSpace {
        /// The file.
        path: PathBuf,
    },
    /// The file system failed.
    #[error("could not {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// SQLite failed.
    #[error("could not {action} {}", path.display())]
    Sqlite {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// The folder of blobs cannot be used.
    #[error("could not open the blobs of {}", path.display())]
    Blobs {
        /// The store's folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: BlobError,
    },
}

/// What a file is instead of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Foreign {
    /// No database of SQLite.
    #[error("no SQLite database")]
    NoDatabase,
    /// Another program's database.
    #[error("a database of another program (application id {application_id:#x})")]
    OtherProgram {
        /// The mark in it.
        application_id: i64,
    },
}

/// What is damaged, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreDamage {
    /// SQLite's own check found something.
    #[error("{first}{}", more(*count))]
    Structure {
        /// The first finding, in SQLite's words.
        first: String,
        /// How many there are.
        count: usize,
    },
    /// SQLite cannot read it.
    #[error("{message}")]
    Unreadable {
        /// In SQLite's words.
        message: String,
    },
    /// The write-ahead log is damaged before its end: transactions after that would be lost.
    #[error(
        "the write-ahead log does not hold at byte {at}, and {transactions} transactions follow"
    )]
    Log {
        /// Where.
        at: u64,
        /// Commits after it.
        transactions: u64,
    },
    /// A page is not what it was when the store was closed.
    #[error(
        "page {page} (4096 bytes from byte {at} on) is not as it was when the store was closed"
    )]
    Page {
        /// Which, counted from 1 as SQLite does.
        page: u64,
        /// Where it begins.
        at: u64,
    },
    /// The database has another size than when the store was closed.
    #[error("it has {found} bytes, and had {recorded} when the store was closed")]
    Size {
        /// What the seal says.
        recorded: u64,
        /// What the file has.
        found: u64,
    },
    /// The seal is damaged itself.
    #[error("the seal beside it ({SEAL_FILE}) does not hold its own checksum")]
    Seal,
    /// A row's checksum does not hold.
    #[error("row {key} of table {table} does not hold its checksum")]
    Row {
        /// The table.
        table: &'static str,
        /// Its key.
        key: String,
    },
    /// A row has values that nothing writes.
    #[error("row {key} of table {table} has an impossible value for {column}")]
    Value {
        /// The table.
        table: &'static str,
        /// Its key.
        key: String,
        /// Which.
        column: &'static str,
    },
    /// A row that has to be there is not.
    #[error("table {table} has no row {key}")]
    Absent {
        /// The table.
        table: &'static str,
        /// Its key.
        key: String,
    },
    /// A row that belongs to nothing.
    #[error("row {key} of table {table} belongs to no job")]
    Orphan {
        /// The table.
        table: &'static str,
        /// Its key.
        key: String,
    },
    /// A job has another number of rows than it says.
    #[error("job {job} has {found} {what}, its row says {recorded}")]
    Count {
        /// The job.
        job: JobId,
        /// Of what.
        what: &'static str,
        /// What its row says.
        recorded: u64,
        /// What was found.
        found: u64,
    },
    /// The chain of audit events is broken.
    #[error("audit event {number} does not continue the chain")]
    Chain {
        /// The first that does not.
        number: u64,
    },
}

fn more(count: usize) -> String {
    match count {
        0 | 1 => String::new(),
        count => format!(" (and {} more findings)", count - 1),
    }
}

/// Why a batch was not written. All of it was not, unless it says that this is unknown.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// Too much waits already; worth another try soon.
    #[error("{batches} batches with {bytes} bytes wait to be written, which is all that may")]
    Busy {
        /// Batches that wait.
        batches: usize,
        /// Bytes in them.
        bytes: usize,
    },
    /// The batch contradicts what is there.
    #[error("write {index} of the batch is refused")]
    Refused {
        /// Which write, from 0.
        index: usize,
        /// Why.
        #[source]
        why: Refusal,
    },
    /// The disk is full. Nothing of the batch was written; it may be committed again when there is room.
    #[error("no space to write the batch")]
    NoSpace {
        /// Bytes that are free.
        free: u64,
    },
    /// The store has ended and writes nothing more; open it again. The batch was not begun.
    #[error("the store has ended")]
    Ended(#[source] Arc<EndCause>),
    /// The store ended while it wrote the batch. It may be there or not: open the store again and look for it.
    #[error("the store ended while writing; whether the batch is there is unknown")]
    Unknown(#[source] Arc<EndCause>),
}

/// Why a store writes nothing more.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EndCause {
    /// It was closed.
    #[error("it was closed")]
    Closed,
    /// SQLite or the disk failed. Trying again on the same handle could succeed without anything being written.
    #[error("writing failed")]
    Sqlite(#[source] rusqlite::Error),
    /// The disk failed.
    #[error("writing failed")]
    Io(#[source] io::Error),
    /// What is there does not hold.
    #[error("reading failed")]
    Read(#[source] ReadError),
    /// Another coordinator has opened it since.
    #[error("another coordinator has opened the store: its epoch is {found}, ours {ours}")]
    Fenced {
        /// The epoch in the store.
        found: i64,
        /// Our own.
        ours: i64,
    },
}

/// Why a write cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Something in it is larger than its limit.
    #[error("{what} is larger than {max}")]
    TooLarge {
        /// What.
        what: &'static str,
        /// The limit.
        max: u64,
    },
    /// A record that comes with a body came without.
    #[error("the record comes with a body")]
    BodyMissing,
    /// The id belongs to another job.
    #[error("job {0} is another one")]
    JobDiffers(JobId),
    /// There is no such job.
    #[error("there is no job {0}")]
    UnknownJob(JobId),
    /// There is no such bundle.
    #[error("there is no bundle {0}")]
    UnknownBundle(Digest),
    /// The bundle's bytes are not what its digest says.
    #[error("the bundle is not {0}")]
    BundleDiffers(Digest),
    /// The job takes no more tasks.
    #[error("job {0} is closed")]
    JobIsClosed(JobId),
    /// The job has ended, or has not, contrary to what the write needs.
    #[error("job {0} has ended, or has not, against the write")]
    JobStands(JobId),
    /// Tasks before these are missing.
    #[error("job {job} has {tasks} tasks")]
    TasksMissing {
        /// The job.
        job: JobId,
        /// How many it has.
        tasks: u64,
    },
    /// The job has these tasks with other arguments.
    #[error("task {task} of job {job} has other arguments")]
    CallDiffers {
        /// The job.
        job: JobId,
        /// The first that differs.
        task: TaskId,
    },
    /// The job has no such task.
    #[error("job {job} has no task {task}")]
    UnknownTask {
        /// The job.
        job: JobId,
        /// The task.
        task: TaskId,
    },
    /// The task has ended otherwise.
    #[error("task {task} of job {job} has ended otherwise")]
    OutcomeStands {
        /// The job.
        job: JobId,
        /// The task.
        task: TaskId,
    },
    /// A blob is not there, or has another size.
    #[error("blob {0} is not here")]
    BlobMissing(Digest),
    /// The token was never issued, or is used up.
    #[error("the token is unknown or used up")]
    UnknownToken,
    /// The token's time is over.
    #[error("the token has expired")]
    TokenExpired,
    /// Another token or certificate has this name.
    #[error("another one has this name")]
    NameTaken,
    /// The store cannot number more jobs.
    #[error("the store has no number for another job")]
    JobsExhausted,
}

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// What is there does not hold.
    #[error("the store is damaged: {0}")]
    Damaged(StoreDamage),
    /// It took longer than reading may.
    #[error("reading took longer than {limit_ms} ms")]
    TooSlow {
        /// The limit.
        limit_ms: u64,
    },
    /// SQLite failed.
    #[error("could not read the store")]
    Sqlite(#[source] rusqlite::Error),
    /// The file system failed.
    #[error("could not {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A blob cannot be used.
    #[error("could not read a blob")]
    Blob(#[from] BlobError),
}

impl From<StoreDamage> for ReadError {
    fn from(damage: StoreDamage) -> Self {
        Self::Damaged(damage)
    }
}

impl From<rusqlite::Error> for ReadError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::Error::{
            FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType,
        };
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        let is_damage = match &error {
            FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..) => {
                true
            }
            error => matches!(
                error.sqlite_error_code(),
                Some(DatabaseCorrupt | NotADatabase)
            ),
        };
        if is_damage {
            Self::Damaged(StoreDamage::Unreadable {
                message: error.to_string(),
            })
        } else {
            Self::Sqlite(error)
        }
    }
}

impl OpenError {
    pub(super) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }

    /// Says of a failure what it is: damage, or SQLite's inability to do something.
    pub(super) fn sqlite(action: &'static str, path: &Path, source: rusqlite::Error) -> Self {
        match ReadError::from(source) {
            ReadError::Sqlite(source) => Self::failed(action, path, source),
            other => Self::read(path, other),
        }
    }

    fn failed(action: &'static str, path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => Self::NoSpace { path },
            _ => Self::Sqlite {
                action,
                path,
                source,
            },
        }
    }

    pub(super) fn read(path: &Path, error: ReadError) -> Self {
        let path = path.to_owned();
        match error {
            ReadError::Damaged(damage) => Self::Damaged { path, damage },
            ReadError::Sqlite(source) => Self::failed("read", &path, source),
            ReadError::Blob(source) => Self::Blobs { path, source },
            ReadError::Io {
                action,
                path,
                source,
            } => Self::Io {
                action,
                path,
                source,
            },
            ReadError::TooSlow { .. } => Self::Io {
                action: "read",
                path,
                source: io::ErrorKind::TimedOut.into(),
            },
        }
    }
}
