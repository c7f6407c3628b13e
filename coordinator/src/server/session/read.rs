//! The half of a session that reads.

use std::time::Duration;

use ppwasm_link::{Closed, Incoming, LinkReceiver, Peer};
use ppwasm_proto::wire::{CloseCode, Introduction, MINOR_WITH_CACHE, Message, Pong, Refused};
use ppwasm_scheduler::Hello;

use super::blobs::blob_of;
use super::{End, HELLO_TIME, RESULTS_MAX, Reader};
use crate::server::core::{Input, Offer};

impl<R: LinkReceiver> Reader<'_, R> {
    pub(super) async fn run(&mut self) -> End {
        match tokio::time::timeout(HELLO_TIME, self.hello()).await {
            Ok(Ok(())) => {}
            Ok(Err(end)) => return end,
            Err(_) => return End::Close(CloseCode::TooSlow, "no hello came"),
        }
        loop {
            while self.tasks.try_join_next().is_some() {}
            let message = match self.receiver.receive().await {
                Ok(Incoming::Message(message)) => message,
                Ok(Incoming::Blob(request)) => {
                    self.blob(request).await;
                    continue;
                }
                Err(Closed::ByPeer { .. } | Closed::Lost) => return End::Lost,
            };
            if !message.kind().senders.contains(self.party) {
                return End::Close(CloseCode::WrongMessage, "not this role's message");
            }
            let taken = match (&self.peer, message) {
                (_, Message::Ping(ping)) => {
                    let number = ping.number;
                    self.say(Pong { number }.into()).await
                }
                (_, Message::Goodbye(_)) => return End::Orderly,
                (_, Message::Hello(_)) => {
                    return End::Close(CloseCode::WrongMessage, "a second hello");
                }
                (
                    _,
                    message @ (Message::MintToken(_)
                    | Message::RevokeIdentity(_)
                    | Message::RenewCertificate(_)),
                ) => self.take_about_identities(message).await,
                (Peer::Client(client), message) => {
                    let client = client.clone();
                    self.take_from_client(client, message).await
                }
                (Peer::Worker(_), _) if self.is_provided => {
                    return End::Close(
                        CloseCode::WrongMessage,
                        "this session is for the guest only",
                    );
                }
                (_, message) => self.take_from_worker(message).await,
            };
            if let Err(end) = taken {
                return end;
            }
        }
    }

    pub(super) async fn hello(&mut self) -> Result<(), End> {
        let hello = match self.receiver.receive().await {
            Ok(Incoming::Message(Message::Hello(hello))) => hello,
            Ok(_) => return Err(End::Close(CloseCode::WrongMessage, "hello comes first")),
            Err(_) => return Err(End::Lost),
        };
        match self.peer.clone() {
            Peer::Worker(worker) => {
                let (offer, build, minor) = match Introduction::of_worker(hello) {
                    Ok(Introduction {
                        worker: Some(offer),
                        build,
                        minor,
                    }) => (offer, build, minor),
                    Ok(_) => return Err(End::Lost),
                    Err(error) => return Err(self.refuse(error.to_refused()).await),
                };
                if offer.wants_guest == Some(true) {
                    return self.provide(&offer, minor).await;
                }
                if let Some(refused) = self.shared.mismatch(&offer) {
                    return Err(self.refuse(refused).await);
                }
                let number = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
                let hello = Hello {
                    worker,
                    incarnation: offer.incarnation,
                    slots: number(offer.slots),
                    credit: number(offer.credit),
                    label: format!("{} {}", offer.target, offer.cpu_profile).into(),
                    target: offer.target.as_str().into(),
                    takes_streams: minor >= MINOR_WITH_CACHE,
                    is_draining: offer.is_draining == Some(true),
                    held: offer.held.into_vec(),
                    images: offer.functions.into_vec(),
                };
                let offer = Box::new(Offer {
                    target: offer.target,
                    cpu_profile: offer.cpu_profile,
                    label: offer.label,
                    build,
                    minor,
                });
                let (session, hello) = (self.session, Box::new(hello));
                let joined = Input::Joined {
                    session,
                    hello,
                    offer,
                };
                self.tell(joined).await
            }
            _ => match Introduction::of_client(hello) {
                Ok(Introduction { minor, .. }) => {
                    let welcome = self.shared.welcome(self.session, minor);
                    self.say(welcome.into()).await
                }
                Err(error) => Err(self.refuse(error.to_refused()).await),
            },
        }
    }

    pub(super) async fn refuse(&mut self, refused: Refused) -> End {
        let _ = self.say(refused.into()).await;
        // The writer has to send it before the link ends.
        while self.results.capacity() < RESULTS_MAX {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        End::Close(CloseCode::Refused, "the hello was refused")
    }

    pub(super) async fn tell(&mut self, input: Input) -> Result<(), End> {
        let told = self.shared.inputs.send(input).await;
        told.map_err(|_| End::Close(CloseCode::Stopping, "the coordinator is stopping"))
    }

    pub(super) async fn say(&mut self, message: Message) -> Result<(), End> {
        self.results.send(message).await.map_err(|_| End::Lost)
    }

    pub(super) async fn take_from_worker(&mut self, message: Message) -> Result<(), End> {
        match &message {
            Message::ImageWanted(wanted) => {
                let answer = self.shared.image_message(wanted.function);
                return self.say(answer).await;
            }
            Message::Ended(ended) => {
                // A blob that is not here would make the batch that names it fail.
                let payloads = ended.results.iter().flat_map(|result| {
                    let output = [result.stdout.as_ref(), result.stderr.as_ref()];
                    output.into_iter().flatten().chain([&result.outcome])
                });
                let named = payloads.filter_map(blob_of).collect();
                match self.shared.has_all(named).await {
                    Some(true) => {}
                    Some(false) => {
                        return Err(End::Close(CloseCode::WrongMessage, "a blob is missing"));
                    }
                    // It comes again with the same results.
                    None => {
                        return Err(End::Close(CloseCode::Internal, "blobs cannot be read"));
                    }
                }
            }
            _ => {}
        }
        let session = self.session;
        self.tell(Input::Worker { session, message }).await
    }
}
