//! The coordinator: what it has to remember, and later the server around it.
//!
//! * [`blobs`] keeps bytes named by their digest.
//!
//! Decisions about who runs what are `ppwasm-scheduler`'s; what peers say is `ppwasm-proto`'s.

#![forbid(unsafe_code)]

pub mod blobs;
mod faults;
#[cfg(test)]
mod testing;
