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

mod message;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use ppwasm_proto::Digest;
use ppwasm_proto::fabric::{Claim, GiveBackReason, Held, HeldState, Incarnation, LeaseId};

pub use message::{Closed, Command, Event, ExitReason, Finished, Granted, Message};

/// Most slots that a worker can have.
pub const SLOTS_MAX: u32 = 4096;
/// Reports whose answers are waited for.
const REPORTS_MAX: usize = 16;
/// Leases that have ended and are remembered, against grants that come again.
const DONE_MAX: usize = 4096;

/// Settings. [`Config::new`] has the defaults.
#[derive(Clone, Debug)]
pub struct Config {
    /// The life of this process.
    pub incarnation: Incarnation,
    /// Seed of the jitter in pauses.
    pub seed: u64,
    /// Tasks that run at once.
    pub slots: u32,
    /// Leases that wait for a slot, at most. Default 512.
    pub waiting_max: u32,
    /// Unacknowledged results with which nothing new is started. Default 4,096.
    pub results_max: usize,
    /// Time before a lease's end at which its task is stopped. Default 2 s.
    pub safety: Duration,
    /// Time without a word, from when a report was due, after which a session is given up. A coordinator with long leases,
    /// or thousands of workers, wants reports less often than that, and says nothing between them. Default 20 s.
    pub silence_max: Duration,
    /// Time after which an unacknowledged result is sent again. Default 10 s.
    pub resend_after: Duration,
    /// First pause before another connection. Default 200 ms.
    pub pause: Duration,
    /// Longest pause. Default 10 s.
    pub pause_max: Duration,
    /// How long a session has to last for the pauses to start over. Default 10 s.
    pub lasting: Duration,
}

impl Config {
    /// The defaults.
    pub const fn new(incarnation: Incarnation, seed: u64, slots: u32) -> Self {
        Self {
            incarnation,
            seed,
            slots,
            waiting_max: 512,
            results_max: 4096,
            safety: Duration::from_secs(2),
            silence_max: Duration::from_secs(20),
            resend_after: Duration::from_secs(10),
            pause: Duration::from_millis(200),
            pause_max: Duration::from_secs(10),
            lasting: Duration::from_secs(10),
        }
    }
}

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

#[derive(Debug)]
enum Session {
    /// There is none; another is tried at this time.
    Away { retry_at: Duration },
    /// One has been asked for.
    Connecting,
    /// The hello was sent.
    Greeting { since: Duration },
    /// The coordinator has answered.
    Open(Open),
}

#[derive(Debug)]
struct Open {
    since: Duration,
    heard: Duration,
    report_every: Duration,
    report_at: Duration,
    /// Reports that were sent, and when.
    reports: VecDeque<(u64, Duration)>,
}

#[derive(Clone, Copy, Debug)]
struct Lease {
    claim: Claim,
    alone: bool,
    received: Duration,
    deadline: Duration,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Running,
    /// The host was told to stop it.
    Stopping(GiveBackReason),
    Finished {
        result: Finished,
        sent: Option<Duration>,
    },
}

impl State {
    const fn occupies_slot(self) -> bool {
        matches!(self, Self::Running | Self::Stopping(_))
    }
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

    /// When a session that says nothing more is given up.
    fn silent_at(&self, open: &Open) -> Duration {
        open.heard + open.report_every + self.config.silence_max
    }

    fn fence(&self, lease: &Lease) -> Duration {
        lease.deadline.saturating_sub(self.config.safety)
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

    /// Ends leases that may be others' by now.
    fn fence_leases(&mut self, out: &mut Vec<Command>) {
        if self.next_fence.is_none_or(|fence| fence > self.now) {
            return;
        }
        let mut over = Vec::new();
        let mut next = None;
        for (id, lease) in &self.leases {
            if !matches!(lease.state, State::Waiting | State::Running) {
                continue;
            }
            let fence = self.fence(lease);
            if fence <= self.now {
                over.push(*id);
            } else {
                next = Some(next.map_or(fence, |next: Duration| next.min(fence)));
            }
        }
        self.next_fence = next;
        self.give_up(&over, GiveBackReason::LeaseEnded, out);
    }

    fn insert(&mut self, lease: Lease) {
        let fence = self.fence(&lease);
        self.next_fence = Some(self.next_fence.map_or(fence, |next| next.min(fence)));
        self.waiting.insert(lease.claim.lease);
        self.leases.insert(lease.claim.lease, lease);
    }

    fn remove(&mut self, lease: LeaseId) {
        if let Some(held) = self.leases.remove(&lease) {
            self.uncount(lease, held.state);
            self.remember_done(lease);
        }
    }

    fn set_state(&mut self, lease: LeaseId, state: State) {
        let Some(held) = self.leases.get_mut(&lease) else {
            return;
        };
        let was = std::mem::replace(&mut held.state, state);
        let alone = held.alone;
        self.uncount(lease, was);
        match state {
            State::Waiting => {
                self.waiting.insert(lease);
            }
            State::Running | State::Stopping(_) => {
                self.occupied += 1;
                if alone {
                    self.alone = Some(lease);
                }
            }
            State::Finished { .. } => self.finished += 1,
        }
    }

    fn uncount(&mut self, lease: LeaseId, was: State) {
        match was {
            State::Waiting => {
                self.waiting.remove(&lease);
            }
            State::Running | State::Stopping(_) => {
                self.occupied -= 1;
                if self.alone == Some(lease) {
                    self.alone = None;
                }
            }
            State::Finished { .. } => self.finished -= 1,
        }
    }

    /// Drops what waits and stops what runs. Results stay.
    fn give_up(&mut self, leases: &[LeaseId], why: GiveBackReason, out: &mut Vec<Command>) {
        let mut given = Vec::new();
        for lease in leases {
            match self.leases.get(lease).map(|held| held.state) {
                Some(State::Waiting) => {
                    self.remove(*lease);
                    given.push((*lease, why));
                }
                Some(State::Running) => {
                    self.set_state(*lease, State::Stopping(why));
                    out.push(Command::Stop(*lease));
                }
                Some(State::Stopping(_)) if why == GiveBackReason::Cancelled => {
                    self.set_state(*lease, State::Stopping(why));
                }
                Some(State::Stopping(_) | State::Finished { .. }) | None => {}
            }
        }
        self.give_back(given, out);
    }

    fn give_back(&self, given: Vec<(LeaseId, GiveBackReason)>, out: &mut Vec<Command>) {
        if !given.is_empty() && matches!(self.session, Session::Open(_)) {
            out.push(Command::Send(Message::GaveBack(given)));
        }
    }

    /// Leases that are not this worker's any longer, by the coordinator: nothing of them is wanted.
    fn refused(&mut self, refused: &[LeaseId], out: &mut Vec<Command>) {
        self.give_up(refused, GiveBackReason::Cancelled, out);
        for lease in refused {
            self.drop_result(*lease, out);
        }
    }

    fn drop_result(&mut self, lease: LeaseId, out: &mut Vec<Command>) {
        let is_finished = |held: &Lease| matches!(held.state, State::Finished { .. });
        if self.leases.get(&lease).is_some_and(is_finished) {
            self.remove(lease);
            out.push(Command::DropResult(lease));
        }
    }

    fn remember_done(&mut self, lease: LeaseId) {
        self.done.insert(lease);
        while self.done.len() > DONE_MAX {
            self.done_floor = self.done.pop_first().max(self.done_floor);
        }
    }

    fn greet(&mut self, out: &mut Vec<Command>) {
        self.session = Session::Greeting { since: self.now };
        self.unsent.clear();
        self.next_resend = None;
        for (id, lease) in &mut self.leases {
            if let State::Finished { sent, .. } = &mut lease.state {
                *sent = None;
                self.unsent.push(*id);
            }
        }
        let held = self.leases.values().filter_map(|lease| {
            let state = match lease.state {
                State::Waiting => HeldState::Waiting,
                State::Running => HeldState::Running,
                State::Finished { .. } => HeldState::Finished,
                State::Stopping(_) => return None,
            };
            let claim = lease.claim;
            Some(Held { claim, state })
        });
        out.push(Command::Send(Message::Hello {
            incarnation: self.config.incarnation,
            slots: self.slots,
            credit: self.credit(),
            is_draining: self.is_draining,
            held: held.collect(),
            images: self.images.iter().copied().collect(),
        }));
    }

    fn credit(&self) -> u32 {
        self.slots.saturating_add(self.config.waiting_max)
    }

    fn welcomed(
        &mut self,
        lease: Duration,
        report_every: Duration,
        refused: &[LeaseId],
        out: &mut Vec<Command>,
    ) {
        let Session::Greeting { since } = self.session else {
            return;
        };
        self.session = Session::Open(Open {
            since: self.now,
            heard: self.now,
            report_every,
            report_at: self.now + report_every,
            reports: VecDeque::new(),
        });
        self.refused(refused, out);
        self.extend(since, lease);
        self.send_results(out);
    }

    /// Leases that were held at `sent` last until `lease` after it.
    fn extend(&mut self, sent: Duration, lease: Duration) {
        for held in self.leases.values_mut() {
            if held.received <= sent {
                held.deadline = held.deadline.max(sent + lease);
            }
        }
    }

    fn lose_session(&mut self) {
        if matches!(self.session, Session::Away { .. }) {
            return;
        }
        let lasted = match &self.session {
            Session::Open(open) => self.now.saturating_sub(open.since),
            _ => Duration::ZERO,
        };
        if lasted >= self.config.lasting {
            self.failures = 0;
        }
        let doubled = self.config.pause.saturating_mul(1 << self.failures.min(16));
        let pause = doubled.min(self.config.pause_max);
        self.failures = self.failures.saturating_add(1);
        let quarter = u64::try_from(pause.as_micros() / 4).unwrap_or(u64::MAX);
        let jitter = Duration::from_micros(self.random_below(quarter));
        self.session = Session::Away {
            retry_at: self.now + pause + jitter,
        };
    }

    fn end_session(&mut self, why: Closed, out: &mut Vec<Command>) {
        match why {
            Closed::Other => self.lose_session(),
            Closed::Replaced => self.exit(ExitReason::Replaced, out),
            Closed::Revoked => self.exit(ExitReason::Revoked, out),
        }
    }

    fn exit(&mut self, why: ExitReason, out: &mut Vec<Command>) {
        let running = self
            .leases
            .values()
            .filter(|lease| lease.state.occupies_slot());
        out.extend(running.map(|lease| Command::Stop(lease.claim.lease)));
        out.push(Command::Exit(why));
        self.has_exited = true;
    }

    fn granted(&mut self, leases: &[Granted], lasts: Duration, out: &mut Vec<Command>) {
        if !matches!(self.session, Session::Open(_)) {
            return;
        }
        self.heard();
        let mut given = Vec::new();
        for granted in leases {
            let lease = granted.claim.lease;
            let is_done = self.done.contains(&lease) || self.done_floor >= Some(lease);
            if self.leases.contains_key(&lease) || is_done {
                continue;
            }
            let held = self.leases.len() - self.finished;
            let is_full = held >= usize::try_from(self.credit()).unwrap_or(usize::MAX);
            if self.is_draining || is_full {
                let why = if self.is_draining {
                    GiveBackReason::Draining
                } else {
                    GiveBackReason::NoSlot
                };
                given.push((lease, why));
                continue;
            }
            let held = Lease {
                claim: granted.claim,
                alone: granted.alone,
                received: self.now,
                deadline: self.now + lasts,
                state: State::Waiting,
            };
            self.insert(held);
        }
        self.give_back(given, out);
    }

    fn heard(&mut self) {
        if let Session::Open(open) = &mut self.session {
            open.heard = self.now;
        }
    }

    fn report(&mut self, out: &mut Vec<Command>) {
        let Session::Open(open) = &mut self.session else {
            return;
        };
        self.next_report += 1;
        open.report_at = self.now + open.report_every;
        open.reports.push_back((self.next_report, self.now));
        if open.reports.len() > REPORTS_MAX {
            open.reports.pop_front();
        }
        let with = |wanted: fn(State) -> bool| -> Vec<LeaseId> {
            let leases = self.leases.iter().filter(|(_, lease)| wanted(lease.state));
            leases.map(|(lease, _)| *lease).collect()
        };
        out.push(Command::Send(Message::Report {
            number: self.next_report,
            waiting: with(|state| state == State::Waiting),
            running: with(State::occupies_slot),
        }));
    }

    fn renewed(
        &mut self,
        report: u64,
        lease: Duration,
        report_every: Duration,
        refused: &[LeaseId],
        out: &mut Vec<Command>,
    ) {
        let Session::Open(open) = &mut self.session else {
            return;
        };
        open.heard = self.now;
        let sent = open.reports.iter().find(|(number, _)| *number == report);
        let Some((_, sent)) = sent.copied() else {
            return;
        };
        open.reports.retain(|(number, _)| *number > report);
        open.report_every = report_every;
        self.refused(refused, out);
        self.extend(sent, lease);
    }

    fn cancelled(&mut self, leases: &[LeaseId], out: &mut Vec<Command>) {
        self.heard();
        self.give_up(leases, GiveBackReason::Cancelled, out);
        let mut given = Vec::new();
        for lease in leases {
            self.drop_result(*lease, out);
            if !self.leases.contains_key(lease) && self.done.contains(lease) {
                continue;
            }
            if !self.leases.contains_key(lease) {
                // The grant may still be on its way: it is refused now.
                self.remember_done(*lease);
                given.push((*lease, GiveBackReason::Cancelled));
            }
        }
        self.give_back(given, out);
    }

    fn taken_back(&mut self, leases: &[LeaseId], out: &mut Vec<Command>) {
        self.heard();
        let waits = |lease: &&LeaseId| {
            let held = self.leases.get(lease);
            held.is_some_and(|held| held.state == State::Waiting)
        };
        let waiting: Vec<LeaseId> = leases.iter().filter(waits).copied().collect();
        self.give_up(&waiting, GiveBackReason::Cancelled, out);
    }

    fn acknowledged(&mut self, leases: &[LeaseId], out: &mut Vec<Command>) {
        self.heard();
        for lease in leases {
            self.drop_result(*lease, out);
        }
    }

    fn execution_ended(&mut self, result: Finished, out: &mut Vec<Command>) {
        let lease = result.lease;
        match self.leases.get(&lease).map(|held| held.state) {
            // Stopped because its time was over, and done all the same: worth offering.
            Some(State::Running | State::Stopping(GiveBackReason::LeaseEnded)) => {
                self.set_state(lease, State::Finished { result, sent: None });
                self.unsent.push(lease);
                self.send_results(out);
            }
            Some(State::Stopping(why)) => {
                self.remove(lease);
                out.push(Command::DropResult(lease));
                self.give_back(vec![(lease, why)], out);
            }
            Some(State::Waiting | State::Finished { .. }) | None => {}
        }
    }

    fn execution_failed(&mut self, lease: LeaseId, why: GiveBackReason, out: &mut Vec<Command>) {
        let why = match self.leases.get(&lease).map(|held| held.state) {
            Some(State::Running) => why,
            Some(State::Stopping(why)) => why,
            _ => return,
        };
        self.remove(lease);
        self.give_back(vec![(lease, why)], out);
    }

    /// Sends results again that were sent so long ago that they, or their acknowledgements, may be lost.
    fn resend(&mut self, out: &mut Vec<Command>) {
        if self.next_resend.is_none_or(|resend| resend > self.now) {
            return;
        }
        self.next_resend = None;
        for (id, lease) in &self.leases {
            if let State::Finished {
                sent: Some(sent), ..
            } = lease.state
            {
                let again = sent + self.config.resend_after;
                if again <= self.now {
                    self.unsent.push(*id);
                } else {
                    self.next_resend = Some(self.next_resend.map_or(again, |next| next.min(again)));
                }
            }
        }
        self.send_results(out);
    }

    fn send_results(&mut self, out: &mut Vec<Command>) {
        if self.unsent.is_empty() || !matches!(self.session, Session::Open(_)) {
            return;
        }
        let mut results = Vec::with_capacity(self.unsent.len());
        for lease in std::mem::take(&mut self.unsent) {
            if let Some(lease) = self.leases.get_mut(&lease)
                && let State::Finished { result, sent } = &mut lease.state
            {
                *sent = Some(self.now);
                results.push((lease.claim, *result));
            }
        }
        if !results.is_empty() {
            let again = self.now + self.config.resend_after;
            self.next_resend = Some(self.next_resend.map_or(again, |next| next.min(again)));
            out.push(Command::Send(Message::Ended(results)));
        }
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

    fn random_below(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        if bound == 0 { 0 } else { mixed % bound }
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
