//! What TLS says when one end does not take the other, in words.

use ppwasm_proto::wire::CloseCode;
use quinn::{ConnectionError, TransportErrorCode};

/// Alerts of TLS that say something.
mod alert {
    pub(super) const REVOKED: u8 = 44;
    pub(super) const EXPIRED: u8 = 45;
    pub(super) const UNKNOWN_AUTHORITY: u8 = 48;
    pub(super) const NO_PROTOCOL: u8 = 120;
}

/// Why one end does not take the other. Trying again helps only when something has been changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// Who answers is of another authority.
    #[error("who answers there is not the coordinator that this machine has joined")]
    ForeignCoordinator,
    /// The coordinator's certificate is not valid now.
    #[error(
        "the coordinator's certificate is not valid at this time: a clock is wrong, or it has expired"
    )]
    CoordinatorTime,
    /// Who answers has no certificate of a coordinator.
    #[error("who answers there is no coordinator")]
    NoCoordinator,
    /// The coordinator does not know the authority of the own certificate, or takes it for damaged.
    #[error("the coordinator does not know this machine's certificate")]
    Unknown,
    /// The own certificate is not valid at the coordinator's time.
    #[error(
        "this machine's certificate is not valid at the coordinator's time: it has expired, or a clock is wrong"
    )]
    Expired,
    /// The own certificate was revoked.
    #[error("this machine's certificate was revoked")]
    Revoked,
    /// No protocol in common.
    #[error("the coordinator speaks another version of the protocol")]
    Protocol,
}

impl Rejection {
    /// What TLS says by this error, if it says something.
    pub(crate) fn of(error: &ConnectionError) -> Option<Self> {
        match error {
            ConnectionError::TransportError(error) => Some(match alert_of(error.code)? {
                alert::UNKNOWN_AUTHORITY => Self::ForeignCoordinator,
                alert::EXPIRED => Self::CoordinatorTime,
                alert::NO_PROTOCOL => Self::Protocol,
                _ => Self::NoCoordinator,
            }),
            ConnectionError::ConnectionClosed(close) => Some(match alert_of(close.error_code)? {
                alert::REVOKED => Self::Revoked,
                alert::EXPIRED => Self::Expired,
                alert::NO_PROTOCOL => Self::Protocol,
                _ => Self::Unknown,
            }),
            _ => None,
        }
    }

    /// The code that a coordinator would close with for this reason.
    pub const fn code(self) -> CloseCode {
        match self {
            Self::Revoked => CloseCode::Revoked,
            Self::Expired | Self::CoordinatorTime => CloseCode::Expired,
            Self::Protocol => CloseCode::VersionUnsupported,
            Self::ForeignCoordinator | Self::NoCoordinator | Self::Unknown => {
                CloseCode::IdentityRefused
            }
        }
    }
}

fn alert_of(code: TransportErrorCode) -> Option<u8> {
    let number = u64::from(code);
    // RFC 9001: 0x0100 and the alert.
    (number >> 8 == 1).then(|| number.to_le_bytes()[0])
}
