//! Where the calling thread's stack ends: a guest that is given more than there is would end the process.

/// Bytes left on this thread's stack below the caller, when the system can say.
pub(crate) fn thread_stack_room() -> Option<usize> {
    let here = 0usize;
    (&raw const here as usize).checked_sub(thread_stack_lowest()?)
}

/// The lowest address of this thread's stack, when the system can say.
pub(crate) fn thread_stack_lowest() -> Option<usize> {
    thread_local! {
        static LOWEST: Option<usize> = find_lowest();
    }
    LOWEST.with(|lowest| *lowest)
}

#[cfg(target_os = "linux")]
fn find_lowest() -> Option<usize> {
    let mut attributes = std::mem::MaybeUninit::<libc::pthread_attr_t>::uninit();
    let mut lowest: *mut libc::c_void = std::ptr::null_mut();
    let mut size = 0usize;
    // SAFETY: the attributes are initialised by the first call before the others read them, and
    // destroyed once.
    unsafe {
        if libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) != 0 {
            return None;
        }
        let found =
            libc::pthread_attr_getstack(attributes.as_ptr(), &raw mut lowest, &raw mut size);
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
        (found == 0).then_some(lowest as usize)
    }
}

#[cfg(target_os = "macos")]
fn find_lowest() -> Option<usize> {
    // SAFETY: queries about this thread; the first one tells the stack's highest address.
    let (highest, size) = unsafe {
        let this = libc::pthread_self();
        let highest = libc::pthread_get_stackaddr_np(this);
        (highest as usize, libc::pthread_get_stacksize_np(this))
    };
    highest.checked_sub(size)
}

#[cfg(windows)]
fn find_lowest() -> Option<usize> {
    #[link(name = "kernel32")]
    unsafe extern "system" {
        fn GetCurrentThreadStackLimits(lowest: *mut usize, highest: *mut usize);
    }
    let (mut lowest, mut highest) = (0, 0);
    // SAFETY: both pointers are to whole numbers that the call writes; it cannot fail.
    unsafe { GetCurrentThreadStackLimits(&raw mut lowest, &raw mut highest) };
    Some(lowest)
}

/// Not known here.
#[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
fn find_lowest() -> Option<usize> {
    None
}
