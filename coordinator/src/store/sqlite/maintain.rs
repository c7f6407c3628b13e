//! Removes what nobody needs any more, a little at a time.

use std::time::{Duration, SystemTime};

use ppwasm_proto::Digest;
use rusqlite::{Connection, params};

use super::apply::{change_blob, remove_rows};
use super::cached;
use super::row::{self, at, body_sum, column, key, odd, torn};
use crate::blobs::{Blobs, Cursor};
use crate::store::body::Unpack;
use crate::store::{Body, Maintained, Maintenance, ReadError};

/// Removes rows within a transaction: of forgotten jobs, expired tokens, unused bundles, outcomes by key beyond their
/// number.
pub(super) fn rows(db: &Connection, work: &Maintenance) -> Result<Maintained, ReadError> {
    let now_ms = column(work.now_ms);
    let expired = "DELETE FROM token WHERE hash IN
                   (SELECT hash FROM token WHERE expires_ms <= ? LIMIT ?)";
    let tokens = db
        .prepare_cached(expired)?
        .execute(params![now_ms, work.rows_max])?;
    let mut left = u64::from(work.rows_max).saturating_sub(tokens as u64);
    while left > 0 {
        match forgotten(db, u32::try_from(left).unwrap_or(u32::MAX))? {
            0 => break,
            rows => left = left.saturating_sub(rows),
        }
    }
    let unused_ms = now_ms.saturating_sub(millis(work.bundle_age));
    left -= unused_bundles(db, unused_ms, left)?;
    left -= cached::evict(db, work.cached_max, left)?;
    Ok(Maintained {
        rows: u64::from(work.rows_max) - left,
        more: left == 0,
        ..Maintained::default()
    })
}

/// Removes blobs that no row names and uploads that nobody continues.
pub(super) fn blobs(
    db: &Connection,
    blobs: &Blobs,
    cursor: &mut Cursor,
    work: &Maintenance,
    maintained: &mut Maintained,
) -> Result<(), ReadError> {
    let now = SystemTime::UNIX_EPOCH + Duration::from_millis(work.now_ms);
    let named = |digest: &Digest| -> Result<bool, ReadError> {
        let find = "SELECT 1 FROM blob WHERE digest = ?";
        Ok(db
            .prepare_cached(find)?
            .exists([digest.as_bytes().as_slice()])?)
    };
    let done = blobs.collect(cursor, now, work.blob_age, work.blobs_max.into(), named)?;
    maintained.blobs = done.blobs + done.uploads;
    maintained.blob_bytes = done.bytes;
    maintained.more |= !done.finished;
    Ok(())
}

/// Removes at most `limit` rows of one forgotten job; 0 when there is none.
fn forgotten(db: &Connection, limit: u32) -> Result<u64, ReadError> {
    let find = "SELECT number FROM job_state WHERE is_forgotten = 1 ORDER BY number LIMIT 1";
    let Some(number) = row::number(&mut *db.prepare_cached(find)?, [])? else {
        return Ok(0);
    };
    let (from, to) = (key(number, 0), key(number, u32::MAX.into()));
    let removed = cached::remove(db, from, to, limit.into())?;
    if removed > 0 {
        return Ok(removed);
    }
    for table in ["outcome", "call"] {
        let removed = remove_rows(db, table, from, to, limit)?;
        if removed > 0 {
            return Ok(removed);
        }
    }
    let losses = "DELETE FROM loss WHERE (key, attempt) IN
                  (SELECT key, attempt FROM loss WHERE key BETWEEN ? AND ? LIMIT ?)";
    let removed = db
        .prepare_cached(losses)?
        .execute(params![from, to, limit])?;
    if removed > 0 {
        return Ok(removed as u64);
    }
    let last = "DELETE FROM job_state WHERE number = ?";
    Ok(db.prepare_cached(last)?.execute([number])? as u64)
}

fn unused_bundles(db: &Connection, before_ms: i64, limit: u64) -> Result<u64, ReadError> {
    let find = "SELECT digest, body_sum, body FROM bundle WHERE jobs = 0 AND used_ms < ? LIMIT ?";
    let mut find = db.prepare_cached(find)?;
    let mut rows = find.query(params![before_ms, column(limit)])?;
    let mut unused = Vec::new();
    while let Some(found) = rows.next()? {
        let digest = Digest::from_bytes(at(found, 0)?);
        let packed = found
            .get_ref(2)?
            .as_blob()
            .map_err(|_| torn("bundle", digest))?;
        if body_sum(packed) != at::<i64>(found, 1)? {
            return Err(torn("bundle", digest));
        }
        let body = Unpack::new(packed).next().flatten();
        unused.push((digest, body.ok_or_else(|| odd("bundle", digest, "body"))?));
    }
    drop(rows);
    for (digest, body) in &unused {
        let remove = "DELETE FROM bundle WHERE digest = ?";
        db.prepare_cached(remove)?.execute([digest.as_bytes()])?;
        if let Body::Blob { digest, size } = body {
            change_blob(db, digest, column(*size), -1)?;
        }
    }
    Ok(unused.len() as u64)
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
