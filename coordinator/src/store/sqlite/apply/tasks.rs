//! Tasks and how they ended.

use ppwasm_proto::wire::{Origin, Verification};
use ppwasm_proto::{JobId, TaskId};
use ppwasm_scheduler::{JOB_TASKS_MAX, TaskEnd};
use rusqlite::params;

use super::rows::remove_rows;
use super::{Apply, Stop};
use crate::store::sqlite::read;
use crate::store::sqlite::row::{
    self, OUTCOME_COLUMNS, OutcomeRow, StateRow, body_sum, column, key,
};
use crate::store::{Answer, Body, CacheNote, Refusal, TaskResult};

/// Calls in one row, and bytes after which a row takes no more: a grant reads few rows and little that it does not need.
const ROW_CALLS_MAX: usize = 256;
const ROW_CALL_BYTES: usize = 64 << 10;

impl Apply<'_> {
    pub(super) fn tasks_added(
        &mut self,
        job: &JobId,
        first: u64,
        calls: &[Body],
    ) -> Result<Answer, Stop> {
        let state = self.state(job)?;
        let tasks = state.tasks.cast_unsigned();
        let end = first.saturating_add(calls.len() as u64);
        if first > tasks {
            let job = *job;
            return Err(Refusal::TasksMissing { job, tasks }.into());
        }
        if end > JOB_TASKS_MAX {
            let (what, max) = ("a job's number of tasks", JOB_TASKS_MAX);
            return Err(Refusal::TooLarge { what, max }.into());
        }
        let there = usize::try_from(tasks - first).unwrap_or(usize::MAX);
        let (there, new) = calls.split_at(there.min(calls.len()));
        self.compare_calls(job, state.number, first, there)?;
        if new.is_empty() {
            return Ok(Answer::Known);
        }
        if state.is_closed || state.ended.is_some() {
            return Err(Refusal::JobIsClosed(*job).into());
        }
        let mut next = tasks;
        let mut rest = new;
        while !rest.is_empty() {
            let mut packed = std::mem::take(&mut self.known.packed);
            packed.clear();
            let mut count = 0;
            for call in rest {
                let full = packed.len() + call.row_bytes() > ROW_CALL_BYTES;
                if count == ROW_CALLS_MAX || (count > 0 && full) {
                    break;
                }
                self.hold(call)?;
                call.pack(&mut packed);
                count += 1;
            }
            let (key, body_sum) = (key(state.number, next), body_sum(&packed));
            let sum = row::call_sum(key, count as i64, body_sum);
            let put = "INSERT INTO call (key, count, body_sum, sum, bodies) VALUES (?, ?, ?, ?, ?)";
            self.put(put, params![key, count as i64, body_sum, sum, packed])?;
            self.known.packed = packed;
            next += count as u64;
            rest = rest.get(count..).unwrap_or_default();
        }
        self.set(job, |state| state.tasks = column(end))
    }

    fn compare_calls(
        &self,
        job: &JobId,
        number: i64,
        first: u64,
        calls: &[Body],
    ) -> Result<(), Stop> {
        let there = read::calls(self.db, number, first, calls.len() as u64)?;
        for (task, (ours, theirs)) in (first..).zip(calls.iter().zip(&there)) {
            if ours != theirs {
                let (job, task) = (*job, TaskId(task));
                return Err(Refusal::CallDiffers { job, task }.into());
            }
        }
        Ok(())
    }

    pub(super) fn task_ended(
        &mut self,
        job: &JobId,
        task: TaskId,
        end: &TaskEnd,
        result: &TaskResult,
        note: Option<&CacheNote>,
    ) -> Result<Answer, Stop> {
        let state = self.state_with(job, task)?;
        let mut packed = std::mem::take(&mut self.known.packed);
        packed.clear();
        result
            .bodies()
            .iter()
            .for_each(|body| body.pack(&mut packed));
        let (attempt, lease, worker) = match end {
            TaskEnd::Outcome {
                attempt,
                lease,
                worker,
                ..
            } => (attempt.0, column(lease.0), self.worker(worker)?),
            TaskEnd::Cached { .. }
            | TaskEnd::Disputed { .. }
            | TaskEnd::Abandoned
            | TaskEnd::Quarantined => (0, 0, 0),
        };
        let outcome = OutcomeRow {
            key: key(state.number, task.0),
            round: state.round,
            kind: row::end_number(end),
            attempt,
            lease,
            worker,
            at_ms: self.at_ms,
            run_time_us: column(result.run_time_us),
            memory_bytes: column(result.memory_bytes),
            body_sum: body_sum(&packed),
            verification: end.verification().map(Verification::to_bytes),
            origin: end.origin().map(Origin::to_bytes),
        };
        let done = if state.ended.is_some() {
            self.compare_outcome(&state, &outcome)?
                .ok_or(Refusal::JobStands(*job))?
        } else if self.put_outcome(&outcome, &packed)? {
            self.set(job, |state| state.outcomes += 1)?
        } else {
            match self.compare_outcome(&state, &outcome)? {
                Some(known) => known,
                None if self.replace_void(&state, &outcome, &packed)? => Answer::Done,
                None => return Err(Refusal::OutcomeStands { job: *job, task }.into()),
            }
        };
        self.known.packed = packed;
        if done == Answer::Done {
            for body in result.bodies() {
                self.hold(body)?;
            }
            if let Some(note) = note {
                self.remember(&outcome, end, note)?;
            }
        }
        Ok(done)
    }

    /// False when there is one already.
    fn put_outcome(&self, outcome: &OutcomeRow, packed: &[u8]) -> Result<bool, Stop> {
        let put =
            "INSERT INTO outcome (key, round, kind, attempt, lease, worker, at_ms, run_time_us,
                   memory_bytes, body_sum, sum, bodies, verification, origin)
                   VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                   ON CONFLICT DO NOTHING";
        let columns = params![
            outcome.key,
            outcome.round,
            outcome.kind,
            outcome.attempt,
            outcome.lease,
            outcome.worker,
            outcome.at_ms,
            outcome.run_time_us,
            outcome.memory_bytes,
            outcome.body_sum,
            outcome.sum(),
            packed,
            outcome.verification,
            outcome.origin,
        ];
        Ok(self.put(put, columns)? == Answer::Done)
    }

    /// `Known` when the outcome that is there says the same, but for when it was said.
    fn compare_outcome(
        &self,
        state: &StateRow,
        outcome: &OutcomeRow,
    ) -> Result<Option<Answer>, Stop> {
        let Some(there) = self.outcome(outcome.key)? else {
            return Ok(None);
        };
        let same = OutcomeRow {
            at_ms: there.at_ms,
            round: there.round,
            ..outcome.clone()
        };
        Ok((there.counts(state.round) && there == same).then_some(Answer::Known))
    }

    /// Replaces a failure of before the last retry.
    fn replace_void(
        &self,
        state: &StateRow,
        outcome: &OutcomeRow,
        packed: &[u8],
    ) -> Result<bool, Stop> {
        match self.outcome(outcome.key)? {
            Some(there) if !there.counts(state.round) => {}
            _ => return Ok(false),
        }
        remove_rows(self.db, "outcome", outcome.key, outcome.key, 1)?;
        self.put_outcome(outcome, packed)
    }

    fn outcome(&self, key: i64) -> Result<Option<OutcomeRow>, Stop> {
        let find = format!("SELECT {OUTCOME_COLUMNS} FROM outcome WHERE key = ?");
        Ok(row::first(
            &mut *self.prepare(&find)?,
            [key],
            OutcomeRow::read,
        )?)
    }
}
