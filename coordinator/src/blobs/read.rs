//! A blob on its way out.

use std::fs::{self, File};
use std::io::{self, Read};

use ppwasm_proto::Digest;

use super::{BlobError, Blobs};

/// Reads a blob and compares it with its name at the end: the last read fails when it is not what it should be.
///
/// Whoever passes bytes on before the end has to tell the receiver when the end does not come.
#[derive(Debug)]
pub struct BlobReader {
    digest: Digest,
    size: u64,
    left: u64,
    file: File,
    hasher: blake3::Hasher,
    checked: bool,
}

impl Blobs {
    /// Opens a blob for reading.
    ///
    /// # Errors
    ///
    /// It is missing, or the file system fails.
    pub fn reader(&self, digest: &Digest) -> Result<BlobReader, BlobError> {
        let path = self.path(digest);
        let file = File::open(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => BlobError::Missing { digest: *digest },
            _ => BlobError::io("open", &path, source),
        })?;
        let size = (file.metadata())
            .map_err(|source| BlobError::io("measure", &path, source))?
            .len();
        Ok(BlobReader {
            digest: *digest,
            size,
            left: size,
            file,
            hasher: blake3::Hasher::new(),
            checked: false,
        })
    }

    /// A whole blob of at most `max` bytes.
    ///
    /// # Errors
    ///
    /// It is missing, larger, damaged, or the file system fails.
    pub fn read(&self, digest: &Digest, max: u64) -> Result<Vec<u8>, BlobError> {
        let mut reader = self.reader(digest)?;
        if reader.size() > max {
            let size = reader.size();
            return Err(BlobError::TooLarge { size, max });
        }
        let mut bytes = Vec::with_capacity(usize::try_from(reader.size()).unwrap_or(0));
        (reader.read_to_end(&mut bytes)).map_err(|error| self.unwrap(digest, error))?;
        Ok(bytes)
    }

    /// Reads a blob to its end; its size.
    ///
    /// # Errors
    ///
    /// It is missing, damaged, or the file system fails.
    pub fn verify(&self, digest: &Digest) -> Result<u64, BlobError> {
        let mut reader = self.reader(digest)?;
        io::copy(&mut reader, &mut io::sink()).map_err(|error| self.unwrap(digest, error))?;
        Ok(reader.size())
    }

    /// Puts a damaged blob aside, so that it can be uploaded or built again. One that is whole stays; true when it
    /// was put aside.
    ///
    /// # Errors
    ///
    /// When the file system fails.
    pub fn set_aside(&self, digest: &Digest) -> Result<bool, BlobError> {
        match self.verify(digest) {
            Ok(_) | Err(BlobError::Missing { .. }) => return Ok(false),
            Err(BlobError::Corrupt { .. }) => {}
            Err(other) => return Err(other),
        }
        let corrupt = self.shared.root.join("corrupt");
        let (from, to) = (self.path(digest), corrupt.join(digest.to_string()));
        fs::rename(&from, to).map_err(|source| BlobError::io("put aside", &from, source))?;
        self.sync_folder(from.parent().unwrap_or(&corrupt))?;
        self.sync_folder(&corrupt)?;
        Ok(true)
    }

    fn unwrap(&self, digest: &Digest, error: io::Error) -> BlobError {
        (error.downcast::<BlobError>())
            .unwrap_or_else(|source| BlobError::io("read", &self.path(digest), source))
    }
}

impl BlobReader {
    /// Bytes in the file.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Goes to `offset`, or to the end when it is beyond. What lies before is read all the same, for the hash.
    ///
    /// # Errors
    ///
    /// As reading.
    pub fn skip_to(&mut self, offset: u64) -> io::Result<()> {
        let done = self.size - self.left;
        io::copy(
            &mut self.by_ref().take(offset.saturating_sub(done)),
            &mut io::sink(),
        )?;
        Ok(())
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        let end = buffer.len().min(most);
        let read = self.file.read(buffer.get_mut(..end).unwrap_or_default())?;
        self.hasher.update(buffer.get(..read).unwrap_or_default());
        self.left -= read as u64;
        if read == 0 || self.left == 0 {
            // With the last bytes, not after them: whoever stops at the size it knows shall hear of it.
            if !std::mem::replace(&mut self.checked, true) || read == 0 {
                let found = Digest::from(self.hasher.finalize());
                if found != self.digest {
                    let digest = self.digest;
                    return Err(BlobError::Corrupt { digest, found }.into());
                }
            }
        }
        Ok(read)
    }
}
