//! What a task costs while the fabric is busy, beside its peers.

use crate::fabric::{Fabric, Job, peers, runtime};
use crate::record::Record;
use crate::stats::{median, quantile};
use crate::{Settings, system};

const TASKS: usize = 50_000;
const TRIPS: usize = 2_000;
const SLOTS: u32 = 2;
const ROUNDS: usize = 5;

/// Samples of the fabric, one for each round.
#[derive(Default)]
struct Samples {
    tasks_per_s: Vec<f64>,
    coordinator_us: Vec<f64>,
    worker_us: Vec<f64>,
    client_us: Vec<f64>,
    trip_us: Vec<f64>,
    late_trip_us: Vec<f64>,
    trip_cpu_us: Vec<f64>,
}

/// Tasks per second, CPU time of each, time of a round trip; the same of the peers, round by round.
///
/// # Errors
///
/// A process does not start, or an answer is wrong.
pub fn tasks(settings: &Settings) -> anyhow::Result<Vec<Record>> {
    let fabric = Fabric::start(settings, &[SLOTS])?;
    let mut samples = Samples::default();
    let mut others = peers::Samples::default();
    runtime()?.block_on(async {
        let client = fabric.client()?;
        Job::adding(0, 1_000).run(&client).await?;
        anyhow::Ok(())
    })?;
    for round in 0..settings.repetitions(10 * ROUNDS).min(ROUNDS) {
        samples.take(settings, &fabric, round as u64)?;
        others.take(settings);
    }
    let mut records = samples.records();
    records.extend(others.records(&records));
    Ok(records)
}

impl Samples {
    fn take(&mut self, settings: &Settings, fabric: &Fabric, round: u64) -> anyhow::Result<()> {
        let tasks = settings.repetitions(TASKS) as u64;
        let trips = settings.repetitions(TRIPS) as u64;
        let [worker, ..] = fabric.workers() else {
            anyhow::bail!("there is no worker");
        };
        runtime()?.block_on(async {
            let client = fabric.client()?;
            let before = (
                fabric.coordinator().cpu_us()?,
                worker.cpu_us()?,
                own_cpu_us(),
            );
            let time = Job::adding(1 + 2 * round, tasks).run(&client).await?;
            let each = |now: f64, before: f64| (now - before) / tasks as f64;
            self.tasks_per_s.push(tasks as f64 / time.as_secs_f64());
            self.coordinator_us
                .push(each(fabric.coordinator().cpu_us()?, before.0));
            self.worker_us.push(each(worker.cpu_us()?, before.1));
            self.client_us.push(each(own_cpu_us(), before.2));

            let before = fabric.coordinator().cpu_us()? + worker.cpu_us()? + own_cpu_us();
            let job = Job::adding(2 + 2 * round, trips);
            let mut times = job.one_at_a_time(&client).await?;
            let after = fabric.coordinator().cpu_us()? + worker.cpu_us()? + own_cpu_us();
            self.trip_us.push(median(&mut times));
            self.late_trip_us.push(quantile(&mut times, 0.99));
            self.trip_cpu_us.push((after - before) / trips as f64);
            Ok(())
        })
    }

    fn records(mut self) -> Vec<Record> {
        let late = median(&mut self.late_trip_us);
        vec![
            Record::new("fabric_tasks_per_s", median(&mut self.tasks_per_s))
                .note("durable, a fresh sandbox each, one worker with 2 slots, QUIC over loopback"),
            Record::new("fabric_round_trip_p50_us", median(&mut self.trip_us))
                .note(format!("one at a time; p99 {late:.0}")),
            Record::new("fabric_round_trip_cpu_us", median(&mut self.trip_cpu_us))
                .note("coordinator, worker and client together"),
            Record::new(
                "coordinator_cpu_us_per_task",
                median(&mut self.coordinator_us),
            ),
            Record::new("worker_cpu_us_per_task", median(&mut self.worker_us))
                .note("the calls themselves included"),
            Record::new("client_cpu_us_per_task", median(&mut self.client_us))
                .note("checking included"),
        ]
    }
}

fn own_cpu_us() -> f64 {
    system::process_cpu_ns() as f64 / 1e3
}
