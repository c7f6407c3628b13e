//! How a worker gets its guest: compiled by the coordinator, signed, and kept in the cache.
//!
//! One round trip tells which artifact is current; only what the cache has not is fetched. Nothing native is loaded
//! unless the key that came with the worker's certificate has signed for it, and the host has compared it with what was
//! signed. Somebody who would rather trust their own machine makes a host from a guest folder instead.

use std::path::Path;
use std::time::Duration;

use ppwasm_certs::PublicKey;
use ppwasm_host::{GuestParts, Host, HostError, PART_BYTES_MAX, Part, Target, TrustedManifest};
use ppwasm_link::{
    BlobFailure, BlobPeer, Closed, DialError, Dialer, Incoming, Link, LinkReceiver, LinkSender,
};
use ppwasm_proto::wire::{ArtifactReady, CloseCode, ErrorCode, Goodbye, Message, Pong, Refused};
use ppwasm_proto::{ArtifactManifest, ManifestError};

use crate::kept;
use crate::messages::Offer;

/// Time for the coordinator to answer a hello.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(20);
/// Time for it to compile the guest, behind others that are compiled first.
const COMPILE_TIME_MAX: Duration = Duration::from_secs(3600);

/// What a worker waits for while it gets its guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Provisioning {
    /// The coordinator compiles the guest for this machine, unless it has already.
    Compiling,
    /// A part is fetched.
    Fetching {
        /// Which.
        part: Part,
        /// Its size.
        bytes: u64,
    },
}

/// Why a worker has no guest.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProvisionError {
    /// Nothing is compiled for this machine's CPU.
    #[error("this machine's CPU fits none of the profiles that guests are compiled for")]
    NoProfile,
    /// The CPU has not what the profile that was asked for needs.
    #[error("this machine's CPU cannot run code for profile {}", target.name())]
    ProfileNotSupported {
        /// What was asked for.
        target: Target,
    },
    /// Nothing is kept from an earlier start.
    #[error("no sandbox for {} is kept on this machine yet", target.name())]
    NothingKept {
        /// For what it was looked for.
        target: Target,
    },
    /// There is no key to check artifacts with.
    #[error("the worker was given no key to check artifacts with: it has to join again")]
    NoKey,
    /// The coordinator was not reached.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The session ended before the guest was there.
    #[error("the session with the coordinator ended")]
    Closed(#[from] Closed),
    /// No answer came in time.
    #[error("the coordinator did not answer within {} s", time.as_secs())]
    Timeout {
        /// How long was waited.
        time: Duration,
    },
    /// The coordinator does not serve this worker.
    #[error("the coordinator refused: {reason} ({code})")]
    Refused {
        /// Why, for programs.
        code: ErrorCode,
        /// Why, for people.
        reason: String,
    },
    /// It sent what has no place here.
    #[error("the coordinator sent {name} where a guest was asked for")]
    Unexpected {
        /// The message's name.
        name: &'static str,
    },
    /// The manifest is not signed by the key that this worker trusts.
    #[error("the artifact is not signed by the key of the coordinator that this worker joined")]
    Signature,
    /// The signed bytes are no manifest that this version reads.
    #[error("the artifact's manifest cannot be used")]
    Manifest(#[from] ManifestError),
    /// The manifest is for another target than was asked for.
    #[error("the coordinator sent an artifact for {found}, this worker asked for {wanted}")]
    OtherTarget {
        /// What it is for.
        found: String,
        /// What was asked for.
        wanted: Target,
    },
    /// A part could not be fetched.
    #[error("the {part} could not be fetched")]
    Fetch {
        /// Which.
        part: Part,
        /// Why.
        #[source]
        source: BlobFailure,
    },
    /// The parts make no host here: they are for another version, damaged, or not for this CPU.
    #[error(transparent)]
    Host(#[from] HostError),
}

/// What a worker asks its guest for.
pub struct Wanted<'a> {
    /// The key by which artifacts are known to be the coordinator's.
    pub key: &'a PublicKey,
    /// The cache directory.
    pub cache: &'a Path,
    /// For what; when nothing is given, the strongest CPU profile that runs here, with bounds that leave room for the
    /// slots.
    pub target: Option<Target>,
    /// Slots of the host.
    pub slots: usize,
}

/// Makes a host of what the coordinator has compiled for this machine.
///
/// # Errors
///
/// [`ProvisionError`] says what is in the way.
pub async fn provision<D: Dialer>(
    dialer: &D,
    wanted: Wanted<'_>,
    mut progress: impl FnMut(Provisioning),
) -> Result<Host, ProvisionError> {
    let target = target(&wanted)?;
    let link = dialer.dial().await?;
    let (mut sender, mut receiver, blobs) = link.split();
    let offer = Offer {
        target,
        guest: None,
    };
    sender.send(Offer::hello(offer.to_wire())).await?;
    let ready = ask(&mut sender, &mut receiver, &mut progress).await?;
    let manifest = check_manifest(&ready.manifest, &ready.signature, target, wanted.key)?;
    let manifest = TrustedManifest::vouch_for(manifest);
    let (cache, slots) = (wanted.cache.to_owned(), wanted.slots);
    let parts = blocking(move || {
        let mut parts = GuestParts::new(manifest)?;
        parts.keep_in(cache);
        Ok(parts)
    });
    let parts = fetch(parts.await?, &blobs, &mut progress).await?;
    // Like the cache itself: without it everything is got again.
    let _ = kept::keep(wanted.cache, wanted.key, target, &ready);
    // That the coordinator knows at once is a courtesy.
    let _ = sender.send(Goodbye {}.into()).await;
    sender.close(CloseCode::Finished, "the guest is here");
    blocking(move || Host::builder().parts(parts).slots(slots).build()).await
}

pub(crate) fn target(wanted: &Wanted<'_>) -> Result<Target, ProvisionError> {
    match wanted.target {
        None => {
            let target = Target::detect().ok_or(ProvisionError::NoProfile)?;
            Ok(target.fitting(wanted.slots))
        }
        Some(target) if target.runs_here() => Ok(target),
        Some(target) => Err(ProvisionError::ProfileNotSupported { target }),
    }
}

/// Waits for the artifact.
async fn ask(
    sender: &mut impl LinkSender,
    receiver: &mut impl LinkReceiver,
    progress: &mut impl FnMut(Provisioning),
) -> Result<ArtifactReady, ProvisionError> {
    let mut time = ANSWER_TIME_MAX;
    loop {
        let received = tokio::time::timeout(time, receiver.receive()).await;
        let message = match received.map_err(|_| ProvisionError::Timeout { time })?? {
            Incoming::Message(message) => message,
            // Nobody gets blobs from a worker.
            Incoming::Blob(_) => continue,
        };
        match message {
            Message::Welcome(_) => {
                progress(Provisioning::Compiling);
                time = COMPILE_TIME_MAX;
            }
            Message::ArtifactReady(ready) => return Ok(ready),
            Message::Ping(ping) => {
                let number = ping.number;
                sender.send(Pong { number }.into()).await?;
            }
            Message::Refused(Refused { code, reason, .. }) => {
                let reason = reason.into_string();
                return Err(ProvisionError::Refused { code, reason });
            }
            Message::Failed(failed) => {
                return Err(ProvisionError::Refused {
                    code: failed.code,
                    reason: failed.reason.into_string(),
                });
            }
            other => return Err(ProvisionError::Unexpected { name: other.name() }),
        }
    }
}

/// The manifest, if the coordinator has signed it and it is what was asked for.
pub(crate) fn check_manifest(
    bytes: &[u8],
    signature: &[u8],
    target: Target,
    key: &PublicKey,
) -> Result<ArtifactManifest, ProvisionError> {
    let signature = signature.try_into();
    let signature = signature.map_err(|_| ProvisionError::Signature)?;
    if !key.verifies(&ArtifactManifest::signed(bytes), &signature) {
        return Err(ProvisionError::Signature);
    }
    let manifest = ArtifactManifest::from_bytes(bytes)?;
    let (triple, profile) = (&manifest.target, &manifest.cpu_profile);
    if Target::by_name(triple, profile) != Some(target) {
        return Err(ProvisionError::OtherTarget {
            found: format!("{triple} for {profile}"),
            wanted: target,
        });
    }
    Ok(manifest)
}

/// Fetches what is missing.
async fn fetch<B: BlobPeer>(
    mut parts: GuestParts,
    blobs: &B,
    progress: &mut impl FnMut(Provisioning),
) -> Result<GuestParts, ProvisionError> {
    for (part, blob) in parts.missing() {
        let bytes = blob.bytes;
        progress(Provisioning::Fetching { part, bytes });
        let bytes_max = bytes.min(PART_BYTES_MAX);
        let fetched = blobs.get(blob.digest, bytes_max).await;
        let bytes = fetched.map_err(|source| ProvisionError::Fetch { part, source })?;
        parts = blocking(move || {
            parts.add(part, bytes)?;
            Ok(parts)
        })
        .await?;
    }
    Ok(parts)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, HostError> + Send + 'static,
) -> Result<T, ProvisionError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(HostError::Panicked.into()),
    }
}

#[cfg(test)]
mod tests;
