//! rustls's settings: TLS 1.3 only, both ends prove who they are, nothing is remembered between connections.
//!
//! Names of hosts do not matter: a coordinator is known by its authority and its URI, so it can move and be reached by
//! any address. A resumed or early connection would not look at certificates again, so there are neither tickets nor
//! early data.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use ppwasm_proto::wire::{ALPN, ALPN_JOIN};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ServerConfig};
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError};
use rustls::{PeerIncompatible, SignatureScheme};

use crate::credentials::{Credentials, Trust};
use crate::deny::DenyList;
use crate::error::CertError;
use crate::identity::{Role, TrustDomain};
use crate::leaf::{Leaf, LeafError};
use crate::token::AuthorityPin;

pub use rustls::time_provider::DefaultTimeProvider;

/// What a client asks for as the server's name. It is not sent and not looked at.
pub const SERVER_NAME: &str = "coordinator.ppwasm.invalid";

/// Says whether a certificate that holds otherwise is let in. Asked at each handshake.
pub trait Gate: fmt::Debug + Send + Sync {
    /// Whether it is.
    fn admits(&self, leaf: &Leaf) -> bool;
}

/// Lets in all whom the list does not deny.
impl Gate for RwLock<DenyList> {
    fn admits(&self, leaf: &Leaf) -> bool {
        !self
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .denies(leaf)
    }
}

/// Settings of a coordinator.
///
/// `joins` lets those connect who have no certificate, by the protocol name [`ALPN_JOIN`]. Whoever accepts a connection
/// has to ask [`peer`] who it is.
///
/// # Errors
///
/// When the own credentials do not hold together.
pub fn server_config(
    credentials: &Credentials,
    trust: Trust,
    gate: Arc<dyn Gate>,
    joins: bool,
    time: Arc<dyn TimeProvider>,
) -> Result<ServerConfig, CertError> {
    let own = credentials.leaf()?;
    let provider = provider();
    let verifier = PeerVerifier {
        domain: own.identity.domain().clone(),
        trust,
        gate,
        joins,
        provider: provider.clone(),
    };
    let mut config = ServerConfig::builder_with_details(provider, time)
        .with_protocol_versions(&[&TLS13])
        .map_err(CertError::Tls)?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_single_cert(credentials.chain.clone(), credentials.key.to_rustls())
        .map_err(CertError::Tls)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    if joins {
        config.alpn_protocols.push(ALPN_JOIN.to_vec());
    }
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(config)
}

/// Settings of a worker or client. It trusts the coordinators of its credentials, of its own trust domain.
///
/// # Errors
///
/// When the own credentials do not hold together.
pub fn client_config(
    credentials: &Credentials,
    time: Arc<dyn TimeProvider>,
) -> Result<ClientConfig, CertError> {
    let own = credentials.leaf()?;
    let provider = provider();
    let verifier = CoordinatorVerifier {
        known: Known::Trusted {
            trust: Trust::of_coordinators(&credentials.trusted)?,
            domain: own.identity.domain().clone(),
        },
        provider: provider.clone(),
    };
    let config = ClientConfig::builder_with_details(provider, time)
        .with_protocol_versions(&[&TLS13])
        .map_err(CertError::Tls)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_auth_cert(credentials.chain.clone(), credentials.key.to_rustls())
        .map_err(CertError::Tls)?;
    Ok(without_memory(config, ALPN))
}

/// Settings of somebody who joins: no certificate, and a coordinator of the authority that the token pins.
///
/// # Errors
///
/// None that is known.
pub fn join_config(
    pin: AuthorityPin,
    time: Arc<dyn TimeProvider>,
) -> Result<ClientConfig, CertError> {
    let provider = provider();
    let verifier = CoordinatorVerifier {
        known: Known::Pinned(pin),
        provider: provider.clone(),
    };
    let config = ClientConfig::builder_with_details(provider, time)
        .with_protocol_versions(&[&TLS13])
        .map_err(CertError::Tls)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(without_memory(config, ALPN_JOIN))
}

fn without_memory(mut config: ClientConfig, alpn: &[u8]) -> ClientConfig {
    config.alpn_protocols = vec![alpn.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config.enable_sni = false;
    config
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Who is at the other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Somebody with a certificate.
    Known(Leaf),
    /// Somebody who has none and may only join.
    Joiner,
}

/// Why a connection that TLS has let through is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// No protocol was agreed on, or an unknown one.
    #[error("no protocol name was agreed on")]
    Protocol,
    /// No certificate, and not by the name for joining.
    #[error("the peer has no certificate")]
    Anonymous,
    /// A certificate, by the name for joining.
    #[error("a peer with a certificate has no reason to join")]
    JoinsWithCertificate,
    /// The certificate, which TLS has verified, cannot be read.
    #[error("the peer's certificate does not name it")]
    Leaf(#[from] LeafError),
}

/// Who has connected, by the protocol's name and the certificates of a finished handshake.
///
/// # Errors
///
/// When the two do not belong together.
pub fn peer(alpn: Option<&[u8]>, chain: Option<&[CertificateDer<'_>]>) -> Result<Peer, PeerError> {
    let leaf = chain.and_then(<[_]>::first);
    match (alpn, leaf) {
        (Some(ALPN), Some(leaf)) => Ok(Peer::Known(Leaf::read(leaf)?)),
        (Some(ALPN), None) => Err(PeerError::Anonymous),
        (Some(ALPN_JOIN), None) => Ok(Peer::Joiner),
        (Some(ALPN_JOIN), Some(_)) => Err(PeerError::JoinsWithCertificate),
        _ => Err(PeerError::Protocol),
    }
}

/// Verifies workers and clients.
#[derive(Debug)]
struct PeerVerifier {
    domain: TrustDomain,
    trust: Trust,
    gate: Arc<dyn Gate>,
    joins: bool,
    provider: Arc<CryptoProvider>,
}

impl PeerVerifier {
    fn verify(&self, der: &CertificateDer<'_>, now: UnixTime) -> Result<(), LeafError> {
        let role = Leaf::read(der)?.identity.role();
        if role == Role::Coordinator {
            return Err(LeafError::Role {
                found: role,
                wanted: "worker or client",
            });
        }
        let leaf = Leaf::verify(der, self.trust.anchors(role), now)?;
        if *leaf.identity.domain() != self.domain {
            return Err(LeafError::Domain);
        }
        if self.gate.admits(&leaf) {
            Ok(())
        } else {
            Err(LeafError::Denied)
        }
    }
}

impl ClientCertVerifier for PeerVerifier {
    fn client_auth_mandatory(&self) -> bool {
        !self.joins
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verify(end_entity, now)
            .map(|()| ClientCertVerified::assertion())
            .map_err(refuse)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(not_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_signature(&self.provider, message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

/// Verifies coordinators.
#[derive(Debug)]
struct CoordinatorVerifier {
    known: Known,
    provider: Arc<CryptoProvider>,
}

/// How a coordinator is known.
#[derive(Debug)]
enum Known {
    Trusted { trust: Trust, domain: TrustDomain },
    Pinned(AuthorityPin),
}

impl CoordinatorVerifier {
    fn verify(
        &self,
        der: &CertificateDer<'_>,
        sent: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), LeafError> {
        let role = Leaf::read(der)?.identity.role();
        if role != Role::Coordinator {
            return Err(LeafError::Role {
                found: role,
                wanted: "coordinator",
            });
        }
        match &self.known {
            Known::Trusted { trust, domain } => {
                let leaf = Leaf::verify(der, trust.anchors(Role::Coordinator), now)?;
                if leaf.identity.domain() == domain {
                    Ok(())
                } else {
                    Err(LeafError::Domain)
                }
            }
            Known::Pinned(pin) => {
                let authority = sent.iter().find(|sent| AuthorityPin::of(sent) == *pin);
                let trust = Trust::of_coordinators(authority.map_or(&[], std::slice::from_ref))
                    .map_err(|_| LeafError::Issuer)?;
                Leaf::verify(der, trust.anchors(Role::Coordinator), now).map(drop)
            }
        }
    }
}

impl ServerCertVerifier for CoordinatorVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verify(end_entity, intermediates, now)
            .map(|()| ServerCertVerified::assertion())
            .map_err(refuse)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(not_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_signature(&self.provider, message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

fn verify_signature(
    provider: &CryptoProvider,
    message: &[u8],
    cert: &CertificateDer<'_>,
    dss: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let algorithms = &provider.signature_verification_algorithms;
    rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
}

const fn not_tls13() -> Error {
    Error::PeerIncompatible(PeerIncompatible::Tls13RequiredForQuic)
}

/// TLS's own words where it has them, so that the peer's alert says the same.
fn refuse(error: LeafError) -> Error {
    Error::InvalidCertificate(match error {
        LeafError::Malformed => CertificateError::BadEncoding,
        LeafError::Expired => CertificateError::Expired,
        LeafError::NotYetValid => CertificateError::NotValidYet,
        LeafError::Issuer => CertificateError::UnknownIssuer,
        LeafError::Usage => CertificateError::InvalidPurpose,
        LeafError::Denied => CertificateError::Revoked,
        other => CertificateError::Other(OtherError(Arc::new(other))),
    })
}
