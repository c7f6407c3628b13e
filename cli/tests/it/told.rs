//! What goes wrong between machines is told in one line that says what happened and what to do, with an exit code, and
//! nothing is lost by it. `jobs.rs` has what concerns a client that is well.

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ppwasm_certs::{Authority, Credentials, DenyList, PrivateKey, Role, Trust, UnixTime, tls};
use ppwasm_proto::wire::{ErrorCode, MINOR, Message, Refused, Text};
use ppwasm_session::Listener;

use crate::cluster::Cluster;
use crate::support::{Folder, Run, finish};

const JOB: &str = "def f(x): return x + 1\n";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// This code, one line with each of the texts, and nothing on standard output.
#[track_caller]
fn one_line(run: &Run, code: i32, texts: &[&str]) {
    let last = run.stderr.lines().last().unwrap_or_default();
    assert_eq!(run.code, code, "{}", run.stderr);
    for text in texts {
        assert!(last.contains(text), "{text:?}: {}", run.stderr);
    }
    let errors = run.stderr.lines().filter(|line| line.starts_with("error"));
    assert_eq!(errors.count(), 1, "{}", run.stderr);
    assert_eq!(run.stdout, "");
}

fn now() -> UnixTime {
    UnixTime::since_unix_epoch(SystemTime::UNIX_EPOCH.elapsed().unwrap())
}

/// The authority of the cluster's coordinator.
fn authority(cluster: &Cluster) -> Authority {
    let authority = Authority::load(&cluster.home.join("authority"), now());
    authority.unwrap().unwrap()
}

/// Credentials as the coordinator would give them, which a worker finds in its folder.
fn issue(authority: &Authority, role: Role, name: &str, at: UnixTime, path: &Path) -> String {
    let mut credentials = Credentials::issue(authority, role, name, at).unwrap();
    // Nothing gets as far as an artifact here.
    credentials.artifact_key = Some(*PrivateKey::generate().unwrap().public());
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    credentials.save(path).unwrap();
    path.to_str().unwrap().to_owned()
}

/// The cluster still answers whoever is well.
#[track_caller]
fn is_served(cluster: &Cluster) {
    let list = cluster.run(&["job", "list"]);
    assert_eq!(list.code, 0, "{}", list.stderr);
}

fn worker(cluster: &Cluster, flags: &[&str], state: &str, address: &str) -> Run {
    let mut command = cluster.folder.command(&["worker", "start", "--slots", "1"]);
    command
        .args(flags)
        .arg("--state")
        .arg(cluster.folder.path().join(state))
        .arg(address);
    finish(command, b"")
}

#[test]
fn join_tokens_that_are_no_good() {
    let cluster = Cluster::start(&[]);
    let stranger = Folder::new(&[]);
    let login = |token: &str| {
        stranger.ppwasm(&["login", "--join", token, cluster.address(), "--name", "x"])
    };
    let [for_client, for_worker] =
        ["client", "worker"].map(|role| cluster.token(&["--role", role, "--lifetime", "1s"]));
    // Their time is over by the wall, and nothing else tells.
    std::thread::sleep(Duration::from_millis(2100));
    let refused = "does not take the token: it is used up, has expired";
    let late = worker(
        &cluster,
        &["--join", &for_worker],
        "late",
        cluster.address(),
    );
    for (run, role) in [(login(&for_client), "client"), (late, "worker")] {
        let advice = format!("get a new token with `ppwasm certs token --role {role}`");
        one_line(&run, 6, &[refused, &advice]);
    }
    let token = cluster.token(&["--role", "worker"]);
    one_line(
        &login(&token),
        2,
        &["the token is for a worker: log in with one that"],
    );
    // A token of another installation names another authority.
    let other = Cluster::start(&[]);
    let token = other.token(&["--role", "worker"]);
    one_line(
        &worker(&cluster, &["--join", &token], "foreign", cluster.address()),
        6,
        &["the token is of another coordinator, or a clock is wrong"],
    );
    is_served(&cluster);
}

#[test]
fn nobody_answers() {
    let cluster = Cluster::start(&[("job.py", JOB)]);
    // Bound and never read, as behind a firewall that drops UDP; and a port that is refused.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().map(|at| (silent, at.to_string()));
    let (_kept, silent) = silent.unwrap();
    for address in [silent.as_str(), "127.0.0.1:9"] {
        let run = cluster.run(&[
            "submit",
            "job.py:f",
            "1",
            "--coordinator",
            address,
            "--connect-timeout",
            "300ms",
        ]);
        let texts = [
            "no coordinator answers at",
            address,
            "does the network let UDP through?",
        ];
        one_line(&run, 6, &texts);
        let token = cluster.token(&["--role", "worker"]);
        one_line(
            &worker(&cluster, &["--join", &token], "far", address),
            6,
            &texts,
        );
    }
    let token = cluster.token(&["--role", "worker"]);
    let run = worker(
        &cluster,
        &["--join", &token],
        "far",
        "no-such-host.invalid:7777",
    );
    one_line(
        &run,
        2,
        &["no-such-host.invalid:7777: there is no host of that name"],
    );
    is_served(&cluster);
}

#[test]
fn clocks_that_are_off_by_a_day_and_certificates_that_are_revoked() {
    let cluster = Cluster::start(&[("job.py", JOB)]);
    let authority = authority(&cluster);
    let issued = |role, name: &str, at: UnixTime, file: &str| {
        issue(
            &authority,
            role,
            name,
            at,
            &cluster.folder.path().join(file),
        )
    };
    let list = |path: &str| cluster.run(&["job", "list", "--credentials", path]);
    // A clock that is a day behind meets a certificate of tomorrow.
    let tomorrow = UnixTime::since_unix_epoch(Duration::from_secs(now().as_secs()) + DAY);
    let path = issued(Role::Client, "ann", tomorrow, "tomorrow.credentials");
    one_line(
        &list(&path),
        2,
        &["not valid yet: this machine's clock is behind; set it right"],
    );
    // One that is far ahead finds what it has expired.
    let long_ago = UnixTime::since_unix_epoch(Duration::from_secs(now().as_secs()) - 40 * DAY);
    let authority_was = Authority::create("ppwasm".parse().unwrap(), long_ago).unwrap();
    let old = Credentials::issue(&authority_was, Role::Client, "ann", long_ago).unwrap();
    let path = cluster.folder.path().join("old.credentials");
    old.save(&path).unwrap();
    one_line(
        &list(path.to_str().unwrap()),
        2,
        &["has expired, or this machine's clock is wrong; log in again with a new token"],
    );
    // A worker of tomorrow is told by the coordinator.
    issued(Role::Worker, "w1", tomorrow, "w1/worker.credentials");
    one_line(
        &worker(&cluster, &[], "w1", cluster.address()),
        5,
        &[
            "could not get the sandbox",
            "set the clocks right, or join again with a new token",
        ],
    );
    // Revoked: told so, and its session does not come back.
    issued(Role::Worker, "w2", now(), "w2/worker.credentials");
    cluster.revoke("worker", "w2");
    one_line(
        &worker(&cluster, &[], "w2", cluster.address()),
        5,
        &[
            "revoked",
            "ask its operator, then join again with a new token",
        ],
    );
    // The certificate of another authority.
    let stranger = Authority::create("ppwasm".parse().unwrap(), now()).unwrap();
    let path = cluster.folder.path().join("w3/worker.credentials");
    issue(&stranger, Role::Worker, "w3", now(), &path);
    let run = worker(&cluster, &[], "w3", cluster.address());
    one_line(&run, 5, &["could not get the sandbox", "; "]);
    is_served(&cluster);
}

#[test]
fn a_coordinator_with_a_newer_protocol() {
    let cluster = Cluster::start(&[("job.py", JOB)]);
    let authority = authority(&cluster);
    let own = Credentials::load(&cluster.home.join("coordinator.credentials"));
    let own = own.unwrap().unwrap();
    let path = cluster.folder.path().join("w1/worker.credentials");
    issue(&authority, Role::Worker, "w1", now(), &path);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let time = Arc::new(tls::DefaultTimeProvider);
    let trust = Trust::of_peers(&authority).unwrap();
    let gate = Arc::new(std::sync::RwLock::new(DenyList::new()));
    let settings = tls::server_config(&own, trust, gate, false, time).unwrap();
    let address = runtime.block_on(async {
        let mut listener = Listener::bind("127.0.0.1:0".parse().unwrap(), settings).unwrap();
        let address = listener.local_address().unwrap();
        tokio::spawn(async move {
            while let Some(mut session) = listener.accept().await {
                let Ok(Message::Hello(_)) = session.receiver.receive().await else {
                    continue;
                };
                let refused = Refused {
                    code: ErrorCode::VersionUnsupported,
                    reason: Text::truncated("minor versions 1 to 1 are not spoken, 7 to 8 are"),
                    retry_after_ms: None,
                    spoken: Some(Text::truncated("7 to 8")),
                };
                let _ = session.sender.send(&refused.into()).await;
                // It hears it before the connection goes.
                let _ = session.receiver.receive().await;
            }
        });
        address.to_string()
    });
    let run = cluster.run(&["submit", "job.py:f", "1", "--coordinator", &address]);
    one_line(
        &run,
        6,
        &[
            &format!(
                "the coordinator speaks versions 7 to 8 of the protocol, this program {MINOR}"
            ),
            "use the version of ppwasm that it runs",
        ],
    );
    let run = worker(&cluster, &[], "w1", &address);
    one_line(
        &run,
        5,
        &[
            "7 to 8 are",
            "install the version of ppwasm that the coordinator runs",
        ],
    );
    is_served(&cluster);
}

#[test]
fn folders_that_a_coordinator_cannot_use() {
    let mut cluster = Cluster::start(&[("job.py", JOB)]);
    let home = cluster.home.to_str().unwrap().to_owned();
    let start = |dir: &str, listen: &str| {
        let flags = ["coordinator", "start", "--dir", dir, "--listen", listen];
        cluster.folder.ppwasm(&flags)
    };
    one_line(
        &start(&home, "127.0.0.1:0"),
        5,
        &[
            "is in use by process",
            "stop that coordinator, or keep this one elsewhere with --dir",
        ],
    );
    let check = cluster.run(&["coordinator", "check", "--dir", &home]);
    one_line(&check, 2, &["is in use by process"]);
    assert_eq!(
        cluster.run(&["submit", "job.py:f", "1", "--detach"]).code,
        0
    );
    cluster.kill_coordinator();

    let store = cluster.home.join("store/coordinator.db");
    let copy = cluster.folder.path().join("copy");
    let copied = std::process::Command::new("cp")
        .arg("-r")
        .arg(&cluster.home)
        .arg(&copy)
        .status();
    assert!(copied.unwrap().success());
    // What the log has goes into the database.
    drop(ppwasm_coordinator::store::SqliteStore::open(
        &copy.join("store"),
        &ppwasm_coordinator::store::Options::new([0; 32]),
    ));
    let database = copy.join("store/coordinator.db");
    let bytes = fs::read(&database).unwrap();
    let dir = copy.to_str().unwrap();
    let harmed = |at: usize, with: &[u8]| {
        let mut harmed = bytes.clone();
        harmed[at..at + with.len()].copy_from_slice(with);
        fs::write(&database, harmed).unwrap();
        cluster.folder.ppwasm(&[
            "coordinator",
            "start",
            "--dir",
            dir,
            "--listen",
            "127.0.0.1:0",
        ])
    };
    one_line(
        &harmed(60, &99_u32.to_be_bytes()),
        5,
        &[
            "has version 99; this program knows up to",
            "start from a backup of before the upgrade",
        ],
    );
    one_line(
        &harmed(bytes.len() - 2000, &[0xde, 0xad, 0xbe, 0xef]),
        5,
        &[
            "is damaged: page",
            "`ppwasm coordinator check` says all that is wrong",
        ],
    );
    let check = cluster.run(&["coordinator", "check", "--dir", dir]);
    assert_eq!(check.code, 1, "{}", check.stdout);
    assert!(
        check
            .stdout
            .contains("is not as it was when the store was closed"),
        "{}",
        check.stdout
    );
    one_line(
        &harmed(0, b"something else"),
        5,
        &[
            "is not a store of ppwasm",
            "choose another folder with --dir",
        ],
    );

    // The one that was not touched goes on, with what it had.
    assert!(store.exists());
    cluster.restart_coordinator();
    let list = cluster.run(&["job", "list"]);
    assert!(list.stdout.contains("job.py:f"), "{}", list.stdout);
}

#[test]
fn waiting_for_a_job_that_is_not_there_or_anothers() {
    let cluster = Cluster::start(&[("job.py", JOB)]);
    let submitted = cluster.run(&["submit", "job.py:f", "1", "--detach"]);
    let id = submitted.stdout.trim();
    let token = cluster.token(&["--role", "client"]);
    let other = Folder::new(&[]);
    let login = other.ppwasm(&[
        "login",
        "--join",
        &token,
        cluster.address(),
        "--name",
        "bob",
    ]);
    assert_eq!(login.code, 0, "{}", login.stderr);
    for command in ["wait", "results", "cancel", "logs", "retry"] {
        for job in ["7", "0123456789abcdef0123456789abcdef"] {
            let text = format!("there is no job {job} of yours");
            one_line(&cluster.run(&["job", command, job]), 2, &[&text]);
        }
        for job in ["1", id] {
            let text = format!("there is no job {job} of yours");
            one_line(&other.ppwasm(&["job", command, job]), 2, &[&text]);
        }
    }
    let shown = cluster.run(&["job", "show", "1"]);
    assert!(shown.stdout.contains("1 (1 queued)"), "{}", shown.stdout);
}
