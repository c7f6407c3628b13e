//! Blobs that are being sent: read once, however many ask at the same time, and bounded all together.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use ppwasm_proto::Digest;
use ppwasm_proto::wire::ErrorCode;

use crate::blobs::{BlobError, Blobs};

/// Bytes of one blob that is sent.
const BLOB_BYTES_MAX: u64 = 1 << 30;
/// Bytes of all blobs that are in memory because they are being sent; one alone may always be.
const BYTES_MAX: u64 = 2 << 30;

/// What is in memory because it is being sent.
#[derive(Debug, Default)]
pub(crate) struct Reads(Mutex<HashMap<Digest, Weak<[u8]>>>);

impl Reads {
    /// The bytes of a blob. Blocks.
    pub(crate) fn read(&self, blobs: &Blobs, digest: &Digest) -> Result<Arc<[u8]>, ErrorCode> {
        let failed = |error: BlobError| match error {
            BlobError::Missing { .. } => ErrorCode::NotFound,
            _ => ErrorCode::Internal,
        };
        let size = blobs.size(digest).map_err(failed)?;
        let size = size.ok_or(ErrorCode::NotFound)?;
        {
            let mut sent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(bytes) = sent.get(digest).and_then(Weak::upgrade) {
                return Ok(bytes);
            }
            sent.retain(|_, bytes| bytes.strong_count() > 0);
            let live = sent.values().filter_map(Weak::upgrade);
            let live: u64 = live.map(|bytes| bytes.len() as u64).sum();
            if live > 0 && live.saturating_add(size) > BYTES_MAX {
                return Err(ErrorCode::Busy);
            }
        }
        let bytes: Arc<[u8]> = blobs.read(digest, BLOB_BYTES_MAX).map_err(failed)?.into();
        let mut sent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sent.insert(*digest, Arc::downgrade(&bytes));
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blobs::BlobLimits;

    #[test]
    fn a_blob_that_is_being_sent_is_in_memory_once() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path(), BlobLimits::default()).unwrap();
        let digest = blobs.put(b"bytes").unwrap();
        let reads = Reads::default();
        let first = reads.read(&blobs, &digest).unwrap();
        let second = reads.read(&blobs, &digest).unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        drop((first, second));
        assert_eq!(&*reads.read(&blobs, &digest).unwrap(), b"bytes");
        let missing = Digest::of(b"missing");
        assert_eq!(reads.read(&blobs, &missing), Err(ErrorCode::NotFound));
    }
}
