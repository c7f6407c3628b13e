//! Coordinator and worker in this process, for as long as a job takes.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use ppwasm_client::{Client, ClientConfig, ClientError};
use ppwasm_coordinator::blobs::BlobLimits;
use ppwasm_coordinator::server::{BuildError, BuiltImage, ImageBuilder, Server, ServerConfig};
use ppwasm_coordinator::store::{Maintenance, MemoryStore, Store};
use ppwasm_host::{Function, Host};
use ppwasm_link::Peer;
use ppwasm_link::memory::MemoryHub;
use ppwasm_proto::fabric::Incarnation;
use ppwasm_proto::wire::SLOTS_MAX;
use ppwasm_proto::{Digest, JobId};
use ppwasm_worker::agent::Config as AgentConfig;
use ppwasm_worker::{Prepared, Worker, WorkerConfig};
use tempfile::TempDir;

use super::Background;
use crate::failure::{Because, Failure, Result, chain};

/// Tasks that the worker starts for each slot of its host: those that wait do so in the host's queue, so that a slot goes on
/// without waiting for another thread.
const STARTED_PER_SLOT: u64 = 8;
/// How often what is of no use any more is removed from the folder.
const CLEAN_EVERY: Duration = Duration::from_secs(10);
/// Age at which a blob that nobody names is of no use: longer than it takes from its coming to its being named.
const BLOB_AGE: Duration = Duration::from_secs(60);
/// Printed tasks after which what is kept of them is let go.
const LET_GO_EVERY: u64 = 256;

/// The folder with what is too large for a message; for when the process ends in the middle.
static FOLDER: OnceLock<PathBuf> = OnceLock::new();

/// Coordinator and worker in this process.
pub(crate) struct Local {
    /// Speaks to them.
    pub client: Arc<Client>,
    store: Arc<MemoryStore>,
    /// Tasks below were let go.
    gone: u64,
    _background: Background,
    _folder: TempDir,
}

/// Gives the image of the function that is loaded already: there is no other job.
struct Loaded {
    guest: Digest,
    function: Function,
}

impl ImageBuilder for Loaded {
    fn guest(&self) -> Digest {
        self.guest
    }

    fn build(&self, _: &[u8]) -> Result<BuiltImage, BuildError> {
        let image = self.function.image().to_bytes();
        Ok(BuiltImage {
            image,
            ..BuiltImage::default()
        })
    }
}

impl Local {
    /// Starts them for a function that is loaded, with a worker that has what `prepared` has besides.
    pub(crate) fn start(host: Arc<Host>, function: Function, prepared: Prepared) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("ppwasm-").tempdir();
        let folder = folder.machine("could not make a folder for the job's data")?;
        let _ = FOLDER.set(folder.path().to_owned());
        // A full disk is found when something is too large for it, not before.
        let limits = BlobLimits {
            free_bytes_min: 0,
            ..BlobLimits::default()
        };
        let store = MemoryStore::new(random()?, folder.path(), limits);
        let store = Arc::new(store.machine("could not make a folder for the job's data")?);
        let background = Background::start()?;
        let _entered = background.0.enter();

        let [seed, incarnation, ..] = random()?.map(u64::from);
        let images = Loaded {
            guest: host.guest_digest(),
            function: function.clone(),
        };
        let kept: Arc<dyn Store> = Arc::clone(&store) as _;
        let server = Server::start(kept, Arc::new(images), ServerConfig::new(seed));
        let server = server.machine("could not start the coordinator")?;
        let hub = MemoryHub::new();
        let listener = hub.listen();
        background
            .0
            .spawn(async move { server.listen(listener).await });

        let slots = u64::try_from(host.slots()).unwrap_or(u64::MAX);
        let started = slots.saturating_mul(STARTED_PER_SLOT).min(SLOTS_MAX);
        let started = u32::try_from(started).unwrap_or(u32::MAX);
        let config = WorkerConfig {
            agent: AgentConfig::new(Incarnation(incarnation), seed, started),
            label: "this machine".into(),
        };
        let mut worker = Worker::new(host, hub.dialer(Peer::Worker(name()?)), config);
        worker.prepare(Prepared {
            function: Some(function),
            ..prepared
        });
        background.0.spawn(worker.run());
        background.0.spawn(clean(Arc::clone(&store)));
        let client = Client::start(hub.dialer(Peer::Client(name()?)), ClientConfig::default());
        Ok(Self {
            client: Arc::new(client),
            store,
            gone: 0,
            _background: background,
            _folder: folder,
        })
    }

    /// Tasks below were printed: nobody asks for them again.
    pub(crate) fn printed(&mut self, job: JobId, below: u64) {
        if below - self.gone >= LET_GO_EVERY {
            self.store.let_go(&job, below);
            self.gone = below;
        }
    }

    /// What it means that something went wrong with the coordinator: it is this process.
    pub(crate) fn failure(error: &ClientError) -> Failure {
        Failure::Machine(anyhow::anyhow!("could not run the job: {}", chain(error)))
    }
}

/// Removes what is kept in the file system, before the process ends in the middle.
pub(crate) fn clean_up() {
    if let Some(folder) = FOLDER.get() {
        let _ = std::fs::remove_dir_all(folder);
    }
}

async fn clean(store: Arc<MemoryStore>) {
    loop {
        tokio::time::sleep(CLEAN_EVERY).await;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now_ms = now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
        let work = Maintenance {
            blob_age: BLOB_AGE,
            ..Maintenance::at(now_ms)
        };
        let store = Arc::clone(&store);
        // What is not removed now is removed later, or with the folder.
        let _ = tokio::task::spawn_blocking(move || store.maintain(work, Box::new(|_| ()))).await;
    }
}

fn name<T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>>() -> Result<T> {
    "local".parse().machine("could not name the worker")
}

fn random() -> Result<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).machine("the system gives no random bytes")?;
    Ok(bytes)
}
