//! Why somebody does not become, or remain, somebody.

use ppwasm_certs::{CertError, TokenError};
use ppwasm_proto::wire::ErrorCode;

use crate::store::{CommitError, ReadError, Refusal};

/// Why a token was not minted, a certificate not issued, an identity not revoked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistrationError {
    /// The token, or a proof, does not hold. All of it is told in the same way.
    #[error("the join token does not hold")]
    Token(#[from] TokenError),
    /// The name is not one.
    #[error("this is not a name")]
    Name,
    /// Somebody has the name already, or it is the operator's.
    #[error("the name is taken; a token that says it allows it")]
    NameTaken,
    /// The identity was revoked.
    #[error("the identity is revoked")]
    Revoked,
    /// The operator and coordinators cannot be revoked.
    #[error("this identity cannot be revoked")]
    NotRevocable,
    /// A token's lifetime is 0 or too long, or it is for a coordinator.
    #[error("a join token works for 1 to {max} s", max = super::TOKEN_LIFETIME_S_MAX)]
    TokenLifetime,
    /// The deny list is full: it denies after a restart only.
    #[error("the deny list is full")]
    DenyListFull,
    /// The system gave no random bytes.
    #[error("cannot get random bytes")]
    NoRandom,
    /// A certificate that the wire does not carry.
    #[error("a certificate is too large")]
    CertificateTooLarge,
    /// The certificate could not be made.
    #[error("could not make a certificate")]
    Cert(#[from] CertError),
    /// The store could not be read.
    #[error("the store could not be read")]
    Read(#[from] ReadError),
    /// The store could not be written.
    #[error("the store could not be written")]
    Commit(#[from] CommitError),
    /// The store says no.
    #[error("the store refused it")]
    Refused(#[source] Refusal),
    /// The coordinator stops.
    #[error("the coordinator is stopping")]
    Stopped,
}

impl RegistrationError {
    /// How it is told to a peer.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Token(_) => ErrorCode::TokenInvalid,
            Self::Name | Self::TokenLifetime | Self::NotRevocable => ErrorCode::InvalidValue,
            Self::NameTaken => ErrorCode::Conflict,
            Self::Revoked => ErrorCode::Revoked,
            Self::DenyListFull => ErrorCode::QuotaExceeded,
            Self::Commit(CommitError::Busy { .. }) => ErrorCode::Busy,
            Self::Commit(CommitError::NoSpace { .. }) => ErrorCode::NoSpace,
            Self::Stopped => ErrorCode::Stopping,
            _ => ErrorCode::Internal,
        }
    }

    /// When another try may help.
    pub const fn retry_after_ms(&self) -> Option<u64> {
        match self {
            Self::Commit(CommitError::Busy { .. }) => Some(1000),
            _ => None,
        }
    }
}
