//! The little of DER that is needed to find a certificate's validity and a name's text.
//!
//! What webpki reads is left to it; this is for fields that it does not hand out. It reads only certificates that webpki
//! or this crate has taken.

/// Reads elements one after the other.
#[derive(Clone, Copy)]
pub(crate) struct Der<'a>(&'a [u8]);

pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const OID: u8 = 0x06;
pub(crate) const UTF8_STRING: u8 = 0x0c;
pub(crate) const UTC_TIME: u8 = 0x17;
pub(crate) const GENERALIZED_TIME: u8 = 0x18;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;
pub(crate) const CONTEXT_0: u8 = 0xa0;

impl<'a> Der<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next element's tag and content. Lengths of up to 65,535 bytes, in their shortest form.
    pub(crate) fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81 => {
                let (&length, rest) = rest.split_first()?;
                (length >= 0x80).then_some((usize::from(length), rest))?
            }
            0x82 => {
                let (length, rest) = rest.split_first_chunk()?;
                let length = usize::from(u16::from_be_bytes(*length));
                (length >= 0x100).then_some((length, rest))?
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }

    /// The content of the next element, which has to have this tag.
    pub(crate) fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next()
            .filter(|found| found.0 == tag)
            .map(|found| found.1)
    }
}

/// From when to when a certificate is valid, in seconds since 1970.
pub(crate) fn validity(certificate: &[u8]) -> Option<(u64, u64)> {
    let mut certificate = Der::new(Der::new(certificate).expect(SEQUENCE)?);
    let mut tbs = Der::new(certificate.expect(SEQUENCE)?);
    tbs.expect(CONTEXT_0)?; // version
    tbs.expect(INTEGER)?; // serial
    tbs.expect(SEQUENCE)?; // algorithm
    tbs.expect(SEQUENCE)?; // issuer
    let mut validity = Der::new(tbs.expect(SEQUENCE)?);
    let times = (time(&mut validity)?, time(&mut validity)?);
    validity.is_empty().then_some(times)
}

/// The common name of a subject that has nothing else.
pub(crate) fn common_name(subject: &[u8]) -> Option<&str> {
    const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
    let mut subject = Der::new(subject);
    let mut set = Der::new(subject.expect(SET)?);
    let mut attribute = Der::new(set.expect(SEQUENCE)?);
    let is_name = attribute.expect(OID)? == COMMON_NAME;
    let text = std::str::from_utf8(attribute.expect(UTF8_STRING)?).ok()?;
    let is_all = subject.is_empty() && set.is_empty() && attribute.is_empty();
    (is_name && is_all).then_some(text)
}

fn time(der: &mut Der<'_>) -> Option<u64> {
    let (tag, text) = der.next()?;
    let (year, rest) = match tag {
        UTC_TIME => {
            let (year, rest) = digits(text, 2)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => digits(text, 4)?,
        _ => return None,
    };
    let (month, rest) = digits(rest, 2)?;
    let (day, rest) = digits(rest, 2)?;
    let (hour, rest) = digits(rest, 2)?;
    let (minute, rest) = digits(rest, 2)?;
    let (second, rest) = digits(rest, 2)?;
    let is_time = (1..=12).contains(&month) && (1..=31).contains(&day);
    if rest != b"Z" || !is_time || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let days = u64::try_from(days_since_1970(year, month, day)).ok()?;
    let [hour, minute, second] = [hour, minute, second].map(i64::unsigned_abs);
    Some(days * 86_400 + hour * 3_600 + minute * 60 + second)
}

fn digits(text: &[u8], count: usize) -> Option<(i64, &[u8])> {
    let (number, rest) = text.split_at_checked(count)?;
    let number = number.iter().try_fold(0, |number, digit| {
        digit
            .is_ascii_digit()
            .then(|| number * 10 + i64::from(digit - b'0'))
    })?;
    Some((number, rest))
}

/// Howard Hinnant's days from civil: years begin in March, so that the leap day is the last.
const fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (tag, text, seconds) in [
            (UTC_TIME, "700101000000Z", 0),
            (UTC_TIME, "000229000000Z", 951_782_400),
            (UTC_TIME, "491231235959Z", 2_524_607_999),
            (GENERALIZED_TIME, "20500101000000Z", 2_524_608_000),
            (GENERALIZED_TIME, "40960101000000Z", 67_090_118_400),
        ] {
            let der = [&[tag, text.len() as u8], text.as_bytes()].concat();
            assert_eq!(time(&mut Der::new(&der)), Some(seconds), "{text}");
        }
        for text in [
            "7001010000Z",
            "701301000000Z",
            "700101240000Z",
            "70010100000aZ",
            "690101000000Z",
        ] {
            let der = [&[UTC_TIME, text.len() as u8], text.as_bytes()].concat();
            assert_eq!(time(&mut Der::new(&der)), None, "{text}");
        }
    }

    #[test]
    fn lengths_are_shortest_and_inside() {
        assert!(Der::new(b"\x30\x00").expect(SEQUENCE).is_some());
        for bad in [
            &b"\x30\x01"[..],
            b"\x30\x81\x01a",
            b"\x30\x80",
            b"\x30\x82\x00\x01a",
            b"\x30",
            b"",
        ] {
            assert!(Der::new(bad).next().is_none(), "{bad:02x?}");
        }
    }
}
