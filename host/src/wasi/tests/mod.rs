//! Tests of the functions, from the text of the preview 1 specification: each is called as a guest calls it, with
//! addresses into a small memory.

mod args_clock_random;
mod descriptors;
mod directories;
mod files;
mod hostile;
#[cfg(unix)]
mod inputs;
mod library;
mod linked;
mod links;
mod model;
mod open;
mod paths;
mod poll;
mod real_time;
mod snapshots;
mod stdio;

use std::sync::Arc;

use super::types::{fdflags, oflags, rights};
use super::{
    Answer, Errno, Fail, InputTree, JobIo, Library, OpenArguments, ScratchLimits, SharedBytes,
    Stop, Wasi, WasiSnapshot,
};

pub(crate) const ROOT: i32 = 3;
/// Where results go.
const OUT: i32 = 0x20;
/// Where buffer lists go.
const LIST: i32 = 0x100;
/// Where paths go.
const PATH: i32 = 0x1000;
const OTHER_PATH: i32 = 0x3000;
/// Where data goes.
const DATA: i32 = 0x8000;
const MEMORY_BYTES: usize = 0x20000;

/// What wasi-libc asks for on `open(…, O_RDWR)`.
pub(crate) const ALL_RIGHTS: u64 = rights::DIRECTORY | rights::FILE;
/// What it asks for on `open(…, O_RDONLY)`.
pub(crate) const READ_RIGHTS: u64 = ALL_RIGHTS
    & !(rights::FD_DATASYNC
        | rights::FD_WRITE
        | rights::FD_ALLOCATE
        | rights::FD_FILESTAT_SET_SIZE);

/// The attributes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) dev: u64,
    pub(crate) ino: u64,
    pub(crate) filetype: u8,
    pub(crate) nlink: u64,
    pub(crate) size: u64,
    pub(crate) atim: u64,
    pub(crate) mtim: u64,
    pub(crate) ctim: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dirent {
    pub(crate) next: u64,
    pub(crate) ino: u64,
    pub(crate) filetype: u8,
    pub(crate) name: String,
}

/// A sandbox and the memory of its guest.
pub(crate) struct Guest {
    pub(crate) wasi: Wasi,
    pub(crate) memory: Vec<u8>,
}

/// The error code of an answer that does not end the guest.
pub(crate) fn errno(answer: Answer) -> Result<(), Errno> {
    match answer {
        Ok(()) => Ok(()),
        Err(Fail::Errno(errno)) => Err(errno),
        Err(Fail::Stop(stop)) => panic!("the guest ended: {stop:?}"),
    }
}

/// What ended the guest.
pub(crate) fn stop(answer: Answer) -> Stop {
    match answer {
        Err(Fail::Stop(stop)) => stop,
        other => panic!("the guest goes on: {other:?}"),
    }
}

/// An archive with files and, where there are no contents, directories.
pub(crate) fn tar(entries: &[(&str, Option<&[u8]>)]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, contents) in entries {
        let kind = if contents.is_some() { b'0' } else { b'5' };
        archive.extend(tar_header(name, kind, contents.map_or(0, <[u8]>::len)));
        let contents = contents.unwrap_or_default();
        archive.extend(contents);
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}

pub(crate) fn tar_header(name: &str, kind: u8, size: usize) -> [u8; 512] {
    let mut header = [0u8; 512];
    let (prefix, name) = if name.len() <= 100 {
        ("", name)
    } else {
        let at = name[..name.len().min(155)]
            .rfind('/')
            .expect("a name that can be split");
        (&name[..at], &name[at + 1..])
    };
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..108].copy_from_slice(b"0000644\0");
    header[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    header[136..148].copy_from_slice(b"00000000000\0");
    header[156] = kind;
    header[257..265].copy_from_slice(b"ustar\x0000");
    header[345..345 + prefix.len()].copy_from_slice(prefix.as_bytes());
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

pub(crate) fn library() -> Arc<Library> {
    let archive = tar(&[
        ("encodings", None),
        ("encodings/__init__.py", Some(b"init")),
        ("encodings/utf_8.py", Some(b"utf")),
        ("os.py", Some(b"import abc\n")),
    ]);
    Arc::new(Library::from_tar(archive.into()).expect("a library"))
}

pub(crate) fn inputs() -> Arc<InputTree> {
    let mut tree = InputTree::new();
    tree.add_file("data/a.csv", SharedBytes::from(&b"1,2\n"[..]))
        .expect("an input");
    tree.add_file("notes.txt", SharedBytes::from(&b"notes"[..]))
        .expect("an input");
    tree.add_directory("data/empty").expect("an input");
    Arc::new(tree)
}

impl Guest {
    pub(crate) fn new(job: JobIo) -> Self {
        Self {
            wasi: Wasi::new(library(), job),
            memory: vec![0xaa; MEMORY_BYTES],
        }
    }

    pub(crate) fn plain() -> Self {
        Self::new(JobIo::default())
    }

    pub(crate) fn with_inputs() -> Self {
        Self::new(JobIo {
            inputs: Some(inputs()),
            ..JobIo::default()
        })
    }

    pub(crate) fn with_limits(bytes_max: u64, nodes_max: u32) -> Self {
        let scratch = ScratchLimits {
            bytes_max,
            nodes_max,
        };
        Self::new(JobIo {
            scratch,
            ..JobIo::default()
        })
    }

    pub(crate) fn from_snapshot(snapshot: &WasiSnapshot) -> Self {
        let wasi = Wasi::from_snapshot(library(), snapshot, JobIo::default());
        Self {
            wasi,
            memory: vec![0xaa; MEMORY_BYTES],
        }
    }

    fn put(&mut self, at: i32, data: &[u8]) -> (i32, i32) {
        let start = usize::try_from(at).expect("an address");
        self.memory[start..start + data.len()].copy_from_slice(data);
        (at, i32::try_from(data.len()).expect("a length"))
    }

    pub(crate) fn path(&mut self, path: &str) -> (i32, i32) {
        self.put(PATH, path.as_bytes())
    }

    fn other_path(&mut self, path: &str) -> (i32, i32) {
        self.put(OTHER_PATH, path.as_bytes())
    }

    pub(crate) fn bytes<const N: usize>(&self, at: i32) -> [u8; N] {
        let start = usize::try_from(at).expect("an address");
        self.memory[start..start + N].try_into().expect("a length")
    }

    pub(crate) fn u32_at(&self, at: i32) -> u32 {
        u32::from_le_bytes(self.bytes(at))
    }

    pub(crate) fn u64_at(&self, at: i32) -> u64 {
        u64::from_le_bytes(self.bytes(at))
    }

    /// One buffer at `DATA`.
    fn buffer(&mut self, len: usize) -> (i32, i32) {
        let len = u32::try_from(len).expect("a length");
        self.put(LIST, &DATA.to_le_bytes());
        self.put(LIST + 4, &len.to_le_bytes());
        (LIST, 1)
    }

    pub(crate) fn path_open(
        &mut self,
        fd: i32,
        path: &str,
        arguments: OpenArguments,
    ) -> Result<i32, Errno> {
        let path = self.path(path);
        errno(
            self.wasi
                .path_open(&mut self.memory, fd, path, arguments, OUT),
        )?;
        Ok(self.u32_at(OUT).cast_signed())
    }

    /// Opens for reading and writing, following links.
    pub(crate) fn open(&mut self, path: &str, oflags: u16) -> Result<i32, Errno> {
        self.open_with(ROOT, path, oflags, ALL_RIGHTS, 0)
    }

    /// Opens for reading.
    pub(crate) fn open_to_read(&mut self, path: &str) -> Result<i32, Errno> {
        self.open_with(ROOT, path, 0, READ_RIGHTS, 0)
    }

    pub(crate) fn open_with(
        &mut self,
        fd: i32,
        path: &str,
        oflags: u16,
        rights: u64,
        fdflags: u16,
    ) -> Result<i32, Errno> {
        let arguments = OpenArguments {
            lookup: 1,
            oflags: oflags.into(),
            rights: rights.cast_signed(),
            inheriting: ALL_RIGHTS.cast_signed(),
            fdflags: fdflags.into(),
        };
        self.path_open(fd, path, arguments)
    }

    pub(crate) fn create(&mut self, path: &str) -> i32 {
        self.open(path, oflags::CREAT).expect("a new file")
    }

    /// A file with contents, closed again.
    pub(crate) fn file(&mut self, path: &str, contents: &[u8]) {
        let fd = self
            .open(path, oflags::CREAT | oflags::TRUNC)
            .expect("a new file");
        assert_eq!(self.write(fd, contents), Ok(contents.len()));
        self.close(fd).expect("closed");
    }

    /// A file's whole contents.
    pub(crate) fn contents(&mut self, path: &str) -> Result<Vec<u8>, Errno> {
        let fd = self.open_to_read(path)?;
        let contents = self.read(fd, 0x10000);
        self.close(fd).expect("closed");
        contents
    }

    pub(crate) fn close(&mut self, fd: i32) -> Result<(), Errno> {
        errno(self.wasi.fd_close(&mut self.memory, fd))
    }

    pub(crate) fn read(&mut self, fd: i32, len: usize) -> Result<Vec<u8>, Errno> {
        let (list, count) = self.buffer(len);
        errno(self.wasi.fd_read(&mut self.memory, fd, list, count, OUT))?;
        Ok(self.data())
    }

    pub(crate) fn pread(&mut self, fd: i32, len: usize, offset: i64) -> Result<Vec<u8>, Errno> {
        let buffers = self.buffer(len);
        errno(
            self.wasi
                .fd_pread(&mut self.memory, fd, buffers, offset, OUT),
        )?;
        Ok(self.data())
    }

    /// What a read put at `DATA`.
    fn data(&self) -> Vec<u8> {
        let start = usize::try_from(DATA).expect("an address");
        let len = usize::try_from(self.u32_at(OUT)).expect("a length");
        self.memory[start..start + len].to_vec()
    }

    pub(crate) fn try_write(&mut self, fd: i32, data: &[u8]) -> Answer {
        self.put(DATA, data);
        let (list, count) = self.buffer(data.len());
        self.wasi.fd_write(&mut self.memory, fd, list, count, OUT)
    }

    pub(crate) fn write(&mut self, fd: i32, data: &[u8]) -> Result<usize, Errno> {
        errno(self.try_write(fd, data))?;
        Ok(usize::try_from(self.u32_at(OUT)).expect("a length"))
    }

    pub(crate) fn pwrite(&mut self, fd: i32, data: &[u8], offset: i64) -> Result<usize, Errno> {
        self.put(DATA, data);
        let buffers = self.buffer(data.len());
        errno(
            self.wasi
                .fd_pwrite(&mut self.memory, fd, buffers, offset, OUT),
        )?;
        Ok(usize::try_from(self.u32_at(OUT)).expect("a length"))
    }

    pub(crate) fn seek(&mut self, fd: i32, delta: i64, whence: i32) -> Result<u64, Errno> {
        errno(self.wasi.fd_seek(&mut self.memory, fd, delta, whence, OUT))?;
        Ok(self.u64_at(OUT))
    }

    pub(crate) fn tell(&mut self, fd: i32) -> Result<u64, Errno> {
        errno(self.wasi.fd_tell(&mut self.memory, fd, OUT))?;
        Ok(self.u64_at(OUT))
    }

    fn stat_at(&self, at: i32) -> Stat {
        Stat {
            dev: self.u64_at(at),
            ino: self.u64_at(at + 8),
            filetype: self.bytes::<1>(at + 16)[0],
            nlink: self.u64_at(at + 24),
            size: self.u64_at(at + 32),
            atim: self.u64_at(at + 40),
            mtim: self.u64_at(at + 48),
            ctim: self.u64_at(at + 56),
        }
    }

    pub(crate) fn fstat(&mut self, fd: i32) -> Result<Stat, Errno> {
        errno(self.wasi.fd_filestat_get(&mut self.memory, fd, OUT))?;
        Ok(self.stat_at(OUT))
    }

    /// Looks at what a path leads to.
    pub(crate) fn stat(&mut self, path: &str) -> Result<Stat, Errno> {
        self.stat_with(ROOT, path, 1)
    }

    /// Looks at a link itself.
    pub(crate) fn lstat(&mut self, path: &str) -> Result<Stat, Errno> {
        self.stat_with(ROOT, path, 0)
    }

    pub(crate) fn stat_with(&mut self, fd: i32, path: &str, flags: i32) -> Result<Stat, Errno> {
        let path = self.path(path);
        errno(
            self.wasi
                .path_filestat_get(&mut self.memory, fd, flags, path, OUT),
        )?;
        Ok(self.stat_at(OUT))
    }

    pub(crate) fn mkdir(&mut self, path: &str) -> Result<(), Errno> {
        let (at, len) = self.path(path);
        errno(
            self.wasi
                .path_create_directory(&mut self.memory, ROOT, at, len),
        )
    }

    pub(crate) fn rmdir(&mut self, path: &str) -> Result<(), Errno> {
        let (at, len) = self.path(path);
        errno(
            self.wasi
                .path_remove_directory(&mut self.memory, ROOT, at, len),
        )
    }

    pub(crate) fn unlink(&mut self, path: &str) -> Result<(), Errno> {
        let (at, len) = self.path(path);
        errno(self.wasi.path_unlink_file(&mut self.memory, ROOT, at, len))
    }

    pub(crate) fn rename(&mut self, old: &str, new: &str) -> Result<(), Errno> {
        let (old, new) = (self.path(old), self.other_path(new));
        errno(
            self.wasi
                .path_rename(&mut self.memory, ROOT, old, ROOT, new),
        )
    }

    pub(crate) fn link(&mut self, old: &str, new: &str) -> Result<(), Errno> {
        self.link_with(0, old, new)
    }

    pub(crate) fn link_with(&mut self, flags: i32, old: &str, new: &str) -> Result<(), Errno> {
        let (old, new) = (self.path(old), self.other_path(new));
        errno(
            self.wasi
                .path_link(&mut self.memory, (ROOT, flags), old, ROOT, new),
        )
    }

    pub(crate) fn symlink(&mut self, target: &str, path: &str) -> Result<(), Errno> {
        let (target, path) = (self.other_path(target), self.path(path));
        errno(self.wasi.path_symlink(&mut self.memory, target, ROOT, path))
    }

    pub(crate) fn readlink(&mut self, path: &str, room: i32) -> Result<Vec<u8>, Errno> {
        let path = self.path(path);
        errno(
            self.wasi
                .path_readlink(&mut self.memory, ROOT, path, (DATA, room), OUT),
        )?;
        Ok(self.data())
    }

    /// One call of `fd_readdir`: the entries that are whole, and how many bytes came.
    pub(crate) fn readdir_once(
        &mut self,
        fd: i32,
        cookie: u64,
        room: i32,
    ) -> Result<(Vec<Dirent>, usize), Errno> {
        let cookie = cookie.cast_signed();
        errno(
            self.wasi
                .fd_readdir(&mut self.memory, fd, (DATA, room), cookie, OUT),
        )?;
        let data = self.data();
        let mut entries = Vec::new();
        let mut rest = &data[..];
        while rest.len() >= 24 {
            let (head, tail) = rest.split_at(24);
            let namlen = u32::from_le_bytes(head[16..20].try_into().expect("a length")) as usize;
            if tail.len() < namlen {
                break;
            }
            entries.push(Dirent {
                next: u64::from_le_bytes(head[..8].try_into().expect("a length")),
                ino: u64::from_le_bytes(head[8..16].try_into().expect("a length")),
                filetype: head[20],
                name: String::from_utf8(tail[..namlen].to_vec()).expect("a name"),
            });
            rest = &tail[namlen..];
        }
        Ok((entries, data.len()))
    }

    /// The names in a directory, without `.` and `..`.
    pub(crate) fn names(&mut self, path: &str) -> Vec<String> {
        let fd = self
            .open_with(ROOT, path, oflags::DIRECTORY, READ_RIGHTS, 0)
            .expect("a directory");
        let (entries, used) = self.readdir_once(fd, 0, 0x10000).expect("a listing");
        assert!(used < 0x10000, "the whole listing");
        self.close(fd).expect("closed");
        entries
            .into_iter()
            .skip(2)
            .map(|entry| entry.name)
            .collect()
    }

    /// The descriptor's type, flags, rights and inherited rights.
    pub(crate) fn fdstat(&mut self, fd: i32) -> Result<(u8, u16, u64, u64), Errno> {
        errno(self.wasi.fd_fdstat_get(&mut self.memory, fd, OUT))?;
        let flags = u16::from_le_bytes(self.bytes(OUT + 2));
        Ok((
            self.bytes::<1>(OUT)[0],
            flags,
            self.u64_at(OUT + 8),
            self.u64_at(OUT + 16),
        ))
    }

    pub(crate) fn set_rights(&mut self, fd: i32, base: u64, inheriting: u64) -> Result<(), Errno> {
        let (base, inheriting) = (base.cast_signed(), inheriting.cast_signed());
        errno(
            self.wasi
                .fd_fdstat_set_rights(&mut self.memory, fd, base, inheriting),
        )
    }
}

/// A stream of numbers that is the same in each run.
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end).expect("an end")).expect("a number")
    }
}
