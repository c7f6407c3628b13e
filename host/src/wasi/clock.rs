//! The clocks that a guest can read and sleep on.
//!
//! Virtual time is the default: it starts where the host says, moves by a fixed step at each reading and at each change
//! of a file, and jumps over sleeps, so that two runs of a job read the same times. Real time is the opt-out.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::errno::{Errno, Interrupted};

/// By how much virtual time moves at each reading, unless the host says otherwise: 1 µs.
pub const STEP_NS: u64 = 1_000;

/// No sleep moves virtual time past this, in nanoseconds since 1970: the year 2200 begins. What programs keep time in
/// ends in 2262, and reading the clock moves it further.
pub const SLEEP_END_NS: u64 = 7_258_118_400_000_000_000;

/// The longest sleep in real time: a year. A longer one ends early.
const SLEEP_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Sleeps for a guest that runs in real time.
pub trait Sleeper: Send + Sync {
    /// Returns at `deadline`, or earlier with [`Interrupted`] when the job has to end.
    ///
    /// # Errors
    ///
    /// [`Interrupted`] ends the guest.
    fn sleep_until(&self, deadline: Instant) -> Result<(), Interrupted>;
}

/// Where a job's time comes from.
#[derive(Clone)]
pub enum Clock {
    /// Time that moves by rule.
    Virtual {
        /// The realtime clock at the start of the job, in nanoseconds since 1970.
        start_ns: u64,
        /// By how much time moves at each reading.
        step_ns: u64,
    },
    /// The system's clocks. CPU-time clocks tell the time since the start of the job.
    Real(Arc<dyn Sleeper>),
}

impl Clock {
    /// Virtual time that starts at `start_ns` (nanoseconds since 1970) and moves by [`STEP_NS`].
    #[must_use]
    pub const fn starting_at(start_ns: u64) -> Self {
        Self::Virtual {
            start_ns,
            step_ns: STEP_NS,
        }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::starting_at(0)
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Virtual { start_ns, step_ns } => f
                .debug_struct("Virtual")
                .field("start_ns", start_ns)
                .field("step_ns", step_ns)
                .finish(),
            Self::Real(_) => f.write_str("Real"),
        }
    }
}

/// Which clock the guest means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClockId {
    Realtime,
    Monotonic,
    CpuTime,
}

impl ClockId {
    pub(crate) fn new(raw: u32) -> Result<Self, Errno> {
        match raw {
            0 => Ok(Self::Realtime),
            1 => Ok(Self::Monotonic),
            2 | 3 => Ok(Self::CpuTime),
            _ => Err(Errno::INVAL),
        }
    }
}

/// A clock that runs. The monotonic clock goes on where the snapshot's stood, so that no deadline that the image
/// holds is ever seen to come from the future.
#[derive(Debug)]
pub(crate) struct RunningClock {
    clock: Clock,
    /// The monotonic clock at the start of the job.
    base_ns: u64,
    /// Virtual time since the start of the job.
    elapsed_ns: u64,
    /// The start of the job in real time; only read when time is real.
    started: Option<Instant>,
}

impl RunningClock {
    pub(crate) fn new(clock: Clock, base_ns: u64) -> Self {
        let started = matches!(clock, Clock::Real(_)).then(Instant::now);
        Self {
            clock,
            base_ns,
            elapsed_ns: 0,
            started,
        }
    }

    /// Reads a clock, which moves virtual time by one step.
    pub(crate) fn read(&mut self, id: ClockId) -> u64 {
        let now = self.peek(id);
        if let Clock::Virtual { step_ns, .. } = self.clock {
            self.elapsed_ns = self.elapsed_ns.saturating_add(step_ns);
        }
        now
    }

    /// Reads a clock without moving virtual time.
    pub(crate) fn peek(&self, id: ClockId) -> u64 {
        let elapsed = self.elapsed();
        match (id, &self.clock) {
            (ClockId::Realtime, Clock::Virtual { start_ns, .. }) => {
                start_ns.saturating_add(elapsed)
            }
            (ClockId::Realtime, Clock::Real(_)) => nanoseconds(
                SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .unwrap_or_default(),
            ),
            (ClockId::Monotonic, _) => self.base_ns.saturating_add(elapsed),
            (ClockId::CpuTime, _) => elapsed,
        }
    }

    fn elapsed(&self) -> u64 {
        self.started
            .map_or(self.elapsed_ns, |started| nanoseconds(started.elapsed()))
    }

    /// The smallest step that the clocks can show.
    pub(crate) fn resolution(&self) -> u64 {
        match self.clock {
            Clock::Virtual { step_ns, .. } => step_ns.max(1),
            Clock::Real(_) => 1,
        }
    }

    /// Sleeps for `wait_ns`. Virtual time moves at once, up to [`SLEEP_END_NS`]: a longer sleep ends early.
    pub(crate) fn sleep(&mut self, wait_ns: u64) -> Result<(), Interrupted> {
        match &self.clock {
            Clock::Virtual { .. } => {
                let latest = self
                    .peek(ClockId::Realtime)
                    .max(self.peek(ClockId::Monotonic));
                let wait_ns = wait_ns.min(SLEEP_END_NS.saturating_sub(latest));
                self.elapsed_ns = self.elapsed_ns.saturating_add(wait_ns);
                Ok(())
            }
            Clock::Real(sleeper) => {
                let wait = Duration::from_nanos(wait_ns).min(SLEEP_MAX);
                let now = Instant::now();
                sleeper.sleep_until(now.checked_add(wait).unwrap_or(now))
            }
        }
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
