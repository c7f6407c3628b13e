//! Coordinator and workers as processes of their own on this machine, and a client here.
//!
//! All that lies between them is real: QUIC with mutual TLS over loopback, SQLite in a folder on disk, a fresh sandbox for
//! each task. Clients check every answer.

pub mod balance;
pub mod cost;
pub mod crowd;
mod job;
mod peers;
mod process;
pub mod recovery;
pub mod scheduler_alone;
pub mod steady;

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use ppwasm_certs::{Authority, Credentials, Role, UnixTime, tls};
use ppwasm_client::{Client, ClientConfig};
use ppwasm_coordinator::service::AUTHORITY_FOLDER;
use ppwasm_session::Connector;
use ppwasm_session::link::CoordinatorDialer;
use tempfile::TempDir;

use crate::Settings;
pub use job::{Job, Task};
pub use process::Process;

/// A coordinator with its folder, and the workers that were started for it.
pub struct Fabric {
    settings: Settings,
    folder: TempDir,
    authority: Authority,
    address: String,
    coordinator: Process,
    workers: Vec<Process>,
    /// Workers that were given a name.
    named: Cell<u32>,
}

impl Fabric {
    /// A coordinator in a new folder; workers with so many slots each.
    ///
    /// # Errors
    ///
    /// A process does not start.
    pub fn start(settings: &Settings, workers: &[u32]) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let (coordinator, address) = coordinator(settings, folder.path())?;
        let authority = Authority::load(&folder.path().join(AUTHORITY_FOLDER), now()?)?;
        let mut fabric = Self {
            settings: settings.clone(),
            folder,
            authority: authority.context("the coordinator made no authority")?,
            address,
            coordinator,
            workers: Vec::new(),
            named: Cell::new(0),
        };
        for slots in workers {
            fabric.add_worker(*slots)?;
        }
        Ok(fabric)
    }

    /// The coordinator's process.
    #[must_use]
    pub const fn coordinator(&self) -> &Process {
        &self.coordinator
    }

    /// The workers' processes, in the order in which they were started.
    #[must_use]
    pub fn workers(&self) -> &[Process] {
        &self.workers
    }

    /// Starts another worker.
    ///
    /// # Errors
    ///
    /// It does not start.
    pub fn add_worker(&mut self, slots: u32) -> anyhow::Result<()> {
        let start = self.worker_command(slots)?;
        self.workers.push(start()?);
        Ok(())
    }

    /// What starts another worker, with its identity made before.
    ///
    /// # Errors
    ///
    /// There is no identity for it.
    pub fn worker_command(
        &self,
        slots: u32,
    ) -> anyhow::Result<impl FnOnce() -> anyhow::Result<Process> + use<>> {
        self.named.set(self.named.get() + 1);
        let name = format!("w{}", self.named.get());
        let path = self.folder.path().join(format!("{name}.credentials"));
        Credentials::issue(&self.authority, Role::Worker, &name, now()?)?.save(&path)?;
        let (settings, address) = (self.settings.clone(), self.address.clone());
        Ok(move || {
            let mut command = process::fabric_side(&settings)?;
            command.arg("worker").arg(path).arg(address);
            command.arg(slots.to_string());
            Ok(Process::start(command)?.0)
        })
    }

    /// A worker that was started by what [`Fabric::worker_command`] gave.
    pub fn adopt(&mut self, worker: Process) {
        self.workers.push(worker);
    }

    /// Ends the worker that was started last in good order.
    ///
    /// # Errors
    ///
    /// There is none, or it fails.
    pub fn stop_worker(&mut self) -> anyhow::Result<()> {
        self.workers.pop().context("there is no worker")?.stop()
    }

    /// Kills the worker that was started last.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn kill_worker(&mut self) -> anyhow::Result<()> {
        self.workers.pop().context("there is no worker")?.kill()
    }

    /// Kills the coordinator.
    ///
    /// # Errors
    ///
    /// The system does not let it.
    pub fn kill_coordinator(&mut self) -> anyhow::Result<()> {
        self.coordinator.kill()
    }

    /// Starts a coordinator in the folder again. It listens elsewhere then.
    ///
    /// # Errors
    ///
    /// It does not start.
    pub fn start_coordinator(&mut self) -> anyhow::Result<()> {
        (self.coordinator, self.address) = coordinator(&self.settings, self.folder.path())?;
        Ok(())
    }

    /// Starts a process that is many workers, each with a session of its own, and runs nothing.
    ///
    /// # Errors
    ///
    /// It does not start.
    pub fn add_crowd(&mut self, workers: usize) -> anyhow::Result<()> {
        let folder = self.folder.path().join("crowd");
        for number in 0..workers {
            let name = format!("c{number}");
            let credentials = Credentials::issue(&self.authority, Role::Worker, &name, now()?)?;
            credentials.save(&folder.join(name))?;
        }
        let mut command = process::fabric_side(&self.settings)?;
        command.arg("crowd").arg(folder).arg(&self.address);
        self.workers.push(Process::start(command)?.0);
        Ok(())
    }

    /// Does `work`, which takes workers that stay.
    ///
    /// # Errors
    ///
    /// It fails, or a worker's process ends: its tasks would be waited for without end.
    pub async fn with_all_workers<T>(
        &self,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        let one_ends = async {
            while !self.workers.iter().any(Process::has_ended) {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        };
        tokio::select! {
            done = work => done,
            () = one_ends => anyhow::bail!("a worker's process has ended"),
        }
    }

    /// A client of its own. Needs a tokio runtime.
    ///
    /// # Errors
    ///
    /// There is no socket.
    pub fn client(&self) -> anyhow::Result<Client> {
        let credentials = Credentials::issue(&self.authority, Role::Client, "bench", now()?)?;
        let tls = tls::client_config(&credentials, Arc::new(tls::DefaultTimeProvider))?;
        let dialer = CoordinatorDialer::new(Connector::new(tls)?, [self.address.parse()?]);
        Ok(Client::start(dialer, ClientConfig::default()))
    }
}

fn coordinator(settings: &Settings, folder: &Path) -> anyhow::Result<(Process, String)> {
    let mut command = process::fabric_side(settings)?;
    command.arg("coordinator").arg(folder);
    Process::start(command)
}

fn now() -> anyhow::Result<UnixTime> {
    Ok(UnixTime::since_unix_epoch(
        SystemTime::UNIX_EPOCH.elapsed()?,
    ))
}

/// The runtime on which clients of benchmarks run.
///
/// # Errors
///
/// There is none to be had.
pub fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    Ok(builder.enable_all().build()?)
}
