//! A job at a coordinator: submitted, and watched unless it shall go on by itself.

use ppwasm_client::{ClientError, JobRequest, Order};
use ppwasm_proto::JobId;
use ppwasm_proto::fabric::Priority;
use ppwasm_proto::wire::{ErrorCode, MINOR_WITH_CACHE, MINOR_WITH_VERIFICATION};

use super::{Plan, ended, not_loaded};
use crate::address::Address;
use crate::args::Output;
use crate::commands::job::told_detached;
use crate::config::Config;
use crate::exit_code::ExitCode;
use crate::fabric::{Cluster, runtime};
use crate::failure::{Because, Failure, Result};
use crate::job::{Ending, Job, Running, WindowLimits, closed};
use crate::printer::{NotLoaded, show_loaded};
use crate::units::Percent;

pub(super) fn submit(plan: Plan<'_>, address: Address) -> Result<ExitCode> {
    let args = plan.args;
    let id = match args.job_id {
        // Whoever gives an identity says that it is the same job.
        Some(id) => id,
        None => random()?,
    };
    let request = request(&plan, id);
    let cluster = Cluster::connect_to(address, &args.connection, &Config::load()?)?;
    if args.verify.is_some() && cluster.welcome.minor < MINOR_WITH_VERIFICATION {
        return Err(Failure::usage(
            "--verify: the coordinator is of a version that cannot do this; leave it out, or update the coordinator",
        ));
    }
    if args.cache && cluster.welcome.minor < MINOR_WITH_CACHE {
        return Err(Failure::usage(
            "--cache: the coordinator is of a version that cannot do this; leave it out, or update the coordinator",
        ));
    }
    if args.detach {
        return detach(plan, id, request, &cluster);
    }
    let mut header = plan.header();
    if args.cache {
        header.id = id;
    }
    header.cluster_id = Some(id);
    header.guest = cluster.welcome.guest;
    let progress = plan.progress();
    let mut printer = plan.printer(false, progress.is_shown());
    let (is_script, shows_loading) = (plan.is_script(), plan.shows_loading());
    plan.signals.tasks_run();
    let job = Job {
        id,
        call: plan.call,
        is_script,
        keep_going: args.keep_going,
    };
    let running = Running {
        client: &cluster.client,
        job: &job,
        progress: &progress,
        events: plan.events,
        loaded: Box::new(|output| {
            if shows_loading {
                show_loaded(&output.stdout, &output.stderr);
            }
        }),
        printed: Box::new(|_| ()),
        failed: Box::new(|error| cluster.failure(&error)),
    };
    let ending = runtime()?.block_on(async {
        let submission = cluster.client.submit(request).await;
        let submission = submission.map_err(|error| refused(&cluster, error))?;
        printer.begin(&header).map_err(closed)?;
        let results = cluster.client.results(id, Order::Task).await;
        let results = results.map_err(|error| cluster.failure(&error))?;
        let limits = WindowLimits::None;
        running
            .submit(plan.items, submission, results, limits, printer.as_mut())
            .await
    })?;
    progress.clear();
    match ending {
        Ending::Ran(summary) => ended(&summary, printer.as_mut()),
        Ending::NotLoaded(outcome) => {
            let error = NotLoaded::from(outcome);
            not_loaded(&error, &header.file, args.output, printer.as_mut())
        }
    }
}

fn request(plan: &Plan<'_>, id: JobId) -> JobRequest {
    let args = plan.args;
    let name = match &args.name {
        Some(name) => name.clone(),
        None => args.target.display().to_string(),
    };
    let mut request = plan.request(id).name(&name);
    if args.cache {
        request = request.cache(true);
    }
    // Random streams of tasks that are to be found again follow from each call, and from an identity that was chosen.
    if !args.cache || args.job_id.is_some() {
        request = request.stream(plan.stream);
    }
    if !plan.stdin.is_empty() {
        request = request.stdin(plan.stdin.as_slice());
    }
    if let Some(inputs) = &plan.inputs {
        request = request.inputs(inputs.to_bytes());
    }
    if let Some(priority) = args.priority {
        request = request.priority(Priority(priority));
    }
    if let Some(attempts) = args.attempts {
        request = request.attempts_max(attempts.into());
    }
    if let Some(Percent(percent)) = args.verify {
        request = request.verify_percent(percent.into());
    }
    if let Some(keep) = args.keep_for {
        request = request.keep_for_s(keep.0.as_secs());
    }
    // Who watches finds the first failure in task order and cancels then.
    if args.detach && !args.keep_going {
        request = request.stop_at_failure(true);
    }
    request
}

/// Submits all tasks and leaves.
fn detach(plan: Plan<'_>, id: JobId, request: JobRequest, cluster: &Cluster) -> Result<ExitCode> {
    let output: Output = plan.args.output;
    let job = Job {
        id,
        is_script: plan.is_script(),
        call: plan.call,
        keep_going: plan.args.keep_going,
    };
    let failed = |error| cluster.failure(&error);
    let number = runtime()?.block_on(async {
        let submission = cluster.client.submit(request).await;
        let submission = submission.map_err(|error| refused(cluster, error))?;
        crate::job::submit_all(&job, plan.items, submission, failed).await?;
        let details = cluster.client.job(id).await.map_err(failed)?;
        Ok(details.summary.number)
    })?;
    told_detached(id, number, output)
}

fn refused(cluster: &Cluster, error: ClientError) -> Failure {
    match error {
        ClientError::Refused {
            code: ErrorCode::Conflict,
            ..
        } => Failure::usage(
            "--job-id: a job of this identity is there already, with other sources, arguments, limits or submit time; \
             leave it out, or give --submit-time too when it shall be the same job",
        ),
        error => cluster.failure(&error),
    }
}

fn random() -> Result<JobId> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).machine("the system gives no random bytes")?;
    Ok(JobId::from_bytes(bytes))
}
