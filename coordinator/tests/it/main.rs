//! The coordinator as a service, over QUIC on loopback, with good peers and with bad ones.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what fails here fails the test"
)]

mod cached;
mod hostile;
mod identities;
mod installation;
mod jobs;
mod permissions;
mod restart;
mod upkeep;
mod verify;
