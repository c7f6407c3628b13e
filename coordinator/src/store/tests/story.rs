//! What a store does when nothing goes wrong.

use super::*;
use OutcomeKind::{Raised, Succeeded};

fn both(test: impl Fn(&dyn Store)) {
    let (_folder, memory) = in_memory();
    test(&memory);
    let folder = tempfile::tempdir().unwrap();
    test(&open(folder.path()));
}

#[test]
fn a_script_reads_the_same_from_both_and_after_reopening() {
    let script = Script::new();
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    let dumps = script.dumps();
    for (step, expected) in script.steps.iter().zip(&dumps[1..]) {
        step.apply(&store).unwrap();
        assert_eq!(dump(&store).unwrap(), *expected);
        let epoch = store.epoch();
        drop(store);
        store = open(folder.path());
        assert!(store.epoch() > epoch);
        assert_eq!(dump(&store).unwrap(), *expected);
    }
    drop(store);
    let report = check(folder.path(), true).unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(
        (report.jobs, report.events, report.unnamed_blobs),
        (1, 4, 0)
    );
}

#[test]
fn case_20_the_same_again_changes_nothing_and_another_is_refused() {
    both(|store| {
        let job = job_id(1);
        let first = vec![
            bundle(),
            submitted(job),
            added(job, 0, 3),
            ended(job, 1, Succeeded, 1),
        ];
        commit(store, 5, first.clone()).unwrap();
        let before = dump(store).unwrap();
        let again = commit(store, 6, first).unwrap();
        assert_eq!(again, vec![Answer::Known; 4]);
        assert_eq!(dump(store).unwrap(), before);

        let other = Write::JobSubmitted {
            job,
            spec: spec("bert"),
            details: Vec::new(),
        };
        let calls = vec![call(0), call(7)];
        let refusals = [
            (other, Refusal::JobDiffers(job)),
            (
                Write::TasksAdded {
                    job,
                    first: 0,
                    calls,
                },
                Refusal::CallDiffers {
                    job,
                    task: TaskId(1),
                },
            ),
            (added(job, 4, 1), Refusal::TasksMissing { job, tasks: 3 }),
            (
                ended(job, 1, Raised, 1),
                Refusal::OutcomeStands {
                    job,
                    task: TaskId(1),
                },
            ),
            (
                ended(job, 1, Succeeded, 2),
                Refusal::OutcomeStands {
                    job,
                    task: TaskId(1),
                },
            ),
            (
                ended(job, 3, Succeeded, 1),
                Refusal::UnknownTask {
                    job,
                    task: TaskId(3),
                },
            ),
            (added(job_id(9), 0, 1), Refusal::UnknownJob(job_id(9))),
            (
                Write::Record(Record::JobClosed { job, tasks: 2 }),
                Refusal::TasksMissing { job, tasks: 3 },
            ),
            (
                Write::Record(Record::TasksAdded {
                    job,
                    first: 3,
                    count: 1,
                }),
                Refusal::BodyMissing,
            ),
            (
                Write::Record(Record::JobForgotten { job }),
                Refusal::JobStands(job),
            ),
        ];
        for (write, expected) in refusals {
            // What came before it in the batch is undone with it.
            let refused = commit(
                store,
                7,
                vec![audited(1), Write::TokenIssued(token(1, 9)), write],
            );
            let Err(CommitError::Refused { index: 2, why }) = refused else {
                panic!("{refused:?} instead of {expected:?}");
            };
            assert_eq!(why, expected);
            assert_eq!(dump(store).unwrap(), before);
        }
        // Overlapping with what is there, as after a connection that broke.
        assert_eq!(
            commit(store, 8, vec![added(job, 1, 4)]).unwrap(),
            [Answer::Done]
        );
        assert_eq!(
            store.calls(&job, 0, 10).unwrap(),
            (0..5).map(call).collect::<Vec<_>>()
        );
    });
}

#[test]
fn refused_writes_name_what_is_missing() {
    both(|store| {
        let job = job_id(1);
        let why = |writes| match commit(store, 1, writes) {
            Err(CommitError::Refused { why, .. }) => why,
            other => panic!("{other:?}"),
        };
        let function = Digest::of(b"def f(x): return x");
        assert_eq!(why(vec![submitted(job)]), Refusal::UnknownBundle(function));
        let body = Body::Inline(b"other".to_vec());
        let wrong = Write::Bundle {
            digest: function,
            body,
        };
        assert_eq!(why(vec![wrong]), Refusal::BundleDiffers(function));
        let digest = Digest::of(b"nowhere");
        let body = Body::Blob { digest, size: 7 };
        let absent = Write::Bundle {
            digest,
            body: body.clone(),
        };
        assert_eq!(why(vec![absent]), Refusal::BlobMissing(digest));
        let calls = vec![body];
        let absent = Write::TasksAdded {
            job,
            first: 0,
            calls,
        };
        assert_eq!(
            why(vec![bundle(), submitted(job), absent]),
            Refusal::BlobMissing(digest)
        );
        // There, but of another size.
        let digest = store.blobs().put(b"somewhere").unwrap();
        let body = Body::Blob { digest, size: 8 };
        assert_eq!(
            why(vec![Write::Bundle { digest, body }]),
            Refusal::BlobMissing(digest)
        );
        assert_eq!(store.jobs(0, 10).unwrap(), []);
    });
}

#[test]
fn limits_hold_at_the_limit_and_one_past_it() {
    both(|store| {
        let job = job_id(1);
        commit(store, 1, vec![bundle(), submitted(job)]).unwrap();
        let calls = |size| vec![Body::Inline(vec![1; size])];
        let details = |size| {
            Write::TokenIssued(Token {
                details: vec![1; size],
                ..token(1, 9)
            })
        };
        let event = |size| {
            Write::Audited(AuditEvent {
                at_ms: 1,
                kind: "k".repeat(size),
                body: Vec::new(),
            })
        };
        let serial = |size| {
            Write::CertificateIssued(Certificate {
                serial: vec![1; size],
                ..certificate(1)
            })
        };
        let past = [
            vec![Write::TasksAdded {
                job,
                first: 0,
                calls: calls(INLINE_BYTES_MAX + 1),
            }],
            vec![details(DETAIL_BYTES_MAX + 1)],
            vec![event(257)],
            vec![serial(21)],
            vec![audited(1); BATCH_WRITES_MAX + 1],
            vec![Write::TasksAdded {
                job,
                first: 0,
                calls: vec![Body::default(); BATCH_WRITES_MAX + 1],
            }],
            vec![Write::TasksAdded {
                job,
                first: 0,
                calls: vec![Body::Inline(vec![1; INLINE_BYTES_MAX]); 256],
            }],
        ];
        for writes in past {
            let refused = commit(store, 1, writes);
            let Err(CommitError::Refused {
                why: Refusal::TooLarge { .. },
                ..
            }) = refused
            else {
                panic!("{refused:?}");
            };
        }
        let at = [
            vec![Write::TasksAdded {
                job,
                first: 0,
                calls: calls(INLINE_BYTES_MAX),
            }],
            vec![details(DETAIL_BYTES_MAX)],
            vec![event(256)],
            vec![serial(20)],
            vec![Write::TasksAdded {
                job,
                first: 1,
                calls: vec![Body::default(); BATCH_WRITES_MAX],
            }],
        ];
        for writes in at {
            commit(store, 1, writes).unwrap();
        }
        commit(store, 1, vec![audited(1); BATCH_WRITES_MAX]).unwrap();
        assert_eq!(store.calls(&job, 0, 1).unwrap(), calls(INLINE_BYTES_MAX));
        assert_eq!(
            store.events(0, u32::MAX).unwrap().len(),
            BATCH_WRITES_MAX + 1
        );
    });
}

#[test]
fn calls_are_read_by_any_range() {
    both(|store| {
        let job = job_id(1);
        commit(store, 1, vec![bundle(), submitted(job)]).unwrap();
        // Rows of one call, of few, and more than fit one row.
        let mut first = 0;
        for count in [1, 1, 5, 600, 1, 300] {
            commit(store, 1, vec![added(job, first, count)]).unwrap();
            first += count;
        }
        for from in [
            0, 1, 2, 6, 7, 8, 262, 263, 264, 606, 607, 608, 907, 908, 5000,
        ] {
            for count in [0, 1, 2, 257, 2000] {
                let expected: Vec<_> = (from..first.min(from + count)).map(call).collect();
                assert_eq!(
                    store.calls(&job, from, count).unwrap(),
                    expected,
                    "{from} {count}"
                );
            }
        }
        assert_eq!(store.calls(&job_id(2), 0, 9).unwrap(), []);
        assert_eq!(store.calls(&job, u64::MAX, u64::MAX).unwrap(), []);
    });
}

#[test]
fn outcomes_are_read_in_portions() {
    both(|store| {
        let job = job_id(1);
        commit(store, 1, vec![bundle(), submitted(job), added(job, 0, 100)]).unwrap();
        let writes = (0..100)
            .filter(|task| task % 3 == 0)
            .map(|task| ended(job, task, Succeeded, 1));
        commit(store, 2, writes.collect()).unwrap();
        let tasks = |first, limit, bytes| {
            let ended = store.outcomes(&job, first, limit, bytes).unwrap();
            ended.iter().map(|ended| ended.task.0).collect::<Vec<_>>()
        };
        assert_eq!(tasks(0, 3, usize::MAX), [0, 3, 6]);
        assert_eq!(tasks(4, 2, usize::MAX), [6, 9]);
        assert_eq!(tasks(0, 99, 1), [0]);
        assert_eq!(tasks(100, 99, 1), [0; 0]);
        assert_eq!(store.outcome(&job, TaskId(4)).unwrap(), None);
        let one = store.outcome(&job, TaskId(6)).unwrap().unwrap();
        assert_eq!((one.end, one.at_ms), (end(Succeeded, 1), 2));
        assert_eq!(one.result, *result("outcome of 6 by attempt 1"));
    });
}

#[test]
fn a_token_works_once_and_in_time() {
    both(|store| {
        let write = |token: &Token| vec![Write::TokenIssued(token.clone())];
        let redeem = |at_ms, hash| commit(store, at_ms, vec![Write::TokenRedeemed { hash }]);
        let (token, late) = (token(1, 100), token(2, 100));
        commit(store, 1, write(&token)).unwrap();
        commit(store, 1, write(&late)).unwrap();
        assert_eq!(
            redeem(99, token.hash).unwrap(),
            [Answer::Redeemed(token.clone())]
        );
        let why = |result| match result {
            Err(CommitError::Refused { why, .. }) => why,
            other => panic!("{other:?}"),
        };
        assert_eq!(why(redeem(99, token.hash)), Refusal::UnknownToken);
        assert_eq!(why(redeem(100, late.hash)), Refusal::TokenExpired);
        // Twice within one batch too.
        commit(store, 1, write(&token)).unwrap();
        let twice = vec![Write::TokenRedeemed { hash: token.hash }; 2];
        assert_eq!(why(commit(store, 2, twice)), Refusal::UnknownToken);
        assert_eq!(store.token(&token.hash).unwrap(), Some(token));
        assert_eq!(maintain(store, Maintenance::at(99)).unwrap().rows, 0);
        assert_eq!(maintain(store, Maintenance::at(100)).unwrap().rows, 2);
    });
}

#[test]
fn retried_failures_are_as_if_they_had_not_been() {
    both(|store| {
        let job = job_id(1);
        let lost = |attempt| {
            Write::Record(Record::AttemptLost {
                job,
                task: TaskId(2),
                attempt: Attempt(attempt),
                worker: worker(1),
                suspect: false,
            })
        };
        let finished = || {
            Write::Record(Record::JobEnded {
                job,
                how: JobEnd::Finished,
            })
        };
        let large = blob(store, 5);
        let mut failed = result("failed");
        failed.stderr = large.clone();
        let failed = Write::TaskEnded {
            job,
            task: TaskId(1),
            end: end(Raised, 1),
            result: failed,
            cache: None,
        };
        commit(
            store,
            1,
            vec![
                bundle(),
                submitted(job),
                added(job, 0, 3),
                ended(job, 0, Succeeded, 1),
                failed,
                lost(1),
            ],
        )
        .unwrap();
        let abandoned = Record::TaskEnded {
            job,
            task: TaskId(2),
            end: TaskEnd::Abandoned,
        };
        commit(store, 2, vec![Write::Record(abandoned), finished()]).unwrap();
        let retried = Write::Record(Record::JobRetried {
            job,
            lease_floor: LeaseId(77),
        });
        assert_eq!(
            commit(store, 3, vec![retried.clone()]).unwrap(),
            [Answer::Done]
        );
        assert_eq!(commit(store, 3, vec![retried]).unwrap(), [Answer::Known]);
        let tasks: Vec<_> = store.outcomes(&job, 0, 9, 9999).unwrap();
        assert_eq!(
            tasks.iter().map(|ended| ended.task.0).collect::<Vec<_>>(),
            [0]
        );
        commit(store, 4, vec![ended(job, 1, Raised, 3), lost(4)]).unwrap();
        let refused = commit(store, 4, vec![ended(job, 0, Raised, 3)]);
        assert!(matches!(refused, Err(CommitError::Refused { .. })));
        let words: Vec<_> = records(store).unwrap();
        let at = |wanted: &dyn Fn(&Record) -> bool| words.iter().position(wanted).unwrap();
        let retried = at(&|record| matches!(record, Record::JobRetried { .. }));
        let end_of = |wanted: u64| move |record: &Record| matches!(record, Record::TaskEnded { task: TaskId(task), .. } if *task == wanted);
        assert!(at(&end_of(0)) < retried && retried < words.iter().rposition(end_of(1)).unwrap());
        let last_of_two = words.iter().rposition(end_of(2)).unwrap();
        assert!(
            last_of_two < retried,
            "it failed before and has not ended since"
        );
        let losses = words
            .iter()
            .filter(|record| matches!(record, Record::AttemptLost { .. }));
        assert_eq!(losses.count(), 1);
        // The blob of the outcome that was replaced is let go of.
        let Body::Blob { digest, .. } = large else {
            unreachable!()
        };
        let later = Maintenance::at(4_102_444_800_000);
        assert_eq!(maintain(store, later).unwrap().blobs, 1);
        assert_eq!(store.blobs().size(&digest).unwrap(), None);
    });
}

#[test]
fn case_19_forgetting_is_bounded_and_a_clock_that_jumps_removes_nothing_too_much() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let (old, new) = (job_id(1), job_id(2));
    commit(&store, 1, vec![bundle()]).unwrap();
    for job in [old, new] {
        commit(&store, 1, vec![submitted(job), added(job, 0, 3000)]).unwrap();
        let ends = (0..3000)
            .map(|task| ended(job, task, Succeeded, 1))
            .collect();
        commit(&store, 2, ends).unwrap();
    }
    let over = |job| {
        Write::Record(Record::JobEnded {
            job,
            how: JobEnd::Finished,
        })
    };
    commit(&store, 1000, vec![over(old)]).unwrap();
    commit(&store, 2000, vec![over(new)]).unwrap();
    assert_eq!(store.ended_before(999, 10).unwrap(), []);
    assert_eq!(store.ended_before(1000, 10).unwrap(), [old]);
    assert_eq!(store.ended_before(u64::MAX, 10).unwrap(), [old, new]);
    assert_eq!(store.ended_before(u64::MAX, 1).unwrap(), [old]);
    let forgotten = || vec![Write::Record(Record::JobForgotten { job: old })];
    assert_eq!(commit(&store, 3, forgotten()).unwrap(), [Answer::Done]);
    assert_eq!(commit(&store, 3, forgotten()).unwrap(), [Answer::Known]);
    assert_eq!(store.job(&old).unwrap(), None);
    assert_eq!(store.ended_before(u64::MAX, 10).unwrap(), [new]);
    // The same id is free for another job at once.
    let other = Write::JobSubmitted {
        job: old,
        spec: spec("bert"),
        details: Vec::new(),
    };
    commit(&store, 4, vec![other]).unwrap();
    let (mut pieces, mut rows) = (0, 0);
    loop {
        let done = maintain(
            &store,
            Maintenance {
                rows_max: 500,
                ..Maintenance::at(5)
            },
        )
        .unwrap();
        assert!(done.rows <= 500);
        rows += done.rows;
        pieces += 1;
        assert!(pieces < 600);
        if done.rows == 0 {
            break;
        }
    }
    // Its outcomes, its rows of calls and its own.
    assert_eq!(rows, 3000 + 3000_u64.div_ceil(256) + 1);
    assert_eq!(
        store.outcomes(&new, 0, u32::MAX, usize::MAX).unwrap().len(),
        3000
    );
    // A bundle in use stays, whatever the clock says.
    maintain(&store, Maintenance::at(u64::MAX / 2)).unwrap();
    assert!(store.bundle(&spec("anna").function).unwrap().is_some());
    drop(store);
    assert!(check(folder.path(), true).unwrap().is_clean());
}

#[test]
fn a_backup_is_a_store() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("a"));
    for step in &Script::new().steps[..8] {
        step.apply(&store).unwrap();
    }
    let copy = folder.path().join("copy");
    store.backup(&copy).unwrap();
    assert!(store.backup(&copy).is_err(), "never over another");
    let expected = dump(&store).unwrap();
    commit(&store, 99, vec![audited(9)]).unwrap();
    assert!(check(&copy, true).unwrap().is_clean());
    let copied = open(&copy);
    assert_eq!(dump(&copied).unwrap(), expected);
    assert_ne!(dump(&store).unwrap(), expected);
    assert_eq!(copied.lease_key(), store.lease_key());
}

#[test]
fn the_queue_is_bounded_and_gives_back_what_it_does_not_take() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let (entered, is_in) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let stuck = Box::new(move |_| {
        entered.send(()).unwrap();
        released.recv().unwrap();
    });
    store.commit(Batch::at(1, vec![audited(0)]), stuck).unwrap();
    is_in.recv_timeout(PATIENCE).unwrap();
    let (done, acked) = mpsc::channel();
    let mut taken = 0;
    let refused = loop {
        let done = done.clone();
        let ack = Box::new(move |result: Result<_, _>| done.send(result.is_ok()).unwrap());
        match store.commit(Batch::at(1, vec![audited(taken)]), ack) {
            Ok(()) => taken += 1,
            Err(refused) => break refused,
        }
    };
    assert_eq!(taken as usize, QUEUE_BATCHES_MAX);
    assert!(matches!(refused.why, CommitError::Busy { .. }));
    assert_eq!(refused.batch.writes, [audited(taken)]);
    release.send(()).unwrap();
    for _ in 0..taken {
        assert!(acked.recv_timeout(PATIENCE).unwrap());
    }
    assert_eq!(store.events(0, u32::MAX).unwrap().len() as u64, taken + 1);

    // By bytes too.
    let (entered, is_in) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let stuck = Box::new(move |_| {
        entered.send(()).unwrap();
        released.recv().unwrap();
    });
    store.commit(Batch::at(1, vec![audited(0)]), stuck).unwrap();
    is_in.recv_timeout(PATIENCE).unwrap();
    let calls = vec![Body::Inline(vec![0; INLINE_BYTES_MAX]); 200];
    let write = Write::TasksAdded {
        job: job_id(1),
        first: 0,
        calls,
    };
    let mut taken = 0;
    while store
        .commit(Batch::at(1, vec![write.clone()]), Box::new(|_| {}))
        .is_ok()
    {
        taken += 1;
    }
    assert_eq!(taken, QUEUE_BYTES_MAX / write.bytes());
    release.send(()).unwrap();
}

#[test]
fn what_is_queued_is_written_when_the_store_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let (done, acked) = mpsc::channel();
    for number in 0..500 {
        let done = done.clone();
        let ack = Box::new(move |result: Result<_, _>| done.send(result.is_ok()).unwrap());
        store
            .commit(Batch::at(1, vec![audited(number)]), ack)
            .unwrap();
    }
    drop(store);
    assert_eq!(acked.try_iter().filter(|is_ok| *is_ok).count(), 500);
    assert_eq!(open(folder.path()).events(0, 1000).unwrap().len(), 500);
}

#[test]
fn what_was_let_go_is_gone_and_the_rest_is_as_it_was() {
    let (_folder, store) = in_memory();
    let job = job_id(1);
    let begin = vec![
        bundle(),
        submitted(job),
        added(job, 0, 4),
        ended(job, 0, Succeeded, 1),
        ended(job, 1, Raised, 1),
        ended(job, 2, Succeeded, 1),
    ];
    commit(&store, 5, begin).unwrap();
    store.let_go(&job, 2);
    store.let_go(&job, 1);
    assert_eq!(store.calls(&job, 0, 9).unwrap(), []);
    assert_eq!(store.calls(&job, 2, 9).unwrap(), [call(2), call(3)]);
    let left = store.outcomes(&job, 0, 9, usize::MAX).unwrap();
    assert_eq!(left.iter().map(|e| e.task.0).collect::<Vec<_>>(), [2]);
    assert_eq!(store.job(&job).unwrap().unwrap().tasks, 4);

    // Tasks are numbered on, and said again they are known.
    let again = commit(&store, 6, vec![added(job, 0, 6)]).unwrap();
    assert_eq!(again, [Answer::Done]);
    let again = commit(&store, 6, vec![added(job, 0, 6)]).unwrap();
    assert_eq!(again, [Answer::Known]);
    assert_eq!(store.calls(&job, 3, 9).unwrap().len(), 3);
    let differs = vec![Write::TasksAdded {
        job,
        first: 1,
        calls: vec![call(1), call(7)],
    }];
    let refused = commit(&store, 6, differs);
    assert!(refused.is_err(), "{refused:?}");
}
