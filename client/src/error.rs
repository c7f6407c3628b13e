//! Why something did not happen, for programs and for people.

use std::time::Duration;

use ppwasm_link::{BlobFailure, DialReason};
use ppwasm_proto::EncodeError;
use ppwasm_proto::wire::{CloseCode, ErrorCode, WireError};

/// Why something that was asked for did not happen.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// There has been no session, and the time for the first one is over.
    #[error("no coordinator answered")]
    Unreachable {
        /// What was found at the last try; absent when it found out nothing.
        #[source]
        reason: Option<DialReason>,
    },
    /// The two ends do not take each other. Trying again helps only when something has been changed.
    #[error("{reason}")]
    Rejected {
        /// Why, for programs.
        code: CloseCode,
        /// Why, for people.
        reason: String,
    },
    /// The coordinator gives this client no session.
    #[error("the coordinator refused a session: {reason} ({code})")]
    NoSession {
        /// Why, for programs.
        code: ErrorCode,
        /// Why, for people.
        reason: String,
        /// The versions that it speaks, when that is what it is about.
        spoken: Option<String>,
    },
    /// The coordinator refused what was asked for.
    #[error("the coordinator refused: {reason} ({code})")]
    Refused {
        /// Why, for programs.
        code: ErrorCode,
        /// Why, for people.
        reason: String,
        /// When trying again may help.
        retry_after: Option<Duration>,
    },
    /// The coordinator answered with something else than what was asked for.
    #[error("the coordinator answered with {message}, which answers something else")]
    Unexpected {
        /// The message's name.
        message: &'static str,
    },
    /// An argument cannot travel.
    #[error("an argument cannot travel")]
    Argument(#[from] EncodeError),
    /// What came back is not an outcome.
    #[error("a result cannot be read")]
    Result(#[from] WireError),
    /// A blob that belongs to a job or result could not be put or got.
    #[error("bytes of the job could not be moved")]
    Blob(#[from] BlobFailure),
    /// The client has ended.
    #[error("the client has ended")]
    Ended,
}

/// There was a connection, and no session came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the coordinator answered, and then said nothing")]
pub(crate) struct NoWelcome;
