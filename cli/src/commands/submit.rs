//! `ppwasm submit`: everything is read and checked, then the host is made, then tasks run.

use std::sync::Once;
use std::sync::mpsc::sync_channel;
use std::time::{SystemTime, UNIX_EPOCH};

use ppwasm_host::wasi::Stream;
use ppwasm_host::{Function, Host, LoadError, TimeSource};
use ppwasm_proto::{Call, Digest, FunctionBundle, JobId};

use crate::args::{Output, Submit};
use crate::bundle::{self, Target};
use crate::exit_code::ExitCode;
use crate::failure::{Because, Failure, Result, chain};
use crate::items::{self, Items};
use crate::job::{EVENTS_MAX, Job, Running, closed};
use crate::printer::{Header, Human, HumanStyle, Json, Printer, live_sink, load_error};
use crate::progress::Progress;
use crate::signals::Signals;
use crate::units::Moment;
use crate::{inputs, settings, values, visible};

/// Runs the job.
pub(crate) fn submit(args: &Submit) -> Result<ExitCode> {
    let target = Target::parse(&args.target)?;
    let is_script = target.function.is_none();
    let limits = settings::limits(args)?;
    items::check_stdin(args)?;
    let call = values::call(&args.args, args.kwargs.as_deref(), is_script)?;
    let bundle = bundle::collect(&target, &args.modules)?;
    let inputs = inputs::read(&args.inputs)?;
    let (sender, events) = sync_channel(EVENTS_MAX);
    let items = Items::new(args, is_script, &sender)?;
    let stdin = inputs::stdin(args.stdin.as_deref())?;
    let submit_time_ms = (!args.real_time).then(|| submit_time_ms(args.submit_time));

    let signals = Signals::listen(sender.clone())?;
    let host = host(args)?;
    let id = match args.job_id {
        Some(id) => id,
        None => identity(&bundle, &call, &items)?,
    };
    let header = header(&target, &bundle, &host, id, submit_time_ms, limits);
    let is_one = items.is_one();
    let progress = if args.quiet || is_one {
        Progress::hidden()
    } else {
        Progress::new(items.total())
    };
    let mut printer = printer(args, is_one, is_script, progress.is_shown());
    printer.begin(&header).map_err(closed)?;
    let function = match host.load(&bundle) {
        Ok(function) => function,
        Err(error) => return not_loaded(&error, &header, args, printer.as_mut(), &progress),
    };
    show_load_output(args, &function, is_script);

    let job = Job {
        id,
        call,
        limits,
        time: submit_time_ms.map_or(TimeSource::Real, |start_ms| TimeSource::Deterministic {
            start_ns: start_ms.saturating_mul(1_000_000),
        }),
        stdin,
        inputs,
        is_script,
        keep_going: args.keep_going,
    };
    let is_live = is_one && args.output == Output::Human && (is_script || !args.quiet);
    let sink = is_live.then(|| live_sink(is_script, sender.clone()));
    signals.tasks_run();
    let running = Running::new(
        &host,
        &function,
        &job,
        items,
        (sender, events),
        &progress,
        sink,
    );
    let summary = running.run(printer.as_mut())?;
    progress.clear();
    printer.end(&summary).map_err(closed)?;
    Ok(summary.exit_code())
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

fn host(args: &Submit) -> Result<Host> {
    let is_quiet = args.quiet;
    let mut builder = Host::builder().on_progress(move |_| {
        if !is_quiet {
            tell_preparing();
        }
    });
    if let Some(slots) = args.slots {
        builder = builder.slots(slots.into());
    }
    let host = builder.build().machine("could not prepare the sandbox")?;
    if let (Some(trouble), false) = (host.cache_trouble(), args.quiet) {
        let trouble = chain(trouble);
        visible::note(&format!(
            "warning: every run has to prepare the sandbox anew: {}",
            visible::line(&trouble)
        ));
    }
    Ok(host)
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

fn header(
    target: &Target,
    bundle: &FunctionBundle,
    host: &Host,
    id: JobId,
    submit_time_ms: Option<u64>,
    limits: ppwasm_proto::Limits,
) -> Header {
    Header {
        id,
        file: target.file.display().to_string(),
        function: target.function.clone(),
        bundle: bundle.digest(),
        guest: host.guest_digest(),
        python: host.python_version().to_owned(),
        slots: host.slots(),
        submit_time_ms,
        limits,
    }
}

fn printer(args: &Submit, is_one: bool, is_script: bool, tells_success: bool) -> Box<dyn Printer> {
    match args.output {
        Output::Json => Box::new(Json::new(is_script)),
        Output::Human => Box::new(Human::new(&HumanStyle {
            is_one,
            is_script,
            is_quiet: args.quiet,
            keep_going: args.keep_going,
            tells_success,
        })),
    }
}

fn not_loaded(
    error: &LoadError,
    header: &Header,
    args: &Submit,
    printer: &mut dyn Printer,
    progress: &Progress,
) -> Result<ExitCode> {
    progress.clear();
    let (code, text) = load_error(error, &header.file);
    printer.not_loaded(error, code).map_err(closed)?;
    if args.output == Output::Json {
        visible::note(&visible::text(&text));
    }
    Err(Failure::Told(code))
}

/// What importing the module printed.
fn show_load_output(args: &Submit, function: &Function, is_script: bool) {
    if args.quiet || is_script {
        return;
    }
    let output = function.load_output();
    let mut sink = live_sink(false, sync_channel(1).0);
    for (stream, bytes) in [
        (Stream::Stdout, &output.stdout),
        (Stream::Stderr, &output.stderr),
    ] {
        sink(stream, bytes);
    }
}
