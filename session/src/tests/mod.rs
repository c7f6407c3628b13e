//! Sessions over loopback, with good peers and with bad ones.

mod blobs;
mod certificates;
mod fuzz;
mod hostile;
mod links;
mod talk;

use std::net::SocketAddr;
use std::sync::{Arc, RwLock};
use std::time::{Duration, SystemTime};

use ppwasm_certs::{Authority, Credentials, DenyList, Role, Trust, UnixTime, tls};
use ppwasm_proto::wire::{CloseCode, Hello, List, MINOR, Message, Text, Welcome, encode_frame};
use tokio::time::timeout;

use crate::{Connector, Listener, Session, SessionError};

/// Longer than anything here takes on a busy machine, shorter than a person waits.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn now() -> UnixTime {
    UnixTime::since_unix_epoch(SystemTime::UNIX_EPOCH.elapsed().unwrap())
}

/// One installation: its authority, and a coordinator that listens.
pub(crate) struct Installation {
    pub(crate) authority: Authority,
    pub(crate) denied: Arc<RwLock<DenyList>>,
    pub(crate) listener: Listener,
    pub(crate) address: SocketAddr,
}

impl Installation {
    pub(crate) fn new() -> Self {
        let authority = Authority::create("lab.example".parse().unwrap(), now()).unwrap();
        let denied = Arc::new(RwLock::new(DenyList::new()));
        let tls = server_tls(&authority, denied.clone());
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), tls).unwrap();
        let address = listener.local_address().unwrap();
        Self {
            authority,
            denied,
            listener,
            address,
        }
    }

    pub(crate) fn credentials(&self, role: Role, name: &str) -> Credentials {
        Credentials::issue(&self.authority, role, name, now()).unwrap()
    }

    pub(crate) fn connector(&self, role: Role, name: &str) -> Connector {
        connector(&self.credentials(role, name))
    }

    /// A session of a worker or client, both ends. It has said hello.
    pub(crate) async fn connected(&mut self, role: Role, name: &str) -> (Session, Session) {
        let connector = self.connector(role, name);
        self.connected_by(&connector, &hello()).await
    }

    /// The same by a connector, with another first message.
    pub(crate) async fn connected_by(
        &mut self,
        connector: &Connector,
        first: &Message,
    ) -> (Session, Session) {
        let mut frame = Vec::new();
        encode_frame(first, &mut frame).unwrap();
        self.connected_with(connector, &frame).await
    }

    /// The same with any bytes.
    pub(crate) async fn connected_with(
        &mut self,
        connector: &Connector,
        first: &[u8],
    ) -> (Session, Session) {
        let connecting = async {
            let mut theirs = connector.connect(self.address).await.unwrap();
            theirs.sender.send_raw(first).await.unwrap();
            theirs
        };
        let accepting = async { self.listener.accept().await.unwrap() };
        soon(async { tokio::join!(connecting, accepting) }).await
    }

    /// The same after the handshake.
    pub(crate) async fn talking(&mut self, role: Role, name: &str) -> (Session, Session) {
        let (mut theirs, mut ours) = self.connected(role, name).await;
        assert_eq!(soon(ours.receiver.receive()).await.unwrap(), hello());
        ours.sender.send(&welcome()).await.unwrap();
        assert_eq!(soon(theirs.receiver.receive()).await.unwrap(), welcome());
        (theirs, ours)
    }
}

pub(crate) fn server_tls(
    authority: &Authority,
    denied: Arc<RwLock<DenyList>>,
) -> rustls::ServerConfig {
    let credentials = Credentials::issue(authority, Role::Coordinator, "c", now()).unwrap();
    let trust = Trust::of_peers(authority).unwrap();
    let time = Arc::new(tls::DefaultTimeProvider);
    tls::server_config(&credentials, trust, denied, true, time).unwrap()
}

pub(crate) fn connector(credentials: &Credentials) -> Connector {
    let time = Arc::new(tls::DefaultTimeProvider);
    Connector::new(tls::client_config(credentials, time).unwrap()).unwrap()
}

/// What does not come in time does not come.
#[track_caller]
pub(crate) fn soon<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let caller = std::panic::Location::caller();
    async move {
        match timeout(PATIENCE, future).await {
            Ok(output) => output,
            Err(_) => panic!("it did not come in time: {caller}"),
        }
    }
}

pub(crate) fn hello() -> Message {
    Hello {
        minor_min: MINOR,
        minor_max: MINOR,
        build: Text::truncated("test"),
        worker: None,
    }
    .into()
}

pub(crate) fn welcome() -> Message {
    Welcome {
        minor: MINOR,
        session: 1,
        epoch: 1,
        report_every_ms: 5_000,
        lease_ms: 30_000,
        refused: List::new(),
        build: Text::default(),
        guest: None,
        renew_certificate: None,
        wall_clock_s: None,
        slots: None,
    }
    .into()
}

/// The code with which the peer closed the session.
pub(crate) async fn close_code(session: &mut Session) -> CloseCode {
    let error = loop {
        if let Err(error) = soon(session.receiver.receive()).await {
            break error;
        }
    };
    match error {
        SessionError::ClosedByPeer { code, .. } => code,
        other => panic!("not closed by the peer: {other:?}"),
    }
}
