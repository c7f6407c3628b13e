//! Watches: where each is, so that it goes on there in the next session.

use std::collections::HashSet;
use std::time::Instant;

use ppwasm_proto::JobId;
use ppwasm_proto::wire::{
    JobProgress, Message, Ranged, RecordedResult, Results, WatchCredit, WatchJob, WatchOrder,
};
use tokio::sync::mpsc;

use super::Item;
use crate::RESULTS_MAX;

pub(super) struct Watch {
    job: JobId,
    order: WatchOrder,
    pub(super) items: mpsc::Sender<Item>,
    cursor: u64,
    credit: u64,
    /// Credit of results that came twice, to be given again.
    twice: u64,
    /// By completion: results from the cursor on that have come.
    seen: HashSet<u64>,
    pub(super) retry_at: Option<Instant>,
}

impl Watch {
    pub(super) fn new(job: JobId, order: WatchOrder, items: mpsc::Sender<Item>) -> Self {
        Self {
            job,
            order,
            items,
            cursor: 0,
            credit: RESULTS_MAX as u64,
            twice: 0,
            seen: HashSet::new(),
            retry_at: None,
        }
    }

    pub(super) fn message(&self, request: u32) -> Message {
        let watch = WatchJob {
            request,
            job: self.job,
            order: self.order,
            cursor: self.cursor,
            credit: Ranged::clamped(self.credit),
        };
        watch.into()
    }

    pub(super) fn more(&mut self, request: u32, credit: u64) -> Message {
        self.credit += credit;
        let credit = Ranged::clamped(credit);
        WatchCredit { request, credit }.into()
    }

    /// Takes results; false when nobody wants more.
    pub(super) fn take(&mut self, results: Results) -> bool {
        let is_wanted = results
            .results
            .into_iter()
            .all(|result| self.take_one(result));
        self.cursor = self.cursor.max(results.cursor);
        let cursor = self.cursor;
        self.seen.retain(|task| *task >= cursor);
        is_wanted
    }

    fn take_one(&mut self, result: RecordedResult) -> bool {
        self.credit = self.credit.saturating_sub(1);
        let task = result.task.0;
        let is_new = match self.order {
            WatchOrder::Task => task >= self.cursor,
            WatchOrder::Completion => task >= self.cursor && self.seen.insert(task),
        };
        if !is_new {
            // It takes no room here.
            self.twice += 1;
            return true;
        }
        if self.order == WatchOrder::Task {
            self.cursor = task + 1;
        }
        self.items.try_send(Item::Result(Box::new(result))).is_ok()
    }

    /// Credit for results that came twice.
    pub(super) fn credit_again(&mut self, request: u32) -> Option<Message> {
        let twice = std::mem::take(&mut self.twice);
        (twice > 0).then(|| self.more(request, twice))
    }

    /// Passes on that the job has ended, or how far it is.
    pub(super) fn progress(&self, progress: JobProgress) {
        // There is room for the end. How far it is may be left out when nobody reads, but for what loading wrote, which
        // comes first, when there is room.
        let _ = self.items.try_send(Item::Progress(Box::new(progress)));
    }
}
