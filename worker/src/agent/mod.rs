//! What a worker decides: a pure state machine between a session and a host.
//!
//! A driver tells the [`Agent`] what happened and what time it is, and carries out the commands in order. Times are
//! durations since the agent's start, by a clock that never goes back and goes on while the process is stopped.
//!
//! * Leases are run oldest first, never more at once than there are slots; one that is to run alone runs alone.
//! * A lease ends here earlier than at the coordinator: its time counts from when the report that renewed it was sent,
//!   less a safety. What runs then is stopped; a result that comes nevertheless is still offered.
//! * Results are kept, and offered again in every session, until they are acknowledged. While too many wait, nothing new
//!   is started.
//! * A lost session is tried again with growing pauses; only a session that lasted makes them short again.
//! * What the coordinator says about leases that are not known is ignored. A grant that comes twice is one grant.

mod config;
mod leases;
mod message;
mod results;
mod session;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ppwasm_proto::Digest;
use ppwasm_proto::fabric::{GiveBackReason, LeaseId};

pub use config::Config;
use leases::{Lease, State};
pub use message::{Closed, Command, Event, ExitReason, Finished, Granted, Message};
use session::Session;

/// Most slots that a worker can have.
pub const SLOTS_MAX: u32 = 4096;

/// The agent.
#[derive(Debug)]
pub struct Agent {
    config: Config,
    now: Duration,
    random: u64,
    slots: u32,
    is_draining: bool,
    has_exited: bool,
    session: Session,
    failures: u32,
    leases: BTreeMap<LeaseId, Lease>,
    /// Those of them that wait for a slot.
    waiting: BTreeSet<LeaseId>,
    /// How many occupy one.
    occupied: usize,
    /// How many have a result.
    finished: usize,
    /// The lease that runs alone.
    alone: Option<LeaseId>,
    /// Results to be sent in this session.
    unsent: Vec<LeaseId>,
    /// No lease is to be fenced before.
    next_fence: Option<Duration>,
    /// No result is to be sent again before.
    next_resend: Option<Duration>,
    images: BTreeSet<Digest>,
    done: BTreeSet<LeaseId>,
    /// Leases up to this one are done or unheard of for so long that they are treated so.
    done_floor: Option<LeaseId>,
    next_report: u64,
}

impl Agent {
    /// An agent without a session, which it will ask for at once.
    pub fn new(config: Config) -> Self {
        Self {
            now: Duration::ZERO,
            random: config.seed,
            slots: config.slots.min(SLOTS_MAX),
            is_draining: false,
            has_exited: false,
            session: Session::Away {
                retry_at: Duration::ZERO,
            },
            failures: 0,
            leases: BTreeMap::new(),
            waiting: BTreeSet::new(),
            occupied: 0,
            finished: 0,
            alone: None,
            unsent: Vec::new(),
            next_fence: None,
            next_resend: None,
            images: BTreeSet::new(),
            done: BTreeSet::new(),
            done_floor: None,
            next_report: 0,
            config,
        }
    }

    /// Takes note of an event. What is due by `now` happens first.
    pub fn handle(&mut self, now: Duration, event: Event, out: &mut Vec<Command>) {
        if self.has_exited {
            return;
        }
        self.advance(now, out);
        match event {
            Event::SessionOpened => self.greet(out),
            Event::ConnectFailed | Event::SessionLost => self.lose_session(),
            Event::SessionClosed(why) => self.end_session(why, out),
            Event::Welcomed {
                lease,
                report_every,
                refused,
            } => self.welcomed(lease, report_every, &refused, out),
            Event::Granted { leases, lasts } => self.granted(&leases, lasts, out),
            Event::Renewed {
                report,
                lease,
                report_every,
                refused,
            } => self.renewed(report, lease, report_every, &refused, out),
            Event::Cancelled(leases) => self.cancelled(&leases, out),
            Event::TakenBack(leases) => self.taken_back(&leases, out),
            Event::Acknowledged(leases) => self.acknowledged(&leases, out),
            Event::ExecutionEnded(result) => self.execution_ended(result, out),
            Event::ExecutionFailed(lease, why) => self.execution_failed(lease, why, out),
            Event::ExecutionStopped(lease) => {
                self.execution_failed(lease, GiveBackReason::Cancelled, out);
            }
            Event::SlotsSet(slots) => self.set_slots(slots, out),
            Event::DrainRequested => self.drain(out),
            Event::ImageHeld { function, is_held } => self.image_held(function, is_held, out),
        }
        self.settle(out);
    }

    /// Does what is due by `now`.
    pub fn tick(&mut self, now: Duration, out: &mut Vec<Command>) {
        if self.has_exited {
            return;
        }
        self.advance(now, out);
        self.settle(out);
    }

    /// When [`tick`](Self::tick) has something to do, if no event comes before.
    pub fn next_deadline(&self) -> Option<Duration> {
        if self.has_exited {
            return None;
        }
        let session = match &self.session {
            Session::Away { retry_at } => Some(*retry_at),
            Session::Connecting => None,
            Session::Greeting { since } => Some(*since + self.config.silence_max),
            Session::Open(open) => Some(open.report_at.min(self.silent_at(open))),
        };
        let resend = match self.session {
            Session::Open(_) => self.next_resend,
            _ => None,
        };
        let times = [session, self.next_fence, resend];
        times.into_iter().flatten().min()
    }

    fn advance(&mut self, now: Duration, out: &mut Vec<Command>) {
        self.now = self.now.max(now);
        self.fence_leases(out);
        match &self.session {
            Session::Away { retry_at } if *retry_at <= self.now => {
                self.session = Session::Connecting;
                out.push(Command::Connect);
            }
            Session::Greeting { since } if *since + self.config.silence_max <= self.now => {
                out.push(Command::Disconnect);
                self.lose_session();
            }
            Session::Open(open) if self.silent_at(open) <= self.now => {
                out.push(Command::Disconnect);
                self.lose_session();
            }
            Session::Open(open) if open.report_at <= self.now => self.report(out),
            _ => {}
        }
        self.resend(out);
    }

    fn set_slots(&mut self, slots: u32, out: &mut Vec<Command>) {
        self.slots = slots.min(SLOTS_MAX);
        if matches!(self.session, Session::Open(_)) {
            let (slots, credit) = (self.slots, self.credit());
            out.push(Command::Send(Message::SlotsSet { slots, credit }));
        }
    }

    fn drain(&mut self, out: &mut Vec<Command>) {
        if self.is_draining {
            return;
        }
        self.is_draining = true;
        if matches!(self.session, Session::Open(_)) {
            out.push(Command::Send(Message::Draining));
        }
        let waiting: Vec<LeaseId> = self.waiting.iter().copied().collect();
        self.give_up(&waiting, GiveBackReason::Draining, out);
    }

    fn image_held(&mut self, function: Digest, is_held: bool, out: &mut Vec<Command>) {
        let is_news = if is_held {
            self.images.insert(function)
        } else {
            self.images.remove(&function)
        };
        if is_news && matches!(self.session, Session::Open(_)) {
            out.push(Command::Send(Message::ImageHeld { function, is_held }));
        }
    }

    /// After every step: fills slots, and leaves when drained.
    fn settle(&mut self, out: &mut Vec<Command>) {
        if self.has_exited {
            return;
        }
        self.start_waiting(out);
        if self.is_draining && self.leases.is_empty() {
            if matches!(self.session, Session::Open(_) | Session::Greeting { .. }) {
                out.push(Command::Send(Message::Goodbye));
                out.push(Command::Disconnect);
            }
            self.exit(ExitReason::Drained, out);
        }
    }

    fn start_waiting(&mut self, out: &mut Vec<Command>) {
        let slots = usize::try_from(self.slots).unwrap_or(usize::MAX);
        while self.alone.is_none()
            && self.occupied < slots
            && self.finished < self.config.results_max
            && let Some(first) = self.waiting.first().copied()
        {
            let Some(held) = self.leases.get(&first) else {
                return;
            };
            if held.alone && self.occupied > 0 {
                return;
            }
            out.push(Command::Start(Granted {
                claim: held.claim,
                alone: held.alone,
            }));
            self.set_state(first, State::Running);
        }
    }

    /// Leases that occupy a slot.
    pub fn running(&self) -> impl Iterator<Item = LeaseId> + '_ {
        let leases = self.leases.iter();
        let running = leases.filter(|(_, lease)| lease.state.occupies_slot());
        running.map(|(lease, _)| *lease)
    }

    /// Whether it has nothing to run and nothing to deliver.
    pub fn is_idle(&self) -> bool {
        self.leases.is_empty()
    }

    /// Checks the agent against itself.
    ///
    /// # Errors
    ///
    /// The first contradiction, for people. It is a bug in this crate.
    pub fn check_invariants(&self) -> Result<(), String> {
        let count = |is: fn(State) -> bool| {
            let states = self.leases.values().map(|lease| lease.state);
            states.filter(|state| is(*state)).count()
        };
        let occupied = count(State::occupies_slot);
        let finished = count(|state| matches!(state, State::Finished { .. }));
        let waiting = count(|state| state == State::Waiting);
        if (occupied, finished, waiting) != (self.occupied, self.finished, self.waiting.len()) {
            return Err(format!(
                "{occupied}, {finished}, {waiting} counted wrongly: {self:?}"
            ));
        }
        if self.alone.is_some() && occupied != 1 {
            return Err(format!("{occupied} run beside what runs alone"));
        }
        let unwatched = self.leases.values().find(|lease| {
            let is_held = matches!(lease.state, State::Waiting | State::Running);
            is_held && self.next_fence.is_none_or(|next| next > self.fence(lease))
        });
        match unwatched {
            Some(lease) => Err(format!("{:?} is never fenced", lease.claim.lease)),
            None => Ok(()),
        }
    }

    /// The slots that it has.
    pub const fn slots(&self) -> u32 {
        self.slots
    }
}

#[cfg(test)]
mod tests;
