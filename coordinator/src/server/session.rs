//! One connected peer: reads what it says, writes what it is told, and ends without disturbing others.

mod identity;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ppwasm_certs::Leaf;
use ppwasm_link::{BlobRequest, Closed, Incoming, Link, LinkReceiver, LinkSender, Peer};
use ppwasm_proto::fabric::{ClientName, SessionId};
use ppwasm_proto::wire::{
    BATCH_BYTES, BlobRef, CloseCode, Done, ErrorCode, Grant, GrantGroup, GrantedTask, ImageMissing,
    ImageReady, Introduction, List, Message, Party, Payload, Pong, Ranged, Refused,
};
use ppwasm_proto::{Digest, JobId};
use ppwasm_scheduler::{Hello, Lease, Leaving, Micros};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use super::Shared;
use super::core::{Ask, Input, failed};
use super::terms::JobTerms;
use super::watch::{Watch, WatchSender, body, payload};
use crate::store::Body;

/// Messages of the core that wait to be sent to one peer; one that lets more wait is given up.
pub(crate) const OUTGOING_MAX: usize = 1024;
/// Messages with results that wait to be sent.
const RESULTS_MAX: usize = 4;
/// Time in which a peer has to say hello.
const HELLO_TIME: Duration = Duration::from_secs(10);
/// Time in which a peer has to take one message.
const SEND_TIME: Duration = Duration::from_secs(20);
/// Blobs of one peer that are read or written at a time.
const BLOBS_MAX: usize = 8;
/// Bytes of a blob that is passed on whole.
const BLOB_BYTES_MAX: u64 = 1 << 30;
/// Jobs that one session may have open for appending, and watches that it may have.
const CONVERSATIONS_MAX: usize = 256;

/// What the core wants sent.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "nearly all are messages, which are moved"
)]
pub(crate) enum Outgoing {
    Message(Message),
    /// Leases of one job; bodies are added when they are sent.
    Grant {
        leases: Vec<Lease>,
        lasts: Micros,
    },
    Image(Digest),
    Close(CloseCode, &'static str),
}

/// How a session ended, on this side.
enum End {
    Orderly,
    Lost,
    Close(CloseCode, &'static str),
}

pub(crate) async fn serve<L: Link>(
    shared: Arc<Shared>,
    session: SessionId,
    link: L,
    certificate: Option<Leaf>,
) {
    let peer = link.peer().clone();
    let party = match &peer {
        Peer::Worker(_) => Party::Worker,
        Peer::Client(_) => Party::Client,
        Peer::Coordinator => return,
    };
    let (mut sender, receiver, _) = link.split();
    let (outgoing, queue) = mpsc::channel(OUTGOING_MAX);
    let (results, result_queue) = mpsc::channel(RESULTS_MAX);
    let opened = Input::Opened { session, outgoing };
    if shared.inputs.send(opened).await.is_err() {
        return;
    }
    let end = {
        let mut reader = Reader {
            shared: &shared,
            session,
            peer,
            party,
            receiver,
            results,
            open_jobs: HashMap::new(),
            watches: HashMap::new(),
            tasks: JoinSet::new(),
            certificate: certificate.as_ref(),
        };
        let writing = write(
            &shared,
            &mut sender,
            queue,
            result_queue,
            certificate.as_ref(),
        );
        tokio::select! {
            end = reader.run() => end,
            end = writing => end,
        }
    };
    let how = match end {
        End::Orderly => Leaving::Orderly,
        End::Lost | End::Close(..) => Leaving::Lost,
    };
    let left = shared.inputs.send(Input::Left { session, how }).await;
    match (end, left) {
        (_, Err(_)) => sender.close(CloseCode::Stopping, "the coordinator is stopping"),
        (End::Orderly, _) => sender.close(CloseCode::Finished, "goodbye"),
        (End::Close(code, reason), _) => sender.close(code, reason),
        (End::Lost, _) => {}
    }
}

// Writing.

async fn write<S: LinkSender>(
    shared: &Shared,
    sender: &mut S,
    mut queue: mpsc::Receiver<Outgoing>,
    mut results: mpsc::Receiver<Message>,
    certificate: Option<&Leaf>,
) -> End {
    loop {
        let messages = tokio::select! {
            biased;
            next = queue.recv() => match next {
                Some(Outgoing::Message(message)) => vec![message],
                Some(Outgoing::Grant { leases, lasts }) => shared.grants(&leases, lasts),
                Some(Outgoing::Image(function)) => vec![shared.image_message(function)],
                Some(Outgoing::Close(code, reason)) => return End::Close(code, reason),
                None => return End::Close(CloseCode::TooSlow, "too much waits to be read"),
            },
            Some(message) = results.recv() => vec![message],
        };
        for mut message in messages {
            if let Message::Welcome(welcome) = &mut message {
                identity::complete(welcome, &shared.identities, certificate);
            }
            match tokio::time::timeout(SEND_TIME, sender.send(message)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return End::Lost,
                Err(_) => return End::Close(CloseCode::TooSlow, "a message was not read"),
            }
        }
    }
}

impl Shared {
    /// The leases with their calls, in messages of bounded size.
    fn grants(&self, leases: &[Lease], lasts: Micros) -> Vec<Message> {
        let Some(job) = leases.first().map(|lease| lease.claim.identity.job) else {
            return Vec::new();
        };
        // A job that is gone takes its leases with it: they are not renewed.
        let Some(terms) = self.catalog.terms(&*self.store, job) else {
            return Vec::new();
        };
        let mut messages = Vec::new();
        let (mut tasks, mut bytes) = (Vec::new(), 0);
        let mut rest = leases;
        while let Some(first) = rest.first() {
            let from = first.claim.identity.task.0;
            let follows = |(task, lease): &(u64, &Lease)| lease.claim.identity.task.0 == *task;
            let run = (from..).zip(rest).take_while(follows).count();
            let (these, others) = rest.split_at(run);
            rest = others;
            let Ok(calls) = self.store.calls(&job, from, run as u64) else {
                continue;
            };
            for (lease, call) in these.iter().zip(calls) {
                bytes += match &call {
                    Body::Inline(bytes) => bytes.len(),
                    Body::Blob { .. } => 40,
                };
                tasks.push(GrantedTask {
                    lease: lease.claim.lease,
                    task: lease.claim.identity.task,
                    attempt: lease.claim.attempt,
                    token: lease.claim.token,
                    call: payload(call),
                    alone: lease.alone.then_some(true),
                });
                if bytes >= BATCH_BYTES || tasks.len() >= ppwasm_proto::wire::BATCH_MAX {
                    messages.push(grant(job, &terms, std::mem::take(&mut tasks), lasts));
                    bytes = 0;
                }
            }
        }
        if !tasks.is_empty() {
            messages.push(grant(job, &terms, tasks, lasts));
        }
        messages
    }

    fn image_message(&self, function: Digest) -> Message {
        match self.shelf.image(&function) {
            Some(image) => ImageReady {
                function,
                guest: self.shelf.guest(),
                image,
                base: None,
            }
            .into(),
            None => ImageMissing {
                function,
                code: ErrorCode::NotFound,
            }
            .into(),
        }
    }
}

fn grant(job: JobId, terms: &JobTerms, tasks: Vec<GrantedTask>, lasts: Micros) -> Message {
    let open = &terms.open;
    let group = GrantGroup {
        job,
        function: open.function.digest,
        limits: open.limits,
        time: open.time,
        stdin: open.stdin,
        inputs: open.inputs,
        keep_instance: open.keep_instance,
        hash_memory: open.hash_memory,
        tasks: List::try_from(tasks).unwrap_or_default(),
    };
    Grant {
        groups: List::try_from(vec![group]).unwrap_or_default(),
        lease_ms: Ranged::clamped(lasts.0 / 1000),
    }
    .into()
}

// Reading.

struct Reader<'a, R> {
    shared: &'a Arc<Shared>,
    session: SessionId,
    peer: Peer,
    party: Party,
    receiver: R,
    results: mpsc::Sender<Message>,
    open_jobs: HashMap<u32, JobId>,
    watches: HashMap<u32, (Arc<Watch>, AbortHandle)>,
    /// Watches, and blobs on their way.
    tasks: JoinSet<()>,
    certificate: Option<&'a Leaf>,
}

impl<R: LinkReceiver> Reader<'_, R> {
    async fn run(&mut self) -> End {
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
                (_, message) => self.take_from_worker(message).await,
            };
            if let Err(end) = taken {
                return end;
            }
        }
    }

    async fn hello(&mut self) -> Result<(), End> {
        let hello = match self.receiver.receive().await {
            Ok(Incoming::Message(Message::Hello(hello))) => hello,
            Ok(_) => return Err(End::Close(CloseCode::WrongMessage, "hello comes first")),
            Err(_) => return Err(End::Lost),
        };
        match self.peer.clone() {
            Peer::Worker(worker) => {
                let offer = match Introduction::of_worker(hello) {
                    Ok(Introduction {
                        worker: Some(offer),
                        ..
                    }) => offer,
                    Ok(_) => return Err(End::Lost),
                    Err(error) => return Err(self.refuse(error.to_refused()).await),
                };
                let number = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
                let hello = Hello {
                    worker,
                    incarnation: offer.incarnation,
                    slots: number(offer.slots),
                    credit: number(offer.credit),
                    label: format!("{} {}", offer.target, offer.cpu_profile).into(),
                    is_draining: offer.is_draining == Some(true),
                    held: offer.held.into_vec(),
                    images: offer.functions.into_vec(),
                };
                let (session, hello) = (self.session, Box::new(hello));
                self.tell(Input::Joined { session, hello }).await
            }
            _ => match Introduction::of_client(hello) {
                Ok(_) => {
                    let welcome = self.shared.welcome(self.session);
                    self.say(welcome.into()).await
                }
                Err(error) => Err(self.refuse(error.to_refused()).await),
            },
        }
    }

    async fn refuse(&mut self, refused: Refused) -> End {
        let _ = self.say(refused.into()).await;
        // The writer has to send it before the link ends.
        while self.results.capacity() < RESULTS_MAX {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        End::Close(CloseCode::Refused, "the hello was refused")
    }

    async fn tell(&mut self, input: Input) -> Result<(), End> {
        let told = self.shared.inputs.send(input).await;
        told.map_err(|_| End::Close(CloseCode::Stopping, "the coordinator is stopping"))
    }

    async fn say(&mut self, message: Message) -> Result<(), End> {
        self.results.send(message).await.map_err(|_| End::Lost)
    }

    async fn take_from_worker(&mut self, message: Message) -> Result<(), End> {
        match &message {
            Message::ImageWanted(wanted) => {
                let answer = self.shared.image_message(wanted.function);
                return self.say(answer).await;
            }
            Message::Ended(ended) => {
                // A blob that is not here would make the batch that names it fail.
                for result in &ended.results {
                    let payloads = [Some(&result.outcome), result.stdout.as_ref()];
                    let payloads = payloads.into_iter().chain([result.stderr.as_ref()]);
                    if !payloads.flatten().all(|payload| self.shared.has(payload)) {
                        return Err(End::Close(CloseCode::WrongMessage, "a blob is missing"));
                    }
                }
            }
            _ => {}
        }
        let session = self.session;
        self.tell(Input::Worker { session, message }).await
    }

    async fn take_from_client(&mut self, client: ClientName, message: Message) -> Result<(), End> {
        let (request, asks) = match message {
            Message::OpenJob(open) => {
                let (request, job) = (open.request, open.job);
                if open.limits.check().is_err() {
                    let reason = "a limit is out of range";
                    return self
                        .say(failed(request, ErrorCode::InvalidValue, reason, None))
                        .await;
                }
                if open.stdin.is_some()
                    || open.inputs.is_some()
                    || open.stop_at_failure == Some(true)
                {
                    // Better refused than left out without a word.
                    let reason =
                        "standard input, inputs and stopping at a failure are not served yet";
                    let message = failed(request, ErrorCode::InvalidValue, reason, None);
                    return self.say(message).await;
                }
                let named = [Some(open.function), open.stdin, open.inputs];
                if !named
                    .into_iter()
                    .flatten()
                    .all(|blob| self.shared.has_blob(blob))
                {
                    let reason = "put the bundle and other blobs first";
                    return self
                        .say(failed(request, ErrorCode::NotFound, reason, None))
                        .await;
                }
                if self.open_jobs.len() >= CONVERSATIONS_MAX {
                    let reason = "too many jobs are open in this session";
                    return self
                        .say(failed(request, ErrorCode::Busy, reason, Some(1000)))
                        .await;
                }
                self.open_jobs.insert(request, job);
                let terms = Box::new(JobTerms::new(open));
                (request, Ask::Open { job, terms })
            }
            Message::AppendTasks(append) => {
                let Some(job) = self.open_jobs.get(&append.request).copied() else {
                    let reason = "no job was opened under this request";
                    let message = failed(append.request, ErrorCode::WrongOrder, reason, None);
                    return self.say(message).await;
                };
                if !append.calls.iter().all(|call| self.shared.has(call)) {
                    let reason = "put the blobs first";
                    let message = failed(append.request, ErrorCode::NotFound, reason, None);
                    return self.say(message).await;
                }
                let first = append.first.0;
                let calls = append.calls.into_iter().map(body).collect();
                (append.request, Ask::Append { job, first, calls })
            }
            Message::CloseJob(close) => {
                let Some(job) = self.open_jobs.remove(&close.request) else {
                    let reason = "no job was opened under this request";
                    let message = failed(close.request, ErrorCode::WrongOrder, reason, None);
                    return self.say(message).await;
                };
                let tasks = close.tasks;
                (close.request, Ask::Close { job, tasks })
            }
            Message::CancelJob(ask) => (ask.request, Ask::Cancel { job: ask.job }),
            Message::RetryJob(ask) => (ask.request, Ask::Retry { job: ask.job }),
            Message::ForgetJob(ask) => (ask.request, Ask::Forget { job: ask.job }),
            Message::WatchJob(ask) => {
                self.watches.retain(|_, (_, task)| !task.is_finished());
                if self.watches.len() >= CONVERSATIONS_MAX {
                    let reason = "too many watches";
                    let message = failed(ask.request, ErrorCode::Busy, reason, Some(1000));
                    return self.say(message).await;
                }
                let credit = ask.credit.value();
                let watch = Arc::new(Watch::new(ask.request, ask.job, ask.order, credit));
                let sender = WatchSender::new(
                    Arc::clone(&watch),
                    Arc::clone(&self.shared.store),
                    self.results.clone(),
                    ask.cursor,
                );
                // Nothing is sent before the core has said that the job is the client's.
                let entry = self.shared.store.job(&ask.job);
                let is_theirs = entry.is_ok_and(|e| e.is_some_and(|e| e.spec.owner == client));
                if !is_theirs {
                    let reason = "there is no such job";
                    let message = failed(ask.request, ErrorCode::NotFound, reason, None);
                    return self.say(message).await;
                }
                let (request, results) = (ask.request, self.results.clone());
                let task = self.tasks.spawn(async move {
                    if sender.run().await.is_err() {
                        let reason = "the store could not be read";
                        let message = failed(request, ErrorCode::Internal, reason, Some(1000));
                        let _ = results.send(message).await;
                    }
                });
                self.watches.insert(request, (Arc::clone(&watch), task));
                (request, Ask::Watch { watch })
            }
            Message::WatchCredit(more) => {
                if let Some((watch, _)) = self.watches.get(&more.request) {
                    watch.add_credit(more.credit.value());
                }
                return Ok(());
            }
            Message::Unwatch(ask) => {
                if let Some((_, task)) = self.watches.remove(&ask.request) {
                    task.abort();
                }
                let request = ask.request;
                return self.say(Done { request }.into()).await;
            }
            other => {
                let reason = format!("{} is not served yet", other.name());
                return self
                    .say(failed(0, ErrorCode::UnknownMessage, &reason, None))
                    .await;
            }
        };
        self.tell(Input::Client {
            session: self.session,
            client,
            request,
            asks,
        })
        .await
    }

    async fn blob(&mut self, request: BlobRequest) {
        while self.tasks.len() >= BLOBS_MAX + self.watches.len() {
            self.tasks.join_next().await;
            self.watches.retain(|_, (_, task)| !task.is_finished());
        }
        let shared = Arc::clone(self.shared);
        self.tasks.spawn_blocking(move || match request {
            BlobRequest::Get { digest, answer } => {
                let read = shared.store.blobs().read(&digest, BLOB_BYTES_MAX);
                let _ = answer.send(read.map(Into::into).map_err(|_| ErrorCode::NotFound));
            }
            BlobRequest::Put {
                blob,
                bytes,
                answer,
            } => {
                let _ = answer.send(shared.put(blob, &bytes));
            }
        });
    }
}

impl Shared {
    fn put(&self, blob: BlobRef, bytes: &[u8]) -> Result<(), ErrorCode> {
        if bytes.len() as u64 > BLOB_BYTES_MAX {
            return Err(ErrorCode::TooLarge);
        }
        if BlobRef::of(bytes) != blob {
            return Err(ErrorCode::DigestMismatch);
        }
        if self.has_blob(blob) {
            return Ok(());
        }
        let stored = self.store.blobs().put(bytes);
        stored
            .map(|_| ())
            .map_err(|error| match error.is_no_space() {
                true => ErrorCode::NoSpace,
                false => ErrorCode::Internal,
            })
    }

    fn has(&self, payload: &Payload) -> bool {
        match payload {
            Payload::Inline(_) => true,
            Payload::Blob(blob) => self.has_blob(*blob),
        }
    }

    /// Whether a blob is here; it counts as new then, so that it stays until it is named.
    fn has_blob(&self, blob: BlobRef) -> bool {
        let found = self.store.blobs().renew(&blob.digest, SystemTime::now());
        found.is_ok_and(|size| size == Some(blob.bytes))
    }
}

impl std::fmt::Debug for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Orderly => f.write_str("Orderly"),
            Self::Lost => f.write_str("Lost"),
            Self::Close(code, reason) => write!(f, "Close({code}, {reason})"),
        }
    }
}
