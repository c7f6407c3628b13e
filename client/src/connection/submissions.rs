//! Jobs that are being submitted: what is not durable is kept, and said again in the next session.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use ppwasm_link::BlobFailure;
use ppwasm_proto::TaskId;
use ppwasm_proto::wire::{
    AppendTasks, BATCH_BYTES, BATCH_MAX, BlobRef, Bytes, CloseJob, INLINE_BYTES_MAX, JobOpened,
    List, Message, OpenJob, Payload,
};

use super::Answer;
use crate::submission::{Room, Units};
use crate::{ClientError, JobRequest};

/// A job that is being submitted.
pub(super) struct Submission {
    open: OpenJob,
    blobs: Vec<Arc<[u8]>>,
    room: Arc<Room>,
    opened: Option<Answer<(u32, bool)>>,
    pub(super) closed: Option<Answer<u64>>,
    stage: Stage,
    is_close_sent: bool,
    /// The first task that is not durable, of those appended here.
    base: u64,
    /// Tasks below are durable, appended here or by an earlier submission of the same job.
    known: u64,
    /// Calls from `base` on.
    calls: VecDeque<Call>,
    /// The next task to send in this session.
    next: u64,
    /// Tasks below may be sent.
    credit_end: u64,
    pub(super) retry_at: Option<Instant>,
    /// Tasks below were sent before some of them were refused for now: until they are durable, others may be refused in this
    /// session because those are missing.
    refused_below: u64,
    pub(super) failed: Option<ClientError>,
}

/// How far a submission is in the present session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Blobs that the job names are on their way; so many have not arrived.
    Putting(usize),
    /// It was opened, or is about to be.
    Opening,
    /// Tasks can be appended.
    Open,
}

/// The call of a task that is not durable.
struct Call {
    body: Body,
    units: Units,
}

enum Body {
    /// In the message.
    Inline(Payload),
    /// As a blob, which is put in each session before the task is appended.
    Large(Arc<[u8]>, Upload),
}

#[derive(Clone, Copy)]
enum Upload {
    Wanted,
    UnderWay,
    Done(BlobRef),
}

impl Submission {
    pub(super) fn new(
        request: u32,
        job: JobRequest,
        room: Arc<Room>,
        opened: Answer<(u32, bool)>,
    ) -> Self {
        let JobRequest { mut open, blobs } = job;
        open.request = request;
        Self {
            open,
            blobs,
            room,
            opened: Some(opened),
            closed: None,
            stage: Stage::Opening,
            is_close_sent: false,
            base: 0,
            known: 0,
            calls: VecDeque::new(),
            next: 0,
            credit_end: 0,
            retry_at: None,
            refused_below: 0,
            failed: None,
        }
    }

    /// A session has begun, or the submission has: the blobs to be put before it is opened.
    pub(super) fn begin(&mut self) -> Vec<Arc<[u8]>> {
        self.is_close_sent = false;
        self.retry_at = None;
        self.refused_below = 0;
        if self.failed.is_some() {
            return Vec::new();
        }
        for call in &mut self.calls {
            if let Body::Large(_, upload) = &mut call.body {
                *upload = Upload::Wanted;
            }
        }
        self.stage = Stage::Putting(self.blobs.len());
        self.blobs.clone()
    }

    /// One of the job's blobs has arrived: the message that opens the job, when it was the last one.
    pub(super) fn blob_put(&mut self) -> Option<Message> {
        let Stage::Putting(left) = self.stage else {
            return None;
        };
        let left = left.saturating_sub(1);
        self.stage = if left == 0 {
            Stage::Opening
        } else {
            Stage::Putting(left)
        };
        (left == 0).then(|| self.open.clone().into())
    }

    /// What was sent is refused for now, and sent again at this time.
    pub(super) fn refused_until(&mut self, at: Instant) {
        self.retry_at = Some(at);
        if self.stage == Stage::Open {
            self.refused_below = self.refused_below.max(self.next);
        }
    }

    /// Whether tasks may be missing at the coordinator because it refused them for now. They are sent again, and with them
    /// all that follow.
    pub(super) const fn misses_refused(&self) -> bool {
        self.known < self.refused_below
    }

    /// The time to try again has come.
    pub(super) fn retry(&mut self) -> Option<Message> {
        self.retry_at = None;
        match self.stage {
            // The tasks that were refused are sent again.
            Stage::Open => {
                self.next = self.base;
                None
            }
            Stage::Opening => Some(self.open.clone().into()),
            Stage::Putting(_) => None,
        }
    }

    pub(super) fn append(&mut self, call: Vec<u8>, units: Units) {
        if self.failed.is_some() {
            return;
        }
        let body = if call.len() <= INLINE_BYTES_MAX {
            Body::Inline(Bytes::try_from(call).map_or_else(|_| Payload::empty(), Payload::Inline))
        } else {
            Body::Large(call.into(), Upload::Wanted)
        };
        self.calls.push_back(Call { body, units });
        // Those that are durable from an earlier submission of the same job.
        self.forget_durable(self.known);
    }

    /// The next call that has to be put as a blob, by its task.
    pub(super) fn next_upload(&mut self) -> Option<(u64, Arc<[u8]>)> {
        if self.stage != Stage::Open || self.failed.is_some() {
            return None;
        }
        for (task, call) in (self.base..).zip(&mut self.calls) {
            if let Body::Large(bytes, upload @ Upload::Wanted) = &mut call.body {
                *upload = Upload::UnderWay;
                return Some((task, Arc::clone(bytes)));
            }
        }
        None
    }

    /// A call's blob has arrived, or not.
    pub(super) fn uploaded(&mut self, task: u64, result: Result<BlobRef, BlobFailure>) {
        let index = task.checked_sub(self.base);
        let index = index.and_then(|index| usize::try_from(index).ok());
        let Some(call) = index.and_then(|index| self.calls.get_mut(index)) else {
            return;
        };
        if let Body::Large(_, upload) = &mut call.body {
            match result {
                Ok(blob) => *upload = Upload::Done(blob),
                // The next session puts it.
                Err(BlobFailure::Lost) => {}
                Err(error) => drop(self.fail(error.into())),
            }
        }
    }

    pub(super) fn opened(&mut self, opened: &JobOpened) {
        self.stage = Stage::Open;
        self.forget_durable(opened.next.0);
        self.next = self.base;
        self.credit_end = opened.next.0 + opened.credit.value();
        if let Some(answer) = self.opened.take() {
            let _ = answer.send(Ok((opened.request, opened.is_duplicate)));
        }
    }

    pub(super) fn appended(&mut self, next: TaskId, credit: u64) {
        self.forget_durable(next.0);
        self.credit_end = next.0.saturating_add(credit);
    }

    /// Tasks below are durable.
    fn forget_durable(&mut self, durable: u64) {
        // More may be durable than was appended here: an earlier submission did.
        let mut first = self.base;
        self.known = self.known.max(durable);
        while first < self.known
            && let Some(call) = self.calls.pop_front()
        {
            first += 1;
            self.room.give_back(call.units);
        }
        self.base = first;
        self.next = self.next.max(self.base);
    }

    /// What is to be sent now.
    pub(super) fn next_message(&mut self, request: u32) -> Option<Message> {
        if self.stage != Stage::Open || self.retry_at.is_some() || self.failed.is_some() {
            return None;
        }
        if let Some(batch) = self.next_batch(request) {
            return Some(batch);
        }
        let is_through = self.calls.is_empty() && self.closed.is_some();
        if !is_through || self.is_close_sent {
            return None;
        }
        self.is_close_sent = true;
        let tasks = self.base;
        Some(CloseJob { request, tasks }.into())
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
            match &call.body {
                Body::Inline(payload) => {
                    bytes += usize::try_from(payload.byte_count()).unwrap_or(usize::MAX);
                    calls.push(payload.clone());
                }
                Body::Large(_, Upload::Done(blob)) => calls.push(Payload::Blob(*blob)),
                // Tasks go in order.
                Body::Large(..) => break,
            }
        }
        if calls.is_empty() {
            return None;
        }
        let first = TaskId(self.next);
        self.next += calls.len() as u64;
        let calls = List::try_from(calls).unwrap_or_default();
        let append = AppendTasks {
            request,
            first,
            calls,
        };
        Some(append.into())
    }

    /// All tasks are durable, and no more can come.
    pub(super) fn done(self) {
        if let Some(closed) = self.closed {
            let _ = closed.send(Ok(self.base));
        }
    }

    /// Nothing more comes of it; true when somebody has been told.
    pub(super) fn fail(&mut self, error: ClientError) -> bool {
        // Whoever appends is not kept waiting.
        self.room.close();
        self.calls.clear();
        let opened = self.opened.take();
        let opened = opened.map(|answer| answer.send(Err(error.clone())));
        let closed = self.closed.take();
        let closed = closed.map(|answer| answer.send(Err(error.clone())));
        self.failed = Some(error);
        opened.is_some() || closed.is_some()
    }
}
