//! The server around the scheduler: sessions on one side, the store on the other.
//!
//! * `core` owns the scheduler and decides nothing itself: it makes records durable, then carries out commands.
//! * `session` is one connected peer, its two halves and what is said on it; `watch` the results that a client wants, `images` the functions' images.
//!
//! Everything runs on the tokio runtime that [`Server::start`] is called on, one thread or many. Reads of the store are
//! made where they are needed: they are short, and a read-only pool answers them.

mod core;
mod images;
mod reads;
mod recent;
mod session;
mod terms;
mod watch;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ppwasm_certs::Leaf;
use ppwasm_link::{Link, Listener};
use ppwasm_proto::fabric::{LeaseKey, SessionId};
use ppwasm_scheduler::RestoreError;
use tokio::sync::{mpsc, oneshot, watch as signal};
use tokio::task::{JoinHandle, JoinSet};

use self::core::{Core, INPUTS_MAX, Input};
pub(crate) use self::core::{chain, wall_ms};
use self::images::Shelf;
use self::reads::Reads;
use self::recent::RecentCalls;
use self::terms::Catalog;
pub use images::{BuildError, BuiltImage, HostImages, ImageBuilder};

use crate::artifacts::Artifacts;
use crate::figures::Figures;
use crate::identities::Identities;
use crate::store::{CommitError, ReadError, Store};

/// For how long a job is kept after its end when nobody says: 7 days.
pub const KEEP_FOR: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Longest time that a client may ask for: a year.
pub const KEEP_FOR_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// Sessions at a time.
pub const SESSIONS_MAX: usize = 20_000;

/// Settings.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The scheduler's. Its lease key is taken from the store.
    pub scheduler: ppwasm_scheduler::Config,
    /// For how long a job is kept after its end when its client does not say. Default 7 days.
    pub keep_for: Duration,
}

impl ServerConfig {
    /// The defaults. `seed` is where the randomness of back-off comes from.
    pub const fn new(seed: u64) -> Self {
        let no_key = LeaseKey::from_bytes([0; 32]);
        Self {
            scheduler: ppwasm_scheduler::Config::new(no_key, seed),
            keep_for: KEEP_FOR,
        }
    }
}

/// Why a server does not start, or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The store could not be read.
    #[error("the store could not be read")]
    Read(#[from] ReadError),
    /// What is in the store contradicts itself.
    #[error("the store does not hold together")]
    Restore(#[from] RestoreError),
    /// The store did not take a batch. What was acknowledged is durable; open the store again and start anew.
    #[error("the store could not be written")]
    Commit(#[from] CommitError),
    /// A part of the server panicked.
    #[error("the server met a bug of its own")]
    Panicked,
}

/// What sessions and core share.
pub(crate) struct Shared {
    pub store: Arc<dyn Store>,
    pub config: ServerConfig,
    pub inputs: mpsc::Sender<Input>,
    pub shelf: Shelf,
    pub catalog: Catalog,
    pub recent: RecentCalls,
    /// Absent where peers are known by construction.
    pub identities: Option<Arc<Identities>>,
    /// Absent where workers bring the guest themselves.
    pub artifacts: Option<Arc<Artifacts>>,
    pub figures: Arc<Figures>,
    pub reads: Reads,
}

/// What there is at a moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Snapshot {
    /// As the scheduler has it.
    pub totals: ppwasm_scheduler::Totals,
    /// How often something was not as it should be.
    pub counters: ppwasm_scheduler::Counters,
    /// Jobs: live, ended, cancelled, those whose function cannot be loaded.
    pub jobs: [u64; 4],
    /// Watches of live jobs.
    pub watches: u64,
    /// Groups of steps that wait to be committed.
    pub groups_waiting: u64,
    /// Bytes that are free where blobs are kept, where the system says.
    pub free_bytes: Option<u64>,
}

/// A coordinator that runs. Dropping it is a crash: sessions end, nothing is said to anybody.
pub struct Server {
    shared: Arc<Shared>,
    next_session: AtomicU64,
    sessions: Mutex<JoinSet<()>>,
    stop: signal::Sender<bool>,
    core: JoinHandle<Result<(), ServerError>>,
}

impl Server {
    /// Starts on the current runtime from what is in the store.
    ///
    /// # Errors
    ///
    /// The store cannot be read, or contradicts itself.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn start(
        store: Arc<dyn Store>,
        images: Arc<dyn ImageBuilder>,
        config: ServerConfig,
    ) -> Result<Self, ServerError> {
        Self::start_with(store, images, config, None, None)
    }

    /// As [`Server::start`], and it answers what is asked about tokens, certificates and revocations, and gives workers
    /// the guest compiled for them.
    ///
    /// # Errors
    ///
    /// As [`Server::start`].
    ///
    /// # Panics
    ///
    /// As [`Server::start`].
    pub fn start_with(
        store: Arc<dyn Store>,
        images: Arc<dyn ImageBuilder>,
        config: ServerConfig,
        identities: Option<Arc<Identities>>,
        artifacts: Option<Arc<Artifacts>>,
    ) -> Result<Self, ServerError> {
        let (inputs, arriving) = mpsc::channel(INPUTS_MAX);
        let (stop, stopping) = signal::channel(false);
        let shared = Arc::new(Shared {
            store,
            config,
            inputs,
            shelf: Shelf::new(images),
            catalog: Catalog::default(),
            recent: RecentCalls::default(),
            identities,
            artifacts,
            figures: Arc::default(),
            reads: Reads::default(),
        });
        let core = Core::restore(Arc::clone(&shared), arriving, stopping)?;
        Ok(Self {
            shared,
            next_session: AtomicU64::new(0),
            sessions: Mutex::default(),
            stop,
            core: tokio::spawn(core.run()),
        })
    }

    /// Serves a peer. Its link is dropped when there are [`SESSIONS_MAX`] already.
    pub fn serve(&self, link: impl Link) {
        self.serve_known(link, None);
    }

    /// As [`Server::serve`], and what the peer's certificate says.
    pub fn serve_known(&self, link: impl Link, certificate: Option<Leaf>) {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        while sessions.try_join_next().is_some() {}
        if sessions.len() >= SESSIONS_MAX {
            return;
        }
        let session = SessionId(self.next_session.fetch_add(1, Ordering::Relaxed) + 1);
        let shared = Arc::clone(&self.shared);
        sessions.spawn(session::serve(shared, session, link, certificate));
    }

    /// Serves whoever comes, until nobody can come any more.
    pub async fn listen(&self, mut listener: impl Listener) {
        while let Some(link) = listener.accept().await {
            self.serve(link);
        }
    }

    /// What is counted.
    pub fn figures(&self) -> &Arc<Figures> {
        &self.shared.figures
    }

    /// What there is at this moment; `None` when the server has ended.
    pub async fn snapshot(&self) -> Option<Snapshot> {
        let (answer, answered) = oneshot::channel();
        self.shared
            .inputs
            .send(Input::Snapshot(answer))
            .await
            .ok()?;
        answered.await.ok()
    }

    /// Forgets some of the jobs whose time is over; how many.
    pub async fn forget_expired(&self) -> u64 {
        let (answer, answered) = oneshot::channel();
        let asked = self.shared.inputs.send(Input::ForgetExpired(answer)).await;
        match asked {
            Ok(()) => answered.await.unwrap_or(0),
            Err(_) => 0,
        }
    }

    /// Says again what jobs name besides their function, so that it is kept.
    pub async fn renew_pins(&self) {
        let mut from = Some(0);
        while let Some(number) = from {
            let (answer, answered) = oneshot::channel();
            let renew = Input::RenewPins {
                from: number,
                answer,
            };
            if self.shared.inputs.send(renew).await.is_err() {
                return;
            }
            from = answered.await.unwrap_or(None);
        }
    }

    /// Whether it has ended by itself: the store failed.
    pub fn is_finished(&self) -> bool {
        self.core.is_finished()
    }

    /// Returns when it has ended by itself.
    pub async fn ended(&self) {
        self.shared.inputs.closed().await;
    }

    /// Nothing is decided any more: a session that ends from now on was ended by this side and says nothing about its
    /// worker. [`Server::stop`] does the rest.
    pub fn halt(&self) {
        let _ = self.stop.send(true);
    }

    /// Stops: what is being committed is left to the store, sessions end.
    ///
    /// # Errors
    ///
    /// Why it had ended before.
    pub async fn stop(mut self) -> Result<(), ServerError> {
        self.halt();
        let ended = (&mut self.core).await;
        let mut sessions = {
            let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *sessions)
        };
        sessions.shutdown().await;
        ended.map_err(|_| ServerError::Panicked)?
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.core.abort();
    }
}
