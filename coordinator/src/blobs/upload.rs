//! A blob on its way in.

use std::fs::{self, File, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use ppwasm_proto::Digest;

use super::{BlobError, Blobs};
use crate::faults::Point;

/// Bytes read at a time.
const READ_BYTES: usize = 64 << 10;

/// A blob on its way in. Dropping it keeps what has arrived, for the next time.
#[derive(Debug)]
pub struct Upload {
    blobs: Blobs,
    digest: Digest,
    size: u64,
    path: PathBuf,
    /// Locked, so that two uploads of the same sender cannot mix.
    file: File,
    hasher: blake3::Hasher,
    offset: u64,
}

impl Blobs {
    /// Begins, or takes up again, the upload of a blob of `size` bytes by `sender`.
    ///
    /// What one sender has uploaded in part is not continued by another, who could otherwise be made to finish
    /// bytes that are wrong.
    ///
    /// # Errors
    ///
    /// Too large, no space, too many uploads, the same one under way, or a failure of the file system.
    pub fn upload(&self, digest: &Digest, size: u64, sender: &[u8]) -> Result<Upload, BlobError> {
        let limits = self.limits();
        if size > limits.blob_bytes_max {
            let max = limits.blob_bytes_max;
            return Err(BlobError::TooLarge { size, max });
        }
        let partial = self.shared.root.join("partial");
        let sender = Digest::of(sender).to_string();
        let path = partial.join(format!("{digest}-{}", &sender[..16]));
        if !path.exists() {
            let under_way = fs::read_dir(&partial)
                .map_err(|source| BlobError::io("list", &partial, source))?
                .take(limits.uploads_max)
                .count();
            if under_way >= limits.uploads_max {
                let max = limits.uploads_max;
                return Err(BlobError::TooManyUploads { max });
            }
        }
        let failed = |source| BlobError::io("write", &path, source);
        self.shared
            .faults
            .reach(Point::BlobCreate)
            .map_err(failed)?;
        let file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(BlobError::UploadBusy { digest: *digest }),
            Err(TryLockError::Error(source)) => return Err(BlobError::io("lock", &path, source)),
        }
        let mut upload = Upload {
            blobs: self.clone(),
            digest: *digest,
            size,
            path,
            file,
            hasher: blake3::Hasher::new(),
            offset: 0,
        };
        upload.take_up()?;
        self.check_space(size - upload.offset)?;
        Ok(upload)
    }
}

impl Upload {
    /// Bytes that are here already; the next ones continue from there.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The whole blob's size.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Forgets what has arrived.
    ///
    /// # Errors
    ///
    /// When the file system fails.
    pub fn restart(&mut self) -> Result<(), BlobError> {
        let failed = |source| BlobError::io("empty", &self.path, source);
        self.file.set_len(0).map_err(failed)?;
        self.file.rewind().map_err(failed)?;
        self.hasher.reset();
        self.offset = 0;
        Ok(())
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    ///
    /// More than announced, or the file system fails; what was written before stays.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        if bytes.len() as u64 > self.size - self.offset {
            let (digest, size) = (self.digest, self.size);
            return Err(BlobError::TooLong { digest, size });
        }
        let written = (self.blobs.shared.faults)
            .reach(Point::BlobWrite)
            .and_then(|()| self.file.write_all(bytes));
        if let Err(source) = written {
            // Part of it may have been written: back to where hash and file agree.
            let _ = self.file.set_len(self.offset);
            let _ = self.file.seek(SeekFrom::Start(self.offset));
            return Err(self.failed("write", source));
        }
        self.hasher.update(bytes);
        self.offset += bytes.len() as u64;
        Ok(())
    }

    /// Gives the blob its name; durable when it returns.
    ///
    /// # Errors
    ///
    /// Bytes are missing, they are something else (then they are thrown away), or the file system fails. After a
    /// failed sync what has arrived is thrown away too: the system may believe it written although it is not.
    pub fn finish(self) -> Result<(), BlobError> {
        let (digest, size) = (self.digest, self.size);
        if self.offset < size {
            let have = self.offset;
            return Err(BlobError::Incomplete { digest, have, size });
        }
        let found = Digest::from(self.hasher.finalize());
        if found != digest {
            self.throw_away();
            return Err(BlobError::OtherContent { digest, found });
        }
        let shared = &self.blobs.shared;
        let synced = (shared.faults.reach(Point::BlobSync)).and_then(|()| match shared.durable {
            true => self.file.sync_all(),
            false => Ok(()),
        });
        if let Err(source) = synced {
            self.throw_away();
            return Err(self.failed("sync", source));
        }
        let target = self.blobs.path(&digest);
        let folder = target.parent().unwrap_or(&shared.root);
        self.blobs.make_folder(folder)?;
        let failed = |source| BlobError::io("name", &target, source);
        shared.faults.reach(Point::BlobRename).map_err(failed)?;
        // Over one that is here already: that one may be damaged, this one was just hashed.
        fs::rename(&self.path, &target).map_err(failed)?;
        (shared.faults.reach(Point::BlobSyncFolder))
            .map_err(|source| BlobError::io("sync", folder, source))?;
        self.blobs.sync_folder(folder)?;
        let _ = shared.faults.reach(Point::BlobDone);
        Ok(())
    }

    /// Hashes what is in the file from last time.
    fn take_up(&mut self) -> Result<(), BlobError> {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let read = (self.file.read(&mut buffer))
                .map_err(|source| BlobError::io("read", &self.path, source))?;
            let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else {
                break;
            };
            self.hasher.update(bytes);
            self.offset += read as u64;
            if self.offset > self.size {
                break;
            }
        }
        let whole_and_wrong =
            self.offset == self.size && Digest::from(self.hasher.finalize()) != self.digest;
        if self.offset > self.size || whole_and_wrong {
            self.restart()?;
        }
        Ok(())
    }

    fn throw_away(&self) {
        // Without it the next upload finds the bytes again and finds them wrong again.
        let _ = fs::remove_file(&self.path);
    }

    fn failed(&self, action: &'static str, source: std::io::Error) -> BlobError {
        let error = BlobError::io(action, &self.path, source);
        if !error.is_no_space() {
            return error;
        }
        let free = (self.blobs.shared.free)(self.blobs.root()).unwrap_or(0);
        BlobError::NoSpace {
            needed: self.size - self.offset,
            free,
            kept: self.blobs.limits().free_bytes_min,
        }
    }
}
