//! Opens a store, or says why it will not.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

use ppwasm_proto::fabric::Epoch;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use super::check;
use super::read::{self, Meta};
use super::schema::APPLICATION_ID;
use super::seal::{self, Seal};
use super::{LOCK_FILE, Options, SQLITE_VERSION_MIN, STORE_FILE, Seams, log};
use crate::disk::sync_folder;
use crate::faults::Point;
use crate::store::error::Foreign;
use crate::store::{OpenError, ReadError, StoreDamage};

const SQLITE_VERSION_NUMBER_MIN: i32 = 3_051_003;
/// What every database begins with.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// Findings of SQLite's check that are counted.
const FINDINGS_MAX: u32 = 100;
/// Bytes of the lock file that are read.
const HOLDER_BYTES_MAX: u64 = 512;
/// Prepared statements that a connection keeps.
const STATEMENTS_MAX: usize = 96;
/// Derives the secret of leases from the entropy that a new store is given.
const LEASE_KEY_CONTEXT: &str = "ppwasm 2026-11-24 lease key of a store";

/// A store that may be written to.
pub(super) struct Opened {
    pub(super) db: Connection,
    pub(super) lock: Lock,
    pub(super) meta: Meta,
    pub(super) epoch: Epoch,
}

pub(super) fn open(folder: &Path, options: &Options) -> Result<Opened, OpenError> {
    let seams = &options.seams;
    check_sqlite((seams.sqlite_version)())?;
    make_folder(folder)?;
    let kind = (seams.file_system)(folder);
    let kind = kind.map_err(|source| OpenError::io("look at", folder, source))?;
    if let Some(kind) = kind.filter(|_| !options.allow_network) {
        let path = folder.to_owned();
        return Err(OpenError::NetworkFileSystem { path, kind });
    }
    let lock = lock(folder, &options.holder)?;
    let path = folder.join(STORE_FILE);
    let known = seams.migrations.len() as i64;
    let (mut db, is_new) = connect(&path, known).map_err(|error| place(&path, error))?;
    let failed = |action| {
        let path = path.clone();
        move |source| OpenError::sqlite(action, &path, source)
    };
    // All of it before anything is changed.
    let is_current = !is_new && version(&db).map_err(failed("read"))? == seams.migrations.len();
    if !is_new {
        sound(&db, &path).map_err(|error| OpenError::read(&path, error))?;
    }
    if is_current {
        holds(&db, seams).map_err(|error| OpenError::read(&path, error))?;
    }
    if let Some(pages) = seams.pages_max {
        (db.pragma_update(None, "max_page_count", pages)).map_err(failed("limit"))?;
    }
    write_ahead(&db).map_err(failed("set up"))?;
    seal::remove(&path, &seams.faults).map_err(|source| OpenError::io("unseal", &path, source))?;
    if !is_current {
        migrate(&mut db, seams, &options.entropy)
            .and_then(|()| holds(&db, seams))
            .map_err(|error| OpenError::read(&path, error))?;
    }
    let meta = begin_epoch(&mut db, seams, &path)?;
    // The files' names, which syncing the files does not cover.
    sync_folder(folder).map_err(|source| OpenError::io("sync", folder, source))?;
    let epoch = epoch(&meta, &path)?;
    Ok(Opened {
        db,
        lock,
        meta,
        epoch,
    })
}

/// Makes the store's folder, and sees to it that its name survives.
fn make_folder(folder: &Path) -> Result<(), OpenError> {
    if folder.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(folder).map_err(|source| OpenError::io("make", folder, source))?;
    let above = folder
        .parent()
        .filter(|above| !above.as_os_str().is_empty());
    let above = above.unwrap_or(Path::new("."));
    sync_folder(above).map_err(|source| OpenError::io("sync", above, source))
}

/// Refuses what SQLite would corrupt sooner or later.
fn check_sqlite(version: i32) -> Result<(), OpenError> {
    if version < SQLITE_VERSION_NUMBER_MIN {
        let (major, minor, patch) = (version / 1_000_000, version / 1000 % 1000, version % 1000);
        return Err(OpenError::SqliteTooOld {
            found: format!("{major}.{minor}.{patch}"),
            min: SQLITE_VERSION_MIN,
        });
    }
    Ok(())
}

/// The lock that one process has on a store.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Not by closing the file: a process that was forked meanwhile has it too, for a moment.
        let _ = self.0.unlock();
    }
}

/// Takes the lock that the process holds to its end, and writes down who it is.
pub(super) fn lock(folder: &Path, holder: &str) -> Result<Lock, OpenError> {
    let path = folder.join(LOCK_FILE);
    let failed = |action| move |source| OpenError::io(action, &folder.join(LOCK_FILE), source);
    let mut file = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&path)
        .map_err(failed("open"))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::Error(source)) => return Err(OpenError::io("lock", &path, source)),
        Err(TryLockError::WouldBlock) => {
            let mut text = Vec::new();
            let read = file.take(HOLDER_BYTES_MAX).read_to_end(&mut text);
            let text = String::from_utf8_lossy(&text);
            let holder = match (read, text.trim()) {
                (Ok(_), holder) if !holder.is_empty() => holder.to_owned(),
                _ => "another process".to_owned(),
            };
            let path = folder.to_owned();
            return Err(OpenError::Locked { path, holder });
        }
    }
    file.set_len(0).map_err(failed("write"))?;
    writeln!(file, "{holder}").map_err(failed("write"))?;
    Ok(Lock(file))
}

/// Opens the file when it is a store that this program knows, or nothing yet.
pub(super) fn connect(path: &Path, known: i64) -> Result<(Connection, bool), OpenError> {
    let failed = |source| OpenError::sqlite("open", path, source);
    let damaged = |damage| OpenError::Damaged {
        path: path.to_owned(),
        damage,
    };
    let foreign = |found| OpenError::Foreign {
        path: path.to_owned(),
        found,
    };
    let head = head(path).map_err(|source| OpenError::io("read", path, source))?;
    if !head.is_empty() && head != MAGIC {
        return Err(foreign(Foreign::NoDatabase));
    }
    let wal = path.with_file_name(format!("{STORE_FILE}-wal"));
    let log = log::examine(&wal).map_err(|source| OpenError::io("read", &wal, source))?;
    if head.is_empty() && fs::metadata(&wal).is_ok_and(|wal| wal.len() > 0) {
        // A database exists before its log does; SQLite would delete the log.
        let message = "the database is empty, its write-ahead log is not".to_owned();
        return Err(damaged(StoreDamage::Unreadable { message }));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags).map_err(failed)?;
    // Looking at a file does not change it, and after an error nothing is moved.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .map_err(failed)?;
    if let Some(damage) = log {
        return Err(damaged(damage));
    }
    set_up(&db).map_err(failed)?;
    let pragma = |name| db.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let application_id = pragma("application_id").map_err(failed)?;
    let version = pragma("user_version").map_err(failed)?;
    let objects = (db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)))
        .map_err(failed)?;
    match (application_id, version, objects) {
        (0, 0, 0_i64) => Ok((db, true)),
        (APPLICATION_ID, version, _) if version > known => Err(OpenError::NewerVersion {
            path: path.to_owned(),
            found: version,
            known,
        }),
        (APPLICATION_ID, 1.., 1..) => Ok((db, false)),
        (APPLICATION_ID, ..) => Err(damaged(StoreDamage::Value {
            table: "(header)",
            key: "1".to_owned(),
            column: "user_version",
        })),
        _ => Err(foreign(Foreign::OtherProgram { application_id })),
    }
}

/// The first bytes of a file; none when it is not there.
fn head(path: &Path) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(MAGIC.len() as u64).read_to_end(&mut head)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    Ok(head)
}

/// What every connection is told.
pub(super) fn set_up(db: &Connection) -> Result<(), rusqlite::Error> {
    db.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    db.busy_timeout(Duration::from_millis(200))?;
    db.pragma_update(None, "foreign_keys", true)?;
    db.pragma_update(None, "trusted_schema", false)?;
    db.pragma_update(None, "cell_size_check", true)
}

/// What the one that writes is told.
fn write_ahead(db: &Connection) -> Result<(), rusqlite::Error> {
    let mode: String = db.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        return Err(rusqlite::Error::InvalidQuery);
    }
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "fullfsync", true)?;
    db.pragma_update(None, "checkpoint_fullfsync", true)?;
    db.pragma_update_and_check(None, "journal_size_limit", 0, |_| Ok(()))?;
    db.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))
}

/// Looks at every page: whether it is as it was when the store was closed, and SQLite's own check.
fn sound(db: &Connection, path: &Path) -> Result<(), ReadError> {
    let seal = seal::examine(path, last_epoch(db)).map_err(|source| ReadError::Io {
        action: "read",
        path: path.to_owned(),
        source,
    })?;
    if let Seal::Broken(damage) = seal
        && let Some(first) = damage.into_iter().next()
    {
        return Err(first.into());
    }
    integrity(db)
}

/// Says where, when SQLite only says that it can make nothing of the file and there is a seal to compare it with.
pub(super) fn place(path: &Path, error: OpenError) -> OpenError {
    let OpenError::Damaged {
        damage: StoreDamage::Unreadable { .. },
        ..
    } = error
    else {
        return error;
    };
    match seal::examine(path, None) {
        Ok(Seal::Broken(damage)) => match damage.into_iter().next() {
            Some(first) => OpenError::read(path, first.into()),
            None => error,
        },
        _ => error,
    }
}

/// Looks at every row.
fn holds(db: &Connection, seams: &Seams) -> Result<(), ReadError> {
    check_schema(db, seams.migrations)?;
    check::contents(db)
}

/// The epoch of the last opening; `None` when it cannot be read.
pub(super) fn last_epoch(db: &Connection) -> Option<i64> {
    read::meta(db).ok().map(|meta| meta.epoch)
}

/// SQLite's own check of every page and every index.
pub(super) fn integrity(db: &Connection) -> Result<(), ReadError> {
    let mut check = db.prepare(&format!("PRAGMA integrity_check({FINDINGS_MAX})"))?;
    let findings = check.query_map([], |row| row.get::<_, String>(0))?;
    let findings: Vec<_> = findings.collect::<Result<_, _>>()?;
    match findings.split_first() {
        Some((first, [])) if first == "ok" => Ok(()),
        None => Ok(()),
        Some((first, rest)) => Err(StoreDamage::Structure {
            first: first.replace('\n', " "),
            count: rest.len() + 1,
        }
        .into()),
    }
}

/// Migrations that the store has behind it.
fn version(db: &Connection) -> Result<usize, rusqlite::Error> {
    let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    Ok(usize::try_from(version).unwrap_or(usize::MAX))
}

/// Brings a store, or nothing, to the newest version: each step whole or not at all.
fn migrate(db: &mut Connection, seams: &Seams, entropy: &[u8; 32]) -> Result<(), ReadError> {
    let mut version = version(db)?;
    while let Some(step) = seams.migrations.get(version) {
        let transaction = Transaction::new(db, TransactionBehavior::Immediate)?;
        transaction.execute_batch(step)?;
        if version == 0 {
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
            let meta = Meta {
                lease_key: blake3::derive_key(LEASE_KEY_CONTEXT, entropy),
                epoch: 0,
                events: 0,
                chain: read::chain_start(),
            };
            meta.put(&transaction)?;
        }
        version += 1;
        transaction.pragma_update(None, "user_version", version as i64)?;
        reach(seams, Point::Migrate)?;
        transaction.commit()?;
    }
    Ok(())
}

/// The tables have to be what the migrations make.
pub(super) fn check_schema(db: &Connection, migrations: &[&str]) -> Result<(), ReadError> {
    let schema = |db: &Connection| -> Result<Vec<(String, Option<String>)>, ReadError> {
        let find = "SELECT type || ' ' || name || ' ' || tbl_name, sql FROM sqlite_schema
                    WHERE name NOT LIKE 'sqlite\\_stat%' ESCAPE '\\' ORDER BY 1";
        let mut find = db.prepare(find)?;
        let rows = find.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    };
    let fresh = Connection::open_in_memory()?;
    migrations
        .iter()
        .try_for_each(|step| fresh.execute_batch(step))?;
    match schema(db)? == schema(&fresh)? {
        true => Ok(()),
        false => Err(StoreDamage::Value {
            table: "sqlite_schema",
            key: "*".to_owned(),
            column: "sql",
        }
        .into()),
    }
}

/// Takes the next epoch.
fn begin_epoch(db: &mut Connection, seams: &Seams, path: &Path) -> Result<Meta, OpenError> {
    let failed = |error: ReadError| OpenError::read(path, error);
    let sqlite = |source| OpenError::sqlite("begin an epoch of", path, source);
    let transaction = Transaction::new(db, TransactionBehavior::Immediate).map_err(sqlite)?;
    let mut meta = read::meta(&transaction).map_err(failed)?;
    meta.epoch = meta.epoch.saturating_add(1);
    epoch(&meta, path)?;
    meta.put(&transaction).map_err(failed)?;
    reach(seams, Point::Epoch).map_err(failed)?;
    transaction.commit().map_err(sqlite)?;
    reach(seams, Point::EpochDone).map_err(failed)?;
    Ok(meta)
}

fn epoch(meta: &Meta, path: &Path) -> Result<Epoch, OpenError> {
    let epoch = u32::try_from(meta.epoch).ok().and_then(Epoch::new);
    epoch.ok_or_else(|| OpenError::EpochsExhausted {
        path: path.to_owned(),
        opened: meta.epoch - 1,
    })
}

fn reach(seams: &Seams, point: Point) -> Result<(), ReadError> {
    (seams.faults.reach(point)).map_err(|source| ReadError::Io {
        action: "write",
        path: STORE_FILE.into(),
        source,
    })
}

/// Names the file system of a folder when locks and syncs on it depend on another machine, or on a program that may
/// not pass them on.
#[cfg(target_os = "linux")]
pub(super) fn network_file_system(path: &Path) -> io::Result<Option<&'static str>> {
    let found = rustix::fs::statfs(path)?;
    #[allow(
        clippy::unnecessary_cast,
        reason = "the type of f_type differs between architectures"
    )]
    let magic = found.f_type as u32;
    Ok(network_name(magic))
}

/// Elsewhere it is not known how to ask.
#[cfg(not(target_os = "linux"))]
pub(super) fn network_file_system(_: &Path) -> io::Result<Option<&'static str>> {
    Ok(None)
}

#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "Linux's numbers"))]
const fn network_name(magic: u32) -> Option<&'static str> {
    Some(match magic {
        0x6969 => "NFS",
        0xff53_4d42 | 0xfe53_4d42 | 0x517b => "SMB",
        0x6573_5546 => "FUSE",
        0x0102_1997 => "9P",
        0x5346_414f | 0x6b41_4653 => "AFS",
        0x00c3_6400 => "Ceph",
        0x0bd0_0bd0 => "Lustre",
        0x1983_0326 => "BeeGFS",
        0x4750_4653 => "GPFS",
        0x0116_1970 => "GFS2",
        0x7461_636f => "OCFS2",
        0x7375_7245 => "Coda",
        0xaad7_aaea => "PanFS",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_21_sqlite_is_refused_before_the_first_good_version() {
        assert!(check_sqlite(3_051_003).is_ok());
        assert!(check_sqlite(3_054_001).is_ok());
        for (version, text) in [(3_051_002, "3.51.2"), (3_040_001, "3.40.1")] {
            let refused = check_sqlite(version).unwrap_err();
            assert!(matches!(refused, OpenError::SqliteTooOld { ref found, .. } if found == text));
        }
        check_sqlite(rusqlite::version_number()).unwrap();
    }

    #[test]
    fn case_21_network_file_systems_have_names() {
        assert_eq!(network_name(0x6969), Some("NFS"));
        // ext4, btrfs, xfs, tmpfs, zfs, overlay
        for local in [
            0xef53,
            0x9123_683e,
            0x5846_5342,
            0x0102_1994,
            0x2fc1_2fc1,
            0x794c_7630,
        ] {
            assert_eq!(network_name(local), None);
        }
    }
}
