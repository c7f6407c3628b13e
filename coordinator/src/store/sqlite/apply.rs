//! Carries out the writes of a batch, within a transaction that somebody else begins and ends.

use std::collections::HashMap;

use ppwasm_proto::fabric::WorkerId;
use ppwasm_proto::{Digest, JobId, TaskId};
use ppwasm_scheduler::{JOB_TASKS_MAX, JobEnd, JobSpec, Record, TaskEnd};
use rusqlite::{CachedStatement, Connection, params};

use super::row::{
    self, JOB_COLUMNS, JOB_NUMBER_MAX, JobRow, OUTCOME_COLUMNS, OutcomeRow, STATE_COLUMNS,
    StateRow, body_sum, column, key,
};
use crate::blobs::Blobs;
use crate::store::body::Unpack;
use crate::store::limits::{
    check_batch, check_certificate, check_denied, check_details, check_event,
};
use crate::store::{
    Answer, AuditEvent, Batch, Body, Certificate, Denied, DeniedSubject, ReadError, Refusal,
    TaskResult, Token, Write,
};

/// Calls in one row, and bytes after which a row takes no more: a grant reads few rows and little that it does not need.
const ROW_CALLS_MAX: usize = 256;
const ROW_CALL_BYTES: usize = 64 << 10;
/// Jobs and workers that are remembered between batches.
const KNOWN_MAX: usize = 10_000;

/// Why a write was not carried out.
#[derive(Debug)]
pub(super) enum Stop {
    /// It cannot be; what was written of its batch has to be undone.
    Refused(Refusal),
    /// Nothing more can be.
    Failed(ReadError),
}

impl From<Refusal> for Stop {
    fn from(why: Refusal) -> Self {
        Self::Refused(why)
    }
}

impl<E: Into<ReadError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// What the writer knows of what is in the tables.
#[derive(Debug, Default)]
pub(super) struct Known {
    jobs: HashMap<JobId, StateRow>,
    changed: Vec<JobId>,
    workers: HashMap<WorkerId, i64>,
    /// How many audit events there are, and the digest of all.
    chain: Option<(i64, Digest)>,
    packed: Vec<u8>,
}

impl Known {
    /// Forgets all: something was undone.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

/// One batch on its way into the tables.
pub(super) struct Apply<'a> {
    pub(super) db: &'a Connection,
    pub(super) blobs: &'a Blobs,
    pub(super) known: &'a mut Known,
    pub(super) at_ms: i64,
}

impl<'a> Apply<'a> {
    /// Carries out all of a batch. When it stops, the index says where.
    pub(super) fn batch(&mut self, batch: &Batch) -> Result<Vec<Answer>, (usize, Stop)> {
        if self.known.jobs.len() > KNOWN_MAX || self.known.workers.len() > KNOWN_MAX {
            self.known.forget();
        }
        self.known.changed.clear();
        check_batch(batch).map_err(|why| (0, why.into()))?;
        let mut answers = Vec::with_capacity(batch.writes.len());
        for (index, write) in batch.writes.iter().enumerate() {
            answers.push(self.write(write).map_err(|stop| (index, stop))?);
        }
        let last = batch.writes.len().saturating_sub(1);
        self.put_states().map_err(|stop| (last, stop))?;
        Ok(answers)
    }

    fn write(&mut self, write: &Write) -> Result<Answer, Stop> {
        match write {
            Write::Record(record) => self.record(record),
            Write::JobSubmitted { job, spec, details } => self.job_submitted(job, spec, details),
            Write::TasksAdded { job, first, calls } => self.tasks_added(job, *first, calls),
            Write::TaskEnded {
                job,
                task,
                end,
                result,
            } => self.task_ended(job, *task, end, result),
            Write::Bundle { digest, body } => self.bundle(digest, body),
            Write::TokenIssued(token) => self.token_issued(token),
            Write::TokenRedeemed { hash } => self.token_redeemed(hash),
            Write::CertificateIssued(certificate) => self.certificate(certificate),
            Write::Denied(denied) => self.denied(denied),
            Write::Audited(event) => self.audited(event),
        }
    }

    fn record(&mut self, record: &Record) -> Result<Answer, Stop> {
        match record {
            Record::JobSubmitted { job, spec } => self.job_submitted(job, spec, &[]),
            Record::TasksAdded { .. }
            | Record::TaskEnded {
                end: TaskEnd::Outcome { .. },
                ..
            } => Err(Refusal::BodyMissing.into()),
            Record::TaskEnded { job, task, end } => {
                self.task_ended(job, *task, end, &TaskResult::default())
            }
            Record::JobClosed { job, tasks } => self.job_closed(job, *tasks),
            Record::TasksReleased { job, below } => {
                let state = self.state(job)?;
                let below = column(*below);
                if below <= state.released {
                    return Ok(Answer::Known);
                }
                self.set(job, |state| state.released = below)
            }
            Record::AttemptLost {
                job,
                task,
                attempt,
                worker,
                suspect,
            } => {
                let state = self.state_with(job, *task)?;
                let (key, worker) = (key(state.number, task.0), self.worker(worker)?);
                let sum = row::loss_sum(key, attempt.0, state.round, worker, *suspect);
                let put = "INSERT INTO loss (key, attempt, round, worker, is_suspect, sum)
                           VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING";
                let columns = params![key, attempt.0, state.round, worker, *suspect, sum];
                self.put(put, columns)
            }
            Record::AttemptFound { job, task, attempt } => {
                let key = key(self.state_with(job, *task)?.number, task.0);
                let remove = "DELETE FROM loss WHERE key = ? AND attempt = ?";
                self.put(remove, params![key, attempt.0])
            }
            Record::JobEnded { job, how } => {
                let at_ms = self.at_ms;
                match self.state(job)?.ended {
                    None => self.set(job, |state| state.ended = Some((*how, at_ms))),
                    Some((ended, _)) if ended == *how => Ok(Answer::Known),
                    Some(_) => Err(Refusal::JobStands(*job).into()),
                }
            }
            Record::JobRetried { job, lease_floor } => {
                let (state, floor) = (self.state(job)?, column(lease_floor.0));
                match state.ended {
                    Some((JobEnd::Finished, _)) => {}
                    None if state.round > 0 && state.lease_floor == floor => {
                        return Ok(Answer::Known);
                    }
                    _ => return Err(Refusal::JobStands(*job).into()),
                }
                self.set(job, |state| {
                    state.ended = None;
                    state.round += 1;
                    state.lease_floor = floor;
                })
            }
            Record::JobForgotten { job } => self.job_forgotten(job),
            Record::WorkerJoined { worker } => self.set_worker(worker, |row| row.1 = true),
            Record::WorkerGone { worker } => self.set_worker(worker, |row| row.1 = false),
            Record::WorkerDrained { worker, why } => {
                let why = row::drain_number(*why);
                self.set_worker(worker, |row| row.2 = Some(why))
            }
            Record::WorkerUndrained { worker } => self.set_worker(worker, |row| row.2 = None),
        }
    }

    fn job_submitted(
        &mut self,
        id: &JobId,
        spec: &JobSpec,
        details: &[u8],
    ) -> Result<Answer, Stop> {
        check_details(details)?;
        if let Some(there) = find_job(self.db, id)? {
            return match *there.spec == *spec && there.details == details {
                true => Ok(Answer::Known),
                false => Err(Refusal::JobDiffers(*id).into()),
            };
        }
        let last = "SELECT max(number) FROM job_state";
        let last: Option<i64> = self.prepare(last)?.query_row([], |row| row.get(0))?;
        let number = last.unwrap_or(0).saturating_add(1);
        if number > JOB_NUMBER_MAX {
            return Err(Refusal::JobsExhausted.into());
        }
        self.use_bundle(&spec.function)?;
        let job = JobRow {
            number,
            id: *id,
            spec: Box::new(spec.clone()),
            submitted_ms: self.at_ms,
            details: details.to_vec(),
        };
        let columns = params![
            number,
            id.as_bytes(),
            spec.owner.as_str(),
            spec.priority.0,
            spec.function.as_bytes(),
            row::limits_bytes(&spec.limits),
            spec.attempts_max,
            spec.is_deterministic,
            spec.body.as_bytes(),
            job.submitted_ms,
            details,
            job.sum(),
        ];
        let put = "INSERT INTO job (number, id, owner, priority, function, limits, attempts_max,
                   is_deterministic, body, submitted_ms, details, sum)
                   VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
        self.put(put, columns)?;
        let state = StateRow {
            number,
            ..StateRow::default()
        };
        // At once: the next job's number follows from it.
        put_state(self.db, &state)?;
        self.known.jobs.insert(*id, state);
        Ok(Answer::Done)
    }

    fn tasks_added(&mut self, job: &JobId, first: u64, calls: &[Body]) -> Result<Answer, Stop> {
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
        let there = super::read::calls(self.db, number, first, calls.len() as u64)?;
        for (task, (ours, theirs)) in (first..).zip(calls.iter().zip(&there)) {
            if ours != theirs {
                let (job, task) = (*job, TaskId(task));
                return Err(Refusal::CallDiffers { job, task }.into());
            }
        }
        Ok(())
    }

    fn job_closed(&mut self, job: &JobId, tasks: u64) -> Result<Answer, Stop> {
        let state = self.state(job)?;
        if state.tasks != column(tasks) {
            let (job, tasks) = (*job, state.tasks.cast_unsigned());
            return Err(Refusal::TasksMissing { job, tasks }.into());
        }
        if state.is_closed {
            return Ok(Answer::Known);
        }
        self.set(job, |state| state.is_closed = true)
    }

    fn task_ended(
        &mut self,
        job: &JobId,
        task: TaskId,
        end: &TaskEnd,
        result: &TaskResult,
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
            TaskEnd::Abandoned | TaskEnd::Quarantined => (0, 0, 0),
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
            body_sum: body_sum(&packed),
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
        }
        Ok(done)
    }

    /// False when there is one already.
    fn put_outcome(&self, outcome: &OutcomeRow, packed: &[u8]) -> Result<bool, Stop> {
        let put =
            "INSERT INTO outcome (key, round, kind, attempt, lease, worker, at_ms, run_time_us,
                   body_sum, sum, bodies) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
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
            outcome.body_sum,
            outcome.sum(),
            packed,
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
            ..*outcome
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

    fn job_forgotten(&mut self, job: &JobId) -> Result<Answer, Stop> {
        let state = match self.state(job) {
            Err(Stop::Refused(Refusal::UnknownJob(_))) => return Ok(Answer::Known),
            state => state?,
        };
        if state.ended.is_none() {
            return Err(Refusal::JobStands(*job).into());
        }
        if let Some(there) = find_job(self.db, job)? {
            self.release_bundle(&there.spec.function)?;
        }
        self.put("DELETE FROM job WHERE number = ?", [state.number])?;
        self.known.jobs.remove(job);
        self.known.changed.retain(|changed| changed != job);
        // Its index by time is for those that are still to be forgotten.
        put_state(
            self.db,
            &StateRow {
                is_forgotten: true,
                ended: None,
                ..state
            },
        )?;
        Ok(Answer::Done)
    }

    fn bundle(&mut self, digest: &Digest, body: &Body) -> Result<Answer, Stop> {
        let is_right = match body {
            Body::Inline(bytes) => Digest::of(bytes) == *digest,
            Body::Blob { digest: named, .. } => named == digest,
        };
        if !is_right {
            return Err(Refusal::BundleDiffers(*digest).into());
        }
        let mut packed = Vec::with_capacity(body.row_bytes());
        body.pack(&mut packed);
        let body_sum = body_sum(&packed);
        let sum = row::bundle_sum(digest, 0, self.at_ms, body_sum);
        let put = "INSERT INTO bundle (digest, jobs, used_ms, body_sum, sum, body)
                   VALUES (?, 0, ?, ?, ?, ?) ON CONFLICT DO NOTHING";
        let columns = params![digest.as_bytes(), self.at_ms, body_sum, sum, packed];
        let answer = self.put(put, columns)?;
        if answer == Answer::Done {
            self.hold(body)?;
        }
        Ok(answer)
    }

    fn use_bundle(&self, digest: &Digest) -> Result<(), Stop> {
        match change_bundle(self.db, digest, 1, self.at_ms)? {
            true => Ok(()),
            false => Err(Refusal::UnknownBundle(*digest).into()),
        }
    }

    fn release_bundle(&self, digest: &Digest) -> Result<(), Stop> {
        change_bundle(self.db, digest, -1, self.at_ms)?;
        Ok(())
    }

    fn token_issued(&mut self, token: &Token) -> Result<Answer, Stop> {
        check_details(&token.details)?;
        if let Some(there) = super::read::token(self.db, &token.hash)? {
            return match there == *token {
                true => Ok(Answer::Known),
                false => Err(Refusal::NameTaken.into()),
            };
        }
        let sum = super::read::token_sum(token);
        let put = "INSERT INTO token (hash, expires_ms, details, sum) VALUES (?, ?, ?, ?)";
        let hash = token.hash.as_bytes();
        self.put(
            put,
            params![hash, column(token.expires_ms), token.details, sum],
        )
    }

    fn token_redeemed(&mut self, hash: &Digest) -> Result<Answer, Stop> {
        let token = super::read::token(self.db, hash)?.ok_or(Refusal::UnknownToken)?;
        if column(token.expires_ms) <= self.at_ms {
            return Err(Refusal::TokenExpired.into());
        }
        self.put("DELETE FROM token WHERE hash = ?", [hash.as_bytes()])?;
        Ok(Answer::Redeemed(token))
    }

    fn certificate(&mut self, certificate: &Certificate) -> Result<Answer, Stop> {
        check_certificate(certificate)?;
        if let Some(there) = super::read::certificate(self.db, &certificate.serial)? {
            return match there == *certificate {
                true => Ok(Answer::Known),
                false => Err(Refusal::NameTaken.into()),
            };
        }
        let put = "INSERT INTO certificate (serial, identity, expires_ms, details, sum)
                   VALUES (?, ?, ?, ?, ?)";
        let columns = params![
            certificate.serial,
            certificate.identity,
            column(certificate.expires_ms),
            certificate.details,
            super::read::certificate_sum(certificate),
        ];
        self.put(put, columns)
    }

    fn denied(&mut self, denied: &Denied) -> Result<Answer, Stop> {
        check_denied(denied)?;
        let (is_identity, subject) = match &denied.subject {
            DeniedSubject::Serial(serial) => (false, serial.as_slice()),
            DeniedSubject::Identity(identity) => (true, identity.as_bytes()),
        };
        let sum = super::read::denied_sum(denied);
        let put = "INSERT INTO denied (is_identity, subject, reason, at_ms, sum)
                   VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING";
        let at_ms = column(denied.at_ms);
        self.put(
            put,
            params![is_identity, subject, denied.reason, at_ms, sum],
        )
    }

    fn audited(&mut self, event: &AuditEvent) -> Result<Answer, Stop> {
        check_event(event)?;
        let (number, before) = match self.known.chain {
            Some(chain) => chain,
            None => {
                let meta = super::read::meta(self.db)?;
                (meta.events, meta.chain)
            }
        };
        let chain = super::read::chain(&before, number, event);
        let put = "INSERT INTO event (number, at_ms, kind, body, chain) VALUES (?, ?, ?, ?, ?)";
        let at_ms = column(event.at_ms);
        self.put(
            put,
            params![number, at_ms, event.kind, event.body, chain.as_bytes()],
        )?;
        let mut meta = super::read::meta(self.db)?;
        meta.events = number + 1;
        meta.chain = chain;
        meta.put(self.db)?;
        self.known.chain = Some((number + 1, chain));
        Ok(Answer::Done)
    }

    /// Counts one more reference when the body is a blob, which has to be there.
    fn hold(&self, body: &Body) -> Result<(), Stop> {
        let Body::Blob { digest, size } = body else {
            return Ok(());
        };
        match self.blobs.size(digest) {
            Ok(Some(found)) if found == *size => {}
            Ok(_) => return Err(Refusal::BlobMissing(*digest).into()),
            Err(error) => return Err(Stop::Failed(ReadError::Blob(error))),
        }
        change_blob(self.db, digest, column(*size), 1)?;
        Ok(())
    }

    /// The state of a job that is there.
    fn state(&mut self, job: &JobId) -> Result<StateRow, Stop> {
        if let Some(state) = self.known.jobs.get(job) {
            return Ok(*state);
        }
        let state = find_state(self.db, job)?.ok_or(Refusal::UnknownJob(*job))?;
        self.known.jobs.insert(*job, state);
        Ok(state)
    }

    /// The state of a job that has this task.
    fn state_with(&mut self, job: &JobId, task: TaskId) -> Result<StateRow, Stop> {
        let state = self.state(job)?;
        if task.0 >= state.tasks.cast_unsigned() {
            let job = *job;
            return Err(Refusal::UnknownTask { job, task }.into());
        }
        Ok(state)
    }

    fn set(&mut self, job: &JobId, change: impl FnOnce(&mut StateRow)) -> Result<Answer, Stop> {
        let mut state = self.state(job)?;
        change(&mut state);
        self.known.jobs.insert(*job, state);
        self.changed(job);
        Ok(Answer::Done)
    }

    fn changed(&mut self, job: &JobId) {
        if !self.known.changed.contains(job) {
            self.known.changed.push(*job);
        }
    }

    /// Writes the states that the batch changed, each once.
    fn put_states(&mut self) -> Result<(), Stop> {
        for job in std::mem::take(&mut self.known.changed) {
            if let Some(state) = self.known.jobs.get(&job) {
                put_state(self.db, state)?;
            }
        }
        Ok(())
    }

    /// The number of a worker, which it gets when it is first heard of.
    fn worker(&mut self, worker: &WorkerId) -> Result<i64, Stop> {
        if let Some(number) = self.known.workers.get(worker) {
            return Ok(*number);
        }
        let find = "SELECT number FROM worker WHERE name = ?";
        let number = match row::number(&mut *self.prepare(find)?, [worker.as_str()])? {
            Some(number) => number,
            None => {
                let next = "SELECT coalesce(max(number), 0) + 1 FROM worker";
                let number = self.prepare(next)?.query_row([], |row| row.get(0))?;
                let sum = row::worker_sum(number, worker.as_str(), false, None);
                let put = "INSERT INTO worker (number, name, is_joined, drained, sum)
                           VALUES (?, ?, 0, NULL, ?)";
                self.put(put, params![number, worker.as_str(), sum])?;
                number
            }
        };
        self.known.workers.insert(worker.clone(), number);
        Ok(number)
    }

    fn set_worker(
        &mut self,
        worker: &WorkerId,
        change: impl FnOnce(&mut (String, bool, Option<i64>)),
    ) -> Result<Answer, Stop> {
        let number = self.worker(worker)?;
        let Some(before) = super::read::worker(self.db, number)? else {
            return Err(row::torn("worker", number).into());
        };
        let mut after = before.clone();
        change(&mut after);
        if after == before {
            return Ok(Answer::Known);
        }
        let sum = row::worker_sum(number, &after.0, after.1, after.2);
        let put = "UPDATE worker SET is_joined = ?, drained = ?, sum = ? WHERE number = ?";
        self.put(put, params![after.1, after.2, sum, number])
    }

    fn prepare(&self, sql: &str) -> Result<CachedStatement<'a>, Stop> {
        Ok(self.db.prepare_cached(sql)?)
    }

    /// `Known` when no row was changed.
    fn put(&self, sql: &str, columns: impl rusqlite::Params) -> Result<Answer, Stop> {
        Ok(match self.prepare(sql)?.execute(columns)? {
            0 => Answer::Known,
            _ => Answer::Done,
        })
    }
}

/// The row of a job.
pub(super) fn find_job(db: &Connection, id: &JobId) -> Result<Option<JobRow>, ReadError> {
    let find = format!("SELECT {JOB_COLUMNS} FROM job WHERE id = ?");
    row::first(
        &mut *db.prepare_cached(&find)?,
        [id.as_bytes()],
        JobRow::read,
    )
}

/// The state of a job by its id.
pub(super) fn find_state(db: &Connection, id: &JobId) -> Result<Option<StateRow>, ReadError> {
    let find = "SELECT number FROM job WHERE id = ?";
    let Some(number) = row::number(&mut *db.prepare_cached(find)?, [id.as_bytes()])? else {
        return Ok(None);
    };
    let find = format!("SELECT {STATE_COLUMNS} FROM job_state WHERE number = ?");
    let state = row::first(&mut *db.prepare_cached(&find)?, [number], StateRow::read)?;
    state.map_or_else(|| Err(absent("job_state", number)), |state| Ok(Some(state)))
}

fn absent(table: &'static str, key: impl ToString) -> ReadError {
    let key = key.to_string();
    crate::store::StoreDamage::Absent { table, key }.into()
}

fn put_state(db: &Connection, state: &StateRow) -> Result<(), ReadError> {
    let put =
        "INSERT INTO job_state (number, tasks, outcomes, released, is_closed, ended, ended_ms,
               round, lease_floor, is_forgotten, sum) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
               ON CONFLICT DO UPDATE SET tasks = excluded.tasks, outcomes = excluded.outcomes,
               released = excluded.released, is_closed = excluded.is_closed,
               ended = excluded.ended, ended_ms = excluded.ended_ms, round = excluded.round,
               lease_floor = excluded.lease_floor, is_forgotten = excluded.is_forgotten,
               sum = excluded.sum";
    db.prepare_cached(put)?.execute(params![
        state.number,
        state.tasks,
        state.outcomes,
        state.released,
        state.is_closed,
        state.ended.map(|(how, _)| row::job_end_number(how)),
        state.ended.map(|(_, at_ms)| at_ms),
        state.round,
        state.lease_floor,
        state.is_forgotten,
        state.sum(),
    ])?;
    Ok(())
}

/// Removes at most `limit` rows of `call` or `outcome` and lets go of their blobs; how many.
pub(super) fn remove_rows(
    db: &Connection,
    table: &'static str,
    from: i64,
    to: i64,
    limit: u32,
) -> Result<u64, ReadError> {
    let find = format!(
        "SELECT key, body_sum, bodies FROM {table} WHERE key BETWEEN ? AND ? ORDER BY key LIMIT ?"
    );
    let mut find = db.prepare_cached(&find)?;
    let mut rows = find.query(params![from, to, limit])?;
    let (mut count, mut last, mut held) = (0, from, Vec::new());
    while let Some(found) = rows.next()? {
        last = row::at(found, 0)?;
        let bodies = found
            .get_ref(2)?
            .as_blob()
            .map_err(|_| row::torn(table, last))?;
        if body_sum(bodies) != row::at::<i64>(found, 1)? {
            return Err(row::torn(table, last));
        }
        for body in Unpack::new(bodies) {
            if let Body::Blob { digest, size } = body.ok_or_else(|| row::torn(table, last))? {
                held.push((digest, size));
            }
        }
        count += 1;
    }
    drop(rows);
    if count > 0 {
        let remove = format!("DELETE FROM {table} WHERE key BETWEEN ? AND ?");
        db.prepare_cached(&remove)?.execute([from, last])?;
    }
    for (digest, size) in held {
        change_blob(db, &digest, column(size), -1)?;
    }
    Ok(count)
}

/// Counts a blob's references up or down. The row goes with the last one; the file goes later.
pub(super) fn change_blob(
    db: &Connection,
    digest: &Digest,
    size: i64,
    by: i64,
) -> Result<(), ReadError> {
    let name = digest.as_bytes().as_slice();
    let find = "SELECT size, refs, sum FROM blob WHERE digest = ?";
    let there = row::first(&mut *db.prepare_cached(find)?, [name], |found| {
        let (size, refs) = (row::at(found, 0)?, row::at(found, 1)?);
        match row::at::<i64>(found, 2)? == row::blob_sum(name, size, refs) {
            true => Ok(refs),
            false => Err(row::torn("blob", digest)),
        }
    })?;
    let refs = there.unwrap_or(0) + by;
    if refs > 0 {
        let put = "INSERT INTO blob (digest, size, refs, sum) VALUES (?, ?, ?, ?)
                   ON CONFLICT DO UPDATE SET refs = excluded.refs, sum = excluded.sum";
        let sum = row::blob_sum(name, size, refs);
        db.prepare_cached(put)?
            .execute(params![name, size, refs, sum])?;
    } else if there.is_some() && refs == 0 {
        db.prepare_cached("DELETE FROM blob WHERE digest = ?")?
            .execute([name])?;
    } else {
        return Err(absent("blob", digest));
    }
    Ok(())
}

/// Counts the jobs that use a bundle up or down; false when there is no such bundle.
fn change_bundle(db: &Connection, digest: &Digest, by: i64, at_ms: i64) -> Result<bool, ReadError> {
    let find = "SELECT jobs, used_ms, body_sum, sum FROM bundle WHERE digest = ?";
    let name = [digest.as_bytes()];
    let there = row::first(&mut *db.prepare_cached(find)?, name, |found| {
        let (jobs, used_ms, body_sum) =
            (row::at(found, 0)?, row::at(found, 1)?, row::at(found, 2)?);
        match row::at::<i64>(found, 3)? == row::bundle_sum(digest, jobs, used_ms, body_sum) {
            true => Ok((jobs, body_sum)),
            false => Err(row::torn("bundle", digest)),
        }
    })?;
    let Some((jobs, body_sum)) = there else {
        return Ok(false);
    };
    let put = "UPDATE bundle SET jobs = ?, used_ms = ?, sum = ? WHERE digest = ?";
    let sum = row::bundle_sum(digest, jobs + by, at_ms, body_sum);
    let columns = params![jobs + by, at_ms, sum, digest.as_bytes()];
    db.prepare_cached(put)?.execute(columns)?;
    Ok(true)
}
