//! The coordinator's end: a socket on which workers and clients connect.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ppwasm_certs::tls::{self, Peer};
use ppwasm_certs::{CertError, Leaf};
use ppwasm_proto::wire::CloseCode;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Endpoint, Incoming, ServerConfig};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::control::{Shared, close};
use crate::error::ConnectError;
use crate::limits::{
    End, HANDSHAKE_DEADLINE, HANDSHAKES_MAX, INCOMING_BUFFER_BYTES, INCOMING_BUFFER_BYTES_TOTAL,
    INCOMING_MAX, RETRY_HANDSHAKES, transport,
};
use crate::order::Order;
use crate::rate::HandshakeRate;
use crate::registry::Registry;
use crate::session::{Handle, Session, alpn_of, chain_of, party};
use crate::socket;

/// Accepts sessions.
#[derive(Debug)]
pub struct Listener {
    endpoint: Endpoint,
    handshakes: JoinSet<Option<Session>>,
    rate: HandshakeRate,
    registry: Arc<Registry>,
    retry_handshakes: usize,
    deadline: Duration,
}

/// Settings of a listener from TLS's, which [`tls::server_config`] makes.
fn server_config(tls: rustls::ServerConfig) -> Result<ServerConfig, CertError> {
    let crypto = QuicServerConfig::try_from(tls)
        .map_err(|_| CertError::Tls(rustls::Error::General("no cipher suite for QUIC".into())))?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config
        .transport_config(transport(End::Accepting))
        .max_incoming(INCOMING_MAX)
        .incoming_buffer_size(INCOMING_BUFFER_BYTES)
        .incoming_buffer_size_total(INCOMING_BUFFER_BYTES_TOTAL)
        // An address may change: machines behind a NAT keep their session. Nothing is authorised by address.
        .migration(true)
        // No tokens for later: they would last two weeks and save a round trip that is only made under load.
        .validation_token
        .sent(0);
    Ok(config)
}

impl Listener {
    /// Listens on an address. Needs a tokio runtime.
    ///
    /// # Errors
    ///
    /// When the settings cannot be used, or the address is taken.
    pub fn bind(address: SocketAddr, tls: rustls::ServerConfig) -> Result<Self, ConnectError> {
        let config = server_config(tls)?;
        let endpoint = socket::listening(config, address).map_err(ConnectError::Socket)?;
        Ok(Self {
            endpoint,
            handshakes: JoinSet::new(),
            rate: HandshakeRate::default(),
            registry: Arc::default(),
            retry_handshakes: RETRY_HANDSHAKES,
            deadline: HANDSHAKE_DEADLINE,
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    ///
    /// When the system does not tell.
    pub fn local_address(&self) -> std::io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// Tells about the sessions of this listener and closes them. Clones are of the same listener.
    pub fn sessions(&self) -> Sessions {
        Sessions {
            registry: self.registry.clone(),
            endpoint: self.endpoint.clone(),
        }
    }

    /// The next session whose handshake is done; `None` when the listener was closed. What comes first on it is checked
    /// by its receiver. Handshakes go on beside each other while this is polled. Dropping the future loses nothing.
    pub async fn accept(&mut self) -> Option<Session> {
        loop {
            tokio::select! {
                incoming = self.endpoint.accept() => self.begin(incoming?),
                Some(done) = self.handshakes.join_next() => {
                    if let Ok(Some(session)) = done {
                        return Some(session);
                    }
                }
            }
        }
    }

    fn begin(&mut self, incoming: Incoming) {
        let address = incoming.remote_address().ip();
        if self.handshakes.len() >= HANDSHAKES_MAX || !self.rate.admits(address, Instant::now()) {
            // Whoever is refused would get an answer, which a forged address makes somebody else's.
            incoming.ignore();
            return;
        }
        let is_busy = self.handshakes.len() >= self.retry_handshakes;
        if is_busy && !incoming.remote_address_validated() && incoming.may_retry() {
            // It may retry, so this does not fail.
            let _ = incoming.retry();
            return;
        }
        let (registry, deadline) = (self.registry.clone(), self.deadline);
        self.handshakes.spawn(async move {
            // When it takes too long, dropping what is left of it closes the connection.
            let done = timeout(deadline, handshake(incoming, &registry)).await;
            done.unwrap_or_default()
        });
    }

    #[cfg(test)]
    pub(crate) const fn always_retry(&mut self) {
        self.retry_handshakes = 0;
    }

    #[cfg(test)]
    pub(crate) const fn set_deadline(&mut self, deadline: Duration) {
        self.deadline = deadline;
    }

    #[cfg(test)]
    pub(crate) fn handshakes(&self) -> usize {
        self.handshakes.len()
    }
}

async fn handshake(incoming: Incoming, registry: &Arc<Registry>) -> Option<Session> {
    let connection = incoming.accept().ok()?.await.ok()?;
    let chain = chain_of(&connection);
    let peer = match tls::peer(alpn_of(&connection).as_deref(), chain.as_deref()) {
        Ok(peer) => peer,
        Err(error) => {
            close(&connection, CloseCode::IdentityRefused, &error.to_string());
            return None;
        }
    };
    let Some(registered) = registry.register(&peer, &connection) else {
        close(
            &connection,
            CloseCode::TooManyConnections,
            "too many connections",
        );
        return None;
    };
    let (send, receive) = connection.accept_bi().await.ok()?;
    let order = Order::new(party(&peer), peer == Peer::Joiner);
    let handle = Handle {
        connection,
        peer,
        shared: Arc::new(Shared {
            _registered: Some(registered),
            ..Shared::default()
        }),
    };
    Some(Session::new(handle, send, receive, order))
}

/// The sessions of a listener.
#[derive(Clone, Debug)]
pub struct Sessions {
    registry: Arc<Registry>,
    endpoint: Endpoint,
}

impl Sessions {
    /// How many are up, those whose handshake is done and that were not accepted yet included.
    pub fn count(&self) -> usize {
        self.registry.len()
    }

    /// Closes every session for whose certificate `why` gives a reason: it was revoked, or its time is over. Gives back
    /// how many those were.
    pub fn close_where(&self, why: impl Fn(&Leaf) -> Option<(CloseCode, &'static str)>) -> usize {
        self.registry.close_where(why)
    }

    /// Other settings for the sessions that come from now on: a renewed certificate, or other authorities.
    ///
    /// # Errors
    ///
    /// When the settings cannot be used.
    pub fn set_tls(&self, tls: rustls::ServerConfig) -> Result<(), ConnectError> {
        self.endpoint.set_server_config(Some(server_config(tls)?));
        Ok(())
    }

    /// Closes all sessions and the listener, and waits until the peers know or had time to.
    pub async fn stop(&self, reason: &str) {
        self.endpoint.set_server_config(None);
        let code = crate::error::code_of(CloseCode::Stopping);
        self.endpoint.close(code, reason.as_bytes());
        let _ = timeout(crate::limits::LINGER, self.endpoint.wait_idle()).await;
    }
}
