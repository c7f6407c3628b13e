//! The coordinator of a cluster: found, spoken to as the client that this user is, with a certificate that is renewed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ppwasm_certs::{Credentials, Role, tls};
use ppwasm_client::{Client, ClientConfig, ClientError};
use ppwasm_proto::wire::{CloseCode, ErrorCode, Welcome};
use ppwasm_session::link::CoordinatorDialer;
use ppwasm_session::{Connector, Renewal};

use super::Background;
use crate::address::Address;
use crate::args::Connection;
use crate::commands::resolve;
use crate::config::{CONNECT_TIMEOUT, COORDINATOR, CREDENTIALS, Config};
use crate::failure::{Because, Failure, Result, chain};
use crate::units::Time;
use crate::visible;

/// The client's key and certificate in the configuration's folder.
pub(crate) const CREDENTIALS_FILE: &str = "client.credentials";
/// Time that renewing the certificate may take.
const RENEWAL_TIME: Duration = Duration::from_secs(5);
/// Time that saying goodbye may take.
const LEAVE_TIME: Duration = Duration::from_millis(300);
/// How often it is looked at, in a command that runs for long.
const RENEWAL_EVERY: Duration = Duration::from_secs(600);

/// A session with a coordinator.
pub(crate) struct Cluster {
    /// Speaks to it.
    pub client: Arc<Client>,
    /// What it said in welcome.
    pub welcome: Welcome,
    /// Where it is.
    pub address: Address,
    connector: Connector,
    _background: Background,
}

impl Cluster {
    /// The coordinator that is meant; `None` when none is configured.
    pub(crate) fn address(args: &Connection, config: &Config) -> Result<Option<Address>> {
        config.value(&COORDINATOR, args.coordinator.clone())
    }

    /// Connects to the coordinator that is configured.
    ///
    /// # Errors
    ///
    /// There is none, it cannot be reached, or it does not take this client.
    pub(crate) fn connect(args: &Connection) -> Result<Self> {
        let config = Config::load()?;
        match Self::address(args, &config)? {
            Some(address) => Self::connect_to(address, args, &config),
            None => Err(Failure::usage(
                "no coordinator is configured: log in with `ppwasm login --join TOKEN HOST:PORT`, or give --coordinator HOST:PORT",
            )),
        }
    }

    /// Connects to this coordinator.
    ///
    /// # Errors
    ///
    /// As [`Cluster::connect`].
    pub(crate) fn connect_to(address: Address, args: &Connection, config: &Config) -> Result<Self> {
        let timeout = config.value(&CONNECT_TIMEOUT, args.connect_timeout)?;
        let Time(first_within) = timeout.unwrap_or(Time(Duration::from_secs(10)));
        let path = config.value(&CREDENTIALS, args.credentials.clone())?;
        let path = path.unwrap_or_else(|| config.folder().join(CREDENTIALS_FILE));
        let credentials = credentials(&path)?;
        let addresses = resolve(&address)?;
        let settings = settings(&credentials)?;
        let background = Background::start()?;
        let _entered = background.0.enter();
        let connector = Connector::new(settings).machine("could not open a socket")?;
        let dialer = Arc::new(CoordinatorDialer::new(connector.clone(), addresses));
        let client = Arc::new(Client::start(
            Arc::clone(&dialer),
            ClientConfig {
                first_within: Some(first_within),
                ..ClientConfig::default()
            },
        ));
        let mut renewer = Renewer {
            path,
            credentials,
            dialer,
        };
        let connected = super::runtime()?.block_on(async {
            let welcome = client.connected().await?;
            let renewed = renewer.renew_if_due(&client);
            let _ = tokio::time::timeout(RENEWAL_TIME, renewed).await;
            Ok(welcome)
        });
        let welcome = connected.map_err(|error| told(&error, &address))?;
        background
            .0
            .spawn(renewer.renew_now_and_then(Arc::clone(&client)));
        Ok(Self {
            client,
            welcome,
            address,
            connector,
            _background: background,
        })
    }

    /// What went wrong with the coordinator, and what to do.
    pub(crate) fn failure(&self, error: &ClientError) -> Failure {
        told(error, &self.address)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Otherwise the coordinator would find out by silence that this client is gone.
        if let Ok(runtime) = super::runtime() {
            runtime.block_on(async {
                self.client.leave().await;
                let _ = tokio::time::timeout(LEAVE_TIME, self.connector.settle()).await;
            });
        }
    }
}

fn credentials(path: &std::path::Path) -> Result<Credentials> {
    let loaded = Credentials::load(path).usage("could not read who you are to the coordinator")?;
    let credentials = loaded.ok_or_else(|| {
        Failure::usage(format!(
            "you have not logged in ({} is not there): get a token with `ppwasm certs token --role client` \
             on the coordinator's machine, then `ppwasm login --join TOKEN HOST:PORT`",
            path.display()
        ))
    })?;
    let leaf = credentials.leaf().usage(path.display())?;
    if leaf.identity.role() != Role::Client {
        return Err(Failure::usage(format!(
            "{} is a {}'s, not a client's",
            path.display(),
            leaf.identity.role()
        )));
    }
    let now_s = seconds(SystemTime::now());
    if now_s >= leaf.not_after_s {
        return Err(Failure::usage(
            "your certificate has expired, or this machine's clock is wrong; log in again with a new token: \
             `ppwasm login --join TOKEN HOST:PORT`",
        ));
    }
    if now_s < leaf.not_before_s {
        return Err(Failure::usage(
            "your certificate is not valid yet: this machine's clock is behind; set it right",
        ));
    }
    Ok(credentials)
}

fn settings(credentials: &Credentials) -> Result<rustls::ClientConfig> {
    let time = Arc::new(tls::DefaultTimeProvider);
    tls::client_config(credentials, time).machine("your credentials cannot be used")
}

fn seconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// Renews the certificate past half of its life.
struct Renewer {
    path: PathBuf,
    credentials: Credentials,
    dialer: Arc<CoordinatorDialer>,
}

impl Renewer {
    async fn renew_now_and_then(mut self, client: Arc<Client>) {
        loop {
            tokio::time::sleep(RENEWAL_EVERY).await;
            self.renew_if_due(&client).await;
        }
    }

    async fn renew_if_due(&mut self, client: &Client) {
        let Ok(leaf) = self.credentials.leaf() else {
            return;
        };
        if seconds(SystemTime::now()) < leaf.not_before_s.midpoint(leaf.not_after_s) {
            return;
        }
        if let Err(why) = self.renew(client).await {
            let why = visible::line(&format!("{why:#}")).into_owned();
            visible::note(&format!(
                "warning: your certificate could not be renewed: {why}"
            ));
        }
    }

    async fn renew(&mut self, client: &Client) -> anyhow::Result<()> {
        let (renewal, ask) = Renewal::begin(&self.credentials, 0)?;
        let credentials = renewal.finish(client.renew(ask).await?)?;
        let time = Arc::new(tls::DefaultTimeProvider);
        let settings = tls::client_config(&credentials, time)?;
        credentials.save(&self.path)?;
        self.dialer.set_tls(settings)?;
        self.credentials = credentials;
        Ok(())
    }
}

/// What went wrong with the coordinator at an address, in one line, and what to do.
fn told(error: &ClientError, address: &Address) -> Failure {
    let again = "log in again with a new token: `ppwasm login --join TOKEN HOST:PORT`";
    match error {
        ClientError::Unreachable { reason } => {
            let why = reason.as_ref().map(|reason| chain(&**reason));
            let why = why.map_or_else(String::new, |why| format!(" ({why})"));
            Failure::cluster(format!(
                "no coordinator answers at {address}{why}; is it running there, and does the network let UDP through?"
            ))
        }
        ClientError::Rejected { code, reason } => {
            let what = match code {
                CloseCode::Revoked => format!("ask its operator, or {again}"),
                CloseCode::Expired => format!("set the clocks right, or {again}"),
                CloseCode::IdentityRefused => again.to_owned(),
                CloseCode::VersionUnsupported => {
                    "use the version of ppwasm that it runs".to_owned()
                }
                _ => "use the version of ppwasm that it runs".to_owned(),
            };
            Failure::cluster(format!("{address}: {reason}; {what}"))
        }
        ClientError::NoSession {
            code: ErrorCode::VersionUnsupported,
            spoken,
            ..
        } => {
            let spoken = spoken.as_deref().unwrap_or("others");
            Failure::cluster(format!(
                "{address}: the coordinator speaks versions {spoken} of the protocol, this program {}; \
                 use the version of ppwasm that it runs",
                ppwasm_proto::wire::MINOR
            ))
        }
        ClientError::Refused {
            code:
                ErrorCode::NotFound
                | ErrorCode::Conflict
                | ErrorCode::InvalidValue
                | ErrorCode::JobClosed,
            reason,
            ..
        } => Failure::usage(reason),
        ClientError::Refused {
            code: ErrorCode::PermissionDenied,
            reason,
            ..
        } => Failure::cluster(format!(
            "{reason}; it is the operator's to ask, with the credentials in the coordinator's folder"
        )),
        ClientError::Refused {
            reason,
            retry_after: Some(after),
            ..
        } => Failure::cluster(format!(
            "the coordinator refused: {reason}; try again after {}",
            Time(*after)
        )),
        other => Failure::cluster(format!("{address}: {}", chain(other))),
    }
}
