//! Who may be whom: tokens, certificates and revocations, as the authority gives them out and the store remembers them.
//!
//! Whatever gives somebody a right is durable before it is told, together with an audit event about it. What is said on
//! a connection, and who may ask, is `service`'s and `server`'s; keys and certificates themselves are `ppwasm-certs`'s.

mod error;
mod record;

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use ppwasm_certs::{
    Authority, AuthorityPin, CertificateDer, Credentials, DenyList, Identity, Issued, JoinToken,
    JoinTranscript, Leaf, Lifetime, PublicKey, Role, Serial, Signature, TOKEN_LIFETIME_S,
    TokenError, TokenId, UnixTime, renewal_message,
};
use ppwasm_proto::wire::{Bytes, CertificateIssued, List, OPERATOR};
use rustls::time_provider::TimeProvider;
use tokio::sync::{Mutex as AsyncMutex, Notify, Semaphore, oneshot};
use tracing::{info, warn};

pub use error::RegistrationError;
use record::{audited, hash_of, read_token, write_token};

use crate::store::{
    Batch, Certificate, CommitError, Denied, DeniedSubject, ReadError, Refusal, Store, Write,
};

/// The longest that a join token works: a week.
pub const TOKEN_LIFETIME_S_MAX: u64 = 7 * 24 * 60 * 60;
/// Batches about identities that the store has at a time, so that they leave room for jobs.
const COMMITS_MAX: usize = 32;
/// Certificates of one identity that are looked through for one that is still good.
const CERTIFICATES_LOOKED_AT: u32 = 64;
/// Refused requests per minute that are written into the audit log, which only grows; beyond, the log of the process
/// has them.
const DENIALS_AUDITED_PER_MINUTE: u32 = 60;

/// The identities of an installation.
pub struct Identities {
    authority: Authority,
    store: Arc<dyn Store>,
    denied: Arc<RwLock<DenyList>>,
    clock: Arc<dyn TimeProvider>,
    artifact_key: Option<PublicKey>,
    /// One at a time looks whether a name is free and takes it.
    naming: AsyncMutex<()>,
    commits: Semaphore,
    revoked: Notify,
    denials: Mutex<(Option<Instant>, u32)>,
}

/// What somebody who joins has said.
#[derive(Clone, Copy, Debug)]
pub struct Joiner<'a> {
    /// The token's public part.
    pub token: TokenId,
    /// What both have said.
    pub transcript: JoinTranscript<'a>,
    /// That it knows the secret.
    pub secret_proof: &'a Signature,
    /// That it has its private key.
    pub key_proof: &'a Signature,
}

impl Identities {
    /// The identities that an authority has given out, or will.
    ///
    /// # Errors
    ///
    /// The deny list could not be read.
    pub fn open(
        authority: Authority,
        store: Arc<dyn Store>,
        artifact_key: Option<PublicKey>,
        clock: Arc<dyn TimeProvider>,
    ) -> Result<Self, ReadError> {
        let mut list = DenyList::new();
        for denied in store.denied()? {
            // What is full denies those that it has; a list of that length is beyond what this is made for.
            let _ = match &denied.subject {
                DeniedSubject::Serial(bytes) => Serial::from_bytes(bytes)
                    .is_some_and(|serial| list.deny_serial(serial, u64::MAX)),
                DeniedSubject::Identity(text) => text
                    .parse()
                    .is_ok_and(|identity| list.deny_identity(identity)),
            };
        }
        Ok(Self {
            authority,
            store,
            denied: Arc::new(RwLock::new(list)),
            clock,
            artifact_key,
            naming: AsyncMutex::default(),
            commits: Semaphore::new(COMMITS_MAX),
            revoked: Notify::new(),
            denials: Mutex::new((None, 0)),
        })
    }

    /// The time by which certificates and tokens are judged.
    pub fn now(&self) -> UnixTime {
        let since = Duration::from_secs(0);
        self.clock
            .current_time()
            .unwrap_or_else(|| UnixTime::since_unix_epoch(since))
    }

    /// The authority.
    pub const fn authority(&self) -> &Authority {
        &self.authority
    }

    /// What join tokens pin.
    pub fn pin(&self) -> AuthorityPin {
        self.authority.pin()
    }

    /// The key that artifacts are signed with.
    pub const fn artifact_key(&self) -> Option<PublicKey> {
        self.artifact_key
    }

    /// Who is denied; asked at each handshake.
    pub fn denied(&self) -> Arc<RwLock<DenyList>> {
        Arc::clone(&self.denied)
    }

    /// Whether a certificate is revoked.
    pub fn denies(&self, leaf: &Leaf) -> bool {
        let list = self.denied.read().unwrap_or_else(PoisonError::into_inner);
        list.denies(leaf)
    }

    /// Returns once after each revocation.
    pub async fn revocation(&self) {
        self.revoked.notified().await;
    }

    /// A join token for a role, durable when it is given back, and for how long it works in seconds.
    ///
    /// # Errors
    ///
    /// The name is not one, the lifetime is too long, or it could not be kept.
    pub async fn mint(
        &self,
        role: Role,
        name: Option<&str>,
        lifetime_s: Option<u64>,
        by: &str,
    ) -> Result<(JoinToken, u64), RegistrationError> {
        let lifetime_s = lifetime_s.unwrap_or(TOKEN_LIFETIME_S);
        if role == Role::Coordinator || !(1..=TOKEN_LIFETIME_S_MAX).contains(&lifetime_s) {
            return Err(RegistrationError::TokenLifetime);
        }
        if let Some(name) = name {
            let identity = Identity::new(self.authority.domain().clone(), role, name)
                .map_err(|_| RegistrationError::Name)?;
            self.check_not_denied(&identity)?;
        }
        let mut random = [0; 24];
        getrandom::fill(&mut random).map_err(|_| RegistrationError::NoRandom)?;
        let now_s = self.now().as_secs();
        let expires_s = now_s.saturating_add(lifetime_s);
        let (token, record) = JoinToken::mint(self.pin(), &random, role, name, expires_s)?;
        let about = format!(
            "token={} role={role} name={} lifetime_s={lifetime_s}",
            record.id,
            name.unwrap_or("any")
        );
        let writes = vec![
            Write::TokenIssued(write_token(&record)),
            audited(self.now_ms(), "token-minted", by, &about),
        ];
        self.commit(writes).await?;
        info!(token = %record.id, %role, name, lifetime_s, by, "join token minted");
        Ok((token, lifetime_s))
    }

    /// A certificate for somebody who joins; the token is used up in the same step as the certificate is recorded.
    ///
    /// # Errors
    ///
    /// What does not hold. Nothing is used up then.
    pub async fn join(
        &self,
        joiner: &Joiner<'_>,
    ) -> Result<(Identity, CertificateIssued), RegistrationError> {
        let hash = hash_of(joiner.token);
        let unknown = RegistrationError::Token(TokenError::Unknown);
        let record = self.store.token(&hash)?.ok_or(unknown)?;
        let record = read_token(joiner.token, &record)?;
        let identity = record.check(
            self.authority.domain(),
            self.pin(),
            &joiner.transcript,
            joiner.secret_proof,
            joiner.key_proof,
            self.now().as_secs(),
        )?;
        self.check_not_denied(&identity)?;
        let _naming = self.naming.lock().await;
        if record.name.is_none() {
            self.check_name_is_free(&identity)?;
        }
        let about = format!("token={}", joiner.token);
        let redeemed = Write::TokenRedeemed { hash };
        let issued = self
            .issue(
                &identity,
                joiner.transcript.key,
                "joined",
                &about,
                Some(redeemed),
            )
            .await?;
        info!(%identity, token = %joiner.token, "joined");
        let issued = self.to_message(0, issued.chain)?;
        Ok((identity, issued))
    }

    /// A new certificate for an identity that has one.
    ///
    /// # Errors
    ///
    /// The proof does not hold, the identity was revoked, or the certificate could not be recorded.
    pub async fn renew(
        &self,
        request: u32,
        identity: &Identity,
        key: &PublicKey,
        key_proof: &Signature,
    ) -> Result<CertificateIssued, RegistrationError> {
        if !key.verifies(&renewal_message(identity, key), key_proof) {
            return Err(RegistrationError::Token(TokenError::KeyProof));
        }
        self.check_not_denied(identity)?;
        let issued = self
            .issue(identity, key, "certificate-renewed", "", None)
            .await?;
        info!(%identity, until_s = issued.leaf.not_after_s, "certificate renewed");
        self.to_message(request, issued.chain)
    }

    /// Credentials that stay in this process or its folder: the coordinator's own, the operator's.
    ///
    /// # Errors
    ///
    /// They could not be made or recorded.
    pub async fn issue_own(
        &self,
        role: Role,
        name: &str,
    ) -> Result<Credentials, RegistrationError> {
        let key = ppwasm_certs::PrivateKey::generate()?;
        let identity = Identity::new(self.authority.domain().clone(), role, name)
            .map_err(|_| RegistrationError::Name)?;
        let issued = self
            .issue(&identity, key.public(), "certificate-issued", "", None)
            .await?;
        Ok(Credentials {
            key,
            chain: issued.chain,
            trusted: vec![self.authority.certificate(Role::Coordinator).clone()],
            artifact_key: self.artifact_key,
        })
    }

    /// Revokes an identity: durable, and known to handshakes, when it returns. Whoever closes sessions is woken.
    ///
    /// # Errors
    ///
    /// There can be no such identity, it is the operator, or it could not be recorded.
    pub async fn revoke(
        &self,
        role: Role,
        name: &str,
        reason: &str,
        by: &str,
    ) -> Result<Identity, RegistrationError> {
        let identity = Identity::new(self.authority.domain().clone(), role, name)
            .map_err(|_| RegistrationError::Name)?;
        if role == Role::Coordinator || is_operator(&identity) {
            return Err(RegistrationError::NotRevocable);
        }
        let denied = Denied {
            subject: DeniedSubject::Identity(identity.to_string()),
            reason: reason.to_owned(),
            at_ms: self.now_ms(),
        };
        let about = format!("identity={identity} reason={}", reason.escape_debug());
        let event = audited(self.now_ms(), "identity-revoked", by, &about);
        self.commit(vec![Write::Denied(denied), event]).await?;
        let is_listed = {
            let mut list = self.denied.write().unwrap_or_else(PoisonError::into_inner);
            list.deny_identity(identity.clone())
        };
        self.revoked.notify_one();
        warn!(%identity, reason = ?reason, by, "identity revoked");
        match is_listed {
            true => Ok(identity),
            false => Err(RegistrationError::DenyListFull),
        }
    }

    /// Notes that somebody asked for what it may not have.
    pub async fn audit_denial(&self, by: &str, what: &str) {
        let is_audited = {
            let mut denials = self.denials.lock().unwrap_or_else(PoisonError::into_inner);
            let (since, count) = &mut *denials;
            if since.is_none_or(|since| since.elapsed() > Duration::from_secs(60)) {
                (*since, *count) = (Some(Instant::now()), 0);
            }
            *count += 1;
            *count <= DENIALS_AUDITED_PER_MINUTE
        };
        if is_audited {
            let event = audited(self.now_ms(), "permission-denied", by, what);
            // That somebody is refused does not depend on it.
            let _ = self.commit(vec![event]).await;
        }
    }

    // Steps.

    fn now_ms(&self) -> u64 {
        self.now().as_secs().saturating_mul(1000)
    }

    fn check_not_denied(&self, identity: &Identity) -> Result<(), RegistrationError> {
        let list = self.denied.read().unwrap_or_else(PoisonError::into_inner);
        match list.denies_identity(identity) {
            true => Err(RegistrationError::Revoked),
            false => Ok(()),
        }
    }

    fn check_name_is_free(&self, identity: &Identity) -> Result<(), RegistrationError> {
        let now_ms = self.now_ms();
        let issued = self
            .store
            .certificates(&identity.to_string(), CERTIFICATES_LOOKED_AT)?;
        let is_taken = issued.iter().any(|one| one.expires_ms > now_ms);
        match is_taken || is_operator(identity) {
            true => Err(RegistrationError::NameTaken),
            false => Ok(()),
        }
    }

    async fn issue(
        &self,
        identity: &Identity,
        key: &PublicKey,
        kind: &str,
        about: &str,
        before: Option<Write>,
    ) -> Result<Issued, RegistrationError> {
        let (role, name) = (identity.role(), identity.name());
        let now = self.now();
        let issued = self
            .authority
            .issue(role, name, key, Lifetime::OfRole, now)?;
        let leaf = &issued.leaf;
        let certificate = Certificate {
            serial: leaf.serial.as_bytes().to_vec(),
            identity: identity.to_string(),
            details: issued
                .chain
                .first()
                .map_or_else(Vec::new, |der| der.to_vec()),
            expires_ms: leaf.not_after_s.saturating_mul(1000),
        };
        let by = identity.to_string();
        let about = format!("serial={} {about}", leaf.serial);
        let writes = before.into_iter().chain([
            Write::CertificateIssued(certificate),
            audited(self.now_ms(), kind, &by, about.trim_end()),
        ]);
        self.commit(writes.collect()).await?;
        Ok(issued)
    }

    fn to_message(
        &self,
        request: u32,
        chain: Vec<CertificateDer<'static>>,
    ) -> Result<CertificateIssued, RegistrationError> {
        let bytes = |der: &CertificateDer<'_>| Bytes::try_from(der.to_vec()).ok();
        let trusted = self.authority.certificate(Role::Coordinator);
        let chain: Option<Vec<_>> = chain.iter().map(bytes).collect();
        let message = || {
            Some(CertificateIssued {
                request,
                chain: List::try_from(chain?).ok()?,
                trusted: List::try_from(vec![bytes(trusted)?]).ok()?,
                artifact_key: match self.artifact_key {
                    Some(key) => Some(Bytes::try_from(key.as_bytes().to_vec()).ok()?),
                    None => None,
                },
            })
        };
        message().ok_or(RegistrationError::CertificateTooLarge)
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<(), RegistrationError> {
        let Ok(_permit) = self.commits.acquire().await else {
            return Err(RegistrationError::Stopped);
        };
        let (done, answered) = oneshot::channel();
        let batch = Batch::at(self.now_ms(), writes);
        let ack = move |result: Result<_, CommitError>| {
            let _ = done.send(result);
        };
        (self.store.commit(batch, Box::new(ack))).map_err(|not_taken| not_taken.why)?;
        match answered.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(CommitError::Refused { why, .. })) => Err(match why {
                // Somebody else was faster.
                Refusal::UnknownToken => TokenError::Unknown.into(),
                Refusal::TokenExpired => TokenError::Expired.into(),
                refusal => RegistrationError::Refused(refusal),
            }),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(RegistrationError::Stopped),
        }
    }
}

fn is_operator(identity: &Identity) -> bool {
    identity.role() == Role::Client && identity.name() == OPERATOR
}

impl std::fmt::Debug for Identities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identities")
            .field("domain", self.authority.domain())
            .finish_non_exhaustive()
    }
}
