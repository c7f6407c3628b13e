//! What is asked of the kernel: what it counts for threads and processes, and that it stops one for a while.

/// CPU time and page faults of a thread so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ThreadCounts {
    /// Time that the thread computed, in nanoseconds.
    pub cpu_ns: u64,
    /// Page faults, those that needed a disk included.
    pub page_faults: u64,
}

/// The calling thread's CPU time in nanoseconds.
#[must_use]
pub fn thread_cpu_ns() -> u64 {
    clock_ns(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// The process's CPU time in nanoseconds.
#[must_use]
pub fn process_cpu_ns() -> u64 {
    clock_ns(libc::CLOCK_PROCESS_CPUTIME_ID)
}

/// CPU time that another process has used so far, in nanoseconds.
///
/// # Errors
///
/// There is no such process.
pub fn other_process_cpu_ns(process: u32) -> std::io::Result<u64> {
    let mut clock = 0;
    // SAFETY: the pointer is to a live clock id that the call fills.
    let status = unsafe { libc::clock_getcpuclockid(process.cast_signed(), &raw mut clock) };
    if status != 0 {
        return Err(std::io::Error::from_raw_os_error(status));
    }
    Ok(clock_ns(clock))
}

fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a live timespec that the call fills.
    let status = unsafe { libc::clock_gettime(clock, &raw mut time) };
    assert_eq!(status, 0, "every Linux has these clocks");
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000
        + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// The calling thread's counts.
#[must_use]
pub fn thread_counts() -> ThreadCounts {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is to a live rusage that the call fills; all zeros is a valid one.
    let usage = unsafe {
        let status = libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr());
        assert_eq!(status, 0, "every Linux counts for each thread");
        usage.assume_init()
    };
    ThreadCounts {
        cpu_ns: thread_cpu_ns(),
        page_faults: u64::try_from(usage.ru_minflt + usage.ru_majflt).unwrap_or(0),
    }
}

/// Whether a benchmark's process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Running {
    /// It is stopped (SIGSTOP).
    Stopped,
    /// It goes on (SIGCONT).
    Continued,
}

/// Stops a child process, or lets it go on. It must not have been waited for: its number would be another's.
///
/// # Errors
///
/// It has ended.
pub fn set_running(process: u32, running: Running) -> std::io::Result<()> {
    let signal = match running {
        Running::Stopped => libc::SIGSTOP,
        Running::Continued => libc::SIGCONT,
    };
    // SAFETY: a system call without pointers.
    match unsafe { libc::kill(process.cast_signed(), signal) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}
