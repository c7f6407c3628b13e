//! Reading, writing and seeking.

use super::Wasi;
use super::errno::{Answer, Errno};
use super::fd::Open;
use super::fs::{Fs, Node};
use super::memory::{self, Buffers};
use super::stdio::Stream;
use super::types::{fdflags, rights};

/// The largest offset in a file.
pub(crate) const OFFSET_MAX: u64 = i64::MAX.cast_unsigned();

/// The part of a file from `offset` on; nothing past its end.
fn tail(contents: &[u8], offset: u64) -> &[u8] {
    usize::try_from(offset)
        .ok()
        .and_then(|offset| contents.get(offset..))
        .unwrap_or_default()
}

impl Wasi {
    /// `fd_read`
    pub fn fd_read(
        &mut self,
        memory: &mut [u8],
        fd: i32,
        list: i32,
        count: i32,
        done: i32,
    ) -> Answer {
        let descriptor = self.descriptors.descriptor_mut(fd)?;
        if let Open::Directory(_) = descriptor.open {
            return Err(Errno::ISDIR.into());
        }
        descriptor.require(rights::FD_READ)?;
        memory::bytes(memory, done.cast_unsigned(), 4)?;
        let buffers = Buffers::new(memory, list, count)?;
        let read = match descriptor.open {
            Open::Stdin => {
                let rest = self
                    .stdin
                    .as_slice()
                    .get(self.stdin_read..)
                    .unwrap_or_default();
                let read = buffers.fill(memory, rest)?;
                self.stdin_read += usize::try_from(read).unwrap_or(0);
                read
            }
            Open::File(node) => {
                let rest = tail(self.fs.contents(node)?, descriptor.offset);
                let read = buffers.fill(memory, rest)?;
                descriptor.offset += u64::from(read);
                read
            }
            Open::Output(_) | Open::Directory(_) => return Err(Errno::BADF.into()),
        };
        memory::write_u32(memory, done.cast_unsigned(), read)?;
        Ok(())
    }

    /// `fd_pread`
    pub fn fd_pread(
        &mut self,
        memory: &mut [u8],
        fd: i32,
        (list, count): (i32, i32),
        offset: i64,
        done: i32,
    ) -> Answer {
        let descriptor = self.descriptors.descriptor(fd)?;
        let node = descriptor.file(rights::FD_READ | rights::FD_SEEK)?;
        let offset = u64::try_from(offset).map_err(|_| Errno::INVAL)?;
        memory::bytes(memory, done.cast_unsigned(), 4)?;
        let buffers = Buffers::new(memory, list, count)?;
        let read = buffers.fill(memory, tail(self.fs.contents(node)?, offset))?;
        memory::write_u32(memory, done.cast_unsigned(), read)?;
        Ok(())
    }

    /// `fd_write`
    pub fn fd_write(
        &mut self,
        memory: &mut [u8],
        fd: i32,
        list: i32,
        count: i32,
        done: i32,
    ) -> Answer {
        let descriptor = *self.descriptors.descriptor(fd)?;
        if let Open::Directory(_) = descriptor.open {
            return Err(Errno::ISDIR.into());
        }
        descriptor.require(rights::FD_WRITE)?;
        memory::bytes(memory, done.cast_unsigned(), 4)?;
        let buffers = Buffers::new(memory, list, count)?;
        match descriptor.open {
            Open::Output(stream) => {
                let capture = match stream {
                    Stream::Stdout => &mut self.stdout,
                    Stream::Stderr => &mut self.stderr,
                };
                let sink = &mut self.sink;
                buffers
                    .each::<super::Fail>(memory, |data| Ok(capture.write(data, sink.as_mut())?))?;
            }
            Open::File(_) if buffers.total == 0 => {}
            Open::File(node) => {
                let offset = if descriptor.flags & fdflags::APPEND == 0 {
                    descriptor.offset
                } else {
                    self.fs.stat(node)?.size
                };
                self.write_file(memory, node, offset, &buffers)?;
                self.descriptors.descriptor_mut(fd)?.offset = offset + u64::from(buffers.total);
            }
            Open::Stdin | Open::Directory(_) => return Err(Errno::BADF.into()),
        }
        memory::write_u32(memory, done.cast_unsigned(), buffers.total)?;
        Ok(())
    }

    /// `fd_pwrite`. As POSIX says, and unlike Linux, a descriptor that appends still writes at the offset.
    pub fn fd_pwrite(
        &mut self,
        memory: &mut [u8],
        fd: i32,
        (list, count): (i32, i32),
        offset: i64,
        done: i32,
    ) -> Answer {
        let descriptor = self.descriptors.descriptor(fd)?;
        let node = descriptor.file(rights::FD_WRITE | rights::FD_SEEK)?;
        let offset = u64::try_from(offset).map_err(|_| Errno::INVAL)?;
        memory::bytes(memory, done.cast_unsigned(), 4)?;
        let buffers = Buffers::new(memory, list, count)?;
        self.write_file(memory, node, offset, &buffers)?;
        memory::write_u32(memory, done.cast_unsigned(), buffers.total)?;
        Ok(())
    }

    fn write_file(
        &mut self,
        memory: &[u8],
        node: Node,
        offset: u64,
        buffers: &Buffers,
    ) -> Result<(), Errno> {
        let inode = Fs::writable(node)?;
        let end = offset
            .checked_add(u64::from(buffers.total))
            .ok_or(Errno::FBIG)?;
        if end > OFFSET_MAX {
            return Err(Errno::FBIG);
        }
        if buffers.total == 0 {
            return Ok(());
        }
        let now = self.now();
        self.fs
            .scratch_mut()
            .write(inode, offset, memory, buffers, now)
    }

    /// `fd_seek`
    pub fn fd_seek(
        &mut self,
        memory: &mut [u8],
        fd: i32,
        delta: i64,
        whence: i32,
        result: i32,
    ) -> Answer {
        let descriptor = self.descriptors.descriptor_mut(fd)?;
        let asks = whence == 1 && delta == 0;
        let node = match descriptor.file(rights::FD_SEEK) {
            Err(Errno::NOTCAPABLE) if asks => descriptor.file(rights::FD_TELL)?,
            other => other?,
        };
        memory::bytes(memory, result.cast_unsigned(), 8)?;
        let base = match whence {
            0 => 0,
            1 => descriptor.offset,
            2 => self.fs.stat(node)?.size,
            _ => return Err(Errno::INVAL.into()),
        };
        let offset = base
            .checked_add_signed(delta)
            .filter(|offset| *offset <= OFFSET_MAX)
            .ok_or(Errno::INVAL)?;
        descriptor.offset = offset;
        memory::write_u64(memory, result.cast_unsigned(), offset)?;
        Ok(())
    }

    /// `fd_tell`
    pub fn fd_tell(&mut self, memory: &mut [u8], fd: i32, result: i32) -> Answer {
        let descriptor = self.descriptors.descriptor(fd)?;
        match descriptor.file(rights::FD_TELL) {
            Err(Errno::NOTCAPABLE) => descriptor.file(rights::FD_SEEK)?,
            other => other?,
        };
        memory::write_u64(memory, result.cast_unsigned(), descriptor.offset)?;
        Ok(())
    }
}
