//! What the Linux version of this module offers, on systems where nobody measures: [`crate::check_system`] says so before
//! anything here is called.

/// CPU time and page faults of a thread so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ThreadCounts {
    /// Time that the thread computed, in nanoseconds.
    pub cpu_ns: u64,
    /// Page faults, those that needed a disk included.
    pub page_faults: u64,
}

/// Whether a benchmark's process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Running {
    /// It is stopped.
    Stopped,
    /// It goes on.
    Continued,
}

/// Not known here.
///
/// # Panics
///
/// Always.
#[must_use]
pub fn thread_cpu_ns() -> u64 {
    needs_linux()
}

/// Not known here.
///
/// # Panics
///
/// Always.
#[must_use]
pub fn process_cpu_ns() -> u64 {
    needs_linux()
}

/// Not known here.
///
/// # Errors
///
/// Always.
pub fn other_process_cpu_ns(_process: u32) -> std::io::Result<u64> {
    Err(std::io::ErrorKind::Unsupported.into())
}

/// Not known here.
///
/// # Panics
///
/// Always.
#[must_use]
pub fn thread_counts() -> ThreadCounts {
    needs_linux()
}

/// Not done here.
///
/// # Errors
///
/// Always.
pub fn set_running(_process: u32, _running: Running) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}

fn needs_linux() -> ! {
    panic!("benchmarks count with the clocks of Linux")
}
