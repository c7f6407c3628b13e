//! Join tokens: how somebody without a certificate gets one.
//!
//! A token is `ppwjoin1.<pin>.<id>.<secret>`, in hex. The pin is the digest of the coordinators' authority, so that the
//! joiner knows whom it speaks to before it says anything that matters. The secret makes an Ed25519 key; the coordinator
//! keeps only its public half, so that whoever reads the store cannot join. The joiner signs what both have said with it:
//! the secret itself is never sent. A token works once and for a short time.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use ppwasm_proto::Digest;
use rustls::pki_types::CertificateDer;

use crate::error::{CertError, TokenError};
use crate::identity::{Identity, Role, TrustDomain};
use crate::key::{PrivateKey, PublicKey, Signature};

/// How long a token works if nobody says otherwise: 10 minutes.
pub const TOKEN_LIFETIME_S: u64 = 10 * 60;
/// Tokens that can wait to be used at a time.
pub const TOKENS_MAX: usize = 10_000;

const PREFIX: &str = "ppwjoin1";
const SECRET_BYTES: usize = 16;
const SECRET_CONTEXT: &str = "ppwasm 2026-11-24 join token secret";
const JOIN_CONTEXT: &[u8] = b"ppwasm 2026-11-24 join";
const RENEWAL_CONTEXT: &[u8] = b"ppwasm 2026-11-24 renewal";

/// The digest of an authority's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthorityPin(Digest);

impl AuthorityPin {
    /// The pin of this certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        Self(Digest::of(certificate))
    }
}

/// The public part of a token. 8 bytes, written as 16 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId([u8; 8]);

impl TokenId {
    /// An id from 8 bytes.
    pub const fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    /// The 8 bytes.
    pub const fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenId({self})")
    }
}

impl FromStr for TokenId {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        parse_hex(text).map(Self).ok_or(TokenError::Malformed)
    }
}

/// A join token, as it is handed to somebody. Only `Display` shows the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// Whom the joiner has to find at the other end.
    pub pin: AuthorityPin,
    /// Its public part.
    pub id: TokenId,
    secret: [u8; SECRET_BYTES],
}

impl JoinToken {
    /// A new token from random bytes, and what the coordinator keeps of it.
    ///
    /// # Errors
    ///
    /// When no key can be made of the secret; none is known for which that holds.
    pub fn mint(
        pin: AuthorityPin,
        random: &[u8; 24],
        role: Role,
        name: Option<&str>,
        expires_s: u64,
    ) -> Result<(Self, TokenRecord), CertError> {
        let (mut id, mut secret) = ([0; 8], [0; SECRET_BYTES]);
        id.copy_from_slice(&random[..8]);
        secret.copy_from_slice(&random[8..]);
        let id = TokenId(id);
        let token = Self { pin, id, secret };
        let record = TokenRecord {
            id,
            verifier: *token.key()?.public(),
            role,
            name: name.map(Into::into),
            expires_s,
        };
        Ok((token, record))
    }

    /// The proof that one knows the secret.
    ///
    /// # Errors
    ///
    /// As [`JoinToken::mint`].
    pub fn prove(&self, transcript: &JoinTranscript<'_>) -> Result<Signature, CertError> {
        self.key()?.sign(&transcript.to_bytes(self.pin, self.id))
    }

    /// The proof that one has the private key of the certificate that is asked for.
    ///
    /// # Errors
    ///
    /// As [`PrivateKey::sign`].
    pub fn prove_key(
        &self,
        transcript: &JoinTranscript<'_>,
        key: &PrivateKey,
    ) -> Result<Signature, CertError> {
        key.sign(&transcript.to_bytes(self.pin, self.id))
    }

    fn key(&self) -> Result<PrivateKey, CertError> {
        PrivateKey::from_seed(&blake3::derive_key(SECRET_CONTEXT, &self.secret))
    }
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}.{}.{}.", self.pin.0, self.id)?;
        write_hex(f, &self.secret)
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinToken({})", self.id)
    }
}

impl FromStr for JoinToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let mut parts = text.split('.');
        let (Some(PREFIX), Some(pin), Some(id), Some(secret), None) = (
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
        ) else {
            return Err(TokenError::Malformed);
        };
        let pin = pin.parse().map_err(|_| TokenError::Malformed)?;
        let secret = parse_hex(secret).ok_or(TokenError::Malformed)?;
        Ok(Self {
            pin: AuthorityPin(pin),
            id: id.parse()?,
            secret,
        })
    }
}

/// What a joiner and a coordinator have said to each other: what is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JoinTranscript<'a> {
    /// The joiner's nonce.
    pub joiner_nonce: &'a [u8; 32],
    /// The coordinator's nonce.
    pub coordinator_nonce: &'a [u8; 32],
    /// The name that is asked for.
    pub name: &'a str,
    /// The key that the certificate shall be for.
    pub key: &'a PublicKey,
}

impl JoinTranscript<'_> {
    fn to_bytes(self, pin: AuthorityPin, id: TokenId) -> Vec<u8> {
        [
            JOIN_CONTEXT,
            pin.0.as_bytes(),
            id.as_bytes(),
            self.joiner_nonce,
            self.coordinator_nonce,
            self.key.as_bytes(),
            // The last, because its length is not fixed.
            self.name.as_bytes(),
        ]
        .concat()
    }
}

/// What a new key signs to replace the one of an identity.
pub fn renewal_message(identity: &Identity, key: &PublicKey) -> Vec<u8> {
    let identity = identity.to_string();
    [RENEWAL_CONTEXT, key.as_bytes(), identity.as_bytes()].concat()
}

/// What the coordinator keeps of a token. Nobody can join with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRecord {
    /// The token's public part.
    pub id: TokenId,
    /// Verifies the proof that somebody knows the secret.
    pub verifier: PublicKey,
    /// The role that it gives.
    pub role: Role,
    /// The name that it gives; `None` for the name that the joiner asks for.
    pub name: Option<Box<str>>,
    /// Until when it works, in seconds since 1970.
    pub expires_s: u64,
}

impl TokenRecord {
    /// Who the joiner becomes, if everything holds. The caller deletes the record in the same step as it records the
    /// certificate, and issues nothing when the record is gone by then.
    ///
    /// # Errors
    ///
    /// What does not hold. All of it is told to the joiner in the same way.
    pub fn check(
        &self,
        domain: &TrustDomain,
        pin: AuthorityPin,
        transcript: &JoinTranscript<'_>,
        secret_proof: &Signature,
        key_proof: &Signature,
        now_s: u64,
    ) -> Result<Identity, TokenError> {
        let signed = transcript.to_bytes(pin, self.id);
        if !self.verifier.verifies(&signed, secret_proof) {
            return Err(TokenError::Proof);
        }
        if now_s >= self.expires_s {
            return Err(TokenError::Expired);
        }
        if !transcript.key.verifies(&signed, key_proof) {
            return Err(TokenError::KeyProof);
        }
        let name = match &self.name {
            Some(name) if **name != *transcript.name => return Err(TokenError::Name),
            _ => transcript.name,
        };
        Identity::new(domain.clone(), self.role, name).map_err(|_| TokenError::Name)
    }
}

/// The tokens that wait to be used. A store that holds them itself needs only [`TokenRecord`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenBook(BTreeMap<TokenId, TokenRecord>);

impl TokenBook {
    /// No tokens.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a token; those that have expired make room.
    ///
    /// # Errors
    ///
    /// When there are too many.
    pub fn add(&mut self, record: TokenRecord, now_s: u64) -> Result<(), TokenError> {
        if self.0.len() >= TOKENS_MAX {
            self.0.retain(|_, record| record.expires_s > now_s);
        }
        if self.0.len() >= TOKENS_MAX {
            return Err(TokenError::TooMany);
        }
        self.0.insert(record.id, record);
        Ok(())
    }

    /// Uses a token up. A proof that does not hold uses up nothing, or anybody who saw an id could spoil the token.
    ///
    /// # Errors
    ///
    /// As [`TokenRecord::check`], and when there is no such token.
    #[allow(
        clippy::too_many_arguments,
        reason = "what a joiner says, and what it is held against"
    )]
    pub fn redeem(
        &mut self,
        id: TokenId,
        domain: &TrustDomain,
        pin: AuthorityPin,
        transcript: &JoinTranscript<'_>,
        secret_proof: &Signature,
        key_proof: &Signature,
        now_s: u64,
    ) -> Result<Identity, TokenError> {
        let record = self.0.get(&id).ok_or(TokenError::Unknown)?;
        let identity = record.check(domain, pin, transcript, secret_proof, key_proof, now_s)?;
        self.0.remove(&id);
        Ok(identity)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

fn parse_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else {
        return None;
    };
    let bytes: Option<Vec<u8>> = pairs
        .iter()
        .map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?))
        .collect();
    bytes?.try_into().ok()
}
