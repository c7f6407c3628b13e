//! What a seed stands for: sizes, speeds and which faults there are. Each seed leaves most faults out, so that each
//! fault is also seen without the others.

use crate::rng::Rng;

/// A microsecond, as all times here.
pub(crate) const MS: u64 = 1_000;
/// A second.
pub(crate) const S: u64 = 1_000_000;

/// Drawn from a seed.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(crate) workers: Vec<WorkerPlan>,
    pub(crate) jobs: Vec<JobPlan>,
    /// How long faults go on.
    pub(crate) chaos: u64,
    pub(crate) latency: (u64, u64),
    pub(crate) commit: (u64, u64),
    pub(crate) faults: Faults,
    pub(crate) second_attempts: bool,
    pub(crate) drains: bool,
    pub(crate) slot_changes: bool,
    /// Invariants are checked after every so many steps.
    pub(crate) check_every: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct WorkerPlan {
    pub slots: u32,
    /// Run times are multiplied by this, in percent.
    pub slowness: u64,
    pub joins_at: u64,
    /// Fails everything at once.
    pub is_black_hole: bool,
    /// Claims what is not its own.
    pub lies: bool,
    /// Target triple, one letter.
    pub target: &'static str,
    /// Percent of its outcomes that are made up.
    pub wrong_percent: u64,
    /// It can run tasks of jobs that are cached.
    pub takes_streams: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct JobPlan {
    pub client: usize,
    pub priority: i8,
    pub function: u8,
    pub at: u64,
    pub tasks: u64,
    pub batch: u64,
    pub run_time: u64,
    pub cancel_after: Option<u64>,
    pub retries: bool,
    /// One in so many tasks kills its worker.
    pub poison_one_in: u64,
    /// One in so many tasks raises.
    pub raises_one_in: u64,
    pub image_fails: bool,
    /// Percent of its tasks that are verified.
    pub verify_percent: u8,
    /// It is cached, and this percentage of its tasks is known.
    pub known_percent: Option<u64>,
    /// They are known only to those who ask a second time.
    pub is_known_later: bool,
}

/// Mean times between faults, 0 for never; and chances.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    /// Percent of messages that get lost in a session that goes on.
    pub loss: u64,
    pub duplication: u64,
    pub reordering: u64,
    /// Messages of old sessions arrive in the coordinator.
    pub stale: u64,
    pub reset_every: u64,
    pub partition_every: u64,
    pub one_way: bool,
    /// All links are cut, and come back one by one.
    pub swizzle_every: u64,
    pub worker_crash_every: u64,
    pub coordinator_crash_every: u64,
    /// Percent of commits that fail.
    pub commit_fails: u64,
    /// Percent of commits that succeed and say that they failed.
    pub commit_lies: u64,
    pub disk_full_every: u64,
    pub worker_pause_every: u64,
    pub coordinator_pause_every: u64,
    pub clock_jump_every: u64,
}

impl Plan {
    /// The plan of a seed.
    pub fn of_seed(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let rng = &mut rng;
        let chaos = rng.range(5, 90) * S;
        let count = rng.range(1, 7);
        let mut workers: Vec<WorkerPlan> = (0..count).map(|_| worker(rng, chaos)).collect();
        let clients = rng.range(1, 4);
        let count = rng.range(1, 5);
        let mut jobs: Vec<JobPlan> = (0..count).map(|_| job(rng, clients, chaos)).collect();
        let low = rng.range(100, 20 * MS);
        let mut faults = Faults::default();
        let kinds = if rng.one_in(4) { 9 } else { rng.range(0, 5) };
        for _ in 0..kinds {
            add_fault(rng, &mut faults);
        }
        add_verification(seed, &mut workers, &mut jobs);
        add_cache(seed, &mut workers, &mut jobs);
        Self {
            workers,
            jobs,
            chaos,
            latency: (low, low + rng.range(1, 100 * MS)),
            commit: (200, rng.range(300, 20 * MS)),
            faults,
            second_attempts: rng.one_in(3),
            drains: rng.one_in(4),
            slot_changes: rng.one_in(4),
            check_every: if rng.one_in(4) { 1 } else { 16 },
        }
    }
}

fn worker(rng: &mut Rng, chaos: u64) -> WorkerPlan {
    WorkerPlan {
        slots: u32::try_from(rng.range(1, 5)).unwrap_or(1),
        slowness: if rng.one_in(4) {
            rng.range(200, 2000)
        } else {
            rng.range(80, 130)
        },
        joins_at: if rng.one_in(4) {
            rng.range(0, chaos)
        } else {
            rng.range(0, 100 * MS)
        },
        is_black_hole: rng.one_in(15),
        lies: rng.one_in(10),
        target: "x",
        wrong_percent: 0,
        takes_streams: true,
    }
}

fn job(rng: &mut Rng, clients: u64, chaos: u64) -> JobPlan {
    let tasks = match rng.range(0, 10) {
        0 => 0,
        1..=6 => rng.range(1, 30),
        _ => rng.range(30, 150),
    };
    JobPlan {
        client: usize::try_from(rng.range(0, clients)).unwrap_or(0),
        priority: i8::try_from(rng.range(0, 3)).unwrap_or(0),
        function: u8::try_from(rng.range(0, 3)).unwrap_or(0),
        at: rng.range(0, chaos / 2),
        tasks,
        batch: rng.range(1, 60),
        run_time: match rng.range(0, 4) {
            0 => rng.range(100, 5 * MS),
            1 | 2 => rng.range(5 * MS, 500 * MS),
            _ => rng.range(500 * MS, 8 * S),
        },
        cancel_after: rng.one_in(6).then(|| rng.range(0, 20 * S)),
        retries: rng.one_in(4),
        poison_one_in: if rng.one_in(5) { rng.range(20, 60) } else { 0 },
        raises_one_in: if rng.one_in(3) { rng.range(3, 30) } else { 0 },
        image_fails: rng.one_in(30),
        verify_percent: 0,
        known_percent: None,
        is_known_later: false,
    }
}

/// In every other seed some jobs are verified, and some workers make their outcomes up. Drawn apart, so that the rest of a
/// seed's plan is what it was without.
fn add_verification(seed: u64, workers: &mut [WorkerPlan], jobs: &mut [JobPlan]) {
    let rng = &mut Rng::new(seed ^ 0x7665_7269_6679);
    if rng.one_in(2) {
        return;
    }
    for worker in workers {
        worker.target = if rng.one_in(2) {
            "x"
        } else {
            rng.pick(&["x", "a", "r"]).unwrap_or(&"x")
        };
        if rng.one_in(5) {
            worker.wrong_percent = if rng.one_in(3) {
                100
            } else {
                rng.range(5, 100)
            };
        }
    }
    for job in jobs {
        if !rng.one_in(4) {
            job.verify_percent = if rng.one_in(3) { 30 } else { 100 };
        }
    }
}

/// In every third seed some jobs are cached, and some workers, not the first, cannot run those. Drawn apart as well.
fn add_cache(seed: u64, workers: &mut [WorkerPlan], jobs: &mut [JobPlan]) {
    let rng = &mut Rng::new(seed ^ 0x0063_6163_6865);
    if !rng.one_in(3) {
        return;
    }
    for worker in workers.iter_mut().skip(1) {
        worker.takes_streams = !rng.one_in(5);
    }
    for job in jobs {
        if !rng.one_in(3) {
            job.known_percent = Some(rng.pick(&[0, 10, 50, 90, 100]).copied().unwrap_or(50));
            job.is_known_later = rng.one_in(3);
        }
    }
}

fn add_fault(rng: &mut Rng, faults: &mut Faults) {
    let every = rng.range(2, 40) * S;
    match rng.range(0, 15) {
        0 => faults.loss = rng.range(1, 30),
        1 => faults.duplication = rng.range(1, 30),
        2 => faults.reordering = rng.range(1, 50),
        3 => faults.stale = rng.range(10, 100),
        4 => faults.reset_every = every,
        5 | 6 => {
            faults.partition_every = every;
            faults.one_way = rng.one_in(2);
        }
        7 => faults.worker_crash_every = every,
        8 => faults.coordinator_crash_every = every,
        14 => faults.swizzle_every = every,
        9 => faults.commit_fails = rng.range(1, 4),
        10 => faults.commit_lies = rng.range(1, 4),
        11 => faults.disk_full_every = every,
        12 => {
            faults.worker_pause_every = every;
            if rng.one_in(2) {
                faults.coordinator_pause_every = every;
            }
        }
        _ => faults.clock_jump_every = every,
    }
}
