//! The commands.

#[cfg(feature = "coordinator")]
mod certs;
mod cluster;
mod config;
#[cfg(feature = "coordinator")]
mod coordinator;
mod doctor;
mod job;
mod login;
mod manual;
mod results;
mod self_test;
mod submit;
pub(crate) mod verified;
mod worker;

#[cfg(feature = "coordinator")]
use std::ffi::OsString;

#[cfg(feature = "coordinator")]
use ppwasm_coordinator::child::Work;

pub(crate) use worker::resolve;

use crate::args::Command;
use crate::exit_code::ExitCode;
#[cfg(feature = "coordinator")]
use crate::failure::Failure;
use crate::failure::Result;

/// Carries out a command.
pub(crate) fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Submit(args) => submit::submit(&args),
        Command::Job(args) => job::job(&args),
        Command::Task(args) => cluster::task(&args),
        Command::Function(args) => cluster::function(&args),
        Command::Login(args) => login::login(&args),
        Command::Logout(_) => login::logout(),
        #[cfg(feature = "coordinator")]
        Command::Coordinator(args) => coordinator::coordinator(&args),
        #[cfg(feature = "coordinator")]
        Command::Certs(args) => certs::certs(&args),
        Command::Worker(args) => worker::worker(&args),
        Command::Config(args) => config::config(&args),
        Command::Doctor(args) => doctor::doctor(&args),
        #[cfg(feature = "coordinator")]
        Command::Child { work } => child(&work),
        Command::Completions(args) => manual::completions(&args),
        Command::Man(args) => manual::man(&args),
    }
}

/// Does what a coordinator started this process for, and ends it: its answer is on standard output.
#[cfg(feature = "coordinator")]
fn child(arguments: &[OsString]) -> Result<ExitCode> {
    let work = Work::from_arguments(arguments)
        .ok_or_else(|| Failure::usage("this command is the coordinator's own"))?;
    std::process::exit(ppwasm_coordinator::child::run(&work).into());
}
