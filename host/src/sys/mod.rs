//! What the host asks of the operating system beyond the standard library: mapped files, private
//! overlays of a slot's memory, the list of pages a job has changed, a thread's counters, stopping a guest.
//!
//! Everything here has one implementation for Linux and one for all other systems that does less or says
//! `Unsupported`, so that the callers hold no platform conditions: without these the host uses the pooling
//! start path, and the engine's epochs end guests. The feature `portable` takes the second one on Linux too, so that
//! tests run what other systems run.

#[cfg_attr(all(target_os = "linux", not(feature = "portable")), path = "linux.rs")]
#[cfg_attr(
    not(all(target_os = "linux", not(feature = "portable"))),
    path = "portable.rs"
)]
mod system;
pub(crate) use system::{
    CpuClock, ImageMapping, Overlay, address_bits, address_limit, machine_memory,
    pagemap_scan_available, thread_cpu_time, thread_page_faults,
};

mod stack;
pub(crate) use stack::thread_stack_room;

/// Stopping guest code from outside.
#[cfg_attr(
    all(
        target_os = "linux",
        not(feature = "portable"),
        any(
            target_arch = "x86_64",
            target_arch = "aarch64",
            target_arch = "riscv64"
        )
    ),
    path = "interrupt_linux.rs"
)]
#[cfg_attr(
    not(all(
        target_os = "linux",
        not(feature = "portable"),
        any(
            target_arch = "x86_64",
            target_arch = "aarch64",
            target_arch = "riscv64"
        )
    )),
    path = "interrupt_portable.rs"
)]
pub(crate) mod interrupt;

/// Size of the pages in which images are stored and compared, in bytes.
///
/// The host's own page size may be larger; [`ImageMapping`] is only offered where it is this one.
pub(crate) const PAGE_BYTES: usize = 4096;
