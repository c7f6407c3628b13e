//! Tasks that end as they are added, because the outcome of the same call is known from an earlier job.
//!
//! The driver looks outcomes up and says what it has found; what counts is decided here, at the moment at which it counts:
//! nothing from a worker that is not believed any more, and nothing unconfirmed where the job's own outcome would have to be
//! confirmed. What does not count is a task like any other.

use ppwasm_proto::wire::Origin;

use crate::command::Outbox;
use crate::event::Found;
use crate::job::{Job, JobKey};
use crate::record::{DrainReason, OutcomeKind, TaskEnd};
use crate::scheduler::{Cancels, Scheduler};

impl Scheduler {
    /// Ends tasks from `first` on that were just added, those whose outcome is known.
    pub(crate) fn end_found(
        &mut self,
        key: JobKey,
        first: u64,
        found: Vec<Found>,
        out: &mut Outbox,
    ) {
        // Nothing was granted of what has just been added, so there is nothing to cancel.
        let mut cancels = Cancels::new();
        for Found {
            task,
            outcome,
            origin,
        } in found
        {
            let Some(job) = self.jobs.get(&key) else {
                return;
            };
            let is_new = (first..job.count).contains(&task) && !job.ended.contains(task);
            let counts = job.spec.is_cached && job.spec.is_deterministic;
            if !is_new || !counts || !self.takes_origin(job, task, outcome, &origin) {
                continue;
            }
            if let Some(job) = self.jobs.get_mut(&key) {
                job.ended_ahead += 1;
            }
            self.counters.from_cache += 1;
            let end = TaskEnd::Cached { outcome, origin };
            self.end_task(key, task, end, None, &mut cancels, out);
        }
    }

    fn takes_origin(&self, job: &Job, task: u64, outcome: OutcomeKind, origin: &Origin) -> bool {
        let is_determined = matches!(outcome, OutcomeKind::Succeeded | OutcomeKind::Raised);
        let why = self.drained.get(&origin.worker);
        let is_believed = !matches!(
            why,
            Some(DrainReason::GivesWrongResults | DrainReason::Revoked)
        );
        is_determined && (origin.is_confirmed() || is_believed && !self.verifies(job, task))
    }
}
