//! Ties the functions to a wasmtime linker.

use thiserror::Error;
use wasmtime::{Caller, Linker, Memory};

use super::errno::{Answer, Fail, Stop};
use super::{OpenArguments, Wasi};

/// The module that guests import the functions from.
pub const MODULE: &str = "wasi_snapshot_preview1";

/// What the data of a store has to hold for the functions to work.
pub trait WasiView {
    /// The guest's memory, put there once after instantiation.
    ///
    /// It must belong to the store; wasmtime panics when it does not.
    fn memory(&self) -> Option<Memory>;

    /// The sandbox's state.
    fn wasi(&mut self) -> &mut Wasi;
}

/// The guest called a function before the host had put its memory into the store's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the guest's memory is not known to WASI")]
pub struct NoMemory;

fn call<T: WasiView + 'static>(
    mut caller: Caller<'_, T>,
    function: impl FnOnce(&mut Wasi, &mut [u8]) -> Answer,
) -> wasmtime::Result<i32> {
    let memory = caller
        .data()
        .memory()
        .ok_or_else(|| wasmtime::Error::new(NoMemory))?;
    let (memory, data) = memory.data_and_store_mut(&mut caller);
    match function(data.wasi(), memory) {
        Ok(()) => Ok(0),
        Err(Fail::Errno(errno)) => Ok(i32::from(errno.code())),
        Err(Fail::Stop(Stop::Exit(exit))) => Err(wasmtime::Error::new(exit)),
        Err(Fail::Stop(Stop::Limit(limit))) => Err(wasmtime::Error::new(limit)),
        Err(Fail::Stop(Stop::Interrupted(interrupted))) => Err(wasmtime::Error::new(interrupted)),
    }
}

/// Defines every function of the interface ([`super::FUNCTIONS`]).
///
/// A call that ends the guest returns an error that is an [`Exit`](super::Exit), a
/// [`LimitExceeded`](super::LimitExceeded) or an [`Interrupted`](super::Interrupted), to be found with
/// [`wasmtime::Error::downcast_ref`].
///
/// # Errors
///
/// When the linker has one of the functions already.
pub fn add_to_linker<T: WasiView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    macro_rules! functions {
        ($($name:ident($($argument:ident: $type:ty),*) => ($($passed:expr),*);)*) => {
            $(linker.func_wrap(
                MODULE,
                stringify!($name),
                |caller: Caller<'_, T>, $($argument: $type),*| {
                    call(caller, |wasi, memory| wasi.$name(memory, $($passed),*))
                },
            )?;)*
        };
    }
    functions! {
        args_get(argv: i32, buffer: i32) => (argv, buffer);
        args_sizes_get(count: i32, bytes: i32) => (count, bytes);
        environ_get(environ: i32, buffer: i32) => (environ, buffer);
        environ_sizes_get(count: i32, bytes: i32) => (count, bytes);
        clock_res_get(id: i32, result: i32) => (id, result);
        clock_time_get(id: i32, precision: i64, result: i32) => (id, precision, result);
        fd_advise(fd: i32, offset: i64, len: i64, advice: i32) => (fd, offset, len, advice);
        fd_allocate(fd: i32, offset: i64, len: i64) => (fd, offset, len);
        fd_close(fd: i32) => (fd);
        fd_datasync(fd: i32) => (fd);
        fd_fdstat_get(fd: i32, result: i32) => (fd, result);
        fd_fdstat_set_flags(fd: i32, flags: i32) => (fd, flags);
        fd_fdstat_set_rights(fd: i32, base: i64, inheriting: i64) => (fd, base, inheriting);
        fd_filestat_get(fd: i32, result: i32) => (fd, result);
        fd_filestat_set_size(fd: i32, size: i64) => (fd, size);
        fd_filestat_set_times(fd: i32, atim: i64, mtim: i64, flags: i32)
            => (fd, atim, mtim, flags);
        fd_pread(fd: i32, list: i32, count: i32, offset: i64, done: i32)
            => (fd, (list, count), offset, done);
        fd_prestat_get(fd: i32, result: i32) => (fd, result);
        fd_prestat_dir_name(fd: i32, path: i32, len: i32) => (fd, path, len);
        fd_pwrite(fd: i32, list: i32, count: i32, offset: i64, done: i32)
            => (fd, (list, count), offset, done);
        fd_read(fd: i32, list: i32, count: i32, done: i32) => (fd, list, count, done);
        fd_readdir(fd: i32, buffer: i32, len: i32, cookie: i64, used: i32)
            => (fd, (buffer, len), cookie, used);
        fd_renumber(from: i32, to: i32) => (from, to);
        fd_seek(fd: i32, delta: i64, whence: i32, result: i32) => (fd, delta, whence, result);
        fd_sync(fd: i32) => (fd);
        fd_tell(fd: i32, result: i32) => (fd, result);
        fd_write(fd: i32, list: i32, count: i32, done: i32) => (fd, list, count, done);
        path_create_directory(fd: i32, path: i32, len: i32) => (fd, path, len);
        path_filestat_get(fd: i32, flags: i32, path: i32, len: i32, result: i32)
            => (fd, flags, (path, len), result);
        path_filestat_set_times(
            fd: i32, flags: i32, path: i32, len: i32, atim: i64, mtim: i64, times: i32
        ) => (fd, flags, (path, len), (atim, mtim), times);
        path_link(
            old_fd: i32, flags: i32, old: i32, old_len: i32, new_fd: i32, new: i32, new_len: i32
        ) => ((old_fd, flags), (old, old_len), new_fd, (new, new_len));
        path_open(
            fd: i32, lookup: i32, path: i32, len: i32, oflags: i32, rights: i64, inheriting: i64,
            fdflags: i32, result: i32
        ) => (
            fd, (path, len), OpenArguments { lookup, oflags, rights, inheriting, fdflags }, result
        );
        path_readlink(fd: i32, path: i32, len: i32, buffer: i32, room: i32, used: i32)
            => (fd, (path, len), (buffer, room), used);
        path_remove_directory(fd: i32, path: i32, len: i32) => (fd, path, len);
        path_rename(old_fd: i32, old: i32, old_len: i32, new_fd: i32, new: i32, new_len: i32)
            => (old_fd, (old, old_len), new_fd, (new, new_len));
        path_symlink(target: i32, target_len: i32, fd: i32, path: i32, len: i32)
            => ((target, target_len), fd, (path, len));
        path_unlink_file(fd: i32, path: i32, len: i32) => (fd, path, len);
        poll_oneoff(subscriptions: i32, events: i32, count: i32, done: i32)
            => (subscriptions, events, count, done);
        proc_raise(signal: i32) => (signal);
        sched_yield() => ();
        random_get(buffer: i32, len: i32) => (buffer, len);
        sock_accept(fd: i32, flags: i32, result: i32) => (fd, flags, result);
        sock_recv(fd: i32, list: i32, count: i32, flags: i32, done: i32, result: i32)
            => (fd, (list, count), flags, (done, result));
        sock_send(fd: i32, list: i32, count: i32, flags: i32, done: i32)
            => (fd, (list, count), flags, done);
        sock_shutdown(fd: i32, how: i32) => (fd, how);
    }
    linker.func_wrap(MODULE, "proc_exit", |caller: Caller<'_, T>, code: i32| {
        call(caller, |wasi, memory| wasi.proc_exit(memory, code)).map(|_| ())
    })?;
    Ok(())
}
