//! The guest's own copies and fills of memory (`guest-python/glue/memory.c`): every short length, lengths on both sides of where the
//! engine's instructions take over, and every way of overlapping.

use crate::support::{NOTHING, RunIn, function, host};

const SOURCE: &str = r#"
SHIFTS = [shift * sign for shift in (0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 127, 129, 200) for sign in (1, -1)]

def moved():
    before = bytes(i * 7 % 256 for i in range(1024))
    checked = 0
    for n in [*range(290), 511, 512]:
        for shift in SHIFTS:
            start = 300
            memory = bytearray(before)
            view = memoryview(memory)
            view[start + shift:start + shift + n] = view[start:start + n]
            wanted = before[:start + shift] + before[start:start + n] + before[start + shift + n:]
            assert len(wanted) == len(before)
            # Compared as lists: in Python, not by the functions under test.
            assert list(memory) == list(wanted), ('move', n, shift)
            checked += 1
    return checked

def copied():
    before = bytes(i * 11 % 256 for i in range(700))
    for n in range(290):
        for start in range(9):
            part = before[start:start + n]
            assert [part[i] for i in range(n)] == [(start + i) * 11 % 256 for i in range(n)], ('copy', n, start)
            memory = bytearray(600)
            memory[100 + start:100 + start + n] = part
            assert list(memory) == [0] * (100 + start) + list(part) + [0] * (500 - start - n), ('into', n, start)

def filled():
    for n in range(290):
        for byte in (0, 1, 0x80, 0xff):
            assert list(bytes([byte]) * n) == [byte] * n, ('fill', n, byte)

def check():
    copied()
    filled()
    return moved()
"#;

#[test]
fn memory_is_copied_moved_and_filled_exactly() {
    let check = function(SOURCE, "check");
    let mut host = host();
    assert_eq!(host.call(&check, NOTHING), (292 * 32).to_string());
}
