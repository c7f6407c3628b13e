//! Descriptors: their attributes, closing, directories.

use super::Wasi;
use super::clock::ClockId;
use super::errno::{Answer, Errno};
use super::fd::{Descriptor, Open};
use super::fs::{FIXED_TIME_NS, Fs, Node};
use super::memory;
use super::types::{Filestat, Filetype, Times, fdflags, flags16, fstflags, rights};

/// The name of the preopened directory.
const PREOPEN_NAME: &[u8] = b"/";

/// Bytes of a `dirent` record.
const DIRENT_BYTES: u32 = 24;

/// Inode numbers of the standard streams are this plus their number.
const STREAM_INODES: u64 = 16;

/// What a `…_filestat_set_times` call asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SetTimes {
    accessed: u64,
    modified: u64,
    flags: u16,
}

impl SetTimes {
    pub(crate) fn new(accessed: i64, modified: i64, flags: i32) -> Result<Self, Errno> {
        let flags = flags16(flags, fstflags::ALL)?;
        for both in [
            fstflags::ATIM | fstflags::ATIM_NOW,
            fstflags::MTIM | fstflags::MTIM_NOW,
        ] {
            if flags & both == both {
                return Err(Errno::INVAL);
            }
        }
        Ok(Self {
            accessed: accessed.cast_unsigned(),
            modified: modified.cast_unsigned(),
            flags,
        })
    }

    fn apply(self, times: &mut Times, now: u64) {
        match self.flags & (fstflags::ATIM | fstflags::ATIM_NOW) {
            fstflags::ATIM => times.accessed = self.accessed,
            fstflags::ATIM_NOW => times.accessed = now,
            _ => {}
        }
        match self.flags & (fstflags::MTIM | fstflags::MTIM_NOW) {
            fstflags::MTIM => times.modified = self.modified,
            fstflags::MTIM_NOW => times.modified = now,
            _ => {}
        }
        times.changed = now;
    }
}

impl Wasi {
    /// `fd_advise`: nothing to do.
    pub fn fd_advise(
        &mut self,
        _memory: &mut [u8],
        fd: i32,
        _offset: i64,
        _len: i64,
        advice: i32,
    ) -> Answer {
        let descriptor = self.descriptors.descriptor(fd)?;
        descriptor.require(rights::FD_ADVISE)?;
        if (0..=5).contains(&advice) {
            Ok(())
        } else {
            Err(Errno::INVAL.into())
        }
    }

    /// `fd_allocate`
    pub fn fd_allocate(&mut self, _memory: &mut [u8], fd: i32, offset: i64, len: i64) -> Answer {
        let node = self.descriptors.descriptor(fd)?.file(rights::FD_ALLOCATE)?;
        let (Ok(offset), Ok(len)) = (u64::try_from(offset), u64::try_from(len)) else {
            return Err(Errno::INVAL.into());
        };
        if len == 0 {
            return Err(Errno::INVAL.into());
        }
        let end = offset.checked_add(len).ok_or(Errno::FBIG)?;
        let inode = Fs::writable(node)?;
        if end > self.fs.stat(node)?.size {
            let now = self.now();
            self.fs.scratch_mut().set_size(inode, end, now)?;
        }
        Ok(())
    }

    /// `fd_close`
    pub fn fd_close(&mut self, _memory: &mut [u8], fd: i32) -> Answer {
        let closed = self.descriptors.remove(fd)?;
        self.release(&closed);
        Ok(())
    }

    fn release(&mut self, closed: &Descriptor) {
        if let Open::File(node) | Open::Directory(node) = closed.open {
            self.fs.release(node);
        }
    }

    /// `fd_datasync`: everything is where it belongs already.
    pub fn fd_datasync(&mut self, _memory: &mut [u8], fd: i32) -> Answer {
        Ok(self
            .descriptors
            .descriptor(fd)?
            .require(rights::FD_DATASYNC)?)
    }

    /// `fd_sync`: everything is where it belongs already.
    pub fn fd_sync(&mut self, _memory: &mut [u8], fd: i32) -> Answer {
        Ok(self.descriptors.descriptor(fd)?.require(rights::FD_SYNC)?)
    }

    /// `fd_fdstat_get`
    pub fn fd_fdstat_get(&mut self, memory: &mut [u8], fd: i32, result: i32) -> Answer {
        let descriptor = self.descriptors.descriptor(fd)?;
        let filetype = match descriptor.open {
            Open::Stdin | Open::Output(_) => Filetype::Unknown,
            Open::File(_) => Filetype::RegularFile,
            Open::Directory(_) => Filetype::Directory,
        };
        let head = u64::from(filetype as u8) | u64::from(descriptor.flags) << 16;
        let mut record = [0u8; 24];
        let words = [head, descriptor.rights, descriptor.inheriting];
        for (chunk, word) in record.chunks_exact_mut(8).zip(words) {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        memory::write(memory, result.cast_unsigned(), &record)?;
        Ok(())
    }

    /// `fd_fdstat_set_flags`
    pub fn fd_fdstat_set_flags(&mut self, _memory: &mut [u8], fd: i32, flags: i32) -> Answer {
        let descriptor = self.descriptors.descriptor_mut(fd)?;
        descriptor.require(rights::FD_FDSTAT_SET_FLAGS)?;
        descriptor.flags = flags16(flags, fdflags::ALL)?;
        Ok(())
    }

    /// `fd_fdstat_set_rights`
    pub fn fd_fdstat_set_rights(
        &mut self,
        _memory: &mut [u8],
        fd: i32,
        base: i64,
        inheriting: i64,
    ) -> Answer {
        let (base, inheriting) = (base.cast_unsigned(), inheriting.cast_unsigned());
        let descriptor = self.descriptors.descriptor_mut(fd)?;
        if base & !descriptor.rights != 0 || inheriting & !descriptor.inheriting != 0 {
            return Err(Errno::NOTCAPABLE.into());
        }
        descriptor.rights = base;
        descriptor.inheriting = inheriting;
        Ok(())
    }

    /// `fd_filestat_get`
    pub fn fd_filestat_get(&mut self, memory: &mut [u8], fd: i32, result: i32) -> Answer {
        let descriptor = self.descriptors.descriptor(fd)?;
        descriptor.require(rights::FD_FILESTAT_GET)?;
        let stream = |number: u64| Filestat {
            ino: STREAM_INODES + number,
            filetype: Filetype::Unknown,
            nlink: 1,
            size: 0,
            times: Times::all(FIXED_TIME_NS),
        };
        let stat = match descriptor.open {
            Open::Stdin => stream(0),
            Open::Output(super::Stream::Stdout) => stream(1),
            Open::Output(super::Stream::Stderr) => stream(2),
            Open::File(node) | Open::Directory(node) => self.fs.stat(node)?,
        };
        stat.write(memory, result)?;
        Ok(())
    }

    /// `fd_filestat_set_size`
    pub fn fd_filestat_set_size(&mut self, _memory: &mut [u8], fd: i32, size: i64) -> Answer {
        let node = self
            .descriptors
            .descriptor(fd)?
            .file(rights::FD_FILESTAT_SET_SIZE)?;
        let size = u64::try_from(size).map_err(|_| Errno::INVAL)?;
        let inode = Fs::writable(node)?;
        let now = self.now();
        self.fs.scratch_mut().set_size(inode, size, now)?;
        Ok(())
    }

    /// `fd_filestat_set_times`
    pub fn fd_filestat_set_times(
        &mut self,
        _memory: &mut [u8],
        fd: i32,
        accessed: i64,
        modified: i64,
        flags: i32,
    ) -> Answer {
        let descriptor = self.descriptors.descriptor(fd)?;
        descriptor.require(rights::FD_FILESTAT_SET_TIMES)?;
        let times = SetTimes::new(accessed, modified, flags)?;
        match descriptor.open {
            Open::File(node) | Open::Directory(node) => Ok(self.set_times(node, times)?),
            Open::Stdin | Open::Output(_) => Err(Errno::NOTSUP.into()),
        }
    }

    pub(crate) fn set_times(&mut self, node: Node, times: SetTimes) -> Result<(), Errno> {
        let inode = Fs::writable(node)?;
        let now = self.clock.read(ClockId::Realtime);
        self.fs
            .scratch_mut()
            .set_times(inode, |stored| times.apply(stored, now))
    }

    /// `fd_prestat_get`
    pub fn fd_prestat_get(&mut self, memory: &mut [u8], fd: i32, result: i32) -> Answer {
        self.preopened(fd)?;
        let result = result.cast_unsigned();
        let len = u32::try_from(PREOPEN_NAME.len()).map_err(|_| Errno::OVERFLOW)?;
        memory::bytes(memory, result, 8)?;
        memory::write_u32(memory, result, 0)?;
        memory::write_u32(memory, memory::offset(result, 4)?, len)?;
        Ok(())
    }

    /// `fd_prestat_dir_name`
    pub fn fd_prestat_dir_name(
        &mut self,
        memory: &mut [u8],
        fd: i32,
        path: i32,
        len: i32,
    ) -> Answer {
        self.preopened(fd)?;
        let room = usize::try_from(len.cast_unsigned()).map_err(|_| Errno::INVAL)?;
        if room < PREOPEN_NAME.len() {
            return Err(Errno::NAMETOOLONG.into());
        }
        memory::write(memory, path.cast_unsigned(), PREOPEN_NAME)?;
        Ok(())
    }

    fn preopened(&self, fd: i32) -> Result<(), Errno> {
        if self.descriptors.descriptor(fd)?.preopen {
            Ok(())
        } else {
            Err(Errno::BADF)
        }
    }

    /// `fd_readdir`
    pub fn fd_readdir(
        &mut self,
        memory: &mut [u8],
        fd: i32,
        (buffer, len): (i32, i32),
        cookie: i64,
        used: i32,
    ) -> Answer {
        let directory = self
            .descriptors
            .descriptor(fd)?
            .directory(rights::FD_READDIR)?;
        let used = used.cast_unsigned();
        memory::bytes(memory, used, 4)?;
        let len = len.cast_unsigned();
        let mut room = memory::bytes_mut(memory, buffer.cast_unsigned(), len)?;
        let mut put = |data: &[u8]| {
            let fits = data.len().min(room.len());
            let (data, whole) = (data.get(..fits).unwrap_or(data), fits == data.len());
            if let Some((place, rest)) = std::mem::take(&mut room).split_at_mut_checked(fits) {
                place.copy_from_slice(data);
                room = rest;
            }
            whole
        };
        self.fs.list(directory, cookie.cast_unsigned(), |entry| {
            let mut record = [0u8; DIRENT_BYTES as usize];
            let namlen = u64::try_from(entry.name.len()).unwrap_or(u64::MAX);
            let tail = namlen | u64::from(entry.filetype as u8) << 32;
            let words = [entry.next, Fs::ino(entry.node), tail];
            for (chunk, word) in record.chunks_exact_mut(8).zip(words) {
                chunk.copy_from_slice(&word.to_le_bytes());
            }
            put(&record) && put(entry.name.as_bytes())
        })?;
        let left = u32::try_from(room.len()).map_err(|_| Errno::OVERFLOW)?;
        memory::write_u32(memory, used, len - left)?;
        Ok(())
    }

    /// `fd_renumber`
    pub fn fd_renumber(&mut self, _memory: &mut [u8], from: i32, to: i32) -> Answer {
        let moved = *self.descriptors.descriptor(from)?;
        self.descriptors.descriptor(to)?;
        if from == to {
            return Ok(());
        }
        let target = self.descriptors.descriptor_mut(to)?;
        let closed = std::mem::replace(target, moved);
        self.descriptors.remove(from)?;
        self.release(&closed);
        Ok(())
    }
}
