//! What is listed of jobs and workers: everything that people ask for and the scheduler has no use for.
//!
//! Changed only by what is durable. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use ppwasm_proto::fabric::{ClientName, Epoch, OutcomeKind, WorkerId};
use ppwasm_proto::wire::{BlobRef, LABEL_BYTES_MAX, NAME_BYTES_MAX, Text};
use ppwasm_proto::{Digest, JobId};
use ppwasm_scheduler::{JobEnd, TaskEnd, Timestamp};

use super::verified::Verified;
use crate::cache::{PROGRAM, Recipe};
use crate::server::KEEP_FOR_MAX;
use crate::server::terms::JobTerms;
use crate::store::{CacheNote, JobEntry};

const KEEP_FOR_MAX_MS: u64 = KEEP_FOR_MAX.as_secs() * 1000;

/// Tasks by how they ended: succeeded, raised, trapped, limit exceeded, cancelled, abandoned.
pub(super) type Kinds = [u64; 6];

/// The place of a kind of outcome in [`Kinds`].
pub(super) const fn place(kind: OutcomeKind) -> usize {
    match kind {
        OutcomeKind::Succeeded => 0,
        OutcomeKind::Raised => 1,
        OutcomeKind::Trapped => 2,
        OutcomeKind::LimitExceeded => 3,
        OutcomeKind::Cancelled => 4,
        OutcomeKind::Abandoned => 5,
    }
}

const fn end_place(end: JobEnd) -> usize {
    match end {
        JobEnd::Finished => 0,
        JobEnd::Cancelled => 1,
        JobEnd::ImageFailed => 2,
    }
}

/// A job.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    pub number: u64,
    pub owner: ClientName,
    pub name: Text<NAME_BYTES_MAX>,
    pub function: BlobRef,
    /// Standard input and input tree: to be kept while it is there.
    pub pinned: Vec<BlobRef>,
    pub stops_at_failure: bool,
    /// From its end on.
    pub keep_for_ms: u64,
    pub submitted_ms: u64,
    /// Its first grant, when that is known: not of one that ran before a restart.
    pub first_grant_ms: Option<u64>,
    pub ran_before: bool,
    pub end: Option<(JobEnd, u64)>,
    pub kinds: Kinds,
    pub lost_attempts: u64,
    pub verified: Verified,
    /// What the outcomes of its tasks follow from besides the call, when it is cached.
    pub setting: Option<Digest>,
    /// Tasks whose outcome came from the cache: those that succeeded, and the others, which a retry forgets.
    cached: [u64; 2],
}

impl Listed {
    /// What failed will run again.
    pub(super) fn forget_failures(&mut self) {
        self.verified.forget_failures();
        self.cached[1] = 0;
        let succeeded = self.kinds[0];
        self.kinds = [succeeded, 0, 0, 0, 0, 0];
    }

    /// A task has ended with an outcome that was known.
    pub(super) fn count_cached(&mut self, kind: OutcomeKind) {
        let [succeeded, failed] = &mut self.cached;
        match kind {
            OutcomeKind::Succeeded => *succeeded += 1,
            _ => *failed += 1,
        }
    }

    /// How many of its tasks have; `None` when it is not cached.
    pub(super) fn cached(&self) -> Option<u64> {
        self.setting.map(|_| self.cached.iter().sum())
    }

    pub(super) const fn failures(&self) -> u64 {
        let [_, raised, trapped, limit, cancelled, abandoned] = self.kinds;
        raised + trapped + limit + cancelled + abandoned
    }
}

/// Numbers of jobs.
#[derive(Debug, Default)]
struct Numbers {
    all: BTreeSet<u64>,
    live: BTreeSet<u64>,
}

/// What is listed.
#[derive(Debug, Default)]
pub(super) struct Directory {
    jobs: HashMap<JobId, Listed>,
    ids: BTreeMap<u64, JobId>,
    everybodys: Numbers,
    by_owner: HashMap<ClientName, Numbers>,
    /// By function: its blob, and how many jobs of whom use it.
    functions: BTreeMap<Digest, (BlobRef, BTreeMap<ClientName, u64>)>,
    /// Ended jobs by the time at which they are forgotten, in milliseconds since 1970.
    expiring: BTreeSet<(u64, u64)>,
    /// Jobs that ended: finished, cancelled, without an image.
    ends: [u64; 3],
    keep_for_ms: u64,
    /// The guest that tasks run on.
    guest: Option<Digest>,
    workers: HashMap<WorkerId, Seen>,
}

/// A worker that was here since the coordinator started.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub target: Text<LABEL_BYTES_MAX>,
    pub cpu_profile: Text<LABEL_BYTES_MAX>,
    pub label: Option<Text<LABEL_BYTES_MAX>>,
    pub build: Text<LABEL_BYTES_MAX>,
    pub last_message: Timestamp,
    pub tasks_ended: u64,
}

impl Directory {
    /// Nothing; jobs that do not say otherwise are kept for so long after their end.
    pub(super) fn new(keep_for: Duration, guest: Digest) -> Self {
        let keep_for_ms = u64::try_from(keep_for.as_millis()).unwrap_or(u64::MAX);
        Self {
            keep_for_ms: keep_for_ms.min(KEEP_FOR_MAX_MS),
            guest: Some(guest),
            ..Self::default()
        }
    }

    // Jobs.

    /// A job as the store has it.
    pub(super) fn add(&mut self, entry: &JobEntry, terms: &JobTerms, ran_before: bool) {
        let open = &terms.open;
        let pinned = [open.stdin, open.inputs].into_iter().flatten().collect();
        let listed = Listed {
            number: entry.number,
            owner: entry.spec.owner.clone(),
            name: open.name.clone(),
            function: open.function,
            pinned,
            stops_at_failure: open.stop_at_failure == Some(true),
            keep_for_ms: open.keep_for_s.map_or(self.keep_for_ms, |seconds| {
                seconds.saturating_mul(1000).min(KEEP_FOR_MAX_MS)
            }),
            submitted_ms: entry.submitted_ms,
            first_grant_ms: None,
            ran_before,
            end: entry.ended,
            kinds: Kinds::default(),
            lost_attempts: 0,
            verified: Verified::default(),
            setting: self.guest.and_then(|guest| {
                let recipe = Recipe::of(open, &entry.spec.owner)?;
                Some(recipe.setting(&guest, PROGRAM))
            }),
            cached: [0; 2],
        };
        if self.jobs.contains_key(&entry.job) {
            return;
        }
        let owners = self.by_owner.entry(listed.owner.clone()).or_default();
        for numbers in [&mut self.everybodys, owners] {
            numbers.all.insert(listed.number);
            if listed.end.is_none() {
                numbers.live.insert(listed.number);
            }
        }
        let blob = listed.function;
        let (_, users) =
            (self.functions.entry(blob.digest)).or_insert_with(|| (blob, BTreeMap::new()));
        *users.entry(listed.owner.clone()).or_default() += 1;
        if let Some((end, at_ms)) = listed.end {
            self.ends[end_place(end)] += 1;
            let until = at_ms.saturating_add(listed.keep_for_ms);
            self.expiring.insert((until, listed.number));
        }
        self.ids.insert(listed.number, entry.job);
        self.jobs.insert(entry.job, listed);
    }

    /// A job is gone. Its function, when no other job uses it.
    pub(super) fn remove(&mut self, job: JobId) -> Option<Digest> {
        let listed = self.jobs.remove(&job)?;
        self.leave_end(&listed);
        self.ids.remove(&listed.number);
        self.everybodys.all.remove(&listed.number);
        self.everybodys.live.remove(&listed.number);
        if let Some(numbers) = self.by_owner.get_mut(&listed.owner) {
            numbers.all.remove(&listed.number);
            numbers.live.remove(&listed.number);
            if numbers.all.is_empty() {
                self.by_owner.remove(&listed.owner);
            }
        }
        if let Some((_, users)) = self.functions.get_mut(&listed.function.digest) {
            if let Some(jobs) = users.get_mut(&listed.owner) {
                *jobs -= 1;
                if *jobs == 0 {
                    users.remove(&listed.owner);
                }
            }
            if users.is_empty() {
                self.functions.remove(&listed.function.digest);
                return Some(listed.function.digest);
            }
        }
        None
    }

    /// What is kept of a job's end.
    fn leave_end(&mut self, listed: &Listed) {
        if let Some((end, at_ms)) = listed.end {
            let count = &mut self.ends[end_place(end)];
            *count = count.saturating_sub(1);
            let until = at_ms.saturating_add(listed.keep_for_ms);
            self.expiring.remove(&(until, listed.number));
        }
    }

    pub(super) fn job(&self, job: JobId) -> Option<&Listed> {
        self.jobs.get(&job)
    }

    /// What is kept with an outcome, so that later tasks may end with it; `None` when they may not.
    pub(super) fn cache_note(
        &self,
        job: JobId,
        end: &TaskEnd,
        epoch: Epoch,
    ) -> Option<Box<CacheNote>> {
        let TaskEnd::Outcome {
            outcome: OutcomeKind::Succeeded | OutcomeKind::Raised,
            lease,
            worker,
            ..
        } = end
        else {
            return None;
        };
        let setting = self.jobs.get(&job)?.setting?;
        if lease.epoch_number() != u64::from(epoch.number()) {
            // Another life of the coordinator gave it, perhaps with another guest.
            return None;
        }
        let seen = self.workers.get(worker);
        let machine = seen.map(|seen| [&seen.target, &seen.cpu_profile, &seen.build]);
        Some(Box::new(CacheNote {
            setting,
            guest: self.guest?,
            machine: machine.map_or_else(Default::default, |machine| {
                machine.map(|text| text.as_str().into())
            }),
        }))
    }

    pub(super) fn job_mut(&mut self, job: JobId) -> Option<&mut Listed> {
        self.jobs.get_mut(&job)
    }

    /// The job has ended, or runs again.
    pub(super) fn set_end(&mut self, job: JobId, end: Option<(JobEnd, u64)>) {
        let Some(mut listed) = self.jobs.remove(&job) else {
            return;
        };
        self.leave_end(&listed);
        listed.end = end;
        let number = listed.number;
        if let Some((end, at_ms)) = end {
            self.ends[end_place(end)] += 1;
            let until = at_ms.saturating_add(listed.keep_for_ms);
            self.expiring.insert((until, number));
        }
        let owners = self.by_owner.get_mut(&listed.owner);
        for numbers in owners.into_iter().chain([&mut self.everybodys]) {
            if end.is_some() {
                numbers.live.remove(&number);
            } else {
                numbers.live.insert(number);
            }
        }
        self.jobs.insert(job, listed);
    }

    /// Ended jobs whose time is over, at most so many.
    pub(super) fn expired(&self, now_ms: u64, limit: usize) -> Vec<JobId> {
        let due = self.expiring.range(..=(now_ms, u64::MAX)).take(limit);
        due.filter_map(|(_, number)| self.ids.get(number).copied())
            .collect()
    }

    /// What jobs from this number on name besides their function, of at most so many jobs, and where to go on.
    pub(super) fn pinned(&self, from: u64, limit: usize) -> (Vec<BlobRef>, Option<u64>) {
        let mut blobs = Vec::new();
        for (count, (number, job)) in self.ids.range(from..).enumerate() {
            if count == limit {
                return (blobs, Some(*number));
            }
            if let Some(listed) = self.jobs.get(job) {
                blobs.extend(&listed.pinned);
            }
        }
        (blobs, None)
    }

    /// Jobs, newest first, those before `below`: of one owner, or of everybody.
    pub(super) fn newest(
        &self,
        owner: Option<&ClientName>,
        below: Option<u64>,
        only_live: bool,
    ) -> impl Iterator<Item = (JobId, &Listed)> {
        let numbers = match owner {
            Some(owner) => self.by_owner.get(owner),
            None => Some(&self.everybodys),
        };
        let numbers = numbers.map(|numbers| match only_live {
            true => &numbers.live,
            false => &numbers.all,
        });
        let below = below.unwrap_or(u64::MAX);
        let found = numbers
            .into_iter()
            .flat_map(move |n| n.range(..below).rev());
        found.filter_map(|number| {
            let job = self.ids.get(number)?;
            Some((*job, self.jobs.get(job)?))
        })
    }

    /// Functions by digest, those after `after`, with how many jobs of the owner, or of everybody, use them.
    pub(super) fn functions(
        &self,
        owner: Option<&ClientName>,
        after: Option<Digest>,
    ) -> impl Iterator<Item = (BlobRef, u64)> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        let found = self.functions.range((from, Unbounded));
        found.filter_map(move |(_, (blob, users))| {
            let jobs = match owner {
                Some(owner) => *users.get(owner)?,
                None => users.values().sum(),
            };
            Some((*blob, jobs))
        })
    }

    /// Jobs by state: live, finished, cancelled, without an image.
    pub(super) fn states(&self) -> [u64; 4] {
        let [finished, cancelled, invalid] = self.ends;
        [self.live(), finished, cancelled, invalid]
    }

    /// How many jobs have not ended.
    pub(super) fn live(&self) -> u64 {
        self.everybodys.live.len() as u64
    }

    /// Every job.
    pub(super) fn jobs(&self) -> impl Iterator<Item = (JobId, &Listed)> {
        self.jobs.iter().map(|(job, listed)| (*job, listed))
    }

    // Workers.

    /// A worker has said hello.
    pub(super) fn greet(&mut self, worker: WorkerId, mut seen: Seen) {
        if let Some(before) = self.workers.get(&worker) {
            seen.tasks_ended = before.tasks_ended;
        }
        self.workers.insert(worker, seen);
    }

    pub(super) fn worker(&self, worker: &WorkerId) -> Option<&Seen> {
        self.workers.get(worker)
    }

    pub(super) fn worker_mut(&mut self, worker: &WorkerId) -> Option<&mut Seen> {
        self.workers.get_mut(worker)
    }

    pub(super) fn forget_worker(&mut self, worker: &WorkerId) {
        self.workers.remove(worker);
    }
}
