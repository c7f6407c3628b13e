//! The wasmtime engines: every setting in one place, and the clock that interrupts running guests.
//!
//! All engines of a process share the settings that are compiled into an artifact, so one artifact
//! serves both start paths; they differ only in where instances get their memory.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use wasmtime::{
    Config, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig,
    RegallocAlgorithm,
};

use crate::cpu::CpuProfile;

/// Addresses reserved for one linear memory: all that 32 bits can name, so that no access needs a
/// bounds check.
const MEMORY_RESERVATION_BYTES: u64 = 4 << 30;
/// Inaccessible addresses after it, for constant offsets that are folded into an access.
const MEMORY_GUARD_BYTES: u64 = 32 << 20;
/// Native stack that guest code may use. CPython's own limits on recursion end a program long
/// before this; the module's shadow stack is separate.
pub(crate) const WASM_STACK_BYTES: usize = 16 << 20;
/// Stack that a thread needs besides: for the host's own frames below and above the guest's.
pub(crate) const HOST_STACK_BYTES: usize = 1 << 20;
/// How often running guests look at their limits. A tenth of what is promised (100 ms).
pub(crate) const TICK: Duration = Duration::from_millis(10);
/// Table entries of one instance: CPython has about 12,000.
const TABLE_ELEMENTS_MAX: usize = 100_000;
/// Names this set of settings in an artifact's key, beside wasmtime's own hash of them.
pub(crate) const SETTINGS_VERSION: &str = "1";

/// Where an engine's instances get their memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Allocation {
    /// A mapping of its own for each instance: start path E keeps its instances.
    OnDemand,
    /// wasmtime's pool, for at most so many instances at a time: start path D.
    Pooled { instances_max: u32 },
}

/// How much work the compiler does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    /// Good code, slowly: what runs jobs.
    Full,
    /// Any code, quickly: what starts the interpreter once to make the base image.
    Quick,
}

/// Makes an engine.
pub(crate) fn engine(
    profile: CpuProfile,
    allocation: Allocation,
    effort: Effort,
) -> wasmtime::Result<Engine> {
    let mut config = Config::new();
    config.target(&profile.triple())?;
    for flag in profile.flags() {
        // SAFETY: the flags name instructions of the profile; an artifact is loaded only after
        // `CpuProfile::runs_here` has said that this CPU has them.
        unsafe { config.cranelift_flag_enable(flag) };
    }
    match effort {
        Effort::Full => config.cranelift_opt_level(OptLevel::Speed),
        Effort::Quick => config
            .cranelift_opt_level(OptLevel::None)
            .cranelift_regalloc_algorithm(RegallocAlgorithm::SinglePass),
    };
    config
        .cranelift_nan_canonicalization(true)
        .epoch_interruption(true)
        .max_wasm_stack(WASM_STACK_BYTES)
        .async_stack_size(WASM_STACK_BYTES + HOST_STACK_BYTES)
        .memory_reservation(MEMORY_RESERVATION_BYTES)
        .memory_guard_size(MEMORY_GUARD_BYTES)
        .memory_may_move(false)
        .memory_init_cow(true)
        .memory_guaranteed_dense_image_size(MEMORY_RESERVATION_BYTES)
        .generate_address_map(false)
        .native_unwind_info(false)
        .wasm_backtrace_max_frames(None)
        .wasm_relaxed_simd(false)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .parallel_compilation(true);
    match allocation {
        Allocation::OnDemand => config.allocation_strategy(InstanceAllocationStrategy::OnDemand),
        Allocation::Pooled { instances_max } => {
            let mut pool = PoolingAllocationConfig::new();
            pool.total_core_instances(instances_max)
                .total_memories(instances_max)
                .total_tables(instances_max)
                .max_unused_warm_slots(instances_max)
                .table_elements(TABLE_ELEMENTS_MAX)
                .max_core_instance_size(1 << 20)
                .max_memory_size(MEMORY_RESERVATION_BYTES as usize);
            config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        }
    };
    Engine::new(&config)
}

/// Advances the epoch of engines while any guest runs, so that running guests look at their limits.
///
/// A thread of its own; it sleeps without waking while nothing runs.
pub(crate) struct Ticker {
    shared: Arc<TickerState>,
    thread: Option<JoinHandle<()>>,
}

struct TickerState {
    running: AtomicUsize,
    engines: Mutex<Vec<Engine>>,
    stop: AtomicBool,
}

/// Says that a guest runs, until dropped.
pub(crate) struct Running<'a>(&'a TickerState);

impl Ticker {
    pub(crate) fn start() -> std::io::Result<Self> {
        let shared = Arc::new(TickerState {
            running: AtomicUsize::new(0),
            engines: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let state = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("ppwasm-ticker".into())
            .stack_size(64 << 10)
            .spawn(move || state.tick())?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Has the epoch of this engine advance as well. Adding an engine again changes nothing.
    pub(crate) fn add(&self, engine: &Engine) {
        let mut engines = self
            .shared
            .engines
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !engines.iter().any(|known| Engine::same(known, engine)) {
            engines.push(engine.clone());
        }
    }

    pub(crate) fn running(&self) -> Running<'_> {
        if self.shared.running.fetch_add(1, Ordering::AcqRel) == 0
            && let Some(thread) = &self.thread
        {
            thread.thread().unpark();
        }
        Running(&self.shared)
    }
}

impl TickerState {
    fn tick(&self) {
        // Short jobs come and go within a tick; parking after a few idle ticks keeps the wake-up,
        // a system call, off their path.
        const IDLE_TICKS_BEFORE_PARKING: u32 = 100;
        let mut idle_ticks = 0;
        while !self.stop.load(Ordering::Acquire) {
            if self.running.load(Ordering::Acquire) > 0 {
                idle_ticks = 0;
                for engine in self
                    .engines
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .iter()
                {
                    engine.increment_epoch();
                }
            } else {
                idle_ticks += 1;
            }
            if idle_ticks > IDLE_TICKS_BEFORE_PARKING {
                std::thread::park();
                idle_ticks = 0;
            } else {
                std::thread::park_timeout(TICK);
            }
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // The thread only ticks; it cannot have panicked on anything of ours.
            let _ = thread.join();
        }
    }
}
