//! The cache directory: what was built once for this machine and is read again later.
//!
//! Entries appear whole or not at all (written beside their place, then renamed), two processes that
//! build the same entry wait for each other by a lock on a file, and an entry that does not hold is
//! removed and built again. Losing the directory costs time and nothing else.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// A folder of cached entries.
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    root: PathBuf,
}

/// A lock on the building of one entry; released when dropped, also by a process that dies.
pub(crate) struct BuildLock {
    _file: File,
}

/// What went wrong with the cache, and where.
#[derive(Debug, thiserror::Error)]
#[error("could not {action} {}", path.display())]
pub struct CacheError {
    action: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl CacheError {
    pub(crate) fn new(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self {
            action,
            path: path.to_owned(),
            source,
        }
    }

    /// True when the file system has no room left (or the user's quota is used up).
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        matches!(
            self.source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        )
    }
}

impl Cache {
    /// The directory that applies when nothing else is said: `PPWASM_CACHE_DIR`, else `ppwasm` in the
    /// user's cache directory, else in the directory for temporary files.
    pub(crate) fn default_root() -> PathBuf {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        if let Some(dir) = variable("PPWASM_CACHE_DIR") {
            return dir.into();
        }
        let parent = variable("XDG_CACHE_HOME").map(PathBuf::from).or_else(|| {
            let home = PathBuf::from(variable("HOME")?);
            Some(if cfg!(target_os = "macos") {
                home.join("Library/Caches")
            } else {
                home.join(".cache")
            })
        });
        let parent = parent.or_else(|| variable("LOCALAPPDATA").map(PathBuf::from));
        parent.unwrap_or_else(std::env::temp_dir).join("ppwasm")
    }

    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Waits until no other process builds `name`.
    pub(crate) fn lock(&self, name: &str) -> Result<BuildLock, CacheError> {
        let path = self.path(&format!("{name}.lock"));
        self.make_parent(&path)?;
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|source| CacheError::new("open", &path, source))?;
        file.lock()
            .map_err(|source| CacheError::new("lock", &path, source))?;
        Ok(BuildLock { _file: file })
    }

    /// Writes a file so that it is there whole or not at all, readable by its owner only.
    pub(crate) fn write(&self, name: &str, parts: &[&[u8]]) -> Result<(), CacheError> {
        let path = self.path(name);
        let parent = self.make_parent(&path)?;
        let failed = |source| CacheError::new("write", &path, source);
        let mut file = tempfile::Builder::new()
            .prefix(".new-")
            .tempfile_in(parent)
            .map_err(failed)?;
        for part in parts {
            file.write_all(part).map_err(failed)?;
        }
        file.persist(&path).map_err(|error| failed(error.error))?;
        Ok(())
    }

    /// Writes a file unless it is there already; true when this call wrote it.
    pub(crate) fn write_new(&self, name: &str, bytes: &[u8]) -> Result<bool, CacheError> {
        let path = self.path(name);
        let parent = self.make_parent(&path)?;
        let failed = |source| CacheError::new("write", &path, source);
        let mut file = tempfile::Builder::new()
            .prefix(".new-")
            .tempfile_in(parent)
            .map_err(failed)?;
        file.write_all(bytes).map_err(failed)?;
        match file.persist_noclobber(&path) {
            Ok(_) => Ok(true),
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(failed(error.error)),
        }
    }

    /// The file's bytes, or `None` when it is not there.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, CacheError> {
        let path = self.path(name);
        match File::open(&path) {
            Ok(mut file) => {
                let mut bytes = Vec::new();
                match file.read_to_end(&mut bytes) {
                    Ok(_) => Ok(Some(bytes)),
                    Err(source) => Err(CacheError::new("read", &path, source)),
                }
            }
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(CacheError::new("open", &path, source)),
        }
    }

    /// The first bytes of an image file, as far as its header and digest go; `None` when it is not
    /// there or shorter than it says.
    pub(crate) fn read_front(&self, name: &str) -> Result<Option<Vec<u8>>, CacheError> {
        let path = self.path(name);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(CacheError::new("open", &path, source)),
        };
        let mut front = vec![0; 12];
        if file.read_exact(&mut front).is_err() {
            return Ok(None);
        }
        let header = front
            .iter()
            .rev()
            .take(4)
            .fold(0u64, |len, &byte| len << 8 | u64::from(byte));
        let rest = header.min(u64::from(crate::image::HEADER_BYTES_MAX)) + 32;
        match file.take(rest).read_to_end(&mut front) {
            Ok(_) => Ok(Some(front)),
            Err(source) => Err(CacheError::new("read", &path, source)),
        }
    }

    /// Removes an entry that does not hold. That it is gone already is as good.
    pub(crate) fn remove(&self, name: &str) {
        let _ = fs::remove_file(self.path(name));
    }

    fn make_parent<'a>(&self, path: &'a Path) -> Result<&'a Path, CacheError> {
        let parent = path.parent().unwrap_or(path);
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder
            .create(parent)
            .map_err(|source| CacheError::new("create", parent, source))?;
        Ok(parent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_whole_private_and_written_once() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(dir.path().join("deep/er"));
        assert!(cache.read("a/b").unwrap().is_none());
        cache.write("a/b", &[b"12", b"34"]).unwrap();
        assert_eq!(cache.read("a/b").unwrap().as_deref(), Some(&b"1234"[..]));
        assert!(!cache.write_new("a/b", b"other").unwrap());
        assert!(cache.write_new("a/c", b"new").unwrap());
        assert_eq!(cache.read("a/b").unwrap().as_deref(), Some(&b"1234"[..]));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(cache.path("a/b"))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o077, 0);
        }
        cache.remove("a/b");
        assert!(cache.read("a/b").unwrap().is_none());
    }

    #[test]
    fn a_second_builder_waits_for_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(dir.path().to_owned());
        let first = cache.lock("x").unwrap();
        let other = cache.clone();
        let (sender, receiver) = std::sync::mpsc::channel();
        let waiter = std::thread::spawn(move || {
            let _second = other.lock("x").unwrap();
            sender.send(()).unwrap();
        });
        assert!(
            receiver
                .recv_timeout(std::time::Duration::from_millis(50))
                .is_err()
        );
        drop(first);
        receiver
            .recv_timeout(std::time::Duration::from_secs(10))
            .unwrap();
        waiter.join().unwrap();
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, b"x").unwrap();
        let error = Cache::new(file.join("below"))
            .write("a", &[b"x"])
            .unwrap_err();
        assert!(error.to_string().contains("below"), "{error}");
    }
}
