//! Linux: a sealed memory file mapped privately over a slot's linear memory, and which of its pages
//! have been written since.
//!
//! A page of a private file mapping is the file's until it is written, then it is anonymous. The
//! kernel tells which is which without any write protection of ours: `PAGEMAP_SCAN` (Linux 6.7),
//! or `/proc/self/pagemap` before that. A swapped page counts as written. Neither is believed before it was seen to be
//! right about pages of our own.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::OnceLock;
use std::time::Duration;

use super::PAGE_BYTES;

/// A memory image as a sealed memory file and one read-only mapping of it.
///
/// Sealing makes the bytes immutable for every process, so the read-only view may be handed out
/// as a slice.
pub(crate) struct ImageMapping {
    file: File,
    view: NonNull<u8>,
    len: usize,
}

// SAFETY: the view is a read-only mapping of a file that is sealed against writing and resizing;
// any number of threads may read it, and it is unmapped only when the owner is dropped.
unsafe impl Send for ImageMapping {}
// SAFETY: as above.
unsafe impl Sync for ImageMapping {}

impl ImageMapping {
    /// Says `Unsupported` where none can be made.
    pub(crate) fn check() -> io::Result<()> {
        match host_page_bytes() {
            PAGE_BYTES => Ok(()),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Makes an image of `len` bytes from parts, `(offset, bytes)`, later ones over earlier ones; the
    /// rest is zero.
    pub(crate) fn new<'a>(
        len: usize,
        parts: impl Iterator<Item = (usize, &'a [u8])>,
    ) -> io::Result<Self> {
        Self::check()?;
        if !len.is_multiple_of(PAGE_BYTES) || len == 0 {
            return Err(io::ErrorKind::Unsupported.into());
        }
        // SAFETY: the name is a NUL-terminated string and the flags are the call's own.
        let fd = unsafe {
            libc::memfd_create(
                c"ppwasm-image".as_ptr(),
                libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING,
            )
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made and belongs to nobody else.
        let file = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
        file.set_len(len as u64)?;
        for (offset, bytes) in parts {
            if offset.checked_add(bytes.len()).is_none_or(|end| end > len) {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            file.write_all_at(bytes, offset as u64)?;
        }
        // SAFETY: plain system call on a descriptor we own.
        let sealed = unsafe {
            libc::fcntl(
                file.as_raw_fd(),
                libc::F_ADD_SEALS,
                libc::F_SEAL_WRITE | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL,
            )
        };
        if sealed != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a fresh mapping at an address of the kernel's choice touches no other memory.
        let view = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        if view == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let view = NonNull::new(view.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { file, view, len })
    }

    /// The image's bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: `view` maps `len` readable bytes that the seals keep from changing, and lives as
        // long as `self`.
        unsafe { std::slice::from_raw_parts(self.view.as_ptr(), self.len) }
    }
}

impl Drop for ImageMapping {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new` with this length and no slice of it outlives self.
        unsafe { libc::munmap(self.view.as_ptr().cast(), self.len) };
    }
}

/// Private mapping of an image over the start of a linear memory that somebody else owns.
///
/// It changes what the memory holds, never who owns the addresses: the owner unmaps them.
pub(crate) struct Overlay {
    base: NonNull<u8>,
    len: usize,
    scan: Vec<PageRegion>,
}

// SAFETY: the overlay is only a name for addresses; whoever holds it mutably also holds the store
// that owns the memory (see `Overlay::map`).
unsafe impl Send for Overlay {}

impl Overlay {
    /// Maps `image` over `[base, base + image length)`.
    ///
    /// # Safety
    ///
    /// The range has to be a readable and writable part of a linear memory's own mapping, aligned to
    /// pages, that stays mapped for as long as the overlay is used; and whoever calls this or
    /// [`Overlay::restore`] or [`Overlay::discard`] must hold the memory exclusively, with no
    /// reference into it.
    pub(crate) unsafe fn map(base: NonNull<u8>, image: &ImageMapping) -> io::Result<Self> {
        if !(base.as_ptr() as usize).is_multiple_of(PAGE_BYTES) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: the caller owns the range and holds no reference into it; MAP_FIXED replaces
        // exactly these pages.
        let mapped = unsafe {
            libc::mmap(
                base.as_ptr().cast(),
                image.len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_FIXED | libc::MAP_NORESERVE,
                image.file.as_raw_fd(),
                0,
            )
        };
        if mapped == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            base,
            len: image.len,
            scan: Vec::new(),
        })
    }

    /// Length of the mapped range in bytes.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Copies `runs` (page number, page count) back from the image.
    ///
    /// # Safety
    ///
    /// As for [`Overlay::map`]; `image` is the one that is mapped.
    pub(crate) unsafe fn restore(&mut self, image: &ImageMapping, runs: &[(u32, u32)]) {
        let source = image.bytes();
        for &(page, count) in runs {
            let start = page as usize * PAGE_BYTES;
            let len = count as usize * PAGE_BYTES;
            let Some(bytes) = source.get(start..start + len) else {
                continue;
            };
            // SAFETY: the range lies inside the image, which is as long as the mapping, and the
            // caller holds the memory exclusively; the two mappings do not overlap.
            unsafe {
                std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.base.as_ptr().add(start), len);
            }
        }
    }

    /// Gives the private copies of `runs` back to the kernel: the pages are the image's again.
    ///
    /// # Safety
    ///
    /// As for [`Overlay::map`].
    pub(crate) unsafe fn discard(&mut self, runs: &[(u32, u32)]) -> io::Result<()> {
        for &(page, count) in runs {
            let start = page as usize * PAGE_BYTES;
            let len = count as usize * PAGE_BYTES;
            if start + len > self.len {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            // SAFETY: the range lies inside the private mapping, which the caller holds exclusively.
            let done = unsafe {
                libc::madvise(
                    self.base.as_ptr().add(start).cast(),
                    len,
                    libc::MADV_DONTNEED,
                )
            };
            if done != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    }

    /// Replaces `runs` by the pages that have been written since they were mapped or discarded, as
    /// (page number, page count), in order and coalesced.
    pub(crate) fn written(&mut self, runs: &mut Vec<(u32, u32)>) -> io::Result<()> {
        self.written_as_told_by(Pagemap::of_process()?, runs)
    }

    fn written_as_told_by(
        &mut self,
        pagemap: &Pagemap,
        runs: &mut Vec<(u32, u32)>,
    ) -> io::Result<()> {
        runs.clear();
        match pagemap {
            Pagemap::Scan(file) => self.written_by_scan(file, runs),
            Pagemap::Entries(file) => self.written_by_entries(file, runs),
        }
    }

    fn written_by_scan(&mut self, file: &File, runs: &mut Vec<(u32, u32)>) -> io::Result<()> {
        if self.scan.is_empty() {
            self.scan.resize(SCAN_REGIONS, PageRegion::default());
        }
        let base = self.base.as_ptr() as u64;
        let end = base + self.len as u64;
        let mut start = base;
        while start < end {
            let mut arg = PmScanArg {
                size: size_of::<PmScanArg>() as u64,
                start,
                end,
                vec: self.scan.as_mut_ptr() as u64,
                vec_len: self.scan.len() as u64,
                category_inverted: PAGE_IS_FILE,
                category_mask: PAGE_IS_FILE,
                category_anyof_mask: PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
                return_mask: PAGE_IS_FILE,
                ..PmScanArg::default()
            };
            // SAFETY: the argument has the kernel's layout and size, and `vec` points to `vec_len`
            // writable regions; the call only reads the address space.
            let found = unsafe { libc::ioctl(file.as_raw_fd(), PAGEMAP_SCAN, &raw mut arg) };
            if found < 0 {
                return Err(io::Error::last_os_error());
            }
            for region in self.scan.iter().take(found as usize) {
                push_run(
                    runs,
                    (region.start - base) / PAGE_BYTES as u64,
                    (region.end - region.start) / PAGE_BYTES as u64,
                );
            }
            if arg.walk_end <= start {
                break;
            }
            start = arg.walk_end;
        }
        Ok(())
    }

    fn written_by_entries(&mut self, file: &File, runs: &mut Vec<(u32, u32)>) -> io::Result<()> {
        let first = self.base.as_ptr() as usize / PAGE_BYTES;
        let pages = self.len / PAGE_BYTES;
        let mut entries = vec![0u8; ENTRIES_PER_READ * 8];
        let mut page = 0;
        while page < pages {
            let count = ENTRIES_PER_READ.min(pages - page);
            let Some(buffer) = entries.get_mut(..count * 8) else {
                break;
            };
            file.read_exact_at(buffer, ((first + page) * 8) as u64)?;
            for (index, entry) in buffer.as_chunks::<8>().0.iter().enumerate() {
                let entry = u64::from_ne_bytes(*entry);
                let here = entry & (ENTRY_PRESENT | ENTRY_SWAPPED) != 0;
                if here && entry & ENTRY_FILE == 0 {
                    push_run(runs, (page + index) as u64, 1);
                }
            }
            page += count;
        }
        Ok(())
    }
}

/// Appends `count` pages from `page`, joining them to the last run when they touch it.
fn push_run(runs: &mut Vec<(u32, u32)>, page: u64, count: u64) {
    // A linear memory has at most 2^32 bytes, so 2^20 pages.
    let (page, count) = (page as u32, count as u32);
    if let Some(last) = runs.last_mut()
        && last.0 + last.1 == page
    {
        last.1 += count;
        return;
    }
    runs.push((page, count));
}

/// Regions that one `PAGEMAP_SCAN` call may report; the call is repeated when there are more.
const SCAN_REGIONS: usize = 256;
/// Entries of `/proc/self/pagemap` read at a time.
const ENTRIES_PER_READ: usize = 4096;

// linux/fs.h, `PAGEMAP_SCAN`: _IOWR('f', 16, struct pm_scan_arg), 96 bytes.
const PAGEMAP_SCAN: libc::Ioctl = 0xC060_6610_u32 as libc::Ioctl;
const PAGE_IS_FILE: u64 = 1 << 2;
const PAGE_IS_PRESENT: u64 = 1 << 3;
const PAGE_IS_SWAPPED: u64 = 1 << 4;

// Documentation/admin-guide/mm/pagemap.rst: bits of an entry.
const ENTRY_FILE: u64 = 1 << 61;
const ENTRY_SWAPPED: u64 = 1 << 62;
const ENTRY_PRESENT: u64 = 1 << 63;

#[repr(C)]
#[derive(Default)]
struct PmScanArg {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct PageRegion {
    start: u64,
    end: u64,
    categories: u64,
}

/// How this kernel tells written pages.
enum Pagemap {
    Scan(File),
    Entries(File),
}

impl Pagemap {
    /// The process's own page map. After a fork without exec it would still be the parent's; the
    /// host starts children only by exec.
    fn of_process() -> io::Result<&'static Self> {
        static PAGEMAP: OnceLock<io::Result<Pagemap>> = OnceLock::new();
        match PAGEMAP.get_or_init(Self::open) {
            Ok(pagemap) => Ok(pagemap),
            Err(error) => Err(error.kind().into()),
        }
    }

    /// The better of the two that tells the truth.
    fn open() -> io::Result<Self> {
        let file = File::open("/proc/self/pagemap")?;
        let mut arg = PmScanArg {
            size: size_of::<PmScanArg>() as u64,
            ..PmScanArg::default()
        };
        // SAFETY: as in `written_by_scan`; an empty range asks only whether the call is there.
        let supported = unsafe { libc::ioctl(file.as_raw_fd(), PAGEMAP_SCAN, &raw mut arg) } >= 0;
        let forced = std::env::var_os("PPWASM_NO_PAGEMAP_SCAN").is_some();
        if supported && !forced {
            let scan = Self::Scan(file.try_clone()?);
            if scan.tells_the_truth()? {
                return Ok(scan);
            }
        }
        let entries = Self::Entries(file);
        match entries.tells_the_truth()? {
            true => Ok(entries),
            false => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Whether of some pages the one that was written is told, and no other, and whether writing it counted as a fault.
    ///
    /// An emulator that moves its program's addresses answers for others than those that it is asked for (qemu does with
    /// a base), and pages that are not told would be left to the next call as the last one had them.
    fn tells_the_truth(&self) -> io::Result<bool> {
        const PAGES: usize = 4;
        const WRITTEN: usize = 2;
        let len = PAGES * PAGE_BYTES;
        let image = ImageMapping::new(len, [(0, [1; PAGES * PAGE_BYTES].as_slice())].into_iter())?;
        // SAFETY: a fresh mapping at an address of the kernel's choice touches no other memory.
        let place = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if place == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(place.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        let found = (|| {
            // SAFETY: the range was just mapped, is ours alone, and no reference into it is made.
            let mut overlay = unsafe { Overlay::map(start, &image) }?;
            for page in 0..PAGES {
                // SAFETY: the page is mapped and readable.
                unsafe { start.add(page * PAGE_BYTES).read_volatile() };
            }
            let faults = thread_page_faults();
            // SAFETY: the page is mapped and writable.
            unsafe { start.add(WRITTEN * PAGE_BYTES).write_volatile(2) };
            let has_faulted = thread_page_faults() > faults;
            let mut written = Vec::new();
            overlay.written_as_told_by(self, &mut written)?;
            let is_told = written == [(WRITTEN as u32, 1)];
            // SAFETY: as for the mapping.
            unsafe { overlay.discard(&written) }?;
            overlay.written_as_told_by(self, &mut written)?;
            Ok(has_faulted && is_told && written.is_empty())
        })();
        // SAFETY: the range was mapped above, and nothing refers to it any more.
        unsafe { libc::munmap(place, len) };
        found
    }
}

/// True when written pages are told by `PAGEMAP_SCAN`, false by `/proc/self/pagemap`.
pub(crate) fn pagemap_scan_available() -> io::Result<bool> {
    Ok(matches!(Pagemap::of_process()?, Pagemap::Scan(_)))
}

fn host_page_bytes() -> usize {
    // SAFETY: a query without arguments in memory.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(0)
}

/// Page faults that this thread has taken, minor and major. A page that was not private before
/// cannot be written without one: a minor one, or a major one when the image was swapped out.
pub(crate) fn thread_page_faults() -> u64 {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is to a whole `rusage`, which all-zero bytes initialise validly.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr());
        usage.assume_init()
    };
    u64::try_from(usage.ru_minflt).unwrap_or(0) + u64::try_from(usage.ru_majflt).unwrap_or(0)
}

/// CPU time that this thread has used.
pub(crate) fn thread_cpu_time() -> Duration {
    CpuClock(libc::CLOCK_THREAD_CPUTIME_ID).time()
}

/// The clock of one thread's CPU time, to be read on any thread while that one lives.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CpuClock(libc::clockid_t);

impl CpuClock {
    pub(crate) fn of_this_thread() -> Self {
        thread_local! {
            static CLOCK: libc::clockid_t = {
                let mut clock = libc::CLOCK_THREAD_CPUTIME_ID;
                // SAFETY: the thread is this one and the pointer is to a whole clock id.
                unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &raw mut clock) };
                clock
            };
        }
        Self(CLOCK.with(|clock| *clock))
    }

    /// The time used; 0 when the thread has ended.
    pub(crate) fn time(self) -> Duration {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: the pointer is to a whole `timespec`.
        unsafe { libc::clock_gettime(self.0, &raw mut time) };
        Duration::new(
            u64::try_from(time.tv_sec).unwrap_or(0),
            u32::try_from(time.tv_nsec).unwrap_or(0),
        )
    }
}

/// Bits of an address that this process can use: its stack is close to the end of them.
pub(crate) fn address_bits() -> Option<u32> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let stack = maps.lines().find(|line| line.ends_with("[stack]"))?;
    let (_, end) = stack.split_whitespace().next()?.split_once('-')?;
    let end = u64::from_str_radix(end, 16).ok()?;
    Some(u64::BITS - end.saturating_sub(1).leading_zeros())
}

/// Memory that this process can use, as far as the system tells: the machine's, swap included, or what its control groups
/// leave it.
pub(crate) fn machine_memory() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = group_files(&groups)
        .filter_map(|file| std::fs::read_to_string(file).ok()?.trim().parse().ok());
    let machine = std::fs::read_to_string("/proc/meminfo").ok();
    limits
        .chain(machine.as_deref().and_then(memory_and_swap))
        .min()
}

/// Memory and swap in bytes, of what `/proc/meminfo` says.
fn memory_and_swap(meminfo: &str) -> Option<u64> {
    let of = |name: &str| -> Option<u64> {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    Some((of("MemTotal:")? + of("SwapTotal:").unwrap_or(0)) << 10)
}

/// The files that may hold limits on memory, of what `/proc/self/cgroup` says: of each group and those that it is in, in both
/// versions (cgroups(7)). What is not there, or says "max", limits nothing.
fn group_files(groups: &str) -> impl Iterator<Item = PathBuf> + '_ {
    groups.lines().flat_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            return Vec::new();
        };
        let (root, name) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            "memory" => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => return Vec::new(),
        };
        let group = Path::new(path.trim_start_matches('/'));
        let files = group
            .ancestors()
            .map(|group| Path::new(root).join(group).join(name));
        files.collect()
    })
}

/// The limit on this process's addresses (`ulimit -v`), if there is one.
pub(crate) fn address_limit() -> Option<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: the pointer is to a whole `rlimit`.
    let done = unsafe { libc::getrlimit(libc::RLIMIT_AS, &raw mut limit) };
    (done == 0 && limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_that_of_the_machine_with_swap() {
        let text = "MemTotal:        1000 kB\nMemFree:  10 kB\nSwapTotal:  24 kB\n";
        assert_eq!(memory_and_swap(text), Some(1 << 20));
        assert_eq!(memory_and_swap("MemTotal: 2 kB\n"), Some(2048));
        assert_eq!(memory_and_swap("nothing\n"), None);
        assert!(machine_memory().is_some_and(|bytes| bytes > 64 << 20));
    }

    #[test]
    fn limits_are_looked_for_in_a_group_and_all_that_it_is_in() {
        let files: Vec<_> =
            group_files("5:cpu,cpuacct:/x\n4:memory:/a\n0::/b/c:d\nrubbish\n").collect();
        let expected = [
            "/sys/fs/cgroup/memory/a/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "/sys/fs/cgroup/b/c:d/memory.max",
            "/sys/fs/cgroup/b/memory.max",
            "/sys/fs/cgroup/memory.max",
        ];
        assert_eq!(files, expected.map(PathBuf::from));
    }
}
