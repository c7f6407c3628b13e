//! The host's own slots: threads that take calls from one queue.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;

use ppwasm_proto::Outcome;

use crate::base::Base;
use crate::budget::Budget;
use crate::engine::{HOST_STACK_BYTES, WASM_STACK_BYTES};
use crate::error::HostError;
use crate::function::Function;
use crate::host::SLOTS_MAX;
use crate::slot::{Slot, StartPath};
use crate::task::{CancelToken, Report, Task, Usage};
use crate::watchdog::Watchdog;

type Done = Box<dyn FnOnce(Result<Report, HostError>) + Send>;

/// Slots, and the calls that wait for one.
///
/// The queue is as long as the caller makes it: whoever starts calls holds them in memory anyway and
/// bounds their number.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared {
    base: Arc<Base>,
    watchdog: Arc<Watchdog>,
    budget: Arc<Budget>,
    start_path: StartPath,
    queue: Mutex<Queue>,
    changed: Condvar,
    stopping: AtomicBool,
}

struct Queue {
    waiting: VecDeque<Queued>,
    /// Number of the call that is queued next.
    next: u64,
    /// How many slots there should be.
    wanted: usize,
    /// How many threads there are.
    threads: usize,
    /// How many of them wait for a call. Waking nobody is a system call too, and as dear as queueing.
    idle: usize,
}

struct Queued {
    /// Rises along the queue.
    number: u64,
    function: Function,
    task: Task,
    done: Done,
}

/// A call that was started.
pub struct Run {
    cancel: CancelToken,
    number: u64,
    pool: Weak<Shared>,
    receiver: Receiver<Result<Report, HostError>>,
}

impl Run {
    /// Cancels the call. It ends within 100 ms if it runs and at once if it waits.
    pub fn cancel(&self) {
        self.cancel.cancel();
        // Otherwise its end would be told only when a slot comes to it.
        let waiting = self
            .pool
            .upgrade()
            .and_then(|pool| pool.lock().take_out(self.number));
        if let Some(queued) = waiting {
            (queued.done)(Ok(cancelled()));
        }
    }

    /// Waits for the end.
    ///
    /// # Errors
    ///
    /// This machine could not run it.
    pub fn wait(self) -> Result<Report, HostError> {
        self.receiver.recv().unwrap_or(Err(HostError::Stopped))
    }
}

impl Pool {
    pub(crate) fn new(
        base: Arc<Base>,
        watchdog: Arc<Watchdog>,
        budget: Budget,
        start_path: StartPath,
    ) -> Self {
        let queue = Queue {
            waiting: VecDeque::new(),
            next: 0,
            wanted: 0,
            threads: 0,
            idle: 0,
        };
        let shared = Arc::new(Shared {
            base,
            watchdog,
            budget: Arc::new(budget),
            start_path,
            queue: Mutex::new(queue),
            changed: Condvar::new(),
            stopping: AtomicBool::new(false),
        });
        Self {
            shared,
            threads: Mutex::new(Vec::new()),
        }
    }

    pub(crate) fn watchdog(&self) -> &Watchdog {
        &self.shared.watchdog
    }

    pub(crate) fn slot(&self, path: StartPath) -> Result<Slot, HostError> {
        Slot::new(
            Arc::clone(&self.shared.base),
            Arc::clone(&self.shared.watchdog),
            Arc::clone(&self.shared.budget),
            path,
        )
    }

    pub(crate) fn slots(&self) -> usize {
        self.shared.lock().wanted
    }

    pub(crate) fn set_slots(&self, slots: usize) -> Result<(), HostError> {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        threads.retain(|thread| !thread.is_finished());
        let mut queue = self.shared.lock();
        queue.wanted = slots;
        while queue.threads < slots {
            let shared = Arc::clone(&self.shared);
            let thread = std::thread::Builder::new()
                .name("ppwasm-slot".into())
                .stack_size(WASM_STACK_BYTES + HOST_STACK_BYTES)
                .spawn(move || shared.serve());
            match thread {
                Ok(thread) => threads.push(thread),
                Err(source) => {
                    queue.wanted = queue.threads;
                    return Err(HostError::System {
                        action: "start a slot's thread",
                        source,
                    });
                }
            }
            queue.threads += 1;
        }
        drop(queue);
        self.shared.changed.notify_all();
        Ok(())
    }

    pub(crate) fn start(&self, function: Function, task: Task) -> Run {
        let (sender, receiver): (SyncSender<_>, _) = sync_channel(1);
        // That nobody waits for the report any more is no error.
        let done = Box::new(move |report| drop(sender.send(report)));
        let (cancel, number) = self.queue(function, task, done);
        Run {
            cancel,
            number,
            pool: Arc::downgrade(&self.shared),
            receiver,
        }
    }

    pub(crate) fn start_with(&self, function: Function, task: Task, done: Done) -> CancelToken {
        self.queue(function, task, done).0
    }

    fn queue(&self, function: Function, task: Task, done: Done) -> (CancelToken, u64) {
        let cancel = task.cancel.clone();
        let mut queue = self.shared.lock();
        let number = queue.next;
        queue.next += 1;
        queue.waiting.push_back(Queued {
            number,
            function,
            task,
            done,
        });
        let somebody_waits = queue.idle > 0;
        drop(queue);
        if somebody_waits {
            self.shared.changed.notify_one();
        }
        (cancel, number)
    }
}

impl Queue {
    /// Takes a call out of the queue, if it still waits.
    fn take_out(&mut self, number: u64) -> Option<Queued> {
        let at = self
            .waiting
            .binary_search_by_key(&number, |queued| queued.number)
            .ok()?;
        self.waiting.remove(at)
    }
}

/// The report of a call that never started.
fn cancelled() -> Report {
    Report {
        outcome: Outcome::Cancelled,
        stdout: Vec::new(),
        stderr: Vec::new(),
        usage: Usage::default(),
        memory_digest: None,
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // The queue is consistent between any two statements: a panic elsewhere does not spoil it.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A slot's thread: until there are more threads than slots wanted.
    fn serve(&self) {
        let mut slot = self.slot();
        while let Some(Queued {
            function,
            task,
            done,
            ..
        }) = self.next()
        {
            let run = || match &mut slot {
                Ok(slot) => slot.run(&function, task),
                Err(error) => Err(HostError::NoSlot {
                    reason: error.to_string(),
                }),
            };
            // A bug of ours costs the call that met it, and the sandbox it was in: not the slot.
            let report = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
                slot = self.slot();
                Err(HostError::Panicked)
            });
            // What the caller does with the report is not the slot's concern: it goes on.
            let _ = catch_unwind(AssertUnwindSafe(|| done(report)));
        }
    }

    fn slot(&self) -> Result<Slot, HostError> {
        Slot::new(
            Arc::clone(&self.base),
            Arc::clone(&self.watchdog),
            Arc::clone(&self.budget),
            self.start_path,
        )
    }

    fn next(&self) -> Option<Queued> {
        let mut queue = self.lock();
        loop {
            let stopping = self.stopping.load(Ordering::Acquire);
            if stopping || queue.threads > queue.wanted {
                queue.threads -= 1;
                return None;
            }
            if let Some(queued) = queue.waiting.pop_front() {
                return Some(queued);
            }
            queue.idle += 1;
            queue = self
                .changed
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
            queue.idle -= 1;
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        let waiting = std::mem::take(&mut self.shared.lock().waiting);
        self.shared.changed.notify_all();
        for queued in waiting {
            (queued.done)(Err(HostError::Stopped));
        }
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let here = std::thread::current().id();
        // The last owner of the host may be a call's `done`, on a slot's own thread.
        for thread in threads
            .into_iter()
            .filter(|thread| thread.thread().id() != here)
        {
            // A slot's thread that panicked has nothing left to hand over.
            let _ = thread.join();
        }
    }
}

const _: () = assert!(SLOTS_MAX <= u32::MAX as usize);
