//! Random values survive every round trip, and no bytes make a decoder panic.

use num_bigint::BigInt;
use ppwasm_proto::value::{
    Array, ClassName, Complex, Date, DateTime, Decimal, DefaultDict, Deque, Elements, Float,
    Fraction, Instance, Path, PathClass, Range, Text, Time, TimeDelta, TimeZone, TypeCode, Uuid,
    Zone,
};
use ppwasm_proto::{Call, FunctionBundle, Reply, Value};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::golden::encodings;

fn text() -> impl Strategy<Value = Text> {
    prop_oneof![
        4 => any::<String>().prop_map(Text::from),
        1 => any::<String>().prop_map(|before| {
            let bytes = [before.as_bytes(), b"\xed\xb2\x80"].concat();
            Text::from_surrogatepass(bytes).unwrap()
        }),
    ]
}

fn big_int() -> impl Strategy<Value = BigInt> {
    vec(any::<u8>(), 0..20).prop_map(|bytes| BigInt::from_signed_bytes_le(&bytes))
}

fn float() -> impl Strategy<Value = Float> {
    any::<u64>().prop_map(|bits| Float(f64::from_bits(bits)))
}

fn zone() -> impl Strategy<Value = Zone> {
    let fixed = |(offset_us, name)| Zone::Fixed(TimeZone::new(offset_us, name).unwrap());
    let minutes = (-1439..1440i64).prop_map(|minutes| (minutes * 60_000_000, None));
    let odd = (
        -86_399_999_999..86_400_000_000i64,
        proptest::option::of(text()),
    );
    prop_oneof![
        minutes.prop_map(fixed),
        odd.prop_map(fixed),
        "[A-Z][a-z]+/[A-Z][a-z]+".prop_map(Zone::Named),
    ]
}

fn time() -> impl Strategy<Value = Time> {
    let clock = (
        0..24u8,
        0..60u8,
        0..60u8,
        prop_oneof![Just(0), 0..1_000_000u32],
    );
    (clock, any::<bool>(), proptest::option::of(zone())).prop_map(|((h, m, s, us), fold, zone)| {
        Time::new(h, m, s, us).unwrap().with_zone(fold, zone)
    })
}

fn date() -> impl Strategy<Value = Date> {
    (1..10_000u16, 1..13u8, 1..29u8).prop_map(|(y, m, d)| Date::new(y, m, d).unwrap())
}

fn decimal() -> impl Strategy<Value = Decimal> {
    prop_oneof![
        (big_int(), -30..30i64).prop_map(|(mantissa, e)| Decimal::new(mantissa, e).unwrap()),
        (-30..30i64).prop_map(|exponent| Decimal::negative_zero(exponent).unwrap()),
        "-?(s?NaN([1-9][0-9]{0,5})?|Infinity)".prop_map(|text| text.parse().unwrap()),
    ]
}

fn array() -> impl Strategy<Value = Array> {
    let code = proptest::sample::select(vec!["b", "H", "i", "Q", "f", "d", "l", "u"]);
    (code, vec(any::<u8>(), 0..64)).prop_map(|(code, mut bytes)| {
        let code = TypeCode::from_letter(code).unwrap();
        let size = code.item_sizes()[0];
        bytes.truncate(bytes.len() / size * size);
        Array::new(code, size, bytes).unwrap()
    })
}

/// Values that can be keys, but for containers of them.
fn hashable() -> impl Strategy<Value = Value> {
    let numbers = prop_oneof![
        any::<i64>().prop_map(Value::from),
        big_int().prop_map(Value::from),
        float().prop_map(Value::Float),
        (float(), float()).prop_map(|(real, imag)| Complex { real, imag }.into()),
        decimal().prop_map(Value::from),
        (any::<i64>(), 1..2u64).prop_map(|(n, d)| Fraction::new(n, d).unwrap().into()),
        (big_int(), big_int()).prop_map(|(a, b)| Range::new(a, b, -3).unwrap().into()),
    ];
    let times = prop_oneof![
        date().prop_map(Value::from),
        time().prop_map(Value::from),
        (date(), time()).prop_map(|(date, time)| DateTime::new(date, time).into()),
        any::<i64>().prop_map(|us| TimeDelta::from_microseconds(us).into()),
        zone().prop_map(Value::from),
    ];
    prop_oneof![
        Just(Value::None),
        Just(Value::Ellipsis),
        any::<bool>().prop_map(Value::from),
        numbers,
        times,
        text().prop_map(Value::from),
        vec(any::<u8>(), 0..40).prop_map(Value::from),
        any::<[u8; 16]>().prop_map(|bytes| Uuid(bytes).into()),
        "[a-c]/[.a]b".prop_map(|text| Path::new(PathClass::Posix, text).unwrap().into()),
    ]
}

fn unhashable() -> impl Strategy<Value = Value> {
    prop_oneof![
        vec(any::<u8>(), 0..40).prop_map(Value::ByteArray),
        array().prop_map(Value::from),
    ]
}

fn distinct<T: std::hash::Hash + Eq + Clone, V>(pairs: Vec<(T, V)>) -> Vec<(T, V)> {
    let mut seen = std::collections::HashSet::new();
    pairs
        .into_iter()
        .filter(|(key, _)| seen.insert(key.clone()))
        .collect()
}

fn container(
    inner: impl Strategy<Value = Value> + Clone + 'static,
) -> impl Strategy<Value = Value> {
    let class = || {
        ("[a-z.]{1,8}", "[A-Z][a-z.]{0,8}").prop_map(|(module, name)| ClassName::new(module, name))
    };
    let items = || vec(inner.clone(), 0..6);
    let pairs = || vec((hashable(), inner.clone()), 0..6).prop_map(distinct);
    let names = || vec((any::<String>(), inner.clone()), 0..6).prop_map(distinct);
    let attributes = || vec((text(), inner.clone()), 0..6).prop_map(distinct);
    let elements = || {
        let keys = vec((hashable(), Just(())), 0..6).prop_map(distinct);
        keys.prop_map(|keys| Elements::new(keys.into_iter().map(|(key, ())| key)).unwrap())
    };
    let plain = prop_oneof![
        items().prop_map(Value::List),
        items().prop_map(Value::Tuple),
        pairs().prop_map(Value::Dict),
        names().prop_map(Value::dict),
        elements().prop_map(Value::Set),
        elements().prop_map(Value::FrozenSet),
        (inner.clone(), inner.clone()).prop_map(|(a, b)| Value::Slice(Box::new([
            a,
            b,
            Value::None
        ]))),
    ];
    let collections = prop_oneof![
        pairs().prop_map(Value::OrderedDict),
        pairs().prop_map(Value::Counter),
        items().prop_map(|items| Deque::new(items, None).unwrap().into()),
        items().prop_map(|items| Deque::new(items, Some(9)).unwrap().into()),
        pairs().prop_map(|pairs| DefaultDict::new(Some("list"), pairs).unwrap().into()),
        pairs().prop_map(|pairs| DefaultDict::new(None::<&str>, pairs).unwrap().into()),
    ];
    let boxed = |class, content| Box::new(Instance::new(class, content));
    let instances = prop_oneof![
        (class(), inner.clone())
            .prop_map(|(c, value)| Value::Enum(Box::new(Instance::new(c, value)))),
        (class(), attributes()).prop_map(|(c, a)| Value::DataClass(Box::new(Instance::new(c, a)))),
        (class(), attributes()).prop_map(|(c, a)| Value::Object(Box::new(Instance::new(c, a)))),
        (class(), items()).prop_map(move |(c, items)| Value::NamedTuple(boxed(c, items))),
        (class(), items()).prop_map(move |(c, items)| Value::Exception(boxed(c, items))),
    ];
    prop_oneof![plain, collections, instances]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![4 => hashable(), 1 => unhashable()];
    leaf.prop_recursive(4, 40, 6, |inner| container(inner).boxed())
}

/// One small change of some bytes.
#[derive(Clone, Debug)]
enum Change {
    Flip(usize, u8),
    Remove(usize),
    Insert(usize, u8),
    Truncate(usize),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let len = bytes.len().max(1);
        match *self {
            Self::Flip(at, bits) => bytes
                .iter_mut()
                .skip(at % len)
                .take(1)
                .for_each(|b| *b ^= bits),
            Self::Remove(at) => drop(bytes.drain(at % len..(at % len + 1).min(bytes.len()))),
            Self::Insert(at, byte) => bytes.insert(at % len, byte),
            Self::Truncate(at) => bytes.truncate(at % len),
        }
    }
}

fn change() -> impl Strategy<Value = Change> {
    let at = || any::<u16>().prop_map(usize::from);
    prop_oneof![
        4 => (at(), 1..=255u8).prop_map(|(at, bits)| Change::Flip(at, bits)),
        1 => at().prop_map(Change::Remove),
        2 => (at(), any::<u8>()).prop_map(|(at, byte)| Change::Insert(at, byte)),
        1 => at().prop_map(Change::Truncate),
    ]
}

/// Whatever bytes are: when they are a value, then its one encoding, and it prints.
fn check_bytes(bytes: &[u8]) {
    if let Ok(value) = Value::decode(bytes) {
        assert_eq!(value.encode().as_deref(), Ok(bytes));
        assert_eq!(Value::from_json(&value.to_json()), Ok(value.clone()));
        assert!(!value.to_python_repr().is_empty());
    }
    if let Ok(bundle) = FunctionBundle::from_bytes(bytes) {
        assert_eq!(bundle.to_bytes(), bytes);
    }
    drop(Reply::from_bytes(bytes));
}

fn messages() -> Vec<Vec<u8>> {
    let bundle = FunctionBundle::function("job", "job.py", "def f(): pass\n", "f").unwrap();
    let bundle = bundle
        .with_package("helpers", "helpers/__init__.py", "")
        .unwrap();
    let bundle = bundle.with_captured("n", Value::tuple([1, 2])).unwrap();
    let call = Call::with_args([1, 2]).with_kwarg("key", "value");
    let raised = b"\x82\x01\xa5dtypeaEgmessagebxydnotes\x81anitraceback`iexit_code\xf6";
    vec![bundle.to_bytes(), call.to_bytes().unwrap(), raised.to_vec()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn values_survive_encoding(value in value()) {
        let bytes = value.encode().unwrap();
        prop_assert_eq!(Value::decode(&bytes), Ok(value));
    }

    #[test]
    fn values_survive_json(value in value()) {
        let text = value.to_json().to_string();
        prop_assert_eq!(Value::from_json_text(&text).unwrap(), value);
    }

    #[test]
    fn every_start_of_an_encoding_is_refused(value in value(), at in any::<proptest::sample::Index>()) {
        let bytes = value.encode().unwrap();
        prop_assert!(Value::decode(&bytes[..at.index(bytes.len())]).is_err());
    }

    #[test]
    fn random_bytes_do_no_harm(bytes in vec(any::<u8>(), 0..200)) {
        check_bytes(&bytes);
    }

    #[test]
    fn random_json_does_no_harm(text in r#"[\[\]{},:"$a-z0-9.\\ -]{0,60}"#) {
        drop(Value::from_argument(&text));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn changed_bytes_do_no_harm(which in any::<proptest::sample::Index>(), changes in vec(change(), 1..4)) {
        thread_local! {
            static SEEDS: Vec<Vec<u8>> = [encodings(), messages()].concat();
        }
        let mut bytes = SEEDS.with(|seeds| seeds[which.index(seeds.len())].clone());
        changes.iter().for_each(|change| change.apply(&mut bytes));
        check_bytes(&bytes);
    }
}
