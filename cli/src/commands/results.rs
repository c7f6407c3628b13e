//! `ppwasm job results` and `logs`: what the tasks of a job gave and wrote.

use std::io::{self, Write};

use ppwasm_client::{JobDetails, Order};
use ppwasm_proto::wire::TimeSource;
use ppwasm_proto::{Call, FunctionBundle, TaskId};
use tokio::sync::mpsc;

use super::job::total;
use super::submit::{ended, not_loaded};
use crate::args::{self, Output};
use crate::exit_code::ExitCode;
use crate::fabric::{Cluster, runtime};
use crate::failure::{Because, Result};
use crate::job::{EVENTS_MAX, Ending, Job, Running, closed};
use crate::printer::{
    Header, Human, HumanStyle, Json, NotLoaded, Printer, show_loaded, write_json,
};
use crate::progress::Progress;
use crate::visible::{self, Copier};

/// The JSON lines' version.
const VERSION: u32 = 1;

/// Prints a job's results as `submit` would have.
pub(super) fn results(args: &args::JobResults) -> Result<ExitCode> {
    let cluster = Cluster::connect(&args.common.connection)?;
    let runtime = runtime()?;
    let (details, bundle) = runtime.block_on(async {
        let failed = |error: &_| cluster.failure(error);
        let job = args.job.job(&cluster.client, failed).await?;
        let details = cluster.client.job(job.job).await;
        let details = details.map_err(|error| failed(&error))?;
        let bundle = cluster.client.bundle(job.function).await;
        let bundle = bundle.map_err(|error| failed(&error))?;
        Ok((details, bundle))
    })?;
    let bundle =
        FunctionBundle::from_bytes(&bundle).machine("the job's function cannot be read")?;
    let header = header(&details, &bundle, &cluster);
    let is_script = header.function.is_none();
    let tasks = total(&details.summary.counts);
    let output = args.common.output;
    let mut printer: Box<dyn Printer> = match output {
        Output::Json => Box::new(Json::new(is_script)),
        Output::Human => Box::new(Human::new(&HumanStyle {
            is_one: tasks == 1,
            is_live: false,
            is_script,
            is_quiet: args.quiet,
            keep_going: args.keep_going,
            tells_success: false,
        })),
    };
    printer.begin(&header).map_err(closed)?;
    let progress = Progress::hidden();
    // It is printed, not run: a failure of it cancels nothing.
    let job = Job {
        id: details.summary.job,
        call: Call::new(),
        is_script,
        keep_going: true,
    };
    let running = Running {
        client: &cluster.client,
        job: &job,
        progress: &progress,
        events: mpsc::channel(EVENTS_MAX).1,
        loaded: Box::new(|output| {
            if !args.quiet && !is_script {
                show_loaded(&output.stdout, &output.stderr);
            }
        }),
        printed: Box::new(|_| ()),
        failed: Box::new(|error| cluster.failure(&error)),
    };
    let ending = runtime.block_on(async {
        let results = cluster.client.results(job.id, Order::Task).await;
        let results = results.map_err(|error| cluster.failure(&error))?;
        running.watch(results, printer.as_mut()).await
    })?;
    match ending {
        Ending::Ran(summary) => ended(&summary, printer.as_mut()),
        Ending::NotLoaded(outcome) => {
            let error = NotLoaded::from(outcome);
            not_loaded(&error, &header.file, output, printer.as_mut())
        }
    }
}

fn header(details: &JobDetails, bundle: &FunctionBundle, cluster: &Cluster) -> Header {
    let entry = bundle.entry();
    let of_entry = bundle
        .files()
        .iter()
        .find(|file| file.module == entry.module);
    let file = of_entry.map_or_else(|| entry.module.clone(), |file| file.path.clone());
    Header {
        id: details.stream,
        cluster_id: Some(details.summary.job),
        file,
        function: entry.function.clone(),
        bundle: details.summary.function,
        guest: cluster.welcome.guest,
        python: None,
        slots: None,
        submit_time_ms: match details.time {
            Some(TimeSource::Deterministic { start_ns }) => Some(start_ns / 1_000_000),
            Some(TimeSource::Real {}) | None => None,
        },
        limits: details.limits,
    }
}

/// Prints what tasks wrote.
pub(super) fn logs(args: &args::JobLogs) -> Result<ExitCode> {
    let cluster = Cluster::connect(&args.common.connection)?;
    let failed = |error: &_| cluster.failure(error);
    let output = args.common.output;
    runtime()?.block_on(async {
        let job = args.job.job(&cluster.client, failed).await?;
        if let Some(task) = args.task {
            let details = cluster.client.task(job.job, TaskId(task)).await;
            match details.map_err(|error| failed(&error))?.result {
                Some(result) => return log(task, &result.stdout, &result.stderr, output, true),
                None => visible::note(&format!("task {task} has not ended")),
            }
            return Ok(());
        }
        let results = cluster.client.results(job.job, Order::Task).await;
        let mut results = results.map_err(|error| failed(&error))?;
        while let Some(result) = results.next().await.map_err(|error| failed(&error))? {
            let task = result.task.0;
            log(task, &result.stdout, &result.stderr, output, false)?;
        }
        Ok(())
    })?;
    Ok(ExitCode::Succeeded)
}

#[derive(serde::Serialize)]
struct Log {
    version: u32,
    task: u64,
    stdout: serde_json::Value,
    stderr: serde_json::Value,
}

/// What one task wrote: whole, or each line with the task's number before it, or a JSON document on a line.
fn log(task: u64, stdout: &[u8], stderr: &[u8], output: Output, is_one: bool) -> Result<()> {
    if output == Output::Json {
        let log = Log {
            version: VERSION,
            task,
            stdout: crate::printer::output_json(stdout),
            stderr: crate::printer::output_json(stderr),
        };
        let mut out = io::stdout().lock();
        let printed = write_json(&mut out, &log).and_then(|()| writeln!(out));
        return printed.and_then(|()| out.flush()).map_err(closed);
    }
    let mut out = Copier::new(io::stdout());
    let mut printed = Ok(());
    for bytes in [stdout, stderr] {
        if is_one {
            printed = printed.and_then(|()| out.copy(bytes));
            continue;
        }
        let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        for line in bytes
            .split(|byte| *byte == b'\n')
            .filter(|_| !bytes.is_empty())
        {
            let line = [format!("task {task}: ").as_bytes(), line, b"\n"].concat();
            printed = printed.and_then(|()| out.copy(&line));
        }
    }
    printed
        .and_then(|()| out.end())
        .and_then(|()| out.flush())
        .map_err(closed)
}
