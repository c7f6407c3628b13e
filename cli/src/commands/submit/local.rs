//! A job on this machine: coordinator, worker and client in this process.

use std::cell::RefCell;
use std::sync::Arc;

use ppwasm_client::Order;
use ppwasm_host::Host;
use ppwasm_worker::Prepared;

use super::{Plan, ended, not_loaded, tell_preparing};
use crate::args::{Output, Submit};
use crate::exit_code::ExitCode;
use crate::fabric::{Local, runtime};
use crate::failure::{Because, Result, chain};
use crate::job::{Ending, Event, Job, Running, WindowLimits, closed};
use crate::printer::{live_sink, show_loaded};
use crate::visible;

pub(super) fn submit(plan: Plan<'_>) -> Result<ExitCode> {
    let args = plan.args;
    let host = Arc::new(host(args)?);
    let is_script = plan.is_script();
    let is_live = plan.items.is_one() && args.output == Output::Human && (is_script || !args.quiet);
    let mut header = plan.header();
    header.guest = Some(host.guest_digest());
    header.python = Some(host.python_version().to_owned());
    header.slots = Some(host.slots());
    let progress = plan.progress();
    let mut printer = plan.printer(is_live || plan.items.is_one(), progress.is_shown());
    printer.begin(&header).map_err(closed)?;
    let function = match host.load(&plan.bundle) {
        Ok(function) => function,
        Err(error) => {
            progress.clear();
            return not_loaded(&error.into(), &header.file, args.output, printer.as_mut());
        }
    };
    if plan.shows_loading() {
        let output = function.load_output();
        show_loaded(&output.stdout, &output.stderr);
    }

    let slots = host.slots() as u64;
    let request = plan.request(plan.stream).attempts_max(1);
    let sender = plan.sender;
    let prepared = Prepared {
        stdin: plan.stdin,
        inputs: plan.inputs,
        output: is_live.then(|| {
            let sender = sender.clone();
            Box::new(move |_| Some(live_sink(is_script, sender.clone()))) as _
        }),
        failure: Some(Box::new(move |error| {
            // One is enough to know.
            let _ = sender.try_send(Event::MachineFailed(chain(error)));
        })),
        ..Prepared::default()
    };
    let local = Local::start(host, function, prepared)?;
    plan.signals.tasks_run();
    let job = Job {
        id: plan.stream,
        call: plan.call,
        is_script,
        keep_going: args.keep_going,
    };
    let local = RefCell::new(local);
    let client = Arc::clone(&local.borrow().client);
    let running = Running {
        client: &client,
        job: &job,
        progress: &progress,
        events: plan.events,
        loaded: Box::new(|_| ()),
        printed: Box::new(|below| local.borrow_mut().printed(job.id, below)),
        failed: Box::new(|error| Local::failure(&error)),
    };
    let ending = runtime()?.block_on(async {
        let failed = |error| Local::failure(&error);
        let submission = client.submit(request).await.map_err(failed)?;
        let results = client.results(job.id, Order::Task).await.map_err(failed)?;
        let limits = WindowLimits::Memory { slots };
        running
            .submit(plan.items, submission, results, limits, printer.as_mut())
            .await
    })?;
    progress.clear();
    match ending {
        Ending::Ran(summary) => ended(&summary, printer.as_mut()),
        Ending::NotLoaded(outcome) => {
            let error = crate::printer::NotLoaded::from(outcome);
            not_loaded(&error, &header.file, args.output, printer.as_mut())
        }
    }
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
