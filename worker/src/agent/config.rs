//! An agent's settings.

use std::time::Duration;

use ppwasm_proto::fabric::Incarnation;

/// Settings. [`Config::new`] has the defaults.
#[derive(Clone, Debug)]
pub struct Config {
    /// The life of this process.
    pub incarnation: Incarnation,
    /// Seed of the jitter in pauses.
    pub seed: u64,
    /// Tasks that run at once.
    pub slots: u32,
    /// Leases that wait for a slot, at most. Default 512.
    pub waiting_max: u32,
    /// Unacknowledged results with which nothing new is started. Default 4,096.
    pub results_max: usize,
    /// Time before a lease's end at which its task is stopped. Default 2 s.
    pub safety: Duration,
    /// Time without a word, from when a report was due, after which a session is given up. A coordinator with long leases,
    /// or thousands of workers, wants reports less often than that, and says nothing between them. Default 20 s.
    pub silence_max: Duration,
    /// Time after which an unacknowledged result is sent again. Default 10 s.
    pub resend_after: Duration,
    /// First pause before another connection. Default 200 ms.
    pub pause: Duration,
    /// Longest pause. Default 10 s.
    pub pause_max: Duration,
    /// How long a session has to last for the pauses to start over. Default 10 s.
    pub lasting: Duration,
}

impl Config {
    /// The defaults.
    pub const fn new(incarnation: Incarnation, seed: u64, slots: u32) -> Self {
        Self {
            incarnation,
            seed,
            slots,
            waiting_max: 512,
            results_max: 4096,
            safety: Duration::from_secs(2),
            silence_max: Duration::from_secs(20),
            resend_after: Duration::from_secs(10),
            pause: Duration::from_millis(200),
            pause_max: Duration::from_secs(10),
            lasting: Duration::from_secs(10),
        }
    }
}
