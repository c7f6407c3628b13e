//! Starts, stops, and what survives them.

use ppwasm_certs::Role;
use ppwasm_coordinator::service::{
    AUTHORITY_FOLDER, BackupError, STORE_FOLDER, StartError, backup, read_address,
};
use ppwasm_coordinator::store::{OpenError, check};
use ppwasm_proto::wire::{CloseCode, JobState, Message, ShowJob};

use crate::installation::{Installation, id, soon, start, succeeded};

#[tokio::test]
async fn a_graceful_stop_is_told_and_queued_jobs_go_on_afterwards() {
    let installation = Installation::start().await;
    let credentials = installation.join(Role::Client, "ann").await;
    let worker_credentials = installation.join(Role::Worker, "lab-1").await;
    let mut ann = installation.client(&credentials).await;
    ann.submit(id(1), 3).await;
    let path = installation.folder.path().to_owned();
    assert_eq!(
        read_address(&path).unwrap(),
        installation.coordinator.address()
    );
    let (ended, installation) = tokio::join!(ann.end(), installation.restart());
    assert_eq!(ended.0, CloseCode::Stopping);
    assert!(!installation.coordinator.is_new());

    let mut ann = installation.client(&credentials).await;
    let show = ShowJob {
        request: 2,
        job: id(1),
    };
    let Message::JobShown(shown) = ann.ask(show).await else {
        panic!("the job is gone");
    };
    assert_eq!(shown.job.counts.queued, 3);
    let mut worker = installation.worker(&worker_credentials, 4).await;
    let mut done = 0;
    while done < 3 {
        let claims = worker.granted().await;
        worker.ends(&claims, &succeeded()).await;
        done += claims.len();
    }
    soon(async {
        loop {
            let Message::JobShown(shown) = ann.ask(show).await else {
                panic!("the job is gone");
            };
            if shown.job.state == JobState::Ended {
                assert_eq!(shown.job.counts.succeeded, 3);
                return;
            }
        }
    })
    .await;
    soon(installation.coordinator.stop()).await.unwrap();
    assert!(read_address(&path).is_err(), "nobody listens there");
}

#[tokio::test]
async fn a_second_coordinator_in_a_folder_is_refused() {
    let installation = Installation::start().await;
    let second = start(installation.folder.path(), &installation.clock).await;
    let Err(StartError::Store(OpenError::Locked { holder, .. })) = second else {
        panic!("{second:?}");
    };
    assert!(holder.contains(&std::process::id().to_string()));
    // The first is not disturbed.
    installation.join(Role::Client, "ann").await;
}

#[tokio::test]
async fn a_store_without_its_authority_is_not_given_another() {
    let installation = Installation::start().await;
    let (folder, clock) = (installation.folder, installation.clock);
    soon(installation.coordinator.stop()).await.unwrap();
    std::fs::remove_dir_all(folder.path().join(AUTHORITY_FOLDER)).unwrap();
    let started = soon(async {
        loop {
            match start(folder.path(), &clock).await {
                Err(StartError::Store(OpenError::Locked { .. })) => {
                    tokio::task::yield_now().await;
                }
                started => return started,
            }
        }
    });
    assert!(matches!(
        started.await,
        Err(StartError::AuthorityMissing { .. })
    ));
}

#[tokio::test]
async fn a_backup_of_a_running_coordinator_is_one_that_can_be_started() {
    let installation = Installation::start().await;
    let credentials = installation.join(Role::Client, "ann").await;
    let mut ann = installation.client(&credentials).await;
    ann.submit(id(1), 3).await;
    let place = tempfile::tempdir().unwrap();
    let to = place.path().join("copy");
    let from = installation.folder.path().to_owned();
    let copied = {
        let to = to.clone();
        tokio::task::spawn_blocking(move || backup(&from, &to))
    };
    soon(copied).await.unwrap().unwrap();
    assert!(matches!(
        backup(installation.folder.path(), &to),
        Err(BackupError::Exists { .. })
    ));
    // What comes later is not in it.
    ann.submit(id(2), 1).await;
    let in_use = check(&installation.folder.path().join(STORE_FOLDER), true);
    assert!(matches!(in_use, Err(OpenError::Locked { .. })));
    let report = check(&to.join(STORE_FOLDER), true).unwrap();
    assert!(report.is_clean(), "{:?}", report.findings);
    assert_eq!(report.jobs, 1);
    soon(installation.coordinator.stop()).await.unwrap();

    let coordinator = start(&to, &installation.clock).await.unwrap();
    let copy = Installation {
        folder: place,
        clock: installation.clock,
        coordinator,
    };
    let mut ann = copy.client(&credentials).await;
    let show = |number| ShowJob {
        request: 1,
        job: id(number),
    };
    let Message::JobShown(shown) = ann.ask(show(1)).await else {
        panic!("the job is gone");
    };
    assert_eq!(shown.job.counts.queued, 3);
    assert!(matches!(ann.ask(show(2)).await, Message::Failed(_)));
}
