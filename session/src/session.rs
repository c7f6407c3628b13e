//! A session: one connection that is up, and who is at its other end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ppwasm_certs::tls::Peer;
use ppwasm_certs::{Identity, Leaf};
use ppwasm_proto::wire::{CloseCode, Party};
use quinn::Connection;

use crate::blob::{BlobRequests, Blobs};
use crate::control::{Receiver, Sender, Shared, close};
use crate::error::SessionError;
use crate::limits::CONTROL_PRIORITY;
use crate::order::Order;

/// A connection that is up.
///
/// It lives for as long as any of its parts does. Dropping all of them without [`Sender::finish`] or [`Handle::close`] is
/// a loss to the peer.
#[derive(Debug)]
pub struct Session {
    /// Sends messages.
    pub sender: Sender,
    /// Receives messages.
    pub receiver: Receiver,
    /// Asks the peer for blobs: for the one that has connected.
    pub blobs: Blobs,
    /// What the peer asks for: for the one that has accepted.
    pub blob_requests: BlobRequests,
    /// Who is at the other end, and how the connection is.
    pub handle: Handle,
}

impl Session {
    pub(crate) fn new(
        handle: Handle,
        send: quinn::SendStream,
        receive: quinn::RecvStream,
        order: Order,
    ) -> Self {
        // Refused by a connection that is over, which whoever sends next finds out.
        let _ = send.set_priority(CONTROL_PRIORITY);
        let (connection, shared) = (&handle.connection, &handle.shared);
        Self {
            sender: Sender::new(connection.clone(), send, shared.clone()),
            receiver: Receiver::new(connection.clone(), receive, shared.clone(), order),
            blobs: Blobs::new(connection.clone()),
            blob_requests: BlobRequests::new(connection.clone(), shared.clone()),
            handle,
        }
    }
}

/// Tells about a session and ends it. Clones are of the same session.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(crate) connection: Connection,
    pub(crate) peer: Peer,
    pub(crate) shared: Arc<Shared>,
}

impl Handle {
    /// Who is at the other end.
    pub const fn peer(&self) -> &Peer {
        &self.peer
    }

    /// What the peer's certificate says; `None` for one who joins.
    pub const fn leaf(&self) -> Option<&Leaf> {
        match &self.peer {
            Peer::Known(leaf) => Some(leaf),
            Peer::Joiner => None,
        }
    }

    /// The peer's identity; `None` for one who joins.
    pub fn identity(&self) -> Option<&Identity> {
        self.leaf().map(|leaf| &leaf.identity)
    }

    /// The peer's role.
    pub fn party(&self) -> Party {
        party(&self.peer)
    }

    /// The certificates that the peer sent, DER: one who joins finds the pinned authority among them.
    pub fn peer_chain(&self) -> Vec<ppwasm_certs::CertificateDer<'static>> {
        chain_of(&self.connection).unwrap_or_default()
    }

    /// Where the peer is at the moment.
    pub fn remote_address(&self) -> std::net::SocketAddr {
        self.connection.remote_address()
    }

    /// Closes the session at once. What was sent and has not arrived is lost.
    pub fn close(&self, code: CloseCode, reason: &str) {
        close(&self.connection, code, reason);
    }

    /// How it ended; waits until it has.
    pub async fn ended(&self) -> SessionError {
        self.connection.closed().await.into()
    }

    /// How it ended; `None` while it is up.
    pub fn end(&self) -> Option<SessionError> {
        self.connection.close_reason().map(Into::into)
    }

    /// How the connection is.
    pub fn statistics(&self) -> Statistics {
        let stats = self.connection.stats();
        Statistics {
            round_trip: self.connection.rtt(),
            bytes_sent: stats.udp_tx.bytes,
            bytes_received: stats.udp_rx.bytes,
            packets_sent: stats.path.sent_packets,
            packets_lost: stats.path.lost_packets,
            messages_sent: self.shared.messages_sent.load(Ordering::Relaxed),
            messages_received: self.shared.messages_received.load(Ordering::Relaxed),
            messages_unknown: self.shared.messages_unknown.load(Ordering::Relaxed),
        }
    }
}

/// How a connection is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// The transport's estimate of a round trip.
    pub round_trip: Duration,
    /// Bytes of datagrams.
    pub bytes_sent: u64,
    /// Bytes of datagrams.
    pub bytes_received: u64,
    /// Packets.
    pub packets_sent: u64,
    /// Packets of those that were lost.
    pub packets_lost: u64,
    /// Messages that were given to the connection.
    pub messages_sent: u64,
    /// Messages that were received.
    pub messages_received: u64,
    /// Messages of unknown kinds, which were skipped.
    pub messages_unknown: u64,
}

pub(crate) const fn party(peer: &Peer) -> Party {
    match peer {
        Peer::Known(leaf) => leaf.identity.role().party(),
        Peer::Joiner => Party::Joiner,
    }
}

/// The certificates of a finished handshake.
pub(crate) fn chain_of(
    connection: &Connection,
) -> Option<Vec<ppwasm_certs::CertificateDer<'static>>> {
    let identity = connection.peer_identity()?;
    identity.downcast().ok().map(|chain| *chain)
}

/// The protocol's name that a handshake agreed on.
pub(crate) fn alpn_of(connection: &Connection) -> Option<Vec<u8>> {
    let data = connection.handshake_data()?;
    let data = data
        .downcast::<quinn::crypto::rustls::HandshakeData>()
        .ok()?;
    data.protocol
}
