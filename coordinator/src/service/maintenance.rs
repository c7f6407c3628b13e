//! What has to be removed now and then, in bounded pieces: jobs whose time is over, their rows, blobs that nobody names,
//! expired tokens.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::sleep;
use tracing::{debug, warn};

use crate::server::Server;
use crate::store::{CommitError, Maintained, Maintenance, Store};

/// From one round to the next.
const EVERY: Duration = Duration::from_secs(10);
/// From one piece to the next when something is left to do: jobs go first.
const PIECE_PAUSE: Duration = Duration::from_millis(50);
/// What jobs name besides their function is said again this often, and is kept for much longer than this.
const RENEW_PINS_EVERY: Duration = Duration::from_secs(6 * 60 * 60);
/// Nothing is removed before: what jobs name is said again first.
const FIRST: Duration = Duration::from_secs(30);

/// Runs until it is dropped, or the server has ended.
pub(super) async fn run(server: Arc<Server>, store: Arc<dyn Store>, first: Option<Duration>) {
    let mut renewed = tokio::time::Instant::now();
    server.renew_pins().await;
    sleep(first.unwrap_or(FIRST)).await;
    loop {
        let expired = server.forget_expired().await;
        let maintained = match piece(&*store).await {
            Ok(maintained) => maintained,
            Err(CommitError::Busy { .. } | CommitError::NoSpace { .. }) => Maintained::default(),
            Err(error) => {
                warn!(error = %error, "maintenance ends with the store");
                return;
            }
        };
        let figures = server.figures();
        figures.rows_removed.add(maintained.rows);
        figures.blobs_removed.add(maintained.blobs);
        if expired > 0 || maintained.rows > 0 || maintained.blobs > 0 {
            debug!(
                jobs = expired,
                rows = maintained.rows,
                blobs = maintained.blobs,
                blob_bytes = maintained.blob_bytes,
                "removed what nobody needs"
            );
        }
        if renewed.elapsed() > RENEW_PINS_EVERY {
            renewed = tokio::time::Instant::now();
            server.renew_pins().await;
        }
        let is_more = maintained.more && maintained.rows + maintained.blobs > 0 || expired > 0;
        sleep(if is_more { PIECE_PAUSE } else { EVERY }).await;
    }
}

async fn piece(store: &dyn Store) -> Result<Maintained, CommitError> {
    let (done, answered) = oneshot::channel();
    let ack = move |result| {
        let _ = done.send(result);
    };
    let now_ms = crate::server::wall_ms();
    store.maintain(Maintenance::at(now_ms), Box::new(ack))?;
    // A store that drops its answer has ended, and says so next time.
    answered.await.unwrap_or(Ok(Maintained::default()))
}
