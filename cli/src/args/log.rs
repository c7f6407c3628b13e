//! How a command that serves tells what it does.

use clap::{Args, ValueEnum};

/// Events on standard error. `PPWASM_LOG` says which: `debug`, or `warn,ppwasm_coordinator=debug`.
#[derive(Debug, Default, Args)]
pub(crate) struct Log {
    /// How to write events on standard error (which: PPWASM_LOG=warn|info|debug)
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    pub log_format: LogFormat,
}

/// How an event is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum LogFormat {
    /// A line for people
    #[default]
    Human,
    /// A JSON object per line
    Json,
}
