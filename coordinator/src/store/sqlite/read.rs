//! Reads rows and checks that they hold.

use ppwasm_proto::fabric::{LeaseKey, WorkerId};
use ppwasm_proto::{Digest, JobId};
use rusqlite::{Connection, params};

use super::row::{
    self, JOB_COLUMNS, JobRow, OUTCOME_COLUMNS, OutcomeRow, STATE_COLUMNS, StateRow, Sum, at,
    body_sum, column, key, key_job, key_task, odd, torn,
};
use crate::store::body::Unpack;
use crate::store::{
    AuditEvent, Body, Certificate, Denied, DeniedSubject, EndedTask, JobEntry, ReadError,
    StoreDamage, TaskResult, Token,
};

/// Where the bodies are when they are read after [`OUTCOME_COLUMNS`].
const OUTCOME_BODIES: usize = 13;

/// The one row of `meta`.
#[derive(Clone, Debug)]
pub(super) struct Meta {
    pub(super) lease_key: [u8; 32],
    pub(super) epoch: i64,
    pub(super) events: i64,
    pub(super) chain: Digest,
}

impl Meta {
    pub(super) const fn key(&self) -> LeaseKey {
        LeaseKey::from_bytes(self.lease_key)
    }

    fn sum(&self) -> i64 {
        Sum::of("meta")
            .bytes(&self.lease_key)
            .ints([self.epoch, self.events])
            .bytes(self.chain.as_bytes())
            .finish()
    }

    pub(super) fn put(&self, db: &Connection) -> Result<(), ReadError> {
        let put = "INSERT INTO meta (id, lease_key, epoch, events, chain, sum)
                   VALUES (1, ?, ?, ?, ?, ?)
                   ON CONFLICT DO UPDATE SET lease_key = excluded.lease_key,
                   epoch = excluded.epoch, events = excluded.events, chain = excluded.chain,
                   sum = excluded.sum";
        db.prepare_cached(put)?.execute(params![
            self.lease_key,
            self.epoch,
            self.events,
            self.chain.as_bytes(),
            self.sum(),
        ])?;
        Ok(())
    }
}

pub(super) fn meta(db: &Connection) -> Result<Meta, ReadError> {
    let find = "SELECT lease_key, epoch, events, chain, sum FROM meta";
    let found = row::first(&mut *db.prepare_cached(find)?, [], |found| {
        let meta = Meta {
            lease_key: at(found, 0)?,
            epoch: at(found, 1)?,
            events: at(found, 2)?,
            chain: Digest::from_bytes(at(found, 3)?),
        };
        match meta.sum() == at::<i64>(found, 4)? {
            true => Ok(meta),
            false => Err(torn("meta", 1)),
        }
    })?;
    found.ok_or_else(|| absent("meta", 1))
}

pub(super) fn absent(table: &'static str, key: impl ToString) -> ReadError {
    let key = key.to_string();
    StoreDamage::Absent { table, key }.into()
}

fn entry(job: JobRow, state: StateRow) -> JobEntry {
    JobEntry {
        number: job.number.cast_unsigned(),
        job: job.id,
        spec: job.spec,
        details: job.details,
        submitted_ms: job.submitted_ms.cast_unsigned(),
        tasks: state.tasks.cast_unsigned(),
        is_closed: state.is_closed,
        ended: state.ended.map(|(how, at_ms)| (how, at_ms.cast_unsigned())),
    }
}

pub(super) fn state(db: &Connection, number: i64) -> Result<StateRow, ReadError> {
    let find = format!("SELECT {STATE_COLUMNS} FROM job_state WHERE number = ?");
    row::first(&mut *db.prepare_cached(&find)?, [number], StateRow::read)?
        .ok_or_else(|| absent("job_state", number))
}

pub(super) fn job(db: &Connection, id: &JobId) -> Result<Option<JobEntry>, ReadError> {
    let Some(job) = super::apply::find_job(db, id)? else {
        return Ok(None);
    };
    let state = state(db, job.number)?;
    Ok(Some(entry(job, state)))
}

pub(super) fn jobs(db: &Connection, after: u64, limit: u32) -> Result<Vec<JobEntry>, ReadError> {
    let find = format!("SELECT {JOB_COLUMNS} FROM job WHERE number > ? ORDER BY number LIMIT ?");
    let mut find = db.prepare_cached(&find)?;
    let mut rows = find.query(params![column(after), limit])?;
    let mut jobs = Vec::new();
    while let Some(found) = rows.next()? {
        let job = JobRow::read(found)?;
        let state = state(db, job.number)?;
        jobs.push(entry(job, state));
    }
    Ok(jobs)
}

pub(super) fn ended_before(
    db: &Connection,
    before_ms: u64,
    limit: u32,
) -> Result<Vec<JobId>, ReadError> {
    let find = "SELECT number FROM job_state
                WHERE ended_ms IS NOT NULL AND ended_ms <= ? ORDER BY ended_ms, number LIMIT ?";
    let mut find = db.prepare_cached(find)?;
    let numbers = find
        .query_map(params![column(before_ms), limit], |row| row.get(0))?
        .collect::<Result<Vec<i64>, _>>()?;
    let read = format!("SELECT {JOB_COLUMNS} FROM job WHERE number = ?");
    let each = numbers.into_iter().map(|number| {
        let job = row::first(&mut *db.prepare_cached(&read)?, [number], JobRow::read)?;
        Ok(job.ok_or_else(|| absent("job", number))?.id)
    });
    each.collect()
}

/// Calls of tasks from `first` on, at most `count`.
pub(super) fn calls(
    db: &Connection,
    number: i64,
    first: u64,
    count: u64,
) -> Result<Vec<Body>, ReadError> {
    let mut bodies = Vec::new();
    if count == 0 || first > u64::from(u32::MAX) {
        return Ok(bodies);
    }
    // The row that holds the first task may begin before it.
    let find = "SELECT key, count, body_sum, sum, bodies FROM call
                WHERE key >= coalesce((SELECT max(key) FROM call WHERE key BETWEEN ?1 AND ?2), ?2)
                AND key <= ?3 ORDER BY key";
    let wanted = key(number, first);
    let last = key(number, first.saturating_add(count - 1).min(u32::MAX.into()));
    let mut find = db.prepare_cached(find)?;
    let mut rows = find.query(params![key(number, 0), wanted, last])?;
    let mut next = None;
    while let Some(found) = rows.next()? {
        let start: i64 = at(found, 0)?;
        let rows_count: i64 = at(found, 1)?;
        let packed = found
            .get_ref(4)?
            .as_blob()
            .map_err(|_| torn("call", start))?;
        let sum = at::<i64>(found, 2)?;
        if row::call_sum(start, rows_count, sum) != at::<i64>(found, 3)? || body_sum(packed) != sum
        {
            return Err(torn("call", start));
        }
        if next.is_some_and(|next| next != start) {
            return Err(absent("call", next.unwrap_or(start)));
        }
        next = Some(start + rows_count);
        let mut packed = Unpack::new(packed);
        let skipped = wanted.saturating_sub(start).clamp(0, rows_count);
        for _ in 0..skipped {
            if !packed.pass() {
                return Err(odd("call", start, "bodies"));
            }
        }
        for _ in skipped..rows_count {
            if bodies.len() as u64 == count {
                return Ok(bodies);
            }
            let body = packed.next().flatten();
            bodies.push(body.ok_or_else(|| odd("call", start, "bodies"))?);
        }
        if !packed.is_empty() {
            return Err(odd("call", start, "bodies"));
        }
    }
    Ok(bodies)
}

/// The calls of a job that says how many it has: fewer are damage.
pub(super) fn calls_of(
    db: &Connection,
    job: &JobId,
    first: u64,
    count: u64,
) -> Result<Vec<Body>, ReadError> {
    let Some(state) = super::apply::find_state(db, job)? else {
        return Ok(Vec::new());
    };
    let expected = count.min(state.tasks.cast_unsigned().saturating_sub(first));
    let bodies = calls(db, state.number, first, expected)?;
    if (bodies.len() as u64) < expected {
        return Err(absent(
            "call",
            key(state.number, first + bodies.len() as u64),
        ));
    }
    Ok(bodies)
}

pub(super) fn run_time_us(db: &Connection, job: &JobId) -> Result<u64, ReadError> {
    let Some(state) = super::apply::find_state(db, job)? else {
        return Ok(0);
    };
    let sum = "SELECT coalesce(sum(run_time_us), 0) FROM outcome WHERE key BETWEEN ? AND ?";
    let keys = [key(state.number, 0), key(state.number, u32::MAX.into())];
    let sum: i64 = db.prepare_cached(sum)?.query_row(keys, |row| row.get(0))?;
    Ok(sum.max(0).cast_unsigned())
}

pub(super) fn outcomes(
    db: &Connection,
    job: &JobId,
    first: u64,
    limit: u32,
    bytes_max: usize,
) -> Result<Vec<EndedTask>, ReadError> {
    let mut ended = Vec::new();
    let Some(state) = super::apply::find_state(db, job)? else {
        return Ok(ended);
    };
    if first > u64::from(u32::MAX) {
        return Ok(ended);
    }
    let find = format!(
        "SELECT {OUTCOME_COLUMNS}, bodies FROM outcome WHERE key BETWEEN ? AND ? ORDER BY key"
    );
    let mut find = db.prepare_cached(&find)?;
    let last = key(state.number, u32::MAX.into());
    let mut rows = find.query([key(state.number, first), last])?;
    let mut bytes = 0;
    while let Some(found) = rows.next()? {
        if ended.len() as u64 >= u64::from(limit) || bytes >= bytes_max {
            break;
        }
        let outcome = OutcomeRow::read(found)?;
        if !outcome.counts(state.round) {
            continue;
        }
        let (task, size) = ended_task(db, &outcome, found)?;
        bytes += size;
        ended.push(task);
    }
    Ok(ended)
}

/// A task that has ended, from its row with its bodies, and how many bytes those take.
pub(super) fn ended_task(
    db: &Connection,
    outcome: &OutcomeRow,
    found: &rusqlite::Row<'_>,
) -> Result<(EndedTask, usize), ReadError> {
    let packed = found
        .get_ref(OUTCOME_BODIES)?
        .as_blob()
        .map_err(|_| torn("outcome", outcome.key))?;
    if body_sum(packed) != outcome.body_sum {
        return Err(torn("outcome", outcome.key));
    }
    let mut bodies = Unpack::new(packed);
    let mut body = || {
        let body = bodies.next().flatten();
        body.ok_or_else(|| odd("outcome", outcome.key, "bodies"))
    };
    let result = TaskResult {
        outcome: body()?,
        stdout: body()?,
        stderr: body()?,
        run_time_us: outcome.run_time_us.cast_unsigned(),
        memory_bytes: outcome.memory_bytes.cast_unsigned(),
    };
    let worker = match outcome.worker {
        0 => None,
        number => Some(worker_name(db, number)?),
    };
    let ended = EndedTask {
        task: outcome.task(),
        end: outcome.end(worker)?,
        at_ms: outcome.at_ms.cast_unsigned(),
        result,
    };
    Ok((ended, packed.len()))
}

/// Name, whether it is joined, and why it is drained.
pub(super) fn worker(
    db: &Connection,
    number: i64,
) -> Result<Option<(String, bool, Option<i64>)>, ReadError> {
    let find = "SELECT name, is_joined, drained, sum FROM worker WHERE number = ?";
    row::first(&mut *db.prepare_cached(find)?, [number], |found| {
        let worker = (
            at::<String>(found, 0)?,
            at::<i64>(found, 1)? != 0,
            at(found, 2)?,
        );
        match at::<i64>(found, 3)? == row::worker_sum(number, &worker.0, worker.1, worker.2) {
            true => Ok(worker),
            false => Err(torn("worker", number)),
        }
    })
}

pub(super) fn worker_name(db: &Connection, number: i64) -> Result<WorkerId, ReadError> {
    let (name, ..) = worker(db, number)?.ok_or_else(|| absent("worker", number))?;
    name.parse().map_err(|_| odd("worker", number, "name"))
}

pub(super) fn bundle(db: &Connection, digest: &Digest) -> Result<Option<Body>, ReadError> {
    let find = "SELECT jobs, used_ms, body_sum, sum, body FROM bundle WHERE digest = ?";
    row::first(
        &mut *db.prepare_cached(find)?,
        [digest.as_bytes()],
        |found| {
            let expected = row::bundle_sum(digest, at(found, 0)?, at(found, 1)?, at(found, 2)?);
            let packed = found
                .get_ref(4)?
                .as_blob()
                .map_err(|_| torn("bundle", digest))?;
            if expected != at::<i64>(found, 3)? || body_sum(packed) != at::<i64>(found, 2)? {
                return Err(torn("bundle", digest));
            }
            let body = Unpack::new(packed).next().flatten();
            body.ok_or_else(|| odd("bundle", digest, "body"))
        },
    )
}

pub(super) fn token_sum(token: &Token) -> i64 {
    Sum::of("token")
        .bytes(token.hash.as_bytes())
        .int(column(token.expires_ms))
        .bytes(&token.details)
        .finish()
}

pub(super) fn token(db: &Connection, hash: &Digest) -> Result<Option<Token>, ReadError> {
    let find = "SELECT expires_ms, details, sum FROM token WHERE hash = ?";
    row::first(&mut *db.prepare_cached(find)?, [hash.as_bytes()], |found| {
        let token = Token {
            hash: *hash,
            expires_ms: at::<i64>(found, 0)?.cast_unsigned(),
            details: at(found, 1)?,
        };
        match token_sum(&token) == at::<i64>(found, 2)? {
            true => Ok(token),
            false => Err(torn("token", hash)),
        }
    })
}

pub(super) fn certificate_sum(certificate: &Certificate) -> i64 {
    Sum::of("certificate")
        .bytes(&certificate.serial)
        .bytes(certificate.identity.as_bytes())
        .int(column(certificate.expires_ms))
        .bytes(&certificate.details)
        .finish()
}

fn read_certificate(found: &rusqlite::Row<'_>) -> Result<Certificate, ReadError> {
    let certificate = Certificate {
        serial: at(found, 0)?,
        identity: at(found, 1)?,
        expires_ms: at::<i64>(found, 2)?.cast_unsigned(),
        details: at(found, 3)?,
    };
    match certificate_sum(&certificate) == at::<i64>(found, 4)? {
        true => Ok(certificate),
        false => Err(torn("certificate", hex(&certificate.serial))),
    }
}

pub(super) fn certificate(
    db: &Connection,
    serial: &[u8],
) -> Result<Option<Certificate>, ReadError> {
    let find =
        "SELECT serial, identity, expires_ms, details, sum FROM certificate WHERE serial = ?";
    row::first(&mut *db.prepare_cached(find)?, [serial], read_certificate)
}

pub(super) fn certificates(
    db: &Connection,
    identity: &str,
    limit: u32,
) -> Result<Vec<Certificate>, ReadError> {
    let find = "SELECT serial, identity, expires_ms, details, sum FROM certificate
                WHERE identity = ? ORDER BY rowid DESC LIMIT ?";
    let mut find = db.prepare_cached(find)?;
    let mut rows = find.query(params![identity, limit])?;
    let mut certificates = Vec::new();
    while let Some(found) = rows.next()? {
        certificates.push(read_certificate(found)?);
    }
    Ok(certificates)
}

pub(super) fn wished_slots(db: &Connection) -> Result<Vec<(WorkerId, u32)>, ReadError> {
    let find = "SELECT worker, slots, sum FROM wished_slots ORDER BY worker";
    let mut find = db.prepare_cached(find)?;
    let mut rows = find.query([])?;
    let mut all = Vec::new();
    while let Some(found) = rows.next()? {
        let (worker, slots): (String, u32) = (at(found, 0)?, at(found, 1)?);
        if row::wished_slots_sum(&worker, slots) != at::<i64>(found, 2)? {
            return Err(torn("wished_slots", worker));
        }
        let id = worker.parse();
        all.push((
            id.map_err(|_| odd("wished_slots", worker, "worker"))?,
            slots,
        ));
    }
    Ok(all)
}

pub(super) fn denied_sum(denied: &Denied) -> i64 {
    let sum = Sum::of("denied");
    let sum = match &denied.subject {
        DeniedSubject::Serial(serial) => sum.int(0).bytes(serial),
        DeniedSubject::Identity(identity) => sum.int(1).bytes(identity.as_bytes()),
    };
    sum.bytes(denied.reason.as_bytes())
        .int(column(denied.at_ms))
        .finish()
}

pub(super) fn denied(db: &Connection) -> Result<Vec<Denied>, ReadError> {
    let find = "SELECT is_identity, subject, reason, at_ms, sum FROM denied
                ORDER BY is_identity, subject";
    let mut find = db.prepare_cached(find)?;
    let mut rows = find.query([])?;
    let mut all = Vec::new();
    while let Some(found) = rows.next()? {
        let subject: Vec<u8> = at(found, 1)?;
        let name = hex(&subject);
        let subject = match at::<i64>(found, 0)? {
            0 => DeniedSubject::Serial(subject),
            _ => DeniedSubject::Identity(
                String::from_utf8(subject).map_err(|_| odd("denied", &name, "subject"))?,
            ),
        };
        let denied = Denied {
            subject,
            reason: at(found, 2)?,
            at_ms: at::<i64>(found, 3)?.cast_unsigned(),
        };
        if denied_sum(&denied) != at::<i64>(found, 4)? {
            return Err(torn("denied", name));
        }
        all.push(denied);
    }
    Ok(all)
}

/// The digest of an event and of all before it.
pub(super) fn chain(before: &Digest, number: i64, event: &AuditEvent) -> Digest {
    let mut hasher = blake3::Hasher::new_derive_key("ppwasm 2026-11-24 audit event");
    hasher.update(before.as_bytes());
    hasher.update(&number.to_le_bytes());
    hasher.update(&column(event.at_ms).to_le_bytes());
    hasher.update(&(event.kind.len() as u64).to_le_bytes());
    hasher.update(event.kind.as_bytes());
    hasher.update(&event.body);
    hasher.finalize().into()
}

/// What the chain begins with.
pub(super) fn chain_start() -> Digest {
    Digest::of(b"")
}

/// At most `limit` events from `first` on, each compared with the chain.
pub(super) fn events(
    db: &Connection,
    first: u64,
    limit: u32,
) -> Result<Vec<AuditEvent>, ReadError> {
    let meta = meta(db)?;
    let first = column(first);
    let broken = |number: i64| {
        let number = number.cast_unsigned();
        ReadError::from(StoreDamage::Chain { number })
    };
    let find = "SELECT number, at_ms, kind, body, chain FROM event
                WHERE number >= ? ORDER BY number LIMIT ?";
    let mut find = db.prepare_cached(find)?;
    // One before, for its digest.
    let mut number = first.saturating_sub(1).max(0);
    let count = i64::from(limit) + i64::from(first > 0);
    let mut rows = find.query([number, count])?;
    let mut before = (number == 0).then(chain_start);
    let mut events = Vec::new();
    while let Some(found) = rows.next()? {
        let event = AuditEvent {
            at_ms: at::<i64>(found, 1)?.cast_unsigned(),
            kind: at(found, 2)?,
            body: at(found, 3)?,
        };
        let digest = Digest::from_bytes(at(found, 4)?);
        let is_next = before.is_none_or(|before| chain(&before, number, &event) == digest);
        if at::<i64>(found, 0)? != number || !is_next {
            return Err(broken(number));
        }
        if number >= first {
            events.push(event);
        }
        before = Some(digest);
        number += 1;
    }
    let reached = number == meta.events && before.is_none_or(|last| last == meta.chain);
    let stopped = number < meta.events && events.len() as u64 == u64::from(limit);
    match reached || stopped || first > meta.events {
        true => Ok(events),
        false => Err(broken(number)),
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Which job a key is of, for messages.
pub(super) fn key_text(key: i64) -> String {
    format!("{}/{}", key_job(key), key_task(key))
}
