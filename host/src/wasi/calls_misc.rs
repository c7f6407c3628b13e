//! Arguments, environment, clocks, randomness, process and sockets.

use super::clock::ClockId;
use super::errno::{Answer, Errno, Exit, Fail, Stop};
use super::memory;
use super::{RANDOM_BYTES_MAX, Wasi};

/// Writes how many strings there are and how many bytes they take with their NULs.
fn sizes(strings: &[String], memory: &mut [u8], count: i32, bytes: i32) -> Answer {
    let total: usize = strings.iter().map(|string| string.len() + 1).sum();
    let count_value = u32::try_from(strings.len()).map_err(|_| Errno::OVERFLOW)?;
    let bytes_value = u32::try_from(total).map_err(|_| Errno::OVERFLOW)?;
    memory::write_u32(memory, count.cast_unsigned(), count_value)?;
    memory::write_u32(memory, bytes.cast_unsigned(), bytes_value)?;
    Ok(())
}

/// Writes the strings with their NULs one after the other, and a list of pointers to them.
fn list(strings: &[String], memory: &mut [u8], pointers: i32, buffer: i32) -> Answer {
    let (mut pointer, mut at) = (pointers.cast_unsigned(), buffer.cast_unsigned());
    for string in strings {
        memory::write_u32(memory, pointer, at)?;
        memory::write(memory, at, string.as_bytes())?;
        let len = u32::try_from(string.len()).map_err(|_| Errno::OVERFLOW)?;
        at = memory::offset(at, len)?;
        memory::write(memory, at, &[0])?;
        at = memory::offset(at, 1)?;
        pointer = memory::offset(pointer, 4)?;
    }
    Ok(())
}

impl Wasi {
    /// `args_get`
    pub fn args_get(&mut self, memory: &mut [u8], argv: i32, buffer: i32) -> Answer {
        list(&self.args, memory, argv, buffer)
    }

    /// `args_sizes_get`
    pub fn args_sizes_get(&mut self, memory: &mut [u8], count: i32, bytes: i32) -> Answer {
        sizes(&self.args, memory, count, bytes)
    }

    /// `environ_get`
    pub fn environ_get(&mut self, memory: &mut [u8], environ: i32, buffer: i32) -> Answer {
        list(&self.env, memory, environ, buffer)
    }

    /// `environ_sizes_get`
    pub fn environ_sizes_get(&mut self, memory: &mut [u8], count: i32, bytes: i32) -> Answer {
        sizes(&self.env, memory, count, bytes)
    }

    /// `clock_res_get`
    pub fn clock_res_get(&mut self, memory: &mut [u8], id: i32, resolution: i32) -> Answer {
        ClockId::new(id.cast_unsigned())?;
        memory::write_u64(memory, resolution.cast_unsigned(), self.clock.resolution())?;
        Ok(())
    }

    /// `clock_time_get`
    pub fn clock_time_get(
        &mut self,
        memory: &mut [u8],
        id: i32,
        _precision: i64,
        time: i32,
    ) -> Answer {
        let now = self.clock.read(ClockId::new(id.cast_unsigned())?);
        memory::write_u64(memory, time.cast_unsigned(), now)?;
        Ok(())
    }

    /// `random_get`
    pub fn random_get(&mut self, memory: &mut [u8], buffer: i32, len: i32) -> Answer {
        let (buffer, len) = (buffer.cast_unsigned(), len.cast_unsigned());
        let buffer = memory::bytes_mut(memory, buffer, len)?;
        if len > RANDOM_BYTES_MAX {
            return Err(Errno::INVAL.into());
        }
        self.random.fill(buffer)?;
        Ok(())
    }

    /// `proc_exit`
    pub fn proc_exit(&mut self, _memory: &mut [u8], code: i32) -> Answer {
        Err(Fail::Stop(Stop::Exit(Exit {
            code: code.cast_unsigned(),
        })))
    }

    /// `proc_raise`: not implemented, nobody could handle a signal.
    pub fn proc_raise(&mut self, _memory: &mut [u8], _signal: i32) -> Answer {
        Err(Errno::NOSYS.into())
    }

    /// `sched_yield`
    pub fn sched_yield(&mut self, _memory: &mut [u8]) -> Answer {
        Ok(())
    }

    fn not_a_socket(&self, fd: i32) -> Answer {
        self.descriptors.descriptor(fd)?;
        Err(Errno::NOTSOCK.into())
    }

    /// `sock_accept`
    pub fn sock_accept(&mut self, _memory: &mut [u8], fd: i32, _flags: i32, _new: i32) -> Answer {
        self.not_a_socket(fd)
    }

    /// `sock_recv`
    pub fn sock_recv(
        &mut self,
        _memory: &mut [u8],
        fd: i32,
        _buffers: (i32, i32),
        _flags: i32,
        _results: (i32, i32),
    ) -> Answer {
        self.not_a_socket(fd)
    }

    /// `sock_send`
    pub fn sock_send(
        &mut self,
        _memory: &mut [u8],
        fd: i32,
        _buffers: (i32, i32),
        _flags: i32,
        _sent: i32,
    ) -> Answer {
        self.not_a_socket(fd)
    }

    /// `sock_shutdown`
    pub fn sock_shutdown(&mut self, _memory: &mut [u8], fd: i32, _how: i32) -> Answer {
        self.not_a_socket(fd)
    }
}
