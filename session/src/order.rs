//! Which messages may come when: a pure state machine that each message passes.

use ppwasm_proto::wire::{Message, Party};

/// Where the conversation is, as the receiver of one direction sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing has come.
    First,
    /// Joining has begun.
    Joining,
    /// Everything that the peer may send can come.
    Open,
    /// The last message has come.
    Over,
}

/// Checks what a peer sends against who it is and what came before.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    sender: Party,
    /// The conversation is about joining.
    joins: bool,
    state: State,
}

/// The peer may not send this, or not now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfOrder;

impl Order {
    /// Nothing has come yet. `sender` is the peer; `joins` when either end is one who joins.
    pub const fn new(sender: Party, joins: bool) -> Self {
        Self {
            sender,
            joins,
            state: State::First,
        }
    }

    /// Takes the next message, or says that it has no place.
    pub fn take(&mut self, message: &Message) -> Result<(), OutOfOrder> {
        use Message as M;
        if !message.kind().senders.contains(self.sender) {
            return Err(OutOfOrder);
        }
        self.state = match (self.state, self.joins, message) {
            (State::First, false, M::Hello(_) | M::Welcome(_)) => State::Open,
            (State::First, _, M::Refused(_)) => State::Over,
            (State::First, true, M::Join(_) | M::JoinChallenge(_)) => State::Joining,
            (State::Joining, _, M::JoinProof(_) | M::CertificateIssued(_) | M::Refused(_)) => {
                State::Over
            }
            (State::Open, _, M::Hello(_) | M::Welcome(_)) => return Err(OutOfOrder),
            (State::Open, _, M::Join(_) | M::JoinChallenge(_) | M::JoinProof(_)) => {
                return Err(OutOfOrder);
            }
            // These belong on streams of their own.
            (State::Open, _, M::GetBlob(_) | M::BlobFound(_) | M::PutBlob(_)) => {
                return Err(OutOfOrder);
            }
            (State::Open, _, M::BlobWanted(_) | M::BlobStored(_)) => return Err(OutOfOrder),
            // A coordinator may end a session with a reason at any time.
            (State::Open, _, M::Refused(_)) => State::Over,
            (State::Open, _, _) => State::Open,
            _ => return Err(OutOfOrder),
        };
        Ok(())
    }

    /// Whether the first message has come.
    pub fn has_begun(&self) -> bool {
        self.state != State::First
    }
}

#[cfg(test)]
mod tests {
    use ppwasm_proto::wire::{CancelJob, Hello, Join, Ping, Pong, Report, Text, Welcome};
    use ppwasm_proto::{JobId, wire};

    use super::*;

    fn hello() -> Message {
        Hello {
            minor_min: 1,
            minor_max: 1,
            build: Text::default(),
            worker: None,
        }
        .into()
    }

    fn welcome() -> Message {
        Welcome {
            minor: 1,
            session: 1,
            epoch: 1,
            report_every_ms: 1,
            lease_ms: 1,
            refused: wire::List::new(),
            build: Text::default(),
            guest: None,
            renew_certificate: None,
            wall_clock_s: None,
            slots: None,
        }
        .into()
    }

    fn report() -> Message {
        Report {
            number: 1,
            waiting: wire::List::new(),
            running: wire::List::new(),
        }
        .into()
    }

    fn join() -> Message {
        Join {
            token: Text::default(),
            nonce: [0; 32],
        }
        .into()
    }

    fn cancel() -> Message {
        let job = JobId::from_bytes([0; 16]);
        CancelJob { request: 1, job }.into()
    }

    #[track_caller]
    fn goes(sender: Party, joins: bool, messages: &[Message], taken: usize) {
        let mut order = Order::new(sender, joins);
        let count = messages
            .iter()
            .take_while(|m| order.take(m).is_ok())
            .count();
        assert_eq!(count, taken);
    }

    #[test]
    fn case_39_messages_in_the_wrong_order_or_role_are_refused() {
        let ping: Message = Ping { number: 1 }.into();
        goes(Party::Worker, false, &[hello(), report(), ping.clone()], 3);
        goes(Party::Worker, false, &[report()], 0);
        goes(Party::Worker, false, &[hello(), hello()], 1);
        goes(Party::Worker, false, &[hello(), cancel()], 1);
        goes(Party::Client, false, &[hello(), cancel(), report()], 2);
        goes(Party::Client, false, &[hello(), welcome()], 1);
        goes(
            Party::Coordinator,
            false,
            &[welcome(), Pong { number: 1 }.into()],
            2,
        );
        goes(Party::Coordinator, false, &[ping], 0);
        goes(Party::Client, false, &[join()], 0);
        goes(Party::Joiner, true, &[hello()], 0);
        goes(Party::Joiner, true, &[join(), join()], 1);
        goes(Party::Joiner, true, &[join(), cancel()], 1);
    }
}
