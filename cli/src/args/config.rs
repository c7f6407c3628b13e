//! `ppwasm config`.

use clap::{Args, Subcommand};

use super::{Connection, Output};

/// `ppwasm config`.
#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Print every setting, its value, and where that came from: a flag, the environment, the file or the default
    Show(ConfigShow),
}

/// `ppwasm config show`.
#[derive(Debug, Args)]
pub(crate) struct ConfigShow {
    /// How to print it
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    pub output: Output,

    #[command(flatten)]
    pub connection: Connection,
}
