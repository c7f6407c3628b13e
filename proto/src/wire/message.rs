//! All kinds of messages in one list, with their numbers and who may send them.
//!
//! A body is an array of the kind's number and the fields. A number is never used again for something else: a kind that
//! goes stays in the list's comment as gone.

use minicbor::{Decoder, Encoder};

use super::error::{FieldError, WireError};
use super::structure;
use super::{
    Acknowledge, AppendTasks, ArtifactReady, BlobFound, BlobStored, BlobWanted, Cancel, CancelJob,
    CertificateIssued, CloseJob, Done, Drain, DrainWorker, Draining, Ended, ExplainTask, Failed,
    ForgetJob, Functions, GetBlob, GiveBack, Goodbye, Grant, Hello, ImageMissing, ImageReady,
    ImageWanted, ImagesHeld, JobOpened, JobProgress, JobShown, Jobs, Join, JoinChallenge,
    JoinProof, ListFunctions, ListJobs, ListWorkers, MintToken, OpenJob, Ping, Pong, PutBlob,
    Refused, RenewCertificate, Renewed, Report, Results, RetryJob, RevokeIdentity, SetSlots,
    SetWorkerSlots, ShowJob, ShowTask, SlotsSet, TakeBack, TaskExplained, TaskShown, TasksAppended,
    TokenMinted, Unwatch, WatchCredit, WatchJob, Welcome, Workers,
};

/// A set of parties that may send a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Senders(u8);

/// One end of a session, by what its certificate says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Party {
    /// The coordinator.
    Coordinator,
    /// A worker.
    Worker,
    /// A client.
    Client,
    /// Somebody without a certificate, who wants one.
    Joiner,
}

impl Party {
    /// Every party.
    pub const ALL: [Self; 4] = [Self::Coordinator, Self::Worker, Self::Client, Self::Joiner];

    const fn bit(self) -> u8 {
        match self {
            Self::Coordinator => 1,
            Self::Worker => 2,
            Self::Client => 4,
            Self::Joiner => 8,
        }
    }

    /// The name in documents: `coordinator`, `worker`, …
    pub const fn name(self) -> &'static str {
        match self {
            Self::Coordinator => "coordinator",
            Self::Worker => "worker",
            Self::Client => "client",
            Self::Joiner => "joiner",
        }
    }
}

impl std::fmt::Display for Party {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

impl Senders {
    const fn of(parties: &[Party]) -> Self {
        let (mut bits, mut index) = (0, 0);
        while index < parties.len() {
            bits |= parties[index].bit();
            index += 1;
        }
        Self(bits)
    }

    /// Whether `party` is one of them.
    pub const fn contains(self, party: Party) -> bool {
        self.0 & party.bit() != 0
    }
}

/// What is known of a kind of message without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Its number on the wire.
    pub number: u64,
    /// Its name, the message's type.
    pub name: &'static str,
    /// Who may send it.
    pub senders: Senders,
}

macro_rules! messages {
    ($($number:literal $name:ident from $($party:ident)|+;)+) => {
        /// Any message.
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        #[allow(missing_docs, reason = "each is documented at its type")]
        #[allow(clippy::large_enum_variant, reason = "messages are moved from queue to queue, seldom copied")]
        pub enum Message {
            $($name($name),)+
        }

        $(
            impl From<$name> for Message {
                fn from(message: $name) -> Self {
                    Self::$name(message)
                }
            }
        )+

        impl Message {
            /// Every kind, by number.
            pub const KINDS: &'static [Kind] = &[
                $(Kind {
                    number: $number,
                    name: stringify!($name),
                    senders: Senders::of(&[$(Party::$party),+]),
                },)+
            ];

            /// Its kind.
            pub const fn kind(&self) -> Kind {
                match self {
                    $(Self::$name(_) => Kind {
                        number: $number,
                        name: stringify!($name),
                        senders: Senders::of(&[$(Party::$party),+]),
                    },)+
                }
            }

            fn encode_fields(&self, e: &mut Encoder<&mut Vec<u8>>) -> Result<(), minicbor::encode::Error<std::convert::Infallible>> {
                match self {
                    $(Self::$name(fields) => e.encode(fields)?.ok(),)+
                }
            }

            fn decode_fields(kind: u64, d: &mut Decoder<'_>) -> Result<Self, WireError> {
                match kind {
                    $($number => match d.decode::<$name>() {
                        Ok(fields) => Ok(Self::$name(fields)),
                        Err(error) => Err(WireError::Field {
                            message: stringify!($name),
                            reason: FieldError::new(&error),
                        }),
                    },)+
                    kind => Err(WireError::UnknownKind { kind }),
                }
            }
        }
    };
}

messages! {
    // Handshake, and what belongs to every conversation.
    1 Hello from Worker | Client;
    2 Welcome from Coordinator;
    3 Refused from Coordinator;
    4 Ping from Coordinator | Worker | Client;
    5 Pong from Coordinator | Worker | Client;
    6 Failed from Coordinator | Worker;
    7 Done from Coordinator;
    8 Goodbye from Worker | Client;

    // Worker to coordinator.
    16 Report from Worker;
    17 Ended from Worker;
    18 GiveBack from Worker;
    19 SlotsSet from Worker;
    20 Draining from Worker;
    21 ImagesHeld from Worker;
    22 ImageWanted from Worker;

    // Coordinator to worker.
    32 Grant from Coordinator;
    33 Renewed from Coordinator;
    34 Acknowledge from Coordinator;
    35 Cancel from Coordinator;
    36 TakeBack from Coordinator;
    37 SetSlots from Coordinator;
    38 Drain from Coordinator;
    39 ImageReady from Coordinator;
    40 ImageMissing from Coordinator;
    41 ArtifactReady from Coordinator;

    // Client to coordinator.
    64 OpenJob from Client;
    65 AppendTasks from Client;
    66 CloseJob from Client;
    67 WatchJob from Client;
    68 WatchCredit from Client;
    69 Unwatch from Client;
    70 CancelJob from Client;
    71 RetryJob from Client;
    72 ForgetJob from Client;
    73 ListJobs from Client;
    74 ShowJob from Client;
    75 ExplainTask from Client;
    76 ShowTask from Client;
    77 ListWorkers from Client;
    78 DrainWorker from Client;
    79 SetWorkerSlots from Client;
    80 ListFunctions from Client;

    // Coordinator to client.
    96 JobOpened from Coordinator;
    97 TasksAppended from Coordinator;
    98 Results from Coordinator;
    99 JobProgress from Coordinator;
    100 Jobs from Coordinator;
    101 JobShown from Coordinator;
    102 TaskExplained from Coordinator;
    103 TaskShown from Coordinator;
    104 Workers from Coordinator;
    105 Functions from Coordinator;

    // Certificates.
    128 RenewCertificate from Worker | Client;
    129 CertificateIssued from Coordinator;
    130 Join from Joiner;
    131 JoinChallenge from Coordinator;
    132 JoinProof from Joiner;
    133 MintToken from Client;
    134 TokenMinted from Coordinator;
    135 RevokeIdentity from Client;

    // Heads of blob streams.
    160 GetBlob from Worker | Client;
    161 BlobFound from Coordinator;
    162 PutBlob from Worker | Client;
    163 BlobWanted from Coordinator;
    164 BlobStored from Coordinator;
}

impl Message {
    /// Its name.
    pub const fn name(&self) -> &'static str {
        self.kind().name
    }

    /// Appends its body, without a frame's length.
    pub fn encode_body(&self, out: &mut Vec<u8>) {
        let mut e = Encoder::new(out);
        e.array(2)
            .and_then(|e| e.u64(self.kind().number))
            .expect("a vector takes every byte");
        self.encode_fields(&mut e)
            .expect("a vector takes every byte");
    }

    /// Reads a body. All of it has to be the message.
    ///
    /// # Errors
    ///
    /// When it is not a message. [`WireError::UnknownKind`] comes only when the rest of the rules hold, so that the
    /// caller can skip it and go on.
    pub fn from_body(body: &[u8]) -> Result<Self, WireError> {
        structure::check(body)?;
        let mut d = Decoder::new(body);
        let not_a_message = |_| WireError::NotAMessage;
        if d.array().map_err(not_a_message)? != Some(2) {
            return Err(WireError::NotAMessage);
        }
        let kind = d.u64().map_err(not_a_message)?;
        if d.datatype().map_err(not_a_message)? != minicbor::data::Type::Map {
            return Err(WireError::NotAMessage);
        }
        Self::decode_fields(kind, &mut d)
    }

    /// The bytes of payloads in it that are inline: most of what a long message weighs.
    pub fn inline_bytes(&self) -> usize {
        use super::Payload;
        let payload = |payload: &Payload| match payload {
            Payload::Inline(bytes) => bytes.len(),
            Payload::Blob(_) => 0,
        };
        let optional = |one: &Option<Payload>| one.as_ref().map_or(0, payload);
        match self {
            Self::Grant(grant) => grant
                .groups
                .iter()
                .flat_map(|group| group.tasks.iter())
                .map(|task| payload(&task.call))
                .sum(),
            Self::Ended(ended) => ended
                .results
                .iter()
                .map(|r| payload(&r.outcome) + optional(&r.stdout) + optional(&r.stderr))
                .sum(),
            Self::AppendTasks(append) => append.calls.iter().map(payload).sum(),
            Self::Results(results) => results
                .results
                .iter()
                .map(|r| payload(&r.outcome) + optional(&r.stdout) + optional(&r.stderr))
                .sum(),
            _ => 0,
        }
    }
}
