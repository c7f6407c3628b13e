//! The writable part of the file system, held in memory and limited in size.
//!
//! Inodes are numbered by their place in a table. Inodes 0 and 1 are `/work` and `/tmp`; nobody can remove them.
//! An inode lives as long as a directory names it or a descriptor has it open.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use super::directory::Directory;
use crate::wasi::errno::Errno;
use crate::wasi::memory::Buffers;
use crate::wasi::types::{Filetype, Times};

/// Inode of `/work`.
pub(crate) const WORK: u32 = 0;
/// Inode of `/tmp`.
pub(crate) const TMP: u32 = 1;

/// Most hard links to one file.
pub(super) const LINKS_MAX: u32 = 65_000;

/// Limits of the scratch space of one sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScratchLimits {
    /// Sum of the lengths of all files and symbolic links. Holes count in full and take memory: one call can fill as
    /// many bytes with zeros as this allows.
    pub bytes_max: u64,
    /// Number of files, directories and links, open deleted ones included.
    pub nodes_max: u32,
}

impl Default for ScratchLimits {
    /// 64 MiB and 65,536 nodes.
    fn default() -> Self {
        Self {
            bytes_max: 64 << 20,
            nodes_max: 1 << 16,
        }
    }
}

/// What an inode is.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    File(Arc<Vec<u8>>),
    Directory(Directory),
    Symlink(Arc<str>),
}

impl Body {
    /// An empty directory that is in the directory `parent`.
    pub(crate) fn new_directory(parent: u32) -> Self {
        Self::Directory(Directory::new(parent))
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Inode {
    /// How many directory entries name it.
    pub(crate) links: u32,
    /// How many descriptors have it open.
    pub(crate) open: u32,
    pub(crate) times: Times,
    pub(crate) body: Body,
}

impl Inode {
    pub(crate) fn new(body: Body, now: u64) -> Self {
        Self {
            links: 1,
            open: 0,
            times: Times::all(now),
            body,
        }
    }

    pub(crate) fn filetype(&self) -> Filetype {
        match self.body {
            Body::File(_) => Filetype::RegularFile,
            Body::Directory(_) => Filetype::Directory,
            Body::Symlink(_) => Filetype::SymbolicLink,
        }
    }

    pub(crate) fn size(&self) -> u64 {
        let size = match &self.body {
            Body::File(contents) => contents.len(),
            Body::Directory(_) => 0,
            Body::Symlink(target) => target.len(),
        };
        u64::try_from(size).unwrap_or(u64::MAX)
    }
}

/// The inodes of one sandbox. Cloning shares the contents of files until one side writes.
#[derive(Clone, Debug)]
pub(crate) struct Scratch {
    pub(super) inodes: Vec<Option<Inode>>,
    pub(super) free: BinaryHeap<Reverse<u32>>,
    pub(super) bytes_used: u64,
    pub(super) nodes_used: u32,
    pub(super) limits: ScratchLimits,
}

impl Scratch {
    /// Empty `/work` and `/tmp`.
    pub(crate) fn new(limits: ScratchLimits, now: u64) -> Self {
        let directory = |inode| Some(Inode::new(Body::Directory(Directory::new(inode)), now));
        Self {
            inodes: vec![directory(WORK), directory(TMP)],
            free: BinaryHeap::new(),
            bytes_used: 0,
            nodes_used: 0,
            limits,
        }
    }

    /// All inodes by number, with gaps.
    pub(crate) fn slots(&self) -> &[Option<Inode>] {
        &self.inodes
    }

    pub(crate) fn set_limits(&mut self, limits: ScratchLimits) {
        self.limits = limits;
    }

    pub(crate) fn bytes_used(&self) -> u64 {
        self.bytes_used
    }

    pub(crate) fn nodes_used(&self) -> u32 {
        self.nodes_used
    }

    pub(crate) fn inode(&self, inode: u32) -> Option<&Inode> {
        self.inodes.get(usize::try_from(inode).ok()?)?.as_ref()
    }

    fn inode_mut(&mut self, inode: u32) -> Result<&mut Inode, Errno> {
        usize::try_from(inode)
            .ok()
            .and_then(|inode| self.inodes.get_mut(inode)?.as_mut())
            .ok_or(Errno::NOENT)
    }

    pub(crate) fn directory(&self, inode: u32) -> Result<&Directory, Errno> {
        match self.inode(inode).ok_or(Errno::NOENT)? {
            Inode {
                body: Body::Directory(directory),
                ..
            } => Ok(directory),
            _ => Err(Errno::NOTDIR),
        }
    }

    /// A directory that is about to change, with its times set.
    fn directory_mut(&mut self, inode: u32, now: u64) -> Result<&mut Directory, Errno> {
        let inode = self.inode_mut(inode)?;
        if inode.links == 0 {
            return Err(Errno::NOENT);
        }
        match &mut inode.body {
            Body::Directory(directory) => {
                inode.times.modified = now;
                inode.times.changed = now;
                Ok(directory)
            }
            _ => Err(Errno::NOTDIR),
        }
    }

    /// Refuses when there is no room for one more node.
    fn check_nodes(&self) -> Result<(), Errno> {
        if self.nodes_used < self.limits.nodes_max {
            Ok(())
        } else {
            Err(Errno::NOSPC)
        }
    }

    /// Makes a new node called `name`, which must not be there yet.
    pub(crate) fn create(
        &mut self,
        directory: u32,
        name: &str,
        body: Body,
        now: u64,
    ) -> Result<u32, Errno> {
        self.check_nodes()?;
        let node = Inode::new(body, now);
        let bytes = node.size();
        if bytes > self.limits.bytes_max.saturating_sub(self.bytes_used) {
            return Err(Errno::NOSPC);
        }
        let inode = match self.free.peek() {
            Some(Reverse(inode)) => *inode,
            None => u32::try_from(self.inodes.len()).map_err(|_| Errno::NOSPC)?,
        };
        self.directory_mut(directory, now)?.set(name, inode);
        self.free.pop();
        let at = usize::try_from(inode).map_err(|_| Errno::NOSPC)?;
        match self.inodes.get_mut(at) {
            Some(slot) => *slot = Some(node),
            None => self.inodes.push(Some(node)),
        }
        self.bytes_used = self.bytes_used.saturating_add(bytes);
        self.nodes_used = self.nodes_used.saturating_add(1);
        Ok(inode)
    }

    /// Takes one name from an inode, which goes when nobody has it open and it has no other.
    fn drop_link(&mut self, inode: u32, now: u64) -> Result<(), Errno> {
        let node = self.inode_mut(inode)?;
        node.links = node.links.saturating_sub(1);
        node.times.changed = now;
        if let Body::Directory(directory) = &mut node.body {
            directory.parent = inode;
        }
        let (links, open) = (node.links, node.open);
        if links > 0 || open == 0 {
            self.nodes_used = self.nodes_used.saturating_sub(1);
        }
        if links == 0 && open == 0 {
            self.drop_inode(inode);
        }
        Ok(())
    }

    fn drop_inode(&mut self, inode: u32) {
        let slot = usize::try_from(inode)
            .ok()
            .and_then(|inode| self.inodes.get_mut(inode));
        if let Some(node) = slot.and_then(Option::take) {
            self.bytes_used = self.bytes_used.saturating_sub(node.size());
            self.free.push(Reverse(inode));
        }
    }

    /// A descriptor opens an inode.
    pub(crate) fn acquire(&mut self, inode: u32) {
        if let Ok(node) = self.inode_mut(inode) {
            node.open = node.open.saturating_add(1);
        }
    }

    /// A descriptor closes an inode.
    pub(crate) fn release(&mut self, inode: u32) {
        let Ok(node) = self.inode_mut(inode) else {
            return;
        };
        node.open = node.open.saturating_sub(1);
        if node.open == 0 && node.links == 0 {
            self.nodes_used = self.nodes_used.saturating_sub(1);
            self.drop_inode(inode);
        }
    }

    /// Removes a file or symbolic link.
    pub(crate) fn unlink(&mut self, directory: u32, name: &str, now: u64) -> Result<(), Errno> {
        let inode = self.directory(directory)?.child(name).ok_or(Errno::NOENT)?;
        if self.directory(inode).is_ok() {
            return Err(Errno::ISDIR);
        }
        self.directory_mut(directory, now)?.remove(name);
        self.drop_link(inode, now)
    }

    /// Removes an empty directory.
    pub(crate) fn remove_directory(
        &mut self,
        directory: u32,
        name: &str,
        now: u64,
    ) -> Result<(), Errno> {
        let inode = self.directory(directory)?.child(name).ok_or(Errno::NOENT)?;
        if !self.directory(inode)?.is_empty() {
            return Err(Errno::NOTEMPTY);
        }
        self.directory_mut(directory, now)?.remove(name);
        self.drop_link(inode, now)
    }

    /// Gives a file or symbolic link one more name, which must not be there yet.
    pub(crate) fn link(
        &mut self,
        inode: u32,
        directory: u32,
        name: &str,
        now: u64,
    ) -> Result<(), Errno> {
        self.check_nodes()?;
        let node = self.inode_mut(inode)?;
        if matches!(node.body, Body::Directory(_)) {
            return Err(Errno::PERM);
        }
        if node.links == 0 {
            return Err(Errno::NOENT);
        }
        if node.links >= LINKS_MAX {
            return Err(Errno::MLINK);
        }
        self.directory_mut(directory, now)?.set(name, inode);
        let node = self.inode_mut(inode)?;
        node.links = node.links.saturating_add(1);
        node.times.changed = now;
        self.nodes_used = self.nodes_used.saturating_add(1);
        Ok(())
    }

    /// Moves an entry, in place of what is at its new name.
    pub(crate) fn rename(
        &mut self,
        from: (u32, &str),
        to: (u32, &str),
        now: u64,
    ) -> Result<(), Errno> {
        let moved = self.directory(from.0)?.child(from.1).ok_or(Errno::NOENT)?;
        let replaced = self.directory(to.0)?.child(to.1);
        if replaced == Some(moved) {
            return Ok(());
        }
        let moves_directory = self.directory(moved).is_ok();
        if moves_directory && self.is_within(to.0, moved) {
            return Err(Errno::INVAL);
        }
        if let Some(replaced) = replaced {
            match (moves_directory, self.directory(replaced)) {
                (true, Ok(directory)) if !directory.is_empty() => return Err(Errno::NOTEMPTY),
                (true, Err(_)) => return Err(Errno::NOTDIR),
                (false, Ok(_)) => return Err(Errno::ISDIR),
                _ => {}
            }
        }
        self.directory_mut(to.0, now)?.set(to.1, moved);
        self.directory_mut(from.0, now)?.remove(from.1);
        if let Some(replaced) = replaced {
            self.drop_link(replaced, now)?;
        }
        let node = self.inode_mut(moved)?;
        node.times.changed = now;
        if let Body::Directory(directory) = &mut node.body {
            directory.parent = to.0;
        }
        Ok(())
    }

    /// Whether `directory` is `top` or somewhere below it.
    fn is_within(&self, mut directory: u32, top: u32) -> bool {
        loop {
            if directory == top {
                return true;
            }
            match self.directory(directory) {
                Ok(here) if here.parent != directory => directory = here.parent,
                _ => return false,
            }
        }
    }

    /// A file's contents.
    pub(crate) fn contents(&self, inode: u32) -> Result<&[u8], Errno> {
        match &self.inode(inode).ok_or(Errno::IO)?.body {
            Body::File(contents) => Ok(contents),
            Body::Directory(_) => Err(Errno::ISDIR),
            Body::Symlink(_) => Err(Errno::INVAL),
        }
    }

    /// Writes what the buffers hold at `offset`; what lies between the old end and there becomes zeros.
    /// Either all of it is written or nothing.
    pub(crate) fn write(
        &mut self,
        inode: u32,
        offset: u64,
        memory: &[u8],
        buffers: &Buffers,
        now: u64,
    ) -> Result<(), Errno> {
        let end = offset
            .checked_add(u64::from(buffers.total))
            .ok_or(Errno::FBIG)?;
        let len = u64::try_from(self.contents(inode)?.len()).map_err(|_| Errno::FBIG)?;
        let start = usize::try_from(offset).map_err(|_| Errno::FBIG)?;
        let contents = self.resize(inode, len.max(end), now)?;
        let mut rest = contents.get_mut(start..).ok_or(Errno::IO)?;
        buffers.each(memory, |data| {
            let (place, after) = std::mem::take(&mut rest)
                .split_at_mut_checked(data.len())
                .ok_or(Errno::IO)?;
            place.copy_from_slice(data);
            rest = after;
            Ok(())
        })
    }

    /// Makes a file `len` bytes long; new bytes are zero.
    pub(crate) fn set_size(&mut self, inode: u32, len: u64, now: u64) -> Result<(), Errno> {
        self.resize(inode, len, now).map(|_| ())
    }

    fn resize(&mut self, inode: u32, len: u64, now: u64) -> Result<&mut Vec<u8>, Errno> {
        let old = u64::try_from(self.contents(inode)?.len()).map_err(|_| Errno::FBIG)?;
        let bytes_used = self.bytes_used.saturating_sub(old).saturating_add(len);
        if len > old && bytes_used > self.limits.bytes_max {
            return Err(Errno::NOSPC);
        }
        let room = self.limits.bytes_max.saturating_sub(bytes_used);
        let node = self.inode_mut(inode)?;
        let Body::File(contents) = &mut node.body else {
            return Err(Errno::IO);
        };
        let contents = Arc::make_mut(contents);
        let len = usize::try_from(len).map_err(|_| Errno::FBIG)?;
        if len > contents.capacity() {
            // Doubling, but never to more than the limit allows.
            let spare = contents
                .capacity()
                .min(usize::try_from(room).unwrap_or(usize::MAX));
            let wanted = len.saturating_add(spare).saturating_sub(contents.len());
            contents
                .try_reserve_exact(wanted)
                .map_err(|_| Errno::NOSPC)?;
        }
        contents.resize(len, 0);
        node.times.modified = now;
        node.times.changed = now;
        self.bytes_used = bytes_used;
        match &mut self.inode_mut(inode)?.body {
            Body::File(contents) => Ok(Arc::make_mut(contents)),
            _ => Err(Errno::IO),
        }
    }

    pub(crate) fn set_times(
        &mut self,
        inode: u32,
        set: impl FnOnce(&mut Times),
    ) -> Result<(), Errno> {
        set(&mut self.inode_mut(inode)?.times);
        Ok(())
    }
}
