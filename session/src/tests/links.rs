//! Sessions as links.

use std::sync::Arc;

use ppwasm_certs::Role;
use ppwasm_link::{
    BlobFailure, BlobPeer, BlobRequest, Closed, Dialer, Incoming, Link, LinkReceiver, LinkSender,
    Listener as _, Peer,
};
use ppwasm_proto::Digest;
use ppwasm_proto::wire::{BlobRef, CloseCode, ErrorCode, Message, Ping};

use super::{Installation, hello, soon, welcome};
use crate::link::{CoordinatorDialer, PeerListener};

#[tokio::test]
async fn messages_and_blobs_go_over_links_and_their_end_is_told() {
    let lab = Installation::new();
    let connector = lab.connector(Role::Worker, "w");
    let dialer = CoordinatorDialer::new(connector, [lab.address]);
    let mut listener = PeerListener::new(lab.listener, None);
    let dialing = async {
        let link = dialer.dial().await.unwrap();
        assert_eq!(*link.peer(), Peer::Coordinator);
        let (mut sender, receiver, blobs) = link.split();
        sender.send(hello()).await.unwrap();
        (sender, receiver, blobs)
    };
    let both = async { tokio::join!(dialing, listener.accept()) };
    let ((mut sender, mut receiver, blobs), theirs) = soon(both).await;
    let theirs = theirs.unwrap();
    assert_eq!(*theirs.peer(), Peer::Worker("w".parse().unwrap()));
    let (mut answers, mut heard, cannot) = theirs.split();
    let refused = cannot.get(Digest::of(b""), 1).await;
    assert_eq!(
        refused,
        Err(BlobFailure::Refused(ErrorCode::PermissionDenied))
    );
    answers.send(welcome()).await.unwrap();

    let serve = async {
        let mut stored: Vec<(BlobRef, Arc<[u8]>)> = Vec::new();
        let mut messages = 0;
        loop {
            match heard.receive().await {
                Ok(Incoming::Message(Message::Ping(_))) => messages += 1,
                Ok(Incoming::Message(_)) => {}
                Ok(Incoming::Blob(BlobRequest::Get { digest, answer })) => {
                    let found = stored.iter().find(|(blob, _)| blob.digest == digest);
                    let found = found.map(|(_, bytes)| bytes.clone());
                    answer.send(found.ok_or(ErrorCode::NotFound)).unwrap();
                }
                Ok(Incoming::Blob(BlobRequest::Put {
                    blob,
                    bytes,
                    answer,
                })) => {
                    assert_eq!(BlobRef::of(&bytes), blob);
                    stored.push((blob, bytes));
                    answer.send(Ok(())).unwrap();
                }
                Err(closed) => return (messages, closed),
            }
        }
    };
    let ask = async {
        assert!(matches!(
            receiver.receive().await,
            Ok(Incoming::Message(Message::Welcome(_)))
        ));
        let blob: Arc<[u8]> = vec![5; 3 << 20].into();
        let digest = Digest::of(&blob);
        let missing = blobs.get(digest, 1 << 30).await;
        assert_eq!(missing, Err(BlobFailure::Refused(ErrorCode::NotFound)));
        assert_eq!(blobs.put(blob.clone()).await, Ok(BlobRef::of(&blob)));
        assert_eq!(blobs.get(digest, 1 << 30).await, Ok(blob));
        for number in 0..1000 {
            sender.send(Ping { number }.into()).await.unwrap();
        }
        sender.close(CloseCode::Finished, "bye");
    };
    let ((messages, closed), ()) = soon(async { tokio::join!(serve, ask) }).await;
    assert_eq!(messages, 1000, "nothing is lost by closing");
    let (code, reason) = (CloseCode::Finished, Arc::from("bye"));
    assert_eq!(closed, Closed::ByPeer { code, reason });
}

#[tokio::test]
async fn a_link_whose_sender_is_dropped_is_lost_though_its_other_parts_live() {
    let lab = Installation::new();
    let dialer = CoordinatorDialer::new(lab.connector(Role::Worker, "w"), [lab.address]);
    let mut listener = PeerListener::new(lab.listener, None);
    let dialing = async {
        let (mut sender, receiver, blobs) = dialer.dial().await.unwrap().split();
        sender.send(hello()).await.unwrap();
        (sender, receiver, blobs)
    };
    let both = async { tokio::join!(dialing, listener.accept()) };
    let ((sender, mut receiver, blobs), theirs) = soon(both).await;
    let (_answers, mut heard, _) = theirs.unwrap().split();
    assert!(soon(heard.receive()).await.is_ok());
    drop(sender);
    assert_eq!(soon(heard.receive()).await.unwrap_err(), Closed::Lost);
    assert!(soon(receiver.receive()).await.is_err());
    assert_eq!(
        soon(blobs.get(Digest::of(b""), 1)).await,
        Err(BlobFailure::Lost)
    );
}

#[tokio::test]
async fn a_dialer_tries_its_addresses_in_order_and_says_what_failed() {
    let mut lab = Installation::new();
    let elsewhere = Installation::new();
    let mut accepting = elsewhere.listener;
    let foreign = tokio::spawn(async move { accepting.accept().await.map(drop) });
    let connector = lab.connector(Role::Client, "ann");
    let addresses = [elsewhere.address, lab.address];
    let dialer = CoordinatorDialer::new(connector.clone(), addresses);
    let link = tokio::select! {
        link = soon(dialer.dial()) => link.unwrap(),
        session = lab.listener.accept() => panic!("nothing was said yet: {session:?}"),
    };
    assert!(dialer.failure().is_none());
    drop(link);
    let dialer = CoordinatorDialer::new(connector, [elsewhere.address]);
    assert!(soon(dialer.dial()).await.is_err());
    let failure = dialer.failure().unwrap();
    assert!(
        matches!(*failure, crate::ConnectError::Handshake(_)),
        "{failure:?}"
    );
    foreign.abort();
}
