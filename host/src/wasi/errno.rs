//! What a call answers the guest, and what ends the guest instead of answering.

use thiserror::Error;

/// An error code of preview 1. [`Errno::SUCCESS`] never travels as an error.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(u16);

macro_rules! errnos {
    ($($(#[$doc:meta])* $name:ident = $value:literal,)*) => {
        impl Errno {
            $($(#[$doc])* pub const $name: Self = Self($value);)*
        }

        impl std::fmt::Debug for Errno {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self.0 {
                    $($value => f.write_str(concat!("E", stringify!($name))),)*
                    other => write!(f, "E{other}"),
                }
            }
        }
    };
}

errnos! {
    /// No error.
    SUCCESS = 0,
    /// Argument list too long.
    TOOBIG = 1,
    /// Bad file descriptor.
    BADF = 8,
    /// Device or resource busy.
    BUSY = 10,
    /// File exists.
    EXIST = 20,
    /// Bad address: a guest pointer reaches outside the guest's memory.
    FAULT = 21,
    /// File too large.
    FBIG = 22,
    /// Illegal byte sequence: a path that is not UTF-8.
    ILSEQ = 25,
    /// Invalid argument.
    INVAL = 28,
    /// Input or output error.
    IO = 29,
    /// Is a directory.
    ISDIR = 31,
    /// Too many levels of symbolic links.
    LOOP = 32,
    /// Too many open descriptors.
    MFILE = 33,
    /// Too many links.
    MLINK = 34,
    /// Name or path too long.
    NAMETOOLONG = 37,
    /// No such file or directory.
    NOENT = 44,
    /// Not enough memory.
    NOMEM = 48,
    /// No space left on device.
    NOSPC = 51,
    /// Function not implemented.
    NOSYS = 52,
    /// Not a directory.
    NOTDIR = 54,
    /// Directory not empty.
    NOTEMPTY = 55,
    /// Not a socket.
    NOTSOCK = 57,
    /// Not supported.
    NOTSUP = 58,
    /// Value too large for its type.
    OVERFLOW = 61,
    /// Operation not permitted.
    PERM = 63,
    /// Read-only file system.
    ROFS = 69,
    /// Invalid seek.
    SPIPE = 70,
    /// Capabilities insufficient.
    NOTCAPABLE = 76,
}

impl Errno {
    /// The code as the guest sees it.
    #[must_use]
    pub const fn code(self) -> u16 {
        self.0
    }
}

/// The guest called `proc_exit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the guest exited with code {code}")]
pub struct Exit {
    /// The code that it gave.
    pub code: u32,
}

/// A limit that ends the guest when it is passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{which} limit exceeded")]
pub struct LimitExceeded {
    /// The limit.
    pub which: Limit,
}

/// The limits that end the guest; other limits are errors that the guest sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Bytes written to standard output.
    StdoutBytes,
    /// Bytes written to standard error.
    StderrBytes,
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::StdoutBytes => "stdout bytes",
            Self::StderrBytes => "stderr bytes",
        })
    }
}

/// A sleep in real time was cut short because the job has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("interrupted while sleeping")]
pub struct Interrupted;

/// What ends the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It asked for it.
    Exit(Exit),
    /// It went past a limit.
    Limit(LimitExceeded),
    /// The host asked for it during a sleep.
    Interrupted(Interrupted),
}

/// Why a call did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fail {
    /// The guest gets an error code and goes on.
    Errno(Errno),
    /// The guest ends.
    Stop(Stop),
}

impl From<Errno> for Fail {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl From<Interrupted> for Fail {
    fn from(interrupted: Interrupted) -> Self {
        Self::Stop(Stop::Interrupted(interrupted))
    }
}

impl From<LimitExceeded> for Fail {
    fn from(limit: LimitExceeded) -> Self {
        Self::Stop(Stop::Limit(limit))
    }
}

/// What every preview 1 function returns: results go to guest memory.
pub type Answer = Result<(), Fail>;
