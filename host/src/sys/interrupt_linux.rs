//! Stops guest code at any instruction, at no cost to code that is not stopped.
//!
//! A signal is sent to the thread that runs the guest. If its handler finds the thread inside the body
//! of one of the guest's functions, it lets the thread go on at the guest's function that only traps
//! (`ppwasm_trap`): the engine then unwinds exactly as if the interrupted instruction had trapped, as
//! any load may. Anywhere else (the host, the engine's trampolines, the kernel) it makes the return into
//! guest code go there: it replaces the return addresses on the thread's stack that lie in guest functions.
//! So a guest that spends its time in the engine's `memory.copy` or in system calls ends when the one that
//! runs is done. The sender repeats itself at each tick until the guest has ended.

use std::cell::Cell;
use std::io;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
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
    /// Where on the thread's stack the host entered the guest: its frames lie below.
    entered_at: AtomicUsize,
    /// Where that stack ends, so that the handler can tell it from the one that signals are handled on.
    stack_lowest: AtomicUsize,
}

/// Return addresses into guest code that are replaced at a time. The innermost one is what counts; above
/// it lie those of outer guest frames, below it at most what dead slots of the host's few frames still hold.
const RETURNS_REPLACED_MAX: u32 = 64;

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
            entered_at: AtomicUsize::new(0),
            stack_lowest: AtomicUsize::new(usize::MAX),
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
        let here = 0usize;
        self.entered_at
            .store(&raw const here as usize, Ordering::Release);
        let lowest = super::linux::thread_stack_lowest().unwrap_or(usize::MAX);
        self.stack_lowest.store(lowest, Ordering::Release);
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
    let (place, stack) = unsafe { registers(context.cast()) };
    // SAFETY: `place` points into that context.
    unsafe {
        if flag.code.contains(*place as usize) {
            *place = flag.code.trap as _;
            return;
        }
    }
    if stack < flag.stack_lowest.load(Ordering::Acquire)
        || stack >= flag.entered_at.load(Ordering::Acquire)
    {
        // Another signal's handler was interrupted, on a stack of its own. The next tick finds it done.
        return;
    }
    // SAFETY: the stack pointer is on the thread's own stack and the guest was entered further up, so what
    // lies between is mapped; the handler itself runs on another stack or below.
    unsafe { replace_returns(&flag.code, stack, flag.entered_at.load(Ordering::Acquire)) };
}

/// Makes returns into guest functions go to the one that only traps.
///
/// A word between `from` and `to` that is an address inside a guest function is such a return address, or dead: the
/// host keeps no other pointers to guest code on its stack, and a guest's own values, which may be spilled
/// there, cannot hurt anybody but the guest that is being ended.
///
/// # Safety
///
/// `from` to `to` has to be mapped stack of the interrupted thread, which is this one.
unsafe fn replace_returns(code: &CodeMap, from: usize, to: usize) {
    let mut replaced = 0;
    let mut at = from.next_multiple_of(size_of::<usize>());
    while at < to && replaced < RETURNS_REPLACED_MAX {
        let word = at as *mut usize;
        // SAFETY: the caller vouches for the range, and `at` is aligned and in it.
        unsafe {
            if code.contains(word.read_volatile()) {
                word.write_volatile(code.trap);
                replaced += 1;
            }
        }
        at += size_of::<usize>();
    }
}

/// Where the program counter is kept, and the stack pointer.
#[cfg(target_arch = "x86_64")]
unsafe fn registers(context: *mut libc::ucontext_t) -> (*mut libc::greg_t, usize) {
    // SAFETY: the caller passes a valid context; no reference to it is made.
    unsafe {
        let registers = &raw mut (*context).uc_mcontext.gregs;
        let stack = (*registers)[libc::REG_RSP as usize] as usize;
        (&raw mut (*registers)[libc::REG_RIP as usize], stack)
    }
}

#[cfg(target_arch = "aarch64")]
unsafe fn registers(context: *mut libc::ucontext_t) -> (*mut u64, usize) {
    // SAFETY: the caller passes a valid context; no reference to it is made.
    unsafe {
        let stack = (*context).uc_mcontext.sp as usize;
        (&raw mut (*context).uc_mcontext.pc, stack)
    }
}

#[cfg(target_arch = "riscv64")]
unsafe fn registers(context: *mut libc::ucontext_t) -> (*mut libc::c_ulong, usize) {
    // SAFETY: the caller passes a valid context; no reference to it is made.
    unsafe {
        let stack = (*context).uc_mcontext.__gregs[libc::REG_SP] as usize;
        (&raw mut (*context).uc_mcontext.__gregs[libc::REG_PC], stack)
    }
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
    fn returns_into_guest_code_are_replaced_and_nothing_else() {
        let text = [0u8; 100];
        let base = text.as_ptr() as usize;
        let map = CodeMap::new(&text, [(50, 10), (0, 20)].into_iter(), 50);
        let mut stack = [1, base + 3, base + 30, base + 55, 7];
        let from = stack.as_mut_ptr() as usize;
        // SAFETY: the range is the array's.
        unsafe { replace_returns(&map, from, from + 4 * size_of::<usize>()) };
        assert_eq!(stack, [1, base + 50, base + 30, base + 50, 7]);
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
