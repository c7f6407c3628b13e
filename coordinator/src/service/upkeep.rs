//! What is due now and then: sessions whose certificate is good no longer end, and own certificates are renewed.

use std::sync::Arc;
use std::time::Duration;

use ppwasm_certs::Credentials;
use ppwasm_proto::wire::CloseCode;
use ppwasm_session::Sessions;
use tokio::time::{Instant, timeout};
use tracing::{error, info};

use super::folder::{COORDINATOR_FILE, OPERATOR_FILE};
use super::{CoordinatorConfig, StartError, folder, server_tls};
use crate::identities::Identities;
use crate::server::chain;

/// How often it is looked; a session outlives its certificate, or a revocation that came while it began, by so much.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// After a renewal that failed.
const RENEWAL_PAUSE: Duration = Duration::from_secs(60);

pub(super) struct Upkeep {
    config: CoordinatorConfig,
    identities: Arc<Identities>,
    sessions: Sessions,
    own: Credentials,
    operator: Credentials,
    /// Own certificates are not looked at before.
    next_renewal: Instant,
}

impl Upkeep {
    pub(super) fn new(
        config: CoordinatorConfig,
        identities: Arc<Identities>,
        sessions: Sessions,
        own: Credentials,
        operator: Credentials,
    ) -> Self {
        Self {
            config,
            identities,
            sessions,
            own,
            operator,
            next_renewal: Instant::now(),
        }
    }

    /// Runs until it is dropped.
    pub(super) async fn run(mut self) {
        loop {
            // A revocation is carried out at once.
            let _ = timeout(LOOK_EVERY, self.identities.revocation()).await;
            self.close_sessions();
            if self.next_renewal <= Instant::now() {
                self.renew_own().await;
            }
        }
    }

    fn close_sessions(&self) {
        let now_s = self.identities.now().as_secs();
        let closed = self.sessions.close_where(|leaf| {
            if self.identities.denies(leaf) {
                Some((CloseCode::Revoked, "the certificate is revoked"))
            } else if leaf.not_after_s <= now_s {
                Some((CloseCode::Expired, "the certificate's time is over"))
            } else {
                None
            }
        });
        if closed > 0 {
            info!(
                closed,
                "sessions closed whose certificate is good no longer"
            );
        }
    }

    async fn renew_own(&mut self) {
        let now = self.identities.now();
        let is_due = |own: &Credentials| own.leaf().is_ok_and(|leaf| leaf.should_renew(now));
        if is_due(&self.own) {
            match self.renew_coordinator().await {
                Ok(own) => {
                    info!("the coordinator's certificate is renewed");
                    self.own = own;
                }
                Err(error) => self.renew_later(&error),
            }
        }
        if is_due(&self.operator) {
            let path = self.config.folder.join(OPERATOR_FILE);
            match folder::operator(&self.identities, &path).await {
                Ok(operator) => self.operator = operator,
                Err(error) => self.renew_later(&error),
            }
        }
    }

    fn renew_later(&mut self, error: &StartError) {
        error!(error = %chain(error), "a certificate of the coordinator's own could not be renewed");
        self.next_renewal = Instant::now() + RENEWAL_PAUSE;
    }

    async fn renew_coordinator(&self) -> Result<Credentials, StartError> {
        let path = self.config.folder.join(COORDINATOR_FILE);
        let own = folder::own(&self.identities, &path).await?;
        let tls = server_tls(&self.identities, &own, &self.config)?;
        (self.sessions.set_tls(tls)).map_err(|source| StartError::Listen {
            address: self.config.listen,
            source,
        })?;
        Ok(own)
    }
}
