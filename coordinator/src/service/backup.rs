//! A copy of a coordinator's folder from which another one can be started.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::folder::{
    ARTIFACT_KEY_FILE, AUTHORITY_FOLDER, COORDINATOR_FILE, OPERATOR_FILE, STORE_FOLDER,
};
use super::make_private_folder;
use crate::disk::sync_file;
use crate::store::{ReadError, backup_store};

/// Why a folder was not copied. What was copied until then is not removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The copy would go into something that is there.
    #[error("{} is there already", path.display())]
    Exists {
        /// Where.
        path: PathBuf,
    },
    /// There is no coordinator's folder.
    #[error("{} is not a coordinator's folder", path.display())]
    NotOne {
        /// Where.
        path: PathBuf,
    },
    /// The store could not be copied.
    #[error("could not copy the store")]
    Store(#[from] ReadError),
    /// A file could not be copied.
    #[error("could not copy {}", path.display())]
    Copy {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Copies `folder` into the new folder `to`, whether a coordinator runs in it or not.
///
/// # Errors
///
/// [`BackupError`] says what is in the way.
pub fn backup(folder: &Path, to: &Path) -> Result<(), BackupError> {
    let authority = folder.join(AUTHORITY_FOLDER);
    if !authority.is_dir() || !folder.join(STORE_FOLDER).is_dir() {
        let path = folder.to_owned();
        return Err(BackupError::NotOne { path });
    }
    if to.exists() {
        let path = to.to_owned();
        return Err(BackupError::Exists { path });
    }
    let make = |path: &Path| {
        make_private_folder(path).map_err(|source| BackupError::Copy {
            path: path.to_owned(),
            source,
        })
    };
    make(to)?;
    backup_store(&folder.join(STORE_FOLDER), &to.join(STORE_FOLDER))?;
    for name in [ARTIFACT_KEY_FILE, COORDINATOR_FILE, OPERATOR_FILE] {
        copy(&folder.join(name), &to.join(name))?;
    }
    let target = to.join(AUTHORITY_FOLDER);
    make(&target)?;
    let failed = |source| BackupError::Copy {
        path: authority.clone(),
        source,
    };
    for entry in fs::read_dir(&authority).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        copy(&entry.path(), &target.join(entry.file_name()))?;
    }
    Ok(())
}

/// Copies a file with its mode; one that is not there is left out.
fn copy(from: &Path, to: &Path) -> Result<(), BackupError> {
    let copied = fs::copy(from, to).and_then(|_| sync_file(to));
    match copied {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        copied => copied.map_err(|source| BackupError::Copy {
            path: from.to_owned(),
            source,
        }),
    }
}
