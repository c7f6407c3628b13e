//! Clients, who ask until they are answered.

use super::*;

impl World {
    pub(super) fn client_acts(&mut self, index: usize) -> Kept {
        let now = self.now;
        let job = &mut self.jobs[index];
        if job.request.is_some() {
            return Ok(());
        }
        if job.cancel_at.is_some_and(|at| at <= now) {
            job.cancel_at = None;
            job.stage = Stage::Cancel;
        }
        if job.stage == Stage::Watch {
            let id = job.id;
            let is_over = self.oracle.is_over(id);
            let job = &mut self.jobs[index];
            if is_over && job.retries_left > 0 {
                job.retries_left -= 1;
                job.stage = Stage::Retry;
            } else if is_over && job.cancel_at.is_none() {
                job.stage = Stage::Done;
            } else {
                self.after(S, Ev::Client(index));
                return Ok(());
            }
        }
        self.next_request += 1;
        let request = RequestId(self.next_request);
        let Some(event) = self.jobs[index].ask(request) else {
            return Ok(());
        };
        self.jobs[index].request = Some(request);
        self.jobs[index].asked += 1;
        self.requests.insert(request, index);
        self.after(5 * S, Ev::ClientTimeout(index, request));
        if self.coordinator.paused_until > self.now {
            return Ok(());
        }
        if self.rng.one_in(10) {
            // The same request over another connection, whose answer nobody waits for.
            self.scheduler(Some(event.clone()))?;
        }
        self.scheduler(Some(event))
    }
}
