//! Sessions over QUIC: messages in order, blobs beside them, and certain knowledge of who is at the other end.
//!
//! A coordinator has a [`Listener`], everybody else a [`Connector`]. Both give a [`Session`], whose parts are used
//! independently of each other: a [`Sender`] and a [`Receiver`] of typed messages, [`Blobs`] to ask for, or
//! [`BlobRequests`] to answer, and a [`Handle`] that tells about it and ends it.
//!
//! What comes from the peer has passed three checks before it is handed out: it is a message, its sender's certificate
//! allows it, and it has its place in the conversation. Everything that a peer can make grow or wait has its limit in
//! [`limits`]. What messages mean, leases and the like, is left to coordinator, worker and client.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use ppwasm_certs::{Credentials, tls};
//! use ppwasm_proto::wire::{Hello, Message, Text};
//! use ppwasm_session::Connector;
//!
//! # async fn connect(credentials: Credentials) -> Result<(), Box<dyn std::error::Error>> {
//! let time = Arc::new(tls::DefaultTimeProvider);
//! let connector = Connector::new(tls::client_config(&credentials, time)?)?;
//! let mut session = connector.connect("192.0.2.1:7777".parse()?).await?;
//! let (minor_min, minor_max) = (1, 1);
//! let hello = Hello { minor_min, minor_max, build: Text::default(), worker: None };
//! session.sender.send(&hello.into()).await?;
//! let Message::Welcome(welcome) = session.receiver.receive().await? else {
//!     return Err("not welcome".into());
//! };
//! println!("session {} at {:?}", welcome.session, session.handle.identity());
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod blob;
mod connector;
mod control;
mod error;
mod join;
pub mod limits;
pub mod link;
mod listener;
mod order;
mod rate;
mod registry;
mod rejection;
mod session;
mod socket;
#[cfg(test)]
mod tests;

pub use blob::{
    BlobReader, BlobRequest, BlobRequests, BlobWriter, Blobs, GetRequest, Offer, PutRequest,
    StoredAnswer,
};
pub use connector::Connector;
pub use control::{Receiver, Sender};
pub use error::{BlobError, ConnectError, Lost, SessionError};
pub use join::{JoinError, Renewal, join};
pub use listener::{Listener, Sessions};
#[doc(hidden)] // for fuzz targets
pub use order::{Order, OutOfOrder};
pub use rejection::Rejection;
pub use session::{Handle, Session, Statistics};
