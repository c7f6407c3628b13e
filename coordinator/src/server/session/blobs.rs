//! Blobs on their way in and out.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ppwasm_link::{BlobRequest, LinkReceiver};
use ppwasm_proto::wire::{BlobRef, ErrorCode, Payload};
use tracing::warn;

use super::{BLOB_BYTES_MAX, BLOBS_MAX, Reader};
use crate::blobs::BlobError;
use crate::server::Shared;
use crate::server::core::chain;

/// Tries to keep a blob that somebody else brings at the same time.
const PUT_TRIES: u32 = 50;
/// Time between them.
const PUT_PAUSE: Duration = Duration::from_millis(100);

impl<R: LinkReceiver> Reader<'_, R> {
    pub(super) async fn blob(&mut self, request: BlobRequest) {
        while self.tasks.len() >= BLOBS_MAX + self.watches.len() {
            self.tasks.join_next().await;
            self.watches.retain(|_, (_, task)| !task.is_finished());
        }
        let shared = Arc::clone(self.shared);
        self.tasks.spawn_blocking(move || match request {
            BlobRequest::Get { digest, answer } => {
                let read = shared.reads.read(shared.store.blobs(), &digest);
                let bytes = read.as_ref().map_or(0, |bytes| bytes.len() as u64);
                shared.figures.blob_bytes_out.add(bytes);
                let _ = answer.send(read);
            }
            BlobRequest::Put {
                blob,
                bytes,
                answer,
            } => {
                shared.figures.blob_bytes_in.add(bytes.len() as u64);
                let _ = answer.send(shared.put(blob, &bytes));
            }
        });
    }
}

/// The blob of a payload that is one.
pub(super) const fn blob_of(payload: &Payload) -> Option<BlobRef> {
    match payload {
        Payload::Inline(_) => None,
        Payload::Blob(blob) => Some(*blob),
    }
}

impl Shared {
    /// Whether these are here. They count as new then, so that they stay until they are named.
    /// `None` when that cannot be told at the moment.
    pub(super) async fn has_all(self: &Arc<Self>, blobs: Vec<BlobRef>) -> Option<bool> {
        if blobs.is_empty() {
            return Some(true);
        }
        let shared = Arc::clone(self);
        let look = move || {
            for blob in blobs {
                if !shared.has_blob(blob).ok()? {
                    return Some(false);
                }
            }
            Some(true)
        };
        tokio::task::spawn_blocking(look).await.unwrap_or(None)
    }

    pub(super) fn put(&self, blob: BlobRef, bytes: &[u8]) -> Result<(), ErrorCode> {
        if bytes.len() as u64 > BLOB_BYTES_MAX {
            return Err(ErrorCode::TooLarge);
        }
        if BlobRef::of(bytes) != blob {
            return Err(ErrorCode::DigestMismatch);
        }
        if self.has_blob(blob).is_ok_and(|has_it| has_it) {
            return Ok(());
        }
        for _ in 0..PUT_TRIES {
            match self.store.blobs().put(bytes) {
                Ok(_) => return Ok(()),
                // Somebody else brings the same at this moment; then it is there.
                Err(BlobError::UploadBusy { .. }) => std::thread::sleep(PUT_PAUSE),
                Err(BlobError::TooManyUploads { .. }) => return Err(ErrorCode::Busy),
                Err(error) if error.is_no_space() => return Err(ErrorCode::NoSpace),
                Err(error) => {
                    warn!(error = %chain(&error), "a blob could not be kept");
                    return Err(ErrorCode::Internal);
                }
            }
        }
        Err(ErrorCode::Busy)
    }

    /// Whether a blob is here; it counts as new then, so that it stays until it is named.
    fn has_blob(&self, blob: BlobRef) -> Result<bool, BlobError> {
        let found = self.store.blobs().renew(&blob.digest, SystemTime::now())?;
        Ok(found == Some(blob.bytes))
    }
}
