//! `ppwasm submit`: everything is read and checked, then the job runs, on this machine or where a coordinator says.

mod cluster;
#[cfg(feature = "coordinator")]
mod local;

use std::sync::{Arc, Once};
use std::time::{SystemTime, UNIX_EPOCH};

use ppwasm_client::JobRequest;
use ppwasm_host::wasi::{InputTree, SharedBytes};
use ppwasm_proto::wire::TimeSource;
use ppwasm_proto::{Call, Digest, FunctionBundle, JobId, Limits};
use tokio::sync::mpsc;

use crate::args::{Output, Submit};
use crate::bundle::{self, Target};
use crate::config::Config;
use crate::exit_code::ExitCode;
use crate::fabric::Cluster;
use crate::failure::{Because, Failure, Result};
use crate::items::{self, Items};
use crate::job::{EVENTS_MAX, Event, Events, Summary, closed};
use crate::printer::{Header, Human, HumanStyle, Json, NotLoaded, Printer, load_error};
use crate::progress::Progress;
use crate::signals::Signals;
use crate::units::Moment;
use crate::{inputs, settings, values, visible};

/// Where the clock of tasks starts whose outcomes are to be found again: 2026-01-01T00:00:00Z. Another one, and nothing that
/// was kept is found.
const CACHED_TIME: Moment = Moment(1_767_225_600_000);

/// A job that was read and checked.
struct Plan<'a> {
    args: &'a Submit,
    target: Target,
    limits: Limits,
    call: Call,
    bundle: FunctionBundle,
    inputs: Option<Arc<InputTree>>,
    stdin: SharedBytes,
    items: Items,
    submit_time_ms: Option<u64>,
    /// What random numbers follow from.
    stream: JobId,
    signals: Signals,
    sender: Events,
    events: mpsc::Receiver<Event>,
}

/// Runs the job.
pub(crate) fn submit(args: &Submit) -> Result<ExitCode> {
    let address = match args.local {
        true => None,
        false => Cluster::address(&args.connection, &Config::load()?)?,
    };
    match address {
        None => {
            refuse_cluster_flags(args)?;
            on_this_machine(args)
        }
        Some(address) => {
            if args.slots.is_some() {
                return Err(Failure::usage(format!(
                    "--slots: the job goes to the coordinator at {address}, whose workers have slots of their own; \
                     leave it out, or give --local to run on this machine"
                )));
            }
            cluster::submit(Plan::read(args)?, address)
        }
    }
}

#[cfg(feature = "coordinator")]
fn on_this_machine(args: &Submit) -> Result<ExitCode> {
    local::submit(Plan::read(args)?)
}

#[cfg(not(feature = "coordinator"))]
fn on_this_machine(_: &Submit) -> Result<ExitCode> {
    Err(Failure::usage(
        "this program was built without a coordinator of its own; give --coordinator HOST:PORT",
    ))
}

/// What only a coordinator can do is not left out without a word.
fn refuse_cluster_flags(args: &Submit) -> Result<()> {
    let flags = [
        ("--detach", args.detach),
        ("--name", args.name.is_some()),
        ("--priority", args.priority.is_some()),
        ("--attempts", args.attempts.is_some()),
        ("--keep-for", args.keep_for.is_some()),
        ("--verify", args.verify.is_some()),
        ("--cache", args.cache),
    ];
    match flags.iter().find(|(_, is_given)| *is_given) {
        Some((flag, _)) => Err(Failure::usage(format!(
            "{flag}: the job would run on this machine, where that means nothing; \
             log in to a coordinator with `ppwasm login`, or give --coordinator HOST:PORT"
        ))),
        None => Ok(()),
    }
}

impl<'a> Plan<'a> {
    fn read(args: &'a Submit) -> Result<Self> {
        let target = Target::parse(&args.target)?;
        let is_script = target.function.is_none();
        let limits = settings::limits(args)?;
        items::check_stdin(args)?;
        let call = values::call(&args.args, args.kwargs.as_deref(), is_script)?;
        let bundle = bundle::collect(&target, &args.modules)?;
        let inputs = inputs::read(&args.inputs)?;
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        let items = Items::new(args, is_script)?;
        let stdin = inputs::stdin(args.stdin.as_deref())?;
        let submit_time = match args.cache {
            true => args.submit_time.or(Some(CACHED_TIME)),
            false => args.submit_time,
        };
        let submit_time_ms = (!args.real_time).then(|| submit_time_ms(submit_time));
        let signals = Signals::listen(sender.clone())?;
        let stream = match args.job_id {
            Some(id) => id,
            None => identity(&bundle, &call, &items)?,
        };
        Ok(Self {
            args,
            target,
            limits,
            call,
            bundle,
            inputs,
            stdin,
            items,
            submit_time_ms,
            stream,
            signals,
            sender,
            events,
        })
    }

    fn is_script(&self) -> bool {
        self.target.function.is_none()
    }

    /// The job as it is opened under an id.
    fn request(&self, id: JobId) -> JobRequest {
        let time = match self.submit_time_ms {
            None => TimeSource::Real {},
            Some(start_ms) => TimeSource::Deterministic {
                start_ns: start_ms.saturating_mul(1_000_000),
            },
        };
        JobRequest::new(id, &self.bundle)
            .limits(self.limits)
            .time(time)
    }

    fn header(&self) -> Header {
        Header {
            id: self.stream,
            cluster_id: None,
            file: self.target.file.display().to_string(),
            function: self.target.function.clone(),
            bundle: self.bundle.digest(),
            guest: None,
            python: None,
            slots: None,
            submit_time_ms: self.submit_time_ms,
            limits: self.limits,
        }
    }

    fn progress(&self) -> Progress {
        if self.args.quiet || self.items.is_one() {
            Progress::hidden()
        } else {
            Progress::new(self.items.total())
        }
    }

    fn printer(&self, is_live: bool, tells_success: bool) -> Box<dyn Printer> {
        match self.args.output {
            Output::Json => Box::new(Json::new(self.is_script())),
            Output::Human => Box::new(Human::new(&HumanStyle {
                is_one: self.items.is_one(),
                is_live,
                is_script: self.is_script(),
                is_quiet: self.args.quiet,
                keep_going: self.args.keep_going,
                tells_success,
            })),
        }
    }

    /// Whether what importing the module printed is shown.
    fn shows_loading(&self) -> bool {
        !self.args.quiet && !self.is_script()
    }
}

fn submit_time_ms(given: Option<Moment>) -> u64 {
    match given {
        Some(Moment(millis)) => millis,
        // A clock before 1970 is as good as one at it.
        None => SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |time| {
                u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
            }),
    }
}

/// Says, once, why nothing happens for some seconds.
pub(super) fn tell_preparing() {
    static TOLD: Once = Once::new();
    TOLD.call_once(|| {
        visible::note("preparing the sandbox for this machine, once; this takes some seconds")
    });
}

/// What is run, with what, gives the identity: the same again has the same random streams, wherever the file is.
fn identity(bundle: &FunctionBundle, call: &Call, items: &Items) -> Result<JobId> {
    let mut hasher = blake3::Hasher::new();
    let mut add = |bytes: &[u8]| {
        hasher
            .update(&(bytes.len() as u64).to_le_bytes())
            .update(bytes);
    };
    add(bundle.entry().module.as_bytes());
    add(bundle
        .entry()
        .function
        .as_deref()
        .unwrap_or_default()
        .as_bytes());
    for file in bundle.files() {
        add(file.module.as_bytes());
        add(&[file.is_package.into()]);
        add(&file.source);
    }
    add(&call.to_bytes().usage("the arguments cannot travel")?);
    add(items.identity().as_bytes());
    Ok(JobId::from_content(&Digest::from_bytes(
        *hasher.finalize().as_bytes(),
    )))
}

/// Tells that the function could not be loaded.
pub(super) fn not_loaded(
    error: &NotLoaded,
    file: &str,
    output: Output,
    printer: &mut dyn Printer,
) -> Result<ExitCode> {
    let (code, text) = load_error(error, file);
    printer.not_loaded(error, code).map_err(closed)?;
    if output == Output::Json {
        visible::note(&visible::text(&text));
    }
    Err(Failure::Told(code))
}

/// Tells how all tasks ended.
pub(super) fn ended(summary: &Summary, printer: &mut dyn Printer) -> Result<ExitCode> {
    printer.end(summary).map_err(closed)?;
    Ok(summary.exit_code())
}
