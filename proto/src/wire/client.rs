//! Between a client and the coordinator: submit, watch, and ask about what is there.
//!
//! Every message of a client has a `request`, a number of its own choice; the answers carry it. What goes wrong is told
//! by [`Failed`] with the request. A job is named by 128 bits that the client makes up, so that saying it again after
//! a lost connection is the same job and not a second one.

use minicbor::{Decode, Encode};

use super::limited::{List, Ranged, Text};
use super::origin::Origin;
use super::outcome::{BlobRef, Payload};
use super::verification::{JobVerification, Verification};
use super::worker::{TimeSource, Usage};
use super::{
    ATTEMPTS_MAX, BATCH_MAX, ErrorCode, LABEL_BYTES_MAX, NAME_BYTES_MAX, PAGE_MAX,
    REASON_BYTES_MAX, REASONS_MAX, SLOTS_MAX, TASK_CREDIT_MAX,
};
use crate::digest::Digest;
use crate::fabric::{ClientName, OutcomeKind, Priority, WorkerId};
use crate::identity::{Attempt, JobId, TaskId};
use crate::limits::Limits;

/// Something that was asked for did not happen.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Failed {
    /// The request.
    #[n(0)]
    pub request: u32,
    /// Why, for programs.
    #[n(1)]
    pub code: ErrorCode,
    /// Why, for people.
    #[n(2)]
    pub reason: Text<REASON_BYTES_MAX>,
    /// When trying again may help: not before this time has passed.
    #[n(3)]
    pub retry_after_ms: Option<u64>,
}

/// What was asked for has happened, durably.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Done {
    /// The request.
    #[n(0)]
    pub request: u32,
}

/// Opens a job, or finds it again. The bundle's blob is put before, unless the coordinator has it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct OpenJob {
    /// The request; the job's tasks are appended under it.
    #[n(0)]
    pub request: u32,
    /// The job.
    #[n(1)]
    pub job: JobId,
    /// The function bundle, a blob.
    #[n(2)]
    pub function: BlobRef,
    /// What people call it.
    #[n(3)]
    pub name: Text<NAME_BYTES_MAX>,
    /// Higher goes first, within what the client may ask for.
    #[n(4)]
    pub priority: Priority,
    /// What each task may use.
    #[n(5)]
    pub limits: Limits,
    /// Where clocks and random bytes of its tasks come from.
    #[n(6)]
    pub time: TimeSource,
    /// Tries at a task before it is given up; absent for the coordinator's own number.
    #[n(7)]
    pub attempts_max: Option<Ranged<1, ATTEMPTS_MAX>>,
    /// Standard input of each task.
    #[n(8)]
    pub stdin: Option<BlobRef>,
    /// Files granted to each task: an input tree.
    #[n(9)]
    pub inputs: Option<BlobRef>,
    /// Calls may see what earlier calls of the job left in the slot.
    #[n(10)]
    pub keep_instance: Option<bool>,
    /// The digest of each task's memory is wanted.
    #[n(11)]
    pub hash_memory: Option<bool>,
    /// The rest of the job is cancelled when a task does not succeed.
    #[n(12)]
    pub stop_at_failure: Option<bool>,
    /// For how long outcomes are kept after the job has ended; absent for the coordinator's own time.
    #[n(13)]
    pub keep_for_s: Option<u64>,
    /// The identity that random bytes of its tasks follow from; absent for the job's own. So the same may be run again,
    /// as another job, and do the same.
    #[n(14)]
    pub stream: Option<JobId>,
    /// Share of its tasks, in percent, that is run again on another worker and compared before it is recorded; absent for
    /// none. Not for tasks with real clocks.
    #[n(15)]
    pub verify_percent: Option<Ranged<1, 100>>,
    /// Tasks whose outcome is known from an earlier job of the same client, with everything that it follows from equal, are
    /// not run again: they end with that outcome. Random bytes follow from the call. Not for tasks that may differ each time.
    #[n(16)]
    pub cache: Option<bool>,
}

/// The job is there, durably.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct JobOpened {
    /// The request.
    #[n(0)]
    pub request: u32,
    /// It was there already, with the same content.
    #[n(1)]
    pub is_duplicate: bool,
    /// The next task to append: all below are durable.
    #[n(2)]
    pub next: TaskId,
    /// Tasks that may be appended before more credit comes.
    #[n(3)]
    pub credit: Ranged<0, TASK_CREDIT_MAX>,
    /// It is closed: no task can be appended.
    #[n(4)]
    pub is_closed: bool,
}

/// Appends tasks to a job.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct AppendTasks {
    /// The request that opened the job.
    #[n(0)]
    pub request: u32,
    /// Number of the first of them; below `next` when they are said again.
    #[n(1)]
    pub first: TaskId,
    /// The encoded calls, in order.
    #[n(2)]
    pub calls: List<Payload, BATCH_MAX>,
}

/// Tasks are durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct TasksAppended {
    /// The request that opened the job.
    #[n(0)]
    pub request: u32,
    /// The next task to append: all below are durable.
    #[n(1)]
    pub next: TaskId,
    /// Tasks that may be appended from `next` on before more credit comes.
    #[n(2)]
    pub credit: Ranged<0, TASK_CREDIT_MAX>,
}

/// No more tasks follow. Answered by [`Done`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct CloseJob {
    /// The request that opened the job.
    #[n(0)]
    pub request: u32,
    /// How many tasks it has: all of them are durable.
    #[n(1)]
    pub tasks: u64,
}

/// Sends a job's results as they come, those that are there already first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct WatchJob {
    /// The request.
    #[n(0)]
    pub request: u32,
    /// The job.
    #[n(1)]
    pub job: JobId,
    /// The order of results.
    #[n(2)]
    pub order: WatchOrder,
    /// Where to go on: 0, or the `cursor` after the last result that arrived.
    #[n(3)]
    pub cursor: u64,
    /// Results that may be sent before more credit comes.
    #[n(4)]
    pub credit: Ranged<0, TASK_CREDIT_MAX>,
}

/// The order in which results are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum WatchOrder {
    /// By task; a result waits for those before it.
    #[n(0)]
    Task,
    /// As they are recorded.
    #[n(1)]
    Completion,
}

/// So many more results may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct WatchCredit {
    /// The request of the watch.
    #[n(0)]
    pub request: u32,
    /// On top of what is left.
    #[n(1)]
    pub credit: Ranged<1, TASK_CREDIT_MAX>,
}

/// Send no more results. Answered by [`Done`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Unwatch {
    /// The request of the watch.
    #[n(0)]
    pub request: u32,
}

/// Results of a watched job. Each uses up one credit.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Results {
    /// The request of the watch.
    #[n(0)]
    pub request: u32,
    /// The results.
    #[n(1)]
    pub results: List<RecordedResult, BATCH_MAX>,
    /// Where a later watch goes on after these.
    #[n(2)]
    pub cursor: u64,
}

/// The outcome of a task: recorded once, never changed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RecordedResult {
    /// The task.
    #[n(0)]
    pub task: TaskId,
    /// The attempt whose outcome was recorded; absent when it never ran.
    #[n(1)]
    pub attempt: Option<Attempt>,
    /// How it ended, in one word.
    #[n(2)]
    pub kind: OutcomeKind,
    /// The outcome as [`encode_outcome`](super::encode_outcome) writes it; of the same kind, or it is not believed.
    #[n(3)]
    pub outcome: Payload,
    /// What it wrote to standard output; absent when nothing.
    #[n(4)]
    pub stdout: Option<Payload>,
    /// What it wrote to standard error; absent when nothing.
    #[n(5)]
    pub stderr: Option<Payload>,
    /// What it used.
    #[n(6)]
    pub usage: Usage,
    /// The worker that ran it.
    #[n(7)]
    pub worker: Option<WorkerId>,
    /// What came of running it again elsewhere; absent when that was not asked for.
    #[n(8)]
    pub verification: Option<Verification>,
    /// The earlier task whose outcome this is; absent when it was computed for this one.
    #[n(9)]
    pub origin: Option<Origin>,
}

/// The watched job has ended and every result was sent; or how far it is.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct JobProgress {
    /// The request of the watch.
    #[n(0)]
    pub request: u32,
    /// Its state.
    #[n(1)]
    pub state: JobState,
    /// Its tasks, counted.
    #[n(2)]
    pub counts: TaskCounts,
    /// Nothing more will be sent for the watch.
    #[n(3)]
    pub is_last: bool,
    /// Why its function cannot be loaded: an outcome as [`encode_outcome`](super::encode_outcome) writes it.
    #[n(4)]
    pub load_failure: Option<Payload>,
    /// What loading its function wrote to standard output; in the first message for a watch that has it.
    #[n(5)]
    pub load_stdout: Option<Payload>,
    /// The same of standard error.
    #[n(6)]
    pub load_stderr: Option<Payload>,
}

/// Where a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum JobState {
    /// Tasks are still being appended.
    #[n(0)]
    Open,
    /// All tasks are there and not all have ended.
    #[n(1)]
    Closed,
    /// It is being cancelled.
    #[n(2)]
    Cancelling,
    /// Every task has ended.
    #[n(3)]
    Ended,
    /// It was cancelled.
    #[n(4)]
    Cancelled,
    /// Its function could not be loaded.
    #[n(5)]
    FunctionInvalid,
}

/// The tasks of a job, counted by where they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct TaskCounts {
    /// Waiting.
    #[n(0)]
    pub queued: u64,
    /// Given to a worker.
    #[n(1)]
    pub leased: u64,
    /// Succeeded.
    #[n(2)]
    pub succeeded: u64,
    /// Raised an exception.
    #[n(3)]
    pub raised: u64,
    /// Trapped.
    #[n(4)]
    pub trapped: u64,
    /// Reached a limit.
    #[n(5)]
    pub limit_exceeded: u64,
    /// Cancelled.
    #[n(6)]
    pub cancelled: u64,
    /// Given up.
    #[n(7)]
    pub abandoned: u64,
    /// Attempts that were lost with their worker.
    #[n(8)]
    pub lost_attempts: u64,
    /// Ended tasks whose outcome came from the cache; absent when none did.
    #[n(9)]
    pub from_cache: Option<u64>,
}

/// Cancels a job: nothing new of it starts. Answered by [`Done`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct CancelJob {
    /// The request.
    #[n(0)]
    pub request: u32,
    /// The job.
    #[n(1)]
    pub job: JobId,
}

/// Runs the failed tasks of a job that has ended again. Answered by [`Done`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RetryJob {
    /// The request.
    #[n(0)]
    pub request: u32,
    /// The job.
    #[n(1)]
    pub job: JobId,
}

/// Removes a job that has ended, with its results. Answered by [`Done`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ForgetJob {
    /// The request.
    #[n(0)]
    pub request: u32,
    /// The job.
    #[n(1)]
    pub job: JobId,
}

/// Lists the client's jobs, newest first. Answered by [`Jobs`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ListJobs {
    /// The request.
    #[n(0)]
    pub request: u32,
    /// Where to go on: the last job of the page before.
    #[n(1)]
    pub after: Option<JobId>,
    /// Jobs on a page.
    #[n(2)]
    pub page: Ranged<1, { PAGE_MAX as u64 }>,
    /// Those that have not ended only.
    #[n(3)]
    pub only_live: bool,
}

/// A page of jobs.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Jobs {
    /// The request.
    #[n(0)]
    pub request: u32,
    /// The jobs.
    #[n(1)]
    pub jobs: List<JobSummary, PAGE_MAX>,
    /// There are more.
    #[n(2)]
    pub has_more: bool,
}

/// One job.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct JobSummary {
    /// The job.
    #[n(0)]
    pub job: JobId,
    /// What people call it.
    #[n(1)]
    pub name: Text<NAME_BYTES_MAX>,
    /// Its owner.
    #[n(2)]
    pub owner: ClientName,
    /// Its function bundle.
    #[n(3)]
    pub function: Digest,
    /// Its state.
    #[n(4)]
    pub state: JobState,
    /// Its tasks, counted.
    #[n(5)]
    pub counts: TaskCounts,
    /// Its priority.
    #[n(6)]
    pub priority: Priority,
    /// For how long it has been there.
    #[n(7)]
    pub age_ms: u64,
    /// From its first grant to its end, or to now.
    #[n(8)]
    pub run_ms: Option<u64>,
    /// Its place in the order of submission at this coordinator, from 1 on: short enough to type.
    #[n(9)]
    pub number: Option<u64>,
}

/// Shows one job. Answered by [`JobShown`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ShowJob {
    /// The request.
    #[n(0)]
    pub request: u32,
    /// The job.
    #[n(1)]
    pub job: JobId,
}

/// One job in detail.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct JobShown {
    /// The request.
    #[n(0)]
    pub request: u32,
    /// What a list tells.
    #[n(1)]
    pub job: JobSummary,
    /// What each task may use.
    #[n(2)]
    pub limits: Limits,
    /// Time in which tasks ran, all together.
    #[n(3)]
    pub used_us: u64,
    /// Why its function cannot be loaded.
    #[n(4)]
    pub load_failure: Option<Payload>,
    /// Where clocks and random bytes of its tasks come from.
    #[n(5)]
    pub time: Option<TimeSource>,
    /// The identity that random bytes follow from; absent for the job's own.
    #[n(6)]
    pub stream: Option<JobId>,
    /// What was verified of it; absent when that was not asked for.
    #[n(7)]
    pub verification: Option<JobVerification>,
}

/// Asks why a task is where it is. Answered by [`TaskExplained`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ExplainTask {
    /// The request.
    #[n(0)]
    pub request: u32,
    /// The job.
    #[n(1)]
    pub job: JobId,
    /// The task.
    #[n(2)]
    pub task: TaskId,
}

/// Why a task is where it is.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct TaskExplained {
    /// The request.
    #[n(0)]
    pub request: u32,
    /// Where it is, in one sentence.
    #[n(1)]
    pub state: Text<REASON_BYTES_MAX>,
    /// Attempts so far.
    #[n(2)]
    pub attempts: u32,
    /// Why, one sentence each, the most important first; by worker where that is what decides.
    #[n(3)]
    pub reasons: List<Reason, REASONS_MAX>,
}

/// One reason.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Reason {
    /// The worker that it is about, if it is about one.
    #[n(0)]
    pub worker: Option<WorkerId>,
    /// The reason.
    #[n(1)]
    pub text: Text<REASON_BYTES_MAX>,
    /// The score that placing the task there has; higher is better.
    #[n(2)]
    pub score: Option<i64>,
}

/// Asks for the result of one task with what it wrote. Answered by [`TaskShown`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ShowTask {
    /// The request.
    #[n(0)]
    pub request: u32,
    /// The job.
    #[n(1)]
    pub job: JobId,
    /// The task.
    #[n(2)]
    pub task: TaskId,
}

/// One task.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct TaskShown {
    /// The request.
    #[n(0)]
    pub request: u32,
    /// Its result; absent while it has none.
    #[n(1)]
    pub result: Option<RecordedResult>,
    /// Attempts so far.
    #[n(2)]
    pub attempts: u32,
}

/// Lists workers by name. Answered by [`Workers`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ListWorkers {
    /// The request.
    #[n(0)]
    pub request: u32,
    /// Where to go on: the last name of the page before.
    #[n(1)]
    pub after: Option<WorkerId>,
    /// Workers on a page.
    #[n(2)]
    pub page: Ranged<1, { PAGE_MAX as u64 }>,
}

/// A page of workers.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Workers {
    /// The request.
    #[n(0)]
    pub request: u32,
    /// The workers.
    #[n(1)]
    pub workers: List<WorkerSummary, PAGE_MAX>,
    /// There are more.
    #[n(2)]
    pub has_more: bool,
}

/// One worker.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct WorkerSummary {
    /// Its name, from its certificate.
    #[n(0)]
    pub name: WorkerId,
    /// Where it is.
    #[n(1)]
    pub state: WorkerState,
    /// Its target triple.
    #[n(2)]
    pub target: Text<LABEL_BYTES_MAX>,
    /// Its CPU profile.
    #[n(3)]
    pub cpu_profile: Text<LABEL_BYTES_MAX>,
    /// Its slots.
    #[n(4)]
    pub slots: u64,
    /// Leases that it holds.
    #[n(5)]
    pub leases: u64,
    /// Its speed relative to the others, in thousandths; absent before anything was measured.
    #[n(6)]
    pub speed_permille: Option<u64>,
    /// Tasks that ended there, since the coordinator started.
    #[n(7)]
    pub tasks_ended: u64,
    /// Since its last message.
    #[n(8)]
    pub silent_ms: u64,
    /// What people call the machine.
    #[n(9)]
    pub label: Option<Text<LABEL_BYTES_MAX>>,
    /// Version and commit of its program.
    #[n(10)]
    pub build: Option<Text<LABEL_BYTES_MAX>>,
    /// Answers of it that two others contradicted, since the coordinator started or it was let in again; absent for none.
    #[n(11)]
    pub contradicted: Option<u64>,
}

/// Where a worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum WorkerState {
    /// It takes work.
    #[n(0)]
    Serving,
    /// It finishes what it has.
    #[n(1)]
    Draining,
    /// It was drained because it fails what others do not.
    #[n(2)]
    Distrusted,
    /// It is not connected.
    #[n(3)]
    Away,
}

/// Drains a worker, or lets it take work again. Answered by [`Done`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DrainWorker {
    /// The request.
    #[n(0)]
    pub request: u32,
    /// Its name.
    #[n(1)]
    pub worker: WorkerId,
    /// False takes an earlier drain back.
    #[n(2)]
    pub drain: bool,
}

/// Changes a worker's number of slots. Answered by [`Done`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SetWorkerSlots {
    /// The request.
    #[n(0)]
    pub request: u32,
    /// Its name.
    #[n(1)]
    pub worker: WorkerId,
    /// Slots from now on.
    #[n(2)]
    pub slots: Ranged<1, SLOTS_MAX>,
}

/// Lists the functions that the coordinator holds. Answered by [`Functions`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ListFunctions {
    /// The request.
    #[n(0)]
    pub request: u32,
    /// Where to go on: the last function of the page before.
    #[n(1)]
    pub after: Option<Digest>,
    /// Functions on a page.
    #[n(2)]
    pub page: Ranged<1, { PAGE_MAX as u64 }>,
}

/// A page of functions.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Functions {
    /// The request.
    #[n(0)]
    pub request: u32,
    /// The functions.
    #[n(1)]
    pub functions: List<FunctionSummary, PAGE_MAX>,
    /// There are more.
    #[n(2)]
    pub has_more: bool,
}

/// One function.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct FunctionSummary {
    /// Its bundle.
    #[n(0)]
    pub function: BlobRef,
    /// Its entry point: `job:main`.
    #[n(1)]
    pub entry: Text<NAME_BYTES_MAX>,
    /// Its image; absent while it is not built, or cannot be.
    #[n(2)]
    pub image: Option<BlobRef>,
    /// Jobs that use it.
    #[n(3)]
    pub jobs: u64,
    /// Workers that hold its image.
    #[n(4)]
    pub workers: u64,
}
