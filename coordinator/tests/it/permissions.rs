//! What a peer may ask, by who it is.

use ppwasm_certs::Role;
use ppwasm_proto::TaskId;
use ppwasm_proto::wire::{
    CancelJob, DrainWorker, ErrorCode, ExplainTask, ForgetJob, Hello, JobState, JoinRole,
    ListFunctions, ListJobs, ListWorkers, MINOR, Message, MintToken, Ranged, RetryJob,
    RevokeIdentity, SetWorkerSlots, ShowJob, ShowTask, Text, WatchJob, WatchOrder, WorkerState,
};

use crate::installation::{Installation, failure, hello, id, offer, succeeded};

#[tokio::test]
async fn case_79_anothers_job_is_not_there_and_the_operator_sees_all() {
    let installation = Installation::start().await;
    let (ann, bob) = (
        installation.join(Role::Client, "ann").await,
        installation.join(Role::Client, "bob").await,
    );
    let (mut ann, mut bob) = (
        installation.client(&ann).await,
        installation.client(&bob).await,
    );
    ann.submit(id(1), 3).await;
    let (job, task, request) = (id(1), TaskId(0), 7);
    let asks: [Message; 7] = [
        ShowJob { request, job }.into(),
        ShowTask { request, job, task }.into(),
        ExplainTask { request, job, task }.into(),
        CancelJob { request, job }.into(),
        RetryJob { request, job }.into(),
        ForgetJob { request, job }.into(),
        WatchJob {
            request,
            job,
            order: WatchOrder::Task,
            cursor: 0,
            credit: Ranged::clamped(10),
        }
        .into(),
    ];
    for ask in asks {
        let name = ask.name();
        let foreign = failure(bob.ask(ask.clone()).await);
        assert_eq!(
            (foreign.request, foreign.code),
            (request, ErrorCode::NotFound),
            "{name}"
        );
        let mut unknown = failure(bob.ask(other_job(ask)).await);
        unknown.request = request;
        assert_eq!(unknown, foreign, "{name}: nothing tells the two apart");
    }
    let page = Ranged::clamped(10);
    let list = ListJobs {
        request,
        after: None,
        page,
        only_live: false,
    };
    let jobs = |message| match message {
        Message::Jobs(jobs) => jobs.jobs.into_vec(),
        other => panic!("{other:?}"),
    };
    assert!(jobs(bob.ask(list).await).is_empty());
    let functions = ListFunctions {
        request,
        after: None,
        page,
    };
    let Message::Functions(none) = bob.ask(functions).await else {
        panic!("no functions");
    };
    assert!(none.functions.is_empty());

    let mut operator = installation.client(&installation.operator()).await;
    let all = jobs(operator.ask(list).await);
    assert_eq!((all.len(), all[0].owner.as_str()), (1, "ann"));
    assert!(matches!(
        operator.ask(CancelJob { request, job }).await,
        Message::Done(_)
    ));
    let Message::JobShown(shown) = ann.ask(ShowJob { request, job }).await else {
        panic!("the job is ann's");
    };
    assert_eq!(shown.job.state, JobState::Cancelled);
    assert_eq!(shown.job.counts.cancelled, 3);
}

fn other_job(mut ask: Message) -> Message {
    let job = match &mut ask {
        Message::ShowJob(ask) => &mut ask.job,
        Message::ShowTask(ask) => &mut ask.job,
        Message::ExplainTask(ask) => &mut ask.job,
        Message::CancelJob(ask) => &mut ask.job,
        Message::RetryJob(ask) => &mut ask.job,
        Message::ForgetJob(ask) => &mut ask.job,
        Message::WatchJob(ask) => &mut ask.job,
        other => panic!("{other:?}"),
    };
    *job = id(99);
    ask
}

#[tokio::test]
async fn what_concerns_everybody_is_the_operators_to_ask() {
    let installation = Installation::start().await;
    let worker = installation.join(Role::Worker, "lab-1").await;
    let mut worker = installation.worker(&worker, 2).await;
    let ann = installation.join(Role::Client, "ann").await;
    let mut ann = installation.client(&ann).await;
    let mut operator = installation.client(&installation.operator()).await;
    let (request, name) = (3, || "lab-1".parse().unwrap());
    let asks: [Message; 4] = [
        DrainWorker {
            request,
            worker: name(),
            drain: true,
        }
        .into(),
        SetWorkerSlots {
            request,
            worker: name(),
            slots: Ranged::clamped(7),
        }
        .into(),
        MintToken {
            request,
            role: JoinRole::Worker,
            name: None,
            lifetime_s: None,
        }
        .into(),
        RevokeIdentity {
            request,
            role: JoinRole::Client,
            name: Text::truncated("bob"),
            reason: Text::default(),
        }
        .into(),
    ];
    for ask in asks {
        let name = ask.name();
        let denied = failure(ann.ask(ask.clone()).await);
        assert_eq!(denied.code, ErrorCode::PermissionDenied, "{name}");
        let answer = operator.ask(ask).await;
        assert!(
            matches!(answer, Message::Done(_) | Message::TokenMinted(_)),
            "{name}: {answer:?}"
        );
    }
    let set = worker
        .hear_until(|message| match message {
            Message::SetSlots(set) => Some(set.slots.value()),
            _ => None,
        })
        .await;
    assert_eq!(set, 7);
    let list = ListWorkers {
        request,
        after: None,
        page: Ranged::clamped(10),
    };
    let Message::Workers(workers) = ann.ask(list.clone()).await else {
        panic!("no workers");
    };
    let listed = &workers.workers[0];
    assert_eq!(listed.name.as_str(), "lab-1");
    assert_eq!(listed.state, WorkerState::Draining);
    assert_eq!(listed.target.as_str(), "x86_64-unknown-linux-gnu");
    assert_eq!(listed.cpu_profile.as_str(), "x86-64-v3");
    assert_eq!(listed.label.as_ref().unwrap().as_str(), "a machine");
    assert_eq!(listed.build.as_ref().unwrap().as_str(), "a test");
    // Those who come back are told again, also by a coordinator that was started again meanwhile.
    worker.bye().await;
    drop((ann, operator));
    let installation = installation.restart().await;
    let back = installation.token(Role::Worker, Some("lab-1")).await;
    let address = [installation.coordinator.address()];
    let back = ppwasm_session::join(&address, &back, "lab-1")
        .await
        .unwrap();
    let mut worker = installation.connect(&back).await;
    worker.say(hello(Some(offer(2)))).await;
    assert_eq!(worker.welcomed().await.slots, Some(7));
}

#[tokio::test]
async fn jobs_are_listed_newest_first_in_pages() {
    let installation = Installation::start().await;
    let ann = installation.join(Role::Client, "ann").await;
    let mut ann = installation.client(&ann).await;
    for number in 1..=5 {
        ann.submit(id(number), usize::from(number)).await;
    }
    ann.ask(CancelJob {
        request: 1,
        job: id(4),
    })
    .await;
    let mut after = None;
    let mut seen = Vec::new();
    for (expected, more) in [(2, true), (2, true), (1, false)] {
        let list = ListJobs {
            request: 2,
            after,
            page: Ranged::clamped(2),
            only_live: false,
        };
        let Message::Jobs(page) = ann.ask(list).await else {
            panic!("no jobs");
        };
        assert_eq!((page.jobs.len(), page.has_more), (expected, more));
        after = page.jobs.last().map(|job| job.job);
        seen.extend(page.jobs.into_vec());
    }
    let numbers: Vec<_> = seen.iter().map(|job| job.number.unwrap()).collect();
    assert_eq!(numbers, [5, 4, 3, 2, 1]);
    assert_eq!(seen[0].counts.queued, 5);
    assert_eq!(seen[0].name.as_str(), "a job");
    let live = ListJobs {
        request: 2,
        after: None,
        page: Ranged::clamped(500),
        only_live: true,
    };
    let Message::Jobs(live) = ann.ask(live).await else {
        panic!("no jobs");
    };
    assert_eq!(live.jobs.len(), 4);
}

#[tokio::test]
async fn tasks_and_functions_are_shown_as_they_are() {
    let installation = Installation::start().await;
    let worker = installation.join(Role::Worker, "lab-1").await;
    let mut worker = installation.worker(&worker, 1).await;
    let ann = installation.join(Role::Client, "ann").await;
    let mut ann = installation.client(&ann).await;
    ann.submit(id(1), 4).await;
    let claims = worker.granted().await;
    let (job, request) = (id(1), 2);
    let explain = |task| ExplainTask {
        request,
        job,
        task: TaskId(task),
    };
    let Message::TaskExplained(told) = ann.ask(explain(0)).await else {
        panic!("not explained");
    };
    assert_eq!(told.state.as_str(), "The task waits at a worker.");
    assert_eq!(told.reasons[0].worker.as_ref().unwrap().as_str(), "lab-1");
    let Message::TaskExplained(told) = ann.ask(explain(3)).await else {
        panic!("not explained");
    };
    assert!(told.state.starts_with("The task waits"), "{told:?}");
    let Message::TaskExplained(told) = ann.ask(explain(4)).await else {
        panic!("not explained");
    };
    assert!(told.state.starts_with("The job has 4 tasks"), "{told:?}");

    worker.ends(&claims[..1], &succeeded()).await;
    worker
        .hear_until(|message| matches!(message, Message::Acknowledge(_)).then_some(()))
        .await;
    let Message::TaskExplained(told) = ann.ask(explain(claims[0].identity.task.0)).await else {
        panic!("not explained");
    };
    assert_eq!(told.state.as_str(), "The task has ended: it succeeded.");
    assert_eq!((told.attempts, told.reasons.len()), (1, 1));
    assert_eq!(told.reasons[0].worker.as_ref().unwrap().as_str(), "lab-1");
    assert_eq!(
        told.reasons[0].text.as_str(),
        "It ran there for 1 ms, in attempt 1."
    );
    let show = ShowTask {
        request,
        job,
        task: claims[0].identity.task,
    };
    let Message::TaskShown(shown) = ann.ask(show).await else {
        panic!("not shown");
    };
    assert_eq!(shown.attempts, 1);
    let result = shown.result.unwrap();
    assert_eq!(result.worker.unwrap().as_str(), "lab-1");
    let Message::JobShown(shown) = ann.ask(ShowJob { request, job }).await else {
        panic!("not shown");
    };
    assert_eq!(shown.used_us, 1000);
    assert_eq!(shown.job.counts.succeeded, 1);
    assert!(shown.job.run_ms.is_some());
    let functions = ListFunctions {
        request,
        after: None,
        page: Ranged::clamped(1),
    };
    let Message::Functions(functions) = ann.ask(functions).await else {
        panic!("no functions");
    };
    let function = &functions.functions[0];
    assert_eq!((function.jobs, function.workers), (1, 1));
    assert!(function.image.is_some());
}

#[tokio::test]
async fn case_42_a_newer_protocol_is_refused_with_what_is_spoken() {
    let installation = Installation::start().await;
    let ann = installation.join(Role::Client, "ann").await;
    let mut talk = installation.connect(&ann).await;
    let newer = Hello {
        minor_min: MINOR + 1,
        minor_max: MINOR + 3,
        ..hello(None)
    };
    let Message::Refused(refused) = talk.ask(newer).await else {
        panic!("not refused");
    };
    assert_eq!(refused.code, ErrorCode::VersionUnsupported);
    assert!(refused.spoken.is_some());
    assert_eq!(talk.end().await.0, ppwasm_proto::wire::CloseCode::Refused);
}
