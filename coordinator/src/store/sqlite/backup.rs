//! Copies a store that is in use.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ppwasm_proto::Digest;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::{BLOB_FOLDER, STORE_FILE, seal};
use crate::blobs::{BlobLimits, Blobs};
use crate::disk::{sync_file, sync_folder};
use crate::faults::Faults;
use crate::store::ReadError;

/// Copies the store in `folder`, which a coordinator may use meanwhile, into the new folder `to`.
///
/// # Errors
///
/// There is no store, `to` exists, or the disk fails.
pub fn backup_store(folder: &Path, to: &Path) -> Result<(), ReadError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(folder.join(STORE_FILE), flags)?;
    let blobs = Blobs::open(&folder.join(BLOB_FOLDER), BlobLimits::default())?;
    let failed = |source| ReadError::Io {
        action: "copy",
        path: blobs.root().to_owned(),
        source,
    };
    fs::create_dir(to).map_err(|source| ReadError::Io {
        action: "make",
        path: to.to_owned(),
        source,
    })?;
    // Every blob first: one that is named when the tables are copied was there now, or is too new to be removed.
    let mut all = Vec::new();
    blobs.each(|digest, _| {
        all.push(digest);
        Ok(())
    })?;
    let target = to.join(BLOB_FOLDER);
    for digest in all {
        match copy_blob(&blobs, &digest, &target) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
    }
    copy(&db, &blobs, to)
}

/// Copies the tables as they are at this moment, and every blob they name, into a new folder. Nobody removes blobs
/// meanwhile: the caller sees to that.
pub(super) fn backup(db: &Connection, blobs: &Blobs, folder: &Path) -> Result<(), ReadError> {
    let failed = |action, path: &Path| {
        let path = path.to_owned();
        move |source| ReadError::Io {
            action,
            path,
            source,
        }
    };
    fs::create_dir(folder).map_err(failed("make", folder))?;
    copy(db, blobs, folder)
}

fn copy(db: &Connection, blobs: &Blobs, folder: &Path) -> Result<(), ReadError> {
    let failed = |action, path: &Path| {
        let path = path.to_owned();
        move |source| ReadError::Io {
            action,
            path,
            source,
        }
    };
    let unfinished = folder.join(".unfinished");
    let mut copy = Connection::open(&unfinished)?;
    // In one step: in several, each write in between would make it begin anew.
    let step = Backup::new(db, &mut copy)?.step(-1)?;
    if step != StepResult::Done {
        let source = io::ErrorKind::ResourceBusy.into();
        return Err(failed("copy", folder)(source));
    }
    let epoch = super::read::meta(&copy)?.epoch;
    copy.close().map_err(|(_, error)| error)?;
    sync_file(&unfinished).map_err(failed("sync", &unfinished))?;
    let mut find = db.prepare("SELECT digest FROM blob")?;
    let mut rows = find.query([])?;
    let target = folder.join(BLOB_FOLDER);
    while let Some(found) = rows.next()? {
        let digest = Digest::from_bytes(super::row::at(found, 0)?);
        copy_blob(blobs, &digest, &target).map_err(failed("copy", &blobs.path(&digest)))?;
    }
    // Last, so that what has the name is whole.
    let path = folder.join(STORE_FILE);
    seal::put_for(&unfinished, &path, epoch, &Faults::default()).map_err(failed("seal", &path))?;
    fs::rename(&unfinished, &path).map_err(failed("name", &path))?;
    sync_folder(folder).map_err(failed("sync", folder))
}

/// A blob never changes, so that both may be the same file.
fn copy_blob(blobs: &Blobs, digest: &Digest, target: &Path) -> io::Result<()> {
    let from = blobs.path(digest);
    let place: PathBuf = from.strip_prefix(blobs.root()).unwrap_or(&from).to_owned();
    let to = target.join(place);
    let folder = to.parent().unwrap_or(target);
    if to.exists() {
        return Ok(());
    }
    fs::create_dir_all(folder)?;
    if fs::hard_link(&from, &to).is_err() {
        fs::copy(&from, &to)?;
        sync_file(&to)?;
    }
    // New folders up to the copy's own, which is synced at the end.
    let mut new = folder
        .ancestors()
        .take_while(|above| above.starts_with(target));
    new.try_for_each(sync_folder)
}
