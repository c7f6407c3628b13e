//! Frames: a length of four bytes, big-endian, and that many bytes of body.
//!
//! [`FrameDecoder`] cuts frames from bytes as they arrive, in whatever pieces.

use super::error::{MessageTooLong, WireError};
use super::message::Message;

/// Largest body of a frame, 1 MiB. A length above it ends the connection before anything is allocated.
pub const FRAME_BYTES_MAX: usize = 1 << 20;
/// Bytes of the length before a body.
pub const FRAME_HEAD_BYTES: usize = 4;
/// Room that is kept between frames; a larger buffer is given back when it is empty.
const KEPT_BYTES_MAX: usize = 128 << 10;

/// Writes `message` as a frame to the end of `out`; leaves `out` as it was when it does not fit.
///
/// # Errors
///
/// When the body is longer than [`FRAME_BYTES_MAX`].
pub fn encode_frame(message: &Message, out: &mut Vec<u8>) -> Result<(), MessageTooLong> {
    let start = out.len();
    out.extend([0; FRAME_HEAD_BYTES]);
    message.encode_body(out);
    let bytes = out.len() - start - FRAME_HEAD_BYTES;
    match u32::try_from(bytes) {
        Ok(length) if bytes <= FRAME_BYTES_MAX => {
            if let Some(head) = out.get_mut(start..start + FRAME_HEAD_BYTES) {
                head.copy_from_slice(&length.to_be_bytes());
            }
            Ok(())
        }
        _ => {
            out.truncate(start);
            let message = message.name();
            Err(MessageTooLong { message, bytes })
        }
    }
}

/// The length that a frame's head tells.
///
/// # Errors
///
/// When it is 0 or more than [`FRAME_BYTES_MAX`].
pub fn frame_length(head: [u8; FRAME_HEAD_BYTES]) -> Result<usize, WireError> {
    match u32::from_be_bytes(head) {
        0 => Err(WireError::FrameEmpty),
        bytes if bytes as usize > FRAME_BYTES_MAX => Err(WireError::FrameTooLong {
            bytes: u64::from(bytes),
        }),
        bytes => Ok(bytes as usize),
    }
}

/// Cuts frames from a stream of bytes.
///
/// It holds at most what was pushed and not yet taken. After an error it stays at the error: the position of the next
/// frame is not known.
///
/// ```
/// use ppwasm_proto::wire::{FrameDecoder, Message, Ping, encode_frame};
///
/// let ping = Message::from(Ping { number: 7 });
/// let mut bytes = Vec::new();
/// encode_frame(&ping, &mut bytes)?;
///
/// let mut frames = FrameDecoder::new();
/// frames.push(&bytes[..3]);
/// assert_eq!(frames.next_message()?, None);
/// frames.push(&bytes[3..]);
/// assert_eq!(frames.next_message()?, Some(ping));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct FrameDecoder {
    bytes: Vec<u8>,
    taken: usize,
}

impl FrameDecoder {
    /// A decoder at the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds bytes that have arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.taken == self.bytes.len() {
            self.bytes.clear();
            self.taken = 0;
            if self.bytes.capacity() > KEPT_BYTES_MAX {
                self.bytes = Vec::new();
            }
        } else if self.taken > self.bytes.len() / 2 {
            self.bytes.drain(..self.taken);
            self.taken = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Bytes that have arrived and are not taken: 0 between frames.
    pub fn pending(&self) -> usize {
        self.bytes.len() - self.taken
    }

    /// The body of the next frame if all of it has arrived.
    ///
    /// # Errors
    ///
    /// When the length is 0 or too long.
    pub fn next_body(&mut self) -> Result<Option<&[u8]>, WireError> {
        let rest = self.bytes.get(self.taken..).unwrap_or_default();
        let Some((head, rest)) = rest.split_first_chunk() else {
            return Ok(None);
        };
        let length = frame_length(*head)?;
        let Some(body) = rest.get(..length) else {
            return Ok(None);
        };
        self.taken += FRAME_HEAD_BYTES + length;
        Ok(Some(body))
    }

    /// The next message if all of it has arrived.
    ///
    /// # Errors
    ///
    /// When the frame or the message in it is not valid. After [`WireError::UnknownKind`] the next call goes on with the
    /// frame that follows; every other error is final for the stream.
    pub fn next_message(&mut self) -> Result<Option<Message>, WireError> {
        self.next_body()?.map(Message::from_body).transpose()
    }
}
