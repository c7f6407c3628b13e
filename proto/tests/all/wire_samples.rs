//! One message of each kind with every field set, and those with optional fields once more without them.

use std::time::Duration;

use ppwasm_proto::fabric::{
    Claim, GiveBackReason, Held, HeldState, Incarnation, LeaseId, LeaseToken, OutcomeKind, Priority,
};
use ppwasm_proto::wire::*;
use ppwasm_proto::{Attempt, Digest, JobId, Limits, TaskId, TaskIdentity};

fn text<const MAX: usize>(text: &str) -> Text<MAX> {
    text.try_into().unwrap()
}

pub(crate) fn list<T, const MAX: usize>(items: impl Into<Vec<T>>) -> List<T, MAX> {
    items.into().try_into().unwrap()
}

pub(crate) fn job() -> JobId {
    JobId::from_bytes(*b"job of 16 bytes.")
}

pub(crate) fn digest(byte: u8) -> Digest {
    Digest::from_bytes([byte; 32])
}

fn blob(byte: u8) -> BlobRef {
    BlobRef {
        digest: digest(byte),
        bytes: 70_000,
    }
}

fn inline(bytes: &[u8]) -> Payload {
    Payload::Inline(bytes.try_into().unwrap())
}

fn claim(lease: u64) -> Claim {
    Claim {
        lease: LeaseId(lease),
        identity: TaskIdentity::new(job(), TaskId(7)),
        attempt: Attempt(4097),
        token: LeaseToken::from_bytes(*b"token, 16 bytes."),
    }
}

pub(crate) fn limits() -> Limits {
    Limits {
        wall_time_max: Duration::from_secs(30),
        ..Limits::default()
    }
}

fn counts() -> TaskCounts {
    TaskCounts {
        queued: 1,
        leased: 2,
        succeeded: 3,
        raised: 4,
        trapped: 5,
        limit_exceeded: 6,
        cancelled: 7,
        abandoned: 8,
        lost_attempts: 9,
        from_cache: None,
    }
}

fn usage() -> Usage {
    Usage {
        wall_us: 1_500,
        memory_bytes: 64 << 20,
        memory_digest: Some(digest(9)),
    }
}

fn recorded() -> RecordedResult {
    RecordedResult {
        task: TaskId(7),
        attempt: Some(Attempt(4097)),
        kind: OutcomeKind::Raised,
        outcome: inline(b"\x82\x04\xa0"),
        stdout: Some(inline(b"out")),
        stderr: Some(Payload::Blob(blob(6))),
        usage: usage(),
        worker: Some("lab-1".parse().unwrap()),
        verification: None,
        origin: None,
    }
}

fn summary() -> JobSummary {
    JobSummary {
        job: job(),
        name: text("nightly"),
        owner: "ann".parse().unwrap(),
        function: digest(1),
        state: JobState::Closed,
        counts: counts(),
        priority: Priority(-5),
        age_ms: 60_000,
        run_ms: Some(59_000),
        number: Some(12),
    }
}

pub(crate) fn worker_offer() -> WorkerOffer {
    WorkerOffer {
        target: text("x86_64-unknown-linux-gnu"),
        cpu_profile: text("x86-64-v3"),
        slots: 8,
        label: Some(text("rack 3, left")),
        guests: list([digest(1)]),
        functions: list([digest(2), digest(3)]),
        incarnation: Incarnation(0x1234_5678_9abc_def0),
        credit: 64,
        held: list([
            Held {
                claim: claim(1),
                state: HeldState::Waiting,
            },
            Held {
                claim: claim(2),
                state: HeldState::Finished,
            },
        ]),
        is_draining: Some(true),
        memory_bytes: Some(8 << 30),
        engine: Some(digest(4)),
        wants_guest: Some(true),
    }
}

fn task() -> GrantedTask {
    GrantedTask {
        lease: LeaseId(1 << 43),
        task: TaskId(7),
        attempt: Attempt(4097),
        token: LeaseToken::from_bytes(*b"token, 16 bytes."),
        call: inline(b"\x82\x80\xa0"),
        alone: Some(true),
        stream: None,
    }
}

pub(crate) fn open_job() -> OpenJob {
    OpenJob {
        request: 1,
        job: job(),
        function: blob(1),
        name: text("nightly"),
        priority: Priority(5),
        limits: limits(),
        time: TimeSource::Deterministic {
            start_ns: 1_700_000_000_000_000_000,
        },
        attempts_max: Some(Ranged::clamped(5)),
        stdin: Some(blob(2)),
        inputs: Some(blob(3)),
        keep_instance: Some(false),
        hash_memory: Some(true),
        stop_at_failure: Some(true),
        keep_for_s: Some(86_400),
        stream: Some(JobId::from_bytes([0x5e; 16])),
        verify_percent: None,
        cache: None,
    }
}

fn verification() -> Verification {
    let testimony = |worker: &str, target, agrees| Testimony {
        worker: worker.parse().unwrap(),
        target: text(target),
        agrees,
    };
    Verification {
        verdict: Verdict::Confirmed,
        testimonies: list([
            testimony("lab-1", "x86_64-unknown-linux-gnu", true),
            testimony("board-2", "riscv64gc-unknown-linux-gnu", false),
            testimony("board-3", "aarch64-unknown-linux-gnu", true),
        ]),
    }
}

fn origin() -> Origin {
    Origin {
        key: digest(1),
        function: digest(2),
        call: digest(3),
        guest: digest(4),
        result: digest(5),
        job: JobId::from_bytes([0x6e; 16]),
        number: 11,
        task: TaskId(6),
        attempt: Attempt(4097),
        worker: "lab-1".parse().unwrap(),
        target: text("x86_64-unknown-linux-gnu"),
        cpu_profile: text("x86-64-v3"),
        build: text("ppwasm 0.1.0"),
        recorded_ms: 1_795_000_000_000,
        run_us: 1_500,
        verification: Some(verification()),
    }
}

fn handshake() -> Vec<(&'static str, Message)> {
    let hello = Hello {
        minor_min: 1,
        minor_max: 2,
        build: text("0.1.0 (abcdef)"),
        worker: Some(worker_offer()),
    };
    let client = Hello {
        worker: None,
        ..hello.clone()
    };
    let welcome = Welcome {
        minor: 1,
        session: 42,
        epoch: 3,
        report_every_ms: 5_000,
        lease_ms: 30_000,
        refused: list([LeaseId(9)]),
        build: text("0.1.0"),
        guest: Some(digest(1)),
        renew_certificate: Some(true),
        wall_clock_s: Some(1_700_000_000),
        slots: Some(4),
    };
    let short = Welcome {
        guest: None,
        renew_certificate: None,
        wall_clock_s: None,
        slots: None,
        ..welcome.clone()
    };
    let refused = Refused {
        code: ErrorCode::VersionUnsupported,
        reason: text("too old"),
        retry_after_ms: Some(1_000),
        spoken: Some(text("1 to 1")),
    };
    let failed = Failed {
        request: 5,
        code: ErrorCode::Unknown(4_000),
        reason: text("no"),
        retry_after_ms: Some(250),
    };
    vec![
        ("hello-worker", hello.into()),
        ("hello-client", client.into()),
        ("welcome", welcome.into()),
        ("welcome-client", short.into()),
        ("refused", refused.into()),
        ("ping", Ping { number: 1 }.into()),
        ("pong", Pong { number: u64::MAX }.into()),
        ("failed", failed.into()),
        ("done", Done { request: 5 }.into()),
        ("goodbye", Goodbye {}.into()),
    ]
}

fn from_worker() -> Vec<(&'static str, Message)> {
    let result = TaskResult {
        claim: claim(1),
        kind: OutcomeKind::Succeeded,
        outcome: inline(b"\x82\x00\xa1\x00\x41\x05"),
        stdout: Some(inline(b"out")),
        stderr: Some(Payload::Blob(blob(8))),
        usage: usage(),
    };
    let short = TaskResult {
        stdout: None,
        stderr: None,
        usage: Usage::default(),
        ..result.clone()
    };
    let given = |why, detail| GivenBack {
        lease: LeaseId(3),
        why,
        detail,
    };
    vec![
        (
            "report",
            Report {
                number: 4,
                waiting: list([LeaseId(1), LeaseId(2)]),
                running: list([LeaseId(3)]),
            }
            .into(),
        ),
        (
            "ended",
            Ended {
                results: list([result, short]),
            }
            .into(),
        ),
        (
            "give-back",
            GiveBack {
                leases: list([
                    given(GiveBackReason::Cancelled, None),
                    given(GiveBackReason::SlotDied, Some(text("signal 9"))),
                    given(GiveBackReason::LeaseEnded, None),
                ]),
            }
            .into(),
        ),
        (
            "slots-set",
            SlotsSet {
                slots: Ranged::clamped(0),
                credit: Ranged::clamped(u64::MAX),
            }
            .into(),
        ),
        ("draining", Draining {}.into()),
        (
            "images-held",
            ImagesHeld {
                held: list([digest(1)]),
                dropped: list([digest(2)]),
            }
            .into(),
        ),
        (
            "image-wanted",
            ImageWanted {
                function: digest(1),
            }
            .into(),
        ),
    ]
}

fn to_worker() -> Vec<(&'static str, Message)> {
    let group = GrantGroup {
        job: job(),
        function: digest(1),
        limits: limits(),
        time: TimeSource::Deterministic { start_ns: 5 },
        stdin: Some(blob(2)),
        inputs: Some(blob(3)),
        keep_instance: Some(true),
        hash_memory: Some(true),
        tasks: list([task()]),
        stream: Some(JobId::from_bytes([0x5e; 16])),
    };
    let short = GrantGroup {
        time: TimeSource::Real {},
        stdin: None,
        inputs: None,
        keep_instance: None,
        hash_memory: None,
        tasks: list([GrantedTask {
            call: Payload::Blob(blob(5)),
            alone: None,
            ..task()
        }]),
        stream: None,
        ..group.clone()
    };
    let cached = GrantGroup {
        tasks: list([GrantedTask {
            stream: Some(JobId::from_bytes([0x5f; 16])),
            ..task()
        }]),
        ..group.clone()
    };
    let leases = || list([LeaseId(1), LeaseId(1 << 43 | 2)]);
    let image = ImageReady {
        function: digest(1),
        guest: digest(2),
        image: blob(3),
        base: Some(blob(4)),
    };
    vec![
        (
            "grant",
            Grant {
                groups: list([group, short]),
                lease_ms: Ranged::clamped(30_000),
            }
            .into(),
        ),
        (
            "grant-cached",
            Grant {
                groups: list([cached]),
                lease_ms: Ranged::clamped(30_000),
            }
            .into(),
        ),
        (
            "renewed",
            Renewed {
                number: 4,
                lease_ms: Ranged::clamped(30_000),
                report_every_ms: Ranged::clamped(5_000),
                refused: list([LeaseId(2)]),
            }
            .into(),
        ),
        ("acknowledge", Acknowledge { leases: leases() }.into()),
        ("cancel", Cancel { leases: leases() }.into()),
        ("take-back", TakeBack { leases: leases() }.into()),
        (
            "set-slots",
            SetSlots {
                slots: Ranged::clamped(4),
            }
            .into(),
        ),
        ("drain", Drain {}.into()),
        ("image-ready", image.into()),
        (
            "image-missing",
            ImageMissing {
                function: digest(1),
                code: ErrorCode::FunctionInvalid,
            }
            .into(),
        ),
        (
            "artifact-ready",
            ArtifactReady {
                guest: digest(1),
                target: text("aarch64-unknown-linux-gnu"),
                cpu_profile: text("aarch64-lse"),
                artifact: blob(2),
                manifest: b"manifest"[..].try_into().unwrap(),
                signature: [3; 64][..].try_into().unwrap(),
            }
            .into(),
        ),
    ]
}

fn from_client() -> Vec<(&'static str, Message)> {
    let open = open_job();
    let short = OpenJob {
        time: TimeSource::Real {},
        attempts_max: None,
        stdin: None,
        inputs: None,
        keep_instance: None,
        hash_memory: None,
        stop_at_failure: None,
        keep_for_s: None,
        stream: None,
        ..open.clone()
    };
    let (request, job, task) = (2, job(), TaskId(7));
    let page = Ranged::clamped(100);
    let worker = "lab-1".parse().unwrap();
    vec![
        ("open-job", open.into()),
        ("open-job-short", short.into()),
        (
            "open-job-verified",
            OpenJob {
                verify_percent: Some(Ranged::clamped(50)),
                ..open_job()
            }
            .into(),
        ),
        (
            "open-job-cached",
            OpenJob {
                cache: Some(true),
                ..open_job()
            }
            .into(),
        ),
        (
            "append-tasks",
            AppendTasks {
                request,
                first: task,
                calls: list([inline(b"\x82\x80\xa0"), Payload::Blob(blob(1))]),
            }
            .into(),
        ),
        (
            "close-job",
            CloseJob {
                request,
                tasks: 1 << 32,
            }
            .into(),
        ),
        (
            "watch-job",
            WatchJob {
                request,
                job,
                order: WatchOrder::Completion,
                cursor: 5,
                credit: Ranged::clamped(1000),
            }
            .into(),
        ),
        (
            "watch-credit",
            WatchCredit {
                request,
                credit: Ranged::clamped(500),
            }
            .into(),
        ),
        ("unwatch", Unwatch { request }.into()),
        ("cancel-job", CancelJob { request, job }.into()),
        ("retry-job", RetryJob { request, job }.into()),
        ("forget-job", ForgetJob { request, job }.into()),
        (
            "list-jobs",
            ListJobs {
                request,
                after: Some(job),
                page,
                only_live: true,
            }
            .into(),
        ),
        ("show-job", ShowJob { request, job }.into()),
        ("explain-task", ExplainTask { request, job, task }.into()),
        ("show-task", ShowTask { request, job, task }.into()),
        (
            "list-workers",
            ListWorkers {
                request,
                after: Some("lab-0".parse().unwrap()),
                page,
            }
            .into(),
        ),
        (
            "drain-worker",
            DrainWorker {
                request,
                worker,
                drain: true,
            }
            .into(),
        ),
        (
            "set-worker-slots",
            SetWorkerSlots {
                request,
                worker: "lab-1".parse().unwrap(),
                slots: Ranged::clamped(16),
            }
            .into(),
        ),
        (
            "list-functions",
            ListFunctions {
                request,
                after: Some(digest(1)),
                page,
            }
            .into(),
        ),
    ]
}

fn to_client() -> Vec<(&'static str, Message)> {
    let request = 2;
    let short = RecordedResult {
        attempt: None,
        kind: OutcomeKind::Abandoned,
        stdout: None,
        stderr: None,
        usage: Usage::default(),
        worker: None,
        ..recorded()
    };
    let reason = Reason {
        worker: Some("lab-1".parse().unwrap()),
        text: text("it has no free slot"),
        score: Some(-12),
    };
    let worker = WorkerSummary {
        name: "lab-1".parse().unwrap(),
        state: WorkerState::Serving,
        target: text("x86_64-unknown-linux-gnu"),
        cpu_profile: text("x86-64-v3"),
        slots: 8,
        leases: 9,
        speed_permille: Some(1_250),
        tasks_ended: 1_000,
        silent_ms: 12,
        label: Some(text("rack 3")),
        build: Some(text("0.1.0")),
        contradicted: None,
    };
    let distrusted = WorkerSummary {
        state: WorkerState::Distrusted,
        contradicted: Some(3),
        ..worker.clone()
    };
    let verified = RecordedResult {
        verification: Some(verification()),
        ..recorded()
    };
    let cached = RecordedResult {
        attempt: None,
        worker: None,
        origin: Some(origin()),
        ..recorded()
    };
    let from_cache = TaskCounts {
        from_cache: Some(2),
        ..counts()
    };
    vec![
        (
            "job-opened",
            JobOpened {
                request,
                is_duplicate: true,
                next: TaskId(1_000),
                credit: Ranged::clamped(10_000),
                is_closed: false,
            }
            .into(),
        ),
        (
            "tasks-appended",
            TasksAppended {
                request,
                next: TaskId(2_000),
                credit: Ranged::clamped(0),
            }
            .into(),
        ),
        (
            "results",
            Results {
                request,
                results: list([recorded(), short]),
                cursor: 2,
            }
            .into(),
        ),
        (
            "job-progress",
            JobProgress {
                request,
                state: JobState::FunctionInvalid,
                counts: counts(),
                is_last: true,
                load_failure: Some(inline(b"\x82\x01\xa0")),
                load_stdout: Some(inline(b"loading\n")),
                load_stderr: Some(inline(b"a warning\n")),
            }
            .into(),
        ),
        (
            "jobs",
            Jobs {
                request,
                jobs: list([summary()]),
                has_more: true,
            }
            .into(),
        ),
        (
            "job-shown",
            JobShown {
                request,
                job: summary(),
                limits: limits(),
                used_us: 123_456,
                load_failure: Some(inline(b"\x82\x01\xa0")),
                time: Some(TimeSource::Real {}),
                stream: Some(JobId::from_bytes([0x5e; 16])),
                verification: None,
            }
            .into(),
        ),
        (
            "job-shown-verified",
            JobShown {
                request,
                job: summary(),
                limits: limits(),
                used_us: 123_456,
                load_failure: None,
                time: None,
                stream: None,
                verification: Some(JobVerification {
                    percent: Ranged::clamped(50),
                    waiting: 1,
                    confirmed: list([VerifiedOn {
                        first: text("aarch64-unknown-linux-gnu"),
                        second: text("x86_64-unknown-linux-gnu"),
                        tasks: 40,
                    }]),
                    alone: 2,
                    unanswered: 3,
                    disputed: 4,
                    odd: list([OddWorker {
                        worker: "board-2".parse().unwrap(),
                        answers: 5,
                    }]),
                }),
            }
            .into(),
        ),
        (
            "results-verified",
            Results {
                request,
                results: list([verified]),
                cursor: 8,
            }
            .into(),
        ),
        (
            "results-cached",
            Results {
                request,
                results: list([cached]),
                cursor: 8,
            }
            .into(),
        ),
        (
            "jobs-cached",
            Jobs {
                request,
                jobs: list([JobSummary {
                    counts: from_cache,
                    ..summary()
                }]),
                has_more: false,
            }
            .into(),
        ),
        (
            "workers-distrusted",
            Workers {
                request,
                workers: list([distrusted]),
                has_more: false,
            }
            .into(),
        ),
        (
            "task-explained",
            TaskExplained {
                request,
                state: text("waits for a slot"),
                attempts: 1,
                reasons: list([reason]),
            }
            .into(),
        ),
        (
            "task-shown",
            TaskShown {
                request,
                result: Some(recorded()),
                attempts: 1,
            }
            .into(),
        ),
        (
            "workers",
            Workers {
                request,
                workers: list([worker]),
                has_more: false,
            }
            .into(),
        ),
        (
            "functions",
            Functions {
                request,
                functions: list([FunctionSummary {
                    function: blob(1),
                    entry: text("job:main"),
                    image: Some(blob(2)),
                    jobs: 3,
                    workers: 4,
                }]),
                has_more: false,
            }
            .into(),
        ),
    ]
}

fn certificates_and_blobs() -> Vec<(&'static str, Message)> {
    vec![
        (
            "renew-certificate",
            RenewCertificate {
                request: 1,
                public_key: [1; 32],
                key_proof: [2; 64],
            }
            .into(),
        ),
        (
            "certificate-issued",
            CertificateIssued {
                request: 1,
                chain: list([
                    b"leaf"[..].try_into().unwrap(),
                    b"authority"[..].try_into().unwrap(),
                ]),
                trusted: list([b"authority"[..].try_into().unwrap()]),
                artifact_key: Some([5; 32][..].try_into().unwrap()),
            }
            .into(),
        ),
        (
            "join",
            Join {
                token: text("0011223344556677"),
                nonce: [3; 32],
            }
            .into(),
        ),
        ("join-challenge", JoinChallenge { nonce: [4; 32] }.into()),
        (
            "join-proof",
            JoinProof {
                name: text("lab-1"),
                public_key: [1; 32],
                secret_proof: [2; 64],
                key_proof: [3; 64],
            }
            .into(),
        ),
        (
            "mint-token",
            MintToken {
                request: 1,
                role: JoinRole::Worker,
                name: Some(text("lab-1")),
                lifetime_s: Some(600),
            }
            .into(),
        ),
        (
            "token-minted",
            TokenMinted {
                request: 1,
                token: text("ppwjoin1.00"),
                lifetime_s: 600,
            }
            .into(),
        ),
        (
            "revoke-identity",
            RevokeIdentity {
                request: 1,
                role: JoinRole::Client,
                name: text("ann"),
                reason: text("left"),
            }
            .into(),
        ),
        (
            "get-blob",
            GetBlob {
                digest: digest(1),
                offset: 4096,
            }
            .into(),
        ),
        (
            "blob-found",
            BlobFound {
                bytes: 1 << 33,
                offset: 4096,
            }
            .into(),
        ),
        ("put-blob", PutBlob { blob: blob(1) }.into()),
        ("blob-wanted", BlobWanted { offset: 4096 }.into()),
        ("blob-stored", BlobStored { digest: digest(1) }.into()),
    ]
}

/// Every message, by name.
pub(crate) fn samples() -> Vec<(&'static str, Message)> {
    [
        handshake(),
        from_worker(),
        to_worker(),
        from_client(),
        to_client(),
        certificates_and_blobs(),
    ]
    .concat()
}
