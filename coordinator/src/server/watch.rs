//! A watch: sends a client the results of a job, from the store, as fast as it takes them.
//!
//! The core says which tasks have ended; what is sent is read from the store, so a watch that falls behind costs the core
//! nothing: it reads again what it was not told.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ppwasm_proto::fabric::OutcomeKind;
use ppwasm_proto::wire::{
    BATCH_BYTES, BlobRef, JobProgress, JobState, List, Message, Payload, RecordedResult, Results,
    TaskCounts, Usage, WatchOrder, encode_outcome,
};
use ppwasm_proto::{JobId, Outcome};
use ppwasm_scheduler::TaskEnd;
use tokio::sync::{Notify, mpsc};

use crate::store::{Body, EndedTask, ReadError, Store};

/// Results in one message.
const RESULTS_MAX: u32 = 512;
/// Ended tasks that a watch is told and has not sent; with more it reads the store instead.
const TOLD_MAX: usize = 4096;

/// What core and session share about a watch.
#[derive(Debug)]
pub(crate) struct Watch {
    pub request: u32,
    pub job: JobId,
    pub order: WatchOrder,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    told: Vec<u64>,
    /// More has ended than was told.
    has_missed: bool,
    credit: u64,
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

    /// Tasks have ended, durably.
    pub(crate) fn tell(&self, task: u64) {
        let mut state = self.state();
        if state.told.len() < TOLD_MAX {
            state.told.push(task);
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
        self.state().end = Some(end);
        self.changed.notify_one();
    }
}

/// Sends everything, then the job's end.
pub(crate) struct WatchSender {
    pub watch: Arc<Watch>,
    pub store: Arc<dyn Store>,
    pub messages: mpsc::Sender<Message>,
    /// By task: the next. By completion: all below were sent.
    next: u64,
    /// By completion: those from `next` on that were sent, a bit each.
    sent: Vec<u64>,
    /// By completion: from here on the store is read before what was told.
    scan: Option<u64>,
    told: Vec<u64>,
}

impl WatchSender {
    pub(crate) fn new(
        watch: Arc<Watch>,
        store: Arc<dyn Store>,
        messages: mpsc::Sender<Message>,
        cursor: u64,
    ) -> Self {
        Self {
            watch,
            store,
            messages,
            next: cursor,
            sent: Vec::new(),
            scan: Some(cursor),
            told: Vec::new(),
        }
    }

    /// Runs until the job's end was sent or the session is over.
    pub(crate) async fn run(mut self) -> Result<(), ReadError> {
        loop {
            let (credit, end) = self.take();
            let found = if credit == 0 {
                Vec::new()
            } else {
                let limit = u32::try_from(credit).unwrap_or(u32::MAX).min(RESULTS_MAX);
                match self.watch.order {
                    WatchOrder::Task => self.read_in_order(limit, end.is_some())?,
                    WatchOrder::Completion => self.read_as_completed(limit)?,
                }
            };
            if !found.is_empty() {
                let spent = found.len() as u64;
                self.watch.state().credit -= spent;
                let results = found.into_iter().map(recorded).collect::<Vec<_>>();
                let message = Results {
                    request: self.watch.request,
                    results: List::try_from(results).unwrap_or_default(),
                    cursor: self.next,
                };
                if self.messages.send(message.into()).await.is_err() {
                    return Ok(());
                }
                continue;
            }
            let is_through = credit > 0 && self.scan.is_none() && self.told.is_empty();
            if let Some(end) = end.filter(|_| is_through) {
                let message = JobProgress {
                    request: self.watch.request,
                    state: end.state,
                    counts: end.counts,
                    is_last: true,
                    load_failure: end.load_failure,
                    load_stdout: end.load_stdout,
                    load_stderr: end.load_stderr,
                };
                let _ = self.messages.send(message.into()).await;
                return Ok(());
            }
            if credit == 0 || self.scan.is_none() && self.told.is_empty() {
                self.watch.changed.notified().await;
            }
        }
    }

    fn take(&mut self) -> (u64, Option<WatchEnd>) {
        let mut state = self.watch.state();
        let told = std::mem::take(&mut state.told);
        let missed = std::mem::take(&mut state.has_missed);
        let taken = (state.credit, state.end.clone());
        drop(state);
        match self.watch.order {
            WatchOrder::Task => {
                // Whatever ended: what is read next says whether it is the next one.
                if !told.is_empty() || missed {
                    self.scan = Some(self.next);
                }
            }
            WatchOrder::Completion => {
                if missed || self.told.len() > TOLD_MAX {
                    self.told.clear();
                    self.scan = Some(self.next);
                } else {
                    self.told.extend(told);
                }
            }
        }
        taken
    }

    fn read_in_order(&mut self, limit: u32, is_over: bool) -> Result<Vec<EndedTask>, ReadError> {
        let mut found = (self.store).outcomes(&self.watch.job, self.next, limit, BATCH_BYTES)?;
        if !is_over {
            // A result waits for those before it.
            let first = self.next;
            let in_order = |(task, ended): &(u64, &EndedTask)| ended.task.0 == *task;
            let length = (first..).zip(&found).take_while(in_order).count();
            found.truncate(length);
        }
        match found.last() {
            Some(last) => self.next = last.task.0 + 1,
            None => self.scan = None,
        }
        Ok(found)
    }

    fn read_as_completed(&mut self, limit: u32) -> Result<Vec<EndedTask>, ReadError> {
        let job = self.watch.job;
        while let Some(from) = self.scan {
            let mut found = self.store.outcomes(&job, from, limit, BATCH_BYTES)?;
            self.scan = found.last().map(|last| last.task.0 + 1);
            found.retain(|ended| self.mark(ended.task.0));
            if !found.is_empty() {
                return Ok(found);
            }
        }
        self.told.sort_unstable();
        let mut all = Vec::new();
        let mut bytes = 0;
        while let Some(&first) = self.told.first() {
            if all.len() >= limit as usize || bytes >= BATCH_BYTES {
                break;
            }
            let room = limit - u32::try_from(all.len()).unwrap_or(limit);
            let run = (first..)
                .zip(&self.told)
                .take_while(|(a, b)| a == *b)
                .count();
            let run = run.min(room as usize);
            let count = u32::try_from(run).unwrap_or(room);
            let mut found = self.store.outcomes(&job, first, count, BATCH_BYTES)?;
            let past = match found.last() {
                Some(last) if found.len() < run => last.task.0 + 1,
                _ => first + run as u64,
            };
            let through = self.told.partition_point(|task| *task < past);
            self.told.drain(..through);
            found.retain(|ended| ended.task.0 < past && self.mark(ended.task.0));
            bytes += found.iter().map(weight).sum::<usize>();
            all.extend(found);
        }
        Ok(all)
    }

    /// Notes that a task is sent; false when it was before.
    fn mark(&mut self, task: u64) -> bool {
        let Some(offset) = task.checked_sub(self.next) else {
            return false;
        };
        let (word, bit) = (
            usize::try_from(offset / 64).unwrap_or(usize::MAX),
            offset % 64,
        );
        if word >= self.sent.len() {
            self.sent.resize(word + 1, 0);
        }
        let Some(place) = self.sent.get_mut(word) else {
            return false;
        };
        if *place >> bit & 1 == 1 {
            return false;
        }
        *place |= 1 << bit;
        // `next` moves by whole words, so that nothing has to be shifted.
        let full = self
            .sent
            .iter()
            .take_while(|word| **word == u64::MAX)
            .count();
        if full > 0 {
            self.sent.drain(..full);
            self.next += 64 * full as u64;
        }
        true
    }
}

fn weight(ended: &EndedTask) -> usize {
    let bytes = |body: &Body| match body {
        Body::Inline(bytes) => bytes.len(),
        Body::Blob { .. } => 40,
    };
    let result = &ended.result;
    bytes(&result.outcome) + bytes(&result.stdout) + bytes(&result.stderr)
}

pub(crate) fn recorded(ended: EndedTask) -> RecordedResult {
    let kind = ended.end.outcome();
    let result = ended.result;
    let (attempt, worker) = match ended.end {
        TaskEnd::Outcome {
            attempt, worker, ..
        } => (Some(attempt), Some(worker)),
        TaskEnd::Abandoned | TaskEnd::Quarantined => (None, None),
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
