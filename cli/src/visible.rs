//! Text of others, made safe to show: what would steer a terminal is written out instead.
//!
//! Bytes that go to a file or a pipe are left as they are; who reads them decides.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether what tasks printed has left the terminal's line, or that of standard error, unfinished.
static LINE_IS_OPEN: AtomicBool = AtomicBool::new(false);

/// Notes that these bytes of a task have gone where our own lines go.
pub(crate) fn line_is_open(bytes: &[u8]) {
    if let Some(last) = bytes.last() {
        LINE_IS_OPEN.store(*last != b'\n', Ordering::Relaxed);
    }
}

/// Has what comes next start on a line of its own.
pub(crate) fn end_line() {
    if LINE_IS_OPEN.swap(false, Ordering::Relaxed) {
        let _ = writeln!(io::stderr().lock());
    }
}

/// Prints a line of ours to standard error. That nobody reads it is no reason to stop.
pub(crate) fn note(line: &str) {
    end_line();
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Text as one line without control characters.
pub(crate) fn line(text: &str) -> Cow<'_, str> {
    if text
        .chars()
        .any(|c| c == '\n' || c == '\t' || is_steering(c))
    {
        Cow::Owned(escaped(text, ""))
    } else {
        Cow::Borrowed(text)
    }
}

/// Whether a character does something to a terminal, or to the order of the text around it.
pub(crate) fn is_steering(c: char) -> bool {
    let is_control = c.is_control() && c != '\n' && c != '\t';
    is_control
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn escaped(text: &str, kept: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        push(&mut out, c, kept);
    }
    out
}

fn push(out: &mut String, c: char, kept: &str) {
    // Writing to a String does not fail.
    let _ = match c {
        _ if kept.contains(c) => write!(out, "{c}"),
        '\n' => write!(out, "\\n"),
        '\r' => write!(out, "\\r"),
        '\t' => write!(out, "\\t"),
        _ if !is_steering(c) => write!(out, "{c}"),
        _ if u32::from(c) < 0x100 => write!(out, "\\x{:02x}", u32::from(c)),
        _ => write!(out, "\\u{:04x}", u32::from(c)),
    };
}

/// Makes a stream of bytes visible, piece by piece: a character may be split between two.
#[derive(Debug, Default)]
pub(crate) struct Escaper {
    /// The beginning of a character whose end has not come yet.
    pending: Vec<u8>,
}

impl Escaper {
    /// The next piece as text.
    pub(crate) fn piece(&mut self, bytes: &[u8]) -> String {
        let joined;
        let bytes = if self.pending.is_empty() {
            bytes
        } else {
            joined = [std::mem::take(&mut self.pending).as_slice(), bytes].concat();
            &joined
        };
        let mut out = String::with_capacity(bytes.len());
        let mut chunks = bytes.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            for c in chunk.valid().chars() {
                push(&mut out, c, "\n\t");
            }
            let rest = chunk.invalid();
            if chunks.peek().is_none() && is_incomplete(rest) {
                self.pending = rest.to_vec();
            } else {
                push_bytes(&mut out, rest);
            }
        }
        out
    }

    /// What is left when no more comes.
    pub(crate) fn end(&mut self) -> String {
        let mut out = String::new();
        push_bytes(&mut out, &std::mem::take(&mut self.pending));
        out
    }
}

fn push_bytes(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        let _ = write!(out, "\\x{byte:02x}");
    }
}

/// Whether more bytes could make this a character.
fn is_incomplete(bytes: &[u8]) -> bool {
    !bytes.is_empty() && std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

/// Text that comes with line breaks of its own, like a traceback, for standard error.
pub(crate) fn text(text: &str) -> Cow<'_, str> {
    if io::stderr().is_terminal() && text.chars().any(is_steering) {
        Cow::Owned(escaped(text, "\n\t"))
    } else {
        Cow::Borrowed(text)
    }
}

/// Copies bytes to a destination, made visible if that is a terminal.
#[derive(Debug)]
pub(crate) struct Copier<W> {
    to: W,
    escaper: Option<Escaper>,
}

impl<W: Write + IsTerminal> Copier<W> {
    /// Copies to this destination.
    pub(crate) fn new(to: W) -> Self {
        let is_terminal = to.is_terminal();
        Self::with(to, is_terminal)
    }
}

impl<W: Write> Copier<W> {
    /// Copies to a destination of which the caller knows what it is.
    pub(crate) fn with(to: W, is_terminal: bool) -> Self {
        Self {
            to,
            escaper: is_terminal.then(Escaper::default),
        }
    }

    /// Whether the destination is a terminal.
    pub(crate) fn is_terminal(&self) -> bool {
        self.escaper.is_some()
    }

    /// Copies a piece.
    pub(crate) fn copy(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.escaper {
            Some(escaper) => self.to.write_all(escaper.piece(bytes).as_bytes()),
            None => self.to.write_all(bytes),
        }
    }

    /// Copies what is left of a character whose end did not come.
    pub(crate) fn end(&mut self) -> io::Result<()> {
        match &mut self.escaper {
            Some(escaper) => self.to.write_all(escaper.end().as_bytes()),
            None => Ok(()),
        }
    }

    /// Has the destination show what it was given.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(pieces: &[&[u8]]) -> String {
        let mut escaper = Escaper::default();
        let mut out: String = pieces.iter().map(|piece| escaper.piece(piece)).collect();
        out += &escaper.end();
        out
    }

    #[test]
    fn what_steers_a_terminal_is_written_out() {
        let cases: [(&[u8], &str); 8] = [
            (b"plain\n\ttext", "plain\n\ttext"),
            (b"\x1b[31mred", "\\x1b[31mred"),
            (b"\x1b]0;title\x07", "\\x1b]0;title\\x07"),
            (b"over\rwritten\r\n", "over\\rwritten\\r\n"),
            ("\u{9b}2J".as_bytes(), "\\x9b2J"),
            ("a\u{202e}b".as_bytes(), "a\\u202eb"),
            (b"\xff\xfe\x00", "\\xff\\xfe\\x00"),
            ("größer 日本".as_bytes(), "größer 日本"),
        ];
        for (bytes, wanted) in cases {
            assert_eq!(all(&[bytes]), wanted);
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            assert_eq!(all(&single), wanted, "byte by byte");
        }
        assert_eq!(all(&[b"cut \xe6\x97"]), "cut \\xe6\\x97");
    }

    #[test]
    fn a_line_stays_one() {
        assert_eq!(line("all is well"), "all is well");
        assert_eq!(line("a\nb\tc\x1b"), "a\\nb\\tc\\x1b");
    }
}
