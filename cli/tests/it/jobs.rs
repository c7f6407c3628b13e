//! Jobs on a cluster: the same output as on this machine, and what can be asked about them.

use serde_json::Value;

use crate::cluster::Cluster;
use crate::support::{Folder, Run, Running};

const JOB: &str = "
import random
print('loading')
def f(x):
    print('took', x)
    return [x * x, random.random()]
def picky(x):
    if x == 3: raise ValueError(f'not {x}')
    return x
def one():
    print('alone')
    return open('data.txt').read() + input()
def large(x): return bytes([x]) * 200_000
def forever(x):
    while True: pass
";
const SCRIPT: &str =
    "import sys\nprint('hello', sys.argv[1])\nprint('err', file=sys.stderr)\nsys.exit(7)\n";
const BROKEN: &str = "def f(:\n";

fn files() -> [(&'static str, &'static str); 4] {
    [
        ("job.py", JOB),
        ("script.py", SCRIPT),
        ("broken.py", BROKEN),
        ("data.txt", "data "),
    ]
}

/// A document without what differs from run to run.
fn plain(run: &Run) -> Value {
    let mut document: Value = serde_json::from_str(&run.stdout).unwrap();
    let schema = crate::json::schema();
    crate::schema::check(&schema, &schema, &document).unwrap();
    let job = document["job"].as_object_mut().unwrap();
    for member in ["python", "slots", "cluster_id"] {
        job.remove(member);
    }
    document["summary"]["wall_time_ms"] = Value::Null;
    for task in document["tasks"].as_array_mut().unwrap() {
        task["wall_time_ms"] = Value::Null;
    }
    document
}

#[test]
fn the_cluster_prints_what_this_machine_does() {
    let mut cluster = Cluster::start(&files());
    cluster.add_worker(2);
    let stdin = cluster.folder.write("in.txt", "typed\n");
    let stdin = format!("--stdin={}", stdin.display());
    let lines = cluster.folder.write("lines.txt", "a\nb\nc\n");
    let cases: &[&[&str]] = &[
        &["job.py:f", "--range", "1-300"],
        &["job.py:picky", "--range", "1-200"],
        &["job.py:picky", "--range", "1-8", "--keep-going"],
        &["job.py:one", "--input", "data.txt", &stdin],
        &["job.py:large", "--range", "1-5"],
        &["script.py", "x"],
        &[
            "script.py",
            "--each-line",
            lines.to_str().unwrap(),
            "--keep-going",
        ],
        &["broken.py:f"],
        &["job.py:missing"],
    ];
    for case in cases {
        let args = [&["submit", "--submit-time", "1000"], *case].concat();
        let here = cluster.run(&[&args[..], &["--local"]].concat());
        let there = cluster.run(&args);
        assert_eq!(
            (there.code, &there.stdout),
            (here.code, &here.stdout),
            "{case:?}: {}",
            there.stderr
        );
        let said = |run: &Run| {
            let lines = run
                .stderr
                .lines()
                .filter(|line| !line.contains(" tasks in "));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(said(&there), said(&here), "{case:?}");
        if case[0] == "job.py:picky" && case.len() == 3 {
            // Which tasks ran after the first failure is chance.
            continue;
        }
        let json = |flags: &[&str]| {
            plain(&cluster.run(&[&args[..], &["--output", "json"], flags].concat()))
        };
        assert_eq!(json(&[]), json(&["--local"]), "{case:?}");
    }
}

#[test]
fn a_detached_job_is_waited_for_and_printed_from_elsewhere() {
    let mut cluster = Cluster::start(&files());
    let submitted = cluster.run(&[
        "submit",
        "job.py:f",
        "--range",
        "1-50",
        "--detach",
        "--name",
        "squares\x1b[31m",
    ]);
    assert_eq!(submitted.code, 0, "{}", submitted.stderr);
    let id = submitted.stdout.trim();
    assert_eq!(id.len(), 32, "{id}");

    let explained = cluster.run(&["task", "explain", "last", "3"]);
    assert_eq!(explained.code, 0, "{}", explained.stderr);
    assert!(
        explained.stdout.starts_with("task 3: "),
        "{}",
        explained.stdout
    );
    cluster
        .run(&["job", "wait", "1", "--timeout", "50ms"])
        .says(6, &["the time is over"]);

    cluster.add_worker(2);
    let waited = cluster.run(&["job", "wait", &id[..6]]);
    assert_eq!(waited.code, 0, "{}", waited.stderr);
    let explained = cluster.run(&["task", "explain", "last", "3"]);
    let (state, place) = explained.stdout.split_once('\n').unwrap();
    assert_eq!(
        state,
        "task 3: The task has ended: it succeeded. (attempts: 1)"
    );
    assert!(place.contains(": It ran there for "), "{place}");
    let results = cluster.run(&["job", "results", "1"]);
    let local = cluster.run(&["submit", "--local", "job.py:f", "--range", "1-50"]);
    assert_eq!(
        (results.code, &results.stdout),
        (0, &local.stdout),
        "{}",
        results.stderr
    );
    assert!(
        results.stderr.starts_with("loading\ntask 0: took 1\n"),
        "{}",
        results.stderr
    );

    let list = cluster.run(&["job", "list"]);
    assert!(list.stdout.contains("squares\\x1b[31m"), "{}", list.stdout);
    assert!(
        list.stdout.lines().all(|line| line.chars().count() <= 80),
        "{}",
        list.stdout
    );
    let shown: Value =
        serde_json::from_str(&cluster.run(&["job", "show", id, "--output", "json"]).stdout)
            .unwrap();
    assert_eq!(shown["jobs"][0]["state"], "ended");
    assert_eq!(shown["jobs"][0]["tasks"]["succeeded"], 50);
    let logs = cluster.run(&["job", "logs", "last", "--task", "4"]);
    assert_eq!(
        (logs.code, logs.stdout.as_str()),
        (0, "took 5\n"),
        "{}",
        logs.stderr
    );
    let task = cluster.run(&["task", "show", "last", "4"]);
    assert!(
        task.stdout.contains("worker     worker-0") && task.stdout.contains("[25, "),
        "{}",
        task.stdout
    );
    let functions = cluster.run(&["function", "list"]);
    assert!(functions.stdout.contains("job:f"), "{}", functions.stdout);

    assert_eq!(cluster.run(&["job", "forget", "last"]).code, 0);
    cluster
        .run(&["job", "show", "1"])
        .fails(2, "error: there is no job 1 of yours");
}

#[test]
fn a_job_of_many_tasks_takes_no_more_of_the_clients_memory_than_one_of_few() {
    let mut cluster = Cluster::start(&[("job.py", "def f(x): return int(x) + 1\n")]);
    cluster.add_worker(2);
    let peak_kib = |tasks: u32| {
        let args = ["submit", "job.py:f", "--each-line", "-"];
        let mut running = Running::start(&mut cluster.folder.command(&args));
        let lines: String = (0..tasks).map(|n| format!("{n}\n")).collect();
        running.give_some(lines.as_bytes());
        // The last one: it waits for more lines, so it is there to be looked at.
        running.wait_for(&format!("{tasks}\n"));
        let peak = running.peak_kib();
        assert_eq!(running.end().stdout.lines().count(), tasks as usize);
        peak
    };
    let (few, many) = (peak_kib(3_000), peak_kib(40_000));
    assert!(
        many < few + (8 << 10),
        "{few} KiB with 3,000 tasks, {many} KiB with 40,000"
    );
}

#[test]
fn jobs_are_cancelled_and_run_again() {
    let mut cluster = Cluster::start(&files());
    cluster.add_worker(2);
    let submitted = cluster.run(&["submit", "job.py:forever", "--range", "1-5", "--detach"]);
    assert_eq!(submitted.code, 0, "{}", submitted.stderr);
    assert_eq!(cluster.run(&["job", "cancel", "all"]).code, 0);
    assert_eq!(cluster.run(&["job", "wait", "last"]).code, 6);

    let submitted = cluster.run(&[
        "submit",
        "job.py:picky",
        "--range",
        "1-5",
        "--detach",
        "--keep-going",
    ]);
    assert_eq!(submitted.code, 0, "{}", submitted.stderr);
    assert_eq!(cluster.run(&["job", "wait", "last"]).code, 1);
    assert_eq!(cluster.run(&["job", "retry", "last"]).code, 0);
    assert_eq!(cluster.run(&["job", "wait", "last"]).code, 1);
    let results = cluster.run(&["job", "results", "last"]);
    assert_eq!(
        (results.code, results.stdout.as_str()),
        (1, "1\n2\n"),
        "{}",
        results.stderr
    );
    let results = cluster.run(&["job", "results", "last", "--keep-going"]);
    assert_eq!(
        (results.code, results.stdout.as_str()),
        (1, "1\n2\n4\n5\n"),
        "{}",
        results.stderr
    );
}

#[test]
fn a_wait_survives_the_coordinators_restart() {
    let mut cluster = Cluster::start(&files());
    let submitted = cluster.run(&["submit", "job.py:f", "--range", "1-20", "--detach"]);
    assert_eq!(submitted.code, 0, "{}", submitted.stderr);
    let mut waiting = Running::start(&mut cluster.folder.command(&["job", "progress", "last"]));
    waiting.give(b"");
    // It has a session: the first one is waited for ten seconds only.
    waiting.wait_for_said("0 of 20 tasks");
    cluster.restart_coordinator();
    cluster.add_worker(2);
    let run = waiting.end();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("20 of 20 tasks"), "{}", run.stderr);
}

#[test]
fn workers_are_listed_drained_and_resized_by_the_operator() {
    let mut cluster = Cluster::start(&files());
    cluster.add_worker(1);
    let worker = |member: &str| {
        let list = cluster.run(&["worker", "list", "--output", "json"]);
        let list: Value = serde_json::from_str(&list.stdout).ok()?;
        let worker = list["workers"].get(0)?;
        (worker["state"] != "away").then(|| worker[member].clone())
    };
    assert_eq!(cluster.until("the worker", || worker("slots")), 1);
    cluster
        .run(&["worker", "set-slots", "worker-0", "2"])
        .says(6, &["operator"]);
    let set = cluster.operate(&["worker", "set-slots", "worker-0", "2"]);
    assert_eq!(set.code, 0, "{}", set.stderr);
    cluster.until("two slots", || worker("slots").filter(|slots| *slots == 2));
    let none = cluster.operate(&["worker", "drain", "nobody"]);
    none.says(2, &["there is no such worker"]);
}

#[test]
fn what_goes_wrong_with_a_coordinator_is_told_in_one_line() {
    let cluster = Cluster::start(&files());
    let one_line = |run: &Run, code: i32, text: &str| {
        assert_eq!(run.code, code, "{}", run.stderr);
        assert!(run.stderr.contains(text), "{text:?}: {}", run.stderr);
        assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
        assert_eq!(run.stdout, "");
    };
    let submit = |flags: &[&str]| cluster.run(&[&["submit", "job.py:f", "1"], flags].concat());
    let quick = ["--connect-timeout", "300ms"];
    let nobody = submit(&[&["--coordinator", "127.0.0.1:9"], &quick[..]].concat());
    one_line(&nobody, 6, "no coordinator answers at 127.0.0.1:9");
    let unknown = submit(&["--coordinator", "no-such-host.invalid:7777"]);
    one_line(
        &unknown,
        2,
        "no-such-host.invalid:7777: there is no host of that name",
    );
    submit(&["--coordinator", "nonsense"]).says(2, &["HOST:PORT"]);
    one_line(
        &submit(&["--slots", "2"]),
        2,
        "--slots: the job goes to the coordinator",
    );
    one_line(
        &cluster.run(&["job", "show", "77"]),
        2,
        "there is no job 77 of yours",
    );
    one_line(
        &cluster.run(&["job", "wait", "abc"]),
        2,
        "there is no job abc of yours",
    );

    // A token works once.
    let token = cluster.token(&["--role", "client"]);
    let elsewhere = Folder::new(&[]);
    let login = |token: &str| {
        elsewhere.ppwasm(&["login", "--join", token, cluster.address(), "--name", "bob"])
    };
    assert_eq!(login(&token).code, 0);
    one_line(&login(&token), 6, "does not take the token");
    one_line(&login("rubbish"), 2, "not a whole join token");

    // Another's job is no job.
    assert_eq!(submit(&["--detach"]).code, 0);
    one_line(
        &elsewhere.ppwasm(&["job", "show", "1"]),
        2,
        "there is no job 1 of yours",
    );

    // Who is revoked is told so.
    cluster.revoke("client", "bob");
    one_line(&elsewhere.ppwasm(&["job", "list"]), 6, "revoked");

    // The coordinator of another installation is not the one that was joined.
    let other = Cluster::start(&[]);
    let foreign = submit(&["--coordinator", other.address()]);
    one_line(
        &foreign,
        6,
        "is not the coordinator that this machine has joined",
    );

    let stranger = Folder::job(JOB);
    let run = stranger.ppwasm(&[
        "submit",
        "job.py:f",
        "1",
        "--coordinator",
        cluster.address(),
    ]);
    one_line(&run, 2, "you have not logged in");
    let run = stranger.ppwasm(&["job", "list"]);
    one_line(&run, 2, "no coordinator is configured");

    assert_eq!(elsewhere.ppwasm(&["logout"]).code, 0);
    one_line(
        &elsewhere.ppwasm(&["job", "list"]),
        2,
        "no coordinator is configured",
    );
}

#[test]
fn config_says_where_each_value_came_from() {
    let folder = Folder::new(&[("config/config.toml", "# mine\ncoordinator = 'a:1'\n")]);
    let show = |flags: &[&str], variable: Option<&str>| {
        let mut command =
            folder.command(&[&["config", "show", "--output", "json"], flags].concat());
        if let Some(value) = variable {
            command.env("PPWASM_COORDINATOR", value);
        }
        let run = crate::support::finish(command, b"");
        let document: Value = serde_json::from_str(&run.stdout).unwrap();
        let setting = &document["settings"][0];
        format!(
            "{} {}",
            setting["value"].as_str().unwrap(),
            setting["source"].as_str().unwrap()
        )
    };
    assert_eq!(show(&[], None), "a:1 file");
    assert_eq!(show(&[], Some("b:2")), "b:2 environment");
    assert_eq!(show(&["--coordinator", "c:3"], Some("b:2")), "c:3 flag");
    folder.write("config/config.toml", "coordinator = 'a:1'\ncolour = 1\n");
    let run = folder.ppwasm(&["config", "show"]);
    run.says(
        2,
        &["config.toml, line 2: there is no setting \"colour\"; there are: coordinator, "],
    );
}
