//! A guest in parts that somebody else prepared: how a machine runs it without compiling anything.
//!
//! The parts are named by a manifest, and whoever made the manifest is believed to give native code that may run here as
//! this user. That belief is the caller's to have a reason for ([`TrustedManifest::vouch_for`]); everything that follows
//! from it is checked here: that the code is for this machine's CPU and this version's engine, and that each part is,
//! byte for byte, the one that the manifest names. The loader's own checks are not relied on for either: it takes any
//! RISC-V feature, and believes the bytes.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ppwasm_proto::wire::BlobRef;
use ppwasm_proto::{ArtifactManifest, Digest};
use wasmtime::{Engine, Module};

use crate::base::{Base, Code, Front, new_engine};
use crate::cache::{Cache, CacheError};
use crate::cpu::{CpuProfile, Target};
use crate::engine::{Allocation, Effort, WASMTIME_VERSION, engine_digest};
use crate::error::HostError;
use crate::guest::Guest;
use crate::image::{ImageError, ImageKind};
use crate::wasi::Library;

/// Bytes of one part that is taken.
pub const PART_BYTES_MAX: u64 = 1 << 30;

/// A manifest whose maker may run native code here as this user.
#[derive(Debug, Clone)]
pub struct TrustedManifest(ArtifactManifest);

impl TrustedManifest {
    /// Takes the caller's word that `manifest` comes from somebody who may run native code here as this user.
    ///
    /// The artifact that the manifest names is loaded and jumped into: a forged manifest is a stranger's code with all
    /// of this user's rights. So the caller has verified a signature over it by a key that this machine was given to
    /// trust, or has made the manifest itself.
    #[must_use]
    pub const fn vouch_for(manifest: ArtifactManifest) -> Self {
        Self(manifest)
    }
}

/// One of the parts that a guest consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Part {
    /// Native code.
    Artifact,
    /// The base image but for its pages.
    Base,
    /// The standard library's archive.
    Library,
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Artifact => "artifact",
            Self::Base => "base image",
            Self::Library => "library",
        })
    }
}

/// Why no guest can be made of what was given.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PartsError {
    /// The manifest's target is none that this version knows.
    #[error(
        "the artifact is for {triple} with CPU profile {profile}, which this version does not know"
    )]
    UnknownTarget {
        /// The triple.
        triple: String,
        /// The profile.
        profile: String,
    },
    /// For another architecture or system than this machine's.
    #[error("the artifact is for {found}, this machine is {here}")]
    OtherTarget {
        /// What it is for.
        found: Target,
        /// This machine's architecture and system.
        here: String,
    },
    /// This CPU lacks instructions that the artifact may use.
    #[error(
        "the artifact is for CPU profile {profile}, which needs instructions that this CPU has not"
    )]
    CpuLacks {
        /// The profile.
        profile: CpuProfile,
    },
    /// Made for another version of the engine, or other settings of it.
    #[error(
        "the artifact is for another version of ppwasm: its engine is {found}, here it is wasmtime {WASMTIME_VERSION} with other settings or another version"
    )]
    OtherEngine {
        /// The engine's version, as the manifest tells it.
        found: String,
    },
    /// A part has not the size that the manifest tells.
    #[error("the {part} has {found} bytes of {wanted}")]
    Size {
        /// Which.
        part: Part,
        /// Bytes that are there.
        found: u64,
        /// Bytes that the manifest tells.
        wanted: u64,
    },
    /// A part is of the right size and has other bytes.
    #[error("the {part} is damaged: its digest is not the one that the manifest names")]
    Damaged {
        /// Which.
        part: Part,
    },
    /// A part was not given.
    #[error("the {part} is missing")]
    Missing {
        /// Which.
        part: Part,
    },
    /// A part's file cannot be read.
    #[error("could not read the {part}, {}", path.display())]
    Read {
        /// Which.
        part: Part,
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The bytes are the right ones and no artifact that this engine loads.
    #[error("the artifact cannot be loaded")]
    Load(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The bytes are the right ones and no base image that this version reads.
    #[error("the base image cannot be used")]
    Base(#[source] ImageError),
    /// The base image is of another guest than the manifest.
    #[error("the base image is of another guest")]
    OtherGuest,
    /// The bytes are the right ones and no library.
    #[error("the library cannot be used")]
    Library(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A guest's parts as they come together. [`HostBuilder::parts`](crate::HostBuilder::parts) makes a host of them.
pub struct GuestParts {
    manifest: ArtifactManifest,
    target: Target,
    engine: Engine,
    cache: Option<Cache>,
    trouble: Option<CacheError>,
    code: Option<(Module, ArtifactSource)>,
    base: Option<Front>,
    library: Option<Library>,
}

impl GuestParts {
    /// None of the parts yet.
    ///
    /// # Errors
    ///
    /// The artifact that `manifest` names is not for this machine, or not for this version.
    pub fn new(manifest: TrustedManifest) -> Result<Self, HostError> {
        let manifest = manifest.0;
        let target = check_target(&manifest, CpuProfile::detect(), Target::runs_here)?;
        if manifest.engine != engine_digest(target) {
            let found = manifest.engine_version.to_string();
            return Err(PartsError::OtherEngine { found }.into());
        }
        let engine = new_engine(target, Allocation::OnDemand, Effort::Full)?;
        Ok(Self {
            manifest,
            target,
            engine,
            cache: None,
            trouble: None,
            code: None,
            base: None,
            library: None,
        })
    }

    /// What the parts belong to.
    #[must_use]
    pub const fn manifest(&self) -> &ArtifactManifest {
        &self.manifest
    }

    /// Takes the parts that are in a cache directory, and has those that are added later kept there.
    pub fn keep_in(&mut self, cache: impl Into<PathBuf>) {
        let cache = Cache::new(cache.into());
        let found = |part| {
            let path = cache.path(&cache_name(self.blob(part)));
            // Whatever is wrong with it: it is got again.
            path.is_file().then_some(path)
        };
        let (library, code, base) = std::thread::scope(|scope| {
            let library = scope.spawn(|| self.read_library_file(&found(Part::Library)?).ok());
            let code = found(Part::Artifact).and_then(|path| self.read_artifact_file(path).ok());
            let base = found(Part::Base).and_then(|path| self.read_base_file(&path).ok());
            match library.join() {
                Ok(library) => (library, code, base),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        });
        self.library = self.library.take().or(library);
        self.code = self.code.take().or(code);
        self.base = self.base.take().or(base);
        self.cache = Some(cache);
    }

    /// The parts that are not here yet.
    #[must_use]
    pub fn missing(&self) -> Vec<(Part, BlobRef)> {
        let is_missing = [
            (Part::Artifact, self.code.is_none()),
            (Part::Base, self.base.is_none()),
            (Part::Library, self.library.is_none()),
        ];
        let missing = is_missing.into_iter().filter(|(_, is_missing)| *is_missing);
        missing.map(|(part, _)| (part, self.blob(part))).collect()
    }

    /// Adds a part.
    ///
    /// # Errors
    ///
    /// It is not the one that the manifest names. A cache that cannot be written is no error.
    pub fn add(&mut self, part: Part, bytes: Arc<[u8]>) -> Result<(), HostError> {
        check(part, self.blob(part), &bytes)?;
        let kept = self.keep(part, &bytes);
        match part {
            Part::Artifact => {
                let blob = self.manifest.artifact;
                let source = match kept {
                    Some(path) => ArtifactSource::File { blob, path },
                    None => ArtifactSource::Memory { blob, bytes },
                };
                self.code = Some((source.load(&self.engine)?, source));
            }
            Part::Base => self.base = Some(self.read_base(&bytes)?),
            Part::Library => self.library = Some(read_library(bytes)?),
        }
        Ok(())
    }

    /// Adds a part that is in a file, whose bytes nobody changes while a host uses it.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is not the one that the manifest names.
    pub fn add_file(&mut self, part: Part, path: &Path) -> Result<(), HostError> {
        match part {
            Part::Artifact => self.code = Some(self.read_artifact_file(path.to_owned())?),
            Part::Base => self.base = Some(self.read_base_file(path)?),
            Part::Library => self.library = Some(self.read_library_file(path)?),
        }
        Ok(())
    }

    pub(crate) fn into_base(self) -> Result<(Base, Option<CacheError>), HostError> {
        let missing = |part| PartsError::Missing { part };
        let (module, source) = self.code.ok_or(missing(Part::Artifact))?;
        let front = self.base.ok_or(missing(Part::Base))?;
        let library = self.library.ok_or(missing(Part::Library))?;
        let python = self.manifest.python.into_string();
        let guest = Guest::in_parts(self.manifest.guest, python, library);
        let code = Code::Received(source);
        let base = Base::new(guest, front, self.engine, &module, code, self.target)?;
        Ok((base, self.trouble))
    }

    fn blob(&self, part: Part) -> BlobRef {
        match part {
            Part::Artifact => self.manifest.artifact,
            Part::Base => self.manifest.base,
            Part::Library => self.manifest.library,
        }
    }

    /// Writes a part to the cache, if there is one; where it is then.
    fn keep(&mut self, part: Part, bytes: &[u8]) -> Option<PathBuf> {
        let cache = self.cache.as_ref()?;
        let name = cache_name(self.blob(part));
        match cache.write(&name, &[bytes]) {
            Ok(()) => Some(cache.path(&name)),
            Err(trouble) => {
                self.trouble = Some(trouble);
                None
            }
        }
    }

    fn read_artifact_file(&self, path: PathBuf) -> Result<(Module, ArtifactSource), HostError> {
        let blob = self.manifest.artifact;
        let source = ArtifactSource::File { blob, path };
        Ok((source.load(&self.engine)?, source))
    }

    fn read_library_file(&self, path: &Path) -> Result<Library, HostError> {
        read_library(read_file(Part::Library, self.manifest.library, path)?.into())
    }

    fn read_base_file(&self, path: &Path) -> Result<Front, HostError> {
        self.read_base(&read_file(Part::Base, self.manifest.base, path)?)
    }

    fn read_base(&self, bytes: &[u8]) -> Result<Front, HostError> {
        let front = Front::from_bytes(bytes).map_err(PartsError::Base)?;
        let guest = self.manifest.guest;
        if front.header.kind != (ImageKind::Base { guest }) {
            return Err(PartsError::OtherGuest.into());
        }
        Ok(front)
    }
}

/// Where an artifact is, and which one it is.
pub(crate) enum ArtifactSource {
    File { blob: BlobRef, path: PathBuf },
    Memory { blob: BlobRef, bytes: Arc<[u8]> },
}

impl ArtifactSource {
    /// Loads it into one more engine.
    pub(crate) fn load(&self, engine: &Engine) -> Result<Module, HostError> {
        let part = Part::Artifact;
        let module = match self {
            Self::File { blob, path } => {
                let failed = |source| PartsError::Read {
                    part,
                    path: path.clone(),
                    source,
                };
                let mut file = File::open(path).map_err(failed)?;
                let mut hasher = blake3::Hasher::new();
                let found = hash(&mut hasher, &mut file).map_err(failed)?;
                check_digest(part, *blob, found, hasher.finalize().into())?;
                // SAFETY: what is behind this very descriptor was just found to be the artifact that a manifest names
                // for which the caller vouches. Files of the cache, and those that a caller adds, are not written in
                // place.
                unsafe { Module::deserialize_open_file(engine, file) }
            }
            Self::Memory { blob, bytes } => {
                check(part, *blob, bytes)?;
                // SAFETY: these bytes were just found to be the artifact that a manifest names for which the caller
                // vouches.
                unsafe { Module::deserialize(engine, bytes) }
            }
        };
        module.map_err(|error| PartsError::Load(error.into()).into())
    }
}

/// `own` is the strongest profile that runs on this machine, `runs_here` what runs at all.
fn check_target(
    manifest: &ArtifactManifest,
    own: Option<CpuProfile>,
    runs_here: impl Fn(Target) -> bool,
) -> Result<Target, PartsError> {
    let (triple, profile) = (manifest.target.as_str(), manifest.cpu_profile.as_str());
    let target = Target::by_name(triple, profile).ok_or_else(|| PartsError::UnknownTarget {
        triple: triple.to_owned(),
        profile: profile.to_owned(),
    })?;
    if runs_here(target) {
        return Ok(target);
    }
    let is_of_this_kind = |own: CpuProfile| Target::here(own).triple() == target.triple();
    Err(match own {
        Some(own) if is_of_this_kind(own) => PartsError::CpuLacks {
            profile: target.profile(),
        },
        own => PartsError::OtherTarget {
            found: target,
            here: match own {
                Some(own) => Target::here(own).triple(),
                None => format!("{} {}", std::env::consts::ARCH, std::env::consts::OS),
            },
        },
    })
}

fn read_library(archive: Arc<[u8]>) -> Result<Library, HostError> {
    let library = Library::from_tar(crate::wasi::SharedBytes::new(Arc::new(archive)));
    library.map_err(|error| PartsError::Library(error.into()).into())
}

fn read_file(part: Part, blob: BlobRef, path: &Path) -> Result<Vec<u8>, PartsError> {
    let failed = |source| PartsError::Read {
        part,
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(failed)?;
    let found = file.metadata().map_err(failed)?.len();
    let mut bytes = Vec::with_capacity(usize::try_from(found.min(PART_BYTES_MAX)).unwrap_or(0));
    let read = file.take(PART_BYTES_MAX).read_to_end(&mut bytes);
    read.map_err(failed)?;
    check(part, blob, &bytes)?;
    Ok(bytes)
}

fn check(part: Part, blob: BlobRef, bytes: &[u8]) -> Result<(), PartsError> {
    check_digest(part, blob, bytes.len() as u64, Digest::of(bytes))
}

fn check_digest(part: Part, wanted: BlobRef, found: u64, digest: Digest) -> Result<(), PartsError> {
    if found != wanted.bytes {
        let wanted = wanted.bytes;
        return Err(PartsError::Size {
            part,
            found,
            wanted,
        });
    }
    if digest != wanted.digest {
        return Err(PartsError::Damaged { part });
    }
    Ok(())
}

/// Feeds a file to `hasher`; how long it is.
fn hash(hasher: &mut blake3::Hasher, file: &mut File) -> io::Result<u64> {
    // Small enough to stay in a core's own cache between reading and hashing.
    let mut buffer = vec![0u8; 128 << 10];
    let mut bytes = 0;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(bytes);
        }
        hasher.update(buffer.get(..read).unwrap_or_default());
        bytes += read as u64;
    }
}

fn cache_name(blob: BlobRef) -> String {
    format!("parts/{}", blob.digest)
}

#[cfg(all(test, feature = "compile"))]
mod tests {
    use ppwasm_proto::wire::{MANIFEST_FORMAT, Text};

    use super::*;
    use crate::cpu::System;

    /// A module of one function that does nothing.
    const MODULE: &[u8] =
        b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x0a\x04\x01\x02\0\x0b";

    struct Made {
        manifest: ArtifactManifest,
        artifact: Arc<[u8]>,
    }

    fn target() -> Target {
        Target::here(CpuProfile::detect().expect("a profile for this machine"))
    }

    fn made() -> Made {
        let engine = new_engine(target(), Allocation::OnDemand, Effort::Full).expect("an engine");
        let artifact: Arc<[u8]> = engine.precompile_module(MODULE).expect("a module").into();
        let manifest = ArtifactManifest {
            format: MANIFEST_FORMAT,
            guest: Digest::of(b"guest"),
            target: Text::truncated(&target().triple()),
            cpu_profile: Text::truncated(&target().name()),
            engine: engine_digest(target()),
            engine_version: Text::truncated("wasmtime 1.2.3"),
            artifact: BlobRef::of(&artifact),
            base: BlobRef::of(b"no base image"),
            library: BlobRef::of(&[0; 1024]),
            python: Text::truncated("3.13.5"),
        };
        Made { manifest, artifact }
    }

    fn parts(manifest: &ArtifactManifest) -> Result<GuestParts, PartsError> {
        match GuestParts::new(TrustedManifest::vouch_for(manifest.clone())) {
            Ok(parts) => Ok(parts),
            Err(HostError::Parts(error)) => Err(error),
            Err(other) => panic!("{other}"),
        }
    }

    fn refused(result: Result<(), HostError>) -> PartsError {
        match result {
            Err(HostError::Parts(error)) => error,
            Err(other) => panic!("{other}"),
            Ok(()) => panic!("it was taken"),
        }
    }

    #[test]
    fn an_artifact_that_is_cut_short_or_changed_is_refused_with_the_reason() {
        let made = made();
        let whole = &made.artifact;
        let mut parts = parts(&made.manifest).unwrap();
        for end in [0, 1, whole.len() / 2, whole.len() - 1] {
            let error = refused(parts.add(Part::Artifact, whole[..end].into()));
            assert!(matches!(error, PartsError::Size { .. }), "{end}: {error}");
        }
        for place in (0..whole.len()).step_by(whole.len() / 64) {
            let mut flipped = whole.to_vec();
            flipped[place] ^= 1;
            let error = refused(parts.add(Part::Artifact, flipped.into()));
            assert!(matches!(error, PartsError::Damaged { .. }), "{error}");
        }
        assert!(
            parts
                .missing()
                .iter()
                .any(|(part, _)| *part == Part::Artifact)
        );
        parts.add(Part::Artifact, Arc::clone(whole)).unwrap();
        assert!(
            parts
                .missing()
                .iter()
                .all(|(part, _)| *part != Part::Artifact)
        );
    }

    #[test]
    fn a_manifest_for_another_version_target_or_cpu_is_refused_with_the_reason() {
        let made = made().manifest;
        let other = ArtifactManifest {
            engine: Digest::of(b"another"),
            ..made.clone()
        };
        let error = parts(&other).err().unwrap();
        assert!(error.to_string().contains("wasmtime 1.2.3"), "{error}");
        let unknown = ArtifactManifest {
            target: Text::truncated("sparc64-unknown-linux-gnu"),
            ..made.clone()
        };
        let error = parts(&unknown).err().unwrap();
        assert!(matches!(error, PartsError::UnknownTarget { .. }), "{error}");
        for profile in CpuProfile::ALL {
            let target = Target::here(profile);
            let foreign = ArtifactManifest {
                target: Text::truncated(&target.triple()),
                cpu_profile: Text::truncated(profile.name()),
                engine: engine_digest(target),
                ..made.clone()
            };
            match parts(&foreign) {
                Ok(_) => assert!(target.runs_here(), "{target}"),
                Err(error) => assert!(!target.runs_here(), "{target}: {error}"),
            }
        }
        let elsewhere = Target::new(CpuProfile::X86_64V2, System::Windows);
        let windows = ArtifactManifest {
            target: Text::truncated(&elsewhere.triple()),
            cpu_profile: Text::truncated("x86-64-v2"),
            ..made
        };
        if System::HERE != System::Windows {
            let error = parts(&windows).err().unwrap();
            assert!(matches!(error, PartsError::OtherTarget { .. }), "{error}");
        }
    }

    /// Whatever this machine has: one that has only the weakest profile of its kind.
    #[test]
    fn instructions_that_the_cpu_has_not_are_told_apart_from_another_machine() {
        let manifest = |profile: CpuProfile| ArtifactManifest {
            target: Text::truncated(&Target::here(profile).triple()),
            cpu_profile: Text::truncated(profile.name()),
            ..made().manifest
        };
        let check = |profile| {
            let weak = |target: Target| target.profile() == CpuProfile::X86_64V2;
            check_target(&manifest(profile), Some(CpuProfile::X86_64V2), weak)
        };
        assert!(check(CpuProfile::X86_64V2).is_ok());
        let error = check(CpuProfile::X86_64V3).unwrap_err();
        assert!(matches!(error, PartsError::CpuLacks { .. }), "{error}");
        let error = check(CpuProfile::Aarch64).unwrap_err();
        assert!(matches!(error, PartsError::OtherTarget { .. }), "{error}");
    }

    #[test]
    fn what_the_engine_does_not_load_is_an_error() {
        let made = made();
        for bytes in [b"not an artifact".to_vec(), Vec::new(), MODULE.to_vec()] {
            let manifest = ArtifactManifest {
                artifact: BlobRef::of(&bytes),
                ..made.manifest.clone()
            };
            let mut parts = parts(&manifest).unwrap();
            let error = refused(parts.add(Part::Artifact, bytes.into()));
            assert!(matches!(error, PartsError::Load(_)), "{error}");
        }
        let mut parts = parts(&made.manifest).unwrap();
        let error = refused(parts.add(Part::Base, Arc::from(*b"no base image")));
        assert!(matches!(error, PartsError::Base(_)), "{error}");
    }

    #[test]
    fn a_cache_keeps_what_was_added_and_what_is_damaged_in_it_is_missing() {
        let made = made();
        let folder = tempfile::tempdir().unwrap();
        let artifact_is_missing = |parts: &GuestParts| {
            let missing = parts.missing();
            missing.iter().any(|(part, _)| *part == Part::Artifact)
        };
        let opened = || {
            let mut parts = parts(&made.manifest).unwrap();
            parts.keep_in(folder.path());
            parts
        };
        let mut first = opened();
        assert!(artifact_is_missing(&first));
        first
            .add(Part::Artifact, Arc::clone(&made.artifact))
            .unwrap();
        assert!(!artifact_is_missing(&opened()));

        let path = folder.path().join(cache_name(made.manifest.artifact));
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(artifact_is_missing(&opened()));
    }

    #[test]
    fn a_cache_that_cannot_be_written_costs_only_time() {
        let made = made();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, b"not a directory").unwrap();
        let mut parts = parts(&made.manifest).unwrap();
        parts.keep_in(&file);
        parts.add(Part::Artifact, made.artifact).unwrap();
        assert!(parts.trouble.is_some());
        assert!(parts.code.is_some());
    }
}
