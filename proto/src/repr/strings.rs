//! `str` and `bytes` between quotes.

use super::Printer;
use super::printable::is_printable;

impl Printer {
    /// Text, given by its code points, which may be lone surrogates.
    pub(super) fn quoted(&mut self, points: impl Iterator<Item = u32>) {
        let points: Vec<u32> = points.collect();
        let has = |c: char| points.contains(&u32::from(c));
        let quote = quote_for(has('\''), has('"'));
        self.out.push(quote);
        for point in points {
            match char::from_u32(point) {
                Some(c) if c == quote || c == '\\' => self.escape(c),
                Some('\n') => self.escape('n'),
                Some('\r') => self.escape('r'),
                Some('\t') => self.escape('t'),
                Some(c) if is_printable(c) => self.out.push(c),
                _ if point <= 0xff => self.format(format_args!("\\x{point:02x}")),
                _ if point <= 0xffff => self.format(format_args!("\\u{point:04x}")),
                _ => self.format(format_args!("\\U{point:08x}")),
            }
        }
        self.out.push(quote);
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        let quote = quote_for(bytes.contains(&b'\''), bytes.contains(&b'"'));
        self.out.push('b');
        self.out.push(quote);
        for byte in bytes {
            match char::from(*byte) {
                c if c == quote || c == '\\' => self.escape(c),
                '\n' => self.escape('n'),
                '\r' => self.escape('r'),
                '\t' => self.escape('t'),
                c @ ' '..='~' => self.out.push(c),
                _ => self.format(format_args!("\\x{byte:02x}")),
            }
        }
        self.out.push(quote);
    }

    fn escape(&mut self, c: char) {
        self.out.push('\\');
        self.out.push(c);
    }
}

/// Single quotes, unless only those would need to be escaped.
const fn quote_for(has_single: bool, has_double: bool) -> char {
    if has_single && !has_double { '"' } else { '\'' }
}
