//! The connections that read. They cannot write, and none reads for long: a reader holds back the emptying of the log.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::store::ReadError;

/// Connections that are kept for the next who read.
const KEPT_MAX: usize = 4;
/// Steps of SQLite's machine between two looks at the clock: some tens of microseconds.
const STEPS: i32 = 4096;
const NEVER: u64 = u64::MAX;

pub(super) struct Readers {
    path: PathBuf,
    time_max: Duration,
    idle: Mutex<Vec<Reader>>,
}

struct Reader {
    db: Connection,
    begun: Instant,
    /// In microseconds since `begun`.
    deadline_us: Arc<AtomicU64>,
}

impl Readers {
    pub(super) const fn new(path: PathBuf, time_max: Duration) -> Self {
        Self {
            path,
            time_max,
            idle: Mutex::new(Vec::new()),
        }
    }

    /// Reads what is there at one moment, within the time allowed.
    pub(super) fn with<T>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        self.read(Some(self.time_max), read)
    }

    /// Reads what is there at one moment, however long it takes.
    pub(super) fn unlimited<T>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        self.read(None, read)
    }

    fn read<T>(
        &self,
        time_max: Option<Duration>,
        read: impl FnOnce(&Connection) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let reader = match idle {
            Some(reader) => reader,
            None => self.connect()?,
        };
        let deadline = time_max.map_or(NEVER, |time| {
            u64::try_from(reader.begun.elapsed().saturating_add(time).as_micros()).unwrap_or(NEVER)
        });
        reader.deadline_us.store(deadline, Ordering::Relaxed);
        // Several statements that see the same.
        let transaction = reader.db.unchecked_transaction()?;
        let result = read(&transaction);
        drop(transaction);
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < KEPT_MAX {
            idle.push(reader);
        }
        drop(idle);
        match result {
            Err(ReadError::Sqlite(error))
                if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) =>
            {
                let limit_ms = u64::try_from(self.time_max.as_millis()).unwrap_or(NEVER);
                Err(ReadError::TooSlow { limit_ms })
            }
            result => result,
        }
    }

    fn connect(&self) -> Result<Reader, ReadError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut db = Connection::open_with_flags(&self.path, flags)?;
        super::open::set_up(&db)?;
        db.pragma_update(None, "query_only", true)?;
        let (begun, deadline_us) = (Instant::now(), Arc::new(AtomicU64::new(NEVER)));
        let deadline = deadline_us.clone();
        let is_late = move || begun.elapsed().as_micros() > deadline.load(Ordering::Relaxed).into();
        db.progress_handler(STEPS, Some(is_late))?;
        Ok(Reader {
            db,
            begun,
            deadline_us,
        })
    }
}
