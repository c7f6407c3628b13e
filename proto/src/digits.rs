//! Integers as decimal digits, up to a length: both ways take time that grows with its square.

use num_bigint::BigInt;

use crate::value::Int;

/// Digits of the longest integer that is written or read in decimal. Longer ones have hexadecimal.
pub const DIGITS_MAX: usize = 10_000;

/// An integer of so many bits has at most `DIGITS_MAX` digits: log2(10) > 3.3219.
const BITS_MAX: u64 = DIGITS_MAX as u64 * 33_219 / 10_000;

/// The integer in decimal; `None` when that would be longer than `DIGITS_MAX` digits.
pub(crate) fn decimal_digits(int: &Int) -> Option<String> {
    match int.as_i64() {
        Some(small) => Some(small.to_string()),
        None => (int.bits() <= BITS_MAX).then(|| int.to_bigint().to_string()),
    }
}

/// The integer of these decimal digits, at most `DIGITS_MAX`, at least one, and nothing else.
pub(crate) fn parse_digits(is_negative: bool, digits: &str) -> Option<Int> {
    if digits.is_empty() || digits.len() > DIGITS_MAX {
        return None;
    }
    if !digits.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let magnitude = match digits.parse::<u64>() {
        Ok(small) if !is_negative => return Some(small.into()),
        Ok(small) => BigInt::from(small),
        Err(_) => BigInt::parse_bytes(digits.as_bytes(), 10)?,
    };
    Some(if is_negative { -magnitude } else { magnitude }.into())
}

/// The integer in Python's hexadecimal: `-0xff`.
pub(crate) fn hexadecimal(int: &Int) -> String {
    format!("{:#x}", int.to_bigint())
}

/// Reads what [`hexadecimal`] gives.
pub(crate) fn parse_hexadecimal(text: &str) -> Option<Int> {
    let (is_negative, text) = text
        .strip_prefix('-')
        .map_or((false, text), |rest| (true, rest));
    let digits = text.strip_prefix("0x")?;
    if digits.is_empty()
        || !digits
            .bytes()
            .all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
    {
        return None;
    }
    let magnitude = BigInt::parse_bytes(digits.as_bytes(), 16)?;
    Some(if is_negative { -magnitude } else { magnitude }.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_round_trip_up_to_the_limit() {
        let longest = "9".repeat(DIGITS_MAX - 1);
        let int = parse_digits(true, &longest).unwrap();
        assert_eq!(decimal_digits(&int), Some(format!("-{longest}")));
        assert_eq!(parse_digits(false, &"9".repeat(DIGITS_MAX + 1)), None);
        let longer = Int::from(BigInt::from(1) << (BITS_MAX + 1));
        assert_eq!(decimal_digits(&longer), None);
        assert_eq!(parse_hexadecimal(&hexadecimal(&longer)), Some(longer));
    }

    #[test]
    fn small_ones_too() {
        for value in [0, -1, i64::MAX, i64::MIN] {
            let text = decimal_digits(&value.into()).unwrap();
            let digits = text.trim_start_matches('-');
            assert_eq!(parse_digits(value < 0, digits), Some(value.into()));
            assert_eq!(
                parse_hexadecimal(&hexadecimal(&value.into())),
                Some(value.into())
            );
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "+1", "-1", "1_0", " 1", "١"] {
            assert_eq!(parse_digits(false, text), None, "{text}");
        }
        for text in ["0x", "ff", "0xFF", "0x-1", "+0x1", "--0x1"] {
            assert_eq!(parse_hexadecimal(text), None, "{text}");
        }
    }
}
