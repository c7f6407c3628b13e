//! What can go wrong with blobs.

use std::io;
use std::path::{Path, PathBuf};

use ppwasm_proto::Digest;

/// Why something could not be done with a blob.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlobError {
    /// Larger than any blob may be.
    #[error("a blob of {size} bytes is larger than the {max} bytes allowed")]
    TooLarge {
        /// Its size.
        size: u64,
        /// What is allowed.
        max: u64,
    },
    /// It would leave too little room on the file system, or there is none left.
    #[error("no space for {needed} bytes: {free} are free, of which {kept} are kept free")]
    NoSpace {
        /// Bytes to be written.
        needed: u64,
        /// Bytes that are free.
        free: u64,
        /// Bytes that shall stay free.
        kept: u64,
    },
    /// As many uploads are under way as there may be.
    #[error("{max} uploads are under way, which is all that may be")]
    TooManyUploads {
        /// What is allowed.
        max: usize,
    },
    /// The same sender uploads the same blob already.
    #[error("blob {digest} is being uploaded by the same sender already")]
    UploadBusy {
        /// The blob.
        digest: Digest,
    },
    /// More bytes than the sender announced.
    #[error("blob {digest} was announced with {size} bytes and has more")]
    TooLong {
        /// The blob.
        digest: Digest,
        /// What was announced.
        size: u64,
    },
    /// The upload was ended before its end.
    #[error("blob {digest} has {have} of {size} bytes")]
    Incomplete {
        /// The blob.
        digest: Digest,
        /// Bytes that have arrived.
        have: u64,
        /// What was announced.
        size: u64,
    },
    /// What has arrived is something else. It is thrown away.
    #[error("what was uploaded as blob {digest} is {found}")]
    OtherContent {
        /// What it was announced as.
        digest: Digest,
        /// What it is.
        found: Digest,
    },
    /// There is no such blob.
    #[error("blob {digest} is not here")]
    Missing {
        /// The blob.
        digest: Digest,
    },
    /// The file of a blob has other bytes than its name says.
    #[error("the file of blob {digest} is damaged: its content is {found}")]
    Corrupt {
        /// The blob.
        digest: Digest,
        /// What the file holds.
        found: Digest,
    },
    /// The file system failed.
    #[error("could not {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl BlobError {
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }

    /// True when there is no room, be it by the file system's word or by the limit kept free.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        match self {
            Self::NoSpace { .. } => true,
            Self::Io { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            ),
            _ => false,
        }
    }
}

/// Carries an error through `std::io`, for those who read a blob as a stream.
impl From<BlobError> for io::Error {
    fn from(error: BlobError) -> Self {
        let kind = match &error {
            BlobError::Io { source, .. } => source.kind(),
            BlobError::Missing { .. } => io::ErrorKind::NotFound,
            BlobError::Corrupt { .. } => io::ErrorKind::InvalidData,
            BlobError::NoSpace { .. } => io::ErrorKind::StorageFull,
            _ => io::ErrorKind::InvalidInput,
        };
        Self::new(kind, error)
    }
}
