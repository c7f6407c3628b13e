//! How a task ended. An outcome is a fact about the task, never an error of ppwasm.

use std::fmt;

use crate::limits::LimitKind;
use crate::value::{DecodeError, Value};

/// How a task ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The function returned.
    Succeeded {
        /// What it returned; `None` for a script.
        value: EncodedValue,
    },
    /// The function, or loading it, raised an exception.
    Raised(Exception),
    /// The guest stopped in a way that Python does not survive.
    Trapped {
        /// What happened.
        cause: TrapCause,
    },
    /// The task reached a limit and was ended.
    LimitExceeded {
        /// Which one.
        limit: LimitKind,
        /// What was allowed, in the unit of the limit's kind.
        allowed: u64,
    },
    /// Its owner cancelled it.
    Cancelled,
    /// Given up by the system: every attempt was lost with its worker, or took the worker down.
    Abandoned,
}

/// The encoding of a value, not looked at yet.
///
/// It is as untrustworthy as its source until [`EncodedValue::decode`] has accepted it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EncodedValue(Vec<u8>);

impl EncodedValue {
    /// Takes bytes that claim to be a value.
    pub const fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The encoded bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The encoded bytes.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// The value.
    ///
    /// # Errors
    ///
    /// When the bytes are not the encoding of exactly one value.
    pub fn decode(&self) -> Result<Value, DecodeError> {
        Value::decode(&self.0)
    }
}

/// An exception as its text, for people and logs.
///
/// Text with lone surrogates, which UTF-8 has not, has them written as `\udc80`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exception {
    /// The qualified name of its class, builtins without module: `ValueError`, `job.TooHot`.
    pub type_name: String,
    /// `str()` of it.
    pub message: String,
    /// The traceback as Python prints it, with the user's files and lines, causes, groups and notes.
    pub traceback: String,
    /// Notes added with `add_note`.
    pub notes: Vec<String>,
    /// The exit code when it is a `SystemExit` that carries one. As in Python, a code that does not fit is −1.
    pub exit_code: Option<i64>,
}

impl Exception {
    /// The name under which a coordinator says why a function could not be loaded when that was not the function's
    /// doing.
    pub const NOT_LOADED: &str = "ppwasm.NotLoaded";
}

/// What stopped the guest. `Display` tells it to people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TrapCause {
    /// `os._exit` or C's `exit`: WASI's `proc_exit`.
    Exit {
        /// The exit code.
        code: u32,
    },
    /// `abort()`: the guest executed `unreachable`.
    Abort,
    /// C or WebAssembly code recursed past the end of its stack.
    StackOverflow,
    /// An access outside the linear memory.
    MemoryOutOfBounds,
    /// A call through a function pointer that points at no function.
    BadIndirectCall,
    /// A division by zero, or one that overflows, in C code.
    DivisionFailed,
    /// A conversion of a float to an integer failed in C code.
    ConversionFailed,
    /// The guest broke the interface: its reply is outside its memory or is not a reply.
    InvalidReply,
    /// The guest had not even the memory to report an error.
    NoReply,
    /// Another trap of WebAssembly.
    Other,
}

impl fmt::Display for TrapCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exit { code } => return write!(f, "the process exited with code {code}"),
            Self::Abort => "the process aborted",
            Self::StackOverflow => "the stack overflowed",
            Self::MemoryOutOfBounds => "memory was accessed out of bounds",
            Self::BadIndirectCall => "a call went through an invalid function pointer",
            Self::DivisionFailed => "an integer division failed",
            Self::ConversionFailed => "a conversion to an integer failed",
            Self::InvalidReply => "the guest's reply is not valid",
            Self::NoReply => "the guest ran out of memory while replying",
            Self::Other => "the guest trapped",
        })
    }
}
