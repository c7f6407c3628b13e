//! The guest compiled for every kind of machine that works here: once for each, signed, and kept.
//!
//! A worker that has no guest says for what it needs one; the artifact is compiled when it is first asked for, one at a
//! time, and those that were asked for before are there before anybody asks again. Artifact, base image and library are
//! blobs like any other, but for that they are kept for as long as they are current.
//!
//! ```text
//! KEY.manifest    what an artifact is and where its parts are; KEY is a digest of all that it was made from
//! base-...        the base image that every artifact carries
//! ```

mod kept;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use ppwasm_certs::{CertError, PrivateKey, PublicKey};
use ppwasm_host::{CpuProfile, HostError, Target};
use ppwasm_proto::wire::{ArtifactReady, BlobRef};
use ppwasm_proto::{ArtifactManifest, Digest};

use crate::blobs::{BlobError, Blobs, Pinned};
use crate::child::ChildError;
use kept::Kept;

/// Compiles the guest. Called on a thread that may block.
pub trait ArtifactBuilder: Send + Sync + 'static {
    /// The guest.
    fn guest(&self) -> Digest;

    /// Compiles it for a target that need not be this machine's.
    ///
    /// # Errors
    ///
    /// It cannot be compiled.
    fn build(&self, target: Target) -> Result<Built, ChildError>;
}

/// A guest compiled for a target, and what belongs to it.
pub struct Built {
    /// Names the other three.
    pub manifest: ArtifactManifest,
    /// Native code.
    pub artifact: Vec<u8>,
    /// The base image but for its pages.
    pub base: Vec<u8>,
    /// The standard library's archive.
    pub library: Vec<u8>,
}

/// Why there is no artifact.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArtifactsError {
    /// Nothing is compiled for such machines.
    #[error(
        "no guest is compiled for {triple} with CPU profile {profile}; profiles are {}",
        profiles()
    )]
    Unsupported {
        /// The triple.
        triple: String,
        /// The profile.
        profile: String,
    },
    /// Compiling failed.
    #[error("the guest could not be compiled")]
    Build(#[from] ChildError),
    /// What was compiled is not what was asked for.
    #[error("what was compiled is not what was asked for")]
    Mixed,
    /// The blobs could not be kept.
    #[error("the compiled guest could not be kept")]
    Blobs(#[from] BlobError),
    /// A file could not be read or written.
    #[error("could not use {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The engine says nothing about a target.
    #[error("there is no compiler for the target")]
    Engine(#[source] HostError),
    /// The key could not be read, or does not sign.
    #[error("the key that signs artifacts cannot be used")]
    Key(#[from] CertError),
}

fn profiles() -> String {
    CpuProfile::ALL.map(CpuProfile::name).join(", ")
}

/// An artifact that can be handed out. While it lives its blobs are kept.
#[derive(Debug)]
pub struct Ready {
    manifest: ArtifactManifest,
    bytes: Vec<u8>,
    signature: ppwasm_certs::Signature,
    _pinned: [Pinned; 3],
}

impl Ready {
    /// What it is.
    pub const fn manifest(&self) -> &ArtifactManifest {
        &self.manifest
    }

    /// What a worker is told.
    pub fn message(&self) -> ArtifactReady {
        ArtifactReady {
            guest: self.manifest.guest,
            target: self.manifest.target.clone(),
            cpu_profile: self.manifest.cpu_profile.clone(),
            artifact: self.manifest.artifact,
            // It was read from bytes that are not longer than what is sent.
            manifest: self.bytes.as_slice().try_into().unwrap_or_default(),
            signature: self.signature.as_slice().try_into().unwrap_or_default(),
        }
    }
}

/// The artifacts of one guest.
pub struct Artifacts {
    builder: Arc<dyn ArtifactBuilder>,
    key: PrivateKey,
    blobs: Blobs,
    kept: Kept,
    ready: Mutex<HashMap<Target, Arc<Ready>>>,
    /// Held while something is compiled: one at a time, in the order in which they were asked for.
    building: tokio::sync::Mutex<()>,
}

impl Artifacts {
    /// The artifacts that are kept in `folder`; new ones are made by `builder`, and signed with `key`.
    ///
    /// # Errors
    ///
    /// The blobs cannot be looked at.
    pub fn open(
        folder: impl Into<PathBuf>,
        blobs: Blobs,
        key: PrivateKey,
        builder: Arc<dyn ArtifactBuilder>,
    ) -> Result<Self, ArtifactsError> {
        let artifacts = Self {
            kept: Kept::new(folder.into()),
            builder,
            key,
            blobs,
            ready: Mutex::default(),
            building: tokio::sync::Mutex::new(()),
        };
        let mut used = Vec::new();
        for target in artifacts.kept.targets() {
            // What is found is kept from here on.
            artifacts.find(target)?;
            used.push(artifacts.key_of(target)?);
        }
        artifacts.kept.retain(|key| used.contains(&key));
        Ok(artifacts)
    }

    /// The guest.
    pub fn guest(&self) -> Digest {
        self.builder.guest()
    }

    /// Where the parts are.
    pub const fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    /// The key by which workers know that an artifact is from here.
    pub const fn public_key(&self) -> &PublicKey {
        self.key.public()
    }

    /// The artifact for a worker that names its target and profile; compiled if there is none yet.
    ///
    /// # Errors
    ///
    /// There is none.
    pub async fn for_worker(
        self: &Arc<Self>,
        triple: &str,
        profile: &str,
    ) -> Result<Arc<Ready>, ArtifactsError> {
        let Some(target) = Target::by_name(triple, profile) else {
            let (triple, profile) = (triple.to_owned(), profile.to_owned());
            return Err(ArtifactsError::Unsupported { triple, profile });
        };
        if let Some(ready) = self.known(target) {
            return Ok(ready);
        }
        let _turn = self.building.lock().await;
        let artifacts = Arc::clone(self);
        // When nobody waits any more it is finished all the same: somebody will ask again.
        let obtained = tokio::task::spawn_blocking(move || artifacts.obtain(target)).await;
        obtained.unwrap_or(Err(ArtifactsError::Mixed))
    }

    /// Compiles for all that were asked for in the past, so that nobody has to wait for them.
    pub async fn prepare(self: Arc<Self>) {
        for target in self.kept.targets() {
            // Who asks hears why it fails.
            let _ = self.for_worker(&target.triple(), &target.name()).await;
        }
    }

    /// The artifact for a target; compiled here and now if there is none yet.
    ///
    /// # Errors
    ///
    /// It cannot be compiled or kept.
    pub fn obtain(&self, target: Target) -> Result<Arc<Ready>, ArtifactsError> {
        if let Some(ready) = self.known(target) {
            return Ok(ready);
        }
        if let Some(ready) = self.find(target)? {
            return Ok(ready);
        }
        // Also when it fails: then the next start tries again.
        self.kept.remember(target)?;
        let built = self.builder.build(target)?;
        let manifest = &built.manifest;
        let is_right = manifest.guest == self.guest()
            && manifest.target.as_str() == target.triple()
            && manifest.cpu_profile.as_str() == target.name()
            && manifest.engine == ppwasm_host::engine_digest(target);
        if !is_right {
            return Err(ArtifactsError::Mixed);
        }
        for (blob, bytes) in [
            (manifest.artifact, &built.artifact),
            (manifest.base, &built.base),
            (manifest.library, &built.library),
        ] {
            if BlobRef::of(bytes) != blob {
                return Err(ArtifactsError::Mixed);
            }
            self.blobs.put(bytes)?;
        }
        let ready = self.sign(built.manifest)?;
        let key = self.key_of(target)?;
        self.kept.write(key, &ready.bytes)?;
        Ok(self.shelve(target, ready))
    }

    fn ready(&self) -> MutexGuard<'_, HashMap<Target, Arc<Ready>>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self, target: Target) -> Option<Arc<Ready>> {
        self.ready().get(&target).cloned()
    }

    fn shelve(&self, target: Target, ready: Ready) -> Arc<Ready> {
        let ready = Arc::new(ready);
        self.ready().insert(target, Arc::clone(&ready));
        ready
    }

    /// What is kept for a target from before, if all of it is there.
    fn find(&self, target: Target) -> Result<Option<Arc<Ready>>, ArtifactsError> {
        let Some(bytes) = self.kept.read(self.key_of(target)?) else {
            return Ok(None);
        };
        let Ok(manifest) = ArtifactManifest::from_bytes(&bytes) else {
            return Ok(None);
        };
        let ready = self.sign(manifest)?;
        let manifest = &ready.manifest;
        for blob in [manifest.artifact, manifest.base, manifest.library] {
            if self.blobs.renew(&blob.digest, SystemTime::now())? != Some(blob.bytes) {
                return Ok(None);
            }
        }
        Ok(Some(self.shelve(target, ready)))
    }

    fn sign(&self, manifest: ArtifactManifest) -> Result<Ready, ArtifactsError> {
        let bytes = manifest.to_bytes();
        let signature = self.key.sign(&ArtifactManifest::signed(&bytes))?;
        let blobs = [manifest.artifact, manifest.base, manifest.library];
        Ok(Ready {
            _pinned: blobs.map(|blob| self.blobs.pin(blob.digest)),
            manifest,
            bytes,
            signature,
        })
    }

    /// Everything that an artifact is made from.
    fn key_of(&self, target: Target) -> Result<Digest, ArtifactsError> {
        let compatibility =
            ppwasm_host::compatibility_digest(target).map_err(ArtifactsError::Engine)?;
        let parts = [
            self.guest(),
            ppwasm_host::engine_digest(target),
            compatibility,
        ];
        Ok(Digest::of(&parts.map(|part| *part.as_bytes()).concat()))
    }
}
