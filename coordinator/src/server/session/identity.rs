//! What a session says about identities: join tokens, revocations, renewed certificates.

use std::sync::Arc;

use ppwasm_certs::{Leaf, PublicKey, Role};
use ppwasm_link::{LinkReceiver, Peer};
use ppwasm_proto::fabric::WorkerId;
use ppwasm_proto::wire::{
    Done, ErrorCode, JoinRole, Message, MintToken, OPERATOR, RenewCertificate, RevokeIdentity,
    Text, TokenMinted, Welcome,
};

use tracing::warn;

use super::{End, Reader};
use crate::identities::{Identities, RegistrationError};
use crate::server::core::{Input, failed};

/// Says in a welcome what the peer's certificate gives reason for, and what time it is here.
pub(super) fn complete(
    welcome: &mut Welcome,
    identities: &Option<Arc<Identities>>,
    certificate: Option<&Leaf>,
) {
    if let Some(identities) = identities {
        let now = identities.now();
        welcome.wall_clock_s = Some(now.as_secs());
        welcome.renew_certificate = certificate.map(|leaf| leaf.should_renew(now));
    }
}

impl<R: LinkReceiver> Reader<'_, R> {
    /// Whether the peer may do what concerns everybody.
    pub(super) fn is_operator(&self) -> bool {
        matches!(&self.peer, Peer::Client(name) if name.as_str() == OPERATOR)
    }

    pub(super) async fn take_about_identities(&mut self, message: Message) -> Result<(), End> {
        let (request, what) = match &message {
            Message::MintToken(ask) => (ask.request, "mint a token"),
            Message::RevokeIdentity(ask) => (ask.request, "revoke an identity"),
            Message::RenewCertificate(ask) => (ask.request, ""),
            _ => return Ok(()),
        };
        let Some(identities) = self.shared.identities.clone() else {
            let reason = "there are no identities in one process";
            return self
                .say(failed(request, ErrorCode::InvalidValue, reason, None))
                .await;
        };
        if !what.is_empty() && !self.is_operator() {
            return self.deny(request, what).await;
        }
        let by = self.peer.to_string();
        let answer = match message {
            Message::MintToken(ask) => mint(&identities, ask, &by).await,
            Message::RevokeIdentity(ask) => self.revoke(&identities, ask, &by).await,
            Message::RenewCertificate(ask) => {
                let renewed = renew(&identities, self.certificate, ask).await;
                if renewed.is_ok() {
                    self.shared.figures.renewals.add_one();
                }
                renewed
            }
            _ => return Ok(()),
        };
        let answer = answer.unwrap_or_else(|error| {
            failed(
                request,
                error.code(),
                &error.to_string(),
                error.retry_after_ms(),
            )
        });
        self.say(answer).await
    }

    /// Refuses what only the operator may do, and notes that somebody else tried.
    pub(super) async fn deny(&mut self, request: u32, what: &str) -> Result<(), End> {
        warn!(peer = %self.peer, what, "permission denied");
        if let Some(identities) = &self.shared.identities {
            let by = self.peer.to_string();
            identities.audit_denial(&by, what).await;
        }
        let reason = "the operator's to ask";
        self.say(failed(request, ErrorCode::PermissionDenied, reason, None))
            .await
    }

    async fn revoke(
        &mut self,
        identities: &Identities,
        ask: RevokeIdentity,
        by: &str,
    ) -> Result<Message, RegistrationError> {
        let role = role_of(ask.role);
        let reason = ask.reason.as_str();
        let identity = identities.revoke(role, &ask.name, reason, by).await?;
        if let Some(worker) = identity.worker() {
            self.tell_revoked(worker).await?;
        }
        self.shared.figures.revocations.add_one();
        let request = ask.request;
        Ok(Done { request }.into())
    }

    async fn tell_revoked(&mut self, worker: WorkerId) -> Result<(), RegistrationError> {
        let told = self.tell(Input::Revoked { worker }).await;
        told.map_err(|_| RegistrationError::Stopped)
    }
}

async fn renew(
    identities: &Identities,
    certificate: Option<&Leaf>,
    ask: RenewCertificate,
) -> Result<Message, RegistrationError> {
    // Who asks is known from the certificate alone.
    let leaf = certificate.ok_or(RegistrationError::Name)?;
    let key = PublicKey::from_bytes(ask.public_key);
    let issued = identities
        .renew(ask.request, &leaf.identity, &key, &ask.key_proof)
        .await?;
    Ok(issued.into())
}

async fn mint(
    identities: &Identities,
    ask: MintToken,
    by: &str,
) -> Result<Message, RegistrationError> {
    let name = ask.name.as_ref().map(|name| name.as_str());
    let (token, lifetime_s) = identities
        .mint(role_of(ask.role), name, ask.lifetime_s, by)
        .await?;
    Ok(TokenMinted {
        request: ask.request,
        token: Text::truncated(&token.to_string()),
        lifetime_s,
    }
    .into())
}

const fn role_of(role: JoinRole) -> Role {
    match role {
        JoinRole::Worker => Role::Worker,
        JoinRole::Client => Role::Client,
    }
}
