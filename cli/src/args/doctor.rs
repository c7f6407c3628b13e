//! `ppwasm doctor`.

use clap::Args;

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
}
