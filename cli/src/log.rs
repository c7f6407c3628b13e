//! Where the events of a coordinator or worker go.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use crate::args::{Log, LogFormat};
use crate::failure::{Because, Result};

/// Says which events are wanted.
const VARIABLE: &str = "PPWASM_LOG";
/// What is wanted when nobody says.
const USUAL: &str =
    "warn,ppwasm=info,ppwasm_coordinator=info,ppwasm_session=info,ppwasm_worker=info";

/// Events go to standard error from here on, in the form that was asked for.
pub(crate) fn start(args: &Log) -> Result<()> {
    let wanted = std::env::var(VARIABLE).unwrap_or_else(|_| USUAL.to_owned());
    let filter = EnvFilter::try_new(&wanted).usage(format!("{VARIABLE}={wanted:?}"))?;
    let events = fmt().with_env_filter(filter).with_writer(io::stderr);
    let started = match args.log_format {
        LogFormat::Human => events
            .with_ansi(io::stderr().is_terminal())
            .with_target(false)
            .try_init(),
        LogFormat::Json => events
            .with_ansi(false)
            .json()
            .flatten_event(true)
            .try_init(),
    };
    started
        .map_err(|error| anyhow::anyhow!("{error}"))
        .machine("could not begin to write events")
}
