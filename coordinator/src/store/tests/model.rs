//! Random batches: the store in memory is the model of the one in SQLite.

use proptest::prelude::*;

use super::*;

fn any_outcome() -> impl Strategy<Value = OutcomeKind> {
    use OutcomeKind::{LimitExceeded, Raised, Succeeded};
    prop::sample::select(vec![Succeeded, Succeeded, Raised, LimitExceeded])
}

fn any_body() -> impl Strategy<Value = Body> {
    let large = vec![9; INLINE_BYTES_MAX + 1];
    let blob = Body::Blob {
        digest: Digest::of(&large),
        size: large.len() as u64,
    };
    prop_oneof![
        8 => (0..4_u64).prop_map(call),
        1 => Just(blob),
        1 => Just(Body::Blob { digest: Digest::of(b"absent"), size: 5 }),
    ]
}

fn any_write() -> impl Strategy<Value = Write> {
    let job = || (1..4_u8).prop_map(job_id);
    let task = || (0..6_u64).prop_map(TaskId);
    let attempt = || (1..4_u32).prop_map(Attempt);
    let how = prop::sample::select(vec![JobEnd::Finished, JobEnd::Cancelled]);
    let why = prop::sample::select(vec![
        DrainReason::Requested,
        DrainReason::Revoked,
        DrainReason::GivesWrongResults,
    ]);
    let worker = || (0..3_u8).prop_map(worker);
    let given_up = prop::sample::select(vec![TaskEnd::Abandoned, TaskEnd::Quarantined, disputed()]);
    let record = prop_oneof![
        (job(), 0..8_u64).prop_map(|(job, tasks)| Record::JobClosed { job, tasks }),
        (job(), 0..8_u64).prop_map(|(job, below)| Record::TasksReleased { job, below }),
        (job(), task(), attempt(), worker(), any::<bool>()).prop_map(
            |(job, task, attempt, worker, suspect)| Record::AttemptLost {
                job,
                task,
                attempt,
                worker,
                suspect,
            }
        ),
        (job(), task(), attempt()).prop_map(|(job, task, attempt)| Record::AttemptFound {
            job,
            task,
            attempt
        }),
        (job(), task(), given_up).prop_map(|(job, task, end)| Record::TaskEnded { job, task, end }),
        (job(), how).prop_map(|(job, how)| Record::JobEnded { job, how }),
        (job(), 0..3_u64).prop_map(|(job, floor)| Record::JobRetried {
            job,
            lease_floor: LeaseId(floor),
        }),
        job().prop_map(|job| Record::JobForgotten { job }),
        worker().prop_map(|worker| Record::WorkerJoined { worker }),
        worker().prop_map(|worker| Record::WorkerGone { worker }),
        (worker(), why).prop_map(|(worker, why)| Record::WorkerDrained { worker, why }),
        worker().prop_map(|worker| Record::WorkerUndrained { worker }),
    ];
    prop_oneof![
        2 => job().prop_map(submitted),
        4 => (job(), 0..5_u64, prop::collection::vec(any_body(), 1..4))
            .prop_map(|(job, first, calls)| Write::TasksAdded { job, first, calls }),
        4 => (job(), 0..5_u64, 1..4_u64).prop_map(|(job, first, count)| added(job, first, count)),
        6 => (job(), 0..6_u64, any_outcome(), 1..4_u32)
            .prop_map(|(job, task, outcome, attempt)| ended(job, task, outcome, attempt)),
        1 => (job(), task(), any_body()).prop_map(|(job, task, outcome)| Write::TaskEnded {
            job,
            task,
            end: end(OutcomeKind::Raised, 1),
            result: Box::new(TaskResult { outcome, ..TaskResult::default() }),
            cache: Some(note()),
        }),
        2 => (job(), 0..6_u64).prop_map(|(job, task)| Write::TaskEnded {
            job,
            task: TaskId(task),
            end: TaskEnd::Cached { outcome: OutcomeKind::Raised, origin: origin(task) },
            result: result("known"),
            cache: None,
        }),
        10 => record.prop_map(Write::Record),
        1 => (0..4_u8, 0..3_u64).prop_map(|(number, ms)| Write::TokenIssued(token(number, ms * 50))),
        1 => (0..4_u8).prop_map(|number| Write::TokenRedeemed { hash: token(number, 0).hash }),
        1 => (0..4_u8).prop_map(|number| Write::CertificateIssued(certificate(number))),
        1 => (0..4_u64).prop_map(audited),
        1 => (0..3_u8, 1..4_u32).prop_map(|(number, slots)| Write::SlotsWished {
            worker: super::worker(number),
            slots,
        }),
        1 => (0..3_u8, 0..9_u64).prop_map(|(number, at_ms)| Write::Denied(Denied {
            subject: match number {
                0 => DeniedSubject::Identity("ppwasm://lab/worker/a".to_owned()),
                number => DeniedSubject::Serial(vec![number; 4]),
            },
            reason: "why".to_owned(),
            at_ms,
        })),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_stores_say_the_same(
        batches in prop::collection::vec(prop::collection::vec(any_write(), 1..6), 1..60),
        pieces in prop::collection::vec(1..60_usize, 0..4),
    ) {
        let (_folder, model) = in_memory();
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        for each in [&model as &dyn Store, &store] {
            blob(each, 9);
            commit(each, 0, vec![bundle()]).unwrap();
        }
        for (at_ms, batch) in (1..).zip(batches) {
            let ours = commit(&store, at_ms, batch.clone());
            let theirs = commit(&model, at_ms, batch.clone());
            prop_assert_eq!(format!("{ours:?}"), format!("{theirs:?}"), "{:?}", batch);
            if pieces.contains(&(at_ms as usize)) {
                let work = Maintenance { rows_max: 1000, ..Maintenance::at(at_ms) };
                maintain(&store, work).unwrap();
                maintain(&model, work).unwrap();
            }
        }
        let expected = dump(&model).unwrap();
        prop_assert_eq!(dump(&store).unwrap(), expected.clone());
        drop(store);
        let report = check(folder.path(), true).unwrap();
        prop_assert!(report.is_clean(), "{:?}", report);
        prop_assert_eq!(dump(&open(folder.path())).unwrap(), expected);
    }
}
