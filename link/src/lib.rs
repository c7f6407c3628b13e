//! How messages and blobs go between two peers, whatever carries them.
//!
//! A [`Link`] is an authenticated connection that is up: typed messages in order both ways, blobs beside them, the
//! peer's identity, and an end with a reason. What a session is made of above that (handshake, leases, watches) is the
//! drivers' in coordinator, worker and client, which are generic over it. [`memory`] connects peers of one process.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use ppwasm_proto::Digest;
use ppwasm_proto::fabric::{ClientName, WorkerId};
use ppwasm_proto::wire::{BlobRef, CloseCode, ErrorCode, Message};
use tokio::sync::oneshot;

pub mod memory;

/// Who is at the other end, by its certificate or by construction; never by a message.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Peer {
    /// The coordinator.
    Coordinator,
    /// A worker.
    Worker(WorkerId),
    /// A client.
    Client(ClientName),
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Coordinator => f.write_str("the coordinator"),
            Self::Worker(name) => write!(f, "worker {name}"),
            Self::Client(name) => write!(f, "client {name}"),
        }
    }
}

/// A connection that is up.
pub trait Link: Send + 'static {
    /// Sends messages.
    type Sender: LinkSender;
    /// Receives messages.
    type Receiver: LinkReceiver;
    /// Gets and puts blobs at the peer.
    type Blobs: BlobPeer;

    /// Who is at the other end.
    fn peer(&self) -> &Peer;

    /// Its halves. The link is up for as long as the sender lives; dropping it without a
    /// [`close`](LinkSender::close) is a loss to the peer.
    fn split(self) -> (Self::Sender, Self::Receiver, Self::Blobs);
}

/// The half that sends.
pub trait LinkSender: Send + 'static {
    /// Sends a message; waits while the peer does not read.
    ///
    /// # Errors
    ///
    /// The link has ended.
    fn send(&mut self, message: Message) -> impl Future<Output = Result<(), Closed>> + Send;

    /// Ends the link with a reason that the peer sees.
    fn close(self, code: CloseCode, reason: &str);
}

/// The half that receives.
pub trait LinkReceiver: Send + 'static {
    /// What the peer sent next. Dropping the future before it is ready loses nothing.
    ///
    /// # Errors
    ///
    /// The link has ended, and all that came before was received.
    fn receive(&mut self) -> impl Future<Output = Result<Incoming, Closed>> + Send;
}

/// Blobs at the peer. Clones are the same peer. Does not keep the link up.
pub trait BlobPeer: Clone + Send + Sync + 'static {
    /// A blob of at most `bytes_max` bytes. Its digest has been checked.
    fn get(
        &self,
        digest: Digest,
        bytes_max: u64,
    ) -> impl Future<Output = Result<Arc<[u8]>, BlobFailure>> + Send;

    /// Gives the peer a blob; durable there when it returns.
    fn put(&self, bytes: Arc<[u8]>) -> impl Future<Output = Result<BlobRef, BlobFailure>> + Send;
}

/// Makes links to a coordinator.
pub trait Dialer: Send + Sync + 'static {
    /// What it makes.
    type Link: Link;

    /// Makes one.
    ///
    /// # Errors
    ///
    /// There is nobody at the other end.
    fn dial(&self) -> impl Future<Output = Result<Self::Link, DialError>> + Send;
}

impl<D: Dialer> Dialer for Arc<D> {
    type Link = D::Link;

    fn dial(&self) -> impl Future<Output = Result<D::Link, DialError>> + Send {
        (**self).dial()
    }
}

/// Takes links of workers and clients.
pub trait Listener: Send + 'static {
    /// What it takes.
    type Link: Link;

    /// The next one; `None` when no more will come.
    fn accept(&mut self) -> impl Future<Output = Option<Self::Link>> + Send;
}

/// What a peer sends.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "nearly all are messages, which are moved"
)]
pub enum Incoming {
    /// A message.
    Message(Message),
    /// It wants a blob, or offers one.
    Blob(BlobRequest),
}

/// What a peer wants with a blob.
#[derive(Debug)]
pub enum BlobRequest {
    /// It wants one.
    Get {
        /// Which.
        digest: Digest,
        /// The bytes, or why not.
        answer: oneshot::Sender<Result<Arc<[u8]>, ErrorCode>>,
    },
    /// It has one to give.
    Put {
        /// Its name and size, as the peer says.
        blob: BlobRef,
        /// Its bytes.
        bytes: Arc<[u8]>,
        /// That it is durable, or why not.
        answer: oneshot::Sender<Result<(), ErrorCode>>,
    },
}

/// How a link ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    /// The peer ended it.
    #[error("the peer closed the connection: {code} ({reason})")]
    ByPeer {
        /// Why, for programs.
        code: CloseCode,
        /// Why, for people.
        reason: Arc<str>,
    },
    /// It broke, or the peer is gone.
    #[error("the connection was lost")]
    Lost,
}

/// Why a blob could not be got or put.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlobFailure {
    /// The peer said so.
    #[error("the peer refused the blob: {0}")]
    Refused(ErrorCode),
    /// It is larger than the asker takes.
    #[error("the blob has {bytes} bytes, {bytes_max} are taken")]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// What is taken.
        bytes_max: u64,
    },
    /// What came has another digest.
    #[error("the bytes are not those of blob {0}")]
    OtherContent(Digest),
    /// The link ended meanwhile.
    #[error("the connection was lost")]
    Lost,
}

/// Why there is no link.
#[derive(Clone, Debug)]
pub enum DialError {
    /// Nobody answers, as far as is known; trying again may help.
    Unreachable(Option<DialReason>),
    /// One end does not take the other: trying again helps only when something has been changed.
    Rejected(CloseCode, DialReason),
}

/// What the transport says.
pub type DialReason = Arc<dyn std::error::Error + Send + Sync>;

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the coordinator could not be reached")
    }
}

impl std::error::Error for DialError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreachable(reason) => reason.as_ref().map(|reason| &**reason as _),
            Self::Rejected(_, reason) => Some(&**reason),
        }
    }
}
