//! The handle to a connection: submit, watch, and ask.

use std::time::Duration;

use ppwasm_link::Dialer;
use ppwasm_proto::fabric::WorkerId;
use ppwasm_proto::wire::{
    CancelJob, CertificateIssued, DrainWorker, ExplainTask, ForgetJob, Functions, JobSummary,
    JobVerification, Jobs, ListFunctions, ListJobs, ListWorkers, MintToken, PAGE_MAX, Ranged,
    RenewCertificate, RetryJob, RevokeIdentity, SLOTS_MAX, SetWorkerSlots, ShowJob, ShowTask,
    TaskExplained, TimeSource, TokenMinted, WatchOrder, Welcome, Workers,
};
use ppwasm_proto::{Digest, JobId, Limits, Outcome, TaskId};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::connection::{COMMANDS_MAX, Command, Connection, Handle, ITEMS_MAX};
use crate::question::Question;
use crate::submission::Submission;
use crate::{ClientConfig, ClientError, JobRequest, Results, TaskResult};

/// Time that leaving may take.
const LEAVE_TIME: Duration = Duration::from_secs(1);

/// A client. Dropping it ends its connection, not its jobs.
#[derive(Debug)]
pub struct Client {
    handle: Handle,
    welcome: watch::Receiver<Option<Welcome>>,
    connection: JoinHandle<()>,
}

/// One job in detail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobDetails {
    /// What a list tells.
    pub summary: JobSummary,
    /// What each task may use.
    pub limits: Limits,
    /// Time in which tasks ran, all together, in microseconds.
    pub used_us: u64,
    /// How loading its function ended, when it could not be.
    pub load_failure: Option<Outcome>,
    /// Where clocks and random bytes of its tasks come from.
    pub time: Option<TimeSource>,
    /// The identity that random bytes of its tasks follow from.
    pub stream: JobId,
    /// What was verified of it; absent when that was not asked for.
    pub verification: Option<JobVerification>,
}

/// One task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskDetails {
    /// How it ended; absent while it has not.
    pub result: Option<TaskResult>,
    /// Attempts so far.
    pub attempts: u32,
}

impl Client {
    /// Starts on the current tokio runtime.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn start(dialer: impl Dialer, config: ClientConfig) -> Self {
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        let handle = Handle::new(commands);
        let (told, welcome) = watch::channel(None);
        let connection = Connection::new(dialer, config, receiver, told, handle.end());
        Self {
            handle,
            welcome,
            connection: tokio::spawn(connection.run()),
        }
    }

    /// Waits for the first session: what the coordinator said in welcome.
    ///
    /// # Errors
    ///
    /// There is none in the time of [`ClientConfig::first_within`], or there will never be one.
    pub async fn connected(&self) -> Result<Welcome, ClientError> {
        let mut welcome = self.welcome.clone();
        let found = welcome.wait_for(Option::is_some).await;
        let welcome = found.ok().and_then(|welcome| welcome.clone());
        welcome.ok_or_else(|| self.handle.ended())
    }

    /// Opens a job, or finds it again. Waits while there is no coordinator.
    ///
    /// # Errors
    ///
    /// It is refused.
    pub async fn submit(&self, request: JobRequest) -> Result<Submission, ClientError> {
        let (opened, answer) = oneshot::channel();
        let room = Submission::room();
        let job = request.open.job;
        let command = Command::Open {
            job: Box::new(request),
            room: room.clone(),
            opened,
        };
        self.handle.tell(command).await?;
        let opened = answer.await.map_err(|_| self.handle.ended())??;
        Ok(Submission::new(self.handle.clone(), job, opened, room))
    }

    /// The results of a job as they come, those that are there already first.
    ///
    /// # Errors
    ///
    /// The client has ended. What is wrong with the job is told by the first [`Results::next`].
    pub async fn results(&self, job: JobId, order: WatchOrder) -> Result<Results, ClientError> {
        let (items, arriving) = mpsc::channel(ITEMS_MAX);
        let (started, answer) = oneshot::channel();
        let command = Command::Watch {
            job,
            order,
            items,
            started,
        };
        self.handle.tell(command).await?;
        let request = answer.await.map_err(|_| self.handle.ended())?;
        Ok(Results::new(self.handle.clone(), job, request, arriving))
    }

    /// Gives a job up: nothing new of it starts. What has ended stays.
    ///
    /// # Errors
    ///
    /// There is no such job of this client.
    pub async fn cancel(&self, job: JobId) -> Result<(), ClientError> {
        self.ask(CancelJob { request: 0, job }).await.map(drop)
    }

    /// Runs the failed tasks of a job that has ended again.
    ///
    /// # Errors
    ///
    /// There is no such job of this client, or it has not ended.
    pub async fn retry(&self, job: JobId) -> Result<(), ClientError> {
        self.ask(RetryJob { request: 0, job }).await.map(drop)
    }

    /// Removes a job that has ended, with its results.
    ///
    /// # Errors
    ///
    /// There is no such job of this client, or it has not ended.
    pub async fn forget(&self, job: JobId) -> Result<(), ClientError> {
        self.ask(ForgetJob { request: 0, job }).await.map(drop)
    }

    /// A page of the client's jobs, newest first: those after `after`, or from the newest on.
    ///
    /// # Errors
    ///
    /// It was refused, or there is no coordinator any more; so for all that follow.
    pub async fn jobs(&self, after: Option<JobId>, only_live: bool) -> Result<Jobs, ClientError> {
        let page = Ranged::clamped(PAGE_MAX as u64);
        let ask = ListJobs {
            request: 0,
            after,
            page,
            only_live,
        };
        self.ask(ask).await
    }

    /// One job.
    ///
    /// # Errors
    ///
    /// As [`Client::jobs`], and when there is no such job of this client.
    pub async fn job(&self, job: JobId) -> Result<JobDetails, ClientError> {
        let shown = self.ask(ShowJob { request: 0, job }).await?;
        Ok(JobDetails {
            summary: shown.job,
            limits: shown.limits,
            used_us: shown.used_us,
            load_failure: self.handle.outcome(shown.load_failure).await?,
            time: shown.time,
            stream: shown.stream.unwrap_or(job),
            verification: shown.verification,
        })
    }

    /// Why a task is where it is.
    ///
    /// # Errors
    ///
    /// As [`Client::job`], and when there is no such task.
    pub async fn explain(&self, job: JobId, task: TaskId) -> Result<TaskExplained, ClientError> {
        let request = 0;
        self.ask(ExplainTask { request, job, task }).await
    }

    /// One task, with what it wrote.
    ///
    /// # Errors
    ///
    /// As [`Client::explain`].
    pub async fn task(&self, job: JobId, task: TaskId) -> Result<TaskDetails, ClientError> {
        let request = 0;
        let shown = self.ask(ShowTask { request, job, task }).await?;
        let result = match shown.result {
            Some(result) => Some(self.handle.read(result).await?),
            None => None,
        };
        let attempts = shown.attempts;
        Ok(TaskDetails { result, attempts })
    }

    /// A page of the workers by name: those after `after`, or from the first on.
    ///
    /// # Errors
    ///
    /// As [`Client::jobs`].
    pub async fn workers(&self, after: Option<WorkerId>) -> Result<Workers, ClientError> {
        let page = Ranged::clamped(PAGE_MAX as u64);
        let request = 0;
        let ask = ListWorkers {
            request,
            after,
            page,
        };
        self.ask(ask).await
    }

    /// Drains a worker, or lets it take work again. The operator's to ask.
    ///
    /// # Errors
    ///
    /// As [`Client::jobs`], and when there is no such worker.
    pub async fn drain_worker(&self, worker: WorkerId, drain: bool) -> Result<(), ClientError> {
        let request = 0;
        let ask = DrainWorker {
            request,
            worker,
            drain,
        };
        self.ask(ask).await.map(drop)
    }

    /// Changes a worker's number of slots. The operator's to ask.
    ///
    /// # Errors
    ///
    /// As [`Client::drain_worker`].
    pub async fn set_worker_slots(
        &self,
        worker: WorkerId,
        slots: Ranged<1, SLOTS_MAX>,
    ) -> Result<(), ClientError> {
        let request = 0;
        let ask = SetWorkerSlots {
            request,
            worker,
            slots,
        };
        self.ask(ask).await.map(drop)
    }

    /// A page of the functions that the coordinator holds: those after `after`, or from the first on.
    ///
    /// # Errors
    ///
    /// As [`Client::jobs`].
    pub async fn functions(&self, after: Option<Digest>) -> Result<Functions, ClientError> {
        let page = Ranged::clamped(PAGE_MAX as u64);
        let request = 0;
        let ask = ListFunctions {
            request,
            after,
            page,
        };
        self.ask(ask).await
    }

    /// A join token. The operator's to ask. The request number is set here.
    ///
    /// # Errors
    ///
    /// As [`Client::jobs`].
    pub async fn mint_token(&self, ask: MintToken) -> Result<TokenMinted, ClientError> {
        self.ask(ask).await
    }

    /// Revokes all certificates of an identity. The operator's to ask. The request number is set here.
    ///
    /// # Errors
    ///
    /// As [`Client::jobs`].
    pub async fn revoke(&self, ask: RevokeIdentity) -> Result<(), ClientError> {
        self.ask(ask).await.map(drop)
    }

    /// A new certificate for the same identity. The request number is set here; what was issued is the caller's to
    /// check, keep and use.
    ///
    /// # Errors
    ///
    /// As [`Client::jobs`].
    pub async fn renew(&self, ask: RenewCertificate) -> Result<CertificateIssued, ClientError> {
        self.ask(ask).await
    }

    /// Ends the connection and tells the coordinator so. What was appended and is not durable may be lost.
    pub async fn leave(&self) {
        // Without a session there is nobody to be told.
        let is_connected = self.welcome.borrow().is_some();
        if is_connected && self.handle.tell(Command::Leave).await.is_ok() {
            let _ = tokio::time::timeout(LEAVE_TIME, self.handle.gone()).await;
        }
    }

    /// A function's bundle, by its digest.
    ///
    /// # Errors
    ///
    /// As [`Client::jobs`], and when it is not there.
    pub async fn bundle(&self, function: Digest) -> Result<Vec<u8>, ClientError> {
        self.handle.blob(function).await
    }

    async fn ask<Q: Question>(&self, mut question: Q) -> Result<Q::Answer, ClientError> {
        let (answer, answered) = oneshot::channel();
        let number = move |request| {
            question.set_request(request);
            question.into()
        };
        let question = Box::new(number);
        self.handle.tell(Command::Ask { question, answer }).await?;
        let message = answered.await.map_err(|_| self.handle.ended())??;
        Q::answer(message).map_err(|other| ClientError::Unexpected {
            message: other.name(),
        })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.connection.abort();
    }
}
