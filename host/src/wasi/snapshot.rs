//! A sandbox's state as plain data: what an image holds beside memory.

use thiserror::Error;

use super::Wasi;
use super::fd::{Descriptors, Open};
use super::fs::{Node, Scratch};

/// The state of a sandbox between jobs: what is open, what is in scratch, where the monotonic clock stands.
///
/// Not in it: what belongs to a job ([`JobIo`](super::JobIo)) and what a job put out.
#[derive(Clone, Debug)]
pub struct WasiSnapshot {
    pub(crate) descriptors: Descriptors,
    pub(crate) scratch: Option<Box<Scratch>>,
    pub(crate) monotonic_ns: u64,
}

/// A state that cannot be a snapshot.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum SnapshotError {
    /// A descriptor is open on an input, which other jobs do not have.
    #[error("descriptor {fd} is open on an input of the job")]
    InputOpen {
        /// The descriptor.
        fd: usize,
    },
}

impl Default for WasiSnapshot {
    /// Standard streams, `/` on descriptor 3, empty scratch.
    fn default() -> Self {
        Self {
            descriptors: Descriptors::standard(),
            scratch: None,
            monotonic_ns: 0,
        }
    }
}

impl Wasi {
    /// The state as it stands, for other jobs to start from.
    ///
    /// # Errors
    ///
    /// [`SnapshotError::InputOpen`].
    pub fn snapshot(&self) -> Result<WasiSnapshot, SnapshotError> {
        for (fd, slot) in self.descriptors.slots().iter().enumerate() {
            let node = slot.map(|descriptor| descriptor.open);
            if let Some(Open::File(Node::Input(_)) | Open::Directory(Node::Input(_))) = node {
                return Err(SnapshotError::InputOpen { fd });
            }
        }
        Ok(WasiSnapshot {
            descriptors: self.descriptors.clone(),
            scratch: self.fs.scratch.clone(),
            monotonic_ns: self.monotonic_ns(),
        })
    }
}
