//! What every command that speaks to a coordinator takes.

use clap::Args;

use crate::address::Address;
use crate::units::Time;

/// Which coordinator, and how long to try. What applies in the end is [`Config`](crate::config::Config)'s to say.
#[derive(Debug, Default, Args)]
pub(crate) struct Connection {
    /// The coordinator to speak to (default: that of `ppwasm login`)
    #[arg(long, value_name = "HOST:PORT", help_heading = "Cluster")]
    pub coordinator: Option<Address>,

    /// Give up when there is no connection after this time (default: 10s)
    #[arg(long, value_name = "DURATION", help_heading = "Cluster")]
    pub connect_timeout: Option<Time>,
}
