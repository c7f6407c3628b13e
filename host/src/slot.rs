//! A slot: runs one call at a time, each from its function's image, by one of two start paths.
//!
//! **Pooled** (path D): a fresh instance from wasmtime's pooling allocator, whose memory is the base
//! image by copy-on-write, with the function image's pages written over it. No unsafe code of ours.
//!
//! **Overlay** (path E): the slot keeps its instance. The function's whole memory is mapped privately
//! over the instance's; after a call the pages that were written are copied back from the image,
//! so that the next call finds exactly the image. Linear memory and the stack pointer are all the
//! state that the module has (`docs/guest-abi.md`; proved when it is built). After anything but an ordinary
//! reply the instance is dropped.

use std::ptr::NonNull;
use std::sync::Arc;
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use ppwasm_proto::{Digest, JobId, LimitKind, Limits, Outcome, Reply, TrapCause};

use crate::base::Base;
use crate::budget::{Budget, Share};
use crate::cpu::Bounds;
use crate::error::HostError;
use crate::function::{Function, Loaded};
use crate::host::SLOTS_MAX;
use crate::instance::{Ended, Instance, Request, State};
use crate::room::AddressSpace;
use crate::sys::{self, Overlay, PAGE_BYTES};
use crate::task::{BoundedSleeper, Report, Task, TimeSource, Usage};
use crate::wasi::{Clock, JobIo, Random, ScratchLimits, Wasi};
use crate::watchdog::{Deadlines, Watch, Watchdog};

/// How calls start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum StartPath {
    /// The overlay where the system has what it needs, else the pool.
    #[default]
    Best,
    /// Keep the instance, copy changed pages back.
    Overlay,
    /// A new instance from wasmtime's pool for each call.
    Pooled,
}

/// Private pages that an idle slot keeps; with more, the newest are given back to the kernel.
/// 1.5 MiB, so that an idle slot stays under 2 MiB.
const HOT_PAGES_MAX: u32 = 384;
/// After so many calls the slot looks which of its private pages the last call changed, and gives the
/// others back: copying a page costs less than a fault, but only if it is written now and then. The
/// distance doubles after each look, so that what calls write rarely is not given back for ever.
const FIRST_REVIEW_CALLS: u32 = 32;

/// A unit of capacity: runs one call at a time on the thread that holds it.
pub struct Slot {
    base: Arc<Base>,
    watchdog: Arc<Watchdog>,
    watch: Arc<Watch>,
    budget: Arc<Budget>,
    path: Path,
}

enum Path {
    Overlay(Option<Box<Live>>),
    Pooled,
}

/// Guests that the pool has room for: every slot of a host, and as many again for callers' own, if the address space has.
fn pooled_instances_max() -> u32 {
    let room = AddressSpace::probe().slots(Bounds::Guarded);
    let instances = room.unwrap_or(usize::MAX).clamp(1, 2 * SLOTS_MAX);
    u32::try_from(instances).unwrap_or(u32::MAX)
}

/// An instance that is kept between calls, and what is mapped over its memory.
struct Live {
    instance: Instance,
    overlay: Overlay,
    function: Arc<Loaded>,
    /// Private pages, as runs of (page, count): what has to be copied back.
    hot: Vec<(u32, u32)>,
    /// Scratch for the next list.
    found: Vec<(u32, u32)>,
    /// The thread and its page faults when `hot` was last complete.
    faults: Option<(ThreadId, u64)>,
    calls_to_review: u32,
    review_calls: u32,
    /// The job whose calls share what the memory holds now; `None` when it is the image.
    kept_for: Option<JobId>,
}

impl Slot {
    pub(crate) fn new(
        base: Arc<Base>,
        watchdog: Arc<Watchdog>,
        budget: Arc<Budget>,
        path: StartPath,
    ) -> Result<Self, HostError> {
        let overlay = match path {
            StartPath::Overlay => true,
            StartPath::Pooled => false,
            StartPath::Best => base.mapping().is_ok() && sys::pagemap_scan_available().is_ok(),
        };
        let (path, prepared) = if overlay {
            base.mapping()?;
            (Path::Overlay(None), base.on_demand())
        } else {
            (Path::Pooled, base.pooled(pooled_instances_max)?)
        };
        let watch = watchdog.add(prepared).map_err(|source| HostError::System {
            action: "watch a sandbox",
            source,
        })?;
        Ok(Self {
            base,
            watchdog,
            watch,
            budget,
            path,
        })
    }

    /// The start path in use: never [`StartPath::Best`].
    #[must_use]
    pub fn start_path(&self) -> StartPath {
        match self.path {
            Path::Overlay(_) => StartPath::Overlay,
            Path::Pooled => StartPath::Pooled,
        }
    }

    /// Runs one call on the calling thread.
    ///
    /// # Errors
    ///
    /// This machine could not run it. How the call itself ended is in the report.
    pub fn run(&mut self, function: &Function, task: Task) -> Result<Report, HostError> {
        task.limits.check()?;
        check_stack()?;
        let loaded = function.loaded();
        if loaded.base_digest() != self.base.digest() {
            return Err(HostError::OtherBase {
                found: loaded.base_digest(),
                wanted: self.base.digest(),
            });
        }
        let message = task.call.to_bytes()?;
        if task.cancel.is_cancelled() {
            return Ok(cancelled());
        }
        let limits = task.limits;
        let hash_memory = task.hash_memory;
        let call = PreparedCall {
            watched: (&self.watchdog, &self.watch),
            budget: &self.budget,
            message: &message,
            limits: &limits,
            hash_memory,
        };
        match &mut self.path {
            Path::Overlay(live) => run_overlay(&self.base, live, loaded, task, &call),
            Path::Pooled => run_pooled(&self.base, loaded, task, &call),
        }
    }
}

/// A call that only has to be made.
struct PreparedCall<'a> {
    watched: (&'a Watchdog, &'a Watch),
    budget: &'a Arc<Budget>,
    message: &'a [u8],
    limits: &'a Limits,
    hash_memory: bool,
}

fn run_pooled(
    base: &Base,
    loaded: &Loaded,
    task: Task,
    call: &PreparedCall<'_>,
) -> Result<Report, HostError> {
    let prepared = base.pooled(pooled_instances_max)?;
    let library = base.guest().library().clone();
    let wasi = Wasi::from_snapshot(library, &loaded.wasi, JobIo::default());
    let state = State::new(wasi, Deadlines::within(call.limits.wall_time_max));
    let mut instance = Instance::new(&prepared.pre, state)?;
    instance.grow_memory_to(loaded.image.memory_bytes())?;
    write_pages(&mut instance, loaded);
    let (report, _) = run_call(&mut instance, loaded, task, call, false)?;
    Ok(report)
}

fn run_overlay(
    base: &Arc<Base>,
    slot: &mut Option<Box<Live>>,
    loaded: &Arc<Loaded>,
    task: Task,
    call: &PreparedCall<'_>,
) -> Result<Report, HostError> {
    let keep_for = task.keep_instance.then_some(task.identity.job);
    let mut live = match slot.take() {
        Some(live) if Arc::ptr_eq(&live.function, loaded) => {
            live.ready_for(base, loaded, keep_for)?
        }
        Some(live) => live.switch(base, loaded)?,
        None => Live::new(base, loaded)?,
    };
    let continued = live.kept_for.is_some();
    let (report, reusable) = run_call(&mut live.instance, loaded, task, call, continued)?;
    live.kept_for = keep_for;
    if reusable && keep_for.is_some() {
        *slot = Some(live);
    } else if reusable {
        // An instance that cannot be put back is dropped; the next call makes another.
        *slot = live.put_back(base).ok();
    }
    Ok(report)
}

impl Live {
    fn new(base: &Arc<Base>, loaded: &Arc<Loaded>) -> Result<Box<Self>, HostError> {
        let wasi = Wasi::from_snapshot(
            base.guest().library().clone(),
            &loaded.wasi,
            JobIo::default(),
        );
        let state = State::new(wasi, Deadlines::within(Duration::from_secs(1)));
        let mut instance = Instance::new(&base.on_demand().pre, state)?;
        instance.grow_memory_to(loaded.image.memory_bytes())?;
        let overlay = map_overlay(&mut instance, base, loaded)?;
        Ok(Box::new(Self {
            instance,
            overlay,
            function: Arc::clone(loaded),
            hot: Vec::new(),
            found: Vec::new(),
            faults: None,
            calls_to_review: FIRST_REVIEW_CALLS,
            review_calls: FIRST_REVIEW_CALLS,
            kept_for: None,
        }))
    }

    /// This instance as a call for `keep_for` wants it: as the job's last call left it, or as the image.
    fn ready_for(
        self: Box<Self>,
        base: &Arc<Base>,
        loaded: &Arc<Loaded>,
        keep_for: Option<JobId>,
    ) -> Result<Box<Self>, HostError> {
        if self.kept_for.is_none() || self.kept_for == keep_for {
            return Ok(self);
        }
        match self.put_back(base) {
            Ok(live) => Ok(live),
            Err(_) => Self::new(base, loaded),
        }
    }

    /// Makes this instance start from another function's image.
    fn switch(
        mut self: Box<Self>,
        base: &Arc<Base>,
        loaded: &Arc<Loaded>,
    ) -> Result<Box<Self>, HostError> {
        if self.function.image.memory_bytes() != loaded.image.memory_bytes() {
            drop(self);
            return Self::new(base, loaded);
        }
        self.overlay = map_overlay(&mut self.instance, base, loaded)?;
        self.function = Arc::clone(loaded);
        self.hot.clear();
        self.faults = None;
        self.review_calls = FIRST_REVIEW_CALLS;
        self.calls_to_review = FIRST_REVIEW_CALLS;
        self.kept_for = None;
        Ok(self)
    }

    /// Puts the memory back to the image. An error means that the instance must not be used again.
    fn put_back(mut self: Box<Self>, base: &Arc<Base>) -> std::io::Result<Box<Self>> {
        let function = Arc::clone(&self.function);
        let image = function.mapping(base).map_err(std::io::Error::other)?;
        let is_faultless = Some(faults_of_thread()) == self.faults;
        if !is_faultless {
            self.overlay.written(&mut self.found)?;
            self.keep_hot()?;
        }
        self.calls_to_review -= 1;
        if self.calls_to_review == 0 {
            self.review_calls = self.review_calls.saturating_mul(2);
            self.calls_to_review = self.review_calls;
            self.give_back_unchanged(image.bytes())?;
        }
        // SAFETY: the store is ours alone and no slice of its memory is alive; `image` is the one
        // that is mapped; the instance owns the memory for as long as it lives.
        unsafe { self.overlay.restore(image, &self.hot) };
        if !is_faultless {
            // The pages that were put back for the first time. Otherwise the count from above stays, without another system
            // call: what faults from then on is looked at after the next call.
            self.faults = Some(faults_of_thread());
        }
        self.instance.forget_large_buffer();
        self.kept_for = None;
        Ok(self)
    }

    /// Keeps only those private pages that the call which just ended has changed.
    fn give_back_unchanged(&mut self, image: &[u8]) -> std::io::Result<()> {
        differing(&self.hot, image, self.instance.memory(), &mut self.found);
        let mut unchanged = Vec::new();
        subtract(&self.hot, &self.found, &mut unchanged);
        // SAFETY: as in `put_back`.
        unsafe { self.overlay.discard(&unchanged) }?;
        std::mem::swap(&mut self.hot, &mut self.found);
        Ok(())
    }

    /// Makes the pages just found the ones that are copied back, and gives back what is too much.
    fn keep_hot(&mut self) -> std::io::Result<()> {
        let pages: u32 = self.found.iter().map(|&(_, count)| count).sum();
        if pages <= HOT_PAGES_MAX {
            std::mem::swap(&mut self.hot, &mut self.found);
            return Ok(());
        }
        // The pages known from before are what calls usually change; the others go.
        let mut excess = Vec::new();
        subtract(&self.found, &self.hot, &mut excess);
        // SAFETY: as in `put_back`.
        unsafe { self.overlay.discard(&excess) }
    }
}

/// The pages of `runs` that differ between the two memories, as runs.
fn differing(runs: &[(u32, u32)], image: &[u8], memory: &[u8], out: &mut Vec<(u32, u32)>) {
    out.clear();
    for page in runs.iter().flat_map(|&(first, count)| first..first + count) {
        let at = page as usize * PAGE_BYTES;
        if image.get(at..at + PAGE_BYTES) == memory.get(at..at + PAGE_BYTES) {
            continue;
        }
        match out.last_mut() {
            Some(last) if last.0 + last.1 == page => last.1 += 1,
            _ => out.push((page, 1)),
        }
    }
}

/// The pages of `all` that are not in `kept`; both in order.
fn subtract(all: &[(u32, u32)], kept: &[(u32, u32)], out: &mut Vec<(u32, u32)>) {
    let mut kept = kept.iter().peekable();
    for &(first, count) in all {
        let (mut page, end) = (first, first + count);
        while page < end {
            while kept.next_if(|(k, n)| k + n <= page).is_some() {}
            match kept.peek() {
                Some(&&(k, n)) if k <= page => page = (k + n).min(end),
                Some(&&(k, _)) if k < end => {
                    out.push((page, k - page));
                    page = k;
                }
                _ => {
                    out.push((page, end - page));
                    page = end;
                }
            }
        }
    }
}

/// Page faults are counted per thread, and a slot may move to another one.
fn faults_of_thread() -> (ThreadId, u64) {
    (std::thread::current().id(), sys::thread_page_faults())
}

fn map_overlay(
    instance: &mut Instance,
    base: &Arc<Base>,
    loaded: &Arc<Loaded>,
) -> Result<Overlay, HostError> {
    let image = loaded.mapping(base)?;
    let failed = |source| HostError::System {
        action: "map an image over a sandbox's memory",
        source,
    };
    let start = NonNull::new(instance.memory_base())
        .filter(|_| instance.memory_bytes() == image.bytes().len() as u64)
        .ok_or_else(|| failed(std::io::ErrorKind::InvalidInput.into()))?;
    // SAFETY: the instance's memory was made on demand, so it is a mapping of its own whose first
    // `memory_bytes` bytes are readable and writable, as long as the image; it starts at a page, is
    // unmapped only when the instance is dropped, and we hold the instance exclusively with no
    // slice of its memory alive.
    unsafe { Overlay::map(start, image) }.map_err(failed)
}

fn write_pages(instance: &mut Instance, loaded: &Loaded) {
    let memory = instance.memory_mut();
    for (page, bytes) in loaded.image.pages() {
        let at = page as usize * PAGE_BYTES;
        if let Some(place) = memory.get_mut(at..at + PAGE_BYTES) {
            place.copy_from_slice(bytes);
        }
    }
}

/// Makes the call in an instance that holds the function's image or, `continued`, what the job's last call
/// left. The second value says whether the
/// instance is sound and as large as before, so that putting its pages back makes it the image again.
fn run_call(
    instance: &mut Instance,
    loaded: &Loaded,
    task: Task,
    call: &PreparedCall<'_>,
    continued: bool,
) -> Result<(Report, bool), HostError> {
    let limits = call.limits;
    let started = Instant::now();
    let wall = started.checked_add(limits.wall_time_max).unwrap_or(started);
    let cpu = (limits.cpu_time_max < limits.wall_time_max)
        .then(|| sys::thread_cpu_time() + limits.cpu_time_max);
    let state = instance.state_mut();
    state.deadlines = Deadlines {
        cancel: task.cancel.clone(),
        wall,
        cpu,
    };
    state.memory_bytes_max = limits.memory_bytes_max.max(loaded.image.memory_bytes());
    state.memory_refused = false;
    state.share.get_or_insert_with(|| Share::of(call.budget));
    let io = job_io(task, limits, wall);
    if continued {
        // Descriptors and scratch files stay as the job's last call left them.
        match state.wasi.snapshot() {
            Ok(now) => state.wasi.reset(&now, io),
            Err(_) => state.wasi.reset(&loaded.wasi, io),
        }
    } else {
        state.wasi.reset(&loaded.wasi, io);
    }
    let header = loaded.image.header();
    let answer = instance.request(
        call.watched,
        Request::Call,
        call.message,
        header.request_buffer,
        limits.result_bytes_max,
    );
    instance.check_machine()?;
    let memory_bytes = instance.memory_bytes();
    let reusable = matches!(answer, Ok(_) | Err(Ended::ReplyTooLong))
        && memory_bytes == header.memory_bytes
        && instance.stack_pointer() == header.stack_pointer;
    let memory_refused = instance.state().memory_refused;
    let outcome = outcome(answer, limits, memory_refused);
    let memory_digest = call.hash_memory.then(|| Digest::of(instance.memory()));
    let wasi = &mut instance.state_mut().wasi;
    let (stdout, stderr) = (wasi.take_stdout(), wasi.take_stderr());
    let usage = Usage {
        wall_time: started.elapsed(),
        memory_bytes,
    };
    let report = Report {
        outcome,
        stdout,
        stderr,
        usage,
        memory_digest,
    };
    Ok((report, reusable))
}

fn job_io(task: Task, limits: &Limits, wall: Instant) -> JobIo {
    let (clock, random) = match task.time {
        TimeSource::Deterministic { start_ns } => (
            Clock::starting_at(start_ns),
            Random::Seeded(task.identity.seed()),
        ),
        TimeSource::Real => {
            let sleeper = BoundedSleeper {
                cancel: task.cancel,
                deadline: wall,
            };
            (
                Clock::Real(Arc::new(sleeper)),
                Random::Entropy(fill_with_entropy),
            )
        }
    };
    JobIo {
        stdin: task.stdin,
        inputs: task.inputs,
        sink: task.sink,
        clock,
        random,
        stdout_bytes_max: usize::try_from(limits.stdout_bytes_max).unwrap_or(usize::MAX),
        stderr_bytes_max: usize::try_from(limits.stderr_bytes_max).unwrap_or(usize::MAX),
        scratch: scratch_limits(limits),
        ..JobIo::default()
    }
}

pub(crate) fn scratch_limits(limits: &Limits) -> ScratchLimits {
    ScratchLimits {
        bytes_max: limits.scratch_bytes_max,
        nodes_max: u32::try_from(limits.scratch_files_max).unwrap_or(u32::MAX),
    }
}

fn fill_with_entropy(buffer: &mut [u8]) -> bool {
    getrandom::fill(buffer).is_ok()
}

/// What a guest's answer means for its task.
pub(crate) fn outcome(
    answer: Result<Vec<u8>, Ended>,
    limits: &Limits,
    memory_refused: bool,
) -> Outcome {
    let exceeded = |limit: LimitKind| Outcome::LimitExceeded {
        limit,
        allowed: limits.allowed(limit),
    };
    match answer.map(|reply| Reply::from_bytes(&reply)) {
        Ok(Ok(Reply::Returned(value))) => Outcome::Succeeded { value },
        // Python's own word for a refused growth.
        Ok(Ok(Reply::Raised(exception)))
            if memory_refused && exception.type_name == "MemoryError" =>
        {
            exceeded(LimitKind::Memory)
        }
        Ok(Ok(Reply::Raised(exception))) => Outcome::Raised(exception),
        Ok(Err(_)) => Outcome::Trapped {
            cause: TrapCause::InvalidReply,
        },
        Err(Ended::Limit(limit)) => exceeded(limit),
        Err(Ended::ReplyTooLong) => exceeded(LimitKind::Result),
        Err(Ended::Cancelled) => Outcome::Cancelled,
        // C code that cannot get memory aborts.
        Err(Ended::Trap(TrapCause::Abort)) if memory_refused => exceeded(LimitKind::Memory),
        Err(Ended::Trap(cause)) => Outcome::Trapped { cause },
    }
}

fn cancelled() -> Report {
    Report {
        outcome: Outcome::Cancelled,
        stdout: Vec::new(),
        stderr: Vec::new(),
        usage: Usage::default(),
        memory_digest: None,
    }
}

fn check_stack() -> Result<(), HostError> {
    let needed = crate::engine::WASM_STACK_BYTES + crate::engine::HOST_STACK_BYTES / 2;
    thread_local! {
        static ROOM: Option<usize> = sys::thread_stack_room();
    }
    match ROOM.with(|room| *room) {
        Some(room) if room < needed => Err(HostError::StackTooSmall { room, needed }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subtracting_runs_leaves_what_only_the_first_has() {
        type Runs = &'static [(u32, u32)];
        let cases: [(Runs, Runs, Runs); 6] = [
            (&[(1, 5)], &[], &[(1, 5)]),
            (&[(1, 5)], &[(1, 5)], &[]),
            (&[(1, 5)], &[(2, 2)], &[(1, 1), (4, 2)]),
            (&[(1, 2), (5, 2)], &[(2, 4)], &[(1, 1), (6, 1)]),
            (&[(10, 3)], &[(1, 2), (11, 1), (20, 4)], &[(10, 1), (12, 1)]),
            (&[(0, 1), (2, 1)], &[(0, 9)], &[]),
        ];
        for (all, kept, wanted) in cases {
            let mut out = Vec::new();
            subtract(all, kept, &mut out);
            assert_eq!(out, wanted, "{all:?} without {kept:?}");
        }
    }
}
