//! Dates, times and zones as Python's `datetime` has them, with their `isoformat()`.

use std::fmt;
use std::str::FromStr;

use super::{InvalidValue, Text};

const MINUTE_US: i64 = 60_000_000;
const DAY_US: i64 = 24 * 60 * MINUTE_US;

/// A `datetime.date`: years 1 to 9999. `Display` and `FromStr` are `isoformat()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date {
    year: u16,
    month: u8,
    day: u8,
}

impl Date {
    /// That day.
    ///
    /// # Errors
    ///
    /// When there is no such day in the proleptic Gregorian calendar.
    pub fn new(year: u16, month: u8, day: u8) -> Result<Self, InvalidValue> {
        let is_leap =
            year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let days = match month {
            1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
            4 | 6 | 9 | 11 => 30,
            2 if is_leap => 29,
            2 => 28,
            _ => 0,
        };
        if (1..=9999).contains(&year) && (1..=days).contains(&day) {
            Ok(Self { year, month, day })
        } else {
            Err(InvalidValue("date"))
        }
    }

    /// The year, 1 to 9999.
    pub const fn year(self) -> u16 {
        self.year
    }

    /// The month, from 1.
    pub const fn month(self) -> u8 {
        self.month
    }

    /// The day of the month, from 1.
    pub const fn day(self) -> u8 {
        self.day
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

impl FromStr for Date {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        parse_date(text.as_bytes()).unwrap_or(Err(InvalidValue("date")))
    }
}

fn parse_date(text: &[u8]) -> Option<Result<Date, InvalidValue>> {
    let &[c, y, d, e, b'-', m, n, b'-', o, p] = text else {
        return None;
    };
    let year = u16::from(two(c, y)?) * 100 + u16::from(two(d, e)?);
    Some(Date::new(year, two(m, n)?, two(o, p)?))
}

/// A `datetime.time`: a time of day, the second of two equal ones when `fold` is set, perhaps with a zone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Time {
    hour: u8,
    minute: u8,
    second: u8,
    microsecond: u32,
    /// Whether it is the second of two times that a clock shows twice.
    pub fold: bool,
    /// The zone.
    pub zone: Option<Zone>,
}

impl Time {
    /// That time of day, with fold 0 and without zone.
    ///
    /// # Errors
    ///
    /// When a part is out of its range.
    pub fn new(hour: u8, minute: u8, second: u8, microsecond: u32) -> Result<Self, InvalidValue> {
        if hour < 24 && minute < 60 && second < 60 && microsecond < 1_000_000 {
            Ok(Self {
                hour,
                minute,
                second,
                microsecond,
                fold: false,
                zone: None,
            })
        } else {
            Err(InvalidValue("time"))
        }
    }

    /// The same time of day with another fold and zone.
    #[must_use]
    pub fn with_zone(self, fold: bool, zone: Option<Zone>) -> Self {
        Self { fold, zone, ..self }
    }

    /// The hour, minute and second.
    pub const fn clock(&self) -> [u8; 3] {
        [self.hour, self.minute, self.second]
    }

    /// The microsecond, below 1,000,000.
    pub const fn microsecond(&self) -> u32 {
        self.microsecond
    }

    /// `isoformat()` of the time without its zone.
    pub fn to_local_text(&self) -> String {
        let Self {
            hour,
            minute,
            second,
            microsecond,
            ..
        } = self;
        match microsecond {
            0 => format!("{hour:02}:{minute:02}:{second:02}"),
            _ => format!("{hour:02}:{minute:02}:{second:02}.{microsecond:06}"),
        }
    }

    /// Reads what [`Time::to_local_text`] gives.
    ///
    /// # Errors
    ///
    /// When the text is something else.
    pub fn from_local_text(text: &str) -> Result<Self, InvalidValue> {
        parse_time(text.as_bytes()).unwrap_or(Err(InvalidValue("time")))
    }

    /// The minutes from UTC when that, written after the text, says all about the zone.
    fn plain_offset_minutes(&self) -> Option<i64> {
        match &self.zone {
            Some(Zone::Fixed(zone)) if zone.name.is_none() && !self.fold => {
                (zone.offset_us % MINUTE_US == 0).then_some(zone.offset_us / MINUTE_US)
            }
            _ => None,
        }
    }
}

fn parse_time(text: &[u8]) -> Option<Result<Time, InvalidValue>> {
    let (&[h, i, b':', m, n, b':', s, t], fraction) = text.split_first_chunk()? else {
        return None;
    };
    let microsecond = match fraction {
        [] => 0,
        &[b'.', a, b, c, d, e, f] => {
            let parts = [two(a, b)?, two(c, d)?, two(e, f)?].map(u32::from);
            let microsecond = parts[0] * 10_000 + parts[1] * 100 + parts[2];
            (microsecond != 0).then_some(microsecond)?
        }
        _ => return None,
    };
    Some(Time::new(two(h, i)?, two(m, n)?, two(s, t)?, microsecond))
}

fn two(tens: u8, ones: u8) -> Option<u8> {
    let digit = |c: u8| c.is_ascii_digit().then(|| c - b'0');
    Some(digit(tens)? * 10 + digit(ones)?)
}

/// A `datetime.datetime`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DateTime {
    /// The day.
    pub date: Date,
    /// The time of day, with fold and zone.
    pub time: Time,
}

impl DateTime {
    /// That time on that day.
    pub const fn new(date: Date, time: Time) -> Self {
        Self { date, time }
    }

    /// `isoformat()` without the zone.
    pub fn to_local_text(&self) -> String {
        format!("{}T{}", self.date, self.time.to_local_text())
    }

    /// Reads what [`DateTime::to_local_text`] gives.
    ///
    /// # Errors
    ///
    /// When the text is something else.
    pub fn from_local_text(text: &str) -> Result<Self, InvalidValue> {
        let (date, time) = text.split_once('T').ok_or(InvalidValue("datetime"))?;
        let (date, time) = (date.parse(), Time::from_local_text(time));
        match (date, time) {
            (Ok(date), Ok(time)) => Ok(Self { date, time }),
            _ => Err(InvalidValue("datetime")),
        }
    }

    /// `isoformat()` with the zone, when that says everything: fold 0 and a zone without a name that is a whole
    /// number of minutes from UTC.
    pub fn to_offset_text(&self) -> Option<String> {
        let minutes = self.time.plain_offset_minutes()?;
        let (sign, minutes) = (if minutes < 0 { '-' } else { '+' }, minutes.abs());
        Some(format!(
            "{}{sign}{:02}:{:02}",
            self.to_local_text(),
            minutes / 60,
            minutes % 60
        ))
    }

    /// Reads what [`DateTime::to_offset_text`] gives.
    ///
    /// # Errors
    ///
    /// When the text is something else.
    pub fn from_offset_text(text: &str) -> Result<Self, InvalidValue> {
        let invalid = InvalidValue("datetime");
        let (local, zone) = text
            .split_at_checked(text.len().saturating_sub(6))
            .ok_or(invalid)?;
        let mut value = Self::from_local_text(local)?;
        value.time.zone = Some(Zone::Fixed(parse_offset(zone.as_bytes()).ok_or(invalid)?));
        Ok(value)
    }
}

fn parse_offset(text: &[u8]) -> Option<TimeZone> {
    let &[sign @ (b'+' | b'-'), h, i, b':', m, n] = text else {
        return None;
    };
    let (hours, minutes) = (i64::from(two(h, i)?), i64::from(two(m, n)?));
    let offset = (hours * 60 + minutes) * MINUTE_US;
    if minutes >= 60 || sign == b'-' && offset == 0 {
        return None;
    }
    TimeZone::new(if sign == b'-' { -offset } else { offset }, None).ok()
}

/// The zone of a time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Zone {
    /// `datetime.timezone`.
    Fixed(TimeZone),
    /// `zoneinfo.ZoneInfo`, by its key.
    Named(String),
}

/// A `datetime.timezone`: a fixed distance from UTC.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TimeZone {
    offset_us: i64,
    name: Option<Text>,
}

impl TimeZone {
    /// A zone so many microseconds east of UTC.
    ///
    /// # Errors
    ///
    /// When that is a day or more.
    pub fn new(offset_us: i64, name: Option<Text>) -> Result<Self, InvalidValue> {
        if (1 - DAY_US..DAY_US).contains(&offset_us) {
            Ok(Self { offset_us, name })
        } else {
            Err(InvalidValue("timezone"))
        }
    }

    /// UTC.
    pub const fn utc() -> Self {
        Self {
            offset_us: 0,
            name: None,
        }
    }

    /// Microseconds east of UTC.
    pub const fn offset_us(&self) -> i64 {
        self.offset_us
    }

    /// The name that was given to it.
    pub const fn name(&self) -> Option<&Text> {
        self.name.as_ref()
    }
}

/// A `datetime.timedelta`, in Python's normal form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimeDelta {
    days: i32,
    seconds: u32,
    microseconds: u32,
}

impl TimeDelta {
    /// So many days and, on top of them, seconds of a day and microseconds of a second.
    ///
    /// # Errors
    ///
    /// When there are more than 999,999,999 days either way, 86,400 seconds or 1,000,000 microseconds.
    pub fn new(days: i32, seconds: u32, microseconds: u32) -> Result<Self, InvalidValue> {
        let is_normal = seconds < 86_400 && microseconds < 1_000_000;
        if is_normal && days.unsigned_abs() <= 999_999_999 {
            Ok(Self {
                days,
                seconds,
                microseconds,
            })
        } else {
            Err(InvalidValue("timedelta"))
        }
    }

    /// So many microseconds; every `i64` is in range.
    pub fn from_microseconds(microseconds: i64) -> Self {
        let within = microseconds.rem_euclid(DAY_US);
        Self {
            days: microseconds.div_euclid(DAY_US) as i32,
            seconds: (within / 1_000_000) as u32,
            microseconds: (within % 1_000_000) as u32,
        }
    }

    /// Days, which may be negative.
    pub const fn days(self) -> i32 {
        self.days
    }

    /// Seconds of the day.
    pub const fn seconds(self) -> u32 {
        self.seconds
    }

    /// Microseconds of the second.
    pub const fn microseconds(self) -> u32 {
        self.microseconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_that_are_and_days_that_are_not() {
        for text in ["0001-01-01", "9999-12-31", "2024-02-29", "2000-02-29"] {
            assert_eq!(text.parse::<Date>().unwrap().to_string(), text);
        }
        let not = [
            "0000-01-01",
            "2023-02-29",
            "1900-02-29",
            "2024-13-01",
            "2024-04-31",
            "2024-00-01",
        ];
        for text in
            not.into_iter()
                .chain(["2024-1-1", "2024-01-01 ", "", "+024-01-01", "2024_01_01"])
        {
            assert_eq!(text.parse::<Date>(), Err(InvalidValue("date")), "{text}");
        }
    }

    #[test]
    fn local_texts_round_trip() {
        for text in [
            "2024-01-02T03:04:05",
            "2024-01-02T03:04:05.000001",
            "0001-01-01T00:00:00",
        ] {
            assert_eq!(
                DateTime::from_local_text(text).unwrap().to_local_text(),
                text
            );
        }
        for text in [
            "2024-01-02 03:04:05",
            "2024-01-02T03:04",
            "2024-01-02T24:00:00",
            "2024-01-02T03:04:05.000000",
            "2024-01-02T03:04:05.5",
            "2024-01-02T03:04:60",
        ] {
            assert!(DateTime::from_local_text(text).is_err(), "{text}");
        }
    }

    #[test]
    fn offset_texts_round_trip() {
        for zone in ["+00:00", "+23:59", "-23:59", "-00:01"] {
            let text = format!("2024-01-02T03:04:05{zone}");
            assert_eq!(
                DateTime::from_offset_text(&text).unwrap().to_offset_text(),
                Some(text)
            );
        }
        for zone in [
            "-00:00",
            "+24:00",
            "+01:60",
            "Z",
            "",
            "+0100",
            "+01:00:30",
            "ä:00:00",
        ] {
            assert!(
                DateTime::from_offset_text(&format!("2024-01-02T03:04:05{zone}")).is_err(),
                "{zone}"
            );
        }
    }

    #[test]
    fn only_plain_zones_are_said_by_the_offset() {
        let mut value = DateTime::from_offset_text("2024-01-02T03:04:05+01:00").unwrap();
        value.time.fold = true;
        assert_eq!(value.to_offset_text(), None);
        value.time.fold = false;
        for zone in [
            Zone::Fixed(TimeZone::new(1, None).unwrap()),
            Zone::Fixed(TimeZone::new(0, Some("UTC".into())).unwrap()),
            Zone::Named("Europe/Berlin".to_owned()),
        ] {
            value.time.zone = Some(zone);
            assert_eq!(value.to_offset_text(), None);
        }
    }

    #[test]
    fn ranges_end_where_pythons_do() {
        assert!(TimeZone::new(DAY_US - 1, None).is_ok());
        assert!(TimeZone::new(1 - DAY_US, None).is_ok());
        assert!(TimeZone::new(DAY_US, None).is_err());
        assert!(TimeZone::new(-DAY_US, None).is_err());
        assert!(TimeDelta::new(-999_999_999, 0, 0).is_ok());
        assert!(TimeDelta::new(1_000_000_000, 0, 0).is_err());
        assert!(TimeDelta::new(0, 86_400, 0).is_err());
        assert!(TimeDelta::new(0, 0, 1_000_000).is_err());
        let before = TimeDelta::from_microseconds(-1);
        assert_eq!(before, TimeDelta::new(-1, 86_399, 999_999).unwrap());
        assert!(TimeDelta::from_microseconds(i64::MIN).days() > -999_999_999);
    }
}
