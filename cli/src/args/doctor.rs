//! `ppwasm doctor`.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use ppwasm_host::Target;

use super::Output;

/// `ppwasm doctor`.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// How to print it
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    pub output: Output,

    /// Also run programs whose results are known, and compare
    #[arg(long)]
    pub self_test: bool,

    /// Look at the sandbox that the worker with this folder has got, and not at one that is compiled here
    #[arg(long, value_name = "DIR", env = "PPWASM_WORKER_DIR", value_hint = ValueHint::DirPath)]
    pub state: Option<PathBuf>,

    /// Look at the sandbox for this CPU profile, if that worker has got it
    #[arg(long, value_name = "PROFILE", value_parser = super::worker::target)]
    pub cpu_profile: Option<Target>,
}
