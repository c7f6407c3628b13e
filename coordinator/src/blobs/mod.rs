//! Bytes named by their digest, as files.
//!
//! A blob appears whole or not at all: it is written beside its place, synced, renamed, and the folder is synced.
//! Only then may a row of the store name it. A blob never changes, so what is read is hashed and compared with its
//! name; a file that does not match is an error to the reader, never wrong data.
//!
//! Who may fetch what, and which blobs are still named by somebody, is the business of others.
//!
//! ```text
//! blobs/ab/cd/abcd…        a blob
//! blobs/partial/abcd…-…    one that is being uploaded; its length is what has arrived
//! blobs/corrupt/abcd…      one that turned out not to match its name, kept for whoever looks into it
//! ```

mod collect;
mod error;
mod read;
mod upload;

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use ppwasm_proto::Digest;

pub use collect::{Collected, Cursor};
pub use error::BlobError;
pub use read::BlobReader;
pub use upload::Upload;

use crate::disk::{self, free_bytes};
use crate::faults::Faults;

/// What a folder of blobs takes. Each limit is inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobLimits {
    /// Bytes in one blob. Default 4 GiB.
    pub blob_bytes_max: u64,
    /// Bytes that stay free on the file system. Default 256 MiB.
    pub free_bytes_min: u64,
    /// Uploads that have begun and not ended, whoever makes them. Default 1,024.
    pub uploads_max: usize,
}

impl Default for BlobLimits {
    fn default() -> Self {
        Self {
            blob_bytes_max: 4 << 30,
            free_bytes_min: 256 << 20,
            uploads_max: 1024,
        }
    }
}

/// A folder of blobs. Clones are the same folder.
#[derive(Clone, Debug)]
pub struct Blobs {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    root: PathBuf,
    limits: BlobLimits,
    /// False for a folder that does not outlive the process.
    durable: bool,
    /// How many want nothing to be removed at the moment.
    keepers: AtomicUsize,
    /// Blobs that are handed out, and how often each is pinned.
    pinned: Mutex<HashMap<Digest, usize>>,
    /// Bytes free on the file system, asked of the system unless a test says otherwise.
    free: fn(&Path) -> io::Result<u64>,
    faults: Faults,
}

/// While it lives no blob is removed.
#[derive(Debug)]
pub struct KeepAll {
    blobs: Blobs,
}

impl Drop for KeepAll {
    fn drop(&mut self) {
        self.blobs.shared.keepers.fetch_sub(1, Ordering::AcqRel);
    }
}

/// While it lives one blob is not removed, whether anybody names it or not.
#[derive(Debug)]
pub struct Pinned {
    blobs: Blobs,
    digest: Digest,
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let mut pinned = self.blobs.pinned();
        if let Some(times) = pinned.get_mut(&self.digest) {
            *times -= 1;
            if *times == 0 {
                pinned.remove(&self.digest);
            }
        }
    }
}

impl Blobs {
    /// Opens the folder `root`, which is made when it is not there.
    ///
    /// # Errors
    ///
    /// When the folder cannot be made.
    pub fn open(root: &Path, limits: BlobLimits) -> Result<Self, BlobError> {
        Self::build(root, limits, true, free_bytes, Faults::default())
    }

    /// Opens a folder for this process only: nothing is synced, so nothing in it can be relied on afterwards.
    ///
    /// # Errors
    ///
    /// When the folder cannot be made.
    pub fn open_volatile(root: &Path, limits: BlobLimits) -> Result<Self, BlobError> {
        Self::build(root, limits, false, free_bytes, Faults::default())
    }

    pub(crate) fn build(
        root: &Path,
        limits: BlobLimits,
        durable: bool,
        free: fn(&Path) -> io::Result<u64>,
        faults: Faults,
    ) -> Result<Self, BlobError> {
        let blobs = Self {
            shared: Arc::new(Shared {
                root: root.to_owned(),
                limits,
                durable,
                keepers: AtomicUsize::new(0),
                pinned: Mutex::default(),
                free,
                faults,
            }),
        };
        for folder in ["partial", "corrupt"] {
            blobs.make_folder(&root.join(folder))?;
        }
        Ok(blobs)
    }

    /// What the folder takes.
    pub fn limits(&self) -> BlobLimits {
        self.shared.limits
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.shared.root
    }

    /// Where the blob is, or would be.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        let name = digest.to_string();
        let mut path = self.shared.root.join(&name[..2]);
        path.push(&name[2..4]);
        path.push(name);
        path
    }

    /// The size of a blob in bytes, `None` when it is not here. What is in it is not looked at.
    ///
    /// # Errors
    ///
    /// When the file system does not say.
    pub fn size(&self, digest: &Digest) -> Result<Option<u64>, BlobError> {
        let path = self.path(digest);
        match fs::metadata(&path) {
            Ok(found) => Ok(Some(found.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(BlobError::io("look for", &path, source)),
        }
    }

    /// As [`Blobs::size`], and the blob counts as new again: somebody is about to name it.
    ///
    /// # Errors
    ///
    /// When the file system does not say.
    pub fn renew(&self, digest: &Digest, now: SystemTime) -> Result<Option<u64>, BlobError> {
        let path = self.path(digest);
        let file = match File::options().write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(BlobError::io("look for", &path, source)),
        };
        let failed = |source| BlobError::io("renew", &path, source);
        file.set_modified(now).map_err(failed)?;
        Ok(Some(file.metadata().map_err(failed)?.len()))
    }

    /// Keeps `bytes`; durable when it returns.
    ///
    /// # Errors
    ///
    /// Too large, no space, or a failure of the file system.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, BlobError> {
        let digest = Digest::of(bytes);
        let mut upload = self.upload(&digest, bytes.len() as u64, b"")?;
        if upload.offset() > 0 {
            upload.restart()?;
        }
        upload.write(bytes)?;
        upload.finish()?;
        Ok(digest)
    }

    /// Refuses when `needed` more bytes would leave less free than [`BlobLimits::free_bytes_min`]. Where nobody can say
    /// how much is free, nothing is refused before it is written.
    ///
    /// # Errors
    ///
    /// [`BlobError::NoSpace`], or the file system does not say.
    pub fn check_space(&self, needed: u64) -> Result<(), BlobError> {
        let root = &self.shared.root;
        let free = match (self.shared.free)(root) {
            // It is asked by writing.
            Err(error) if disk::is_not_told(&error) => return Ok(()),
            told => told.map_err(|source| BlobError::io("measure", root, source))?,
        };
        if free < needed.saturating_add(self.shared.limits.free_bytes_min) {
            return Err(BlobError::NoSpace {
                needed,
                free,
                kept: self.shared.limits.free_bytes_min,
            });
        }
        Ok(())
    }

    /// Removes nothing until what is returned is dropped.
    pub fn keep_all(&self) -> KeepAll {
        self.shared.keepers.fetch_add(1, Ordering::AcqRel);
        KeepAll {
            blobs: self.clone(),
        }
    }

    /// Keeps a blob until what is returned is dropped. One that is old already is [`Blobs::renew`]ed first: it might be
    /// going at this moment.
    pub fn pin(&self, digest: Digest) -> Pinned {
        *self.pinned().entry(digest).or_default() += 1;
        Pinned {
            blobs: self.clone(),
            digest,
        }
    }

    fn pinned(&self) -> MutexGuard<'_, HashMap<Digest, usize>> {
        let pinned = self.shared.pinned.lock();
        pinned.unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a folder whose parent may be missing too, so that it survives a loss of power.
    fn make_folder(&self, path: &Path) -> Result<(), BlobError> {
        if path.is_dir() {
            return Ok(());
        }
        if let Some(parent) = path.parent() {
            self.make_folder(parent)?;
            match fs::create_dir(path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(BlobError::io("make", path, error));
                }
                _ => self.sync_folder(parent)?,
            }
        }
        Ok(())
    }

    fn sync_folder(&self, path: &Path) -> Result<(), BlobError> {
        if self.shared.durable {
            // A relative path of one part has the empty path for a parent.
            let path = if path.as_os_str().is_empty() {
                Path::new(".")
            } else {
                path
            };
            disk::sync_folder(path).map_err(|source| BlobError::io("sync", path, source))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
