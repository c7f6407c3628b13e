//! Removing blobs that nobody names.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use ppwasm_proto::Digest;

use super::{BlobError, Blobs};
use crate::faults::Point;

/// Files that one piece of work looks at before it ends with the folder: whoever commits may wait for it.
const VISITS_MAX: u64 = 2000;

/// Where the next bounded piece of work begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor(u8);

/// What a piece of work removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Blobs that nobody names.
    pub blobs: u64,
    /// Uploads that nobody continued.
    pub uploads: u64,
    /// Bytes in both.
    pub bytes: u64,
    /// True when every folder has been visited since the cursor was at the beginning.
    pub finished: bool,
}

impl Blobs {
    /// Removes blobs that are not pinned and for which `named` says false, and uploads, both only when they have not been touched for
    /// `age`; visits the folders from `cursor` on and stops after one in which `removals`, or as many files as one piece
    /// visits, have come together.
    ///
    /// Nobody may begin to name an old blob meanwhile without [`Blobs::renew`]ing it: the caller sees to that by
    /// doing both in one place. A file with a time in the future is kept.
    ///
    /// # Errors
    ///
    /// When `named` or the file system fails.
    pub fn collect<E: From<BlobError>>(
        &self,
        cursor: &mut Cursor,
        now: SystemTime,
        age: Duration,
        removals: u64,
        mut named: impl FnMut(&Digest) -> Result<bool, E>,
    ) -> Result<Collected, E> {
        let mut done = Collected::default();
        let mut visited = 0;
        loop {
            if self
                .shared
                .keepers
                .load(std::sync::atomic::Ordering::Acquire)
                > 0
            {
                return Ok(done);
            }
            if cursor.0 == 0 {
                done.uploads += self.collect_uploads(now, age, &mut done.bytes)?;
            }
            let first = self.shared.root.join(format!("{:02x}", cursor.0));
            for second in list(&first)? {
                for file in list(&second.path())? {
                    let name = file.file_name();
                    let Some(digest) = name.to_str().and_then(|name| name.parse().ok()) else {
                        continue;
                    };
                    let path = file.path();
                    visited += 1;
                    if let Some(bytes) = older(&path, now, age)?
                        && !self.pinned().contains_key(&digest)
                        && !named(&digest)?
                    {
                        self.remove(&path)?;
                        done.blobs += 1;
                        done.bytes += bytes;
                    }
                }
            }
            cursor.0 = cursor.0.wrapping_add(1);
            done.finished = cursor.0 == 0;
            let removed = done.blobs + done.uploads;
            if done.finished || removed >= removals || visited >= VISITS_MAX {
                return Ok(done);
            }
        }
    }

    /// Every blob here, with what is not a blob left out.
    pub(crate) fn each(
        &self,
        mut visit: impl FnMut(Digest, u64) -> Result<(), BlobError>,
    ) -> Result<(), BlobError> {
        for first in 0..=u8::MAX {
            for second in list(&self.shared.root.join(format!("{first:02x}")))? {
                for file in list(&second.path())? {
                    let digest = file.file_name().to_str().and_then(|name| name.parse().ok());
                    if let (Some(digest), Ok(found)) = (digest, file.metadata()) {
                        visit(digest, found.len())?;
                    }
                }
            }
        }
        Ok(())
    }

    fn collect_uploads(
        &self,
        now: SystemTime,
        age: Duration,
        bytes: &mut u64,
    ) -> Result<u64, BlobError> {
        let mut removed = 0;
        for file in list(&self.shared.root.join("partial"))? {
            let path = file.path();
            if let Some(size) = older(&path, now, age)? {
                self.remove(&path)?;
                removed += 1;
                *bytes += size;
            }
        }
        Ok(removed)
    }

    fn remove(&self, path: &Path) -> Result<(), BlobError> {
        let failed = |source| BlobError::io("remove", path, source);
        self.shared
            .faults
            .reach(Point::BlobRemove)
            .map_err(failed)?;
        fs::remove_file(path).map_err(failed)
    }
}

/// The size of a file that was not touched for `age`.
fn older(path: &Path, now: SystemTime, age: Duration) -> Result<Option<u64>, BlobError> {
    let failed = |source| BlobError::io("look at", path, source);
    let found = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        found => found.map_err(failed)?,
    };
    let touched = found.modified().map_err(failed)?;
    let old = now.duration_since(touched).is_ok_and(|since| since > age);
    Ok((old && found.is_file()).then_some(found.len()))
}

fn list(folder: &Path) -> Result<Vec<fs::DirEntry>, BlobError> {
    let failed = |source| BlobError::io("list", folder, source);
    match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries
            .map_err(failed)?
            .map(|e| e.map_err(failed))
            .collect(),
    }
}
