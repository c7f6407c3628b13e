//! Who is who: authorities, identities in certificates, join tokens, and the TLS settings that follow from them.
//!
//! * A coordinator's [`Authority`] holds a root and one issuing authority per [`Role`], so that no certificate of a worker
//!   or client can ever be taken for a coordinator's, whatever else is in it.
//! * An [`Identity`] is the one URI in a leaf: `ppwasm://<trust-domain>/<role>/<name>`. Who a peer is comes from there and
//!   from nowhere else.
//! * [`Credentials`] are what a process has of its own: key, certificate, and the authorities that it trusts.
//! * A [`JoinToken`] gets somebody the first certificate: it pins the coordinator's authority and works once.
//! * [`tls`] makes rustls's settings: TLS 1.3, mutual, no tickets, no early data.
//!
//! Keys are Ed25519, the only kind: small certificates, nothing to negotiate, nothing to parse in a request. Time is an
//! argument everywhere but in [`tls`], where it is a provider that tests replace.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod authority;
mod credentials;
mod deny;
mod der;
mod error;
mod files;
mod identity;
mod key;
mod leaf;
pub mod tls;
mod token;

pub use authority::{
    Authority, BACKDATE_S, CLIENT_LIFETIME_S, COORDINATOR_LIFETIME_S, ISSUER_LIFETIME_S, Issued,
    Lifetime, ROOT_LIFETIME_S, WORKER_LIFETIME_S,
};
pub use credentials::{Credentials, Trust};
pub use deny::{DENIED_MAX, DenyList};
pub use error::{CertError, FileError, IdentityError, TokenError};
pub use identity::{Identity, Role, TrustDomain, URI_BYTES_MAX};
pub use key::{PrivateKey, PublicKey, SIGNATURE_BYTES, Signature};
pub use leaf::{Leaf, LeafError, Serial};
pub use rustls::pki_types::{CertificateDer, UnixTime};
pub use token::{
    AuthorityPin, JoinToken, JoinTranscript, TOKEN_LIFETIME_S, TOKENS_MAX, TokenBook, TokenId,
    TokenRecord, renewal_message,
};
