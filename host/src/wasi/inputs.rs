//! Reads files and directories of the machine into an [`InputTree`], before a job runs.
//!
//! Only regular files and directories are taken in. A symbolic link is followed when it leads to something inside the
//! path that was granted, and refused otherwise; the granted path itself may be one. Pipes, devices and sockets are
//! refused. Whoever can change a directory while it is read can make a link lead elsewhere between the check and the
//! reading: grant directories that only the submitting user can write to.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::fs::{InputTree, InputTreeError, SharedBytes};

/// How much may be read in for one job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InputLimits {
    /// Files and directories.
    pub nodes_max: usize,
    /// Bytes of all files.
    pub bytes_max: u64,
    /// Directories inside each other, below the path that was granted.
    pub depth_max: usize,
}

impl Default for InputLimits {
    /// 100,000 files and directories, 1 GiB, 64 levels.
    fn default() -> Self {
        Self {
            nodes_max: 100_000,
            bytes_max: 1 << 30,
            depth_max: 64,
        }
    }
}

/// Why an input cannot be read in.
#[derive(Debug, Error)]
pub enum InputError {
    /// Something could not be read.
    #[error("cannot read input {}", path.display())]
    Read {
        /// What.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A symbolic link to something outside the granted path.
    #[error("input {} is a symbolic link that leads out of {}", path.display(), granted.display())]
    SymlinkOutside {
        /// The link.
        path: PathBuf,
        /// The granted path.
        granted: PathBuf,
    },
    /// A symbolic link to a directory that it is in.
    #[error("input {} is a symbolic link to a directory that it is in", path.display())]
    SymlinkLoop {
        /// The link.
        path: PathBuf,
    },
    /// A pipe, device or socket.
    #[error("input {} is neither a file nor a directory", path.display())]
    SpecialFile {
        /// What.
        path: PathBuf,
    },
    /// A name that is not UTF-8.
    #[error("input {} has a name that is not UTF-8", path.display())]
    NotUtf8 {
        /// What.
        path: PathBuf,
    },
    /// A path that has no name to go by, as `/` and `..`.
    #[error("input {} needs a name to go by", path.display())]
    NoName {
        /// The granted path.
        path: PathBuf,
    },
    /// More than [`InputLimits::nodes_max`].
    #[error("more than {nodes_max} input files and directories")]
    TooManyNodes {
        /// The limit.
        nodes_max: usize,
    },
    /// More than [`InputLimits::bytes_max`].
    #[error("input files have more than {bytes_max} bytes")]
    TooManyBytes {
        /// The limit.
        bytes_max: u64,
    },
    /// More than [`InputLimits::depth_max`].
    #[error("input {} is more than {depth_max} directories deep", path.display())]
    TooDeep {
        /// What.
        path: PathBuf,
        /// The limit.
        depth_max: usize,
    },
    /// It has no place in the tree.
    #[error("cannot grant the input under that name")]
    Place(#[from] InputTreeError),
}

/// Reads granted paths into one tree.
#[derive(Debug, Default)]
pub struct InputReader {
    tree: InputTree,
    limits: InputLimits,
    nodes: usize,
    bytes: u64,
}

/// A granted path while it is read.
struct Grant {
    /// The path without symbolic links.
    root: PathBuf,
    /// The directories that are being read, outermost first, without symbolic links.
    inside: Vec<PathBuf>,
}

impl InputReader {
    /// A reader that has read nothing.
    #[must_use]
    pub fn new(limits: InputLimits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// Reads a file or directory. It appears as `/work/NAME`; without a name, under the last component of `path`.
    ///
    /// # Errors
    ///
    /// [`InputError`]; some of a directory may then have been read.
    pub fn add(&mut self, path: &Path, name: Option<&str>) -> Result<(), InputError> {
        let name = match name {
            Some(name) => name,
            None => path
                .file_name()
                .ok_or_else(|| InputError::NoName {
                    path: path.to_owned(),
                })?
                .to_str()
                .ok_or_else(|| InputError::NotUtf8 {
                    path: path.to_owned(),
                })?,
        };
        let root = path
            .canonicalize()
            .map_err(|source| reading(path, source))?;
        let metadata = fs::symlink_metadata(&root).map_err(|source| reading(path, source))?;
        let mut grant = Grant {
            root: root.clone(),
            inside: Vec::new(),
        };
        self.take(&mut grant, root, &metadata, name)
    }

    /// The tree.
    #[must_use]
    pub fn finish(self) -> InputTree {
        self.tree
    }

    /// Takes in what is at `path`, which has no symbolic links in it.
    fn take(
        &mut self,
        grant: &mut Grant,
        path: PathBuf,
        metadata: &Metadata,
        name: &str,
    ) -> Result<(), InputError> {
        self.nodes += 1;
        if self.nodes > self.limits.nodes_max {
            return Err(InputError::TooManyNodes {
                nodes_max: self.limits.nodes_max,
            });
        }
        if metadata.is_file() {
            let contents = self.read(&path)?;
            Ok(self.tree.add_file(name, contents)?)
        } else if metadata.is_dir() {
            if grant.inside.len() >= self.limits.depth_max {
                return Err(InputError::TooDeep {
                    path,
                    depth_max: self.limits.depth_max,
                });
            }
            self.tree.add_directory(name)?;
            grant.inside.push(path);
            let taken = self.take_entries(grant, name);
            grant.inside.pop();
            taken
        } else {
            Err(InputError::SpecialFile { path })
        }
    }

    /// Takes in what is in the innermost directory of the grant.
    fn take_entries(&mut self, grant: &mut Grant, name: &str) -> Result<(), InputError> {
        let Some(directory) = grant.inside.last().cloned() else {
            return Ok(());
        };
        let entries = fs::read_dir(&directory)
            .and_then(|entries| {
                // More than this many cannot be taken in anyway.
                let most = self
                    .limits
                    .nodes_max
                    .saturating_sub(self.nodes)
                    .saturating_add(1);
                entries
                    .take(most)
                    .map(|entry| Ok(entry?.file_name()))
                    .collect::<io::Result<Vec<_>>>()
            })
            .map_err(|source| reading(&directory, source))?;
        let mut entries = entries;
        entries.sort();
        for entry in entries {
            let path = directory.join(&entry);
            let Some(entry) = entry.to_str() else {
                return Err(InputError::NotUtf8 { path });
            };
            let metadata = fs::symlink_metadata(&path).map_err(|source| reading(&path, source))?;
            let name = format!("{name}/{entry}");
            if metadata.is_symlink() {
                let (path, metadata) = follow(grant, &path)?;
                self.take(grant, path, &metadata, &name)?;
            } else {
                self.take(grant, path, &metadata, &name)?;
            }
        }
        Ok(())
    }

    fn read(&mut self, path: &Path) -> Result<SharedBytes, InputError> {
        let mut file = open(path).map_err(|source| reading(path, source))?;
        let metadata = file.metadata().map_err(|source| reading(path, source))?;
        if !metadata.is_file() {
            return Err(InputError::SpecialFile {
                path: path.to_owned(),
            });
        }
        let room = self.limits.bytes_max.saturating_sub(self.bytes);
        let too_many = InputError::TooManyBytes {
            bytes_max: self.limits.bytes_max,
        };
        if metadata.len() > room {
            return Err(too_many);
        }
        let mut contents = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
        Read::by_ref(&mut file)
            .take(room.saturating_add(1))
            .read_to_end(&mut contents)
            .map_err(|source| reading(path, source))?;
        let len = u64::try_from(contents.len()).unwrap_or(u64::MAX);
        if len > room {
            return Err(too_many);
        }
        self.bytes = self.bytes.saturating_add(len);
        Ok(contents.into())
    }
}

fn reading(path: &Path, source: io::Error) -> InputError {
    InputError::Read {
        path: path.to_owned(),
        source,
    }
}

/// Where a symbolic link in a granted directory leads, all the way.
fn follow(grant: &Grant, path: &Path) -> Result<(PathBuf, Metadata), InputError> {
    let target = path
        .canonicalize()
        .map_err(|source| reading(path, source))?;
    if !target.starts_with(&grant.root) {
        return Err(InputError::SymlinkOutside {
            path: path.to_owned(),
            granted: grant.root.clone(),
        });
    }
    if grant.inside.contains(&target) {
        return Err(InputError::SymlinkLoop {
            path: path.to_owned(),
        });
    }
    let metadata = fs::symlink_metadata(&target).map_err(|source| reading(path, source))?;
    Ok((target, metadata))
}

/// Opens a file that was no symbolic link and no pipe a moment ago, without following the one or waiting for the other.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    }
    options.open(path)
}
