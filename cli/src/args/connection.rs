//! What every command that speaks to a coordinator takes.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::address::Address;
use crate::units::Time;

/// Which coordinator, and how long to try. What applies in the end is [`Config`](crate::config::Config)'s to say.
#[derive(Debug, Default, Args)]
pub(crate) struct Connection {
    /// The coordinator to speak to (default: that of `ppwasm login`)
    #[arg(long, value_name = "HOST:PORT", help_heading = "Cluster")]
    pub coordinator: Option<Address>,

    /// Be who this file says to the coordinator (default: client.credentials beside the configuration)
    #[arg(long, value_name = "FILE", help_heading = "Cluster", value_hint = ValueHint::FilePath)]
    pub credentials: Option<PathBuf>,

    /// Give up when there is no connection after this time (default: 10s)
    #[arg(long, value_name = "DURATION", help_heading = "Cluster")]
    pub connect_timeout: Option<Time>,
}
