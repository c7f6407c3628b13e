//! Heads of CBOR items, written and read in the one way that ppwasm allows: definite and shortest.
//!
//! Knows majors, lengths and offsets. What tags mean is `value`'s.

use crate::value::{DecodeError, DecodeErrorKind as Kind};

pub(crate) const UNSIGNED: u8 = 0;
pub(crate) const NEGATIVE: u8 = 1;
pub(crate) const BYTES: u8 = 2;
pub(crate) const TEXT: u8 = 3;
pub(crate) const ARRAY: u8 = 4;
pub(crate) const MAP: u8 = 5;
pub(crate) const TAG: u8 = 6;
pub(crate) const SIMPLE: u8 = 7;

pub(crate) const FALSE: u8 = 0xf4;
pub(crate) const TRUE: u8 = 0xf5;
pub(crate) const NULL: u8 = 0xf6;
pub(crate) const FLOAT64: u8 = 0xfb;

pub(crate) fn head(out: &mut Vec<u8>, major: u8, argument: u64) {
    let major = major << 5;
    if argument < 24 {
        out.push(major | argument as u8);
    } else if let Ok(argument) = u8::try_from(argument) {
        out.extend([major | 24, argument]);
    } else if let Ok(argument) = u16::try_from(argument) {
        out.push(major | 25);
        out.extend(argument.to_be_bytes());
    } else if let Ok(argument) = u32::try_from(argument) {
        out.push(major | 26);
        out.extend(argument.to_be_bytes());
    } else {
        out.push(major | 27);
        out.extend(argument.to_be_bytes());
    }
}

pub(crate) fn array(out: &mut Vec<u8>, len: usize) {
    head(out, ARRAY, len as u64);
}

pub(crate) fn map(out: &mut Vec<u8>, len: usize) {
    head(out, MAP, len as u64);
}

pub(crate) fn tag(out: &mut Vec<u8>, tag: u64) {
    head(out, TAG, tag);
}

pub(crate) fn text(out: &mut Vec<u8>, text: &str) {
    head(out, TEXT, text.len() as u64);
    out.extend(text.as_bytes());
}

pub(crate) fn bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    head(out, BYTES, bytes.len() as u64);
    out.extend(bytes);
}

pub(crate) fn float(out: &mut Vec<u8>, bits: u64) {
    out.push(FLOAT64);
    out.extend(bits.to_be_bytes());
}

/// The head of an item.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    /// Offset of the item.
    pub(crate) at: usize,
    /// Its major type.
    pub(crate) major: u8,
    /// The five low bits of its first byte.
    pub(crate) low: u8,
    /// Its argument: a number, a length or a tag; for a float its bits.
    pub(crate) argument: u64,
}

impl Head {
    pub(crate) const fn is_null(self) -> bool {
        self.major == SIMPLE && self.low == NULL & 0x1f
    }
}

/// Reads items from bytes that nobody has checked yet.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Offset of the next item.
    pub(crate) const fn at(&self) -> usize {
        self.at
    }

    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The bytes from `start` to the next item.
    pub(crate) fn since(&self, start: usize) -> &'a [u8] {
        &self.bytes[start..self.at]
    }

    /// Everything that is left.
    pub(crate) fn rest(self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// Nothing may be left.
    pub(crate) fn end(&self) -> Result<(), DecodeError> {
        if self.remaining() == 0 {
            Ok(())
        } else {
            Err(Kind::LeftOver.at(self.at))
        }
    }

    /// Reads a head; lengths are checked against what is left.
    pub(crate) fn head(&mut self) -> Result<Head, DecodeError> {
        let at = self.at;
        let [first] = self.fixed(at)?;
        let (major, low) = (first >> 5, first & 0x1f);
        let (argument, least) = match low {
            0..24 => (u64::from(low), 0),
            24 if major == SIMPLE => return Err(Kind::UnknownSimple.at(at)),
            24 => (u64::from(u8::from_be_bytes(self.fixed(at)?)), 24),
            25 => (u64::from(u16::from_be_bytes(self.fixed(at)?)), 1 << 8),
            26 => (u64::from(u32::from_be_bytes(self.fixed(at)?)), 1 << 16),
            27 => (u64::from_be_bytes(self.fixed(at)?), 1 << 32),
            31 => return Err(Kind::Indefinite.at(at)),
            _ => return Err(Kind::Malformed.at(at)),
        };
        if major != SIMPLE && argument < least {
            return Err(Kind::NotShortest.at(at));
        }
        // Each item takes at least one byte, so there cannot be more of them than bytes are left.
        let least_bytes = match major {
            BYTES | TEXT | ARRAY => argument,
            MAP => argument.saturating_mul(2),
            _ => 0,
        };
        if least_bytes > self.remaining() as u64 {
            return Err(Kind::Truncated.at(at));
        }
        Ok(Head {
            at,
            major,
            low,
            argument,
        })
    }

    /// Reads the head of an item that has to be of type `major`.
    pub(crate) fn expect(&mut self, major: u8) -> Result<Head, DecodeError> {
        let head = self.head()?;
        if head.major == major {
            Ok(head)
        } else {
            Err(Kind::Expected(type_name(major)).at(head.at))
        }
    }

    /// Reads the head of an array that has to have `len` items.
    pub(crate) fn array_of(&mut self, len: u64) -> Result<Head, DecodeError> {
        let head = self.expect(ARRAY)?;
        if head.argument == len {
            Ok(head)
        } else {
            Err(Kind::ArrayLength(len).at(head.at))
        }
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, DecodeError> {
        let head = self.expect(TEXT)?;
        self.text_of(head)
    }

    pub(crate) fn text_of(&mut self, head: Head) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.bytes_of(head)?).map_err(|_| Kind::InvalidUtf8.at(head.at))
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let head = self.expect(BYTES)?;
        self.bytes_of(head)
    }

    pub(crate) fn bytes_of(&mut self, head: Head) -> Result<&'a [u8], DecodeError> {
        let len = usize::try_from(head.argument).map_err(|_| Kind::Truncated.at(head.at))?;
        let end = self
            .at
            .checked_add(len)
            .filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(|| Kind::Truncated.at(head.at))?;
        let bytes = &self.bytes[self.at..end];
        self.at = end;
        Ok(bytes)
    }

    /// The next bytes of the head that begins at `start`.
    fn fixed<const N: usize>(&mut self, start: usize) -> Result<[u8; N], DecodeError> {
        let found = self.bytes[self.at..].first_chunk();
        let found = *found.ok_or(Kind::Truncated.at(start))?;
        self.at += N;
        Ok(found)
    }
}

const fn type_name(major: u8) -> &'static str {
    match major {
        UNSIGNED | NEGATIVE => "an integer",
        BYTES => "a byte string",
        TEXT => "text",
        ARRAY => "an array",
        MAP => "a map",
        TAG => "a tag",
        _ => "a simple value",
    }
}
