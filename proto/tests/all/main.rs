//! Tests of the crate as its users see it, against bytes that Python wrote and bytes that nobody meant.

#![allow(
    clippy::unwrap_used,
    reason = "in a test's helper too, what is not there fails the test"
)]

mod golden;
mod messages;
mod random;
mod wire;
mod wire_random;
mod wire_samples;
