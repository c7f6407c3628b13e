//! Why a coordinator does not start.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use ppwasm_certs::{CertError, TrustDomain};
use ppwasm_session::ConnectError;

use crate::identities::RegistrationError;
use crate::server::ServerError;
use crate::store::{OpenError, ReadError};

/// Why a coordinator does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A file or folder of its own.
    #[error("could not {action} {}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The store cannot be opened: it is in use, damaged, or of a newer version.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The deny list could not be read.
    #[error("the store could not be read")]
    Read(#[from] ReadError),
    /// The authority or own credentials cannot be used.
    #[error(transparent)]
    Certificates(#[from] CertError),
    /// The store has jobs or identities, and the authority that they belong to is gone.
    #[error("{} is missing beside a store that is in use; put it back from a backup", path.display())]
    AuthorityMissing {
        /// Where it should be.
        path: PathBuf,
    },
    /// The folder is another installation's.
    #[error("the folder belongs to the trust domain {found}, not {wanted}")]
    OtherDomain {
        /// Its domain.
        found: TrustDomain,
        /// What was asked for.
        wanted: TrustDomain,
    },
    /// Its own certificate could not be issued.
    #[error("could not issue the coordinator's own certificates")]
    Registration(#[from] RegistrationError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: ConnectError,
    },
    /// The address for figures cannot be listened on.
    #[error("cannot serve metrics on {address}")]
    Metrics {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The system does not say where it listens.
    #[error("the system does not tell the address")]
    Address(#[source] io::Error),
    /// The server does not start from what is in the store.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// There is no guest to compile.
    #[error(transparent)]
    Guest(#[from] ppwasm_host::HostError),
    /// The guest could not be compiled for this machine.
    #[error("could not prepare the guest")]
    Artifacts(#[from] crate::artifacts::ArtifactsError),
    /// There are no random bytes.
    #[error("cannot get random bytes")]
    Random,
}
