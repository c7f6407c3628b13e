//! The one thread that writes.
//!
//! It takes batches from a bounded queue, applies as many as are there to one transaction, each within a savepoint of
//! its own, and commits when the queue is empty or enough has come together: a lone batch waits for nobody, and while a
//! commit waits for the disk the next group forms by itself.
//!
//! After any error but a full disk it writes nothing more. A failed sync may have left pages that the system believes
//! written; asking the same handle again can then succeed with nothing on the disk.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode};

use super::apply::{Apply, Known, Stop};
use super::maintain;
use super::row::column;
use super::seal;
use crate::blobs::{self, Blobs};
use crate::faults::{Faults, Point};
use crate::store::error::EndCause;
use crate::store::{
    Ack, Answer, Batch, CommitError, Maintained, MaintainedAck, Maintenance, ReadError, Write,
};

/// Writes after which a group is committed.
const GROUP_WRITES_MAX: usize = 512;
/// Time after which it is, from its first batch on.
const GROUP_TIME: Duration = Duration::from_millis(4);
/// Bytes of the write-ahead log after which it is moved into the database.
pub(super) const WAL_BYTES_MAX: u64 = 64 << 20;
/// Time without work after which it is moved too.
pub(super) const IDLE_TIME: Duration = Duration::from_millis(500);
/// How often free space is looked at.
const SPACE_EVERY: Duration = Duration::from_millis(100);

/// What the writer is asked.
pub(super) enum Request {
    Commit {
        batch: Batch,
        bytes: usize,
        done: Ack,
    },
    Maintain {
        work: Maintenance,
        done: MaintainedAck,
    },
}

/// What is waiting, and whether it still makes sense to wait.
#[derive(Debug, Default)]
pub(super) struct Gauge {
    pub(super) batches: AtomicUsize,
    pub(super) bytes: AtomicUsize,
    pub(super) ended: OnceLock<Arc<EndCause>>,
}

pub(super) struct Writer {
    pub(super) db: Connection,
    pub(super) file: PathBuf,
    pub(super) wal: PathBuf,
    pub(super) blobs: Blobs,
    pub(super) gauge: Arc<Gauge>,
    pub(super) epoch: i64,
    pub(super) faults: Faults,
    pub(super) known: Known,
    pub(super) cursor: blobs::Cursor,
    /// Free space below which nothing new is begun, and how to measure it.
    pub(super) free_bytes_min: u64,
    pub(super) free: fn(&std::path::Path) -> io::Result<u64>,
    pub(super) space: Option<(Instant, u64)>,
    /// [`WAL_BYTES_MAX`], or what a test takes for it.
    pub(super) wal_bytes_max: u64,
    /// [`IDLE_TIME`], or what a test takes for it.
    pub(super) idle_time: Duration,
}

/// A batch that is applied and not committed.
type Applied = (Ack, Result<Vec<Answer>, CommitError>);

impl Writer {
    /// Works until nobody can ask any more.
    pub(super) fn run(mut self, requests: &Receiver<Request>) {
        let mut is_clean = false;
        let mut held = None;
        loop {
            let request = match held.take() {
                Some(request) => request,
                None if is_clean => match requests.recv() {
                    Ok(request) => request,
                    Err(_) => break,
                },
                None => match requests.recv_timeout(self.idle_time) {
                    Ok(request) => request,
                    Err(RecvTimeoutError::Disconnected) => break,
                    Err(RecvTimeoutError::Timeout) => {
                        is_clean = true;
                        if let Err(cause) = self.checkpoint() {
                            return self.end(cause, requests, Vec::new());
                        }
                        continue;
                    }
                },
            };
            is_clean = false;
            let done = match request {
                Request::Commit { .. } => self.group(request, requests, &mut held),
                Request::Maintain { work, done } => self.maintain(&work, done),
            };
            let done = done.and_then(|()| self.bound_log());
            if let Err(Broken { cause, waiting }) = done {
                let waiting = waiting.into_iter().chain(held.map(Waiting::from)).collect();
                return self.end(cause, requests, waiting);
            }
        }
        // What was committed is durable without it; it only makes the next opening quicker.
        let moved = self.checkpoint();
        let Self {
            db,
            file,
            wal,
            epoch,
            faults,
            ..
        } = self;
        drop(db);
        if moved.is_ok() && std::fs::metadata(wal).is_ok_and(|log| log.len() == 0) {
            // Without a seal the next opening looks at all rows just the same.
            let _ = seal::put(&file, epoch, &faults);
        }
    }

    /// Commits a batch and what comes with it.
    fn group(
        &mut self,
        first: Request,
        requests: &Receiver<Request>,
        held: &mut Option<Request>,
    ) -> Result<(), Broken> {
        let begun = Instant::now();
        let mut applied: Vec<Applied> = Vec::new();
        let mut writes = 0;
        if let Err(cause) = self.begin() {
            return Err(Broken::with(cause, vec![Waiting::from(first)]));
        }
        let mut next = Some(first);
        while let Some(request) = next.take() {
            let Request::Commit { batch, bytes, done } = request else {
                *held = Some(request);
                break;
            };
            self.gauge.batches.fetch_sub(1, Ordering::AcqRel);
            self.gauge.bytes.fetch_sub(bytes, Ordering::AcqRel);
            writes += batch.writes.len();
            match self.apply(&batch) {
                Ok(result) => applied.push((done, result)),
                Err(Halt::NoSpace) => {
                    applied.push((done, Ok(Vec::new())));
                    return self.no_space(applied);
                }
                Err(Halt::Ended(cause)) => {
                    applied.push((done, Ok(Vec::new())));
                    return Err(Broken::unknown(cause, applied));
                }
            }
            if writes < GROUP_WRITES_MAX && begun.elapsed() < GROUP_TIME {
                next = requests.try_recv().ok();
            }
        }
        match self.commit() {
            Ok(()) => {}
            Err(Halt::NoSpace) => return self.no_space(applied),
            Err(Halt::Ended(cause)) => return Err(Broken::unknown(cause, applied)),
        }
        for (done, result) in applied {
            done(result);
            // Only a test dies here; an acknowledgement does not fail.
            let _ = self.faults.reach(Point::Acknowledged);
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<(), EndCause> {
        self.faults.reach(Point::Begin).map_err(EndCause::Io)?;
        self.execute("BEGIN IMMEDIATE")?;
        let found = (self.db.prepare_cached("SELECT epoch FROM meta"))
            .and_then(|mut find| find.query_row([], |row| row.get(0)))
            .map_err(EndCause::Sqlite)?;
        let ours = self.epoch;
        match found == ours {
            true => Ok(()),
            false => Err(EndCause::Fenced { found, ours }),
        }
    }

    /// Applies a batch or leaves no trace of it.
    fn apply(&mut self, batch: &Batch) -> Result<Result<Vec<Answer>, CommitError>, Halt> {
        if batch.writes.iter().any(begins_something)
            && let Some(free) = self.is_short_of_space()
        {
            return Ok(Err(CommitError::NoSpace { free }));
        }
        self.execute("SAVEPOINT batch")?;
        let mut apply = Apply {
            db: &self.db,
            blobs: &self.blobs,
            known: &mut self.known,
            at_ms: column(batch.at_ms),
        };
        let result = match apply.batch(batch) {
            Ok(answers) => Ok(answers),
            Err((index, Stop::Refused(why))) => {
                self.known.forget();
                self.execute("ROLLBACK TO batch")?;
                Err(CommitError::Refused { index, why })
            }
            Err((_, Stop::Failed(error))) => return Err(error.into()),
        };
        self.execute("RELEASE batch")?;
        self.faults.reach(Point::Applied)?;
        Ok(result)
    }

    fn commit(&mut self) -> Result<(), Halt> {
        self.faults.reach(Point::Commit)?;
        self.execute("COMMIT")?;
        self.faults.reach(Point::Committed)?;
        Ok(())
    }

    fn execute(&self, sql: &str) -> Result<(), EndCause> {
        (self.db.prepare_cached(sql))
            .and_then(|mut statement| statement.execute([]))
            .map_err(EndCause::Sqlite)?;
        Ok(())
    }

    /// Undoes the group. That is for sure: no sync has failed, and without a commit nothing in the log counts.
    fn no_space(&mut self, applied: Vec<Applied>) -> Result<(), Broken> {
        self.known.forget();
        self.space = None;
        if !self.db.is_autocommit()
            && let Err(cause) = self.execute("ROLLBACK")
        {
            return Err(Broken::unknown(cause, applied));
        }
        let free = (self.free)(self.blobs.root()).unwrap_or(0);
        for (done, _) in applied {
            done(Err(CommitError::NoSpace { free }));
        }
        Ok(())
    }

    /// Free bytes, when they are too few to begin something new with.
    fn is_short_of_space(&mut self) -> Option<u64> {
        let now = Instant::now();
        let free = match self.space {
            Some((at, free)) if now.duration_since(at) < SPACE_EVERY => free,
            _ => {
                // Who cannot say how much is free is asked by writing.
                let free = (self.free)(self.blobs.root()).unwrap_or(u64::MAX);
                self.space = Some((now, free));
                free
            }
        };
        (free < self.free_bytes_min).then_some(free)
    }

    fn maintain(&mut self, work: &Maintenance, done: MaintainedAck) -> Result<(), Broken> {
        let result = self.prune(work);
        match result {
            Ok(maintained) => done(Ok(maintained)),
            Err(Halt::NoSpace) => {
                let _ = self.execute("ROLLBACK");
                let free = (self.free)(self.blobs.root()).unwrap_or(0);
                done(Err(CommitError::NoSpace { free }));
            }
            Err(Halt::Ended(cause)) => {
                return Err(Broken::with(cause, vec![Waiting::Begun(done)]));
            }
        }
        Ok(())
    }

    fn prune(&mut self, work: &Maintenance) -> Result<Maintained, Halt> {
        self.begin()?;
        self.faults.reach(Point::Prune)?;
        let mut maintained = maintain::rows(&self.db, work)?;
        match maintained.rows {
            0 => self.execute("ROLLBACK")?,
            _ => self.commit()?,
        }
        self.known.forget();
        maintain::blobs(
            &self.db,
            &self.blobs,
            &mut self.cursor,
            work,
            &mut maintained,
        )?;
        Ok(maintained)
    }

    fn bound_log(&mut self) -> Result<(), Broken> {
        let bytes = std::fs::metadata(&self.wal).map_or(0, |found| found.len());
        match bytes > self.wal_bytes_max {
            true => self
                .checkpoint()
                .map_err(|cause| Broken::with(cause, Vec::new())),
            false => Ok(()),
        }
    }

    /// Moves the log into the database and empties it, as far as readers let it.
    fn checkpoint(&mut self) -> Result<(), EndCause> {
        self.faults.reach(Point::Checkpoint).map_err(EndCause::Io)?;
        let moved = (self.db.prepare_cached("PRAGMA wal_checkpoint(TRUNCATE)"))
            .and_then(|mut statement| statement.query_row([], |row| row.get::<_, i64>(0)));
        match moved {
            Ok(_) => {}
            // Everything is in the log still; there will be another time.
            Err(error) if is_full(&error) || is_busy(&error) => {}
            Err(error) => return Err(EndCause::Sqlite(error)),
        }
        self.faults
            .reach(Point::CheckpointDone)
            .map_err(EndCause::Io)
    }

    /// Tells everybody, now and later, that nothing is written any more.
    fn end(self, cause: EndCause, requests: &Receiver<Request>, waiting: Vec<Waiting>) {
        let cause = Arc::new(cause);
        let _ = self.gauge.ended.set(cause.clone());
        drop(self.db);
        for waiting in waiting {
            waiting.end(&cause);
        }
        while let Ok(request) = requests.recv() {
            Waiting::from(request).end(&cause);
        }
    }
}

/// Why a group cannot go on.
enum Halt {
    NoSpace,
    Ended(EndCause),
}

impl From<EndCause> for Halt {
    fn from(cause: EndCause) -> Self {
        match cause {
            EndCause::Sqlite(error) if is_full(&error) => Self::NoSpace,
            EndCause::Io(error) => error.into(),
            cause => Self::Ended(cause),
        }
    }
}

impl From<io::Error> for Halt {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace,
            _ => Self::Ended(EndCause::Io(error)),
        }
    }
}

impl From<ReadError> for Halt {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Sqlite(error) => EndCause::Sqlite(error).into(),
            error => Self::Ended(EndCause::Read(error)),
        }
    }
}

fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
}

fn is_busy(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
}

/// Writes for which there has to be room: what they begin has to be brought to an end later.
const fn begins_something(write: &Write) -> bool {
    matches!(
        write,
        Write::JobSubmitted { .. } | Write::TasksAdded { .. } | Write::Bundle { .. }
    )
}

/// The end of the store, and who has to hear of it.
struct Broken {
    cause: EndCause,
    waiting: Vec<Waiting>,
}

impl Broken {
    const fn with(cause: EndCause, waiting: Vec<Waiting>) -> Self {
        Self { cause, waiting }
    }

    /// Batches were on their way when it happened.
    fn unknown(cause: EndCause, applied: Vec<Applied>) -> Self {
        let waiting = applied.into_iter().map(|(done, result)| match result {
            // A batch that was refused is not there, whatever became of the others.
            Err(refused) => Waiting::Refused(done, refused),
            Ok(_) => Waiting::Applied(done),
        });
        Self::with(cause, waiting.collect())
    }
}

enum Waiting {
    Queued(Request),
    Applied(Ack),
    Refused(Ack, CommitError),
    Begun(MaintainedAck),
}

impl From<Request> for Waiting {
    fn from(request: Request) -> Self {
        Self::Queued(request)
    }
}

impl Waiting {
    fn end(self, cause: &Arc<EndCause>) {
        let ended = || CommitError::Ended(cause.clone());
        match self {
            Self::Queued(Request::Commit { done, .. }) => done(Err(ended())),
            Self::Queued(Request::Maintain { done, .. }) => done(Err(ended())),
            Self::Applied(done) => done(Err(CommitError::Unknown(cause.clone()))),
            Self::Refused(done, why) => done(Err(why)),
            Self::Begun(done) => done(Err(CommitError::Unknown(cause.clone()))),
        }
    }
}
