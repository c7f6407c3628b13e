//! The session of a worker: what comes in it and what is said in it.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ppwasm_link::{
    BlobFailure, BlobPeer, Closed, Dialer, Incoming, Link, LinkReceiver, LinkSender,
};
use ppwasm_proto::Digest;
use ppwasm_proto::fabric::LeaseId;
use ppwasm_proto::wire::{
    self, BlobRef, CloseCode, ErrorCode, ImageWanted, Message, Refused, Terms,
};
use tokio::sync::mpsc;

use crate::agent::{Closed as Why, Command, Event};
use crate::messages;

use super::functions::Held;
use super::tasks::{Lease, LeaseState};
use super::{Done, Worker, WorkerEnd};

/// Messages that wait to be sent.
const OUTGOING_MAX: usize = 256;
/// Time between looks at whether the certificate has to be renewed.
const RENEWAL_PAUSE_MIN: Duration = Duration::from_secs(1);
const RENEWAL_PAUSE_MAX: Duration = Duration::from_secs(600);

pub(super) struct Session {
    pub(super) outgoing: mpsc::Sender<Outgoing>,
    pub(super) incoming: mpsc::Receiver<Result<Message, Closed>>,
    pub(super) blobs: Box<dyn Blobs>,
}

#[allow(
    clippy::large_enum_variant,
    reason = "nearly all are messages, which are moved"
)]
pub(super) enum Outgoing {
    Message(Message),
    Close,
}

/// Blobs at the coordinator, whatever the link.
pub(super) trait Blobs: Send + Sync {
    fn get(&self, digest: Digest, max: u64) -> Getting<Arc<[u8]>>;
    fn put(&self, bytes: Arc<[u8]>) -> Getting<BlobRef>;
}

pub(super) type Getting<T> =
    std::pin::Pin<Box<dyn Future<Output = Result<T, BlobFailure>> + Send + 'static>>;

impl<B: BlobPeer> Blobs for B {
    fn get(&self, digest: Digest, max: u64) -> Getting<Arc<[u8]>> {
        let peer = self.clone();
        Box::pin(async move { BlobPeer::get(&peer, digest, max).await })
    }

    fn put(&self, bytes: Arc<[u8]>) -> Getting<BlobRef> {
        let peer = self.clone();
        Box::pin(async move { BlobPeer::put(&peer, bytes).await })
    }
}

impl<D: Dialer> Worker<D> {
    pub(super) fn open(&mut self, link: D::Link) {
        let (mut sender, mut receiver, blobs) = link.split();
        let (outgoing, mut queue) = mpsc::channel(OUTGOING_MAX);
        let (arrived, incoming) = mpsc::channel(OUTGOING_MAX);
        self.tasks.spawn(async move {
            // The end of either half is the end of both.
            let writing = async {
                while let Some(next) = queue.recv().await {
                    match next {
                        Outgoing::Message(message) => {
                            if sender.send(message).await.is_err() {
                                return None;
                            }
                        }
                        Outgoing::Close => return Some(sender),
                    }
                }
                None
            };
            let reading = async {
                loop {
                    let next = match receiver.receive().await {
                        Ok(Incoming::Message(message)) => Ok(message),
                        // Nobody gets blobs from a worker.
                        Ok(Incoming::Blob(_)) => continue,
                        Err(closed) => Err(closed),
                    };
                    let is_over = next.is_err();
                    if arrived.send(next).await.is_err() || is_over {
                        return;
                    }
                }
            };
            tokio::select! {
                sender = writing => if let Some(sender) = sender {
                    sender.close(CloseCode::Finished, "the worker leaves");
                },
                () = reading => {}
            }
        });
        self.session = Some(Session {
            outgoing,
            incoming,
            blobs: Box::new(blobs),
        });
    }

    pub(super) fn take(&mut self, message: Result<Message, Closed>, commands: &mut Vec<Command>) {
        let message = match message {
            Ok(message) => message,
            Err(closed) => {
                self.session = None;
                let event = match closed {
                    Closed::ByPeer { code, .. } => Event::SessionClosed(match code {
                        CloseCode::Superseded => Why::Replaced,
                        CloseCode::Revoked => Why::Revoked,
                        _ => Why::Other,
                    }),
                    Closed::Lost => Event::SessionLost,
                };
                return self.agent_event(event, commands);
            }
        };
        match message {
            Message::Welcome(welcome) => match Terms::try_from(welcome) {
                Ok(terms)
                    if terms
                        .welcome
                        .guest
                        .is_some_and(|g| g != self.host.guest_digest()) =>
                {
                    self.exit = Some(WorkerEnd::GuestChanged);
                }
                Ok(terms) => {
                    let slots = terms
                        .welcome
                        .slots
                        .and_then(|slots| u32::try_from(slots).ok());
                    let event = Event::Welcomed {
                        lease: terms.lease,
                        report_every: terms.report_every,
                        refused: terms.welcome.refused.into_vec(),
                    };
                    self.agent_event(event, commands);
                    if let Some(slots) = slots {
                        self.set_slots(slots, commands);
                    }
                    self.resume(commands);
                }
                Err(_) => self.lose_session(commands),
            },
            Message::Refused(refused) => self.refused(refused, commands),
            Message::CertificateIssued(issued) => {
                if let Some(renewer) = &mut self.renewer {
                    renewer.finish(issued);
                }
            }
            Message::Grant(grant) => {
                let lasts = Duration::from_millis(grant.lease_ms.value());
                for group in grant.groups {
                    self.granted(group, lasts, commands);
                }
            }
            Message::ImageReady(ready) => {
                self.fetch_image(ready.function, ready.image);
            }
            Message::ImageMissing(missing) => self.loaded(missing.function, None, commands),
            Message::SetSlots(set) => {
                self.set_slots(u32::try_from(set.slots.value()).unwrap_or(1), commands);
            }
            Message::Ping(ping) => {
                let number = ping.number;
                self.send(wire::Pong { number }.into());
            }
            other => {
                if let Some(event) = messages::event(other) {
                    self.agent_event(event, commands);
                }
            }
        }
    }

    pub(super) fn refused(&mut self, refused: Refused, commands: &mut Vec<Command>) {
        tracing::warn!(code = %refused.code, reason = refused.reason.as_str(), "refused");
        match refused.code {
            ErrorCode::GuestMismatch => self.exit = Some(WorkerEnd::GuestChanged),
            ErrorCode::VersionUnsupported
            | ErrorCode::PermissionDenied
            | ErrorCode::InvalidValue
            | ErrorCode::Revoked
            | ErrorCode::Expired => {
                self.exit = Some(WorkerEnd::Refused {
                    code: refused.code,
                    reason: refused.reason.into_string(),
                });
            }
            _ => self.lose_session(commands),
        }
    }

    /// Asks for a new certificate when it is time; when it will be.
    pub(super) fn renew(&mut self) -> Option<Instant> {
        self.session.as_ref()?;
        let renewer = self.renewer.as_mut()?;
        let now = SystemTime::now();
        if renewer.due_in(now)?.is_zero()
            && let Some(message) = renewer.begin(now)
        {
            self.send(message.into());
        }
        let due_in = self.renewer.as_ref()?.due_in(now)?;
        // A clock that is set shows within that time.
        Some(Instant::now() + due_in.clamp(RENEWAL_PAUSE_MIN, RENEWAL_PAUSE_MAX))
    }

    pub(super) fn lose_session(&mut self, commands: &mut Vec<Command>) {
        self.session = None;
        self.agent_event(Event::SessionLost, commands);
    }

    /// After a session began: what an earlier one was asked for is asked for again.
    pub(super) fn resume(&mut self, commands: &mut Vec<Command>) {
        self.materials.forget_awaited();
        let is_fetching = |held: &Held| matches!(held, Held::Fetching);
        let fetching = self.functions.iter().filter(|(_, held)| is_fetching(held));
        let fetching: Vec<_> = fetching.map(|(function, _)| *function).collect();
        for function in fetching {
            self.send(ImageWanted { function }.into());
        }
        let preparing = |lease: &Lease| matches!(lease.state, LeaseState::Preparing);
        let preparing = self.leases.iter().filter(|(_, lease)| preparing(lease));
        let preparing: Vec<_> = preparing.map(|(lease, _)| *lease).collect();
        for lease in preparing {
            self.make_ready(lease, commands);
        }
    }

    pub(super) fn send(&mut self, message: Message) {
        if let Some(session) = &self.session
            && session
                .outgoing
                .try_send(Outgoing::Message(message))
                .is_err()
        {
            // The coordinator does not read; the agent hears of the end as of a loss.
            self.session = None;
            let _ = self.tell.try_send(Done::Call(LeaseId(0), None));
        }
    }
}

pub(super) async fn receive(session: &mut Option<Session>) -> Result<Message, Closed> {
    match session {
        Some(session) => session.incoming.recv().await.unwrap_or(Err(Closed::Lost)),
        None => std::future::pending().await,
    }
}
