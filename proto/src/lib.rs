//! The vocabulary of ppwasm: what its parts say to each other about functions, calls and how they ended.
//!
//! The nouns, and how they hang together:
//!
//! * A [`FunctionBundle`] is a function that can travel: sources, captured values and an entry point. Its
//!   [`Digest`] is its name.
//! * A [`Call`] is the arguments for one call of it. Arguments and results are [`Value`]s: Python values
//!   outside Python.
//! * A job is one submission and has a [`JobId`]; each call in it is a task with a [`TaskId`]. Both make a
//!   [`TaskIdentity`], from which the task's random stream follows. Each try at a task is an [`Attempt`].
//! * [`Limits`] say what a task may use.
//! * The guest answers with a [`Reply`]. From it and from what the sandbox saw the host makes an [`Outcome`]: how the
//!   task ended. A result in it is an [`EncodedValue`], which nobody looks into before somebody wants the value.
//!
//! Everything read here may come from anybody, a compromised guest included: readers take only what the writers give,
//! say at which byte something is wrong, and need memory in proportion to their input. Nothing here does I/O, reads a
//! clock or makes up a random number.
//!
//! ```
//! use ppwasm_proto::{Call, FunctionBundle, Outcome, Reply, Value};
//!
//! let source = "def area(width, height=1.0): return width * height\n";
//! let bundle = FunctionBundle::function("shapes", "shapes.py", source, "area")?;
//! let call = Call::with_args([2.0]).with_kwarg("height", 1.5);
//!
//! // The guest is sent these two messages …
//! let (load, call) = (bundle.to_bytes(), call.to_bytes()?);
//! assert_eq!(FunctionBundle::from_bytes(&load)?.digest(), bundle.digest());
//! assert!(call.len() < load.len());
//!
//! // … and answers with bytes that are read with suspicion.
//! let reply = Reply::from_bytes(b"\x82\x00\xfb\x40\x08\x00\x00\x00\x00\x00\x00")?;
//! let Reply::Returned(value) = reply else { panic!("nothing was raised") };
//! assert_eq!(value.decode()?, Value::from(3.0));
//! assert_eq!(value.decode()?.to_python_repr(), "3.0");
//! let outcome = Outcome::Succeeded { value };
//! # drop(outcome);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod bundle;
mod call;
mod cbor;
mod digest;
mod digits;
pub mod fabric;
mod identity;
pub mod json;
mod limits;
mod outcome;
mod reply;
mod repr;
pub mod value;
pub mod wire;

pub use bundle::{
    BUNDLE_CAPTURED_MAX, BUNDLE_FILES_MAX, BundleError, Entry, FunctionBundle, SourceFile,
};
pub use call::Call;
pub use digest::{Digest, ParseHexError};
pub use identity::{Attempt, JobId, TaskId, TaskIdentity};
pub use limits::{LimitKind, LimitUnit, Limits, LimitsError};
pub use outcome::{EncodedValue, Exception, Outcome, TrapCause};
pub use reply::Reply;
pub use value::{DecodeError, DecodeErrorKind, EncodeError, Value};
pub use wire::{ArtifactManifest, ManifestError};
