//! Systems on which guests cannot be stopped from outside: the engine's epochs are compiled in.

use std::io;
use std::sync::Arc;

/// See the Linux version.
pub(crate) const SUPPORTED: bool = false;

/// Not used here.
#[derive(Debug)]
pub(crate) struct CodeMap;

/// Never asks anything.
#[derive(Debug)]
pub(crate) struct StopFlag;

/// Not used here.
pub(crate) type ThreadNumber = i32;

pub(crate) fn this_thread() -> ThreadNumber {
    0
}

impl CodeMap {
    pub(crate) fn new(
        _text: &[u8],
        _functions: impl Iterator<Item = (usize, usize)>,
        _trap_offset: usize,
    ) -> Self {
        Self
    }
}

impl StopFlag {
    pub(crate) fn new(_code: Arc<CodeMap>) -> io::Result<Self> {
        Ok(Self)
    }

    pub(crate) fn reason(&self) -> u8 {
        0
    }

    pub(crate) fn clear(&self) {}

    pub(crate) fn enter(&self) {}

    pub(crate) fn stop(&self, _reason: u8, _thread: ThreadNumber) {}
}
