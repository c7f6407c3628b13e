//! A coordinator's folder: what is in it is opened, and made when it is not there.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use ppwasm_certs::{Authority, CertError, Credentials, PrivateKey, Role, UnixTime};
use ppwasm_proto::wire::OPERATOR;

use super::{CoordinatorConfig, DEFAULT_TRUST_DOMAIN, OWN_NAME, StartError, make_private_folder};
use crate::identities::Identities;
use crate::store::{Options, STORE_FILE, SqliteStore, Store};

/// The store's folder.
pub const STORE_FOLDER: &str = "store";
/// The authority's folder.
pub const AUTHORITY_FOLDER: &str = "authority";
/// The key that signs artifacts.
pub const ARTIFACT_KEY_FILE: &str = "artifact.key";
/// What was compiled, and for whom.
pub const ARTIFACTS_FOLDER: &str = "artifacts";
/// The coordinator's own credentials.
pub const COORDINATOR_FILE: &str = "coordinator.credentials";
/// The operator's.
pub const OPERATOR_FILE: &str = "operator.credentials";
/// Where it listens, while it runs.
pub const ADDRESS_FILE: &str = "address";
/// Bytes of that.
const ADDRESS_BYTES_MAX: usize = 128;

/// What was in the folder, or is now.
pub(super) struct Opened {
    pub store: Arc<dyn Store>,
    pub identities: Arc<Identities>,
    pub artifact_key: PrivateKey,
    pub own: Credentials,
    pub operator: Credentials,
    pub is_new: bool,
}

pub(super) async fn open(config: &CoordinatorConfig) -> Result<Opened, StartError> {
    let folder = &config.folder;
    make_private_folder(folder).map_err(|source| StartError::File {
        action: "make",
        path: folder.clone(),
        source,
    })?;
    // The store first: its lock is what keeps a second coordinator out of the folder.
    let store_folder = folder.join(STORE_FOLDER);
    let is_new_store = !store_folder.join(STORE_FILE).exists();
    let mut entropy = [0; 32];
    getrandom::fill(&mut entropy).map_err(|_| StartError::Random)?;
    let mut options = Options::new(entropy);
    options.holder = format!("process {}, on {}", std::process::id(), config.listen);
    options.blobs = config.blobs;
    // The server refuses what is new long before that; a batch that the store refuses would end it.
    options.begin_bytes_min = Some(config.blobs.free_bytes_min / 8);
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&store_folder, &options)?);

    let now = now(config);
    let authority = open_authority(config, is_new_store, now)?;
    let artifact_key = PrivateKey::load_or_generate(&folder.join(ARTIFACT_KEY_FILE))?;
    let identities = Identities::open(
        authority,
        Arc::clone(&store),
        Some(*artifact_key.public()),
        Arc::clone(&config.clock),
    )?;
    let own = own(&identities, &folder.join(COORDINATOR_FILE)).await?;
    let operator = operator(&identities, &folder.join(OPERATOR_FILE)).await?;
    Ok(Opened {
        store,
        identities: Arc::new(identities),
        artifact_key,
        own,
        operator,
        is_new: is_new_store,
    })
}

fn now(config: &CoordinatorConfig) -> UnixTime {
    let now = config.clock.current_time();
    now.unwrap_or_else(|| UnixTime::since_unix_epoch(std::time::Duration::ZERO))
}

fn open_authority(
    config: &CoordinatorConfig,
    is_new_store: bool,
    now: UnixTime,
) -> Result<Authority, StartError> {
    let path = config.folder.join(AUTHORITY_FOLDER);
    if let Some(authority) = Authority::load(&path, now)? {
        return match &config.trust_domain {
            Some(wanted) if wanted != authority.domain() => Err(StartError::OtherDomain {
                found: authority.domain().clone(),
                wanted: wanted.clone(),
            }),
            _ => Ok(authority),
        };
    }
    if !is_new_store {
        // A new one would lock out everybody who has joined, without a word.
        return Err(StartError::AuthorityMissing { path });
    }
    let domain = match &config.trust_domain {
        Some(domain) => domain.clone(),
        None => (DEFAULT_TRUST_DOMAIN.parse())
            .map_err(|error| CertError::OwnLeaf(ppwasm_certs::LeafError::Identity(error)))?,
    };
    let authority = Authority::create(domain, now)?;
    authority.save(&path).map_err(CertError::File)?;
    Ok(authority)
}

/// The coordinator's own credentials: those that are there, unless it is time for others.
pub(super) async fn own(identities: &Identities, path: &Path) -> Result<Credentials, StartError> {
    kept(identities, path, Role::Coordinator, OWN_NAME).await
}

/// The same of the operator.
pub(super) async fn operator(
    identities: &Identities,
    path: &Path,
) -> Result<Credentials, StartError> {
    kept(identities, path, Role::Client, OPERATOR).await
}

async fn kept(
    identities: &Identities,
    path: &Path,
    role: Role,
    name: &str,
) -> Result<Credentials, StartError> {
    if let Some(credentials) = Credentials::load(path)? {
        let leaf = credentials.leaf()?;
        let is_ours = leaf.identity.domain() == identities.authority().domain()
            && (leaf.identity.role(), leaf.identity.name()) == (role, name);
        let trusted = identities.authority().certificate(Role::Coordinator);
        if is_ours
            && credentials.trusted.contains(trusted)
            && credentials.artifact_key == identities.artifact_key()
            && !leaf.should_renew(identities.now())
        {
            return Ok(credentials);
        }
    }
    let credentials = identities.issue_own(role, name).await?;
    credentials.save(path).map_err(CertError::File)?;
    Ok(credentials)
}

/// Writes down where whoever is on this machine reaches the coordinator.
pub(super) fn write_address(folder: &Path, address: SocketAddr) -> Result<(), StartError> {
    let ip = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        // Dual: what listens on all of IPv6 is there by the older loopback too, and every machine has that one.
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    let path = folder.join(ADDRESS_FILE);
    let new = folder.join("address.new");
    let local = SocketAddr::from((ip, address.port()));
    let written = fs::write(&new, format!("{local}\n")).and_then(|()| fs::rename(&new, &path));
    written.map_err(|source| StartError::File {
        action: "write",
        path,
        source,
    })
}

pub(super) fn remove_address(folder: &Path) {
    // One that stays says where nobody listens, as after a crash.
    let _ = fs::remove_file(folder.join(ADDRESS_FILE));
}

/// Where the coordinator of a folder listens, as it wrote down; whether it still runs is not said.
///
/// # Errors
///
/// There is no such file, or it holds no address.
pub fn read_address(folder: &Path) -> io::Result<SocketAddr> {
    let text = fs::read_to_string(folder.join(ADDRESS_FILE))?;
    let odd = || io::Error::from(io::ErrorKind::InvalidData);
    if text.len() > ADDRESS_BYTES_MAX {
        return Err(odd());
    }
    text.trim().parse().map_err(|_| odd())
}
