//! How fast a session is over loopback: `cargo run -p ppwasm-session --example ping`.
//!
//! Round trips one at a time, then as many messages as go through when they are sent in batches, then a blob. Every
//! answer is checked.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ppwasm_certs::{Authority, Credentials, DenyList, Role, Trust, UnixTime, tls};
use ppwasm_proto::fabric::{LeaseId, LeaseToken};
use ppwasm_proto::wire::{
    Acknowledge, Bytes, CloseCode, Ended, Hello, List, MINOR, Message, Payload, Ping, Pong,
    TaskResult, Text, Usage, Welcome,
};
use ppwasm_proto::{Attempt, JobId, TaskId, TaskIdentity};
use ppwasm_session::limits::SEND_BUFFER_BYTES;
use ppwasm_session::{BlobRequest, Connector, Listener, Session};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const ROUND_TRIPS: u64 = 20_000;
const RESULTS: u64 = 500_000;
const RESULTS_PER_MESSAGE: u64 = 64;
const BLOB_BYTES: usize = 256 << 20;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Failure> {
    let now = UnixTime::since_unix_epoch(SystemTime::UNIX_EPOCH.elapsed()?);
    let authority = Authority::create("ping.example".parse()?, now)?;
    let time = Arc::new(tls::DefaultTimeProvider);
    let coordinator = Credentials::issue(&authority, Role::Coordinator, "c", now)?;
    let gate = Arc::new(std::sync::RwLock::new(DenyList::new()));
    let trust = Trust::of_peers(&authority)?;
    let server = tls::server_config(&coordinator, trust, gate, false, time.clone())?;
    let mut listener = Listener::bind("127.0.0.1:0".parse()?, server)?;
    let address = listener.local_address()?;
    let serving = tokio::spawn(async move {
        let session = listener.accept().await.ok_or("nobody came")?;
        serve(session).await
    });

    let worker = Credentials::issue(&authority, Role::Worker, "w", now)?;
    let connector = Connector::new(tls::client_config(&worker, time)?)?;
    let started = Instant::now();
    let mut session = connector.connect(address).await?;
    session.sender.send(&hello()).await?;
    let Message::Welcome(_) = session.receiver.receive().await? else {
        return Err("not welcome".into());
    };
    println!("connect_us {}", started.elapsed().as_micros());

    round_trips(&mut session).await?;
    results(&mut session).await?;
    blob(&session).await?;
    println!("{:?}", session.handle.statistics());
    session.sender.finish(CloseCode::Finished, "done").await;
    serving.await??;
    Ok(())
}

async fn round_trips(session: &mut Session) -> Result<(), Failure> {
    let mut times = Vec::new();
    for number in 0..ROUND_TRIPS {
        let started = Instant::now();
        session.sender.send(&Ping { number }.into()).await?;
        match session.receiver.receive().await? {
            Message::Pong(pong) if pong.number == number => times.push(started.elapsed()),
            other => return Err(format!("no answer: {other:?}").into()),
        }
    }
    times.sort_unstable();
    let at = |percent: usize| {
        times
            .get(times.len() * percent / 100)
            .map_or(0, Duration::as_micros)
    };
    println!("round_trip_us p50 {} p90 {} p99 {}", at(50), at(90), at(99));
    Ok(())
}

/// Results of tasks go one way, their acknowledgements the other, both at the same time.
async fn results(session: &mut Session) -> Result<(), Failure> {
    let started = Instant::now();
    let (sender, receiver) = (&mut session.sender, &mut session.receiver);
    let send = async {
        let mut next = 0;
        while next < RESULTS {
            let end = (next + RESULTS_PER_MESSAGE).min(RESULTS);
            let results = (next..end).map(result).collect::<Result<Vec<_>, _>>()?;
            let results = results.try_into()?;
            sender.gather(&Ended { results }.into())?;
            if sender.gathered() >= SEND_BUFFER_BYTES {
                sender.flush().await?;
            }
            next = end;
        }
        sender.flush().await?;
        Ok::<_, Failure>(())
    };
    let receive = async {
        let mut expected = 0;
        while expected < RESULTS {
            let Message::Acknowledge(acknowledge) = receiver.receive().await? else {
                return Err::<(), Failure>("no acknowledgement".into());
            };
            for lease in &acknowledge.leases {
                if *lease != LeaseId(expected) {
                    return Err(format!("{lease} instead of {expected}").into());
                }
                expected += 1;
            }
        }
        Ok(())
    };
    tokio::try_join!(send, receive)?;
    let seconds = started.elapsed().as_secs_f64();
    println!("results_per_s {:.0}", RESULTS as f64 / seconds);
    println!(
        "result_messages_per_s {:.0}",
        (RESULTS / RESULTS_PER_MESSAGE) as f64 / seconds
    );
    Ok(())
}

async fn blob(session: &Session) -> Result<(), Failure> {
    let bytes = vec![7; BLOB_BYTES];
    let started = Instant::now();
    let blob = session.blobs.put(&bytes).await?;
    let seconds = started.elapsed().as_secs_f64();
    if blob.bytes != BLOB_BYTES as u64 {
        return Err("another blob".into());
    }
    println!(
        "blob_put_mib_per_s {:.0}",
        (BLOB_BYTES >> 20) as f64 / seconds
    );
    Ok(())
}

async fn serve(mut session: Session) -> Result<(), Failure> {
    let Message::Hello(_) = session.receiver.receive().await? else {
        return Err("no hello".into());
    };
    session.sender.send(&welcome()).await?;
    let (mut sender, mut receiver) = (session.sender, session.receiver);
    let mut requests = session.blob_requests;
    let blobs = tokio::spawn(async move {
        while let Ok(request) = requests.next().await {
            if let BlobRequest::Put(put) = request {
                let (_, answer) = put.take(BLOB_BYTES as u64).await?;
                answer.stored().await?;
            }
        }
        Ok::<_, Failure>(())
    });
    'session: loop {
        let mut next = match receiver.receive().await {
            Ok(message) => Some(message),
            Err(_) => break 'session,
        };
        while let Some(message) = next {
            match message {
                Message::Ping(Ping { number }) => sender.gather(&Pong { number }.into())?,
                Message::Ended(ended) => {
                    let leases: Vec<_> = ended.results.iter().map(|r| r.claim.lease).collect();
                    let leases = leases.try_into()?;
                    sender.gather(&Acknowledge { leases }.into())?;
                }
                other => return Err(format!("{} is not for here", other.name()).into()),
            }
            if sender.gathered() >= SEND_BUFFER_BYTES {
                sender.flush().await?;
            }
            next = receiver.next_buffered()?;
        }
        sender.flush().await?;
    }
    blobs.await?
}

fn result(number: u64) -> Result<TaskResult, Failure> {
    Ok(TaskResult {
        claim: ppwasm_proto::fabric::Claim {
            lease: LeaseId(number),
            identity: TaskIdentity::new(JobId::from_bytes([3; 16]), TaskId(number)),
            attempt: Attempt(4097),
            token: LeaseToken::from_bytes([9; 16]),
        },
        kind: ppwasm_proto::fabric::OutcomeKind::Succeeded,
        outcome: Payload::Inline(Bytes::try_from(&b"\x82\x00\xa1\x00\x43\x19\x03\xe8"[..])?),
        stdout: None,
        stderr: None,
        usage: Usage::default(),
    })
}

fn hello() -> Message {
    Hello {
        minor_min: MINOR,
        minor_max: MINOR,
        build: Text::default(),
        worker: None,
    }
    .into()
}

fn welcome() -> Message {
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
