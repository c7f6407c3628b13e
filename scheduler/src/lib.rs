//! Every scheduling decision of ppwasm, as one pure state machine.
//!
//! A driver tells the [`Scheduler`] what happened ([`Event`]) and what time it is; the scheduler puts into an [`Outbox`]
//! what it has decided ([`Record`]) and what is to be done ([`Command`]). **The driver makes all records of a step
//! durable before it carries out any command of that step or a later one.** That one rule is what the promises to clients
//! rest on: a submission is accepted, and a result acknowledged, only after it would survive a crash. Steps may be
//! committed in groups. When a commit fails, or may have failed, the driver drops this scheduler and
//! [restores](Scheduler::restore) another one from what is durable, in a new [`Epoch`](ppwasm_proto::fabric::Epoch).
//!
//! # What it promises
//!
//! 1. No I/O, clock, thread, global or order of hashing: equal calls give equal outboxes.
//! 2. A task ends once, and its end does not change. What is restored from the records equals what made them.
//! 3. No event can panic it. Unknown ids, stale leases, doubled messages are counted ([`Counters`]) and ignored.
//! 4. Work per step is bounded by the event's size and by named limits; queues have a maximum and refuse with a reason.
//! 5. A clock that seems to go back stands still. A driver that was stopped for a while finds no lease expired.
//!
//! # Leases, attempts, epochs
//!
//! Each grant takes a new lease and the task's next attempt. Both have the epoch as their high part, so neither ever
//! repeats or shrinks, although grants are not recorded. A [`Claim`] carries a token, a keyed hash of lease, task, attempt
//! and worker: by it a scheduler that was restarted, or that has given a lease up, still knows that a worker was given
//! it. The first outcome with a genuine claim wins, also after its lease has expired; none is taken from a worker to
//! which it was not given, for a task that has ended, or for a job that has been cancelled.
//!
//! A lease whose task is no longer waiting for it occupies its slot until the worker has given it back or its session
//! has ended: the guest may still be running.
//!
//! # Verified tasks
//!
//! The outcome of a task that is verified is withheld, neither recorded nor acknowledged, until another worker has brought
//! the same, or it is clear that none will. See `verify.rs`.
//!
//! # Tasks whose outcome is known
//!
//! A task of a job that is cached may end as it is added, with the outcome of an earlier task that was the same call. See
//! `found.rs`.
//!
//! # Restart
//!
//! See `restore.rs`: what may be with workers is withheld until they are back or [`Config::restart_grace`] is over.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod assign;
mod bits;
mod command;
mod config;
mod event;
mod explain;
mod fleet;
mod found;
mod invariants;
mod job;
mod jobs;
mod leases;
mod placement;
mod queue;
mod record;
mod restore;
mod scheduler;
mod sessions;
mod time;
mod verify;

pub use command::{Accepted, CloseReason, Command, Lease, Outbox, Pace, Refusal};
pub use config::{ATTEMPTS_MAX, CREDIT_MAX, Config, JOB_TASKS_MAX, SLOTS_MAX};
pub use event::{Claim, Ended, Event, Found, Hello, Leaving, RequestId};
pub use explain::{Candidate, Explanation, JobView, LeasedTo, Obstacle, Totals, WorkerView};
pub use placement::Cost;
pub use record::{DrainReason, JobEnd, JobSpec, OutcomeKind, Record, TaskEnd};
pub use restore::{Contradiction, Durable, DurableJob, RestoreError};
pub use scheduler::{Counters, Scheduler};
pub use time::{Micros, Timestamp};
