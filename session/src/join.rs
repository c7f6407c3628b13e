//! How one gets credentials: with a join token the first time, over a live session later.
//!
//! Who joins has verified before it proves anything that the other end is of the authority that the token pins. What the
//! coordinator makes of the proofs is its own business.

use std::net::SocketAddr;
use std::sync::Arc;

use ppwasm_certs::{
    CertError, CertificateDer, Credentials, Identity, IdentityError, JoinToken, JoinTranscript,
    PrivateKey, PublicKey, Role, renewal_message, tls,
};
use ppwasm_proto::wire::{
    CertificateIssued, CloseCode, ErrorCode, Join, JoinProof, Message, RenewCertificate, Text,
};
use tokio::time::timeout;

use crate::connector::Connector;
use crate::error::{ConnectError, SessionError};
use crate::limits::HANDSHAKE_DEADLINE;
use crate::session::Session;

/// Why one has no credentials.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// There is no address to try.
    #[error("there is no address to connect to")]
    NoAddress,
    /// The coordinator could not be reached, or it is not of the authority that the token pins.
    #[error("could not connect to {address}")]
    Connect {
        /// The last address that was tried.
        address: SocketAddr,
        /// What happened there.
        source: ConnectError,
    },
    /// The connection ended on the way.
    #[error("the coordinator ended the connection")]
    Ended(#[from] SessionError),
    /// The coordinator refused. What about the token or the name was wrong it tells nobody.
    #[error("the coordinator refused: {reason} ({code})")]
    Refused {
        /// Why, for programs.
        code: ErrorCode,
        /// Why, for people.
        reason: String,
    },
    /// The coordinator took too long to answer.
    #[error("the coordinator did not answer in time")]
    TooSlow,
    /// The coordinator said something else than what comes here.
    #[error("the coordinator answered with something that has no place here")]
    Unexpected,
    /// No key could be made or used.
    #[error("the key or certificate cannot be used")]
    Key(#[from] CertError),
    /// There are no random bytes.
    #[error("the system gives no random bytes")]
    Random(#[source] getrandom::Error),
    /// The certificate that was issued is for somebody else.
    #[error("the certificate that was issued is not for this key and name")]
    OtherCertificate,
    /// The name is none.
    #[error("not a name: {name:?}")]
    Name {
        /// The name.
        name: String,
        /// Why not.
        source: IdentityError,
    },
}

/// Joins: connects to the first of `addresses` that answers, and proves that it knows the token.
///
/// `name` is what it would like to be called; a token may insist on another, and is refused then.
///
/// # Errors
///
/// What went wrong. The token is used up only when this returns credentials, or when the answer was lost on the way.
pub async fn join(
    addresses: &[SocketAddr],
    token: &JoinToken,
    name: &str,
) -> Result<Credentials, JoinError> {
    let time = Arc::new(tls::DefaultTimeProvider);
    let unusable = |address| {
        move |source| JoinError::Connect {
            address,
            source: ConnectError::Credentials(source),
        }
    };
    check_name(name)?;
    let first = *addresses.first().ok_or(JoinError::NoAddress)?;
    let config = tls::join_config(token.pin, time).map_err(unusable(first))?;
    let connector = Connector::new(config).map_err(|source| JoinError::Connect {
        address: first,
        source,
    })?;
    let session = connect(&connector, addresses).await?;
    let handle = session.handle.clone();
    let joined = timeout(HANDSHAKE_DEADLINE, converse(session, token, name)).await;
    let credentials = joined.map_err(|_| JoinError::TooSlow)?;
    handle.close(CloseCode::Finished, "joined");
    connector.settle().await;
    credentials
}

/// A coordinator would only say that it refuses.
fn check_name(name: &str) -> Result<(), JoinError> {
    let anywhere = "ppwasm".parse();
    let checked = anywhere.and_then(|domain| Identity::new(domain, Role::Worker, name));
    checked.map(drop).map_err(|source| JoinError::Name {
        name: name.to_owned(),
        source,
    })
}

async fn connect(connector: &Connector, addresses: &[SocketAddr]) -> Result<Session, JoinError> {
    let mut failure = JoinError::NoAddress;
    for &address in addresses {
        match connector.connect(address).await {
            Ok(session) => return Ok(session),
            Err(source) => failure = JoinError::Connect { address, source },
        }
    }
    Err(failure)
}

async fn converse(
    mut session: Session,
    token: &JoinToken,
    name: &str,
) -> Result<Credentials, JoinError> {
    let mut nonce = [0; 32];
    getrandom::fill(&mut nonce).map_err(JoinError::Random)?;
    let begin = Join {
        token: Text::truncated(&token.id.to_string()),
        nonce,
    };
    session.sender.send(&begin.into()).await?;
    let challenge = match session.receiver.receive().await? {
        Message::JoinChallenge(challenge) => challenge,
        other => return Err(refused(other)),
    };
    let key = PrivateKey::generate()?;
    let asked: Text<{ ppwasm_proto::wire::LABEL_BYTES_MAX }> = Text::truncated(name);
    let transcript = JoinTranscript {
        joiner_nonce: &nonce,
        coordinator_nonce: &challenge.nonce,
        name: asked.as_str(),
        key: key.public(),
    };
    let proof = JoinProof {
        secret_proof: token.prove(&transcript)?,
        key_proof: token.prove_key(&transcript, &key)?,
        public_key: *key.public().as_bytes(),
        name: asked.clone(),
    };
    session.sender.send(&proof.into()).await?;
    let issued = match session.receiver.receive().await? {
        Message::CertificateIssued(issued) => issued,
        other => return Err(refused(other)),
    };
    let credentials = credentials(key, issued)?;
    if credentials.leaf()?.identity.name() != asked.as_str() {
        return Err(JoinError::OtherCertificate);
    }
    Ok(credentials)
}

fn refused(message: Message) -> JoinError {
    match message {
        Message::Refused(refused) => JoinError::Refused {
            code: refused.code,
            reason: refused.reason.into_string(),
        },
        _ => JoinError::Unexpected,
    }
}

fn credentials(key: PrivateKey, issued: CertificateIssued) -> Result<Credentials, JoinError> {
    let certificates = |list: Vec<ppwasm_proto::wire::Bytes<_>>| {
        list.into_iter()
            .map(|der| CertificateDer::from(der.into_vec()))
            .collect::<Vec<_>>()
    };
    let artifact_key = match issued.artifact_key {
        None => None,
        Some(bytes) => {
            let bytes = <[u8; 32]>::try_from(bytes.into_vec());
            Some(PublicKey::from_bytes(
                bytes.map_err(|_| JoinError::Unexpected)?,
            ))
        }
    };
    let credentials = Credentials {
        key,
        chain: certificates(issued.chain.into_vec()),
        trusted: certificates(issued.trusted.into_vec()),
        artifact_key,
    };
    match credentials.leaf() {
        Ok(leaf) if leaf.identity.role() != Role::Coordinator => Ok(credentials),
        Ok(_) => Err(JoinError::OtherCertificate),
        Err(error) => Err(error.into()),
    }
}

/// A certificate that is being renewed.
#[derive(Debug)]
pub struct Renewal {
    identity: Identity,
    key: PrivateKey,
}

impl Renewal {
    /// A new key for the identity of `credentials`, and what to ask the coordinator.
    ///
    /// # Errors
    ///
    /// When there are no random bytes, or the credentials do not hold together.
    pub fn begin(
        credentials: &Credentials,
        request: u32,
    ) -> Result<(Self, RenewCertificate), JoinError> {
        let identity = credentials.leaf()?.identity;
        let key = PrivateKey::generate()?;
        let proof = key.sign(&renewal_message(&identity, key.public()))?;
        let message = RenewCertificate {
            request,
            public_key: *key.public().as_bytes(),
            key_proof: proof,
        };
        Ok((Self { identity, key }, message))
    }

    /// The new credentials, from the coordinator's answer.
    ///
    /// # Errors
    ///
    /// When the certificate is for somebody else.
    pub fn finish(self, issued: CertificateIssued) -> Result<Credentials, JoinError> {
        let credentials = credentials(self.key, issued)?;
        if credentials.leaf()?.identity != self.identity {
            return Err(JoinError::OtherCertificate);
        }
        Ok(credentials)
    }
}
