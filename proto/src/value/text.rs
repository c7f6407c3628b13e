//! `str`: Unicode text that may hold lone surrogates, which UTF-8 has not.

use std::fmt;

use super::InvalidValue;

/// A Python `str`.
///
/// Nearly every one is valid Unicode and then [`Text::as_str`] gives it. Python's may also hold lone surrogates,
/// most often in the names of files that are not UTF-8; `Display` writes those as `\udc80`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Text(Repr);

/// One text has one form: `Surrogates` holds at least one.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Repr {
    Utf8(String),
    /// UTF-8 in which a surrogate is encoded like any other code point: Python's "surrogatepass".
    Surrogates(Vec<u8>),
}

impl Text {
    /// The text, unless it holds a lone surrogate.
    pub fn as_str(&self) -> Option<&str> {
        match &self.0 {
            Repr::Utf8(text) => Some(text),
            Repr::Surrogates(_) => None,
        }
    }

    /// The text, unless it holds a lone surrogate.
    pub fn into_string(self) -> Option<String> {
        match self.0 {
            Repr::Utf8(text) => Some(text),
            Repr::Surrogates(_) => None,
        }
    }

    /// Reads what Python's `text.encode("utf-8", "surrogatepass")` gives.
    ///
    /// # Errors
    ///
    /// When the bytes are something else.
    pub fn from_surrogatepass(bytes: Vec<u8>) -> Result<Self, InvalidValue> {
        let bytes = match String::from_utf8(bytes) {
            Ok(text) => return Ok(Self(Repr::Utf8(text))),
            Err(error) => error.into_bytes(),
        };
        if code_points(&bytes).all(|part| part.is_some()) {
            Ok(Self(Repr::Surrogates(bytes)))
        } else {
            Err(InvalidValue("str"))
        }
    }

    /// The bytes that [`Text::from_surrogatepass`] reads: UTF-8 when there is no lone surrogate.
    pub fn as_surrogatepass(&self) -> &[u8] {
        match &self.0 {
            Repr::Utf8(text) => text.as_bytes(),
            Repr::Surrogates(bytes) => bytes,
        }
    }

    /// Its code points, surrogates included.
    pub fn code_points(&self) -> impl Iterator<Item = u32> + '_ {
        code_points(self.as_surrogatepass()).flatten()
    }
}

/// The code points of "surrogatepass" UTF-8, with a `None` where something else stands.
fn code_points(mut bytes: &[u8]) -> impl Iterator<Item = Option<u32>> + '_ {
    std::iter::from_fn(move || {
        let (point, rest) = match bytes {
            [] => return None,
            [one @ 0..0x80, rest @ ..] => (Some(u32::from(*one)), rest),
            [0xed, two @ 0xa0..0xc0, three @ 0x80..0xc0, rest @ ..] => (
                Some(0xd000 | u32::from(two & 0x3f) << 6 | u32::from(three & 0x3f)),
                rest,
            ),
            _ => {
                let (first, rest) = bytes.split_at(char_len(bytes[0]).min(bytes.len()));
                let first = std::str::from_utf8(first).ok();
                (
                    first.and_then(|text| text.chars().next()).map(u32::from),
                    rest,
                )
            }
        };
        bytes = rest;
        Some(point)
    })
}

const fn char_len(first: u8) -> usize {
    match first {
        0xf0.. => 4,
        0xe0.. => 3,
        0xc0.. => 2,
        _ => 1,
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(Repr::Utf8(text.to_owned()))
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(Repr::Utf8(text))
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == Some(other)
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self == *other
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Utf8(text) => f.pad(text),
            Repr::Surrogates(_) => {
                self.code_points()
                    .try_for_each(|point| match char::from_u32(point) {
                        Some(c) => fmt::Write::write_char(f, c),
                        None => write!(f, "\\u{point:04x}"),
                    })
            }
        }
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Utf8(text) => text.fmt(f),
            Repr::Surrogates(_) => write!(f, "\"{self}\""),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn surrogates_are_kept_and_shown() {
        let bytes = b"a\xed\xb2\x80\xed\xa0\x80\xed\xb0\x80\xc3\xa4".to_vec();
        let text = Text::from_surrogatepass(bytes.clone()).unwrap();
        assert_eq!(text.as_surrogatepass(), bytes);
        assert_eq!(text.as_str(), None);
        assert_eq!(text.to_string(), "a\\udc80\\ud800\\udc00ä");
        let points: Vec<_> = text.code_points().collect();
        assert_eq!(points, [0x61, 0xdc80, 0xd800, 0xdc00, 0xe4]);
    }

    #[test]
    fn valid_text_has_one_form() {
        let text = Text::from_surrogatepass("ä".as_bytes().to_vec()).unwrap();
        assert_eq!(text, Text::from("ä"));
        assert_eq!(text, "ä");
    }

    #[test]
    fn other_bytes_are_refused() {
        for bytes in [
            &b"\xff"[..],
            b"\xed\xa0",
            b"\xed\xa0A",
            b"\xc0\x80",
            b"\xf4\x90\x80\x80",
            b"\xed\xb2\x80\x80",
        ] {
            assert_eq!(
                Text::from_surrogatepass(bytes.to_vec()),
                Err(InvalidValue("str")),
                "{bytes:x?}"
            );
        }
    }
}
