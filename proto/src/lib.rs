//! The vocabulary of ppwasm.
#![forbid(unsafe_code)]

mod bundle;
mod call;
mod cbor;
mod digest;
mod digits;
mod identity;
mod limits;
mod outcome;
mod reply;
mod repr;
pub mod value;

pub use bundle::{BundleError, Entry, FunctionBundle, SourceFile};
pub use call::Call;
pub use digest::{Digest, ParseHexError};
pub use identity::{Attempt, JobId, TaskId, TaskIdentity};
pub use limits::{LimitKind, LimitUnit, Limits, LimitsError};
pub use outcome::{EncodedValue, Exception, Outcome, TrapCause};
pub use reply::Reply;
pub use value::{DecodeError, DecodeErrorKind, EncodeError, Value};
