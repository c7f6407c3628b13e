//! What one run is given and what it gives back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ppwasm_proto::{Call, Digest, JobId, Limits, Outcome, TaskId, TaskIdentity};

use crate::wasi::{InputTree, Interrupted, SharedBytes, Sink, Sleeper};

/// One call of a function, and everything the sandbox may see and use.
///
/// ```no_run
/// # use ppwasm_host::Task;
/// # use ppwasm_proto::{Call, Limits};
/// let task = Task::new(Call::with_args([41])).limits(Limits::default());
/// ```
pub struct Task {
    pub(crate) call: Call,
    pub(crate) limits: Limits,
    pub(crate) identity: TaskIdentity,
    pub(crate) time: TimeSource,
    pub(crate) stdin: SharedBytes,
    pub(crate) inputs: Option<Arc<InputTree>>,
    pub(crate) cancel: CancelToken,
    pub(crate) sink: Option<Sink>,
    pub(crate) hash_memory: bool,
    pub(crate) keep_instance: bool,
}

/// Where a task's clocks and random bytes come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeSource {
    /// The clock starts at this time (nanoseconds since 1970) and moves by rule, sleeping moves it at
    /// once, and random bytes follow from the task's identity: the same task gives the same bytes.
    Deterministic {
        /// When the job was submitted.
        start_ns: u64,
    },
    /// The system's clocks and entropy.
    Real,
}

impl Task {
    /// A task that makes `call` with default limits, no input, deterministic time from 0, and the
    /// identity of task 0 of a job named by nothing.
    #[must_use]
    pub fn new(call: Call) -> Self {
        Self {
            call,
            limits: Limits::default(),
            identity: TaskIdentity::new(JobId::from_bytes([0; 16]), TaskId(0)),
            time: TimeSource::Deterministic { start_ns: 0 },
            stdin: SharedBytes::EMPTY,
            inputs: None,
            cancel: CancelToken::new(),
            sink: None,
            hash_memory: false,
            keep_instance: false,
        }
    }

    /// Sets the limits.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Says which task of which job this is; its random stream follows from that.
    #[must_use]
    pub fn identity(mut self, identity: TaskIdentity) -> Self {
        self.identity = identity;
        self
    }

    /// Sets where time and random bytes come from.
    #[must_use]
    pub fn time(mut self, time: TimeSource) -> Self {
        self.time = time;
        self
    }

    /// Gives the task bytes on standard input.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<SharedBytes>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Grants files, read-only, in the working directory.
    #[must_use]
    pub fn inputs(mut self, inputs: Arc<InputTree>) -> Self {
        self.inputs = Some(inputs);
        self
    }

    /// Uses a token by which others can cancel the task.
    #[must_use]
    pub fn cancel_token(mut self, cancel: CancelToken) -> Self {
        self.cancel = cancel;
        self
    }

    /// Shows output to `sink` as it comes; it is captured as well.
    #[must_use]
    pub fn output_sink(mut self, sink: Sink) -> Self {
        self.sink = Some(sink);
        self
    }

    /// Lets this call see what earlier calls of the same job and function left in the slot, and leave
    /// what it does to later ones, instead of starting fresh: faster, and neither isolated nor
    /// deterministic. Calls of other jobs and calls without this never see it. A slot may start fresh
    /// all the same; the pooled start path always does.
    #[must_use]
    pub fn keep_instance(mut self, keep: bool) -> Self {
        self.keep_instance = keep;
        self
    }

    /// Has the report carry the digest of the whole linear memory after the call. It costs a pass
    /// over the memory; determinism is checked with it.
    #[must_use]
    pub fn hash_memory(mut self, hash: bool) -> Self {
        self.hash_memory = hash;
        self
    }
}

/// What a run gave.
#[derive(Debug, Clone)]
pub struct Report {
    /// How the task ended.
    pub outcome: Outcome,
    /// What it wrote to standard output, up to the limit.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error, up to the limit.
    pub stderr: Vec<u8>,
    /// What it used.
    pub usage: Usage,
    /// Digest of the linear memory after the call, if asked for and if there was one to hash.
    pub memory_digest: Option<Digest>,
}

/// What a run used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// From start to end of the call.
    pub wall_time: Duration,
    /// Size of the linear memory at the end.
    pub memory_bytes: u64,
}

/// Cancels the tasks that were given it. Cloning gives another handle to the same token.
#[derive(Debug, Clone, Default)]
pub struct CancelToken(Arc<CancelState>);

#[derive(Debug, Default)]
struct CancelState {
    cancelled: AtomicBool,
    lock: Mutex<()>,
    changed: Condvar,
}

impl CancelToken {
    /// A token that nothing has been cancelled with.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancels: tasks that run end within 100 ms, tasks that wait do not start.
    pub fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::Release);
        // Taken so that a sleeper is either before its look at the flag or inside its wait.
        let _guard = self.0.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.changed.notify_all();
    }

    /// Whether it has been cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::Acquire)
    }

    /// Sleeps until `deadline`; true when that was cut short by cancelling.
    fn sleep_until(&self, deadline: Instant) -> bool {
        let mut guard = self.0.lock.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if self.is_cancelled() {
                return true;
            }
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                return false;
            };
            if left.is_zero() {
                return false;
            }
            guard = self
                .0
                .changed
                .wait_timeout(guard, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

/// Sleeps for a guest in real time: no longer than its wall-time limit, and wakes for a cancel.
pub(crate) struct BoundedSleeper {
    pub(crate) cancel: CancelToken,
    pub(crate) deadline: Instant,
}

impl Sleeper for BoundedSleeper {
    fn sleep_until(&self, wake: Instant) -> Result<(), Interrupted> {
        let cut_short = self.cancel.sleep_until(wake.min(self.deadline));
        if cut_short || wake > self.deadline {
            Err(Interrupted)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_ends_at_the_limit_or_at_a_cancel() {
        let cancel = CancelToken::new();
        let now = Instant::now();
        let sleeper = BoundedSleeper {
            cancel: cancel.clone(),
            deadline: now + Duration::from_millis(20),
        };
        assert!(sleeper.sleep_until(now + Duration::from_millis(1)).is_ok());
        assert!(
            sleeper
                .sleep_until(now + Duration::from_secs(3_600))
                .is_err()
        );

        let far = BoundedSleeper {
            cancel: cancel.clone(),
            deadline: now + Duration::from_secs(3_600),
        };
        let waiter = std::thread::spawn(move || far.sleep_until(now + Duration::from_secs(3_600)));
        cancel.cancel();
        assert!(waiter.join().unwrap().is_err());
    }
}
