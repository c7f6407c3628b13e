//! Why a task is where it is, in sentences. Pure.

use ppwasm_proto::fabric::WorkerId;
use ppwasm_proto::wire::{List, Reason, TaskExplained, Text};
use ppwasm_scheduler::{
    Candidate, DrainReason, Explanation, JobEnd, LeasedTo, Micros, Obstacle, OutcomeKind, Timestamp,
};

/// An explanation as it is told.
pub(super) fn explained(
    request: u32,
    explanation: Explanation,
    attempts: u32,
    now: Timestamp,
) -> TaskExplained {
    let (state, reasons) = sentences(explanation, now);
    TaskExplained {
        request,
        state: Text::truncated(&state),
        attempts,
        reasons: List::try_from(reasons).unwrap_or_default(),
    }
}

fn sentences(explanation: Explanation, now: Timestamp) -> (String, Vec<Reason>) {
    match explanation {
        Explanation::UnknownJob => ("There is no such job.".into(), Vec::new()),
        Explanation::NotAdded { tasks, is_closed } => {
            let more = match is_closed {
                true => "no more will come",
                false => "it is still open",
            };
            let state = format!("The job has {tasks} tasks, and {more}.");
            (state, Vec::new())
        }
        Explanation::Ended { outcome } => {
            let state = format!("The task has ended: it {}.", ended(outcome));
            (state, Vec::new())
        }
        Explanation::JobEnded { how } => {
            let state = match how {
                JobEnd::Finished => "The job has ended.",
                JobEnd::Cancelled => "The job was cancelled before the task ran.",
                JobEnd::ImageFailed => "The task did not run: its function cannot be loaded.",
            };
            (state.into(), Vec::new())
        }
        Explanation::WaitsForImage => {
            let state = "The task waits for its function to be loaded.";
            let reason = "The coordinator is building the function's image.";
            (state.into(), vec![plain(reason)])
        }
        Explanation::WaitsForWorkersToComeBack { until, awaited } => {
            let wait = time(until.since(now));
            let state = format!(
                "The coordinator has restarted; a worker may still have the task. It waits {wait} at most."
            );
            let back = |worker| Reason {
                worker: Some(worker),
                text: Text::truncated("It was there before the restart and has not come back."),
                score: None,
            };
            (state, awaited.into_iter().map(back).collect())
        }
        Explanation::BackingOff { until, lost } => {
            let state = format!("The task is tried again in {}.", time(until.since(now)));
            let reason = format!(
                "{} lost before.",
                count(u64::from(lost), "attempt was", "attempts were")
            );
            (state, vec![plain(&reason)])
        }
        Explanation::WaitsToRunAlone { suspicions } => {
            let state = "The task waits for a worker that has nothing else to run.";
            let reason = format!(
                "Workers died {suspicions} times while it ran, so it runs with nothing beside it."
            );
            (state.into(), vec![plain(&reason)])
        }
        Explanation::Leased { attempts } => leased(attempts, now),
        Explanation::Unconfirmed {
            answers,
            until,
            attempts,
            witnesses,
        } => unconfirmed(answers, until, attempts, witnesses, now),
        Explanation::Queued {
            ahead_in_job,
            ready,
            workers,
            more_workers,
        } => queued(ahead_in_job, ready, workers, more_workers, now),
    }
}

fn unconfirmed(
    answers: Vec<(WorkerId, Box<str>)>,
    until: Timestamp,
    attempts: Vec<LeasedTo>,
    witnesses: Vec<WorkerId>,
    now: Timestamp,
) -> (String, Vec<Reason>) {
    let state = match answers.len() {
        1 => "The task has an outcome, which another worker is to confirm.".to_owned(),
        count => {
            format!("The task has {count} outcomes, no two the same; another worker is to decide.")
        }
    };
    let wait = format!(
        "It is recorded without that in {} at the latest.",
        time(until.since(now))
    );
    let by = |text: &str, worker| Reason {
        worker: Some(worker),
        text: Text::truncated(text),
        score: None,
    };
    let mut reasons: Vec<_> = (answers.into_iter())
        .map(|(worker, target)| by(&format!("It has answered, on {target}."), worker))
        .collect();
    let is_there = !attempts.is_empty();
    reasons.extend(leased(attempts, now).1);
    if !is_there {
        let may = |worker| by("It may be given the task next.", worker);
        reasons.extend(witnesses.into_iter().map(may));
    }
    reasons.push(plain(&wait));
    (state, reasons)
}

fn leased(attempts: Vec<LeasedTo>, now: Timestamp) -> (String, Vec<Reason>) {
    let is_running = attempts.iter().any(|attempt| attempt.is_running);
    let state = match is_running {
        true => "The task runs.",
        false => "The task waits at a worker.",
    };
    let tell = |attempt: LeasedTo| {
        let since = time(now.since(attempt.since));
        let text = match attempt.is_running {
            true => format!("It runs there; it was given {since} ago."),
            false => format!(
                "It was given {since} ago; {} before it there.",
                count(attempt.ahead, "task is", "tasks are")
            ),
        };
        Reason {
            worker: Some(attempt.worker),
            text: Text::truncated(&text),
            score: None,
        }
    };
    (state.into(), attempts.into_iter().map(tell).collect())
}

fn queued(
    ahead_in_job: u64,
    ready: u64,
    workers: Vec<Candidate>,
    more_workers: u64,
    now: Timestamp,
) -> (String, Vec<Reason>) {
    let state = format!(
        "The task waits: {} of its job before it, {ready} are ready in all.",
        count(ahead_in_job, "task is", "tasks are")
    );
    let mut reasons = Vec::with_capacity(workers.len() + 1);
    if workers.is_empty() {
        reasons.push(plain("There is no worker."));
    }
    for candidate in workers {
        let cost = candidate.cost;
        let text = match candidate.obstacle {
            Some(obstacle) => obstacle_text(obstacle, now),
            None => format!(
                "It would end there in {}: {} until a slot is free, {} for the image, {} to run.",
                time(cost.total()),
                time(cost.wait),
                time(cost.image),
                time(cost.run)
            ),
        };
        reasons.push(Reason {
            worker: Some(candidate.worker),
            text: Text::truncated(&text),
            // The earlier it would end, the better.
            score: i64::try_from(cost.total().0).ok().map(i64::wrapping_neg),
        });
    }
    if more_workers > 0 {
        let text = format!(
            "{} not listed.",
            count(more_workers, "worker is", "workers are")
        );
        reasons.push(plain(&text));
    }
    (state, reasons)
}

fn obstacle_text(obstacle: Obstacle, now: Timestamp) -> String {
    match obstacle {
        Obstacle::Away => "It is not connected.".into(),
        Obstacle::Drained(DrainReason::Requested) => "It is drained: somebody asked for it.".into(),
        Obstacle::Drained(DrainReason::FailsTasks) => {
            "It is drained: it failed tasks that others then ran.".into()
        }
        Obstacle::Drained(DrainReason::GivesWrongResults) => {
            "It is drained: others contradicted its outcomes.".into()
        }
        Obstacle::Drained(DrainReason::Revoked) => "Its certificate is revoked.".into(),
        Obstacle::Draining => "It is about to leave.".into(),
        Obstacle::NoSlots => "It has no slots.".into(),
        Obstacle::LeftAlone { until } => format!(
            "It failed, and is left alone for {}.",
            time(until.since(now))
        ),
        Obstacle::RunsAlone => "It runs one task alone, or is about to.".into(),
        Obstacle::Full => "It has as much as it takes.".into(),
        Obstacle::FailedIt => "It failed this task before, and there are others.".into(),
        Obstacle::TooOld => {
            "Its version of ppwasm cannot run tasks of a job that is cached.".into()
        }
        Obstacle::TooSlow => "The others will be done with everything before it could be.".into(),
    }
}

const fn ended(outcome: OutcomeKind) -> &'static str {
    match outcome {
        OutcomeKind::Succeeded => "succeeded",
        OutcomeKind::Raised => "raised an exception",
        OutcomeKind::Trapped => "trapped",
        OutcomeKind::LimitExceeded => "went past a limit",
        OutcomeKind::Cancelled => "was cancelled",
        OutcomeKind::Abandoned => "was given up",
    }
}

fn plain(text: &str) -> Reason {
    Reason {
        worker: None,
        text: Text::truncated(text),
        score: None,
    }
}

fn count(number: u64, one: &str, many: &str) -> String {
    match number {
        0 => format!("no {one}"),
        1 => format!("1 {one}"),
        number => format!("{number} {many}"),
    }
}

/// A duration for people.
pub(crate) fn time(micros: Micros) -> String {
    match micros.0 {
        us @ 0..1_000 => format!("{us} µs"),
        us @ 1_000..1_000_000 => format!("{} ms", us / 1_000),
        us @ 1_000_000..120_000_000 => format!("{}.{} s", us / 1_000_000, us / 100_000 % 10),
        us => format!("{} min", us / 60_000_000),
    }
}

#[cfg(test)]
mod tests {
    use ppwasm_scheduler::{Cost, LeasedTo};

    use super::*;

    #[test]
    fn every_explanation_is_a_sentence() {
        let worker = |name: &str| name.parse().unwrap();
        let now = Timestamp(10_000_000);
        let candidate = |obstacle| Candidate {
            worker: worker("lab-1"),
            cost: Cost {
                wait: Micros(5_000),
                image: Micros(0),
                run: Micros(1_500_000),
            },
            obstacle,
        };
        let all = [
            Explanation::UnknownJob,
            Explanation::NotAdded {
                tasks: 1,
                is_closed: true,
            },
            Explanation::Ended {
                outcome: OutcomeKind::Raised,
            },
            Explanation::JobEnded {
                how: JobEnd::Cancelled,
            },
            Explanation::WaitsForImage,
            Explanation::WaitsForWorkersToComeBack {
                until: now,
                awaited: vec![worker("a")],
            },
            Explanation::BackingOff {
                until: Timestamp(11_000_000),
                lost: 2,
            },
            Explanation::WaitsToRunAlone { suspicions: 2 },
            Explanation::Leased {
                attempts: vec![LeasedTo {
                    worker: worker("a"),
                    attempt: ppwasm_proto::Attempt(1),
                    since: Timestamp(0),
                    is_running: false,
                    ahead: 3,
                }],
            },
            Explanation::Unconfirmed {
                answers: vec![(worker("a"), "x86_64-unknown-linux-gnu".into())],
                until: Timestamp(20_000_000),
                attempts: Vec::new(),
                witnesses: vec![worker("b")],
            },
            Explanation::Queued {
                ahead_in_job: 4,
                ready: 9,
                workers: vec![candidate(None), candidate(Some(Obstacle::Away))],
                more_workers: 1,
            },
        ];
        for explanation in all {
            let told = explained(1, explanation, 0, now);
            assert!(told.state.ends_with('.'), "{}", told.state.as_str());
            for reason in &told.reasons {
                assert!(reason.text.ends_with('.'), "{}", reason.text.as_str());
            }
        }
        let (_, reasons) = sentences(
            Explanation::Queued {
                ahead_in_job: 0,
                ready: 1,
                workers: vec![candidate(None)],
                more_workers: 0,
            },
            now,
        );
        assert_eq!(
            reasons[0].text.as_str(),
            "It would end there in 1.5 s: 5 ms until a slot is free, 0 µs for the image, 1.5 s to run."
        );
        assert_eq!(reasons[0].score, Some(-1_505_000));
    }
}
