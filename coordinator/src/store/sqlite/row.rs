//! Rows as values: their checksums, and the numbers that stand for words.

use std::time::Duration;

use ppwasm_proto::fabric::{ClientName, OutcomeKind, Priority, WorkerId};
use ppwasm_proto::wire::{Origin, Verification};
use ppwasm_proto::{Attempt, Digest, JobId, LimitKind, Limits, TaskId};
use ppwasm_scheduler::{DrainReason, JobEnd, JobSpec, TaskEnd};
use rusqlite::types::FromSql;
use rusqlite::{OptionalExtension, Params, Row, Statement};

use crate::store::{ReadError, StoreDamage};

/// Numbers of jobs end here, so that a key has room for a task's.
pub(super) const JOB_NUMBER_MAX: i64 = (1 << 31) - 1;

/// The key of a task's rows. Tasks number fewer than 2³² in a job.
pub(super) const fn key(job: i64, task: u64) -> i64 {
    (job << 32) | (task & 0xffff_ffff).cast_signed()
}

pub(super) const fn key_job(key: i64) -> i64 {
    key >> 32
}

pub(super) const fn key_task(key: i64) -> u64 {
    (key & 0xffff_ffff).cast_unsigned()
}

/// A number for a column. What is larger than any column holds becomes the largest.
pub(super) fn column(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A checksum over a row: eight bytes of BLAKE3 over table and columns, each with its length.
pub(super) struct Sum(blake3::Hasher);

impl Sum {
    pub(super) fn of(table: &'static str) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(table.len() as u64).to_le_bytes());
        hasher.update(table.as_bytes());
        Self(hasher)
    }

    pub(super) fn int(mut self, value: i64) -> Self {
        self.0.update(&value.to_le_bytes());
        self
    }

    /// `None` differs from every number.
    pub(super) fn option(self, value: Option<i64>) -> Self {
        match value {
            Some(value) => self.int(1).int(value),
            None => self.int(0),
        }
    }

    pub(super) fn ints<const N: usize>(mut self, values: [i64; N]) -> Self {
        let mut bytes = [0; 96];
        for (place, value) in bytes.chunks_exact_mut(8).zip(&values) {
            place.copy_from_slice(&value.to_le_bytes());
        }
        const { assert!(N <= 12) };
        self.0.update(bytes.get(..8 * N).unwrap_or_default());
        self
    }

    pub(super) fn bytes(mut self, value: &[u8]) -> Self {
        self.0.update(&(value.len() as u64).to_le_bytes());
        self.0.update(value);
        self
    }

    pub(super) fn finish(self) -> i64 {
        first_eight(self.0.finalize().as_bytes())
    }
}

/// The checksum of bodies.
pub(super) fn body_sum(bodies: &[u8]) -> i64 {
    first_eight(blake3::hash(bodies).as_bytes())
}

fn first_eight(hash: &[u8; 32]) -> i64 {
    let [a, b, c, d, e, f, g, h, ..] = *hash;
    i64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// The checksum of a row of `call`.
pub(super) fn call_sum(key: i64, count: i64, body_sum: i64) -> i64 {
    Sum::of("call").ints([key, count, body_sum]).finish()
}

/// The checksum of a row of `loss`.
pub(super) fn loss_sum(key: i64, attempt: u32, round: i64, worker: i64, suspect: bool) -> i64 {
    let columns = [key, attempt.into(), round, worker, suspect.into()];
    Sum::of("loss").ints(columns).finish()
}

/// The checksum of a row of `blob`.
pub(super) fn blob_sum(digest: &[u8], size: i64, refs: i64) -> i64 {
    Sum::of("blob").bytes(digest).ints([size, refs]).finish()
}

/// The checksum of a row of `bundle`.
pub(super) fn bundle_sum(digest: &Digest, jobs: i64, used_ms: i64, body_sum: i64) -> i64 {
    let sum = Sum::of("bundle").bytes(digest.as_bytes());
    sum.ints([jobs, used_ms, body_sum]).finish()
}

/// The checksum of a row of `worker`.
pub(super) fn worker_sum(number: i64, name: &str, joined: bool, drained: Option<i64>) -> i64 {
    let sum = Sum::of("worker").int(number).bytes(name.as_bytes());
    sum.int(joined.into()).option(drained).finish()
}

/// The checksum of a row of `wished_slots`.
pub(super) fn wished_slots_sum(worker: &str, slots: u32) -> i64 {
    let sum = Sum::of("wished_slots").bytes(worker.as_bytes());
    sum.int(slots.into()).finish()
}

/// The checksum of a row of `cached`.
pub(super) fn cached_sum(
    key: &[u8],
    [task, lease, worker, is_confirmed]: [i64; 4],
    guest: &[u8],
    machine: [&str; 3],
) -> i64 {
    let sum = Sum::of("cached").bytes(key);
    let sum = sum.ints([task, lease, worker, is_confirmed]).bytes(guest);
    let with = |sum: Sum, text: &str| sum.bytes(text.as_bytes());
    machine.into_iter().fold(sum, with).finish()
}

/// Says that a row does not hold.
pub(super) fn torn(table: &'static str, key: impl ToString) -> ReadError {
    let key = key.to_string();
    StoreDamage::Row { table, key }.into()
}

/// Says that a row has a value that nothing writes.
pub(super) fn odd(table: &'static str, key: impl ToString, column: &'static str) -> ReadError {
    let key = key.to_string();
    StoreDamage::Value { table, key, column }.into()
}

/// The first row, if there is one.
pub(super) fn first<T, P: Params>(
    statement: &mut Statement<'_>,
    params: P,
    read: impl FnOnce(&Row<'_>) -> Result<T, ReadError>,
) -> Result<Option<T>, ReadError> {
    match statement.query(params)?.next()? {
        Some(row) => read(row).map(Some),
        None => Ok(None),
    }
}

/// A column of a table's row; a value of another type is damage.
pub(super) fn at<T: FromSql>(row: &Row<'_>, index: usize) -> Result<T, ReadError> {
    row.get(index).map_err(ReadError::from)
}

pub(super) const JOB_COLUMNS: &str = "number, id, owner, priority, function, limits, \
     attempts_max, is_deterministic, body, submitted_ms, details, sum, verify_percent, is_cached";

/// A row of `job`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct JobRow {
    pub(super) number: i64,
    pub(super) id: JobId,
    pub(super) spec: Box<JobSpec>,
    pub(super) submitted_ms: i64,
    pub(super) details: Vec<u8>,
}

impl JobRow {
    pub(super) fn sum(&self) -> i64 {
        let spec = &self.spec;
        let sum = Sum::of("job")
            .int(self.number)
            .bytes(self.id.as_bytes())
            .bytes(spec.owner.as_str().as_bytes())
            .int(spec.priority.0.into())
            .bytes(spec.function.as_bytes())
            .bytes(&limits_bytes(&spec.limits))
            .int(spec.attempts_max.into())
            .int(spec.is_deterministic.into())
            .bytes(spec.body.as_bytes())
            .int(self.submitted_ms)
            .bytes(&self.details);
        // Rows of earlier versions have nothing there, and their sums hold.
        let sum = match spec.verify_percent {
            0 => sum,
            percent => sum.int(percent.into()),
        };
        match spec.is_cached {
            false => sum.finish(),
            true => sum.bytes(b"cached").finish(),
        }
    }

    pub(super) fn read(row: &Row<'_>) -> Result<Self, ReadError> {
        let number: i64 = at(row, 0)?;
        let bad = |column| odd("job", number, column);
        let owner: String = at(row, 2)?;
        let owner: ClientName = owner.parse().map_err(|_| bad("owner"))?;
        let limits: Vec<u8> = at(row, 5)?;
        let job = Self {
            number,
            id: JobId::from_bytes(at(row, 1)?),
            spec: Box::new(JobSpec {
                owner,
                priority: Priority(at(row, 3)?),
                function: Digest::from_bytes(at(row, 4)?),
                limits: limits_from(&limits).ok_or_else(|| bad("limits"))?,
                attempts_max: at(row, 6)?,
                is_deterministic: at::<i64>(row, 7)? != 0,
                verify_percent: at(row, 12)?,
                is_cached: at::<i64>(row, 13)? != 0,
                body: Digest::from_bytes(at(row, 8)?),
            }),
            submitted_ms: at(row, 9)?,
            details: at(row, 10)?,
        };
        if job.sum() != at::<i64>(row, 11)? {
            return Err(torn("job", number));
        }
        Ok(job)
    }
}

pub(super) const STATE_COLUMNS: &str = "number, tasks, outcomes, released, is_closed, ended, \
     ended_ms, round, lease_floor, is_forgotten, sum";

/// A row of `job_state`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct StateRow {
    pub(super) number: i64,
    pub(super) tasks: i64,
    pub(super) outcomes: i64,
    pub(super) released: i64,
    pub(super) is_closed: bool,
    pub(super) ended: Option<(JobEnd, i64)>,
    pub(super) round: i64,
    pub(super) lease_floor: i64,
    pub(super) is_forgotten: bool,
}

impl StateRow {
    pub(super) fn sum(&self) -> i64 {
        Sum::of("job_state")
            .ints([
                self.number,
                self.tasks,
                self.outcomes,
                self.released,
                self.is_closed.into(),
            ])
            .option(self.ended.map(|(how, _)| job_end_number(how)))
            .option(self.ended.map(|(_, at_ms)| at_ms))
            .ints([self.round, self.lease_floor, self.is_forgotten.into()])
            .finish()
    }

    pub(super) fn read(row: &Row<'_>) -> Result<Self, ReadError> {
        let number = at(row, 0)?;
        let how: Option<i64> = at(row, 5)?;
        let ended = match (how, at(row, 6)?) {
            (None, None) => None,
            (Some(how), Some(at_ms)) => {
                let how = job_end(how).ok_or_else(|| odd("job_state", number, "ended"))?;
                Some((how, at_ms))
            }
            _ => return Err(odd("job_state", number, "ended_ms")),
        };
        let state = Self {
            number,
            tasks: at(row, 1)?,
            outcomes: at(row, 2)?,
            released: at(row, 3)?,
            is_closed: at::<i64>(row, 4)? != 0,
            ended,
            round: at(row, 7)?,
            lease_floor: at(row, 8)?,
            is_forgotten: at::<i64>(row, 9)? != 0,
        };
        if state.sum() != at::<i64>(row, 10)? {
            return Err(torn("job_state", number));
        }
        Ok(state)
    }
}

/// All of a row of `outcome` but its bodies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OutcomeRow {
    pub(super) key: i64,
    pub(super) round: i64,
    pub(super) kind: i64,
    pub(super) attempt: u32,
    pub(super) lease: i64,
    pub(super) worker: i64,
    pub(super) at_ms: i64,
    pub(super) run_time_us: i64,
    pub(super) memory_bytes: i64,
    pub(super) body_sum: i64,
    /// What came of verifying it, encoded.
    pub(super) verification: Option<Vec<u8>>,
    /// The earlier task whose outcome it is, encoded.
    pub(super) origin: Option<Vec<u8>>,
}

pub(super) const OUTCOME_COLUMNS: &str = "key, round, kind, attempt, lease, worker, at_ms, run_time_us, memory_bytes, body_sum, sum, verification, origin";

impl OutcomeRow {
    pub(super) fn sum(&self) -> i64 {
        let sum = Sum::of("outcome").ints([
            self.key,
            self.round,
            self.kind,
            self.attempt.into(),
            self.lease,
            self.worker,
            self.at_ms,
            self.run_time_us,
            self.memory_bytes,
            self.body_sum,
        ]);
        // Rows of earlier versions have nothing there, and their sums hold.
        let sum = match &self.verification {
            None => sum,
            Some(verification) => sum.bytes(verification),
        };
        match &self.origin {
            None => sum.finish(),
            Some(origin) => sum.bytes(b"origin").bytes(origin).finish(),
        }
    }

    pub(super) fn read(row: &Row<'_>) -> Result<Self, ReadError> {
        let outcome = Self {
            key: at(row, 0)?,
            round: at(row, 1)?,
            kind: at(row, 2)?,
            attempt: at(row, 3)?,
            lease: at(row, 4)?,
            worker: at(row, 5)?,
            at_ms: at(row, 6)?,
            run_time_us: at(row, 7)?,
            memory_bytes: at(row, 8)?,
            body_sum: at(row, 9)?,
            verification: at(row, 11)?,
            origin: at(row, 12)?,
        };
        if outcome.sum() != at::<i64>(row, 10)? {
            return Err(torn("outcome", outcome.key));
        }
        Ok(outcome)
    }

    pub(super) const fn task(&self) -> TaskId {
        TaskId(key_task(self.key))
    }

    /// A failure of before the last retry is as if it had not been.
    pub(super) const fn counts(&self, round: i64) -> bool {
        self.kind == SUCCEEDED || self.round == round
    }

    /// How the task ended; `worker` is the name that belongs to the number.
    pub(super) fn end(&self, worker: Option<WorkerId>) -> Result<TaskEnd, ReadError> {
        let verification = match &self.verification {
            None => None,
            Some(bytes) => match Verification::from_bytes(bytes) {
                Ok(verification) => Some(Box::new(verification)),
                Err(_) => return Err(odd("outcome", self.key, "verification")),
            },
        };
        if let Some(origin) = &self.origin {
            let bad = |column| odd("outcome", self.key, column);
            return Ok(TaskEnd::Cached {
                outcome: outcome_kind(self.kind).ok_or_else(|| bad("kind"))?,
                origin: Box::new(Origin::from_bytes(origin).map_err(|_| bad("origin"))?),
            });
        }
        Ok(match self.kind {
            DISPUTED => TaskEnd::Disputed {
                verification: verification
                    .ok_or_else(|| odd("outcome", self.key, "verification"))?,
            },
            ABANDONED => TaskEnd::Abandoned,
            QUARANTINED => TaskEnd::Quarantined,
            kind => TaskEnd::Outcome {
                outcome: outcome_kind(kind).ok_or_else(|| odd("outcome", self.key, "kind"))?,
                attempt: Attempt(self.attempt),
                lease: ppwasm_proto::fabric::LeaseId(self.lease.cast_unsigned()),
                worker: worker.ok_or_else(|| odd("outcome", self.key, "worker"))?,
                verification,
            },
        })
    }
}

const SUCCEEDED: i64 = 0;
/// Ends without a worker.
const ABANDONED: i64 = 16;
const QUARANTINED: i64 = 17;
const DISPUTED: i64 = 18;

/// The number that stands for how a task ended.
pub(super) const fn end_number(end: &TaskEnd) -> i64 {
    match end {
        TaskEnd::Abandoned => ABANDONED,
        TaskEnd::Quarantined => QUARANTINED,
        TaskEnd::Disputed { .. } => DISPUTED,
        TaskEnd::Outcome { outcome, .. } | TaskEnd::Cached { outcome, .. } => match outcome {
            OutcomeKind::Succeeded => SUCCEEDED,
            OutcomeKind::Raised => 1,
            OutcomeKind::Trapped => 2,
            OutcomeKind::LimitExceeded => 3,
            OutcomeKind::Cancelled => 4,
            OutcomeKind::Abandoned => 5,
        },
    }
}

const fn outcome_kind(number: i64) -> Option<OutcomeKind> {
    Some(match number {
        SUCCEEDED => OutcomeKind::Succeeded,
        1 => OutcomeKind::Raised,
        2 => OutcomeKind::Trapped,
        3 => OutcomeKind::LimitExceeded,
        4 => OutcomeKind::Cancelled,
        5 => OutcomeKind::Abandoned,
        _ => return None,
    })
}

pub(super) const fn job_end_number(how: JobEnd) -> i64 {
    match how {
        JobEnd::Finished => 0,
        JobEnd::Cancelled => 1,
        JobEnd::ImageFailed => 2,
    }
}

const fn job_end(number: i64) -> Option<JobEnd> {
    Some(match number {
        0 => JobEnd::Finished,
        1 => JobEnd::Cancelled,
        2 => JobEnd::ImageFailed,
        _ => return None,
    })
}

pub(super) const fn drain_number(why: DrainReason) -> i64 {
    match why {
        DrainReason::Requested => 0,
        DrainReason::FailsTasks => 1,
        DrainReason::Revoked => 2,
        DrainReason::GivesWrongResults => 3,
    }
}

pub(super) const fn drain_reason(number: i64) -> Option<DrainReason> {
    Some(match number {
        0 => DrainReason::Requested,
        1 => DrainReason::FailsTasks,
        2 => DrainReason::Revoked,
        3 => DrainReason::GivesWrongResults,
        _ => return None,
    })
}

/// The limits in the order of [`LimitKind::ALL`], 8 bytes each, little-endian.
pub(super) fn limits_bytes(limits: &Limits) -> Vec<u8> {
    let each = LimitKind::ALL.into_iter();
    each.flat_map(|kind| limits.allowed(kind).to_le_bytes())
        .collect()
}

fn limits_from(bytes: &[u8]) -> Option<Limits> {
    let mut left = bytes;
    let mut next = || {
        let (number, rest) = left.split_first_chunk::<8>()?;
        left = rest;
        Some(u64::from_le_bytes(*number))
    };
    let limits = Limits {
        memory_bytes_max: next()?,
        wall_time_max: Duration::from_millis(next()?),
        cpu_time_max: Duration::from_millis(next()?),
        stdout_bytes_max: next()?,
        stderr_bytes_max: next()?,
        result_bytes_max: next()?,
        scratch_bytes_max: next()?,
        scratch_files_max: next()?,
    };
    left.is_empty().then_some(limits)
}

/// A statement that finds at most one number.
pub(super) fn number<P: Params>(
    statement: &mut Statement<'_>,
    params: P,
) -> Result<Option<i64>, ReadError> {
    Ok(statement.query_row(params, |row| row.get(0)).optional()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_come_back() {
        let limits = Limits {
            wall_time_max: Duration::from_millis(1234),
            cpu_time_max: Duration::from_millis(77),
            stdout_bytes_max: 1,
            stderr_bytes_max: 2,
            scratch_files_max: 3,
            ..Limits::default()
        };
        let bytes = limits_bytes(&limits);
        assert_eq!(limits_from(&bytes), Some(limits));
        assert_eq!(limits_from(&bytes[1..]), None);
        assert_eq!(limits_from(&[bytes.as_slice(), &[0]].concat()), None);
    }

    #[test]
    fn keys_sort_by_job_then_task() {
        let ends = [
            (0, 0),
            (0, u64::from(u32::MAX)),
            (1, 0),
            (JOB_NUMBER_MAX, u64::from(u32::MAX)),
        ];
        let keys: Vec<_> = ends.iter().map(|(job, task)| key(*job, *task)).collect();
        assert!(keys.is_sorted());
        for (key, (job, task)) in keys.into_iter().zip(ends) {
            assert_eq!((key_job(key), key_task(key)), (job, task));
        }
    }

    #[test]
    fn words_and_numbers_match() {
        for number in 0..32 {
            if let Some(outcome) = outcome_kind(number) {
                let end = TaskEnd::Outcome {
                    outcome,
                    attempt: Attempt(1),
                    lease: ppwasm_proto::fabric::LeaseId(1),
                    worker: "w".parse().unwrap(),
                    verification: None,
                };
                assert_eq!(end_number(&end), number);
            }
            assert!(job_end(number).is_none_or(|how| job_end_number(how) == number));
            assert!(drain_reason(number).is_none_or(|why| drain_number(why) == number));
        }
    }
}
