//! Peers that have a certificate and say whatever can be said: nobody else notices.

use std::path::Path;

use ppwasm_certs::{Credentials, Role};
use ppwasm_proto::JobId;
use ppwasm_proto::wire::{BlobRef, CloseCode, JobState, Message, Party, ShowJob};
use ppwasm_session::{Connector, Session};
use tokio::task::JoinHandle;

use crate::installation::{Installation, PATIENCE, hello, id, offer, soon, succeeded};

/// Messages that each of them sends.
const MESSAGES: usize = 3000;

/// One of each message, as the protocol's golden bytes have it.
fn bodies() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto/tests/golden/wire-v1");
    let mut bodies = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        let bytes = digits.chunks(2).map(|pair| {
            let pair = std::str::from_utf8(pair).unwrap();
            u8::from_str_radix(pair, 16).unwrap()
        });
        bodies.push(bytes.skip(4).collect());
    }
    assert!(bodies.len() > 50);
    bodies
}

/// Random messages of a role: golden ones with some bytes changed, those that are messages still.
struct Rubbish {
    bodies: Vec<Vec<u8>>,
    party: Party,
    state: u64,
}

impl Rubbish {
    fn new(party: Party, seed: u64) -> Self {
        Self {
            bodies: bodies(),
            party,
            state: seed,
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        usize::try_from(self.state % bound as u64).unwrap()
    }

    fn next(&mut self, job: JobId, function: BlobRef) -> Message {
        loop {
            let number = self.below(self.bodies.len());
            let mut body = self.bodies[number].clone();
            for _ in 0..self.below(4) {
                let place = self.below(body.len());
                body[place] = u8::try_from(self.below(256)).unwrap();
            }
            let Ok(mut message) = Message::from_body(&body) else {
                continue;
            };
            let ends_it = matches!(
                message,
                Message::Hello(_)
                    | Message::Goodbye(_)
                    | Message::GetBlob(_)
                    | Message::PutBlob(_)
                    | Message::Join(_)
                    | Message::JoinProof(_)
            );
            if ends_it || !message.kind().senders.contains(self.party) {
                continue;
            }
            if self.below(2) == 0 {
                aim(&mut message, job, function);
            }
            return message;
        }
    }
}

/// Makes it about something that is there.
fn aim(message: &mut Message, of: JobId, function: BlobRef) {
    match message {
        Message::OpenJob(open) => {
            (open.job, open.function) = (of, function);
            (open.stdin, open.inputs) = (None, None);
        }
        Message::CancelJob(ask) => ask.job = of,
        Message::RetryJob(ask) => ask.job = of,
        Message::ForgetJob(ask) => ask.job = of,
        Message::WatchJob(ask) => ask.job = of,
        Message::ShowJob(ask) => ask.job = of,
        Message::ShowTask(ask) => ask.job = of,
        Message::ExplainTask(ask) => ask.job = of,
        _ => {}
    }
}

/// A session whose answers are thrown away.
async fn shout(
    installation: &Installation,
    connector: &Connector,
    party: Party,
) -> (ppwasm_session::Sender, JoinHandle<()>) {
    let address = installation.coordinator.address();
    let Session {
        mut sender,
        mut receiver,
        handle,
        ..
    } = soon(connector.connect(address)).await.unwrap();
    let offer = (party == Party::Worker).then(|| offer(4));
    sender.send(&hello(offer).into()).await.unwrap();
    let deaf = tokio::spawn(async move {
        while receiver.receive().await.is_ok() {}
        drop(handle);
    });
    (sender, deaf)
}

async fn rage(
    installation: &Installation,
    credentials: &Credentials,
    party: Party,
    function: BlobRef,
) {
    let connector = installation.connector(credentials);
    let mut rubbish = Rubbish::new(party, 0x9e37_79b9_7f4a_7c15);
    let (mut sender, mut deaf) = shout(installation, &connector, party).await;
    for _ in 0..MESSAGES {
        let message = rubbish.next(id(66), function);
        if sender.send(&message).await.is_err() {
            let _ = soon(deaf).await;
            (sender, deaf) = shout(installation, &connector, party).await;
        }
    }
    sender.finish(CloseCode::Finished, "").await;
    let _ = soon(deaf).await;
}

#[tokio::test]
async fn case_40_whatever_peers_say_others_are_served() {
    let installation = Installation::start().await;
    let mallory = installation.join(Role::Client, "mallory").await;
    let evil = installation.join(Role::Worker, "evil").await;
    let ann = installation.join(Role::Client, "ann").await;
    let good = installation.join(Role::Worker, "good").await;
    let mut ann = installation.client(&ann).await;
    let function = ann.put(b"a function").await;

    let raging = async {
        tokio::join!(
            rage(&installation, &mallory, Party::Client, function),
            rage(&installation, &evil, Party::Worker, function)
        );
    };
    tokio::time::timeout(4 * PATIENCE, raging)
        .await
        .expect("it answered or closed all the time");
    assert!(!installation.coordinator.is_finished());

    let mut worker = installation.worker(&good, 2).await;
    ann.submit(id(1), 5).await;
    let show = ShowJob {
        request: 2,
        job: id(1),
    };
    let working = async {
        loop {
            let claims = worker.granted().await;
            worker.ends(&claims, &succeeded()).await;
        }
    };
    let waiting = async {
        loop {
            let Message::JobShown(shown) = ann.ask(show).await else {
                panic!("the job is gone");
            };
            if shown.job.state == JobState::Ended {
                return shown.job.counts.succeeded;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let succeeded = tokio::time::timeout(PATIENCE, async {
        tokio::select! {
            () = working => unreachable!("it works for ever"),
            succeeded = waiting => succeeded,
        }
    });
    assert_eq!(succeeded.await.expect("the job ends"), 5);
    soon(installation.coordinator.stop()).await.unwrap();
}

#[tokio::test]
async fn case_50_a_worker_that_connects_twice_is_where_it_connected_last() {
    let installation = Installation::start().await;
    let credentials = installation.join(Role::Worker, "lab-1").await;
    let mut first = installation.worker(&credentials, 1).await;
    let ann = installation.join(Role::Client, "ann").await;
    let mut ann = installation.client(&ann).await;
    ann.submit(id(1), 1).await;
    let claims = first.granted().await;
    let mut second = installation.worker(&credentials, 1).await;
    assert_eq!(first.end().await.0, CloseCode::Superseded);
    // It brought no lease along, so the task comes again, as another attempt.
    let again = second.granted().await;
    assert_eq!(again[0].identity, claims[0].identity);
    assert!(again[0].attempt > claims[0].attempt);
}
