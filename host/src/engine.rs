//! The wasmtime engines: every setting in one place.
//!
//! All engines of a process share the settings that are compiled into an artifact, so one artifact
//! serves both start paths; they differ only in where instances get their memory.

use ppwasm_proto::Digest;
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};
#[cfg(feature = "compile")]
use wasmtime::{OptLevel, RegallocAlgorithm};

use crate::cpu::Target;

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
    let choices = format!(
        "wasmtime {WASMTIME_VERSION}; settings {SETTINGS_VERSION}; image {image}; base {base}; {target}; flags {flags:?}; \
         epochs {epochs}; stack {WASM_STACK_BYTES}; reservation {MEMORY_RESERVATION_BYTES}; guard {MEMORY_GUARD_BYTES}",
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
    let mut config = Config::new();
    config.target(&target.triple())?;
    compiler(&mut config, target, effort);
    config
        .epoch_interruption(!target.stops_by_signal())
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
                .max_memory_size(MEMORY_RESERVATION_BYTES as usize);
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
