//! Workers and the guest: those that want what it takes to run it, and those whose guest is another.

use ppwasm_host::{Target, engine_digest};
use ppwasm_link::LinkReceiver;
use ppwasm_proto::wire::{ErrorCode, Message, Refused, Text, WorkerOffer};

use super::{End, Reader};
use crate::artifacts::ArtifactsError;
use crate::server::Shared;
use crate::server::core::failed;

/// When asking again may help, after compiling has failed.
const RETRY_AFTER_MS: u64 = 30_000;

impl<R: LinkReceiver> Reader<'_, R> {
    /// Serves a worker that has no guest: a welcome, and the artifact as soon as there is one.
    pub(super) async fn provide(&mut self, offer: &WorkerOffer, minor: u64) -> Result<(), End> {
        let Some(artifacts) = self.shared.artifacts.clone() else {
            let reason =
                "this coordinator provides no guest: start the worker with --compile=local";
            return Err(self.refuse(unsupported(reason)).await);
        };
        if Target::by_name(&offer.target, &offer.cpu_profile).is_none() {
            let (triple, profile) = (offer.target.to_string(), offer.cpu_profile.to_string());
            let error = ArtifactsError::Unsupported { triple, profile };
            return Err(self.refuse(unsupported(&error.to_string())).await);
        }
        self.is_provided = true;
        let welcome = self.shared.welcome(self.session, minor);
        self.say(welcome.into()).await?;
        let (triple, profile) = (offer.target.clone(), offer.cpu_profile.clone());
        let results = self.results.clone();
        self.tasks.spawn(async move {
            let message = match artifacts.for_worker(&triple, &profile).await {
                Ok(ready) => ready.message().into(),
                Err(error) => not_compiled(&error),
            };
            // A session that is over needs no answer.
            let _ = results.send(message).await;
        });
        Ok(())
    }
}

impl Shared {
    /// Why a worker with this offer cannot run the tasks of this coordinator, if it cannot.
    pub(super) fn mismatch(&self, offer: &WorkerOffer) -> Option<Refused> {
        let reason = if !offer.guests.contains(&self.shelf.guest()) && !offer.guests.is_empty() {
            "the worker's guest is not the coordinator's"
        } else {
            let target = Target::by_name(&offer.target, &offer.cpu_profile)?;
            if offer.engine? == engine_digest(target) {
                return None;
            }
            "the worker's guest was compiled for another version of ppwasm"
        };
        Some(Refused {
            code: ErrorCode::GuestMismatch,
            reason: Text::truncated(reason),
            retry_after_ms: None,
            spoken: None,
        })
    }
}

fn unsupported(reason: &str) -> Refused {
    Refused {
        code: ErrorCode::TargetUnsupported,
        reason: Text::truncated(reason),
        retry_after_ms: None,
        spoken: None,
    }
}

fn not_compiled(error: &ArtifactsError) -> Message {
    let mut reason = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        reason.push_str(": ");
        reason.push_str(&error.to_string());
        source = error.source();
    }
    failed(0, ErrorCode::Internal, &reason, Some(RETRY_AFTER_MS))
}
