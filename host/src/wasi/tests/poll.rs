//! `poll_oneoff`.

use super::*;
use crate::wasi::SUBSCRIPTIONS_MAX;
use crate::wasi::clock::{Clock, SLEEP_END_NS};

const SUBSCRIPTIONS: i32 = 0x1000;
const EVENTS: i32 = 0x8000;

#[derive(Clone, Copy)]
enum Wanted {
    Clock { id: u32, timeout: u64, flags: u16 },
    Read(u32),
    Write(u32),
    Raw(u8),
}

#[derive(Debug, PartialEq, Eq)]
struct Event {
    userdata: u64,
    error: u16,
    kind: u8,
    bytes: u64,
}

fn event(userdata: u64, kind: u8) -> Event {
    Event {
        userdata,
        error: 0,
        kind,
        bytes: 0,
    }
}

impl Guest {
    fn poll(&mut self, wanted: &[Wanted]) -> Result<Vec<Event>, Errno> {
        for (index, wanted) in wanted.iter().enumerate() {
            let mut record = [0xffu8; 48];
            record[..8].copy_from_slice(&(100 + index as u64).to_le_bytes());
            match wanted {
                Wanted::Clock { id, timeout, flags } => {
                    record[8] = 0;
                    record[16..20].copy_from_slice(&id.to_le_bytes());
                    record[24..32].copy_from_slice(&timeout.to_le_bytes());
                    record[40..42].copy_from_slice(&flags.to_le_bytes());
                }
                Wanted::Read(fd) | Wanted::Write(fd) => {
                    record[8] = if matches!(wanted, Wanted::Read(_)) {
                        1
                    } else {
                        2
                    };
                    record[16..20].copy_from_slice(&fd.to_le_bytes());
                }
                Wanted::Raw(kind) => record[8] = *kind,
            }
            self.put(
                SUBSCRIPTIONS + 48 * i32::try_from(index).expect("an index"),
                &record,
            );
        }
        let count = i32::try_from(wanted.len()).expect("a count");
        let (memory, wasi) = (&mut self.memory, &mut self.wasi);
        errno(wasi.poll_oneoff(memory, SUBSCRIPTIONS, EVENTS, count, OUT))?;
        Ok((0..self.u32_at(OUT).cast_signed())
            .map(|index| {
                let at = EVENTS + 32 * index;
                Event {
                    userdata: self.u64_at(at),
                    error: u16::from_le_bytes(self.bytes(at + 8)),
                    kind: self.bytes::<1>(at + 10)[0],
                    bytes: self.u64_at(at + 16),
                }
            })
            .collect())
    }
}

const fn relative(timeout: u64) -> Wanted {
    Wanted::Clock {
        id: 1,
        timeout,
        flags: 0,
    }
}

#[test]
fn no_subscription_is_invalid_and_so_are_too_many() {
    let mut guest = Guest::plain();
    assert_eq!(guest.poll(&[]), Err(Errno::INVAL));
    let many = SUBSCRIPTIONS_MAX.cast_signed();
    let mut memory = vec![0; 48 * 3000];
    let wasi = &mut guest.wasi;
    assert_eq!(errno(wasi.poll_oneoff(&mut memory, 0, 0, many, 0)), Ok(()));
    assert_eq!(
        errno(wasi.poll_oneoff(&mut memory, 0, 0, many + 1, 0)),
        Err(Errno::INVAL)
    );
    assert_eq!(
        errno(wasi.poll_oneoff(&mut memory, 0, 0, -1, 0)),
        Err(Errno::INVAL)
    );
}

#[test]
fn sleeping_moves_virtual_time_at_once() {
    let mut guest = Guest::new(JobIo {
        clock: Clock::starting_at(5_000),
        ..JobIo::default()
    });
    let hour = 3_600_000_000_000;
    assert_eq!(guest.poll(&[relative(hour)]), Ok(vec![event(100, 0)]));
    assert_eq!(guest.wasi.monotonic_ns(), hour);
    let until = Wanted::Clock {
        id: 0,
        timeout: 5_000 + 2 * hour,
        flags: 1,
    };
    assert_eq!(guest.poll(&[until]), Ok(vec![event(100, 0)]));
    assert_eq!(guest.wasi.monotonic_ns(), 2 * hour);
    // A time that has passed does not move the clock.
    assert_eq!(guest.poll(&[until]), Ok(vec![event(100, 0)]));
    assert_eq!(guest.wasi.monotonic_ns(), 2 * hour);
}

/// What a guest keeps time in ends in 2262; a clock that a sleep moved there could not be read any more.
#[test]
fn no_sleep_moves_virtual_time_beyond_its_end() {
    let sleep = relative(u64::MAX);
    for (start_ns, end) in [
        (5_000, SLEEP_END_NS - 5_000),
        (SLEEP_END_NS - 1, 1),
        (SLEEP_END_NS, 0),
        (u64::MAX, 0),
    ] {
        let mut guest = Guest::new(JobIo {
            clock: Clock::starting_at(start_ns),
            ..JobIo::default()
        });
        for _ in 0..2 {
            assert_eq!(guest.poll(&[sleep]), Ok(vec![event(100, 0)]));
            assert_eq!(guest.wasi.monotonic_ns(), end);
        }
    }
}

#[test]
fn the_earliest_timeouts_are_reported() {
    let mut guest = Guest::plain();
    let wanted = [relative(300), relative(100), relative(200), relative(100)];
    assert_eq!(guest.poll(&wanted), Ok(vec![event(101, 0), event(103, 0)]));
    assert_eq!(guest.wasi.monotonic_ns(), 100);
}

#[test]
fn descriptors_are_ready_before_any_timeout() {
    let stdin = SharedBytes::from(&b"four"[..]);
    let mut guest = Guest::new(JobIo {
        stdin,
        ..JobIo::default()
    });
    let fd = guest.create("work/a").cast_unsigned();
    assert_eq!(guest.write(fd.cast_signed(), b"123456"), Ok(6));
    assert_eq!(guest.seek(fd.cast_signed(), 4, 0), Ok(4));
    let before = guest.wasi.monotonic_ns();
    let wanted = [
        relative(10),
        Wanted::Read(0),
        Wanted::Write(1),
        Wanted::Write(2),
        Wanted::Read(fd),
        Wanted::Write(fd),
        relative(0),
    ];
    let read = |userdata, bytes| Event {
        userdata,
        error: 0,
        kind: 1,
        bytes,
    };
    let expected = vec![
        read(101, 4),
        event(102, 2),
        event(103, 2),
        read(104, 2),
        event(105, 2),
        event(106, 0),
    ];
    assert_eq!(guest.poll(&wanted), Ok(expected));
    assert_eq!(guest.wasi.monotonic_ns(), before);
}

#[test]
fn what_cannot_be_waited_for_is_an_error_in_its_event() {
    let mut guest = Guest::plain();
    let fd = guest.create("work/a").cast_unsigned();
    let error = |userdata, kind, errno: Errno| Event {
        userdata,
        error: errno.code(),
        kind,
        bytes: 0,
    };
    let wanted = [
        Wanted::Read(99),
        Wanted::Write(0),
        Wanted::Read(1),
        Wanted::Read(3),
        Wanted::Clock {
            id: 7,
            timeout: 1,
            flags: 0,
        },
        Wanted::Clock {
            id: 1,
            timeout: 1,
            flags: 2,
        },
        Wanted::Read(fd),
    ];
    let expected = vec![
        error(100, 1, Errno::BADF),
        error(101, 2, Errno::NOTCAPABLE),
        error(102, 1, Errno::NOTCAPABLE),
        error(103, 1, Errno::NOTCAPABLE),
        error(104, 0, Errno::INVAL),
        error(105, 0, Errno::INVAL),
        error(106, 1, Errno::SUCCESS),
    ];
    assert_eq!(guest.poll(&wanted), Ok(expected));
}

#[test]
fn unknown_kinds_are_invalid() {
    let mut guest = Guest::plain();
    assert_eq!(
        guest.poll(&[relative(1), Wanted::Raw(3)]),
        Err(Errno::INVAL)
    );
    assert_eq!(guest.wasi.monotonic_ns(), 0);
}

#[test]
fn the_right_to_poll_is_needed() {
    let mut guest = Guest::plain();
    let fd = guest.create("work/a");
    let (_, _, base, inheriting) = guest.fdstat(fd).expect("attributes");
    guest
        .set_rights(fd, base & !rights::POLL_FD_READWRITE, inheriting)
        .expect("fewer rights");
    let events = guest
        .poll(&[Wanted::Read(fd.cast_unsigned())])
        .expect("events");
    assert_eq!(events[0].error, Errno::NOTCAPABLE.code());
}

#[test]
fn lists_outside_memory_are_a_fault() {
    let mut guest = Guest::plain();
    let end = i32::try_from(MEMORY_BYTES).expect("an address");
    for (subscriptions, events, done) in [
        (end - 47, EVENTS, OUT),
        (SUBSCRIPTIONS, end - 31, OUT),
        (SUBSCRIPTIONS, EVENTS, end - 3),
    ] {
        let answer = guest
            .wasi
            .poll_oneoff(&mut guest.memory, subscriptions, events, 1, done);
        assert_eq!(errno(answer), Err(Errno::FAULT));
    }
}
