//! The wasmtime engines: every setting in one place.
//!
//! All engines of a process share the settings that are compiled into an artifact, so one artifact
//! serves both start paths; they differ only in where instances get their memory.

use ppwasm_proto::Digest;
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};
#[cfg(feature = "compile")]
use wasmtime::{OptLevel, RegallocAlgorithm};

use crate::cpu::{Bounds, Target};

/// All that 32 bits can name: the longest that a linear memory gets.
const MEMORY_BYTES_MAX: u64 = 4 << 30;
/// Native stack that guest code may use. CPython's own limits on recursion end a program long
/// before this; the module's shadow stack is separate.
pub(crate) const WASM_STACK_BYTES: usize = 16 << 20;
/// Stack that a thread needs besides: for the host's own frames below and above the guest's.
pub(crate) const HOST_STACK_BYTES: usize = 1 << 20;
/// Table entries of one instance: CPython has about 12,000.
const TABLE_ELEMENTS_MAX: usize = 100_000;
/// Names this set of settings in an artifact's key, beside wasmtime's own hash of them. Grows with every change of
/// `engine`.
pub(crate) const SETTINGS_VERSION: &str = "2";
/// Version of wasmtime that compiles and loads: the one pinned in the manifest.
pub(crate) const WASMTIME_VERSION: &str = "48.0.8";

/// Where an engine's instances get their memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Allocation {
    /// A mapping of its own for each instance: start path E keeps its instances.
    OnDemand,
    /// wasmtime's pool, for at most so many instances at a time: start path D.
    Pooled { instances_max: u32 },
}

/// The addresses of one linear memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Addresses {
    /// Reserved when it is made.
    pub(crate) reservation_bytes: u64,
    /// Inaccessible ones before and after it; an access whose constant offset is smaller needs no check of its own.
    pub(crate) guard_bytes: u64,
    /// Reserved beyond what it needs when it moves, because it grew out of its reservation.
    growth_bytes: u64,
    may_move: bool,
}

impl Addresses {
    pub(crate) const fn of(bounds: Bounds) -> Self {
        match bounds {
            // No access can leave what is reserved.
            Bounds::Guarded => Self {
                reservation_bytes: MEMORY_BYTES_MAX,
                guard_bytes: 32 << 20,
                // Of no use here; wasmtime's own choice, so that its hash of the settings stays what it was.
                growth_bytes: 2 << 30,
                may_move: false,
            },
            // Twice the guest's first 64 MiB, so that an ordinary call never moves its memory.
            Bounds::Checked => Self {
                reservation_bytes: 128 << 20,
                guard_bytes: 64 << 10,
                growth_bytes: 64 << 20,
                may_move: true,
            },
        }
    }
}

/// How much work the compiler does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    /// Good code, slowly: what runs jobs.
    Full,
    /// Any code, quickly: what starts the interpreter once to make the base image.
    #[cfg(feature = "compile")]
    Quick,
}

/// All that code compiled for `target` depends on but the guest and the base image in it: equal digests, and an artifact
/// that one compiles the other can load.
///
/// wasmtime's own hash of its settings needs its compiler, which a worker may not have; this one holds the same choices
/// by name. What wasmtime compares when it loads an artifact comes on top.
#[must_use]
pub fn engine_digest(target: Target) -> Digest {
    let Addresses {
        reservation_bytes: reservation,
        guard_bytes: guard,
        ..
    } = Addresses::of(target.bounds());
    let choices = format!(
        "wasmtime {WASMTIME_VERSION}; settings {SETTINGS_VERSION}; image {image}; base {base}; {target}; flags {flags:?}; \
         epochs {epochs}; stack {WASM_STACK_BYTES}; reservation {reservation}; guard {guard}",
        image = crate::image::FORMAT_VERSION,
        base = crate::base::RECIPE,
        flags = target.profile().flags(),
        epochs = !target.stops_by_signal(),
    );
    Digest::of(choices.as_bytes())
}

/// Makes an engine.
pub(crate) fn engine(
    target: Target,
    allocation: Allocation,
    effort: Effort,
) -> wasmtime::Result<Engine> {
    let addresses = Addresses::of(target.bounds());
    let mut config = Config::new();
    config.target(&target.triple())?;
    compiler(&mut config, target, effort);
    config
        .epoch_interruption(!target.stops_by_signal())
        .max_wasm_stack(WASM_STACK_BYTES)
        .async_stack_size(WASM_STACK_BYTES + HOST_STACK_BYTES)
        .memory_reservation(addresses.reservation_bytes)
        .memory_reservation_for_growth(addresses.growth_bytes)
        .memory_guard_size(addresses.guard_bytes)
        .memory_may_move(addresses.may_move)
        .memory_init_cow(true)
        .memory_guaranteed_dense_image_size(MEMORY_BYTES_MAX)
        .generate_address_map(false)
        .native_unwind_info(false)
        .wasm_backtrace_max_frames(None)
        .wasm_relaxed_simd(false)
        .wasm_memory64(false)
        .wasm_multi_memory(false);
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
                .max_memory_size(addresses.reservation_bytes as usize);
            config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        }
    };
    Engine::new(&config)
}

/// What the compiler is told.
#[cfg(feature = "compile")]
fn compiler(config: &mut Config, target: Target, effort: Effort) {
    for flag in target.profile().flags() {
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
        .parallel_compilation(true);
}

/// Without a compiler there is nobody to tell.
#[cfg(not(feature = "compile"))]
fn compiler(_config: &mut Config, _target: Target, _effort: Effort) {}
