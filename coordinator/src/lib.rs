//! The coordinator: what it has to remember, and the server around it.
//!
//! * [`store`] keeps jobs, tasks, outcomes and identities so that nothing that was acknowledged is lost.
//! * [`blobs`] keeps what is too large for it: bytes named by their digest.
//! * [`server`] is what peers talk to: sessions around the scheduler.
//! * [`artifacts`] is the guest compiled for every kind of machine, [`child`] the processes in which that is done.
//! * [`identities`] knows who may be whom: join tokens, certificates, revocations.
//! * [`service`] is all of it as one thing that listens on an address and keeps everything in one folder.
//!
//! Decisions about who runs what are `ppwasm-scheduler`'s; what peers say is `ppwasm-proto`'s.

#![forbid(unsafe_code)]

pub mod artifacts;
pub mod blobs;
mod cache;
pub mod child;
mod disk;
mod faults;
pub mod figures;
mod files;
pub mod identities;
pub mod server;
pub mod service;
pub mod store;
#[cfg(test)]
mod testing;
