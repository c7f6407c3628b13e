//! Guest memory: every access is checked, a pointer that reaches outside is [`Errno::FAULT`].
//!
//! Pointers need no alignment: everything is copied byte by byte in little-endian order.

use super::errno::Errno;

/// Longest list of buffers in one call, as `IOV_MAX` on Linux.
pub(crate) const BUFFERS_MAX: u32 = 1024;

fn range(at: u32, len: u32) -> Result<std::ops::Range<usize>, Errno> {
    let start = usize::try_from(at).map_err(|_| Errno::FAULT)?;
    let len = usize::try_from(len).map_err(|_| Errno::FAULT)?;
    let end = start.checked_add(len).ok_or(Errno::FAULT)?;
    Ok(start..end)
}

/// The `len` bytes at `at`.
pub(crate) fn bytes(memory: &[u8], at: u32, len: u32) -> Result<&[u8], Errno> {
    memory.get(range(at, len)?).ok_or(Errno::FAULT)
}

/// The `len` bytes at `at`, to write to.
pub(crate) fn bytes_mut(memory: &mut [u8], at: u32, len: u32) -> Result<&mut [u8], Errno> {
    memory.get_mut(range(at, len)?).ok_or(Errno::FAULT)
}

fn array<const N: usize>(memory: &[u8], at: u32) -> Result<[u8; N], Errno> {
    let start = usize::try_from(at).map_err(|_| Errno::FAULT)?;
    let tail = memory.get(start..).ok_or(Errno::FAULT)?;
    tail.first_chunk().copied().ok_or(Errno::FAULT)
}

/// `at + by`, which must not wrap.
pub(crate) fn offset(at: u32, by: u32) -> Result<u32, Errno> {
    at.checked_add(by).ok_or(Errno::FAULT)
}

/// The byte at `at`.
pub(crate) fn read_u8(memory: &[u8], at: u32) -> Result<u8, Errno> {
    array::<1>(memory, at).map(u8::from_le_bytes)
}

/// The `u16` at `at`.
pub(crate) fn read_u16(memory: &[u8], at: u32) -> Result<u16, Errno> {
    array(memory, at).map(u16::from_le_bytes)
}

/// The `u32` at `at`.
pub(crate) fn read_u32(memory: &[u8], at: u32) -> Result<u32, Errno> {
    array(memory, at).map(u32::from_le_bytes)
}

/// The `u64` at `at`.
pub(crate) fn read_u64(memory: &[u8], at: u32) -> Result<u64, Errno> {
    array(memory, at).map(u64::from_le_bytes)
}

/// Copies `value` to `at`.
pub(crate) fn write(memory: &mut [u8], at: u32, value: &[u8]) -> Result<(), Errno> {
    let len = u32::try_from(value.len()).map_err(|_| Errno::FAULT)?;
    bytes_mut(memory, at, len)?.copy_from_slice(value);
    Ok(())
}

/// Writes a `u32`.
pub(crate) fn write_u32(memory: &mut [u8], at: u32, value: u32) -> Result<(), Errno> {
    write(memory, at, &value.to_le_bytes())
}

/// Writes a `u64`.
pub(crate) fn write_u64(memory: &mut [u8], at: u32, value: u64) -> Result<(), Errno> {
    write(memory, at, &value.to_le_bytes())
}

/// A buffer of the guest, inside its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Buffer {
    /// Address.
    pub(crate) at: u32,
    /// Length in bytes.
    pub(crate) len: u32,
}

/// A list of buffers (`iovec` or `ciovec`) that has been checked as a whole: it is not too long, each buffer lies
/// inside the memory, and the sum of their lengths fits the `u32` that such a call answers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Buffers {
    list: u32,
    count: u32,
    /// Sum of the lengths.
    pub(crate) total: u32,
}

impl Buffers {
    /// Reads and checks the list.
    pub(crate) fn new(memory: &[u8], list: i32, count: i32) -> Result<Self, Errno> {
        let (list, count) = (list.cast_unsigned(), count.cast_unsigned());
        if count > BUFFERS_MAX {
            return Err(Errno::INVAL);
        }
        let mut buffers = Self {
            list,
            count,
            total: 0,
        };
        for index in 0..count {
            let buffer = buffers.read(memory, index)?;
            bytes(memory, buffer.at, buffer.len)?;
            buffers.total = buffers.total.checked_add(buffer.len).ok_or(Errno::INVAL)?;
        }
        Ok(buffers)
    }

    fn read(&self, memory: &[u8], index: u32) -> Result<Buffer, Errno> {
        let at = offset(self.list, index.checked_mul(8).ok_or(Errno::FAULT)?)?;
        Ok(Buffer {
            at: read_u32(memory, at)?,
            len: read_u32(memory, offset(at, 4)?)?,
        })
    }

    /// Copies the bytes that all buffers hold, one after the other, to `sink`.
    pub(crate) fn each<E: From<Errno>>(
        &self,
        memory: &[u8],
        mut sink: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        for index in 0..self.count {
            let buffer = self.read(memory, index)?;
            if buffer.len > 0 {
                sink(bytes(memory, buffer.at, buffer.len)?)?;
            }
        }
        Ok(())
    }

    /// Spreads `data` over the buffers and returns how many bytes found room.
    ///
    /// Where a buffer covers the list itself, the list as it stands at that moment counts, and is checked again.
    pub(crate) fn fill(&self, memory: &mut [u8], mut data: &[u8]) -> Result<u32, Errno> {
        let mut done = 0u32;
        for index in 0..self.count {
            if data.is_empty() {
                break;
            }
            let buffer = self.read(memory, index)?;
            let len = buffer
                .len
                .min(u32::try_from(data.len()).unwrap_or(u32::MAX));
            let (head, rest) = data
                .split_at_checked(usize::try_from(len).map_err(|_| Errno::FAULT)?)
                .ok_or(Errno::FAULT)?;
            write(memory, buffer.at, head)?;
            done = done.checked_add(len).ok_or(Errno::INVAL)?;
            data = rest;
        }
        Ok(done)
    }
}

/// The path of `len` bytes at `at`.
///
/// # Errors
///
/// [`Errno::ILSEQ`] when it is not UTF-8, [`Errno::INVAL`] when there is a NUL in it.
pub(crate) fn path(memory: &[u8], at: i32, len: i32) -> Result<&str, Errno> {
    let len = len.cast_unsigned();
    let raw = bytes(memory, at.cast_unsigned(), len)?;
    if raw.len() > super::fs::PATH_BYTES_MAX {
        return Err(Errno::NAMETOOLONG);
    }
    if raw.contains(&0) {
        return Err(Errno::INVAL);
    }
    std::str::from_utf8(raw).map_err(|_| Errno::ILSEQ)
}
