//! `ppwasm submit`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, ValueHint};

use super::{Connection, Output};
use crate::units::{Moment, Percent, Range, Size, Time};

/// `ppwasm submit`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("items").args(["range", "each_line", "from_json"])))]
pub(crate) struct Submit {
    /// A Python file, and the function in it to call; without one the file runs as a script
    #[arg(value_name = "FILE[:FUNC]", value_hint = ValueHint::FilePath)]
    pub target: PathBuf,

    /// Arguments of each call, as JSON where they parse and else as strings; a script gets them as text
    #[arg(value_name = "ARG", allow_negative_numbers = true)]
    pub args: Vec<String>,

    /// Keyword arguments of each call: a JSON object
    #[arg(long, value_name = "JSON")]
    pub kwargs: Option<String>,

    /// One task per whole number from A to B, both included; it is the first argument, before ARG
    #[arg(
        long,
        value_name = "A-B[:STEP]",
        help_heading = "Tasks",
        allow_hyphen_values = true
    )]
    pub range: Option<Range>,

    /// One task per line of FILE (- is standard input); the line, a str, is the first argument
    #[arg(long, value_name = "FILE", help_heading = "Tasks", value_hint = ValueHint::FilePath)]
    pub each_line: Option<PathBuf>,

    /// One task per element of the JSON array in FILE (- is standard input); the element is the first argument
    #[arg(long, value_name = "FILE", help_heading = "Tasks", value_hint = ValueHint::FilePath)]
    pub from_json: Option<PathBuf>,

    /// Run the other tasks too when one fails
    #[arg(long, help_heading = "Tasks")]
    pub keep_going: bool,

    /// Put a file or directory, read-only, into each sandbox's working directory, as its own name or as NAME
    #[arg(
        long = "input",
        value_name = "PATH[=NAME]",
        help_heading = "What tasks see"
    )]
    pub inputs: Vec<PathBuf>,

    /// Give each task standard input: FILE, or without one what this command gets on its own
    #[arg(
        long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "-",
        help_heading = "What tasks see", value_hint = ValueHint::FilePath
    )]
    pub stdin: Option<PathBuf>,

    /// Also ship this module or package; those beside FILE that it imports are shipped anyway
    #[arg(long = "module", value_name = "PATH", help_heading = "What tasks see", value_hint = ValueHint::AnyPath)]
    pub modules: Vec<PathBuf>,

    /// Give tasks the real clock and real randomness instead of repeatable ones
    #[arg(long, help_heading = "What tasks see")]
    pub real_time: bool,

    /// Start the tasks' clock at this time instead of now (--cache: 2026): milliseconds since 1970, or 2026-12-01T09:30:00Z
    #[arg(
        long,
        value_name = "TIME",
        help_heading = "What tasks see",
        conflicts_with = "real_time"
    )]
    pub submit_time: Option<Moment>,

    /// The job's identity, which random streams follow from: 32 hex digits (default: from file and arguments)
    #[arg(long, value_name = "HEX", help_heading = "What tasks see")]
    pub job_id: Option<ppwasm_proto::JobId>,

    /// Run so many tasks at a time, 1 to 1024 (default: one per core)
    #[arg(long, value_name = "N", help_heading = "Tasks", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub slots: Option<u16>,

    /// Memory of a task, 64MiB to 4GiB (default: 512MiB)
    #[arg(long, value_name = "SIZE", help_heading = "Limits of each task")]
    pub memory: Option<Size>,

    /// Time that a task may take, sleeping included (default: 1h)
    #[arg(long, value_name = "DURATION", help_heading = "Limits of each task")]
    pub time_limit: Option<Time>,

    /// Time that a task may compute (default: the time limit)
    #[arg(long, value_name = "DURATION", help_heading = "Limits of each task")]
    pub cpu_time_limit: Option<Time>,

    /// Bytes that a task may print, on standard output and error each (default: 16MiB)
    #[arg(long, value_name = "SIZE", help_heading = "Limits of each task")]
    pub output_limit: Option<Size>,

    /// Bytes of a task's result or exception (default: 64MiB)
    #[arg(long, value_name = "SIZE", help_heading = "Limits of each task")]
    pub result_limit: Option<Size>,

    /// Bytes that a task may write to files (default: 256MiB)
    #[arg(long, value_name = "SIZE", help_heading = "Limits of each task")]
    pub scratch: Option<Size>,

    /// Files and directories that a task may make (default: 10000)
    #[arg(long, value_name = "N", help_heading = "Limits of each task")]
    pub scratch_files: Option<u64>,

    /// Submit the job and leave: `ppwasm job wait` and `ppwasm job results` go on from anywhere
    #[arg(long, help_heading = "Cluster")]
    pub detach: bool,

    /// What people call the job (default: its file and function)
    #[arg(long, value_name = "NAME", help_heading = "Cluster")]
    pub name: Option<String>,

    /// Run before the own jobs of lower priority, -128 to 127 (default: 0)
    #[arg(
        long,
        value_name = "N",
        help_heading = "Cluster",
        allow_negative_numbers = true
    )]
    pub priority: Option<i8>,

    /// Try a task so many times when workers are lost with it, 1 to 100 (default: the coordinator's)
    #[arg(long, value_name = "N", help_heading = "Cluster", value_parser = clap::value_parser!(u8).range(1..=100))]
    pub attempts: Option<u8>,

    /// Run each task, or N percent of them, again on a worker of another architecture and compare to the byte
    #[arg(
        long,
        value_name = "N",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "100",
        help_heading = "Cluster",
        conflicts_with = "real_time"
    )]
    pub verify: Option<Percent>,

    /// Take the outcome of a task from an earlier job of yours where the same call is known, instead of running it
    #[arg(long, help_heading = "Cluster", conflicts_with = "real_time")]
    pub cache: bool,

    /// Keep results for this time after the job has ended (default: the coordinator's)
    #[arg(long, value_name = "DURATION", help_heading = "Cluster")]
    pub keep_for: Option<Time>,

    /// Run on this machine, whatever coordinator is configured
    #[arg(long, help_heading = "Cluster", conflicts_with_all = ["coordinator", "credentials"])]
    pub local: bool,

    #[command(flatten)]
    pub connection: Connection,

    /// How to print results
    #[arg(
        long,
        value_enum,
        value_name = "FORMAT",
        default_value_t,
        help_heading = "Output"
    )]
    pub output: Output,

    /// Print results and errors only: no progress, no notes, nothing of what functions print
    #[arg(long, short, help_heading = "Output")]
    pub quiet: bool,
}
