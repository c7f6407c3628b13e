//! Every limit, at it and one past it.

use ppwasm_scheduler::{ATTEMPTS_MAX, Command, Event, JOB_TASKS_MAX, Micros, Outbox, Refusal};

use crate::stage::{Stage, client, granted, job, spec};

fn refusal(out: &Outbox) -> Option<(Refusal, Option<Micros>)> {
    out.commands.iter().find_map(|command| match command {
        Command::Refuse {
            why, retry_after, ..
        } => Some((*why, *retry_after)),
        _ => None,
    })
}

fn open(stage: &mut Stage, number: u8, owner: &str) -> Outbox {
    let request = stage.request();
    let spec = Box::new(spec(owner));
    stage.happens(Event::JobSubmitted {
        request,
        job: job(number),
        spec,
    })
}

fn append(stage: &mut Stage, number: u8, owner: &str, first: u64, count: u64) -> Outbox {
    let request = stage.request();
    stage.happens(Event::TasksAppended {
        request,
        client: client(owner),
        job: job(number),
        first,
        count,
        found: Vec::new(),
    })
}

fn is_refused_with_a_time(out: &Outbox, wanted: Refusal) -> bool {
    assert!(out.records.is_empty());
    matches!(refusal(out), Some((why, Some(after))) if why == wanted && after >= Micros::from_millis(100))
}

#[test]
fn jobs_of_a_client() {
    let mut stage = Stage::with(|config| config.client_jobs_max = 2);
    for number in 1..=2 {
        assert_eq!(refusal(&open(&mut stage, number, "ann")), None);
    }
    assert!(is_refused_with_a_time(
        &open(&mut stage, 3, "ann"),
        Refusal::TooManyJobs
    ));
    assert_eq!(refusal(&open(&mut stage, 3, "bob")), None);
    let request = stage.request();
    stage.happens(Event::JobCancelled {
        request,
        client: client("ann"),
        job: job(1),
    });
    assert_eq!(refusal(&open(&mut stage, 4, "ann")), None);
}

#[test]
fn jobs_that_are_kept() {
    let mut stage = Stage::with(|config| config.jobs_max = 2);
    open(&mut stage, 1, "ann");
    open(&mut stage, 2, "bob");
    assert!(is_refused_with_a_time(
        &open(&mut stage, 3, "cy"),
        Refusal::TooManyJobs
    ));
    let request = stage.request();
    stage.happens(Event::JobCancelled {
        request,
        client: client("ann"),
        job: job(1),
    });
    assert!(is_refused_with_a_time(
        &open(&mut stage, 3, "cy"),
        Refusal::TooManyJobs
    ));
    let out = stage.happens(Event::JobForgotten {
        request,
        job: job(2),
    });
    assert_eq!(refusal(&out), Some((Refusal::JobRuns, None)));
    stage.happens(Event::JobForgotten {
        request,
        job: job(1),
    });
    assert_eq!(refusal(&open(&mut stage, 3, "cy")), None);
}

#[test]
fn tasks_of_a_client_and_of_all() {
    let mut stage = Stage::with(|config| {
        config.client_tasks_max = 10;
        config.tasks_max = 15;
    });
    open(&mut stage, 1, "ann");
    open(&mut stage, 2, "bob");
    assert!(is_refused_with_a_time(
        &append(&mut stage, 1, "ann", 0, 11),
        Refusal::TooManyTasks
    ));
    assert_eq!(refusal(&append(&mut stage, 1, "ann", 0, 10)), None);
    assert!(is_refused_with_a_time(
        &append(&mut stage, 1, "ann", 10, 1),
        Refusal::TooManyTasks
    ));
    assert!(is_refused_with_a_time(
        &append(&mut stage, 2, "bob", 0, 6),
        Refusal::TooManyTasks
    ));
    assert_eq!(refusal(&append(&mut stage, 2, "bob", 0, 5)), None);
    // A task that has ended makes room for another.
    let function = crate::stage::function();
    stage.happens(Event::ImageReady { function, bytes: 1 });
    let (session, out) = stage.join("w", 4);
    let claims = granted(&out, session);
    stage.end(session, &claims[..1]);
    let of = if claims[0].identity.job == job(1) {
        (1, "ann", 10)
    } else {
        (2, "bob", 5)
    };
    assert_eq!(refusal(&append(&mut stage, of.0, of.1, of.2, 1)), None);
}

#[test]
fn tasks_of_a_job() {
    let mut stage = Stage::with(|config| {
        config.client_tasks_max = u64::MAX;
        config.tasks_max = u64::MAX;
    });
    open(&mut stage, 1, "ann");
    let out = append(&mut stage, 1, "ann", 0, JOB_TASKS_MAX + 1);
    assert_eq!(refusal(&out), Some((Refusal::OutOfRange, None)));
    assert_eq!(
        refusal(&append(&mut stage, 1, "ann", 0, JOB_TASKS_MAX)),
        None
    );
    let out = append(&mut stage, 1, "ann", JOB_TASKS_MAX, 1);
    assert_eq!(refusal(&out), Some((Refusal::OutOfRange, None)));
}

#[test]
fn attempts_of_a_job() {
    for (attempts_max, is_good) in [
        (0, false),
        (1, true),
        (ATTEMPTS_MAX, true),
        (ATTEMPTS_MAX + 1, false),
    ] {
        let mut stage = Stage::new();
        let request = stage.request();
        let mut spec = Box::new(spec("ann"));
        spec.attempts_max = attempts_max;
        let out = stage.happens(Event::JobSubmitted {
            request,
            job: job(1),
            spec,
        });
        assert_eq!(refusal(&out).is_none(), is_good, "{attempts_max}");
    }
}

#[test]
fn workers() {
    let mut stage = Stage::with(|config| config.workers_max = 2);
    stage.join("a", 1);
    stage.join("b", 1);
    let (session, out) = stage.join("c", 1);
    let why = ppwasm_scheduler::CloseReason::TooManyWorkers;
    assert_eq!(out.commands, [Command::CloseSession { session, why }]);
    assert_eq!(stage.scheduler.workers().len(), 2);
}

/// A step grants no more than its limit and goes on with the rest at once.
#[test]
fn grants_of_a_step() {
    let mut stage = Stage::with(|config| config.grants_per_step_max = 10);
    let (session, _) = stage.join("w", 25);
    let out = stage.submit(job(1), "ann", 100);
    // Appending and closing are two steps.
    assert_eq!(granted(&out, session).len(), 20);
    assert_eq!(stage.scheduler.next_deadline(), Some(stage.now));
    let out = stage.wait(Micros::ZERO);
    assert!(granted(&out, session).len() >= 5);
}
