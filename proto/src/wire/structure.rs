//! What every body has to be before anybody looks at its fields.
//!
//! One CBOR item and nothing after it; lengths definite and shortest; no tags, no floats; not nested deeper than
//! [`NESTING_MAX`]; every map has unsigned integers in ascending order as its keys, because every map holds numbered
//! fields. So a message has one encoding, no field occurs twice, and what a reader skips because it does not know it
//! obeys the same rules. Nothing is allocated here but a stack of [`NESTING_MAX`] counts.

use super::error::WireError;
use crate::cbor::{self, Reader};
use crate::value::{DecodeError, DecodeErrorKind as Kind};

/// Arrays and maps within each other in one message.
pub const NESTING_MAX: usize = 12;

/// Items that are still to come in one array or map.
#[derive(Clone, Copy)]
struct Level {
    left: u64,
    /// For a map: the key that was last, once there was one.
    keys: Option<Keys>,
}

#[derive(Clone, Copy)]
struct Keys {
    last: Option<u64>,
    is_next: bool,
}

/// Checks all of `body`.
pub(super) fn check(body: &[u8]) -> Result<(), WireError> {
    let mut reader = Reader::new(body);
    let mut levels = [Level {
        left: 0,
        keys: None,
    }; NESTING_MAX];
    let mut depth = 0;
    loop {
        let is_key = match levels.get_mut(..depth).and_then(<[Level]>::last_mut) {
            Some(level) => level.step(),
            None => false,
        };
        let head = reader.head().map_err(of_item)?;
        if is_key {
            let level = levels.get_mut(..depth).and_then(<[Level]>::last_mut);
            level.map_or(Ok(()), |level| level.key(&head))?;
        }
        let opened = match head.major {
            cbor::UNSIGNED | cbor::NEGATIVE => None,
            cbor::BYTES | cbor::TEXT => {
                reader.bytes_of(head).map_err(of_item)?;
                None
            }
            cbor::ARRAY => Some(Level {
                left: head.argument,
                keys: None,
            }),
            cbor::MAP => Some(Level {
                left: head.argument.saturating_mul(2),
                keys: Some(Keys {
                    last: None,
                    is_next: true,
                }),
            }),
            cbor::SIMPLE if matches!(head.low, 20..=22) => None,
            _ => return Err(WireError::Structure(Kind::UnknownSimple.at(head.at))),
        };
        if let Some(level) = opened {
            let place = levels.get_mut(depth);
            *place.ok_or(WireError::Structure(Kind::TooDeep.at(head.at)))? = level;
            depth += 1;
        }
        while depth > 0 && levels.get(depth - 1).is_some_and(|level| level.left == 0) {
            depth -= 1;
        }
        if depth == 0 {
            return match reader.remaining() {
                0 => Ok(()),
                bytes => Err(WireError::Trailing { bytes }),
            };
        }
    }
}

impl Level {
    /// Counts the next item; whether it is a key.
    fn step(&mut self) -> bool {
        self.left -= 1;
        match &mut self.keys {
            Some(keys) => {
                let is_key = keys.is_next;
                keys.is_next = !is_key;
                is_key
            }
            None => false,
        }
    }

    fn key(&mut self, head: &cbor::Head) -> Result<(), WireError> {
        let refuse = |kind: Kind| Err(WireError::Structure(kind.at(head.at)));
        if head.major != cbor::UNSIGNED {
            return refuse(Kind::Expected("the number of a field"));
        }
        let Some(keys) = &mut self.keys else {
            return Ok(());
        };
        match keys.last.replace(head.argument) {
            Some(last) if last == head.argument => refuse(Kind::Duplicate),
            Some(last) if last > head.argument => refuse(Kind::OutOfOrder),
            _ => Ok(()),
        }
    }
}

fn of_item(error: DecodeError) -> WireError {
    match error.kind {
        Kind::Truncated => WireError::Truncated { at: error.offset },
        _ => WireError::Structure(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(body: &[u8]) -> Option<Kind> {
        match check(body) {
            Err(WireError::Structure(error)) => Some(error.kind),
            _ => None,
        }
    }

    #[test]
    fn nesting_is_taken_at_the_limit_and_not_one_past_it() {
        let nested = |levels: usize| [vec![0x81; levels], vec![0x00]].concat();
        assert_eq!(check(&nested(NESTING_MAX)), Ok(()));
        assert_eq!(kind(&nested(NESTING_MAX + 1)), Some(Kind::TooDeep));
        assert_eq!(kind(&vec![0x81; 1 << 20]), Some(Kind::TooDeep));
        let maps = |levels: usize| [[0xa1, 0x00].repeat(levels), vec![0x00]].concat();
        assert_eq!(check(&maps(NESTING_MAX)), Ok(()));
        assert_eq!(kind(&maps(NESTING_MAX + 1)), Some(Kind::TooDeep));
    }

    #[test]
    fn maps_have_ascending_numbers_as_keys() {
        assert_eq!(check(b"\xa2\x00\x00\x01\x00"), Ok(()));
        assert_eq!(kind(b"\xa2\x01\x00\x01\x00"), Some(Kind::Duplicate));
        assert_eq!(kind(b"\xa2\x02\x00\x01\x00"), Some(Kind::OutOfOrder));
        let found = kind(b"\xa1\x61a\x00");
        assert_eq!(found, Some(Kind::Expected("the number of a field")));
        assert_eq!(kind(b"\xa1\x20\x00"), found);
        assert_eq!(kind(b"\xa1\x80\x00"), found);
        // The inner map's keys do not mix with the outer one's.
        assert_eq!(check(b"\xa2\x05\xa1\x00\x00\x06\xa1\x00\x00"), Ok(()));
    }

    #[test]
    fn what_messages_do_not_use_is_refused() {
        for body in [
            &b"\xc1\x00"[..], // a tag
            b"\xfa\x00\x00\x00\x00",
            b"\xfb\x00\x00\x00\x00\x00\x00\x00\x00",
            b"\xf7",         // undefined
            b"\x9f\xff",     // indefinite
            b"\x5f\x40\xff", // indefinite
            b"\x18\x17",     // not the shortest
            b"\x1c",         // reserved
            b"\xff",
        ] {
            assert!(kind(body).is_some(), "{body:02x?}");
        }
        for body in [&b"\xf4"[..], b"\xf5", b"\xf6", b"\x20", b"\x80", b"\xa0"] {
            assert_eq!(check(body), Ok(()), "{body:02x?}");
        }
    }

    #[test]
    fn lying_counts_and_left_over_bytes_are_told() {
        assert_eq!(check(b""), Err(WireError::Truncated { at: 0 }));
        let lying = b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff";
        assert_eq!(check(lying), Err(WireError::Truncated { at: 0 }));
        let lying = b"\xbb\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00";
        assert_eq!(check(lying), Err(WireError::Truncated { at: 0 }));
        assert_eq!(check(b"\x00\x00"), Err(WireError::Trailing { bytes: 1 }));
        assert_eq!(check(b"\x80\x80"), Err(WireError::Trailing { bytes: 1 }));
    }
}
