//! Links within one process: messages are moved, nothing is encoded.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ppwasm_proto::Digest;
use ppwasm_proto::wire::{BlobRef, CloseCode, Message};
use tokio::sync::{mpsc, oneshot};

use crate::{
    BlobFailure, BlobPeer, BlobRequest, Closed, DialError, Dialer, Incoming, Link, LinkReceiver,
    LinkSender, Listener, Peer,
};

/// Messages that are under way in one direction.
pub const MESSAGES_MAX: usize = 64;
/// Links that wait to be accepted.
pub const BACKLOG_MAX: usize = 64;

type EndReason = Arc<Mutex<Option<(CloseCode, Arc<str>)>>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One end of a link within the process.
#[derive(Debug)]
pub struct MemoryLink {
    peer: Peer,
    sender: MemorySender,
    receiver: MemoryReceiver,
}

/// Its half that sends.
#[derive(Debug)]
pub struct MemorySender {
    messages: mpsc::Sender<Incoming>,
    reason: EndReason,
}

/// Its half that receives.
#[derive(Debug)]
pub struct MemoryReceiver {
    messages: mpsc::Receiver<Incoming>,
    reason: EndReason,
}

/// Blobs at the other end.
#[derive(Clone, Debug)]
pub struct MemoryBlobs {
    messages: mpsc::WeakSender<Incoming>,
}

/// Two ends of a link: that of `left`, and that of `right`.
pub fn pair(left: Peer, right: Peer) -> (MemoryLink, MemoryLink) {
    let (to_right, right_messages) = direction();
    let (to_left, left_messages) = direction();
    (
        MemoryLink {
            peer: right,
            sender: to_right,
            receiver: left_messages,
        },
        MemoryLink {
            peer: left,
            sender: to_left,
            receiver: right_messages,
        },
    )
}

fn direction() -> (MemorySender, MemoryReceiver) {
    let (sender, receiver) = mpsc::channel(MESSAGES_MAX);
    let reason = EndReason::default();
    (
        MemorySender {
            messages: sender,
            reason: Arc::clone(&reason),
        },
        MemoryReceiver {
            messages: receiver,
            reason,
        },
    )
}

impl Link for MemoryLink {
    type Sender = MemorySender;
    type Receiver = MemoryReceiver;
    type Blobs = MemoryBlobs;

    fn peer(&self) -> &Peer {
        &self.peer
    }

    fn split(self) -> (MemorySender, MemoryReceiver, MemoryBlobs) {
        let blobs = MemoryBlobs {
            messages: self.sender.messages.downgrade(),
        };
        (self.sender, self.receiver, blobs)
    }
}

impl LinkSender for MemorySender {
    async fn send(&mut self, message: Message) -> Result<(), Closed> {
        let sent = self.messages.send(Incoming::Message(message)).await;
        sent.map_err(|_| Closed::Lost)
    }

    fn close(self, code: CloseCode, reason: &str) {
        *lock(&self.reason) = Some((code, reason.into()));
    }
}

impl LinkReceiver for MemoryReceiver {
    async fn receive(&mut self) -> Result<Incoming, Closed> {
        match self.messages.recv().await {
            Some(incoming) => Ok(incoming),
            None => Err(match lock(&self.reason).clone() {
                Some((code, reason)) => Closed::ByPeer { code, reason },
                None => Closed::Lost,
            }),
        }
    }
}

impl MemoryBlobs {
    async fn request(&self, request: BlobRequest) -> Result<(), BlobFailure> {
        let messages = self.messages.upgrade().ok_or(BlobFailure::Lost)?;
        let sent = messages.send(Incoming::Blob(request)).await;
        sent.map_err(|_| BlobFailure::Lost)
    }
}

impl BlobPeer for MemoryBlobs {
    async fn get(&self, digest: Digest, bytes_max: u64) -> Result<Arc<[u8]>, BlobFailure> {
        let (answer, answered) = oneshot::channel();
        self.request(BlobRequest::Get { digest, answer }).await?;
        let bytes = answered.await.map_err(|_| BlobFailure::Lost)?;
        let bytes = bytes.map_err(BlobFailure::Refused)?;
        let found = bytes.len() as u64;
        if found > bytes_max {
            return Err(BlobFailure::TooLarge {
                bytes: found,
                bytes_max,
            });
        }
        if Digest::of(&bytes) != digest {
            return Err(BlobFailure::OtherContent(digest));
        }
        Ok(bytes)
    }

    async fn put(&self, bytes: Arc<[u8]>) -> Result<BlobRef, BlobFailure> {
        let blob = BlobRef::of(&bytes);
        let (answer, answered) = oneshot::channel();
        let request = BlobRequest::Put {
            blob,
            bytes,
            answer,
        };
        self.request(request).await?;
        let stored = answered.await.map_err(|_| BlobFailure::Lost)?;
        stored.map_err(BlobFailure::Refused)?;
        Ok(blob)
    }
}

/// An address within the process: where a coordinator listens, now this one, after a restart another.
#[derive(Clone, Debug, Default)]
pub struct MemoryHub(Arc<Mutex<Option<mpsc::Sender<MemoryLink>>>>);

impl MemoryHub {
    /// An address at which nobody listens.
    pub fn new() -> Self {
        Self::default()
    }

    /// Listens here instead of whoever did before.
    pub fn listen(&self) -> MemoryListener {
        let (sender, links) = mpsc::channel(BACKLOG_MAX);
        *lock(&self.0) = Some(sender);
        MemoryListener { links }
    }

    /// Dials this address as `identity`.
    pub fn dialer(&self, identity: Peer) -> MemoryDialer {
        MemoryDialer {
            hub: self.clone(),
            identity,
        }
    }
}

/// Takes links within the process.
#[derive(Debug)]
pub struct MemoryListener {
    links: mpsc::Receiver<MemoryLink>,
}

impl Listener for MemoryListener {
    type Link = MemoryLink;

    async fn accept(&mut self) -> Option<MemoryLink> {
        self.links.recv().await
    }
}

/// Makes links within the process.
#[derive(Clone, Debug)]
pub struct MemoryDialer {
    hub: MemoryHub,
    identity: Peer,
}

impl Dialer for MemoryDialer {
    type Link = MemoryLink;

    async fn dial(&self) -> Result<MemoryLink, DialError> {
        let listener = lock(&self.hub.0)
            .clone()
            .ok_or(DialError::Unreachable(None))?;
        let (here, there) = pair(self.identity.clone(), Peer::Coordinator);
        let sent = listener.send(there).await;
        sent.map_err(|_| DialError::Unreachable(None))?;
        Ok(here)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ppwasm_proto::wire::{ErrorCode, Ping};

    use super::*;

    fn client() -> Peer {
        Peer::Client("c".parse().unwrap())
    }

    fn ping(number: u64) -> Message {
        Ping { number }.into()
    }

    #[tokio::test]
    async fn messages_arrive_in_order_and_the_end_with_its_reason() {
        let (here, there) = pair(client(), Peer::Coordinator);
        assert_eq!((here.peer(), there.peer()), (&Peer::Coordinator, &client()));
        let (mut sender, _receiver, _) = here.split();
        let (_, mut receiver, _) = there.split();
        for number in 0..10 {
            sender.send(ping(number)).await.unwrap();
        }
        sender.close(CloseCode::Finished, "done");
        for number in 0..10 {
            let Incoming::Message(message) = receiver.receive().await.unwrap() else {
                panic!("not a message");
            };
            assert_eq!(message, ping(number));
        }
        let Err(Closed::ByPeer { code, reason }) = receiver.receive().await else {
            panic!("not closed");
        };
        assert_eq!((code, &*reason), (CloseCode::Finished, "done"));
    }

    #[tokio::test]
    async fn a_dropped_end_is_a_loss_even_while_blobs_are_held() {
        let (here, there) = pair(client(), Peer::Coordinator);
        let (sender, _, blobs) = here.split();
        let (mut back, mut receiver, _) = there.split();
        drop(sender);
        assert!(matches!(receiver.receive().await, Err(Closed::Lost)));
        assert_eq!(back.send(ping(1)).await, Err(Closed::Lost));
        let got = blobs.get(Digest::of(b"x"), 9).await;
        assert_eq!(got, Err(BlobFailure::Lost));
    }

    #[tokio::test]
    async fn who_does_not_read_stops_the_sender_at_the_limit() {
        let (here, there) = pair(client(), Peer::Coordinator);
        let (mut sender, _receiver, _) = here.split();
        for number in 0..MESSAGES_MAX as u64 {
            sender.send(ping(number)).await.unwrap();
        }
        let more = tokio::time::timeout(Duration::from_millis(20), sender.send(ping(0)));
        assert!(more.await.is_err(), "one more than the limit was taken");
        drop(there);
    }

    #[tokio::test]
    async fn blobs_are_checked_by_whoever_gets_them() {
        let (here, there) = pair(client(), Peer::Coordinator);
        let (_sender, _, blobs) = here.split();
        let (_, mut receiver, _) = there.split();
        let server = async {
            let answers = [Ok(b"right"), Ok(b"wrong"), Err(ErrorCode::NotFound)];
            for next in answers {
                let Ok(Incoming::Blob(BlobRequest::Get { answer, .. })) = receiver.receive().await
                else {
                    panic!("not asked");
                };
                answer.send(next.map(|bytes| bytes[..].into())).unwrap();
            }
        };
        let asker = async {
            let digest = Digest::of(b"right");
            assert_eq!(blobs.get(digest, 5).await.unwrap()[..], b"right"[..]);
            let other = blobs.get(digest, 5).await;
            assert_eq!(other, Err(BlobFailure::OtherContent(digest)));
            let missing = blobs.get(digest, 5).await;
            assert_eq!(missing, Err(BlobFailure::Refused(ErrorCode::NotFound)));
        };
        tokio::join!(server, asker);
    }

    #[tokio::test]
    async fn a_hub_leads_to_whoever_listens_last() {
        let hub = MemoryHub::new();
        let dialer = hub.dialer(client());
        assert!(dialer.dial().await.is_err(), "nobody listens");
        let mut first = hub.listen();
        let _link = dialer.dial().await.unwrap();
        assert_eq!(first.accept().await.unwrap().peer(), &client());
        let mut second = hub.listen();
        let _link = dialer.dial().await.unwrap();
        assert!(second.accept().await.is_some());
        assert!(first.accept().await.is_none());
    }
}
