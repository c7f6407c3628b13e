//! One worker that is ten times slower than the other.
//!
//! The slow one is stopped nine tenths of the time, by SIGSTOP and SIGCONT every few milliseconds: its guests, its driver
//! and its connection are all slow, as on a slow machine.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;

use crate::Settings;
use crate::fabric::{Fabric, Job, Process, Task, runtime};
use crate::record::Record;
use crate::stats::median;
use crate::system::Running;

const ON: Duration = Duration::from_millis(2);
const OFF: Duration = Duration::from_millis(18);
const TASKS: usize = 1_000;

/// The time of a job on both workers over what their speeds, measured one by one just before, allow.
///
/// # Errors
///
/// A process does not start, or an answer is wrong.
pub fn ratio(settings: &Settings) -> anyhow::Result<Vec<Record>> {
    let (fast, slow) = (
        Fabric::start(settings, &[1])?,
        Fabric::start(settings, &[1])?,
    );
    let both = Fabric::start(settings, &[1, 1])?;
    let slow_ones = [
        slow.workers().first().context("there is no worker")?,
        both.workers().last().context("there is no worker")?,
    ];
    let tasks = settings.repetitions(TASKS) as u64;
    let is_over = AtomicBool::new(false);
    let mut ratios = Vec::new();
    std::thread::scope(|scope| {
        for worker in slow_ones {
            let is_over = &is_over;
            scope.spawn(move || slow_down(worker, is_over));
        }
        let measured = (0..settings.repetitions(30).max(1)).try_for_each(|round| {
            let alone = rate(&fast, round, tasks / 2)?;
            let slowly = rate(&slow, round, (tasks / 20).max(10))?;
            let together = rate(&both, round, tasks)?;
            ratios.push((alone + slowly) / together);
            anyhow::Ok(())
        });
        is_over.store(true, Ordering::Relaxed);
        measured
    })?;
    Ok(vec![
        Record::new("balance_ratio", median(&mut ratios)).note(
            "one slot each; one of them stopped for 18 of 20 ms; over the sum of both speeds",
        ),
    ])
}

fn rate(fabric: &Fabric, round: usize, tasks: u64) -> anyhow::Result<f64> {
    let number = 1 + round as u64;
    let job = |number, tasks| Job {
        number,
        tasks,
        task: Task::Compute,
    };
    runtime()?.block_on(async {
        let client = fabric.client()?;
        // What each worker's speed is has to be known first.
        job(1_000 + number, 40).run(&client).await?;
        let time = job(number, tasks).run(&client).await?;
        Ok(tasks as f64 / time.as_secs_f64())
    })
}

fn slow_down(worker: &Process, is_over: &AtomicBool) {
    while !is_over.load(Ordering::Relaxed) {
        // When it has ended, whoever waits for its results says so.
        let _ = worker.set_running(Running::Stopped);
        std::thread::sleep(OFF);
        let _ = worker.set_running(Running::Continued);
        std::thread::sleep(ON);
    }
}
