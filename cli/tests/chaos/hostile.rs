//! Peers that mean harm, or nothing at all, and a client beside them that is served as if they were not there.
//!
//! What one session does with bad bytes is tested with the sessions. Here it is the process that has to go on.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ppwasm_certs::{Credentials, tls};
use ppwasm_client::{Client, ClientError, Order};
use ppwasm_proto::fabric::Incarnation;
use ppwasm_proto::wire::{
    BlobRef, CancelJob, CloseCode, ErrorCode, FRAME_BYTES_MAX, Hello, List, MINOR, MINOR_MIN,
    Message, PutBlob, Ranged, Text, WatchJob, Welcome, WorkerOffer, encode_frame,
};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Connection, ConnectionError, Endpoint, RecvStream, SendStream};

use crate::cluster::{Cluster, PATIENCE, Process, client_of, connector, machine, until, within};
use crate::random::Random;
use crate::relay::{Relay, Weather};
use crate::work::{all_results, id, submit};

/// Memory that a coordinator may take more of while it is attacked: windows of a few connections, and what it needs anyway.
const GROWTH_KIB_MAX: u64 = 96 << 10;

/// A coordinator with a worker, and somebody who wants to be served.
struct Town {
    cluster: Cluster,
    ann: Client,
    _worker: Process,
    jobs: u8,
}

impl Town {
    async fn start() -> Self {
        let cluster = Cluster::start().await;
        let ann = cluster.client("ann").await;
        cluster.enrol("w0").await;
        let worker = cluster.worker("w0", 1);
        cluster.connected_workers(&ann, 1).await;
        let mut town = Self {
            cluster,
            ann,
            _worker: worker,
            jobs: 0,
        };
        town.is_served().await;
        town
    }

    /// The good client gets what it asks for.
    async fn is_served(&mut self) {
        self.jobs += 1;
        let job = id(self.jobs);
        let submitted = submit(&self.ann, job, "work", 50, Duration::ZERO);
        within("submitting beside an attack", submitted)
            .await
            .unwrap();
        let recorded = all_results(&self.ann, job).await;
        assert_eq!(recorded.unwrap().len(), 50);
        let coordinator = &mut self.cluster.coordinator;
        assert!(coordinator.is_running(), "{}", coordinator.said());
    }

    fn memory_kib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.cluster.coordinator.id());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let number = line.unwrap().split_whitespace().nth(1);
        number.unwrap().parse().unwrap()
    }
}

/// A connection with a good certificate, and whatever its owner writes.
struct Raw {
    connection: Connection,
    send: SendStream,
    receive: RecvStream,
    _endpoint: Endpoint,
}

impl Raw {
    async fn connect(credentials: &Credentials, address: SocketAddr) -> Self {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match Self::try_connect(credentials, address).await {
                Ok(raw) => return raw,
                // That those before it are closed is known there in a moment.
                Err(error) => assert_eq!(code_of(error), CloseCode::TooManyConnections),
            }
            assert!(Instant::now() < deadline, "its place is never free");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn try_connect(
        credentials: &Credentials,
        address: SocketAddr,
    ) -> Result<Self, ConnectionError> {
        let time = Arc::new(tls::DefaultTimeProvider);
        let tls = tls::client_config(credentials, time).unwrap();
        let crypto = QuicClientConfig::try_from(tls).unwrap();
        let config = quinn::ClientConfig::new(Arc::new(crypto));
        let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        let connecting = endpoint.connect_with(config, address, tls::SERVER_NAME);
        let connection = within("a connection", connecting.unwrap()).await?;
        let (send, receive) = connection.open_bi().await?;
        Ok(Self {
            connection,
            send,
            receive,
            _endpoint: endpoint,
        })
    }

    async fn write(&mut self, bytes: &[u8]) {
        // It may have been closed by now.
        let _ = self.send.write_all(bytes).await;
    }

    /// The code that it is closed with.
    async fn end(&self) -> CloseCode {
        code_of(within("the end of a bad peer", self.connection.closed()).await)
    }
}

/// The code that the other end has closed a connection with.
fn code_of(error: ConnectionError) -> CloseCode {
    match error {
        ConnectionError::ApplicationClosed(close) => {
            CloseCode::from_number(close.error_code.into_inner() as u32)
        }
        other => panic!("{other}"),
    }
}

fn frame(message: impl Into<Message>) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_frame(&message.into(), &mut bytes).unwrap();
    bytes
}

fn framed(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_be_bytes()[..], body].concat()
}

fn hello(minor_min: u64, minor_max: u64, worker: Option<WorkerOffer>) -> Hello {
    Hello {
        minor_min,
        minor_max,
        build: Text::truncated("a test"),
        worker,
    }
}

fn offer(slots: u64, credit: u64) -> WorkerOffer {
    WorkerOffer {
        target: Text::truncated("x86_64-unknown-linux-gnu"),
        cpu_profile: Text::truncated("x86-64-v3"),
        slots,
        label: None,
        guests: List::new(),
        functions: List::new(),
        incarnation: Incarnation(1),
        credit,
        held: List::new(),
        is_draining: None,
        memory_bytes: None,
        engine: None,
        wants_guest: None,
    }
}

#[tokio::test]
async fn case_37_38_frames_cut_anywhere_and_bodies_that_are_none() {
    let _machine = machine().await;
    let mut town = Town::start().await;
    let mallory = town.cluster.join("client", "mallory").await;
    let address = town.cluster.address;
    let whole = frame(hello(MINOR, MINOR, None));
    for cut in 0..whole.len() {
        let mut raw = Raw::connect(&mallory, address).await;
        raw.write(&whole[..cut]).await;
        // Gone without a word.
        raw.connection.close(0_u32.into(), b"");
    }
    town.is_served().await;

    let long = (FRAME_BYTES_MAX as u32 + 1).to_be_bytes();
    let nested = framed(&[&b"\x82\x01"[..], &[0x81; 5000], b"\x00"].concat());
    let bad: [(&[u8], CloseCode); 7] = [
        (&u32::MAX.to_be_bytes(), CloseCode::FrameTooLong),
        (&long, CloseCode::FrameTooLong),
        (&[0; 4], CloseCode::Malformed),
        (&nested, CloseCode::Malformed),
        (
            &framed(b"\x82\x01\xbb\xff\xff\xff\xff\xff\xff\xff\xff"),
            CloseCode::Malformed,
        ),
        (
            &framed(&[&whole[4..], b"\x00"].concat()),
            CloseCode::Malformed,
        ),
        (
            &framed(b"\x82\x01\xa3\x00\x01\x01\x01\x02\x62\xff\xfe"),
            CloseCode::Malformed,
        ),
    ];
    for (bytes, code) in bad {
        let mut raw = Raw::connect(&mallory, address).await;
        raw.write(bytes).await;
        assert_eq!(raw.end().await, code, "{bytes:02x?}");
    }
    town.is_served().await;
}

#[tokio::test]
async fn case_39_40_wrong_roles_wrong_order_and_absurd_values() {
    let _machine = machine().await;
    let mut town = Town::start().await;
    let client = town.cluster.join("client", "mallory").await;
    let worker = town.cluster.join("worker", "mallory").await;
    let address = town.cluster.address;
    let greeting = frame(hello(MINOR, MINOR, None));
    let cancel = frame(CancelJob {
        request: 1,
        job: id(1),
    });
    let welcome = frame(Welcome {
        minor: MINOR,
        session: 1,
        epoch: 1,
        report_every_ms: 1,
        lease_ms: 1,
        refused: List::new(),
        build: Text::default(),
        guest: None,
        renew_certificate: None,
        wall_clock_s: None,
        slots: None,
    });
    let work = frame(hello(MINOR, MINOR, Some(offer(1, 1))));
    for (credentials, bytes) in [
        (&client, cancel.clone()),
        (&client, [&greeting[..], &greeting].concat()),
        (&client, [&greeting[..], &welcome].concat()),
        (&worker, [&work[..], &cancel].concat()),
    ] {
        let mut raw = Raw::connect(credentials, address).await;
        raw.write(&bytes).await;
        assert_eq!(raw.end().await, CloseCode::WrongMessage, "{bytes:02x?}");
    }
    // Refused, or taken for less than it says: never believed.
    for (slots, credit) in [(0, 0), (1 << 32, 1), (u64::MAX, u64::MAX), (1, u64::MAX)] {
        let mut session = within("a connection", connector(&worker).connect(address))
            .await
            .unwrap();
        let absurd = hello(MINOR, MINOR, Some(offer(slots, credit)));
        session.sender.send(&absurd.into()).await.unwrap();
        let _ = within("an answer", session.receiver.receive()).await;
        let workers = town.ann.workers(None).await.unwrap().workers;
        assert!(workers.iter().all(|w| w.slots <= 4096), "{workers:?}");
    }
    town.is_served().await;
}

#[tokio::test]
async fn case_42_newer_and_older_versions_are_negotiated_or_told() {
    let _machine = machine().await;
    let mut town = Town::start().await;
    let client = town.cluster.join("client", "bob").await;
    let worker = town.cluster.join("worker", "w9").await;
    let address = town.cluster.address;
    for credentials in [&client, &worker] {
        let offered = (credentials.leaf().unwrap().identity.worker()).map(|_| offer(1, 1));
        for (minor_min, minor_max, is_spoken) in [
            (MINOR_MIN, MINOR, true),
            (MINOR, MINOR + 7, true),
            (MINOR + 1, MINOR + 7, false),
            (0, MINOR_MIN - 1, false),
        ] {
            let mut session = within("a connection", connector(credentials).connect(address))
                .await
                .unwrap();
            let hello = hello(minor_min, minor_max, offered.clone());
            session.sender.send(&hello.into()).await.unwrap();
            match within("an answer", session.receiver.receive()).await {
                Ok(Message::Welcome(welcome)) => {
                    assert!(is_spoken);
                    assert_eq!(welcome.minor, MINOR);
                }
                Ok(Message::Refused(refused)) => {
                    assert!(!is_spoken, "{refused:?}");
                    assert_eq!(refused.code, ErrorCode::VersionUnsupported);
                    assert!(refused.spoken.is_some(), "{refused:?}");
                }
                other => panic!("{minor_min} to {minor_max}: {other:?}"),
            }
        }
    }
    // What a newer version would say besides is skipped: field 100 of a hello, and messages that are unknown.
    let mut newer = frame(hello(MINOR, MINOR + 1, None))[4..].to_vec();
    assert_eq!(newer[2] & 0xe0, 0xa0, "the map of fields");
    newer[2] += 1;
    newer.extend(b"\x18\x64\x63new");
    let mut raw = Raw::connect(&client, address).await;
    raw.write(&framed(&newer)).await;
    raw.write(&framed(b"\x82\x19\xff\xff\xa1\x00\x00")).await;
    let mut head = [0; 6];
    within("a welcome", raw.receive.read_exact(&mut head))
        .await
        .unwrap();
    assert_eq!(&head[4..], b"\x82\x02", "a welcome");
    town.is_served().await;
}

#[tokio::test]
async fn case_32_33_floods_and_handshakes_that_are_never_finished() {
    let _machine = machine().await;
    let mut town = Town::start().await;
    let before = town.memory_kib();
    let address = town.cluster.address;
    let relay = Relay::start(address, 33).await;
    relay.set(Weather {
        is_cut_down: true,
        ..Weather::default()
    });
    // What begins there never gets an answer.
    let mallory = town.cluster.join("client", "mallory").await;
    let mut begun = tokio::task::JoinSet::new();
    for _ in 0..150 {
        let connector = connector(&mallory);
        let address = relay.address;
        begun.spawn(async move { connector.connect(address).await.is_ok() });
    }
    let flood = tokio::spawn(async move {
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut random = Random::new(32);
        for number in 0..30_000_u32 {
            let mut datagram = vec![0; 1200];
            for byte in &mut datagram {
                *byte = random.next() as u8;
            }
            if number % 2 == 0 {
                // The head of a first packet of version 1, with identifiers of 8 bytes; no token.
                datagram[..6].copy_from_slice(&[0xc3, 0, 0, 0, 1, 8]);
                datagram[14] = 8;
                datagram[23..26].copy_from_slice(&[0, 0x44, 0x90]);
            }
            let _ = socket.send_to(&datagram, address).await;
            if number % 64 == 0 {
                tokio::task::yield_now().await;
            }
        }
    });
    town.is_served().await;
    within("the flood", flood).await.unwrap();
    town.is_served().await;
    begun.shutdown().await;
    let after = town.memory_kib();
    assert!(after < before + GROWTH_KIB_MAX, "{before} to {after} KiB");
}

#[tokio::test]
async fn case_34_36_many_streams_and_peers_that_never_read() {
    let _machine = machine().await;
    let mut town = Town::start().await;
    let mallory = town.cluster.join("client", "mallory").await;
    let address = town.cluster.address;
    let large = client_of(&mallory, address);
    let submitted = submit(&large, id(100), "work", 2000, Duration::ZERO);
    within("submitting", submitted).await.unwrap();
    all_results(&large, id(100)).await.unwrap();
    drop(large);
    let before = town.memory_kib();
    let mut streams = Vec::new();
    let mut bad = Vec::new();
    for _ in 0..4 {
        let mut raw = Raw::connect(&mallory, address).await;
        raw.write(&frame(hello(MINOR, MINOR, None))).await;
        for request in 0..200 {
            // All results, again and again; nobody takes them.
            let watch = WatchJob {
                request,
                job: id(100),
                order: Order::Completion,
                cursor: 0,
                credit: Ranged::clamped(u64::MAX),
            };
            raw.write(&frame(watch)).await;
        }
        loop {
            let opening = raw.connection.open_bi();
            match tokio::time::timeout(Duration::from_millis(200), opening).await {
                Ok(Ok((mut send, receive))) => {
                    let _ = send.write_all(b"\0").await;
                    streams.push((send, receive));
                }
                _ => break,
            }
            assert!(streams.len() <= 4 * 64, "the number of streams has no end");
        }
        bad.push(raw);
    }
    town.is_served().await;
    for raw in &bad {
        assert_eq!(raw.end().await, CloseCode::TooSlow);
    }
    town.is_served().await;
    let after = town.memory_kib();
    assert!(after < before + GROWTH_KIB_MAX, "{before} to {after} KiB");
}

/// Until the coordinator wants the blob.
async fn begin_upload(
    credentials: &Credentials,
    address: SocketAddr,
    blob: BlobRef,
) -> (Raw, SendStream) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let code = match Raw::try_connect(credentials, address).await {
            Ok(mut raw) => {
                raw.write(&frame(hello(MINOR, MINOR, None))).await;
                let mut answer = [0; 6];
                let wanted = async {
                    let (mut send, mut receive) = raw.connection.open_bi().await?;
                    send.write_all(&frame(PutBlob { blob })).await?;
                    receive.read_exact(&mut answer).await?;
                    Ok::<_, Box<dyn std::error::Error>>(send)
                };
                match within("an answer", wanted).await {
                    Ok(send) => {
                        // `BlobWanted`.
                        assert_eq!(&answer[4..], b"\x82\x18", "{answer:02x?}");
                        return (raw, send);
                    }
                    Err(_) => raw.end().await,
                }
            }
            Err(error) => code_of(error),
        };
        // Who vanished is missed only after a while, and a client may have eight connections.
        assert_eq!(code, CloseCode::TooManyConnections);
        assert!(
            Instant::now() < deadline,
            "those who vanished are never missed"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn case_30_clients_that_vanish_in_the_middle_of_an_upload_leave_nothing() {
    let _machine = machine().await;
    let mut town = Town::start().await;
    let mallory = town.cluster.join("client", "mallory").await;
    let address = town.cluster.address;
    for round in 0..12_u8 {
        let bytes = vec![round; 8 << 20];
        let blob = BlobRef::of(&bytes);
        let (raw, mut send) = begin_upload(&mallory, address, blob).await;
        send.write_all(&bytes[..4 << 20]).await.unwrap();
        match round % 2 {
            0 => raw.connection.close(0_u32.into(), b""),
            // Not even that; the process died.
            _ => drop(raw),
        }
    }
    town.is_served().await;
    let partial = town.cluster.kept.join("store/blobs/partial");
    until("what came in part is gone", || {
        let entries = std::fs::read_dir(&partial).unwrap();
        let sizes = entries.map(|entry| entry.unwrap().metadata().map_or(0, |m| m.len()));
        sizes.sum::<u64>() < 8 << 20
    })
    .await;
    drop(town.ann);
    town.cluster.stop().await;
    town.cluster.check_store().await;
}

#[tokio::test]
async fn case_79_a_client_that_has_anothers_ids_gets_nothing() {
    let _machine = machine().await;
    let mut town = Town::start().await;
    let bob = town.cluster.client("bob").await;
    let job = id(town.jobs);
    let is_not_found = |error: ClientError| match error {
        ClientError::Refused { code, .. } => assert_eq!(code, ErrorCode::NotFound),
        other => panic!("{other}"),
    };
    is_not_found(bob.job(job).await.unwrap_err());
    is_not_found(bob.cancel(job).await.unwrap_err());
    is_not_found(bob.retry(job).await.unwrap_err());
    is_not_found(bob.forget(job).await.unwrap_err());
    is_not_found(all_results(&bob, job).await.unwrap_err());
    let task = ppwasm_proto::TaskId(0);
    is_not_found(bob.task(job, task).await.unwrap_err());
    is_not_found(bob.explain(job, task).await.unwrap_err());
    assert!(bob.jobs(None, false).await.unwrap().jobs.is_empty());
    // Nor does it get hold of it by submitting under its id.
    match submit(&bob, job, "work", 10, Duration::ZERO).await {
        Err(ClientError::Refused { code, .. }) => {
            assert!(
                matches!(code, ErrorCode::Conflict | ErrorCode::NotFound),
                "{code}"
            );
        }
        other => panic!("{other:?}"),
    }
    let recorded = all_results(&town.ann, job).await;
    assert_eq!(recorded.unwrap().len(), 50);
    town.is_served().await;
}
