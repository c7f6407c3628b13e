//! Blobs on their way in and out.

use std::sync::Arc;
use std::time::SystemTime;

use ppwasm_link::{BlobRequest, LinkReceiver};
use ppwasm_proto::wire::{BlobRef, ErrorCode, Payload};

use super::{BLOB_BYTES_MAX, BLOBS_MAX, Reader};
use crate::server::Shared;

impl<R: LinkReceiver> Reader<'_, R> {
    pub(super) async fn blob(&mut self, request: BlobRequest) {
        while self.tasks.len() >= BLOBS_MAX + self.watches.len() {
            self.tasks.join_next().await;
            self.watches.retain(|_, (_, task)| !task.is_finished());
        }
        let shared = Arc::clone(self.shared);
        self.tasks.spawn_blocking(move || match request {
            BlobRequest::Get { digest, answer } => {
                let read = shared.store.blobs().read(&digest, BLOB_BYTES_MAX);
                let _ = answer.send(read.map(Into::into).map_err(|_| ErrorCode::NotFound));
            }
            BlobRequest::Put {
                blob,
                bytes,
                answer,
            } => {
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
    pub(super) async fn has_all(self: &Arc<Self>, blobs: Vec<BlobRef>) -> bool {
        if blobs.is_empty() {
            return true;
        }
        let shared = Arc::clone(self);
        let look = move || blobs.into_iter().all(|blob| shared.has_blob(blob));
        tokio::task::spawn_blocking(look).await.unwrap_or(false)
    }

    pub(super) fn put(&self, blob: BlobRef, bytes: &[u8]) -> Result<(), ErrorCode> {
        if bytes.len() as u64 > BLOB_BYTES_MAX {
            return Err(ErrorCode::TooLarge);
        }
        if BlobRef::of(bytes) != blob {
            return Err(ErrorCode::DigestMismatch);
        }
        if self.has_blob(blob) {
            return Ok(());
        }
        let stored = self.store.blobs().put(bytes);
        stored
            .map(|_| ())
            .map_err(|error| match error.is_no_space() {
                true => ErrorCode::NoSpace,
                false => ErrorCode::Internal,
            })
    }

    /// Whether a blob is here; it counts as new then, so that it stays until it is named.
    pub(super) fn has_blob(&self, blob: BlobRef) -> bool {
        let found = self.store.blobs().renew(&blob.digest, SystemTime::now());
        found.is_ok_and(|size| size == Some(blob.bytes))
    }
}
