//! Single rows that several writes have to do with: states of jobs, and counts of references.

use ppwasm_proto::{Digest, JobId};
use rusqlite::{Connection, params};

use crate::store::body::Unpack;
use crate::store::sqlite::read::absent;
use crate::store::sqlite::row::{
    self, JOB_COLUMNS, JobRow, STATE_COLUMNS, StateRow, body_sum, column,
};
use crate::store::{Body, ReadError};

/// The row of a job.
pub(in crate::store::sqlite) fn find_job(
    db: &Connection,
    id: &JobId,
) -> Result<Option<JobRow>, ReadError> {
    let find = format!("SELECT {JOB_COLUMNS} FROM job WHERE id = ?");
    row::first(
        &mut *db.prepare_cached(&find)?,
        [id.as_bytes()],
        JobRow::read,
    )
}

/// The state of a job by its id.
pub(in crate::store::sqlite) fn find_state(
    db: &Connection,
    id: &JobId,
) -> Result<Option<StateRow>, ReadError> {
    let find = "SELECT number FROM job WHERE id = ?";
    let Some(number) = row::number(&mut *db.prepare_cached(find)?, [id.as_bytes()])? else {
        return Ok(None);
    };
    let find = format!("SELECT {STATE_COLUMNS} FROM job_state WHERE number = ?");
    let state = row::first(&mut *db.prepare_cached(&find)?, [number], StateRow::read)?;
    state.map_or_else(|| Err(absent("job_state", number)), |state| Ok(Some(state)))
}

pub(in crate::store::sqlite) fn put_state(
    db: &Connection,
    state: &StateRow,
) -> Result<(), ReadError> {
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
pub(in crate::store::sqlite) fn remove_rows(
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
pub(in crate::store::sqlite) fn change_blob(
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
pub(in crate::store::sqlite) fn change_bundle(
    db: &Connection,
    digest: &Digest,
    by: i64,
    at_ms: i64,
) -> Result<bool, ReadError> {
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
