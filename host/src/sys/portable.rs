//! Systems without the Linux calls: no overlay, so the host uses the pooling start path, and no signal to stop guests
//! with, so they look at their limits themselves.

use std::io;
use std::ptr::NonNull;
use std::time::Duration;

/// Never made here.
pub(crate) struct ImageMapping {
    never: std::convert::Infallible,
}

impl ImageMapping {
    pub(crate) fn check() -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn new<'a>(
        _len: usize,
        _parts: impl Iterator<Item = (usize, &'a [u8])>,
    ) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match self.never {}
    }
}

/// Never made here.
pub(crate) struct Overlay {
    never: std::convert::Infallible,
}

impl Overlay {
    pub(crate) unsafe fn map(_base: NonNull<u8>, image: &ImageMapping) -> io::Result<Self> {
        match image.never {}
    }

    pub(crate) fn len(&self) -> usize {
        match self.never {}
    }

    pub(crate) unsafe fn restore(&mut self, _image: &ImageMapping, _runs: &[(u32, u32)]) {
        match self.never {}
    }

    pub(crate) unsafe fn discard(&mut self, _runs: &[(u32, u32)]) -> io::Result<()> {
        match self.never {}
    }

    pub(crate) fn written(&mut self, _runs: &mut Vec<(u32, u32)>) -> io::Result<()> {
        match self.never {}
    }
}

/// Not known here.
pub(crate) fn pagemap_scan_available() -> io::Result<bool> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Not known here.
pub(crate) fn thread_page_faults() -> u64 {
    0
}

/// Of no use here: only who stops guests from outside reads another thread's clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CpuClock;

impl CpuClock {
    pub(crate) fn of_this_thread() -> Self {
        Self
    }

    pub(crate) fn time(self) -> Duration {
        Duration::ZERO
    }
}

/// CPU time that this thread has used.
#[cfg(unix)]
pub(crate) fn thread_cpu_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a whole `timespec`.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

/// Time by the wall: a limit on CPU time ends a call that sleeps for as long, rather than never one that computes.
#[cfg(not(unix))]
pub(crate) fn thread_cpu_time() -> Duration {
    thread_local! {
        static START: std::time::Instant = std::time::Instant::now();
    }
    START.with(std::time::Instant::elapsed)
}

/// Not known here.
pub(crate) fn address_bits() -> Option<u32> {
    None
}

/// Not known here.
pub(crate) fn machine_memory() -> Option<u64> {
    None
}

/// Not known here.
pub(crate) fn address_limit() -> Option<u64> {
    None
}
