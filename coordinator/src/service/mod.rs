//! The coordinator as one thing: it listens on an address and keeps everything in one folder.
//!
//! ```text
//! store/                     jobs, outcomes, identities; what is large, as blobs
//! authority/                 the keys that sign certificates
//! artifact.key               the key that signs artifacts
//! artifacts/                 what was compiled, and for whom
//! coordinator.credentials    its own certificate and key
//! operator.credentials       those of the client that may do what concerns everybody
//! address                    where it listens, while it runs
//! ```
//!
//! `folder` opens or makes those, `joining` lets peers in that have no certificate yet, `upkeep` does what is due now and
//! then, `maintenance` removes what nobody needs, `metrics` tells figures. What peers ask for is [`crate::server`]'s, who they are [`crate::identities`]'.

mod backup;
mod error;
mod folder;
mod joining;
mod maintenance;
mod metrics;
mod upkeep;

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ppwasm_certs::{Credentials, PrivateKey, Role, Trust, TrustDomain, tls};
use ppwasm_link::Listener as _;
use ppwasm_session::link::PeerListener;
use ppwasm_session::{Listener, Sessions};
use rustls::time_provider::TimeProvider;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::info;

use self::folder::Opened;
use self::metrics::Metrics;
use self::upkeep::Upkeep;
use crate::artifacts::Artifacts;
use crate::blobs::{BlobLimits, Blobs};
use crate::child::{ChildArtifacts, ChildImages, ChildProgram};
use crate::identities::{Identities, RegistrationError};
use crate::server::{ImageBuilder, KEEP_FOR, Server, ServerConfig, ServerError};
pub use backup::{BackupError, backup};
pub use error::StartError;
pub use folder::{
    ADDRESS_FILE, ARTIFACT_KEY_FILE, ARTIFACTS_FOLDER, AUTHORITY_FOLDER, COORDINATOR_FILE,
    OPERATOR_FILE, STORE_FOLDER, read_address,
};

/// The port on which coordinators listen unless they are told otherwise.
pub const DEFAULT_PORT: u16 = 7777;
/// The installation's name unless it is told otherwise.
pub const DEFAULT_TRUST_DOMAIN: &str = "ppwasm";
/// What a coordinator's own certificate says its name is.
const OWN_NAME: &str = "coordinator";
/// Those who join and wait for somebody to listen to them.
const JOINERS_WAITING_MAX: usize = 64;

/// Settings.
#[derive(Clone, Debug)]
pub struct CoordinatorConfig {
    /// Where everything is kept; made when it is not there.
    pub folder: PathBuf,
    /// Where it listens. Default: every address of this machine, [`DEFAULT_PORT`].
    pub listen: SocketAddr,
    /// The installation's name, of a new folder. An old one has its own, which has to be the same when this is given.
    pub trust_domain: Option<TrustDomain>,
    /// Where figures are read by HTTP; nowhere by default.
    pub metrics: Option<SocketAddr>,
    /// For how long a job is kept after its end when its client does not say. Default [`KEEP_FOR`].
    pub keep_for: Duration,
    /// From the start to the first time that something is removed; `None` for the usual time.
    pub first_maintenance: Option<Duration>,
    /// The scheduler's settings.
    pub scheduler: ppwasm_scheduler::Config,
    /// What blobs may take.
    pub blobs: BlobLimits,
    /// By what time certificates and tokens are judged.
    pub clock: Arc<dyn TimeProvider>,
}

impl CoordinatorConfig {
    /// The defaults, in a folder.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        let mut seed = [0; 8];
        // Without random bytes nothing starts; here they only spread back-offs.
        let _ = getrandom::fill(&mut seed);
        Self {
            folder: folder.into(),
            listen: (Ipv6Addr::UNSPECIFIED, DEFAULT_PORT).into(),
            trust_domain: None,
            metrics: None,
            keep_for: KEEP_FOR,
            first_maintenance: None,
            scheduler: ServerConfig::new(u64::from_le_bytes(seed)).scheduler,
            blobs: BlobLimits::default(),
            clock: Arc::new(tls::DefaultTimeProvider),
        }
    }
}

/// Who makes function images, and compiles the guest for workers.
pub enum Builders {
    /// Images are made in this process. Nothing is compiled: workers bring the guest themselves.
    Here(Arc<dyn ImageBuilder>),
    /// Both in child processes, from the guest in a folder.
    Children {
        /// The program that works as a child.
        program: ChildProgram,
        /// The guest folder.
        guest: PathBuf,
    },
}

/// What the builders come to.
type Prepared = (Arc<dyn ImageBuilder>, Option<Arc<Artifacts>>);

impl Builders {
    /// Compiles the guest for this machine if need be.
    fn prepare(
        self,
        folder: PathBuf,
        blobs: Blobs,
        key: PrivateKey,
    ) -> Result<Prepared, StartError> {
        let (program, guest) = match self {
            Self::Here(images) => return Ok((images, None)),
            Self::Children { program, guest } => (program, guest),
        };
        let builder = ChildArtifacts::new(program.clone(), &guest, &folder)?;
        let artifacts = Artifacts::open(&folder, blobs, key, Arc::new(builder))?;
        let images = ChildImages::new(program, &artifacts, &folder)?;
        Ok((Arc::new(images), Some(Arc::new(artifacts))))
    }
}

/// A coordinator that runs. Dropping it is a crash: sessions end, nothing is said to anybody.
pub struct Coordinator {
    server: Arc<Server>,
    identities: Arc<Identities>,
    sessions: Sessions,
    address: SocketAddr,
    metrics: Option<SocketAddr>,
    folder: PathBuf,
    is_new: bool,
    tasks: Mutex<JoinSet<()>>,
}

impl Coordinator {
    /// Opens or makes the folder, starts the server in it, and listens. Reads the whole store first.
    ///
    /// # Errors
    ///
    /// [`StartError`] says what is in the way.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub async fn start(config: CoordinatorConfig, builders: Builders) -> Result<Self, StartError> {
        let Opened {
            store,
            identities,
            artifact_key,
            own,
            operator,
            is_new,
        } = folder::open(&config).await?;
        let listener = bind(config.listen, server_tls(&identities, &own, &config)?)?;
        let address = listener.local_address().map_err(StartError::Address)?;
        let sessions = listener.sessions();
        let settings = ServerConfig {
            scheduler: config.scheduler.clone(),
            keep_for: config.keep_for,
        };
        let metrics = match config.metrics {
            Some(address) => Some(Metrics::bind(address).await?),
            None => None,
        };
        let blobs = store.blobs().clone();
        let folder = config.folder.join(ARTIFACTS_FOLDER);
        let prepared =
            tokio::task::spawn_blocking(|| builders.prepare(folder, blobs, artifact_key));
        let (images, artifacts) = prepared.await.map_err(|_| ServerError::Panicked)??;
        let known = Some(Arc::clone(&identities));
        let kept = Arc::clone(&store);
        let server = Server::start_with(store, images, settings, known, artifacts.clone())?;
        let server = Arc::new(server);
        let (joiners, joining) = mpsc::channel(JOINERS_WAITING_MAX);
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(
            Arc::clone(&server),
            PeerListener::new(listener, Some(joiners)),
        ));
        let figures = Arc::clone(server.figures());
        tasks.spawn(joining::serve(Arc::clone(&identities), figures, joining));
        tasks.spawn(maintenance::run(
            Arc::clone(&server),
            kept,
            config.first_maintenance,
        ));
        let metrics_address = metrics.as_ref().map(Metrics::address);
        if let Some(metrics) = metrics {
            tasks.spawn(metrics.serve(Arc::clone(&server), sessions.clone()));
        }
        let upkeep = Upkeep::new(
            config.clone(),
            Arc::clone(&identities),
            sessions.clone(),
            own,
            operator,
        );
        tasks.spawn(upkeep.run());
        if let Some(artifacts) = artifacts {
            tasks.spawn(artifacts.prepare());
        }
        folder::write_address(&config.folder, address)?;
        info!(%address, metrics = metrics_address.map(tracing::field::display), folder = %config.folder.display(), "listening");
        Ok(Self {
            server,
            identities,
            sessions,
            address,
            metrics: metrics_address,
            folder: config.folder,
            is_new,
            tasks: Mutex::new(tasks),
        })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where figures are read, if anywhere.
    pub const fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics
    }

    /// The folder was made by this start.
    pub const fn is_new(&self) -> bool {
        self.is_new
    }

    /// Its identities: to mint tokens without a connection.
    pub const fn identities(&self) -> &Arc<Identities> {
        &self.identities
    }

    /// A join token, as [`Identities::mint`].
    ///
    /// # Errors
    ///
    /// As [`Identities::mint`].
    pub async fn mint(
        &self,
        role: Role,
        name: Option<&str>,
        lifetime_s: Option<u64>,
    ) -> Result<String, RegistrationError> {
        let minted = self
            .identities
            .mint(role, name, lifetime_s, "the coordinator");
        Ok(minted.await?.0.to_string())
    }

    /// Whether it has ended by itself: the store failed.
    pub fn is_finished(&self) -> bool {
        self.server.is_finished()
    }

    /// Returns when it has ended by itself; [`Coordinator::stop`] says why.
    pub async fn wait(&self) {
        self.server.ended().await;
    }

    /// Stops in good order: sessions are told, and what was acknowledged is durable.
    ///
    /// # Errors
    ///
    /// Why it had ended before.
    pub async fn stop(self) -> Result<(), ServerError> {
        info!("stopping");
        self.server.halt();
        self.sessions.stop("the coordinator is stopping").await;
        let mut tasks = {
            let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *tasks)
        };
        tasks.shutdown().await;
        folder::remove_address(&self.folder);
        match Arc::into_inner(self.server) {
            Some(server) => server.stop().await,
            // Its tasks are over, so nobody else has it.
            None => Err(ServerError::Panicked),
        }
    }
}

impl fmt::Debug for Coordinator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coordinator")
            .field("address", &self.address)
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

async fn accept(server: Arc<Server>, mut listener: PeerListener) {
    while let Some(link) = listener.accept().await {
        let leaf = link.handle().leaf().cloned();
        server.serve_known(link, leaf);
    }
}

fn server_tls(
    identities: &Identities,
    own: &Credentials,
    config: &CoordinatorConfig,
) -> Result<rustls::ServerConfig, StartError> {
    let trust = Trust::of_peers(identities.authority())?;
    let clock = Arc::clone(&config.clock);
    Ok(tls::server_config(
        own,
        trust,
        identities.denied(),
        true,
        clock,
    )?)
}

/// Listens; on a machine without IPv6, on all addresses of the other kind.
fn bind(address: SocketAddr, tls: rustls::ServerConfig) -> Result<Listener, StartError> {
    let failed = |source| StartError::Listen { address, source };
    match Listener::bind(address, tls.clone()) {
        Err(_) if address.ip() == Ipv6Addr::UNSPECIFIED => {
            let old = (Ipv4Addr::UNSPECIFIED, address.port()).into();
            Listener::bind(old, tls).map_err(failed)
        }
        bound => bound.map_err(failed),
    }
}

/// The files of a coordinator's folder are for its owner only, the folder included.
fn make_private_folder(path: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}
