//! Every limit of a session over QUIC. The library's own are made for browsers: they would let one peer hold 250 MB.

use std::sync::Arc;
use std::time::Duration;

use quinn::{IdleTimeout, TransportConfig, VarInt};

/// A client's connection without a sign of life ends after this.
pub const IDLE: Duration = Duration::from_secs(20);
/// A client on whose connection nothing is sent shows a sign of life this often.
pub const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// The same of a worker: whoever waits for what it runs waits for this as well when it is gone.
pub const WORKER_IDLE: Duration = Duration::from_millis(2500);
/// The same of a worker.
pub const WORKER_KEEP_ALIVE: Duration = Duration::from_millis(800);
/// TLS's handshake and the first message have to be done within this.
pub const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// A frame that has begun has to be complete within this.
pub const FRAME_DEADLINE: Duration = Duration::from_secs(20);
/// Bytes that are to be sent have to be taken by the peer within this, or it does not read.
pub const SEND_DEADLINE: Duration = Duration::from_secs(20);
/// A blob stream that makes no progress is reset after this.
pub const BLOB_IDLE: Duration = Duration::from_secs(20);
/// What was said last is delivered within this before a connection is closed, or it is not.
pub const LINGER: Duration = Duration::from_secs(2);

/// What the control stream has ready to be sent goes before blobs (0): a lease that is renewed late because a result is
/// large, on a network that takes little, would be a lease lost.
pub const CONTROL_PRIORITY: i32 = 1;
/// Blob streams of one peer at a time, and the control stream.
pub const STREAMS_MAX: u32 = 16;
/// Bytes of one stream that have arrived, or may be sent, before they are read.
pub const STREAM_WINDOW_BYTES: u32 = 512 << 10;
/// Bytes of all streams of a connection that have arrived, or may be sent, before they are read. Also bounds what gaps in
/// a stream can make the receiver hold.
pub const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
/// Bytes that are sent and not acknowledged.
pub const SEND_WINDOW_BYTES: u64 = 8 << 20;
/// Bytes of a handshake message that arrive out of order.
pub const CRYPTO_BUFFER_BYTES: usize = 16 << 10;

/// Room of a coordinator's socket for what arrives before it is read: all workers and clients send to this one socket. The
/// kernel's default, 208 KiB, is full with 100 datagrams, and a thousand workers can answer at once. Linux gives as much as
/// `net.core.rmem_max` allows.
pub const LISTENING_SOCKET_BYTES: usize = 8 << 20;
/// The same of a worker or client: two windows of a connection's stream.
pub const CONNECTING_SOCKET_BYTES: usize = 1 << 20;
/// Room of a socket for what is to be sent.
pub const SOCKET_SEND_BYTES: usize = 1 << 20;

/// Connections that have begun and that nobody has accepted or refused yet.
pub const INCOMING_MAX: usize = 1024;
/// Bytes that arrive for one of those.
pub const INCOMING_BUFFER_BYTES: u64 = 64 << 10;
/// Bytes that arrive for all of those.
pub const INCOMING_BUFFER_BYTES_TOTAL: u64 = 8 << 20;
/// Handshakes at a time from which a peer has to show that it receives at its address before anything is kept for it.
pub const RETRY_HANDSHAKES: usize = 32;
/// Handshakes at a time.
pub const HANDSHAKES_MAX: usize = 512;
/// Handshakes per second from one network, and how many at once: a rack that comes back after a power cut gets in.
pub const HANDSHAKES_PER_S: u32 = 256;
/// Networks that are told apart; beyond it they share one allowance.
pub const NETWORKS_MAX: usize = 4096;

/// Connections of all peers.
pub const CONNECTIONS_MAX: usize = 8192;
/// Connections of one worker: the one that is, and the one that takes its place.
pub const WORKER_CONNECTIONS_MAX: usize = 2;
/// Connections of one client.
pub const CLIENT_CONNECTIONS_MAX: usize = 8;
/// Connections of all who join.
pub const JOINER_CONNECTIONS_MAX: usize = 64;

/// Messages of unknown kinds that are skipped on one connection. A newer peer sends few; a broken one many.
pub const UNKNOWN_MESSAGES_MAX: u64 = 1000;
/// Bytes of the message before a blob.
pub const BLOB_HEAD_BYTES_MAX: usize = 2048;
/// Bytes of outgoing messages that are gathered before they are given to the connection.
pub const SEND_BUFFER_BYTES: usize = 32 << 10;
/// Bytes of a reason that is told when a connection is closed.
pub const CLOSE_REASON_BYTES_MAX: usize = 256;

const _: () = {
    assert!(KEEP_ALIVE.as_millis() * 3 < IDLE.as_millis());
    assert!(WORKER_KEEP_ALIVE.as_millis() * 3 < WORKER_IDLE.as_millis());
    assert!(STREAM_WINDOW_BYTES < CONNECTION_WINDOW_BYTES);
    assert!(RETRY_HANDSHAKES < HANDSHAKES_MAX && HANDSHAKES_MAX <= INCOMING_MAX);
};

/// Which end of a connection settings are for, and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// That of a coordinator.
    Accepting,
    /// That of a client, or of one who joins.
    Client,
    /// That of a worker.
    Worker,
}

impl End {
    /// The shorter idle time of both ends counts, so workers decide theirs. Signs of life come from the end that has
    /// connected: they are answered, which is one of the other, and one that is gone is missed sooner when nothing is
    /// sent to it.
    const fn times(self) -> (Duration, Option<Duration>) {
        match self {
            Self::Accepting => (IDLE, None),
            Self::Client => (IDLE, Some(KEEP_ALIVE)),
            Self::Worker => (WORKER_IDLE, Some(WORKER_KEEP_ALIVE)),
        }
    }
}

/// The transport's settings. Only the peer that connects opens streams, so the one that accepts takes some and the other
/// none.
pub(crate) fn transport(end: End) -> Arc<TransportConfig> {
    let mut config = TransportConfig::default();
    let streams = match end {
        End::Accepting => STREAMS_MAX + 1,
        End::Client | End::Worker => 0,
    };
    let (idle, keep_alive) = end.times();
    let idle_ms = u32::try_from(idle.as_millis()).unwrap_or(u32::MAX);
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(streams))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(idle_ms))))
        .keep_alive_interval(keep_alive)
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES))
        .send_window(SEND_WINDOW_BYTES)
        .crypto_buffer_size(CRYPTO_BUFFER_BYTES)
        .datagram_receive_buffer_size(None)
        .datagram_send_buffer_size(0);
    Arc::new(config)
}
