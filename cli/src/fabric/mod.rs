//! Where jobs run: coordinator and worker in this process, or a coordinator somewhere else.
//!
//! Either way this command is a client, and its connection is moved by a thread of its own: what is printed may wait for
//! its reader without the coordinator noticing.

mod cluster;
#[cfg(feature = "coordinator")]
mod local;

use tokio::runtime::{Builder, Handle, Runtime};

use crate::failure::{Because, Result};

pub(crate) use cluster::{CREDENTIALS_FILE, Cluster};
#[cfg(feature = "coordinator")]
pub(crate) use local::{Local, clean_up};

/// A thread that moves connections until the process ends.
#[derive(Debug)]
struct Background(Handle);

impl Background {
    fn start() -> Result<Self> {
        let runtime = runtime()?;
        let handle = runtime.handle().clone();
        std::thread::Builder::new()
            .name("ppwasm-fabric".into())
            .spawn(move || runtime.block_on(std::future::pending::<()>()))
            .machine("could not start a thread")?;
        Ok(Self(handle))
    }
}

/// What runs this thread's part of a command.
pub(crate) fn runtime() -> Result<Runtime> {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .machine("could not start a thread")
}

/// There is nothing to be removed before the process ends.
#[cfg(not(feature = "coordinator"))]
pub(crate) const fn clean_up() {}
