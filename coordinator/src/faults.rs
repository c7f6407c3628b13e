//! Numbered places at which a test can make this process die or the disk fail.
//!
//! Outside tests there is nothing here: a [`Faults`] is empty and reaching a [`Point`] does nothing.

use std::io;

/// A place between two effects on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(test), allow(dead_code, reason = "only tests tell them apart"))]
pub(crate) enum Point {
    /// A partial blob's file is about to be made.
    BlobCreate,
    /// Bytes of a blob are about to be written.
    BlobWrite,
    /// A blob is about to be synced.
    BlobSync,
    /// A blob is synced and about to get its name.
    BlobRename,
    /// A blob has its name; its folder is about to be synced.
    BlobSyncFolder,
    /// A blob is there for good.
    BlobDone,
    /// A blob is about to be removed.
    BlobRemove,
    /// A new store's schema, or a migration, is about to be committed.
    Migrate,
    /// The epoch is about to be committed.
    Epoch,
    /// The epoch is committed.
    EpochDone,
    /// A transaction has begun.
    Begin,
    /// One batch of it has been applied.
    Applied,
    /// The transaction is about to be committed.
    Commit,
    /// It is committed and nobody knows yet.
    Committed,
    /// One acknowledgement has been given.
    Acknowledged,
    /// Old rows are about to be removed.
    Prune,
    /// The write-ahead log is about to be moved into the database.
    Checkpoint,
    /// It has been.
    CheckpointDone,
    /// The seal of a store that is closed is synced and about to get its name.
    Seal,
    /// The seal of a store that is opened is removed; the folder is about to be synced.
    Unsealed,
}

/// What shall go wrong, and when.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    #[cfg(test)]
    plan: std::sync::Arc<std::sync::Mutex<Plan>>,
}

#[cfg(not(test))]
impl Faults {
    /// Says that `point` has been reached.
    #[inline(always)]
    pub(crate) fn reach(&self, _point: Point) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[derive(Debug, Default)]
struct Plan {
    reached: Vec<Point>,
    die_at: Option<usize>,
    /// How many times a point is still passed before the process dies there.
    die_on: Option<(Point, usize)>,
    fail: Vec<(Point, io::ErrorKind)>,
}

#[cfg(test)]
impl Faults {
    /// Dies when the `step`th point is reached, whichever that is.
    pub(crate) fn die_at(step: usize) -> Self {
        let faults = Self::default();
        faults.plan.lock().unwrap().die_at = Some(step);
        faults
    }

    /// Dies when `point` is reached after it was passed `passes` times.
    pub(crate) fn die_on(point: Point, passes: usize) -> Self {
        let faults = Self::default();
        faults.plan.lock().unwrap().die_on = Some((point, passes));
        faults
    }

    /// Fails the next time that `point` is reached.
    pub(crate) fn fail(&self, point: Point, kind: io::ErrorKind) {
        self.plan.lock().unwrap().fail.push((point, kind));
    }

    /// The points that were reached so far.
    pub(crate) fn reached(&self) -> Vec<Point> {
        self.plan.lock().unwrap().reached.clone()
    }

    /// Says that `point` has been reached.
    pub(crate) fn reach(&self, point: Point) -> io::Result<()> {
        let mut plan = self.plan.lock().unwrap();
        plan.reached.push(point);
        if plan.die_at == Some(plan.reached.len()) {
            std::process::abort();
        }
        match &mut plan.die_on {
            Some((at, 0)) if *at == point => std::process::abort(),
            Some((at, passes)) if *at == point => *passes -= 1,
            _ => {}
        }
        match plan.fail.iter().position(|(at, _)| *at == point) {
            Some(index) => Err(plan.fail.remove(index).1.into()),
            None => Ok(()),
        }
    }
}
