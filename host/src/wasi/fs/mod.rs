//! The tree that a guest sees, in memory: a fixed frame with the library, the job's inputs and the scratch space in it.
//!
//! | path | is |
//! |---|---|
//! | `/`, `/lib` | the frame, read-only |
//! | `/lib/python3.13` | the [`Library`], read-only |
//! | `/work` | scratch, with the [`InputTree`]'s files in it, read-only |
//! | `/tmp` | scratch |
//!
//! One device, inode numbers by place in the tree. Reading a file does not set its access time. Files that are not in
//! scratch have a fixed time.

mod bytes;
mod directory;
mod input;
mod library;
mod packed;
mod path;
mod restore;
mod scratch;

use std::sync::Arc;

pub use bytes::SharedBytes;
pub(crate) use directory::Directory;
pub use input::{INPUT_NODES_MAX, InputTree, InputTreeError};
pub use library::{LIBRARY_ENTRIES_MAX, Library, LibraryError};
pub use packed::PackedTreeError;
pub(crate) use path::{Follow, Found};
pub use scratch::ScratchLimits;
pub(crate) use scratch::{Body, Inode, Scratch, TMP, WORK};

use super::errno::Errno;
use super::types::{Filestat, Filetype, Times};

/// Longest path in bytes, as `PATH_MAX` on Linux.
pub const PATH_BYTES_MAX: usize = 4096;
/// Longest name of a file in bytes, as `NAME_MAX` on Linux.
pub const NAME_BYTES_MAX: usize = 255;

/// The times of everything that is not in scratch, and of scratch directories before anything changed in them:
/// 1980-01-01, the first day that zip archives can name.
pub(crate) const FIXED_TIME_NS: u64 = 315_532_800_000_000_000;

/// Name of the library's directory in `/lib`.
const LIBRARY_NAME: &str = "python3.13";

/// A place in the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Node {
    /// `/`
    Root,
    /// `/lib`
    Lib,
    /// `/lib/python3.13` and below, by the library's index.
    Library(u32),
    /// An input, by the input tree's index; the tree's top is `/work` itself.
    Input(u32),
    /// `/work`, `/tmp` and below, by inode.
    Scratch(u32),
}

/// Cookies of a listing from here on are labels in a scratch directory; below it they are positions.
const LABEL_COOKIES: u64 = 1 << 62;

/// The file system of one sandbox.
#[derive(Debug)]
pub(crate) struct Fs {
    pub(crate) library: Arc<Library>,
    pub(crate) inputs: Option<Arc<InputTree>>,
    /// Made when something is first written.
    pub(crate) scratch: Option<Box<Scratch>>,
    pub(crate) limits: ScratchLimits,
}

/// An entry of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DirEntry<'a> {
    /// The cookie that continues the listing after this entry.
    pub(crate) next: u64,
    pub(crate) name: &'a str,
    pub(crate) node: Node,
    pub(crate) filetype: Filetype,
}

impl Fs {
    /// A file system with the library and nothing else.
    pub(crate) fn new(library: Arc<Library>) -> Self {
        Self {
            library,
            inputs: None,
            scratch: None,
            limits: ScratchLimits::default(),
        }
    }

    /// The scratch space, made when it is not there.
    pub(crate) fn scratch_mut(&mut self) -> &mut Scratch {
        let limits = self.limits;
        self.scratch
            .get_or_insert_with(|| Box::new(Scratch::new(limits, FIXED_TIME_NS)))
    }

    /// The number by which a guest tells nodes apart.
    pub(crate) fn ino(node: Node) -> u64 {
        match node {
            Node::Root => 1,
            Node::Lib => 2,
            Node::Library(index) => 1 << 32 | u64::from(index),
            Node::Input(index) => 2 << 32 | u64::from(index),
            Node::Scratch(inode) => 3 << 32 | u64::from(inode),
        }
    }

    /// What a node is.
    pub(crate) fn filetype(&self, node: Node) -> Result<Filetype, Errno> {
        let file_or = |directory: bool| {
            if directory {
                Filetype::Directory
            } else {
                Filetype::RegularFile
            }
        };
        match node {
            Node::Root | Node::Lib => Ok(Filetype::Directory),
            Node::Library(index) => Ok(file_or(self.library.children(index).is_some())),
            Node::Input(index) => Ok(file_or(self.input_tree()?.children(index).is_some())),
            Node::Scratch(inode) => match &self.scratch {
                Some(scratch) => Ok(scratch.inode(inode).ok_or(Errno::NOENT)?.filetype()),
                None if inode == WORK || inode == TMP => Ok(Filetype::Directory),
                None => Err(Errno::NOENT),
            },
        }
    }

    fn input_tree(&self) -> Result<&InputTree, Errno> {
        self.inputs.as_deref().ok_or(Errno::NOENT)
    }

    /// A node's attributes.
    pub(crate) fn stat(&self, node: Node) -> Result<Filestat, Errno> {
        let filetype = self.filetype(node)?;
        let mut stat = Filestat {
            ino: Self::ino(node),
            filetype,
            nlink: 1,
            size: 0,
            times: Times::all(FIXED_TIME_NS),
        };
        match node {
            Node::Root | Node::Lib => {}
            Node::Library(_) | Node::Input(_) => {
                if filetype == Filetype::RegularFile {
                    stat.size = u64::try_from(self.contents(node)?.len()).unwrap_or(u64::MAX);
                }
            }
            Node::Scratch(inode) => {
                if let Some(inode) = self
                    .scratch
                    .as_ref()
                    .and_then(|scratch| scratch.inode(inode))
                {
                    stat.nlink = u64::from(inode.links);
                    stat.size = inode.size();
                    stat.times = inode.times;
                }
            }
        }
        Ok(stat)
    }

    /// A file's contents.
    pub(crate) fn contents(&self, node: Node) -> Result<&[u8], Errno> {
        match node {
            Node::Root | Node::Lib => Err(Errno::ISDIR),
            Node::Library(index) => self.library.contents(index).ok_or(Errno::ISDIR),
            Node::Input(index) => self.input_tree()?.contents(index).ok_or(Errno::ISDIR),
            Node::Scratch(inode) => self.scratch.as_ref().ok_or(Errno::ISDIR)?.contents(inode),
        }
    }

    /// A symbolic link's target; `None` for everything else.
    pub(crate) fn symlink(&self, node: Node) -> Option<&str> {
        let Node::Scratch(inode) = node else {
            return None;
        };
        match &self.scratch.as_ref()?.inode(inode)?.body {
            Body::Symlink(target) => Some(target),
            _ => None,
        }
    }

    /// What is called `name` in a directory.
    pub(crate) fn child(&self, directory: Node, name: &str) -> Result<Option<Node>, Errno> {
        match directory {
            Node::Root => Ok(match name {
                "lib" => Some(Node::Lib),
                "tmp" => Some(Node::Scratch(TMP)),
                "work" => Some(Node::Scratch(WORK)),
                _ => None,
            }),
            Node::Lib => Ok((name == LIBRARY_NAME).then_some(Node::Library(0))),
            Node::Library(index) => {
                self.library.children(index).ok_or(Errno::NOTDIR)?;
                Ok(self.library.child(index, name).map(Node::Library))
            }
            Node::Input(index) => {
                let inputs = self.input_tree()?;
                inputs.children(index).ok_or(Errno::NOTDIR)?;
                Ok(inputs.child(index, name).map(Node::Input))
            }
            Node::Scratch(inode) => {
                if let (WORK, Some(inputs)) = (inode, &self.inputs)
                    && let Some(index) = inputs.child(0, name)
                {
                    return Ok(Some(Node::Input(index)));
                }
                match &self.scratch {
                    Some(scratch) => Ok(scratch.directory(inode)?.child(name).map(Node::Scratch)),
                    None => Ok(None),
                }
            }
        }
    }

    /// The directory that a directory is in; the root is in itself.
    pub(crate) fn parent(&self, directory: Node) -> Result<Node, Errno> {
        Ok(match directory {
            Node::Root | Node::Lib | Node::Scratch(WORK | TMP) => Node::Root,
            Node::Library(0) => Node::Lib,
            Node::Library(index) => Node::Library(self.library.parent(index).ok_or(Errno::NOENT)?),
            Node::Input(index) => match self.input_tree()?.parent(index).ok_or(Errno::NOENT)? {
                0 => Node::Scratch(WORK),
                parent => Node::Input(parent),
            },
            Node::Scratch(inode) => {
                let scratch = self.scratch.as_ref().ok_or(Errno::NOENT)?;
                Node::Scratch(scratch.directory(inode)?.parent)
            }
        })
    }

    /// The inode of a directory in which entries can be made and removed.
    ///
    /// # Errors
    ///
    /// [`Errno::ROFS`] for all others.
    pub(crate) fn writable(node: Node) -> Result<u32, Errno> {
        match node {
            Node::Scratch(inode) => Ok(inode),
            Node::Root | Node::Lib | Node::Library(_) | Node::Input(_) => Err(Errno::ROFS),
        }
    }

    /// Lists a directory from `cookie` on, until `visit` has had enough and returns false.
    pub(crate) fn list(
        &self,
        directory: Node,
        cookie: u64,
        mut visit: impl FnMut(DirEntry<'_>) -> bool,
    ) -> Result<(), Errno> {
        let here = |next, name| DirEntry {
            next,
            name,
            node: directory,
            filetype: Filetype::Directory,
        };
        let mut position = cookie;
        if position == 0 {
            position = 1;
            if !visit(here(position, ".")) {
                return Ok(());
            }
        }
        if position == 1 {
            position = 2;
            let parent = DirEntry {
                node: self.parent(directory)?,
                ..here(position, "..")
            };
            if !visit(parent) {
                return Ok(());
            }
        }
        if position < LABEL_COOKIES {
            while let Some((name, node)) = self.fixed_entry(directory, position - 2) {
                position += 1;
                let filetype = self.filetype(node)?;
                if !visit(DirEntry {
                    next: position,
                    name,
                    node,
                    filetype,
                }) {
                    return Ok(());
                }
            }
        }
        let (Node::Scratch(inode), Some(scratch)) = (directory, &self.scratch) else {
            return Ok(());
        };
        for entry in scratch
            .directory(inode)?
            .after(position.saturating_sub(LABEL_COOKIES))
        {
            let node = Node::Scratch(entry.inode);
            if inode == WORK && self.child(directory, entry.name)? != Some(node) {
                continue;
            }
            let filetype = self.filetype(node)?;
            let next = LABEL_COOKIES + entry.label;
            if !visit(DirEntry {
                next,
                name: entry.name,
                node,
                filetype,
            }) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// An entry that never changes, by its position in a directory.
    fn fixed_entry(&self, directory: Node, position: u64) -> Option<(&str, Node)> {
        let at = usize::try_from(position).ok()?;
        match directory {
            Node::Root => [
                ("lib", Node::Lib),
                ("tmp", Node::Scratch(TMP)),
                ("work", Node::Scratch(WORK)),
            ]
            .get(at)
            .copied(),
            Node::Lib => [(LIBRARY_NAME, Node::Library(0))].get(at).copied(),
            Node::Library(index) => {
                let child = self.library.children(index)?.nth(at)?;
                Some((self.library.name(child)?, Node::Library(child)))
            }
            Node::Input(_) | Node::Scratch(WORK) => {
                let inputs = self.inputs.as_deref()?;
                let index = if let Node::Input(index) = directory {
                    index
                } else {
                    0
                };
                let child = *inputs.children(index)?.get(at)?;
                Some((inputs.name(child)?, Node::Input(child)))
            }
            Node::Scratch(_) => None,
        }
    }

    /// A descriptor opens a node.
    pub(crate) fn acquire(&mut self, node: Node) {
        if let (Node::Scratch(inode), Some(scratch)) = (node, &mut self.scratch)
            && inode > TMP
        {
            scratch.acquire(inode);
        }
    }

    /// A descriptor closes a node.
    pub(crate) fn release(&mut self, node: Node) {
        if let (Node::Scratch(inode), Some(scratch)) = (node, &mut self.scratch)
            && inode > TMP
        {
            scratch.release(inode);
        }
    }
}
