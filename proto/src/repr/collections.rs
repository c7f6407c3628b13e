//! Dicts, sets and what `collections` has.

use std::cmp::Ordering;

use super::Printer;
use crate::value::{DefaultDict, Deque, Elements, Value};

impl Printer {
    pub(super) fn dict<'a>(&mut self, pairs: impl Iterator<Item = &'a (Value, Value)>) {
        self.wrapped("{", "}", |p| {
            p.separated(pairs, |p, (key, value)| {
                p.value(key);
                p.text(": ");
                p.value(value);
            });
        });
    }

    pub(super) fn set(&mut self, elements: &Elements) {
        match elements.as_slice() {
            [] => self.text("set()"),
            elements => self.wrapped("{", "}", |p| p.items(elements)),
        }
    }

    pub(super) fn frozenset(&mut self, elements: &Elements) {
        match elements.as_slice() {
            [] => self.text("frozenset()"),
            elements => self.wrapped("frozenset({", "})", |p| p.items(elements)),
        }
    }

    pub(super) fn ordered_dict(&mut self, pairs: &[(Value, Value)]) {
        match pairs {
            [] => self.text("OrderedDict()"),
            pairs => self.wrapped("OrderedDict(", ")", |p| p.dict(pairs.iter())),
        }
    }

    /// A `Counter` prints the largest counts first, if they can be compared.
    pub(super) fn counter(&mut self, pairs: &[(Value, Value)]) {
        if pairs.is_empty() {
            return self.text("Counter()");
        }
        let mut sorted: Vec<_> = pairs.iter().collect();
        if let Some(counts) = pairs
            .iter()
            .map(|(_, count)| Count::of(count))
            .collect::<Option<Vec<_>>>()
        {
            let mut order: Vec<_> = (0..pairs.len()).collect();
            order.sort_by(|one, other| counts[*other].compare(&counts[*one]));
            sorted = order.into_iter().map(|index| &pairs[index]).collect();
        }
        self.wrapped("Counter(", ")", |p| p.dict(sorted.into_iter()));
    }

    pub(super) fn deque(&mut self, deque: &Deque) {
        self.text("deque(");
        self.list(deque.items());
        if let Some(len_max) = deque.len_max() {
            self.format(format_args!(", maxlen={len_max}"));
        }
        self.text(")");
    }

    pub(super) fn default_dict(&mut self, dict: &DefaultDict) {
        match dict.factory() {
            Some(factory) => self.format(format_args!("defaultdict(<class '{factory}'>, ")),
            None => self.text("defaultdict(None, "),
        }
        self.dict(dict.items.iter());
        self.text(")");
    }
}

/// A count that can be compared with others: an `int` of usual size or a `float` that is a number.
#[derive(Clone, Copy)]
enum Count {
    Int(i64),
    Float(f64),
}

impl Count {
    fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Bool(value) => Some(Self::Int(i64::from(*value))),
            Value::Int(int) => int.as_i64().map(Self::Int),
            Value::Float(float) if !float.0.is_nan() => Some(Self::Float(float.0)),
            _ => None,
        }
    }

    fn compare(&self, other: &Self) -> Ordering {
        match (*self, *other) {
            (Self::Int(one), Self::Int(other)) => one.cmp(&other),
            (Self::Float(one), Self::Float(other)) => {
                one.partial_cmp(&other).unwrap_or(Ordering::Equal)
            }
            (Self::Int(one), Self::Float(other)) => compare_mixed(one, other),
            (Self::Float(one), Self::Int(other)) => compare_mixed(other, one).reverse(),
        }
    }
}

/// Compares by value, without rounding the integer. The float is no NaN.
fn compare_mixed(int: i64, float: f64) -> Ordering {
    // Saturates, which is right for floats beyond the integers.
    let whole = float.trunc() as i64;
    let is_beyond = float.abs() >= -(i64::MIN as f64);
    match int.cmp(&whole) {
        _ if is_beyond && float > 0.0 => Ordering::Less,
        _ if float < i64::MIN as f64 => Ordering::Greater,
        Ordering::Equal => 0.0.partial_cmp(&float.fract()).unwrap_or(Ordering::Equal),
        order => order,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_compare_by_value() {
        assert_eq!(compare_mixed(1, 1.0), Ordering::Equal);
        assert_eq!(compare_mixed(1, 1.5), Ordering::Less);
        assert_eq!(compare_mixed(-1, -1.5), Ordering::Greater);
        assert_eq!(
            compare_mixed(i64::MAX, 9_223_372_036_854_775_808.0),
            Ordering::Less
        );
        assert_eq!(
            compare_mixed(i64::MIN, -9_223_372_036_854_775_808.0),
            Ordering::Equal
        );
        assert_eq!(
            compare_mixed(i64::MIN, f64::NEG_INFINITY),
            Ordering::Greater
        );
        assert_eq!(
            compare_mixed((1 << 53) + 1, 9_007_199_254_740_992.0),
            Ordering::Greater
        );
    }
}
