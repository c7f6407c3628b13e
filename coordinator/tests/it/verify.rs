//! Jobs whose tasks are verified.

use std::sync::Arc;
use std::time::Duration;

use ppwasm_certs::Role;
use ppwasm_coordinator::service::StartError;
use ppwasm_proto::TaskId;
use ppwasm_proto::fabric::{Held, HeldState};
use ppwasm_proto::wire::{
    AppendTasks, Bytes, CloseJob, ErrorCode, List, Message, Payload, Ranged, ShowJob, ShowTask,
    TaskShown, TimeSource, Verdict, encode_outcome,
};

use ppwasm_scheduler::Micros;
use tempfile::TempDir;

use crate::installation::{
    Clock, Installation, Talk, config, failure, hello, id, offer, open, soon, start_with, succeeded,
};

/// After a restart it waits for workers that are away longer than this test takes, also on a busy machine.
async fn start_patiently(
    folder: TempDir,
    clock: Arc<Clock>,
    reconnect_grace: Micros,
) -> Installation {
    let coordinator = soon(async {
        loop {
            let mut config = config(folder.path(), &clock);
            config.scheduler.reconnect_grace = reconnect_grace;
            config.scheduler.restart_grace = Micros::from_secs(60);
            match start_with(config).await {
                // What still reads in the background holds the store.
                Err(StartError::Store(_)) => tokio::time::sleep(Duration::from_millis(20)).await,
                started => return started.unwrap(),
            }
        }
    });
    Installation {
        coordinator: coordinator.await,
        folder,
        clock,
    }
}

async fn shown(client: &mut Talk) -> TaskShown {
    let (request, job, task) = (9, id(1), TaskId(0));
    match client.ask(ShowTask { request, job, task }).await {
        Message::TaskShown(shown) => shown,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_may_differ_each_time_is_not_verified() {
    let installation = Installation::start().await;
    let ann = installation.join(Role::Client, "ann").await;
    let mut ann = installation.client(&ann).await;
    let function = ann.put(b"a function").await;
    let mut job = open(id(1), function);
    job.verify_percent = Some(Ranged::clamped(100));
    let mut real = job.clone();
    real.time = TimeSource::Real {};
    let mut kept = job.clone();
    kept.keep_instance = Some(true);
    for refused in [real, kept] {
        let failed = failure(ann.ask(refused).await);
        assert_eq!(failed.code, ErrorCode::InvalidValue);
        assert!(failed.reason.contains("cannot be verified"), "{failed:?}");
    }
    assert!(matches!(ann.ask(job).await, Message::JobOpened(_)));
    let show = ShowJob {
        request: 2,
        job: id(1),
    };
    let Message::JobShown(shown) = ann.ask(show).await else {
        panic!("not shown");
    };
    assert_eq!(shown.verification.unwrap().percent.value(), 100);
}

/// The coordinator keeps it in memory only: the worker brings it again.
#[tokio::test]
async fn an_outcome_that_waits_to_be_confirmed_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    // Less than an orderly stop takes: that sessions end then says nothing about their workers.
    let grace = Micros::from_millis(50);
    let installation = start_patiently(folder, Arc::default(), grace).await;
    let (one, two) = (
        installation.join(Role::Worker, "lab-1").await,
        installation.join(Role::Worker, "lab-2").await,
    );
    let ann_credentials = installation.join(Role::Client, "ann").await;
    let mut ann = installation.client(&ann_credentials).await;
    let mut first = installation.worker(&one, 1).await;
    let function = ann.put(b"a function").await;
    let mut job = open(id(1), function);
    job.verify_percent = Some(Ranged::clamped(100));
    assert!(matches!(ann.ask(job).await, Message::JobOpened(_)));
    let call = Payload::Inline(Bytes::try_from(b"call".to_vec()).unwrap());
    let append = AppendTasks {
        request: 1,
        first: TaskId(0),
        calls: List::try_from(vec![call]).unwrap(),
    };
    assert!(matches!(ann.ask(append).await, Message::TasksAppended(_)));
    let close = CloseJob {
        request: 1,
        tasks: 1,
    };
    assert!(matches!(ann.ask(close).await, Message::Done(_)));
    let claims = first.granted().await;
    let mut second = installation.worker(&two, 1).await;
    first.ends(&claims, &succeeded()).await;
    // It goes to the other one, so it is not recorded.
    assert_eq!(second.granted().await.len(), 1);
    assert_eq!(shown(&mut ann).await.result, None);

    soon(installation.coordinator.stop()).await.unwrap();
    let grace = Micros::from_secs(60);
    let installation = start_patiently(installation.folder, installation.clock, grace).await;
    let mut ann = installation.client(&ann_credentials).await;
    assert_eq!(shown(&mut ann).await.result, None);
    let mut first = installation.connect(&one).await;
    let mut back = offer(1);
    let state = HeldState::Finished;
    let claim = claims[0];
    back.held = List::try_from(vec![Held { claim, state }]).unwrap();
    first.say(hello(Some(back))).await;
    assert!(first.welcomed().await.refused.is_empty());
    first.ends(&claims, &succeeded()).await;
    let mut second = installation.worker(&two, 1).await;
    let again = second.granted().await;
    second.ends(&again, &succeeded()).await;
    let acknowledged = first
        .hear_until(|message| match message {
            Message::Acknowledge(told) => Some(told.leases.into_vec()),
            _ => None,
        })
        .await;
    assert_eq!(acknowledged, [claim.lease]);
    let result = soon(async {
        loop {
            if let Some(result) = shown(&mut ann).await.result {
                return result;
            }
        }
    });
    let result = result.await;
    let outcome = Bytes::try_from(encode_outcome(&succeeded())).unwrap();
    assert_eq!(result.outcome, Payload::Inline(outcome));
    assert_eq!(result.worker, Some("lab-1".parse().unwrap()));
    let verification = result.verification.unwrap();
    assert_eq!(verification.verdict, Verdict::Confirmed);
    let names: Vec<_> = (verification.testimonies.iter())
        .map(|one| (one.worker.to_string(), one.agrees))
        .collect();
    assert_eq!(names, [("lab-1".into(), true), ("lab-2".into(), true)]);
}
