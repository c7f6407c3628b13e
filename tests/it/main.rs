//! Tests across the crates, on the real guest.

mod canary;
mod limits;
mod oracle;
mod random_programs;
mod regression;
mod slots;
mod support;
