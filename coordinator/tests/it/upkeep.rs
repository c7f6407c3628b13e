//! What happens by itself: jobs go after their time, figures are told, full disks and exhausted descriptors are survived.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ppwasm_certs::Role;
use ppwasm_coordinator::service::{STORE_FOLDER, read_address};
use ppwasm_coordinator::store::{Options, SqliteStore, Store};
use ppwasm_proto::wire::{
    CancelJob, ErrorCode, ForgetJob, JobState, Message, RevokeIdentity, ShowJob, Text,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::installation::{
    Clock, Installation, PATIENCE, config, failure, id, open, soon, start_with, succeeded,
};

#[tokio::test]
async fn a_job_is_forgotten_after_the_time_that_its_client_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::<Clock>::default();
    let mut config = config(folder.path(), &clock);
    config.first_maintenance = Some(Duration::from_millis(200));
    let coordinator = start_with(config).await.unwrap();
    let installation = Installation {
        folder,
        clock,
        coordinator,
    };
    let ann = installation.join(Role::Client, "ann").await;
    let mut ann = installation.client(&ann).await;
    ann.submit(id(1), 1).await;
    let function = ann.put(b"a function").await;
    let mut short = open(id(2), function);
    short.keep_for_s = Some(0);
    assert!(matches!(ann.ask(short).await, Message::JobOpened(_)));
    for number in [1, 2] {
        let cancel = CancelJob {
            request: 2,
            job: id(number),
        };
        assert!(matches!(ann.ask(cancel).await, Message::Done(_)));
    }
    let show = |number| ShowJob {
        request: 3,
        job: id(number),
    };
    soon(async {
        while let Message::JobShown(_) = ann.ask(show(2)).await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let Message::JobShown(other) = ann.ask(show(1)).await else {
        panic!("kept for the usual time");
    };
    assert_eq!(other.job.state, JobState::Cancelled);
    let forget = ForgetJob {
        request: 4,
        job: id(1),
    };
    assert!(matches!(ann.ask(forget).await, Message::Done(_)));
    assert_eq!(failure(ann.ask(show(1)).await).code, ErrorCode::NotFound);
}

async fn get(address: std::net::SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    soon(stream.read_to_string(&mut text)).await.unwrap();
    text
}

#[tokio::test]
async fn figures_are_told_to_whoever_asks_in_the_right_way() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::<Clock>::default();
    let mut config = config(folder.path(), &clock);
    config.metrics = Some("127.0.0.1:0".parse().unwrap());
    let coordinator = start_with(config).await.unwrap();
    let address = coordinator.metrics_address().unwrap();
    let installation = Installation {
        folder,
        clock,
        coordinator,
    };
    let ann = installation.join(Role::Client, "ann").await;
    let mut ann = installation.client(&ann).await;
    let worker = installation.join(Role::Worker, "lab-1").await;
    let mut worker = installation.worker(&worker, 4).await;
    ann.submit(id(1), 3).await;
    let mut done = 0;
    while done < 3 {
        let claims = worker.granted().await;
        worker.ends(&claims, &succeeded()).await;
        done += claims.len();
    }
    let unknown = ShowJob {
        request: 3,
        job: id(9),
    };
    failure(ann.ask(unknown).await);
    let lines = [
        "ppwasm_tasks_ended_total{outcome=\"succeeded\"} 3",
        "ppwasm_jobs{state=\"live\"} 0",
        "ppwasm_jobs{state=\"ended\"} 1",
        "ppwasm_tasks{state=\"open\"} 0",
        "ppwasm_workers{state=\"connected\"} 1",
        "ppwasm_slots 4",
        "ppwasm_sessions 2",
        "ppwasm_joins_total{result=\"issued\"} 2",
        "ppwasm_refused_total{code=\"NotFound\"} 1",
        "ppwasm_images_total{result=\"built\"} 1",
        "ppwasm_blob_bytes_total{direction=\"in\"} 10",
        "# TYPE ppwasm_commit_seconds histogram",
    ];
    // The last outcomes become durable, and the sessions of those who joined end, beside this.
    let deadline = Instant::now() + PATIENCE;
    loop {
        let page = get(address, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
        let has = |line: &str| page.contains(&format!("{line}\n"));
        // A job ends with its last task: no page counts the task and shows the job as live.
        assert!(!has(lines[0]) || has(lines[1]), "{page}");
        let Some(missing) = lines.iter().find(|line| !has(line)) else {
            break;
        };
        assert!(Instant::now() < deadline, "{missing} in {page}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", "404"),
        ("POST /metrics HTTP/1.1\r\n\r\n", "405"),
        ("\u{0}\u{1}\r\n\r\n", "400"),
    ] {
        let answer = get(address, request).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
    }
    let long = format!("GET /metrics HTTP/1.1\r\nX: {}\r\n", "x".repeat(9000));
    // What is left unread resets the connection, so the answer may be lost.
    let mut stream = TcpStream::connect(address).await.unwrap();
    let _ = stream.write_all(long.as_bytes()).await;
    let _ = stream.read_to_end(&mut Vec::new()).await;
    let page = get(address, "GET /metrics HTTP/1.1\r\n\r\n").await;
    assert!(page.starts_with("HTTP/1.1 200"), "it goes on");
}

/// A small file system in memory; unmounted when dropped.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    /// `None` without the right to mount.
    fn mount(path: &'a Path, size: &str) -> Option<Self> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "none"])
            .arg(path)
            .stderr(Stdio::null())
            .status();
        mounted
            .is_ok_and(|status| status.success())
            .then_some(Self(path))
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[tokio::test]
async fn case_14_with_a_full_disk_nothing_new_is_begun_and_what_runs_finishes() {
    let disk = tempfile::tempdir().unwrap();
    let Some(_disk) = SmallDisk::mount(disk.path(), "128m") else {
        return;
    };
    let clock = Arc::<Clock>::default();
    let mut config = config(&disk.path().join("c"), &clock);
    config.blobs.free_bytes_min = 16 << 20;
    let coordinator = start_with(config).await.unwrap();
    let installation = Installation {
        folder: tempfile::tempdir().unwrap(),
        clock,
        coordinator,
    };
    let ann = installation.join(Role::Client, "ann").await;
    let mut ann = installation.client(&ann).await;
    let worker = installation.join(Role::Worker, "lab-1").await;
    let mut worker = installation.worker(&worker, 2).await;
    ann.submit(id(1), 1).await;
    let claims = worker.granted().await;
    let function = ann.put(b"another function").await;

    // Less than twice what is kept free, more than that.
    let filler = disk.path().join("filler");
    std::fs::write(&filler, vec![0; 100 << 20]).unwrap();
    let mut refused = open(id(2), function);
    let failed = soon(async {
        loop {
            match ann.ask(refused.clone()).await {
                Message::Failed(failed) => return failed,
                // Space is looked at now and then.
                Message::JobOpened(_) => refused.job = random_job(),
                other => panic!("{other:?}"),
            }
        }
    })
    .await;
    assert_eq!(failed.code, ErrorCode::NoSpace);
    assert!(failed.retry_after_ms.is_some());
    let show = ShowJob {
        request: 3,
        job: id(1),
    };
    worker.ends(&claims, &succeeded()).await;
    soon(async {
        loop {
            let Message::JobShown(shown) = ann.ask(show).await else {
                panic!("the job is gone");
            };
            if shown.job.state == JobState::Ended {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    // No blob is taken that would use up what is kept.
    let large = vec![7; 20 << 20];
    let put = soon(ann.session.blobs.put(&large)).await;
    assert!(
        matches!(
            put,
            Err(ppwasm_session::BlobError::Refused {
                code: ErrorCode::NoSpace
            })
        ),
        "{put:?}"
    );

    std::fs::remove_file(&filler).unwrap();
    soon(async {
        while !matches!(ann.ask(refused.clone()).await, Message::JobOpened(_)) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    assert!(!installation.coordinator.is_finished());
    soon(installation.coordinator.stop()).await.unwrap();
}

fn random_job() -> ppwasm_proto::JobId {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).unwrap();
    ppwasm_proto::JobId::from_bytes(bytes)
}

#[tokio::test]
async fn case_30_a_client_that_vanishes_while_it_uploads_leaves_nothing() {
    let installation = Installation::start().await;
    let credentials = installation.join(Role::Client, "ann").await;
    let ann = installation.client(&credentials).await;
    let large = vec![7; 64 << 20];
    let started = tokio::time::timeout(Duration::from_millis(30), ann.session.blobs.put(&large));
    assert!(started.await.is_err(), "64 MiB take longer than that");
    drop(ann);
    let mut ann = installation.client(&credentials).await;
    let partial = installation
        .folder
        .path()
        .join(STORE_FOLDER)
        .join("blobs/partial");
    assert_eq!(std::fs::read_dir(partial).unwrap().count(), 0);
    ann.put(&large).await;
    ann.submit(id(1), 1).await;
}

#[tokio::test]
async fn what_concerns_rights_is_in_the_audit_log() {
    let installation = Installation::start().await;
    let ann = installation.join(Role::Client, "ann").await;
    let mut ann = installation.client(&ann).await;
    let revoke = |name: &str| RevokeIdentity {
        request: 1,
        role: ppwasm_proto::wire::JoinRole::Client,
        name: Text::truncated(name),
        reason: Text::truncated("gone\nby=somebody-else"),
    };
    failure(ann.ask(revoke("bob")).await);
    let mut operator = installation.client(&installation.operator()).await;
    operator.ask(revoke("bob")).await;
    let folder = installation.folder;
    soon(installation.coordinator.stop()).await.unwrap();
    let store = soon(async {
        loop {
            match SqliteStore::open(&folder.path().join(STORE_FOLDER), &Options::new([1; 32])) {
                Ok(store) => return store,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    })
    .await;
    let events = store.events(0, 100).unwrap();
    let lines: Vec<_> = (events.iter())
        .map(|event| {
            (
                event.kind.as_str(),
                String::from_utf8(event.body.clone()).unwrap(),
            )
        })
        .collect();
    let has = |kind: &str, part: &str| {
        let found = |(of, line): &(&str, String)| *of == kind && line.contains(part);
        assert!(lines.iter().any(found), "{kind} {part} in {lines:#?}");
    };
    has("token-minted", "role=client");
    has("joined", "by=ppwasm://ppwasm/client/ann");
    has("permission-denied", "by=client ann revoke an identity");
    has(
        "identity-revoked",
        "by=client operator identity=ppwasm://ppwasm/client/bob",
    );
    assert!(
        lines.iter().all(|(_, line)| !line.contains('\n')),
        "one event, one line: {lines:#?}"
    );
}

const CHILD: &str = "PPWASM_TEST_DESCRIPTORS";

#[test]
fn case_85_without_descriptors_it_refuses_and_goes_on() {
    // This program again, for this test, with few descriptors.
    if let Some(folder) = std::env::var_os(CHILD) {
        return run_out_of_descriptors(Path::new(&folder));
    }
    let folder = tempfile::tempdir().unwrap();
    let program = std::env::current_exe().unwrap();
    let output = Command::new("sh")
        .args(["-c", "ulimit -n 64; exec \"$0\" \"$@\""])
        .arg(program)
        .args([
            "--exact",
            "upkeep::case_85_without_descriptors_it_refuses_and_goes_on",
            "--nocapture",
        ])
        .env(CHILD, folder.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("@went on"), "{text}\n{errors}");
}

fn run_out_of_descriptors(folder: &Path) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let clock = Arc::<Clock>::default();
        let coordinator = start_with(config(folder, &clock)).await.unwrap();
        let installation = Installation {
            folder: tempfile::tempdir().unwrap(),
            clock,
            coordinator,
        };
        let ann = installation.join(Role::Client, "ann").await;
        let mut talk = installation.client(&ann).await;
        let connector = installation.connector(&ann);
        let function = talk.put(b"a function").await;
        let mut files = Vec::new();
        while let Ok(file) = std::fs::File::open("/dev/null") {
            files.push(file);
        }
        // New sessions need no descriptor; blobs do.
        let address = installation.coordinator.address();
        let session = soon(connector.connect(address)).await.unwrap();
        drop(session);
        let put = soon(talk.session.blobs.put(b"bytes")).await;
        assert!(
            matches!(put, Err(ppwasm_session::BlobError::Refused { .. })),
            "{put:?}"
        );
        let failed = failure(talk.ask(open(id(1), function)).await);
        assert_eq!(failed.code, ErrorCode::Internal, "{failed:?}");
        drop(files);
        talk.submit(id(1), 2).await;
        assert!(!installation.coordinator.is_finished());
        assert!(read_address(folder).is_ok());
        println!("\n@went on");
    });
}
