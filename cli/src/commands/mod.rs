//! The commands.

mod certs;
mod config;
mod coordinator;
mod doctor;
mod manual;
mod submit;
mod worker;

use crate::args::Command;
use crate::exit_code::ExitCode;
use crate::failure::Result;

/// Carries out a command.
pub(crate) fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Submit(args) => submit::submit(&args),
        Command::Coordinator(args) => coordinator::coordinator(&args),
        Command::Certs(args) => certs::certs(&args),
        Command::Worker(args) => worker::worker(&args),
        Command::Config(args) => config::config(&args),
        Command::Doctor(args) => doctor::doctor(&args),
        Command::Completions(args) => manual::completions(&args),
        Command::Man(args) => manual::man(&args),
    }
}
