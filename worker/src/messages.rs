//! Between the wire and the agent: messages as events, the agent's messages on the wire.

use std::time::Duration;

use ppwasm_host::{Host, Target, TimeSource, engine_digest};
use ppwasm_proto::fabric::{Claim, Incarnation, OutcomeKind};
use ppwasm_proto::wire::{self, GrantGroup, GrantedTask, List, Message, Ranged, Text};
use ppwasm_proto::{Call, Digest, Outcome, TaskIdentity, Value};

use crate::agent;

/// What a granted task is, by its group.
pub(crate) fn claim(group: &GrantGroup, task: &GrantedTask) -> Claim {
    Claim {
        lease: task.lease,
        identity: TaskIdentity::new(group.job, task.task),
        attempt: task.attempt,
        token: task.token,
    }
}

pub(crate) const fn time(source: wire::TimeSource) -> TimeSource {
    match source {
        wire::TimeSource::Deterministic { start_ns } => TimeSource::Deterministic { start_ns },
        wire::TimeSource::Real {} => TimeSource::Real,
    }
}

/// Reads an encoded call; `None` when it is none.
///
/// A call is an array of an array and a map, so its encoding is also that of a value.
pub(crate) fn decode_call(bytes: &[u8]) -> Option<Call> {
    let Ok(Value::List(parts)) = Value::decode(bytes) else {
        return None;
    };
    let Ok([Value::List(args), Value::Dict(pairs)]) = <[Value; 2]>::try_from(parts) else {
        return None;
    };
    let name = |(name, value): (Value, Value)| match name {
        Value::Str(name) => Some((name.to_string(), value)),
        _ => None,
    };
    let kwargs = pairs.into_iter().map(name).collect::<Option<_>>()?;
    Some(Call { args, kwargs })
}

pub(crate) const fn kind(outcome: &Outcome) -> OutcomeKind {
    match outcome {
        Outcome::Succeeded { .. } => OutcomeKind::Succeeded,
        Outcome::Raised(_) => OutcomeKind::Raised,
        Outcome::Trapped { .. } => OutcomeKind::Trapped,
        Outcome::LimitExceeded { .. } => OutcomeKind::LimitExceeded,
        Outcome::Cancelled => OutcomeKind::Cancelled,
        Outcome::Abandoned => OutcomeKind::Abandoned,
    }
}

/// The agent's event for a message that needs nothing else; `None` for those that do, and those that say nothing.
pub(crate) fn event(message: Message) -> Option<agent::Event> {
    let millis = Duration::from_millis;
    Some(match message {
        Message::Renewed(renewed) => agent::Event::Renewed {
            report: renewed.number,
            lease: millis(renewed.lease_ms.value()),
            report_every: millis(renewed.report_every_ms.value()),
            refused: renewed.refused.into_vec(),
        },
        Message::Cancel(cancel) => agent::Event::Cancelled(cancel.leases.into_vec()),
        Message::TakeBack(back) => agent::Event::TakenBack(back.leases.into_vec()),
        Message::Acknowledge(known) => agent::Event::Acknowledged(known.leases.into_vec()),
        Message::Drain(_) => agent::Event::DrainRequested,
        _ => return None,
    })
}

/// The agent's messages but hello and results, which need more than it knows.
pub(crate) fn to_wire(message: agent::Message) -> Vec<Message> {
    match message {
        agent::Message::Report {
            number,
            waiting,
            running,
        } => vec![
            wire::Report {
                number,
                waiting: List::try_from(waiting).unwrap_or_default(),
                running: List::try_from(running).unwrap_or_default(),
            }
            .into(),
        ],
        agent::Message::GaveBack(given) => {
            let given = given.into_iter().map(|(lease, why)| wire::GivenBack {
                lease,
                why,
                detail: None,
            });
            let chunks = List::chunks_of(given);
            chunks
                .map(|leases| wire::GiveBack { leases }.into())
                .collect()
        }
        agent::Message::SlotsSet { slots, credit } => vec![
            wire::SlotsSet {
                slots: Ranged::clamped(slots.into()),
                credit: Ranged::clamped(credit.into()),
            }
            .into(),
        ],
        agent::Message::ImageHeld { function, is_held } => {
            let one = List::try_from(vec![function]).unwrap_or_default();
            let none = List::new();
            let (held, dropped) = if is_held { (one, none) } else { (none, one) };
            vec![wire::ImagesHeld { held, dropped }.into()]
        }
        agent::Message::Draining => vec![wire::Draining {}.into()],
        agent::Message::Goodbye => vec![wire::Goodbye {}.into()],
        agent::Message::Hello { .. } | agent::Message::Ended(_) => Vec::new(),
    }
}

/// What a worker's guest is, for the hello.
pub(crate) struct Offer {
    pub target: Target,
    /// The guest that it has; `None` for one that wants what it takes to run one.
    pub guest: Option<Digest>,
}

impl Offer {
    pub(crate) fn of(host: &Host) -> Self {
        Self {
            target: host.target(),
            guest: Some(host.guest_digest()),
        }
    }

    /// The offer of a worker with nothing but this.
    pub(crate) fn to_wire(&self) -> wire::WorkerOffer {
        wire::WorkerOffer {
            target: Text::truncated(&self.target.triple()),
            cpu_profile: Text::truncated(&self.target.name()),
            slots: 1,
            label: None,
            guests: List::chunks_of(self.guest).next().unwrap_or_default(),
            functions: List::new(),
            incarnation: Incarnation(0),
            credit: 0,
            held: List::new(),
            is_draining: None,
            memory_bytes: None,
            engine: Some(engine_digest(self.target)),
            wants_guest: self.guest.is_none().then_some(true),
        }
    }

    pub(crate) fn hello(offer: wire::WorkerOffer) -> Message {
        let hello = wire::Hello {
            minor_min: wire::MINOR_MIN,
            minor_max: wire::MINOR,
            build: Text::truncated(concat!("ppwasm ", env!("CARGO_PKG_VERSION"))),
            worker: Some(offer),
        };
        hello.into()
    }
}

/// The hello of the agent, with what it does not know.
pub(crate) fn hello(message: agent::Message, label: &str, offer: &Offer) -> Option<Message> {
    let agent::Message::Hello {
        incarnation,
        slots,
        credit,
        is_draining,
        held,
        images,
    } = message
    else {
        return None;
    };
    let offer = wire::WorkerOffer {
        slots: slots.into(),
        label: Some(Text::truncated(label)),
        functions: List::try_from(images).unwrap_or_default(),
        incarnation,
        credit: credit.into(),
        held: List::try_from(held).unwrap_or_default(),
        is_draining: is_draining.then_some(true),
        ..offer.to_wire()
    };
    Some(Offer::hello(offer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_read_as_they_were_written_and_nothing_else_is() {
        let call = Call::with_args([1, 2]).with_kwarg("x", "y");
        assert_eq!(decode_call(&call.to_bytes().unwrap()), Some(call));
        let none = Call::new();
        assert_eq!(decode_call(&none.to_bytes().unwrap()), Some(none));
        for bad in [
            &b""[..],
            b"\x80",
            b"\x82\x80\x80",
            b"\x82\x80\xa1\x01\x02",
            b"\x83\x80\xa0\x00",
        ] {
            assert_eq!(decode_call(bad), None, "{bad:?}");
        }
    }
}
