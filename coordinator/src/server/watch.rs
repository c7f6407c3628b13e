//! A watch: sends a client the results of a job as fast as it takes them.
//!
//! The core says which tasks have ended, durably, and gives small results along. All else is read from the store, so a
//! watch that falls behind costs the core nothing: it reads again what it was not told. `send` is the half that sends.

mod send;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ppwasm_proto::fabric::OutcomeKind;
use ppwasm_proto::wire::{
    BlobRef, JobState, Payload, RecordedResult, TaskCounts, Usage, WatchOrder, encode_outcome,
};
use ppwasm_proto::{JobId, Outcome, TaskId};
use ppwasm_scheduler::TaskEnd;
use tokio::sync::Notify;

use crate::store::{Body, EndedTask, TaskResult};
pub(crate) use send::WatchSender;

/// Ended tasks that a watch is told and has not sent; with more it reads the store instead.
const TOLD_MAX: usize = 4096;
/// Bytes of a result that is given along; a larger one is read from the store.
const TOLD_BYTES_MAX: usize = 1024;

/// What core and session share about a watch.
#[derive(Debug)]
pub(crate) struct Watch {
    pub request: u32,
    pub job: JobId,
    pub order: WatchOrder,
    state: Mutex<State>,
    changed: Notify,
}

/// A task that has ended.
#[derive(Debug)]
struct Told {
    task: u64,
    result: Option<Arc<RecordedResult>>,
}

#[derive(Debug, Default)]
struct State {
    told: Vec<Told>,
    /// More has ended than was told.
    has_missed: bool,
    credit: u64,
    /// How far the job is, with what loading its function wrote; sent before all results.
    begin: Option<WatchEnd>,
    has_begun: bool,
    end: Option<WatchEnd>,
}

/// How a watched job ended.
#[derive(Clone, Debug)]
pub(crate) struct WatchEnd {
    pub state: JobState,
    pub counts: TaskCounts,
    pub load_failure: Option<Payload>,
    /// What loading the function wrote.
    pub load_stdout: Option<Payload>,
    /// The same, to standard error.
    pub load_stderr: Option<Payload>,
}

impl Watch {
    pub(crate) fn new(request: u32, job: JobId, order: WatchOrder, credit: u64) -> Self {
        Self {
            request,
            job,
            order,
            state: Mutex::new(State {
                credit,
                ..State::default()
            }),
            changed: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add_credit(&self, credit: u64) {
        let mut state = self.state();
        state.credit = state.credit.saturating_add(credit);
        drop(state);
        self.changed.notify_one();
    }

    /// Whether it was told what loading the function wrote, or that there is nothing.
    pub(crate) fn has_begun(&self) -> bool {
        self.state().has_begun
    }

    /// The function is loaded.
    pub(crate) fn begin(&self, begin: WatchEnd) {
        let mut state = self.state();
        if !state.has_begun {
            state.has_begun = true;
            state.begin = Some(begin);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// A task has ended, durably.
    pub(crate) fn tell(&self, task: u64, result: Option<Arc<RecordedResult>>) {
        let mut state = self.state();
        if state.told.len() < TOLD_MAX {
            state.told.push(Told { task, result });
        } else {
            state.has_missed = true;
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Something may have ended that it was not told.
    pub(crate) fn miss(&self) {
        self.state().has_missed = true;
        self.changed.notify_one();
    }

    /// The job has ended, durably.
    pub(crate) fn end(&self, end: WatchEnd) {
        self.begin(end.clone());
        self.state().end = Some(end);
        self.changed.notify_one();
    }
}

/// What a watch is given along with the end of a task; `None` when that is too large.
pub(crate) fn told(
    task: TaskId,
    end: &TaskEnd,
    result: &TaskResult,
) -> Option<Arc<RecordedResult>> {
    (weight(result) <= TOLD_BYTES_MAX).then(|| {
        Arc::new(recorded(EndedTask {
            task,
            end: end.clone(),
            at_ms: 0,
            result: result.clone(),
        }))
    })
}

fn weight(result: &TaskResult) -> usize {
    let bytes = |body: &Body| match body {
        Body::Inline(bytes) => bytes.len(),
        Body::Blob { .. } => 40,
    };
    bytes(&result.outcome) + bytes(&result.stdout) + bytes(&result.stderr)
}

pub(crate) fn recorded(ended: EndedTask) -> RecordedResult {
    let kind = ended.end.outcome();
    let result = ended.result;
    let verification = ended.end.verification().cloned();
    let origin = ended.end.origin().cloned();
    let (attempt, worker) = match ended.end {
        TaskEnd::Outcome {
            attempt, worker, ..
        } => (Some(attempt), Some(worker)),
        TaskEnd::Cached { .. }
        | TaskEnd::Disputed { .. }
        | TaskEnd::Abandoned
        | TaskEnd::Quarantined => (None, None),
    };
    let outcome = match result.outcome {
        Body::Inline(bytes) if bytes.is_empty() && kind == OutcomeKind::Abandoned => {
            payload(Body::Inline(encode_outcome(&Outcome::Abandoned)))
        }
        body => payload(body),
    };
    let some = |body: Body| (body.size() > 0).then(|| payload(body));
    RecordedResult {
        task: ended.task,
        attempt,
        kind,
        outcome,
        stdout: some(result.stdout),
        stderr: some(result.stderr),
        usage: Usage {
            wall_us: result.run_time_us,
            memory_bytes: result.memory_bytes,
            memory_digest: None,
        },
        worker,
        verification,
        origin,
    }
}

/// A body as it is on the wire. Both have the same limit for what is inline.
pub(crate) fn payload(body: Body) -> Payload {
    match body {
        Body::Inline(bytes) => {
            let inline = ppwasm_proto::wire::Bytes::try_from(bytes);
            inline.map_or_else(|_| Payload::empty(), Payload::Inline)
        }
        Body::Blob { digest, size } => Payload::Blob(BlobRef {
            digest,
            bytes: size,
        }),
    }
}

/// A payload as it is stored.
pub(crate) fn body(payload: Payload) -> Body {
    match payload {
        Payload::Inline(bytes) => Body::Inline(bytes.into_vec()),
        Payload::Blob(blob) => Body::Blob {
            digest: blob.digest,
            size: blob.bytes,
        },
    }
}

const _: () = assert!(crate::store::INLINE_BYTES_MAX == ppwasm_proto::wire::INLINE_BYTES_MAX);
