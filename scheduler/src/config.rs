//! The numbers by which the scheduler decides.

use ppwasm_proto::fabric::LeaseKey;

use crate::time::Micros;

/// Slots that a worker can claim to have.
pub const SLOTS_MAX: u32 = 4096;
/// Leases that a worker can hold, whatever it says.
pub const CREDIT_MAX: u32 = 8192;
/// Tasks in one job: a bit each, when the first ends last, are 32 MiB.
pub const JOB_TASKS_MAX: u64 = 1 << 28;
/// Largest `attempts_max` of a job.
pub const ATTEMPTS_MAX: u32 = 100;

/// Settings. [`Config::new`] has the defaults; a coordinator's configuration may change them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Makes the proofs in leases. Durable: after a restart with another key nothing that workers hold counts.
    pub lease_key: LeaseKey,
    /// Where the randomness of back-off comes from.
    pub seed: u64,

    /// How long a lease lasts. Default 30 s.
    pub lease: Micros,
    /// How often a worker reports. Default 5 s.
    pub report_every: Micros,
    /// Reports per second of all workers together, beyond which both are stretched. Default 200.
    pub reports_per_s_max: u32,
    /// How long a worker whose session broke may take to come back before its leases go to others. Default 2 s.
    pub reconnect_grace: Micros,
    /// How long, after a restart, what may be with workers waits for those that have not come back. Default 60 s.
    pub restart_grace: Micros,
    /// When a step comes so late, or by a sixth of a lease, the driver was stopped, and no lease has expired. Default 5 s.
    pub pause: Micros,

    /// Time that leases waiting at a worker shall cover: a round trip and a commit. Default 20 ms.
    pub prefetch_cover: Micros,
    /// Leases that wait at one worker at most. Default 512.
    pub prefetch_max: u32,
    /// Guess of a task's run time before one has ended. Default 100 ms.
    pub run_time_guess: Micros,
    /// Guess of what fetching and loading an image costs a worker. Default 200 ms.
    pub image_cost: Micros,
    /// What a message costs at both ends. A task goes along with the one before it, to the same worker, unless it would
    /// end so much earlier elsewhere: tasks that are shorter than their message go together. A worker that has something to
    /// run is sent no message for fewer. Default 100 µs.
    pub grant_cost: Micros,
    /// Tasks that take no longer than this, by what is known of their job, may be granted while they become durable: a
    /// coordinator that starts again lets them run again. Default 1 s.
    pub early_run_time_max: Micros,
    /// Leases that would wait longer than this are taken back when others are idle. Default 50 ms.
    pub steal_wait: Micros,

    /// First pause before a lost task is tried again; doubles with each loss. Default 100 ms.
    pub backoff: Micros,
    /// Longest such pause. Default 10 s.
    pub backoff_max: Micros,
    /// Suspicions from which a task runs alone. Default 2.
    pub suspicions_alone: u32,
    /// Suspicions at which it is quarantined. Default 3.
    pub suspicions_max: u32,
    /// Distinct tasks that a worker failed, one after the other, and others then ran, at which it is drained. Default 5.
    pub worker_failures_max: u32,

    /// Give the last slow tasks of deterministic jobs to a second worker. Default off.
    pub second_attempts: bool,
    /// Share of a job that has ended before that happens, in percent. Default 75.
    pub second_attempts_after_percent: u32,
    /// Share of a job that may be given out twice at a time, in percent, and at least one. Default 5.
    pub second_attempts_percent: u32,
    /// Run time below which nobody is called slow. Default 1 s.
    pub second_attempts_min: Micros,

    /// Outcomes that wait for another worker to confirm them, of all jobs, with which no new task of a job that is
    /// verified is begun. Default 1,024: the driver holds their bodies in memory, and no worker stops for them.
    pub unconfirmed_max: usize,
    /// How long an outcome waits for another worker's at most. Default 30 min: less than blobs that nobody names are kept.
    pub verify_wait: Micros,
    /// Outcomes of a worker that two others contradicted, at which it is drained. Default 3.
    pub contradicted_max: u32,

    /// Jobs that the coordinator keeps, those that have ended included. Default 100,000.
    pub jobs_max: usize,
    /// Jobs of one client that have not ended. Default 10,000.
    pub client_jobs_max: usize,
    /// Tasks of one client that have not ended. Default 4 million.
    pub client_tasks_max: u64,
    /// Tasks that have not ended. Default 16 million.
    pub tasks_max: u64,
    /// Workers that the coordinator knows, those that are away included. Default 20,000.
    pub workers_max: usize,
    /// Leases granted in one step. Default 1,024.
    pub grants_per_step_max: usize,
}

impl Config {
    /// The defaults.
    pub const fn new(lease_key: LeaseKey, seed: u64) -> Self {
        Self {
            lease_key,
            seed,
            lease: Micros::from_secs(30),
            report_every: Micros::from_secs(5),
            reports_per_s_max: 200,
            reconnect_grace: Micros::from_secs(2),
            restart_grace: Micros::from_secs(60),
            pause: Micros::from_secs(5),
            prefetch_cover: Micros::from_millis(20),
            prefetch_max: 512,
            run_time_guess: Micros::from_millis(100),
            image_cost: Micros::from_millis(200),
            grant_cost: Micros(100),
            early_run_time_max: Micros::from_secs(1),
            steal_wait: Micros::from_millis(50),
            backoff: Micros::from_millis(100),
            backoff_max: Micros::from_secs(10),
            suspicions_alone: 2,
            suspicions_max: 3,
            worker_failures_max: 5,
            second_attempts: false,
            second_attempts_after_percent: 75,
            second_attempts_percent: 5,
            second_attempts_min: Micros::from_secs(1),
            unconfirmed_max: 1024,
            verify_wait: Micros::from_secs(30 * 60),
            contradicted_max: 3,
            jobs_max: 100_000,
            client_jobs_max: 10_000,
            client_tasks_max: 4_000_000,
            tasks_max: 16_000_000,
            workers_max: 20_000,
            grants_per_step_max: 1024,
        }
    }
}
