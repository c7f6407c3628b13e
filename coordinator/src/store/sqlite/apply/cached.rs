//! Outcomes that can be found by their key.

use ppwasm_proto::fabric::WorkerId;
use ppwasm_proto::wire::Verdict;
use ppwasm_scheduler::TaskEnd;
use rusqlite::params;

use super::{Apply, Stop};
use crate::cache;
use crate::store::CacheNote;
use crate::store::sqlite::read::{self, absent, key_text};
use crate::store::sqlite::row::{self, OutcomeRow, key_job, key_task};

impl Apply<'_> {
    /// Has an outcome found by its key from now on. One that another worker confirmed stays before one that none did.
    pub(super) fn remember(
        &self,
        outcome: &OutcomeRow,
        end: &TaskEnd,
        note: &CacheNote,
    ) -> Result<(), Stop> {
        let (job, task) = (key_job(outcome.key), key_task(outcome.key));
        let call = read::calls(self.db, job, task, 1)?.into_iter().next();
        let call = call.ok_or_else(|| absent("call", key_text(outcome.key)))?;
        let key = cache::key(&note.setting, &call.digest());
        let verdict = end.verification().map(|of| of.verdict);
        let is_confirmed = verdict == Some(Verdict::Confirmed);
        let [target, cpu_profile, build] = note.machine.each_ref().map(|text| &**text);
        let numbers = [
            outcome.key,
            outcome.lease,
            outcome.worker,
            is_confirmed.into(),
        ];
        let sum = row::cached_sum(
            key.as_bytes(),
            numbers,
            note.guest.as_bytes(),
            [target, cpu_profile, build],
        );
        let put = "INSERT INTO cached (key, task, lease, worker, is_confirmed, guest, target,
                   cpu_profile, build, sum) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                   ON CONFLICT DO UPDATE SET task = excluded.task, lease = excluded.lease,
                   worker = excluded.worker, is_confirmed = excluded.is_confirmed,
                   guest = excluded.guest, target = excluded.target,
                   cpu_profile = excluded.cpu_profile, build = excluded.build,
                   sum = excluded.sum
                   WHERE excluded.is_confirmed >= cached.is_confirmed
                   OR NOT EXISTS (SELECT 1 FROM job WHERE number = cached.task >> 32)";
        let columns = params![
            key.as_bytes(),
            outcome.key,
            outcome.lease,
            outcome.worker,
            is_confirmed,
            note.guest.as_bytes(),
            target,
            cpu_profile,
            build,
            sum,
        ];
        self.put(put, columns)?;
        Ok(())
    }

    /// Nothing that a worker alone has said is found any more.
    pub(super) fn disbelieve(&mut self, worker: &WorkerId) -> Result<(), Stop> {
        let number = self.worker(worker)?;
        let remove = "DELETE FROM cached WHERE worker = ? AND is_confirmed = 0";
        self.put(remove, [number])?;
        Ok(())
    }
}
