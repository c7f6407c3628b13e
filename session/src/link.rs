//! Sessions as links: what drivers in coordinator, worker and client are written for.
//!
//! Blobs are whole and in memory here, so what one peer may put at the same time is bounded by the size of one.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use ppwasm_certs::{Identity, Role};
use ppwasm_link::{
    BlobFailure, BlobPeer, BlobRequest as LinkRequest, Closed, DialError, Dialer, Incoming, Link,
    LinkReceiver, LinkSender, Peer,
};
use ppwasm_proto::Digest;
use ppwasm_proto::wire::{BlobRef, CloseCode, ErrorCode, Message};
use quinn::VarInt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;

use crate::blob::{BlobRequest, BlobRequests, Blobs, GetRequest, PutRequest, StoredAnswer};
use crate::connector::Connector;
use crate::control::{Receiver, Sender};
use crate::error::{BlobError, ConnectError, Lost, SessionError};
use crate::listener::Listener;
use crate::session::{Handle, Session};

/// Largest blob that is taken from a peer, and bytes of all those that one peer puts at a time.
pub const PUT_BYTES_MAX: u64 = 1 << 30;
/// Bytes of one permit.
const PERMIT_BYTES: u64 = 64 << 10;
/// Blob requests of one peer that are being answered.
const ANSWERS_MAX: usize = crate::limits::STREAMS_MAX as usize;

/// A session with a peer that has an identity.
#[derive(Debug)]
pub struct SessionLink {
    session: Session,
    peer: Peer,
}

impl SessionLink {
    /// The session as a link; gives it back when the peer is one who joins.
    ///
    /// # Errors
    ///
    /// The session.
    #[allow(
        clippy::result_large_err,
        reason = "the session is the result either way"
    )]
    pub fn new(session: Session) -> Result<Self, Session> {
        match session.handle.identity().and_then(peer_of) {
            Some(peer) => Ok(Self { session, peer }),
            None => Err(session),
        }
    }

    /// Tells about the session and ends it.
    pub const fn handle(&self) -> &Handle {
        &self.session.handle
    }
}

fn peer_of(identity: &Identity) -> Option<Peer> {
    match identity.role() {
        Role::Coordinator => Some(Peer::Coordinator),
        Role::Worker => identity.worker().map(Peer::Worker),
        Role::Client => identity.client().map(Peer::Client),
    }
}

impl Link for SessionLink {
    type Sender = SessionSender;
    type Receiver = SessionReceiver;
    type Blobs = SessionBlobs;

    fn peer(&self) -> &Peer {
        &self.peer
    }

    fn split(self) -> (SessionSender, SessionReceiver, SessionBlobs) {
        let Session {
            sender,
            receiver,
            blobs,
            blob_requests,
            handle,
        } = self.session;
        let permits = usize::try_from(PUT_BYTES_MAX / PERMIT_BYTES).unwrap_or(usize::MAX);
        (
            SessionSender {
                sender: Some(sender),
                handle,
            },
            SessionReceiver {
                receiver,
                requests: blob_requests,
                steps: JoinSet::new(),
                room: Arc::new(Semaphore::new(permits)),
            },
            SessionBlobs {
                // Who has accepted cannot ask.
                blobs: (self.peer == Peer::Coordinator).then_some(blobs),
            },
        )
    }
}

/// The half of a session that sends.
#[derive(Debug)]
pub struct SessionSender {
    /// Until it is closed.
    sender: Option<Sender>,
    handle: Handle,
}

impl LinkSender for SessionSender {
    async fn send(&mut self, message: Message) -> Result<(), Closed> {
        let Some(sender) = &mut self.sender else {
            return Err(Closed::Lost);
        };
        match sender.send(&message).await {
            Ok(()) => Ok(()),
            Err(SessionError::TooLong(error)) => {
                self.handle.close(CloseCode::Internal, &error.to_string());
                Err(Closed::Lost)
            }
            Err(error) => Err(closed(error)),
        }
    }

    fn close(mut self, code: CloseCode, reason: &str) {
        if let Some(sender) = self.sender.take() {
            let reason = reason.to_owned();
            // Ends by itself: within the time that last words may take.
            tokio::spawn(async move { sender.finish(code, &reason).await });
        }
    }
}

impl Drop for SessionSender {
    fn drop(&mut self) {
        if self.sender.is_some() {
            // The other half may live on; the link does not.
            self.handle.connection.close(VarInt::from_u32(0), b"");
        }
    }
}

/// The half of a session that receives.
#[derive(Debug)]
pub struct SessionReceiver {
    receiver: Receiver,
    requests: BlobRequests,
    /// Blobs that are on their way in or out.
    steps: JoinSet<Option<Taken>>,
    room: Arc<Semaphore>,
}

/// A blob that has come, and is to be stored.
#[derive(Debug)]
struct Taken {
    blob: BlobRef,
    bytes: Vec<u8>,
    answer: StoredAnswer,
    room: OwnedSemaphorePermit,
}

impl LinkReceiver for SessionReceiver {
    async fn receive(&mut self) -> Result<Incoming, Closed> {
        loop {
            let has_room = self.steps.len() < ANSWERS_MAX;
            tokio::select! {
                biased;
                message = self.receiver.receive() => {
                    return message.map(Incoming::Message).map_err(closed);
                }
                Some(step) = self.steps.join_next() => {
                    if let Ok(Some(taken)) = step {
                        return Ok(Incoming::Blob(self.store(taken)));
                    }
                }
                request = self.requests.next(), if has_room => match request {
                    Ok(BlobRequest::Get(get)) => return Ok(Incoming::Blob(self.get(get))),
                    Ok(BlobRequest::Put(put)) => {
                        self.steps.spawn(take(put, self.room.clone()));
                    }
                    // The messages' stream tells how it ended, after all that came before.
                    Err(_) => return self.receiver.receive().await.map(Incoming::Message).map_err(closed),
                },
            }
        }
    }
}

impl SessionReceiver {
    fn get(&mut self, get: GetRequest) -> LinkRequest {
        let digest = get.digest();
        let (answer, answered) = oneshot::channel::<Result<Arc<[u8]>, ErrorCode>>();
        self.steps.spawn(async move {
            // A peer that does not take its answer has asked in vain; its stream tells it.
            let _ = match answered.await {
                Ok(Ok(bytes)) => get.answer_with(&bytes).await,
                Ok(Err(code)) => get.refuse(code).await,
                Err(_) => get.refuse(ErrorCode::Internal).await,
            };
            None
        });
        LinkRequest::Get { digest, answer }
    }

    fn store(&mut self, taken: Taken) -> LinkRequest {
        let (answer, answered) = oneshot::channel();
        self.steps.spawn(async move {
            let room = taken.room;
            let _ = match answered.await {
                Ok(Ok(())) => taken.answer.stored().await,
                Ok(Err(code)) => taken.answer.refuse(code).await,
                Err(_) => taken.answer.refuse(ErrorCode::Internal).await,
            };
            drop(room);
            None
        });
        LinkRequest::Put {
            blob: taken.blob,
            bytes: taken.bytes.into(),
            answer,
        }
    }
}

async fn take(put: PutRequest, room: Arc<Semaphore>) -> Option<Taken> {
    let blob = put.blob();
    if blob.bytes > PUT_BYTES_MAX {
        let _ = put.refuse(ErrorCode::TooLarge).await;
        return None;
    }
    let permits = u32::try_from(blob.bytes.div_ceil(PERMIT_BYTES)).ok()?;
    let room = room.acquire_many_owned(permits).await.ok()?;
    let (bytes, answer) = put.take(PUT_BYTES_MAX).await.ok()?;
    Some(Taken {
        blob,
        bytes,
        answer,
        room,
    })
}

/// Blobs at the coordinator.
#[derive(Clone, Debug)]
pub struct SessionBlobs {
    blobs: Option<Blobs>,
}

impl BlobPeer for SessionBlobs {
    async fn get(&self, digest: Digest, bytes_max: u64) -> Result<Arc<[u8]>, BlobFailure> {
        let blobs = self.blobs.as_ref().ok_or(NOT_ASKED)?;
        let bytes = blobs.get(digest, bytes_max).await;
        bytes.map(Into::into).map_err(failure)
    }

    async fn put(&self, bytes: Arc<[u8]>) -> Result<BlobRef, BlobFailure> {
        let blobs = self.blobs.as_ref().ok_or(NOT_ASKED)?;
        blobs.put(&bytes).await.map_err(failure)
    }
}

const NOT_ASKED: BlobFailure = BlobFailure::Refused(ErrorCode::PermissionDenied);

fn failure(error: BlobError) -> BlobFailure {
    match error {
        BlobError::Refused { code } => BlobFailure::Refused(code),
        BlobError::TooLarge { bytes, bytes_max } => BlobFailure::TooLarge { bytes, bytes_max },
        BlobError::OtherContent { digest } => BlobFailure::OtherContent(digest),
        _ => BlobFailure::Lost,
    }
}

fn closed(error: SessionError) -> Closed {
    match error {
        SessionError::ClosedByPeer { code, reason } => Closed::ByPeer { code, reason },
        SessionError::Lost {
            reason: Lost::Rejected(rejection),
        } => Closed::ByPeer {
            code: rejection.code(),
            reason: rejection.to_string().into(),
        },
        _ => Closed::Lost,
    }
}

/// Makes links to a coordinator that is at one of some addresses.
#[derive(Debug)]
pub struct CoordinatorDialer {
    connector: Mutex<Connector>,
    addresses: Box<[SocketAddr]>,
    failure: Mutex<Option<Arc<ConnectError>>>,
}

impl CoordinatorDialer {
    /// Tries the addresses in order.
    pub fn new(connector: Connector, addresses: impl Into<Box<[SocketAddr]>>) -> Self {
        Self {
            connector: Mutex::new(connector),
            addresses: addresses.into(),
            failure: Mutex::new(None),
        }
    }

    /// Why the last try failed, for people; `None` when it did not.
    pub fn failure(&self) -> Option<Arc<ConnectError>> {
        self.failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Other settings for the connections that come from now on: a renewed certificate.
    ///
    /// # Errors
    ///
    /// When the settings cannot be used.
    pub fn set_tls(&self, tls: rustls::ClientConfig) -> Result<(), ConnectError> {
        let mut connector = self
            .connector
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        connector.set_tls(tls)
    }

    fn set_failure(&self, failure: Option<Arc<ConnectError>>) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }
}

impl Dialer for CoordinatorDialer {
    type Link = SessionLink;

    async fn dial(&self) -> Result<SessionLink, DialError> {
        let connector = self
            .connector
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        for address in &self.addresses {
            match connector.connect(*address).await {
                Ok(session) => {
                    self.set_failure(None);
                    // The connector lets nobody but a coordinator be at the other end.
                    return SessionLink::new(session).map_err(|_| DialError::Unreachable(None));
                }
                Err(error) => self.set_failure(Some(Arc::new(error))),
            }
        }
        let failure = self.failure();
        let rejection = failure.as_ref().and_then(|failure| failure.rejection());
        Err(match rejection {
            Some(rejection) => DialError::Rejected(rejection.code(), Arc::new(rejection)),
            None => DialError::Unreachable(failure.map(|failure| failure as _)),
        })
    }
}

/// Takes links of workers and clients, and passes on those who join.
#[derive(Debug)]
pub struct PeerListener {
    listener: Listener,
    joiners: Option<mpsc::Sender<Session>>,
}

impl PeerListener {
    /// Sessions of those who join go to `joiners`; to nobody when it is full, or there is none.
    pub const fn new(listener: Listener, joiners: Option<mpsc::Sender<Session>>) -> Self {
        Self { listener, joiners }
    }
}

impl ppwasm_link::Listener for PeerListener {
    type Link = SessionLink;

    async fn accept(&mut self) -> Option<SessionLink> {
        loop {
            let session = self.listener.accept().await?;
            match (SessionLink::new(session), &self.joiners) {
                (Ok(link), _) => return Some(link),
                (Err(joiner), Some(joiners)) => {
                    if let Err(refused) = joiners.try_send(joiner) {
                        let handle = refused.into_inner().handle;
                        handle.close(CloseCode::TooManyConnections, "too many who join");
                    }
                }
                (Err(joiner), None) => {
                    let handle = joiner.handle;
                    handle.close(CloseCode::IdentityRefused, "nobody can join");
                }
            }
        }
    }
}
