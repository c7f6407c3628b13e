//! Artifacts: the guest module, with a base image in it, compiled for one CPU profile.
//!
//! An artifact is native code, and loading a forged one runs it. Those in the cache are sealed by a
//! BLAKE3 keyed with a secret of this cache (readable by its owner only), and nothing is loaded
//! before its seal holds. Whoever can read the secret can run code as this user anyway.

use std::fs::File;
use std::io::Read;

use ppwasm_proto::Digest;
use wasmtime::{Engine, Module};

use crate::cache::{Cache, CacheError};
use crate::cpu::CpuProfile;
use crate::engine::SETTINGS_VERSION;
use crate::error::HostError;

/// Version of wasmtime that compiles and loads: the one pinned in the manifest.
pub(crate) const WASMTIME_VERSION: &str = "48.0.8";
const KEY_FILE: &str = "artifact-key";

/// Loads or makes the artifact for an engine, through the cache.
pub(crate) struct Artifacts<'a> {
    pub(crate) cache: &'a Cache,
    pub(crate) profile: CpuProfile,
}

/// What an artifact was made from; its digest names the file.
pub(crate) fn name(engine: &Engine, profile: CpuProfile, guest: Digest, base: Digest) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut part = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    part(guest.as_bytes());
    part(base.as_bytes());
    part(WASMTIME_VERSION.as_bytes());
    part(SETTINGS_VERSION.as_bytes());
    part(profile.name().as_bytes());
    part(profile.triple().as_bytes());
    let mut settings = SettingsHasher(blake3::Hasher::new());
    std::hash::Hash::hash(&engine.precompile_compatibility_hash(), &mut settings);
    part(settings.0.finalize().as_bytes());
    format!("artifacts/{}", hasher.finalize().to_hex())
}

impl Artifacts<'_> {
    /// The artifact called `name`, compiled by `compile` if the cache has none that holds.
    ///
    /// `compile` gives the module to compile. A cache that cannot be written costs only time: the
    /// artifact is then used from memory, and the second value tells why.
    pub(crate) fn load(
        &self,
        engine: &Engine,
        name: &str,
        compile: impl FnOnce() -> Result<Vec<u8>, HostError>,
    ) -> Result<(Module, Option<CacheError>), HostError> {
        if !self.profile.runs_here() {
            return Err(HostError::ProfileNotSupported {
                profile: self.profile,
            });
        }
        let key = match self.key() {
            Ok(key) => key,
            Err(error) => return Ok((self.from_memory(engine, &compile()?)?, Some(error))),
        };
        if let Some(module) = self.from_cache(engine, name, &key) {
            return Ok((module, None));
        }
        let _lock = match self.cache.lock(name) {
            Ok(lock) => lock,
            Err(error) => return Ok((self.from_memory(engine, &compile()?)?, Some(error))),
        };
        // Another process may have built it while this one waited.
        if let Some(module) = self.from_cache(engine, name, &key) {
            return Ok((module, None));
        }
        self.cache.remove(&seal_name(name));
        self.cache.remove(name);
        let code = self.compile(engine, &compile()?)?;
        let seal = blake3::keyed_hash(&key, &code);
        let written = self
            .cache
            .write(&seal_name(name), &[seal.as_bytes()])
            .and_then(|()| self.cache.write(name, &[&code]));
        match written {
            Ok(()) => match self.from_cache(engine, name, &key) {
                Some(module) => Ok((module, None)),
                None => Ok((self.deserialize(engine, &code)?, None)),
            },
            Err(error) => Ok((self.deserialize(engine, &code)?, Some(error))),
        }
    }

    /// The cached artifact if it is there, sealed by `key`, and fits the engine.
    fn from_cache(&self, engine: &Engine, name: &str, key: &[u8; 32]) -> Option<Module> {
        let seal: [u8; 32] = self.cache.read(&seal_name(name)).ok()??.try_into().ok()?;
        let mut file = File::open(self.cache.path(name)).ok()?;
        let mut hasher = blake3::Hasher::new_keyed(key);
        hash_file(&mut hasher, &mut file)?;
        // The comparison of `blake3::Hash` takes the same time whatever differs.
        if hasher.finalize() != blake3::Hash::from_bytes(seal) {
            return None;
        }
        // SAFETY: the bytes behind this very descriptor were just found to be sealed by this
        // user's key, so `compile` below wrote them. The file is replaced by renaming only, never
        // written in place, and only its owner may write it at all.
        unsafe { Module::deserialize_open_file(engine, file) }.ok()
    }

    fn from_memory(&self, engine: &Engine, module: &[u8]) -> Result<Module, HostError> {
        let code = self.compile(engine, module)?;
        self.deserialize(engine, &code)
    }

    fn compile(&self, engine: &Engine, module: &[u8]) -> Result<Vec<u8>, HostError> {
        engine
            .precompile_module(module)
            .map_err(|source| HostError::Compile {
                profile: self.profile,
                source: source.into(),
            })
    }

    fn deserialize(&self, engine: &Engine, code: &[u8]) -> Result<Module, HostError> {
        // SAFETY: `code` came out of the compiler in this process and has not left it.
        unsafe { Module::deserialize(engine, code) }.map_err(|source| HostError::LoadArtifact {
            source: source.into(),
        })
    }

    /// This cache's secret, made on first use.
    fn key(&self) -> Result<[u8; 32], CacheError> {
        loop {
            if let Some(bytes) = self.cache.read(KEY_FILE)? {
                if let Ok(key) = bytes.try_into() {
                    return Ok(key);
                }
                self.cache.remove(KEY_FILE);
            }
            let mut key = [0u8; 32];
            getrandom::fill(&mut key).map_err(|error| {
                CacheError::new(
                    "make a key for",
                    &self.cache.path(KEY_FILE),
                    std::io::Error::other(error),
                )
            })?;
            if self.cache.write_new(KEY_FILE, &key)? {
                return Ok(key);
            }
        }
    }
}

fn seal_name(name: &str) -> String {
    format!("{name}.seal")
}

fn hash_file(hasher: &mut blake3::Hasher, file: &mut File) -> Option<()> {
    let mut buffer = vec![0u8; 1 << 20];
    loop {
        match file.read(&mut buffer).ok()? {
            0 => return Some(()),
            read => hasher.update(buffer.get(..read)?),
        };
    }
}

/// Feeds what wasmtime hashes of its settings to BLAKE3.
struct SettingsHasher(blake3::Hasher);

impl std::hash::Hasher for SettingsHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}
