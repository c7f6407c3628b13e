//! Tests across the crates, on the real guest.

mod canary;
mod oracle;
mod random_programs;
mod support;
