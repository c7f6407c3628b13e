//! Functions that take paths.

use std::sync::Arc;

use super::Wasi;
use super::calls_fd::SetTimes;
use super::errno::{Answer, Errno};
use super::fd::{Descriptor, Open};
use super::fs::{Body, Follow, Found, Fs, Node};
use super::memory;
use super::types::{Filetype, fdflags, flags16, follow, oflags, rights};

/// What `path_open` is asked for.
#[derive(Clone, Copy, Debug)]
pub struct OpenArguments {
    /// Lookup flags.
    pub lookup: i32,
    /// Open flags.
    pub oflags: i32,
    /// Rights of the new descriptor.
    pub rights: i64,
    /// Rights of descriptors opened through it.
    pub inheriting: i64,
    /// Its flags.
    pub fdflags: i32,
}

/// What `path_open` is asked for, with the flags taken apart.
struct OpenRequest {
    follows: bool,
    creates: bool,
    exclusive: bool,
    truncates: bool,
    directory: bool,
    writes: bool,
    rights: u64,
    inheriting: u64,
    fdflags: u16,
}

impl OpenRequest {
    fn new(arguments: OpenArguments) -> Result<Self, Errno> {
        let flags = flags16(arguments.oflags, oflags::ALL)?;
        let rights = arguments.rights.cast_unsigned();
        let request = Self {
            follows: follow(arguments.lookup)?,
            creates: flags & oflags::CREAT != 0,
            exclusive: flags & oflags::CREAT != 0 && flags & oflags::EXCL != 0,
            truncates: flags & oflags::TRUNC != 0,
            directory: flags & oflags::DIRECTORY != 0,
            writes: rights & rights::FD_WRITE != 0,
            rights,
            inheriting: arguments.inheriting.cast_unsigned(),
            fdflags: flags16(arguments.fdflags, fdflags::ALL)?,
        };
        if request.creates && request.directory {
            Err(Errno::INVAL)
        } else {
            Ok(request)
        }
    }

    /// The directory behind the descriptor that is opened through, if it gives all the rights that this takes.
    fn check_rights(&self, through: &Descriptor) -> Result<Node, Errno> {
        let mut needed = rights::PATH_OPEN;
        if self.creates {
            needed |= rights::PATH_CREATE_FILE;
        }
        if self.truncates {
            needed |= rights::PATH_FILESTAT_SET_SIZE;
        }
        let directory = through.directory(needed)?;
        let mut inherited = self.rights | self.inheriting;
        if self.fdflags & fdflags::DSYNC != 0 {
            inherited |= rights::FD_DATASYNC;
        }
        if self.fdflags & (fdflags::RSYNC | fdflags::SYNC) != 0 {
            inherited |= rights::FD_SYNC;
        }
        if inherited & !through.inheriting != 0 {
            return Err(Errno::NOTCAPABLE);
        }
        Ok(directory)
    }

    /// The new descriptor, with those of its rights that apply.
    fn descriptor(&self, open: Open) -> Descriptor {
        let (applicable, inheriting) = match open {
            Open::Directory(_) => (rights::DIRECTORY, self.inheriting),
            _ => (rights::FILE, 0),
        };
        let mut descriptor = Descriptor::new(open, self.rights & applicable);
        descriptor.inheriting = inheriting;
        descriptor.flags = self.fdflags;
        descriptor
    }
}

/// The entry that a path names, for making one: the directory's inode and the name.
fn vacant<'f>(found: &'f Found<'_>, directory: bool) -> Result<(u32, &'f str), Errno> {
    if found.node.is_some() {
        return Err(Errno::EXIST);
    }
    let name = found.name.as_deref().ok_or(Errno::EXIST)?;
    if found.slash && !directory {
        return Err(Errno::NOENT);
    }
    Ok((Fs::writable(found.parent)?, name))
}

/// The entry that a path names, for taking it away: the directory's inode and the name.
fn occupied<'f>(found: &'f Found<'_>) -> Result<(u32, &'f str), Errno> {
    let node = found.node.ok_or(Errno::NOENT)?;
    let name = found.name.as_deref().ok_or(Errno::INVAL)?;
    Fs::writable(node)?;
    Ok((Fs::writable(found.parent)?, name))
}

impl Wasi {
    fn directory(&self, fd: i32, rights: u64) -> Result<Node, Errno> {
        self.descriptors.descriptor(fd)?.directory(rights)
    }

    /// `path_create_directory`
    pub fn path_create_directory(
        &mut self,
        memory: &mut [u8],
        fd: i32,
        at: i32,
        len: i32,
    ) -> Answer {
        let base = self.directory(fd, rights::PATH_CREATE_DIRECTORY)?;
        let found = self
            .fs
            .find(base, memory::path(memory, at, len)?, Follow::Never)?;
        let (parent, name) = vacant(&found, true)?;
        let now = self.now();
        self.fs
            .scratch_mut()
            .create(parent, name, Body::new_directory(parent), now)?;
        Ok(())
    }

    /// `path_filestat_get`
    pub fn path_filestat_get(
        &mut self,
        memory: &mut [u8],
        fd: i32,
        flags: i32,
        (at, len): (i32, i32),
        result: i32,
    ) -> Answer {
        let base = self.directory(fd, rights::PATH_FILESTAT_GET)?;
        let node = self
            .fs
            .lookup(base, memory::path(memory, at, len)?, follow(flags)?)?;
        self.fs.stat(node)?.write(memory, result)?;
        Ok(())
    }

    /// `path_filestat_set_times`
    pub fn path_filestat_set_times(
        &mut self,
        memory: &mut [u8],
        fd: i32,
        flags: i32,
        (at, len): (i32, i32),
        (accessed, modified): (i64, i64),
        times: i32,
    ) -> Answer {
        let base = self.directory(fd, rights::PATH_FILESTAT_SET_TIMES)?;
        let times = SetTimes::new(accessed, modified, times)?;
        let node = self
            .fs
            .lookup(base, memory::path(memory, at, len)?, follow(flags)?)?;
        Ok(self.set_times(node, times)?)
    }

    /// `path_link`
    pub fn path_link(
        &mut self,
        memory: &mut [u8],
        (old_fd, flags): (i32, i32),
        (old, old_len): (i32, i32),
        new_fd: i32,
        (new, new_len): (i32, i32),
    ) -> Answer {
        let old_base = self.directory(old_fd, rights::PATH_LINK_SOURCE)?;
        let new_base = self.directory(new_fd, rights::PATH_LINK_TARGET)?;
        let old = memory::path(memory, old, old_len)?;
        let new = memory::path(memory, new, new_len)?;
        let node = self.fs.lookup(old_base, old, follow(flags)?)?;
        let found = self.fs.find(new_base, new, Follow::Never)?;
        let (directory, name) = vacant(&found, false)?;
        if self.fs.filetype(node)? == Filetype::Directory {
            return Err(Errno::PERM.into());
        }
        let inode = Fs::writable(node)?;
        let now = self.now();
        self.fs.scratch_mut().link(inode, directory, name, now)?;
        Ok(())
    }

    /// `path_open`
    pub fn path_open(
        &mut self,
        memory: &mut [u8],
        fd: i32,
        (at, len): (i32, i32),
        arguments: OpenArguments,
        result: i32,
    ) -> Answer {
        let request = OpenRequest::new(arguments)?;
        let base = request.check_rights(self.descriptors.descriptor(fd)?)?;
        memory::bytes(memory, result.cast_unsigned(), 4)?;
        let path = memory::path(memory, at, len)?;
        self.descriptors.check_room()?;
        let open = self.open(base, path, &request)?;
        if let Open::File(node) | Open::Directory(node) = open {
            self.fs.acquire(node);
        }
        let fd = self.descriptors.insert(request.descriptor(open))?;
        memory::write_u32(memory, result.cast_unsigned(), fd)?;
        Ok(())
    }

    /// Finds or makes what a descriptor is to be opened on.
    fn open(&mut self, base: Node, path: &str, request: &OpenRequest) -> Result<Open, Errno> {
        let follows = request.follows && !request.exclusive;
        let found = self.fs.find(base, path, Follow::lookup(follows))?;
        match found.node {
            Some(_) if request.exclusive => Err(Errno::EXIST),
            Some(node) => self.open_existing(node, found.slash, request),
            None if !request.creates => Err(Errno::NOENT),
            None if found.slash => Err(Errno::ISDIR),
            None => {
                let (directory, name) = vacant(&found, false)?;
                let now = self.now();
                let file = Body::File(Arc::default());
                let inode = self.fs.scratch_mut().create(directory, name, file, now)?;
                Ok(Open::File(Node::Scratch(inode)))
            }
        }
    }

    fn open_existing(
        &mut self,
        node: Node,
        slash: bool,
        request: &OpenRequest,
    ) -> Result<Open, Errno> {
        let changes = request.writes || request.truncates;
        match self.fs.filetype(node)? {
            Filetype::Directory if request.creates || changes => Err(Errno::ISDIR),
            Filetype::Directory => Ok(Open::Directory(node)),
            Filetype::SymbolicLink => Err(Errno::LOOP),
            _ if slash || request.directory => Err(Errno::NOTDIR),
            _ if !changes => Ok(Open::File(node)),
            _ => {
                let inode = Fs::writable(node)?;
                if request.truncates {
                    let now = self.now();
                    self.fs.scratch_mut().set_size(inode, 0, now)?;
                }
                Ok(Open::File(node))
            }
        }
    }

    /// `path_readlink`
    pub fn path_readlink(
        &mut self,
        memory: &mut [u8],
        fd: i32,
        (at, len): (i32, i32),
        (buffer, room): (i32, i32),
        used: i32,
    ) -> Answer {
        let base = self.directory(fd, rights::PATH_READLINK)?;
        let node = self
            .fs
            .lookup(base, memory::path(memory, at, len)?, false)?;
        let target = self.fs.symlink(node).ok_or(Errno::INVAL)?.as_bytes();
        let room = room.cast_unsigned();
        let used = used.cast_unsigned();
        memory::bytes(memory, buffer.cast_unsigned(), room)?;
        memory::bytes(memory, used, 4)?;
        let fits = target
            .len()
            .min(usize::try_from(room).map_err(|_| Errno::INVAL)?);
        memory::write(
            memory,
            buffer.cast_unsigned(),
            target.get(..fits).unwrap_or(target),
        )?;
        let fits = u32::try_from(fits).map_err(|_| Errno::OVERFLOW)?;
        memory::write_u32(memory, used, fits)?;
        Ok(())
    }

    /// `path_remove_directory`
    pub fn path_remove_directory(
        &mut self,
        memory: &mut [u8],
        fd: i32,
        at: i32,
        len: i32,
    ) -> Answer {
        let base = self.directory(fd, rights::PATH_REMOVE_DIRECTORY)?;
        let found = self
            .fs
            .find(base, memory::path(memory, at, len)?, Follow::Never)?;
        let (directory, name) = occupied(&found)?;
        let now = self.now();
        self.fs
            .scratch_mut()
            .remove_directory(directory, name, now)?;
        Ok(())
    }

    /// `path_rename`
    pub fn path_rename(
        &mut self,
        memory: &mut [u8],
        old_fd: i32,
        (old, old_len): (i32, i32),
        new_fd: i32,
        (new, new_len): (i32, i32),
    ) -> Answer {
        let old_base = self.directory(old_fd, rights::PATH_RENAME_SOURCE)?;
        let new_base = self.directory(new_fd, rights::PATH_RENAME_TARGET)?;
        let old = memory::path(memory, old, old_len)?;
        let new = memory::path(memory, new, new_len)?;
        let from = self.fs.find(old_base, old, Follow::Never)?;
        let to = self.fs.find(new_base, new, Follow::Never)?;
        let (Some(new_name), Some(_)) = (to.name.as_deref(), from.name.as_deref()) else {
            return Err(Errno::INVAL.into());
        };
        let (old_directory, old_name) = occupied(&from)?;
        if let Some(replaced) = to.node {
            Fs::writable(replaced)?;
        }
        let new_directory = Fs::writable(to.parent)?;
        let node = from.node.ok_or(Errno::NOENT)?;
        if (from.slash || to.slash) && self.fs.filetype(node)? != Filetype::Directory {
            return Err(Errno::NOTDIR.into());
        }
        let now = self.now();
        let (from, to) = ((old_directory, old_name), (new_directory, new_name));
        self.fs.scratch_mut().rename(from, to, now)?;
        Ok(())
    }

    /// `path_symlink`
    pub fn path_symlink(
        &mut self,
        memory: &mut [u8],
        (target, target_len): (i32, i32),
        fd: i32,
        (at, len): (i32, i32),
    ) -> Answer {
        let base = self.directory(fd, rights::PATH_SYMLINK)?;
        let target = memory::path(memory, target, target_len)?;
        let found = self
            .fs
            .find(base, memory::path(memory, at, len)?, Follow::Never)?;
        if target.is_empty() {
            return Err(Errno::NOENT.into());
        }
        let (directory, name) = vacant(&found, false)?;
        let now = self.now();
        let body = Body::Symlink(target.into());
        self.fs.scratch_mut().create(directory, name, body, now)?;
        Ok(())
    }

    /// `path_unlink_file`
    pub fn path_unlink_file(&mut self, memory: &mut [u8], fd: i32, at: i32, len: i32) -> Answer {
        let base = self.directory(fd, rights::PATH_UNLINK_FILE)?;
        let found = self
            .fs
            .find(base, memory::path(memory, at, len)?, Follow::Never)?;
        let node = found.node.ok_or(Errno::NOENT)?;
        if self.fs.filetype(node)? == Filetype::Directory {
            return Err(Errno::ISDIR.into());
        }
        if found.slash {
            return Err(Errno::NOTDIR.into());
        }
        let (directory, name) = occupied(&found)?;
        let now = self.now();
        self.fs.scratch_mut().unlink(directory, name, now)?;
        Ok(())
    }
}
