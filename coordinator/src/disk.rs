//! What is asked of a file system beyond the standard library, on every system.

use std::fs::File;
use std::io;
use std::path::Path;

/// Bytes that somebody without privileges can still write to the file system of `path`.
///
/// # Errors
///
/// The system does not say; [`io::ErrorKind::Unsupported`] where it is not known how to ask (see [`is_not_told`]).
#[cfg(unix)]
pub(crate) fn free_bytes(path: &Path) -> io::Result<u64> {
    let found = rustix::fs::statvfs(path)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// It is not known how to ask: a full disk is met by writing.
#[cfg(not(unix))]
pub(crate) fn free_bytes(_: &Path) -> io::Result<u64> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Whether nobody can say here how much is free, so that nothing is refused for it in advance.
pub(crate) fn is_not_told(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Unsupported
}

/// Sees to it that the names in a folder survive a loss of power. Only on Unix can a folder be synced; elsewhere the file
/// system is relied on to order what it does with names.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    match cfg!(unix) {
        true => File::open(path)?.sync_all(),
        false => Ok(()),
    }
}

/// Sees to it that a file that is there, and that this user may write, survives a loss of power.
pub(crate) fn sync_file(path: &Path) -> io::Result<()> {
    // Windows syncs only what is open for writing.
    let mut options = File::options();
    options.read(true).write(!cfg!(unix));
    options.open(path)?.sync_all()
}
