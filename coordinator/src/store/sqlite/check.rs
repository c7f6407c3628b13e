//! Looks at everything in a store that can be wrong.

use std::collections::BTreeMap;
use std::path::Path;

use ppwasm_proto::Digest;
use rusqlite::Connection;

use super::row::{self, at};
use super::seal::{self, Seal};
use super::{BLOB_FOLDER, STORE_FILE, cached, log, open, read, recover, schema};
use crate::blobs::{BlobError, BlobLimits, Blobs};
use crate::store::body::Unpack;
use crate::store::error::StoreDamage;
use crate::store::{Body, OpenError, ReadError};

/// Findings after which no more are looked for.
const FINDINGS_MAX: usize = 1000;
/// Tables with bodies: their key and the column.
const BODIES: [(&str, (&str, &str)); 3] = [
    ("call", ("key", "bodies")),
    ("outcome", ("key", "bodies")),
    ("bundle", ("rowid", "body")),
];

/// Something that is wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Finding {
    /// The store is damaged.
    #[error("{0}")]
    Damage(StoreDamage),
    /// It cannot be read.
    #[error("the store cannot be read")]
    Unreadable(#[source] ReadError),
    /// A blob that rows name is not there, is damaged or cannot be read.
    #[error("{refs} rows name a blob that cannot be used")]
    Blob {
        /// How many rows name it.
        refs: u64,
        /// Why it cannot be used.
        #[source]
        why: BlobError,
    },
    /// A blob has another size than rows say.
    #[error("blob {digest} has {found} bytes, rows say {recorded}")]
    BlobSize {
        /// The blob.
        digest: Digest,
        /// What rows say.
        recorded: u64,
        /// What the file has.
        found: u64,
    },
    /// A blob's references are counted wrong.
    #[error("blob {digest} is named by {found} rows, counted are {recorded}")]
    BlobRefs {
        /// The blob.
        digest: Digest,
        /// What is counted.
        recorded: u64,
        /// Rows that name it.
        found: u64,
    },
    /// The jobs of a bundle are counted wrong.
    #[error("bundle {digest} is used by {found} jobs, counted are {recorded}")]
    BundleJobs {
        /// The bundle.
        digest: Digest,
        /// What is counted.
        recorded: u64,
        /// Jobs that use it.
        found: u64,
    },
}

/// What a check has found.
#[derive(Debug, Default)]
pub struct Report {
    /// What is wrong, the most telling first. Empty when all is well.
    pub findings: Vec<Finding>,
    /// Jobs.
    pub jobs: u64,
    /// Rows of arguments, outcomes and bundles.
    pub rows: u64,
    /// Audit events.
    pub events: u64,
    /// Blobs that rows name.
    pub blobs: u64,
    /// Files of blobs that no row names; they go in time.
    pub unnamed_blobs: u64,
    /// The store was closed in good order and has a seal: also what is not used of the database was looked at.
    pub is_sealed: bool,
}

impl Report {
    /// True when something is wrong, but only with pages as a whole: every row and every reference holds.
    #[must_use]
    pub fn is_whole_otherwise(&self) -> bool {
        let is_of_pages = |finding: &Finding| {
            use StoreDamage::{Page, Seal, Size};
            matches!(finding, Finding::Damage(Page { .. } | Size { .. } | Seal))
        };
        !self.is_clean() && self.findings.iter().all(is_of_pages)
    }

    /// True when nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    fn push(&mut self, finding: impl Into<Finding>) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding.into());
        }
    }

    fn note(&mut self, result: Result<(), ReadError>) {
        if let Err(error) = result {
            self.push(error);
        }
    }
}

impl From<ReadError> for Finding {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Damaged(damage) => Self::Damage(damage),
            other => Self::Unreadable(other),
        }
    }
}

/// Checks the store in `folder`, which no coordinator may use meanwhile: every page, every row, the chain of audit
/// events, what rows say about each other, and, `with_blobs`, every byte of every blob. Nothing is changed.
///
/// # Errors
///
/// When there is nothing to check: no store, another program's, a newer version's, or one that is in use.
pub fn check(folder: &Path, with_blobs: bool) -> Result<Report, OpenError> {
    let path = folder.join(STORE_FILE);
    if let Err(source) = std::fs::metadata(&path) {
        return Err(OpenError::io("find", &path, source));
    }
    let _lock = open::lock(folder, "ppwasm coordinator check")?;
    let mut report = Report::default();
    let wal = folder.join(format!("{STORE_FILE}-wal"));
    let log = log::examine(&wal).map_err(|source| OpenError::io("read", &wal, source))?;
    if let Some(damage) = log {
        report.push(Finding::Damage(damage));
        return Ok(report);
    }
    let connected = open::connect(&path, schema::MIGRATIONS.len() as i64);
    let db = match connected.map_err(|error| open::place(&path, error)) {
        Ok((db, _)) => db,
        Err(OpenError::Damaged { damage, .. }) => {
            report.push(Finding::Damage(damage));
            return Ok(report);
        }
        Err(other) => return Err(other),
    };
    let failed = |source| OpenError::sqlite("read", &path, source);
    db.pragma_update(None, "query_only", true).map_err(failed)?;
    let sealed = seal::examine(&path, open::last_epoch(&db))
        .map_err(|source| OpenError::io("read", &path, source))?;
    report.is_sealed = sealed != Seal::Absent;
    if let Seal::Broken(damage) = sealed {
        let findings = damage.into_iter().map(Finding::Damage);
        findings.for_each(|finding| report.push(finding));
    }
    // What the pages mean, also where they differ: it says what is lost with them.
    let before = report.findings.len();
    report.note(open::integrity(&db));
    report.note(open::check_schema(&db, schema::MIGRATIONS));
    if report.findings.len() == before {
        rows(&db, &mut report);
        let blobs = Blobs::open(&folder.join(BLOB_FOLDER), BlobLimits::default());
        match blobs {
            Ok(blobs) => check_blobs(&db, &blobs, with_blobs, &mut report),
            Err(why) => report.push(Finding::Blob { refs: 0, why }),
        }
    }
    Ok(report)
}

fn rows(db: &Connection, report: &mut Report) {
    let mut jobs = 0;
    let recovered = recover::recover(db, &mut |record| {
        jobs += u64::from(matches!(
            record,
            ppwasm_scheduler::Record::JobSubmitted { .. }
        ));
    });
    report.note(recovered);
    report.jobs = jobs;
    match events(db) {
        Ok(events) => report.events = events,
        Err(error) => report.push(error),
    }
    report.note(read::denied(db).map(|_| ()));
    report.note(read::wished_slots(db).map(|_| ()));
    report.note(cached::check(db));
    report.note(identities(db));
    report.note(tokens(db));
}

/// Looks at every row but those that [`recover`](recover::recover) looks at.
pub(super) fn contents(db: &Connection) -> Result<(), ReadError> {
    for (table, key) in BODIES {
        bodies(db, table, key, |_| ())?;
    }
    counted_blobs(db, |_, _| ())?;
    each(db, "SELECT digest FROM bundle", |found| {
        read::bundle(db, &Digest::from_bytes(at(found, 0)?)).map(|_| ())
    })?;
    read::denied(db)?;
    read::wished_slots(db)?;
    cached::check(db)?;
    identities(db)?;
    tokens(db)?;
    events(db)?;
    Ok(())
}

fn identities(db: &Connection) -> Result<(), ReadError> {
    each(db, "SELECT DISTINCT identity FROM certificate", |found| {
        read::certificates(db, &at::<String>(found, 0)?, u32::MAX).map(|_| ())
    })
}

fn tokens(db: &Connection) -> Result<(), ReadError> {
    each(db, "SELECT hash FROM token", |found| {
        read::token(db, &Digest::from_bytes(at(found, 0)?)).map(|_| ())
    })
}

fn events(db: &Connection) -> Result<u64, ReadError> {
    let mut next = 0;
    loop {
        let read = read::events(db, next, 10_000)?.len() as u64;
        next += read;
        if read == 0 {
            return Ok(next);
        }
    }
}

/// Counts what rows name and compares it with what is recorded and what is there.
fn check_blobs(db: &Connection, blobs: &Blobs, read_all: bool, report: &mut Report) {
    let mut named: BTreeMap<Digest, (u64, u64)> = BTreeMap::new();
    let mut rows = 0;
    for (table, key) in BODIES {
        let counted = bodies(db, table, key, |body| match body {
            Some(Body::Blob { digest, size }) => {
                let entry = named.entry(digest).or_insert((0, size));
                entry.0 += 1;
            }
            Some(_) => {}
            None => rows += 1,
        });
        report.note(counted);
    }
    report.rows = rows;
    let mut recorded = BTreeMap::new();
    let counted = counted_blobs(db, |digest, refs| {
        recorded.insert(digest, refs);
    });
    report.note(counted);
    bundles(db, report);
    report.blobs = named.len() as u64;
    for (digest, (found, size)) in &named {
        let refs = recorded.remove(digest).unwrap_or(0);
        if refs != *found {
            let (digest, found) = (*digest, *found);
            report.push(Finding::BlobRefs {
                digest,
                recorded: refs,
                found,
            });
        }
        check_blob(blobs, digest, *size, *found, read_all, report);
    }
    for (digest, recorded) in recorded {
        let found = 0;
        report.push(Finding::BlobRefs {
            digest,
            recorded,
            found,
        });
    }
    let mut unnamed = 0;
    let walked = blobs.each(|digest, _| {
        unnamed += u64::from(!named.contains_key(&digest));
        Ok(())
    });
    report.unnamed_blobs = unnamed;
    report.note(walked.map_err(ReadError::from));
}

/// Looks at every row with bodies; `each_body` gets each, and `None` at the end of a row.
fn bodies(
    db: &Connection,
    table: &'static str,
    (key, column): (&'static str, &'static str),
    mut each_body: impl FnMut(Option<Body>),
) -> Result<(), ReadError> {
    let find = format!("SELECT {key}, body_sum, {column} FROM {table}");
    each(db, &find, |found| {
        let key: i64 = at(found, 0)?;
        let text = || match table {
            "bundle" => key.to_string(),
            _ => read::key_text(key),
        };
        let packed = found
            .get_ref(2)?
            .as_blob()
            .map_err(|_| row::torn(table, text()))?;
        if row::body_sum(packed) != at::<i64>(found, 1)? {
            return Err(row::torn(table, text()));
        }
        for body in Unpack::new(packed) {
            let body = body.ok_or_else(|| row::odd(table, text(), column))?;
            each_body(Some(body));
        }
        each_body(None);
        Ok(())
    })
}

/// Gives `each_blob` what is counted of every blob.
fn counted_blobs(db: &Connection, mut each_blob: impl FnMut(Digest, u64)) -> Result<(), ReadError> {
    each(db, "SELECT digest, size, refs, sum FROM blob", |found| {
        let digest = Digest::from_bytes(at(found, 0)?);
        let (size, refs) = (at(found, 1)?, at::<i64>(found, 2)?);
        if row::blob_sum(digest.as_bytes(), size, refs) != at::<i64>(found, 3)? {
            return Err(row::torn("blob", digest));
        }
        each_blob(digest, refs.cast_unsigned());
        Ok(())
    })
}

/// Compares how many jobs use a bundle with what is recorded.
fn bundles(db: &Connection, report: &mut Report) {
    let find =
        "SELECT digest, jobs, (SELECT count(*) FROM job WHERE function = digest) FROM bundle";
    let mut wrong = Vec::new();
    let counted = each(db, find, |found| {
        let digest = Digest::from_bytes(at(found, 0)?);
        read::bundle(db, &digest)?;
        let (recorded, found) = (at::<i64>(found, 1)?, at::<i64>(found, 2)?);
        if recorded != found {
            let (recorded, found) = (recorded.cast_unsigned(), found.cast_unsigned());
            wrong.push(Finding::BundleJobs {
                digest,
                recorded,
                found,
            });
        }
        Ok(())
    });
    report.note(counted);
    wrong.into_iter().for_each(|finding| report.push(finding));
}

fn check_blob(
    blobs: &Blobs,
    digest: &Digest,
    recorded: u64,
    refs: u64,
    read_all: bool,
    report: &mut Report,
) {
    let size = match read_all {
        true => blobs.verify(digest),
        false => blobs.size(digest).and_then(|size| {
            let digest = *digest;
            size.ok_or(BlobError::Missing { digest })
        }),
    };
    match size {
        Ok(found) if found == recorded => {}
        Ok(found) => {
            let digest = *digest;
            report.push(Finding::BlobSize {
                digest,
                recorded,
                found,
            });
        }
        Err(why) => report.push(Finding::Blob { refs, why }),
    }
}

fn each(
    db: &Connection,
    sql: &str,
    mut visit: impl FnMut(&rusqlite::Row<'_>) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    let mut find = db.prepare(sql)?;
    let mut rows = find.query([])?;
    while let Some(found) = rows.next()? {
        visit(found)?;
    }
    Ok(())
}
