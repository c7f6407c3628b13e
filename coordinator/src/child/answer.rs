//! What a child answers. It may be a stranger's by then: it is read as what it claims to be, and checked by who asked.

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

/// The byte that a child writes when it is ready to read its input.
pub(super) const READY: u8 = b'r';

/// The end of a child's work.
#[derive(Debug, Encode, Decode)]
pub(super) enum Answer {
    /// A base image.
    #[n(0)]
    Base(#[n(0)] ByteVec),
    /// A compiled guest.
    #[n(1)]
    Compiled {
        /// Its manifest.
        #[n(0)]
        manifest: ByteVec,
        /// Native code.
        #[n(1)]
        artifact: ByteVec,
        /// The base image but for its pages.
        #[n(2)]
        base: ByteVec,
    },
    /// A function image.
    #[n(2)]
    Image {
        /// The image.
        #[n(0)]
        image: ByteVec,
        /// What loading wrote to standard output.
        #[n(1)]
        stdout: ByteVec,
        /// What it wrote to standard error.
        #[n(2)]
        stderr: ByteVec,
    },
    /// How loading a function ended that has no image, encoded.
    #[n(3)]
    Ended(#[n(0)] ByteVec),
    /// The work could not be done; for people.
    #[n(4)]
    Failed(#[n(0)] String),
}

impl Answer {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let _infallible = minicbor::encode(self, &mut out);
        out
    }

    /// Reads an answer; `None` when it is none.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut decoder = minicbor::Decoder::new(bytes);
        let answer = decoder.decode().ok()?;
        (decoder.position() == bytes.len()).then_some(answer)
    }
}
