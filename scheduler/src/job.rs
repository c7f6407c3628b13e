//! A job as the scheduler remembers it.
//!
//! A task that nobody has touched costs nothing: it is a number from `next_fresh` on. One that has ended is a bit, and
//! an entry more if it failed. Only those in between have an entry of their own.

use std::collections::{BTreeMap, BTreeSet};

use ppwasm_proto::fabric::{LeaseId, WorkerId};
use ppwasm_proto::{Attempt, Digest, JobId};

use crate::bits::EndedSet;
use crate::fleet::WorkerKey;
use crate::queue::ClientKey;
use crate::record::{JobEnd, JobSpec, OutcomeKind};
use crate::time::{Micros, Timestamp};

/// Jobs by the order of their submission. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct JobKey(pub u64);

/// Live leases on one task at most: the second is a second attempt, or one that was thought lost.
pub(crate) const TASK_LEASES_MAX: usize = 2;

#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub id: JobId,
    pub spec: Box<JobSpec>,
    pub client: ClientKey,
    /// Tasks added so far.
    pub count: u64,
    pub is_closed: bool,
    pub end: Option<JobEnd>,
    /// Tasks from here on were never granted.
    pub next_fresh: u64,
    /// Those from there on that have ended: their outcome was known.
    pub ended_ahead: u64,
    /// What the last `TasksReleased` said.
    pub released: u64,
    /// Touched tasks that can be granted.
    pub ready: BTreeSet<u64>,
    /// Tasks that were granted, or lost, and have not ended.
    pub touched: BTreeMap<u64, Touched>,
    pub ended: EndedSet,
    pub failed: BTreeMap<u64, Failed>,
    /// Leases below are from before a retry.
    pub lease_floor: LeaseId,
    pub run_time: RunTime,
    /// Until when its tail is kept for fast workers, once it was.
    pub patience_until: Option<Timestamp>,
    /// Tasks with two live leases.
    pub doubled: u64,
    /// Its share in the queue's sum of what is ready.
    pub counted_ready: u64,
}

/// A task between its first grant and its end.
#[derive(Clone, Debug)]
pub(crate) struct Touched {
    /// Grants in this epoch.
    pub tries: u32,
    pub place: Place,
    pub leases: TaskLeases,
    pub losses: Vec<Loss>,
    /// Workers that failed it in this epoch, to be blamed if another one runs it.
    pub failed_at: Vec<WorkerKey>,
    /// Outcomes that wait for another worker to confirm one of them.
    pub testimonies: Vec<Testimony>,
}

/// An outcome that a worker brought for a task that is verified.
#[derive(Clone, Debug)]
pub(crate) struct Testimony {
    pub worker: WorkerId,
    pub target: Box<str>,
    pub lease: LeaseId,
    pub attempt: Attempt,
    pub outcome: OutcomeKind,
    pub digest: Digest,
    pub since: Timestamp,
}

impl Touched {
    pub(crate) fn new(place: Place) -> Self {
        Self {
            tries: 0,
            place,
            leases: TaskLeases::default(),
            losses: Vec::new(),
            failed_at: Vec::new(),
            testimonies: Vec::new(),
        }
    }

    pub(crate) fn has_answered(&self, worker: &WorkerId) -> bool {
        self.testimonies.iter().any(|one| one.worker == *worker)
    }

    pub(crate) fn suspicions(&self) -> u32 {
        let count = self.losses.iter().filter(|loss| loss.suspect).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }
}

/// Where a touched task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// It has live leases.
    Leased,
    /// In the job's `ready`.
    Ready,
    /// Until its back-off is over.
    BackingOff(Timestamp),
    /// Until a worker can run it alone.
    Alone,
    /// Until the workers from before a restart are back.
    Withheld,
}

/// The one or two live leases of a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TaskLeases([Option<(WorkerKey, LeaseId)>; TASK_LEASES_MAX]);

impl TaskLeases {
    pub(crate) fn iter(&self) -> impl Iterator<Item = (WorkerKey, LeaseId)> + '_ {
        self.0.iter().flatten().copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.iter().count()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len() == TASK_LEASES_MAX
    }

    /// Adds a lease; the caller has made sure that there is room.
    pub(crate) fn add(&mut self, worker: WorkerKey, lease: LeaseId) {
        if let Some(free) = self.0.iter_mut().find(|lease| lease.is_none()) {
            *free = Some((worker, lease));
        }
    }

    /// Takes a lease out; false when it is not there.
    pub(crate) fn remove(&mut self, lease: LeaseId) -> bool {
        let found = self
            .0
            .iter_mut()
            .find(|held| held.is_some_and(|(_, held)| held == lease));
        found.is_some_and(|found| found.take().is_some())
    }
}

/// An attempt that counts as lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Loss {
    pub attempt: Attempt,
    pub suspect: bool,
}

/// A task that ended otherwise than by success: what a retry needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failed {
    pub outcome: OutcomeKind,
    pub tries: u32,
}

/// The run time of a job's tasks, as an average that follows.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RunTime {
    average: u64,
    samples: u32,
}

impl RunTime {
    pub(crate) fn add(&mut self, run_time: Micros) {
        let sample = run_time.0.max(1);
        self.samples = self.samples.saturating_add(1);
        let weight = u64::from(self.samples.min(8));
        self.average = self
            .average
            .saturating_sub(self.average / weight)
            .saturating_add(sample / weight)
            .max(1);
    }

    pub(crate) const fn samples(&self) -> u32 {
        self.samples
    }

    /// The average once it means something.
    pub(crate) const fn known(&self) -> Option<Micros> {
        if self.samples >= 3 {
            Some(Micros(self.average))
        } else {
            None
        }
    }

    pub(crate) fn or(&self, guess: Micros) -> Micros {
        if self.samples == 0 {
            guess
        } else {
            Micros(self.average)
        }
    }
}

impl Job {
    pub(crate) fn new(id: JobId, spec: Box<JobSpec>, client: ClientKey) -> Self {
        Self {
            id,
            spec,
            client,
            count: 0,
            is_closed: false,
            end: None,
            next_fresh: 0,
            ended_ahead: 0,
            released: 0,
            ready: BTreeSet::new(),
            touched: BTreeMap::new(),
            ended: EndedSet::default(),
            failed: BTreeMap::new(),
            lease_floor: LeaseId(0),
            run_time: RunTime::default(),
            patience_until: None,
            doubled: 0,
            counted_ready: 0,
        }
    }

    /// Tasks that could be granted if the image is there.
    pub(crate) fn ready_len(&self) -> u64 {
        self.ready.len() as u64 + self.fresh_len()
    }

    /// Tasks that were never granted and have not ended.
    pub(crate) const fn fresh_len(&self) -> u64 {
        self.count - self.next_fresh - self.ended_ahead
    }

    /// The first of them.
    pub(crate) fn first_fresh(&self) -> Option<u64> {
        (self.fresh_len() > 0).then(|| self.ended.first_absent(self.next_fresh))
    }

    /// Tasks that have not ended.
    pub(crate) const fn open_tasks(&self) -> u64 {
        if self.end.is_some() {
            0
        } else {
            self.count - self.ended.len()
        }
    }

    pub(crate) const fn is_complete(&self) -> bool {
        self.is_closed && self.ended.len() == self.count
    }

    /// Whether an outcome for this task under this lease can still count.
    pub(crate) fn takes(&self, task: u64, lease: LeaseId) -> bool {
        self.end.is_none()
            && lease >= self.lease_floor
            && task < self.next_fresh
            && !self.ended.contains(task)
    }
}
