//! `ppwasm job`: what became of jobs, and what shall become of them.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use ppwasm_client::{ClientError, JobDetails};
use ppwasm_proto::JobId;
use ppwasm_proto::wire::{JobState, JobSummary, TaskCounts};
use serde::Serialize;

use super::{results, verified};
use crate::args::{self, Common, Output};
use crate::exit_code::ExitCode;
use crate::fabric::{Cluster, runtime};
use crate::failure::{Failure, Result};
use crate::job::closed;
use crate::printer::{NotLoaded, load_error, write_json};
use crate::progress::Progress;
use crate::select::Selector;
use crate::table::{self, Column};
use crate::units::Time;
use crate::visible;

/// The JSON documents' version.
const VERSION: u32 = 1;
/// First pause between two looks at a job; it doubles.
const PAUSE: Duration = Duration::from_millis(50);
/// Longest such pause.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Hex digits of an id in a table.
const ID_DIGITS: usize = 8;

/// Carries the command out.
pub(crate) fn job(args: &args::Job) -> Result<ExitCode> {
    match args {
        args::Job::List(args) => list(args),
        args::Job::Show(args) => show(args),
        args::Job::Wait(args) => wait(args),
        args::Job::Progress(args) => progress(args),
        args::Job::Cancel(args) => each(args, "cancelled", async |cluster: &Cluster, job| {
            cluster.client.cancel(job).await
        }),
        args::Job::Results(args) => results::results(args),
        args::Job::Logs(args) => results::logs(args),
        args::Job::Retry(args) => each(args, "retried", async |cluster: &Cluster, job| {
            cluster.client.retry(job).await
        }),
        args::Job::Forget(args) => each(args, "forgotten", async |cluster: &Cluster, job| {
            cluster.client.forget(job).await
        }),
    }
}

#[derive(Serialize)]
struct Document {
    version: u32,
    jobs: Vec<Shown>,
}

#[derive(Serialize)]
struct Shown {
    id: String,
    number: Option<u64>,
    name: String,
    owner: String,
    function: String,
    state: &'static str,
    priority: i8,
    tasks: Counts,
    age_ms: u64,
    run_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    used_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verification: Option<verified::OfJob>,
}

#[derive(Serialize)]
struct Counts {
    total: u64,
    queued: u64,
    running: u64,
    succeeded: u64,
    raised: u64,
    trapped: u64,
    limit_exceeded: u64,
    cancelled: u64,
    abandoned: u64,
    lost_attempts: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    from_cache: Option<u64>,
}

impl Counts {
    const fn new(counts: &TaskCounts) -> Self {
        Self {
            total: total(counts),
            queued: counts.queued,
            running: counts.leased,
            succeeded: counts.succeeded,
            raised: counts.raised,
            trapped: counts.trapped,
            limit_exceeded: counts.limit_exceeded,
            cancelled: counts.cancelled,
            abandoned: counts.abandoned,
            lost_attempts: counts.lost_attempts,
            from_cache: counts.from_cache,
        }
    }
}

impl Shown {
    fn new(job: &JobSummary, used_us: Option<u64>) -> Self {
        Self {
            id: job.job.to_string(),
            number: job.number,
            name: job.name.as_str().to_owned(),
            owner: job.owner.to_string(),
            function: job.function.to_string(),
            state: state(job.state),
            priority: job.priority.0,
            tasks: Counts::new(&job.counts),
            age_ms: job.age_ms,
            run_ms: job.run_ms,
            used_ms: used_us.map(|used| used / 1000),
            verification: None,
        }
    }

    fn in_detail(job: &JobDetails) -> Self {
        Self {
            verification: job.verification.as_ref().map(verified::OfJob::new),
            ..Self::new(&job.summary, Some(job.used_us))
        }
    }
}

const fn state(state: JobState) -> &'static str {
    match state {
        JobState::Open => "open",
        JobState::Closed => "running",
        JobState::Cancelling => "cancelling",
        JobState::Ended => "ended",
        JobState::Cancelled => "cancelled",
        JobState::FunctionInvalid => "not_loaded",
    }
}

const fn is_over(state: JobState) -> bool {
    matches!(
        state,
        JobState::Ended | JobState::Cancelled | JobState::FunctionInvalid
    )
}

const fn ended(counts: &TaskCounts) -> u64 {
    counts.succeeded + failed(counts) + counts.cancelled
}

const fn failed(counts: &TaskCounts) -> u64 {
    counts.raised + counts.trapped + counts.limit_exceeded + counts.abandoned
}

/// All tasks that there are so far.
pub(super) const fn total(counts: &TaskCounts) -> u64 {
    counts.queued + counts.leased + ended(counts)
}

fn print_json(value: &impl Serialize) -> Result<()> {
    let mut out = io::stdout().lock();
    let printed = write_json(&mut out, value).and_then(|()| writeln!(out));
    printed.and_then(|()| out.flush()).map_err(closed)
}

fn age(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

fn list(args: &args::JobList) -> Result<ExitCode> {
    let cluster = Cluster::connect(&args.common.connection)?;
    let (jobs, has_more) = runtime()?.block_on(async {
        let mut jobs = Vec::new();
        let mut after = None;
        loop {
            let page = cluster.client.jobs(after, args.live).await;
            let page = page.map_err(|error| cluster.failure(&error))?;
            jobs.extend(page.jobs);
            after = jobs.last().map(|job| job.job);
            if jobs.len() >= args.limit || !page.has_more {
                let has_more = page.has_more || jobs.len() > args.limit;
                jobs.truncate(args.limit);
                return Ok((jobs, has_more));
            }
        }
    })?;
    match args.common.output {
        Output::Json => print_json(&Document {
            version: VERSION,
            jobs: jobs.iter().map(|job| Shown::new(job, None)).collect(),
        })?,
        Output::Human => {
            print_jobs(&jobs)?;
            if has_more {
                visible::note("there are more; --limit N shows them");
            }
        }
    }
    Ok(ExitCode::Succeeded)
}

fn print_jobs(jobs: &[JobSummary]) -> Result<()> {
    let columns = [
        Column::Right("JOB"),
        Column::Cut("NAME"),
        Column::Left("STATE"),
        Column::Right("ENDED"),
        Column::Right("TASKS"),
        Column::Right("FAILED"),
        Column::Right("AGE"),
        Column::Left("ID"),
    ];
    let rows: Vec<_> = jobs
        .iter()
        .map(|job| {
            let id = job.job.to_string();
            vec![
                job.number.map_or_else(String::new, |n| n.to_string()),
                job.name.as_str().to_owned(),
                state(job.state).to_owned(),
                ended(&job.counts).to_string(),
                total(&job.counts).to_string(),
                failed(&job.counts).to_string(),
                age(job.age_ms),
                id.get(..ID_DIGITS).unwrap_or(&id).to_owned(),
            ]
        })
        .collect();
    let mut out = io::stdout().lock();
    let printed = table::print(&mut out, &columns, &rows);
    printed.and_then(|()| out.flush()).map_err(closed)
}

/// The jobs that are meant, each once, newest first.
async fn selected(cluster: &Cluster, selectors: &[Selector]) -> Result<Vec<JobSummary>> {
    let mut found = BTreeMap::new();
    for selector in selectors {
        let jobs = selector
            .jobs(&cluster.client, |error| cluster.failure(error))
            .await?;
        for job in jobs {
            found.insert(std::cmp::Reverse((job.number, job.job)), job);
        }
    }
    Ok(found.into_values().collect())
}

fn show(args: &args::Jobs) -> Result<ExitCode> {
    let cluster = Cluster::connect(&args.common.connection)?;
    let details = runtime()?.block_on(async {
        let mut details = Vec::new();
        for job in selected(&cluster, &args.jobs).await? {
            let job = cluster.client.job(job.job).await;
            details.push(job.map_err(|error| cluster.failure(&error))?);
        }
        Ok(details)
    })?;
    match args.common.output {
        Output::Json => print_json(&Document {
            version: VERSION,
            jobs: details.iter().map(Shown::in_detail).collect(),
        })?,
        Output::Human => {
            let mut out = io::stdout().lock();
            let printed = details.iter().try_for_each(|job| describe(&mut out, job));
            printed.and_then(|()| out.flush()).map_err(closed)?;
        }
    }
    Ok(ExitCode::Succeeded)
}

fn describe(out: &mut impl Write, job: &JobDetails) -> io::Result<()> {
    let summary = &job.summary;
    let counts = &summary.counts;
    let number = summary.number.map_or_else(String::new, |n| n.to_string());
    let time = |ms: u64| Time(Duration::from_millis(ms)).to_string();
    let tasks = [
        (counts.queued, "queued"),
        (counts.leased, "running"),
        (counts.succeeded, "succeeded"),
        (counts.raised, "raised an exception"),
        (counts.limit_exceeded, "went past a limit"),
        (counts.trapped, "stopped"),
        (counts.abandoned, "could not be run"),
        (counts.cancelled, "cancelled"),
    ];
    let tasks: Vec<_> = tasks
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    let mut lines = vec![
        ("job", number),
        ("id", summary.job.to_string()),
        ("name", summary.name.as_str().to_owned()),
        ("owner", summary.owner.to_string()),
        ("state", state(summary.state).to_owned()),
        (
            "tasks",
            format!("{} ({})", total(counts), tasks.join(", ")).replace(" ()", ""),
        ),
        ("lost attempts", counts.lost_attempts.to_string()),
        ("priority", summary.priority.0.to_string()),
        ("function", summary.function.to_string()),
        ("age", age(summary.age_ms)),
        ("tasks ran for", time(job.used_us / 1000)),
    ];
    if let Some(ms) = summary.run_ms {
        lines.push(("took", time(ms)));
    }
    if let Some(count) = counts.from_cache {
        let told = format!("{count} of the tasks, which did not run");
        lines.push(("from the cache", told));
    }
    if let Some(verification) = &job.verification {
        let told = verified::lines(verification).into_iter();
        lines.extend(told.map(|line| ("verified", line)));
    }
    if let Some(outcome) = &job.load_failure {
        let error = NotLoaded::from(outcome.clone());
        lines.push(("not loaded", load_error(&error, summary.name.as_str()).1));
    }
    for (name, value) in lines {
        writeln!(out, "{name:<15} {}", visible::line(&value))?;
    }
    writeln!(out)
}

/// Looks at a job until it has ended or the time is over.
async fn until_over(
    cluster: &Cluster,
    job: JobId,
    deadline: Option<Instant>,
    mut look: impl FnMut(&JobSummary),
) -> Result<JobSummary> {
    let mut pause = PAUSE;
    loop {
        let details = cluster.client.job(job).await;
        let summary = details.map_err(|error| cluster.failure(&error))?.summary;
        look(&summary);
        if is_over(summary.state) {
            return Ok(summary);
        }
        let now = Instant::now();
        if deadline.is_some_and(|deadline| now >= deadline) {
            return Err(Failure::cluster(
                "the time is over, and not all jobs have ended",
            ));
        }
        let left = deadline.map(|deadline| deadline - now);
        tokio::time::sleep(left.map_or(pause, |left| left.min(pause))).await;
        pause = pause.saturating_mul(2).min(PAUSE_MAX);
    }
}

fn wait(args: &args::JobWait) -> Result<ExitCode> {
    let cluster = Cluster::connect(&args.common.connection)?;
    let deadline = args.timeout.map(|Time(time)| Instant::now() + time);
    let jobs = runtime()?.block_on(async {
        let mut over = Vec::new();
        for job in selected(&cluster, &args.jobs).await? {
            over.push(until_over(&cluster, job.job, deadline, |_| ()).await?);
        }
        Ok(over)
    })?;
    told(&jobs, &args.common)
}

/// Tells how jobs ended; the first one that did not succeed gives the code.
fn told(jobs: &[JobSummary], common: &Common) -> Result<ExitCode> {
    match common.output {
        Output::Json => print_json(&Document {
            version: VERSION,
            jobs: jobs.iter().map(|job| Shown::new(job, None)).collect(),
        })?,
        Output::Human => print_jobs(jobs)?,
    }
    let failed = jobs
        .iter()
        .map(code)
        .find(|code| *code != ExitCode::Succeeded);
    Ok(failed.unwrap_or(ExitCode::Succeeded))
}

/// What a job's end means when the order of its tasks is not known.
const fn code(job: &JobSummary) -> ExitCode {
    let counts = &job.counts;
    match job.state {
        JobState::FunctionInvalid => ExitCode::Raised,
        _ if counts.raised > 0 => ExitCode::Raised,
        _ if counts.limit_exceeded > 0 => ExitCode::LimitExceeded,
        _ if counts.trapped > 0 => ExitCode::Trapped,
        _ if counts.abandoned > 0 => ExitCode::Machine,
        JobState::Cancelled => ExitCode::Cluster,
        _ => ExitCode::Succeeded,
    }
}

fn progress(args: &args::Jobs) -> Result<ExitCode> {
    let cluster = Cluster::connect(&args.common.connection)?;
    let jobs = runtime()?.block_on(async {
        let mut over = Vec::new();
        for job in selected(&cluster, &args.jobs).await? {
            let name = job
                .number
                .map_or_else(|| job.job.to_string(), |n| n.to_string());
            let bar = match args.common.output {
                Output::Human => Progress::new(Some(total(&job.counts))),
                Output::Json => Progress::hidden(),
            };
            let is_told = args.common.output == Output::Human && !io::stderr().is_terminal();
            let mut last = None;
            let look = |job: &JobSummary| {
                let counts = (ended(&job.counts), total(&job.counts), failed(&job.counts));
                bar.is_at(counts.0, counts.1);
                if is_told && last != Some(counts) {
                    last = Some(counts);
                    let (ended, total, failed) = counts;
                    visible::note(&format!(
                        "job {name}: {ended} of {total} tasks, {failed} failed"
                    ));
                }
            };
            let summary = until_over(&cluster, job.job, None, look).await;
            bar.clear();
            over.push(summary?);
        }
        Ok(over)
    })?;
    told(&jobs, &args.common)
}

#[derive(Serialize)]
struct Done {
    version: u32,
    done: &'static str,
    jobs: Vec<JobName>,
}

/// Does something with each job.
fn each(
    args: &args::Jobs,
    done: &'static str,
    work: impl AsyncFn(&Cluster, JobId) -> Result<(), ClientError>,
) -> Result<ExitCode> {
    let cluster = Cluster::connect(&args.common.connection)?;
    let is_many = args.jobs.contains(&Selector::All) || args.jobs.len() > 1;
    let mut names = Vec::new();
    let mut refused = None;
    runtime()?.block_on(async {
        for job in selected(&cluster, &args.jobs).await? {
            let name = JobName {
                id: job.job.to_string(),
                number: job.number,
            };
            match work(&cluster, job.job).await {
                Ok(()) => names.push(name),
                // One that is not as it has to be does not stand in the way of the others.
                Err(ClientError::Refused { reason, .. }) => {
                    let what = format!("job {name}: {reason}");
                    if is_many {
                        visible::note(&format!("{}; left as it is", visible::line(&what)));
                    } else {
                        refused = Some(what);
                    }
                }
                Err(error) => return Err(cluster.failure(&error)),
            }
        }
        Ok(())
    })?;
    if let Some(refused) = refused {
        return Err(Failure::usage(refused));
    }
    match args.common.output {
        Output::Json => {
            let version = VERSION;
            let jobs = names;
            print_json(&Done {
                version,
                done,
                jobs,
            })?;
        }
        Output::Human => {
            for name in names {
                visible::note(&format!("job {name} {done}"));
            }
        }
    }
    Ok(ExitCode::Succeeded)
}

#[derive(Serialize)]
struct Detached {
    version: u32,
    job: JobName,
}

#[derive(Serialize)]
struct JobName {
    id: String,
    number: Option<u64>,
}

impl std::fmt::Display for JobName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.number {
            Some(number) => number.fmt(f),
            None => self.id.fmt(f),
        }
    }
}

/// Tells of a job that goes on by itself.
pub(crate) fn told_detached(id: JobId, number: Option<u64>, output: Output) -> Result<ExitCode> {
    let id = id.to_string();
    let job = JobName { id, number };
    match output {
        Output::Human => {
            visible::note(&format!(
                "submitted as job {job}: `ppwasm job wait {job}` waits for it, `ppwasm job results {job}` prints its results"
            ));
            let mut out = io::stdout().lock();
            let printed = writeln!(out, "{}", job.id).and_then(|()| out.flush());
            printed.map_err(closed)?;
        }
        Output::Json => {
            let version = VERSION;
            print_json(&Detached { version, job })?;
        }
    }
    Ok(ExitCode::Succeeded)
}
