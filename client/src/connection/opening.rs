//! The beginning of a session, and what its end means.

use std::sync::Arc;
use std::time::Duration;

use ppwasm_link::{Closed, DialReason, Incoming, LinkReceiver, LinkSender};
use ppwasm_proto::wire::{
    CloseCode, Hello, MINOR, MINOR_MIN, Message, Refused, Terms, Text, Welcome,
};

use crate::ClientError;
use crate::error::NoWelcome;

/// Time in which the coordinator has to answer a hello.
const WELCOME_TIME: Duration = Duration::from_secs(10);

/// Why a session ended.
pub(super) enum End {
    /// Another one may be had.
    Lost(Option<DialReason>),
    /// There will be no other one.
    Final(ClientError),
}

impl From<Closed> for End {
    fn from(closed: Closed) -> Self {
        match closed {
            Closed::ByPeer { code, reason } if is_final(code) => {
                Self::Final(rejected(code, &reason))
            }
            closed => Self::Lost(Some(Arc::new(closed))),
        }
    }
}

/// Whether another try would end as this one did.
const fn is_final(code: CloseCode) -> bool {
    matches!(
        code,
        CloseCode::Revoked
            | CloseCode::Expired
            | CloseCode::IdentityRefused
            | CloseCode::VersionUnsupported
            | CloseCode::Refused
            | CloseCode::Malformed
            | CloseCode::FrameTooLong
            | CloseCode::WrongMessage
    )
}

pub(super) fn rejected(code: CloseCode, reason: &str) -> ClientError {
    let reason = reason.to_owned();
    ClientError::Rejected { code, reason }
}

/// Says hello, and what the coordinator says in welcome.
pub(super) async fn greet<S: LinkSender, R: LinkReceiver>(
    sender: &mut S,
    receiver: &mut R,
) -> Result<Welcome, End> {
    let hello = Hello {
        minor_min: MINOR_MIN,
        minor_max: MINOR,
        build: Text::truncated(concat!("ppwasm ", env!("CARGO_PKG_VERSION"))),
        worker: None,
    };
    // How it ended says the half that receives.
    let _ = sender.send(hello.into()).await;
    let answer = tokio::time::timeout(WELCOME_TIME, receiver.receive()).await;
    match answer.map_err(|_| End::Lost(Some(Arc::new(NoWelcome))))?? {
        Incoming::Message(Message::Welcome(welcome)) => match Terms::try_from(welcome) {
            Ok(terms) => Ok(terms.welcome),
            Err(error) => {
                let code = CloseCode::VersionUnsupported;
                Err(End::Final(rejected(code, &error.to_string())))
            }
        },
        Incoming::Message(Message::Refused(refused)) => Err(no_session(refused)),
        _ => Err(End::Lost(Some(Arc::new(NoWelcome)))),
    }
}

fn no_session(refused: Refused) -> End {
    let error = ClientError::NoSession {
        code: refused.code,
        reason: refused.reason.into_string(),
        spoken: refused.spoken.map(Text::into_string),
    };
    match refused.retry_after_ms {
        // The usual pause is long enough: it grows.
        Some(_) => End::Lost(Some(Arc::new(error))),
        None => End::Final(error),
    }
}
