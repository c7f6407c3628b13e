//! Tasks that end with what is known from an earlier job.

use ppwasm_proto::JobId;
use ppwasm_proto::wire::Origin;
use ppwasm_scheduler::OutcomeKind;

use super::{Broken, Oracle};

impl Oracle {
    /// A task ends as it is added: somebody asked for that, who said it is believed, and it was not begun.
    pub(super) fn is_known(
        &mut self,
        id: JobId,
        task: u64,
        outcome: OutcomeKind,
        origin: &Origin,
    ) -> Result<(), Broken> {
        let is_determined = matches!(outcome, OutcomeKind::Succeeded | OutcomeKind::Raised);
        let is_believed = !self.distrusted.contains(&origin.worker);
        promise!(
            is_determined && (is_believed || origin.is_confirmed()),
            "task {task} is {outcome:?} by the word of {}",
            origin.worker
        );
        let given = self.attempts.get(&(id, task)).copied();
        let lives = self.lives;
        let job = self.job(&id)?;
        promise!(job.is_cached, "task {task} is known and nobody asked");
        promise!(
            given.is_none_or(|(_, life)| job.has_lost(task, life, lives)),
            "task {task} is known and was granted: {given:?}"
        );
        if given.is_some() {
            self.known_later += 1;
        }
        self.from_cache += 1;
        Ok(())
    }
}
