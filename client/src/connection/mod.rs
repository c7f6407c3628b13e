//! The task that owns the connection, and says again what was not answered when it has made another.

mod blobs;
mod handle;
mod heard;
mod opening;
mod submissions;
mod watches;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use ppwasm_link::{BlobPeer, DialError, Dialer, Incoming, Link, LinkReceiver, LinkSender};
use ppwasm_proto::wire::{CloseCode, Message, Unwatch, Welcome};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use self::blobs::{Get, Moved};
use self::handle::Answer;
pub(crate) use self::handle::{COMMANDS_MAX, Command, Handle, ITEMS_MAX, Item};
use self::opening::{End, greet, rejected};
use self::submissions::Submission;
use self::watches::Watch;
use crate::{ClientConfig, ClientError};

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
