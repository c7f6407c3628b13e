//! Why bytes from a peer are not a message. It is always the peer's fault, and none of it is a panic.

use super::frame::FRAME_BYTES_MAX;
use crate::value::DecodeError;

/// Why bytes are not a frame or a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The length before a frame is more than is ever sent.
    #[error("a frame claims {bytes} bytes, the limit is {FRAME_BYTES_MAX}")]
    FrameTooLong {
        /// What the length says.
        bytes: u64,
    },
    /// The length before a frame is 0.
    #[error("a frame is empty")]
    FrameEmpty,
    /// The bytes end within a message.
    #[error("the message is cut short, at offset {at}")]
    Truncated {
        /// Offset of the item that is not all there.
        at: usize,
    },
    /// Bytes follow the message in its frame.
    #[error("{bytes} bytes follow the message in its frame")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// The body breaks the rules that hold for every message.
    #[error("the message is malformed")]
    Structure(#[source] DecodeError),
    /// The body is not an array of a kind and fields.
    #[error("the message has no kind and fields")]
    NotAMessage,
    /// A kind that this version does not know. The peer may be newer; the connection can go on.
    #[error("message kind {kind} is unknown")]
    UnknownKind {
        /// Its number.
        kind: u64,
    },
    /// A field is missing, of another type, or beyond its limit.
    #[error("a field of {message} is not valid: {reason}")]
    Field {
        /// The message's name.
        message: &'static str,
        /// What is wrong, and at which offset.
        reason: FieldError,
    },
}

/// What is wrong with a field.
///
/// The reason as text: it is for people, and nothing is decided by it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FieldError(Box<str>);

impl FieldError {
    pub(super) fn new(error: &minicbor::decode::Error) -> Self {
        use std::error::Error;
        let text = match error.source() {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
        Self(text.into())
    }
}

/// A message that does not fit into a frame. The sender's own mistake: it splits what is larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("message {message} takes {bytes} bytes, the limit is {FRAME_BYTES_MAX}")]
pub struct MessageTooLong {
    /// The message's name.
    pub message: &'static str,
    /// Bytes of its body.
    pub bytes: usize,
}
