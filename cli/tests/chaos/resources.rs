//! Disks that are full, descriptors that are used up, everybody who comes at once.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use ppwasm_certs::{Authority, Credentials, Role, UnixTime};
use ppwasm_client::{Client, ClientError, JobRequest};
use ppwasm_proto::fabric::Incarnation;
use ppwasm_proto::wire::{ErrorCode, Hello, List, MINOR, Message, Text, WorkerOffer};
use ppwasm_proto::{Call, Value};
use ppwasm_session::{Connector, Session};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::cluster::{Cluster, SHORT, connector, machine, until, within};
use crate::work::{all_results, bundle, id, submit};

const NOTHING: Duration = Duration::ZERO;

/// A small file system of its own.
struct Disk {
    folder: TempDir,
}

impl Disk {
    /// `None` with a printed reason where nothing can be mounted.
    fn new(mib: u32) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"])
            .arg(folder.path())
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self { folder }),
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                println!("skipped: mounting a small disk needs root: {}", said.trim());
                None
            }
            Err(error) => {
                println!("skipped: there is no mount command: {error}");
                None
            }
        }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Uses up all but nothing.
    fn fill(&self) -> PathBuf {
        let path = self.path().join("ballast");
        let zeros = Command::new("dd")
            .args(["if=/dev/zero", "bs=64k"])
            .arg(format!("of={}", path.display()))
            .output();
        assert!(!zeros.unwrap().status.success(), "the disk has no end");
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a coordinator may still be there.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

#[tokio::test]
async fn case_14_a_full_disk_refuses_work_and_recovers() {
    let _machine = machine().await;
    let Some(disk) = Disk::new(1200) else { return };
    let kept = disk.path().join("coordinator");
    let mut cluster = Cluster::start_with(&SHORT, &[], Some(&kept)).await;
    let client = cluster.client("ann").await;
    cluster.enrol("w0").await;
    let _worker = cluster.worker("w0", 1);
    submit(&client, id(1), "work", 200, NOTHING).await.unwrap();
    let recorded = all_results(&client, id(1)).await.unwrap();

    // A job that runs while the disk fills up, to the last byte.
    let running = submit(&client, id(4), "work", 1000, NOTHING).await;
    assert_eq!(running.unwrap(), 1000);
    let ballast = disk.fill();
    let refused = tokio::time::timeout(Duration::from_secs(20), large_job(&client)).await;
    match refused {
        Ok(Err(ClientError::Refused { code, .. })) => assert_eq!(code, ErrorCode::NoSpace),
        Ok(Err(ClientError::Blob(ppwasm_link::BlobFailure::Refused(code)))) => {
            assert_eq!(code, ErrorCode::NoSpace);
        }
        Ok(other) => panic!("{other:?}"),
        // It waits for the coordinator to come back, or for room.
        Err(_) => {}
    }
    std::fs::remove_file(ballast).unwrap();
    let serves = async || {
        let again = all_results(&client, id(1)).await;
        assert_eq!(again.unwrap(), recorded, "what was acknowledged");
        let rest = all_results(&client, id(4)).await;
        assert_eq!(rest.unwrap().len(), 1000, "the job that ran");
    };
    // When not even outcomes can be written, the coordinator ends, and says why. A write that had no room may end it a
    // moment later too; with room it does not end again.
    let has_ended = tokio::select! {
        () = serves() => false,
        _ = cluster.coordinator.ended() => true,
    };
    println!("the coordinator has ended: {has_ended}");
    if has_ended {
        let said = cluster.coordinator.said();
        assert!(said.contains("error: "), "{said}");
        let _ = std::fs::remove_file(cluster.kept.join("address"));
        cluster.restart_coordinator().await;
        serves().await;
    }
    let submitted = submit(&client, id(3), "work", 200, NOTHING);
    within("submitting again", submitted).await.unwrap();
    let more = all_results(&client, id(3)).await;
    assert_eq!(more.unwrap().len(), 200);
    drop(client);
    cluster.stop().await;
    cluster.check_store().await;
}

/// A job whose arguments are 40 MiB.
async fn large_job(client: &Client) -> Result<u64, ClientError> {
    let mut job = client
        .submit(JobRequest::new(id(2), &bundle("work")))
        .await?;
    for n in 0..40_u8 {
        let large = Value::Bytes(vec![n; 1 << 20]);
        job.append(&Call::with_args([large])).await?;
    }
    job.finish().await
}

#[tokio::test]
async fn case_85_a_coordinator_without_descriptors_refuses_and_lives() {
    let _machine = machine().await;
    let prlimit = Command::new("prlimit").arg("--version").output();
    if prlimit.is_err() {
        println!("skipped: there is no prlimit command");
        return;
    }
    let mut cluster = Cluster::start_with(&SHORT, &["prlimit", "--nofile=64"], None).await;
    let client = cluster.client("ann").await;
    cluster.enrol("w0").await;
    let mut worker = cluster.worker("w0", 2);
    cluster.connected_workers(&client, 1).await;
    // Uploads and jobs beside each other want files, and readers of the store.
    let mut jobs = JoinSet::new();
    let credentials = std::sync::Arc::new(cluster.join("client", "bob").await);
    for number in 0..24_u8 {
        let (credentials, address) = (std::sync::Arc::clone(&credentials), cluster.address);
        jobs.spawn(async move {
            let client = crate::cluster::client_of(&credentials, address);
            match submit(&client, id(100 + number % 8), "work", 160, NOTHING).await {
                // Refused with a reason is well; so is done.
                Ok(_) | Err(ClientError::Refused { .. } | ClientError::Blob(_)) => {}
                Err(other) => println!("{other}"),
            }
        });
    }
    let over = async { while jobs.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(Duration::from_secs(20), over).await;
    jobs.shutdown().await;
    assert!(
        cluster.coordinator.is_running(),
        "{}",
        cluster.coordinator.said()
    );
    assert!(worker.is_running(), "{}", worker.said());
    let submitted = submit(&client, id(1), "work", 300, NOTHING);
    within("submitting", submitted).await.unwrap();
    let recorded = all_results(&client, id(1)).await;
    assert_eq!(recorded.unwrap().len(), 300);
}

/// A worker's session without a worker behind it.
struct Light {
    connector: Connector,
    number: u64,
}

impl Light {
    async fn connect(&self, cluster: &Cluster) -> Option<Session> {
        let mut session = self.connector.connect(cluster.address).await.ok()?;
        let hello = Hello {
            minor_min: MINOR,
            minor_max: MINOR,
            build: Text::truncated("a test"),
            worker: Some(WorkerOffer {
                target: Text::truncated("x86_64-unknown-linux-gnu"),
                cpu_profile: Text::truncated("x86-64-v3"),
                slots: 1,
                label: None,
                guests: List::new(),
                functions: List::new(),
                incarnation: Incarnation(self.number),
                credit: 1,
                held: List::new(),
                is_draining: Some(true),
                memory_bytes: None,
                engine: None,
                wants_guest: None,
            }),
        };
        session.sender.send(&hello.into()).await.ok()?;
        match session.receiver.receive().await.ok()? {
            Message::Welcome(_) => Some(session),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn case_29_two_hundred_workers_come_back_at_once_after_a_restart() {
    const WORKERS: u64 = 200;
    let _machine = machine().await;
    let mut cluster = Cluster::start().await;
    let client = cluster.client("ann").await;
    // Issued here, as the coordinator would: two hundred tokens take longer than they tell.
    let now = UnixTime::since_unix_epoch(SystemTime::UNIX_EPOCH.elapsed().unwrap());
    let authority = Authority::load(&cluster.kept.join("authority"), now);
    let authority = authority.unwrap().unwrap();
    let mut all = Vec::new();
    for number in 0..WORKERS {
        let name = format!("light-{number}");
        let issued = Credentials::issue(&authority, Role::Worker, &name, now).unwrap();
        let connector = connector(&issued);
        all.push(Light { connector, number });
    }
    let cluster_address = cluster.address;
    for round in 0..2 {
        let sessions = within("all sessions", async {
            let connecting = all.iter().map(async |light| {
                // Who is not let in at once comes again.
                loop {
                    if let Some(session) = light.connect(&cluster).await {
                        return session;
                    }
                    tokio::time::sleep(Duration::from_millis(100 + light.number)).await;
                }
            });
            join_all(connecting).await
        })
        .await;
        assert_eq!(sessions.len() as u64, WORKERS);
        let there = within("the count", async {
            loop {
                let mut there = 0;
                let mut after = None;
                loop {
                    let page = client.workers(after.clone()).await.unwrap();
                    there += page.workers.len() as u64;
                    after = page.workers.last().map(|worker| worker.name.clone());
                    if page.workers.is_empty() {
                        break;
                    }
                }
                if there >= WORKERS {
                    return there;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
        assert_eq!(there, WORKERS, "at {cluster_address}");
        if round == 0 {
            cluster.kill_coordinator();
            cluster.restart_coordinator().await;
        }
        drop(sessions);
    }
    until("the coordinator runs", || cluster.coordinator.is_running()).await;
}

async fn join_all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.map(|future| Some(Box::pin(future))).collect();
    let mut outputs: Vec<Option<F::Output>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(move |context| {
        for (future, output) in futures.iter_mut().zip(&mut outputs) {
            if let Some(running) = future
                && let std::task::Poll::Ready(done) = running.as_mut().poll(context)
            {
                (*future, *output) = (None, Some(done));
            }
        }
        if futures.iter().any(Option::is_some) {
            return std::task::Poll::Pending;
        }
        let outputs = outputs.iter_mut().filter_map(Option::take);
        std::task::Poll::Ready(outputs.collect())
    })
    .await
}
