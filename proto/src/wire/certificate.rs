//! Getting a certificate: the first one with a join token, later ones over a live session.
//!
//! Whoever asks sends a signing request, of which only the public key is used: name, role and validity are the
//! coordinator's to decide. The secret of a join token is never sent. The joiner knows the coordinator's CA by the
//! token's digest of it and checks that first; then both prove that they know the secret, each with the other's nonce.

use minicbor::{Decode, Encode};

use super::limited::{Bytes, List, Text};
use super::{CERTIFICATE_BYTES_MAX, CHAIN_MAX, CSR_BYTES_MAX, NAME_BYTES_MAX, TOKEN_ID_BYTES_MAX};

/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 32;
/// Bytes of a proof.
pub const PROOF_BYTES: usize = 32;

/// Bytes that are random once.
pub type Nonce = [u8; NONCE_BYTES];

/// Asks for a new certificate for the same identity, over a session of it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RenewCertificate {
    /// The request.
    #[n(0)]
    pub request: u32,
    /// The signing request, DER. It proves that the asker has the new key.
    #[n(1)]
    pub csr: Bytes<CSR_BYTES_MAX>,
}

/// A certificate.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct CertificateIssued {
    /// The request.
    #[n(0)]
    pub request: u32,
    /// The certificate and those up to the root, DER, the root left out.
    #[n(1)]
    pub chain: List<Bytes<CERTIFICATE_BYTES_MAX>, CHAIN_MAX>,
    /// Certificates of the authorities that the asker trusts from now on for coordinators, DER.
    #[n(2)]
    pub trusted: List<Bytes<CERTIFICATE_BYTES_MAX>, CHAIN_MAX>,
    /// The public key that artifacts are signed with: 32 bytes of Ed25519.
    #[n(3)]
    pub artifact_key: Option<Bytes<32>>,
}

/// Begins to join, on a connection that has no client certificate.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Join {
    /// The token's public part.
    #[n(0)]
    pub token: Text<TOKEN_ID_BYTES_MAX>,
    /// The joiner's nonce.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub nonce: Nonce,
}

/// The coordinator's answer. It does not say whether there is such a token.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct JoinChallenge {
    /// The coordinator's nonce.
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub nonce: Nonce,
}

/// The joiner's proof that it knows the secret. Answered by [`CertificateIssued`] of request 0, or `Refused`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct JoinProof {
    /// Keyed hash, with the secret's digest as the key, over role, both nonces, CA, name and signing request.
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub proof: [u8; PROOF_BYTES],
    /// The name that it asks for; the token may say another.
    #[n(1)]
    pub name: Text<NAME_BYTES_MAX>,
    /// The signing request, DER.
    #[n(2)]
    pub csr: Bytes<CSR_BYTES_MAX>,
}
