//! Making what a guest needs to run: its base image, by starting the interpreter once, and artifacts.
//!
//! Both are made by whoever has the compiler: a machine for itself, or a coordinator for its workers. What is made for
//! this machine is kept in the cache.

use std::path::Path;

use ppwasm_proto::wire::{BlobRef, MANIFEST_FORMAT, Text};
use ppwasm_proto::{ArtifactManifest, Digest};
use wasmtime::{Engine, Module};

use crate::artifact::{self, Artifacts};
use crate::base::{Base, Code, Front, Progress, START_TIME_MAX, Step, TRAP_EXPORT, new_engine};
use crate::cache::{Cache, CacheError};
use crate::cpu::{CpuProfile, Target};
use crate::engine::{
    Allocation, Effort, HOST_STACK_BYTES, WASM_STACK_BYTES, WASMTIME_VERSION, engine_digest,
};
use crate::error::HostError;
use crate::function::non_zero_pages;
use crate::guest::{Guest, GuestFolder};
use crate::image::{Image, ImageKind};
use crate::instance::{Instance, State, link};
use crate::module;
use crate::wasi::{JobIo, Library, Wasi, WasiSnapshot};
use crate::watchdog::Deadlines;

/// Bytes of the guest's static request buffer.
const REQUEST_BUFFER_BYTES: u32 = 64 << 10;

/// A guest compiled for some target: everything that a machine without the guest folder needs, but the library.
pub struct CompiledGuest {
    /// Names all of it, the library included.
    pub manifest: ArtifactManifest,
    /// Native code, with the base image's pages in it.
    pub artifact: Vec<u8>,
    /// The base image but for its pages.
    pub base: Vec<u8>,
}

impl GuestFolder {
    /// Starts the guest's interpreter once and takes the base image: the same on every machine.
    ///
    /// # Errors
    ///
    /// It does not start, or this machine runs no code for it.
    pub fn base_image(&self) -> Result<Image, HostError> {
        let profile = CpuProfile::detect().ok_or(HostError::NoProfile)?;
        let guest = Guest::of_folder(self, self.read_library()?);
        start_interpreter(self, &guest, Target::here(profile), &mut |_| ())
    }

    /// Compiles the guest with its base image, for a target that need not be this machine's.
    ///
    /// # Errors
    ///
    /// `base` is not this guest's, a file cannot be read, or the compiler fails.
    pub fn compile(&self, target: Target, base: &Image) -> Result<CompiledGuest, HostError> {
        let wanted = ImageKind::Base {
            guest: self.digest(),
        };
        if base.header().kind != wanted {
            return Err(crate::image::ImageError::InvalidHeader.into());
        }
        let engine = new_engine(target, Allocation::OnDemand, Effort::Full)?;
        let module = module::with_image(&self.module()?, base)?;
        let artifact = artifact::compile_module(&engine, target, &module)?;
        let base = base.front();
        let manifest = ArtifactManifest {
            format: MANIFEST_FORMAT,
            guest: self.digest(),
            target: Text::truncated(&target.triple()),
            cpu_profile: Text::truncated(&target.name()),
            engine: engine_digest(target),
            engine_version: Text::truncated(&format!("wasmtime {WASMTIME_VERSION}")),
            artifact: BlobRef::of(&artifact),
            base: BlobRef::of(&base),
            library: self.library_blob()?,
            python: Text::truncated(self.python_version()),
        };
        Ok(CompiledGuest {
            manifest,
            artifact,
            base,
        })
    }
}

/// wasmtime's own hash of what an artifact for `target` is compiled with.
///
/// # Errors
///
/// There is no engine for the target.
pub fn compatibility_digest(target: Target) -> Result<Digest, HostError> {
    let engine = new_engine(target, Allocation::OnDemand, Effort::Full)?;
    Ok(artifact::compatibility(&engine))
}

/// A guest folder, and the cache of what was made of it.
pub(crate) struct Local {
    folder: GuestFolder,
    cache: Cache,
}

impl Local {
    /// Loads the artifact for one more engine.
    pub(crate) fn load_again(
        &self,
        engine: &Engine,
        target: Target,
        base: Digest,
    ) -> Result<Module, HostError> {
        let artifacts = Artifacts {
            cache: &self.cache,
            target,
        };
        let guest = self.folder.digest();
        let name = artifact::name(engine, target, guest, base);
        let (module, _) = artifacts.load(engine, &name, || {
            let guest = Guest::of_folder(&self.folder, self.folder.read_library()?);
            let name = image_name(&self.folder);
            let image = base_image(
                &self.folder,
                &guest,
                target,
                &self.cache,
                &name,
                &mut |_| (),
            )?;
            Ok(module::with_image(&self.folder.module()?, &image)?)
        })?;
        Ok(module)
    }
}

/// An artifact that was found in the cache before it was known to be the one.
struct Prefetched {
    engine: Engine,
    name: String,
    module: Module,
}

impl Prefetched {
    /// Loads the artifact that belongs to the base image in the cache, if both are there. It can be done while the
    /// guest's library is read.
    fn find(folder: &GuestFolder, target: Target, cache: &Cache) -> Option<Self> {
        let front = cache.read_front(&image_name(folder)).ok()??;
        let digest = Front::from_bytes(&front).ok()?.digest;
        let engine = new_engine(target, Allocation::OnDemand, Effort::Full).ok()?;
        let name = artifact::name(&engine, target, folder.digest(), digest);
        let module = Artifacts { cache, target }.find(&engine, &name)?;
        Some(Self {
            engine,
            name,
            module,
        })
    }
}

/// Opens a guest folder's base image and artifact, making them if the cache has none that hold.
pub(crate) fn open(
    folder: &Path,
    target: Target,
    cache: Cache,
    progress: Progress<'_>,
) -> Result<(Base, Option<CacheError>), HostError> {
    let folder = GuestFolder::open(folder)?;
    let (library, prefetched) = std::thread::scope(|scope| {
        let library = scope.spawn(|| folder.read_library());
        let prefetched = Prefetched::find(&folder, target, &cache);
        match library.join() {
            Ok(library) => (library, prefetched),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    });
    open_with(folder, library?, target, cache, prefetched, progress)
}

fn open_with(
    folder: GuestFolder,
    library: Library,
    target: Target,
    cache: Cache,
    prefetched: Option<Prefetched>,
    progress: Progress<'_>,
) -> Result<(Base, Option<CacheError>), HostError> {
    let guest = Guest::of_folder(&folder, library);
    let image_name = image_name(&folder);
    // A header that cannot be read, or is another version's, is as good as none.
    let front = cache.read_front(&image_name).ok().flatten();
    let usable = front.as_deref().and_then(|front| {
        let front = Front::from_bytes(front).ok()?;
        WasiSnapshot::from_bytes(&front.header.wasi, guest.library()).ok()?;
        Some(front)
    });
    let mut image = None;
    let front = match usable {
        Some(usable) => usable,
        None => {
            cache.remove(&image_name);
            let made = base_image(&folder, &guest, target, &cache, &image_name, progress)?;
            let front = Front {
                header: made.header().clone(),
                digest: made.digest(),
            };
            image = Some(made);
            front
        }
    };
    let engine = match &prefetched {
        Some(prefetched) => prefetched.engine.clone(),
        None => new_engine(target, Allocation::OnDemand, Effort::Full)?,
    };
    let name = artifact::name(&engine, target, guest.digest(), front.digest);
    let artifacts = Artifacts {
        cache: &cache,
        target,
    };
    let (module, trouble) = match prefetched {
        Some(prefetched) if prefetched.name == name => (prefetched.module, None),
        _ => artifacts.load(&engine, &name, || {
            let image = match image.take() {
                Some(image) => image,
                None => base_image(&folder, &guest, target, &cache, &image_name, progress)?,
            };
            progress(Step::Compiling);
            Ok(module::with_image(&folder.module()?, &image)?)
        })?,
    };
    let code = Code::Compiled(Local { folder, cache });
    let base = Base::new(guest, front, engine, &module, code, target)?;
    Ok((base, trouble))
}

fn image_name(folder: &GuestFolder) -> String {
    format!("images/{}", folder.base_image_name())
}

/// The base image out of the cache, or made and put there.
fn base_image(
    folder: &GuestFolder,
    guest: &Guest,
    target: Target,
    cache: &Cache,
    name: &str,
    progress: Progress<'_>,
) -> Result<Image, HostError> {
    let cached = |cache: &Cache| Image::from_bytes(&cache.read(name).ok()??).ok();
    if let Some(image) = cached(cache) {
        return Ok(image);
    }
    let lock = cache.lock(name);
    if let Some(image) = cached(cache) {
        return Ok(image);
    }
    let image = start_interpreter(folder, guest, target, progress)?;
    if lock.is_ok() {
        // Without room in the cache it is made again next time; nothing else is lost.
        let _ = cache.write(name, &[&image.to_bytes()]);
    }
    Ok(image)
}

/// Starts the interpreter and takes its memory.
fn start_interpreter(
    folder: &GuestFolder,
    guest: &Guest,
    target: Target,
    progress: Progress<'_>,
) -> Result<Image, HostError> {
    progress(Step::StartingInterpreter);
    let engine = new_engine(target, Allocation::OnDemand, Effort::Quick)?;
    let bytes = folder.module()?;
    let trap_function = module::exported_function(&bytes, TRAP_EXPORT)
        .ok_or(HostError::MissingExport { name: TRAP_EXPORT })?;
    let module = Module::new(&engine, bytes).map_err(|source| HostError::Compile {
        profile: target.profile(),
        source: source.into(),
    })?;
    let pre = link(&engine, &module)?;
    let wasi = Wasi::new(guest.library().clone(), JobIo::default());
    // The caller's thread may have a small stack; the guest needs a large one.
    std::thread::scope(|scope| {
        let work = || -> Result<Image, HostError> {
            let mut instance =
                Instance::new(&pre, State::new(wasi, Deadlines::within(START_TIME_MAX)))?;
            let stack_pointer = instance.stack_pointer();
            instance.start()?;
            let request_buffer = instance.request_buffer(REQUEST_BUFFER_BYTES)?;
            if instance.stack_pointer() != stack_pointer {
                return Err(HostError::Module(module::ModuleError::NotSnapshottable));
            }
            let wasi = instance.state().wasi.snapshot()?.to_bytes();
            let memory = instance.memory();
            let pages = non_zero_pages(memory)
                .map(|(page, bytes)| (u32::try_from(page).unwrap_or(u32::MAX), bytes));
            Ok(Image::new(
                ImageKind::Base {
                    guest: guest.digest(),
                },
                memory.len() as u64,
                stack_pointer,
                request_buffer,
                trap_function,
                wasi,
                pages,
            ))
        };
        let thread = std::thread::Builder::new()
            .name("ppwasm-start".into())
            .stack_size(WASM_STACK_BYTES + HOST_STACK_BYTES)
            .spawn_scoped(scope, work)
            .map_err(|source| HostError::System {
                action: "start a thread",
                source,
            })?;
        match thread.join() {
            Ok(image) => image,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
