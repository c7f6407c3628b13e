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

/// A frame record, which is aligned to its own size: the caller's frame pointer and the return address.
const FRAME_RECORD_BYTES: usize = 2 * size_of::<usize>();
/// The longest instruction that calls.
const CALL_BYTES_MAX: usize = 7;

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

impl CodeMap {
    /// Whether this is the address of an instruction of a guest function that stands right behind a call.
    fn is_behind_call(&self, address: usize) -> bool {
        let after = self
            .functions
            .partition_point(|&(start, _)| start < address);
        let Some((start, end)) = after
            .checked_sub(1)
            .and_then(|index| self.functions.get(index))
        else {
            return false;
        };
        if address >= *end {
            return false;
        }
        let before = (address - start).min(CALL_BYTES_MAX);
        // SAFETY: the functions are code that is mapped readable for as long as their guest runs, and these bytes lie
        // inside one of them.
        let bytes = unsafe { std::slice::from_raw_parts((address - before) as *const u8, before) };
        ends_with_call(bytes)
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
        let lowest = super::stack::thread_stack_lowest().unwrap_or(usize::MAX);
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
/// Compiled guest code and the engine's trampolines keep frame records: the caller's frame pointer, at an address that is a
/// multiple of 16, and above it the return address. So a word between `from` and `to` is taken for a return address only
/// if it stands where one may, the word below it is a frame pointer further up this stack, and it names an instruction of
/// a guest function right behind a call. Not every word that names guest code will do: a smaller value, a flag for one,
/// that the host has put over a dead return address leaves that word's other bytes standing. What passes is a return
/// address, or dead; a guest's own values, which may be spilled there, cannot hurt anybody but the guest that is being
/// ended.
///
/// # Safety
///
/// `from` to `to` has to be mapped stack of the interrupted thread, which is this one.
unsafe fn replace_returns(code: &CodeMap, from: usize, to: usize) {
    let mut replaced = 0;
    let mut record = from.next_multiple_of(FRAME_RECORD_BYTES);
    while record + FRAME_RECORD_BYTES <= to && replaced < RETURNS_REPLACED_MAX {
        let returns_to = (record + size_of::<usize>()) as *mut usize;
        // SAFETY: the caller vouches for the range; both words are aligned and in it.
        unsafe {
            let caller = (record as *const usize).read_volatile();
            let is_frame =
                caller > record && caller < to && caller.is_multiple_of(FRAME_RECORD_BYTES);
            if is_frame && code.is_behind_call(returns_to.read_volatile()) {
                returns_to.write_volatile(code.trap);
                replaced += 1;
            }
        }
        record += FRAME_RECORD_BYTES;
    }
}

/// Whether an instruction that ends where these bytes end calls. They are what stands before a return address; as many as
/// the longest such instruction has, or fewer at the start of a function.
fn ends_with_call(code: &[u8]) -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        // CALL rel32; CALL r/m64 with its address in a register, or in memory at a register and 0, 1 or 4 bytes.
        let byte = |from_end: usize| {
            let at = code.len().checked_sub(from_end)?;
            code.get(at).copied()
        };
        let is_indirect = |len: usize, modes: &[u8]| {
            byte(len) == Some(0xff)
                && byte(len - 1)
                    .is_some_and(|modrm| modrm >> 3 & 7 == 2 && modes.contains(&(modrm >> 6)))
        };
        byte(5) == Some(0xe8)
            || is_indirect(2, &[0, 3])
            || is_indirect(3, &[0, 1])
            || is_indirect(4, &[1])
            || is_indirect(6, &[0, 2])
            || is_indirect(7, &[0, 2])
    }
    #[cfg(target_arch = "aarch64")]
    {
        let word = code
            .last_chunk()
            .map_or(0, |bytes| u32::from_le_bytes(*bytes));
        // BL, BLR.
        word & 0xfc00_0000 == 0x9400_0000 || word & 0xffff_fc1f == 0xd63f_0000
    }
    #[cfg(target_arch = "riscv64")]
    {
        let word = code
            .last_chunk()
            .map_or(0, |bytes| u32::from_le_bytes(*bytes));
        let half = code
            .last_chunk()
            .map_or(0, |bytes| u16::from_le_bytes(*bytes));
        // JAL and JALR that put the return address into `ra`; C.JALR.
        matches!(word & 0xfff, 0x0ef | 0x0e7) || half & 0xf07f == 0x9002 && half & 0x0f80 != 0
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

    /// A call, as the engine compiles it.
    #[cfg(target_arch = "x86_64")]
    const CALL: &[u8] = &[0xe8, 0, 0, 0, 0];
    #[cfg(target_arch = "aarch64")]
    const CALL: &[u8] = &[0, 0, 0, 0x94];
    #[cfg(target_arch = "riscv64")]
    const CALL: &[u8] = &[0xef, 0, 0, 0];

    /// As many words as a few frames, aligned as a stack is.
    #[repr(align(16))]
    struct Stack([usize; 12]);

    #[test]
    fn returns_into_guest_code_are_replaced_and_nothing_else() {
        let mut text = [0u8; 1000];
        for at in [100, 300, 500] {
            text[at..at + CALL.len()].copy_from_slice(CALL);
        }
        let base = text.as_ptr() as usize;
        let returns_to = |call: usize| base + call + CALL.len();
        let map = CodeMap::new(&text, [(50, 200), (450, 100)].into_iter(), 60);
        let mut stack = Stack([0; 12]);
        let from = stack.0.as_ptr() as usize;
        let word = |index: usize| from + index * size_of::<usize>();
        stack.0 = [
            // A frame of the guest, called from the guest.
            word(4),
            returns_to(100),
            // A flag over a dead return address, and one where no return address may stand.
            word(8),
            returns_to(100) & !0xff | 1,
            returns_to(100),
            returns_to(500),
            // Below no frame of this stack: too low, not aligned, beyond the guest's entry.
            word(2),
            returns_to(100),
            word(9),
            returns_to(100),
            word(14),
            returns_to(100),
        ];
        let mut wanted = stack.0;
        wanted[1] = base + 60;
        // SAFETY: the range is the array's.
        unsafe { replace_returns(&map, from, word(12)) };
        assert_eq!(stack.0, wanted);

        // Code that is no guest function's, and a place in one that is behind no call.
        stack.0 = [0; 12];
        (stack.0[0], stack.0[1]) = (word(8), returns_to(300));
        (stack.0[2], stack.0[3]) = (word(8), base + 200);
        let wanted = stack.0;
        // SAFETY: the range is the array's.
        unsafe { replace_returns(&map, from, word(12)) };
        assert_eq!(stack.0, wanted);
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
