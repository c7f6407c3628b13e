//! What the tests share: one host for all that need no other, and short ways to load, run and look.

use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ppwasm_host::{Function, Host, Report, Slot, StartPath, Task};
use ppwasm_proto::{Call, FunctionBundle, LimitKind, Limits, Outcome, TrapCause, Value};

/// Both start paths: what holds has to hold on each. The first is the better one.
#[cfg(not(feature = "portable"))]
pub(crate) const PATHS: &[StartPath] = &[StartPath::Overlay, StartPath::Pooled];
/// The start path that there is on every system.
#[cfg(feature = "portable")]
pub(crate) const PATHS: &[StartPath] = &[StartPath::Pooled];

/// The host of all tests that do not need one of their own.
pub(crate) fn host() -> &'static Host {
    static HOST: LazyLock<Host> =
        LazyLock::new(|| Host::builder().slots(2).build().expect("a host"));
    &HOST
}

/// Keeps apart the tests that measure time and those that use the whole machine for seconds.
pub(crate) fn machine() -> MutexGuard<'static, ()> {
    static MACHINE: Mutex<()> = Mutex::new(());
    MACHINE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A bundle of one file, `job.py`.
pub(crate) fn bundle(source: &str, name: &str) -> FunctionBundle {
    FunctionBundle::function("job", "job.py", source, name).expect("a bundle")
}

/// Loads a function of one file on the shared host.
pub(crate) fn function(source: &str, name: &str) -> Function {
    function_on(host(), source, name)
}

/// Loads a function of one file.
pub(crate) fn function_on(host: &Host, source: &str, name: &str) -> Function {
    match host.load(&bundle(source, name)) {
        Ok(function) => function,
        Err(error) => panic!("{name} does not load: {error}"),
    }
}

/// Runs `work` on a thread whose stack is large enough for a slot.
pub(crate) fn on_slot_thread<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .stack_size(32 << 20)
            .spawn_scoped(scope, work)
            .expect("a thread");
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Runs `work` with a slot of each start path, each on a thread of its own.
pub(crate) fn on_both_paths(work: impl Fn(&mut Slot) + Sync) {
    for &path in PATHS {
        on_slot_thread(|| {
            let mut slot = host().slot_with(path).expect("a slot");
            assert_eq!(slot.start_path(), path);
            work(&mut slot);
        });
    }
}

/// Short ways to run a call in a slot.
pub(crate) trait RunIn {
    /// Runs a task.
    fn report(&mut self, function: &Function, task: Task) -> Report;

    /// Calls with arguments and defaults for all else; what it returned, as `repr` shows it.
    fn call<T: Into<Value>>(
        &mut self,
        function: &Function,
        args: impl IntoIterator<Item = T>,
    ) -> String {
        returned(&self.report(function, task(args)))
    }
}

impl RunIn for Slot {
    fn report(&mut self, function: &Function, task: Task) -> Report {
        self.run(function, task).expect("this machine can run it")
    }
}

impl RunIn for &Host {
    fn report(&mut self, function: &Function, task: Task) -> Report {
        Host::run(self, function, task).expect("this machine can run it")
    }
}

/// A task with these arguments and defaults for all else, but one that ends in time when it should hang.
pub(crate) fn task<T: Into<Value>>(args: impl IntoIterator<Item = T>) -> Task {
    task_of(Call::with_args(args))
}

/// A task that makes this call, with defaults for all else, but one that ends in time when it should hang.
pub(crate) fn task_of(call: Call) -> Task {
    let wall_time_max = Duration::from_secs(60);
    Task::new(call).limits(Limits {
        wall_time_max,
        ..Limits::default()
    })
}

/// Nothing to pass: tells the compiler which type the arguments that are not there have.
pub(crate) const NOTHING: [i64; 0] = [];

/// The value that a task returned.
#[track_caller]
pub(crate) fn value(report: &Report) -> Value {
    match &report.outcome {
        Outcome::Succeeded { value } => value.decode().expect("a value"),
        Outcome::Raised(exception) => panic!("raised:\n{}", exception.traceback),
        other => panic!("{other:?}\n{}", String::from_utf8_lossy(&report.stderr)),
    }
}

/// The value that a task returned, as Python's `repr` shows it.
#[track_caller]
pub(crate) fn returned(report: &Report) -> String {
    value(report).to_python_repr()
}

/// The exception that a task raised: type and message.
#[track_caller]
pub(crate) fn raised(report: &Report) -> (&str, &str) {
    match &report.outcome {
        Outcome::Raised(exception) => (&exception.type_name, &exception.message),
        other => panic!("{other:?}"),
    }
}

/// The limit that a task reached, and how much was allowed.
#[track_caller]
pub(crate) fn exceeded(report: &Report) -> (LimitKind, u64) {
    match &report.outcome {
        Outcome::LimitExceeded { limit, allowed } => (*limit, *allowed),
        Outcome::Raised(exception) => panic!("raised:\n{}", exception.traceback),
        other => panic!("{other:?}"),
    }
}

/// What stopped the guest.
#[track_caller]
pub(crate) fn trapped(report: &Report) -> TrapCause {
    match &report.outcome {
        Outcome::Trapped { cause } => *cause,
        Outcome::Raised(exception) => panic!("raised:\n{}", exception.traceback),
        other => panic!("{other:?}"),
    }
}

/// Waits until `condition` holds.
///
/// # Panics
///
/// It does not within a minute.
#[track_caller]
pub(crate) fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "waited a minute: {what}");
        std::thread::yield_now();
    }
}
