//! Dates and times, ranges, paths, arrays, and instances of classes.

use super::{Printer, float_text};
use crate::value::{Array, ArrayItem, DateTime, Instance, Path, PathClass, Range, Text, Time};
use crate::value::{TimeDelta, TimeZone, TypeCode, Value, Zone};

impl Printer {
    pub(super) fn date_time(&mut self, value: &DateTime) {
        let date = value.date;
        let (year, month, day) = (date.year(), date.month(), date.day());
        self.format(format_args!("datetime.datetime({year}, {month}, {day}, "));
        self.clock(&value.time);
        self.fold(&value.time);
        self.zone(&value.time);
        self.text(")");
    }

    /// Python writes the zone of a time before its fold, that of a date and time after it.
    pub(super) fn time(&mut self, time: &Time) {
        self.text("datetime.time(");
        self.clock(time);
        self.zone(time);
        self.fold(time);
        self.text(")");
    }

    fn clock(&mut self, time: &Time) {
        let ([hour, minute, second], microsecond) = (time.clock(), time.microsecond());
        self.format(format_args!("{hour}, {minute}"));
        if second != 0 || microsecond != 0 {
            self.format(format_args!(", {second}"));
        }
        if microsecond != 0 {
            self.format(format_args!(", {microsecond}"));
        }
    }

    fn fold(&mut self, time: &Time) {
        if time.fold {
            self.text(", fold=1");
        }
    }

    fn zone(&mut self, time: &Time) {
        if let Some(zone) = &time.zone {
            self.text(", tzinfo=");
            match zone {
                Zone::Fixed(zone) => self.time_zone(zone),
                Zone::Named(key) => self.zone_info(key),
            }
        }
    }

    pub(super) fn time_delta(&mut self, delta: TimeDelta) {
        let days = ("days", i64::from(delta.days()));
        let seconds = ("seconds", i64::from(delta.seconds()));
        let microseconds = ("microseconds", i64::from(delta.microseconds()));
        let parts = [days, seconds, microseconds]
            .into_iter()
            .filter(|(_, number)| *number != 0);
        let mut parts = parts.peekable();
        self.wrapped("datetime.timedelta(", ")", |p| match parts.peek() {
            None => p.text("0"),
            Some(_) => p.separated(parts, |p, (name, number)| {
                p.format(format_args!("{name}={number}"))
            }),
        });
    }

    pub(super) fn time_zone(&mut self, zone: &TimeZone) {
        if *zone == TimeZone::utc() {
            return self.text("datetime.timezone.utc");
        }
        self.wrapped("datetime.timezone(", ")", |p| {
            p.time_delta(TimeDelta::from_microseconds(zone.offset_us()));
            if let Some(name) = zone.name() {
                p.text(", ");
                p.quoted(name.code_points());
            }
        });
    }

    pub(super) fn zone_info(&mut self, key: &str) {
        self.wrapped("zoneinfo.ZoneInfo(key=", ")", |p| {
            p.quoted(key.chars().map(u32::from))
        });
    }

    pub(super) fn range(&mut self, range: &Range) {
        match range.parts() {
            [start, stop, step] if step.as_i64() == Some(1) => self.ints("range", &[start, stop]),
            parts => self.ints("range", &parts),
        }
    }

    pub(super) fn path(&mut self, path: &Path) {
        let is_windows = matches!(path.class(), PathClass::Windows | PathClass::PureWindows);
        let slashes = |point| {
            if is_windows && point == u32::from('\\') {
                u32::from('/')
            } else {
                point
            }
        };
        self.text(path.class().name());
        self.wrapped("(", ")", |p| {
            p.quoted(path.text().code_points().map(slashes))
        });
    }

    pub(super) fn array(&mut self, array: &Array) {
        self.format(format_args!("array('{}'", array.code().letter()));
        if !array.is_empty() {
            self.text(", ");
            if matches!(array.code(), TypeCode::CodeUnit | TypeCode::CodePoint) {
                self.quoted(array.items().map(|item| match item {
                    ArrayItem::CodePoint(point) => point,
                    _ => 0,
                }));
            } else {
                self.wrapped("[", "]", |p| p.separated(array.items(), Self::array_item));
            }
        }
        self.text(")");
    }

    fn array_item(&mut self, item: ArrayItem) {
        match item {
            ArrayItem::Signed(int) => self.format(format_args!("{int}")),
            ArrayItem::Unsigned(int) => self.format(format_args!("{int}")),
            ArrayItem::Float(float) => self.text(&float_text(float)),
            ArrayItem::CodePoint(point) => self.quoted(std::iter::once(point)),
        }
    }

    pub(super) fn enum_member(&mut self, member: &Instance<Value>) {
        self.format(format_args!("<{}: ", member.class.name()));
        self.value(&member.content);
        self.text(">");
    }

    pub(super) fn data_class(&mut self, object: &Instance<Vec<(Text, Value)>>) {
        self.text(&object.class.qualname);
        self.wrapped("(", ")", |p| p.attributes(&object.content));
    }

    pub(super) fn object(&mut self, object: &Instance<Vec<(Text, Value)>>) {
        self.format(format_args!("<{} object", object.class));
        if !object.content.is_empty() {
            self.text(": ");
            self.attributes(&object.content);
        }
        self.text(">");
    }

    fn attributes(&mut self, attributes: &[(Text, Value)]) {
        self.separated(attributes, |p, (name, value)| {
            p.format(format_args!("{name}="));
            p.value(value);
        });
    }

    pub(super) fn exception(&mut self, object: &Instance<Vec<Value>>) {
        let open = format!("{}(", object.class.name());
        self.wrapped(&open, ")", |p| p.items(&object.content));
    }
}
