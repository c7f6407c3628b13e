//! `ppwasm`: runs Python functions in parallel, each call in a sandbox of its own.
//!
//! `args` says what can be asked, `commands` does it, `exit_code` says what the shell is told.
//! What can be wrong with what a user typed is found and told here; how tasks run is the host's.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(feature = "coordinator"),
    allow(dead_code, reason = "a worker's program has less to do")
)]

mod address;
mod args;
mod bundle;
mod commands;
mod config;
mod exit_code;
mod fabric;
mod failure;
mod imports;
mod inputs;
mod items;
mod job;
mod log;
mod machine;
mod printer;
mod progress;
mod select;
mod settings;
mod signals;
mod stdlib;
mod table;
mod units;
mod values;
mod visible;

use clap::Parser;

fn main() {
    let args = args::Args::parse();
    let code = commands::run(args.command).unwrap_or_else(|failure| failure.tell());
    // At once: what threads still hold is of no use to anybody, and giving it back takes time.
    std::process::exit(code.into());
}
