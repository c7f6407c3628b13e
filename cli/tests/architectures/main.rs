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

use ppwasm_client::{Client, JobRequest, Order};
use ppwasm_proto::wire::{Usage, WorkerState};
use ppwasm_proto::{Call, FunctionBundle, Limits, Outcome, Value};

use crate::cluster::{Cluster, Process, client_of, machine};
use crate::work::id;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// Compiling five artifacts, emulation, and programs that run into limits: each takes minutes at worst.
const PATIENCE: Duration = Duration::from_secs(900);
/// Programs that fill their memory do it soon.
const MEMORY_BYTES_MAX: u64 = 160 << 20;
/// Small tasks for all workers together.
const SMALL_TASKS: u64 = 2000;

/// A kind of machine: the worker's name, what runs it, and the code that it asks for.
struct Kind {
    name: &'static str,
    /// The architecture, when it is emulated.
    emulated: Option<(&'static str, &'static str)>,
    /// What it says that it runs.
    target: &'static str,
    /// Whether it asks for that; else it is what it finds out itself.
    asks: bool,
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
        emulated: Some(("aarch64", "aarch64-unknown-linux-gnu")),
        target: "aarch64",
        asks: false,
    },
    Kind {
        name: "riscv",
        emulated: Some(("riscv64", "riscv64gc-unknown-linux-gnu")),
        target: "riscv64gc",
        asks: false,
    },
];

impl Kind {
    fn program(&self) -> Command {
        let Some((architecture, target)) = self.emulated else {
            return Command::new(env!("CARGO_BIN_EXE_ppwasm"));
        };
        let qemu = ["-static", ""].map(|end| format!("qemu-{architecture}{end}"));
        let is_there = |qemu: &&String| Command::new(qemu).arg("--version").output().is_ok();
        let qemu = qemu.iter().find(is_there);
        let qemu = qemu.unwrap_or_else(|| panic!("there is no qemu for {architecture}"));
        let program = Path::new(ROOT).join(format!("target/cross/build/{target}/board/ppwasm"));
        assert!(program.exists(), "make cross builds {}", program.display());
        let mut command = Command::new(qemu);
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
        let flags = [&["--slots", "1"], flags].concat();
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
    let _workers = workers(&cluster, &client).await;

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
    examples(&cluster).await;
}
