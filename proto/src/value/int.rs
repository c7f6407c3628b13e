//! `int`: most are small, any size is possible.

use std::fmt;

use num_bigint::{BigInt, BigUint, Sign};

/// A Python `int`. Small ones need no allocation.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Int(Repr);

/// One number has one form: `Big` holds only what does not fit `Small`.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Repr {
    Small(i64),
    Big(Box<BigInt>),
}

impl Int {
    /// As `i64`, when it fits.
    pub fn as_i64(&self) -> Option<i64> {
        match &self.0 {
            Repr::Small(small) => Some(*small),
            Repr::Big(_) => None,
        }
    }

    /// As `u64`, when it fits.
    pub fn as_u64(&self) -> Option<u64> {
        match &self.0 {
            Repr::Small(small) => u64::try_from(*small).ok(),
            Repr::Big(big) => u64::try_from(&**big).ok(),
        }
    }

    /// As a number of any size.
    pub fn to_bigint(&self) -> BigInt {
        match &self.0 {
            Repr::Small(small) => BigInt::from(*small),
            Repr::Big(big) => (**big).clone(),
        }
    }

    /// Whether it is below zero.
    pub fn is_negative(&self) -> bool {
        match &self.0 {
            Repr::Small(small) => *small < 0,
            Repr::Big(big) => big.sign() == Sign::Minus,
        }
    }

    /// Whether it is zero.
    pub fn is_zero(&self) -> bool {
        matches!(self.0, Repr::Small(0))
    }

    /// The number of bits of its absolute value: Python's `bit_length()`.
    pub fn bits(&self) -> u64 {
        match &self.0 {
            Repr::Small(small) => u64::from(u64::BITS - small.unsigned_abs().leading_zeros()),
            Repr::Big(big) => big.bits(),
        }
    }

    /// As CBOR has it: whether it is negative, and then −1 − n instead of n.
    pub(crate) fn sign_and_argument(&self) -> (bool, Argument) {
        match &self.0 {
            Repr::Small(small) if *small < 0 => (true, Argument::Head(!*small as u64)),
            Repr::Small(small) => (false, Argument::Head(*small as u64)),
            Repr::Big(big) => {
                let is_negative = big.sign() == Sign::Minus;
                let magnitude = big.magnitude() - u8::from(is_negative);
                let argument = u64::try_from(&magnitude).map(Argument::Head);
                (
                    is_negative,
                    argument.unwrap_or_else(|_| Argument::Bytes(magnitude.to_bytes_be())),
                )
            }
        }
    }

    /// The number −1 − n.
    pub(crate) fn from_negative(n: u64) -> Self {
        match i64::try_from(n) {
            Ok(n) => Self(Repr::Small(!n)),
            Err(_) => Self(Repr::Big(Box::new(-1 - BigInt::from(n)))),
        }
    }

    /// A number of more than 64 bits, or −1 minus it, from its big-endian bytes.
    pub(crate) fn from_big_endian(is_negative: bool, bytes: &[u8]) -> Self {
        let magnitude = BigInt::from(BigUint::from_bytes_be(bytes));
        Self::from(if is_negative {
            -1 - magnitude
        } else {
            magnitude
        })
    }
}

/// The absolute part of an integer: in the head when it has room there.
pub(crate) enum Argument {
    Head(u64),
    Bytes(Vec<u8>),
}

macro_rules! from_small {
    ($($type:ty),*) => {$(
        impl From<$type> for Int {
            fn from(value: $type) -> Self {
                Self(Repr::Small(i64::from(value)))
            }
        }
    )*};
}

macro_rules! from_large {
    ($($type:ty),*) => {$(
        impl From<$type> for Int {
            fn from(value: $type) -> Self {
                match i64::try_from(value) {
                    Ok(small) => Self(Repr::Small(small)),
                    Err(_) => Self(Repr::Big(Box::new(BigInt::from(value)))),
                }
            }
        }
    )*};
}

from_small!(i8, i16, i32, i64, u8, u16, u32);
from_large!(u64, i128, u128, isize, usize);

impl From<BigInt> for Int {
    fn from(value: BigInt) -> Self {
        match i64::try_from(&value) {
            Ok(small) => Self(Repr::Small(small)),
            Err(_) => Self(Repr::Big(Box::new(value))),
        }
    }
}

impl fmt::Debug for Int {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Small(small) => small.fmt(f),
            Repr::Big(big) => write!(f, "{:#x}", **big),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_number_has_one_form() {
        assert_eq!(Int::from(5u64), Int::from(BigInt::from(5)));
        assert_eq!(Int::from(u64::MAX), Int::from(BigInt::from(u64::MAX)));
        assert_eq!(Int::from(i128::from(i64::MIN)), Int::from(i64::MIN));
        assert_eq!(
            Int::from_negative(u64::MAX),
            Int::from(-1 - i128::from(u64::MAX))
        );
        assert_eq!(Int::from_negative(0), Int::from(-1));
        assert_eq!(
            Int::from_negative(1 << 63),
            Int::from(i128::from(i64::MIN) - 1)
        );
    }

    #[test]
    fn bits_are_pythons() {
        for (value, bits) in [(0, 0), (1, 1), (-1, 1), (255, 8), (-256, 9), (i64::MIN, 64)] {
            assert_eq!(Int::from(value).bits(), bits);
        }
        assert_eq!(Int::from(u128::MAX).bits(), 128);
    }
}
