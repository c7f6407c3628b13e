//! What clients ask for and what they are told.

use ppwasm_proto::Digest;
use ppwasm_proto::fabric::{LeaseId, OutcomeKind, SessionId};
use ppwasm_scheduler::{
    Accepted, Command, Event, Explanation, JobEnd, Lease, Micros, Outbox, Pace, Record, Refusal,
};

use crate::stage::{Stage, client, ended, function, granted, job, spec, tasks, worker};

fn answer(out: &Outbox) -> Result<Accepted, Refusal> {
    let answers = out.commands.iter().filter_map(|command| match command {
        Command::Accept { accepted, .. } => Some(Ok(*accepted)),
        Command::Refuse { why, .. } => Some(Err(*why)),
        _ => None,
    });
    let answers: Vec<_> = answers.collect();
    assert_eq!(answers.len(), 1, "{out:?}");
    answers[0]
}

/// The whole life of a job, with everything that goes out.
#[test]
fn a_job_from_submission_to_its_end() {
    let mut stage = Stage::new();
    let (session, out) = stage.join("w", 1);
    let pace = Pace {
        lease: Micros::from_secs(30),
        report_every: Micros::from_secs(5),
    };
    let refused = Vec::new();
    assert_eq!(
        out.records,
        [Record::WorkerJoined {
            worker: worker("w")
        }]
    );
    assert_eq!(
        out.commands,
        [Command::Welcome {
            session,
            pace,
            refused
        }]
    );

    let request = stage.request();
    let out = stage.happens(Event::JobSubmitted {
        request,
        job: job(1),
        spec: Box::new(spec("ann")),
    });
    let submitted = Record::JobSubmitted {
        job: job(1),
        spec: Box::new(spec("ann")),
    };
    assert_eq!(out.records, [submitted]);
    let accepted = Accepted::Job {
        tasks: 0,
        is_known: false,
    };
    let build = Command::BuildImage {
        function: function(),
    };
    assert_eq!(out.commands, [build, Command::Accept { request, accepted }]);

    let out = stage.happens(Event::TasksAppended {
        request,
        client: client("ann"),
        job: job(1),
        first: 0,
        count: 2,
        found: Vec::new(),
    });
    let added = Record::TasksAdded {
        job: job(1),
        first: 0,
        count: 2,
    };
    assert_eq!(out.records, [added]);
    let accepted = Accepted::Job {
        tasks: 2,
        is_known: false,
    };
    assert_eq!(out.commands, [Command::Accept { request, accepted }]);
    assert_eq!(
        stage.scheduler.explain(job(1), ppwasm_proto::TaskId(0)),
        Explanation::WaitsForImage
    );

    let out = stage.happens(Event::ImageReady {
        function: function(),
        bytes: 9,
    });
    let claim = granted(&out, session)[0];
    assert_eq!(claim.lease, LeaseId::new(stage.epoch, 0).unwrap());
    let released = Record::TasksReleased {
        job: job(1),
        below: 17,
    };
    assert_eq!(out.records, [released]);
    let leases = vec![Lease {
        claim,
        alone: false,
    }];
    let lasts = Micros::from_secs(30);
    assert_eq!(
        out.commands,
        [Command::Grant {
            session,
            leases,
            lasts
        }]
    );

    stage.wait(Micros::from_millis(10));
    let out = stage.end(session, &[claim]);
    assert_eq!(out.records, [ended(job(1), &claim, "w")]);
    let second = granted(&out, session)[0];
    let leases = vec![Lease {
        claim: second,
        alone: false,
    }];
    let acknowledge = |claim: &ppwasm_scheduler::Claim| Command::Acknowledge {
        session,
        leases: vec![claim.lease],
    };
    assert_eq!(
        out.commands,
        [
            acknowledge(&claim),
            Command::Grant {
                session,
                leases,
                lasts
            }
        ]
    );

    let close = Event::JobClosed {
        request,
        client: client("ann"),
        job: job(1),
        tasks: 2,
    };
    let out = stage.happens(close.clone());
    assert_eq!(
        out.records,
        [Record::JobClosed {
            job: job(1),
            tasks: 2
        }]
    );
    assert_eq!(answer(&out), Ok(Accepted::Done));

    let out = stage.end(session, &[second]);
    let end = Record::JobEnded {
        job: job(1),
        how: JobEnd::Finished,
    };
    assert_eq!(out.records, [ended(job(1), &second, "w"), end]);
    assert_eq!(out.commands, [acknowledge(&second)]);

    assert_eq!(
        answer(&stage.happens(close)),
        Ok(Accepted::Ended(JobEnd::Finished))
    );
    let out = stage.happens(Event::JobForgotten {
        request,
        job: job(1),
    });
    assert_eq!(out.records, [Record::JobForgotten { job: job(1) }]);
    assert_eq!(stage.scheduler.job(job(1)), None);
}

/// Case 3: the answer to a submission was lost; it is asked again after a restart.
#[test]
fn case_03_the_same_submission_again_is_the_same_job() {
    let mut stage = Stage::new();
    stage.submit(job(1), "ann", 3);
    for _ in 0..2 {
        let request = stage.request();
        let submit = |spec| Event::JobSubmitted {
            request,
            job: job(1),
            spec: Box::new(spec),
        };
        let out = stage.happens(submit(spec("ann")));
        assert_eq!(out.records, []);
        assert_eq!(
            answer(&out),
            Ok(Accepted::Job {
                tasks: 3,
                is_known: true
            })
        );
        let mut other = spec("ann");
        other.body = Digest::of(b"other");
        assert_eq!(
            answer(&stage.happens(submit(other))),
            Err(Refusal::JobDiffers)
        );
        stage.restart();
    }
}

#[test]
fn case_31_tasks_that_come_twice_are_added_once() {
    let mut stage = Stage::new();
    let request = stage.request();
    stage.happens(Event::JobSubmitted {
        request,
        job: job(1),
        spec: Box::new(spec("ann")),
    });
    let append = |first, count| Event::TasksAppended {
        request,
        client: client("ann"),
        job: job(1),
        first,
        count,
        found: Vec::new(),
    };
    let known = |tasks| {
        Ok(Accepted::Job {
            tasks,
            is_known: true,
        })
    };
    assert_eq!(
        answer(&stage.happens(append(0, 4))),
        Ok(Accepted::Job {
            tasks: 4,
            is_known: false
        })
    );
    assert_eq!(answer(&stage.happens(append(0, 4))), known(4));
    assert_eq!(answer(&stage.happens(append(1, 2))), known(4));
    let out = stage.happens(append(2, 4));
    assert_eq!(
        out.records,
        [Record::TasksAdded {
            job: job(1),
            first: 4,
            count: 2
        }]
    );
    assert_eq!(
        answer(&stage.happens(append(7, 1))),
        Err(Refusal::TasksMissing { tasks: 6 })
    );
    assert_eq!(
        answer(&stage.happens(append(u64::MAX, 2))),
        Err(Refusal::TasksMissing { tasks: 6 })
    );
    assert_eq!(
        answer(&stage.happens(append(6, u64::MAX))),
        Err(Refusal::OutOfRange)
    );
}

#[test]
fn case_79_the_job_of_another_is_as_good_as_none() {
    let mut stage = Stage::new();
    stage.submit(job(1), "ann", 3);
    let request = stage.request();
    let client = client("eve");
    let events = [
        Event::JobCancelled {
            request,
            client: client.clone(),
            job: job(1),
        },
        Event::RetryRequested {
            request,
            client: client.clone(),
            job: job(1),
        },
        Event::JobClosed {
            request,
            client: client.clone(),
            job: job(1),
            tasks: 3,
        },
        Event::TasksAppended {
            request,
            client: client.clone(),
            job: job(1),
            first: 3,
            count: 1,
            found: Vec::new(),
        },
        Event::JobCancelled {
            request,
            client,
            job: job(9),
        },
    ];
    for event in events {
        let out = stage.happens(event);
        assert_eq!(
            (out.records.as_slice(), answer(&out)),
            (&[][..], Err(Refusal::UnknownJob))
        );
    }
}

/// Case 83: a cancel races with an outcome.
#[test]
fn case_83_a_cancelled_job_takes_no_outcome_and_starts_nothing() {
    let mut stage = Stage::new();
    let (session, _) = stage.join("w", 2);
    let out = stage.submit(job(1), "ann", 9);
    let claims = granted(&out, session);
    let request = stage.request();
    let cancel = Event::JobCancelled {
        request,
        client: client("ann"),
        job: job(1),
    };
    let out = stage.happens(cancel.clone());
    assert_eq!(
        out.records,
        [Record::JobEnded {
            job: job(1),
            how: JobEnd::Cancelled
        }]
    );
    let leases = claims.iter().map(|claim| claim.lease).collect();
    let accepted = Accepted::Done;
    assert_eq!(
        out.commands,
        [
            Command::Cancel { session, leases },
            Command::Accept { request, accepted }
        ]
    );

    // The slots stay occupied until the worker has said so; the outcome is of no use.
    let out = stage.submit(job(2), "ann", 1);
    assert_eq!(granted(&out, session), []);
    let out = stage.end(session, &claims[..2]);
    assert_eq!(out.records.len(), 1, "only a release: {:?}", out.records);
    assert_eq!(tasks(&granted(&out, session)), [0]);
    assert_eq!(
        answer(&stage.happens(cancel)),
        Ok(Accepted::Ended(JobEnd::Cancelled))
    );
    stage.restart();
    assert_eq!(
        stage.scheduler.job(job(1)).unwrap().end,
        Some(JobEnd::Cancelled)
    );
}

/// Case 83: the cancel itself was lost; a report names the lease and is told.
#[test]
fn case_83_a_lost_cancel_is_said_again_when_the_lease_is_named() {
    let mut stage = Stage::new();
    let (session, _) = stage.join("w", 1);
    let out = stage.submit(job(1), "ann", 1);
    let lease = granted(&out, session)[0].lease;
    let request = stage.request();
    stage.happens(Event::JobCancelled {
        request,
        client: client("ann"),
        job: job(1),
    });
    let out = stage.report(session, &[lease]);
    let [Command::Renew { refused, .. }] = &out.commands[..] else {
        panic!("{out:?}")
    };
    assert_eq!(refused, &[lease]);
}

#[test]
fn failed_tasks_are_run_again_on_request_and_what_was_before_does_not_count() {
    let mut stage = Stage::new();
    let (session, _) = stage.join("w", 2);
    let out = stage.submit(job(1), "ann", 2);
    let claims = granted(&out, session);
    let request = stage.request();
    let retry = Event::RetryRequested {
        request,
        client: client("ann"),
        job: job(1),
    };
    assert_eq!(answer(&stage.happens(retry.clone())), Err(Refusal::JobRuns));
    stage.end(session, &claims[..1]);
    stage.end_as(session, &claims[1..], OutcomeKind::Raised);
    for _ in 0..2 {
        let view = stage.scheduler.job(job(1)).unwrap();
        assert_eq!(
            (view.end, view.ended, view.failed),
            (Some(JobEnd::Finished), 2, 1)
        );
        stage.restart();
    }
    let (session, _) = stage.join("w", 2);
    let out = stage.happens(retry.clone());
    let lease_floor = LeaseId::new(stage.epoch, 0).unwrap();
    assert_eq!(
        out.records[0],
        Record::JobRetried {
            job: job(1),
            lease_floor
        }
    );
    let function = function();
    let build = Command::BuildImage { function };
    assert!(out.commands.contains(&build));
    let out = stage.happens(Event::ImageReady { function, bytes: 1 });
    let again = granted(&out, session);
    assert_eq!(tasks(&again), [1]);
    assert!(again[0].attempt > claims[1].attempt);
    // The old outcome comes once more: it is of no use, and acknowledged.
    let out = stage.end_as(session, &claims[1..], OutcomeKind::Raised);
    assert_eq!(out.records, []);
    let out = stage.end(session, &again);
    assert_eq!(out.records.len(), 2);
    assert_eq!(stage.scheduler.job(job(1)).unwrap().failed, 0);
    assert_eq!(answer(&stage.happens(retry)), Ok(Accepted::Done));
}

#[test]
fn a_function_without_an_image_ends_all_its_jobs() {
    let mut stage = Stage::new();
    let request = stage.request();
    for number in 1..=2 {
        let spec = Box::new(spec("ann"));
        stage.happens(Event::JobSubmitted {
            request,
            job: job(number),
            spec,
        });
    }
    let function = function();
    let out = stage.happens(Event::ImageFailed { function });
    let end = |number| Record::JobEnded {
        job: job(number),
        how: JobEnd::ImageFailed,
    };
    assert_eq!((out.records, out.commands), (vec![end(1), end(2)], vec![]));
    // Another try asks for the image again.
    let spec = Box::new(spec("ann"));
    let out = stage.happens(Event::JobSubmitted {
        request,
        job: job(3),
        spec,
    });
    assert!(out.commands.contains(&Command::BuildImage { function }));
}

#[test]
fn an_image_is_sent_once_before_the_first_grant() {
    let mut stage = Stage::new();
    let mut without = crate::stage::hello("w", 1);
    without.images.clear();
    let (session, _) = stage.join_as(without);
    let out = stage.submit(job(1), "ann", 3);
    let function = function();
    let first = out
        .commands
        .iter()
        .position(|command| *command == Command::SendImage { session, function });
    let grant = out
        .commands
        .iter()
        .position(|command| matches!(command, Command::Grant { .. }));
    assert!(first.unwrap() < grant.unwrap());
    let claims = granted(&out, session);
    let out = stage.end(session, &claims);
    assert!(
        !out.commands
            .contains(&Command::SendImage { session, function })
    );
    assert_eq!(session, SessionId(1));
}
