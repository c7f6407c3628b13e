//! Outcomes that can be found by their key.

use ppwasm_proto::fabric::{LeaseId, OutcomeKind, WorkerId};
use ppwasm_proto::wire::Verdict;
use ppwasm_proto::{Digest, JobId, TaskId};
use ppwasm_scheduler::TaskEnd;

use super::Tables;
use super::tables::Undo;
use crate::cache;
use crate::store::{Body, CacheNote, CachedOutcome};

/// Where an outcome is, and what is kept with it.
#[derive(Clone, Debug)]
pub(super) struct Cached {
    number: u64,
    task: TaskId,
    lease: LeaseId,
    worker: WorkerId,
    is_confirmed: bool,
    guest: Digest,
    machine: [Box<str>; 3],
}

impl Tables {
    pub(super) fn cached(&self, keys: &[Digest], bytes_max: usize) -> Vec<Option<CachedOutcome>> {
        let mut bytes = 0;
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            if bytes >= bytes_max {
                break;
            }
            let one = self.cached_one(key);
            let bodies = one.as_ref().map(|one| one.ended.result.bodies());
            let bodies = bodies.into_iter().flatten();
            bytes += bodies.map(Body::row_bytes).sum::<usize>();
            found.push(one);
        }
        found
    }

    fn cached_one(&self, key: &Digest) -> Option<CachedOutcome> {
        let cached = self.cached.get(key)?;
        let job = self.jobs.get(&cached.number)?;
        let (round, ended) = job.outcomes.get(&cached.task.0)?;
        let is_one = matches!(
            ended.end,
            TaskEnd::Outcome { lease, outcome: OutcomeKind::Succeeded | OutcomeKind::Raised, .. }
                if lease == cached.lease
        );
        (is_one && job.counts(*round, &ended.end)).then(|| CachedOutcome {
            job: job.id,
            number: cached.number,
            ended: ended.clone(),
            guest: cached.guest,
            machine: cached.machine.clone(),
        })
    }

    /// Has an outcome found by its key from now on. One that another worker confirmed stays before one that none did.
    pub(super) fn remember(
        &mut self,
        job: &JobId,
        task: TaskId,
        end: &TaskEnd,
        note: &CacheNote,
        undo: &mut Vec<Undo>,
    ) {
        let (Some(number), TaskEnd::Outcome { lease, worker, .. }) = (self.ids.get(job), end)
        else {
            return;
        };
        let Some(job) = self.jobs.get(number) else {
            return;
        };
        let (from, mut calls) = job.calls.from(task.0);
        // One that was let go is not looked for again.
        let Some(call) = calls.next().filter(|_| from == task.0) else {
            return;
        };
        let key = cache::key(&note.setting, &call.digest());
        let verdict = end.verification().map(|of| of.verdict);
        let cached = Cached {
            number: *number,
            task,
            lease: *lease,
            worker: worker.clone(),
            is_confirmed: verdict == Some(Verdict::Confirmed),
            guest: note.guest,
            machine: note.machine.clone(),
        };
        let stays = self.cached.get(&key).is_some_and(|there| {
            there.is_confirmed && !cached.is_confirmed && self.jobs.contains_key(&there.number)
        });
        if !stays {
            let before = self.cached.insert(key, cached);
            undo.push(Box::new(move |tables| {
                match before {
                    Some(before) => tables.cached.insert(key, before),
                    None => tables.cached.remove(&key),
                };
            }));
        }
    }

    /// Nothing that a worker alone has said is found any more.
    pub(super) fn disbelieve(&mut self, worker: &WorkerId, undo: &mut Vec<Undo>) {
        let is_its = |cached: &Cached| cached.worker == *worker && !cached.is_confirmed;
        let its = self.cached.iter().filter(|(_, cached)| is_its(cached));
        let gone: Vec<_> = its.map(|(key, cached)| (*key, cached.clone())).collect();
        for (key, _) in &gone {
            self.cached.remove(key);
        }
        undo.push(Box::new(move |tables| tables.cached.extend(gone)));
    }

    /// Forgets those of jobs that are gone, and those of the oldest jobs beyond `max`.
    pub(super) fn evict(&mut self, max: u64) {
        let jobs = &self.jobs;
        self.cached
            .retain(|_, cached| jobs.contains_key(&cached.number));
        let excess = self.cached.len().saturating_sub(super::index(max));
        if excess > 0 {
            let mut by_age: Vec<_> = (self.cached.iter())
                .map(|(key, cached)| (cached.number, cached.task, *key))
                .collect();
            by_age.sort_unstable();
            for (_, _, key) in by_age.into_iter().take(excess) {
                self.cached.remove(&key);
            }
        }
    }
}
