//! How the vocabulary's own types are written. They check themselves while they are read.

use minicbor::decode::{self, Decode, Decoder};
use minicbor::encode::{self, Encode, Encoder, Write};
use minicbor::{Decode as DeriveDecode, Encode as DeriveEncode};

use crate::digest::Digest;
use crate::fabric::{
    Claim, ClientName, GiveBackReason, Held, HeldState, Incarnation, LeaseId, LeaseToken,
    OutcomeKind, Priority, WorkerId,
};
use crate::identity::{Attempt, JobId, TaskId, TaskIdentity};
use crate::limits::Limits;

/// Types that are written as the bytes of an array.
macro_rules! as_bytes {
    ($($name:ty, $bytes:literal;)+) => {$(
        impl<C> Encode<C> for $name {
            fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
                e.bytes(self.as_bytes())?.ok()
            }
        }

        impl<'b, C> Decode<'b, C> for $name {
            fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
                let at = d.position();
                let bytes: [u8; $bytes] = d
                    .bytes()?
                    .try_into()
                    .map_err(|_| decode::Error::message(concat!("not ", $bytes, " bytes")).at(at))?;
                Ok(Self::from_bytes(bytes))
            }
        }
    )+};
}

as_bytes! {
    Digest, 32;
    JobId, 16;
    LeaseToken, 16;
}

/// Newtypes of a number.
macro_rules! as_number {
    ($($name:ident, $number:ident;)+) => {$(
        impl<C> Encode<C> for $name {
            fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
                e.$number(self.0)?.ok()
            }
        }

        impl<'b, C> Decode<'b, C> for $name {
            fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
                d.$number().map(Self)
            }
        }
    )+};
}

as_number! {
    TaskId, u64;
    Attempt, u32;
    LeaseId, u64;
    Incarnation, u64;
    Priority, i8;
}

/// Names, which are text.
macro_rules! as_text {
    ($($name:ident;)+) => {$(
        impl<C> Encode<C> for $name {
            fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
                e.str(self.as_str())?.ok()
            }
        }

        impl<'b, C> Decode<'b, C> for $name {
            fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
                let at = d.position();
                d.str()?.parse().map_err(|error| decode::Error::custom(error).at(at))
            }
        }
    )+};
}

as_text! {
    WorkerId;
    ClientName;
}

/// Words that are written as a number, and the numbers.
macro_rules! as_word {
    ($name:ident { $($number:literal => $word:ident,)+ }) => {
        impl<C> Encode<C> for $name {
            fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
                e.u32(match self { $(Self::$word => $number,)+ })?.ok()
            }
        }

        impl<'b, C> Decode<'b, C> for $name {
            fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
                let at = d.position();
                match d.u32()? {
                    $($number => Ok(Self::$word),)+
                    _ => Err(decode::Error::message(concat!("not a ", stringify!($name))).at(at)),
                }
            }
        }
    };
}

as_word! { HeldState {
    0 => Waiting,
    1 => Running,
    2 => Finished,
} }

as_word! { OutcomeKind {
    0 => Succeeded,
    1 => Raised,
    2 => Trapped,
    3 => LimitExceeded,
    4 => Cancelled,
    5 => Abandoned,
} }

as_word! { GiveBackReason {
    1 => Cancelled,
    2 => Draining,
    3 => NoSlot,
    4 => ImageUnavailable,
    5 => InputUnavailable,
    6 => LimitsUnsupported,
    7 => HostFailed,
    8 => SlotDied,
    9 => LeaseEnded,
} }

#[derive(DeriveEncode, DeriveDecode)]
#[cbor(map)]
struct ClaimFields {
    #[n(0)]
    lease: LeaseId,
    #[n(1)]
    job: JobId,
    #[n(2)]
    task: TaskId,
    #[n(3)]
    attempt: Attempt,
    #[n(4)]
    token: LeaseToken,
}

impl<C> Encode<C> for Claim {
    fn encode<W: Write>(
        &self,
        e: &mut Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        let Self {
            lease,
            identity: TaskIdentity { job, task },
            attempt,
            token,
        } = *self;
        let fields = ClaimFields {
            lease,
            job,
            task,
            attempt,
            token,
        };
        fields.encode(e, ctx)
    }
}

impl<'b, C> Decode<'b, C> for Claim {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, decode::Error> {
        let fields = ClaimFields::decode(d, ctx)?;
        Ok(Self {
            lease: fields.lease,
            identity: TaskIdentity::new(fields.job, fields.task),
            attempt: fields.attempt,
            token: fields.token,
        })
    }
}

#[derive(DeriveEncode, DeriveDecode)]
#[cbor(map)]
struct HeldFields {
    #[n(0)]
    claim: Claim,
    #[n(1)]
    state: HeldState,
}

impl<C> Encode<C> for Held {
    fn encode<W: Write>(
        &self,
        e: &mut Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        let Self { claim, state } = *self;
        HeldFields { claim, state }.encode(e, ctx)
    }
}

impl<'b, C> Decode<'b, C> for Held {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, decode::Error> {
        let HeldFields { claim, state } = HeldFields::decode(d, ctx)?;
        Ok(Self { claim, state })
    }
}

#[derive(DeriveEncode, DeriveDecode)]
#[cbor(map)]
struct LimitsFields {
    #[n(0)]
    memory_bytes: u64,
    #[n(1)]
    wall_time_ms: u64,
    #[n(2)]
    cpu_time_ms: u64,
    #[n(3)]
    stdout_bytes: u64,
    #[n(4)]
    stderr_bytes: u64,
    #[n(5)]
    result_bytes: u64,
    #[n(6)]
    scratch_bytes: u64,
    #[n(7)]
    scratch_files: u64,
}

impl<C> Encode<C> for Limits {
    fn encode<W: Write>(
        &self,
        e: &mut Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        let millis =
            |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let Self {
            memory_bytes_max,
            wall_time_max,
            cpu_time_max,
            stdout_bytes_max,
            stderr_bytes_max,
            result_bytes_max,
            scratch_bytes_max,
            scratch_files_max,
        } = *self;
        let fields = LimitsFields {
            memory_bytes: memory_bytes_max,
            wall_time_ms: millis(wall_time_max),
            cpu_time_ms: millis(cpu_time_max),
            stdout_bytes: stdout_bytes_max,
            stderr_bytes: stderr_bytes_max,
            result_bytes: result_bytes_max,
            scratch_bytes: scratch_bytes_max,
            scratch_files: scratch_files_max,
        };
        fields.encode(e, ctx)
    }
}

impl<'b, C> Decode<'b, C> for Limits {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, decode::Error> {
        let at = d.position();
        let fields = LimitsFields::decode(d, ctx)?;
        let limits = Self {
            memory_bytes_max: fields.memory_bytes,
            wall_time_max: std::time::Duration::from_millis(fields.wall_time_ms),
            cpu_time_max: std::time::Duration::from_millis(fields.cpu_time_ms),
            stdout_bytes_max: fields.stdout_bytes,
            stderr_bytes_max: fields.stderr_bytes,
            result_bytes_max: fields.result_bytes,
            scratch_bytes_max: fields.scratch_bytes,
            scratch_files_max: fields.scratch_files,
        };
        match limits.check() {
            Ok(()) => Ok(limits),
            Err(error) => Err(decode::Error::custom(error).at(at)),
        }
    }
}
