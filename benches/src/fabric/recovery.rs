//! Memory of what is queued, and how long it takes to come, to come back, and to be missed.

use std::time::Instant;

use anyhow::Context;

use crate::Settings;
use crate::fabric::job::{PAUSE, ask};
use crate::fabric::{Fabric, Job, Task, runtime};
use crate::record::Record;
use crate::stats::median;

const QUEUED: usize = 1_000_000;
const RESTART_QUEUED: usize = 100_000;
const SLOTS: u32 = 2;

/// Memory of the coordinator for each task that waits.
///
/// # Errors
///
/// A process does not start, or a task is not taken.
pub fn queue(settings: &Settings) -> anyhow::Result<Vec<Record>> {
    let fabric = Fabric::start(settings, &[])?;
    let tasks = settings.repetitions(QUEUED) as u64;
    let bytes = runtime()?.block_on(async {
        let client = fabric.client()?;
        Job::adding(0, 1).submit(&client).await?;
        let before = fabric.coordinator().memory_bytes()?;
        Job::adding(1, tasks).submit(&client).await?;
        anyhow::Ok(fabric.coordinator().memory_bytes()?.saturating_sub(before))
    })?;
    let each = bytes as f64 / tasks as f64;
    let note = format!("{tasks} queued; memory of the process's own, over one queued task");
    Ok(vec![
        Record::new("coordinator_queued_bytes_per_task", each).note(note),
    ])
}

/// A coordinator that is killed while tasks wait: from its next start to an answer.
///
/// # Errors
///
/// A process does not start, or a task was lost.
pub fn restart(settings: &Settings) -> anyhow::Result<Vec<Record>> {
    let mut fabric = Fabric::start(settings, &[])?;
    let tasks = settings.repetitions(RESTART_QUEUED) as u64;
    let job = Job::adding(1, tasks);
    runtime()?.block_on(async { job.submit(&fabric.client()?).await })?;
    let mut times = Vec::new();
    for _ in 0..settings.repetitions(50).clamp(2, 5) {
        fabric.kill_coordinator()?;
        let started = Instant::now();
        fabric.start_coordinator()?;
        runtime()?.block_on(async { ask(&fabric.client()?).await })?;
        times.push(started.elapsed().as_secs_f64());
    }
    // All of them are there still.
    fabric.add_worker(SLOTS)?;
    runtime()?.block_on(async { job.results(&fabric.client()?).await })?;
    let note = format!("{tasks} queued; process start until a client has an answer");
    Ok(vec![
        Record::new("restart_100k_queued_s", median(&mut times)).note(note),
    ])
}

/// A worker's process starts while a task waits: until its result is with the client.
///
/// # Errors
///
/// A process does not start, or an answer is wrong.
pub fn join(settings: &Settings) -> anyhow::Result<Vec<Record>> {
    let mut fabric = Fabric::start(settings, &[SLOTS])?;
    let mut times = Vec::new();
    runtime()?.block_on(async {
        let client = fabric.client()?;
        Job::adding(0, 100).run(&client).await?;
        for round in 0..settings.repetitions(100).max(2) {
            fabric.stop_worker()?;
            let job = Job::adding(1 + round as u64, 1);
            job.submit(&client).await?;
            let start = fabric.worker_command(SLOTS)?;
            let started = Instant::now();
            let starting = std::thread::spawn(start);
            let first = job.results(&client).await?;
            times.push(first.duration_since(started).as_secs_f64() * 1e3);
            let worker = starting
                .join()
                .map_err(|_| anyhow::anyhow!("it panicked"))?;
            fabric.adopt(worker?);
        }
        anyhow::Ok(())
    })?;
    Ok(vec![
        Record::new("worker_join_to_first_result_ms", median(&mut times))
            .note("process start to the result at the client, caches warm"),
    ])
}

/// A worker that runs tasks is killed: until they have begun again on another, which has nothing to do.
///
/// # Errors
///
/// A process does not start, or an answer is wrong.
pub fn kill(settings: &Settings) -> anyhow::Result<Vec<Record>> {
    let mut times = Vec::new();
    for _ in 0..settings.repetitions(30).max(1) {
        let mut fabric = Fabric::start(settings, &[SLOTS])?;
        let job = Job {
            number: 1,
            tasks: SLOTS.into(),
            task: Task::Pause,
        };
        let all = runtime()?.block_on(async {
            let client = fabric.client()?;
            job.submit(&client).await?;
            let results = job.results(&client);
            let killing = async {
                let start = fabric.worker_command(SLOTS)?;
                let other = tokio::task::spawn_blocking(start).await??;
                tokio::time::sleep(PAUSE / 3).await;
                fabric.kill_worker()?;
                let killed = Instant::now();
                fabric.adopt(other);
                anyhow::Ok(killed)
            };
            let (_, killed) = tokio::try_join!(results, killing)?;
            anyhow::Ok(killed.elapsed())
        })?;
        // They wait for their whole time again.
        let again = all.checked_sub(PAUSE).context("nothing was lost")?;
        times.push(again.as_secs_f64());
    }
    Ok(vec![
        Record::new("kill_worker_to_restart_s", median(&mut times))
            .note("SIGKILL until its tasks have begun on another worker"),
    ])
}
