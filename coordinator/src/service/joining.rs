//! Letting those in who have no certificate: a token's proof against a certificate.
//!
//! Whatever does not hold is told in the same way, so that nobody learns from the answer how near a guess was.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ppwasm_certs::{JoinTranscript, PublicKey, TokenError};
use ppwasm_proto::wire::{
    CloseCode, ErrorCode, Join, JoinChallenge, JoinProof, Message, Refused, Text,
};
use ppwasm_session::{Session, SessionError};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::figures::Figures;
use crate::identities::{Identities, Joiner, RegistrationError};
use crate::server::chain;

/// A joiner has to be through within this.
const JOIN_DEADLINE: Duration = Duration::from_secs(20);
/// Tries of one address that do not hold, after which it waits.
const FAILURES_MAX: u32 = 10;
/// For so long.
const FAILURES_FORGOTTEN: Duration = Duration::from_secs(60);
/// Addresses that are told apart; beyond, the oldest are forgotten.
const ADDRESSES_MAX: usize = 4096;

/// Serves all who join, until nobody can come any more.
pub(super) async fn serve(
    identities: Arc<Identities>,
    figures: Arc<Figures>,
    mut joiners: mpsc::Receiver<Session>,
) {
    let mut joining: JoinSet<Option<IpAddr>> = JoinSet::new();
    let mut failures = Failures::default();
    loop {
        tokio::select! {
            joiner = joiners.recv() => {
                let Some(joiner) = joiner else { return };
                let address = joiner.handle.remote_address().ip().to_canonical();
                let identities = Arc::clone(&identities);
                let is_allowed = failures.allows(address, Instant::now());
                // How many there are at a time is limited by the listener.
                joining.spawn(async move {
                    let converse = converse(&identities, joiner, is_allowed);
                    let holds = timeout(JOIN_DEADLINE, converse).await;
                    (!matches!(holds, Ok(Ok(true)))).then_some(address)
                });
            }
            Some(done) = joining.join_next() => {
                let counter = match &done {
                    Ok(None) => &figures.joins_issued,
                    _ => &figures.joins_refused,
                };
                counter.add_one();
                if let Ok(Some(address)) = done {
                    info!(%address, "somebody tried to join in vain");
                    failures.add(address, Instant::now());
                }
            }
        }
    }
}

/// Whether the joiner got a certificate.
async fn converse(
    identities: &Identities,
    mut session: Session,
    is_allowed: bool,
) -> Result<bool, SessionError> {
    let answered = match is_allowed {
        true => judge(identities, &mut session).await?,
        false => Err(refused(
            ErrorCode::Busy,
            "too many tries from this address",
            Some(FAILURES_FORGOTTEN),
        )),
    };
    let (message, code, holds) = match answered {
        Ok(issued) => (issued, CloseCode::Finished, true),
        Err(refused) => (refused.into(), CloseCode::Refused, false),
    };
    session.sender.send(&message).await?;
    session.sender.finish(code, "").await;
    Ok(holds)
}

async fn judge(
    identities: &Identities,
    session: &mut Session,
) -> Result<Result<Message, Refused>, SessionError> {
    // What may come when is checked by the session already.
    let Message::Join(join) = session.receiver.receive().await? else {
        return Ok(Err(does_not_hold()));
    };
    let mut nonce = [0; 32];
    if getrandom::fill(&mut nonce).is_err() {
        return Ok(Err(refused(ErrorCode::Internal, "no random bytes", None)));
    }
    let challenge = JoinChallenge { nonce };
    session.sender.send(&challenge.into()).await?;
    let Message::JoinProof(proof) = session.receiver.receive().await? else {
        return Ok(Err(does_not_hold()));
    };
    let issued = issue(identities, &join, &nonce, &proof).await;
    Ok(issued.map_err(|error| match error {
        // All that is about the token is one and the same to the joiner.
        RegistrationError::Token(_) | RegistrationError::Name => does_not_hold(),
        RegistrationError::NameTaken | RegistrationError::Revoked => {
            refused(error.code(), &error.to_string(), None)
        }
        error => {
            warn!(error = %chain(&error), "a certificate could not be issued");
            refused(
                error.code(),
                &error.to_string(),
                error.retry_after_ms().map(Duration::from_millis),
            )
        }
    }))
}

async fn issue(
    identities: &Identities,
    join: &Join,
    coordinator_nonce: &[u8; 32],
    proof: &JoinProof,
) -> Result<Message, RegistrationError> {
    let key = PublicKey::from_bytes(proof.public_key);
    let joiner = Joiner {
        token: (join.token.parse()).map_err(|_| TokenError::Unknown)?,
        transcript: JoinTranscript {
            joiner_nonce: &join.nonce,
            coordinator_nonce,
            name: &proof.name,
            key: &key,
        },
        secret_proof: &proof.secret_proof,
        key_proof: &proof.key_proof,
    };
    let (_, issued) = identities.join(&joiner).await?;
    Ok(issued.into())
}

fn does_not_hold() -> Refused {
    let reason = "the token does not hold: unknown, used, expired, or for another name";
    refused(ErrorCode::TokenInvalid, reason, None)
}

fn refused(code: ErrorCode, reason: &str, retry: Option<Duration>) -> Refused {
    Refused {
        code,
        reason: Text::truncated(reason),
        retry_after_ms: retry.and_then(|after| u64::try_from(after.as_millis()).ok()),
        spoken: None,
    }
}

/// Who has tried in vain. Pure.
#[derive(Debug, Default)]
struct Failures {
    counts: HashMap<IpAddr, (Instant, u32)>,
}

impl Failures {
    fn allows(&mut self, address: IpAddr, now: Instant) -> bool {
        match self.counts.get(&address) {
            Some((since, _)) if now.saturating_duration_since(*since) > FAILURES_FORGOTTEN => {
                self.counts.remove(&address);
                true
            }
            Some((_, count)) => *count < FAILURES_MAX,
            None => true,
        }
    }

    fn add(&mut self, address: IpAddr, now: Instant) {
        if !self.counts.contains_key(&address) && self.counts.len() >= ADDRESSES_MAX {
            self.counts.retain(|_, (since, _)| {
                now.saturating_duration_since(*since) <= FAILURES_FORGOTTEN
            });
            if self.counts.len() >= ADDRESSES_MAX {
                // A guess is one in 2¹²⁸; what is kept down here is work, and the listener's rate does that too.
                self.counts.clear();
            }
        }
        self.counts.entry(address).or_insert((now, 0)).1 += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_waits_after_its_tries_and_is_forgotten() {
        let mut failures = Failures::default();
        let now = Instant::now();
        let address = IpAddr::from([192, 0, 2, 1]);
        for _ in 0..FAILURES_MAX {
            assert!(failures.allows(address, now));
            failures.add(address, now);
        }
        assert!(!failures.allows(address, now));
        assert!(failures.allows(IpAddr::from([192, 0, 2, 2]), now));
        assert!(!failures.allows(address, now + FAILURES_FORGOTTEN));
        let later = now + FAILURES_FORGOTTEN + Duration::from_secs(1);
        assert!(failures.allows(address, later));
        for n in 0..ADDRESSES_MAX as u32 + 5 {
            failures.add(IpAddr::from(n.to_be_bytes()), now);
        }
        assert!(failures.counts.len() <= ADDRESSES_MAX);
    }
}
