//! Certificates of peers: what has to hold before anybody is believed to be somebody.

use std::fmt;

use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::ring::ED25519;
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeId, KeyPurposeIdIter};

use crate::der;
use crate::error::IdentityError;
use crate::identity::{Identity, Role};
use crate::key::PublicKey;

const SERVER_AUTH: KeyPurposeId<'static> = KeyPurposeId::new(&[0x2b, 6, 1, 5, 5, 7, 3, 1]);
const CLIENT_AUTH: KeyPurposeId<'static> = KeyPurposeId::new(&[0x2b, 6, 1, 5, 5, 7, 3, 2]);
/// Bytes of a serial number; 16 random ones, and one more when a sign bit needs it.
const SERIAL_BYTES_MAX: usize = 20;

/// Why a certificate is not taken for anybody's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LeafError {
    /// It cannot be read.
    #[error("the certificate is malformed")]
    Malformed,
    /// It has no URI, or more than one, or names of other kinds.
    #[error("the certificate names {uris} URIs and {others} other names, it has to name one URI")]
    Names {
        /// How many URIs.
        uris: usize,
        /// How many DNS names.
        others: usize,
    },
    /// Its URI is not an identity.
    #[error("the certificate's URI is no identity")]
    Identity(#[from] IdentityError),
    /// It is another role's.
    #[error("the certificate is a {found}'s, a {wanted} was expected")]
    Role {
        /// Whose it is.
        found: Role,
        /// Whose it has to be.
        wanted: &'static str,
    },
    /// It is of another installation.
    #[error("the certificate is of another trust domain")]
    Domain,
    /// Its usage is not exactly the one of its role.
    #[error("the certificate's usage is not that of its role")]
    Usage,
    /// Its time is over.
    #[error("the certificate has expired")]
    Expired,
    /// Its time has not begun.
    #[error("the certificate is not valid yet")]
    NotYetValid,
    /// It is not from an authority that is trusted for its role.
    #[error("the certificate is not from the authority of its role")]
    Issuer,
    /// It was revoked.
    #[error("the certificate was revoked")]
    Denied,
}

/// The number of a certificate.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial(Box<[u8]>);

impl Serial {
    /// A number from its bytes, big-endian; zeros before it do not count. `None` for one that no certificate has.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let start = bytes.iter().position(|byte| *byte != 0)?;
        let bytes = bytes.get(start..)?;
        (bytes.len() <= SERIAL_BYTES_MAX).then(|| Self(bytes.into()))
    }

    /// Its bytes, big-endian, without zeros before it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Serial({self})")
    }
}

/// What a certificate says, once it was verified, or was one's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Who it is.
    pub identity: Identity,
    /// Its number.
    pub serial: Serial,
    /// Its key.
    pub key: PublicKey,
    /// From when it is valid, in seconds since 1970.
    pub not_before_s: u64,
    /// Until when it is valid, in seconds since 1970.
    pub not_after_s: u64,
}

impl Leaf {
    /// Reads a certificate without verifying it: one's own, or one that was verified in a handshake.
    ///
    /// # Errors
    ///
    /// When it does not name exactly one identity.
    pub fn read(der: &CertificateDer<'_>) -> Result<Self, LeafError> {
        let cert = EndEntityCert::try_from(der).map_err(|_| LeafError::Malformed)?;
        Self::of(&cert)
    }

    fn of(cert: &EndEntityCert<'_>) -> Result<Self, LeafError> {
        let mut names = cert.valid_uri_names();
        let (first, more) = (names.next(), names.count());
        let others = cert.valid_dns_names().count();
        let uris = usize::from(first.is_some()) + more;
        let (Some(uri), 1, 0) = (first, uris, others) else {
            return Err(LeafError::Names { uris, others });
        };
        let identity = uri.parse()?;
        let serial = Serial::from_bytes(cert.serial()).ok_or(LeafError::Malformed)?;
        let spki = cert.subject_public_key_info();
        let key = PublicKey::from_spki(&spki).ok_or(LeafError::Malformed)?;
        let (not_before_s, not_after_s) = der::validity(&cert.der()).ok_or(LeafError::Malformed)?;
        Ok(Self {
            identity,
            serial,
            key,
            not_before_s,
            not_after_s,
        })
    }

    /// Verifies a certificate against the authorities of its own role, which `anchors` gives.
    ///
    /// Nothing may stand between authority and leaf: an authority here signs leaves only, so a leaf that signed another,
    /// or an authority's own certificate, is nobody's.
    ///
    /// # Errors
    ///
    /// The first thing that does not hold.
    pub fn verify(
        der: &CertificateDer<'_>,
        anchors: &[TrustAnchor<'_>],
        now: UnixTime,
    ) -> Result<Self, LeafError> {
        let cert = EndEntityCert::try_from(der).map_err(|_| LeafError::Malformed)?;
        let leaf = Self::of(&cert)?;
        let usage = ExactUsage(match leaf.identity.role() {
            Role::Coordinator => SERVER_AUTH,
            Role::Worker | Role::Client => CLIENT_AUTH,
        });
        cert.verify_for_usage(&[ED25519], anchors, &[], now, usage, None, None)
            .map_err(|error| match error {
                webpki::Error::CertExpired { .. } => LeafError::Expired,
                webpki::Error::CertNotValidYet { .. } => LeafError::NotYetValid,
                webpki::Error::RequiredEkuNotFoundContext(_) => LeafError::Usage,
                _ => LeafError::Issuer,
            })?;
        Ok(leaf)
    }

    /// Whether it is time for a new certificate: half of its lifetime is over. Pure.
    pub const fn should_renew(&self, now: UnixTime) -> bool {
        let lifetime_s = self.not_after_s.saturating_sub(self.not_before_s);
        now.as_secs() >= self.not_before_s.saturating_add(lifetime_s / 2)
    }
}

/// One usage and no other. webpki's own check takes a certificate without usages for any.
struct ExactUsage(KeyPurposeId<'static>);

impl ExtendedKeyUsageValidator for ExactUsage {
    fn validate(&self, usages: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        let mut count = 0;
        for usage in usages {
            if usage? != self.0 {
                return Err(wrong_usage());
            }
            count += 1;
        }
        if count == 1 {
            Ok(())
        } else {
            Err(wrong_usage())
        }
    }
}

fn wrong_usage() -> webpki::Error {
    webpki::Error::RequiredEkuNotFoundContext(webpki::RequiredEkuNotFoundContext {
        required: webpki::KeyUsage::server_auth(),
        present: Vec::new(),
    })
}
