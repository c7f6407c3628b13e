//! For people: results on standard output, one `repr()` per line; everything else on standard error.

use std::io::{self, BufWriter, IsTerminal, Stderr, StderrLock, Stdout, Write};
use std::time::Duration;

use ppwasm_host::wasi::{Sink, Stream};
use ppwasm_proto::{Outcome, Value};

use super::{Header, NotLoaded, Printer, load_error, words};
use crate::exit_code::ExitCode;
use crate::job::{Ended, Event, Events, Ran, Summary};
use crate::visible::{self, Copier, Escaper};

/// Failed tasks whose traceback is shown.
const TRACEBACKS_MAX: u64 = 10;
/// Failed tasks that are named.
const FAILURES_MAX: u64 = 100;

/// Prints for people.
pub(crate) struct Human {
    out: Copier<BufWriter<Stdout>>,
    /// Whether there is one task only.
    is_one: bool,
    /// Whether its output has been shown as it came.
    is_live: bool,
    is_script: bool,
    is_quiet: bool,
    /// Whether results after the first failure are left out: which of them there are is chance.
    ends_at_failure: bool,
    /// Whether to tell how it went when all went well.
    tells_success: bool,
    file: String,
    failed: u64,
}

/// What is to be printed and how.
pub(crate) struct Style {
    /// There is one task only.
    pub is_one: bool,
    /// Its output has been shown as it came.
    pub is_live: bool,
    /// The file runs as a script.
    pub is_script: bool,
    /// Results and errors only.
    pub is_quiet: bool,
    /// All tasks run also when one fails.
    pub keep_going: bool,
    /// Tell also of success.
    pub tells_success: bool,
}

impl Human {
    /// A printer to standard output and error.
    pub(crate) fn new(style: &Style) -> Self {
        let stdout = io::stdout();
        let is_terminal = stdout.is_terminal();
        Self {
            out: Copier::with(BufWriter::with_capacity(64 << 10, stdout), is_terminal),
            is_one: style.is_one,
            is_live: style.is_live,
            is_script: style.is_script,
            is_quiet: style.is_quiet,
            ends_at_failure: !style.keep_going,
            tells_success: style.tells_success,
            file: String::new(),
            failed: 0,
        }
    }

    /// What the task printed, unless it has been shown as it came.
    fn show_output(&mut self, number: u64, report: &Ran) -> io::Result<()> {
        if self.is_live {
            return Ok(());
        }
        if self.is_one {
            return self.show_whole(report);
        }
        if self.is_script {
            self.out.copy(&report.stdout)?;
        } else if !self.is_quiet {
            show_lines(number, &report.stdout);
        }
        if self.is_script || !self.is_quiet {
            show_lines(number, &report.stderr);
        }
        Ok(())
    }

    /// What the job's only task printed, as it would have been shown as it came.
    fn show_whole(&mut self, report: &Ran) -> io::Result<()> {
        if self.is_quiet && !self.is_script {
            return Ok(());
        }
        let mut live = Live::new(self.is_script);
        live.show(Stream::Stdout, &report.stdout);
        live.show(Stream::Stderr, &report.stderr);
        live.failure.take().map_or(Ok(()), Err)
    }

    fn show_result(&mut self, value: &Value) -> io::Result<()> {
        if self.out.is_terminal() {
            visible::end_line();
        }
        self.out.copy((value.to_python_repr() + "\n").as_bytes())
    }

    /// One line about a task.
    fn say(&self, number: u64, what: &str) {
        let subject = if self.is_one {
            "error: the task".into()
        } else {
            format!("task {number}")
        };
        visible::note(&format!("{subject} {}", visible::line(what)));
    }

    fn show_failure(&mut self, ended: &Ended) {
        self.failed += 1;
        if self.failed > FAILURES_MAX {
            if self.failed == FAILURES_MAX + 1 {
                visible::note("further failures are not shown; --output json has them all");
            }
            return;
        }
        let number = ended.number;
        let report = match &ended.result {
            Ok(report) => report,
            Err(error) => {
                let what = format!("could not be run on this machine: {error}");
                return self.say(number, &what);
            }
        };
        let Outcome::Raised(exception) = &report.outcome else {
            let what = words::fault(&report.outcome).unwrap_or_default();
            return self.say(number, &what);
        };
        if let (true, Some(code)) = (self.is_script, exception.exit_code) {
            // As for Python's own, its exit code says it.
            if !self.is_one {
                self.say(number, &format!("exited with code {code}"));
            }
            return;
        }
        let name = visible::line(&exception.type_name);
        if self.failed > TRACEBACKS_MAX {
            self.say(number, &format!("raised {name}: {}", exception.message));
            return;
        }
        if !self.is_one {
            self.say(number, &format!("raised {name}"));
        }
        let traceback = exception.traceback.trim_end();
        visible::note(&visible::text(traceback));
    }
}

impl Printer for Human {
    fn begin(&mut self, header: &Header) -> io::Result<()> {
        self.file = header.file.clone();
        Ok(())
    }

    fn not_loaded(&mut self, error: &NotLoaded, _: ExitCode) -> io::Result<()> {
        visible::note(&visible::text(&load_error(error, &self.file).1));
        Ok(())
    }

    fn task(&mut self, ended: &Ended) -> io::Result<()> {
        let is_after_failure = self.ends_at_failure && self.failed > 0;
        if is_after_failure {
            return Ok(());
        }
        let succeeded = ended.code(self.is_script) == ExitCode::Succeeded;
        if let Ok(report) = &ended.result {
            self.show_output(ended.number, report)?;
        }
        if let (Some(value), false) = (&ended.value, self.is_script) {
            self.show_result(value)?;
        }
        if !succeeded {
            // So that the two streams are in order where they meet.
            self.out.flush()?;
            self.show_failure(ended);
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn end(&mut self, summary: &Summary) -> io::Result<()> {
        self.out.end()?;
        self.out.flush()?;
        let is_cut = summary.signal.is_some() || summary.is_taken_away;
        let is_good = summary.failed() == 0 && !is_cut;
        let is_told = if is_good {
            self.tells_success
        } else {
            !self.is_one || is_cut
        };
        if (is_told || summary.from_cache.is_some()) && !self.is_quiet {
            visible::note(&told(summary));
        }
        Ok(())
    }
}

/// A summary as one line.
fn told(summary: &Summary) -> String {
    let tasks = if summary.tasks == 1 {
        "1 task".into()
    } else {
        format!("{} tasks", summary.tasks)
    };
    let time = elapsed(summary.wall_time);
    let parts = [
        (summary.succeeded, "succeeded"),
        (summary.raised, "raised an exception"),
        (summary.limit_exceeded, "went past a limit"),
        (summary.trapped, "stopped"),
        (summary.not_run, "could not be run"),
        (summary.cancelled, "cancelled"),
    ];
    let parts: Vec<_> = parts
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    let why = match (summary.signal, summary.is_taken_away) {
        (Some(_), _) => "cancelled: ",
        (None, true) => "cancelled by somebody else: ",
        (None, false) => "",
    };
    let line = format!("{why}{tasks} in {time}: {}", parts.join(", "));
    let line = line.trim_end_matches([':', ' ']);
    match summary.from_cache {
        None => line.to_owned(),
        Some(0) => format!("{line}; none from the cache"),
        Some(count) => format!("{line}; {count} from the cache"),
    }
}

/// A time as precise as anybody wants to know it.
fn elapsed(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 => format!("{} ms", time.as_millis()),
        1..100 => format!("{:.1} s", time.as_secs_f64()),
        100..6000 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// Shows lines of a task's output on standard error, each with the task's number before it.
fn show_lines(number: u64, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    let mut err = io::stderr().lock();
    let is_terminal = err.is_terminal();
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    for line in bytes.split(|byte| *byte == b'\n') {
        // That nobody reads it is no reason to stop.
        let _ = show_line(&mut err, number, line, is_terminal);
    }
}

fn show_line(
    err: &mut StderrLock<'_>,
    number: u64,
    line: &[u8],
    is_terminal: bool,
) -> io::Result<()> {
    let mut shown = format!("task {number}: ").into_bytes();
    if is_terminal {
        let mut escaper = Escaper::default();
        shown.extend_from_slice(escaper.piece(line).as_bytes());
        shown.extend_from_slice(escaper.end().as_bytes());
    } else {
        shown.extend_from_slice(line);
    }
    shown.push(b'\n');
    err.write_all(&shown)
}

/// The output of a job's only task, shown as it comes.
struct Live {
    out: Copier<Stdout>,
    err: Copier<Stderr>,
    is_script: bool,
    /// Standard output cannot be written, and why, until somebody is told.
    failure: Option<io::Error>,
    has_failed: bool,
}

impl Live {
    fn new(is_script: bool) -> Self {
        Self {
            out: Copier::new(io::stdout()),
            err: Copier::new(io::stderr()),
            is_script,
            failure: None,
            has_failed: false,
        }
    }

    /// A script's output goes where it belongs, a function's to standard error.
    fn show(&mut self, stream: Stream, bytes: &[u8]) {
        if stream == Stream::Stderr || !self.is_script {
            // That nobody reads it is no reason to stop.
            let _ = self.err.copy(bytes);
            visible::line_is_open(bytes);
        } else if !self.has_failed {
            let copied = self.out.copy(bytes).and_then(|()| self.out.flush());
            if let Err(error) = copied {
                self.has_failed = true;
                self.failure = Some(error);
            }
            if self.out.is_terminal() {
                visible::line_is_open(bytes);
            }
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = self.err.end().and_then(|()| self.out.end());
        let _ = self.out.flush();
    }
}

/// Shows the output of a job's only task as it comes.
pub(crate) fn live_sink(is_script: bool, events: Events) -> Sink {
    let mut live = Live::new(is_script);
    Box::new(move |stream, bytes| {
        live.show(stream, bytes);
        if let Some(error) = live.failure.take() {
            // The loop that reads events ends the command. There is room: this is said once.
            let _ = events.try_send(Event::OutputFailed(error));
        }
    })
}

/// Shows what loading a function printed, on standard error.
pub(crate) fn show_loaded(stdout: &[u8], stderr: &[u8]) {
    let mut live = Live::new(false);
    live.show(Stream::Stdout, stdout);
    live.show(Stream::Stderr, stderr);
}
