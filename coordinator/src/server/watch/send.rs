//! The half of a watch that sends.

use std::collections::BTreeMap;
use std::sync::Arc;

use ppwasm_proto::wire::{
    BATCH_BYTES, JobProgress, List, Message, Payload, RecordedResult, Results, WatchOrder,
};
use tokio::sync::mpsc;

use super::{TOLD_MAX, Told, Watch, WatchEnd, recorded, weight};
use crate::store::{EndedTask, ReadError, Store};

/// Results in one message.
const RESULTS_MAX: u32 = 512;

/// Sends everything, then the job's end.
pub(crate) struct WatchSender {
    watch: Arc<Watch>,
    store: Arc<dyn Store>,
    messages: mpsc::Sender<Message>,
    /// By task: the next. By completion: all below were sent.
    next: u64,
    /// From here on the store is read before what was told.
    scan: Option<u64>,
    /// By completion: those from `next` on that were sent, a bit each.
    sent: Vec<u64>,
    /// By completion: what is to be sent.
    told: Vec<Told>,
    /// By task: results that wait for those before them.
    held: BTreeMap<u64, Arc<RecordedResult>>,
    /// By task: some that wait are in the store only.
    has_others: bool,
    has_end: bool,
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
            scan: Some(cursor),
            sent: Vec::new(),
            told: Vec::new(),
            held: BTreeMap::new(),
            has_others: false,
            has_end: false,
        }
    }

    /// Runs until the job's end was sent or the session is over.
    pub(crate) async fn run(mut self) -> Result<(), ReadError> {
        let messages = self.messages.clone();
        loop {
            // Room comes first: for a client that does not read nothing is read here either, however many watches it has.
            let Ok(room) = messages.reserve().await else {
                return Ok(());
            };
            let (credit, end) = self.take();
            let begin = self.watch.state().begin.take();
            let has_output =
                |begin: &WatchEnd| begin.load_stdout.is_some() || begin.load_stderr.is_some();
            if let Some(begin) = begin.filter(has_output) {
                room.send(self.progress(begin, false));
                continue;
            }
            if !self.watch.has_begun() {
                // Results that are in the store already come after what loading the function wrote.
                drop(room);
                self.watch.changed.notified().await;
                continue;
            }
            let results = if credit == 0 {
                Vec::new()
            } else {
                let limit = u32::try_from(credit).unwrap_or(u32::MAX).min(RESULTS_MAX);
                match self.watch.order {
                    WatchOrder::Task => self.in_order(limit)?,
                    WatchOrder::Completion => self.as_completed(limit)?,
                }
            };
            if !results.is_empty() {
                self.watch.state().credit -= results.len() as u64;
                let message = Results {
                    request: self.watch.request,
                    results: List::try_from(results).unwrap_or_default(),
                    cursor: self.next,
                };
                room.send(message.into());
                continue;
            }
            let is_through = credit > 0 && self.scan.is_none() && self.told.is_empty();
            if let Some(end) = end.filter(|_| is_through) {
                room.send(self.progress(end, true));
                return Ok(());
            }
            drop(room);
            if credit == 0 || self.scan.is_none() && self.told.is_empty() {
                self.watch.changed.notified().await;
            } else {
                // There is more to read; others have their turn first.
                tokio::task::yield_now().await;
            }
        }
    }

    fn progress(&self, end: WatchEnd, is_last: bool) -> Message {
        JobProgress {
            request: self.watch.request,
            state: end.state,
            counts: end.counts,
            is_last,
            load_failure: end.load_failure,
            load_stdout: end.load_stdout,
            load_stderr: end.load_stderr,
        }
        .into()
    }

    fn take(&mut self) -> (u64, Option<WatchEnd>) {
        let mut state = self.watch.state();
        let told = std::mem::take(&mut state.told);
        let missed = std::mem::take(&mut state.has_missed);
        let (credit, end) = (state.credit, state.end.clone());
        drop(state);
        match self.watch.order {
            WatchOrder::Task => self.hold(told, missed, end.is_some()),
            WatchOrder::Completion if missed || self.told.len() > TOLD_MAX => {
                self.told.clear();
                self.scan = Some(self.next);
            }
            WatchOrder::Completion => self.told.extend(told),
        }
        (credit, end)
    }

    // By task.

    fn hold(&mut self, told: Vec<Told>, missed: bool, is_over: bool) {
        let is_news = missed || !told.is_empty();
        self.has_others |= missed;
        for Told { task, result } in told {
            match result {
                Some(_) if task < self.next => {}
                Some(result) if self.held.len() < TOLD_MAX => {
                    self.held.insert(task, result);
                }
                _ => self.has_others = true,
            }
        }
        // What is read says whether it is the next one. After the end nothing waits any more for what never came.
        if is_news && self.has_others || is_over && !self.has_end {
            self.scan = Some(self.next);
        }
        self.has_end = is_over;
    }

    fn in_order(&mut self, limit: u32) -> Result<Vec<RecordedResult>, ReadError> {
        if self.scan.is_some() {
            let found = self.read_in_order(limit)?;
            if !found.is_empty() {
                return Ok(found.into_iter().map(recorded).collect());
            }
        }
        let (mut results, mut bytes) = (Vec::new(), 0);
        while let Some(entry) = self.held.first_entry() {
            let is_full = results.len() >= limit as usize || bytes >= BATCH_BYTES;
            if is_full || *entry.key() != self.next {
                break;
            }
            bytes += weight_of(entry.get());
            results.push(Arc::unwrap_or_clone(entry.remove()));
            self.next += 1;
        }
        if !results.is_empty() && self.has_others {
            self.scan = Some(self.next);
        }
        Ok(results)
    }

    fn read_in_order(&mut self, limit: u32) -> Result<Vec<EndedTask>, ReadError> {
        let mut found = (self.store).outcomes(&self.watch.job, self.next, limit, BATCH_BYTES)?;
        let is_known = |ended: &EndedTask| self.held.contains_key(&ended.task.0);
        let has_others = found.len() == limit as usize || !found.iter().all(is_known);
        if !self.has_end {
            // A result waits for those before it.
            let first = self.next;
            let in_order = |(task, ended): &(u64, &EndedTask)| ended.task.0 == *task;
            let length = (first..).zip(&found).take_while(in_order).count();
            found.truncate(length);
        }
        match found.last() {
            Some(last) => self.next = last.task.0 + 1,
            None => {
                self.scan = None;
                self.has_others = has_others;
            }
        }
        self.held = self.held.split_off(&self.next);
        Ok(found)
    }

    // By completion.

    fn as_completed(&mut self, limit: u32) -> Result<Vec<RecordedResult>, ReadError> {
        let job = self.watch.job;
        while let Some(from) = self.scan {
            // Many at a time, however few may be sent: most may have been sent before.
            let mut found = (self.store).outcomes(&job, from, RESULTS_MAX, BATCH_BYTES)?;
            self.scan = found.last().map(|last| last.task.0 + 1);
            found.retain(|ended| !self.is_sent(ended.task.0));
            if found.len() > limit as usize {
                found.truncate(limit as usize);
                self.scan = found.last().map(|last| last.task.0 + 1);
            }
            for ended in &found {
                self.mark(ended.task.0);
            }
            if !found.is_empty() || self.scan.is_some() {
                return Ok(found.into_iter().map(recorded).collect());
            }
        }
        let mut told = std::mem::take(&mut self.told);
        told.sort_unstable_by_key(|told| told.task);
        let mut told = told.into_iter().peekable();
        let (mut all, mut bytes) = (Vec::new(), 0);
        while all.len() < limit as usize && bytes < BATCH_BYTES {
            match told.next() {
                Some(Told {
                    task,
                    result: Some(result),
                }) => {
                    if self.mark(task) {
                        bytes += weight_of(&result);
                        all.push(Arc::unwrap_or_clone(result));
                    }
                }
                Some(Told { task, result: None }) => {
                    // It and those that follow it are read at once.
                    let room = limit - u32::try_from(all.len()).unwrap_or(limit);
                    let mut end = task + 1;
                    while end - task < room.into()
                        && told
                            .next_if(|told| told.task == end && told.result.is_none())
                            .is_some()
                    {
                        end += 1;
                    }
                    let count = u32::try_from(end - task).unwrap_or(room);
                    let mut found = self.store.outcomes(&job, task, count, BATCH_BYTES)?;
                    if let Some(last) = found.last().filter(|_| found.len() < count as usize) {
                        // They are large; the rest is for next time.
                        let rest = (last.task.0 + 1..end).map(|task| Told { task, result: None });
                        self.told.extend(rest);
                    }
                    found.retain(|ended| ended.task.0 < end && self.mark(ended.task.0));
                    bytes += found
                        .iter()
                        .map(|ended| weight(&ended.result))
                        .sum::<usize>();
                    all.extend(found.into_iter().map(recorded));
                }
                None => break,
            }
        }
        self.told.extend(told);
        Ok(all)
    }

    fn is_sent(&self, task: u64) -> bool {
        let Some(offset) = task.checked_sub(self.next) else {
            return true;
        };
        let word = usize::try_from(offset / 64).ok();
        let word = word.and_then(|word| self.sent.get(word));
        word.is_some_and(|word| word >> (offset % 64) & 1 == 1)
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

fn weight_of(result: &RecordedResult) -> usize {
    let bytes = |payload: &Payload| usize::try_from(payload.byte_count()).unwrap_or(usize::MAX);
    let streams = [&result.stdout, &result.stderr];
    bytes(&result.outcome) + streams.into_iter().flatten().map(bytes).sum::<usize>()
}
