//! Systems without the Linux calls: no overlay, so the host uses the pooling start path.

use std::io;
use std::ptr::NonNull;
use std::time::Duration;

/// Never made here.
pub(crate) struct ImageMapping {
    never: std::convert::Infallible,
}

impl ImageMapping {
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

/// Not known here.
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

/// Not known here: CPU time limits fall back to wall time.
pub(crate) fn thread_cpu_time() -> Duration {
    Duration::ZERO
}

/// Not known here.
pub(crate) fn thread_stack_room() -> Option<usize> {
    None
}

/// Not known here.
pub(crate) fn address_bits() -> Option<u32> {
    None
}

/// Not known here.
pub(crate) fn address_limit() -> Option<u64> {
    None
}
