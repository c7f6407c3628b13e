//! What can be wrong with JSON that shall become a value, and where.

use std::fmt;

use super::JSON_NESTING_MAX;
use crate::value::{DIGITS_MAX, EncodeError, InvalidValue};

/// Why a text is no value's JSON.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ParseJsonError {
    /// It is no JSON.
    #[error("not JSON at line {line}, column {column}")]
    Syntax {
        /// The line, from 1.
        line: usize,
        /// The column in bytes, from 1; 0 before the first.
        column: usize,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// It is nested too deep.
    #[error("nested more than {JSON_NESTING_MAX} levels deep at line {line}, column {column}")]
    TooDeep {
        /// The line, from 1.
        line: usize,
        /// The column in bytes, from 1.
        column: usize,
    },
    /// It is JSON, but not a value's.
    #[error(transparent)]
    Value(#[from] JsonError),
}

impl ParseJsonError {
    pub(super) fn syntax(source: serde_json::Error) -> Self {
        Self::Syntax {
            line: source.line(),
            column: source.column(),
            source,
        }
    }
}

/// Why JSON is no value's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonError {
    /// The way to the place, from the inside out.
    steps: Vec<JsonStep>,
    /// What is wrong there.
    kind: JsonErrorKind,
}

impl JsonError {
    /// What is wrong.
    pub const fn kind(&self) -> &JsonErrorKind {
        &self.kind
    }

    /// The way to the place from the top.
    pub fn steps(&self) -> impl Iterator<Item = &JsonStep> {
        self.steps.iter().rev()
    }

    pub(super) fn within(mut self, step: JsonStep) -> Self {
        self.steps.push(step);
        self
    }
}

impl From<JsonErrorKind> for JsonError {
    fn from(kind: JsonErrorKind) -> Self {
        Self {
            steps: Vec::new(),
            kind,
        }
    }
}

impl From<InvalidValue> for JsonError {
    fn from(error: InvalidValue) -> Self {
        JsonErrorKind::Invalid(error).into()
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        let mut before = ", at ";
        for step in self.steps() {
            f.write_str(before)?;
            match step {
                JsonStep::Item(index) => write!(f, "[{index}]")?,
                JsonStep::Member(name) => write!(f, "[{name:?}]")?,
            }
            before = "";
        }
        Ok(())
    }
}

impl std::error::Error for JsonError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.kind {
            JsonErrorKind::Elements(error) => Some(error),
            _ => None,
        }
    }
}

/// One step into JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JsonStep {
    /// Into an array.
    Item(usize),
    /// Into an object.
    Member(String),
}

/// What is wrong at a place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonErrorKind {
    /// More than [`JSON_NESTING_MAX`] levels.
    #[error("nested more than {JSON_NESTING_MAX} levels deep")]
    TooDeep,
    /// An integer of more than [`DIGITS_MAX`] digits.
    #[error("the integer has more than {DIGITS_MAX} digits")]
    LongInt,
    /// A `$type` that no value has.
    #[error("unknown $type {0:?}")]
    UnknownType(String),
    /// A tagged object lacks a member.
    #[error("member {0:?} is missing")]
    Missing(&'static str),
    /// A tagged object has a member that it should not have.
    #[error("member {0:?} does not belong here")]
    Extra(String),
    /// Another kind of JSON than its place asks for.
    #[error("expected {0}")]
    Expected(&'static str),
    /// The parts make no value of the type.
    #[error("{0}")]
    Invalid(InvalidValue),
    /// The elements of a set are not distinct or cannot be in one.
    #[error("the elements make no set")]
    Elements(EncodeError),
}
