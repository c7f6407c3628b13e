//! The host: a guest made ready, and slots that run calls.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ppwasm_proto::{Digest, FunctionBundle, Limits};

use crate::base::{Base, Step};
use crate::budget::Budget;
use crate::cache::{Cache, CacheError};
use crate::cpu::{Bounds, CpuProfile, Target};
use crate::engine::{HOST_STACK_BYTES, WASM_STACK_BYTES};
use crate::error::{HostError, LoadError};
use crate::function::{self, Function, Output, changed_pages};
#[cfg(feature = "compile")]
use crate::guest::GuestFolder;
use crate::image::{Image, ImageError};
use crate::instance::{Instance, Request};
use crate::parts::GuestParts;
use crate::pool::{Pool, Run};
use crate::room::AddressSpace;
use crate::slot::{self, Slot, StartPath};
use crate::sys::{self, Overlay, PAGE_BYTES};
use crate::task::{CancelToken, Report, Task};
use crate::wasi::JobIo;
use crate::watchdog::{Deadlines, Watchdog};

/// Time to load a bundle, which imports its modules.
const LOAD_TIME_MAX: Duration = Duration::from_secs(60);
/// Slots that one host may have.
pub const SLOTS_MAX: usize = 1024;

/// Runs Python functions, each call in a sandbox of its own.
///
/// Making one opens the guest; the first time on a machine that takes seconds, because the guest is
/// compiled for it. A host may be shared between threads.
///
/// Dropping a host ends the calls that wait with [`HostError::Stopped`] and waits for those that run: cancel them first if that
/// is not wanted.
pub struct Host {
    base: Arc<Base>,
    start_path: StartPath,
    pool: Pool,
    slots_max: usize,
    cache_trouble: Option<CacheError>,
}

/// How a [`Host`] is to be made. See [`Host::builder`].
pub struct HostBuilder {
    guest: Option<PathBuf>,
    parts: Option<Box<GuestParts>>,
    cache: Option<PathBuf>,
    slots: Option<usize>,
    memory_bytes: Option<u64>,
    start_path: StartPath,
    profile: Option<CpuProfile>,
    bounds: Option<Bounds>,
    progress: Box<dyn FnMut(Step)>,
}

/// What the overlay start path needs of the kernel; see [`Host::kernel_features`].
#[derive(Debug)]
pub struct KernelFeatures {
    /// Sealed memory files that can be mapped privately.
    pub memory_file: Result<(), HostError>,
    /// A way to tell which pages a call has changed.
    pub changed_pages: std::io::Result<ChangedPages>,
}

/// How the kernel tells which pages a call has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChangedPages {
    /// By the `PAGEMAP_SCAN` call (Linux 6.7).
    PagemapScan,
    /// By `/proc/self/pagemap`.
    ProcPagemap,
}

impl HostBuilder {
    /// Uses the guest in this folder instead of looking for one.
    #[must_use]
    pub fn guest(mut self, folder: impl Into<PathBuf>) -> Self {
        self.guest = Some(folder.into());
        self
    }

    /// Uses a guest that somebody else has prepared: nothing is compiled, and no guest folder is needed. CPU profile and
    /// cache directory are those of the parts.
    #[must_use]
    pub fn parts(mut self, parts: GuestParts) -> Self {
        self.parts = Some(Box::new(parts));
        self
    }

    /// Uses this cache directory instead of the user's.
    #[must_use]
    pub fn cache(mut self, folder: impl Into<PathBuf>) -> Self {
        self.cache = Some(folder.into());
        self
    }

    /// Runs up to so many calls at a time; as many as the machine has cores unless said. At most
    /// [`SLOTS_MAX`], and not more than the address space has room for: [`Host::slots`] tells.
    #[must_use]
    pub fn slots(mut self, slots: usize) -> Self {
        self.slots = Some(slots);
        self
    }

    /// Takes the machine for one with so many bytes of memory; else it asks the system, control groups included. Calls
    /// whose memories would together grow beyond five eighths of it, 192 MiB for the host itself taken off, are not run here
    /// to their end: the one that asks last ends with [`HostError::System`].
    #[must_use]
    pub const fn memory_bytes(mut self, bytes: u64) -> Self {
        self.memory_bytes = Some(bytes);
        self
    }

    /// Uses this start path.
    #[must_use]
    pub fn start_path(mut self, path: StartPath) -> Self {
        self.start_path = path;
        self
    }

    /// Compiles for this CPU profile instead of the strongest that runs here.
    #[must_use]
    pub fn cpu_profile(mut self, profile: CpuProfile) -> Self {
        self.profile = Some(profile);
        self
    }

    /// Keeps sandboxes inside their memory in this way instead of the one that leaves room for all slots.
    #[must_use]
    pub fn bounds(mut self, bounds: Bounds) -> Self {
        self.bounds = Some(bounds);
        self
    }

    /// Is told when a step begins that takes seconds.
    #[must_use]
    pub fn on_progress(mut self, progress: impl FnMut(Step) + 'static) -> Self {
        self.progress = Box::new(progress);
        self
    }

    /// Makes the host.
    ///
    /// # Errors
    ///
    /// There is no guest, it is damaged, or this machine cannot run it.
    pub fn build(mut self) -> Result<Host, HostError> {
        let slots = self.slots.unwrap_or_else(|| {
            std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
        });
        let (base, cache_trouble) = match self.parts.take() {
            Some(parts) => parts.into_base()?,
            None => self.open_folder(slots)?,
        };
        let base = Arc::new(base);
        let watchdog = Watchdog::start().map_err(|source| HostError::System {
            action: "start a thread",
            source,
        })?;
        let watchdog = Arc::new(watchdog);
        let room = AddressSpace::probe().slots(base.target().bounds());
        // With less room than one needs it is tried all the same: the error says more than a guess.
        let slots_max = room.unwrap_or(SLOTS_MAX).clamp(1, SLOTS_MAX);
        let memory_bytes = self.memory_bytes.or_else(sys::machine_memory);
        let budget = Budget::of_machine(memory_bytes);
        let pool = Pool::new(Arc::clone(&base), watchdog, budget, self.start_path);
        pool.set_slots(slots.min(slots_max))?;
        Ok(Host {
            base,
            start_path: self.start_path,
            pool,
            slots_max,
            cache_trouble,
        })
    }

    #[cfg(feature = "compile")]
    fn open_folder(&mut self, slots: usize) -> Result<(Base, Option<CacheError>), HostError> {
        let folder = match self.guest.take() {
            Some(folder) => folder,
            None => GuestFolder::find()?,
        };
        let cache = Cache::new(self.cache.take().unwrap_or_else(Cache::default_root));
        let profile = self.profile.or_else(CpuProfile::detect);
        let target = Target::here(profile.ok_or(HostError::NoProfile)?);
        let target = match self.bounds {
            Some(bounds) => target.with_bounds(bounds),
            None => target.fitting(slots),
        };
        crate::make::open(&folder, target, cache, &mut self.progress)
    }

    #[cfg(not(feature = "compile"))]
    fn open_folder(&mut self, _: usize) -> Result<(Base, Option<CacheError>), HostError> {
        Err(HostError::NoCompiler)
    }
}

impl Host {
    /// Begins a host with the defaults: the guest found beside the program, the user's cache directory, a
    /// slot for each core.
    #[must_use]
    pub fn builder() -> HostBuilder {
        HostBuilder {
            guest: None,
            parts: None,
            cache: None,
            slots: None,
            memory_bytes: None,
            start_path: StartPath::Best,
            profile: None,
            bounds: None,
            progress: Box::new(|_| ()),
        }
    }

    /// Loads a function bundle: imports its module in a sandbox and takes the image.
    ///
    /// # Errors
    ///
    /// The module raises, the function is not in it, or this machine could not run it.
    pub fn load(&self, bundle: &FunctionBundle) -> Result<Function, LoadError> {
        // Guest code needs a large stack, which the caller may not have.
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new()
                .name("ppwasm-load".into())
                .stack_size(WASM_STACK_BYTES + HOST_STACK_BYTES)
                .spawn_scoped(scope, || self.load_here(bundle))
                .map_err(|source| HostError::System {
                    action: "start a thread",
                    source,
                })?;
            match thread.join() {
                Ok(loaded) => loaded,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    fn load_here(&self, bundle: &FunctionBundle) -> Result<Function, LoadError> {
        let message = bundle.to_bytes();
        let limits = Limits {
            wall_time_max: LOAD_TIME_MAX,
            ..Limits::default()
        };
        let header = self.base.header();
        let mut instance = self.base.fresh_instance()?;
        let overlay = self.watch(&mut instance);
        let watchdog = self.pool.watchdog();
        let watch = watchdog
            .add(self.base.on_demand())
            .map_err(|source| HostError::System {
                action: "watch a sandbox",
                source,
            })?;
        let state = instance.state_mut();
        state.deadlines = Deadlines::within(LOAD_TIME_MAX);
        state.memory_bytes_max = limits.memory_bytes_max;
        let io = JobIo {
            stdout_bytes_max: usize::try_from(limits.stdout_bytes_max).unwrap_or(usize::MAX),
            stderr_bytes_max: usize::try_from(limits.stderr_bytes_max).unwrap_or(usize::MAX),
            scratch: slot::scratch_limits(&limits),
            ..JobIo::default()
        };
        state.wasi.reset(self.base.wasi(), io);
        let answer = instance.request(
            (watchdog, &watch),
            Request::Load,
            &message,
            header.request_buffer,
            limits.result_bytes_max,
        );
        instance.check_machine()?;
        let memory_refused = instance.state().memory_refused;
        match slot::outcome(answer, &limits, memory_refused) {
            ppwasm_proto::Outcome::Succeeded { .. } => {}
            ppwasm_proto::Outcome::Raised(exception) => return Err(LoadError::Raised(exception)),
            ppwasm_proto::Outcome::Trapped { cause } => return Err(LoadError::Trapped(cause)),
            ppwasm_proto::Outcome::LimitExceeded { limit, .. } => {
                return Err(LoadError::LimitExceeded { limit });
            }
            ppwasm_proto::Outcome::Cancelled | ppwasm_proto::Outcome::Abandoned => {
                return Err(HostError::Stopped.into());
            }
        }
        if message.len() > header.request_buffer.len as usize {
            // The guest made a larger buffer for the bundle; calls find the static one again.
            instance.request_buffer(header.request_buffer.len)?;
        }
        if instance.stack_pointer() != header.stack_pointer {
            return Err(HostError::Image(ImageError::InvalidHeader).into());
        }
        let wasi = instance
            .state()
            .wasi
            .snapshot()
            .map_err(HostError::from)?
            .to_bytes();
        let written = &mut instance.state_mut().wasi;
        let (stdout, stderr) = (written.take_stdout(), written.take_stderr());
        let image = self.image_of(&instance, overlay, bundle.digest(), wasi)?;
        Ok(Function::new(&self.base, image, Output { stdout, stderr })?)
    }

    /// Has the kernel tell which pages loading changes, where it can.
    fn watch(&self, instance: &mut Instance) -> Option<Overlay> {
        let image = self.base.mapping().ok()?;
        sys::pagemap_scan_available().ok()?;
        let start = std::ptr::NonNull::new(instance.memory_base())?;
        if instance.memory_bytes() != image.bytes().len() as u64 {
            return None;
        }
        // SAFETY: as for a slot's overlay: an instance made on demand, held exclusively, whose memory is
        // as long as the image and stays mapped for as long as the overlay is used below.
        unsafe { Overlay::map(start, image) }.ok()
    }

    fn image_of(
        &self,
        instance: &Instance,
        overlay: Option<Overlay>,
        bundle: Digest,
        wasi: Vec<u8>,
    ) -> Result<Image, HostError> {
        let memory = instance.memory();
        let base = self.base.memory()?;
        let all = u32::try_from(memory.len() / PAGE_BYTES).unwrap_or(u32::MAX);
        let mut runs = Vec::new();
        let watched = overlay.and_then(|mut overlay| {
            let pages = u32::try_from(overlay.len() / PAGE_BYTES).ok()?;
            overlay.written(&mut runs).ok()?;
            Some(pages)
        });
        let changed = match watched {
            Some(pages) => {
                let written = runs.iter().flat_map(|&(first, count)| first..first + count);
                changed_pages(base, memory, written.chain(pages..all))
            }
            None => changed_pages(base, memory, 0..all),
        };
        let header = self.base.header();
        Ok(Image::new(
            function::kind(self.base.digest(), bundle),
            memory.len() as u64,
            header.stack_pointer,
            header.request_buffer,
            header.trap_function,
            wasi,
            changed.into_iter(),
        ))
    }

    /// Makes a function from an image that was saved or received.
    ///
    /// # Errors
    ///
    /// The image is on another base: of another guest or another version.
    pub fn load_image(&self, image: Image) -> Result<Function, HostError> {
        Function::new(&self.base, image, Output::default())
    }

    /// Runs a call and waits for its end. It waits for a free slot first.
    ///
    /// # Errors
    ///
    /// This machine could not run it. How the call itself ended is in the report.
    pub fn run(&self, function: &Function, task: Task) -> Result<Report, HostError> {
        self.start(function, task).wait()
    }

    /// Queues a call; the returned handle waits for it or cancels it.
    pub fn start(&self, function: &Function, task: Task) -> Run {
        self.pool.start(function.clone(), task)
    }

    /// Queues a call and has `done` called with the report, on the slot's thread.
    pub fn start_with(
        &self,
        function: &Function,
        task: Task,
        done: impl FnOnce(Result<Report, HostError>) + Send + 'static,
    ) -> CancelToken {
        self.pool.start_with(function.clone(), task, Box::new(done))
    }

    /// Changes how many calls run at a time, also while calls run: with fewer slots, those that run
    /// are finished. Not more than there is room for.
    ///
    /// # Errors
    ///
    /// No thread could be started; the slots that there are stay.
    pub fn set_slots(&self, slots: usize) -> Result<(), HostError> {
        self.pool.set_slots(slots.min(self.slots_max))
    }

    /// How many calls may run at a time.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.pool.slots()
    }

    /// A slot for the caller's own thread, beside the host's. The thread needs 17 MiB of stack.
    ///
    /// # Errors
    ///
    /// The system cannot give what the start path needs.
    pub fn slot(&self) -> Result<Slot, HostError> {
        self.pool.slot(self.start_path)
    }

    /// Like [`Host::slot`] with a start path of the caller's choice.
    ///
    /// # Errors
    ///
    /// As for [`Host::slot`].
    pub fn slot_with(&self, path: StartPath) -> Result<Slot, HostError> {
        self.pool.slot(path)
    }

    /// Version of the Python in the guest.
    #[must_use]
    pub fn python_version(&self) -> &str {
        self.base.guest().python_version()
    }

    /// The guest's digest: same digest, same results.
    #[must_use]
    pub fn guest_digest(&self) -> Digest {
        self.base.guest().digest()
    }

    /// The base image's digest.
    #[must_use]
    pub fn base_digest(&self) -> Digest {
        self.base.digest()
    }

    /// The profile that the guest is compiled for.
    #[must_use]
    pub fn cpu_profile(&self) -> CpuProfile {
        self.base.target().profile()
    }

    /// What its native code is for.
    #[must_use]
    pub fn target(&self) -> Target {
        self.base.target()
    }

    /// Why the cache could not be written, if so. Everything works, and is prepared anew each time.
    #[must_use]
    pub fn cache_trouble(&self) -> Option<&CacheError> {
        self.cache_trouble.as_ref()
    }

    /// The folder that the guest was found in; `None` when it was given in parts.
    #[must_use]
    pub fn guest_folder(&self) -> Option<&std::path::Path> {
        self.base.guest().folder()
    }

    /// What the kernel offers for the overlay start path.
    #[must_use]
    pub fn kernel_features(&self) -> KernelFeatures {
        let changed_pages = sys::pagemap_scan_available().map(|scan| {
            if scan {
                ChangedPages::PagemapScan
            } else {
                ChangedPages::ProcPagemap
            }
        });
        KernelFeatures {
            memory_file: self.base.mapping().map(|_| ()),
            changed_pages,
        }
    }

    /// The cache directory that applies when none is given.
    #[must_use]
    pub fn default_cache() -> PathBuf {
        Cache::default_root()
    }
}
