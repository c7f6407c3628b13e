//! Sizes, durations, ranges and times as people write them, and back.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A number of bytes: `1000`, `64KiB`, `256MiB`, `2G`, `10MB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size(pub u64);

/// A length of time: `500ms`, `30s`, `5m`, `1h30m`, `2d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Time(pub Duration);

/// Whole numbers from `first` to `last`, both included, `step` apart: `1-1000`, `0-99:5`, `-3-3`, `7`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    first: i64,
    last: i64,
    step: u64,
}

/// A share in percent: `25` or `25%`, from 1 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Percent(pub u8);

/// A moment, in milliseconds since 1970: `1764581400000` or `2025-12-01T09:30:00Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment(pub u64);

/// The text is not one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NotOne(&'static str);

const NOT_A_SIZE: NotOne = NotOne("write a size like 512KiB, 256MiB or 2GiB");
const NO_TIME_UNIT: NotOne = NotOne("add a unit, like 30s, 500ms, 5m or 1h30m");
const NOT_A_TIME: NotOne = NotOne("write a duration like 500ms, 30s, 5m or 1h30m");
const NOT_A_RANGE: NotOne = NotOne("write a range like 1-1000 or, with a step, 0-95:5");
const EMPTY_RANGE: NotOne = NotOne("the range is empty: its first number is larger than its last");
const NO_STEP: NotOne = NotOne("the step has to be 1 or more");
const NOT_A_PERCENTAGE: NotOne = NotOne("write a whole percentage from 1 to 100, like 25 or 25%");
const NOT_A_MOMENT: NotOne =
    NotOne("write milliseconds since 1970 or a UTC time like 2026-12-01T09:30:00Z");

impl fmt::Display for NotOne {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for NotOne {}

impl FromStr for Percent {
    type Err = NotOne;

    fn from_str(text: &str) -> Result<Self, NotOne> {
        let number = text.strip_suffix('%').unwrap_or(text);
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        match number.parse() {
            Ok(percent @ 1..=100) if is_number => Ok(Self(percent)),
            _ => Err(NOT_A_PERCENTAGE),
        }
    }
}

impl FromStr for Size {
    type Err = NotOne;

    fn from_str(text: &str) -> Result<Self, NotOne> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| NOT_A_SIZE)?;
        let factor = match unit.trim_start().to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "k" | "kib" => 1 << 10,
            "m" | "mib" => 1 << 20,
            "g" | "gib" => 1 << 30,
            "kb" => 1_000,
            "mb" => 1_000_000,
            "gb" => 1_000_000_000,
            _ => return Err(NOT_A_SIZE),
        };
        number.checked_mul(factor).map(Self).ok_or(NOT_A_SIZE)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
        match units
            .iter()
            .find(|(bits, _)| self.0 > 0 && self.0.is_multiple_of(1 << bits))
        {
            Some((bits, unit)) => write!(f, "{} {unit}", self.0 >> bits),
            None => write!(f, "{} bytes", self.0),
        }
    }
}

impl FromStr for Time {
    type Err = NotOne;

    fn from_str(text: &str) -> Result<Self, NotOne> {
        let mut rest = text;
        let mut millis = 0u64;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, after) = rest.split_at(digits);
            let number: u64 = number.parse().map_err(|_| NOT_A_TIME)?;
            let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
            let (unit, next) = after.split_at(letters);
            let factor = match unit {
                "ms" => 1,
                "s" | "sec" => 1_000,
                "m" | "min" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                "" => return Err(NO_TIME_UNIT),
                _ => return Err(NOT_A_TIME),
            };
            let part = number.checked_mul(factor).ok_or(NOT_A_TIME)?;
            millis = millis.checked_add(part).ok_or(NOT_A_TIME)?;
            rest = next;
        }
        if text.is_empty() {
            Err(NOT_A_TIME)
        } else {
            Ok(Self(Duration::from_millis(millis)))
        }
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        match millis {
            0 => f.write_str("0 ms"),
            _ if millis.is_multiple_of(86_400_000) => write!(f, "{} d", millis / 86_400_000),
            _ if millis.is_multiple_of(3_600_000) => write!(f, "{} h", millis / 3_600_000),
            _ if millis.is_multiple_of(60_000) => write!(f, "{} min", millis / 60_000),
            _ if millis.is_multiple_of(1_000) => write!(f, "{} s", millis / 1_000),
            _ if millis > 10_000 => write!(f, "{:.1} s", self.0.as_secs_f64()),
            _ => write!(f, "{millis} ms"),
        }
    }
}

impl Range {
    /// How many numbers it has.
    pub(crate) fn len(self) -> u64 {
        // A range over all of i64 has 2^64 numbers; that it says one less is never noticed.
        (self.last.abs_diff(self.first) / self.step).saturating_add(1)
    }

    /// The number at a position.
    pub(crate) fn number(self, position: u64) -> Option<i64> {
        let offset = position.checked_mul(self.step)?;
        self.first
            .checked_add_unsigned(offset)
            .filter(|number| *number <= self.last)
    }
}

impl FromStr for Range {
    type Err = NotOne;

    fn from_str(text: &str) -> Result<Self, NotOne> {
        let (numbers, step) = match text.split_once(':') {
            Some((numbers, step)) => (numbers, step.parse().map_err(|_| NOT_A_RANGE)?),
            None => (text, 1),
        };
        // The first character may be a sign; a later hyphen separates.
        let hyphen = numbers.char_indices().skip(1).find(|(_, c)| *c == '-');
        let number = |text: &str| text.parse::<i64>().map_err(|_| NOT_A_RANGE);
        let (first, last) = match hyphen {
            Some((at, _)) => (number(&numbers[..at])?, number(&numbers[at + 1..])?),
            None => (number(numbers)?, number(numbers)?),
        };
        if step == 0 {
            return Err(NO_STEP);
        }
        if first > last {
            return Err(EMPTY_RANGE);
        }
        Ok(Self { first, last, step })
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}:{}", self.first, self.last, self.step)
    }
}

impl FromStr for Moment {
    type Err = NotOne;

    fn from_str(text: &str) -> Result<Self, NotOne> {
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().map(Self).map_err(|_| NOT_A_MOMENT);
        }
        utc_millis(text).map(Self).ok_or(NOT_A_MOMENT)
    }
}

/// Milliseconds since 1970 of `2026-12-01T09:30:00Z`, perhaps with a fraction of a second.
fn utc_millis(text: &str) -> Option<u64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let [year, month, day]: [u64; 3] = numbers(date, '-')?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, ""));
    let [hour, minute, second]: [u64; 3] = numbers(time, ':')?;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let lengths = [
        31,
        if leap { 29 } else { 28 },
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ];
    let before = usize::try_from(month.checked_sub(1)?).ok()?;
    let fits = (1970..=9999).contains(&year)
        && (1..=*lengths.get(before)?).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !fits || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let leap_days = |year: u64| year / 4 - year / 100 + year / 400;
    let days = (year - 1970) * 365 + leap_days(year - 1) - leap_days(1969)
        + lengths.iter().take(before).sum::<u64>()
        + day
        - 1;
    let millis: u64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1000 + millis)
}

fn numbers(text: &str, separator: char) -> Option<[u64; 3]> {
    let parts: Vec<u64> = text
        .split(separator)
        .map(str::parse)
        .collect::<Result<_, _>>()
        .ok()?;
    parts.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages() {
        let cases = [
            ("1", Some(1)),
            ("25%", Some(25)),
            ("100", Some(100)),
            ("0", None),
            ("101", None),
            ("", None),
            ("%", None),
            ("+5", None),
            ("-5", None),
            ("2.5", None),
            ("1e1", None),
            ("999", None),
        ];
        for (text, wanted) in cases {
            assert_eq!(text.parse().ok(), wanted.map(Percent), "{text}");
        }
    }

    #[test]
    fn sizes() {
        let cases = [
            ("0", Some(0)),
            ("1000", Some(1000)),
            ("12b", Some(12)),
            ("64KiB", Some(65_536)),
            ("256MiB", Some(268_435_456)),
            ("256 mib", Some(268_435_456)),
            ("2G", Some(2_147_483_648)),
            ("10MB", Some(10_000_000)),
            ("", None),
            ("MiB", None),
            ("-1", None),
            ("1.5G", None),
            ("1TB", None),
            ("99999999999999999999", None),
            ("99999999999GiB", None),
        ];
        for (text, wanted) in cases {
            assert_eq!(text.parse().ok(), wanted.map(Size), "{text}");
        }
        let shown = [
            (0, "0 bytes"),
            (1 << 30, "1 GiB"),
            (3 << 19, "1536 KiB"),
            (1000, "1000 bytes"),
        ];
        for (bytes, wanted) in shown {
            assert_eq!(Size(bytes).to_string(), wanted);
        }
    }

    #[test]
    fn durations() {
        let cases = [
            ("500ms", Some(500)),
            ("30s", Some(30_000)),
            ("5m", Some(300_000)),
            ("5min", Some(300_000)),
            ("1h30m", Some(5_400_000)),
            ("2d", Some(172_800_000)),
            ("0s", Some(0)),
            ("", None),
            ("30", None),
            ("s", None),
            ("1h30", None),
            ("1.5s", None),
            ("-1s", None),
            ("1 s", None),
            ("5 parsecs", None),
            ("99999999999999999999s", None),
        ];
        for (text, wanted) in cases {
            let wanted = wanted.map(Duration::from_millis).map(Time);
            assert_eq!(text.parse().ok(), wanted, "{text}");
        }
        assert_eq!("30".parse::<Time>(), Err(NO_TIME_UNIT));
        let shown = [
            (0, "0 ms"),
            (1500, "1500 ms"),
            (30_000, "30 s"),
            (90_000, "90 s"),
            (12_345, "12.3 s"),
            (7_200_000, "2 h"),
        ];
        for (millis, wanted) in shown {
            assert_eq!(Time(Duration::from_millis(millis)).to_string(), wanted);
        }
    }

    fn all(text: &str) -> Vec<i64> {
        let range: Range = text.parse().unwrap();
        let numbers: Vec<i64> = (0..).map_while(|position| range.number(position)).collect();
        assert_eq!(range.len(), numbers.len() as u64, "{text}");
        numbers
    }

    #[test]
    fn ranges() {
        assert_eq!(all("1-5"), [1, 2, 3, 4, 5]);
        assert_eq!(all("0-10:5"), [0, 5, 10]);
        assert_eq!(all("0-9:5"), [0, 5]);
        assert_eq!(all("7"), [7]);
        assert_eq!(all("-3--1"), [-3, -2, -1]);
        assert_eq!(all("-1-1"), [-1, 0, 1]);
        let far: Range = format!("{}-{}", i64::MIN, i64::MAX).parse().unwrap();
        assert_eq!((far.len(), far.number(1)), (u64::MAX, Some(i64::MIN + 1)));
        for bad in [
            "",
            "a",
            "1-",
            "-",
            "1-2-3",
            "1-5:",
            "1-5:x",
            "1:2:3",
            "1..5",
            "1-99999999999999999999",
        ] {
            assert_eq!(bad.parse::<Range>(), Err(NOT_A_RANGE), "{bad}");
        }
        assert_eq!("5-1".parse::<Range>(), Err(EMPTY_RANGE));
        assert_eq!("1-5:0".parse::<Range>(), Err(NO_STEP));
    }

    #[test]
    fn moments() {
        let cases = [
            ("0", Some(0)),
            ("1764581400000", Some(1_764_581_400_000)),
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-02-29T12:00:00Z", Some(951_825_600_000)),
            ("2025-12-01T09:30:00Z", Some(1_764_581_400_000)),
            ("2025-12-01T09:30:00.5Z", Some(1_764_581_400_500)),
            ("2025-12-01T09:30:00", None),
            ("2025-02-29T09:30:00Z", None),
            ("2025-13-01T09:30:00Z", None),
            ("2025-00-01T09:30:00Z", None),
            ("2025-12-01T24:30:00Z", None),
            ("now", None),
            ("-1", None),
        ];
        for (text, wanted) in cases {
            assert_eq!(text.parse().ok(), wanted.map(Moment), "{text}");
        }
    }
}
