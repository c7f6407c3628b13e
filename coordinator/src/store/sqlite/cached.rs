//! Finds outcomes by the keys of their tasks.

use std::collections::HashMap;

use ppwasm_proto::{Digest, JobId};
use ppwasm_scheduler::{OutcomeKind, TaskEnd};
use rusqlite::{Connection, params};

use super::read::{ended_task, hex};
use super::row::{
    self, JOB_COLUMNS, JobRow, OUTCOME_COLUMNS, OutcomeRow, STATE_COLUMNS, StateRow, at, key_job,
    torn,
};
use crate::store::{CachedOutcome, ReadError};

/// A row of `cached`.
struct CachedRow {
    task: i64,
    lease: i64,
    guest: Digest,
    machine: [Box<str>; 3],
}

const COLUMNS: &str =
    "key, task, lease, worker, is_confirmed, guest, target, cpu_profile, build, sum";

impl CachedRow {
    fn read(row: &rusqlite::Row<'_>) -> Result<Self, ReadError> {
        let key: Vec<u8> = at(row, 0)?;
        let numbers = [at(row, 1)?, at(row, 2)?, at(row, 3)?, at(row, 4)?];
        let guest: [u8; 32] = at(row, 5)?;
        let machine: [Box<str>; 3] = [at(row, 6)?, at(row, 7)?, at(row, 8)?];
        let texts = machine.each_ref().map(|text| &**text);
        if row::cached_sum(&key, numbers, &guest, texts) != at::<i64>(row, 9)? {
            return Err(torn("cached", hex(&key)));
        }
        let [task, lease, ..] = numbers;
        Ok(Self {
            task,
            lease,
            guest: Digest::from_bytes(guest),
            machine,
        })
    }
}

/// As [`Store::cached`](crate::store::Store::cached).
pub(super) fn cached(
    db: &Connection,
    keys: &[Digest],
    bytes_max: usize,
) -> Result<Vec<Option<CachedOutcome>>, ReadError> {
    let mut found = Vec::with_capacity(keys.len());
    let mut jobs = HashMap::new();
    let mut bytes = 0;
    for key in keys {
        if bytes >= bytes_max {
            break;
        }
        found.push(match one(db, key, &mut jobs)? {
            Some((outcome, size)) => {
                bytes += size;
                Some(outcome)
            }
            None => None,
        });
    }
    Ok(found)
}

/// Jobs by number, with how often each was retried; those that are gone have none.
type Jobs = HashMap<i64, Option<(JobId, i64)>>;

fn one(
    db: &Connection,
    key: &Digest,
    jobs: &mut Jobs,
) -> Result<Option<(CachedOutcome, usize)>, ReadError> {
    let find = format!("SELECT {COLUMNS} FROM cached WHERE key = ?");
    let mut find = db.prepare_cached(&find)?;
    let Some(cached) = row::first(&mut find, [key.as_bytes()], CachedRow::read)? else {
        return Ok(None);
    };
    let number = key_job(cached.task);
    let job = match jobs.get(&number) {
        Some(job) => *job,
        None => *jobs.entry(number).or_insert(job(db, number)?),
    };
    let Some((job, round)) = job else {
        return Ok(None);
    };
    let find = format!("SELECT {OUTCOME_COLUMNS}, bodies FROM outcome WHERE key = ?");
    let mut find = db.prepare_cached(&find)?;
    let ended = row::first(&mut find, [cached.task], |found| {
        let outcome = OutcomeRow::read(found)?;
        // Another one stands there when the task was run again.
        if outcome.lease != cached.lease || !outcome.counts(round) {
            return Ok(None);
        }
        Ok(Some(ended_task(db, &outcome, found)?))
    })?;
    Ok(ended.flatten().and_then(|(ended, size)| {
        let is_one = matches!(
            ended.end,
            TaskEnd::Outcome {
                outcome: OutcomeKind::Succeeded | OutcomeKind::Raised,
                ..
            }
        );
        let found = CachedOutcome {
            job,
            number: number.cast_unsigned(),
            ended,
            guest: cached.guest,
            machine: cached.machine,
        };
        is_one.then_some((found, size))
    }))
}

fn job(db: &Connection, number: i64) -> Result<Option<(JobId, i64)>, ReadError> {
    let find = format!("SELECT {JOB_COLUMNS} FROM job WHERE number = ?");
    let Some(job) = row::first(&mut *db.prepare_cached(&find)?, [number], JobRow::read)? else {
        return Ok(None);
    };
    let find = format!("SELECT {STATE_COLUMNS} FROM job_state WHERE number = ?");
    let state = row::first(&mut *db.prepare_cached(&find)?, [number], StateRow::read)?;
    Ok(state.map(|state| (job.id, state.round)))
}

/// Looks at every row.
pub(super) fn check(db: &Connection) -> Result<(), ReadError> {
    let mut find = db.prepare_cached(&format!("SELECT {COLUMNS} FROM cached"))?;
    let mut rows = find.query([])?;
    while let Some(found) = rows.next()? {
        CachedRow::read(found)?;
    }
    Ok(())
}

/// Removes at most `limit` of those whose tasks have keys from `from` to `to`; how many.
pub(super) fn remove(db: &Connection, from: i64, to: i64, limit: u64) -> Result<u64, ReadError> {
    let remove = "DELETE FROM cached WHERE key IN
                  (SELECT key FROM cached WHERE task BETWEEN ? AND ? ORDER BY task LIMIT ?)";
    let columns = params![from, to, row::column(limit)];
    Ok(db.prepare_cached(remove)?.execute(columns)? as u64)
}

/// Removes at most `limit` of those beyond `max`, those of the oldest jobs first; how many.
pub(super) fn evict(db: &Connection, max: u64, limit: u64) -> Result<u64, ReadError> {
    let count = row::number(&mut *db.prepare_cached("SELECT count(*) FROM cached")?, [])?;
    let count = count.unwrap_or(0).cast_unsigned();
    match count.saturating_sub(max).min(limit) {
        0 => Ok(0),
        excess => remove(db, 0, i64::MAX, excess),
    }
}
