//! Stops guest code at any instruction, at no cost to code that is not stopped.
//!
//! A signal is sent to the thread that runs the guest. If its handler finds the thread inside the body
//! of one of the guest's functions, it lets the thread go on at the guest's function that only traps
//! (`ppwasm_trap`): the engine then unwinds exactly as if the interrupted instruction had trapped, as
//! any load may. Anywhere else (the host, the engine's trampolines, the kernel) the handler does
//! nothing, and the sender tries again at its next tick.

use std::cell::Cell;
use std::io;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

/// Whether guests can be stopped this way here; else the engine's epochs are compiled in.
pub(crate) const SUPPORTED: bool = true;

/// Where a module's compiled functions lie.
#[derive(Debug)]
pub(crate) struct CodeMap {
    /// Address ranges of the functions' bodies, rising. Trampolines are not among them.
    functions: Box<[(usize, usize)]>,
    /// Start of the function that only traps.
    trap: usize,
}

/// What a thread is to be stopped for, seen by the signal handler: 0 while it is not.
#[derive(Debug)]
pub(crate) struct StopFlag {
    reason: AtomicU8,
    code: Arc<CodeMap>,
}

thread_local! {
    /// The flag of the guest that runs on this thread. Without a destructor and initialised at compile
    /// time, so that the signal handler may read it.
    static CURRENT: Cell<*const StopFlag> = const { Cell::new(std::ptr::null()) };
}

/// A thread's number for the kernel.
pub(crate) type ThreadNumber = libc::pid_t;

/// This thread's number.
pub(crate) fn this_thread() -> ThreadNumber {
    thread_local! {
        // SAFETY: a call without arguments that cannot fail.
        static NUMBER: ThreadNumber = unsafe { libc::gettid() };
    }
    NUMBER.with(|number| *number)
}

impl CodeMap {
    /// From the address of the code, the functions' (offset, length) in it, and the offset of the one
    /// that only traps.
    pub(crate) fn new(
        text: &[u8],
        functions: impl Iterator<Item = (usize, usize)>,
        trap_offset: usize,
    ) -> Self {
        let base = text.as_ptr() as usize;
        let mut functions: Vec<_> = functions
            .map(|(offset, len)| (base + offset, base + offset + len))
            .collect();
        functions.sort_unstable();
        Self {
            functions: functions.into(),
            trap: base + trap_offset,
        }
    }

    fn contains(&self, address: usize) -> bool {
        let after = self
            .functions
            .partition_point(|&(start, _)| start <= address);
        after
            .checked_sub(1)
            .and_then(|index| self.functions.get(index))
            .is_some_and(|&(_, end)| address < end)
    }
}

impl StopFlag {
    pub(crate) fn new(code: Arc<CodeMap>) -> io::Result<Self> {
        install()?;
        Ok(Self {
            reason: AtomicU8::new(0),
            code,
        })
    }

    /// Why the guest was asked to stop; 0 if it was not.
    pub(crate) fn reason(&self) -> u8 {
        self.reason.load(Ordering::Acquire)
    }

    pub(crate) fn clear(&self) {
        self.reason.store(0, Ordering::Release);
    }

    /// Says that the guest whose flag this is runs on this thread, until the returned value is dropped.
    pub(crate) fn enter(&self) -> Entered<'_> {
        CURRENT.set(std::ptr::from_ref(self));
        Entered(self)
    }

    /// Asks the guest to stop and signals the thread that runs it. To be repeated until it has: the thread
    /// may be outside guest code.
    pub(crate) fn stop(&self, reason: u8, thread: ThreadNumber) {
        self.reason.store(reason, Ordering::Release);
        // SAFETY: the process is our own, the thread runs the guest as long as the caller holds its
        // registration, and the signal's handler is installed.
        unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, signal()) };
    }
}

/// See [`StopFlag::enter`].
pub(crate) struct Entered<'a>(&'a StopFlag);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        debug_assert!(std::ptr::eq(CURRENT.get(), self.0));
        CURRENT.set(std::ptr::null());
    }
}

/// The signal: the second last of the real-time ones, which no library takes by convention.
fn signal() -> libc::c_int {
    libc::SIGRTMAX() - 1
}

fn install() -> io::Result<()> {
    static INSTALLED: OnceLock<Result<(), i32>> = OnceLock::new();
    let installed = INSTALLED.get_or_init(|| {
        let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) =
            on_signal;
        // SAFETY: an all-zero `sigaction` is valid; the handler has the type that SA_SIGINFO asks for and
        // does only what a signal handler may. SA_ONSTACK: guest code may have used up its stack.
        // SA_RESTART: system calls of the host go on.
        let done = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
            libc::sigaction(signal(), &raw const action, std::ptr::null_mut())
        };
        if done == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error().raw_os_error().unwrap_or(0))
        }
    });
    installed.map_err(io::Error::from_raw_os_error)
}

extern "C" fn on_signal(
    _signal: libc::c_int,
    _info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    let current = CURRENT.get();
    if current.is_null() {
        return;
    }
    // SAFETY: a flag that is current on this thread is borrowed by an `Entered` further up this very
    // thread's stack, so it is alive.
    let flag = unsafe { &*current };
    if flag.reason() == 0 {
        return;
    }
    // SAFETY: the kernel passes the interrupted thread's context to a SA_SIGINFO handler.
    let place = unsafe { program_counter(context.cast()) };
    // SAFETY: `place` points into that context.
    unsafe {
        if flag.code.contains(*place as usize) {
            *place = flag.code.trap as _;
        }
    }
}

#[cfg(target_arch = "x86_64")]
unsafe fn program_counter(context: *mut libc::ucontext_t) -> *mut libc::greg_t {
    // SAFETY: the caller passes a valid context; no reference to it is made.
    unsafe { &raw mut (*context).uc_mcontext.gregs[libc::REG_RIP as usize] }
}

#[cfg(target_arch = "aarch64")]
unsafe fn program_counter(context: *mut libc::ucontext_t) -> *mut u64 {
    // SAFETY: the caller passes a valid context; no reference to it is made.
    unsafe { &raw mut (*context).uc_mcontext.pc }
}

#[cfg(target_arch = "riscv64")]
unsafe fn program_counter(context: *mut libc::ucontext_t) -> *mut libc::c_ulong {
    // SAFETY: the caller passes a valid context; no reference to it is made.
    unsafe { &raw mut (*context).uc_mcontext.__gregs[libc::REG_PC] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_inside_functions_are_guest_code() {
        let text = [0u8; 100];
        let base = text.as_ptr() as usize;
        let map = CodeMap::new(&text, [(50, 10), (0, 20)].into_iter(), 50);
        let inside: Vec<usize> = (0..100)
            .filter(|offset| map.contains(base + offset))
            .collect();
        assert_eq!(inside, (0..20).chain(50..60).collect::<Vec<_>>());
        assert!(!map.contains(base - 1));
    }

    #[test]
    fn a_signal_outside_guest_code_changes_nothing() {
        let flag = StopFlag::new(Arc::new(CodeMap::new(&[0u8; 4], std::iter::empty(), 0))).unwrap();
        let entered = flag.enter();
        for _ in 0..100 {
            flag.stop(3, this_thread());
        }
        assert_eq!(flag.reason(), 3);
        drop(entered);
        flag.clear();
        assert_eq!(flag.reason(), 0);
    }
}
