//! Jobs that are cached: what is known from an earlier job is not run again, and is told as such.

use ppwasm_certs::{Credentials, Role};
use ppwasm_proto::fabric::Claim;
use ppwasm_proto::wire::{
    AppendTasks, BlobRef, Bytes, CloseJob, ErrorCode, ExplainTask, ForgetJob, Grant, Hello, List,
    ListWorkers, MINOR_WITH_CACHE, Message, OpenJob, Payload, Ranged, RecordedResult, RetryJob,
    ShowJob, ShowTask, TaskCounts, TimeSource, Verdict, WorkerState, WorkerSummary, encode_outcome,
};
use ppwasm_proto::{Digest, EncodedValue, Exception, JobId, Outcome, TaskId, TaskIdentity, Value};

use crate::installation::{Installation, Talk, failure, hello, id, offer, open, soon, succeeded};

fn cached(job: JobId, function: BlobRef) -> OpenJob {
    OpenJob {
        cache: Some(true),
        ..open(job, function)
    }
}

fn call(text: &str) -> Payload {
    Payload::Inline(Bytes::try_from(text.as_bytes().to_vec()).unwrap())
}

fn returns(number: i64) -> Outcome {
    let value = EncodedValue::from_bytes(Value::from(number).encode().unwrap());
    Outcome::Succeeded { value }
}

fn raised() -> Outcome {
    Outcome::Raised(Exception {
        type_name: "ValueError".into(),
        ..Exception::default()
    })
}

/// A client who submits.
struct Client {
    talk: Talk,
    function: BlobRef,
}

impl Client {
    async fn new(installation: &Installation, credentials: &Credentials) -> Self {
        let talk = installation.client(credentials).await;
        let function = talk.put(b"a function").await;
        Self { talk, function }
    }

    /// Submits a job of these calls.
    async fn submit(&mut self, job: OpenJob, calls: &[&str]) {
        let opened = self.talk.ask(job).await;
        assert!(matches!(opened, Message::JobOpened(_)), "{opened:?}");
        let append = AppendTasks {
            request: 1,
            first: TaskId(0),
            calls: List::try_from(calls.iter().map(|text| call(text)).collect::<Vec<_>>()).unwrap(),
        };
        let appended = self.talk.ask(append).await;
        assert!(
            matches!(appended, Message::TasksAppended(_)),
            "{appended:?}"
        );
        let tasks = calls.len() as u64;
        let closed = self.talk.ask(CloseJob { request: 1, tasks }).await;
        assert!(matches!(closed, Message::Done(_)), "{closed:?}");
    }

    async fn cached(&mut self, number: u8, calls: &[&str]) {
        let job = cached(id(number), self.function);
        self.submit(job, calls).await;
    }

    /// How a task ended, if it has.
    async fn result(&mut self, job: u8, task: u64) -> Option<RecordedResult> {
        let (request, job, task) = (9, id(job), TaskId(task));
        match self.talk.ask(ShowTask { request, job, task }).await {
            Message::TaskShown(shown) => shown.result,
            other => panic!("{other:?}"),
        }
    }

    /// How a task ends.
    async fn ended(&mut self, job: u8, task: u64) -> RecordedResult {
        soon(async {
            loop {
                if let Some(result) = self.result(job, task).await {
                    return result;
                }
            }
        })
        .await
    }

    /// Where the outcome of a task comes from: the job's number and the task's.
    async fn origin(&mut self, job: u8, task: u64) -> Option<(u64, u64)> {
        let origin = self.ended(job, task).await.origin;
        origin.map(|origin| (origin.number, origin.task.0))
    }

    async fn counts(&mut self, job: u8) -> TaskCounts {
        let (request, job) = (8, id(job));
        match self.talk.ask(ShowJob { request, job }).await {
            Message::JobShown(shown) => shown.job.counts,
            other => panic!("{other:?}"),
        }
    }
}

fn claims(grant: Grant) -> Vec<Claim> {
    let groups = grant.groups.into_iter();
    let claims = groups.flat_map(|group| {
        group.tasks.into_iter().map(move |task| Claim {
            lease: task.lease,
            identity: TaskIdentity::new(group.job, task.task),
            attempt: task.attempt,
            token: task.token,
        })
    });
    claims.collect()
}

async fn grant(worker: &mut Talk) -> Grant {
    let picked = worker.hear_until(|message| match message {
        Message::Grant(grant) => Some(grant),
        _ => None,
    });
    picked.await
}

/// Grants until there are so many tasks: their claims.
async fn granted(worker: &mut Talk, count: usize) -> Vec<Claim> {
    let mut claims = Vec::new();
    while claims.len() < count {
        claims.extend(worker.granted().await);
    }
    assert_eq!(claims.len(), count);
    claims
}

#[tokio::test]
async fn a_second_job_of_the_same_calls_runs_nothing_and_says_where_its_outcomes_come_from() {
    let installation = Installation::start().await;
    let credentials = installation.join(Role::Client, "ann").await;
    let mut ann = Client::new(&installation, &credentials).await;
    let lab = installation.join(Role::Worker, "lab-1").await;
    let mut lab = installation.worker(&lab, 4).await;

    ann.cached(1, &["a", "b"]).await;
    let claims = granted(&mut lab, 2).await;
    lab.ends(&claims[..1], &returns(7)).await;
    lab.ends(&claims[1..], &raised()).await;
    let (first, failed) = (ann.ended(1, 0).await, ann.ended(1, 1).await);
    assert_eq!((&first.origin, &failed.origin), (&None, &None));
    assert_eq!(ann.counts(1).await.from_cache, Some(0));

    // In another order, and one that is not known.
    ann.cached(2, &["b", "c", "a"]).await;
    let run = granted(&mut lab, 1).await;
    assert_eq!(run[0].identity.task, TaskId(1));
    let (again, b) = (ann.ended(2, 2).await, ann.ended(2, 0).await);
    assert_eq!((&again.outcome, again.kind), (&first.outcome, first.kind));
    assert_eq!((&b.outcome, b.kind), (&failed.outcome, failed.kind));
    assert_eq!((again.attempt, &again.worker), (None, &None));
    assert_eq!(again.usage.wall_us, 0);
    let origin = again.origin.unwrap();
    assert_eq!(
        (origin.job, origin.number, origin.task),
        (id(1), 1, TaskId(0))
    );
    assert_eq!(
        (Some(origin.attempt), Some(origin.worker)),
        (first.attempt, first.worker)
    );
    assert_eq!(origin.target.as_str(), "x86_64-unknown-linux-gnu");
    assert_eq!(origin.cpu_profile.as_str(), "x86-64-v3");
    assert_eq!(origin.build.as_str(), "a test");
    assert_eq!((origin.run_us, origin.verification), (1000, None));
    assert_eq!(origin.function, ann.function.digest);
    assert_eq!(origin.call, Digest::of(b"a"));
    assert_eq!(origin.guest, Digest::of(b"guest"));
    lab.ends(&run, &returns(8)).await;
    ann.ended(2, 1).await;
    let counts = ann.counts(2).await;
    assert_eq!((counts.succeeded, counts.raised), (2, 1));
    assert_eq!(counts.from_cache, Some(2));

    // What was taken from the cache points to what ran, also over a restart of the coordinator.
    let installation = installation.restart().await;
    let mut ann = Client::new(&installation, &credentials).await;
    assert_eq!(ann.counts(2).await.from_cache, Some(2));
    ann.cached(3, &["a", "c"]).await;
    assert_eq!(ann.origin(3, 0).await, Some((1, 0)));
    assert_eq!(ann.origin(3, 1).await, Some((2, 1)));
    // A job that is not cached takes nothing from it.
    let plain = open(id(4), ann.function);
    ann.submit(plain, &["a"]).await;
    assert_eq!(ann.result(4, 0).await, None);
    assert_eq!(ann.counts(4).await.from_cache, None);
}

#[tokio::test]
async fn another_client_another_limit_and_another_clock_find_nothing() {
    let installation = Installation::start().await;
    let ann = installation.join(Role::Client, "ann").await;
    let bob = installation.join(Role::Client, "bob").await;
    let mut ann = Client::new(&installation, &ann).await;
    let mut bob = Client::new(&installation, &bob).await;
    let lab = installation.join(Role::Worker, "lab-1").await;
    let mut lab = installation.worker(&lab, 4).await;
    ann.cached(1, &["a"]).await;
    let claims = granted(&mut lab, 1).await;
    lab.ends(&claims, &succeeded()).await;
    ann.ended(1, 0).await;

    bob.cached(2, &["a"]).await;
    let claims = granted(&mut lab, 1).await;
    assert_eq!(claims[0].identity.job, id(2));
    lab.ends(&claims, &succeeded()).await;
    assert_eq!(bob.ended(2, 0).await.origin, None);

    let mut memory = cached(id(3), ann.function);
    memory.limits.memory_bytes_max -= 1;
    let mut clock = cached(id(4), ann.function);
    clock.time = TimeSource::Deterministic { start_ns: 1 };
    for (number, job) in [(3, memory), (4, clock)] {
        ann.submit(job, &["a"]).await;
        let claims = granted(&mut lab, 1).await;
        lab.ends(&claims, &succeeded()).await;
        assert_eq!(ann.ended(number, 0).await.origin, None);
    }
    ann.cached(5, &["a"]).await;
    assert_eq!(ann.origin(5, 0).await, Some((1, 0)));
}

#[tokio::test]
async fn random_bytes_follow_from_the_call_and_not_from_job_and_number() {
    let installation = Installation::start().await;
    let ann = installation.join(Role::Client, "ann").await;
    let mut ann = Client::new(&installation, &ann).await;
    let lab = installation.join(Role::Worker, "lab-1").await;
    let mut lab = installation.worker(&lab, 9).await;
    let streams = |grant: &Grant| -> Vec<_> {
        let tasks = grant.groups.iter().flat_map(|group| group.tasks.iter());
        tasks.map(|task| task.stream).collect()
    };
    ann.cached(1, &["a", "b", "a"]).await;
    let first = streams(&grant(&mut lab).await);
    assert!(first.iter().all(Option::is_some));
    assert_eq!(first[0], first[2]);
    assert_ne!(first[0], first[1]);
    let mut memory = cached(id(2), ann.function);
    memory.limits.memory_bytes_max -= 1;
    ann.submit(memory, &["b"]).await;
    assert_eq!(streams(&grant(&mut lab).await), first[1..2]);
    let plain = open(id(3), ann.function);
    ann.submit(plain, &["a"]).await;
    assert_eq!(streams(&grant(&mut lab).await), [None]);
}

#[tokio::test]
async fn what_may_differ_each_time_is_not_cached() {
    let installation = Installation::start().await;
    let ann = installation.join(Role::Client, "ann").await;
    let mut ann = Client::new(&installation, &ann).await;
    let changes: [fn(&mut OpenJob); 3] = [
        |job| job.time = TimeSource::Real {},
        |job| job.keep_instance = Some(true),
        |job| job.hash_memory = Some(true),
    ];
    for change in changes {
        let mut job = cached(id(1), ann.function);
        change(&mut job);
        let failed = failure(ann.talk.ask(job).await);
        assert_eq!(failed.code, ErrorCode::InvalidValue);
        assert!(failed.reason.contains("cannot be cached"), "{failed:?}");
    }
}

/// Answers whatever it is granted with one outcome, for as long as it is there.
fn answer(mut worker: Talk, outcome: Outcome) {
    tokio::spawn(async move {
        while let Ok(message) = worker.session.receiver.receive().await {
            let Message::Grant(grant) = message else {
                continue;
            };
            worker.ends(&claims(grant), &outcome).await;
        }
    });
}

/// The word of a worker that is found out to lie does not count any more, but where another one confirmed it.
#[tokio::test]
async fn a_liars_outcomes_are_not_given_out_any_more() {
    const TASKS: u64 = 40;
    let installation = Installation::start().await;
    let credentials = installation.join(Role::Client, "ann").await;
    let mut ann = Client::new(&installation, &credentials).await;
    let mallory = installation.join(Role::Worker, "mallory").await;
    answer(installation.worker(&mallory, 1).await, returns(666));
    ann.cached(1, &["a", "0"]).await;
    for task in 0..2 {
        let result = ann.ended(1, task).await;
        assert_eq!(result.worker, Some("mallory".parse().unwrap()));
    }
    // While nobody knows better it is believed.
    ann.cached(2, &["a"]).await;
    assert_eq!(ann.origin(2, 0).await, Some((1, 0)));

    for name in ["lab-1", "lab-2"] {
        let honest = installation.join(Role::Worker, name).await;
        answer(installation.worker(&honest, 1).await, returns(7));
    }
    // Whoever asks for confirmation does not get what one worker said.
    let mut verified = cached(id(3), ann.function);
    verified.verify_percent = Some(Ranged::clamped(100));
    let texts: Vec<_> = (0..TASKS).map(|number| number.to_string()).collect();
    let calls: Vec<_> = texts.iter().map(String::as_str).collect();
    ann.submit(verified, &calls).await;
    for task in 0..TASKS {
        let result = ann.ended(3, task).await;
        assert_eq!(result.origin, None);
        assert_eq!(result.verification.unwrap().verdict, Verdict::Confirmed);
    }
    let list = ListWorkers {
        request: 7,
        after: None,
        page: Ranged::clamped(9),
    };
    let Message::Workers(list) = ann.talk.ask(list).await else {
        panic!("not listed");
    };
    let is_mallory = |one: &&WorkerSummary| one.name.as_str() == "mallory";
    let mallory = list.workers.iter().find(is_mallory).unwrap();
    assert_eq!(mallory.state, WorkerState::Distrusted, "{mallory:?}");
    // What it said alone is run again; what two others said is known.
    ann.cached(4, &["a", "0"]).await;
    assert_eq!(ann.origin(4, 1).await, Some((3, 0)));
    let again = ann.ended(4, 0).await;
    assert_eq!(again.origin, None);
    let right = Bytes::try_from(encode_outcome(&returns(7))).unwrap();
    assert_eq!(again.outcome, Payload::Inline(right));
    // Also after a restart.
    let installation = installation.restart().await;
    let mut ann = Client::new(&installation, &credentials).await;
    ann.cached(5, &["a", "0"]).await;
    assert_eq!(ann.origin(5, 0).await, Some((4, 0)));
    assert_eq!(ann.origin(5, 1).await, Some((3, 0)));
}

#[tokio::test]
async fn what_a_job_leaves_goes_with_it_and_a_retry_runs() {
    let installation = Installation::start().await;
    let ann = installation.join(Role::Client, "ann").await;
    let mut ann = Client::new(&installation, &ann).await;
    let lab = installation.join(Role::Worker, "lab-1").await;
    let mut lab = installation.worker(&lab, 4).await;
    ann.cached(1, &["a"]).await;
    let claims = granted(&mut lab, 1).await;
    lab.ends(&claims, &raised()).await;
    ann.ended(1, 0).await;
    ann.cached(2, &["a"]).await;
    assert_eq!(ann.origin(2, 0).await, Some((1, 0)));
    // Retried, it runs, whatever is known.
    let (request, job) = (5, id(2));
    let retried = ann.talk.ask(RetryJob { request, job }).await;
    assert!(matches!(retried, Message::Done(_)), "{retried:?}");
    let claims = granted(&mut lab, 1).await;
    assert_eq!(claims[0].identity.job, id(2));
    lab.ends(&claims, &returns(5)).await;
    let again = ann.ended(2, 0).await;
    assert_eq!(again.origin, None);
    assert_eq!(ann.counts(2).await.from_cache, Some(0));
    // From now on that is what is known, until its job is gone.
    ann.cached(3, &["a"]).await;
    assert_eq!(ann.origin(3, 0).await, Some((2, 0)));
    let forgotten = ann.talk.ask(ForgetJob { request, job }).await;
    assert!(matches!(forgotten, Message::Done(_)), "{forgotten:?}");
    ann.cached(4, &["a"]).await;
    assert_eq!(granted(&mut lab, 1).await[0].identity.job, id(4));
    // What had been given out stays.
    assert_eq!(ann.origin(3, 0).await, Some((2, 0)));
}

/// A worker of the minor version before would ignore what the random bytes of a task follow from.
#[tokio::test]
async fn a_worker_of_the_version_before_is_welcome_and_gets_no_task_of_a_cached_job() {
    let installation = Installation::start().await;
    let ann = installation.join(Role::Client, "ann").await;
    let mut ann = Client::new(&installation, &ann).await;
    let lab = installation.join(Role::Worker, "lab-1").await;
    let mut old = installation.connect(&lab).await;
    let before = Hello {
        minor_max: MINOR_WITH_CACHE - 1,
        ..hello(Some(offer(4)))
    };
    old.say(before).await;
    assert_eq!(old.welcomed().await.minor, MINOR_WITH_CACHE - 1);
    ann.cached(1, &["a"]).await;
    let plain = open(id(2), ann.function);
    ann.submit(plain, &["a"]).await;
    let claims = granted(&mut old, 1).await;
    assert_eq!(claims[0].identity.job, id(2));
    old.ends(&claims, &succeeded()).await;
    ann.ended(2, 0).await;
    let explain = ExplainTask {
        request: 4,
        job: id(1),
        task: TaskId(0),
    };
    let Message::TaskExplained(told) = ann.talk.ask(explain).await else {
        panic!("not explained");
    };
    let why = told
        .reasons
        .iter()
        .find(|reason| reason.worker.is_some())
        .unwrap();
    assert!(why.text.contains("cached"), "{why:?}");
}

/// What was found is more than fits in one piece: it comes in several, and all of it.
#[tokio::test]
async fn large_outcomes_come_from_the_cache_as_well() {
    const TASKS: usize = 150;
    let installation = Installation::start().await;
    let ann = installation.join(Role::Client, "ann").await;
    let mut ann = Client::new(&installation, &ann).await;
    let lab = installation.join(Role::Worker, "lab-1").await;
    let mut lab = installation.worker(&lab, 4).await;
    let texts: Vec<_> = (0..TASKS).map(|number| number.to_string()).collect();
    let calls: Vec<_> = texts.iter().map(String::as_str).collect();
    ann.cached(1, &calls).await;
    let value = Value::from("x".repeat(60_000).as_str());
    let value = EncodedValue::from_bytes(value.encode().unwrap());
    let large = Outcome::Succeeded { value };
    let mut ended = 0;
    while ended < TASKS {
        for claim in lab.granted().await {
            lab.ends(&[claim], &large).await;
            ended += 1;
        }
    }
    let first = ann.ended(1, TASKS as u64 - 1).await;
    soon(async { while ann.counts(1).await.succeeded < TASKS as u64 {} }).await;
    let mut all = calls.clone();
    all.push("another");
    let opened = ann.talk.ask(cached(id(3), ann.function)).await;
    assert!(matches!(opened, Message::JobOpened(_)), "{opened:?}");
    let payloads: Vec<_> = all.iter().map(|text| call(text)).collect();
    ann.talk
        .say(AppendTasks {
            request: 1,
            first: TaskId(0),
            calls: List::try_from(payloads).unwrap(),
        })
        .await;
    let mut pieces = 0;
    loop {
        pieces += 1;
        match ann.talk.hear().await {
            Message::TasksAppended(appended) if appended.next == TaskId(all.len() as u64) => break,
            Message::TasksAppended(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(pieces >= 2, "{pieces}");
    let last = ann.ended(3, TASKS as u64 - 1).await;
    assert_eq!(last.outcome, first.outcome);
    assert_eq!(ann.counts(3).await.from_cache, Some(TASKS as u64));
}
