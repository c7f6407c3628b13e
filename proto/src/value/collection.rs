//! Collections that keep a rule: sets, whose elements have an order and are distinct, `deque` and `defaultdict`.

use super::{EncodeError, InvalidValue, Value};

/// The elements of a `set` or `frozenset`, each once, in the order of their encodings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Elements(Vec<Value>);

impl Elements {
    /// A set's elements, given in any order.
    ///
    /// # Errors
    ///
    /// When one cannot be encoded or cannot be in a set, or two are equal.
    pub fn new(elements: impl IntoIterator<Item = Value>) -> Result<Self, EncodeError> {
        let encode = |element: Value| {
            if element.is_unhashable() {
                return Err(EncodeError::Unhashable);
            }
            Ok((element.encode()?, element))
        };
        let mut encoded: Vec<_> = elements.into_iter().map(encode).collect::<Result<_, _>>()?;
        encoded.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        if encoded.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(EncodeError::DuplicateKey);
        }
        Ok(Self(
            encoded.into_iter().map(|(_, element)| element).collect(),
        ))
    }

    /// Elements whose encodings have been seen to be in order.
    pub(crate) const fn from_sorted(elements: Vec<Value>) -> Self {
        Self(elements)
    }

    /// The elements.
    pub fn as_slice(&self) -> &[Value] {
        &self.0
    }
}

/// A `collections.deque`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Deque {
    items: Vec<Value>,
    len_max: Option<u64>,
}

impl Deque {
    /// `deque(items, len_max)`.
    ///
    /// # Errors
    ///
    /// When there are more items than that.
    pub fn new(items: Vec<Value>, len_max: Option<u64>) -> Result<Self, InvalidValue> {
        let max = len_max.unwrap_or(i64::MAX as u64);
        if items.len() as u64 <= max && max <= i64::MAX as u64 {
            Ok(Self { items, len_max })
        } else {
            Err(InvalidValue("deque"))
        }
    }

    /// The items.
    pub fn items(&self) -> &[Value] {
        &self.items
    }

    /// Python's `maxlen`.
    pub fn len_max(&self) -> Option<u64> {
        self.len_max
    }
}

/// A `collections.defaultdict`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DefaultDict {
    factory: Option<String>,
    /// The items, in insertion order.
    pub items: Vec<(Value, Value)>,
}

impl DefaultDict {
    /// A `defaultdict` whose missing values are made by the builtin type of that name.
    ///
    /// # Errors
    ///
    /// When that is not the name of a builtin type.
    pub fn new(
        factory: Option<impl Into<String>>,
        items: Vec<(Value, Value)>,
    ) -> Result<Self, InvalidValue> {
        let factory = factory.map(Into::into);
        match &factory {
            Some(name) if !is_builtin_type(name) => Err(InvalidValue("defaultdict")),
            _ => Ok(Self { factory, items }),
        }
    }

    /// The name of the factory.
    pub fn factory(&self) -> Option<&str> {
        self.factory.as_deref()
    }
}

/// Whether Python 3.13 has a builtin type of this name.
fn is_builtin_type(name: &str) -> bool {
    TYPES.split(' ').any(|builtin| builtin == name)
}

/// The names in `builtins` that are the names of the types they stand for.
const TYPES: &str = "\
    ArithmeticError AssertionError AttributeError BaseException BaseExceptionGroup \
    BlockingIOError BrokenPipeError BufferError BytesWarning ChildProcessError \
    ConnectionAbortedError ConnectionError ConnectionRefusedError ConnectionResetError \
    DeprecationWarning EOFError EncodingWarning Exception ExceptionGroup FileExistsError \
    FileNotFoundError FloatingPointError FutureWarning GeneratorExit ImportError ImportWarning \
    IndentationError IndexError InterruptedError IsADirectoryError KeyError KeyboardInterrupt \
    LookupError MemoryError ModuleNotFoundError NameError NotADirectoryError NotImplementedError \
    OSError OverflowError PendingDeprecationWarning PermissionError ProcessLookupError \
    PythonFinalizationError RecursionError ReferenceError ResourceWarning RuntimeError \
    RuntimeWarning StopAsyncIteration StopIteration SyntaxError SyntaxWarning SystemError \
    SystemExit TabError TimeoutError TypeError UnboundLocalError UnicodeDecodeError \
    UnicodeEncodeError UnicodeError UnicodeTranslateError UnicodeWarning UserWarning ValueError \
    Warning ZeroDivisionError _IncompleteInputError bool bytearray bytes classmethod complex \
    dict enumerate filter float frozenset int list map memoryview object property range reversed \
    set slice staticmethod str super tuple type zip";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_sorted_and_distinct() {
        let elements =
            Elements::new([Value::from("b"), 2.into(), Value::from("a"), 1.into()]).unwrap();
        let sorted = [1.into(), 2.into(), Value::from("a"), Value::from("b")];
        assert_eq!(elements.as_slice(), sorted);
        assert_eq!(
            Elements::new([1.into(), 1.into()]),
            Err(EncodeError::DuplicateKey)
        );
        assert_eq!(
            Elements::new([Value::List(Vec::new())]),
            Err(EncodeError::Unhashable)
        );
    }

    #[test]
    fn a_deque_is_no_longer_than_its_limit() {
        assert!(Deque::new(vec![Value::None; 2], Some(2)).is_ok());
        assert!(Deque::new(vec![Value::None; 3], Some(2)).is_err());
        assert!(Deque::new(vec![], Some(u64::MAX)).is_err());
    }

    #[test]
    fn factories_are_builtin_types() {
        for name in ["int", "list", "ValueError", "type"] {
            assert!(DefaultDict::new(Some(name), Vec::new()).is_ok());
        }
        for name in ["", "len", "Counter", "IOError", "None", "int list"] {
            assert!(DefaultDict::new(Some(name), Vec::new()).is_err());
        }
        assert!(DefaultDict::new(None::<&str>, Vec::new()).is_ok());
    }
}
