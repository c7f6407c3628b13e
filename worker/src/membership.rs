//! Who the worker is: credentials in a file, got once with a token, renewed while it runs.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ppwasm_certs::{CertError, Credentials, FileError, JoinToken, PublicKey, tls};
use ppwasm_proto::wire::{CertificateIssued, RenewCertificate};
use ppwasm_session::link::CoordinatorDialer;
use ppwasm_session::{ConnectError, Connector, JoinError, Renewal, join};

use crate::driver::Renewer;

/// Time after which a renewal that did not work is tried again.
const RETRY: Duration = Duration::from_secs(60);

/// Why a worker is nobody.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MembershipError {
    /// The credentials cannot be read.
    #[error("cannot read the worker's credentials")]
    Load(#[source] CertError),
    /// The credentials cannot be written.
    #[error("cannot keep the worker's credentials")]
    Save(#[from] FileError),
    /// Joining did not work.
    #[error("cannot join")]
    Join(#[from] JoinError),
    /// The certificate's time is over: it was not renewed, because the worker did not run or was not connected.
    #[error("the worker's certificate has expired; join again with a new token")]
    Expired,
    /// No connection can be made with the credentials.
    #[error("the credentials cannot be used")]
    Connector(#[from] ConnectError),
    /// The credentials are not those of a worker.
    #[error("the credentials in {} are a {role}'s, not a worker's", path.display())]
    OtherRole {
        /// Their file.
        path: PathBuf,
        /// Whose they are.
        role: ppwasm_certs::Role,
    },
}

/// A worker's place in an installation.
#[derive(Debug)]
pub struct Membership {
    path: PathBuf,
    credentials: Credentials,
}

impl Membership {
    /// Reads what an earlier start has kept; `None` when there is nothing.
    ///
    /// # Errors
    ///
    /// The file is damaged, open to others, another role's, or its certificate has expired.
    pub fn load(path: &Path, now: SystemTime) -> Result<Option<Self>, MembershipError> {
        let loaded = Credentials::load(path).map_err(MembershipError::Load)?;
        let Some(credentials) = loaded else {
            return Ok(None);
        };
        let leaf = credentials.leaf().map_err(MembershipError::Load)?;
        let role = leaf.identity.role();
        if role != ppwasm_certs::Role::Worker {
            let path = path.to_owned();
            return Err(MembershipError::OtherRole { path, role });
        }
        if seconds(now) >= leaf.not_after_s {
            return Err(MembershipError::Expired);
        }
        Ok(Some(Self {
            path: path.to_owned(),
            credentials,
        }))
    }

    /// Joins with a token, and keeps what comes of it.
    ///
    /// # Errors
    ///
    /// The coordinator cannot be reached or refuses, or the file cannot be written: then the token is used up all the same.
    pub async fn join(
        path: &Path,
        addresses: &[SocketAddr],
        token: &JoinToken,
        name: &str,
    ) -> Result<Self, MembershipError> {
        let credentials = join(addresses, token, name).await?;
        credentials.save(path)?;
        Ok(Self {
            path: path.to_owned(),
            credentials,
        })
    }

    /// The name that the coordinator knows it by.
    pub fn name(&self) -> String {
        let leaf = self.credentials.leaf();
        leaf.map_or_else(|_| String::new(), |leaf| leaf.identity.name().to_owned())
    }

    /// The file that it is kept in.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The key that artifacts are signed with; absent when the coordinator has none.
    pub const fn artifact_key(&self) -> Option<&PublicKey> {
        self.credentials.artifact_key.as_ref()
    }

    /// Makes connections to the coordinator at one of `addresses`. On a tokio runtime.
    ///
    /// # Errors
    ///
    /// There is no socket, or the credentials cannot be used.
    pub fn dialer(
        &self,
        addresses: &[SocketAddr],
    ) -> Result<Arc<CoordinatorDialer>, MembershipError> {
        let connector = Connector::of_worker(settings(&self.credentials)?)?;
        Ok(Arc::new(CoordinatorDialer::new(connector, addresses)))
    }

    /// Renews the certificate while the worker runs; the dialer uses the new one from then on.
    pub fn into_renewer(self, dialer: Arc<CoordinatorDialer>) -> MembershipRenewer {
        MembershipRenewer {
            membership: self,
            dialer,
            pending: None,
            retry_at: None,
        }
    }
}

fn settings(credentials: &Credentials) -> Result<rustls::ClientConfig, MembershipError> {
    let time = Arc::new(tls::DefaultTimeProvider);
    tls::client_config(credentials, time).map_err(|error| ConnectError::Credentials(error).into())
}

fn seconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// Renews a worker's certificate.
#[derive(Debug)]
pub struct MembershipRenewer {
    membership: Membership,
    dialer: Arc<CoordinatorDialer>,
    pending: Option<Renewal>,
    retry_at: Option<SystemTime>,
}

impl Renewer for MembershipRenewer {
    fn due_in(&self, now: SystemTime) -> Option<Duration> {
        let leaf = self.membership.credentials.leaf().ok()?;
        // At half of its life.
        let half = leaf.not_before_s.midpoint(leaf.not_after_s);
        let due = SystemTime::UNIX_EPOCH + Duration::from_secs(half);
        let due = self.retry_at.map_or(due, |retry_at| due.max(retry_at));
        Some(due.duration_since(now).unwrap_or_default())
    }

    fn begin(&mut self, now: SystemTime) -> Option<RenewCertificate> {
        self.retry_at = Some(now + RETRY);
        match Renewal::begin(&self.membership.credentials, 0) {
            Ok((renewal, message)) => {
                self.pending = Some(renewal);
                Some(message)
            }
            Err(error) => {
                tracing::warn!(%error, "the certificate cannot be renewed");
                None
            }
        }
    }

    fn finish(&mut self, issued: CertificateIssued) {
        let Some(renewal) = self.pending.take() else {
            return;
        };
        let renewed = renewal.finish(issued).map_err(MembershipError::from);
        let kept = renewed.and_then(|credentials| {
            let tls = settings(&credentials)?;
            credentials.save(&self.membership.path)?;
            self.dialer.set_tls(tls)?;
            Ok(credentials)
        });
        match kept {
            Ok(credentials) => {
                self.membership.credentials = credentials;
                self.retry_at = None;
                tracing::info!("the certificate was renewed");
            }
            Err(error) => tracing::warn!(%error, "the certificate was not renewed"),
        }
    }
}
