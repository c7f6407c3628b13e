//! Every scheduling decision of ppwasm, as one pure state machine.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod command;
mod config;
mod event;
mod record;
mod time;

pub use command::{Accepted, CloseReason, Command, Lease, Outbox, Pace, Refusal};
pub use config::{ATTEMPTS_MAX, CREDIT_MAX, Config, JOB_TASKS_MAX, SLOTS_MAX};
pub use event::{Claim, Ended, Event, Hello, Leaving, RequestId};
pub use record::{DrainReason, JobEnd, JobSpec, OutcomeKind, Record, TaskEnd};
pub use time::{Micros, Timestamp};
