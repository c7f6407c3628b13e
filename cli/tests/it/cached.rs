//! `submit --cache`: what is known from an earlier job is not run again.

use serde_json::Value;

use crate::cluster::Cluster;
use crate::command_json::check;
use crate::support::Folder;

const JOB: &str = "
import random, time
def f(x):
    print('took', x)
    return [x / 7, random.random(), time.time()]
def picky(x):
    if x == 3: raise ValueError(f'not {x}')
    return x
def large(x):
    print('y' * 100_000)
    return bytes([x]) * 200_000
";

fn json(cluster: &Cluster, args: &[&str]) -> Value {
    let run = cluster.run(&[args, &["--output", "json"]].concat());
    serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{}{}", run.stdout, run.stderr))
}

/// A submission's document, which its schema describes.
fn submitted(cluster: &Cluster, args: &[&str]) -> Value {
    let document = json(cluster, &[&["submit", "--cache"], args].concat());
    let schema = crate::json::schema();
    crate::schema::check(&schema, &schema, &document).unwrap();
    document
}

/// Values and output of a document's tasks.
fn outcomes(document: &Value) -> Vec<Value> {
    let tasks = document["tasks"].as_array().unwrap().iter();
    let members = [
        "outcome",
        "value",
        "exception",
        "stdout",
        "stderr",
        "memory_bytes",
    ];
    tasks
        .map(|task| members.iter().map(|name| task[name].clone()).collect())
        .collect()
}

/// How many tasks the workers have ended.
fn ran(cluster: &Cluster) -> u64 {
    let workers = json(cluster, &["worker", "list"]);
    let workers = workers["workers"].as_array().unwrap().iter();
    workers
        .map(|one| one["tasks_ended"].as_u64().unwrap())
        .sum()
}

#[test]
fn a_second_job_runs_nothing_gives_the_same_bytes_and_says_where_they_come_from() {
    let mut cluster = Cluster::start(&[("job.py", JOB)]);
    cluster.add_worker(2);
    let first = submitted(&cluster, &["job.py:f", "--range", "1-20"]);
    assert_eq!(first["summary"]["from_cache"], 0);
    assert!(first["tasks"][0].get("from_cache").is_none());
    let before = ran(&cluster);
    assert_eq!(before, 20);

    // Other numbers of tasks, another name: the calls are the same.
    let args = ["job.py:f", "--range", "1-20", "--name", "again"];
    let again = submitted(&cluster, &args);
    assert_eq!(ran(&cluster), before);
    assert_eq!(outcomes(&again), outcomes(&first));
    assert_eq!(again["summary"]["from_cache"], 20);
    assert_eq!(again["summary"]["succeeded"], 20);
    let proof = &again["tasks"][4]["from_cache"];
    assert_eq!(
        (&proof["job"]["number"], &proof["task"]),
        (&1.into(), &4.into())
    );
    assert_eq!(
        (&proof["worker"], &proof["attempt"]),
        (&"worker-0".into(), &1.into())
    );
    assert_eq!(proof["function"], first["job"]["bundle"]);
    assert_eq!(proof["guest"], first["job"]["guest"]);
    assert_eq!(proof["job"]["id"], first["job"]["cluster_id"]);
    assert_eq!(proof["verification"], Value::Null);
    let other = submitted(&cluster, &["job.py:f", "--range", "18-22"]);
    assert_eq!(other["summary"]["from_cache"], 3);
    assert_eq!(outcomes(&other)[..3], outcomes(&first)[17..]);
    assert_eq!(ran(&cluster), before + 2);
    // Random numbers differ from call to call, and the clock starts at the same time.
    let value = |task: usize, place: usize| &first["tasks"][task]["value"][place];
    assert_ne!(value(0, 1), value(1, 1));

    let run = cluster.run(&["submit", "--cache", "job.py:f", "--range", "1-3"]);
    assert_eq!(run.code, 0);
    assert!(run.stderr.contains("3 tasks in"), "{}", run.stderr);
    assert!(
        run.stderr.contains("3 succeeded; 3 from the cache"),
        "{}",
        run.stderr
    );
    let shown = json(&cluster, &["job", "show", "2"]);
    check("job_list", &shown).unwrap();
    assert_eq!(shown["jobs"][0]["tasks"]["from_cache"], 20);
    let told = cluster.run(&["job", "show", "2"]).stdout;
    assert!(
        told.contains("20 of the tasks, which did not run"),
        "{told}"
    );
    let told = cluster.run(&["task", "explain", "2", "4"]).stdout;
    for part in [
        "It did not run",
        "worker-0: It ran there",
        "as task 4 of job 1",
        "not verified",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    for digest in ["key", "function", "call", "guest", "result"] {
        let digest = proof[digest].as_str().unwrap();
        assert!(
            digest.len() == 64 && told.contains(digest),
            "{digest}: {told}"
        );
    }
    let task = json(&cluster, &["task", "show", "2", "4"]);
    check("task_shown", &task).unwrap();
    assert_eq!(
        (&task["from_cache"], &task["worker"]),
        (proof, &Value::Null)
    );
    let told = cluster.run(&["task", "show", "2", "4"]).stdout;
    assert!(told.contains("task 4 of job 1"), "{told}");
    let results = json(&cluster, &["job", "results", "2"]);
    assert_eq!(outcomes(&results), outcomes(&first));
    assert_eq!(results["summary"]["from_cache"], 20);

    // It is all there after the coordinator was killed.
    cluster.restart_coordinator();
    let after = submitted(&cluster, &["job.py:f", "--range", "1-20"]);
    assert_eq!(after["summary"]["from_cache"], 20);
    assert_eq!(outcomes(&after), outcomes(&first));
}

#[test]
fn what_differs_runs_and_failures_and_large_results_are_known_too() {
    let mut cluster = Cluster::start(&[("job.py", JOB)]);
    cluster.add_worker(2);
    let from_cache = |args: &[&str]| {
        let document = submitted(&cluster, args);
        document["summary"]["from_cache"].as_u64().unwrap()
    };
    let job = ["job.py:f", "--range", "1-2"];
    assert_eq!(from_cache(&job), 0);
    assert_eq!(from_cache(&job), 2);
    for other in [
        &["--memory", "256MiB"][..],
        &["--submit-time", "7"],
        &["--job-id", "0123456789abcdef0123456789abcdef"],
        &["--input", "job.py"],
    ] {
        assert_eq!(from_cache(&[&job[..], other].concat()), 0, "{other:?}");
    }
    assert_eq!(from_cache(&job), 2);
    // Without --cache everything runs, and nothing is kept.
    let before = ran(&cluster);
    cluster.run(&["submit", "job.py:f", "--range", "1-2"]);
    assert_eq!(ran(&cluster), before + 2);

    let args = ["job.py:picky", "--range", "1-5", "--keep-going"];
    let first = submitted(&cluster, &args);
    let again = submitted(&cluster, &args);
    assert_eq!(outcomes(&again), outcomes(&first));
    assert_eq!(again["summary"]["raised"], 1);
    assert_eq!(again["summary"]["from_cache"], 5);
    assert_eq!(again["summary"]["exit_code"], 1);

    let args = ["job.py:large", "--range", "1-5"];
    let first = submitted(&cluster, &args);
    let again = submitted(&cluster, &args);
    assert_eq!(outcomes(&again), outcomes(&first));
    assert_eq!(again["summary"]["from_cache"], 5);

    // A changed source is another function.
    cluster.folder.write("job.py", JOB.replace("/ 7", "/ 8"));
    assert_eq!(from_cache(&job), 0);
    // A job that was removed takes what it computed with it.
    cluster.folder.write("job.py", JOB);
    let forgotten = cluster.run(&["job", "forget", "1"]);
    assert_eq!(forgotten.code, 0, "{}", forgotten.stderr);
    assert_eq!(from_cache(&job), 0);
}

#[test]
fn what_cannot_be_cached_is_refused_in_one_line() {
    let folder = Folder::job(JOB);
    let run = folder.submit(&["job.py:f", "1", "--cache", "--real-time"]);
    run.says(2, &["--cache", "--real-time"]);
    let run = folder.submit(&["job.py:f", "1", "--cache"]);
    run.says(2, &["--cache: the job would run on this machine"]);
}
