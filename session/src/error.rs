//! How sessions fail and end.

use std::io;
use std::sync::Arc;

use ppwasm_certs::CertError;
use ppwasm_certs::tls::PeerError;
use ppwasm_proto::Digest;
use ppwasm_proto::wire::{CloseCode, ErrorCode, MessageTooLong, WireError};
use quinn::{ConnectionError, VarInt};

use crate::rejection::Rejection;

/// How a session ended, or why something on it did not work.
///
/// All but [`SessionError::TooLong`] are final.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The peer closed it.
    #[error("the peer closed the connection: {code}: {reason}")]
    ClosedByPeer {
        /// Why, for programs.
        code: CloseCode,
        /// Why, for people; what the peer sent, cleaned of what does not print.
        reason: Arc<str>,
    },
    /// This side closed it.
    #[error("the connection was closed here")]
    ClosedHere,
    /// The peer is silent or gone.
    #[error("the connection was lost: {reason}")]
    Lost {
        /// What the transport says.
        reason: Lost,
    },
    /// The peer sent what is not a message.
    #[error("the peer sent something that is not a message")]
    Malformed(#[source] WireError),
    /// The peer sent a message that is not its to send, or not at this point.
    #[error("the peer sent {message}, which has no place here")]
    WrongMessage {
        /// Its name.
        message: &'static str,
    },
    /// The peer sent too many messages of unknown kinds.
    #[error("the peer sent too many messages of unknown kinds")]
    UnknownMessages,
    /// The peer did not read, or did not finish what it had begun.
    #[error("the peer was too slow to {what}")]
    TooSlow {
        /// What it should have done.
        what: &'static str,
    },
    /// A message of one's own does not fit a frame; it was not sent, and the session goes on.
    #[error(transparent)]
    TooLong(#[from] MessageTooLong),
}

/// Why a connection was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Lost {
    /// It showed no sign of life.
    #[error("no sign of life")]
    Silence,
    /// It has forgotten the connection: it was restarted.
    #[error("the peer has forgotten it")]
    Reset,
    /// The peer's process ended without closing.
    #[error("the peer ended")]
    Dropped,
    /// The stream that carries messages ended, the connection did not.
    #[error("the stream of messages ended")]
    Stream,
    /// One end did not take the other's certificate or protocol.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The transport or TLS failed.
    #[error("the transport failed")]
    Transport,
}

impl From<ConnectionError> for SessionError {
    fn from(error: ConnectionError) -> Self {
        let reason = match error {
            ConnectionError::ApplicationClosed(close) => {
                match u32::try_from(u64::from(close.error_code)) {
                    // What a dropped connection says.
                    Ok(0) | Err(_) => Lost::Dropped,
                    Ok(code) => {
                        return Self::ClosedByPeer {
                            code: CloseCode::from_number(code),
                            reason: printable(&close.reason),
                        };
                    }
                }
            }
            ConnectionError::LocallyClosed => return Self::ClosedHere,
            ConnectionError::TimedOut => Lost::Silence,
            ConnectionError::Reset => Lost::Reset,
            error => Rejection::of(&error).map_or(Lost::Transport, Lost::Rejected),
        };
        Self::Lost { reason }
    }
}

fn printable(reason: &[u8]) -> Arc<str> {
    let reason = reason
        .get(..crate::limits::CLOSE_REASON_BYTES_MAX)
        .unwrap_or(reason);
    String::from_utf8_lossy(reason)
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect::<String>()
        .into()
}

pub(crate) fn code_of(code: CloseCode) -> VarInt {
    VarInt::from_u32(code.number())
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The own certificate or key cannot be used.
    #[error("the own certificate cannot be used")]
    Credentials(#[from] CertError),
    /// No socket.
    #[error("cannot open a UDP socket")]
    Socket(#[source] io::Error),
    /// The address or settings cannot be used.
    #[error("cannot begin to connect")]
    Begin(#[source] quinn::ConnectError),
    /// Nobody answered in time: nobody listens there, or UDP is blocked on the way.
    #[error("nobody answered")]
    Silence,
    /// The coordinator's certificate was not accepted, or it did not accept ours, or it has no room.
    #[error("the handshake failed")]
    Handshake(#[source] ConnectionError),
    /// The coordinator closed the connection before there was a session.
    #[error("the connection ended at once")]
    Ended(#[source] SessionError),
    /// What is at the other end has no business there.
    #[error("the peer is not who it should be")]
    Peer(#[from] PeerError),
}

impl ConnectError {
    /// Why one end does not take the other, when that is what happened.
    pub fn rejection(&self) -> Option<Rejection> {
        match self {
            Self::Handshake(error) => Rejection::of(error),
            Self::Ended(SessionError::Lost {
                reason: Lost::Rejected(rejection),
            }) => Some(*rejection),
            Self::Peer(_) => Some(Rejection::NoCoordinator),
            _ => None,
        }
    }
}

/// Why a blob was not got or put.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlobError {
    /// The peer said so.
    #[error("the peer refused the blob: {code}")]
    Refused {
        /// Why, for programs.
        code: ErrorCode,
    },
    /// It is larger than is taken.
    #[error("the blob has {bytes} bytes, {bytes_max} are taken")]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// What is taken.
        bytes_max: u64,
    },
    /// The peer has it from another offset, of another size, or sent fewer or more bytes than it said.
    #[error("the peer sent {found} bytes of the blob, {wanted} were to come")]
    Length {
        /// What came.
        found: u64,
        /// What should have.
        wanted: u64,
    },
    /// What came has another digest.
    #[error("the bytes are not those of blob {digest}")]
    OtherContent {
        /// The digest that was wanted.
        digest: Digest,
    },
    /// The stream was reset: asking again from the offset that was reached may help.
    #[error("the blob's stream was reset")]
    Reset,
    /// The stream made no progress.
    #[error("the blob's stream stalled")]
    Stalled,
    /// What came on the stream is not what belongs there.
    #[error("the blob's stream did not begin as it should")]
    Head(#[source] WireError),
    /// A message came that does not belong there.
    #[error("the blob's stream began with {message}")]
    WrongMessage {
        /// Its name.
        message: &'static str,
    },
    /// The session ended.
    #[error("the session ended")]
    Session(#[from] SessionError),
}

impl From<ConnectionError> for BlobError {
    fn from(error: ConnectionError) -> Self {
        Self::Session(error.into())
    }
}
