//! Random calls with random arguments: whatever a guest passes, nothing panics and the books stay right.

use super::*;

/// Addresses and numbers that are likely to hurt.
const ODD: [i64; 14] = [
    0,
    1,
    2,
    3,
    4,
    -1,
    i64::MAX,
    i64::MIN,
    i32::MAX as i64,
    i32::MIN as i64,
    u32::MAX as i64,
    0x1ff0,
    0x2000,
    0x1fff,
];

/// Strings that are likely to name something, at fixed places in memory.
const PATHS: [&str; 12] = [
    "work",
    "work/a",
    "work/b",
    "tmp/a/b",
    "work/s",
    ".",
    "..",
    "lib/python3.13/os.py",
    "tmp/../work/a/",
    "work/notes.txt",
    "tmp/a",
    "",
];

struct Hostile {
    guest: Guest,
    numbers: Numbers,
}

impl Hostile {
    fn int(&mut self) -> i32 {
        match self.numbers.below(8) {
            0 => ODD[self.numbers.below(ODD.len())] as i32,
            1 => self.numbers.next() as i32,
            2 | 3 => self.numbers.below(0x2100) as i32,
            _ => self.numbers.below(12) as i32,
        }
    }

    fn long(&mut self) -> i64 {
        match self.numbers.below(6) {
            0 => ODD[self.numbers.below(ODD.len())],
            1 => self.numbers.next().cast_signed(),
            2 => (ALL_RIGHTS & self.numbers.next()).cast_signed(),
            3 => ALL_RIGHTS.cast_signed(),
            _ => self.numbers.below(100) as i64,
        }
    }

    /// A place for results.
    fn out(&mut self) -> i32 {
        if self.numbers.below(10) == 0 {
            self.int()
        } else {
            self.numbers.below(0x1f00) as i32
        }
    }

    /// A path, mostly a good one.
    fn path(&mut self) -> (i32, i32) {
        if self.numbers.below(10) == 0 {
            return (self.int(), self.int());
        }
        let index = self.numbers.below(PATHS.len());
        let at = 0x100 + 0x20 * index as i32;
        (at, self.guest.put(at, PATHS[index].as_bytes()).1)
    }

    /// A list of buffers, mostly a good one.
    fn list(&mut self) -> (i32, i32) {
        if self.numbers.below(10) == 0 {
            return (self.int(), self.int());
        }
        let count = self.numbers.below(4) as i32;
        for word in 0..2 * count {
            let value = if self.numbers.below(9) == 0 {
                self.int()
            } else {
                self.numbers.below(0x300) as i32
            };
            self.guest.put(0x40 + 4 * word, &value.to_le_bytes());
        }
        (0x40, count)
    }

    fn call(&mut self) -> Answer {
        let function = self.numbers.below(44);
        let (a, b, c, fd) = (self.int(), self.int(), self.int(), self.int());
        let (l, m, out) = (self.long(), self.long(), self.out());
        let (path, other, list) = (self.path(), self.path(), self.list());
        let arguments = OpenArguments {
            lookup: a & 1,
            oflags: b & 0xf,
            rights: l,
            inheriting: m,
            fdflags: c & 0x1f,
        };
        let dir = if self.numbers.below(4) == 0 { fd } else { ROOT };
        let (wasi, memory) = (&mut self.guest.wasi, &mut self.guest.memory);
        match function {
            0 => wasi.args_get(memory, a, b),
            1 => wasi.args_sizes_get(memory, a, out),
            2 => wasi.environ_get(memory, a, b),
            3 => wasi.environ_sizes_get(memory, a, out),
            4 => wasi.clock_res_get(memory, a, out),
            5 => wasi.clock_time_get(memory, a, l, out),
            6 => wasi.fd_advise(memory, fd, l, m, a),
            7 => wasi.fd_allocate(memory, fd, l, m),
            8 => wasi.fd_close(memory, fd),
            9 => wasi.fd_datasync(memory, fd),
            10 => wasi.fd_fdstat_get(memory, fd, out),
            11 => wasi.fd_fdstat_set_flags(memory, fd, a),
            12 => wasi.fd_fdstat_set_rights(memory, fd, l, m),
            13 => wasi.fd_filestat_get(memory, fd, out),
            14 => wasi.fd_filestat_set_size(memory, fd, l),
            15 => wasi.fd_filestat_set_times(memory, fd, l, m, a),
            16 => wasi.fd_pread(memory, fd, list, l, out),
            17 => wasi.fd_prestat_get(memory, fd, out),
            18 => wasi.fd_prestat_dir_name(memory, fd, a, b),
            19 => wasi.fd_pwrite(memory, fd, list, l, out),
            20 => wasi.fd_read(memory, fd, list.0, list.1, out),
            21 => wasi.fd_readdir(memory, fd, (a, b), l, out),
            22 => wasi.fd_renumber(memory, fd, a),
            23 => wasi.fd_seek(memory, fd, l, a, out),
            24 => wasi.fd_sync(memory, fd),
            25 => wasi.fd_tell(memory, fd, out),
            26 => wasi.fd_write(memory, fd, list.0, list.1, out),
            27 => wasi.path_create_directory(memory, dir, path.0, path.1),
            28 => wasi.path_filestat_get(memory, dir, a & 1, path, out),
            29 => wasi.path_filestat_set_times(memory, dir, a, path, (l, m), b),
            30 => wasi.path_link(memory, (dir, a & 1), path, ROOT, other),
            31..=33 => wasi.path_open(memory, dir, path, arguments, out),
            34 => wasi.path_readlink(memory, dir, path, (a, b), out),
            35 => wasi.path_remove_directory(memory, dir, path.0, path.1),
            36 => wasi.path_rename(memory, dir, path, ROOT, other),
            37 => wasi.path_symlink(memory, path, dir, other),
            38 => wasi.path_unlink_file(memory, dir, path.0, path.1),
            39 => wasi.poll_oneoff(memory, a, b, c, out),
            40 => wasi.random_get(memory, a, b),
            41 => wasi.sock_recv(memory, fd, list, a, (b, c)),
            42 => wasi.proc_exit(memory, a),
            _ => wasi.sched_yield(memory),
        }
    }
}

#[test]
fn random_calls_never_panic_and_leave_a_sound_state() {
    let rounds: u64 =
        std::env::var("PPWASM_WASI_ROUNDS").map_or(40, |rounds| rounds.parse().expect("a number"));
    let mut succeeded = 0;
    for seed in 0..rounds {
        let job = || JobIo {
            inputs: Some(inputs()),
            stdin: SharedBytes::from(&b"some input"[..]),
            scratch: ScratchLimits {
                bytes_max: 5_000,
                nodes_max: 12,
            },
            stdout_bytes_max: 1_000,
            args: vec!["main".to_owned(), "x".to_owned()],
            ..JobIo::default()
        };
        let mut guest = Guest::new(job());
        guest.memory = vec![0; 0x2000];
        let mut hostile = Hostile {
            guest,
            numbers: Numbers::new(seed),
        };
        for _ in 0..1_000 {
            succeeded += u32::from(hostile.call().is_ok());
            hostile.guest.wasi.check();
            if hostile.guest.wasi.descriptors.descriptor(ROOT).is_err() {
                hostile.guest.wasi.reset(&WasiSnapshot::default(), job());
            }
        }
        let Ok(snapshot) = hostile.guest.wasi.snapshot() else {
            continue;
        };
        let bytes = snapshot.to_bytes();
        let read = WasiSnapshot::from_bytes(&bytes, &library()).expect("a snapshot");
        assert_eq!(read.to_bytes(), bytes, "seed {seed}");
    }
    assert!(succeeded > 3_000, "{succeeded}");
}

impl Wasi {
    /// Checks that counts and limits agree with what is there.
    pub(crate) fn check(&self) {
        use crate::wasi::fd::Open;
        use crate::wasi::fs::Node;
        let Some(scratch) = &self.fs.scratch else {
            return;
        };
        let mut open = std::collections::BTreeMap::new();
        for descriptor in self.descriptors.slots().iter().flatten() {
            if let Open::File(Node::Scratch(inode)) | Open::Directory(Node::Scratch(inode)) =
                descriptor.open
            {
                *open.entry(inode).or_insert(0u32) += 1;
            }
        }
        scratch.check(&open);
    }
}
