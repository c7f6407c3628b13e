//! What came of verifying, as it is told.

use ppwasm_proto::wire::{JobVerification, Verdict, Verification};
use serde::Serialize;

/// The name of a verdict in a document.
fn name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Confirmed => "confirmed",
        Verdict::Alone => "no_other_worker",
        Verdict::Unanswered => "unanswered",
        Verdict::Disputed => "disputed",
        _ => "unknown",
    }
}

/// Of a job, in a document.
#[derive(Serialize)]
pub(super) struct OfJob {
    percent: u64,
    waiting: u64,
    confirmed: u64,
    confirmed_on: Vec<On>,
    no_other_worker: u64,
    unanswered: u64,
    disputed: u64,
    odd: Vec<Odd>,
}

#[derive(Serialize)]
struct On {
    targets: [String; 2],
    tasks: u64,
}

#[derive(Serialize)]
struct Odd {
    worker: String,
    answers: u64,
}

/// Of a task, in a document.
#[derive(Serialize)]
pub(crate) struct OfTask {
    verdict: &'static str,
    answers: Vec<Answer>,
}

#[derive(Serialize)]
struct Answer {
    worker: String,
    target: String,
    agrees: bool,
}

impl OfJob {
    pub(super) fn new(of: &JobVerification) -> Self {
        let on = of.confirmed.iter().map(|on| On {
            targets: [on.first.as_str().to_owned(), on.second.as_str().to_owned()],
            tasks: on.tasks,
        });
        let odd = of.odd.iter().map(|odd| Odd {
            worker: odd.worker.to_string(),
            answers: odd.answers,
        });
        Self {
            percent: of.percent.value(),
            waiting: of.waiting,
            confirmed: confirmed(of),
            confirmed_on: on.collect(),
            no_other_worker: of.alone,
            unanswered: of.unanswered,
            disputed: of.disputed,
            odd: odd.collect(),
        }
    }
}

impl OfTask {
    pub(crate) fn new(of: &Verification) -> Self {
        let answers = of.testimonies.iter().map(|one| Answer {
            worker: one.worker.to_string(),
            target: one.target.as_str().to_owned(),
            agrees: one.agrees,
        });
        Self {
            verdict: name(of.verdict),
            answers: answers.collect(),
        }
    }
}

fn confirmed(of: &JobVerification) -> u64 {
    of.confirmed.iter().map(|on| on.tasks).sum()
}

/// Of a job, for people: what was verified and on what first, then what is wrong.
pub(super) fn lines(of: &JobVerification) -> Vec<String> {
    let share = match of.percent.value() {
        100 => "each task".to_owned(),
        percent => format!("{percent} % of the tasks"),
    };
    let counts = [
        (confirmed(of), "confirmed by another worker"),
        (of.waiting, "waiting for another worker"),
        (of.alone, "unverified: there was no other worker"),
        (
            of.unanswered,
            "unverified: no other worker gave an answer that decides",
        ),
        (
            of.disputed,
            "given up: workers contradict each other and there was no third to decide",
        ),
    ];
    let counts: Vec<_> = (counts.iter())
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    let mut lines = vec![match counts.is_empty() {
        true => format!("{share}: none has ended"),
        false => format!("{share}: {}", counts.join(", ")),
    }];
    for on in &of.confirmed {
        let (first, second) = (on.first.as_str(), on.second.as_str());
        lines.push(match (first, second) {
            ("", _) => format!("{} on others", on.tasks),
            _ if first == second => format!("{} twice on {first}", on.tasks),
            _ => format!("{} on {first} and {second}", on.tasks),
        });
    }
    for odd in &of.odd {
        lines.push(format!(
            "worker {} gave {} that others contradict",
            odd.worker,
            match odd.answers {
                1 => "1 answer".to_owned(),
                count => format!("{count} answers"),
            }
        ));
    }
    lines
}

/// Of a task, for people.
pub(super) fn task_lines(of: &Verification) -> Vec<String> {
    let verdict = match of.verdict {
        Verdict::Confirmed => "yes, another worker gave the same bytes",
        Verdict::Alone => "no, there was no other worker",
        Verdict::Unanswered => "no, no other worker gave an answer that decides",
        Verdict::Disputed => "no, workers contradict each other and there was no third to decide",
        _ => "in a way that this version does not know",
    };
    let mut lines = vec![verdict.to_owned()];
    for one in &of.testimonies {
        let (worker, target) = (&one.worker, one.target.as_str());
        let what = match one.agrees {
            true => "this result",
            false => "another result",
        };
        lines.push(format!("{worker} ({target}): {what}"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use ppwasm_proto::wire::{List, OddWorker, Ranged, Testimony, Text, VerifiedOn};

    use super::*;

    fn on(first: &str, second: &str, tasks: u64) -> VerifiedOn {
        VerifiedOn {
            first: Text::truncated(first),
            second: Text::truncated(second),
            tasks,
        }
    }

    #[test]
    fn a_job_tells_what_was_verified_on_what_and_who_was_odd() {
        let mut of = JobVerification {
            percent: Ranged::clamped(100),
            waiting: 0,
            confirmed: List::new(),
            alone: 0,
            unanswered: 0,
            disputed: 0,
            odd: List::new(),
        };
        assert_eq!(lines(&of), ["each task: none has ended"]);
        of.percent = Ranged::clamped(10);
        of.confirmed =
            List::try_from(vec![on("aarch64", "x86_64", 7), on("x86_64", "x86_64", 2)]).unwrap();
        (of.alone, of.disputed) = (3, 1);
        let odd = OddWorker {
            worker: "board-2".parse().unwrap(),
            answers: 4,
        };
        of.odd = List::try_from(vec![odd]).unwrap();
        assert_eq!(
            lines(&of),
            [
                "10 % of the tasks: 9 confirmed by another worker, 3 unverified: there was no other worker, \
                 1 given up: workers contradict each other and there was no third to decide",
                "7 on aarch64 and x86_64",
                "2 twice on x86_64",
                "worker board-2 gave 4 answers that others contradict",
            ]
        );
        let json = serde_json::to_value(OfJob::new(&of)).unwrap();
        assert_eq!(
            (&json["confirmed"], &json["no_other_worker"]),
            (&9.into(), &3.into())
        );
    }

    #[test]
    fn a_task_tells_who_said_what() {
        let said = |worker: &str, agrees| Testimony {
            worker: worker.parse().unwrap(),
            target: Text::truncated("riscv64"),
            agrees,
        };
        let of = Verification {
            verdict: Verdict::Confirmed,
            testimonies: List::try_from(vec![said("a", true), said("b", false), said("c", true)])
                .unwrap(),
        };
        assert_eq!(
            task_lines(&of),
            [
                "yes, another worker gave the same bytes",
                "a (riscv64): this result",
                "b (riscv64): another result",
                "c (riscv64): this result",
            ]
        );
        let json = serde_json::to_value(OfTask::new(&of)).unwrap();
        assert_eq!(json["verdict"], "confirmed");
    }
}
