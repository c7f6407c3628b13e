//! The coordinator: what it has to remember, and the server around it.
//!
//! * [`store`] keeps jobs, tasks, outcomes and identities so that nothing that was acknowledged is lost.
//! * [`blobs`] keeps what is too large for it: bytes named by their digest.
//! * [`server`] is what peers talk to: sessions around the scheduler.
//!
//! Decisions about who runs what are `ppwasm-scheduler`'s; what peers say is `ppwasm-proto`'s.

#![forbid(unsafe_code)]

pub mod blobs;
mod faults;
pub mod server;
pub mod store;
#[cfg(test)]
mod testing;
