//! The task that owns the connection, and says again what was not answered when it has made another.

mod opening;
mod submissions;
mod watches;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use ppwasm_link::{
    BlobFailure, BlobPeer, DialError, Dialer, Incoming, Link, LinkReceiver, LinkSender,
};
use ppwasm_proto::wire::{
    BlobRef, CloseCode, Failed, JobProgress, Message, RecordedResult, Unwatch, WatchOrder, Welcome,
};
use ppwasm_proto::{Digest, JobId};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use self::opening::{End, greet, rejected};
use self::submissions::Submission;
use self::watches::Watch;
use crate::question::answered;
use crate::submission::{Room, Units};
use crate::{ClientConfig, ClientError, JobRequest, RESULTS_MAX};

/// Commands that wait to be taken.
pub(crate) const COMMANDS_MAX: usize = 256;
/// What a watch may have waiting: results, how far it is, and its end.
pub(crate) const ITEMS_MAX: usize = RESULTS_MAX + 16;
/// Bytes of a blob that is taken.
const BLOB_BYTES_MAX: u64 = 1 << 30;
/// Blobs of calls that are on their way at a time.
const UPLOADS_MAX: usize = 16;
/// Commands that are taken before anything is sent.
const ROUND_MAX: usize = 1024;

/// Time that the end of a lost link may take to arrive.
const LAST_WORDS_TIME: Duration = Duration::from_secs(1);

/// The halves of a link, and the blobs at its other end.
type Parts<D> = (
    <<D as Dialer>::Link as Link>::Sender,
    <<D as Dialer>::Link as Link>::Receiver,
    <<D as Dialer>::Link as Link>::Blobs,
);
type Answer<T> = oneshot::Sender<Result<T, ClientError>>;
type Got = oneshot::Sender<Result<Arc<[u8]>, BlobFailure>>;

/// What handles want.
pub(crate) enum Command {
    Open {
        job: Box<JobRequest>,
        room: Arc<Room>,
        opened: Answer<(u32, bool)>,
    },
    Append {
        request: u32,
        call: Vec<u8>,
        units: Units,
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
    Unwatch {
        request: u32,
    },
    Ask {
        /// Makes the message when it has a number.
        question: Box<dyn FnOnce(u32) -> Message + Send>,
        answer: Answer<Message>,
    },
    Get {
        digest: Digest,
        got: Got,
    },
    /// End, saying so.
    Leave,
}

/// What a watch gives.
#[derive(Debug)]
pub(crate) enum Item {
    Result(Box<RecordedResult>),
    Progress(Box<JobProgress>),
    Failed(ClientError),
}

/// What all handles share: the way to the connection, and why there is none any more.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    commands: mpsc::Sender<Command>,
    end: Arc<OnceLock<ClientError>>,
}

impl Handle {
    pub(crate) fn new(commands: mpsc::Sender<Command>) -> Self {
        let end = Arc::default();
        Self { commands, end }
    }

    pub(crate) fn end(&self) -> Arc<OnceLock<ClientError>> {
        Arc::clone(&self.end)
    }

    pub(crate) async fn tell(&self, command: Command) -> Result<(), ClientError> {
        let told = self.commands.send(command).await;
        told.map_err(|_| self.ended())
    }

    /// Why there is no connection any more.
    pub(crate) fn ended(&self) -> ClientError {
        self.end.get().cloned().unwrap_or(ClientError::Ended)
    }

    /// Waits until there is no connection any more, nor will be.
    pub(crate) async fn gone(&self) {
        self.commands.closed().await;
    }

    /// Tells it if there is room.
    pub(crate) fn try_tell(&self, command: Command) -> bool {
        self.commands.try_send(command).is_ok()
    }

    /// Nobody wants more of a watch. When this is not heard, the next result that cannot be given says it too.
    pub(crate) fn forget_watch(&self, request: u32) {
        self.try_tell(Command::Unwatch { request });
    }
}

/// Blobs that have come or gone.
enum Moved {
    /// One that a job names.
    Named(u32, Result<BlobRef, BlobFailure>),
    /// One that is a call: the request and the task.
    Call(u32, u64, Result<BlobRef, BlobFailure>),
    Got(u64, Result<Arc<[u8]>, BlobFailure>),
}

/// A blob that is wanted.
struct Get {
    digest: Digest,
    got: Got,
    /// In the present session.
    is_under_way: bool,
}

pub(crate) struct Connection<D: Dialer> {
    dialer: D,
    config: ClientConfig,
    commands: mpsc::Receiver<Command>,
    welcome: watch::Sender<Option<Welcome>>,
    end: Arc<OnceLock<ClientError>>,
    next_request: u32,
    submissions: HashMap<u32, Submission>,
    watches: HashMap<u32, Watch>,
    asks: HashMap<u32, (Message, Answer<Message>)>,
    /// Blobs that are wanted, by a number of their own.
    gets: HashMap<u64, Get>,
    next_get: u64,
    /// Blobs on their way in the present session.
    moving: JoinSet<Moved>,
    uploads: usize,
    is_leaving: bool,
}

impl<D: Dialer> Connection<D> {
    pub(crate) fn new(
        dialer: D,
        config: ClientConfig,
        commands: mpsc::Receiver<Command>,
        welcome: watch::Sender<Option<Welcome>>,
        end: Arc<OnceLock<ClientError>>,
    ) -> Self {
        Self {
            dialer,
            config,
            commands,
            welcome,
            end,
            next_request: 0,
            submissions: HashMap::new(),
            watches: HashMap::new(),
            asks: HashMap::new(),
            gets: HashMap::new(),
            next_get: 0,
            moving: JoinSet::new(),
            uploads: 0,
            is_leaving: false,
        }
    }

    /// Runs until every handle is gone, or there can be no session any more.
    pub(crate) async fn run(mut self) {
        let Err(error) = self.serve().await else {
            return;
        };
        // Whoever waits finds out by the end of its channel and then looks here.
        let _ = self.end.set(error.clone());
        for submission in self.submissions.values_mut() {
            submission.fail(error.clone());
        }
        for watch in self.watches.values() {
            let _ = watch.items.try_send(Item::Failed(error.clone()));
        }
        for (_, (_, answer)) in self.asks.drain() {
            let _ = answer.send(Err(error.clone()));
        }
    }

    async fn serve(&mut self) -> Result<(), ClientError> {
        let first_by = self.config.first_within;
        let first_by = first_by.map(|within| Instant::now() + within);
        let mut pause = self.config.pause;
        let mut trouble = None;
        loop {
            let deadline = first_by.filter(|_| self.welcome.borrow().is_none());
            let opened = before(deadline, self.open()).await;
            let began = Instant::now();
            let ended = match opened {
                Some(Ok((link, welcome))) => {
                    self.welcome.send_replace(Some(welcome));
                    self.session(link).await
                }
                Some(Err(end)) => Err(end),
                None => return Err(ClientError::Unreachable { reason: trouble }),
            };
            match ended {
                Ok(()) => return Ok(()),
                Err(End::Final(error)) => return Err(error),
                Err(End::Lost(why)) => trouble = why.or(trouble),
            }
            if began.elapsed() > self.config.pause_max {
                pause = self.config.pause;
            }
            let deadline = first_by.filter(|_| self.welcome.borrow().is_none());
            if before(deadline, tokio::time::sleep(pause)).await.is_none() {
                return Err(ClientError::Unreachable { reason: trouble });
            }
            pause = pause.saturating_mul(2).min(self.config.pause_max);
        }
    }

    /// A connection by which the coordinator has said welcome.
    async fn open(&self) -> Result<(Parts<D>, Welcome), End> {
        let link = self.dialer.dial().await.map_err(|error| match error {
            DialError::Unreachable(reason) => End::Lost(reason),
            DialError::Rejected(code, reason) => End::Final(rejected(code, &reason.to_string())),
        })?;
        let (mut sender, mut receiver, blobs) = link.split();
        let welcome = greet(&mut sender, &mut receiver).await?;
        Ok(((sender, receiver, blobs), welcome))
    }

    async fn session(&mut self, link: Parts<D>) -> Result<(), End> {
        let (mut sender, mut receiver, blobs) = link;
        let ended = self.converse(&mut sender, &mut receiver, &blobs).await;
        // What was on its way is put or got in the next session.
        self.moving.shutdown().await;
        match ended {
            Ok(()) => {
                sender.close(CloseCode::Finished, "the client has ended");
                Ok(())
            }
            Err(End::Final(error)) => Err(End::Final(error)),
            // Why a link ended is told by the half that receives, after all that came before.
            Err(End::Lost(why)) => loop {
                match tokio::time::timeout(LAST_WORDS_TIME, receiver.receive()).await {
                    Ok(Ok(_)) => {}
                    Ok(Err(closed)) => return Err(closed.into()),
                    Err(_) => return Err(End::Lost(why)),
                }
            },
        }
    }

    async fn converse<S: LinkSender, R: LinkReceiver, B: BlobPeer>(
        &mut self,
        sender: &mut S,
        receiver: &mut R,
        blobs: &B,
    ) -> Result<(), End> {
        self.resume(sender, blobs).await?;
        loop {
            self.send_appends(sender, blobs).await?;
            self.fetch(blobs);
            let retry_at = self.retry_at();
            tokio::select! {
                command = self.commands.recv() => {
                    let Some(command) = command else { return Ok(()) };
                    self.take_command(command, sender, blobs).await?;
                    for _ in 0..ROUND_MAX {
                        let Ok(command) = self.commands.try_recv() else { break };
                        self.take_command(command, sender, blobs).await?;
                    }
                    if self.is_leaving {
                        return Ok(());
                    }
                }
                incoming = receiver.receive() => if let Incoming::Message(message) = incoming? {
                    self.take(message, sender).await?;
                },
                Some(moved) = self.moving.join_next(), if !self.moving.is_empty() => {
                    if let Ok(moved) = moved {
                        self.moved(moved, sender).await?;
                    }
                }
                () = until(retry_at) => self.retry_due(sender).await?,
            }
        }
    }

    /// Says again what was not answered in the session before.
    async fn resume<S: LinkSender, B: BlobPeer>(
        &mut self,
        sender: &mut S,
        blobs: &B,
    ) -> Result<(), End> {
        self.uploads = 0;
        for get in self.gets.values_mut() {
            get.is_under_way = false;
        }
        let submissions: Vec<u32> = self.submissions.keys().copied().collect();
        for request in submissions {
            self.begin(request, blobs);
        }
        for (request, watch) in &mut self.watches {
            watch.retry_at = None;
            sender.send(watch.message(*request)).await?;
        }
        for (message, _) in self.asks.values() {
            sender.send(message.clone()).await?;
        }
        Ok(())
    }

    /// Puts what a job names; it is opened when all of that has arrived.
    fn begin<B: BlobPeer>(&mut self, request: u32, blobs: &B) {
        let Some(submission) = self.submissions.get_mut(&request) else {
            return;
        };
        for bytes in submission.begin() {
            let blobs = blobs.clone();
            self.moving
                .spawn(async move { Moved::Named(request, blobs.put(bytes).await) });
        }
    }

    fn retry_at(&self) -> Option<Instant> {
        let submissions = self.submissions.values().filter_map(|one| one.retry_at);
        let watches = self.watches.values().filter_map(|one| one.retry_at);
        submissions.chain(watches).min()
    }

    async fn retry_due<S: LinkSender>(&mut self, sender: &mut S) -> Result<(), End> {
        let now = Instant::now();
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        for submission in self.submissions.values_mut() {
            if is_due(submission.retry_at)
                && let Some(message) = submission.retry()
            {
                sender.send(message).await?;
            }
        }
        for (request, watch) in &mut self.watches {
            if is_due(watch.retry_at) {
                watch.retry_at = None;
                sender.send(watch.message(*request)).await?;
            }
        }
        Ok(())
    }

    async fn take_command<S: LinkSender, B: BlobPeer>(
        &mut self,
        command: Command,
        sender: &mut S,
        blobs: &B,
    ) -> Result<(), End> {
        match command {
            Command::Open { job, room, opened } => {
                let request = self.new_request();
                let submission = Submission::new(request, *job, room, opened);
                self.submissions.insert(request, submission);
                self.begin(request, blobs);
            }
            Command::Append {
                request,
                call,
                units,
            } => {
                if let Some(submission) = self.submissions.get_mut(&request) {
                    submission.append(call, units);
                }
            }
            Command::Close { request, closed } => self.close(request, closed),
            Command::Watch {
                job,
                order,
                items,
                started,
            } => {
                let request = self.new_request();
                let watch = Watch::new(job, order, items);
                let message = watch.message(request);
                self.watches.insert(request, watch);
                let _ = started.send(request);
                sender.send(message).await?;
            }
            Command::Credit { request, credit } => {
                if let Some(watch) = self.watches.get_mut(&request) {
                    let message = watch.more(request, credit);
                    sender.send(message).await?;
                }
            }
            Command::Unwatch { request } => {
                if self.watches.remove(&request).is_some() {
                    sender.send(Unwatch { request }.into()).await?;
                }
            }
            Command::Ask { question, answer } => {
                let request = self.new_request();
                let message = question(request);
                self.asks.insert(request, (message.clone(), answer));
                sender.send(message).await?;
            }
            Command::Get { digest, got } => {
                self.next_get += 1;
                let is_under_way = false;
                let get = Get {
                    digest,
                    got,
                    is_under_way,
                };
                self.gets.insert(self.next_get, get);
            }
            Command::Leave => self.is_leaving = true,
        }
        Ok(())
    }

    fn close(&mut self, request: u32, closed: Answer<u64>) {
        let Some(submission) = self.submissions.get_mut(&request) else {
            return drop(closed.send(Err(ClientError::Ended)));
        };
        match &submission.failed {
            Some(error) => {
                let _ = closed.send(Err(error.clone()));
                self.submissions.remove(&request);
            }
            None => submission.closed = Some(closed),
        }
    }

    fn new_request(&mut self) -> u32 {
        self.next_request = self.next_request.wrapping_add(1);
        self.next_request
    }

    /// Gets blobs beside everything else; at most one per handle is wanted at a time.
    fn fetch<B: BlobPeer>(&mut self, blobs: &B) {
        let waiting = self.gets.iter_mut().filter(|(_, get)| !get.is_under_way);
        for (&number, get) in waiting {
            get.is_under_way = true;
            let (digest, blobs) = (get.digest, blobs.clone());
            self.moving
                .spawn(async move { Moved::Got(number, blobs.get(digest, BLOB_BYTES_MAX).await) });
        }
    }

    async fn send_appends<S: LinkSender, B: BlobPeer>(
        &mut self,
        sender: &mut S,
        blobs: &B,
    ) -> Result<(), End> {
        for (request, submission) in &mut self.submissions {
            let request = *request;
            while self.uploads < UPLOADS_MAX
                && let Some((task, bytes)) = submission.next_upload()
            {
                self.uploads += 1;
                let blobs = blobs.clone();
                self.moving
                    .spawn(async move { Moved::Call(request, task, blobs.put(bytes).await) });
            }
            while let Some(message) = submission.next_message(request) {
                sender.send(message).await?;
            }
        }
        Ok(())
    }

    async fn moved<S: LinkSender>(&mut self, moved: Moved, sender: &mut S) -> Result<(), End> {
        match moved {
            Moved::Named(request, result) => {
                let Some(submission) = self.submissions.get_mut(&request) else {
                    return Ok(());
                };
                match result {
                    Ok(_) => {
                        if let Some(message) = submission.blob_put() {
                            sender.send(message).await?;
                        }
                    }
                    // The next session puts it.
                    Err(BlobFailure::Lost) => {}
                    Err(error) => {
                        if submission.fail(error.into()) {
                            self.submissions.remove(&request);
                        }
                    }
                }
            }
            Moved::Call(request, task, result) => {
                self.uploads = self.uploads.saturating_sub(1);
                if let Some(submission) = self.submissions.get_mut(&request) {
                    submission.uploaded(task, result);
                }
            }
            // The next session gets it.
            Moved::Got(_, Err(BlobFailure::Lost)) => {}
            Moved::Got(number, result) => {
                if let Some(get) = self.gets.remove(&number) {
                    let _ = get.got.send(result);
                }
            }
        }
        Ok(())
    }

    async fn take<S: LinkSender>(&mut self, message: Message, sender: &mut S) -> Result<(), End> {
        match message {
            Message::JobOpened(opened) => {
                if let Some(submission) = self.submissions.get_mut(&opened.request) {
                    submission.opened(&opened);
                }
            }
            Message::TasksAppended(appended) => {
                if let Some(submission) = self.submissions.get_mut(&appended.request) {
                    submission.appended(appended.next, appended.credit.value());
                }
            }
            Message::Results(results) => {
                let request = results.request;
                let Some(watch) = self.watches.get_mut(&request) else {
                    return Ok(());
                };
                if !watch.take(results) {
                    self.watches.remove(&request);
                    sender.send(Unwatch { request }.into()).await?;
                } else if let Some(credit) = watch.credit_again(request) {
                    sender.send(credit).await?;
                }
            }
            Message::JobProgress(progress) => {
                let (request, is_last) = (progress.request, progress.is_last);
                if let Some(watch) = self.watches.get(&request) {
                    watch.progress(progress);
                }
                if is_last {
                    self.watches.remove(&request);
                }
            }
            Message::Failed(failed) => self.failed(failed),
            Message::Ping(ping) => {
                let number = ping.number;
                sender
                    .send(ppwasm_proto::wire::Pong { number }.into())
                    .await?;
            }
            message => {
                let Some(request) = answered(&message) else {
                    return Ok(());
                };
                if let Some((_, answer)) = self.asks.remove(&request) {
                    let _ = answer.send(Ok(message));
                } else if let Some(submission) = self.submissions.remove(&request) {
                    submission.done();
                }
            }
        }
        Ok(())
    }

    fn failed(&mut self, failed: Failed) {
        let request = failed.request;
        let retry_after = failed.retry_after_ms.map(Duration::from_millis);
        let retry_at = retry_after.map(|after| Instant::now() + after);
        let error = ClientError::Refused {
            code: failed.code,
            reason: failed.reason.into_string(),
            retry_after,
        };
        if let Some((_, answer)) = self.asks.remove(&request) {
            let _ = answer.send(Err(error));
        } else if let Some(watch) = self.watches.get_mut(&request) {
            watch.retry_at = retry_at;
            if retry_at.is_none() {
                let _ = watch.items.try_send(Item::Failed(error));
                self.watches.remove(&request);
            }
        } else if let Some(submission) = self.submissions.get_mut(&request) {
            submission.retry_at = retry_at;
            if retry_at.is_none() && submission.fail(error) {
                self.submissions.remove(&request);
            }
        }
    }
}

/// What comes of `work`, unless the deadline is earlier.
async fn before<T>(deadline: Option<Instant>, work: impl Future<Output = T>) -> Option<T> {
    match deadline {
        Some(at) => tokio::time::timeout_at(at.into(), work).await.ok(),
        None => Some(work.await),
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
