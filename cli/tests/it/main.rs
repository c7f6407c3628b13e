//! The `ppwasm` command as people use it: each test runs the real program.

// They steer it with signals and with programs that every Unix has.
#![cfg(unix)]
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "tests fail by panicking and are read where they stand"
)]

mod bad_input;
mod cached;
mod cluster;
mod command_json;
mod documents;
mod examples;
mod failures;
mod jobs;
mod json;
mod limits;
mod machine;
mod modules;
#[path = "../shared/ports.rs"]
mod ports;
mod provision;
mod results;
mod schema;
mod scripts;
mod signals;
mod support;
mod terminal;
mod told;
mod verify;
