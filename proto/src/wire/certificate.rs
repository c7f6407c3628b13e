//! Getting a certificate: the first one with a join token, later ones over a live session.
//!
//! Whoever asks sends a public key and proves that it has the private one. Nothing else can be asked for: name, role and
//! validity are the coordinator's to decide. The secret of a join token is never sent. The joiner knows the coordinator's
//! authority by the token's digest of it and checks that first; then it proves that it knows the secret.

use minicbor::{Decode, Encode};

use super::limited::{Bytes, List, Text};
use super::{
    CERTIFICATE_BYTES_MAX, CHAIN_MAX, LABEL_BYTES_MAX, REASON_BYTES_MAX, TOKEN_BYTES_MAX,
    TOKEN_ID_BYTES_MAX,
};

/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 32;
/// Bytes of an Ed25519 public key, the only kind there is.
pub const PUBLIC_KEY_BYTES: usize = 32;
/// Bytes of an Ed25519 signature.
pub const PROOF_BYTES: usize = 64;

/// Asks for a new certificate for the same identity, over a session of it. Answered by [`CertificateIssued`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RenewCertificate {
    /// The request.
    #[n(0)]
    pub request: u32,
    /// The new key.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub public_key: [u8; PUBLIC_KEY_BYTES],
    /// The new key's signature over the request for renewal.
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    pub key_proof: [u8; PROOF_BYTES],
}

/// A certificate.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct CertificateIssued {
    /// The request; 0 for one who joins.
    #[n(0)]
    pub request: u32,
    /// The certificate and what belongs before the authority, DER.
    #[n(1)]
    pub chain: List<Bytes<CERTIFICATE_BYTES_MAX>, CHAIN_MAX>,
    /// Certificates of the authorities that the asker trusts from now on for coordinators, DER.
    #[n(2)]
    pub trusted: List<Bytes<CERTIFICATE_BYTES_MAX>, CHAIN_MAX>,
    /// The Ed25519 public key that artifacts are signed with.
    #[n(3)]
    pub artifact_key: Option<Bytes<PUBLIC_KEY_BYTES>>,
}

/// Asks for a join token. The operator's to ask. Answered by [`TokenMinted`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct MintToken {
    /// The request.
    #[n(0)]
    pub request: u32,
    /// The role that it gives.
    #[n(1)]
    pub role: JoinRole,
    /// The name that it gives; absent for the name that the joiner asks for.
    #[n(2)]
    pub name: Option<Text<LABEL_BYTES_MAX>>,
    /// For how long it works; absent for the usual time.
    #[n(3)]
    pub lifetime_s: Option<u64>,
}

/// A role that can be joined in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum JoinRole {
    /// Runs tasks.
    #[n(0)]
    Worker,
    /// Submits jobs.
    #[n(1)]
    Client,
}

/// A join token. Whoever has it can join, once.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct TokenMinted {
    /// The request.
    #[n(0)]
    pub request: u32,
    /// The token, secret and all.
    #[n(1)]
    pub token: Text<TOKEN_BYTES_MAX>,
    /// For how long it works.
    #[n(2)]
    pub lifetime_s: u64,
}

impl std::fmt::Debug for TokenMinted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The token is a secret, and what is debugged ends in logs.
        f.debug_struct("TokenMinted")
            .field("request", &self.request)
            .field("lifetime_s", &self.lifetime_s)
            .finish_non_exhaustive()
    }
}

/// Revokes all certificates of an identity. The operator's to ask. Its sessions end; it can join again only with a new
/// name. Answered by [`Done`](super::Done).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RevokeIdentity {
    /// The request.
    #[n(0)]
    pub request: u32,
    /// The role of the identity.
    #[n(1)]
    pub role: JoinRole,
    /// Its name.
    #[n(2)]
    pub name: Text<LABEL_BYTES_MAX>,
    /// Why, for people.
    #[n(3)]
    pub reason: Text<REASON_BYTES_MAX>,
}

/// Begins to join, on a connection that has no client certificate. Answered by [`JoinChallenge`], whatever the token.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Join {
    /// The token's public part.
    #[n(0)]
    pub token: Text<TOKEN_ID_BYTES_MAX>,
    /// The joiner's nonce.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub nonce: [u8; NONCE_BYTES],
}

/// The coordinator's nonce. It does not say whether there is such a token.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct JoinChallenge {
    /// The nonce.
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub nonce: [u8; NONCE_BYTES],
}

/// The joiner's proof that it knows the secret. Answered by [`CertificateIssued`] or [`Refused`](super::Refused).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct JoinProof {
    /// The name that it would like; a token may say which it gets.
    #[n(0)]
    pub name: Text<LABEL_BYTES_MAX>,
    /// Its key.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub public_key: [u8; PUBLIC_KEY_BYTES],
    /// The secret's signature over all that was said.
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    pub secret_proof: [u8; PROOF_BYTES],
    /// The key's signature over the same.
    #[n(3)]
    #[cbor(with = "minicbor::bytes")]
    pub key_proof: [u8; PROOF_BYTES],
}
