//! What a worker has got from its coordinator, kept so that it can be used again without asking.
//!
//! The parts are in the cache anyway; the signed manifest that names them is kept beside them. It is checked as if it had
//! just come: who can write to the cache cannot make this machine run code of theirs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ppwasm_certs::PublicKey;
use ppwasm_host::{GuestParts, Host, Target, TrustedManifest};
use ppwasm_proto::Digest;
use ppwasm_proto::wire::ArtifactReady;

use crate::provision::{ProvisionError, Wanted, check_manifest, target};

/// Bytes of an Ed25519 signature, which come first in the file.
const SIGNATURE_BYTES: usize = 64;

fn path(cache: &Path, key: &PublicKey, target: Target) -> PathBuf {
    let name = format!("{} {}", target.triple(), target.name());
    let name = Digest::of(&[key.as_bytes().as_slice(), name.as_bytes()].concat());
    cache.join("manifests").join(name.to_string())
}

/// Keeps the manifest that a worker was given. It appears whole or not at all.
pub(crate) fn keep(
    cache: &Path,
    key: &PublicKey,
    target: Target,
    ready: &ArtifactReady,
) -> io::Result<()> {
    let path = path(cache, key, target);
    let folder = path.parent().unwrap_or(cache);
    fs::create_dir_all(folder)?;
    let new = folder.join(format!(".new-{}", std::process::id()));
    fs::write(&new, [&*ready.signature, &*ready.manifest].concat())?;
    fs::rename(&new, &path)
}

/// Makes a host of what an earlier start of a worker has left in the cache. Nobody is asked for anything.
///
/// # Errors
///
/// [`ProvisionError::NothingKept`] when there is nothing, or not all of it; otherwise what is wrong with it.
pub fn provisioned(wanted: &Wanted<'_>) -> Result<Host, ProvisionError> {
    let target = target(wanted)?;
    let path = path(wanted.cache, wanted.key, target);
    let Ok(bytes) = fs::read(&path) else {
        return Err(ProvisionError::NothingKept { target });
    };
    let (signature, manifest) = bytes
        .split_at_checked(SIGNATURE_BYTES)
        .ok_or(ProvisionError::Signature)?;
    let manifest = check_manifest(manifest, signature, target, wanted.key)?;
    let mut parts = GuestParts::new(TrustedManifest::vouch_for(manifest))?;
    parts.keep_in(wanted.cache);
    if !parts.missing().is_empty() {
        return Err(ProvisionError::NothingKept { target });
    }
    Ok(Host::builder().parts(parts).slots(wanted.slots).build()?)
}
