//! A job to be submitted.

use std::sync::Arc;

use ppwasm_proto::fabric::Priority;
use ppwasm_proto::wire::{BlobRef, OpenJob, Ranged, Text, TimeSource};
use ppwasm_proto::{FunctionBundle, JobId, Limits};

/// A job to be submitted.
#[derive(Clone, Debug)]
pub struct JobRequest {
    pub(crate) open: OpenJob,
    /// What the job names: put before it is opened.
    pub(crate) blobs: Vec<Arc<[u8]>>,
}

impl JobRequest {
    /// A job of the bundle's function under an id of the caller's: the same id again is the same job.
    pub fn new(job: JobId, bundle: &FunctionBundle) -> Self {
        let bundle: Arc<[u8]> = bundle.to_bytes().into();
        Self {
            open: OpenJob {
                request: 0,
                job,
                function: BlobRef::of(&bundle),
                name: Text::default(),
                priority: Priority::default(),
                limits: Limits::default(),
                time: TimeSource::Deterministic { start_ns: 0 },
                attempts_max: None,
                stdin: None,
                inputs: None,
                keep_instance: None,
                hash_memory: None,
                stop_at_failure: None,
                keep_for_s: None,
                stream: None,
                verify_percent: None,
                cache: None,
            },
            blobs: vec![bundle],
        }
    }

    /// What each task may use.
    #[must_use]
    pub const fn limits(mut self, limits: Limits) -> Self {
        self.open.limits = limits;
        self
    }

    /// Where clocks and random bytes of its tasks come from. By default the clock starts at 0.
    #[must_use]
    pub const fn time(mut self, time: TimeSource) -> Self {
        self.open.time = time;
        self
    }

    /// How urgent it is among the client's jobs.
    #[must_use]
    pub const fn priority(mut self, priority: Priority) -> Self {
        self.open.priority = priority;
        self
    }

    /// What people call it, cut to what a name may have.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.open.name = Text::truncated(name);
        self
    }

    /// Tries at a task before it is given up; what is out of range counts as the nearest number in it.
    #[must_use]
    pub const fn attempts_max(mut self, attempts: u64) -> Self {
        self.open.attempts_max = Some(Ranged::clamped(attempts));
        self
    }

    /// Standard input of each task.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Arc<[u8]>>) -> Self {
        self.open.stdin = Some(self.blob(bytes.into()));
        self
    }

    /// Files granted to each task: an input tree as bytes.
    #[must_use]
    pub fn inputs(mut self, tree: impl Into<Arc<[u8]>>) -> Self {
        self.open.inputs = Some(self.blob(tree.into()));
        self
    }

    /// Calls may see what earlier calls of the job left in the slot.
    #[must_use]
    pub const fn keep_instance(mut self, keep: bool) -> Self {
        self.open.keep_instance = Some(keep);
        self
    }

    /// Cancels the rest of the job when a task does not succeed.
    #[must_use]
    pub const fn stop_at_failure(mut self, stop: bool) -> Self {
        self.open.stop_at_failure = Some(stop);
        self
    }

    /// For how long outcomes are kept after the job has ended, in seconds.
    #[must_use]
    pub const fn keep_for_s(mut self, seconds: u64) -> Self {
        self.open.keep_for_s = Some(seconds);
        self
    }

    /// The identity that random bytes of its tasks follow from, when it is not the job's own: so another job does the
    /// same again.
    #[must_use]
    pub const fn stream(mut self, stream: JobId) -> Self {
        self.open.stream = Some(stream);
        self
    }

    /// Share of its tasks, in percent, whose outcome counts only when another worker, of another architecture if there is
    /// one, gave the same bytes; what is out of range counts as the nearest number in it. A coordinator of a minor version
    /// before [`MINOR_WITH_VERIFICATION`](ppwasm_proto::wire::MINOR_WITH_VERIFICATION) does not look at it.
    #[must_use]
    pub const fn verify_percent(mut self, percent: u64) -> Self {
        self.open.verify_percent = Some(Ranged::clamped(percent));
        self
    }

    /// Tasks end with the outcome of an earlier job of this client where the same call is known, and are not run: same
    /// bundle, arguments, guest, limits, inputs and clock. So give a time at which the clock starts that is the same each
    /// time, or leave it at 0. Random bytes follow from the call, and from [`JobRequest::stream`] when that is given. Refused
    /// for tasks that may give something else each time. A coordinator of a minor version before
    /// [`MINOR_WITH_CACHE`](ppwasm_proto::wire::MINOR_WITH_CACHE) does not look at it.
    #[must_use]
    pub const fn cache(mut self, cache: bool) -> Self {
        self.open.cache = Some(cache);
        self
    }

    fn blob(&mut self, bytes: Arc<[u8]>) -> BlobRef {
        let blob = BlobRef::of(&bytes);
        self.blobs.push(bytes);
        blob
    }
}
