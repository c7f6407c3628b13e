//! `ppwasm worker`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand, ValueEnum, ValueHint};
use ppwasm_host::{System, Target};

use super::{List, Log, WorkerOf, WorkerSlots};
use crate::address::Address;

/// `ppwasm worker`.
#[derive(Debug, Subcommand)]
pub(crate) enum Worker {
    /// Run tasks for a coordinator until a signal drains it
    Start(Box<WorkerStart>),
    /// List the workers of the cluster
    List(List),
    /// Have a worker finish what it has and take nothing new; the operator's to ask
    Drain(WorkerOf),
    /// Let a drained worker take work again; the operator's to ask
    Undrain(WorkerOf),
    /// Change how many tasks a worker runs at a time; the operator's to ask
    SetSlots(WorkerSlots),
}

/// `ppwasm worker start`.
#[derive(Debug, ClapArgs)]
pub(crate) struct WorkerStart {
    /// The coordinator
    #[arg(value_name = "HOST:PORT")]
    pub coordinator: Address,

    /// Join with this token first (- reads it from standard input); needed once, and ignored later
    #[arg(
        long,
        value_name = "TOKEN",
        env = "PPWASM_JOIN_TOKEN",
        hide_env_values = true
    )]
    pub join: Option<String>,

    /// The name to join under (default: the machine's name and four letters)
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,

    /// Run so many tasks at a time, 1 to 1024 (default: one per core)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub slots: Option<u16>,

    /// Who compiles the sandbox for this machine
    #[arg(long, value_enum, value_name = "WHO", default_value_t)]
    pub compile: Compile,

    /// The code to run, instead of the fastest that this machine can and has room for
    #[arg(long, value_name = "PROFILE", value_parser = target, conflicts_with = "compile")]
    pub cpu_profile: Option<Target>,

    /// Where the worker's key and certificate are kept (default: ppwasm/worker in $XDG_STATE_HOME or ~/.local/state)
    #[arg(long, value_name = "DIR", env = "PPWASM_WORKER_DIR", value_hint = ValueHint::DirPath)]
    pub state: Option<PathBuf>,

    #[command(flatten)]
    pub log: Log,
}

/// A target of this machine's system by its name.
pub(super) fn target(name: &str) -> Result<Target, String> {
    Target::here_by_name(name).ok_or_else(|| {
        let names: Vec<_> = Target::all(System::HERE).map(Target::name).collect();
        format!("there is none of that name; there are {}", names.join(", "))
    })
}

/// Who compiles the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Compile {
    /// The coordinator, which signs it
    #[default]
    Coordinator,
    /// This machine, from the guest that is installed with this program
    Local,
}
