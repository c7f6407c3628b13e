//! Fields that cannot exceed their limit: text, bytes, lists and numbers.
//!
//! The limit is a part of the type, so a value that was read keeps it, and one that breaks it cannot be written either.

use std::fmt;
use std::ops::Deref;

use minicbor::decode::{self, Decoder};
use minicbor::encode::{self, Encoder, Write};
use minicbor::{Decode, Encode};

/// A value that exceeds the limit of its field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found} {what}, allowed are {min} to {max}")]
pub struct LimitError {
    /// What was counted.
    pub what: &'static str,
    /// How many there are.
    pub found: u64,
    /// The least that is allowed.
    pub min: u64,
    /// The most that is allowed.
    pub max: u64,
}

fn up_to(what: &'static str, found: usize, max: usize) -> Result<(), LimitError> {
    let (found, max) = (found as u64, max as u64);
    if found <= max {
        Ok(())
    } else {
        Err(LimitError {
            what,
            found,
            min: 0,
            max,
        })
    }
}

/// Text of at most `MAX` bytes of UTF-8.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text<const MAX: usize>(String);

impl<const MAX: usize> Text<MAX> {
    /// As much of `text` as fits, cut between characters.
    pub fn truncated(text: &str) -> Self {
        let mut end = text.len().min(MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        Self(text.get(..end).unwrap_or_default().to_owned())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text.
    pub fn into_string(self) -> String {
        self.0
    }
}

impl<const MAX: usize> Deref for Text<MAX> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<const MAX: usize> TryFrom<String> for Text<MAX> {
    type Error = LimitError;

    fn try_from(text: String) -> Result<Self, LimitError> {
        up_to("bytes of text", text.len(), MAX)?;
        Ok(Self(text))
    }
}

impl<const MAX: usize> TryFrom<&str> for Text<MAX> {
    type Error = LimitError;

    fn try_from(text: &str) -> Result<Self, LimitError> {
        up_to("bytes of text", text.len(), MAX)?;
        Ok(Self(text.to_owned()))
    }
}

impl<const MAX: usize> fmt::Display for Text<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl<const MAX: usize> fmt::Debug for Text<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl<C, const MAX: usize> Encode<C> for Text<MAX> {
    fn encode<W: Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        e.str(&self.0)?.ok()
    }
}

impl<'b, C, const MAX: usize> Decode<'b, C> for Text<MAX> {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        let at = d.position();
        Self::try_from(d.str()?).map_err(|error| decode::Error::custom(error).at(at))
    }
}

/// At most `MAX` bytes.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes<const MAX: usize>(Vec<u8>);

impl<const MAX: usize> Bytes<MAX> {
    /// The bytes.
    pub fn into_vec(self) -> Vec<u8> {
        self.0
    }
}

impl<const MAX: usize> Deref for Bytes<MAX> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl<const MAX: usize> TryFrom<Vec<u8>> for Bytes<MAX> {
    type Error = LimitError;

    fn try_from(bytes: Vec<u8>) -> Result<Self, LimitError> {
        up_to("bytes", bytes.len(), MAX)?;
        Ok(Self(bytes))
    }
}

impl<const MAX: usize> TryFrom<&[u8]> for Bytes<MAX> {
    type Error = LimitError;

    fn try_from(bytes: &[u8]) -> Result<Self, LimitError> {
        up_to("bytes", bytes.len(), MAX)?;
        Ok(Self(bytes.to_vec()))
    }
}

impl<const MAX: usize> fmt::Debug for Bytes<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl<C, const MAX: usize> Encode<C> for Bytes<MAX> {
    fn encode<W: Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}

impl<'b, C, const MAX: usize> Decode<'b, C> for Bytes<MAX> {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        let at = d.position();
        Self::try_from(d.bytes()?).map_err(|error| decode::Error::custom(error).at(at))
    }
}

/// At most `MAX` items.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct List<T, const MAX: usize>(Vec<T>);

impl<T, const MAX: usize> List<T, MAX> {
    /// How many items there may be.
    pub const MAX: usize = MAX;

    /// No items.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds an item at the end; gives it back when the list is full.
    ///
    /// # Errors
    ///
    /// The item, when there are `MAX` of them already.
    pub fn push(&mut self, item: T) -> Result<(), T> {
        if self.0.len() < MAX {
            self.0.push(item);
            Ok(())
        } else {
            Err(item)
        }
    }

    /// The items.
    pub fn into_vec(self) -> Vec<T> {
        self.0
    }

    /// As many lists as are needed for all of `items`, none when there are none.
    pub fn chunks_of(items: impl IntoIterator<Item = T>) -> impl Iterator<Item = Self> {
        let mut items = items.into_iter();
        std::iter::from_fn(move || {
            let chunk: Vec<T> = items.by_ref().take(MAX).collect();
            (!chunk.is_empty()).then_some(Self(chunk))
        })
    }
}

impl<T, const MAX: usize> Default for List<T, MAX> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, const MAX: usize> Deref for List<T, MAX> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T, const MAX: usize> TryFrom<Vec<T>> for List<T, MAX> {
    type Error = LimitError;

    fn try_from(items: Vec<T>) -> Result<Self, LimitError> {
        up_to("items", items.len(), MAX)?;
        Ok(Self(items))
    }
}

impl<T, const MAX: usize> IntoIterator for List<T, MAX> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a, T, const MAX: usize> IntoIterator for &'a List<T, MAX> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<T: fmt::Debug, const MAX: usize> fmt::Debug for List<T, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<C, T: Encode<C>, const MAX: usize> Encode<C> for List<T, MAX> {
    fn encode<W: Write>(
        &self,
        e: &mut Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        e.array(self.0.len() as u64)?;
        self.0.iter().try_for_each(|item| item.encode(e, ctx))
    }
}

impl<'b, C, T: Decode<'b, C>, const MAX: usize> Decode<'b, C> for List<T, MAX> {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, decode::Error> {
        let at = d.position();
        let refuse = |error| decode::Error::custom(error).at(at);
        let count = d
            .array()?
            .ok_or_else(|| decode::Error::message("a list without a length").at(at))?;
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        up_to("items", count, MAX).map_err(refuse)?;
        // An item takes at least one byte, so what is reserved follows from what has arrived.
        let left = d.input().len().saturating_sub(d.position());
        let mut items = Vec::with_capacity(count.min(left));
        for _ in 0..count {
            items.push(T::decode(d, ctx)?);
        }
        Ok(Self(items))
    }
}

/// A number from `MIN` to `MAX`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ranged<const MIN: u64, const MAX: u64>(u64);

impl<const MIN: u64, const MAX: u64> Ranged<MIN, MAX> {
    /// The least.
    pub const MIN: u64 = MIN;
    /// The most.
    pub const MAX: u64 = MAX;

    /// The number in the range that is nearest to `number`.
    pub const fn clamped(number: u64) -> Self {
        const { assert!(MIN <= MAX) };
        Self(if number < MIN {
            MIN
        } else if number > MAX {
            MAX
        } else {
            number
        })
    }

    /// The number.
    pub const fn value(self) -> u64 {
        self.0
    }
}

impl<const MIN: u64, const MAX: u64> TryFrom<u64> for Ranged<MIN, MAX> {
    type Error = LimitError;

    fn try_from(found: u64) -> Result<Self, LimitError> {
        if (MIN..=MAX).contains(&found) {
            Ok(Self(found))
        } else {
            let (min, max) = (MIN, MAX);
            Err(LimitError {
                what: "as a number",
                found,
                min,
                max,
            })
        }
    }
}

impl<const MIN: u64, const MAX: u64> fmt::Display for Ranged<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<const MIN: u64, const MAX: u64> fmt::Debug for Ranged<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<C, const MIN: u64, const MAX: u64> Encode<C> for Ranged<MIN, MAX> {
    fn encode<W: Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        e.u64(self.0)?.ok()
    }
}

impl<'b, C, const MIN: u64, const MAX: u64> Decode<'b, C> for Ranged<MIN, MAX> {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        let at = d.position();
        Self::try_from(d.u64()?).map_err(|error| decode::Error::custom(error).at(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip<T>(value: &T) -> Result<T, decode::Error>
    where
        T: Encode<()> + for<'b> Decode<'b, ()>,
    {
        minicbor::decode(&minicbor::to_vec(value).unwrap())
    }

    #[test]
    fn each_kind_of_field_is_taken_at_its_limit_and_not_one_past_it() {
        assert!(round_trip::<Text<5>>(&Text::try_from("abcde").unwrap()).is_ok());
        assert!(minicbor::decode::<Text<5>>(&minicbor::to_vec("abcdef").unwrap()).is_err());
        assert!(Text::<5>::try_from("abcdef").is_err());

        let bytes = Bytes::<3>::try_from(vec![1, 2, 3]).unwrap();
        assert_eq!(round_trip(&bytes).unwrap(), bytes);
        assert!(minicbor::decode::<Bytes<2>>(&minicbor::to_vec(&bytes).unwrap()).is_err());

        let list = List::<u8, 3>::try_from(vec![1, 2, 3]).unwrap();
        assert_eq!(round_trip(&list).unwrap(), list);
        assert!(minicbor::decode::<List<u8, 2>>(&minicbor::to_vec(&list).unwrap()).is_err());
        assert_eq!(list.clone().push(4), Err(4));

        for (number, taken) in [(0, false), (1, true), (9, true), (10, false)] {
            assert_eq!(Ranged::<1, 9>::try_from(number).is_ok(), taken);
            let read = minicbor::decode::<Ranged<1, 9>>(&minicbor::to_vec(number).unwrap());
            assert_eq!(read.is_ok(), taken);
        }
        assert_eq!(Ranged::<1, 9>::clamped(0).value(), 1);
        assert_eq!(Ranged::<1, 9>::clamped(u64::MAX).value(), 9);
    }

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!(Text::<4>::truncated("aüü").as_str(), "aü");
        assert_eq!(Text::<5>::truncated("aüü").as_str(), "aüü");
        assert_eq!(Text::<0>::truncated("ü").as_str(), "");
    }

    #[test]
    fn a_count_reserves_no_more_than_has_arrived() {
        // 2^32 − 1 items, none there.
        let read = minicbor::decode::<List<u64, { u32::MAX as usize }>>(b"\x9a\xff\xff\xff\xff");
        assert!(read.is_err());
    }

    #[test]
    fn chunks_hold_everything_in_order() {
        let chunks: Vec<_> = List::<_, 3>::chunks_of(0..7).collect();
        assert_eq!(
            chunks.iter().map(|c| c.len()).collect::<Vec<_>>(),
            [3, 3, 1]
        );
        let all: Vec<_> = chunks.into_iter().flatten().collect();
        assert_eq!(all, (0..7).collect::<Vec<_>>());
        assert_eq!(List::<u8, 3>::chunks_of([]).count(), 0);
    }
}
