//! How a job's outcome is told: for people or as JSON.

mod from_cache;
mod human;
mod json;
mod words;

use std::io;

use ppwasm_proto::{Digest, JobId, Limits};

use crate::exit_code::ExitCode;
use crate::job::{Ended, Summary};

pub(crate) use from_cache::{FromCache, lines as from_cache_lines};
#[cfg(feature = "coordinator")]
pub(crate) use human::live_sink;
pub(crate) use human::{Human, Style as HumanStyle, show_loaded};
pub(crate) use json::{Json, ending_json, output as output_json, write as write_json};
pub(crate) use words::{NotLoaded, fault, load_error};

/// What a job is, for those who tell of it.
pub(crate) struct Header {
    /// The identity that random numbers follow from.
    pub id: JobId,
    /// The job at the coordinator, when it runs there.
    pub cluster_id: Option<JobId>,
    /// The file, as the user wrote it.
    pub file: String,
    /// The function; none for a script.
    pub function: Option<String>,
    /// The function bundle.
    pub bundle: Digest,
    /// The guest, if it is known.
    pub guest: Option<Digest>,
    /// The guest's Python, if it is known.
    pub python: Option<String>,
    /// Tasks that run at a time, on this machine.
    pub slots: Option<usize>,
    /// When the tasks' clock starts, in ms since 1970; none with real time.
    pub submit_time_ms: Option<u64>,
    /// Limits of each task.
    pub limits: Limits,
}

/// Prints a job, its tasks in their order.
pub(crate) trait Printer {
    /// The job's tasks begin.
    fn begin(&mut self, header: &Header) -> io::Result<()>;
    /// The file could not be loaded, so there are no tasks.
    fn not_loaded(&mut self, error: &NotLoaded, code: ExitCode) -> io::Result<()>;
    /// One more task has ended.
    fn task(&mut self, ended: &Ended) -> io::Result<()>;
    /// Everything so far is to be seen.
    fn flush(&mut self) -> io::Result<()>;
    /// All have ended.
    fn end(&mut self, summary: &Summary) -> io::Result<()>;
}
