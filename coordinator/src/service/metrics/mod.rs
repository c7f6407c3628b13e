//! Figures for Prometheus, over HTTP.
//!
//! One address, one page: `GET /metrics` in the text format, version 0.0.4. Whoever reaches the address can read it, so it
//! is a loopback one unless somebody says otherwise; nothing in it is a secret, and nothing names a client.

mod http;
mod text;

use std::net::SocketAddr;
use std::sync::Arc;

use ppwasm_session::Sessions;
use tokio::net::TcpListener;

use self::text::Page;
use super::StartError;
use crate::server::{Server, Snapshot};

/// Where figures are read.
pub(super) struct Metrics {
    listener: TcpListener,
    address: SocketAddr,
}

impl Metrics {
    pub(super) async fn bind(address: SocketAddr) -> Result<Self, StartError> {
        let failed = |source| StartError::Metrics { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until it is dropped.
    pub(super) async fn serve(self, server: Arc<Server>, sessions: Sessions) {
        http::serve(self.listener, move || {
            let (server, sessions) = (Arc::clone(&server), sessions.clone());
            async move { page(&server, &sessions).await }
        })
        .await;
    }
}

/// `None` when the server has ended.
async fn page(server: &Server, sessions: &Sessions) -> Option<String> {
    let mut page = Page::default();
    // Counted first, then looked at: a task that is counted as ended is not shown as open on the same page.
    since_start(&mut page, server);
    let snapshot = server.snapshot().await?;
    of_now(&mut page, &snapshot, sessions.count());
    of_scheduler(&mut page, &snapshot);
    Some(page.into_text())
}

fn of_now(page: &mut Page, snapshot: &Snapshot, sessions: usize) {
    let totals = &snapshot.totals;
    let [live, ended, cancelled, invalid] = snapshot.jobs;
    page.gauges(
        "ppwasm_jobs",
        "Jobs that are kept, by state.",
        "state",
        &[
            ("live", live),
            ("ended", ended),
            ("cancelled", cancelled),
            ("function_invalid", invalid),
        ],
    );
    let leased = totals.leases;
    page.gauges(
        "ppwasm_tasks",
        "Tasks that have not ended: all, those that could be given to a worker, and leases that workers hold.",
        "state",
        &[
            ("open", totals.open_tasks),
            ("ready", totals.ready_tasks),
            ("leased", leased),
        ],
    );
    page.gauges(
        "ppwasm_workers",
        "Workers that are known.",
        "state",
        &[
            ("connected", totals.connected),
            ("away", totals.workers.saturating_sub(totals.connected)),
        ],
    );
    page.gauge("ppwasm_slots", "Slots of connected workers.", totals.slots);
    let sessions = sessions as u64;
    page.gauge("ppwasm_sessions", "Connections that are up.", sessions);
    page.gauge(
        "ppwasm_watches",
        "Watches of jobs that have not ended.",
        snapshot.watches,
    );
    page.gauge(
        "ppwasm_commits_waiting",
        "Groups of steps that wait to be committed.",
        snapshot.groups_waiting,
    );
    if let Some(free) = snapshot.free_bytes {
        page.gauge(
            "ppwasm_disk_free_bytes",
            "Bytes that are free where blobs are kept.",
            free,
        );
    }
}

fn of_scheduler(page: &mut Page, snapshot: &Snapshot) {
    let counters = &snapshot.counters;
    page.counters(
        "ppwasm_tasks_verified_total",
        "Tasks that were to be verified and have ended, by what came of it.",
        "verdict",
        &[
            ("confirmed", counters.confirmed),
            ("unconfirmed", counters.unverified),
            ("disputed", counters.disputed),
        ],
    );
    for (name, help, value) in [
        (
            "ppwasm_tasks_from_cache_total",
            "Tasks that ended as they were added, with an outcome that was known.",
            counters.from_cache,
        ),
        (
            "ppwasm_grants_total",
            "Leases that were granted.",
            counters.granted,
        ),
        (
            "ppwasm_attempts_lost_total",
            "Attempts that count as lost.",
            counters.lost,
        ),
        (
            "ppwasm_leases_taken_back_total",
            "Leases that were taken back for an idle worker.",
            counters.taken_back,
        ),
        (
            "ppwasm_second_attempts_total",
            "Second attempts beside a slow one.",
            counters.second_attempts,
        ),
        (
            "ppwasm_contradicted_outcomes_total",
            "Outcomes of workers that two others contradicted.",
            counters.contradicted,
        ),
        (
            "ppwasm_late_outcomes_total",
            "Outcomes for tasks that had ended, or jobs that are gone.",
            counters.late_outcomes,
        ),
        (
            "ppwasm_foreign_leases_total",
            "Leases that were named by a worker to which they were not given.",
            counters.foreign_leases,
        ),
        (
            "ppwasm_stale_messages_total",
            "Messages of sessions that have ended.",
            counters.stale_sessions,
        ),
        (
            "ppwasm_pauses_total",
            "Times that the process was found to have been stopped.",
            counters.pauses,
        ),
    ] {
        page.counter(name, help, value);
    }
}

fn since_start(page: &mut Page, server: &Server) {
    let figures = server.figures();
    let kinds = [
        "succeeded",
        "raised",
        "trapped",
        "limit_exceeded",
        "cancelled",
        "abandoned",
    ];
    let ended = kinds.iter().zip(&figures.tasks_ended);
    let ended: Vec<_> = ended.map(|(kind, count)| (*kind, count.value())).collect();
    page.counters(
        "ppwasm_tasks_ended_total",
        "Tasks that ended, by outcome.",
        "outcome",
        &ended,
    );
    let refused: Vec<_> = (figures.refused().into_iter())
        .map(|(code, count)| (code.to_string(), count))
        .collect();
    let refused: Vec<_> = (refused.iter())
        .map(|(code, count)| (code.as_str(), *count))
        .collect();
    page.counters(
        "ppwasm_refused_total",
        "What was refused, by code.",
        "code",
        &refused,
    );
    page.counters(
        "ppwasm_joins_total",
        "Those who tried to join.",
        "result",
        &[
            ("issued", figures.joins_issued.value()),
            ("refused", figures.joins_refused.value()),
        ],
    );
    page.counters(
        "ppwasm_images_total",
        "Function images, by what came of building them.",
        "result",
        &[
            ("built", figures.images_built.value()),
            ("failed", figures.images_failed.value()),
        ],
    );
    page.counters(
        "ppwasm_blob_bytes_total",
        "Bytes of blobs that peers put and got.",
        "direction",
        &[
            ("in", figures.blob_bytes_in.value()),
            ("out", figures.blob_bytes_out.value()),
        ],
    );
    for (name, help, counter) in [
        (
            "ppwasm_jobs_submitted_total",
            "Jobs that were submitted.",
            &figures.jobs_submitted,
        ),
        (
            "ppwasm_jobs_expired_total",
            "Jobs that were forgotten because their time was over.",
            &figures.jobs_expired,
        ),
        (
            "ppwasm_sessions_total",
            "Sessions that were taken up.",
            &figures.sessions,
        ),
        (
            "ppwasm_renewals_total",
            "Certificates that were renewed.",
            &figures.renewals,
        ),
        (
            "ppwasm_revocations_total",
            "Identities that were revoked.",
            &figures.revocations,
        ),
        (
            "ppwasm_rows_removed_total",
            "Rows that maintenance removed.",
            &figures.rows_removed,
        ),
        (
            "ppwasm_blobs_removed_total",
            "Blobs that maintenance removed.",
            &figures.blobs_removed,
        ),
    ] {
        page.counter(name, help, counter.value());
    }
    page.histogram(
        "ppwasm_commit_seconds",
        "Time from giving a batch to the store to its being durable.",
        &figures.commit_us.cumulative(),
        1e-6,
    );
    page.histogram(
        "ppwasm_commit_writes",
        "Writes in a batch.",
        &figures.commit_writes.cumulative(),
        1.0,
    );
}
