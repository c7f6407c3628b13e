//! How much a store takes and how fast it is back: `cargo run -p ppwasm-coordinator --example store_throughput [FOLDER]`.
//!
//! Every figure is of durable rows, and every count is compared with what is read back. FOLDER has to be on the disk that
//! is to be measured; without it a folder in the current one is made and removed.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel, sync_channel};
use std::time::{Duration, Instant};

use ppwasm_coordinator::store::{Answer, Batch, Body, CommitError, Options, SqliteStore, Store};
use ppwasm_coordinator::store::{TaskResult, Write};
use ppwasm_proto::fabric::{LeaseId, OutcomeKind, Priority};
use ppwasm_proto::{Attempt, Digest, JobId, Limits, TaskId};
use ppwasm_scheduler::{Config, JobSpec, Outbox, Record, Scheduler, TaskEnd, Timestamp};

type Result<T> = std::result::Result<T, Box<dyn Error>>;
type Acked = std::result::Result<Vec<Answer>, CommitError>;

const BODY_BYTES: usize = 200;
const BUNDLE: &[u8] = b"def f(x): return x";
/// Rows for each size of batch.
const ROWS: [(u64, u64); 4] = [(1, 2_000), (50, 50_000), (200, 100_000), (1000, 200_000)];
/// Outcomes in the store of the last of those.
const ENDED: u64 = 400_000;
const RESTARTS: [u64; 2] = [100_000, 1_000_000];
/// What a restart with 100,000 queued tasks may take.
const RESTART_MAX: Duration = Duration::from_secs(3);

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [word, folder, tasks] = arguments.as_slice()
        && word == "restart"
    {
        return restart(Path::new(folder), tasks.parse()?);
    }
    let (folder, is_ours) = match arguments.as_slice() {
        [folder] => (PathBuf::from(folder), false),
        _ => (
            PathBuf::from(format!("store-throughput-{}", std::process::id())),
            true,
        ),
    };
    fs::create_dir_all(&folder)?;
    let done = measure(&folder);
    if is_ours {
        fs::remove_dir_all(&folder)?;
    }
    done
}

fn measure(folder: &Path) -> Result<()> {
    println!("outcomes of {BODY_BYTES} bytes, durable rows per second");
    println!(
        "{:>14} {:>14} {:>10} {:>10} {:>20}",
        "rows per batch", "one waits", "p50 ms", "p99 ms", "512 batches queued"
    );
    for (batch, rows) in ROWS {
        let path = folder.join(format!("outcomes-{batch}"));
        let (lone, p50, p99) = one_waits(&path.join("lone"), batch, rows)?;
        let queued = queued(&path.join("queued"), batch, rows * 2)?;
        println!("{batch:>14} {lone:>14.0} {p50:>10.2} {p99:>10.2} {queued:>20.0}");
    }
    println!("{ENDED} ended tasks, as many outcomes:");
    restarted(&folder.join("outcomes-1000/queued"), ENDED)?;
    for tasks in RESTARTS {
        let path = folder.join(format!("queued-{tasks}"));
        let begun = Instant::now();
        let store = open(&path)?;
        submit(&store, tasks)?;
        let took = begun.elapsed();
        drop(store);
        let bytes = fs::metadata(path.join("coordinator.db"))?.len();
        println!(
            "{tasks} queued tasks of {BODY_BYTES} bytes: {:.1} bytes each on disk, submitted at {:.0} tasks per second",
            bytes as f64 / tasks as f64,
            tasks as f64 / took.as_secs_f64()
        );
        restarted(&path, tasks)?;
    }
    Ok(())
}

/// In a process of its own, so that its memory is that of a restart.
fn restarted(folder: &Path, tasks: u64) -> Result<()> {
    let status = Command::new(std::env::current_exe()?)
        .args(["restart", &folder.display().to_string(), &tasks.to_string()])
        .status()?;
    match status.success() {
        true => Ok(()),
        false => Err("the restart failed".into()),
    }
}

/// Opens a store as a coordinator does, and rebuilds the scheduler.
fn restart(folder: &Path, tasks: u64) -> Result<()> {
    let before = resident_bytes()?;
    let begun = Instant::now();
    let store = open(folder)?;
    let opened = begun.elapsed();
    let mut records = Vec::new();
    store.recover(&mut |record| records.push(record))?;
    let config = Config::new(store.lease_key(), 0);
    let mut out = Outbox::default();
    let scheduler = Scheduler::restore(config, store.epoch(), Timestamp::ZERO, records, &mut out)?;
    let took = begun.elapsed();
    let memory = resident_bytes()?.saturating_sub(before);
    let durable = scheduler.durable();
    let found: u64 = durable.jobs.iter().map(|job| job.tasks).sum();
    assert_eq!(found, tasks, "every task is back");
    let last = store.calls(&job(), tasks - 1, 1)?;
    assert_eq!(last, [body(tasks - 1)], "and has its arguments");
    println!(
        "  restart: opened in {:.0} ms, scheduler back after {:.0} ms; {:.1} MiB of memory, {:.1} bytes per task",
        opened.as_secs_f64() * 1e3,
        took.as_secs_f64() * 1e3,
        memory as f64 / f64::from(1 << 20),
        memory as f64 / tasks as f64
    );
    if tasks <= 100_000 {
        assert!(took <= RESTART_MAX, "{took:?}");
    }
    Ok(())
}

/// One after the other: rows per second, and how long a batch takes.
fn one_waits(folder: &Path, batch: u64, rows: u64) -> Result<(f64, f64, f64)> {
    let store = open(folder)?;
    submit(&store, rows)?;
    let mut times = Vec::new();
    let begun = Instant::now();
    for first in (0..rows).step_by(usize::try_from(batch)?) {
        let sent = Instant::now();
        wait(&send(&store, outcomes(first, batch))?)?;
        times.push(sent.elapsed());
    }
    let rate = rows as f64 / begun.elapsed().as_secs_f64();
    check(&store, rows)?;
    times.sort_unstable();
    let at = |part: usize| {
        times
            .get(times.len() * part / 100)
            .map_or(0.0, |time| time.as_secs_f64() * 1e3)
    };
    Ok((rate, at(50), at(99)))
}

/// As many batches under way as a busy coordinator has.
fn queued(folder: &Path, batch: u64, rows: u64) -> Result<f64> {
    const UNDER_WAY: usize = 512;
    let store = open(folder)?;
    submit(&store, rows)?;
    let (done, acked) = channel::<Acked>();
    let (free, taken) = sync_channel::<()>(UNDER_WAY);
    let begun = Instant::now();
    std::thread::scope(|scope| -> Result<()> {
        let counted = scope.spawn(move || {
            for result in acked {
                let answers = result.expect("a batch is written");
                assert!(answers.iter().all(|answer| *answer == Answer::Done));
                taken.recv().expect("as many as were sent");
            }
        });
        for first in (0..rows).step_by(usize::try_from(batch)?) {
            free.send(())?;
            let mut batch = outcomes(first, batch);
            loop {
                let done = done.clone();
                let ack = Box::new(move |result| done.send(result).expect("somebody counts"));
                match store.commit(batch, ack) {
                    Ok(()) => break,
                    // By its bytes the queue is full before it is by its batches.
                    Err(not_taken) => batch = not_taken.batch,
                }
                std::thread::yield_now();
            }
        }
        drop(done);
        counted.join().map_err(|_| "a batch was not written")?;
        Ok(())
    })?;
    let rate = rows as f64 / begun.elapsed().as_secs_f64();
    check(&store, rows)?;
    Ok(rate)
}

fn open(folder: &Path) -> Result<SqliteStore> {
    Ok(SqliteStore::open(folder, &Options::new([1; 32]))?)
}

fn job() -> JobId {
    JobId::from_bytes([1; 16])
}

fn body(number: u64) -> Body {
    let mut bytes = vec![0; BODY_BYTES];
    // Not all alike, so that nothing is gained from that.
    for (place, byte) in bytes.iter_mut().enumerate() {
        *byte = (number.wrapping_mul(0x9e37_79b9) >> (place % 24)) as u8;
    }
    Body::Inline(bytes)
}

/// A job with so many tasks, a thousand at a time, several batches under way.
fn submit(store: &SqliteStore, tasks: u64) -> Result<()> {
    let spec = JobSpec {
        owner: "bench".parse()?,
        priority: Priority(0),
        function: Digest::of(BUNDLE),
        limits: Limits::default(),
        attempts_max: 5,
        is_deterministic: true,
        verify_percent: 0,
        is_cached: false,
        body: Digest::of(b""),
    };
    let (job, details, body_of) = (job(), Vec::new(), body);
    let body = Body::Inline(BUNDLE.to_vec());
    let (digest, spec) = (spec.function, Box::new(spec));
    let first = vec![
        Write::Bundle { digest, body },
        Write::JobSubmitted { job, spec, details },
    ];
    let mut under_way = vec![send(store, Batch::at(1, first))?];
    for first in (0..tasks).step_by(1000) {
        let calls = (first..tasks.min(first + 1000)).map(body_of).collect();
        under_way.push(send(
            store,
            Batch::at(1, vec![Write::TasksAdded { job, first, calls }]),
        )?);
        if under_way.len() > 32 {
            wait(&under_way.remove(0))?;
        }
    }
    let closed = Write::Record(Record::JobClosed { job, tasks });
    under_way.push(send(store, Batch::at(1, vec![closed]))?);
    under_way.iter().try_for_each(wait)
}

fn outcomes(first: u64, count: u64) -> Batch {
    let ended = (first..first + count).map(|task| Write::TaskEnded {
        job: job(),
        task: TaskId(task),
        end: TaskEnd::Outcome {
            outcome: OutcomeKind::Succeeded,
            attempt: Attempt(1),
            lease: LeaseId(task),
            worker: "bench-worker".parse().expect("a name"),
            verification: None,
        },
        result: Box::new(TaskResult {
            outcome: body(task),
            ..TaskResult::default()
        }),
        cache: None,
    });
    Batch::at(2, ended.collect())
}

fn send(store: &SqliteStore, batch: Batch) -> Result<Receiver<Acked>> {
    let (done, acked) = channel();
    store.commit(batch, Box::new(move |result| drop(done.send(result))))?;
    Ok(acked)
}

fn wait(acked: &Receiver<Acked>) -> Result<()> {
    acked.recv()??;
    Ok(())
}

/// Everything that was acknowledged is read back.
fn check(store: &SqliteStore, rows: u64) -> Result<()> {
    let mut next = 0;
    while next < rows {
        let ended = store.outcomes(&job(), next, 5000, usize::MAX)?;
        assert!(!ended.is_empty(), "outcome {next} is missing");
        for ended in ended {
            assert_eq!(
                (ended.task, ended.result.outcome),
                (TaskId(next), body(next))
            );
            next += 1;
        }
    }
    Ok(())
}

/// Memory of this process that is in use.
fn resident_bytes() -> Result<u64> {
    let text = fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line
        .and_then(|line| line.split_whitespace().next())
        .ok_or("no VmRSS")?;
    Ok(kib.parse::<u64>()? * 1024)
}
