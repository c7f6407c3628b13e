//! What the host asks of the operating system beyond the standard library: mapped files, private
//! overlays of a slot's memory, the list of pages a job has changed, a thread's counters.
//!
//! Everything here has one implementation for Linux and one that says `Unsupported`, so that the
//! callers hold no platform conditions: without these the host uses the pooling start path.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
pub(crate) use linux::{
    CpuClock, ImageMapping, Overlay, address_bits, address_limit, pagemap_scan_available,
    thread_cpu_time, thread_page_faults, thread_stack_room,
};

/// Stopping guest code from outside.
#[cfg(all(
    target_os = "linux",
    any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        target_arch = "riscv64"
    )
))]
#[path = "interrupt_linux.rs"]
pub(crate) mod interrupt;
#[cfg(not(all(
    target_os = "linux",
    any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        target_arch = "riscv64"
    )
)))]
#[path = "interrupt_portable.rs"]
pub(crate) mod interrupt;

#[cfg(not(target_os = "linux"))]
mod portable;
#[cfg(not(target_os = "linux"))]
pub(crate) use portable::{
    CpuClock, ImageMapping, Overlay, address_bits, address_limit, pagemap_scan_available,
    thread_cpu_time, thread_page_faults, thread_stack_room,
};

/// Size of the pages in which images are stored and compared, in bytes.
///
/// The host's own page size may be larger; [`ImageMapping`] is only offered where it is this one.
pub(crate) const PAGE_BYTES: usize = 4096;
