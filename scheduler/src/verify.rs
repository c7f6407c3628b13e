//! Tasks whose outcome counts only when another worker gave the same bytes.
//!
//! The first outcome of such a task is a testimony: it is withheld, that is neither recorded nor acknowledged, and the
//! task goes to another worker, of another target if there is one. Two testimonies that are equal to the byte confirm each
//! other and the earlier one is recorded. While all differ, another worker is asked. Who brought something else than
//! what two others agree on is contradicted; after a few times it is drained, and nothing that it brings counts any more.
//!
//! Nothing waits for ever. When there is no worker left that has not answered, when none has answered within
//! [`Config::verify_wait`](crate::Config::verify_wait), or when the attempts are used up, the task ends with what there is
//! and says so. What nobody can decide about ends as [`TaskEnd::Disputed`].
//!
//! Testimonies are not recorded. After a restart the workers bring them again, since nobody has acknowledged them.
//! That a limit was reached contradicts nobody: a slow worker reaches one where a fast one does not.

use ppwasm_proto::fabric::{Claim, LeaseId, SessionId, WorkerId};
use ppwasm_proto::wire::{List, TESTIMONIES_MAX, Testimony as Told, Text, Verdict, Verification};
use ppwasm_proto::{TaskId, TaskIdentity};

use crate::command::{Command, Outbox};
use crate::event::Ended;
use crate::fleet::WorkerKey;
use crate::job::{Job, JobKey, Place, Testimony, Touched};
use crate::leases::Loss;
use crate::record::{DrainReason, OutcomeKind, TaskEnd};
use crate::scheduler::{Cancels, Scheduler, Timer};
use crate::time::Micros;

/// Workers of one target that are compared for one task.
const WITNESSES_MAX: usize = 64;

impl Scheduler {
    /// Whether an outcome that this session brought waits for another worker's: it is not acknowledged, and the driver
    /// keeps its bodies until its task or job has ended.
    pub fn is_withheld(&self, session: SessionId, claim: &Claim) -> bool {
        let worker = self.fleet.of_session(session);
        let worker = worker.and_then(|key| self.fleet.workers.get(&key));
        let job = self.find_job(claim.identity.job).map(|(_, job)| job);
        let touched = job.and_then(|job| job.touched.get(&claim.identity.task.0));
        match (worker, touched) {
            (Some(worker), Some(touched)) => is_testimony(touched, &worker.id, claim.lease),
            _ => false,
        }
    }

    /// Whether this task of a job is one of those that are verified. Which are, no worker can tell.
    pub(crate) fn verifies(&self, job: &Job, task: u64) -> bool {
        let percent = u64::from(job.spec.verify_percent);
        job.spec.is_deterministic
            && percent > 0
            && (percent >= 100 || {
                let identity = TaskIdentity::new(job.id, TaskId(task));
                self.config.lease_key.sample(identity) % 100 < percent
            })
    }

    /// A worker has brought an outcome for a task that is verified.
    pub(crate) fn testify(
        &mut self,
        key: WorkerKey,
        job_key: JobKey,
        ended: &Ended,
        cancels: &mut Cancels,
        out: &mut Outbox,
    ) {
        let task = ended.claim.identity.task.0;
        let Some(worker) = self.fleet.workers.get(&key) else {
            return;
        };
        let testimony = Testimony {
            worker: worker.id.clone(),
            target: worker.target.clone(),
            lease: ended.claim.lease,
            attempt: ended.claim.attempt,
            outcome: ended.outcome,
            digest: ended.digest,
            since: self.now,
        };
        let Some(touched) = self.touched_mut(job_key, task) else {
            return;
        };
        if touched.has_answered(&testimony.worker) {
            // Its word counts once, whatever it says now.
            self.counters.late_outcomes += 1;
        } else {
            touched.testimonies.push(testimony);
            if self.unconfirmed.insert((job_key, task)) {
                let wait = self.config.verify_wait;
                self.set_timer(wait, Timer::Unconfirmed(job_key, task));
            }
        }
        let Some(touched) = self.touched_mut(job_key, task) else {
            return;
        };
        match agreed(&touched.testimonies) {
            Some(winner) => {
                let winner = Some(winner);
                self.end_verified(job_key, task, winner, Verdict::Confirmed, cancels, out);
            }
            None if touched.testimonies.len() >= TESTIMONIES_MAX => {
                self.settle(job_key, task, Verdict::Disputed, cancels, out);
            }
            None => self.ask_another(job_key, task, cancels, out),
        }
    }

    /// Whether nothing counts that this worker brings.
    pub(crate) fn is_disbelieved(&self, worker: &WorkerId) -> bool {
        self.drained.get(worker) == Some(&DrainReason::GivesWrongResults)
    }

    fn touched_mut(&mut self, job: JobKey, task: u64) -> Option<&mut Touched> {
        self.jobs.get_mut(&job)?.touched.get_mut(&task)
    }

    fn touched(&self, job: JobKey, task: u64) -> Option<&Touched> {
        self.jobs.get(&job)?.touched.get(&task)
    }

    /// Sends a task on that has no lease, or ends it if there is nobody.
    fn ask_another(&mut self, job_key: JobKey, task: u64, cancels: &mut Cancels, out: &mut Outbox) {
        if !self.has_witness(job_key, task) {
            self.settle(job_key, task, Verdict::Alone, cancels, out);
            return;
        }
        let is_nowhere = self.touched(job_key, task).is_some_and(|touched| {
            touched.leases.len() == 0 && matches!(touched.place, Place::Leased | Place::Withheld)
        });
        if is_nowhere {
            self.requeue(job_key, task, Micros::ZERO, out);
        }
    }

    /// Whether somebody may still answer for a task.
    fn has_witness(&self, job_key: JobKey, task: u64) -> bool {
        let Some(job) = self.jobs.get(&job_key) else {
            return false;
        };
        let Some(touched) = job.touched.get(&task) else {
            return false;
        };
        if self.restart.is_some() || touched.leases.len() > 0 {
            return true;
        }
        if self.fleet.witness_count > touched.testimonies.len() && !job.spec.is_cached {
            return true;
        }
        let mut all = self.fleet.witnesses.values().flatten();
        all.any(|key| self.suits(job, *key) && !self.has_answered(touched, *key))
    }

    fn suits(&self, job: &Job, key: WorkerKey) -> bool {
        let worker = self.fleet.workers.get(&key);
        worker.is_some_and(|worker| worker.suits(job))
    }

    pub(crate) fn has_answered(&self, touched: &Touched, key: WorkerKey) -> bool {
        let worker = self.fleet.workers.get(&key);
        worker.is_some_and(|worker| touched.has_answered(&worker.id))
    }

    /// The workers that a task with testimonies may go to: of other targets than those that answered, if there are
    /// any, and any that have not answered else.
    pub(crate) fn witnesses_for(&self, job: &Job, touched: &Touched) -> Vec<WorkerKey> {
        let is_new = |target: &str| {
            let mut answers = touched.testimonies.iter();
            answers.all(|testimony| *testimony.target != *target)
        };
        let is_left = |key: &WorkerKey| self.suits(job, *key) && !self.has_answered(touched, *key);
        let may = |key: &WorkerKey| !touched.failed_at.contains(key) && is_left(key);
        let of = |wanted: bool| -> Vec<WorkerKey> {
            let targets = self.fleet.witnesses.iter();
            targets
                .filter(|(target, _)| !wanted || is_new(target))
                .flat_map(|(_, keys)| keys.iter().copied().filter(may).take(WITNESSES_MAX))
                .collect()
        };
        let mut found = of(true);
        if found.is_empty() {
            found = of(false);
        }
        if found.is_empty() {
            // Those that failed it are better than nobody.
            let all = self.fleet.witnesses.values().flatten().copied();
            found = all.filter(is_left).take(WITNESSES_MAX).collect();
        }
        found
    }

    /// Ends what nobody is left to confirm. Looks only when workers came or went.
    pub(crate) fn settle_unconfirmed(&mut self, out: &mut Outbox) {
        if self.restart.is_some() || !std::mem::take(&mut self.fleet.witnesses_changed) {
            return;
        }
        if self.fleet.witness_count > TESTIMONIES_MAX {
            return;
        }
        let left: Vec<_> = self
            .unconfirmed
            .iter()
            .filter(|(job, task)| !self.has_witness(*job, *task))
            .copied()
            .collect();
        let mut cancels = Cancels::new();
        for (job, task) in left {
            self.settle(job, task, Verdict::Alone, &mut cancels, out);
        }
        self.send_cancels(cancels, out);
    }

    pub(crate) fn end_wait_if_due(&mut self, job_key: JobKey, task: u64, out: &mut Outbox) {
        let wait = self.config.verify_wait;
        let first = self
            .touched(job_key, task)
            .and_then(|touched| touched.testimonies.first());
        let Some(due) = first.map(|first| first.since + wait) else {
            return;
        };
        if due > self.now {
            // What it was set for is gone, and another one came since.
            self.timers.insert((due, Timer::Unconfirmed(job_key, task)));
            return;
        }
        let mut cancels = Cancels::new();
        self.settle(job_key, task, Verdict::Unanswered, &mut cancels, out);
        self.send_cancels(cancels, out);
    }

    /// Ends a task with the testimonies that there are, although no two agree.
    pub(crate) fn settle(
        &mut self,
        job_key: JobKey,
        task: u64,
        why: Verdict,
        cancels: &mut Cancels,
        out: &mut Outbox,
    ) {
        let Some(touched) = self.touched(job_key, task) else {
            return;
        };
        let count = touched.testimonies.len();
        let is_firm = |(_, one): &(usize, &Testimony)| one.outcome != OutcomeKind::LimitExceeded;
        let mut firm = touched.testimonies.iter().enumerate().filter(is_firm);
        let (winner, verdict) = match (firm.next(), firm.next()) {
            _ if count == 0 => return,
            (_, Some(_)) => (None, Verdict::Disputed),
            _ if count == 1 => (Some(0), why),
            (Some((only, _)), None) => (Some(only), Verdict::Unanswered),
            (None, None) => (Some(0), Verdict::Unanswered),
        };
        self.end_verified(job_key, task, winner, verdict, cancels, out);
    }

    fn end_verified(
        &mut self,
        job_key: JobKey,
        task: u64,
        winner: Option<usize>,
        verdict: Verdict,
        cancels: &mut Cancels,
        out: &mut Outbox,
    ) {
        let Some(touched) = self.touched_mut(job_key, task) else {
            return;
        };
        let testimonies = std::mem::take(&mut touched.testimonies);
        let won = winner.and_then(|winner| testimonies.get(winner));
        let agrees = |one: &Testimony| {
            won.is_some_and(|won| one.digest == won.digest && one.outcome == won.outcome)
        };
        let told = testimonies.iter().take(TESTIMONIES_MAX).map(|one| Told {
            worker: one.worker.clone(),
            target: Text::truncated(&one.target),
            agrees: agrees(one),
        });
        let verification = Box::new(Verification {
            verdict,
            testimonies: List::try_from(told.collect::<Vec<_>>()).unwrap_or_default(),
        });
        let end = match won {
            Some(won) => TaskEnd::Outcome {
                outcome: won.outcome,
                attempt: won.attempt,
                lease: won.lease,
                worker: won.worker.clone(),
                verification: Some(verification),
            },
            None => TaskEnd::Disputed { verification },
        };
        let by = won.and_then(|won| self.fleet.by_id.get(&won.worker).copied());
        self.counters.ended += 1;
        match verdict {
            Verdict::Confirmed => self.counters.confirmed += 1,
            Verdict::Disputed => self.counters.disputed += 1,
            _ => self.counters.unverified += 1,
        }
        self.end_task(job_key, task, end, by, cancels, out);
        for one in &testimonies {
            self.acknowledge(&one.worker, one.lease, out);
        }
        let Some(won) = won.filter(|won| {
            verdict == Verdict::Confirmed && won.outcome != OutcomeKind::LimitExceeded
        }) else {
            return;
        };
        for one in &testimonies {
            let is_wrong = one.digest != won.digest || one.outcome != won.outcome;
            if is_wrong && one.outcome != OutcomeKind::LimitExceeded {
                self.contradict(&one.worker, out);
            }
        }
    }

    /// Tells a worker that is there that its result is not needed any longer.
    fn acknowledge(&self, worker: &WorkerId, lease: LeaseId, out: &mut Outbox) {
        let key = self.fleet.by_id.get(worker);
        let Some(session) = key.and_then(|key| self.session_of(*key)) else {
            return;
        };
        if let Some(Command::Acknowledge {
            session: last,
            leases,
        }) = out.commands.last_mut()
            && *last == session
        {
            leases.push(lease);
            return;
        }
        let leases = vec![lease];
        out.commands.push(Command::Acknowledge { session, leases });
    }

    /// Two others agree on something else than what this worker brought.
    fn contradict(&mut self, id: &WorkerId, out: &mut Outbox) {
        self.counters.contradicted += 1;
        let Some(key) = self.fleet.by_id.get(id).copied() else {
            return;
        };
        let Some(worker) = self.fleet.workers.get_mut(&key) else {
            return;
        };
        worker.contradicted = worker.contradicted.saturating_add(1);
        let is_over = worker.contradicted >= self.config.contradicted_max;
        let is_known = matches!(
            worker.drained,
            Some(DrainReason::GivesWrongResults | DrainReason::Revoked)
        );
        if is_over && !is_known {
            self.drain_for(id, DrainReason::GivesWrongResults, out);
            self.disbelieve(id, out);
        }
    }

    /// Nothing counts that a worker has brought and that waits, nor what it has still to bring.
    pub(crate) fn disbelieve(&mut self, id: &WorkerId, out: &mut Outbox) {
        let unconfirmed: Vec<_> = self.unconfirmed.iter().copied().collect();
        for (job, task) in unconfirmed {
            let Some(touched) = self.touched_mut(job, task) else {
                continue;
            };
            touched.testimonies.retain(|one| one.worker != *id);
            if touched.testimonies.is_empty() {
                self.unconfirmed.remove(&(job, task));
            }
        }
        self.fleet.witnesses_changed = true;
        let Some(key) = self.fleet.by_id.get(id).copied() else {
            return;
        };
        let Some(worker) = self.fleet.workers.get(&key) else {
            return;
        };
        let live = worker.leases.iter().filter(|(_, held)| held.is_live());
        let live: Vec<_> = live.map(|(lease, held)| (*lease, *held)).collect();
        let leases: Vec<LeaseId> = live.iter().map(|(lease, _)| *lease).collect();
        for (lease, _) in &live {
            self.revoke(key, *lease, Loss::NeverRan, out);
        }
        if !leases.is_empty() {
            self.send_cancels(Cancels::from([(key, leases)]), out);
        }
    }
}

/// Whether a task holds this outcome of this worker.
pub(crate) fn is_testimony(touched: &Touched, worker: &WorkerId, lease: LeaseId) -> bool {
    let mut all = touched.testimonies.iter();
    all.any(|one| one.lease == lease && one.worker == *worker)
}

/// The first testimony that another one equals.
fn agreed(testimonies: &[Testimony]) -> Option<usize> {
    let last = testimonies.last()?;
    let equals = |one: &Testimony| one.digest == last.digest && one.outcome == last.outcome;
    let first = testimonies.iter().position(equals)?;
    (first + 1 < testimonies.len()).then_some(first)
}
