//! `ppwasm login`, `logout` and `function`, and what `ppwasm worker` asks the coordinator.

use clap::{Args, Subcommand};
use ppwasm_proto::fabric::WorkerId;

use super::Common;
use crate::address::Address;

/// `ppwasm login`.
#[derive(Debug, Args)]
pub(crate) struct Login {
    /// The coordinator, which commands go to from now on
    #[arg(value_name = "HOST:PORT")]
    pub coordinator: Address,

    /// The token to join with; - reads it from standard input, where it does not show in the list of processes
    #[arg(
        long,
        value_name = "TOKEN",
        env = "PPWASM_JOIN_TOKEN",
        hide_env_values = true
    )]
    pub join: Option<String>,

    /// The name to join under (default: the user's name and the machine's)
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
}

/// `ppwasm logout`.
#[derive(Debug, Args)]
pub(crate) struct Logout {}

/// `ppwasm function`.
#[derive(Debug, Subcommand)]
pub(crate) enum Function {
    /// List the functions that the coordinator holds
    List(List),
}

/// A list of everything.
#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    pub common: Common,
}

/// A worker.
#[derive(Debug, Args)]
pub(crate) struct WorkerOf {
    /// Its name
    #[arg(value_name = "WORKER")]
    pub worker: WorkerId,

    #[command(flatten)]
    pub common: Common,
}

/// `ppwasm worker set-slots`.
#[derive(Debug, Args)]
pub(crate) struct WorkerSlots {
    /// Its name
    #[arg(value_name = "WORKER")]
    pub worker: WorkerId,

    /// Slots from now on
    #[arg(value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub slots: u16,

    #[command(flatten)]
    pub common: Common,
}
