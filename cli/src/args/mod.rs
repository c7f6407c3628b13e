//! The command line as clap sees it, a file for each command. What it means is `settings`' and the commands'.

mod cluster;
mod config;
mod connection;
#[cfg(feature = "coordinator")]
mod coordinator;
mod doctor;
mod job;
mod log;
mod manual;
mod submit;
mod worker;

#[cfg(feature = "coordinator")]
use std::ffi::OsString;

use clap::builder::styling::Styles;
use clap::{Parser, Subcommand, ValueEnum};

use crate::exit_code;

pub(crate) use cluster::{Function, List, Login, Logout, WorkerOf, WorkerSlots};
pub(crate) use config::{Config, ConfigShow};
pub(crate) use connection::Connection;
#[cfg(feature = "coordinator")]
pub(crate) use coordinator::{
    Certs, CertsRevoke, CertsRole, CertsToken, Coordinator, CoordinatorBackup, CoordinatorCheck,
    CoordinatorStart, Folder,
};
pub(crate) use doctor::Doctor;
pub(crate) use job::{Common, Job, JobList, JobLogs, JobResults, JobWait, Jobs, Task, TaskOf};
pub(crate) use log::{Log, LogFormat};
pub(crate) use manual::{Completions, Man};
pub(crate) use submit::Submit;
pub(crate) use worker::{Compile, Worker, WorkerStart};

/// The command that coordinators start this program with.
#[cfg(feature = "coordinator")]
pub(crate) const CHILD_COMMAND: &str = "internal-child";

/// Runs Python functions in parallel, each call in its own WebAssembly sandbox.
#[derive(Debug, Parser)]
#[command(name = "ppwasm", version, styles = Styles::plain(), disable_help_subcommand = true)]
pub(crate) struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a Python function or script, once or once per item, on this machine or a cluster
    #[command(after_help = exit_code::HELP)]
    Submit(Box<Submit>),
    /// Ask about jobs at the coordinator, wait for them, get their results, end them
    #[command(subcommand)]
    Job(Job),
    /// Ask about the tasks of a job at the coordinator
    #[command(subcommand)]
    Task(Task),
    /// Ask about the functions that the coordinator holds
    #[command(subcommand)]
    Function(Function),
    /// Become a client of a coordinator: jobs go there from then on
    Login(Login),
    /// Forget the coordinator, and who one was to it
    Logout(Logout),
    /// Run the coordinator of a cluster
    #[cfg(feature = "coordinator")]
    #[command(subcommand)]
    Coordinator(Coordinator),
    /// Let machines join a cluster, or shut them out; on the coordinator's machine
    #[cfg(feature = "coordinator")]
    #[command(subcommand)]
    Certs(Certs),
    /// Run tasks for a cluster; ask about its workers
    #[command(subcommand)]
    Worker(Worker),
    /// Show the settings, and where each value came from
    #[command(subcommand)]
    Config(Config),
    /// Say what this machine has for running sandboxes, and what falls back
    Doctor(Doctor),
    /// Print the completion script for a shell
    Completions(Completions),
    /// Work for a coordinator that started this process
    #[cfg(feature = "coordinator")]
    #[command(name = CHILD_COMMAND, hide = true)]
    Child {
        /// What to do, and with what
        work: Vec<OsString>,
    },
    /// Print the manual page, or write one for each command
    Man(Man),
}

/// How a command tells what it found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Output {
    /// For people: one line per result, as Python's repr()
    #[default]
    Human,
    /// One JSON document
    Json,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn clap_finds_no_fault() {
        super::Args::command().debug_assert();
    }
}
