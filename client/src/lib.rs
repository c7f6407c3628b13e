//! Submits jobs to a coordinator and gets their results.
//!
//! A [`Client`] keeps one connection, makes another when it is lost, and says again what was not answered: every request
//! is idempotent, jobs by the id that the client makes. Nothing is kept without a bound: what is appended and not durable,
//! and results that are not taken.
//!
//! ```no_run
//! # use ppwasm_client::{Client, ClientConfig, JobRequest, Order};
//! # use ppwasm_proto::{Call, FunctionBundle, JobId};
//! # async fn example(dialer: impl ppwasm_link::Dialer) -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::start(dialer, ClientConfig::default());
//! let bundle = FunctionBundle::function("job", "job.py", "def f(x): return x + 1", "f")?;
//! let id = JobId::from_bytes([7; 16]);
//! let mut job = client.submit(JobRequest::new(id, &bundle)).await?;
//! for x in 0..1000 {
//!     job.append(&Call::with_args([x])).await?;
//! }
//! job.finish().await?;
//! let mut results = client.results(id, Order::Task).await?;
//! while let Some(result) = results.next().await? {
//!     println!("{}: {:?}", result.task, result.outcome);
//! }
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod connection;

use std::sync::Arc;
use std::time::Duration;

use ppwasm_link::Dialer;
use ppwasm_proto::fabric::{OutcomeKind, Priority, WorkerId};
use ppwasm_proto::wire::{
    BlobRef, CancelJob, ErrorCode, ForgetJob, INLINE_BYTES_MAX, JobProgress, JobState, List,
    Message, OpenJob, Payload, RecordedResult, RetryJob, TaskCounts, Text, TimeSource, Usage,
    WatchOrder as WireOrder, WireError, decode_outcome,
};
use ppwasm_proto::{
    Attempt, Call, Digest, EncodeError, FunctionBundle, JobId, Limits, Outcome, TaskId,
};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

use connection::{Command, Connection, Item};

/// Tasks that are appended and not durable.
pub const UNACKNOWLEDGED_MAX: usize = 8192;
/// Results that have arrived and are not taken.
pub const RESULTS_MAX: usize = 2048;
/// Taken results after which more are asked for.
const CREDIT_STEP: u64 = 512;

pub use ppwasm_proto::wire::WatchOrder as Order;

/// Settings.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Pause before the first try at another connection; it doubles. Default 50 ms.
    pub pause: Duration,
    /// Longest such pause. Default 5 s.
    pub pause_max: Duration,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            pause: Duration::from_millis(50),
            pause_max: Duration::from_secs(5),
        }
    }
}

/// Why something that was asked for did not happen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The coordinator refused it.
    #[error("the coordinator refused: {reason} ({code})")]
    Refused {
        /// Why, for programs.
        code: ErrorCode,
        /// Why, for people.
        reason: String,
    },
    /// An argument cannot travel.
    #[error("an argument cannot travel")]
    Argument(#[from] EncodeError),
    /// What came back is not an outcome.
    #[error("a result cannot be read")]
    Result(#[from] WireError),
    /// A blob that belongs to a result could not be got.
    #[error("a result's bytes could not be got")]
    Blob(#[from] ppwasm_link::BlobFailure),
    /// The client has ended.
    #[error("the client has ended")]
    Ended,
}

/// A job to be submitted.
#[derive(Clone, Debug)]
pub struct JobRequest {
    open: OpenJob,
    bundle: Arc<[u8]>,
}

impl JobRequest {
    /// A job of the bundle's function under an id of the caller's: the same id again is the same job.
    pub fn new(job: JobId, bundle: &FunctionBundle) -> Self {
        let bundle: Arc<[u8]> = bundle.to_bytes().into();
        Self {
            open: OpenJob {
                request: 0,
                job,
                function: BlobRef::of(&bundle),
                name: Text::default(),
                priority: Priority::default(),
                limits: Limits::default(),
                time: TimeSource::Deterministic { start_ns: 0 },
                attempts_max: None,
                stdin: None,
                inputs: None,
                keep_instance: None,
                hash_memory: None,
                stop_at_failure: None,
                keep_for_s: None,
            },
            bundle,
        }
    }

    /// What each task may use.
    #[must_use]
    pub const fn limits(mut self, limits: Limits) -> Self {
        self.open.limits = limits;
        self
    }

    /// Where clocks and random bytes of its tasks come from. By default the clock starts at 0.
    #[must_use]
    pub const fn time(mut self, time: TimeSource) -> Self {
        self.open.time = time;
        self
    }

    /// How urgent it is among the client's jobs.
    #[must_use]
    pub const fn priority(mut self, priority: Priority) -> Self {
        self.open.priority = priority;
        self
    }

    /// What people call it, cut to what a name may have.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.open.name = Text::truncated(name);
        self
    }
}

/// A client. Dropping it ends its connection, not its jobs.
pub struct Client {
    commands: mpsc::Sender<Command>,
    connection: JoinHandle<()>,
}

impl Client {
    /// Starts on the current tokio runtime.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn start(dialer: impl Dialer, config: ClientConfig) -> Self {
        let (commands, receiver) = mpsc::channel(256);
        let connection = Connection::new(dialer, config, receiver);
        Self {
            commands,
            connection: tokio::spawn(connection.run()),
        }
    }

    async fn tell(&self, command: Command) -> Result<(), ClientError> {
        tell(&self.commands, command).await
    }

    /// Opens a job, or finds it again. Waits while there is no coordinator.
    ///
    /// # Errors
    ///
    /// It is refused.
    pub async fn submit(&self, request: JobRequest) -> Result<Submission, ClientError> {
        let (opened, answer) = oneshot::channel();
        let room = Arc::new(Semaphore::new(UNACKNOWLEDGED_MAX));
        let command = Command::Open {
            open: Box::new(request.open),
            bundle: request.bundle,
            room: Arc::clone(&room),
            opened,
        };
        self.tell(command).await?;
        let (request, is_known) = answer.await.map_err(|_| ClientError::Ended)??;
        Ok(Submission {
            commands: self.commands.clone(),
            request,
            is_known,
            room,
        })
    }

    /// The results of a job as they come, those that are there already first.
    ///
    /// # Errors
    ///
    /// The client has ended. What is wrong with the job is told by the first [`Results::next`].
    pub async fn results(&self, job: JobId, order: WireOrder) -> Result<Results, ClientError> {
        let (items, arriving) = mpsc::channel(RESULTS_MAX + 1);
        let (started, answer) = oneshot::channel();
        let command = Command::Watch {
            job,
            order,
            items,
            started,
        };
        self.tell(command).await?;
        let request = answer.await.map_err(|_| ClientError::Ended)?;
        Ok(Results {
            commands: self.commands.clone(),
            request,
            items: arriving,
            taken: 0,
            end: None,
        })
    }

    /// Gives a job up: nothing new of it starts. What has ended stays.
    ///
    /// # Errors
    ///
    /// There is no such job of this client.
    pub async fn cancel(&self, job: JobId) -> Result<(), ClientError> {
        self.ask(CancelJob { request: 0, job }.into()).await
    }

    /// Runs the failed tasks of a job that has ended again.
    ///
    /// # Errors
    ///
    /// There is no such job of this client, or it has not ended.
    pub async fn retry(&self, job: JobId) -> Result<(), ClientError> {
        self.ask(RetryJob { request: 0, job }.into()).await
    }

    /// Removes a job that has ended, with its results.
    ///
    /// # Errors
    ///
    /// There is no such job of this client, or it has not ended.
    pub async fn forget(&self, job: JobId) -> Result<(), ClientError> {
        self.ask(ForgetJob { request: 0, job }.into()).await
    }

    async fn ask(&self, message: Message) -> Result<(), ClientError> {
        let (done, answer) = oneshot::channel();
        let message = Box::new(message);
        self.tell(Command::Ask { message, done }).await?;
        answer.await.map_err(|_| ClientError::Ended)?
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

async fn tell(commands: &mpsc::Sender<Command>, command: Command) -> Result<(), ClientError> {
    commands.send(command).await.map_err(|_| ClientError::Ended)
}

/// A job that takes tasks.
#[derive(Debug)]
pub struct Submission {
    commands: mpsc::Sender<Command>,
    request: u32,
    is_known: bool,
    room: Arc<Semaphore>,
}

impl Submission {
    /// It was there before, with the same content. Its tasks are appended from the first on all the same.
    pub const fn is_known(&self) -> bool {
        self.is_known
    }

    /// Appends the next task. Waits while too many are not durable.
    ///
    /// # Errors
    ///
    /// The job was refused or has ended, or an argument cannot travel.
    pub async fn append(&mut self, call: &Call) -> Result<(), ClientError> {
        self.append_encoded(call.to_bytes()?).await
    }

    /// Appends the next task by its encoded call.
    ///
    /// # Errors
    ///
    /// As [`Submission::append`].
    pub async fn append_encoded(&mut self, call: Vec<u8>) -> Result<(), ClientError> {
        let room = self.room.acquire().await.map_err(|_| ClientError::Ended)?;
        room.forget();
        let request = self.request;
        tell(&self.commands, Command::Append { request, call }).await
    }

    /// No more tasks follow. Returns when all are durable: how many there are.
    ///
    /// # Errors
    ///
    /// The job was refused.
    pub async fn finish(self) -> Result<u64, ClientError> {
        let (closed, answer) = oneshot::channel();
        let request = self.request;
        tell(&self.commands, Command::Close { request, closed }).await?;
        answer.await.map_err(|_| ClientError::Ended)?
    }
}

/// How one task ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskResult {
    /// The task.
    pub task: TaskId,
    /// The attempt that brought the outcome.
    pub attempt: Option<Attempt>,
    /// How it ended.
    pub outcome: Outcome,
    /// What it wrote to standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error.
    pub stderr: Vec<u8>,
    /// What it used.
    pub usage: Usage,
    /// Who ran it.
    pub worker: Option<WorkerId>,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobEnded {
    /// Which way.
    pub state: JobState,
    /// Its tasks, counted.
    pub counts: TaskCounts,
    /// How loading its function ended, when it could not be.
    pub load_failure: Option<Outcome>,
}

/// Results of a job.
#[derive(Debug)]
pub struct Results {
    commands: mpsc::Sender<Command>,
    request: u32,
    items: mpsc::Receiver<Item>,
    taken: u64,
    end: Option<JobEnded>,
}

impl Results {
    /// The next result; `None` once the job has ended and all were given. Each task comes once.
    ///
    /// # Errors
    ///
    /// There is no such job of this client, or a result cannot be read.
    pub async fn next(&mut self) -> Result<Option<TaskResult>, ClientError> {
        if self.end.is_some() {
            return Ok(None);
        }
        match self.items.recv().await.ok_or(ClientError::Ended)? {
            Item::Result(result) => {
                self.taken += 1;
                if self.taken >= CREDIT_STEP {
                    let (request, credit) = (self.request, std::mem::take(&mut self.taken));
                    tell(&self.commands, Command::Credit { request, credit }).await?;
                }
                self.read(*result).await.map(Some)
            }
            Item::End(progress) => {
                self.end = Some(self.read_end(*progress).await?);
                Ok(None)
            }
            Item::Failed(error) => Err(error),
        }
    }

    /// How the job ended, after the last result.
    pub const fn end(&self) -> Option<&JobEnded> {
        self.end.as_ref()
    }

    async fn read(&self, result: RecordedResult) -> Result<TaskResult, ClientError> {
        let bytes = self.bytes(Some(result.outcome)).await?;
        let outcome = match decode_outcome(&bytes) {
            // A worker that says one thing and sends another is not believed.
            Ok(outcome) if kind(&outcome) == result.kind => outcome,
            Ok(_) => return Err(WireError::NotAMessage.into()),
            Err(error) => return Err(error.into()),
        };
        Ok(TaskResult {
            task: result.task,
            attempt: result.attempt,
            outcome,
            stdout: self.bytes(result.stdout).await?,
            stderr: self.bytes(result.stderr).await?,
            usage: result.usage,
            worker: result.worker,
        })
    }

    async fn read_end(&self, progress: JobProgress) -> Result<JobEnded, ClientError> {
        let load_failure = match progress.load_failure {
            Some(payload) => Some(decode_outcome(&self.bytes(Some(payload)).await?)?),
            None => None,
        };
        Ok(JobEnded {
            state: progress.state,
            counts: progress.counts,
            load_failure,
        })
    }

    async fn bytes(&self, payload: Option<Payload>) -> Result<Vec<u8>, ClientError> {
        let digest: Digest = match payload {
            None => return Ok(Vec::new()),
            Some(Payload::Inline(bytes)) => return Ok(bytes.into_vec()),
            Some(Payload::Blob(blob)) => blob.digest,
        };
        let (got, answer) = oneshot::channel();
        tell(&self.commands, Command::Get { digest, got }).await?;
        let bytes = answer.await.map_err(|_| ClientError::Ended)??;
        Ok(bytes.to_vec())
    }
}

const fn kind(outcome: &Outcome) -> OutcomeKind {
    match outcome {
        Outcome::Succeeded { .. } => OutcomeKind::Succeeded,
        Outcome::Raised(_) => OutcomeKind::Raised,
        Outcome::Trapped { .. } => OutcomeKind::Trapped,
        Outcome::LimitExceeded { .. } => OutcomeKind::LimitExceeded,
        Outcome::Cancelled => OutcomeKind::Cancelled,
        Outcome::Abandoned => OutcomeKind::Abandoned,
    }
}

/// A call as it is sent; `None` when it has to be a blob.
fn inline(call: Vec<u8>) -> Result<Payload, Vec<u8>> {
    if call.len() > INLINE_BYTES_MAX {
        return Err(call);
    }
    let bytes = ppwasm_proto::wire::Bytes::try_from(call);
    Ok(bytes.map_or_else(|_| Payload::empty(), Payload::Inline))
}

/// Payloads as one list.
fn batch(calls: Vec<Payload>) -> List<Payload, { ppwasm_proto::wire::BATCH_MAX }> {
    List::try_from(calls).unwrap_or_default()
}
