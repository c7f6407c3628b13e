//! Results of a job, as they come.

use ppwasm_proto::fabric::{OutcomeKind, WorkerId};
use ppwasm_proto::wire::{
    JobProgress, JobState, Origin, Payload, RecordedResult, TaskCounts, Usage, Verification,
    WireError, decode_outcome,
};
use ppwasm_proto::{Attempt, Digest, JobId, Outcome, TaskId};
use tokio::sync::{mpsc, oneshot};

use crate::ClientError;
use crate::connection::{Command, Handle, Item};

/// Taken results after which more are asked for.
const CREDIT_STEP: u64 = 512;

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
    /// What came of running it again elsewhere; absent when that was not asked for.
    pub verification: Option<Verification>,
    /// The earlier task whose outcome this is; absent when it was computed for this one.
    pub origin: Option<Box<Origin>>,
}

/// What loading a job's function wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadOutput {
    /// To standard output.
    pub stdout: Vec<u8>,
    /// To standard error.
    pub stderr: Vec<u8>,
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

/// What a watched job gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobEvent {
    /// What loading its function wrote; before all results, at most once, and only when there is something.
    Loaded(LoadOutput),
    /// How a task ended.
    Result(Box<TaskResult>),
}

/// Results of a job.
#[derive(Debug)]
pub struct Results {
    handle: Handle,
    job: JobId,
    request: u32,
    items: mpsc::Receiver<Item>,
    taken: u64,
    has_loaded: bool,
    /// A result of which large bytes are being got.
    pending: Option<Box<RecordedResult>>,
    /// An end whose load output was given first.
    last: Option<Box<JobProgress>>,
    end: Option<JobEnded>,
}

impl Results {
    pub(crate) const fn new(
        handle: Handle,
        job: JobId,
        request: u32,
        items: mpsc::Receiver<Item>,
    ) -> Self {
        Self {
            handle,
            job,
            request,
            items,
            taken: 0,
            has_loaded: false,
            pending: None,
            last: None,
            end: None,
        }
    }

    /// The job.
    pub const fn job(&self) -> JobId {
        self.job
    }

    /// The next result; `None` once the job has ended and all were given. Each task comes once.
    ///
    /// # Errors
    ///
    /// There is no such job of this client, a result cannot be read, or the coordinator does not take this client any
    /// more.
    pub async fn next(&mut self) -> Result<Option<TaskResult>, ClientError> {
        loop {
            match self.next_event().await? {
                Some(JobEvent::Result(result)) => return Ok(Some(*result)),
                Some(JobEvent::Loaded(_)) => {}
                None => return Ok(None),
            }
        }
    }

    /// As [`Results::next`], and what loading the function wrote. Dropping the future before it is ready loses nothing.
    ///
    /// # Errors
    ///
    /// As [`Results::next`].
    pub async fn next_event(&mut self) -> Result<Option<JobEvent>, ClientError> {
        loop {
            if let Some(result) = &self.pending {
                let result = self.handle.read((**result).clone()).await;
                self.pending = None;
                return Ok(Some(JobEvent::Result(Box::new(result?))));
            }
            if let Some(progress) = &self.last {
                self.end = Some(self.read_end((**progress).clone()).await?);
                self.last = None;
            }
            if self.end.is_some() {
                return Ok(None);
            }
            self.give_credit().await?;
            let Some(item) = self.items.recv().await else {
                return Err(self.handle.ended());
            };
            match item {
                Item::Result(result) => {
                    self.taken += 1;
                    match inline(&result) {
                        true => {
                            let result = self.handle.read(*result).await?;
                            return Ok(Some(JobEvent::Result(Box::new(result))));
                        }
                        false => self.pending = Some(result),
                    }
                }
                Item::Progress(progress) => {
                    let output = (progress.load_stdout.clone(), progress.load_stderr.clone());
                    if progress.is_last {
                        self.last = Some(progress);
                    }
                    if let Some(output) = self.load_output(output).await? {
                        return Ok(Some(JobEvent::Loaded(output)));
                    }
                }
                Item::Failed(error) => return Err(error),
            }
        }
    }

    /// Whether something has come, so that [`Results::next_event`] does not wait for the coordinator, but for large
    /// bytes of a result.
    pub fn is_ready(&self) -> bool {
        self.pending.is_some() || self.last.is_some() || !self.items.is_empty()
    }

    /// How the job ended, after the last result.
    pub const fn end(&self) -> Option<&JobEnded> {
        self.end.as_ref()
    }

    async fn give_credit(&mut self) -> Result<(), ClientError> {
        if self.taken >= CREDIT_STEP {
            let (request, credit) = (self.request, self.taken);
            let credit = Command::Credit { request, credit };
            self.handle.tell(credit).await?;
            self.taken = 0;
        }
        Ok(())
    }

    async fn load_output(
        &mut self,
        (stdout, stderr): (Option<Payload>, Option<Payload>),
    ) -> Result<Option<LoadOutput>, ClientError> {
        // A watch that was begun again after a lost connection is told again.
        if self.has_loaded || stdout.is_none() && stderr.is_none() {
            return Ok(None);
        }
        self.has_loaded = true;
        Ok(Some(LoadOutput {
            stdout: self.handle.bytes(stdout).await?,
            stderr: self.handle.bytes(stderr).await?,
        }))
    }

    async fn read_end(&self, progress: JobProgress) -> Result<JobEnded, ClientError> {
        Ok(JobEnded {
            state: progress.state,
            counts: progress.counts,
            load_failure: self.handle.outcome(progress.load_failure).await?,
        })
    }
}

impl Drop for Results {
    fn drop(&mut self) {
        if self.end.is_none() {
            self.handle.forget_watch(self.request);
        }
    }
}

impl Handle {
    pub(crate) async fn read(&self, result: RecordedResult) -> Result<TaskResult, ClientError> {
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
            verification: result.verification,
            origin: result.origin.map(Box::new),
        })
    }

    pub(crate) async fn outcome(
        &self,
        payload: Option<Payload>,
    ) -> Result<Option<Outcome>, ClientError> {
        match payload {
            Some(payload) => Ok(Some(decode_outcome(&self.bytes(Some(payload)).await?)?)),
            None => Ok(None),
        }
    }

    async fn bytes(&self, payload: Option<Payload>) -> Result<Vec<u8>, ClientError> {
        let digest: Digest = match payload {
            None => return Ok(Vec::new()),
            Some(Payload::Inline(bytes)) => return Ok(bytes.into_vec()),
            Some(Payload::Blob(blob)) => blob.digest,
        };
        self.blob(digest).await
    }

    pub(crate) async fn blob(&self, digest: Digest) -> Result<Vec<u8>, ClientError> {
        let (got, answer) = oneshot::channel();
        self.tell(Command::Get { digest, got }).await?;
        let bytes = answer.await.map_err(|_| self.ended())??;
        Ok(bytes.to_vec())
    }
}

/// Whether nothing of a result is a blob.
fn inline(result: &RecordedResult) -> bool {
    let is_blob = |payload: &Payload| matches!(payload, Payload::Blob(_));
    let optional = [&result.stdout, &result.stderr];
    !is_blob(&result.outcome) && !optional.into_iter().flatten().any(is_blob)
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
