//! The standard streams.

use std::sync::Mutex;

use super::*;
use crate::wasi::{Limit, LimitExceeded, OUTPUT_BYTES_MAX, OnExceed, Stream};

#[test]
fn standard_input_gives_its_bytes_once() {
    let stdin = SharedBytes::from(&b"hello world"[..]);
    let mut guest = Guest::new(JobIo {
        stdin,
        ..JobIo::default()
    });
    assert_eq!(guest.read(0, 0), Ok(b"".to_vec()));
    assert_eq!(guest.read(0, 5), Ok(b"hello".to_vec()));
    assert_eq!(guest.read(0, 100), Ok(b" world".to_vec()));
    assert_eq!(guest.read(0, 100), Ok(b"".to_vec()));
    assert_eq!(guest.write(0, b"x"), Err(Errno::NOTCAPABLE));
}

#[test]
fn standard_input_is_empty_by_default() {
    assert_eq!(Guest::plain().read(0, 100), Ok(b"".to_vec()));
}

#[test]
fn output_is_captured_by_stream() {
    let mut guest = Guest::plain();
    assert_eq!(guest.write(1, b"out"), Ok(3));
    assert_eq!(guest.write(2, b"err"), Ok(3));
    assert_eq!(guest.write(1, b"\xff\0"), Ok(2));
    assert_eq!(guest.wasi.stdout(), b"out\xff\0");
    assert_eq!(guest.wasi.stderr(), b"err");
    assert_eq!(guest.read(1, 1), Err(Errno::NOTCAPABLE));
    assert_eq!(guest.wasi.take_stdout(), b"out\xff\0");
    assert_eq!(guest.wasi.take_stderr(), b"err");
    assert_eq!(guest.wasi.stdout(), b"");
}

#[test]
fn streams_cannot_seek_and_are_no_terminals() {
    let mut guest = Guest::plain();
    for fd in 0..3 {
        assert_eq!(guest.seek(fd, 0, 1), Err(Errno::NOTCAPABLE));
        assert_eq!(guest.tell(fd), Err(Errno::NOTCAPABLE));
        assert_eq!(guest.pread(fd, 1, 0), Err(Errno::NOTCAPABLE));
        assert_eq!(guest.pwrite(fd, b"x", 0), Err(Errno::NOTCAPABLE));
        let (filetype, flags, _, inheriting) = guest.fdstat(fd).expect("attributes");
        assert_eq!((filetype, flags, inheriting), (0, 0, 0));
        let stat = guest.fstat(fd).expect("attributes");
        assert_eq!((stat.filetype, stat.size), (0, 0));
    }
}

fn limited(stdout: usize, stderr: usize, on_exceed: OnExceed) -> Guest {
    Guest::new(JobIo {
        stdout_bytes_max: stdout,
        stderr_bytes_max: stderr,
        on_exceed,
        ..JobIo::default()
    })
}

#[test]
fn the_limit_itself_is_allowed_and_one_more_byte_ends_the_guest() {
    let mut guest = limited(4, 2, OnExceed::End);
    assert_eq!(guest.write(1, b"abcd"), Ok(4));
    assert_eq!(guest.write(1, b""), Ok(0));
    assert!(!guest.wasi.output_exceeded(Stream::Stdout));
    let ended = stop(guest.try_write(1, b"e"));
    assert_eq!(
        ended,
        Stop::Limit(LimitExceeded {
            which: Limit::StdoutBytes
        })
    );
    assert!(guest.wasi.output_exceeded(Stream::Stdout));
    assert_eq!(guest.wasi.stdout(), b"abcd");
    let ended = stop(guest.try_write(2, b"xyz"));
    assert_eq!(
        ended,
        Stop::Limit(LimitExceeded {
            which: Limit::StderrBytes
        })
    );
    assert_eq!(guest.wasi.stderr(), b"xy");
}

#[test]
fn output_past_the_limit_can_be_discarded() {
    let mut guest = limited(4, 0, OnExceed::Discard);
    assert_eq!(guest.write(1, b"abcdef"), Ok(6));
    assert_eq!(guest.write(1, b"gh"), Ok(2));
    assert_eq!(guest.write(2, b"x"), Ok(1));
    assert_eq!(
        (guest.wasi.stdout(), guest.wasi.stderr()),
        (&b"abcd"[..], &b""[..])
    );
    assert!(guest.wasi.output_exceeded(Stream::Stderr));
}

#[test]
fn taking_output_does_not_raise_the_limit() {
    let mut guest = limited(4, 0, OnExceed::Discard);
    assert_eq!(guest.write(1, b"abc"), Ok(3));
    assert_eq!(guest.wasi.take_stdout(), b"abc");
    assert_eq!(guest.write(1, b"defg"), Ok(4));
    assert_eq!(guest.wasi.stdout(), b"d");
}

#[test]
fn there_is_a_limit_by_default() {
    let mut guest = Guest::plain();
    let mut memory = vec![0; OUTPUT_BYTES_MAX + 0x1000];
    for (at, word) in [
        (0u32, 0x1000u32),
        (4, u32::try_from(OUTPUT_BYTES_MAX).expect("a length")),
    ] {
        memory[at as usize..][..4].copy_from_slice(&word.to_le_bytes());
    }
    assert_eq!(errno(guest.wasi.fd_write(&mut memory, 1, 0, 1, 8)), Ok(()));
    assert_eq!(guest.wasi.stdout().len(), OUTPUT_BYTES_MAX);
    stop(guest.try_write(1, b"x"));
}

#[test]
fn a_sink_sees_what_is_captured_as_it_comes() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sees = Arc::clone(&seen);
    let sink = move |stream: Stream, data: &[u8]| {
        sees.lock().expect("a lock").push((stream, data.to_vec()));
    };
    let mut guest = Guest::new(JobIo {
        sink: Some(Box::new(sink)),
        stderr_bytes_max: 2,
        ..JobIo::default()
    });
    assert_eq!(guest.write(1, b"one"), Ok(3));
    assert_eq!(guest.write(1, b""), Ok(0));
    stop(guest.try_write(2, b"abc"));
    stop(guest.try_write(2, b"d"));
    let seen = seen.lock().expect("a lock").clone();
    assert_eq!(
        seen,
        [
            (Stream::Stdout, b"one".to_vec()),
            (Stream::Stderr, b"ab".to_vec())
        ]
    );
}

#[test]
fn a_reset_forgets_output_and_input() {
    let stdin = || SharedBytes::from(&b"in"[..]);
    let mut guest = Guest::new(JobIo {
        stdin: stdin(),
        ..JobIo::default()
    });
    assert_eq!(guest.read(0, 9), Ok(b"in".to_vec()));
    assert_eq!(guest.write(1, &[b'x'; 10]), Ok(10));
    assert_eq!(guest.write(2, b"y"), Ok(1));
    guest.wasi.reset(
        &WasiSnapshot::default(),
        JobIo {
            stdin: stdin(),
            ..JobIo::default()
        },
    );
    assert_eq!(
        (guest.wasi.stdout(), guest.wasi.stderr()),
        (&b""[..], &b""[..])
    );
    assert_eq!(guest.read(0, 9), Ok(b"in".to_vec()));
}

#[test]
fn streams_can_be_closed_and_files_take_their_numbers() {
    let mut guest = Guest::plain();
    assert_eq!(guest.close(1), Ok(()));
    assert_eq!(guest.write(1, b"x"), Err(Errno::BADF));
    assert_eq!(guest.create("work/out"), 1);
    assert_eq!(guest.write(1, b"to a file"), Ok(9));
    assert_eq!(guest.wasi.stdout(), b"");
    assert_eq!(guest.contents("work/out"), Ok(b"to a file".to_vec()));
}
