//! Submits jobs to a coordinator and gets their results.
//!
//! A [`Client`] keeps one connection, makes another when it is lost, and says again what was not answered: every request
//! is idempotent, jobs by the id that the client makes. Nothing is kept without a bound: what is appended and not durable,
//! and results that are not taken.
//!
//! ```no_run
//! # use ppwasm_client::{Client, ClientConfig, JobRequest, Order};
//! # use ppwasm_proto::{Call, FunctionBundle, JobId};
//! # async fn example(dialer: impl ppwasm_link::Dialer) -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::start(dialer, ClientConfig::default());
//! let bundle = FunctionBundle::function("job", "job.py", "def f(x): return x + 1", "f")?;
//! let id = JobId::from_bytes([7; 16]);
//! let mut job = client.submit(JobRequest::new(id, &bundle)).await?;
//! for x in 0..1000 {
//!     job.append(&Call::with_args([x])).await?;
//! }
//! job.finish().await?;
//! let mut results = client.results(id, Order::Task).await?;
//! while let Some(result) = results.next().await? {
//!     println!("{}: {:?}", result.task, result.outcome);
//! }
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod client;
mod connection;
mod error;
mod question;
mod request;
mod results;
mod submission;

use std::time::Duration;

pub use client::{Client, JobDetails, TaskDetails};
pub use error::ClientError;
pub use ppwasm_proto::wire::WatchOrder as Order;
pub use request::JobRequest;
pub use results::{JobEnded, JobEvent, LoadOutput, Results, TaskResult};
pub use submission::{Submission, UNACKNOWLEDGED_MAX};

/// Results that have arrived and are not taken.
pub const RESULTS_MAX: usize = 2048;

/// Settings.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Pause before the first try at another connection; it doubles. Default 50 ms.
    pub pause: Duration,
    /// Longest such pause. Default 5 s.
    pub pause_max: Duration,
    /// Time for the first session, after which the client ends with the reason; `None`, the default, for any time.
    /// Later ones are waited for, however long that takes.
    pub first_within: Option<Duration>,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            pause: Duration::from_millis(50),
            pause_max: Duration::from_secs(5),
            first_within: None,
        }
    }
}
