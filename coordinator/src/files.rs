//! Small files of the coordinator's folder: whole or not there.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use crate::disk::sync_folder;

/// Writes a file in the place of one that may be there, durably. Its folder is made, for its owner only, if need be.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)?;
    let mut temporary = name.to_owned();
    temporary.push(format!(".new-{}", std::process::id()));
    let temporary = folder.join(temporary);
    let mut options = File::options();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        sync_folder(folder)
    });
    written.inspect_err(|_| {
        // What is left over is not looked for again; that it cannot be removed changes nothing.
        let _ = fs::remove_file(&temporary);
    })
}
