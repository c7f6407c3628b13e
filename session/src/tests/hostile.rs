//! Peers with a good certificate and bad manners.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ppwasm_certs::Role;
use ppwasm_proto::JobId;
use ppwasm_proto::wire::{
    CancelJob, CloseCode, FRAME_BYTES_MAX, Message, Ping, WireError, encode_frame,
};
use tokio::net::UdpSocket;

use super::{Installation, close_code, hello, soon};
use crate::SessionError;
use crate::limits::{
    CONNECTION_WINDOW_BYTES, End, INCOMING_BUFFER_BYTES_TOTAL, STREAM_WINDOW_BYTES, STREAMS_MAX,
    UNKNOWN_MESSAGES_MAX, WORKER_IDLE, WORKER_KEEP_ALIVE,
};

fn frame(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_frame(message, &mut bytes).unwrap();
    bytes
}

fn framed(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_be_bytes()[..], body].concat()
}

#[tokio::test]
async fn case_37_frames_may_be_cut_at_each_byte() {
    let mut lab = Installation::new();
    let (mut worker, mut ours) = lab.talking(Role::Worker, "w").await;
    let one = frame(&Ping { number: 1 << 40 }.into());
    for cut in 1..one.len() {
        let (head, tail) = one.split_at(cut);
        worker.sender.send_raw(head).await.unwrap();
        // The rest comes in a packet of its own: the other end has read the first part by then.
        let early = tokio::time::timeout(Duration::from_millis(2), ours.receiver.receive()).await;
        assert!(early.is_err(), "{early:?}");
        worker.sender.send_raw(tail).await.unwrap();
        let message = soon(ours.receiver.receive()).await.unwrap();
        assert_eq!(message, Message::from(Ping { number: 1 << 40 }));
    }
}

#[tokio::test]
async fn case_37_lying_lengths_are_refused_before_anything_is_kept() {
    for (head, code) in [
        (u32::MAX, CloseCode::FrameTooLong),
        (FRAME_BYTES_MAX as u32 + 1, CloseCode::FrameTooLong),
        (0, CloseCode::Malformed),
    ] {
        let mut lab = Installation::new();
        let (mut worker, mut ours) = lab.talking(Role::Worker, "w").await;
        worker.sender.send_raw(&head.to_be_bytes()).await.unwrap();
        match soon(ours.receiver.receive()).await {
            Err(SessionError::Malformed(WireError::FrameTooLong { bytes })) => {
                assert_eq!((bytes, code), (u64::from(head), CloseCode::FrameTooLong));
            }
            Err(SessionError::Malformed(WireError::FrameEmpty)) => assert_eq!(head, 0),
            other => panic!("{other:?}"),
        }
        assert_eq!(close_code(&mut worker).await, code);
    }
}

#[tokio::test]
async fn case_38_bodies_that_are_no_message_end_the_session() {
    let ping = frame(&Ping { number: 1 }.into());
    let trailing = framed(&[&ping[4..], b"\x00"].concat());
    let nested = framed(&[&b"\x82\x04"[..], &[0x81; 1000], b"\x00"].concat());
    let count_bomb = framed(b"\x82\x04\xbb\xff\xff\xff\xff\xff\xff\xff\xff");
    for bad in [
        trailing,
        nested,
        count_bomb,
        framed(b"\x00"),
        framed(b"\x80"),
    ] {
        let mut lab = Installation::new();
        let (mut worker, mut ours) = lab.talking(Role::Worker, "w").await;
        worker.sender.send_raw(&bad).await.unwrap();
        let received = soon(ours.receiver.receive()).await;
        assert!(
            matches!(received, Err(SessionError::Malformed(_))),
            "{received:?}"
        );
        assert_eq!(close_code(&mut worker).await, CloseCode::Malformed);
    }
}

#[tokio::test]
async fn case_39_a_worker_that_speaks_as_a_client_is_closed_with_that_code() {
    let mut lab = Installation::new();
    let (mut worker, mut ours) = lab.talking(Role::Worker, "w").await;
    let job = JobId::from_bytes([1; 16]);
    worker
        .sender
        .send(&CancelJob { request: 1, job }.into())
        .await
        .unwrap();
    match soon(ours.receiver.receive()).await {
        Err(SessionError::WrongMessage { message }) => assert_eq!(message, "CancelJob"),
        other => panic!("{other:?}"),
    }
    assert_eq!(close_code(&mut worker).await, CloseCode::WrongMessage);
}

#[tokio::test]
async fn unknown_messages_are_skipped_up_to_their_limit() {
    let mut lab = Installation::new();
    let (mut worker, mut ours) = lab.talking(Role::Worker, "w").await;
    let unknown = framed(b"\x82\x19\xff\xff\xa1\x00\x00");
    for _ in 0..UNKNOWN_MESSAGES_MAX {
        worker.sender.send_raw(&unknown).await.unwrap();
    }
    worker
        .sender
        .send(&Ping { number: 7 }.into())
        .await
        .unwrap();
    let message = soon(ours.receiver.receive()).await.unwrap();
    assert_eq!(message, Message::from(Ping { number: 7 }));
    assert_eq!(
        ours.handle.statistics().messages_unknown,
        UNKNOWN_MESSAGES_MAX
    );
    worker.sender.send_raw(&unknown).await.unwrap();
    let received = soon(ours.receiver.receive()).await;
    assert!(matches!(received, Err(SessionError::UnknownMessages)));
    assert_eq!(close_code(&mut worker).await, CloseCode::Malformed);
}

#[tokio::test]
async fn an_unknown_first_message_is_no_hello() {
    let mut lab = Installation::new();
    let connector = lab.connector(Role::Worker, "w");
    let first = framed(b"\x82\x19\xff\xff\xa0");
    let (mut worker, mut ours) = lab.connected_with(&connector, &first).await;
    assert!(soon(ours.receiver.receive()).await.is_err());
    assert_eq!(close_code(&mut worker).await, CloseCode::Malformed);
}

#[tokio::test]
async fn case_33_a_handshake_that_is_never_finished_is_dropped() {
    // A handshake here takes milliseconds, so that one which is finished is in time on a machine that stands still for two
    // seconds, and one which is not is seen before it is dropped.
    const DEADLINE: Duration = Duration::from_secs(4);
    let mut lab = Installation::new();
    lab.listener.set_deadline(DEADLINE);
    // A relay lets the first datagram through and nothing after it.
    let relay = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = relay.local_addr().unwrap();
    let (server, connector) = (lab.address, lab.connector(Role::Worker, "w"));
    let connecting = tokio::spawn(async move { connector.connect(address).await });
    let mut datagram = [0; 2048];
    let (length, _) = soon(relay.recv_from(&mut datagram)).await.unwrap();
    relay.send_to(&datagram[..length], server).await.unwrap();

    let started = Instant::now();
    let mut had_one = false;
    let dropped = async {
        loop {
            let poll = tokio::time::timeout(Duration::from_millis(10), lab.listener.accept()).await;
            assert!(poll.is_err(), "{poll:?}");
            had_one |= lab.listener.handshakes() == 1;
            if had_one && lab.listener.handshakes() == 0 {
                break;
            }
        }
    };
    soon(dropped).await;
    assert!(started.elapsed() >= DEADLINE * 9 / 10);
    connecting.abort();

    // The same for one that finishes TLS's handshake and then says nothing.
    let connector = lab.connector(Role::Worker, "silent");
    let silent = tokio::select! {
        session = soon(connector.connect(lab.address)) => session.unwrap(),
        session = lab.listener.accept() => panic!("{session:?}"),
    };
    let ended = tokio::select! {
        ended = soon(silent.handle.ended()) => ended,
        session = lab.listener.accept() => panic!("{session:?}"),
    };
    assert!(matches!(ended, SessionError::Lost { .. }), "{ended:?}");
    assert_eq!(lab.listener.sessions().count(), 0);
}

#[tokio::test]
async fn case_33_half_a_message_is_not_waited_for_without_end() {
    let mut lab = Installation::new();
    let (mut worker, mut ours) = lab.talking(Role::Worker, "w").await;
    ours.receiver.set_deadline(Duration::from_millis(200));
    // A whole message does not help the half that follows.
    worker
        .sender
        .send(&Ping { number: 1 }.into())
        .await
        .unwrap();
    worker
        .sender
        .send_raw(&frame(&Ping { number: 2 }.into())[..5])
        .await
        .unwrap();
    assert!(soon(ours.receiver.receive()).await.is_ok());
    let received = soon(ours.receiver.receive()).await;
    assert!(
        matches!(received, Err(SessionError::TooSlow { .. })),
        "{received:?}"
    );
    assert_eq!(close_code(&mut worker).await, CloseCode::TooSlow);
}

#[tokio::test]
async fn case_34_streams_are_bounded_and_idle_ones_are_reset() {
    let mut lab = Installation::new();
    let (mut worker, mut ours) = lab.talking(Role::Worker, "w").await;
    ours.blob_requests.set_idle(Duration::from_millis(300));
    let connection = worker.handle.connection.clone();
    let mut streams = Vec::new();
    for _ in 0..STREAMS_MAX {
        let (mut send, receive) = soon(connection.open_bi()).await.unwrap();
        send.write_all(b"\0").await.unwrap();
        streams.push((send, receive));
    }
    let one_more = tokio::time::timeout(Duration::from_millis(100), connection.open_bi()).await;
    assert!(one_more.is_err(), "the limit holds");
    assert!(connection.open_uni().await_is_pending().await);

    // Messages go on meanwhile.
    let serving = tokio::spawn(async move { ours.blob_requests.next().await.map(drop) });
    worker
        .sender
        .send(&Ping { number: 1 }.into())
        .await
        .unwrap();
    assert!(soon(ours.receiver.receive()).await.is_ok());
    for (_, receive) in &mut streams {
        let reset = soon(receive.received_reset()).await.unwrap();
        assert!(reset.is_some());
    }
    drop(streams);
    let (_send, _receive) = soon(connection.open_bi()).await.unwrap();
    serving.abort();
}

trait IsPending {
    async fn await_is_pending(self) -> bool;
}

impl<F: Future> IsPending for F {
    async fn await_is_pending(self) -> bool {
        tokio::time::timeout(Duration::from_millis(50), self)
            .await
            .is_err()
    }
}

#[tokio::test]
async fn a_coordinator_cannot_be_made_to_open_streams_at_its_peers() {
    let mut lab = Installation::new();
    let (_worker, ours) = lab.talking(Role::Worker, "w").await;
    assert!(ours.handle.connection.open_bi().await_is_pending().await);
    assert!(ours.handle.connection.open_uni().await_is_pending().await);
}

/// What a peer can make this end hold follows from the windows, if the library does not keep more than a window of
/// fragments with gaps between them (RUSTSEC-2026-0185, mended in quinn-proto 0.11.15).
#[test]
fn case_35_what_arrives_out_of_order_is_bounded() {
    let lock = include_str!("../../../Cargo.lock");
    let (_, quinn) = lock
        .split_once("name = \"quinn-proto\"\nversion = \"")
        .unwrap();
    let (version, _) = quinn.split_once('"').unwrap();
    let version: Vec<u32> = version
        .split('.')
        .map(|part| part.parse().unwrap())
        .collect();
    assert!(version >= vec![0, 11, 19], "{version:?}");
    assert!(lock.matches("name = \"quinn-proto\"").count() == 1);

    let transport = format!("{:?}", crate::limits::transport(End::Accepting));
    for setting in [
        format!("receive_window: {CONNECTION_WINDOW_BYTES}"),
        format!("stream_receive_window: {STREAM_WINDOW_BYTES}"),
        format!("max_concurrent_bidi_streams: {}", STREAMS_MAX + 1),
        "max_concurrent_uni_streams: 0".to_owned(),
        "datagram_receive_buffer_size: None".to_owned(),
    ] {
        assert!(transport.contains(&setting), "{setting} in {transport}");
    }
    assert!(u64::from(CONNECTION_WINDOW_BYTES) <= INCOMING_BUFFER_BYTES_TOTAL);
    let worker = format!("{:?}", crate::limits::transport(End::Worker));
    for setting in [
        format!("max_idle_timeout: Some({})", WORKER_IDLE.as_millis()),
        format!("keep_alive_interval: Some({WORKER_KEEP_ALIVE:?})"),
    ] {
        assert!(worker.contains(&setting), "{setting} in {worker}");
    }
}

#[tokio::test]
async fn case_36_a_peer_that_never_reads_is_closed_and_others_go_on() {
    let mut lab = Installation::new();
    let (mut mute, mut ours) = lab.talking(Role::Worker, "mute").await;
    let (mut other, mut other_here) = lab.talking(Role::Worker, "other").await;
    ours.sender.set_deadline(Duration::from_millis(300));
    let mut sent = 0;
    let error = loop {
        let ping = Message::from(Ping { number: u64::MAX });
        for _ in 0..1000 {
            ours.sender.gather(&ping).unwrap();
        }
        sent += ours.sender.gathered();
        if let Err(error) = soon(ours.sender.flush()).await {
            break error;
        }
        assert!(
            sent < 2 * CONNECTION_WINDOW_BYTES as usize,
            "nothing holds it back"
        );
    };
    assert!(
        matches!(error, SessionError::TooSlow { what: "read" }),
        "{error:?}"
    );
    other_here
        .sender
        .send(&Ping { number: 5 }.into())
        .await
        .unwrap();
    assert!(soon(other.receiver.receive()).await.is_ok());
    other.sender.send(&Ping { number: 5 }.into()).await.unwrap();
    assert!(soon(other_here.receiver.receive()).await.is_ok());
    assert_eq!(close_code(&mut mute).await, CloseCode::TooSlow);
}

#[tokio::test]
async fn case_31_a_doubled_hello_has_no_place() {
    let mut lab = Installation::new();
    let (mut worker, mut ours) = lab.talking(Role::Worker, "w").await;
    worker.sender.send(&hello()).await.unwrap();
    let received = soon(ours.receiver.receive()).await;
    assert!(matches!(
        received,
        Err(SessionError::WrongMessage { message: "Hello" })
    ));
}
