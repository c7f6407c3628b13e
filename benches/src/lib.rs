//! What the benchmarks share: what the system counts, statistics, the report and the groups of figures in it.
//!
//! The programs are `report` (the figures of one run, as a table and as JSON), `guest-side` (runs pyperformance's
//! benchmarks in the guest, one for each line that it is sent), `fabric-side` (a coordinator or a worker as a process of
//! its own) and `fabric-cost` (what a task costs for sizes of the queue and of the fleet). Criterion measures parts, in
//! `benches/`.

pub mod architectures;
pub mod fabric;
pub mod figures;
pub mod footprint;
pub mod fresh;
pub mod instructions;
pub mod noop;
pub mod programs;
pub mod record;
pub mod slowdown;
pub mod stats;
#[cfg_attr(not(target_os = "linux"), path = "system_elsewhere.rs")]
pub mod system;
pub mod throughput;

use std::path::PathBuf;

/// Stack of threads that run guest code: what a slot asks for, and room for the benchmark.
pub const GUEST_STACK_BYTES: usize = 24 << 20;

/// What a run of the report was asked for, and where things are.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Fewer repetitions: figures that show that everything works and not much more.
    pub quick: bool,
    /// The top of the checkout.
    pub checkout: PathBuf,
    /// The guest's folder; where the host finds one unless given.
    pub guest: Option<PathBuf>,
    /// The native interpreter that figures are compared with.
    pub python: PathBuf,
    /// What that is.
    pub python_kind: String,
    /// A Python that has the peers of the fabric, if there is one.
    pub peers: Option<PathBuf>,
    /// The plugin with which qemu counts instructions, if there is such a qemu.
    pub counter: Option<PathBuf>,
}

impl Settings {
    /// A host with so many slots.
    ///
    /// # Errors
    ///
    /// There is no guest, or it does not run here.
    pub fn host(&self, slots: usize) -> Result<ppwasm_host::Host, ppwasm_host::HostError> {
        let builder = ppwasm_host::Host::builder().slots(slots);
        match &self.guest {
            Some(folder) => builder.guest(folder).build(),
            None => builder.build(),
        }
    }

    /// `full` repetitions, or a tenth of them when the run is quick.
    #[must_use]
    pub fn repetitions(&self, full: usize) -> usize {
        if self.quick { (full / 10).max(1) } else { full }
    }
}

/// Says that this system is none that is measured on.
///
/// # Errors
///
/// It is not Linux.
pub fn check_system() -> anyhow::Result<()> {
    anyhow::ensure!(
        cfg!(target_os = "linux"),
        "the benchmarks need Linux: they count CPU time, page faults and memory as its kernel tells them"
    );
    Ok(())
}

/// Runs `work` on a thread whose stack is large enough for guest code.
///
/// # Panics
///
/// When no thread can be started, and when `work` does.
pub fn with_guest_stack<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .stack_size(GUEST_STACK_BYTES)
            .spawn_scoped(scope, work);
        match thread.map(std::thread::ScopedJoinHandle::join) {
            Ok(Ok(value)) => value,
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(error) => panic!("no thread could be started: {error}"),
        }
    })
}
