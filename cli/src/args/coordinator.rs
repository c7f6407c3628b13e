//! `ppwasm coordinator` and `ppwasm certs`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand, ValueEnum, ValueHint};
use ppwasm_certs::TrustDomain;

use super::Log;
use crate::units::Time;

/// `ppwasm coordinator`.
#[derive(Debug, Subcommand)]
pub(crate) enum Coordinator {
    /// Serve workers and clients until a signal stops it
    Start(CoordinatorStart),
    /// Look at everything in a store that no coordinator uses, and tell what is wrong
    Check(CoordinatorCheck),
    /// Copy a coordinator's folder into a new one, while it runs or rests
    Backup(CoordinatorBackup),
}

/// `ppwasm coordinator start`.
#[derive(Debug, ClapArgs)]
pub(crate) struct CoordinatorStart {
    #[command(flatten)]
    pub folder: Folder,

    /// Listen on this address for workers and clients (UDP)
    #[arg(long, value_name = "ADDR:PORT", default_value = "[::]:7777")]
    pub listen: SocketAddr,

    /// The installation's name, in every certificate; fixed once the folder is made (default: ppwasm)
    #[arg(long, value_name = "NAME")]
    pub trust_domain: Option<TrustDomain>,

    /// Serve figures for Prometheus by HTTP on this address, to whoever reaches it
    #[arg(long, value_name = "ADDR:PORT")]
    pub metrics: Option<SocketAddr>,

    /// Keep jobs for so long after their end when clients do not say (default: 7d)
    #[arg(long, value_name = "DURATION")]
    pub keep_for: Option<Time>,

    /// How long a worker may work on a task without being heard, 5s to 1h (default: 30s)
    #[arg(
        long,
        value_name = "DURATION",
        env = "PPWASM_LEASE",
        help_heading = "Faults"
    )]
    pub lease: Option<Time>,

    /// How long a worker that was lost may take to come back before its tasks go to others (default: 2s)
    #[arg(
        long,
        value_name = "DURATION",
        env = "PPWASM_RECONNECT_GRACE",
        help_heading = "Faults"
    )]
    pub reconnect_grace: Option<Time>,

    /// How long, after a restart, tasks wait for the workers that had them (default: 1m)
    #[arg(
        long,
        value_name = "DURATION",
        env = "PPWASM_RESTART_GRACE",
        help_heading = "Faults"
    )]
    pub restart_grace: Option<Time>,

    #[command(flatten)]
    pub log: Log,
}

/// `ppwasm coordinator check`.
#[derive(Debug, ClapArgs)]
pub(crate) struct CoordinatorCheck {
    #[command(flatten)]
    pub folder: Folder,

    /// Do not read the bytes of blobs
    #[arg(long)]
    pub quick: bool,
}

/// `ppwasm coordinator backup`.
#[derive(Debug, ClapArgs)]
pub(crate) struct CoordinatorBackup {
    /// The new folder: `coordinator start --dir TO` starts from it
    #[arg(value_name = "TO", value_hint = ValueHint::DirPath)]
    pub to: PathBuf,

    #[command(flatten)]
    pub folder: Folder,
}

/// Where a coordinator keeps everything.
#[derive(Debug, ClapArgs)]
pub(crate) struct Folder {
    /// The coordinator's folder (default: ppwasm/coordinator in $XDG_STATE_HOME or ~/.local/state)
    #[arg(long, value_name = "DIR", env = "PPWASM_COORDINATOR_DIR", value_hint = ValueHint::DirPath)]
    pub dir: Option<PathBuf>,
}

/// `ppwasm certs`.
#[derive(Debug, Subcommand)]
pub(crate) enum Certs {
    /// Print a join token: whoever has it can join, once
    Token(CertsToken),
    /// Revoke all certificates of a worker or client and end its sessions
    Revoke(CertsRevoke),
}

/// `ppwasm certs token`.
#[derive(Debug, ClapArgs)]
pub(crate) struct CertsToken {
    /// What the token lets somebody become
    #[arg(long, value_enum)]
    pub role: CertsRole,

    /// The name that it gives; without one, the joiner chooses a name that is free
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,

    /// For how long it works, at most a week (default: 10min)
    #[arg(long, value_name = "DURATION")]
    pub lifetime: Option<Time>,

    #[command(flatten)]
    pub folder: Folder,
}

/// `ppwasm certs revoke`.
#[derive(Debug, ClapArgs)]
pub(crate) struct CertsRevoke {
    /// The role of the identity
    #[arg(long, value_enum)]
    pub role: CertsRole,

    /// Its name
    #[arg(value_name = "NAME")]
    pub name: String,

    /// Why, for the audit log
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub reason: String,

    #[command(flatten)]
    pub folder: Folder,
}

/// A role that can be joined in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CertsRole {
    /// Runs tasks
    Worker,
    /// Submits jobs
    Client,
}
