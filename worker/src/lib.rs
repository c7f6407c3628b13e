//! Runs tasks for a coordinator: a session on one side, a host on the other.
//!
//! What a worker decides is decided by its [`agent`], a pure state machine like the scheduler; session and host are
//! driven around it.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod agent;
mod driver;
mod kept;
mod membership;
mod messages;
mod provision;

pub use driver::{
    FailureHook, Handle, OutputHook, Prepared, Renewer, Worker, WorkerConfig, WorkerEnd,
};
pub use kept::provisioned;
pub use membership::{Membership, MembershipError, MembershipRenewer};
pub use provision::{ProvisionError, Provisioning, Wanted, provision};
