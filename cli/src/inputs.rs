//! What tasks are given to read: `--input` files and directories, and standard input.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ppwasm_host::wasi::inputs::{InputLimits, InputReader};
use ppwasm_host::wasi::{InputTree, SharedBytes};

use crate::failure::{Because, Failure, Result};
use crate::units::Size;

/// Most bytes of standard input and of a JSON file: what a task could hold at most.
pub(crate) const READ_BYTES_MAX: u64 = 1 << 30;

/// Reads the `--input`s in. `None` when there are none.
pub(crate) fn read(inputs: &[PathBuf]) -> Result<Option<Arc<InputTree>>> {
    let mut reader = InputReader::new(InputLimits::default());
    let mut names = HashSet::new();
    for input in inputs {
        let (path, name) = split(input)?;
        let shown = path.display();
        if let Some(name) = name.or_else(|| path.file_name().and_then(|name| name.to_str()))
            && !names.insert(name.to_owned())
        {
            return Err(Failure::usage(format!(
                "--input: two inputs have the name {name:?}; give one another name with --input {shown}=NAME"
            )));
        }
        reader.add(path, name).usage(format!("--input {shown}"))?;
    }
    Ok((!inputs.is_empty()).then(|| Arc::new(reader.finish())))
}

/// Takes `PATH[=NAME]` apart. A path whose whole name it is comes first.
fn split(input: &Path) -> Result<(&Path, Option<&str>)> {
    match input.to_str().and_then(|text| text.rsplit_once('=')) {
        Some((path, name)) if !input.exists() => {
            if path.is_empty() || name.is_empty() {
                let input = input.display();
                return Err(Failure::usage(format!(
                    "--input {input}: write it as PATH or PATH=NAME"
                )));
            }
            Ok((Path::new(path), Some(name)))
        }
        _ => Ok((input, None)),
    }
}

/// What `--stdin` gives.
pub(crate) fn stdin(from: Option<&Path>) -> Result<SharedBytes> {
    let Some(path) = from else {
        return Ok(SharedBytes::EMPTY);
    };
    read_all(path, "--stdin").map(SharedBytes::from)
}

/// All of a file, or of standard input for `-`, for `flag`.
pub(crate) fn read_all(path: &Path, flag: &str) -> Result<Vec<u8>> {
    let what = || format!("{flag}: could not read {}", path.display());
    let mut source = open(path, flag)?.take(READ_BYTES_MAX + 1);
    let mut bytes = Vec::new();
    source.read_to_end(&mut bytes).usage(what())?;
    if bytes.len() as u64 > READ_BYTES_MAX {
        let max = Size(READ_BYTES_MAX);
        return Err(Failure::usage(format!(
            "{flag}: {} has more than {max}",
            path.display()
        )));
    }
    Ok(bytes)
}

/// A file, or standard input for `-`, to be read for `flag`.
pub(crate) fn open(path: &Path, flag: &str) -> Result<Box<dyn Read + Send>> {
    if is_stdin(path) {
        return Ok(Box::new(io::stdin()));
    }
    let what = || format!("{flag}: could not open {}", path.display());
    let file = File::open(path).usage(what())?;
    if file.metadata().usage(what())?.is_dir() {
        return Err(Failure::usage(format!(
            "{flag}: {} is a directory",
            path.display()
        )));
    }
    Ok(Box::new(file))
}

/// Whether a path stands for this command's own standard input.
pub(crate) fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}
