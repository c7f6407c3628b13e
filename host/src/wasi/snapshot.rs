//! A sandbox's state as plain data: what an image holds beside memory.

use thiserror::Error;

use super::Wasi;
use super::codec::FORMAT;
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

/// A state that cannot be a snapshot, or bytes that hold none.
#[derive(Debug, Error)]
pub enum SnapshotError {
    /// A descriptor is open on an input, which other jobs do not have.
    #[error("descriptor {fd} is open on an input of the job")]
    InputOpen {
        /// The descriptor.
        fd: usize,
    },
    /// The bytes are of another version of the format.
    #[error("WASI snapshot has format {found}, not {FORMAT}")]
    Format {
        /// Their version.
        found: u32,
    },
    /// The bytes are not what the format says.
    #[error("WASI snapshot is malformed")]
    Malformed(#[from] minicbor::decode::Error),
    /// The bytes tell of descriptors or files that cannot be.
    #[error("WASI snapshot is inconsistent: {0}")]
    Inconsistent(Inconsistency),
}

/// What is wrong in a snapshot's contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Inconsistency {
    /// Descriptors.
    #[error("descriptors")]
    Descriptors,
    /// A name, link target or listing in a directory.
    #[error("directory entries")]
    Entries,
    /// The files and directories do not form a tree.
    #[error("tree of scratch files")]
    Tree,
    /// Bytes come after the end.
    #[error("bytes after the end")]
    Rest,
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
