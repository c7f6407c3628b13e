//! Stories: at a time something happens, and then exactly these records and commands come of it.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod balance;
mod cached;
mod early;
mod faults;
mod jobs;
mod limits;
mod policy;
mod random;
mod stage;
mod verify;
