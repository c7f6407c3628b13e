//! `ppwasm job` and `ppwasm task`.

use clap::{Args, Subcommand};

use super::{Connection, Output};
use crate::select::Selector;
use crate::units::Time;

/// `ppwasm job`.
#[derive(Debug, Subcommand)]
pub(crate) enum Job {
    /// List the jobs at the coordinator, newest first
    List(JobList),
    /// Show jobs in detail
    Show(Jobs),
    /// Wait until jobs have ended; the exit code says how
    Wait(JobWait),
    /// Show how far jobs are, until they have ended
    Progress(Jobs),
    /// Cancel jobs: nothing new of them starts
    Cancel(Jobs),
    /// Print a job's results as `ppwasm submit` would have, waiting for those that are not there yet
    Results(JobResults),
    /// Print what a job's tasks wrote
    Logs(JobLogs),
    /// Run the failed tasks of jobs that have ended again
    Retry(Jobs),
    /// Remove jobs that have ended, with their results
    Forget(Jobs),
}

/// `ppwasm job list`.
#[derive(Debug, Args)]
pub(crate) struct JobList {
    /// Only those that have not ended
    #[arg(long)]
    pub live: bool,

    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub limit: usize,

    #[command(flatten)]
    pub common: Common,
}

/// Some jobs.
#[derive(Debug, Args)]
pub(crate) struct Jobs {
    /// Jobs: a number (5), a range (1-10), `last`, `all`, or the first digits of an id
    #[arg(value_name = "JOB", required = true)]
    pub jobs: Vec<Selector>,

    #[command(flatten)]
    pub common: Common,
}

/// `ppwasm job wait`.
#[derive(Debug, Args)]
pub(crate) struct JobWait {
    /// Jobs: a number (5), a range (1-10), `last`, `all`, or the first digits of an id
    #[arg(value_name = "JOB", required = true)]
    pub jobs: Vec<Selector>,

    /// Give up after this time; the jobs go on
    #[arg(long, value_name = "DURATION")]
    pub timeout: Option<Time>,

    #[command(flatten)]
    pub common: Common,
}

/// `ppwasm job results`.
#[derive(Debug, Args)]
pub(crate) struct JobResults {
    /// The job: its number, `last`, or the first digits of its id
    #[arg(value_name = "JOB")]
    pub job: Selector,

    /// Show also what comes after the first failure
    #[arg(long)]
    pub keep_going: bool,

    /// Results and errors only
    #[arg(long, short)]
    pub quiet: bool,

    #[command(flatten)]
    pub common: Common,
}

/// `ppwasm job logs`.
#[derive(Debug, Args)]
pub(crate) struct JobLogs {
    /// The job: its number, `last`, or the first digits of its id
    #[arg(value_name = "JOB")]
    pub job: Selector,

    /// Of this task only
    #[arg(long, value_name = "N")]
    pub task: Option<u64>,

    #[command(flatten)]
    pub common: Common,
}

/// `ppwasm task`.
#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Say where a task is, and why
    Explain(TaskOf),
    /// Show how a task ended and what it wrote
    Show(TaskOf),
}

/// A task.
#[derive(Debug, Args)]
pub(crate) struct TaskOf {
    /// Its job: a number, `last`, or the first digits of an id
    #[arg(value_name = "JOB")]
    pub job: Selector,

    /// Its number in the job, from 0 on
    #[arg(value_name = "TASK")]
    pub task: u64,

    #[command(flatten)]
    pub common: Common,
}

/// What these commands have in common.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// How to print it
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    pub output: Output,

    #[command(flatten)]
    pub connection: Connection,
}
