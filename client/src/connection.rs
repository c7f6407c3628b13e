//! The task that owns the connection, and says again what was not answered when it has made another.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ppwasm_link::{
    BlobFailure, BlobPeer, Closed, Dialer, Incoming, Link, LinkReceiver, LinkSender,
};
use ppwasm_proto::wire::{
    AppendTasks, BATCH_BYTES, BATCH_MAX, CloseCode, CloseJob, Failed, Hello, JobOpened,
    JobProgress, MINOR, MINOR_MIN, Message, OpenJob, Payload, Ranged, RecordedResult, Terms, Text,
    WatchCredit, WatchJob, WatchOrder,
};
use ppwasm_proto::{Digest, JobId, TaskId};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::{ClientConfig, ClientError, RESULTS_MAX, batch, inline};

/// Bytes of a blob that is taken.
const BLOB_BYTES_MAX: u64 = 1 << 30;
/// Commands that are taken before anything is sent.
const ROUND_MAX: usize = 1024;
/// Time in which the coordinator has to answer a hello.
const WELCOME_TIME: Duration = Duration::from_secs(10);

type Answer<T> = oneshot::Sender<Result<T, ClientError>>;
type Got = oneshot::Sender<Result<Arc<[u8]>, BlobFailure>>;

/// What handles want.
#[derive(Debug)]
pub(crate) enum Command {
    Open {
        open: Box<OpenJob>,
        bundle: Arc<[u8]>,
        room: Arc<Semaphore>,
        opened: Answer<(u32, bool)>,
    },
    Append {
        request: u32,
        call: Vec<u8>,
    },
    Close {
        request: u32,
        closed: Answer<u64>,
    },
    Watch {
        job: JobId,
        order: WatchOrder,
        items: mpsc::Sender<Item>,
        started: oneshot::Sender<u32>,
    },
    Credit {
        request: u32,
        credit: u64,
    },
    Ask {
        message: Box<Message>,
        done: Answer<()>,
    },
    Get {
        digest: Digest,
        got: Got,
    },
}

/// What a watch gives.
#[derive(Debug)]
pub(crate) enum Item {
    Result(Box<RecordedResult>),
    End(Box<JobProgress>),
    Failed(ClientError),
}

/// A job that is being submitted.
struct Submission {
    open: OpenJob,
    bundle: Arc<[u8]>,
    room: Arc<Semaphore>,
    opened: Option<Answer<(u32, bool)>>,
    closed: Option<Answer<u64>>,
    /// In this session.
    is_open: bool,
    is_close_sent: bool,
    /// The first task that is not durable, of those appended here.
    base: u64,
    /// Tasks below are durable, appended here or by an earlier submission of the same job.
    known: u64,
    /// Calls from `base` on.
    calls: VecDeque<Payload>,
    /// The next task to send in this session.
    next: u64,
    /// Tasks below may be sent.
    credit_end: u64,
    retry_at: Option<Instant>,
    failed: Option<ClientError>,
}

struct Watch {
    job: JobId,
    order: WatchOrder,
    items: mpsc::Sender<Item>,
    cursor: u64,
    credit: u64,
    /// Credit of results that came twice, to be given again.
    twice: u64,
    /// By completion: results from the cursor on that have come.
    seen: HashSet<u64>,
}

pub(crate) struct Connection<D: Dialer> {
    dialer: D,
    config: ClientConfig,
    commands: mpsc::Receiver<Command>,
    next_request: u32,
    submissions: HashMap<u32, Submission>,
    watches: HashMap<u32, Watch>,
    asks: HashMap<u32, (Message, Answer<()>)>,
    gets: Vec<(Digest, Got)>,
}

impl<D: Dialer> Connection<D> {
    pub(crate) fn new(dialer: D, config: ClientConfig, commands: mpsc::Receiver<Command>) -> Self {
        Self {
            dialer,
            config,
            commands,
            next_request: 0,
            submissions: HashMap::new(),
            watches: HashMap::new(),
            asks: HashMap::new(),
            gets: Vec::new(),
        }
    }

    /// Runs until every handle is gone.
    pub(crate) async fn run(mut self) {
        let mut pause = self.config.pause;
        loop {
            if let Ok(link) = self.dialer.dial().await {
                let began = Instant::now();
                let (mut sender, mut receiver, blobs) = link.split();
                match self.session(&mut sender, &mut receiver, blobs).await {
                    Ok(()) => return sender.close(CloseCode::Finished, "the client has ended"),
                    Err(Closed::ByPeer { .. } | Closed::Lost) => {}
                }
                if began.elapsed() > self.config.pause_max {
                    pause = self.config.pause;
                }
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(self.config.pause_max);
        }
    }

    async fn session<S: LinkSender, R: LinkReceiver, B: BlobPeer>(
        &mut self,
        sender: &mut S,
        receiver: &mut R,
        blobs: B,
    ) -> Result<(), Closed> {
        let hello = Hello {
            minor_min: MINOR_MIN,
            minor_max: MINOR,
            build: Text::truncated(concat!("ppwasm ", env!("CARGO_PKG_VERSION"))),
            worker: None,
        };
        sender.send(hello.into()).await?;
        let welcome = tokio::time::timeout(WELCOME_TIME, receiver.receive()).await;
        match welcome.map_err(|_| Closed::Lost)?? {
            Incoming::Message(Message::Welcome(welcome))
                if Terms::try_from(welcome.clone()).is_ok() => {}
            _ => return Err(Closed::Lost),
        }
        self.resume(sender, &blobs).await?;
        loop {
            self.send_appends(sender).await?;
            self.fetch(&blobs);
            let retry_at = self.submissions.values().filter_map(|s| s.retry_at).min();
            tokio::select! {
                command = self.commands.recv() => {
                    let Some(command) = command else { return Ok(()) };
                    self.take_command(command, sender, &blobs).await?;
                    for _ in 0..ROUND_MAX {
                        let Ok(command) = self.commands.try_recv() else { break };
                        self.take_command(command, sender, &blobs).await?;
                    }
                }
                incoming = receiver.receive() => if let Incoming::Message(message) = incoming? {
                    self.take(message, sender).await?;
                },
                () = until(retry_at) => self.reopen_due(sender).await?,
            }
        }
    }

    /// Says again what was not answered in the session before.
    async fn resume<S: LinkSender, B: BlobPeer>(
        &mut self,
        sender: &mut S,
        blobs: &B,
    ) -> Result<(), Closed> {
        let submissions: Vec<u32> = self.submissions.keys().copied().collect();
        for request in submissions {
            self.open(request, sender, blobs).await?;
        }
        for (request, watch) in &self.watches {
            sender.send(watch.message(*request)).await?;
        }
        for (message, _) in self.asks.values() {
            sender.send(message.clone()).await?;
        }
        Ok(())
    }

    async fn open<S: LinkSender, B: BlobPeer>(
        &mut self,
        request: u32,
        sender: &mut S,
        blobs: &B,
    ) -> Result<(), Closed> {
        let Some(submission) = self.submissions.get_mut(&request) else {
            return Ok(());
        };
        submission.is_open = false;
        submission.is_close_sent = false;
        submission.retry_at = None;
        match blobs.put(Arc::clone(&submission.bundle)).await {
            Ok(_) => {}
            Err(BlobFailure::Lost) => return Err(Closed::Lost),
            Err(error) => {
                submission.fail(error.into());
                return Ok(());
            }
        }
        sender.send(submission.open.clone().into()).await
    }

    async fn reopen_due<S: LinkSender>(&mut self, sender: &mut S) -> Result<(), Closed> {
        let now = Instant::now();
        for submission in self.submissions.values_mut() {
            if submission.retry_at.is_some_and(|at| at <= now) {
                submission.retry_at = None;
                if submission.is_open {
                    // The tasks that were refused are sent again.
                    submission.next = submission.base;
                } else {
                    sender.send(submission.open.clone().into()).await?;
                }
            }
        }
        Ok(())
    }

    async fn take_command<S: LinkSender, B: BlobPeer>(
        &mut self,
        command: Command,
        sender: &mut S,
        blobs: &B,
    ) -> Result<(), Closed> {
        match command {
            Command::Open {
                mut open,
                bundle,
                room,
                opened,
            } => {
                let request = self.new_request();
                open.request = request;
                let submission = Submission {
                    open: *open,
                    bundle,
                    room,
                    opened: Some(opened),
                    closed: None,
                    is_open: false,
                    is_close_sent: false,
                    base: 0,
                    known: 0,
                    calls: VecDeque::new(),
                    next: 0,
                    credit_end: 0,
                    retry_at: None,
                    failed: None,
                };
                self.submissions.insert(request, submission);
                self.open(request, sender, blobs).await
            }
            Command::Append { request, call } => {
                let payload = match inline(call) {
                    Ok(payload) => payload,
                    Err(call) => match blobs.put(call.into()).await {
                        Ok(blob) => Payload::Blob(blob),
                        Err(error) => {
                            if let Some(submission) = self.submissions.get_mut(&request) {
                                submission.fail(error.into());
                            }
                            return Ok(());
                        }
                    },
                };
                if let Some(submission) = self.submissions.get_mut(&request) {
                    submission.calls.push_back(payload);
                    // Those that are durable from an earlier submission of the same job.
                    submission.forget_durable(submission.known);
                }
                Ok(())
            }
            Command::Close { request, closed } => {
                match self.submissions.get_mut(&request) {
                    Some(submission) => match &submission.failed {
                        Some(error) => {
                            let _ = closed.send(Err(error.clone()));
                            self.submissions.remove(&request);
                        }
                        None => submission.closed = Some(closed),
                    },
                    None => drop(closed.send(Err(ClientError::Ended))),
                }
                Ok(())
            }
            Command::Watch {
                job,
                order,
                items,
                started,
            } => {
                let request = self.new_request();
                let watch = Watch {
                    job,
                    order,
                    items,
                    cursor: 0,
                    credit: RESULTS_MAX as u64,
                    twice: 0,
                    seen: HashSet::new(),
                };
                let message = watch.message(request);
                self.watches.insert(request, watch);
                let _ = started.send(request);
                sender.send(message).await
            }
            Command::Credit { request, credit } => {
                let Some(watch) = self.watches.get_mut(&request) else {
                    return Ok(());
                };
                watch.credit += credit;
                let credit = Ranged::clamped(credit);
                sender.send(WatchCredit { request, credit }.into()).await
            }
            Command::Ask { mut message, done } => {
                let request = self.new_request();
                match &mut *message {
                    Message::CancelJob(ask) => ask.request = request,
                    Message::RetryJob(ask) => ask.request = request,
                    Message::ForgetJob(ask) => ask.request = request,
                    _ => return Ok(()),
                }
                self.asks.insert(request, (*message.clone(), done));
                sender.send(*message).await
            }
            Command::Get { digest, got } => {
                self.gets.push((digest, got));
                Ok(())
            }
        }
    }

    fn new_request(&mut self) -> u32 {
        self.next_request = self.next_request.wrapping_add(1);
        self.next_request
    }

    /// Gets blobs beside everything else; at most one per handle is wanted at a time.
    fn fetch<B: BlobPeer>(&mut self, blobs: &B) {
        for (digest, got) in self.gets.drain(..) {
            let blobs = blobs.clone();
            tokio::spawn(async move {
                let _ = got.send(blobs.get(digest, BLOB_BYTES_MAX).await);
            });
        }
    }

    async fn send_appends<S: LinkSender>(&mut self, sender: &mut S) -> Result<(), Closed> {
        for (request, submission) in &mut self.submissions {
            if !submission.is_open || submission.retry_at.is_some() {
                continue;
            }
            while let Some(message) = submission.next_batch(*request) {
                sender.send(message).await?;
            }
            let is_through = submission.calls.is_empty() && submission.closed.is_some();
            if is_through && !submission.is_close_sent {
                submission.is_close_sent = true;
                let (request, tasks) = (*request, submission.base);
                sender.send(CloseJob { request, tasks }.into()).await?;
            }
        }
        Ok(())
    }

    async fn take<S: LinkSender>(
        &mut self,
        message: Message,
        sender: &mut S,
    ) -> Result<(), Closed> {
        match message {
            Message::JobOpened(opened) => {
                if let Some(submission) = self.submissions.get_mut(&opened.request) {
                    submission.opened(&opened);
                }
            }
            Message::TasksAppended(appended) => {
                if let Some(submission) = self.submissions.get_mut(&appended.request) {
                    submission.forget_durable(appended.next.0);
                    submission.credit_end = appended.next.0 + appended.credit.value();
                }
            }
            Message::Results(results) => {
                if let Some(watch) = self.watches.get_mut(&results.request) {
                    let is_wanted = results.results.into_iter().all(|result| watch.take(result));
                    watch.cursor = watch.cursor.max(results.cursor);
                    let cursor = watch.cursor;
                    watch.seen.retain(|task| *task >= cursor);
                    let twice = std::mem::take(&mut watch.twice);
                    if is_wanted && twice > 0 {
                        watch.credit += twice;
                        let (request, credit) = (results.request, Ranged::clamped(twice));
                        sender.send(WatchCredit { request, credit }.into()).await?;
                    }
                    if !is_wanted {
                        self.watches.remove(&results.request);
                    }
                }
            }
            Message::JobProgress(progress) if progress.is_last => {
                if let Some(watch) = self.watches.remove(&progress.request) {
                    let _ = watch.items.try_send(Item::End(Box::new(progress)));
                }
            }
            Message::Done(done) => {
                if let Some((_, answer)) = self.asks.remove(&done.request) {
                    let _ = answer.send(Ok(()));
                } else if let Some(submission) = self.submissions.remove(&done.request)
                    && let Some(closed) = submission.closed
                {
                    let _ = closed.send(Ok(submission.base));
                }
            }
            Message::Failed(failed) => self.failed(failed),
            _ => {}
        }
        Ok(())
    }

    fn failed(&mut self, failed: Failed) {
        let request = failed.request;
        let error = ClientError::Refused {
            code: failed.code,
            reason: failed.reason.into_string(),
        };
        if let Some((_, answer)) = self.asks.remove(&request) {
            let _ = answer.send(Err(error));
        } else if let Some(watch) = self.watches.remove(&request) {
            let _ = watch.items.try_send(Item::Failed(error));
        } else if let Some(submission) = self.submissions.get_mut(&request) {
            match failed.retry_after_ms {
                Some(after) => {
                    submission.retry_at = Some(Instant::now() + Duration::from_millis(after));
                }
                None => {
                    if submission.fail(error) {
                        self.submissions.remove(&request);
                    }
                }
            }
        }
    }
}

impl Submission {
    fn opened(&mut self, opened: &JobOpened) {
        self.is_open = true;
        self.forget_durable(opened.next.0);
        self.next = self.base;
        self.credit_end = opened.next.0 + opened.credit.value();
        if let Some(answer) = self.opened.take() {
            let _ = answer.send(Ok((opened.request, opened.is_duplicate)));
        }
    }

    /// Tasks below are durable.
    fn forget_durable(&mut self, durable: u64) {
        // More may be durable than was appended here: an earlier submission did.
        let mut first = self.base;
        self.known = self.known.max(durable);
        while first < self.known && self.calls.pop_front().is_some() {
            first += 1;
            self.room.add_permits(1);
        }
        self.base = first;
        self.next = self.next.max(self.base);
    }

    fn next_batch(&mut self, request: u32) -> Option<Message> {
        let skip = usize::try_from(self.next - self.base).ok()?;
        let room = usize::try_from(self.credit_end.saturating_sub(self.next)).ok()?;
        let mut bytes = 0;
        let mut calls = Vec::new();
        for call in self.calls.iter().skip(skip).take(room.min(BATCH_MAX)) {
            if bytes >= BATCH_BYTES {
                break;
            }
            if let Payload::Inline(inline) = call {
                bytes += inline.len();
            }
            calls.push(call.clone());
        }
        if calls.is_empty() {
            return None;
        }
        let first = TaskId(self.next);
        self.next += calls.len() as u64;
        let calls = batch(calls);
        Some(
            AppendTasks {
                request,
                first,
                calls,
            }
            .into(),
        )
    }

    /// Nothing more comes of it; true when somebody has been told.
    fn fail(&mut self, error: ClientError) -> bool {
        // Whoever appends is not kept waiting.
        self.room.close();
        let opened = self
            .opened
            .take()
            .map(|answer| answer.send(Err(error.clone())));
        let closed = self
            .closed
            .take()
            .map(|answer| answer.send(Err(error.clone())));
        self.is_open = false;
        self.failed = Some(error);
        opened.is_some() || closed.is_some()
    }
}

impl Watch {
    fn message(&self, request: u32) -> Message {
        WatchJob {
            request,
            job: self.job,
            order: self.order,
            cursor: self.cursor,
            credit: Ranged::clamped(self.credit),
        }
        .into()
    }

    /// False when nobody wants more.
    fn take(&mut self, result: RecordedResult) -> bool {
        self.credit = self.credit.saturating_sub(1);
        let task = result.task.0;
        let is_new = match self.order {
            WatchOrder::Task => task >= self.cursor,
            WatchOrder::Completion => task >= self.cursor && self.seen.insert(task),
        };
        if !is_new {
            // It takes no room here.
            self.twice += 1;
            return true;
        }
        if self.order == WatchOrder::Task {
            self.cursor = task + 1;
        }
        self.items.try_send(Item::Result(Box::new(result))).is_ok()
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
