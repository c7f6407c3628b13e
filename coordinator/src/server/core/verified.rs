//! What verification came to in a job: counted from the ends of its tasks. Pure.

use std::collections::BTreeMap;

use ppwasm_proto::fabric::{OutcomeKind, WorkerId};
use ppwasm_proto::wire::{
    JobVerification, List, ODD_WORKERS_MAX, OddWorker, Ranged, TARGET_PAIRS_MAX, Text, Verdict,
    Verification, VerifiedOn,
};

/// Counts of a job's tasks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Verified {
    /// Of those that succeeded, and of the others, which a retry forgets.
    succeeded: Counts,
    failed: Counts,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Counts {
    /// By the two targets; the empty pair stands for those beyond [`TARGET_PAIRS_MAX`].
    confirmed: BTreeMap<(Box<str>, Box<str>), u64>,
    alone: u64,
    unanswered: u64,
    disputed: u64,
    odd: BTreeMap<WorkerId, u64>,
}

impl Verified {
    /// A task has ended.
    pub(super) fn add(&mut self, kind: OutcomeKind, verification: &Verification) {
        match kind {
            OutcomeKind::Succeeded => self.succeeded.add(verification),
            _ => self.failed.add(verification),
        }
    }

    /// What failed will run again.
    pub(super) fn forget_failures(&mut self) {
        self.failed = Counts::default();
    }

    /// As it is told.
    pub(super) fn told(&self, percent: u8, waiting: u64) -> JobVerification {
        let mut all = self.succeeded.clone();
        all.join(&self.failed);
        let confirmed = all.confirmed.iter();
        let confirmed = confirmed.map(|((first, second), tasks)| VerifiedOn {
            first: Text::truncated(first),
            second: Text::truncated(second),
            tasks: *tasks,
        });
        let odd = all.odd.into_iter();
        let odd = odd.map(|(worker, answers)| OddWorker { worker, answers });
        JobVerification {
            percent: Ranged::clamped(percent.into()),
            waiting,
            confirmed: List::try_from(confirmed.collect::<Vec<_>>()).unwrap_or_default(),
            alone: all.alone,
            unanswered: all.unanswered,
            disputed: all.disputed,
            odd: List::try_from(odd.take(ODD_WORKERS_MAX).collect::<Vec<_>>()).unwrap_or_default(),
        }
    }
}

impl Counts {
    fn add(&mut self, verification: &Verification) {
        match verification.verdict {
            Verdict::Confirmed => {
                let (first, second) = verification.targets().unwrap_or_default();
                self.confirm((first.into(), second.into()), 1);
            }
            Verdict::Alone => self.alone += 1,
            Verdict::Disputed => self.disputed += 1,
            _ => self.unanswered += 1,
        }
        for odd in verification.odd() {
            self.contradict(&odd.worker, 1);
        }
    }

    fn join(&mut self, other: &Self) {
        for (pair, tasks) in &other.confirmed {
            self.confirm(pair.clone(), *tasks);
        }
        self.alone += other.alone;
        self.unanswered += other.unanswered;
        self.disputed += other.disputed;
        for (worker, answers) in &other.odd {
            self.contradict(worker, *answers);
        }
    }

    fn confirm(&mut self, pair: (Box<str>, Box<str>), tasks: u64) {
        // One place is for all that have none of their own.
        let is_full = self.confirmed.len() + 1 >= TARGET_PAIRS_MAX;
        let pair = match is_full && !self.confirmed.contains_key(&pair) {
            true => ("".into(), "".into()),
            false => pair,
        };
        *self.confirmed.entry(pair).or_default() += tasks;
    }

    fn contradict(&mut self, worker: &WorkerId, answers: u64) {
        if self.odd.len() < ODD_WORKERS_MAX || self.odd.contains_key(worker) {
            *self.odd.entry(worker.clone()).or_default() += answers;
        }
    }
}

#[cfg(test)]
mod tests {
    use ppwasm_proto::wire::Testimony;

    use super::*;

    fn verification(verdict: Verdict, said: &[(&str, &str, bool)]) -> Verification {
        let said = said.iter().map(|(worker, target, agrees)| Testimony {
            worker: worker.parse().unwrap(),
            target: Text::truncated(target),
            agrees: *agrees,
        });
        let testimonies = List::try_from(said.collect::<Vec<_>>()).unwrap();
        Verification {
            verdict,
            testimonies,
        }
    }

    #[test]
    fn a_job_tells_on_what_it_was_verified_and_who_was_odd() {
        let mut verified = Verified::default();
        let both = [("w1", "x86", true), ("w2", "arm", true)];
        let odd = [
            ("w1", "x86", true),
            ("w3", "arm", false),
            ("w2", "arm", true),
        ];
        let ok = OutcomeKind::Succeeded;
        verified.add(ok, &verification(Verdict::Confirmed, &both));
        verified.add(ok, &verification(Verdict::Confirmed, &odd));
        verified.add(ok, &verification(Verdict::Alone, &both[..1]));
        let raised = verification(Verdict::Confirmed, &both);
        verified.add(OutcomeKind::Raised, &raised);
        let disputed = [("w1", "x86", false), ("w3", "arm", false)];
        let disputed = verification(Verdict::Disputed, &disputed);
        verified.add(OutcomeKind::Abandoned, &disputed);

        let told = verified.told(100, 7);
        assert_eq!((told.waiting, told.alone, told.disputed), (7, 1, 1));
        let on = &told.confirmed[0];
        assert_eq!(
            (on.first.as_str(), on.second.as_str(), on.tasks),
            ("arm", "x86", 3)
        );
        let answers: Vec<_> = (told.odd.iter())
            .map(|odd| (odd.worker.to_string(), odd.answers))
            .collect();
        assert_eq!(answers, [("w1".into(), 1), ("w3".into(), 2)]);

        verified.forget_failures();
        let told = verified.told(100, 0);
        assert_eq!((told.confirmed[0].tasks, told.disputed), (2, 0));
    }

    #[test]
    fn pairs_and_odd_workers_end_at_their_limits() {
        let mut verified = Verified::default();
        for number in 0..200 {
            let name = format!("t{number:03}");
            let said = [
                ("w1", name.as_str(), true),
                (&format!("odd{number}"), "x", false),
                ("w2", name.as_str(), true),
            ];
            let said = verification(Verdict::Confirmed, &said);
            verified.add(OutcomeKind::Succeeded, &said);
            verified.add(OutcomeKind::Raised, &said);
        }
        let told = verified.told(1, 0);
        assert!(told.confirmed.len() <= TARGET_PAIRS_MAX);
        assert_eq!(told.confirmed.iter().map(|on| on.tasks).sum::<u64>(), 400);
        assert_eq!(told.odd.len(), ODD_WORKERS_MAX);
    }
}
