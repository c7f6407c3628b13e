//! What can go wrong on this machine. How a task itself ended is an [`Outcome`](ppwasm_proto::Outcome).

use std::io;
use std::path::PathBuf;

use ppwasm_proto::{Digest, EncodeError, Exception, LimitsError, TrapCause};

use crate::cache::CacheError;
use crate::cpu::CpuProfile;
use crate::image::ImageError;
use crate::module::ModuleError;
use crate::parts::PartsError;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why a host could not be made, or a task could not be carried out on it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// No guest folder where it was looked for.
    #[error(
        "found no guest (python.wasm, library.tar, guest.json) in {}",
        places(tried)
    )]
    GuestNotFound {
        /// Where it was looked for.
        tried: Vec<PathBuf>,
    },
    /// A file of the guest folder cannot be read.
    #[error("could not read {}", path.display())]
    ReadGuest {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file of the guest folder is not what `guest.json` says.
    #[error("{} is not the file that guest.json describes", path.display())]
    GuestDamaged {
        /// The file.
        path: PathBuf,
    },
    /// `guest.json` is not understood.
    #[error("{} does not describe a guest that this version can run", path.display())]
    GuestDescription {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Source,
    },
    /// The standard library's archive is not understood.
    #[error("the guest's library archive is invalid")]
    Library {
        /// Why.
        #[source]
        source: Source,
    },
    /// The guest module cannot carry an image.
    #[error("the guest module cannot be snapshotted")]
    Module(#[from] ModuleError),
    /// An image is not valid.
    #[error("the memory image cannot be used")]
    Image(#[from] ImageError),
    /// The sandbox's state cannot become part of an image.
    #[error("the state of the sandbox cannot be kept in an image")]
    Snapshot(#[from] crate::wasi::SnapshotError),
    /// No CPU profile fits this machine.
    #[error("this machine's CPU fits none of the profiles that code is compiled for")]
    NoProfile,
    /// The profile asked for needs instructions that this CPU has not.
    #[error("this machine's CPU cannot run code for profile {profile}")]
    ProfileNotSupported {
        /// The profile.
        profile: CpuProfile,
    },
    /// The engine could not be made.
    #[error("could not start the WebAssembly engine")]
    Engine {
        /// Why.
        #[source]
        source: Source,
    },
    /// The compiler refused the module.
    #[error("could not compile the guest for {profile}")]
    Compile {
        /// For which profile.
        profile: CpuProfile,
        /// Why.
        #[source]
        source: Source,
    },
    /// Code that was just compiled does not load.
    #[error("could not load the compiled guest")]
    LoadArtifact {
        /// Why.
        #[source]
        source: Source,
    },
    /// A sandbox could not be made.
    #[error("could not create a sandbox")]
    Instantiate {
        /// Why.
        #[source]
        source: Source,
    },
    /// The module lacks an export of the guest's interface.
    #[error("the guest module has no export {name} of the right type")]
    MissingExport {
        /// The export.
        name: &'static str,
    },
    /// The interpreter did not start.
    #[error("the guest's interpreter did not start: {stderr}")]
    Start {
        /// What it wrote to stderr.
        stderr: String,
    },
    /// The operating system refused memory or a mapping.
    #[error("could not {action}")]
    System {
        /// What was tried.
        action: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The cache directory cannot be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// A limit is outside what is possible.
    #[error(transparent)]
    Limits(#[from] LimitsError),
    /// An argument cannot be encoded.
    #[error("an argument cannot travel")]
    Argument(#[from] EncodeError),
    /// The calling thread's stack is too small to run a guest on.
    #[error("the calling thread has {room} bytes of stack left, a guest needs {needed}")]
    StackTooSmall {
        /// Bytes left.
        room: usize,
        /// Bytes needed.
        needed: usize,
    },
    /// A slot of the host could not be set up when its thread started.
    #[error("the slot could not be set up: {reason}")]
    NoSlot {
        /// The error that setting it up gave.
        reason: String,
    },
    /// A function of another host: its image is on another base.
    #[error("the function belongs to base image {found}, this host runs {wanted}")]
    OtherBase {
        /// The function's base.
        found: Digest,
        /// This host's.
        wanted: Digest,
    },
    /// The guest's parts cannot be used here.
    #[error(transparent)]
    Parts(#[from] PartsError),
    /// A guest folder, and nothing to compile it with.
    #[error(
        "this program was built without a compiler: it runs only what a coordinator has compiled for it"
    )]
    NoCompiler,
    /// The host is being dropped.
    #[error("the host has stopped")]
    Stopped,
    /// A panic while the call ran: a bug of the host, or of a [`Sink`](crate::wasi::Sink) that the task was given. The slot goes on.
    #[error("the host met a bug of its own while the call ran")]
    Panicked,
}

/// Why a function bundle did not become a function.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// Importing the module raised an exception, or the function is not in it.
    #[error("loading the function raised {}: {}", .0.type_name, .0.message)]
    Raised(Exception),
    /// The guest stopped while loading.
    #[error("the guest stopped while loading the function: {0}")]
    Trapped(TrapCause),
    /// Loading went past a limit.
    #[error("loading the function went past its {limit} limit")]
    LimitExceeded {
        /// Which limit.
        limit: ppwasm_proto::LimitKind,
    },
    /// The host failed, not the function.
    #[error(transparent)]
    Host(#[from] HostError),
}

fn places(tried: &[PathBuf]) -> String {
    let shown: Vec<_> = tried
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    shown.join(", ")
}
