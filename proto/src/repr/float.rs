//! `float` in text: the shortest digits that give the same number again, laid out as Python does.

/// More digits than the exact decimal form of a float has.
const EXACT_DIGITS: usize = 780;

/// What Python's `repr` and `json` print for a float: `1.0`, `1e+16`, `1e-05`, `inf`, `nan`.
pub(crate) fn float_text(float: f64) -> String {
    if !float.is_finite() {
        let text = if float.is_nan() { "nan" } else { "inf" };
        return if float < 0.0 {
            format!("-{text}")
        } else {
            text.to_owned()
        };
    }
    let sign = if float.is_sign_negative() { "-" } else { "" };
    let (digits, exponent) = shortest(float.abs());
    let (first, rest) = digits.split_at(1);
    match exponent {
        -4..0 => format!(
            "{sign}0.{:0>width$}{digits}",
            "",
            width = exponent.abs_diff(-1) as usize
        ),
        0..16 => match digits.split_at_checked(exponent as usize + 1) {
            Some((whole, "")) => format!("{sign}{whole}.0"),
            Some((whole, fraction)) => format!("{sign}{whole}.{fraction}"),
            None => format!("{sign}{digits:0<width$}.0", width = exponent as usize + 1),
        },
        _ => {
            let point = if rest.is_empty() { "" } else { "." };
            let exponent_sign = if exponent < 0 { '-' } else { '+' };
            format!(
                "{sign}{first}{point}{rest}e{exponent_sign}{:02}",
                exponent.abs()
            )
        }
    }
}

/// The digits and the exponent of the first of them.
fn shortest(float: f64) -> (String, i32) {
    let (digits, exponent) = scientific(&format!("{float:e}"));
    // When two shortest texts are equally near, Rust takes the upper, Python the one that ends in an even digit.
    let (longer, _) = scientific(&format!("{float:.*e}", digits.len()));
    if let Some(lower) = longer
        .strip_suffix('5')
        .filter(|lower| lower.ends_with(is_even))
    {
        let (exact, _) = scientific(&format!("{float:.EXACT_DIGITS$e}"));
        // Below a power of two floats lie closer, so there the lower one may be another float.
        let is_same = |lower: &str| exact_value(lower, exponent) == Some(float);
        if exact.trim_end_matches('0') == longer && is_same(lower) {
            return (lower.to_owned(), exponent);
        }
    }
    (digits, exponent)
}

fn exact_value(digits: &str, exponent: i32) -> Option<f64> {
    let (first, rest) = digits.split_at_checked(1)?;
    format!("{first}.{rest}e{exponent}").parse().ok()
}

const fn is_even(c: char) -> bool {
    matches!(c, '0' | '2' | '4' | '6' | '8')
}

/// Takes `1.25e-7` apart.
fn scientific(text: &str) -> (String, i32) {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    (mantissa.replace('.', ""), exponent.parse().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_is_pythons() {
        for (float, text) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (0.1, "0.1"),
            (100.0, "100.0"),
            (120.5, "120.5"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1234567890123456.8, "1234567890123456.8"),
            (12345678901234567.0, "1.2345678901234568e+16"),
            (0.0001, "0.0001"),
            (0.00012, "0.00012"),
            (0.00001, "1e-05"),
            (-1.5e-7, "-1.5e-07"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
            (-f64::NAN, "nan"),
        ] {
            assert_eq!(float_text(float), text);
        }
    }

    #[test]
    fn ties_end_in_an_even_digit() {
        for (float, text) in [
            (-949_069_616_751_028.0 - 0.25, "-949069616751028.2"),
            (949_069_616_751_028.0 + 0.75, "949069616751028.8"),
            (2f64.powi(-24), "5.960464477539063e-08"),
            (2f64.powi(-44), "5.684341886080802e-14"),
        ] {
            assert_eq!(float_text(float), text);
            assert_eq!(text.parse(), Ok(float));
        }
    }
}
