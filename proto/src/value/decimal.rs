//! `decimal.Decimal`, finite and not, with the text that Python's `str()` gives.

use std::fmt;
use std::str::FromStr;

use super::{Int, InvalidValue};
use crate::digits::{decimal_digits, parse_digits};

/// Where the exponent of a number of Python's `decimal` can lie, on a machine of 64 bits.
const EXPONENT_MIN: i64 = -1_999_999_999_999_999_997;
const EXPONENT_MAX: i64 = 999_999_999_999_999_999;

/// The texts of a negative zero and of the infinities are shorter.
const ZERO_TEXT_BYTES_MAX: usize = 32;

/// A `decimal.Decimal`. `1.5` and `1.50` are two values. `Display` and `FromStr` are `str()` and `Decimal(text)`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Decimal(Kind);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Finite {
        mantissa: Int,
        exponent: i64,
    },
    NegativeZero {
        exponent: i64,
    },
    Infinity {
        is_negative: bool,
    },
    Nan {
        is_negative: bool,
        is_signaling: bool,
        payload: String,
    },
}

impl Decimal {
    /// The number `mantissa` × 10^`exponent`. A mantissa of 0 gives a zero that is not negative.
    ///
    /// # Errors
    ///
    /// When the exponent is beyond what Python holds.
    pub fn new(mantissa: impl Into<Int>, exponent: i64) -> Result<Self, InvalidValue> {
        Self::checked(
            Kind::Finite {
                mantissa: mantissa.into(),
                exponent,
            },
            exponent,
        )
    }

    /// Zero with a minus sign and an exponent.
    ///
    /// # Errors
    ///
    /// When the exponent is beyond what Python holds.
    pub fn negative_zero(exponent: i64) -> Result<Self, InvalidValue> {
        Self::checked(Kind::NegativeZero { exponent }, exponent)
    }

    fn checked(kind: Kind, exponent: i64) -> Result<Self, InvalidValue> {
        if (EXPONENT_MIN..=EXPONENT_MAX).contains(&exponent) {
            Ok(Self(kind))
        } else {
            Err(InvalidValue("Decimal"))
        }
    }

    /// Mantissa and exponent of a number that is finite and not a negative zero.
    pub fn parts(&self) -> Option<(&Int, i64)> {
        match &self.0 {
            Kind::Finite { mantissa, exponent } => Some((mantissa, *exponent)),
            _ => None,
        }
    }

    /// Reads the `str()` of a number that [`Decimal::parts`] has no parts of.
    ///
    /// # Errors
    ///
    /// When the text is something else.
    pub fn from_special_text(text: &str) -> Result<Self, InvalidValue> {
        let parse = || {
            let value = match parse_nan_or_infinity(text) {
                Some(kind) => Self(kind),
                None if text.len() <= ZERO_TEXT_BYTES_MAX => parse_finite(text)?,
                None => return None,
            };
            (value.parts().is_none() && value.to_string() == text).then_some(value)
        };
        parse().ok_or(InvalidValue("Decimal"))
    }
}

impl FromStr for Decimal {
    type Err = InvalidValue;

    /// Reads digits with an optional point and exponent, or what `str()` gives for the special values.
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let special = parse_nan_or_infinity(text).map(Self);
        special
            .or_else(|| parse_finite(text))
            .ok_or(InvalidValue("Decimal"))
    }
}

fn split_sign(text: &str) -> (bool, &str) {
    text.strip_prefix('-')
        .map_or((false, text), |rest| (true, rest))
}

fn parse_nan_or_infinity(text: &str) -> Option<Kind> {
    let (is_negative, text) = split_sign(text);
    if text == "Infinity" {
        return Some(Kind::Infinity { is_negative });
    }
    let unsignalled = text.strip_prefix('s');
    let payload = unsignalled.unwrap_or(text).strip_prefix("NaN")?;
    let is_payload = !payload.starts_with('0') && payload.bytes().all(|c| c.is_ascii_digit());
    let is_signaling = unsignalled.is_some();
    is_payload.then(|| Kind::Nan {
        is_negative,
        is_signaling,
        payload: payload.to_owned(),
    })
}

fn parse_finite(text: &str) -> Option<Decimal> {
    let (is_negative, text) = split_sign(text);
    let (number, exponent) = match text.split_once(['E', 'e']) {
        Some((number, exponent)) => (number, exponent.parse::<i64>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{whole}{fraction}");
    let exponent = exponent.checked_sub(i64::try_from(fraction.len()).ok()?)?;
    let mantissa = parse_digits(is_negative, &digits)?;
    if is_negative && mantissa.is_zero() {
        Decimal::negative_zero(exponent).ok()
    } else {
        Decimal::new(mantissa, exponent).ok()
    }
}

impl fmt::Display for Decimal {
    /// Python's `str()`. A mantissa of more than [`DIGITS_MAX`](crate::value::DIGITS_MAX) digits is written in hexadecimal, with an
    /// exponent always: no text that Python reads, but also none that takes minutes to write.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = |is_negative| if is_negative { "-" } else { "" };
        match &self.0 {
            Kind::Finite { mantissa, exponent } => match decimal_digits(mantissa) {
                Some(text) => {
                    let (is_negative, digits) = split_sign(&text);
                    write_finite(f, is_negative, digits, *exponent)
                }
                None => write!(f, "{mantissa:?}E{exponent:+}"),
            },
            Kind::NegativeZero { exponent } => write_finite(f, true, "0", *exponent),
            Kind::Infinity { is_negative } => write!(f, "{}Infinity", sign(*is_negative)),
            Kind::Nan {
                is_negative,
                is_signaling,
                payload,
            } => {
                let signaling = if *is_signaling { "s" } else { "" };
                write!(f, "{}{signaling}NaN{payload}", sign(*is_negative))
            }
        }
    }
}

/// The rule of the General Decimal Arithmetic specification's to-scientific-string.
fn write_finite(
    f: &mut fmt::Formatter<'_>,
    is_negative: bool,
    digits: &str,
    exponent: i64,
) -> fmt::Result {
    if is_negative {
        f.write_str("-")?;
    }
    let left = exponent + digits.len() as i64;
    let point = if exponent <= 0 && left > -6 { left } else { 1 };
    if point <= 0 {
        write!(f, "0.{:0>width$}{digits}", "", width = -point as usize)?;
    } else {
        match digits.split_at(digits.len().min(point as usize)) {
            (whole, "") => f.write_str(whole)?,
            (whole, fraction) => write!(f, "{whole}.{fraction}")?,
        }
    }
    if left == point {
        Ok(())
    } else {
        write!(f, "E{:+}", left - point)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_round_trip() {
        for text in [
            "0",
            "1",
            "-1",
            "1.50",
            "0.000",
            "0E-7",
            "1E+3",
            "1.23E+5",
            "-0.000001",
            "1E-7",
            "0E+3",
            "123456789.5",
            "-0",
            "-0.00",
            "-0E-7",
            "-0E+3",
            "NaN",
            "-NaN",
            "sNaN12",
            "NaN7",
            "Infinity",
            "-Infinity",
        ] {
            assert_eq!(text.parse::<Decimal>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn other_spellings_are_read_and_others_refused() {
        assert_eq!("1.5e3".parse::<Decimal>(), Decimal::new(15, 2));
        assert_eq!("1.".parse::<Decimal>(), Decimal::new(1, 0));
        for text in [
            "",
            "-",
            ".",
            "1e",
            "e5",
            "1.2.3",
            "--1",
            "NaN0",
            "nan",
            "0x1",
            "1e99999999999999999999",
        ] {
            assert!(text.parse::<Decimal>().is_err(), "{text}");
        }
    }

    #[test]
    fn special_texts_are_special() {
        for text in [
            "-0",
            "-0.000000",
            "-0E-7",
            "-0E+3",
            "NaN",
            "-sNaN5",
            "-Infinity",
        ] {
            assert_eq!(Decimal::from_special_text(text).unwrap().to_string(), text);
        }
        for text in [
            "0",
            "1.5",
            "-1",
            "-00",
            "-0.0000000",
            "-0E3",
            "-0E+0",
            "NaN05",
            "inf",
        ] {
            assert!(Decimal::from_special_text(text).is_err(), "{text}");
        }
    }

    #[test]
    fn exponents_end_where_pythons_do() {
        assert!(Decimal::new(1, EXPONENT_MAX).is_ok());
        assert!(Decimal::new(1, EXPONENT_MIN).is_ok());
        assert!(Decimal::new(1, EXPONENT_MAX + 1).is_err());
        assert!(Decimal::negative_zero(EXPONENT_MIN - 1).is_err());
    }
}
