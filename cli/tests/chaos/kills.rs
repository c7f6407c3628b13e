//! Processes that are killed and stopped at random while a job runs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ppwasm_client::{Client, Order};
use ppwasm_proto::JobId;

use crate::cluster::{Cluster, Process, client_of, machine, within};
use crate::random::Random;
use crate::work::{Recorded, all_results, all_results_of, check, id, submit};

/// Tasks of a run; more with `PPWASM_CHAOS_TASKS`.
const TASKS: u64 = 20_000;
/// For how long there are faults; longer with `PPWASM_CHAOS_SECONDS`.
const SECONDS: u64 = 40;
const WORKERS: usize = 4;
/// Seeds that failed once.
const SEEDS: &str = include_str!("seeds.txt");

fn setting(name: &str, default: u64) -> u64 {
    let given = std::env::var(name).ok();
    given.and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn case_01_04_05_processes_are_killed_and_stopped_at_random() {
    let given = std::env::var("PPWASM_CHAOS_SEED").ok();
    let fresh = std::process::id().into();
    let seed = given.map_or(fresh, |seed| seed.parse().unwrap());
    let known = SEEDS.lines().filter_map(|line| {
        let seed = line.split('#').next().unwrap().trim();
        seed.parse::<u64>().ok()
    });
    for seed in known.chain([seed]) {
        println!("seed {seed}; again with PPWASM_CHAOS_SEED={seed}");
        run(seed);
    }
}

fn run(seed: u64) {
    let runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = { runtime }.worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(chaos(seed));
}

/// The worlds' state: what runs, and what does not.
struct World {
    cluster: Cluster,
    workers: Vec<Option<Process>>,
    random: Random,
    kills: u32,
    coordinator_kills: u32,
    stops: u32,
}

async fn chaos(seed: u64) {
    let _machine = machine().await;
    let tasks = setting("PPWASM_CHAOS_TASKS", TASKS);
    let length = Duration::from_secs(setting("PPWASM_CHAOS_SECONDS", SECONDS));
    let cluster = Cluster::start().await;
    let credentials = Arc::new(cluster.join("client", "ann").await);
    let client = client_of(&credentials, cluster.address);
    let mut world = World::new(cluster, seed).await;
    let job = id(1);

    let submitting = {
        let (credentials, address) = (Arc::clone(&credentials), world.cluster.address);
        // The tasks come for as long as there are faults.
        let pause = length.mul_f64(0.8) / (tasks / 100) as u32;
        tokio::spawn(async move { submit_again(&credentials, address, job, tasks, pause).await })
    };
    let watching = tokio::spawn(async move {
        let recorded = watch(&client, job).await;
        (client, recorded)
    });
    let started = Instant::now();
    while started.elapsed() < length {
        world.step().await;
    }
    world.heal().await;
    let healed = Instant::now();
    // Who watches gives up when no more results come.
    let ended = tokio::try_join!(submitting, watching);
    let Ok(((), (client, recorded))) = ended else {
        panic!("{}", world.state("it does not end"));
    };
    println!(
        "{} kills of workers, {} of the coordinator, {} stops; over {:.1} s after the last",
        world.kills,
        world.coordinator_kills,
        world.stops,
        healed.elapsed().as_secs_f64()
    );
    complete(&recorded, tasks);

    // Who looks later finds the same, and nothing else.
    let mut checked = check;
    let again = all_results_of(&client, job, Order::Task, &mut checked);
    let again = again.await.unwrap();
    assert_eq!(again, recorded, "recorded outcomes changed");
    let jobs = within("the jobs", client.jobs(None, false)).await.unwrap();
    assert_eq!(jobs.jobs.len(), 1, "{jobs:?}");
    drop(client);
    world.cluster.stop().await;
    world.cluster.check_store().await;
}

fn complete(recorded: &Recorded, tasks: u64) {
    let missing: Vec<_> = (0..tasks).filter(|n| !recorded.contains_key(n)).collect();
    assert!(missing.is_empty(), "{} missing: {missing:?}", missing.len());
    assert_eq!(recorded.len() as u64, tasks);
}

/// Submits, gives up half-way twice as a client that dies, and does it again from the start under the same id.
async fn submit_again(
    credentials: &ppwasm_certs::Credentials,
    address: std::net::SocketAddr,
    job: JobId,
    tasks: u64,
    pause: Duration,
) {
    for share in [3, 2] {
        let client = client_of(credentials, address);
        let patience = pause * (tasks / 100) as u32 / share;
        let cut = tokio::time::timeout(patience, submit(&client, job, "work", tasks, pause)).await;
        assert!(cut.is_err(), "done before it was given up: {cut:?}");
    }
    // What is durable already costs no time.
    let client = client_of(credentials, address);
    let submitted = submit(&client, job, "work", tasks, pause / 3).await;
    assert_eq!(submitted.unwrap(), tasks);
}

/// Watches a job that may not be there yet.
async fn watch(client: &Client, job: JobId) -> Recorded {
    loop {
        match all_results(client, job).await {
            Ok(recorded) => return recorded,
            Err(ppwasm_client::ClientError::Refused {
                code: ppwasm_proto::wire::ErrorCode::NotFound,
                ..
            }) => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(other) => panic!("{other}"),
        }
    }
}

impl World {
    async fn new(cluster: Cluster, seed: u64) -> Self {
        let mut workers = Vec::new();
        for number in 0..WORKERS {
            let name = name(number);
            cluster.enrol(&name).await;
            workers.push(Some(cluster.worker(&name, slots(number))));
        }
        Self {
            cluster,
            workers,
            random: Random::new(seed),
            kills: 0,
            coordinator_kills: 0,
            stops: 0,
        }
    }

    /// One fault, and a pause.
    async fn step(&mut self) {
        let pause = self.random.millis(100, 1500);
        tokio::time::sleep(pause).await;
        let number = self.random.below(WORKERS as u64) as usize;
        match self.random.below(100) {
            0..35 => match &mut self.workers[number] {
                Some(worker) => {
                    worker.kill();
                    self.kills += 1;
                    // Some come back at once.
                    let is_back = self.random.percent(50);
                    let back = is_back.then(|| self.cluster.worker(&name(number), slots(number)));
                    self.workers[number] = back;
                }
                none => *none = Some(self.cluster.worker(&name(number), slots(number))),
            },
            35..55 => {
                // Now and then for longer than a lease lasts.
                let max = if self.random.percent(15) { 8000 } else { 1500 };
                let pause = self.random.millis(50, max);
                if let Some(worker) = &self.workers[number] {
                    self.stops += 1;
                    worker.signal("STOP");
                    tokio::time::sleep(pause).await;
                    worker.signal("CONT");
                }
            }
            55..70 => {
                let pause = self.random.millis(0, 800);
                self.cluster.kill_coordinator();
                self.coordinator_kills += 1;
                tokio::time::sleep(pause).await;
                self.cluster.restart_coordinator().await;
            }
            70..80 => {
                let pause = self.random.millis(50, 3000);
                self.stops += 1;
                self.cluster.coordinator.signal("STOP");
                tokio::time::sleep(pause).await;
                self.cluster.coordinator.signal("CONT");
            }
            _ => {
                if self.workers[number].is_none() {
                    self.workers[number] = Some(self.cluster.worker(&name(number), slots(number)));
                }
            }
        }
    }

    /// Everything runs again.
    async fn heal(&mut self) {
        if !self.cluster.coordinator.is_running() {
            panic!("{}", self.state("the coordinator has ended by itself"));
        }
        for number in 0..WORKERS {
            let has_ended = self.workers[number]
                .as_mut()
                .is_none_or(|worker| !worker.is_running());
            if has_ended {
                self.workers[number] = Some(self.cluster.worker(&name(number), slots(number)));
            }
        }
    }

    fn state(&self, what: &str) -> String {
        let mut text = format!("{what}\ncoordinator: {}", self.cluster.coordinator.said());
        for (number, worker) in self.workers.iter().enumerate() {
            let said = worker.as_ref().map(Process::said).unwrap_or_default();
            text += &format!("\n{}: {said}", name(number));
        }
        text
    }
}

fn name(number: usize) -> String {
    format!("w{number}")
}

/// One or two.
const fn slots(number: usize) -> u32 {
    1 + (number % 2) as u32
}
