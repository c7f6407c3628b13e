//! Files of keys and certificates: written whole or not at all, keys for their owner only.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

use crate::error::FileError;

/// Bytes of a file that is read here.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// Makes a folder that only its owner can enter, if there is none.
pub(crate) fn make_folder(path: &Path) -> Result<(), FileError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(|source| FileError::Write {
        path: path.to_owned(),
        source,
    })
}

/// Writes a file for its owner only, in the place of one that may be there: as a whole, and durably.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let failed = |source| FileError::Write {
        path: path.to_owned(),
        source,
    };
    let (folder, name) = path
        .parent()
        .zip(path.file_name())
        .ok_or_else(|| failed(io::Error::from(io::ErrorKind::InvalidInput)))?;
    let mut temporary = name.to_owned();
    temporary.push(format!(".new-{}", std::process::id()));
    let temporary = folder.join(temporary);
    let written = create(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        sync_folder(folder)
    });
    written.map_err(|source| {
        // What is left over is not looked for again; that it cannot be removed changes nothing.
        let _ = fs::remove_file(&temporary);
        failed(source)
    })
}

fn create(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(path)?.sync_all()?;
    }
    Ok(())
}

/// Reads a file, `None` when there is none. A file with a key in it must be closed to others.
pub(crate) fn read(path: &Path, holds_key: bool) -> Result<Option<Vec<u8>>, FileError> {
    let failed = |source| FileError::Read {
        path: path.to_owned(),
        source,
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(failed(source)),
    };
    let metadata = file.metadata().map_err(failed)?;
    #[cfg(unix)]
    if holds_key {
        use std::os::unix::fs::PermissionsExt;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(FileError::OpenToOthers {
                path: path.to_owned(),
                mode,
            });
        }
    }
    #[cfg(not(unix))]
    let _ = holds_key;
    let bytes = metadata.len();
    if bytes > FILE_BYTES_MAX {
        return Err(FileError::TooLarge {
            path: path.to_owned(),
            bytes,
            max: FILE_BYTES_MAX,
        });
    }
    let mut content = Vec::new();
    let read = file.take(FILE_BYTES_MAX).read_to_end(&mut content);
    read.map_err(failed)?;
    Ok(Some(content))
}
