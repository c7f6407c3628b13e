//! Numbers that are made of others: `float` by its bits, `complex`, `Fraction`, `range`.

use std::fmt;
use std::hash::{Hash, Hasher};

use super::{Int, InvalidValue};

/// A float that is compared and hashed by its bits.
#[derive(Clone, Copy)]
pub struct Float(pub f64);

impl PartialEq for Float {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Eq for Float {}

impl Hash for Float {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

impl fmt::Debug for Float {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A Python `complex`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Complex {
    /// The real part.
    pub real: Float,
    /// The imaginary part.
    pub imag: Float,
}

/// A `fractions.Fraction`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fraction {
    numerator: Int,
    denominator: Int,
}

impl Fraction {
    /// The fraction of two numbers without a common factor.
    ///
    /// Whether they have one is checked for numbers below 2^64; for larger ones it would take too long on bytes
    /// that anybody may have sent.
    ///
    /// # Errors
    ///
    /// When the denominator is not positive, or both have a common factor.
    pub fn new(
        numerator: impl Into<Int>,
        denominator: impl Into<Int>,
    ) -> Result<Self, InvalidValue> {
        let (numerator, denominator) = (numerator.into(), denominator.into());
        let is_positive = !denominator.is_negative() && !denominator.is_zero();
        if is_positive && in_lowest_terms(&numerator, &denominator) {
            Ok(Self {
                numerator,
                denominator,
            })
        } else {
            Err(InvalidValue("Fraction"))
        }
    }

    /// The number above the line.
    pub fn numerator(&self) -> &Int {
        &self.numerator
    }

    /// The number below the line, positive.
    pub fn denominator(&self) -> &Int {
        &self.denominator
    }
}

fn in_lowest_terms(numerator: &Int, denominator: &Int) -> bool {
    let magnitude = |int: &Int| match int.as_i64() {
        Some(small) => Some(small.unsigned_abs()),
        None => int.as_u64(),
    };
    let (Some(mut a), Some(mut b)) = (magnitude(numerator), magnitude(denominator)) else {
        return true;
    };
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a == 1
}

/// A Python `range`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Range {
    start: Int,
    stop: Int,
    step: Int,
}

impl Range {
    /// `range(start, stop, step)`.
    ///
    /// # Errors
    ///
    /// When the step is zero.
    pub fn new(
        start: impl Into<Int>,
        stop: impl Into<Int>,
        step: impl Into<Int>,
    ) -> Result<Self, InvalidValue> {
        let (start, stop, step) = (start.into(), stop.into(), step.into());
        if step.is_zero() {
            Err(InvalidValue("range"))
        } else {
            Ok(Self { start, stop, step })
        }
    }

    /// Start, stop and step; the step is not zero.
    pub fn parts(&self) -> [&Int; 3] {
        [&self.start, &self.stop, &self.step]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_equal_by_their_bits() {
        assert_eq!(Float(f64::NAN), Float(f64::NAN));
        assert_ne!(Float(0.0), Float(-0.0));
    }

    #[test]
    fn fractions_are_in_lowest_terms() {
        assert!(Fraction::new(-3, 4).is_ok());
        assert!(Fraction::new(0, 1).is_ok());
        assert!(Fraction::new(i64::MIN, 3).is_ok());
        for (numerator, denominator) in [(2, 4), (0, 2), (1, 0), (1, -2), (i64::MIN, 2)] {
            assert_eq!(
                Fraction::new(numerator, denominator),
                Err(InvalidValue("Fraction"))
            );
        }
    }

    #[test]
    fn a_range_has_a_step() {
        assert!(Range::new(0, 10, -1).is_ok());
        assert_eq!(Range::new(0, 10, 0), Err(InvalidValue("range")));
    }
}
