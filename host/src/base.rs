//! The base image: the started interpreter, and the compiled module that carries it.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use ppwasm_proto::Digest;
use wasmtime::{Engine, InstancePre, Module};

use crate::cpu::{Bounds, Target};
use crate::engine::{self, Allocation, Effort};
use crate::error::HostError;
use crate::guest::Guest;
use crate::image::{self, Header};
use crate::instance::{Instance, State, link};
use crate::sys::interrupt::CodeMap;
use crate::sys::{ImageMapping, PAGE_BYTES};
use crate::wasi::{JobIo, Wasi, WasiSnapshot};
use crate::watchdog::Deadlines;

/// Changes whenever the same guest gives another base image: names the image in the cache.
pub(crate) const RECIPE: &str = "2";
/// The guest's function that only traps.
pub(crate) const TRAP_EXPORT: &str = "ppwasm_trap";
/// Starting the interpreter takes a second; code compiled in haste on a slow board, minutes.
pub(crate) const START_TIME_MAX: Duration = Duration::from_secs(600);

/// A guest whose interpreter has been started, compiled for this machine.
pub(crate) struct Base {
    guest: Guest,
    target: Target,
    header: Header,
    digest: Digest,
    wasi: WasiSnapshot,
    code: Code,
    /// Instances with a memory mapping of their own.
    on_demand: Prepared,
    /// Instances out of wasmtime's pool; made when first used.
    pooled: OnceLock<Prepared>,
    making_pool: Mutex<()>,
    memory: OnceLock<ImageMapping>,
    /// The same where images cannot be mapped.
    copied: OnceLock<Box<[u8]>>,
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
        // An interpreter's code is never where the processor is: there is nothing to stop it in.
        let functions = module
            .functions()
            .filter(|_| !engine.is_pulley())
            .map(|function| (function.offset, function.len));
        let code = Arc::new(CodeMap::new(module.text(), functions, trap.offset));
        let pre = link(&engine, module)?;
        Ok(Self { engine, pre, code })
    }
}

/// Where the artifact comes from, for the engine that needs it second.
pub(crate) enum Code {
    /// It was compiled here, or is in the cache of what was.
    #[cfg(feature = "compile")]
    Compiled(crate::make::Local),
    /// Somebody else compiled it.
    Received(crate::parts::ArtifactSource),
}

/// An image but for its pages.
pub(crate) struct Front {
    pub(crate) header: Header,
    pub(crate) digest: Digest,
}

impl Front {
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, image::ImageError> {
        let (header, digest, _) = image::read_front(bytes)?;
        Ok(Self { header, digest })
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

impl Base {
    /// The base of a guest that is there: from its parts, or made of a guest folder.
    pub(crate) fn new(
        guest: Guest,
        front: Front,
        engine: Engine,
        module: &Module,
        code: Code,
        target: Target,
    ) -> Result<Self, HostError> {
        let wasi = WasiSnapshot::from_bytes(&front.header.wasi, guest.library())?;
        let on_demand = Prepared::new(engine, module, front.header.trap_function)?;
        Ok(Self {
            guest,
            target,
            header: front.header,
            digest: front.digest,
            wasi,
            code,
            on_demand,
            pooled: OnceLock::new(),
            making_pool: Mutex::new(()),
            memory: OnceLock::new(),
            copied: OnceLock::new(),
        })
    }

    pub(crate) fn digest(&self) -> Digest {
        self.digest
    }

    pub(crate) fn guest(&self) -> &Guest {
        &self.guest
    }

    pub(crate) fn target(&self) -> Target {
        self.target
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
    pub(crate) fn pooled(
        &self,
        instances_max: impl FnOnce() -> u32,
    ) -> Result<&Prepared, HostError> {
        if let Some(pooled) = self.pooled.get() {
            return Ok(pooled);
        }
        // Slots begin side by side, and a small address space has no room for a second pool, not for a moment.
        let _making = self
            .making_pool
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(pooled) = self.pooled.get() {
            return Ok(pooled);
        }
        // The pool reserves the addresses of all its instances at once and cannot let a memory move.
        let allocation = match self.target.bounds() {
            Bounds::Guarded => Allocation::Pooled {
                instances_max: instances_max(),
            },
            Bounds::Checked => Allocation::OnDemand,
        };
        let engine = new_engine(self.target, allocation, Effort::Full)?;
        let module = match &self.code {
            #[cfg(feature = "compile")]
            Code::Compiled(local) => local.load_again(&engine, self.target, self.digest)?,
            Code::Received(artifact) => artifact.load(&engine)?,
        };
        let prepared = Prepared::new(engine, &module, self.header.trap_function)?;
        Ok(self.pooled.get_or_init(|| prepared))
    }

    /// The base's memory, from a fresh instance of the artifact: what every call starts from.
    pub(crate) fn memory(&self) -> Result<&[u8], HostError> {
        match self.mapping() {
            Ok(mapping) => Ok(mapping.bytes()),
            // The system has no such mappings, or none left: bytes do as well to be compared with.
            Err(_) => self.copied(),
        }
    }

    fn copied(&self) -> Result<&[u8], HostError> {
        if let Some(copied) = self.copied.get() {
            return Ok(copied);
        }
        let instance = self.fresh_instance()?;
        let memory = instance.memory();
        let mut copied = vec![0; memory.len()].into_boxed_slice();
        for (offset, bytes) in self.held_runs(memory) {
            if let Some(place) = copied.get_mut(offset..offset + bytes.len()) {
                place.copy_from_slice(bytes);
            }
        }
        Ok(self.copied.get_or_init(|| copied))
    }

    pub(crate) fn mapping(&self) -> Result<&ImageMapping, HostError> {
        if let Some(mapping) = self.memory.get() {
            return Ok(mapping);
        }
        let failed = |source| HostError::System {
            action: "map the base image",
            source,
        };
        ImageMapping::check().map_err(failed)?;
        let instance = self.fresh_instance()?;
        let memory = instance.memory();
        let mapping = ImageMapping::new(memory.len(), self.held_runs(memory)).map_err(failed)?;
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

pub(crate) fn new_engine(
    target: Target,
    allocation: Allocation,
    effort: Effort,
) -> Result<Engine, HostError> {
    engine::engine(target, allocation, effort).map_err(|source| HostError::Engine {
        source: source.into(),
    })
}

const _: () = assert!(65_536 % PAGE_BYTES == 0);
