//! Runs a job's tasks: keeps the slots busy, prints results in task order, and ends in good order.
//!
//! Bounded whatever the number of tasks: those started and those that wait for an earlier one to be
//! printed are limited by number and by bytes.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError};
use std::time::{Duration, Instant};

use ppwasm_host::wasi::{InputTree, SharedBytes, Sink};
use ppwasm_host::{CancelToken, Function, Host, HostError, Report, Task, TimeSource};
use ppwasm_proto::{Call, JobId, Limits, Outcome, TaskId, TaskIdentity, TrapCause, Value};

use crate::exit_code::ExitCode;
use crate::failure::{Failure, Result};
use crate::items::{Item, Items, Next};
use crate::printer::Printer;
use crate::progress::Progress;

/// Most tasks that are started and have not ended, beside one per slot.
const STARTED_MAX: usize = 1024;
/// Most bytes of their arguments, beside one task per slot.
const STARTED_BYTES_MAX: usize = 64 << 20;
/// With more bytes than these in reports that wait for an earlier task, no further task starts.
const WAITING_BYTES_MAX: usize = 256 << 20;
/// What a report takes beside its result and output, roughly.
const REPORT_BYTES: usize = 512;

/// Events that may be waiting: one per started task, and a few signals.
pub(crate) const EVENTS_MAX: usize = STARTED_MAX + ppwasm_host::SLOTS_MAX + 16;

/// What the loop waits for.
#[derive(Debug)]
pub(crate) enum Event {
    /// A task has ended.
    Ended(Box<Ended>),
    /// A signal has come.
    Signal(u8),
    /// There may be a further item.
    MoreItems,
    /// Standard output cannot be written.
    OutputFailed(io::Error),
}

/// What all tasks of a job have in common.
pub(crate) struct Job {
    /// Its identity.
    pub id: JobId,
    /// The call, but for the items.
    pub call: Call,
    /// The limits of each task.
    pub limits: Limits,
    /// Where time and randomness come from.
    pub time: TimeSource,
    /// Standard input of each task.
    pub stdin: SharedBytes,
    /// Files that each task sees.
    pub inputs: Option<Arc<InputTree>>,
    /// Whether the file runs as a script.
    pub is_script: bool,
    /// Whether all tasks run also when one fails.
    pub keep_going: bool,
}

/// A task that has ended, as the printers get it.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its number.
    pub number: u64,
    /// What it gave, or why this machine could not run it.
    pub result: Result<Report, HostError>,
    /// What it returned, once it has been read.
    pub value: Option<Value>,
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
    /// This machine could not run them.
    pub not_run: u64,
    /// From the first task's start to the last one's end.
    pub wall_time: Duration,
    /// What the first task gave that did not succeed, in task order.
    first_failure: Option<ExitCode>,
    /// The signal that cancelled the job.
    pub signal: Option<u8>,
}

impl Summary {
    /// Of a job that has no tasks because loading failed.
    pub(crate) fn not_loaded(code: ExitCode) -> Self {
        Self {
            first_failure: Some(code),
            ..Self::default()
        }
    }

    fn count(&mut self, ended: &Ended, is_script: bool) {
        self.tasks += 1;
        let code = ended.code(is_script);
        let counter = match &ended.result {
            _ if code == ExitCode::Succeeded && !ended.is_cancelled() => &mut self.succeeded,
            Ok(report) => match &report.outcome {
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
        match self.signal {
            Some(signal) => ExitCode::Cancelled(signal),
            None => self.first_failure.unwrap_or(ExitCode::Succeeded),
        }
    }
}

impl Ended {
    /// What the shell would be told if this were the only task.
    pub(crate) fn code(&self, is_script: bool) -> ExitCode {
        match &self.result {
            Ok(report) => ExitCode::of(&report.outcome, is_script),
            Err(_) => ExitCode::Machine,
        }
    }

    /// Reads the value that it returned. A guest that sends none that can be read has broken its interface.
    fn read(&mut self) {
        let Ok(report) = &mut self.result else { return };
        let Outcome::Succeeded { value } = &report.outcome else {
            return;
        };
        match value.decode() {
            Ok(value) => self.value = Some(value),
            Err(_) => {
                report.outcome = Outcome::Trapped {
                    cause: TrapCause::InvalidReply,
                }
            }
        }
    }

    fn is_cancelled(&self) -> bool {
        self.result
            .as_ref()
            .is_ok_and(|report| report.outcome == Outcome::Cancelled)
    }

    fn bytes(&self) -> usize {
        let of_report = |report: &Report| {
            let value = match &report.outcome {
                Outcome::Succeeded { value } => value.as_bytes().len(),
                Outcome::Raised(exception) => exception.traceback.len() + exception.message.len(),
                _ => 0,
            };
            value + report.stdout.len() + report.stderr.len()
        };
        REPORT_BYTES + self.result.as_ref().map_or(0, of_report)
    }
}

/// A job that is being run.
pub(crate) struct Running<'a> {
    host: &'a Host,
    function: &'a Function,
    job: &'a Job,
    items: Items,
    sender: SyncSender<Event>,
    events: Receiver<Event>,
    progress: &'a Progress,
    /// Sees the output of the job's only task as it comes.
    sink: Option<Sink>,

    /// The next task to start, and whether there may be one.
    next: u64,
    is_open: bool,
    started: BTreeMap<u64, Started>,
    started_bytes: usize,
    /// Ended, but not printed: an earlier task has not ended.
    waiting: BTreeMap<u64, Ended>,
    waiting_bytes: usize,
    /// How many have ended, and the bytes of all their reports.
    ended: u64,
    ended_bytes: u64,
    /// The next task to print.
    turn: u64,
    /// The items ran into this.
    broken: Option<Failure>,
    summary: Summary,
}

struct Started {
    cancel: CancelToken,
    bytes: usize,
}

impl<'a> Running<'a> {
    /// A job none of whose tasks has been started.
    pub(crate) fn new(
        host: &'a Host,
        function: &'a Function,
        job: &'a Job,
        items: Items,
        (sender, events): (SyncSender<Event>, Receiver<Event>),
        progress: &'a Progress,
        sink: Option<Sink>,
    ) -> Self {
        Self {
            host,
            function,
            job,
            items,
            sender,
            events,
            progress,
            sink,
            next: 0,
            is_open: true,
            started: BTreeMap::new(),
            started_bytes: 0,
            waiting: BTreeMap::new(),
            waiting_bytes: 0,
            ended: 0,
            ended_bytes: 0,
            turn: 0,
            broken: None,
            summary: Summary::default(),
        }
    }

    /// Runs it to its end.
    ///
    /// # Errors
    ///
    /// The reader of the output has gone, or the items were found to be wrong on the way.
    pub(crate) fn run(mut self, printer: &mut dyn Printer) -> Result<Summary> {
        let start = Instant::now();
        self.start_tasks();
        while !self.started.is_empty() || self.is_open {
            let Ok(event) = self.events.recv() else { break };
            self.take(event)?;
            self.take_what_is_there()?;
            // What is printed makes room for what is started.
            self.print(printer)?;
            self.start_tasks();
        }
        self.summary.wall_time = start.elapsed();
        match self.broken {
            Some(failure) if self.summary.signal.is_none() => {
                self.progress.clear();
                self.summary.first_failure = Some(ExitCode::Usage);
                printer.end(&self.summary).map_err(closed)?;
                Err(failure)
            }
            _ => Ok(self.summary),
        }
    }

    fn start_tasks(&mut self) {
        let slots = self.host.slots();
        while self.is_open && self.waiting_bytes < WAITING_BYTES_MAX {
            if self.started.len() >= slots && !self.has_room(slots) {
                return;
            }
            match self.items.next() {
                Ok(Next::Item(item)) => self.start(item),
                Ok(Next::NotYet) => return,
                Ok(Next::End) => self.is_open = false,
                Err(failure) => {
                    self.is_open = false;
                    self.broken = Some(failure);
                }
            }
        }
    }

    /// Whether a task may be started that no slot is free for, so that none waits for this loop.
    fn has_room(&self, slots: usize) -> bool {
        let started = self.started.len();
        let ended = usize::try_from(self.ended).unwrap_or(usize::MAX);
        // The first ones tell how large the reports of the others may be.
        let is_known = started < slots.saturating_add(ended);
        let mean = usize::try_from(self.ended_bytes / self.ended.max(1)).unwrap_or(usize::MAX);
        let expected = self
            .waiting_bytes
            .saturating_add(mean.saturating_mul(started));
        is_known
            && started < STARTED_MAX
            && self.started_bytes < STARTED_BYTES_MAX
            && expected < WAITING_BYTES_MAX
    }

    fn start(&mut self, item: Item) {
        let number = self.next;
        self.next += 1;
        let mut call = self.job.call.clone();
        if let Some(value) = item.value {
            call.args.insert(0, value);
        }
        let cancel = CancelToken::new();
        let mut task = Task::new(call)
            .limits(self.job.limits)
            .identity(TaskIdentity::new(self.job.id, TaskId(number)))
            .time(self.job.time)
            .stdin(self.job.stdin.clone())
            .cancel_token(cancel.clone());
        if let Some(inputs) = &self.job.inputs {
            task = task.inputs(Arc::clone(inputs));
        }
        if let Some(sink) = self.sink.take() {
            task = task.output_sink(sink);
        }
        self.started.insert(
            number,
            Started {
                cancel,
                bytes: item.bytes,
            },
        );
        self.started_bytes += item.bytes;
        let sender = self.sender.clone();
        // Nobody waits any more when the command is about to end.
        self.host.start_with(self.function, task, move |result| {
            let value = None;
            let _ = sender.send(Event::Ended(Box::new(Ended {
                number,
                result,
                value,
            })));
        });
    }

    fn take_what_is_there(&mut self) -> Result<()> {
        loop {
            match self.events.try_recv() {
                Ok(event) => self.take(event)?,
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return Ok(()),
            }
        }
    }

    fn take(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Ended(ended) => self.take_ended(*ended),
            Event::Signal(signal) => {
                self.summary.signal = Some(signal);
                self.cancel_from(0);
            }
            // Looked for after every event.
            Event::MoreItems => {}
            Event::OutputFailed(error) => return Err(closed(error)),
        }
        Ok(())
    }

    fn take_ended(&mut self, ended: Ended) {
        self.progress.ended();
        if let Some(started) = self.started.remove(&ended.number) {
            self.started_bytes -= started.bytes;
        }
        let failed = ended.code(self.job.is_script) != ExitCode::Succeeded;
        // A machine that cannot run one task is not asked to run a million.
        if failed && (!self.job.keep_going || ended.result.is_err()) {
            // Those before it go on, so that the first failure in task order is always told.
            self.cancel_from(ended.number + 1);
        }
        self.waiting_bytes += ended.bytes();
        self.ended += 1;
        self.ended_bytes += ended.bytes() as u64;
        self.waiting.insert(ended.number, ended);
    }

    fn cancel_from(&mut self, first: u64) {
        self.is_open = false;
        for started in self.started.range(first..) {
            started.1.cancel.cancel();
        }
    }

    /// Prints the tasks whose turn it is.
    fn print(&mut self, printer: &mut dyn Printer) -> Result<()> {
        if !self.waiting.contains_key(&self.turn) {
            return Ok(());
        }
        let progress = self.progress;
        progress.aside(|| {
            while let Some(mut ended) = self.waiting.remove(&self.turn) {
                self.waiting_bytes -= ended.bytes();
                self.turn += 1;
                ended.read();
                self.summary.count(&ended, self.job.is_script);
                printer.task(&ended).map_err(closed)?;
            }
            printer.flush().map_err(closed)
        })?;
        if self.summary.failed() > 0 {
            progress.failed(self.summary.failed());
        }
        Ok(())
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
