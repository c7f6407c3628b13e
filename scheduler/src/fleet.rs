//! The workers: what each holds, how fast it is, and which of them can take more.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use ppwasm_proto::fabric::{Incarnation, LeaseId, SessionId, WorkerId};
use ppwasm_proto::{Attempt, Digest};

use crate::config::Config;
use crate::job::{Job, JobKey, RunTime};
use crate::record::DrainReason;
use crate::time::{Micros, Timestamp};

/// Workers by the order in which they came. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WorkerKey(pub u64);

/// A speed of one: as fast as the average.
pub(crate) const SPEED_ONE: u64 = 1024;
const SPEED_MIN: u64 = SPEED_ONE / 64;
const SPEED_MAX: u64 = SPEED_ONE * 64;
/// How slowly speeds go back to one.
const SPEED_PULL: u64 = 512;
/// Workers whose speeds differ by less are not ordered by it.
const SPEED_STEP: u64 = SPEED_ONE / 16;

#[derive(Clone, Debug)]
pub(crate) struct Worker {
    pub id: WorkerId,
    pub label: Box<str>,
    pub target: Box<str>,
    pub incarnation: Incarnation,
    pub session: Option<SessionId>,
    /// The largest session that it ever had.
    pub last_session: Option<SessionId>,
    /// Without a session: when its leases go to others.
    pub orphaned_until: Option<Timestamp>,
    pub slots: u32,
    pub credit: u32,
    /// It takes the random stream of each task from its grant.
    pub takes_streams: bool,
    pub is_draining: bool,
    pub drained: Option<DrainReason>,
    /// Every lease that may occupy it, those that were revoked included.
    pub leases: BTreeMap<LeaseId, HeldLease>,
    /// Functions whose image it holds, or was told to fetch.
    pub images: BTreeSet<Digest>,
    pub speed: u64,
    pub speed_samples: u32,
    pub run_time: RunTime,
    /// Since when every slot had something to run, if it had at the last end, and how many leases had been granted then.
    pub saturated_since: Option<(Timestamp, u64)>,
    /// After failures in a row it is left alone for a while.
    pub blocked_until: Timestamp,
    pub failures_in_row: u32,
    /// Two for each task that it failed and another one ran, minus one for each that it ran.
    pub blame: u32,
    /// Its outcomes that two others contradicted.
    pub contradicted: u32,
    /// The task that it shall run alone, as soon as it is empty.
    pub reserved: Option<(JobKey, u64)>,
    /// The lease that it runs alone.
    pub alone: Option<LeaseId>,
    /// When its leases are looked at.
    pub timer: Option<Timestamp>,
    free: Option<FreeKey>,
    /// Speed and slots as the fleet counts them.
    counted: Option<(u64, u64)>,
    /// The target under which the fleet has it as a witness.
    witness_of: Option<Box<str>>,
}

/// What a worker holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeldLease {
    pub job: JobKey,
    pub task: u64,
    pub attempt: Attempt,
    pub granted: Timestamp,
    pub expires: Timestamp,
    pub state: LeaseState,
    /// The worker said that it runs.
    pub is_running: bool,
    /// It was given before a restart, or was thought lost: since when it runs is not known.
    pub is_adopted: bool,
    /// What its client was charged.
    pub charged: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaseState {
    /// It is the task's.
    Live,
    /// Live, and the worker was asked to give it back if it waits.
    TakingBack,
    /// The task has ended, is cancelled or is with others; the worker may not know.
    Revoked,
}

impl HeldLease {
    pub(crate) fn is_live(&self) -> bool {
        self.state != LeaseState::Revoked
    }
}

/// Least loaded first, then the fastest, then the oldest.
type FreeKey = (u64, Reverse<u64>, WorkerKey);

#[derive(Clone, Debug, Default)]
pub(crate) struct Fleet {
    pub workers: BTreeMap<WorkerKey, Worker>,
    pub by_id: BTreeMap<WorkerId, WorkerKey>,
    pub by_session: BTreeMap<SessionId, WorkerKey>,
    next_key: u64,
    /// Workers that want more.
    pub free: BTreeSet<FreeKey>,
    /// Workers that are granted leases in principle.
    pub usable: BTreeSet<(u64, WorkerKey)>,
    /// Slots times speed of those.
    pub weight: u64,
    pub slots: u64,
    /// Tasks for which a worker is reserved.
    pub reserved: BTreeMap<(JobKey, u64), WorkerKey>,
    /// Workers that can confirm outcomes, now or soon, by target.
    pub witnesses: BTreeMap<Box<str>, BTreeSet<WorkerKey>>,
    /// How many those are.
    pub witness_count: usize,
    /// They are others than when this was last looked at.
    pub witnesses_changed: bool,
}

impl Worker {
    pub(crate) fn new(id: WorkerId) -> Self {
        Self {
            id,
            label: "".into(),
            target: "".into(),
            incarnation: Incarnation(0),
            session: None,
            last_session: None,
            orphaned_until: None,
            slots: 0,
            credit: 0,
            takes_streams: false,
            is_draining: false,
            drained: None,
            leases: BTreeMap::new(),
            images: BTreeSet::new(),
            speed: SPEED_ONE,
            speed_samples: 0,
            run_time: RunTime::default(),
            saturated_since: None,
            blocked_until: Timestamp::ZERO,
            failures_in_row: 0,
            blame: 0,
            contradicted: 0,
            reserved: None,
            alone: None,
            timer: None,
            free: None,
            counted: None,
            witness_of: None,
        }
    }

    /// Whether it can be waited for to confirm what another one brought.
    pub(crate) fn can_witness(&self) -> bool {
        (self.session.is_some() || self.orphaned_until.is_some())
            && self.drained.is_none()
            && !self.is_draining
            && self.usable_slots() > 0
    }

    /// Whether it can run tasks of the job at all.
    pub(crate) fn suits(&self, job: &Job) -> bool {
        self.takes_streams || !job.spec.is_cached
    }

    /// How many leases may occupy it.
    pub(crate) fn load(&self) -> u32 {
        u32::try_from(self.leases.len()).unwrap_or(u32::MAX)
    }

    /// Slots that it can fill.
    pub(crate) fn usable_slots(&self) -> u32 {
        self.slots.min(self.credit)
    }

    pub(crate) fn has_free_slot(&self) -> bool {
        self.load() < self.usable_slots()
    }

    /// Whether it is given anything at all.
    pub(crate) fn is_usable(&self, now: Timestamp) -> bool {
        self.session.is_some()
            && self.drained.is_none()
            && !self.is_draining
            && self.usable_slots() > 0
            && self.blocked_until <= now
    }

    /// Whether it holds leases that have run out and that it has not given back: its session is there, and nobody
    /// answers. Waiting until it is empty can take for ever.
    pub(crate) fn is_mute(&self, now: Timestamp) -> bool {
        let mut leases = self.leases.values();
        leases.any(|held| !held.is_live() && held.expires <= now)
    }

    /// Whether it wants more, as the fleet knows it.
    pub(crate) const fn is_free(&self) -> bool {
        self.free.is_some()
    }

    /// Leases that it shall have waiting so that no slot waits for a round trip.
    pub(crate) fn prefetch(&self, config: &Config) -> u32 {
        let slots = u64::from(self.usable_slots());
        let run_time = self.run_time.or(config.run_time_guess).0.max(1);
        let cover = slots.saturating_mul(config.prefetch_cover.0);
        // It has to have delivered before it is trusted with much.
        let trusted = u64::from(self.run_time.samples()) * 2 + slots;
        let wanted = cover.div_ceil(run_time).min(config.prefetch_max.into());
        u32::try_from(wanted.min(trusted)).unwrap_or(u32::MAX)
    }

    /// Leases that wait there when it is given all that it wants.
    pub(crate) fn wanted_waiting(&self, config: &Config) -> u32 {
        let beyond_slots = self.credit.saturating_sub(self.usable_slots());
        self.prefetch(config).min(beyond_slots)
    }

    /// How long a task of this run time on the average worker takes here.
    pub(crate) fn scaled(&self, run_time: Micros) -> Micros {
        Micros(run_time.0.saturating_mul(SPEED_ONE) / self.speed.max(1))
    }

    /// How long a task that took so long here takes on the average worker.
    pub(crate) fn unscaled(&self, run_time: Micros) -> Micros {
        Micros(run_time.0.saturating_mul(self.speed) / SPEED_ONE)
    }

    /// Whether a lease runs, as far as one can tell: a worker runs the oldest first.
    pub(crate) fn may_run(&self, lease: LeaseId) -> bool {
        let slots = usize::try_from(self.slots).unwrap_or(usize::MAX);
        self.leases
            .get(&lease)
            .is_some_and(|held| held.is_running || held_position(self, lease) < slots)
    }

    pub(crate) fn learn_speed(&mut self, yardstick: Micros, run_time: Micros) {
        let sample = yardstick.0.saturating_mul(SPEED_ONE) / run_time.0.max(1);
        let sample = sample.clamp(SPEED_MIN, SPEED_MAX);
        self.speed_samples = self.speed_samples.saturating_add(1);
        // The first counts as one of two, so that one odd sample does not decide.
        let weight = u64::from(self.speed_samples.saturating_add(1).min(8));
        let learned = self.speed - self.speed / weight + sample / weight;
        // Speeds are relative to each other; the pull to one keeps all of them together from drifting.
        let pulled = learned + SPEED_ONE / SPEED_PULL - learned / SPEED_PULL;
        self.speed = pulled.clamp(SPEED_MIN, SPEED_MAX);
    }
}

fn held_position(worker: &Worker, lease: LeaseId) -> usize {
    worker.leases.range(..lease).count()
}

impl Fleet {
    pub(crate) fn add(&mut self, id: WorkerId) -> WorkerKey {
        let key = WorkerKey(self.next_key);
        self.next_key += 1;
        self.by_id.insert(id.clone(), key);
        self.workers.insert(key, Worker::new(id));
        key
    }

    pub(crate) fn remove(&mut self, key: WorkerKey) {
        if let Some(worker) = self.workers.get_mut(&key) {
            worker.session = None;
        }
        self.unindex(key);
        self.set_witness(key, None);
        if let Some(worker) = self.workers.remove(&key) {
            self.by_id.remove(&worker.id);
            if let Some(reserved) = worker.reserved {
                self.reserved.remove(&reserved);
            }
        }
    }

    pub(crate) fn of_session(&self, session: SessionId) -> Option<WorkerKey> {
        self.by_session.get(&session).copied()
    }

    /// Brings what is derived from a worker up to date. To be called after anything about it has changed.
    pub(crate) fn refresh(&mut self, key: WorkerKey, now: Timestamp, config: &Config) {
        let Some(worker) = self.workers.get(&key) else {
            return;
        };
        let witness_of = worker.can_witness().then(|| worker.target.clone());
        if witness_of != worker.witness_of {
            self.set_witness(key, witness_of);
        }
        let Some(worker) = self.workers.get(&key) else {
            return;
        };
        let is_usable = worker.is_usable(now);
        let slots = u64::from(worker.usable_slots());
        let counted = is_usable.then_some((worker.speed, slots));
        let load = worker.load();
        let wants = u64::from(worker.usable_slots()) + u64::from(worker.prefetch(config));
        let can_take = is_usable
            && worker.reserved.is_none()
            && worker.alone.is_none()
            && u64::from(load) < wants.min(worker.credit.into());
        let free = can_take.then(|| {
            let level = u64::from(load) * 16 / slots.max(1);
            (level, Reverse(worker.speed / SPEED_STEP), key)
        });
        if worker.free == free && worker.counted == counted {
            return;
        }
        self.unindex(key);
        let Some(worker) = self.workers.get_mut(&key) else {
            return;
        };
        worker.free = free;
        worker.counted = counted;
        self.free.extend(free);
        if let Some((speed, slots)) = counted {
            self.usable.insert((speed, key));
            self.weight += speed * slots;
            self.slots += slots;
        }
    }

    fn set_witness(&mut self, key: WorkerKey, target: Option<Box<str>>) {
        let Some(worker) = self.workers.get_mut(&key) else {
            return;
        };
        self.witnesses_changed = true;
        if let Some(was) = std::mem::replace(&mut worker.witness_of, target.clone())
            && let Some(of_target) = self.witnesses.get_mut(&was)
        {
            self.witness_count -= usize::from(of_target.remove(&key));
            if of_target.is_empty() {
                self.witnesses.remove(&was);
            }
        }
        if let Some(target) = target {
            let is_new = self.witnesses.entry(target).or_default().insert(key);
            self.witness_count += usize::from(is_new);
        }
    }

    fn unindex(&mut self, key: WorkerKey) {
        let Some(worker) = self.workers.get_mut(&key) else {
            return;
        };
        if let Some(free) = worker.free.take() {
            self.free.remove(&free);
        }
        if let Some((speed, slots)) = worker.counted.take() {
            self.usable.remove(&(speed, key));
            self.weight -= speed * slots;
            self.slots -= slots;
        }
    }

    /// Whether somebody else than this worker can be given tasks of the job.
    pub(crate) fn has_other_than(&self, key: WorkerKey, job: &Job) -> bool {
        let suits = |other| {
            self.workers
                .get(other)
                .is_some_and(|worker| worker.suits(job))
        };
        let mut others = self.usable.iter();
        others.any(|(_, other)| *other != key && suits(other))
    }
}
