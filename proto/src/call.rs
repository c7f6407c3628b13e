//! A call: the arguments of one task.

use crate::cbor;
use crate::value::{EncodeError, Value};

/// The arguments of one call of a function.
///
/// For a script `args` are the strings of `sys.argv[1:]` and `kwargs` is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// Positional arguments.
    pub args: Vec<Value>,
    /// Keyword arguments, in the order in which the function sees them.
    pub kwargs: Vec<(String, Value)>,
}

impl Call {
    /// A call without arguments.
    pub fn new() -> Self {
        Self::default()
    }

    /// A call with positional arguments.
    pub fn with_args<T: Into<Value>>(args: impl IntoIterator<Item = T>) -> Self {
        Self {
            args: args.into_iter().map(Into::into).collect(),
            kwargs: Vec::new(),
        }
    }

    /// The same call with one more keyword argument.
    #[must_use]
    pub fn with_kwarg(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.kwargs.push((name.into(), value.into()));
        self
    }

    /// The message for the guest's `ppwasm_call`.
    ///
    /// # Errors
    ///
    /// When an argument cannot be encoded, or a name occurs twice.
    pub fn to_bytes(&self) -> Result<Vec<u8>, EncodeError> {
        let mut out = Vec::new();
        cbor::array(&mut out, 2);
        cbor::array(&mut out, self.args.len());
        for value in &self.args {
            value.encode_to(&mut out)?;
        }
        cbor::map(&mut out, self.kwargs.len());
        let mut names = std::collections::HashSet::new();
        for (name, value) in &self.kwargs {
            if !names.insert(name) {
                return Err(EncodeError::DuplicateKey);
            }
            cbor::text(&mut out, name);
            value.encode_to(&mut out)?;
        }
        Ok(out)
    }
}
