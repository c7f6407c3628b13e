//! Tests of the store; those named after cases are numbered as in the project's list of faults.

mod cached;
mod crash;
mod damage;
mod model;
mod refuse;
mod scheduler;
mod space;
mod story;

use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use ppwasm_proto::fabric::{LeaseId, OutcomeKind, Priority, WorkerId};
use ppwasm_proto::wire::{List, Origin, Testimony, Text, Verdict, Verification};
use ppwasm_proto::{Attempt, Digest, JobId, Limits, TaskId};
use ppwasm_scheduler::{DrainReason, Found, JobEnd, JobSpec, Record, TaskEnd};

use super::*;

/// More than anything here takes, even on a machine that does something else.
const PATIENCE: Duration = Duration::from_secs(60);

fn options() -> Options {
    let mut options = Options::new([7; 32]);
    options.blobs.free_bytes_min = 0;
    options.read_time_max = PATIENCE;
    options
}

fn open(folder: &Path) -> SqliteStore {
    SqliteStore::open(folder, &options()).unwrap()
}

fn commit(store: &dyn Store, at_ms: u64, writes: Vec<Write>) -> Result<Vec<Answer>, CommitError> {
    let (done, result) = mpsc::channel();
    let ack = Box::new(move |acked| done.send(acked).unwrap());
    match store.commit(Batch::at(at_ms, writes), ack) {
        Ok(()) => result.recv_timeout(PATIENCE).unwrap(),
        Err(not_taken) => Err(not_taken.why),
    }
}

fn maintain(store: &dyn Store, work: Maintenance) -> Result<Maintained, CommitError> {
    let (done, result) = mpsc::channel();
    store.maintain(work, Box::new(move |acked| done.send(acked).unwrap()))?;
    result.recv_timeout(PATIENCE).unwrap()
}

fn job_id(number: u8) -> JobId {
    JobId::from_bytes([number; 16])
}

fn bundle_body() -> Body {
    Body::Inline(b"def f(x): return x".to_vec())
}

fn bundle() -> Write {
    let digest = Digest::of(b"def f(x): return x");
    let body = bundle_body();
    Write::Bundle { digest, body }
}

fn spec(owner: &str) -> Box<JobSpec> {
    Box::new(JobSpec {
        owner: owner.parse().unwrap(),
        priority: Priority(-3),
        function: Digest::of(b"def f(x): return x"),
        limits: Limits::default(),
        attempts_max: 5,
        is_deterministic: true,
        verify_percent: if owner == "anna" { 0 } else { 30 },
        is_cached: owner == "anna",
        body: Digest::of(owner.as_bytes()),
    })
}

fn submitted(job: JobId) -> Write {
    Write::JobSubmitted {
        job,
        spec: spec("anna"),
        details: b"a name".to_vec(),
    }
}

fn call(number: u64) -> Body {
    Body::Inline(format!("arguments of call {number}, which differ").into_bytes())
}

fn added(job: JobId, first: u64, count: u64) -> Write {
    let calls = (first..first + count).map(call).collect();
    Write::TasksAdded { job, first, calls }
}

fn worker(number: u8) -> WorkerId {
    format!("worker-{number}").parse().unwrap()
}

fn end(outcome: OutcomeKind, attempt: u32) -> TaskEnd {
    TaskEnd::Outcome {
        outcome,
        attempt: Attempt(attempt),
        lease: LeaseId(u64::from(attempt) + 1000),
        worker: worker((attempt % 3) as u8),
        verification: (attempt == 2).then(|| Box::new(verification(Verdict::Confirmed))),
    }
}

fn verification(verdict: Verdict) -> Verification {
    let said = [(1, true), (2, false), (3, true)].map(|(number, agrees)| Testimony {
        worker: worker(number),
        target: Text::truncated("x86_64-unknown-linux-gnu"),
        agrees: agrees && verdict == Verdict::Confirmed,
    });
    Verification {
        verdict,
        testimonies: List::try_from(said.to_vec()).unwrap(),
    }
}

fn disputed() -> TaskEnd {
    TaskEnd::Disputed {
        verification: Box::new(verification(Verdict::Disputed)),
    }
}

fn result(text: &str) -> Box<TaskResult> {
    Box::new(TaskResult {
        outcome: Body::Inline(text.as_bytes().to_vec()),
        stdout: Body::Inline(b"printed".to_vec()),
        stderr: Body::default(),
        run_time_us: 1234,
        memory_bytes: 5678,
    })
}

fn ended(job: JobId, task: u64, outcome: OutcomeKind, attempt: u32) -> Write {
    Write::TaskEnded {
        job,
        task: TaskId(task),
        end: end(outcome, attempt),
        result: result(&format!("outcome of {task} by attempt {attempt}")),
        cache: (attempt != 3).then(note),
    }
}

/// Where the outcome of a task comes from that did not run.
fn origin(task: u64) -> Box<Origin> {
    let digest = Digest::of(b"digest");
    Box::new(Origin {
        key: key(task),
        function: digest,
        call: digest,
        guest: digest,
        result: digest,
        job: job_id(77),
        number: 3,
        task: TaskId(task),
        attempt: Attempt(1),
        worker: worker(1),
        target: Text::truncated("x86_64-unknown-linux-gnu"),
        cpu_profile: Text::truncated("x86-64-v3"),
        build: Text::truncated("ppwasm 1"),
        recorded_ms: 5,
        run_us: 6,
        verification: Some(verification(Verdict::Confirmed)),
    })
}

/// A task whose outcome is known as it is added.
fn found(task: u64) -> Found {
    Found {
        task,
        outcome: match task % 8 {
            5 => OutcomeKind::Raised,
            _ => OutcomeKind::Succeeded,
        },
        origin: origin(task),
    }
}

/// What is kept with an outcome of a job that is cached.
fn note() -> Box<CacheNote> {
    Box::new(CacheNote {
        setting: Digest::of(b"setting"),
        guest: Digest::of(b"guest"),
        machine: ["x86_64-unknown-linux-gnu", "x86-64-v3", "ppwasm 1"].map(Into::into),
    })
}

/// The key of the call with this number.
fn key(number: u64) -> Digest {
    crate::cache::key(&note().setting, &call(number).digest())
}

fn blob(store: &dyn Store, fill: u8) -> Body {
    let bytes = vec![fill; INLINE_BYTES_MAX + 1];
    Body::Blob {
        digest: store.blobs().put(&bytes).unwrap(),
        size: bytes.len() as u64,
    }
}

fn audited(number: u64) -> Write {
    Write::Audited(AuditEvent {
        at_ms: number,
        kind: "token used".to_owned(),
        body: format!("event {number}").into_bytes(),
    })
}

fn token(number: u8, expires_ms: u64) -> Token {
    Token {
        hash: Digest::of(&[number]),
        details: vec![number; 3],
        expires_ms,
    }
}

fn certificate(number: u8) -> Certificate {
    Certificate {
        serial: vec![number; 16],
        identity: format!("ppwasm://lab/worker/worker-{}", number % 2),
        details: b"der".to_vec(),
        expires_ms: 99,
    }
}

fn records(store: &dyn Store) -> Result<Vec<Record>, ReadError> {
    let mut records = Vec::new();
    store.recover(&mut |record| records.push(record))?;
    Ok(records)
}

/// A random number from a seed (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % end as u64) as usize
    }
}

/// Everything that can be read, as text; without what may differ between stores that say the same.
fn dump(store: &dyn Store) -> Result<String, ReadError> {
    use std::fmt::Write as _;
    let mut text = String::new();
    for record in records(store)? {
        writeln!(text, "{record:?}").unwrap();
    }
    for mut entry in store.jobs(0, u32::MAX)? {
        entry.number = 0;
        assert_eq!(
            store.job(&entry.job)?.map(|job| job.tasks),
            Some(entry.tasks)
        );
        writeln!(text, "{entry:?}").unwrap();
        let mut next = 0;
        while next < entry.tasks {
            let calls = store.calls(&entry.job, next, 1000)?;
            assert!(!calls.is_empty());
            next += calls.len() as u64;
            writeln!(text, "{:?}", calls).unwrap();
        }
        writeln!(
            text,
            "{:?}",
            store.outcomes(&entry.job, 0, u32::MAX, usize::MAX)?
        )
        .unwrap();
        writeln!(text, "{:?}", store.bundle(&entry.spec.function)?).unwrap();
    }
    for number in 0..5 {
        writeln!(text, "{:?}", store.token(&token(number, 0).hash)?).unwrap();
        writeln!(
            text,
            "{:?}",
            store.certificates(&certificate(number).identity, 100)?
        )
        .unwrap();
    }
    writeln!(
        text,
        "{:?}",
        store.bundle(&Digest::of(b"def f(x): return x"))?
    )
    .unwrap();
    writeln!(text, "{:?}", store.ended_before(u64::MAX, u32::MAX)?).unwrap();
    writeln!(text, "{:?}", store.denied()?).unwrap();
    writeln!(text, "{:?}", store.wished_slots()?).unwrap();
    let keys: Vec<_> = (0..25).map(key).collect();
    for mut found in store.cached(&keys, usize::MAX)?.into_iter().flatten() {
        found.number = 0;
        writeln!(text, "{found:?}").unwrap();
    }
    writeln!(text, "{:?}", store.events(0, u32::MAX)?).unwrap();
    Ok(text)
}

/// A store in memory, with its folder.
fn in_memory() -> (tempfile::TempDir, MemoryStore) {
    let folder = tempfile::tempdir().unwrap();
    let limits = crate::blobs::BlobLimits {
        free_bytes_min: 0,
        ..Default::default()
    };
    let store = MemoryStore::new([7; 32], &folder.path().join("blobs"), limits).unwrap();
    (folder, store)
}

fn copy_files(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for name in [STORE_FILE.to_owned(), format!("{STORE_FILE}-wal")] {
        if from.join(&name).exists() {
            std::fs::copy(from.join(&name), to.join(&name)).unwrap();
        }
    }
}

/// A script in which everything happens: steps that are applied in order.
struct Script {
    steps: Vec<Step>,
}

enum Step {
    Batch(u64, Vec<Write>),
    Maintain(Maintenance),
    Blob(Vec<u8>),
}

impl Script {
    fn new() -> Self {
        use OutcomeKind::{Raised, Succeeded};
        let (one, two) = (job_id(1), job_id(2));
        let large = vec![3; INLINE_BYTES_MAX + 1];
        let blob = Body::Blob {
            digest: Digest::of(&large),
            size: large.len() as u64,
        };
        let with_blob = |job, task| {
            let mut result = result("large");
            result.stdout = blob.clone();
            Write::TaskEnded {
                job,
                task: TaskId(task),
                end: end(Succeeded, 9),
                result,
                cache: Some(note()),
            }
        };
        let lost = |task| Record::AttemptLost {
            job: one,
            task: TaskId(task),
            attempt: Attempt(1),
            worker: worker(1),
            suspect: true,
        };
        let record = Write::Record;
        let calls = vec![call(20), blob.clone()];
        let steps = vec![
            Step::Batch(10, vec![bundle(), audited(1)]),
            Step::Batch(11, vec![submitted(one), added(one, 0, 20)]),
            Step::Blob(large.clone()),
            Step::Batch(
                12,
                vec![Write::TasksAdded {
                    job: one,
                    first: 20,
                    calls,
                }],
            ),
            Step::Batch(
                13,
                vec![
                    submitted(two),
                    record(Record::WorkerJoined { worker: worker(1) }),
                ],
            ),
            Step::Batch(
                14,
                vec![
                    record(Record::JobClosed {
                        job: one,
                        tasks: 22,
                    }),
                    record(Record::TasksReleased {
                        job: one,
                        below: 16,
                    }),
                    ended(one, 0, Succeeded, 1),
                    ended(one, 1, Raised, 2),
                    record(lost(2)),
                    record(lost(3)),
                ],
            ),
            Step::Batch(15, vec![with_blob(one, 4), added(two, 0, 300), audited(2)]),
            Step::Batch(
                16,
                vec![
                    record(Record::AttemptFound {
                        job: one,
                        task: TaskId(2),
                        attempt: Attempt(1),
                    }),
                    record(Record::TaskEnded {
                        job: one,
                        task: TaskId(3),
                        end: TaskEnd::Quarantined,
                    }),
                    record(Record::WorkerDrained {
                        worker: worker(2),
                        why: DrainReason::FailsTasks,
                    }),
                ],
            ),
            Step::Batch(
                17,
                vec![
                    Write::TokenIssued(token(1, 100)),
                    Write::TokenIssued(token(2, 18)),
                ],
            ),
            Step::Batch(
                18,
                vec![
                    Write::TokenRedeemed {
                        hash: token(1, 100).hash,
                    },
                    audited(3),
                ],
            ),
            Step::Batch(
                19,
                vec![
                    Write::CertificateIssued(certificate(1)),
                    Write::CertificateIssued(certificate(3)),
                    Write::SlotsWished {
                        worker: worker(1),
                        slots: 7,
                    },
                    Write::Denied(Denied {
                        subject: DeniedSubject::Serial(vec![1; 16]),
                        reason: "lost".to_owned(),
                        at_ms: 19,
                    }),
                ],
            ),
            Step::Batch(
                20,
                vec![record(Record::JobEnded {
                    job: one,
                    how: JobEnd::Finished,
                })],
            ),
            Step::Batch(
                21,
                vec![
                    record(Record::JobRetried {
                        job: one,
                        lease_floor: LeaseId(2000),
                    }),
                    ended(one, 1, Succeeded, 7),
                ],
            ),
            Step::Batch(
                22,
                vec![record(Record::JobEnded {
                    job: one,
                    how: JobEnd::Cancelled,
                })],
            ),
            Step::Batch(
                23,
                vec![record(Record::JobForgotten { job: one }), audited(4)],
            ),
            Step::Maintain(Maintenance {
                rows_max: 3,
                ..Maintenance::at(24)
            }),
            // Two days after 2026, when the blobs of this test are old.
            Step::Maintain(Maintenance::at(4_102_444_800_000)),
            Step::Batch(25, vec![ended(two, 299, Succeeded, 1)]),
        ];
        Self { steps }
    }

    /// What a store says before the first step and after each.
    fn dumps(&self) -> Vec<String> {
        let (_folder, model) = in_memory();
        let mut dumps = vec![dump(&model).unwrap()];
        for step in &self.steps {
            step.apply(&model).unwrap();
            dumps.push(dump(&model).unwrap());
        }
        dumps
    }
}

impl Step {
    fn apply(&self, store: &dyn Store) -> Result<(), CommitError> {
        match self {
            Self::Batch(at_ms, writes) => commit(store, *at_ms, writes.clone()).map(|_| ()),
            Self::Maintain(work) => maintain(store, *work).map(|_| ()),
            Self::Blob(bytes) => {
                store.blobs().put(bytes).unwrap();
                Ok(())
            }
        }
    }
}
