//! What is asked about tasks, workers and functions: `ppwasm task`, `function list`, and `worker` but for `start`.

use std::io::{self, Write};

use ppwasm_client::TaskDetails;
use ppwasm_proto::TaskId;
use ppwasm_proto::fabric::WorkerId;
use ppwasm_proto::wire::{FunctionSummary, Ranged, TaskExplained, WorkerState, WorkerSummary};
use serde::Serialize;

use super::verified;
use crate::args::{self, Output};
use crate::exit_code::ExitCode;
use crate::fabric::{Cluster, runtime};
use crate::failure::Result;
use crate::job::{Ended, closed};
use crate::printer::{FromCache, ending_json, fault, from_cache_lines, output_json, write_json};
use crate::table::{self, Column};
use crate::visible;

/// The JSON documents' version.
const VERSION: u32 = 1;
/// Hex digits of a digest in a table.
const DIGEST_DIGITS: usize = 12;

fn json(value: &impl Serialize) -> Result<ExitCode> {
    print(|out| write_json(&mut *out, value).and_then(|()| writeln!(out)))
}

fn print(write: impl FnOnce(&mut io::StdoutLock<'_>) -> io::Result<()>) -> Result<ExitCode> {
    let mut out = io::stdout().lock();
    let printed = write(&mut out).and_then(|()| out.flush());
    printed.map_err(closed)?;
    Ok(ExitCode::Succeeded)
}

/// `ppwasm task`.
pub(super) fn task(args: &args::Task) -> Result<ExitCode> {
    match args {
        args::Task::Explain(args) => explain(args),
        args::Task::Show(args) => show(args),
    }
}

#[derive(Serialize)]
struct Explained {
    version: u32,
    task: u64,
    state: String,
    attempts: u32,
    reasons: Vec<Reason>,
}

#[derive(Serialize)]
struct Reason {
    worker: Option<String>,
    text: String,
    score: Option<i64>,
}

fn explain(args: &args::TaskOf) -> Result<ExitCode> {
    let cluster = Cluster::connect(&args.common.connection)?;
    let failed = |error: &_| cluster.failure(error);
    let explained: TaskExplained = runtime()?.block_on(async {
        let job = args.job.job(&cluster.client, failed).await?;
        let explained = cluster.client.explain(job.job, TaskId(args.task)).await;
        explained.map_err(|error| failed(&error))
    })?;
    if args.common.output == Output::Json {
        let reasons = explained.reasons.into_iter().map(|reason| Reason {
            worker: reason.worker.map(|worker| worker.to_string()),
            text: reason.text.into_string(),
            score: reason.score,
        });
        return json(&Explained {
            version: VERSION,
            task: args.task,
            state: explained.state.into_string(),
            attempts: explained.attempts,
            reasons: reasons.collect(),
        });
    }
    print(|out| {
        let state = visible::line(explained.state.as_str()).into_owned();
        let attempts = explained.attempts;
        writeln!(out, "task {}: {state} (attempts: {attempts})", args.task)?;
        for reason in &explained.reasons {
            let text = visible::line(reason.text.as_str());
            match &reason.worker {
                Some(worker) => writeln!(out, "  {worker}: {text}")?,
                None => writeln!(out, "  {text}")?,
            }
        }
        Ok(())
    })
}

#[derive(Serialize)]
struct TaskShown {
    version: u32,
    task: u64,
    attempts: u32,
    worker: Option<String>,
    result: Option<serde_json::Value>,
    stdout: Option<serde_json::Value>,
    stderr: Option<serde_json::Value>,
    wall_time_ms: Option<f64>,
    memory_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verification: Option<verified::OfTask>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from_cache: Option<FromCache>,
}

fn show(args: &args::TaskOf) -> Result<ExitCode> {
    let cluster = Cluster::connect(&args.common.connection)?;
    let failed = |error: &_| cluster.failure(error);
    let TaskDetails { result, attempts } = runtime()?.block_on(async {
        let job = args.job.job(&cluster.client, failed).await?;
        let task = cluster.client.task(job.job, TaskId(args.task)).await;
        task.map_err(|error| failed(&error))
    })?;
    let worker = result
        .as_ref()
        .and_then(|result| result.worker.as_ref())
        .map(ToString::to_string);
    let verification = (result.as_ref()).and_then(|result| result.verification.clone());
    let ended = result.map(Ended::new);
    let ran = ended.as_ref().and_then(|ended| ended.result.as_ref().ok());
    let origin = ended.as_ref().and_then(|ended| ended.origin.as_deref());
    if args.common.output == Output::Json {
        return json(&TaskShown {
            version: VERSION,
            task: args.task,
            attempts,
            worker,
            result: ended.as_ref().map(ending_json),
            stdout: ran.map(|ran| output_json(&ran.stdout)),
            stderr: ran.map(|ran| output_json(&ran.stderr)),
            wall_time_ms: ran.map(|ran| ran.wall_time.as_secs_f64() * 1e3),
            memory_bytes: ran.map(|ran| ran.memory_bytes),
            verification: verification.as_ref().map(verified::OfTask::new),
            from_cache: origin.map(FromCache::new),
        });
    }
    print(|out| {
        let task = args.task;
        let (Some(ended), Some(ran)) = (&ended, ran) else {
            return writeln!(
                out,
                "task {task} has not ended; `ppwasm task explain {} {task}` says why",
                args.job
            );
        };
        let how = match (&ran.outcome, &ended.value) {
            (ppwasm_proto::Outcome::Raised(exception), _) => exception.traceback.trim_end().into(),
            (_, Some(value)) => value.to_python_repr(),
            (outcome, None) => fault(outcome).unwrap_or_else(|| "was cancelled".into()),
        };
        writeln!(out, "{:<10} {task}", "task")?;
        writeln!(out, "{:<10} {attempts}", "attempts")?;
        writeln!(out, "{:<10} {}", "worker", worker.as_deref().unwrap_or("-"))?;
        writeln!(out, "{:<10} {:?}", "took", ran.wall_time)?;
        for line in origin.into_iter().flat_map(from_cache_lines) {
            writeln!(out, "{:<10} {}", "from cache", visible::line(&line))?;
        }
        for line in verification.iter().flat_map(verified::task_lines) {
            writeln!(out, "{:<10} {}", "verified", visible::line(&line))?;
        }
        writeln!(out, "result:\n{}", visible::text(&how))?;
        for (name, bytes) in [("output", &ran.stdout), ("errors", &ran.stderr)] {
            if !bytes.is_empty() {
                let text = String::from_utf8_lossy(bytes);
                writeln!(out, "{name}:\n{}", visible::text(text.trim_end()))?;
            }
        }
        Ok(())
    })
}

#[derive(Serialize)]
struct Workers {
    version: u32,
    workers: Vec<Worker>,
}

#[derive(Serialize)]
struct Worker {
    name: String,
    state: &'static str,
    target: String,
    cpu_profile: String,
    slots: u64,
    leases: u64,
    speed_permille: Option<u64>,
    tasks_ended: u64,
    silent_ms: u64,
    label: Option<String>,
    build: Option<String>,
    contradicted: u64,
}

const fn worker_state(state: WorkerState) -> &'static str {
    match state {
        WorkerState::Serving => "serving",
        WorkerState::Draining => "draining",
        WorkerState::Distrusted => "distrusted",
        WorkerState::Away => "away",
    }
}

/// `ppwasm worker list`.
pub(super) fn workers(args: &args::List) -> Result<ExitCode> {
    let cluster = Cluster::connect(&args.common.connection)?;
    let workers = runtime()?.block_on(async {
        let mut all: Vec<WorkerSummary> = Vec::new();
        loop {
            let after = all.last().map(|worker| worker.name.clone());
            let page = cluster.client.workers(after).await;
            let page = page.map_err(|error| cluster.failure(&error))?;
            all.extend(page.workers);
            if !page.has_more {
                return Ok(all);
            }
        }
    })?;
    if args.common.output == Output::Json {
        let text = |text: &str| text.to_owned();
        let workers = workers.iter().map(|worker| Worker {
            name: worker.name.to_string(),
            state: worker_state(worker.state),
            target: text(&worker.target),
            cpu_profile: text(&worker.cpu_profile),
            slots: worker.slots,
            leases: worker.leases,
            speed_permille: worker.speed_permille,
            tasks_ended: worker.tasks_ended,
            silent_ms: worker.silent_ms,
            label: worker.label.as_deref().map(text),
            build: worker.build.as_deref().map(text),
            contradicted: worker.contradicted.unwrap_or(0),
        });
        return json(&Workers {
            version: VERSION,
            workers: workers.collect(),
        });
    }
    let columns = [
        Column::Cut("WORKER"),
        Column::Left("STATE"),
        Column::Right("SLOTS"),
        Column::Right("HOLDS"),
        Column::Right("ENDED"),
        Column::Right("SPEED"),
        Column::Right("WRONG"),
        Column::Cut("TARGET"),
    ];
    let rows = workers.iter().map(|worker| {
        let speed = worker.speed_permille;
        vec![
            worker.name.to_string(),
            worker_state(worker.state).to_owned(),
            worker.slots.to_string(),
            worker.leases.to_string(),
            worker.tasks_ended.to_string(),
            speed.map_or_else(|| "-".into(), |speed| format!("{:.2}", speed as f64 / 1e3)),
            worker.contradicted.unwrap_or(0).to_string(),
            format!("{} {}", &*worker.target, &*worker.cpu_profile),
        ]
    });
    let rows: Vec<_> = rows.collect();
    print(|out| table::print(out, &columns, &rows))
}

#[derive(Serialize)]
struct Told {
    version: u32,
    worker: String,
    done: &'static str,
}

fn told(worker: &WorkerId, done: &'static str, output: Output) -> Result<ExitCode> {
    match output {
        Output::Json => json(&Told {
            version: VERSION,
            worker: worker.to_string(),
            done,
        }),
        Output::Human => {
            visible::note(&format!("worker {worker}: {done}"));
            Ok(ExitCode::Succeeded)
        }
    }
}

/// `ppwasm worker drain` and `undrain`.
pub(super) fn drain(args: &args::WorkerOf, drain: bool) -> Result<ExitCode> {
    let cluster = Cluster::connect(&args.common.connection)?;
    let drained = cluster.client.drain_worker(args.worker.clone(), drain);
    let drained = runtime()?.block_on(drained);
    drained.map_err(|error| cluster.failure(&error))?;
    let done = if drain { "draining" } else { "serving" };
    told(&args.worker, done, args.common.output)
}

/// `ppwasm worker set-slots`.
pub(super) fn set_slots(args: &args::WorkerSlots) -> Result<ExitCode> {
    let cluster = Cluster::connect(&args.common.connection)?;
    let slots = Ranged::clamped(args.slots.into());
    let set = cluster.client.set_worker_slots(args.worker.clone(), slots);
    let set = runtime()?.block_on(set);
    set.map_err(|error| cluster.failure(&error))?;
    told(&args.worker, "slots set", args.common.output)
}

#[derive(Serialize)]
struct Functions {
    version: u32,
    functions: Vec<Function>,
}

#[derive(Serialize)]
struct Function {
    function: String,
    entry: String,
    bytes: u64,
    image_bytes: Option<u64>,
    jobs: u64,
    workers: u64,
}

/// `ppwasm function`.
pub(super) fn function(args: &args::Function) -> Result<ExitCode> {
    let args::Function::List(args) = args;
    let cluster = Cluster::connect(&args.common.connection)?;
    let functions = runtime()?.block_on(async {
        let mut all: Vec<FunctionSummary> = Vec::new();
        loop {
            let after = all.last().map(|function| function.function.digest);
            let page = cluster.client.functions(after).await;
            let page = page.map_err(|error| cluster.failure(&error))?;
            all.extend(page.functions);
            if !page.has_more {
                return Ok(all);
            }
        }
    })?;
    if args.common.output == Output::Json {
        let functions = functions.iter().map(|function| Function {
            function: function.function.digest.to_string(),
            entry: function.entry.as_str().to_owned(),
            bytes: function.function.bytes,
            image_bytes: function.image.map(|image| image.bytes),
            jobs: function.jobs,
            workers: function.workers,
        });
        return json(&Functions {
            version: VERSION,
            functions: functions.collect(),
        });
    }
    let columns = [
        Column::Left("FUNCTION"),
        Column::Cut("ENTRY"),
        Column::Right("BYTES"),
        Column::Right("IMAGE"),
        Column::Right("JOBS"),
        Column::Right("WORKERS"),
    ];
    let rows = functions.iter().map(|function| {
        let digest = function.function.digest.to_string();
        let image = function.image.map(|image| image.bytes.to_string());
        vec![
            digest.get(..DIGEST_DIGITS).unwrap_or(&digest).to_owned(),
            function.entry.as_str().to_owned(),
            function.function.bytes.to_string(),
            image.unwrap_or_else(|| "-".into()),
            function.jobs.to_string(),
            function.workers.to_string(),
        ]
    });
    let rows: Vec<_> = rows.collect();
    print(|out| table::print(out, &columns, &rows))
}
