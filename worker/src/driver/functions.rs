//! Images of functions: got from the coordinator, loaded, and kept while they are used.

use std::sync::Arc;

use ppwasm_host::{Function, Image};
use ppwasm_link::{BlobFailure, Dialer};
use ppwasm_proto::Digest;
use ppwasm_proto::fabric::GiveBackReason;
use ppwasm_proto::wire::BlobRef;

use crate::agent::{Command, Event};

use super::tasks::{Lease, LeaseState};
use super::{Done, Worker};

/// Bytes of an image that is taken.
const IMAGE_BYTES_MAX: u64 = 4 << 30;
/// Functions whose images are kept loaded; beyond it the one used longest ago goes.
const FUNCTIONS_MAX: usize = 64;

pub(super) enum Held {
    /// Leases wait for it.
    Fetching,
    Ready(Function, u64),
}

impl<D: Dialer> Worker<D> {
    pub(super) fn fetch_image(&mut self, function: Digest, image: BlobRef) {
        if matches!(self.functions.get(&function), Some(Held::Ready(..))) {
            return;
        }
        self.functions.insert(function, Held::Fetching);
        let Some(session) = &self.session else { return };
        let getting = session.blobs.get(image.digest, IMAGE_BYTES_MAX);
        let (host, tell) = (Arc::clone(&self.host), self.tell.clone());
        self.tasks.spawn(async move {
            let bytes = match getting.await {
                Ok(bytes) => bytes,
                // The next session asks again.
                Err(BlobFailure::Lost) => return,
                Err(_) => return drop(tell.send(Done::Loaded(function, None)).await),
            };
            // The blob has been compared with its digest; the image says itself which function it is.
            let load = move || {
                let loaded = host.load_image(Image::from_bytes(&bytes).ok()?).ok()?;
                (loaded.bundle_digest() == function).then_some(loaded)
            };
            let loaded = tokio::task::spawn_blocking(load).await.ok().flatten();
            let _ = tell.send(Done::Loaded(function, loaded)).await;
        });
    }

    pub(super) fn loaded(
        &mut self,
        digest: Digest,
        loaded: Option<Function>,
        commands: &mut Vec<Command>,
    ) {
        let waiting = |lease: &Lease| {
            lease.group.function == digest && matches!(lease.state, LeaseState::Preparing)
        };
        let waiting = self.leases.iter().filter(|(_, lease)| waiting(lease));
        let waiting: Vec<_> = waiting.map(|(lease, _)| *lease).collect();
        let Some(function) = loaded else {
            if !matches!(self.functions.get(&digest), Some(Held::Ready(..))) {
                self.functions.remove(&digest);
                for lease in waiting {
                    self.fail(lease, GiveBackReason::ImageUnavailable, commands);
                }
            }
            return;
        };
        self.used += 1;
        self.functions
            .insert(digest, Held::Ready(function, self.used));
        let event = Event::ImageHeld {
            function: digest,
            is_held: true,
        };
        self.agent_event(event, commands);
        for lease in waiting {
            self.make_ready(lease, commands);
        }
        if self.functions.len() > FUNCTIONS_MAX {
            self.drop_oldest(commands);
        }
    }

    pub(super) fn drop_oldest(&mut self, commands: &mut Vec<Command>) {
        let ready = self
            .functions
            .iter()
            .filter_map(|(function, held)| match held {
                Held::Ready(_, used) => Some((*used, *function)),
                Held::Fetching => None,
            });
        if let Some((_, function)) = ready.min() {
            self.functions.remove(&function);
            let is_held = false;
            self.agent_event(Event::ImageHeld { function, is_held }, commands);
        }
    }
}
