//! Artifacts: the guest module, with a base image in it, compiled for one CPU profile.
//!
//! An artifact is native code, and loading a forged one runs it. Those in the cache are sealed by a
//! BLAKE3 over their name and bytes, keyed with a secret of this cache (readable by its owner only), and
//! nothing is loaded before its seal holds. Whoever can read the secret can run code as this user anyway.

use std::fs::File;
use std::io::Read;

use ppwasm_proto::Digest;
use wasmtime::{Engine, Module};

use crate::cache::{Cache, CacheError};
use crate::cpu::Target;
use crate::engine::{SETTINGS_VERSION, WASMTIME_VERSION};
use crate::error::HostError;

const KEY_FILE: &str = "artifact-key";

/// Loads or makes the artifact for an engine, through the cache.
pub(crate) struct Artifacts<'a> {
    pub(crate) cache: &'a Cache,
    pub(crate) target: Target,
}

/// What an artifact was made from; its digest names the file.
pub(crate) fn name(engine: &Engine, target: Target, guest: Digest, base: Digest) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut part = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    part(guest.as_bytes());
    part(base.as_bytes());
    part(WASMTIME_VERSION.as_bytes());
    part(SETTINGS_VERSION.as_bytes());
    part(target.name().as_bytes());
    part(target.triple().as_bytes());
    part(compatibility(engine).as_bytes());
    format!("artifacts/{}", hasher.finalize().to_hex())
}

/// wasmtime's own hash of its settings.
pub(crate) fn compatibility(engine: &Engine) -> Digest {
    let mut settings = SettingsHasher(blake3::Hasher::new());
    std::hash::Hash::hash(&engine.precompile_compatibility_hash(), &mut settings);
    settings.0.finalize().into()
}

/// Compiles a module that carries its base image.
pub(crate) fn compile_module(
    engine: &Engine,
    target: Target,
    module: &[u8],
) -> Result<Vec<u8>, HostError> {
    engine
        .precompile_module(module)
        .map_err(|source| HostError::Compile {
            profile: target.profile(),
            source: source.into(),
        })
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
        if !self.target.runs_here() {
            return Err(HostError::ProfileNotSupported {
                profile: self.target.profile(),
            });
        }
        let key = match self.key() {
            Ok(key) => key,
            Err(error) => return Ok((self.compiled_here(engine, &compile()?)?, Some(error))),
        };
        if let Some(module) = self.cached(engine, name, &key) {
            return Ok((module, None));
        }
        let _lock = match self.cache.lock(name) {
            Ok(lock) => lock,
            Err(error) => return Ok((self.compiled_here(engine, &compile()?)?, Some(error))),
        };
        // Another process may have built it while this one waited.
        if let Some(module) = self.cached(engine, name, &key) {
            return Ok((module, None));
        }
        self.cache.remove(&seal_name(name));
        self.cache.remove(name);
        let code = compile_module(engine, self.target, &compile()?)?;
        let seal = sealer(&key, name).update(&code).finalize();
        let written = self
            .cache
            .write(&seal_name(name), &[seal.as_bytes()])
            .and_then(|()| self.cache.write(name, &[&code]));
        match written {
            Ok(()) => match self.cached(engine, name, &key) {
                Some(module) => Ok((module, None)),
                None => Ok((self.deserialize(engine, &code)?, None)),
            },
            Err(error) => Ok((self.deserialize(engine, &code)?, Some(error))),
        }
    }

    /// The artifact called `name` if the cache has one that holds. Makes nothing.
    pub(crate) fn find(&self, engine: &Engine, name: &str) -> Option<Module> {
        if !self.target.runs_here() {
            return None;
        }
        let key = self.cache.read(KEY_FILE).ok()??.try_into().ok()?;
        self.cached(engine, name, &key)
    }

    /// The cached artifact if it is there, sealed by `key`, and fits the engine.
    fn cached(&self, engine: &Engine, name: &str, key: &[u8; 32]) -> Option<Module> {
        let seal: [u8; 32] = self.cache.read(&seal_name(name)).ok()??.try_into().ok()?;
        let mut file = File::open(self.cache.path(name)).ok()?;
        let mut hasher = sealer(key, name);
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

    fn compiled_here(&self, engine: &Engine, module: &[u8]) -> Result<Module, HostError> {
        let code = compile_module(engine, self.target, module)?;
        self.deserialize(engine, &code)
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

/// What becomes a seal when the artifact's bytes are fed to it. The name is sealed too: it says what the
/// artifact was made from, and another artifact of this cache must not take its place.
fn sealer(key: &[u8; 32], name: &str) -> blake3::Hasher {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(&(name.len() as u64).to_le_bytes());
    hasher.update(name.as_bytes());
    hasher
}

fn seal_name(name: &str) -> String {
    format!("{name}.seal")
}

fn hash_file(hasher: &mut blake3::Hasher, file: &mut File) -> Option<()> {
    // Small enough to stay in a core's own cache between reading and hashing.
    let mut buffer = vec![0u8; 128 << 10];
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

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::cpu::CpuProfile;
    use crate::engine::{Allocation, Effort, engine};

    /// A module that exports nothing but a name, so that one can be told from another.
    fn module(name: u8) -> Vec<u8> {
        let mut bytes = b"\0asm\x01\0\0\0".to_vec();
        // One type () -> (), one function of it, exported, with an empty body.
        bytes.extend([1, 4, 1, 0x60, 0, 0, 3, 2, 1, 0, 7, 5, 1, 1, name, 0, 0]);
        bytes.extend([10, 4, 1, 2, 0, 0x0b]);
        bytes
    }

    fn exported(module: &Module) -> String {
        module
            .exports()
            .map(|export| export.name().to_owned())
            .collect()
    }

    struct Bench {
        folder: tempfile::TempDir,
        engine: Engine,
        target: Target,
    }

    impl Bench {
        fn new() -> Self {
            let target = Target::here(CpuProfile::detect().unwrap());
            Self {
                folder: tempfile::tempdir().unwrap(),
                engine: engine(target, Allocation::OnDemand, Effort::Full).unwrap(),
                target,
            }
        }

        /// Loads the module that exports `wanted`: whether it was compiled, and what went wrong.
        fn load(&self, root: &Path, name: &str, wanted: u8) -> (bool, Option<CacheError>) {
            let cache = Cache::new(root.to_owned());
            let artifacts = Artifacts {
                cache: &cache,
                target: self.target,
            };
            let compiled = Cell::new(false);
            let (loaded, trouble) = artifacts
                .load(&self.engine, name, || {
                    compiled.set(true);
                    Ok(module(wanted))
                })
                .unwrap();
            assert_eq!(exported(&loaded), char::from(wanted).to_string());
            (compiled.get(), trouble)
        }

        /// Makes the artifact, lets `spoil` change its files, and asserts that it is made anew.
        fn is_made_anew_after(&self, what: &str, spoil: impl FnOnce(&Path)) {
            let root = self.folder.path().join(what);
            assert!(self.load(&root, NAME, b'a').0);
            assert!(!self.load(&root, NAME, b'a').0);
            spoil(&root);
            let (compiled, trouble) = self.load(&root, NAME, b'a');
            assert!(compiled, "{what}: loaded");
            assert!(trouble.is_none(), "{what}: {trouble:?}");
            assert!(!self.load(&root, NAME, b'a').0, "{what}: not mended");
        }
    }

    const NAME: &str = "artifacts/some";

    #[test]
    fn an_artifact_that_does_not_hold_is_made_anew() {
        let bench = Bench::new();
        let artifact = |root: &Path| root.join(NAME);
        let seal = |root: &Path| root.join(seal_name(NAME));
        let edit = |path: &Path, edit: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = fs::read(path).unwrap();
            edit(&mut bytes);
            fs::write(path, bytes).unwrap();
        };
        bench.is_made_anew_after("removed", |root| fs::remove_file(artifact(root)).unwrap());
        bench.is_made_anew_after("cut", |root| {
            edit(&artifact(root), &|bytes| bytes.truncate(100))
        });
        bench.is_made_anew_after("emptied", |root| edit(&artifact(root), &Vec::clear));
        bench.is_made_anew_after("longer", |root| {
            edit(&artifact(root), &|bytes| bytes.push(0))
        });
        bench.is_made_anew_after("no seal", |root| fs::remove_file(seal(root)).unwrap());
        bench.is_made_anew_after("cut seal", |root| {
            edit(&seal(root), &|bytes| bytes.truncate(31))
        });
        bench.is_made_anew_after("edited seal", |root| {
            edit(&seal(root), &|bytes| bytes[31] ^= 1)
        });
        bench.is_made_anew_after("unkeyed seal", |root| {
            let digest = blake3::hash(&fs::read(artifact(root)).unwrap());
            fs::write(seal(root), digest.as_bytes()).unwrap();
        });
        bench.is_made_anew_after("another key", |root| {
            fs::write(root.join(KEY_FILE), [7; 32]).unwrap();
        });
        bench.is_made_anew_after("no key", |root| {
            fs::remove_file(root.join(KEY_FILE)).unwrap()
        });
        bench.is_made_anew_after("cut key", |root| {
            fs::write(root.join(KEY_FILE), [7]).unwrap()
        });
        for part in 0..16 {
            bench.is_made_anew_after(&format!("edited {part}"), |root| {
                edit(&artifact(root), &|bytes| {
                    let at = bytes.len() * part / 16;
                    bytes[at] ^= 0x40;
                });
            });
        }
    }

    /// Both are sealed by the same key: the name has to be sealed as well.
    #[test]
    fn an_artifact_does_not_pass_for_another() {
        let bench = Bench::new();
        bench.is_made_anew_after("other artifact", |root| {
            let other = "artifacts/other";
            assert!(bench.load(root, other, b'b').0);
            fs::rename(root.join(other), root.join(NAME)).unwrap();
            fs::rename(root.join(seal_name(other)), root.join(seal_name(NAME))).unwrap();
        });
    }

    /// Sealed and of the right name, but made by a compiler with other settings.
    #[test]
    fn an_artifact_that_does_not_fit_the_engine_is_made_anew() {
        let bench = Bench::new();
        bench.is_made_anew_after("other settings", |root| {
            let other = Engine::new(wasmtime::Config::new().epoch_interruption(false)).unwrap();
            let code = other.precompile_module(&module(b'a')).unwrap();
            let key: [u8; 32] = fs::read(root.join(KEY_FILE)).unwrap().try_into().unwrap();
            let seal = sealer(&key, NAME).update(&code).finalize();
            fs::write(root.join(NAME), code).unwrap();
            fs::write(root.join(seal_name(NAME)), seal.as_bytes()).unwrap();
        });
    }

    #[test]
    fn what_an_artifact_is_made_from_names_it() {
        let bench = Bench::new();
        let digest = Digest::of(b"guest");
        let own = name(&bench.engine, bench.target, digest, digest);
        let quick = engine(bench.target, Allocation::OnDemand, Effort::Quick).unwrap();
        assert_ne!(own, name(&quick, bench.target, digest, digest));
        assert_ne!(
            own,
            name(&bench.engine, bench.target, Digest::of(b""), digest)
        );
        assert_ne!(
            own,
            name(&bench.engine, bench.target, digest, Digest::of(b""))
        );
        assert_eq!(own, name(&bench.engine, bench.target, digest, digest));
    }

    #[test]
    fn a_cache_that_cannot_be_written_costs_only_time() {
        let bench = Bench::new();
        let file = bench.folder.path().join("file");
        fs::write(&file, b"not a directory").unwrap();
        for root in [
            file.clone(),
            file.join("below"),
            "/proc/no-such-place".into(),
        ] {
            for _ in 0..2 {
                let (compiled, trouble) = bench.load(&root, NAME, b'a');
                assert!(compiled);
                assert!(
                    trouble.is_some_and(|trouble| !trouble.is_no_space()),
                    "{root:?}"
                );
            }
        }
        assert_eq!(fs::read(&file).unwrap(), b"not a directory");
    }

    #[test]
    fn a_profile_that_does_not_run_here_is_refused() {
        let bench = Bench::new();
        let cache = Cache::new(bench.folder.path().to_owned());
        let foreign = CpuProfile::ALL
            .into_iter()
            .find(|profile| !profile.runs_here())
            .unwrap();
        let artifacts = Artifacts {
            cache: &cache,
            target: Target::here(foreign),
        };
        let refused = artifacts.load(&bench.engine, NAME, || Ok(module(b'a')));
        assert!(matches!(
            refused,
            Err(HostError::ProfileNotSupported { .. })
        ));
    }
}
