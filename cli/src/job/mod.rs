//! A job as this command sees it: what its tasks have in common, how each ended, and how all of them did.

mod feed;
mod run;
mod window;

use std::io;
use std::time::Duration;

use ppwasm_client::TaskResult;
use ppwasm_proto::wire::Origin;
use ppwasm_proto::{Call, JobId, Outcome, TrapCause, Value};
use tokio::sync::mpsc;

use crate::exit_code::ExitCode;
use crate::failure::{Failure, Result};

pub(crate) use feed::submit_all;
pub(crate) use run::{Ending, Running};
pub(crate) use window::Limits as WindowLimits;

/// Events that may be waiting: a few signals, and what goes wrong.
pub(crate) const EVENTS_MAX: usize = 16;

/// What happens beside the job's results.
#[derive(Debug)]
pub(crate) enum Event {
    /// A signal has come.
    Signal(u8),
    /// Standard output cannot be written.
    OutputFailed(io::Error),
    /// This machine could not run a task, and why.
    MachineFailed(String),
}

/// Tells the loop of events.
pub(crate) type Events = mpsc::Sender<Event>;

/// What all tasks of a job have in common.
pub(crate) struct Job {
    /// Its identity where it runs.
    pub id: JobId,
    /// The call, but for the items.
    pub call: Call,
    /// Whether the file runs as a script.
    pub is_script: bool,
    /// Whether all tasks run also when one fails.
    pub keep_going: bool,
}

/// What running a task gave.
#[derive(Debug)]
pub(crate) struct Ran {
    /// How it ended.
    pub outcome: Outcome,
    /// What it wrote to standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error.
    pub stderr: Vec<u8>,
    /// How long it ran.
    pub wall_time: Duration,
    /// Memory of its sandbox at its end.
    pub memory_bytes: u64,
}

/// A task that has ended, as the printers get it.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its number.
    pub number: u64,
    /// What it gave, or why it could not be run.
    pub result: Result<Ran, String>,
    /// What it returned, once it has been read.
    pub value: Option<Value>,
    /// The earlier task whose outcome it has, when it did not run.
    pub origin: Option<Box<Origin>>,
}

/// How many tasks ended how.
#[derive(Debug, Clone, Default)]
pub(crate) struct Summary {
    /// Tasks that were started.
    pub tasks: u64,
    /// They returned; scripts ended with code 0.
    pub succeeded: u64,
    /// They raised.
    pub raised: u64,
    /// Their sandbox stopped.
    pub trapped: u64,
    /// They went past a limit.
    pub limit_exceeded: u64,
    /// They were cancelled.
    pub cancelled: u64,
    /// They could not be run.
    pub not_run: u64,
    /// From the first task's start to the last one's end.
    pub wall_time: Duration,
    /// What the first task gave that did not succeed, in task order.
    first_failure: Option<ExitCode>,
    /// The signal that cancelled the job.
    pub signal: Option<u8>,
    /// Somebody else cancelled the job.
    pub is_taken_away: bool,
    /// Tasks that did not run because their outcome was known; none when the job is not cached.
    pub from_cache: Option<u64>,
}

impl Summary {
    /// Of a job that has no tasks because loading failed.
    pub(crate) fn not_loaded(code: ExitCode) -> Self {
        Self {
            first_failure: Some(code),
            ..Self::default()
        }
    }

    /// The items were wrong.
    fn breaks(&mut self) {
        self.first_failure = Some(ExitCode::Usage);
    }

    /// Counts one more.
    pub(crate) fn count(&mut self, ended: &Ended, is_script: bool) {
        self.tasks += 1;
        let code = ended.code(is_script);
        let counter = match &ended.result {
            _ if code == ExitCode::Succeeded && !ended.is_cancelled() => &mut self.succeeded,
            Ok(ran) => match &ran.outcome {
                Outcome::Succeeded { .. } => &mut self.succeeded,
                Outcome::Raised(_) => &mut self.raised,
                Outcome::Trapped { .. } => &mut self.trapped,
                Outcome::LimitExceeded { .. } => &mut self.limit_exceeded,
                Outcome::Cancelled => &mut self.cancelled,
                Outcome::Abandoned => &mut self.not_run,
            },
            Err(_) => &mut self.not_run,
        };
        *counter += 1;
        if code != ExitCode::Succeeded {
            self.first_failure.get_or_insert(code);
        }
    }

    /// Tasks that failed by themselves.
    pub(crate) fn failed(&self) -> u64 {
        self.raised + self.trapped + self.limit_exceeded + self.not_run
    }

    /// What the shell is told.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match (self.signal, self.first_failure) {
            (Some(signal), _) => ExitCode::Cancelled(signal),
            (None, Some(code)) => code,
            (None, None) if self.is_taken_away => ExitCode::Cluster,
            (None, None) => ExitCode::Succeeded,
        }
    }
}

impl Ended {
    /// A task's result as it came.
    pub(crate) fn new(result: TaskResult) -> Self {
        let ran = Ran {
            outcome: result.outcome,
            stdout: result.stdout,
            stderr: result.stderr,
            wall_time: Duration::from_micros(result.usage.wall_us),
            memory_bytes: result.usage.memory_bytes,
        };
        let mut ended = Self {
            number: result.task.0,
            result: Ok(ran),
            value: None,
            origin: result.origin,
        };
        ended.read();
        ended
    }

    /// A task that has no result because the job was cancelled.
    pub(crate) const fn cancelled(number: u64) -> Self {
        let ran = Ran {
            outcome: Outcome::Cancelled,
            stdout: Vec::new(),
            stderr: Vec::new(),
            wall_time: Duration::ZERO,
            memory_bytes: 0,
        };
        Self {
            number,
            result: Ok(ran),
            value: None,
            origin: None,
        }
    }

    /// What the shell would be told if this were the only task.
    pub(crate) fn code(&self, is_script: bool) -> ExitCode {
        match &self.result {
            Ok(ran) => ExitCode::of(&ran.outcome, is_script),
            Err(_) => ExitCode::Machine,
        }
    }

    /// Reads the value that it returned. A guest that sends none that can be read has broken its interface.
    fn read(&mut self) {
        let Ok(ran) = &mut self.result else { return };
        let Outcome::Succeeded { value } = &ran.outcome else {
            return;
        };
        match value.decode() {
            Ok(value) => self.value = Some(value),
            Err(_) => {
                ran.outcome = Outcome::Trapped {
                    cause: TrapCause::InvalidReply,
                }
            }
        }
    }

    fn is_cancelled(&self) -> bool {
        let ran = self.result.as_ref();
        ran.is_ok_and(|ran| ran.outcome == Outcome::Cancelled)
    }

    /// Bytes of what came, roughly.
    fn bytes(&self) -> usize {
        let of_ran = |ran: &Ran| {
            let value = match &ran.outcome {
                Outcome::Succeeded { value } => value.as_bytes().len(),
                Outcome::Raised(exception) => exception.traceback.len() + exception.message.len(),
                _ => 0,
            };
            value + ran.stdout.len() + ran.stderr.len()
        };
        self.result.as_ref().map_or(0, of_ran)
    }
}

/// What it means that standard output cannot be written.
pub(crate) fn closed(error: io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        Failure::OutputClosed
    } else {
        Failure::Machine(anyhow::Error::new(error).context("could not write to standard output"))
    }
}
