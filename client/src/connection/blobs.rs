//! Blobs that come and go beside everything else: what jobs name, calls that are large, and what is asked for.

use std::sync::Arc;

use ppwasm_link::{BlobFailure, BlobPeer, Dialer, LinkSender};
use ppwasm_proto::Digest;
use ppwasm_proto::wire::BlobRef;

use super::Connection;
use super::handle::Got;
use super::opening::End;

/// Bytes of a blob that is taken.
const BLOB_BYTES_MAX: u64 = 1 << 30;
/// Blobs of calls that are on their way at a time.
const UPLOADS_MAX: usize = 16;

/// Blobs that have come or gone.
pub(super) enum Moved {
    /// One that a job names.
    Named(u32, Result<BlobRef, BlobFailure>),
    /// One that is a call: the request and the task.
    Call(u32, u64, Result<BlobRef, BlobFailure>),
    Got(u64, Result<Arc<[u8]>, BlobFailure>),
}

/// A blob that is wanted.
pub(super) struct Get {
    pub digest: Digest,
    pub got: Got,
    /// In the present session.
    pub is_under_way: bool,
}

impl<D: Dialer> Connection<D> {
    /// Puts what a job names; it is opened when all of that has arrived.
    pub(super) fn begin<B: BlobPeer>(&mut self, request: u32, blobs: &B) {
        let Some(submission) = self.submissions.get_mut(&request) else {
            return;
        };
        for bytes in submission.begin() {
            let blobs = blobs.clone();
            self.moving
                .spawn(async move { Moved::Named(request, blobs.put(bytes).await) });
        }
    }

    /// Gets blobs beside everything else; at most one per handle is wanted at a time.
    pub(super) fn fetch<B: BlobPeer>(&mut self, blobs: &B) {
        let waiting = self.gets.iter_mut().filter(|(_, get)| !get.is_under_way);
        for (&number, get) in waiting {
            get.is_under_way = true;
            let (digest, blobs) = (get.digest, blobs.clone());
            self.moving
                .spawn(async move { Moved::Got(number, blobs.get(digest, BLOB_BYTES_MAX).await) });
        }
    }

    /// Sends what there is to append and room for.
    pub(super) async fn send_appends<S: LinkSender, B: BlobPeer>(
        &mut self,
        sender: &mut S,
        blobs: &B,
    ) -> Result<(), End> {
        for (request, submission) in &mut self.submissions {
            let request = *request;
            while self.uploads < UPLOADS_MAX
                && let Some((task, bytes)) = submission.next_upload()
            {
                self.uploads += 1;
                let blobs = blobs.clone();
                self.moving
                    .spawn(async move { Moved::Call(request, task, blobs.put(bytes).await) });
            }
            while let Some(message) = submission.next_message(request) {
                sender.send(message).await?;
            }
        }
        Ok(())
    }

    /// Goes on with what waited for a blob.
    pub(super) async fn moved<S: LinkSender>(
        &mut self,
        moved: Moved,
        sender: &mut S,
    ) -> Result<(), End> {
        match moved {
            Moved::Named(request, result) => {
                let Some(submission) = self.submissions.get_mut(&request) else {
                    return Ok(());
                };
                match result {
                    Ok(_) => {
                        if let Some(message) = submission.blob_put() {
                            sender.send(message).await?;
                        }
                    }
                    // The next session puts it.
                    Err(BlobFailure::Lost) => {}
                    Err(error) => {
                        if submission.fail(error.into()) {
                            self.submissions.remove(&request);
                        }
                    }
                }
            }
            Moved::Call(request, task, result) => {
                self.uploads = self.uploads.saturating_sub(1);
                if let Some(submission) = self.submissions.get_mut(&request) {
                    submission.uploaded(task, result);
                }
            }
            // The next session gets it.
            Moved::Got(_, Err(BlobFailure::Lost)) => {}
            Moved::Got(number, result) => {
                if let Some(get) = self.gets.remove(&number) {
                    let _ = get.got.send(result);
                }
            }
        }
        Ok(())
    }
}
