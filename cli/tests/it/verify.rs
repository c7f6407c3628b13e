//! `submit --verify`: tasks that are run again on another worker.

use serde_json::Value;

use crate::cluster::Cluster;
use crate::support::Folder;

const JOB: &str = "
import random
def f(x):
    print('took', x)
    return [x / 7, random.random()]
def picky(x):
    if x == 3: raise ValueError(x)
    return x
";

fn json(cluster: &Cluster, args: &[&str]) -> Value {
    let run = cluster.run(&[args, &["--output", "json"]].concat());
    serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{}{}", run.stdout, run.stderr))
}

/// A job shown by its number.
fn shown(cluster: &Cluster, job: &str) -> Value {
    json(cluster, &["job", "show", job])["jobs"][0].clone()
}

#[test]
fn tasks_are_verified_by_another_worker_and_the_job_says_so() {
    let mut cluster = Cluster::start(&[("job.py", JOB)]);
    cluster.add_worker(1);
    let alone = cluster.run(&["submit", "job.py:f", "--range", "1-3", "--verify"]);
    assert_eq!(alone.code, 0, "{}", alone.stderr);
    let of = &shown(&cluster, "1")["verification"];
    assert_eq!(
        (&of["confirmed"], &of["no_other_worker"]),
        (&0.into(), &3.into())
    );
    let told = cluster.run(&["job", "show", "1"]).stdout;
    let line = "each task: 3 unverified: there was no other worker";
    assert!(told.contains(line), "{told}");

    cluster.add_worker(1);
    cluster.until("a second worker", || {
        let workers = json(&cluster, &["worker", "list"]);
        let mut serve =
            (workers["workers"].as_array()?.iter()).filter(|of| of["state"] == "serving");
        serve.nth(1).map(drop)
    });
    let args = [
        "submit",
        "job.py:f",
        "--range",
        "1-30",
        "--submit-time",
        "5",
    ];
    let plain = cluster.run(&args);
    let verified = cluster.run(&[&args[..], &["--verify"]].concat());
    assert_eq!((verified.code, &verified.stdout), (0, &plain.stdout));
    assert!(shown(&cluster, "2").get("verification").is_none());
    let of = &shown(&cluster, "3")["verification"];
    assert_eq!(
        (&of["percent"], &of["confirmed"]),
        (&100.into(), &30.into())
    );
    assert_eq!(of["odd"], Value::Array(Vec::new()));
    let on = &of["confirmed_on"][0];
    assert_eq!(
        (&on["tasks"], &on["targets"][0]),
        (&30.into(), &on["targets"][1])
    );
    let told = cluster.run(&["job", "show", "3"]).stdout;
    assert!(
        told.contains("each task: 30 confirmed by another worker"),
        "{told}"
    );

    let task = json(&cluster, &["task", "show", "3", "7"]);
    assert_eq!(task["verification"]["verdict"], "confirmed");
    let answers = task["verification"]["answers"].as_array().unwrap();
    let mut names: Vec<_> = answers
        .iter()
        .map(|one| one["worker"].as_str().unwrap())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["worker-0", "worker-1"]);
    let told = cluster.run(&["task", "show", "3", "7"]).stdout;
    assert!(
        told.contains("yes, another worker gave the same bytes"),
        "{told}"
    );
    let told = cluster.run(&["task", "explain", "3", "7"]).stdout;
    assert!(told.contains("It was verified"), "{told}");

    // An exception is a result: it is compared as well.
    let raised = cluster.run(&[
        "submit",
        "job.py:picky",
        "--range",
        "1-8",
        "--keep-going",
        "--verify",
    ]);
    assert_eq!(raised.code, 1);
    assert_eq!(shown(&cluster, "4")["verification"]["confirmed"], 8);
    // A share of them.
    let sample = cluster.run(&["submit", "job.py:f", "--range", "1-200", "--verify=20%"]);
    assert_eq!(sample.code, 0, "{}", sample.stderr);
    let of = &shown(&cluster, "5")["verification"];
    let confirmed = of["confirmed"].as_u64().unwrap();
    assert!((10..90).contains(&confirmed), "{of}");
}

#[test]
fn what_cannot_be_verified_is_refused_in_one_line() {
    let folder = Folder::job(JOB);
    for value in ["0", "101", "5.5", "-1", "x", ""] {
        let run = folder.submit(&["job.py:f", "1", &format!("--verify={value}")]);
        run.says(2, &["--verify", "a whole percentage from 1 to 100"]);
    }
    let run = folder.submit(&["job.py:f", "1", "--verify", "--real-time"]);
    run.says(2, &["--verify", "--real-time"]);
    let run = folder.submit(&["job.py:f", "1", "--verify"]);
    run.says(2, &["--verify: the job would run on this machine"]);
}
