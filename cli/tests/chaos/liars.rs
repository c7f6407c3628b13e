//! A worker that lies about what tasks returned, beside two that do not.

use std::time::Duration;

use ppwasm_client::{JobRequest, Order};
use ppwasm_proto::fabric::{Incarnation, OutcomeKind};
use ppwasm_proto::wire::{
    Bytes, Ended, Hello, List, MINOR, MINOR_MIN, Message, Payload, TaskResult, Text, Usage,
    Verdict, WorkerOffer, WorkerState, encode_outcome,
};
use ppwasm_proto::{Call, EncodedValue, Outcome, TaskIdentity, Value};
use ppwasm_session::Session;

use crate::cluster::{Cluster, connector, machine, within};
use crate::work::{bundle, id};

/// The liar lies about one in so many tasks.
const LIES_ONE_IN: u64 = 2;
const TASKS: u64 = 60;

/// Answers every grant at once, without running anything: with what `long(n)` returns, or something else. How many lies
/// it told, when it is gone.
async fn lie(mut session: Session) -> u64 {
    let mut lies = 0;
    while let Ok(message) = session.receiver.receive().await {
        let Message::Grant(grant) = message else {
            continue;
        };
        let mut results = Vec::new();
        for group in grant.groups {
            for task in &group.tasks {
                let is_a_lie = task.task.0.is_multiple_of(LIES_ONE_IN);
                lies += u64::from(is_a_lie);
                let value = Value::from(task.task.0 as i64 + 1 + i64::from(is_a_lie));
                let value = EncodedValue::from_bytes(value.encode().unwrap());
                let outcome = encode_outcome(&Outcome::Succeeded { value });
                results.push(TaskResult {
                    claim: ppwasm_proto::fabric::Claim {
                        lease: task.lease,
                        identity: TaskIdentity::new(group.job, task.task),
                        attempt: task.attempt,
                        token: task.token,
                    },
                    kind: OutcomeKind::Succeeded,
                    outcome: Payload::Inline(Bytes::try_from(outcome).unwrap()),
                    stdout: None,
                    stderr: None,
                    usage: Usage::default(),
                });
            }
        }
        let results = List::try_from(results).unwrap();
        if session
            .sender
            .send(&Ended { results }.into())
            .await
            .is_err()
        {
            break;
        }
    }
    lies
}

#[tokio::test]
async fn case_76_a_liar_is_outvoted_named_and_drained() {
    let _machine = machine().await;
    // Nobody is missed: a witness that is away for a moment would leave a task unverified.
    let mut cluster = Cluster::start_patiently().await;
    let ann = cluster.client("ann").await;
    let mut honest = Vec::new();
    for name in ["w0", "w1"] {
        cluster.enrol(name).await;
        honest.push(cluster.worker(name, 1));
    }
    cluster.connected_workers(&ann, 2).await;
    let mallory = cluster.join("worker", "mallory").await;
    let connector = connector(&mallory);
    let connected = connector.connect(cluster.address);
    let mut session = within("a connection", connected).await.unwrap();
    // It says that it is of another kind, so that all that the others ran is given to it to confirm.
    let hello = Hello {
        minor_min: MINOR_MIN,
        minor_max: MINOR,
        build: Text::truncated("a liar"),
        worker: Some(WorkerOffer {
            target: Text::truncated("aarch64-unknown-linux-gnu"),
            cpu_profile: Text::truncated("aarch64"),
            slots: 1,
            label: None,
            guests: List::new(),
            functions: List::new(),
            incarnation: Incarnation(1),
            credit: 2,
            held: List::new(),
            is_draining: None,
            memory_bytes: None,
            engine: None,
            wants_guest: None,
        }),
    };
    session.sender.send(&hello.into()).await.unwrap();
    let liar = tokio::spawn(lie(session));
    cluster.connected_workers(&ann, 3).await;

    let job = id(76);
    let request = JobRequest::new(job, &bundle("long")).verify_percent(100);
    let mut submission = ann.submit(request).await.unwrap();
    for n in 0..TASKS {
        submission
            .append(&Call::with_args([n as i64]))
            .await
            .unwrap();
    }
    submission.finish().await.unwrap();
    let mut results = ann.results(job, Order::Completion).await.unwrap();
    let mut count = 0;
    while let Some(result) = within("a result", results.next()).await.unwrap() {
        let n = result.task.0;
        let Outcome::Succeeded { value } = &result.outcome else {
            panic!("task {n} ended with {:?}", result.outcome);
        };
        assert_eq!(
            value.decode().unwrap(),
            Value::from(n as i64 + 1),
            "task {n}"
        );
        let verification = result.verification.unwrap();
        assert_eq!(verification.verdict, Verdict::Confirmed, "task {n}");
        let odd: Vec<_> = verification.odd().map(|odd| odd.worker.as_str()).collect();
        assert!(odd.is_empty() || odd == ["mallory"], "task {n}: {odd:?}");
        count += 1;
    }
    assert_eq!(count, TASKS);

    let told = ann.job(job).await.unwrap().verification.unwrap();
    assert_eq!(told.confirmed.iter().map(|on| on.tasks).sum::<u64>(), TASKS);
    assert_eq!((told.alone, told.disputed, told.waiting), (0, 0, 0));
    let odd: Vec<_> = (told.odd.iter())
        .map(|odd| (odd.worker.as_str(), odd.answers))
        .collect();
    assert_eq!(odd, [("mallory", 3)], "it is drained after three");
    let workers = ann.workers(None).await.unwrap().workers;
    let is_mallory =
        |worker: &&ppwasm_proto::wire::WorkerSummary| worker.name.as_str() == "mallory";
    let seen = workers.iter().find(is_mallory).unwrap();
    assert_eq!(
        (seen.state, seen.contradicted),
        (WorkerState::Distrusted, Some(3))
    );
    // It stays so, and what was verified is still known, when the coordinator is started again.
    cluster.kill_coordinator();
    cluster.restart_coordinator().await;
    let again = within("the job after a restart", ann.job(job))
        .await
        .unwrap();
    assert_eq!(again.verification, Some(told));
    let lies = within("the liar's end", liar).await.unwrap();
    assert!(lies >= 3, "{lies}");
    let submitted = crate::work::submit(&ann, id(77), "long", 5, Duration::ZERO);
    within("another job", submitted).await.unwrap();
    let check = &mut |_: &_| ();
    let all = crate::work::all_results_of(&ann, id(77), Order::Completion, check);
    assert_eq!(all.await.unwrap().len(), 5);
    drop(honest);
    cluster.stop().await;
    cluster.check_store().await;
}
