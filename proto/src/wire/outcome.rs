//! Payloads and how tasks ended, as they are on the wire.
//!
//! An outcome is encoded once, by the worker, and stays as it is through store and coordinator to the client: they look
//! only at its [`OutcomeKind`](crate::fabric::OutcomeKind), which travels beside it.

use minicbor::{Decode, Encode};

use super::error::{FieldError, WireError};
use super::limited::Bytes;
use super::{INLINE_BYTES_MAX, structure};
use crate::digest::Digest;
use crate::limits::LimitKind;
use crate::outcome::{EncodedValue, Exception, Outcome, TrapCause};

/// Bytes that are here, or the name of the blob that they are.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Payload {
    /// The bytes.
    #[n(0)]
    Inline(#[n(0)] Bytes<INLINE_BYTES_MAX>),
    /// A blob; the receiver gets it on a stream of its own.
    #[n(1)]
    Blob(#[n(0)] BlobRef),
}

impl Payload {
    /// No bytes.
    pub fn empty() -> Self {
        Self::Inline(Bytes::default())
    }

    /// How many bytes it stands for.
    pub fn byte_count(&self) -> u64 {
        match self {
            Self::Inline(bytes) => bytes.len() as u64,
            Self::Blob(blob) => blob.bytes,
        }
    }
}

/// The name and size of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(map)]
pub struct BlobRef {
    /// Digest of its bytes.
    #[n(0)]
    pub digest: Digest,
    /// How many there are.
    #[n(1)]
    pub bytes: u64,
}

impl BlobRef {
    /// The reference to these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self {
            digest: Digest::of(bytes),
            bytes: bytes.len() as u64,
        }
    }
}

/// The bytes of an outcome, as they are stored and sent.
pub fn encode_outcome(outcome: &Outcome) -> Vec<u8> {
    let outcome = match outcome {
        Outcome::Succeeded { value } => Encoded::Succeeded {
            value: value.as_bytes().into(),
        },
        Outcome::Raised(exception) => Encoded::Raised {
            type_name: exception.type_name.clone(),
            message: exception.message.clone(),
            traceback: exception.traceback.clone(),
            notes: exception.notes.clone(),
            exit_code: exception.exit_code,
        },
        Outcome::Trapped { cause } => {
            let (cause, exit_code) = trap_number(*cause);
            Encoded::Trapped { cause, exit_code }
        }
        Outcome::LimitExceeded { limit, allowed } => Encoded::LimitExceeded {
            limit: limit_number(*limit),
            allowed: *allowed,
        },
        Outcome::Cancelled => Encoded::Cancelled {},
        Outcome::Abandoned => Encoded::Abandoned {},
    };
    let mut bytes = Vec::new();
    minicbor::encode(outcome, &mut bytes).expect("a vector takes every byte");
    bytes
}

/// Reads an outcome that came from a worker.
///
/// A value in it is as untrustworthy as before: see [`EncodedValue`]. The length of `bytes` is the caller's to limit.
///
/// # Errors
///
/// When the bytes are not the encoding of an outcome.
pub fn decode_outcome(bytes: &[u8]) -> Result<Outcome, WireError> {
    structure::check(bytes)?;
    let invalid = |error: &minicbor::decode::Error| WireError::Field {
        message: "Outcome",
        reason: FieldError::new(error),
    };
    let outcome: Encoded<'_> = minicbor::decode(bytes).map_err(|error| invalid(&error))?;
    let unknown = || invalid(&minicbor::decode::Error::message("a number is unknown"));
    Ok(match outcome {
        Encoded::Succeeded { value } => Outcome::Succeeded {
            value: EncodedValue::from_bytes(value.to_vec()),
        },
        Encoded::Raised {
            type_name,
            message,
            traceback,
            notes,
            exit_code,
        } => Outcome::Raised(Exception {
            type_name,
            message,
            traceback,
            notes,
            exit_code,
        }),
        Encoded::Trapped { cause, exit_code } => Outcome::Trapped {
            cause: trap_cause(cause, exit_code).ok_or_else(unknown)?,
        },
        Encoded::LimitExceeded { limit, allowed } => Outcome::LimitExceeded {
            limit: limit_kind(limit).ok_or_else(unknown)?,
            allowed,
        },
        Encoded::Cancelled {} => Outcome::Cancelled,
        Encoded::Abandoned {} => Outcome::Abandoned,
    })
}

#[derive(Encode, Decode)]
#[cbor(map)]
enum Encoded<'a> {
    #[n(0)]
    Succeeded {
        #[b(0)]
        value: &'a minicbor::bytes::ByteSlice,
    },
    #[n(1)]
    Raised {
        #[n(0)]
        type_name: String,
        #[n(1)]
        message: String,
        #[n(2)]
        traceback: String,
        #[n(3)]
        notes: Vec<String>,
        #[n(4)]
        exit_code: Option<i64>,
    },
    #[n(2)]
    Trapped {
        #[n(0)]
        cause: u32,
        #[n(1)]
        exit_code: Option<u32>,
    },
    #[n(3)]
    LimitExceeded {
        #[n(0)]
        limit: u32,
        #[n(1)]
        allowed: u64,
    },
    #[n(4)]
    Cancelled {},
    #[n(5)]
    Abandoned {},
}

fn trap_number(cause: TrapCause) -> (u32, Option<u32>) {
    match cause {
        TrapCause::Exit { code } => (0, Some(code)),
        TrapCause::Abort => (1, None),
        TrapCause::StackOverflow => (2, None),
        TrapCause::MemoryOutOfBounds => (3, None),
        TrapCause::BadIndirectCall => (4, None),
        TrapCause::DivisionFailed => (5, None),
        TrapCause::ConversionFailed => (6, None),
        TrapCause::InvalidReply => (7, None),
        TrapCause::NoReply => (8, None),
        TrapCause::Other => (9, None),
    }
}

fn trap_cause(number: u32, exit_code: Option<u32>) -> Option<TrapCause> {
    Some(match (number, exit_code) {
        (0, Some(code)) => TrapCause::Exit { code },
        (1, None) => TrapCause::Abort,
        (2, None) => TrapCause::StackOverflow,
        (3, None) => TrapCause::MemoryOutOfBounds,
        (4, None) => TrapCause::BadIndirectCall,
        (5, None) => TrapCause::DivisionFailed,
        (6, None) => TrapCause::ConversionFailed,
        (7, None) => TrapCause::InvalidReply,
        (8, None) => TrapCause::NoReply,
        (9, None) => TrapCause::Other,
        _ => return None,
    })
}

fn limit_number(limit: LimitKind) -> u32 {
    match limit {
        LimitKind::Memory => 0,
        LimitKind::WallTime => 1,
        LimitKind::CpuTime => 2,
        LimitKind::Stdout => 3,
        LimitKind::Stderr => 4,
        LimitKind::Result => 5,
        LimitKind::ScratchBytes => 6,
        LimitKind::ScratchFiles => 7,
    }
}

fn limit_kind(number: u32) -> Option<LimitKind> {
    LimitKind::ALL
        .into_iter()
        .find(|limit| limit_number(*limit) == number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_round_trips() {
        let traps = (0..10).map(|number| {
            let cause = trap_cause(number, (number == 0).then_some(7)).unwrap();
            Outcome::Trapped { cause }
        });
        let limits = LimitKind::ALL.map(|limit| Outcome::LimitExceeded { limit, allowed: 5 });
        let raised = Outcome::Raised(Exception {
            type_name: "job.TooHot".into(),
            message: "ü".into(),
            traceback: "Traceback".into(),
            notes: vec!["a".into(), String::new()],
            exit_code: Some(-1),
        });
        let value = EncodedValue::from_bytes(vec![0xff, 0x00]);
        let others = [
            raised,
            Outcome::Succeeded { value },
            Outcome::Cancelled,
            Outcome::Abandoned,
        ];
        for outcome in traps.chain(limits).chain(others) {
            let bytes = encode_outcome(&outcome);
            assert_eq!(decode_outcome(&bytes), Ok(outcome));
            for end in 0..bytes.len() {
                assert!(decode_outcome(&bytes[..end]).is_err());
            }
            assert!(decode_outcome(&[&bytes[..], &[0]].concat()).is_err());
        }
    }

    #[test]
    fn unknown_numbers_are_refused() {
        for bytes in [
            &b"\x82\x02\xa1\x00\x0a"[..], // trap 10
            b"\x82\x02\xa1\x00\x00",      // an exit without its code
            b"\x82\x02\xa2\x00\x01\x01\x05",
            b"\x82\x03\xa2\x00\x08\x01\x05", // limit 8
            b"\x82\x06\xa0",
        ] {
            assert!(decode_outcome(bytes).is_err(), "{bytes:02x?}");
        }
    }
}
