//! Tasks per second through client, coordinator and worker in one process, checked.
//!
//! `cargo run --release -p ppwasm-client --example in_process [TASKS] [SLOTS] [memory|sqlite]`

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use ppwasm_client::{Client, ClientConfig, JobRequest, Order};
use ppwasm_coordinator::blobs::BlobLimits;
use ppwasm_coordinator::server::{HostImages, Server, ServerConfig};
use ppwasm_coordinator::store::{MemoryStore, Options, SqliteStore, Store};
use ppwasm_host::Host;
use ppwasm_link::Peer;
use ppwasm_link::memory::MemoryHub;
use ppwasm_proto::fabric::Incarnation;
use ppwasm_proto::{Call, FunctionBundle, JobId, Outcome, Value};
use ppwasm_worker::agent::Config as AgentConfig;
use ppwasm_worker::{Worker, WorkerConfig};

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let tasks: i64 = args.next().map_or(Ok(20_000), |n| n.parse())?;
    let slots: u32 = args.next().map_or(Ok(2), |n| n.parse())?;
    let is_durable = args.next().is_some_and(|store| store == "sqlite");
    let folder = tempfile::tempdir()?;
    let store: Arc<dyn Store> = match is_durable {
        true => Arc::new(SqliteStore::open(folder.path(), &Options::new([1; 32]))?),
        false => Arc::new(MemoryStore::new(
            [1; 32],
            folder.path(),
            BlobLimits::default(),
        )?),
    };
    let host = Arc::new(Host::builder().slots(slots as usize).build()?);
    let hub = MemoryHub::new();

    let (images, listener) = (Arc::new(HostImages::new(Arc::clone(&host))), hub.listen());
    let coordinator = thread("coordinator", async move {
        let server = Server::start(store, images, ServerConfig::new(1));
        match server {
            Ok(server) => server.listen(listener).await,
            Err(error) => eprintln!("{error}"),
        }
    })?;
    let dialer = hub.dialer(Peer::Worker("w".parse()?));
    let config = WorkerConfig {
        agent: AgentConfig::new(Incarnation(1), 1, slots),
        label: "this machine".into(),
    };
    let worker = Worker::new(host, dialer, config);
    let worker = thread("worker", async move {
        worker.run().await;
    })?;

    let runtime = runtime()?;
    let dialer = hub.dialer(Peer::Client("c".parse()?));
    runtime.block_on(async {
        let client = Client::start(dialer, ClientConfig::default());
        for round in 0..3u8 {
            let before = (cpu(coordinator)?, cpu(worker)?);
            let start = Instant::now();
            run(&client, JobId::from_bytes([round + 1; 16]), tasks).await?;
            let time = start.elapsed();
            let per_task = |now: Duration, was: Duration| {
                (now - was).as_secs_f64() * 1e6 / tasks as f64
            };
            println!(
                "{tasks} tasks: {:.0} tasks/s, coordinator {:.1} us/task, worker's driver {:.1} us/task",
                tasks as f64 / time.as_secs_f64(),
                per_task(cpu(coordinator)?, before.0),
                per_task(cpu(worker)?, before.1),
            );
        }
        round_trips(&client, JobId::from_bytes([99; 16])).await
    })
}

async fn run(client: &Client, id: JobId, tasks: i64) -> anyhow::Result<()> {
    let source = "def f(x):\n    return x + 1\n";
    let bundle = FunctionBundle::function("job", "job.py", source, "f")?;
    let mut job = client.submit(JobRequest::new(id, &bundle)).await?;
    let mut results = client.results(id, Order::Task).await?;
    let appending = async {
        for x in 0..tasks {
            job.append(&Call::with_args([x])).await?;
        }
        anyhow::Ok(job.finish().await?)
    };
    let taking = async {
        let mut next = 0;
        while let Some(result) = results.next().await? {
            let Outcome::Succeeded { value } = result.outcome else {
                bail!("task {next}: {:?}", result.outcome);
            };
            if result.task.0 != next || value.decode()? != Value::from(next + 1) {
                bail!("task {next} is wrong");
            }
            next += 1;
        }
        Ok(next)
    };
    let (appended, taken) = tokio::try_join!(appending, taking)?;
    let tasks = u64::try_from(tasks)?;
    if appended != tasks || taken != tasks {
        bail!("{appended} appended, {taken} came back");
    }
    Ok(())
}

/// One task at a time, each waited for.
async fn round_trips(client: &Client, id: JobId) -> anyhow::Result<()> {
    let source = "def f(x):\n    return x + 1\n";
    let bundle = FunctionBundle::function("job", "job.py", source, "f")?;
    let mut job = client.submit(JobRequest::new(id, &bundle)).await?;
    let mut results = client.results(id, Order::Task).await?;
    let mut times = Vec::new();
    for x in 0..500 {
        let start = Instant::now();
        job.append(&Call::with_args([x])).await?;
        let result = results.next().await?.context("the job has ended")?;
        times.push(start.elapsed());
        let Outcome::Succeeded { value } = result.outcome else {
            bail!("task {x}: {:?}", result.outcome);
        };
        if value.decode()? != Value::from(x + 1) {
            bail!("task {x} is wrong");
        }
    }
    job.finish().await?;
    times.sort_unstable();
    let at = |percent: usize| times.get(times.len() * percent / 100).copied();
    println!("one at a time: p50 {:?}, p99 {:?}", at(50), at(99));
    Ok(())
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?)
}

/// Runs `work` on a thread of its own; the thread's number in the system.
fn thread(name: &str, work: impl Future<Output = ()> + Send + 'static) -> anyhow::Result<i32> {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::Builder::new()
        .name(name.into())
        .spawn(move || {
            let number = std::fs::read_link("/proc/thread-self").ok();
            let number = number.and_then(|path| path.file_name()?.to_str()?.parse().ok());
            let _ = sender.send(number);
            match runtime() {
                Ok(runtime) => runtime.block_on(work),
                Err(error) => eprintln!("{error}"),
            }
        })?;
    receiver.recv()?.context("threads have no number here")
}

/// The time that a thread has computed.
fn cpu(thread: i32) -> anyhow::Result<Duration> {
    let path = format!("/proc/self/task/{thread}/schedstat");
    let text = std::fs::read_to_string(path)?;
    let nanos = text.split_whitespace().next().context("no time")?;
    Ok(Duration::from_nanos(nanos.parse()?))
}
