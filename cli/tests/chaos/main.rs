//! Clusters of real processes that are killed, stopped, cut off and lied to.
//!
//! What is looked at is what a client gets: every result, right, and one for each task. Which fault is held where,
//! `docs/faults.md` says.

// They steer it with signals and with programs that every Unix has.
#![cfg(unix)]
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "tests fail by panicking and are read where they stand"
)]

mod cluster;
mod demo;
mod hostile;
mod kills;
mod liars;
mod network;
mod orderly;
#[path = "../shared/ports.rs"]
mod ports;
mod random;
mod relay;
mod resources;
mod work;
