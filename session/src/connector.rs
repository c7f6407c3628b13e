//! The end of workers, clients and those who join: connections to a coordinator.

use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;

use ppwasm_certs::{CertError, tls};
use ppwasm_proto::wire::{CloseCode, Party};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, ConnectionError, Endpoint};
use tokio::time::timeout;

use crate::control::{Shared, close};
use crate::error::ConnectError;
use crate::limits::{End, HANDSHAKE_DEADLINE, LINGER, transport};
use crate::order::Order;
use crate::session::{Handle, Session, alpn_of, chain_of};
use crate::socket;

/// Connects to coordinators, from one socket.
#[derive(Clone, Debug)]
pub struct Connector {
    endpoint: Endpoint,
    config: ClientConfig,
    joins: bool,
    end: End,
}

impl Connector {
    /// Opens a socket on any port. Needs a tokio runtime.
    ///
    /// The settings are those of [`tls::client_config`], or of [`tls::join_config`] for one who joins.
    ///
    /// # Errors
    ///
    /// When the settings cannot be used, or there is no socket.
    pub fn new(tls: rustls::ClientConfig) -> Result<Self, ConnectError> {
        Self::open(tls, End::Client)
    }

    /// The same for a worker: each end notices within seconds that the other is gone.
    ///
    /// # Errors
    ///
    /// As [`Connector::new`].
    pub fn of_worker(tls: rustls::ClientConfig) -> Result<Self, ConnectError> {
        Self::open(tls, End::Worker)
    }

    fn open(tls: rustls::ClientConfig, end: End) -> Result<Self, ConnectError> {
        let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
        let old = SocketAddr::from((std::net::Ipv4Addr::UNSPECIFIED, 0));
        // A machine without IPv6 has the other one.
        let endpoint = socket::connecting(any).or_else(|_| socket::connecting(old));
        let joins = tls.alpn_protocols == [ppwasm_proto::wire::ALPN_JOIN];
        Ok(Self {
            endpoint: endpoint.map_err(ConnectError::Socket)?,
            config: client_config(tls, end)?,
            joins,
            end,
        })
    }

    /// Other settings for the connections that come from now on: a renewed certificate.
    ///
    /// # Errors
    ///
    /// When the settings cannot be used.
    pub fn set_tls(&mut self, tls: rustls::ClientConfig) -> Result<(), ConnectError> {
        self.joins = tls.alpn_protocols == [ppwasm_proto::wire::ALPN_JOIN];
        self.config = client_config(tls, self.end)?;
        Ok(())
    }

    /// Connects. The coordinator has been verified then; whether it lets this end in shows with its first message, which
    /// it sends after ours.
    ///
    /// # Errors
    ///
    /// When nobody answers in [`HANDSHAKE_DEADLINE`], or the handshake fails.
    pub async fn connect(&self, address: SocketAddr) -> Result<Session, ConnectError> {
        let address = match (self.endpoint.local_addr(), address) {
            (Ok(SocketAddr::V6(_)), SocketAddr::V4(v4)) => {
                SocketAddr::from((v4.ip().to_ipv6_mapped(), v4.port()))
            }
            _ => address,
        };
        let connecting = self
            .endpoint
            .connect_with(self.config.clone(), address, tls::SERVER_NAME)
            .map_err(ConnectError::Begin)?;
        let connection = match timeout(HANDSHAKE_DEADLINE, connecting).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(ConnectionError::TimedOut)) | Err(_) => return Err(ConnectError::Silence),
            Ok(Err(error)) => return Err(ConnectError::Handshake(error)),
        };
        let chain = chain_of(&connection);
        let alpn = alpn_of(&connection);
        // The verifier took a coordinator's certificate and no other; what is left is the protocol's name.
        let peer = match tls::peer(Some(ppwasm_proto::wire::ALPN), chain.as_deref()) {
            Ok(peer) if alpn.is_some() => peer,
            Ok(_) => {
                close(&connection, CloseCode::IdentityRefused, "no protocol");
                return Err(ConnectError::Peer(tls::PeerError::Protocol));
            }
            Err(error) => return Err(ConnectError::Peer(error)),
        };
        let (send, receive) = connection
            .open_bi()
            .await
            .map_err(|error| ConnectError::Ended(error.into()))?;
        let order = Order::new(Party::Coordinator, self.joins);
        let handle = Handle {
            connection,
            peer,
            shared: Arc::<Shared>::default(),
        };
        Ok(Session::new(handle, send, receive, order))
    }

    /// Waits until what was closed last is known at the other end, or had time to be. Before a process ends.
    pub async fn settle(&self) {
        let _ = timeout(LINGER, self.endpoint.wait_idle()).await;
    }
}

fn client_config(tls: rustls::ClientConfig, end: End) -> Result<ClientConfig, CertError> {
    let crypto = QuicClientConfig::try_from(tls)
        .map_err(|_| CertError::Tls(rustls::Error::General("no cipher suite for QUIC".into())))?;
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(transport(end));
    Ok(config)
}
