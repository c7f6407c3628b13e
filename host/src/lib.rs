//! Runs Python functions in parallel, each call in a WebAssembly sandbox of its own.
//!
//! ```no_run
//! use ppwasm_host::{Host, Task};
//! use ppwasm_proto::{Call, FunctionBundle, Outcome};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let host = Host::builder().build()?;
//! let bundle = FunctionBundle::function("job", "job.py", "def add(a, b): return a + b", "add")?;
//! let add = host.load(&bundle)?;
//! let report = host.run(&add, Task::new(Call::with_args([40, 2])))?;
//! let Outcome::Succeeded { value } = report.outcome else { panic!("{:?}", report.outcome) };
//! assert_eq!(value.decode()?, 42.into());
//! # Ok(())
//! # }
//! ```
//!
//! # The nouns
//!
//! The *guest* is CPython and a small runner as one WebAssembly module. Its interpreter is started
//! once; the memory then is the *base image*. [`Host::load`] imports a [function
//! bundle](ppwasm_proto::FunctionBundle) on top of it; the pages that this changed are the
//! *function image*, held by a [`Function`]. [`Host::run`] makes one call from that image, in a
//! [`Slot`], and drops everything the call did. The compiled guest module is an *artifact*, made once
//! for a machine's [CPU profile](CpuProfile) and kept in the cache under a seal. A machine that compiles nothing
//! gets artifact, base image and library as [`GuestParts`] from one that does.
//!
//! # What is guaranteed
//!
//! * A call sees its function's image, its arguments and what its [`Task`] grants: nothing of an
//!   earlier call, no file, clock, entropy or network of the machine.
//! * Every call ends: by itself, at a limit, or when it is cancelled. A guest never ends the process.
//! * The same task gives the same result bytes and the same memory, unless it asked for real time.
//!
//! What it leaves to others: which calls to run where, and the network.

#![cfg_attr(
    not(feature = "compile"),
    allow(
        dead_code,
        reason = "some of what images and modules are made with is the compiler's alone"
    )
)]

#[cfg(feature = "compile")]
mod artifact;
mod base;
mod budget;
mod cache;
mod cpu;
mod engine;
mod error;
mod function;
mod guest;
mod host;
pub mod image;
mod instance;
#[cfg(feature = "compile")]
mod make;
mod module;
mod parts;
mod pool;
mod room;
mod slot;
mod sys;
mod task;
pub mod wasi;
mod watchdog;

pub use base::Step;
pub use cache::CacheError;
pub use cpu::{Bounds, CpuProfile, System, Target};
pub use engine::engine_digest;
pub use error::{HostError, LoadError};
pub use function::{Function, Output};
pub use guest::GuestFolder;
pub use host::{ChangedPages, Host, HostBuilder, KernelFeatures, SLOTS_MAX};
pub use image::{Image, ImageError};
#[cfg(feature = "compile")]
pub use make::{CompiledGuest, compatibility_digest};
pub use module::ModuleError;
pub use parts::{GuestParts, PART_BYTES_MAX, Part, PartsError, TrustedManifest};
pub use pool::Run;
pub use room::AddressSpace;
pub use slot::{Slot, StartPath};
pub use task::{CancelToken, Report, Task, TimeSource, Usage};
