//! WASI preview 1 for one guest, in memory and as plain data.
//!
//! Nothing here touches a file, clock or entropy source of the machine, except through values that the host gives:
//! a [`Library`] and an [`InputTree`] to read, a [`Clock`], a [`Random`] source, limits. [`Wasi`] is the state of one
//! sandbox; each function of the interface is a method on it over the guest's memory as a byte slice, so all of it runs
//! without an engine. [`link`] ties it to wasmtime; [`inputs`] reads granted files from the machine before a job runs.
//!
//! Every guest pointer is checked ([`Errno::FAULT`]); nothing that a guest passes makes the host panic.
//!
//! # Functions
//!
//! All functions of the interface are linked ([`FUNCTIONS`]).
//!
//! | function | answers |
//! |---|---|
//! | `args_*`, `environ_*` | the job's lists, empty by default |
//! | `clock_*` | the job's [`Clock`]; the two CPU-time clocks tell the time since the job's start |
//! | `fd_*`, `path_*` | the tree of [`fs`]; rights are enforced; `fd_sync`, `fd_datasync` and `fd_advise` have nothing to do |
//! | `poll_oneoff` | descriptors are always ready; a sleep moves virtual time at once |
//! | `random_get` | the job's [`Random`] stream, at most [`RANDOM_BYTES_MAX`] at a time |
//! | `proc_exit` | ends the guest |
//! | `sched_yield` | success |
//! | `sock_*` | `ENOTSOCK`: no descriptor is a socket |
//! | `proc_raise` | `ENOSYS` ([`NOT_IMPLEMENTED`]) |
//!
//! Where this differs from other implementations: symbolic links may have absolute targets, which start at the guest's own
//! root; the access time of a file does not move when it is read; holes in files count against the limit; the standard
//! streams are neither files nor terminals.

#![forbid(unsafe_code)]
#![deny(clippy::indexing_slicing)]

mod calls_fd;
mod calls_io;
mod calls_misc;
mod calls_path;
mod clock;
mod codec;
mod errno;
mod fd;
pub mod fs;
pub mod inputs;
pub mod link;
mod memory;
mod poll;
mod random;
mod snapshot;
mod stdio;
#[cfg(test)]
mod tests;
mod types;

use std::sync::Arc;

pub use calls_path::OpenArguments;
pub use clock::{Clock, SLEEP_END_NS, STEP_NS, Sleeper};
use clock::{ClockId, RunningClock};
pub use errno::{Answer, Errno, Exit, Fail, Interrupted, Limit, LimitExceeded, Stop};
pub use fd::DESCRIPTORS_MAX;
use fd::Descriptors;
use fs::Fs;
pub use fs::{
    InputTree, InputTreeError, Library, LibraryError, PackedTreeError, ScratchLimits, SharedBytes,
};
pub use poll::SUBSCRIPTIONS_MAX;
pub use random::Random;
use random::RandomStream;
pub use snapshot::{Inconsistency, SnapshotError, WasiSnapshot};
use stdio::Capture;
pub use stdio::{OnExceed, Sink, Stream};

/// Most random bytes that one call of `random_get` gives: 16 MiB.
pub const RANDOM_BYTES_MAX: u32 = 16 << 20;

/// Every function of the interface.
pub const FUNCTIONS: [&str; 46] = [
    "args_get",
    "args_sizes_get",
    "environ_get",
    "environ_sizes_get",
    "clock_res_get",
    "clock_time_get",
    "fd_advise",
    "fd_allocate",
    "fd_close",
    "fd_datasync",
    "fd_fdstat_get",
    "fd_fdstat_set_flags",
    "fd_fdstat_set_rights",
    "fd_filestat_get",
    "fd_filestat_set_size",
    "fd_filestat_set_times",
    "fd_pread",
    "fd_prestat_get",
    "fd_prestat_dir_name",
    "fd_pwrite",
    "fd_read",
    "fd_readdir",
    "fd_renumber",
    "fd_seek",
    "fd_sync",
    "fd_tell",
    "fd_write",
    "path_create_directory",
    "path_filestat_get",
    "path_filestat_set_times",
    "path_link",
    "path_open",
    "path_readlink",
    "path_remove_directory",
    "path_rename",
    "path_symlink",
    "path_unlink_file",
    "poll_oneoff",
    "proc_exit",
    "proc_raise",
    "sched_yield",
    "random_get",
    "sock_accept",
    "sock_recv",
    "sock_send",
    "sock_shutdown",
];

/// Functions that answer `ENOSYS` whatever they are given.
pub const NOT_IMPLEMENTED: [&str; 1] = ["proc_raise"];

/// Most bytes of an output stream unless the host says otherwise: 16 MiB.
pub const OUTPUT_BYTES_MAX: usize = 16 << 20;

/// What one job brings into its sandbox, and how much it may put out.
pub struct JobIo {
    /// What standard input gives; then it is at its end.
    pub stdin: SharedBytes,
    /// Files that appear in `/work`.
    pub inputs: Option<Arc<InputTree>>,
    /// Time.
    pub clock: Clock,
    /// Randomness.
    pub random: Random,
    /// Most bytes of standard output.
    pub stdout_bytes_max: usize,
    /// Most bytes of standard error.
    pub stderr_bytes_max: usize,
    /// What happens past them.
    pub on_exceed: OnExceed,
    /// Sees output as it comes.
    pub sink: Option<Sink>,
    /// Limits of `/work` and `/tmp`.
    pub scratch: ScratchLimits,
    /// Arguments, the program's name first. None may contain a NUL.
    pub args: Vec<String>,
    /// Environment, as `NAME=value`. None may contain a NUL.
    pub env: Vec<String>,
}

impl Default for JobIo {
    /// No input, no arguments, virtual time from 1970 on, a random stream that is the same for all.
    fn default() -> Self {
        Self {
            stdin: SharedBytes::EMPTY,
            inputs: None,
            clock: Clock::default(),
            random: Random::default(),
            stdout_bytes_max: OUTPUT_BYTES_MAX,
            stderr_bytes_max: OUTPUT_BYTES_MAX,
            on_exceed: OnExceed::End,
            sink: None,
            scratch: ScratchLimits::default(),
            args: Vec::new(),
            env: Vec::new(),
        }
    }
}

impl std::fmt::Debug for JobIo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JobIo")
            .field("stdin", &self.stdin)
            .field("inputs", &self.inputs.as_ref().map(|inputs| inputs.len()))
            .field("clock", &self.clock)
            .field("random", &self.random)
            .field("stdout_bytes_max", &self.stdout_bytes_max)
            .field("stderr_bytes_max", &self.stderr_bytes_max)
            .field("on_exceed", &self.on_exceed)
            .field("scratch", &self.scratch)
            .field("args", &self.args)
            .finish_non_exhaustive()
    }
}

/// The state of one sandbox.
pub struct Wasi {
    fs: Fs,
    descriptors: Descriptors,
    stdin: SharedBytes,
    stdin_read: usize,
    stdout: Capture,
    stderr: Capture,
    sink: Option<Sink>,
    clock: RunningClock,
    random: RandomStream,
    args: Vec<String>,
    env: Vec<String>,
}

impl Wasi {
    /// A sandbox in which nothing has run yet: standard streams, `/` on descriptor 3, empty scratch.
    #[must_use]
    pub fn new(library: Arc<Library>, job: JobIo) -> Self {
        Self::from_snapshot(library, &WasiSnapshot::default(), job)
    }

    /// A sandbox as a snapshot left it, with another job's inputs. The library must be the one of the snapshot.
    #[must_use]
    pub fn from_snapshot(library: Arc<Library>, snapshot: &WasiSnapshot, job: JobIo) -> Self {
        let mut wasi = Self {
            fs: Fs::new(library),
            descriptors: Descriptors::default(),
            stdin: SharedBytes::EMPTY,
            stdin_read: 0,
            stdout: Capture::new(Stream::Stdout),
            stderr: Capture::new(Stream::Stderr),
            sink: None,
            clock: RunningClock::new(Clock::default(), 0),
            random: RandomStream::new(Random::default()),
            args: Vec::new(),
            env: Vec::new(),
        };
        wasi.reset(snapshot, job);
        wasi
    }

    /// Puts the sandbox back to a snapshot, with another job's inputs, and keeps what memory it has.
    pub fn reset(&mut self, snapshot: &WasiSnapshot, job: JobIo) {
        self.descriptors.copy_from(&snapshot.descriptors);
        self.fs.inputs = job.inputs;
        self.fs.limits = job.scratch;
        self.fs.scratch.clone_from(&snapshot.scratch);
        if let Some(scratch) = &mut self.fs.scratch {
            scratch.set_limits(job.scratch);
        }
        self.stdin = job.stdin;
        self.stdin_read = 0;
        self.stdout.reset(job.stdout_bytes_max, job.on_exceed);
        self.stderr.reset(job.stderr_bytes_max, job.on_exceed);
        self.sink = job.sink;
        self.clock = RunningClock::new(job.clock, snapshot.monotonic_ns);
        self.random = RandomStream::new(job.random);
        self.args = job.args;
        self.env = job.env;
    }

    /// What has been written to standard output, up to its limit.
    #[must_use]
    pub fn stdout(&self) -> &[u8] {
        self.stdout.bytes()
    }

    /// What has been written to standard error, up to its limit.
    #[must_use]
    pub fn stderr(&self) -> &[u8] {
        self.stderr.bytes()
    }

    /// Takes what has been written to standard output.
    pub fn take_stdout(&mut self) -> Vec<u8> {
        self.stdout.take()
    }

    /// Takes what has been written to standard error.
    pub fn take_stderr(&mut self) -> Vec<u8> {
        self.stderr.take()
    }

    /// Whether a stream's limit was passed, so that bytes are missing.
    #[must_use]
    pub fn output_exceeded(&self, stream: Stream) -> bool {
        match stream {
            Stream::Stdout => self.stdout.exceeded(),
            Stream::Stderr => self.stderr.exceeded(),
        }
    }

    /// The monotonic clock, in nanoseconds. Does not move virtual time.
    #[must_use]
    pub fn monotonic_ns(&self) -> u64 {
        self.clock.peek(ClockId::Monotonic)
    }

    /// Bytes in use in scratch.
    #[must_use]
    pub fn scratch_bytes(&self) -> u64 {
        self.fs
            .scratch
            .as_ref()
            .map_or(0, |scratch| scratch.bytes_used())
    }

    /// Files, directories and links in scratch.
    #[must_use]
    pub fn scratch_nodes(&self) -> u32 {
        self.fs
            .scratch
            .as_ref()
            .map_or(0, |scratch| scratch.nodes_used())
    }

    /// The time to put on something that changes now. Moves virtual time, so that later changes have later times.
    fn now(&mut self) -> u64 {
        self.clock.read(ClockId::Realtime)
    }
}

impl std::fmt::Debug for Wasi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wasi")
            .field("descriptors", &self.descriptors)
            .field("stdout_bytes", &self.stdout.bytes().len())
            .field("stderr_bytes", &self.stderr.bytes().len())
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}
