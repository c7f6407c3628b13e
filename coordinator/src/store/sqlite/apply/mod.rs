//! Carries out the writes of a batch, within a transaction that somebody else begins and ends.

mod cached;
mod identity;
mod rows;
mod tasks;

use std::collections::HashMap;

use ppwasm_proto::fabric::WorkerId;
use ppwasm_proto::{Digest, JobId, TaskId};
use ppwasm_scheduler::{DrainReason, JobEnd, JobSpec, Record, TaskEnd};
use rusqlite::{CachedStatement, Connection, params};

use super::row::{self, JOB_NUMBER_MAX, JobRow, StateRow, body_sum, column, key};
use crate::blobs::Blobs;
use crate::store::limits::{check_batch, check_details};
use crate::store::{Answer, Batch, Body, ReadError, Refusal, TaskResult, Write};

pub(super) use rows::{change_blob, find_job, find_state, remove_rows};
use rows::{change_bundle, put_state};

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
                cache,
            } => self.task_ended(job, *task, end, result, cache.as_deref()),
            Write::Bundle { digest, body } => self.bundle(digest, body),
            Write::TokenIssued(token) => self.token_issued(token),
            Write::TokenRedeemed { hash } => self.token_redeemed(hash),
            Write::CertificateIssued(certificate) => self.certificate(certificate),
            Write::Denied(denied) => self.denied(denied),
            Write::Audited(event) => self.audited(event),
            Write::SlotsWished { worker, slots } => {
                let sum = row::wished_slots_sum(worker.as_str(), *slots);
                let put = "INSERT INTO wished_slots (worker, slots, sum) VALUES (?, ?, ?)
                           ON CONFLICT DO UPDATE SET slots = excluded.slots, sum = excluded.sum
                           WHERE slots <> excluded.slots";
                self.put(put, params![worker.as_str(), slots, sum])
            }
        }
    }

    fn record(&mut self, record: &Record) -> Result<Answer, Stop> {
        match record {
            Record::JobSubmitted { job, spec } => self.job_submitted(job, spec, &[]),
            Record::TasksAdded { .. }
            | Record::TaskEnded {
                end: TaskEnd::Outcome { .. } | TaskEnd::Cached { .. },
                ..
            } => Err(Refusal::BodyMissing.into()),
            Record::TaskEnded { job, task, end } => {
                self.task_ended(job, *task, end, &TaskResult::default(), None)
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
                if matches!(why, DrainReason::GivesWrongResults | DrainReason::Revoked) {
                    self.disbelieve(worker)?;
                }
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
            spec.verify_percent,
            spec.is_cached,
        ];
        let put = "INSERT INTO job (number, id, owner, priority, function, limits, attempts_max,
                   is_deterministic, body, submitted_ms, details, sum, verify_percent,
                   is_cached)
                   VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
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
        match answer {
            Answer::Done => self.hold(body)?,
            // It counts as new again: somebody is about to name it.
            _ => drop(change_bundle(self.db, digest, 0, self.at_ms)?),
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
