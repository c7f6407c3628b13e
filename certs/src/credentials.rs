//! What a process has of its own: key and certificate, and whom it trusts.

use std::path::Path;

use rustls::pki_types::{CertificateDer, TrustAnchor};

use crate::UnixTime;
use crate::authority::{Authority, Issued, Lifetime};
use crate::error::{CertError, FileError};
use crate::files;
use crate::identity::Role;
use crate::key::{PrivateKey, PublicKey};
use crate::leaf::Leaf;

const MAGIC: &[u8; 8] = b"PPWCRED1";
/// Certificates of one kind in a file.
const CERTIFICATES_MAX: usize = 8;

/// Key, certificate and trust of one worker, client or coordinator.
///
/// They are one file, so that a renewal replaces them together: key and certificate always belong to each other.
#[derive(Debug)]
pub struct Credentials {
    /// The private key.
    pub key: PrivateKey,
    /// The certificate, and what is sent after it.
    pub chain: Vec<CertificateDer<'static>>,
    /// Authorities of coordinators that are trusted.
    pub trusted: Vec<CertificateDer<'static>>,
    /// The key that artifacts are signed with.
    pub artifact_key: Option<PublicKey>,
}

impl Credentials {
    /// New credentials from the authority itself: a coordinator's own, or those of one in the same process.
    ///
    /// # Errors
    ///
    /// As [`Authority::issue`].
    pub fn issue(
        authority: &Authority,
        role: Role,
        name: &str,
        now: UnixTime,
    ) -> Result<Self, CertError> {
        let key = PrivateKey::generate()?;
        let Issued { chain, .. } =
            authority.issue(role, name, key.public(), Lifetime::OfRole, now)?;
        Ok(Self {
            key,
            chain,
            trusted: vec![authority.certificate(Role::Coordinator).clone()],
            artifact_key: None,
        })
    }

    /// What the own certificate says.
    ///
    /// # Errors
    ///
    /// When there is none, or it is not of the key.
    pub fn leaf(&self) -> Result<Leaf, CertError> {
        let malformed = CertError::OwnLeaf(crate::LeafError::Malformed);
        let leaf = Leaf::read(self.chain.first().ok_or(malformed)?).map_err(CertError::OwnLeaf)?;
        if leaf.key == *self.key.public() {
            Ok(leaf)
        } else {
            Err(CertError::KeyMismatch {
                role: leaf.identity.role().name(),
            })
        }
    }

    /// Writes them to a file for its owner only, in the place of one that may be there. Its folder is made if need be.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), FileError> {
        if let Some(folder) = path.parent() {
            files::make_folder(folder)?;
        }
        files::write(path, &self.to_bytes())
    }

    /// Reads what [`Credentials::save`] wrote; `None` when there is nothing.
    ///
    /// # Errors
    ///
    /// When others can read the file, or it is damaged.
    pub fn load(path: &Path) -> Result<Option<Self>, CertError> {
        let Some(bytes) = files::read(path, true)? else {
            return Ok(None);
        };
        let damaged = FileError::Content {
            path: path.to_owned(),
        };
        let credentials = Self::from_bytes(&bytes).ok_or(damaged)?;
        credentials.leaf()?;
        Ok(Some(credentials))
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        let mut item = |bytes: &[u8]| {
            out.extend((bytes.len() as u32).to_be_bytes());
            out.extend(bytes);
        };
        item(&self.key.to_pkcs8());
        for list in [&self.chain, &self.trusted] {
            item(&(list.len() as u32).to_be_bytes());
            list.iter().for_each(|certificate| item(certificate));
        }
        item(self.artifact_key.as_ref().map_or(&[], |key| key.as_bytes()));
        let checksum = blake3::hash(&out);
        out.extend(checksum.as_bytes());
        out
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (content, checksum) = bytes.split_last_chunk::<32>()?;
        if blake3::hash(content) != *checksum {
            return None;
        }
        let mut rest = content.strip_prefix(MAGIC)?;
        let key = PrivateKey::from_pkcs8(item(&mut rest)?).ok()?;
        let chain = certificates(&mut rest)?;
        let trusted = certificates(&mut rest)?;
        let artifact_key = match item(&mut rest)? {
            [] => None,
            key => Some(PublicKey::from_bytes(key.try_into().ok()?)),
        };
        rest.is_empty().then_some(Self {
            key,
            chain,
            trusted,
            artifact_key,
        })
    }
}

fn item<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (item, after) = after.split_at_checked(length)?;
    *rest = after;
    Some(item)
}

fn certificates(rest: &mut &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let count = u32::from_be_bytes(item(rest)?.try_into().ok()?);
    let count = usize::try_from(count).ok()?;
    if count > CERTIFICATES_MAX {
        return None;
    }
    (0..count)
        .map(|_| item(rest).map(|der| CertificateDer::from(der.to_vec())))
        .collect()
}

/// Whom one trusts: authorities, by role.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    coordinators: Vec<TrustAnchor<'static>>,
    workers: Vec<TrustAnchor<'static>>,
    clients: Vec<TrustAnchor<'static>>,
}

impl Trust {
    /// Nobody.
    pub fn nobody() -> Self {
        Self::default()
    }

    /// Coordinators of these authorities, and nobody else: what workers and clients trust.
    ///
    /// # Errors
    ///
    /// When one is not a certificate.
    pub fn of_coordinators(certificates: &[CertificateDer<'_>]) -> Result<Self, CertError> {
        certificates
            .iter()
            .try_fold(Self::nobody(), |trust, certificate| {
                trust.with(Role::Coordinator, certificate)
            })
    }

    /// Workers and clients of an installation: what its coordinator trusts.
    ///
    /// # Errors
    ///
    /// None that an authority gives reason for.
    pub fn of_peers(authority: &Authority) -> Result<Self, CertError> {
        Self::nobody()
            .with(Role::Worker, authority.certificate(Role::Worker))?
            .with(Role::Client, authority.certificate(Role::Client))
    }

    /// The same, and those in a role whose certificates this authority signed.
    ///
    /// # Errors
    ///
    /// When it is not a certificate.
    pub fn with(mut self, role: Role, certificate: &CertificateDer<'_>) -> Result<Self, CertError> {
        let anchor = webpki::anchor_from_trusted_cert(certificate)
            .map_err(|_| CertError::ForeignAuthority { role: role.name() })?
            .to_owned();
        match role {
            Role::Coordinator => self.coordinators.push(anchor),
            Role::Worker => self.workers.push(anchor),
            Role::Client => self.clients.push(anchor),
        }
        Ok(self)
    }

    pub(crate) fn anchors(&self, role: Role) -> &[TrustAnchor<'static>] {
        match role {
            Role::Coordinator => &self.coordinators,
            Role::Worker => &self.workers,
            Role::Client => &self.clients,
        }
    }
}
