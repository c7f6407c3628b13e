//! Peers that keep to the rules.

use ppwasm_certs::Role;
use ppwasm_proto::wire::{CloseCode, ErrorCode, Message, Party, Ping, Pong, Refused, Text};

use super::{Installation, close_code, hello, soon};
use crate::error::{Lost, SessionError};
use crate::limits::{CLIENT_CONNECTIONS_MAX, WORKER_CONNECTIONS_MAX};

#[tokio::test]
async fn both_ends_know_each_other_and_messages_arrive_in_order() {
    let mut lab = Installation::new();
    let (mut worker, mut ours) = lab.talking(Role::Worker, "w-1").await;
    assert_eq!(ours.handle.party(), Party::Worker);
    let identity = ours.handle.identity().unwrap().to_string();
    assert_eq!(identity, "ppwasm://lab.example/worker/w-1");
    assert_eq!(worker.handle.party(), Party::Coordinator);

    const COUNT: u64 = 20_000;
    let sending = async {
        for number in 0..COUNT {
            worker.sender.gather(&Ping { number }.into()).unwrap();
            if worker.sender.gathered() > 10_000 {
                worker.sender.flush().await.unwrap();
            }
        }
        worker.sender.flush().await.unwrap();
    };
    let receiving = async {
        for number in 0..COUNT {
            let message = ours.receiver.receive().await.unwrap();
            assert_eq!(message, Message::from(Ping { number }));
        }
    };
    soon(async { tokio::join!(sending, receiving) }).await;
    let counts = ours.handle.statistics();
    assert_eq!(counts.messages_received, COUNT + 1);
    assert_eq!(counts.messages_unknown, 0);
    assert!(counts.bytes_received > COUNT);
}

#[tokio::test]
async fn the_code_and_reason_of_a_close_arrive_after_the_last_message() {
    let mut lab = Installation::new();
    let (mut client, ours) = lab.connected(Role::Client, "ann").await;
    let refused = Message::from(Refused {
        code: ErrorCode::Busy,
        reason: Text::truncated("full"),
        retry_after_ms: Some(5),
        spoken: None,
    });
    let mut sender = ours.sender;
    sender.send(&refused).await.unwrap();
    let finishing = tokio::spawn(sender.finish(CloseCode::Refused, "come back\n\x1b[31mlater"));
    assert_eq!(soon(client.receiver.receive()).await.unwrap(), refused);
    match soon(client.receiver.receive()).await {
        Err(SessionError::ClosedByPeer { code, reason }) => {
            assert_eq!(code, CloseCode::Refused);
            assert_eq!(&*reason, "come back  [31mlater");
        }
        other => panic!("{other:?}"),
    }
    soon(finishing).await.unwrap();
}

#[tokio::test]
async fn a_peer_that_is_dropped_is_lost_and_not_closed() {
    let mut lab = Installation::new();
    let (worker, mut ours) = lab.talking(Role::Worker, "w").await;
    drop(worker);
    match soon(ours.receiver.receive()).await {
        Err(SessionError::Lost {
            reason: Lost::Dropped,
        }) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(lab.listener.sessions().count(), 1);
    drop(ours);
    assert_eq!(lab.listener.sessions().count(), 0);
}

#[tokio::test]
async fn case_50_connections_of_one_identity_are_counted() {
    for (role, max) in [
        (Role::Worker, WORKER_CONNECTIONS_MAX),
        (Role::Client, CLIENT_CONNECTIONS_MAX),
    ] {
        let mut lab = Installation::new();
        let mut sessions = Vec::new();
        for _ in 0..max {
            sessions.push(lab.talking(role, "same").await);
        }
        let connector = lab.connector(role, "same");
        let refused = async {
            let mut one_more = connector.connect(lab.address).await.unwrap();
            close_code(&mut one_more).await
        };
        let code = tokio::select! {
            code = soon(refused) => code,
            session = lab.listener.accept() => panic!("{session:?}"),
        };
        assert_eq!(code, CloseCode::TooManyConnections);
        let others = lab.talking(role, "other").await;
        sessions.push(others);

        // A place that is given back is free.
        drop(sessions.swap_remove(0));
        let (_theirs, _ours) = lab.talking(role, "same").await;

        // So is that of a connection that its peer has closed, whatever still holds on to it here.
        let (theirs, mut ours): (Vec<_>, Vec<_>) = sessions.into_iter().unzip();
        drop(theirs);
        for session in &mut ours {
            let ended = soon(session.receiver.receive()).await;
            assert!(ended.is_err(), "{ended:?}");
        }
        let (_theirs, _ours) = lab.talking(role, "same").await;
        drop(ours);
    }
}

#[tokio::test]
async fn case_51_a_revoked_certificate_ends_its_live_session() {
    let mut lab = Installation::new();
    let (mut bad, ours) = lab.talking(Role::Worker, "bad").await;
    let (mut good, mut good_here) = lab.talking(Role::Worker, "good").await;
    let leaf = ours.handle.leaf().unwrap().clone();
    let deny = |serial| {
        lab.denied
            .write()
            .unwrap()
            .deny_serial(serial, leaf.not_after_s)
    };
    assert!(deny(leaf.serial.clone()));
    let closed = lab.listener.sessions().close_where(|leaf| {
        let is_denied = lab.denied.read().unwrap().denies(leaf);
        is_denied.then_some((CloseCode::Revoked, "revoked"))
    });
    assert_eq!(closed, 1);
    // At once, and not when something else happens: nothing was waited for since.
    assert!(ours.handle.end().is_some(), "it is still up here");
    assert!(good_here.handle.end().is_none());
    assert_eq!(close_code(&mut bad).await, CloseCode::Revoked);

    good_here
        .sender
        .send(&Ping { number: 1 }.into())
        .await
        .unwrap();
    assert!(soon(good.receiver.receive()).await.is_ok());
    good.sender.send(&Pong { number: 1 }.into()).await.unwrap();
    assert!(soon(good_here.receiver.receive()).await.is_ok());
}

#[tokio::test]
async fn case_56_a_new_server_certificate_leaves_live_sessions_alone() {
    let mut lab = Installation::new();
    let (mut before, mut before_here) = lab.talking(Role::Worker, "before").await;
    let old = before.handle.leaf().unwrap().serial.clone();
    let tls = super::server_tls(&lab.authority, lab.denied.clone());
    lab.listener.sessions().set_tls(tls).unwrap();
    let (after, _after_here) = lab.talking(Role::Worker, "after").await;
    assert_ne!(after.handle.leaf().unwrap().serial, old);
    before
        .sender
        .send(&Ping { number: 2 }.into())
        .await
        .unwrap();
    assert!(soon(before_here.receiver.receive()).await.is_ok());
}

#[tokio::test]
async fn stopping_tells_every_peer() {
    let mut lab = Installation::new();
    let (mut one, _one_here) = lab.talking(Role::Worker, "one").await;
    let (mut two, _two_here) = lab.talking(Role::Client, "two").await;
    let sessions = lab.listener.sessions();
    let stopping = tokio::spawn(async move { sessions.stop("maintenance").await });
    assert_eq!(close_code(&mut one).await, CloseCode::Stopping);
    assert_eq!(close_code(&mut two).await, CloseCode::Stopping);
    assert!(soon(lab.listener.accept()).await.is_none());
    drop((one, two, _one_here, _two_here));
    soon(stopping).await.unwrap();
}

#[tokio::test]
async fn case_32_a_peer_shows_its_address_first_when_there_is_load() {
    let mut lab = Installation::new();
    lab.listener.always_retry();
    let (_theirs, mut ours) = lab.connected(Role::Worker, "w").await;
    assert_eq!(soon(ours.receiver.receive()).await.unwrap(), hello());
}

#[tokio::test]
async fn dropped_futures_lose_nothing() {
    let mut lab = Installation::new();
    let (mut worker, mut ours) = lab.talking(Role::Worker, "w").await;
    const COUNT: u64 = 2_000;
    let sending = tokio::spawn(async move {
        for number in 0..COUNT {
            worker.sender.send(&Ping { number }.into()).await.unwrap();
        }
        worker
    });
    let mut expected = 0;
    let receive_all = async {
        while expected < COUNT {
            // Every other future is dropped after one poll.
            let polled = tokio::select! {
                biased;
                message = ours.receiver.receive() => Some(message.unwrap()),
                () = std::future::ready(()) => None,
            };
            let Some(message) = polled else {
                tokio::task::yield_now().await;
                continue;
            };
            assert_eq!(message, Message::from(Ping { number: expected }));
            expected += 1;
        }
    };
    soon(receive_all).await;
    drop(sending.await.unwrap());
}
