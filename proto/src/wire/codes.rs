//! Numbers that say why: open lists, to which later versions add.
//!
//! A number that this version does not know is kept as it is and never an error.

/// Defines an open enumeration: named numbers, and `Unknown` for all others.
macro_rules! codes {
    (
        $(#[$attributes:meta])*
        pub enum $name:ident {
            $($(#[$docs:meta])* $number:literal => $variant:ident,)+
        }
    ) => {
        $(#[$attributes])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$docs])* $variant,)+
            /// A number that this version has no name for.
            Unknown(u32),
        }

        impl $name {
            /// Every one that has a name.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The one with this number.
            pub const fn from_number(number: u32) -> Self {
                match number {
                    $($number => Self::$variant,)+
                    _ => Self::Unknown(number),
                }
            }

            /// Its number.
            pub const fn number(self) -> u32 {
                match self {
                    $(Self::$variant => $number,)+
                    Self::Unknown(number) => number,
                }
            }

            /// Its name, `None` for a number without.
            pub const fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$variant => Some(stringify!($variant)),)+
                    Self::Unknown(_) => None,
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self.name() {
                    Some(name) => f.pad(name),
                    None => write!(f, "code {}", self.number()),
                }
            }
        }

        impl<C> minicbor::Encode<C> for $name {
            fn encode<W: minicbor::encode::Write>(
                &self,
                e: &mut minicbor::Encoder<W>,
                _: &mut C,
            ) -> Result<(), minicbor::encode::Error<W::Error>> {
                e.u32(self.number())?.ok()
            }
        }

        impl<'b, C> minicbor::Decode<'b, C> for $name {
            fn decode(
                d: &mut minicbor::Decoder<'b>,
                _: &mut C,
            ) -> Result<Self, minicbor::decode::Error> {
                d.u32().map(Self::from_number)
            }
        }
    };
}

codes! {
    /// Why something was refused or failed, for programs.
    pub enum ErrorCode {
        /// None of the peer's minor versions is spoken.
        1 => VersionUnsupported,
        /// The peer's role may not do this.
        2 => PermissionDenied,
        /// There is no such thing, or it is another client's.
        3 => NotFound,
        /// The same identity with another content is there already.
        4 => Conflict,
        /// Too much at the moment; try again after the time that is told.
        5 => Busy,
        /// A limit of this client is used up.
        6 => QuotaExceeded,
        /// A field's value makes no sense.
        7 => InvalidValue,
        /// A message came where it has no place.
        8 => WrongOrder,
        /// A message is larger than is taken, or a blob is.
        9 => TooLarge,
        /// The bytes have another digest than was said.
        10 => DigestMismatch,
        /// The disk is full.
        11 => NoSpace,
        /// The coordinator is stopping.
        12 => Stopping,
        /// The certificate is revoked.
        13 => Revoked,
        /// The certificate is not valid any more, or not yet.
        14 => Expired,
        /// The join token is unknown, used, expired, or for another role.
        15 => TokenInvalid,
        /// The proof does not fit the token.
        16 => ProofInvalid,
        /// The job is closed and takes no more tasks.
        17 => JobClosed,
        /// The function cannot be loaded: its image could not be built.
        18 => FunctionInvalid,
        /// This kind of message is unknown.
        19 => UnknownMessage,
        /// Something went wrong inside; not the peer's fault.
        20 => Internal,
        /// The worker's target or profile is not served.
        21 => TargetUnsupported,
        /// The same identity is connected elsewhere; the newer session wins.
        22 => Superseded,
        /// The worker's guest, or its version of the engine, is not the one that images are built for: it has to get
        /// what it needs anew, with `wants_guest`.
        23 => GuestMismatch,
    }
}

codes! {
    /// Why a connection was closed: the application error code of QUIC.
    pub enum CloseCode {
        /// Everything is done.
        1 => Finished,
        /// The process is stopping in good order.
        2 => Stopping,
        /// Bytes that are no message came.
        3 => Malformed,
        /// A frame was longer than is allowed.
        4 => FrameTooLong,
        /// A message came that the role may not send, or where it has no place.
        5 => WrongMessage,
        /// No version in common.
        6 => VersionUnsupported,
        /// The certificate's identity is not accepted.
        7 => IdentityRefused,
        /// The certificate was revoked.
        8 => Revoked,
        /// The certificate's time is over.
        9 => Expired,
        /// A newer session of the same identity took over.
        10 => Superseded,
        /// Too many connections of this identity, or of all.
        11 => TooManyConnections,
        /// The peer did not do in time what it had to: finish the handshake, read, or send the rest of a frame.
        12 => TooSlow,
        /// No session: a `Refused` message said why.
        13 => Refused,
        /// Something went wrong inside.
        14 => Internal,
    }
}

codes! {
    /// What came of running a task again on another worker.
    pub enum Verdict {
        /// Two workers gave the same bytes.
        1 => Confirmed,
        /// There was no other worker to run it.
        2 => Alone,
        /// No other worker answered in time, or those that did reached a limit, which a slow one may.
        3 => Unanswered,
        /// Workers contradicted each other and nobody could decide: the task was given up.
        4 => Disputed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_different_and_unknown_ones_are_kept() {
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_number(code.number()), *code);
        }
        for code in CloseCode::ALL {
            assert_eq!(CloseCode::from_number(code.number()), *code);
        }
        let unknown = ErrorCode::from_number(4_000_000_000);
        assert_eq!(unknown, ErrorCode::Unknown(4_000_000_000));
        let bytes = minicbor::to_vec(unknown).unwrap();
        assert_eq!(minicbor::decode::<ErrorCode>(&bytes).unwrap(), unknown);
        assert_eq!(unknown.to_string(), "code 4000000000");
        assert_eq!(ErrorCode::Busy.to_string(), "Busy");
    }
}
