//! Value to bytes: the one encoding of each.

use std::collections::HashSet;

use super::{Argument, Array, ClassName, EncodeError, Int, NESTING_MAX, Text, Time, TimeZone};
use super::{Value, Zone, tags};
use crate::cbor;

impl Value {
    /// The encoding of the value.
    ///
    /// # Errors
    ///
    /// When it is nested too deep, or a dict has a key twice or one that is unhashable.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let mut out = Vec::new();
        self.encode_to(&mut out)?;
        Ok(out)
    }

    pub(crate) fn encode_to(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        Encoder { out }.value(self, NESTING_MAX)
    }
}

type Encoded = Result<(), EncodeError>;

/// Appends values. `levels` are the arrays and maps that may still be opened.
struct Encoder<'a> {
    out: &'a mut Vec<u8>,
}

impl Encoder<'_> {
    fn value(&mut self, value: &Value, levels: usize) -> Encoded {
        match value {
            Value::None => self.out.push(cbor::NULL),
            Value::Bool(false) => self.out.push(cbor::FALSE),
            Value::Bool(true) => self.out.push(cbor::TRUE),
            Value::Int(int) => self.int(int),
            Value::Float(float) => cbor::float(self.out, float.0.to_bits()),
            Value::Str(text) => self.text(text),
            Value::Bytes(bytes) => cbor::bytes(self.out, bytes),
            Value::ByteArray(bytes) => {
                cbor::tag(self.out, tags::BYTE_ARRAY);
                cbor::bytes(self.out, bytes);
            }
            Value::List(items) => return self.items(items, levels),
            Value::Tuple(items) => return self.tagged(tags::TUPLE).items(items, levels),
            Value::Dict(pairs) => return self.pairs(pairs, levels),
            Value::Set(elements) => {
                return self.tagged(tags::SET).items(elements.as_slice(), levels);
            }
            Value::FrozenSet(elements) => {
                return self
                    .tagged(tags::FROZEN_SET)
                    .items(elements.as_slice(), levels);
            }
            Value::Array(array) => return self.array(array, levels),
            Value::Uuid(uuid) => {
                cbor::tag(self.out, tags::UUID);
                cbor::bytes(self.out, &uuid.0);
            }
            Value::Ellipsis => {
                cbor::tag(self.out, tags::ELLIPSIS);
                self.out.push(cbor::NULL);
            }
            Value::Date(date) => {
                cbor::tag(self.out, tags::DATE);
                cbor::text(self.out, &date.to_string());
            }
            Value::Zone(zone) => return self.zone(zone, levels),
            Value::DateTime(value) => match value.to_offset_text() {
                Some(text) => {
                    cbor::tag(self.out, tags::DATE_TIME);
                    cbor::text(self.out, &text);
                }
                None => {
                    cbor::tag(self.out, tags::LOCAL_DATE_TIME);
                    return self.clock(&value.to_local_text(), &value.time, levels);
                }
            },
            Value::Time(time) => {
                cbor::tag(self.out, tags::TIME);
                return self.clock(&time.to_local_text(), time, levels);
            }
            Value::Complex(_)
            | Value::Decimal(_)
            | Value::Fraction(_)
            | Value::TimeDelta(_)
            | Value::Range(_)
            | Value::Slice(_)
            | Value::Path(_)
            | Value::Enum(_)
            | Value::DataClass(_)
            | Value::NamedTuple(_)
            | Value::Object(_)
            | Value::Exception(_)
            | Value::OrderedDict(_)
            | Value::Counter(_)
            | Value::DefaultDict(_)
            | Value::Deque(_) => return self.with_parts(value, levels),
        }
        Ok(())
    }

    /// A value whose encoding is a tag around an array of a fixed number of parts.
    fn with_parts(&mut self, value: &Value, levels: usize) -> Encoded {
        match value {
            Value::Complex(complex) => {
                self.tagged(tags::COMPLEX).open(2, levels)?;
                cbor::float(self.out, complex.real.0.to_bits());
                cbor::float(self.out, complex.imag.0.to_bits());
            }
            Value::Decimal(decimal) => match decimal.parts() {
                Some((mantissa, exponent)) => {
                    self.tagged(tags::DECIMAL)
                        .ints([&exponent.into(), mantissa], levels)?;
                }
                None => {
                    cbor::tag(self.out, tags::SPECIAL_DECIMAL);
                    cbor::text(self.out, &decimal.to_string());
                }
            },
            Value::Fraction(fraction) => {
                let parts = [fraction.numerator(), fraction.denominator()];
                self.tagged(tags::FRACTION).ints(parts, levels)?;
            }
            Value::TimeDelta(delta) => {
                let within = [delta.seconds(), delta.microseconds()].map(Int::from);
                let parts = [&delta.days().into(), &within[0], &within[1]];
                self.tagged(tags::TIME_DELTA).ints(parts, levels)?;
            }
            Value::Range(range) => self.tagged(tags::RANGE).ints(range.parts(), levels)?,
            Value::Slice(parts) => self.tagged(tags::SLICE).items(&parts[..], levels)?,
            Value::Path(path) => {
                self.tagged(tags::PATH).open(2, levels)?;
                cbor::text(self.out, path.class().name());
                self.text(path.text());
            }
            Value::Enum(member) => {
                let levels = self.class(tags::ENUM, &member.class, levels)?;
                self.value(&member.content, levels)?;
            }
            Value::DataClass(object) => {
                let levels = self.class(tags::DATA_CLASS, &object.class, levels)?;
                self.attributes(&object.content, levels)?;
            }
            Value::NamedTuple(object) => {
                let levels = self.class(tags::NAMED_TUPLE, &object.class, levels)?;
                self.items(&object.content, levels)?;
            }
            Value::Object(object) => {
                let levels = self.class(tags::OBJECT, &object.class, levels)?;
                self.attributes(&object.content, levels)?;
            }
            Value::Exception(object) => {
                let levels = self.class(tags::EXCEPTION, &object.class, levels)?;
                self.items(&object.content, levels)?;
            }
            Value::OrderedDict(pairs) => self.collection("OrderedDict", None, pairs, levels)?,
            Value::Counter(pairs) => self.collection("Counter", None, pairs, levels)?,
            Value::DefaultDict(dict) => {
                self.collection("defaultdict", dict.factory(), &dict.items, levels)?;
            }
            Value::Deque(deque) => {
                let levels = self.tagged(tags::COLLECTION).open(3, levels)?;
                cbor::text(self.out, "deque");
                match deque.len_max() {
                    Some(len_max) => cbor::head(self.out, cbor::UNSIGNED, len_max),
                    None => self.out.push(cbor::NULL),
                }
                self.items(deque.items(), levels)?;
            }
            _ => unreachable!("every other value is encoded by `value`"),
        }
        Ok(())
    }

    fn tagged(&mut self, tag: u64) -> &mut Self {
        cbor::tag(self.out, tag);
        self
    }

    /// Opens an array; the levels that are left inside.
    fn open(&mut self, len: usize, levels: usize) -> Result<usize, EncodeError> {
        let levels = levels.checked_sub(1).ok_or(EncodeError::TooDeep)?;
        cbor::array(self.out, len);
        Ok(levels)
    }

    fn open_map(&mut self, len: usize, levels: usize) -> Result<usize, EncodeError> {
        let levels = levels.checked_sub(1).ok_or(EncodeError::TooDeep)?;
        cbor::map(self.out, len);
        Ok(levels)
    }

    fn int(&mut self, int: &Int) {
        let (is_negative, argument) = int.sign_and_argument();
        match argument {
            Argument::Head(argument) => {
                let major = if is_negative {
                    cbor::NEGATIVE
                } else {
                    cbor::UNSIGNED
                };
                cbor::head(self.out, major, argument);
            }
            Argument::Bytes(bytes) => {
                let tag = if is_negative {
                    tags::NEGATIVE_BIG_INT
                } else {
                    tags::BIG_INT
                };
                cbor::tag(self.out, tag);
                cbor::bytes(self.out, &bytes);
            }
        }
    }

    fn text(&mut self, text: &Text) {
        match text.as_str() {
            Some(text) => cbor::text(self.out, text),
            None => {
                cbor::tag(self.out, tags::SURROGATES);
                cbor::bytes(self.out, text.as_surrogatepass());
            }
        }
    }

    fn ints<const N: usize>(&mut self, ints: [&Int; N], levels: usize) -> Encoded {
        self.open(N, levels)?;
        ints.into_iter().for_each(|int| self.int(int));
        Ok(())
    }

    fn items(&mut self, items: &[Value], levels: usize) -> Encoded {
        let levels = self.open(items.len(), levels)?;
        items.iter().try_for_each(|item| self.value(item, levels))
    }

    fn pairs(&mut self, pairs: &[(Value, Value)], levels: usize) -> Encoded {
        let levels = self.open_map(pairs.len(), levels)?;
        let mut keys = HashSet::new();
        for (key, value) in pairs {
            if key.is_unhashable() {
                return Err(EncodeError::Unhashable);
            }
            if pairs.len() > 1 && !keys.insert(key) {
                return Err(EncodeError::DuplicateKey);
            }
            self.value(key, levels)?;
            self.value(value, levels)?;
        }
        Ok(())
    }

    fn attributes(&mut self, attributes: &[(Text, Value)], levels: usize) -> Encoded {
        let levels = self.open_map(attributes.len(), levels)?;
        let mut names = HashSet::new();
        for (name, value) in attributes {
            if !names.insert(name) {
                return Err(EncodeError::DuplicateKey);
            }
            self.text(name);
            self.value(value, levels)?;
        }
        Ok(())
    }

    fn array(&mut self, array: &Array, levels: usize) -> Encoded {
        if let Some(tag) = array.code().tag() {
            cbor::tag(self.out, tag);
        } else {
            self.tagged(tags::ARRAY).open(3, levels)?;
            cbor::text(self.out, array.code().letter().encode_utf8(&mut [0; 4]));
            cbor::head(self.out, cbor::UNSIGNED, array.item_bytes() as u64);
        }
        cbor::bytes(self.out, array.as_bytes());
        Ok(())
    }

    /// The parts of a time or date and time: local text, fold, zone.
    fn clock(&mut self, text: &str, time: &Time, levels: usize) -> Encoded {
        let levels = self.open(3, levels)?;
        cbor::text(self.out, text);
        cbor::head(self.out, cbor::UNSIGNED, time.fold.into());
        match &time.zone {
            Some(zone) => self.zone(zone, levels),
            None => {
                self.out.push(cbor::NULL);
                Ok(())
            }
        }
    }

    fn zone(&mut self, zone: &Zone, levels: usize) -> Encoded {
        match zone {
            Zone::Fixed(zone) => self.time_zone(zone, levels),
            Zone::Named(key) => {
                cbor::tag(self.out, tags::ZONE_INFO);
                cbor::text(self.out, key);
                Ok(())
            }
        }
    }

    fn time_zone(&mut self, zone: &TimeZone, levels: usize) -> Encoded {
        self.tagged(tags::TIME_ZONE).open(2, levels)?;
        self.int(&zone.offset_us().into());
        match zone.name() {
            Some(name) => self.text(name),
            None => self.out.push(cbor::NULL),
        }
        Ok(())
    }

    /// Tag, array and names of an instance; the levels that are left for its content.
    fn class(&mut self, tag: u64, class: &ClassName, levels: usize) -> Result<usize, EncodeError> {
        let levels = self.tagged(tag).open(3, levels)?;
        cbor::text(self.out, &class.module);
        cbor::text(self.out, &class.qualname);
        Ok(levels)
    }

    fn collection(
        &mut self,
        class: &str,
        extra: Option<&str>,
        pairs: &[(Value, Value)],
        levels: usize,
    ) -> Encoded {
        let levels = self.tagged(tags::COLLECTION).open(3, levels)?;
        cbor::text(self.out, class);
        match extra {
            Some(extra) => cbor::text(self.out, extra),
            None => self.out.push(cbor::NULL),
        }
        self.pairs(pairs, levels)
    }
}
