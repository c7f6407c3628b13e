//! Tests across the crates, on the real guest.

mod bounded;
mod cache;
mod canary;
mod children;
mod determinism;
mod images;
mod kept;
mod limits;
mod memory;
mod oracle;
mod parts;
mod random_programs;
mod regression;
mod room;
mod sandbox;
mod slots;
#[cfg(all(target_os = "linux", not(feature = "portable")))]
mod small_machine;
mod support;
mod values;
