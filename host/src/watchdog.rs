//! Ends guests that are past a limit or cancelled.
//!
//! One thread per host looks at every running guest once per [`TICK`], a tenth of the 100 ms that are
//! promised. Where the system allows it stops them from outside ([`interrupt`]), so that guest code pays nothing
//! for being stoppable; elsewhere it advances the engines' epoch, and guests look at their own
//! limits. While nothing runs it sleeps without waking.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use wasmtime::Engine;

use crate::base::Prepared;
use crate::instance::polls;
use crate::sys;
use crate::sys::interrupt::{self, StopFlag, ThreadNumber};
use crate::task::CancelToken;

/// How often running guests are looked at.
const TICK: Duration = Duration::from_millis(10);

/// Why a guest that runs has to end now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Interrupt {
    #[error("the wall-time limit was reached")]
    WallTime = 1,
    #[error("the CPU-time limit was reached")]
    CpuTime = 2,
    #[error("the task was cancelled")]
    Cancelled = 3,
}

/// When a guest has to end.
#[derive(Debug, Clone)]
pub(crate) struct Deadlines {
    pub(crate) cancel: CancelToken,
    pub(crate) wall: Instant,
    /// The thread's CPU time at which it has to end; `None` when the wall clock ends it before.
    pub(crate) cpu: Option<Duration>,
}

impl Deadlines {
    /// No limit but the wall clock's.
    pub(crate) fn within(wall: Duration) -> Self {
        Self {
            cancel: CancelToken::new(),
            wall: Instant::now() + wall,
            cpu: None,
        }
    }

    /// To be called on the guest's own thread.
    pub(crate) fn check(&self) -> Result<(), Interrupt> {
        self.check_with(sys::thread_cpu_time)
    }

    fn check_with(&self, cpu_time: impl FnOnce() -> Duration) -> Result<(), Interrupt> {
        if self.cancel.is_cancelled() {
            Err(Interrupt::Cancelled)
        } else if Instant::now() >= self.wall {
            Err(Interrupt::WallTime)
        } else if self.cpu.is_some_and(|limit| cpu_time() >= limit) {
            Err(Interrupt::CpuTime)
        } else {
            Ok(())
        }
    }
}

/// One slot's entry with the watchdog.
#[derive(Debug)]
pub(crate) struct Watch {
    flag: StopFlag,
    running: Mutex<Option<RunningGuest>>,
}

#[derive(Debug)]
struct RunningGuest {
    thread: ThreadNumber,
    cpu_clock: sys::CpuClock,
    deadlines: Deadlines,
}

/// Holds a host's watches; see the module.
pub(crate) struct Watchdog {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    running: AtomicUsize,
    /// Whether the thread sleeps until it is woken, and not only until its next tick. Waking it is a system call
    /// and a switch of threads, as dear as a whole short call: it happens only when this is set.
    parked: AtomicBool,
    watches: Mutex<Vec<Weak<Watch>>>,
    engines: Mutex<Vec<Engine>>,
    stop: AtomicBool,
}

impl Watchdog {
    pub(crate) fn start() -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            running: AtomicUsize::new(0),
            parked: AtomicBool::new(false),
            watches: Mutex::default(),
            engines: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let state = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("ppwasm-watchdog".into())
            .stack_size(128 << 10)
            .spawn(move || state.watch())?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Begins to watch guests of a module; they run one at a time.
    pub(crate) fn add(&self, prepared: &Prepared) -> std::io::Result<Arc<Watch>> {
        let flag = StopFlag::new(Arc::clone(&prepared.code))?;
        let watch = Arc::new(Watch {
            flag,
            running: Mutex::new(None),
        });
        let mut watches = lock(&self.shared.watches);
        watches.retain(|watch| watch.strong_count() > 0);
        watches.push(Arc::downgrade(&watch));
        drop(watches);
        let mut engines = lock(&self.shared.engines);
        if polls(&prepared.engine)
            && !engines
                .iter()
                .any(|known| Engine::same(known, &prepared.engine))
        {
            engines.push(prepared.engine.clone());
        }
        Ok(watch)
    }

    /// Runs `guest` on this thread, to be ended by `deadlines`. The second value tells what it was
    /// asked to end for, if it was.
    pub(crate) fn run<T>(
        &self,
        watch: &Watch,
        deadlines: &Deadlines,
        guest: impl FnOnce() -> T,
    ) -> (T, Option<Interrupt>) {
        // In one order with the watchdog's own two steps before it parks: one of the two sees the other.
        self.shared.running.fetch_add(1, Ordering::SeqCst);
        if self.shared.parked.load(Ordering::SeqCst)
            && self.shared.parked.swap(false, Ordering::SeqCst)
            && let Some(thread) = &self.thread
        {
            thread.thread().unpark();
        }
        watch.flag.clear();
        *lock(&watch.running) = Some(RunningGuest {
            thread: interrupt::this_thread(),
            cpu_clock: sys::CpuClock::of_this_thread(),
            deadlines: deadlines.clone(),
        });
        // Taken back also when `guest` panics.
        let running = Registered {
            watch,
            shared: &self.shared,
        };
        let result = {
            let _entered = watch.flag.enter();
            guest()
        };
        drop(running);
        let interrupt = match watch.flag.reason() {
            1 => Some(Interrupt::WallTime),
            2 => Some(Interrupt::CpuTime),
            3 => Some(Interrupt::Cancelled),
            _ => None,
        };
        (result, interrupt)
    }
}

struct Registered<'a> {
    watch: &'a Watch,
    shared: &'a Shared,
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        // While the watchdog holds the lock it may signal the thread; afterwards it will not.
        *lock(&self.watch.running) = None;
        self.shared.running.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Shared {
    fn watch(&self) {
        // Short jobs come and go within a tick; parking after many idle ticks keeps the wake-up, a
        // system call, off their path.
        const IDLE_TICKS_BEFORE_PARKING: u32 = 100;
        let mut idle_ticks = 0;
        while !self.stop.load(Ordering::Acquire) {
            if self.running.load(Ordering::Acquire) > 0 {
                idle_ticks = 0;
                self.tick();
            } else {
                idle_ticks += 1;
            }
            if idle_ticks > IDLE_TICKS_BEFORE_PARKING {
                self.parked.store(true, Ordering::SeqCst);
                // Parking may end for no reason, and so may a look that comes too early.
                while self.running.load(Ordering::SeqCst) == 0
                    && self.parked.load(Ordering::SeqCst)
                    && !self.stop.load(Ordering::Acquire)
                {
                    std::thread::park();
                }
                self.parked.store(false, Ordering::SeqCst);
                idle_ticks = 0;
            } else {
                std::thread::park_timeout(TICK);
            }
        }
    }

    fn tick(&self) {
        for engine in lock(&self.engines).iter() {
            engine.increment_epoch();
        }
        for watch in lock(&self.watches).iter().filter_map(Weak::upgrade) {
            let running = lock(&watch.running);
            let Some(guest) = running.as_ref() else {
                continue;
            };
            if let Err(interrupt) = guest.deadlines.check_with(|| guest.cpu_clock.time()) {
                watch.flag.stop(interrupt as u8, guest.thread);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every value here is consistent between any two statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // The thread only looks and signals; it cannot have panicked on anything of ours.
            let _ = thread.join();
        }
    }
}
