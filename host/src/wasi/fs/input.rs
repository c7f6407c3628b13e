//! The inputs of a job: an immutable tree that appears, read-only, in `/work`.

use thiserror::Error;

use super::bytes::SharedBytes;
use super::{NAME_BYTES_MAX, PATH_BYTES_MAX};

/// Most files and directories in one tree.
pub const INPUT_NODES_MAX: usize = 1 << 20;

/// Something that cannot be added to an input tree.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum InputTreeError {
    /// A path that is empty, absolute or too long, or has an empty component, `.`, `..` or a NUL in it.
    #[error("{path:?} is not a path that an input can have")]
    BadPath {
        /// The path.
        path: String,
    },
    /// There is something with that path, or there is a file where a directory has to be.
    #[error("there is already an input at {path:?}")]
    Exists {
        /// The path.
        path: String,
    },
    /// More than [`INPUT_NODES_MAX`] files and directories.
    #[error("more than {INPUT_NODES_MAX} input files and directories")]
    TooMany,
}

#[derive(Clone, Debug)]
enum Entry {
    File(SharedBytes),
    /// Indices of the children, sorted by their names.
    Directory(Vec<u32>),
}

#[derive(Clone, Debug)]
struct InputNode {
    name: Box<str>,
    parent: u32,
    entry: Entry,
}

/// An immutable tree of files. What is at its top appears in `/work`.
///
/// Node 0 is the top directory.
#[derive(Clone, Debug)]
pub struct InputTree {
    nodes: Vec<InputNode>,
}

impl Default for InputTree {
    fn default() -> Self {
        let top = InputNode {
            name: "".into(),
            parent: 0,
            entry: Entry::Directory(Vec::new()),
        };
        Self { nodes: vec![top] }
    }
}

impl InputTree {
    /// A tree without any file.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file at `path` (relative, with `/` between components) and the directories that it needs.
    ///
    /// # Errors
    ///
    /// [`InputTreeError`]; the tree may then have some of the directories.
    pub fn add_file(&mut self, path: &str, contents: SharedBytes) -> Result<(), InputTreeError> {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        check_path(path)?;
        let parent = if directory.is_empty() {
            0
        } else {
            self.directory(directory)?
        };
        self.add(parent, name, Entry::File(contents))
            .map_err(|error| {
                error.unwrap_or_else(|| InputTreeError::Exists {
                    path: path.to_owned(),
                })
            })?;
        Ok(())
    }

    /// Adds a directory at `path`, and those above it; one that is there already is left as it is.
    ///
    /// # Errors
    ///
    /// [`InputTreeError`]; the tree may then have some of the directories.
    pub fn add_directory(&mut self, path: &str) -> Result<(), InputTreeError> {
        check_path(path)?;
        self.directory(path).map(|_| ())
    }

    /// Adds everything that is in `other` below the directory `path`.
    ///
    /// # Errors
    ///
    /// [`InputTreeError`]; the tree may then have some of it.
    pub fn graft(&mut self, path: &str, other: &Self) -> Result<(), InputTreeError> {
        check_path(path)?;
        self.directory(path)?;
        let mut waiting = vec![(path.to_owned(), 0u32)];
        while let Some((path, index)) = waiting.pop() {
            for child in other.children(index).unwrap_or_default() {
                let Some(node) = other.node(*child) else {
                    continue;
                };
                let path = format!("{path}/{}", node.name);
                match &node.entry {
                    Entry::File(contents) => self.add_file(&path, contents.clone())?,
                    Entry::Directory(_) => {
                        self.add_directory(&path)?;
                        waiting.push((path, *child));
                    }
                }
            }
        }
        Ok(())
    }

    /// How many files and directories there are, the top directory included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is nothing but the top directory.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.len() <= 1
    }

    fn directory(&mut self, path: &str) -> Result<u32, InputTreeError> {
        let exists = || InputTreeError::Exists {
            path: path.to_owned(),
        };
        let mut here = 0;
        for name in path.split('/') {
            here = match self.child(here, name) {
                Some(child) if self.children(child).is_some() => child,
                Some(_) => return Err(exists()),
                None => self
                    .add(here, name, Entry::Directory(Vec::new()))
                    .map_err(|error| error.unwrap_or_else(exists))?,
            };
        }
        Ok(here)
    }

    /// Adds a node; the error is `None` when the name is taken.
    fn add(
        &mut self,
        parent: u32,
        name: &str,
        entry: Entry,
    ) -> Result<u32, Option<InputTreeError>> {
        let index = u32::try_from(self.nodes.len())
            .ok()
            .filter(|_| self.nodes.len() < INPUT_NODES_MAX)
            .ok_or(Some(InputTreeError::TooMany))?;
        let place = self.search(parent, name).err().ok_or(None)?;
        self.nodes.push(InputNode {
            name: name.into(),
            parent,
            entry,
        });
        let parent = usize::try_from(parent)
            .ok()
            .and_then(|parent| self.nodes.get_mut(parent));
        if let Some(InputNode {
            entry: Entry::Directory(children),
            ..
        }) = parent
        {
            children.insert(place, index);
        }
        Ok(index)
    }

    fn search(&self, index: u32, name: &str) -> Result<usize, usize> {
        self.children(index)
            .unwrap_or_default()
            .binary_search_by(|child| self.name(*child).unwrap_or_default().cmp(name))
    }

    fn node(&self, index: u32) -> Option<&InputNode> {
        self.nodes.get(usize::try_from(index).ok()?)
    }

    /// A directory's children, in order of their names; `None` for a file.
    pub(crate) fn children(&self, index: u32) -> Option<&[u32]> {
        match &self.node(index)?.entry {
            Entry::Directory(children) => Some(children),
            Entry::File(_) => None,
        }
    }

    /// The child called `name`.
    pub(crate) fn child(&self, index: u32, name: &str) -> Option<u32> {
        let place = self.search(index, name).ok()?;
        self.children(index)?.get(place).copied()
    }

    /// A node's name.
    pub(crate) fn name(&self, index: u32) -> Option<&str> {
        Some(&self.node(index)?.name)
    }

    /// The directory that a node is in.
    pub(crate) fn parent(&self, index: u32) -> Option<u32> {
        Some(self.node(index)?.parent)
    }

    /// A file's contents; `None` for a directory.
    pub(crate) fn contents(&self, index: u32) -> Option<&[u8]> {
        match &self.node(index)?.entry {
            Entry::File(contents) => Some(contents.as_slice()),
            Entry::Directory(_) => None,
        }
    }
}

fn check_path(path: &str) -> Result<(), InputTreeError> {
    let good = path.len() <= PATH_BYTES_MAX
        && path.split('/').all(|name| {
            !matches!(name, "" | "." | "..") && name.len() <= NAME_BYTES_MAX && !name.contains('\0')
        });
    if good {
        Ok(())
    } else {
        Err(InputTreeError::BadPath {
            path: path.to_owned(),
        })
    }
}
