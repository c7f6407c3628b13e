//! Runs a job: submits its tasks, prints results in task order, and ends in good order.

use std::pin::{Pin, pin};
use std::time::Instant;

use ppwasm_client::{Client, ClientError, JobEvent, LoadOutput, Results, Submission};
use ppwasm_proto::Outcome;
use ppwasm_proto::wire::JobState;
use tokio::sync::mpsc;

use super::feed::{Fed, feed};
use super::window::{Limits, Window};
use super::{Ended, Event, Job, Summary, closed};
use crate::exit_code::ExitCode;
use crate::failure::{Failure, Result};
use crate::items::Items;
use crate::printer::Printer;
use crate::progress::Progress;

/// Results that are printed before they are flushed.
const BATCH_MAX: usize = 256;

/// How a job ended.
pub(crate) enum Ending {
    /// Its tasks did, one way or another.
    Ran(Summary),
    /// Its function could not be loaded.
    NotLoaded(Outcome),
}

/// A job that is being run.
pub(crate) struct Running<'a> {
    /// Where.
    pub client: &'a Client,
    /// What.
    pub job: &'a Job,
    /// Shows how far it is.
    pub progress: &'a Progress,
    /// What happens meanwhile.
    pub events: mpsc::Receiver<Event>,
    /// Shows what loading the function wrote.
    pub loaded: Box<dyn FnMut(LoadOutput) + 'a>,
    /// Is told the number of tasks that were printed.
    pub printed: Box<dyn FnMut(u64) + 'a>,
    /// Makes a failure of what went wrong with the coordinator.
    pub failed: Box<dyn Fn(ClientError) -> Failure + 'a>,
}

type Cancelling<'a> = Pin<Box<dyn Future<Output = Result<(), ClientError>> + 'a>>;

/// The state of a job that is being run.
struct State<'a> {
    running: Running<'a>,
    window: &'a Window,
    summary: Summary,
    /// The next task to print.
    turn: u64,
    /// Nothing more is submitted.
    is_stopping: bool,
    cancelling: Option<Cancelling<'a>>,
    /// The items ran into this.
    broken: Option<Failure>,
    /// Why this machine could not run a task.
    machine: Option<String>,
}

impl<'a> Running<'a> {
    /// Submits every item's task to a job that was opened, and runs it to its end.
    ///
    /// # Errors
    ///
    /// The reader of the output has gone, the items were found to be wrong on the way, or the coordinator is lost.
    pub(crate) async fn submit(
        self,
        items: Items,
        submission: Submission,
        results: Results,
        limits: Limits,
        printer: &mut dyn Printer,
    ) -> Result<Ending> {
        let window = Window::new(limits);
        let feeding = feed(self.job, items, submission, &window);
        State::new(self, &window)
            .run(feeding, results, printer)
            .await
    }

    /// Watches a job that was submitted before, to its end.
    ///
    /// # Errors
    ///
    /// As [`Running::submit`].
    pub(crate) async fn watch(self, results: Results, printer: &mut dyn Printer) -> Result<Ending> {
        let window = Window::new(Limits::None);
        let feeding = std::future::ready(Fed::All);
        State::new(self, &window)
            .run(feeding, results, printer)
            .await
    }
}

impl<'a> State<'a> {
    fn new(running: Running<'a>, window: &'a Window) -> Self {
        Self {
            running,
            window,
            summary: Summary::default(),
            turn: 0,
            is_stopping: false,
            cancelling: None,
            broken: None,
            machine: None,
        }
    }

    async fn run(
        mut self,
        feeding: impl Future<Output = Fed>,
        mut results: Results,
        printer: &mut dyn Printer,
    ) -> Result<Ending> {
        let start = Instant::now();
        let mut feeding = pin!(feeding);
        let mut is_feeding = true;
        loop {
            let next = tokio::select! {
                biased;
                Some(event) = self.running.events.recv() => {
                    self.take_event(event)?;
                    continue;
                }
                cancelled = cancelled(&mut self.cancelling) => {
                    self.cancelling = None;
                    self.check_cancelled(cancelled)?;
                    continue;
                }
                next = results.next_event() => next,
                fed = &mut feeding, if is_feeding && !self.is_stopping => {
                    is_feeding = false;
                    self.take_fed(fed)?;
                    continue;
                }
            };
            match next.map_err(&self.running.failed)? {
                Some(first) => self.print(first, &mut results, printer).await?,
                None => break,
            }
        }
        self.summary.wall_time = start.elapsed();
        self.end(&results, printer)
    }

    fn take_event(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Signal(signal) => {
                self.summary.signal = Some(signal);
                self.cancel();
            }
            Event::OutputFailed(error) => return Err(closed(error)),
            // A machine that cannot run one task is not asked to run a million.
            Event::MachineFailed(why) => {
                self.machine.get_or_insert(why);
            }
        }
        Ok(())
    }

    fn take_fed(&mut self, fed: Fed) -> Result<()> {
        match fed {
            Fed::All | Fed::Over => Ok(()),
            Fed::Broken(failure) => {
                self.broken = Some(failure);
                Ok(())
            }
            Fed::Failed(error) => Err((self.running.failed)(error)),
        }
    }

    /// Has the job end where it is.
    fn cancel(&mut self) {
        if !self.is_stopping {
            self.is_stopping = true;
            let (client, job) = (self.running.client, self.running.job.id);
            self.cancelling = Some(Box::pin(client.cancel(job)));
        }
    }

    fn check_cancelled(&self, cancelled: Result<(), ClientError>) -> Result<()> {
        match cancelled {
            // It may have ended by itself meanwhile.
            Ok(()) | Err(ClientError::Refused { .. }) => Ok(()),
            Err(error) => Err((self.running.failed)(error)),
        }
    }

    /// Prints a result and those that are there already.
    async fn print(
        &mut self,
        first: JobEvent,
        results: &mut Results,
        printer: &mut dyn Printer,
    ) -> Result<()> {
        let mut batch = Vec::new();
        let mut next = Some(first);
        while let Some(event) = next {
            batch.push(event);
            next = match results.is_ready() && batch.len() < BATCH_MAX {
                true => {
                    let next = results.next_event().await;
                    next.map_err(&self.running.failed)?
                }
                false => None,
            };
        }
        // Why a task was given up comes before the task.
        while let Ok(event) = self.running.events.try_recv() {
            self.take_event(event)?;
        }
        let progress = self.running.progress;
        progress.aside(|| {
            for event in batch {
                let ended = match event {
                    JobEvent::Loaded(output) => {
                        (self.running.loaded)(output);
                        continue;
                    }
                    JobEvent::Result(result) => Ended::new(*result),
                };
                self.fill_up_to(ended.number, printer)?;
                self.print_one(ended, printer)?;
            }
            printer.flush().map_err(closed)
        })?;
        (self.running.printed)(self.turn);
        if self.summary.failed() > 0 {
            progress.failed(self.summary.failed());
        }
        Ok(())
    }

    fn print_one(&mut self, mut ended: Ended, printer: &mut dyn Printer) -> Result<()> {
        let is_script = self.running.job.is_script;
        if let (Ok(ran), Some(why)) = (&ended.result, &self.machine)
            && ran.outcome == Outcome::Abandoned
        {
            ended.result = Err(why.clone());
        }
        self.turn = ended.number + 1;
        self.window.print(ended.bytes());
        self.running.progress.ended();
        self.summary.count(&ended, is_script);
        printer.task(&ended).map_err(closed)?;
        let has_failed = ended.code(is_script) != ExitCode::Succeeded;
        if has_failed && (!self.running.job.keep_going || ended.result.is_err()) {
            self.cancel();
        }
        Ok(())
    }

    /// Tasks without a result were cancelled with the job.
    fn fill_up_to(&mut self, number: u64, printer: &mut dyn Printer) -> Result<()> {
        while self.turn < number {
            self.print_one(Ended::cancelled(self.turn), printer)?;
        }
        Ok(())
    }

    fn end(mut self, results: &Results, printer: &mut dyn Printer) -> Result<Ending> {
        let mut counted = 0;
        if let Some(end) = results.end() {
            let c = &end.counts;
            self.summary.from_cache = c.from_cache;
            counted =
                c.succeeded + c.raised + c.trapped + c.limit_exceeded + c.cancelled + c.abandoned;
            if let Some(outcome) = &end.load_failure {
                return Ok(Ending::NotLoaded(outcome.clone()));
            }
            let is_cancelled = end.state == JobState::Cancelled;
            self.summary.is_taken_away = is_cancelled && !self.is_stopping;
        }
        // A job that somebody else submitted has as many tasks as it says.
        let tasks = self.window.submitted().max(counted);
        self.fill_up_to(tasks, printer)?;
        match self.broken {
            Some(failure) if self.summary.signal.is_none() => {
                self.running.progress.clear();
                self.summary.breaks();
                printer.end(&self.summary).map_err(closed)?;
                Err(failure)
            }
            _ => Ok(Ending::Ran(self.summary)),
        }
    }
}

async fn cancelled(cancelling: &mut Option<Cancelling<'_>>) -> Result<(), ClientError> {
    match cancelling {
        Some(cancelling) => cancelling.await,
        None => std::future::pending().await,
    }
}
