//! The authorities of one installation: a root, and under it one issuing authority per role.
//!
//! Peers trust issuing authorities, not the root: a worker trusts the coordinators' one and nothing else. The root signs
//! them when they are made and can be taken away afterwards. What a certificate says is decided here and by nobody who
//! asks for one: of a request only the public key is used.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyUsagePurpose, SanType, SerialNumber, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::EndEntityCert;

use crate::der;
use crate::error::{CertError, FileError};
use crate::files;
use crate::identity::{Identity, Role, TrustDomain};
use crate::key::{PrivateKey, PublicKey};
use crate::leaf::Leaf;
use crate::token::AuthorityPin;

/// How far back a certificate begins, so that clocks may be that far behind.
pub const BACKDATE_S: u64 = 5 * 60;
/// Longest lifetime of a worker's certificate, and the usual one: a day.
pub const WORKER_LIFETIME_S: u64 = DAY_S;
/// Longest lifetime of a client's certificate: 30 days. A client that is not connected cannot renew it.
pub const CLIENT_LIFETIME_S: u64 = 30 * DAY_S;
/// Longest lifetime of a coordinator's certificate, and the usual one: 30 days.
pub const COORDINATOR_LIFETIME_S: u64 = 30 * DAY_S;
/// Lifetime of an issuing authority: 5 years.
pub const ISSUER_LIFETIME_S: u64 = 5 * 365 * DAY_S;
/// Lifetime of a root: 20 years.
pub const ROOT_LIFETIME_S: u64 = 20 * 365 * DAY_S;
const DAY_S: u64 = 24 * 60 * 60;

const ROOT: &str = "root";

impl Role {
    /// The longest that a certificate of this role lasts.
    pub const fn lifetime_max_s(self) -> u64 {
        match self {
            Self::Coordinator => COORDINATOR_LIFETIME_S,
            Self::Worker => WORKER_LIFETIME_S,
            Self::Client => CLIENT_LIFETIME_S,
        }
    }
}

/// How long a certificate shall last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// As long as the role's certificates last at most.
    OfRole,
    /// So many seconds, up to that.
    Seconds(u64),
}

/// A new certificate.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The certificate first; for a coordinator its authority's follows, by which those who join know it.
    pub chain: Vec<CertificateDer<'static>>,
    /// What it says.
    pub leaf: Leaf,
}

/// The authorities of one installation, with their keys.
#[derive(Debug)]
pub struct Authority {
    domain: TrustDomain,
    root: CertificateDer<'static>,
    /// Kept apart from the machine when it is not needed.
    root_key: Option<PrivateKey>,
    coordinators: Issuing,
    workers: Issuing,
    clients: Issuing,
}

struct Issuing {
    certificate: CertificateDer<'static>,
    params: CertificateParams,
    key: PrivateKey,
    not_before_s: u64,
    not_after_s: u64,
}

impl Authority {
    /// New authorities for a new installation.
    ///
    /// # Errors
    ///
    /// When there are no random bytes.
    pub fn create(domain: TrustDomain, now: UnixTime) -> Result<Self, CertError> {
        let root_key = PrivateKey::generate()?;
        let root_params = authority_params(ROOT, &domain, now, ROOT_LIFETIME_S, 1)?;
        let root = root_params
            .self_signed(root_key.pair())
            .map_err(CertError::MakeCertificate)?;
        let issuer = Issuer::from_params(&root_params, root_key.pair());
        let issuing = |role: Role| -> Result<Issuing, CertError> {
            let key = PrivateKey::generate()?;
            let params = authority_params(role.name(), &domain, now, ISSUER_LIFETIME_S, 0)?;
            let certificate = params
                .signed_by(key.public(), &issuer)
                .map_err(CertError::MakeCertificate)?;
            Issuing::of(role.name(), &domain, certificate.der().clone(), key)
        };
        Ok(Self {
            root: root.der().clone(),
            coordinators: issuing(Role::Coordinator)?,
            workers: issuing(Role::Worker)?,
            clients: issuing(Role::Client)?,
            root_key: Some(root_key),
            domain,
        })
    }

    /// Writes everything into a folder of its own, which only its owner can enter.
    ///
    /// # Errors
    ///
    /// When there is an authority in it already, or it cannot be written.
    pub fn save(&self, folder: &Path) -> Result<(), FileError> {
        let root = certificate_path(folder, ROOT);
        if root.exists() {
            return Err(FileError::Exists { path: root });
        }
        files::make_folder(folder)?;
        for role in Role::ALL {
            let issuing = self.issuing(role);
            files::write(&key_path(folder, role.name()), &issuing.key.to_pkcs8())?;
            files::write(&certificate_path(folder, role.name()), &issuing.certificate)?;
        }
        if let Some(key) = &self.root_key {
            files::write(&key_path(folder, ROOT), &key.to_pkcs8())?;
        }
        // The last: a folder with it is complete.
        files::write(&root, &self.root)
    }

    /// Reads what [`Authority::save`] wrote; `None` when there is nothing. The root's key may be missing.
    ///
    /// # Errors
    ///
    /// When something is missing, open to others, does not belong together, or is not valid at this time.
    pub fn load(folder: &Path, now: UnixTime) -> Result<Option<Self>, CertError> {
        let Some(root) = files::read(&certificate_path(folder, ROOT), false)? else {
            return Ok(None);
        };
        let foreign = CertError::ForeignAuthority { role: ROOT };
        let domain = domain_of(&root, ROOT).ok_or(foreign)?;
        let issuing = |role: Role| -> Result<Issuing, CertError> {
            let role = role.name();
            let wanted = |path: std::path::PathBuf, holds_key| {
                let missing = FileError::Content { path: path.clone() };
                files::read(&path, holds_key).and_then(|read| read.ok_or(missing))
            };
            let key = PrivateKey::from_pkcs8(&wanted(key_path(folder, role), true)?)?;
            let certificate = wanted(certificate_path(folder, role), false)?;
            let issuing = Issuing::of(role, &domain, certificate.into(), key)?;
            issuing.check_time(role, now)?;
            Ok(issuing)
        };
        let (coordinators, workers, clients) = (
            issuing(Role::Coordinator)?,
            issuing(Role::Worker)?,
            issuing(Role::Client)?,
        );
        let root_key = files::read(&key_path(folder, ROOT), true)?
            .map(|der| PrivateKey::from_pkcs8(&der))
            .transpose()?;
        Ok(Some(Self {
            domain,
            root: root.into(),
            root_key,
            coordinators,
            workers,
            clients,
        }))
    }

    /// The installation's name.
    pub const fn domain(&self) -> &TrustDomain {
        &self.domain
    }

    /// The certificate of the authority for a role: what peers trust.
    pub const fn certificate(&self, role: Role) -> &CertificateDer<'static> {
        &self.issuing(role).certificate
    }

    /// The root's certificate.
    pub const fn root(&self) -> &CertificateDer<'static> {
        &self.root
    }

    /// What join tokens pin: the authority of coordinators.
    pub fn pin(&self) -> AuthorityPin {
        AuthorityPin::of(self.certificate(Role::Coordinator))
    }

    /// A certificate for a name in a role, and a key. It says nothing that the caller did not decide.
    ///
    /// # Errors
    ///
    /// When the lifetime is 0 or longer than the role's, the name is not one, or the authority's own time is over.
    pub fn issue(
        &self,
        role: Role,
        name: &str,
        key: &PublicKey,
        lifetime: Lifetime,
        now: UnixTime,
    ) -> Result<Issued, CertError> {
        let max = role.lifetime_max_s();
        let seconds = match lifetime {
            Lifetime::OfRole => max,
            Lifetime::Seconds(seconds) if (1..=max).contains(&seconds) => seconds,
            Lifetime::Seconds(seconds) => {
                let role = role.name();
                return Err(CertError::Lifetime { role, seconds, max });
            }
        };
        let issuing = self.issuing(role);
        issuing.check_time(role.name(), now)?;
        let identity = Identity::new(self.domain.clone(), role, name)
            .map_err(|error| CertError::OwnLeaf(error.into()))?;
        let params = leaf_params(
            &identity,
            now,
            seconds.min(issuing.not_after_s - now.as_secs()),
        )?;
        let issuer = Issuer::from_params(&issuing.params, issuing.key.pair());
        let certificate = params
            .signed_by(key, &issuer)
            .map_err(CertError::MakeCertificate)?;
        let leaf = Leaf::read(certificate.der()).map_err(CertError::OwnLeaf)?;
        let mut chain = vec![certificate.der().clone()];
        if role == Role::Coordinator {
            chain.push(issuing.certificate.clone());
        }
        Ok(Issued { chain, leaf })
    }

    const fn issuing(&self, role: Role) -> &Issuing {
        match role {
            Role::Coordinator => &self.coordinators,
            Role::Worker => &self.workers,
            Role::Client => &self.clients,
        }
    }
}

impl Issuing {
    fn of(
        role: &'static str,
        domain: &TrustDomain,
        certificate: CertificateDer<'static>,
        key: PrivateKey,
    ) -> Result<Self, CertError> {
        let foreign = || CertError::ForeignAuthority { role };
        if domain_of(&certificate, role).as_ref() != Some(domain) {
            return Err(foreign());
        }
        let spki = EndEntityCert::try_from(&certificate)
            .map_err(|_| foreign())?
            .subject_public_key_info();
        if PublicKey::from_spki(&spki) != Some(*key.public()) {
            return Err(CertError::KeyMismatch { role });
        }
        let (not_before_s, not_after_s) = der::validity(&certificate).ok_or_else(foreign)?;
        let params = issuer_params(role, domain, 0);
        Ok(Self {
            certificate,
            params,
            key,
            not_before_s,
            not_after_s,
        })
    }

    fn check_time(&self, role: &'static str, now: UnixTime) -> Result<(), CertError> {
        if (self.not_before_s..self.not_after_s).contains(&now.as_secs()) {
            return Ok(());
        }
        let (not_before_s, not_after_s) = (self.not_before_s, self.not_after_s);
        Err(CertError::AuthorityNotValid {
            role,
            not_before_s,
            not_after_s,
        })
    }
}

impl fmt::Debug for Issuing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Issuing({:?})", self.key)
    }
}

fn common_name(role: &str, domain: &TrustDomain) -> String {
    format!("ppwasm {role} authority of {domain}")
}

/// The domain that an authority's certificate is for, if this program made it for this role.
fn domain_of(certificate: &[u8], role: &str) -> Option<TrustDomain> {
    let certificate = CertificateDer::from(certificate);
    let parsed = EndEntityCert::try_from(&certificate).ok()?;
    let name = der::common_name(parsed.subject())?;
    let domain = name.strip_prefix(&format!("ppwasm {role} authority of "))?;
    domain.parse().ok()
}

/// What a certificate's issuer field and the issuer's own subject have in common.
fn issuer_params(role: &str, domain: &TrustDomain, below: u8) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name(role, domain));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn authority_params(
    role: &str,
    domain: &TrustDomain,
    now: UnixTime,
    lifetime_s: u64,
    below: u8,
) -> Result<CertificateParams, CertError> {
    let mut params = issuer_params(role, domain, below);
    limit(&mut params, now, lifetime_s)?;
    Ok(params)
}

fn leaf_params(
    identity: &Identity,
    now: UnixTime,
    lifetime_s: u64,
) -> Result<CertificateParams, CertError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let uri = identity.to_string().try_into();
    params.subject_alt_names = vec![SanType::URI(uri.map_err(CertError::MakeCertificate)?)];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![match identity.role() {
        Role::Coordinator => ExtendedKeyUsagePurpose::ServerAuth,
        Role::Worker | Role::Client => ExtendedKeyUsagePurpose::ClientAuth,
    }];
    limit(&mut params, now, lifetime_s)?;
    Ok(params)
}

/// Number and validity: the library's own would be derived from the key, and last from 1975 to 4096.
fn limit(params: &mut CertificateParams, now: UnixTime, lifetime_s: u64) -> Result<(), CertError> {
    let mut serial = [0; 16];
    getrandom::fill(&mut serial).map_err(CertError::Random)?;
    // Positive, and of the same length always.
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    let start = date_time_ymd(1970, 1, 1);
    let now = Duration::from_secs(now.as_secs());
    params.not_before = start + now.saturating_sub(Duration::from_secs(BACKDATE_S));
    params.not_after = start + (now + Duration::from_secs(lifetime_s));
    Ok(())
}

fn certificate_path(folder: &Path, name: &str) -> std::path::PathBuf {
    folder.join(format!("{name}-authority.der"))
}

fn key_path(folder: &Path, name: &str) -> std::path::PathBuf {
    folder.join(format!("{name}-authority.key"))
}
