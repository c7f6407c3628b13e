//! One cluster of several architectures: whatever ran a task, its result is the same, byte for byte.
//!
//! Workers for other architectures are what `make cross` builds, under qemu: `make test-cross` builds them and runs this,
//! which is a test program of its own (`test = false` in Cargo.toml: a plain `cargo test` does not run it).

// It steers them with signals, as `chaos` does.
#![cfg(unix)]
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "tests fail by panicking and are read where they stand"
)]

#[allow(dead_code, reason = "the faults need more of it")]
#[path = "../chaos/cluster.rs"]
mod cluster;
#[path = "../shared/ports.rs"]
mod ports;
#[allow(dead_code, reason = "the faults need more of it")]
#[path = "../chaos/work.rs"]
mod work;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use ppwasm_client::{Client, JobRequest, Order, TaskResult};
use ppwasm_proto::wire::{Usage, Verdict, WorkerState};
use ppwasm_proto::{Call, FunctionBundle, Limits, Outcome, Value};

use crate::cluster::{Cluster, Process, client_of, machine};
use crate::work::id;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// Compiling five artifacts, emulation, and programs that run into limits: each takes minutes at worst.
const PATIENCE: Duration = Duration::from_secs(900);
/// Programs that fill their memory do it soon.
const MEMORY_BYTES_MAX: u64 = 160 << 20;
/// What a worker with two slots may take of a small machine's memory while it has nothing to do.
const IDLE_BYTES_MAX: u64 = 96 << 20;
/// Small tasks for all workers together.
const SMALL_TASKS: u64 = 2000;
/// Tasks that are verified: enough for each pair of targets.
const VERIFIED_TASKS: u64 = 300;

/// A kind of machine: the worker's name, what runs it, and the code that it asks for.
struct Kind {
    name: &'static str,
    /// The architecture, when it is emulated.
    emulated: Option<Emulated>,
    /// What it says that it runs.
    target: &'static str,
    /// Whether it asks for that; else it is what it finds out itself.
    asks: bool,
}

/// A machine that qemu plays.
struct Emulated {
    /// As qemu calls its processor.
    architecture: &'static str,
    /// As Rust calls it.
    target: &'static str,
    /// Where its addresses begin in those of qemu, and how many it has.
    addresses: Option<(u64, u64)>,
}

const KINDS: [Kind; 5] = [
    Kind {
        name: "native",
        emulated: None,
        target: "x86-64",
        asks: false,
    },
    Kind {
        name: "pulley",
        emulated: None,
        target: "pulley64",
        asks: true,
    },
    Kind {
        name: "checked",
        emulated: None,
        target: "x86-64-v2-checked",
        asks: true,
    },
    Kind {
        name: "arm",
        emulated: Some(Emulated {
            architecture: "aarch64",
            target: "aarch64-unknown-linux-gnu",
            addresses: None,
        }),
        target: "aarch64",
        asks: false,
    },
    Kind {
        name: "riscv",
        emulated: Some(Emulated {
            architecture: "riscv64",
            target: "riscv64gc-unknown-linux-gnu",
            // Of the 39 bits of Sv39 a process has 38.
            addresses: Some((1 << 40, 1 << 38)),
        }),
        target: "riscv64gc",
        asks: false,
    },
];

impl Kind {
    /// One whose memory is counted has two slots.
    const fn slots(&self) -> &'static str {
        match self.addresses() {
            Some(_) => "2",
            None => "1",
        }
    }

    const fn addresses(&self) -> Option<(u64, u64)> {
        match &self.emulated {
            Some(emulated) => emulated.addresses,
            None => None,
        }
    }

    fn program(&self) -> Command {
        let Some(emulated) = &self.emulated else {
            return Command::new(env!("CARGO_BIN_EXE_ppwasm"));
        };
        let Emulated {
            architecture,
            target,
            addresses,
        } = emulated;
        let qemu = ["-static", ""].map(|end| format!("qemu-{architecture}{end}"));
        let is_there = |qemu: &&String| Command::new(qemu).arg("--version").output().is_ok();
        let qemu = qemu.iter().find(is_there);
        let qemu = qemu.unwrap_or_else(|| panic!("there is no qemu for {architecture}"));
        let program = Path::new(ROOT).join(format!("target/cross/build/{target}/board/ppwasm"));
        assert!(program.exists(), "make cross builds {}", program.display());
        let mut command = Command::new(qemu);
        if let Some((from, count)) = addresses {
            command.args(["-B", &from.to_string(), "-R", &count.to_string()]);
        }
        command
            .args(["-L", &format!("/usr/{architecture}-linux-gnu")])
            .arg(program);
        command
    }
}

/// A result, but for who brought it and in what time.
#[derive(Debug, PartialEq)]
struct Found {
    outcome: Outcome,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    memory_bytes: u64,
}

fn corpora() -> Vec<(String, FunctionBundle)> {
    let mut files = vec![PathBuf::from(ROOT).join("tests/it/python/corpus.py")];
    let folder = std::fs::read_dir(Path::new(ROOT).join("tests/corpus")).unwrap();
    files.extend(folder.map(|entry| entry.unwrap().path()));
    files.sort();
    let bundle = |path: PathBuf| {
        let module = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let source = std::fs::read(&path).unwrap();
        let name = format!("{module}.py");
        let bundle = FunctionBundle::function(&module, &name, source, "call").unwrap();
        (module, bundle)
    };
    files.into_iter().map(bundle).collect()
}

/// Runs a job with one task for each name, as the same job each time it is run; what each came to.
async fn run(
    client: &Client,
    bundle: &FunctionBundle,
    names: &[String],
    worker: &str,
) -> BTreeMap<String, Found> {
    let limits = Limits {
        memory_bytes_max: MEMORY_BYTES_MAX,
        ..Limits::default()
    };
    let request = JobRequest::new(id(7), bundle).limits(limits).time(
        ppwasm_proto::wire::TimeSource::Deterministic {
            start_ns: 7_000_000_000,
        },
    );
    let mut submission = client.submit(request).await.unwrap();
    for name in names {
        submission
            .append(&Call::with_args([name.as_str()]))
            .await
            .unwrap();
    }
    submission.finish().await.unwrap();
    let mut results = client.results(id(7), Order::Task).await.unwrap();
    let mut found = BTreeMap::new();
    while let Some(result) = results.next().await.unwrap() {
        let name = &names[usize::try_from(result.task.0).unwrap()];
        let by = result.worker.as_ref().map(ToString::to_string);
        assert_eq!(by.as_deref(), Some(worker), "who ran {name}");
        let Usage { memory_bytes, .. } = result.usage;
        let one = Found {
            outcome: result.outcome,
            stdout: result.stdout,
            stderr: result.stderr,
            memory_bytes,
        };
        found.insert(name.clone(), one);
    }
    assert_eq!(found.len(), names.len());
    client.forget(id(7)).await.unwrap();
    found
}

/// Has `only` take work, or everybody.
async fn let_work(operator: &Client, client: &Client, only: Option<&str>) {
    for kind in &KINDS {
        let drains = only.is_some_and(|only| only != kind.name);
        let worker = kind.name.parse().unwrap();
        operator.drain_worker(worker, drains).await.unwrap();
    }
    wait("workers that are drained", async || {
        let workers = client.workers(None).await.unwrap().workers;
        workers.iter().all(|worker| {
            let name = worker.name.to_string();
            let works = only.is_none_or(|only| only == name);
            let wanted = if works {
                WorkerState::Serving
            } else {
                WorkerState::Draining
            };
            worker.state == wanted && worker.leases == 0
        })
    })
    .await;
}

async fn wait(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < deadline, "it did not come in time: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Workers of all kinds, which are there.
async fn workers(cluster: &Cluster, client: &Client) -> Vec<Process> {
    let mut running = Vec::new();
    for kind in &KINDS {
        cluster.enrol(kind.name).await;
        let flags: &[&str] = if kind.asks {
            &["--cpu-profile", kind.target]
        } else {
            &[]
        };
        let flags = [&["--slots", kind.slots()], flags].concat();
        running.push(cluster.worker_with(kind.program(), kind.name, &flags, cluster.address));
    }
    let started = Instant::now();
    wait("workers of all kinds", async || {
        for worker in &mut running {
            assert!(worker.is_running(), "{}", worker.said());
        }
        client.workers(None).await.unwrap().workers.len() == KINDS.len()
    })
    .await;
    println!(
        "workers of all kinds after {} s",
        started.elapsed().as_secs()
    );
    for worker in client.workers(None).await.unwrap().workers {
        let name = worker.name.to_string();
        let kind = KINDS.iter().find(|kind| kind.name == name).unwrap();
        println!("{name}: {} {}", &*worker.target, &*worker.cpu_profile);
        assert!(worker.cpu_profile.starts_with(kind.target), "{name}");
    }
    running
}

/// What `ppwasm doctor --self-test` says of the sandbox that an emulated worker has got: the first thing to do on a board.
async fn self_test(cluster: &Cluster, kind: &Kind) {
    let mut doctor = kind.program();
    doctor
        .args(["doctor", "--self-test", "--state"])
        .arg(cluster.worker_state(kind.name));
    let output = tokio::task::spawn_blocking(move || doctor.output().unwrap());
    let output = output.await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}: {said}", kind.name);
    let passed = said.lines().find(|line| line.starts_with("self-test"));
    let passed = passed.unwrap_or_else(|| panic!("{}: {said}", kind.name));
    assert!(
        passed.contains("programs came to what is known"),
        "{passed}"
    );
    println!("{}: {passed}", kind.name);
    // What the kernel tells of changed pages is about other addresses than its own: it must not be believed.
    if kind.addresses().is_some() {
        assert!(said.contains("pooled"), "{}: {said}", kind.name);
    }
}

/// Memory of an emulated worker that has nothing to do: what is resident of its own addresses, not of qemu's.
fn idle_memory(worker: &Process, (from, count): (u64, u64)) -> u64 {
    let smaps = std::fs::read_to_string(format!("/proc/{}/smaps", worker.id())).unwrap();
    let mut is_its = false;
    let mut kib = 0;
    for line in smaps.lines() {
        let mut words = line.split_whitespace();
        let first = words.next().unwrap_or_default();
        if let Some((start, _)) = first.split_once('-') {
            let start = u64::from_str_radix(start, 16).unwrap();
            is_its = (from..from + count).contains(&start);
        } else if is_its && first == "Rss:" {
            kib += words.next().unwrap().parse::<u64>().unwrap();
        }
    }
    assert!(kib > 10_000, "not even its program was found: {kib} KiB");
    kib << 10
}

/// Each task again on another architecture: what is recorded is what two of them came to.
async fn verified(client: &Client) {
    let started = Instant::now();
    let request = JobRequest::new(id(9), &work::bundle("work")).verify_percent(100);
    let mut submission = client.submit(request).await.unwrap();
    for n in 0..VERIFIED_TASKS {
        submission
            .append(&Call::with_args([i64::try_from(n).unwrap()]))
            .await
            .unwrap();
    }
    submission.finish().await.unwrap();
    let mut pairs = BTreeMap::<[String; 2], u64>::new();
    let check = &mut |result: &TaskResult| {
        work::check(result);
        let verification = result.verification.as_ref().expect("it was verified");
        assert_eq!(verification.verdict, Verdict::Confirmed, "{verification:?}");
        let answers = verification.testimonies.iter();
        let targets: Vec<_> = answers
            .map(|answer| {
                assert!(answer.agrees, "{verification:?}");
                answer.target.as_str().to_owned()
            })
            .collect();
        let mut targets: [String; 2] = targets.try_into().expect("two answers");
        targets.sort();
        assert_ne!(targets[0], targets[1], "{verification:?}");
        *pairs.entry(targets).or_default() += 1;
    };
    let recorded = work::all_results_of(client, id(9), Order::Completion, check).await;
    assert_eq!(recorded.unwrap().len() as u64, VERIFIED_TASKS);
    println!(
        "{VERIFIED_TASKS} tasks were verified in {} s",
        started.elapsed().as_secs()
    );
    for ([first, second], count) in &pairs {
        println!("  {count} on {first} and {second}");
    }
    assert!(pairs.len() > 2, "all architectures take part");
    let of_job = client.job(id(9)).await.unwrap().verification.unwrap();
    let counted = of_job.confirmed.iter().map(|on| {
        let pair = [on.first.as_str().to_owned(), on.second.as_str().to_owned()];
        (pair, on.tasks)
    });
    assert_eq!(counted.collect::<BTreeMap<_, _>>(), pairs);
}

/// The examples that are run: each is known by its answer.
const EXAMPLES: [&str; 3] = ["numbers", "primes", "mandelbrot"];

async fn examples(cluster: &Cluster) {
    let config = tempfile::tempdir().unwrap();
    let token = cluster.token("client", "examples").await;
    let address = cluster.address.to_string();
    let command = |mut command: Command| {
        command.env("PPWASM_CONFIG_DIR", config.path());
        tokio::task::spawn_blocking(move || command.output().unwrap())
    };
    let login = cluster.command(&["login", "--join", &token, "--name", "examples", &address]);
    let login = command(login).await.unwrap();
    assert!(login.status.success(), "{login:?}");
    let all = std::env::var("PPWASM_ALL_EXAMPLES").is_ok();
    let more: &[&str] = if all {
        &["words", "neighbours", "filters"]
    } else {
        &[]
    };
    for example in EXAMPLES.iter().chain(more) {
        let started = Instant::now();
        let folder = Path::new(ROOT).join("examples").join(example);
        let output = tempfile::tempdir().unwrap();
        let mut script = Command::new(folder.join("run.sh"));
        script
            .arg(output.path())
            .env("PPWASM", env!("CARGO_BIN_EXE_ppwasm"));
        let ran = command(script).await.unwrap();
        let said = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{example}: {said}");
        let expected = std::fs::read(folder.join("expected.txt")).unwrap();
        assert_eq!(ran.stdout, expected, "{example}: {said}");
        println!("example {example}: {} s", started.elapsed().as_secs());
    }
}

#[tokio::test]
async fn every_architecture_gives_the_same_results() {
    let _machine = machine().await;
    // Emulated workers are slow, and nothing is to be lost here.
    let flags = ["--lease=60s", "--reconnect-grace=60s", "--restart-grace=5s"];
    let cluster = Cluster::start_with(&flags, &[], None).await;
    let client = cluster.client("ann").await;
    let operator = ppwasm_certs::Credentials::load(&cluster.kept.join("operator.credentials"));
    let operator = client_of(&operator.unwrap().unwrap(), cluster.address);
    let workers = workers(&cluster, &client).await;

    let corpora = corpora();
    let mut wanted = BTreeMap::new();
    for kind in &KINDS {
        let_work(&operator, &client, Some(kind.name)).await;
        let started = Instant::now();
        let mut count = 0;
        for (module, bundle) in &corpora {
            let list = run(&client, bundle, &["programs".to_owned()], kind.name).await;
            let Outcome::Succeeded { value } = &list["programs"].outcome else {
                panic!("no list of programs: {list:?}");
            };
            let Value::List(names) = value.decode().unwrap() else {
                panic!("no list of programs");
            };
            let name = |name: &Value| match name {
                Value::Str(name) => name.to_string(),
                other => panic!("the name of a program is {other:?}"),
            };
            let names: Vec<_> = names.iter().map(name).collect();
            count += names.len();
            let found = run(&client, bundle, &names, kind.name).await;
            // The first kind is what the others are compared with.
            let wanted = wanted.entry(module).or_insert_with(BTreeMap::new);
            for (program, found) in found {
                match wanted.get(&program) {
                    Some(wanted) => {
                        assert_eq!(wanted, &found, "{module}.{program} on {}", kind.name)
                    }
                    None => drop(wanted.insert(program, found)),
                }
            }
        }
        assert!(count > 50, "{count} programs");
        println!(
            "{}: {count} programs in {} s",
            kind.name,
            started.elapsed().as_secs()
        );
    }

    for kind in KINDS.iter().filter(|kind| kind.emulated.is_some()) {
        self_test(&cluster, kind).await;
    }

    // All at once: each worker does some, and all results are right.
    let_work(&operator, &client, None).await;
    let ended = async || {
        let workers = client.workers(None).await.unwrap().workers;
        workers
            .into_iter()
            .map(|worker| (worker.name.to_string(), worker.tasks_ended))
            .collect::<BTreeMap<_, _>>()
    };
    let before = ended().await;
    work::submit(&client, id(8), "work", SMALL_TASKS, Duration::ZERO)
        .await
        .unwrap();
    let recorded = work::all_results(&client, id(8)).await.unwrap();
    assert_eq!(recorded.len() as u64, SMALL_TASKS);
    for (worker, ended) in ended().await {
        println!(
            "{worker}: {} of {SMALL_TASKS} small tasks",
            ended - before[&worker]
        );
        assert!(ended > before[&worker], "{worker} did nothing");
    }
    verified(&client).await;
    for (kind, worker) in KINDS.iter().zip(&workers) {
        if let Some(addresses) = kind.addresses() {
            let bytes = idle_memory(worker, addresses);
            println!(
                "{}: {} MiB are resident, with {} slots that have run tasks",
                kind.name,
                bytes >> 20,
                kind.slots()
            );
            assert!(bytes <= IDLE_BYTES_MAX, "{}: {bytes} bytes", kind.name);
        }
    }
    examples(&cluster).await;
}
