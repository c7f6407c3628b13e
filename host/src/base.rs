//! The base image: the started interpreter, and the compiled module that carries it.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ppwasm_proto::Digest;
use wasmtime::{Engine, InstancePre, Module};

use crate::artifact::{self, Artifacts};
use crate::cache::{Cache, CacheError};
use crate::cpu::CpuProfile;
use crate::engine::{self, Allocation, Effort};
use crate::error::HostError;
use crate::function::non_zero_pages;
use crate::guest::Guest;
use crate::image::{self, Header, Image, ImageKind};
use crate::instance::{Instance, State, link};
use crate::module;
use crate::sys::interrupt::CodeMap;
use crate::sys::{ImageMapping, PAGE_BYTES};
use crate::wasi::{JobIo, Wasi, WasiSnapshot};
use crate::watchdog::Deadlines;

/// Changes whenever the same guest gives another base image: names the image in the cache.
const RECIPE: &str = "2";
/// The guest's function that only traps.
const TRAP_EXPORT: &str = "ppwasm_trap";
/// Bytes of the guest's static request buffer.
const REQUEST_BUFFER_BYTES: u32 = 64 << 10;
/// Starting the interpreter takes a second; code compiled in haste on a slow board, minutes.
const START_TIME_MAX: Duration = Duration::from_secs(600);

/// A guest whose interpreter has been started, compiled for this machine.
pub(crate) struct Base {
    guest: Guest,
    profile: CpuProfile,
    header: Header,
    digest: Digest,
    wasi: WasiSnapshot,
    cache: Cache,
    /// Instances with a memory mapping of their own.
    on_demand: Prepared,
    /// Instances out of wasmtime's pool; made when first used.
    pooled: OnceLock<Prepared>,
    memory: OnceLock<ImageMapping>,
}

/// A module ready to be instantiated.
pub(crate) struct Prepared {
    pub(crate) engine: Engine,
    pub(crate) pre: InstancePre<State>,
    /// Where its functions lie, so that they can be stopped.
    pub(crate) code: Arc<CodeMap>,
}

impl Prepared {
    fn new(engine: Engine, module: &Module, trap_function: u32) -> Result<Self, HostError> {
        let trap = module
            .functions()
            .find(|function| function.index.as_u32() == trap_function)
            .ok_or(HostError::MissingExport { name: TRAP_EXPORT })?;
        let functions = module
            .functions()
            .map(|function| (function.offset, function.len));
        let code = Arc::new(CodeMap::new(module.text(), functions, trap.offset));
        let pre = link(&engine, module)?;
        Ok(Self { engine, pre, code })
    }
}

/// Tells somebody who waits what takes long.
pub(crate) type Progress<'a> = &'a mut dyn FnMut(Step);

/// A step of preparing a guest that takes seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// The interpreter is started once, to make the base image.
    StartingInterpreter,
    /// The guest is compiled for this machine's CPU.
    Compiling,
}

/// An artifact that was found in the cache before it was known to be the one.
pub(crate) struct Prefetched {
    engine: Engine,
    name: String,
    module: Module,
}

impl Prefetched {
    /// Loads the artifact that belongs to the base image in the cache, if both are there. It can be done while the
    /// guest's library is read.
    pub(crate) fn find(guest: Digest, profile: CpuProfile, cache: &Cache) -> Option<Self> {
        let front = cache.read_front(&image_name(guest)).ok()??;
        let (_, digest, _) = image::read_front(&front).ok()?;
        let engine = new_engine(profile, Allocation::OnDemand, Effort::Full).ok()?;
        let name = artifact::name(&engine, profile, guest, digest);
        let module = Artifacts { cache, profile }.find(&engine, &name)?;
        Some(Self {
            engine,
            name,
            module,
        })
    }
}

impl Base {
    /// Opens the guest's base image and artifact, making them if the cache has none that hold.
    pub(crate) fn open(
        guest: Guest,
        profile: CpuProfile,
        cache: Cache,
        prefetched: Option<Prefetched>,
        progress: Progress<'_>,
    ) -> Result<(Self, Option<CacheError>), HostError> {
        let image_name = image_name(guest.digest());
        // A header that cannot be read, or is another version's, is as good as none.
        let front = cache.read_front(&image_name).ok().flatten();
        let usable = front.as_deref().and_then(|front| {
            let (header, digest, _) = image::read_front(front).ok()?;
            let wasi = WasiSnapshot::from_bytes(&header.wasi, guest.library()).ok()?;
            Some((header, digest, wasi))
        });
        let mut image = None;
        let (header, digest, wasi) = match usable {
            Some(usable) => usable,
            None => {
                cache.remove(&image_name);
                let made = base_image(&guest, profile, &cache, &image_name, progress)?;
                let wasi = WasiSnapshot::from_bytes(&made.header().wasi, guest.library())?;
                let usable = (made.header().clone(), made.digest(), wasi);
                image = Some(made);
                usable
            }
        };
        let engine = match &prefetched {
            Some(prefetched) => prefetched.engine.clone(),
            None => new_engine(profile, Allocation::OnDemand, Effort::Full)?,
        };
        let name = artifact::name(&engine, profile, guest.digest(), digest);
        let (module, trouble) = match prefetched {
            Some(prefetched) if prefetched.name == name => (prefetched.module, None),
            _ => Artifacts {
                cache: &cache,
                profile,
            }
            .load(&engine, &name, || {
                let image = match image.take() {
                    Some(image) => image,
                    None => base_image(&guest, profile, &cache, &image_name, progress)?,
                };
                progress(Step::Compiling);
                Ok(module::with_image(&guest.module()?, &image)?)
            })?,
        };
        let on_demand = Prepared::new(engine, &module, header.trap_function)?;
        let base = Self {
            guest,
            profile,
            header,
            digest,
            wasi,
            cache,
            on_demand,
            pooled: OnceLock::new(),
            memory: OnceLock::new(),
        };
        Ok((base, trouble))
    }

    pub(crate) fn digest(&self) -> Digest {
        self.digest
    }

    pub(crate) fn guest(&self) -> &Guest {
        &self.guest
    }

    pub(crate) fn profile(&self) -> CpuProfile {
        self.profile
    }

    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    pub(crate) fn wasi(&self) -> &WasiSnapshot {
        &self.wasi
    }

    pub(crate) fn on_demand(&self) -> &Prepared {
        &self.on_demand
    }

    /// The pooling engine, for at most `instances_max` guests at a time.
    pub(crate) fn pooled(&self, instances_max: u32) -> Result<&Prepared, HostError> {
        if let Some(pooled) = self.pooled.get() {
            return Ok(pooled);
        }
        let engine = new_engine(
            self.profile,
            Allocation::Pooled { instances_max },
            Effort::Full,
        )?;
        let artifacts = Artifacts {
            cache: &self.cache,
            profile: self.profile,
        };
        let name = artifact::name(&engine, self.profile, self.guest.digest(), self.digest);
        let (module, _) = artifacts.load(&engine, &name, || {
            let image_name = image_name(self.guest.digest());
            let image = base_image(
                &self.guest,
                self.profile,
                &self.cache,
                &image_name,
                &mut |_| (),
            )?;
            Ok(module::with_image(&self.guest.module()?, &image)?)
        })?;
        let prepared = Prepared::new(engine, &module, self.header.trap_function)?;
        Ok(self.pooled.get_or_init(|| prepared))
    }

    /// The base's memory, from a fresh instance of the artifact: what every call starts from.
    pub(crate) fn memory(&self) -> Result<&[u8], HostError> {
        Ok(self.mapping()?.bytes())
    }

    pub(crate) fn mapping(&self) -> Result<&ImageMapping, HostError> {
        if let Some(mapping) = self.memory.get() {
            return Ok(mapping);
        }
        let instance = self.fresh_instance()?;
        let memory = instance.memory();
        let mapping =
            ImageMapping::new(memory.len(), self.held_runs(memory)).map_err(|source| {
                HostError::System {
                    action: "map the base image",
                    source,
                }
            })?;
        Ok(self.memory.get_or_init(|| mapping))
    }

    /// The parts of the base's memory that are not zero, as (offset, bytes).
    pub(crate) fn held_runs<'a>(
        &'a self,
        memory: &'a [u8],
    ) -> impl Iterator<Item = (usize, &'a [u8])> {
        let mut pages = self
            .header
            .page_numbers()
            .iter()
            .map(|&page| page as usize)
            .peekable();
        std::iter::from_fn(move || {
            let first = pages.next()?;
            let mut end = first + 1;
            while pages.next_if_eq(&end).is_some() {
                end += 1;
            }
            Some((
                first * PAGE_BYTES,
                memory.get(first * PAGE_BYTES..end * PAGE_BYTES)?,
            ))
        })
    }

    /// A guest in the state of the base image.
    pub(crate) fn fresh_instance(&self) -> Result<Instance, HostError> {
        let wasi = Wasi::from_snapshot(self.guest.library().clone(), &self.wasi, JobIo::default());
        Instance::new(
            &self.on_demand.pre,
            State::new(wasi, Deadlines::within(START_TIME_MAX)),
        )
    }
}

fn new_engine(
    profile: CpuProfile,
    allocation: Allocation,
    effort: Effort,
) -> Result<Engine, HostError> {
    engine::engine(profile, allocation, effort).map_err(|source| HostError::Engine {
        source: source.into(),
    })
}

fn image_name(guest: Digest) -> String {
    format!("images/base-{guest}-{RECIPE}")
}

/// The base image out of the cache, or made and put there.
fn base_image(
    guest: &Guest,
    profile: CpuProfile,
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
    let image = start_interpreter(guest, profile, progress)?;
    if lock.is_ok() {
        // Without room in the cache it is made again next time; nothing else is lost.
        let _ = cache.write(name, &[&image.to_bytes()]);
    }
    Ok(image)
}

/// Starts the interpreter and takes its memory.
fn start_interpreter(
    guest: &Guest,
    profile: CpuProfile,
    progress: Progress<'_>,
) -> Result<Image, HostError> {
    progress(Step::StartingInterpreter);
    let engine = new_engine(profile, Allocation::OnDemand, Effort::Quick)?;
    let bytes = guest.module()?;
    let trap_function = module::exported_function(&bytes, TRAP_EXPORT)
        .ok_or(HostError::MissingExport { name: TRAP_EXPORT })?;
    let module = Module::new(&engine, bytes).map_err(|source| HostError::Compile {
        profile,
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
            .stack_size(engine::WASM_STACK_BYTES + engine::HOST_STACK_BYTES)
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

const _: () = assert!(65_536 % PAGE_BYTES == 0);
