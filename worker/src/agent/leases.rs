//! Leases: what is granted, when it has to stop, and what is given back.

use std::time::Duration;

use ppwasm_proto::fabric::{Claim, GiveBackReason, LeaseId};

use super::session::Session;
use super::{Agent, Command, Finished, Granted, Message};

/// Leases that have ended and are remembered, against grants that come again.
const DONE_MAX: usize = 4096;

#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    pub(super) claim: Claim,
    pub(super) alone: bool,
    pub(super) received: Duration,
    pub(super) deadline: Duration,
    pub(super) state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
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
    pub(super) const fn occupies_slot(self) -> bool {
        matches!(self, Self::Running | Self::Stopping(_))
    }
}

impl Agent {
    pub(super) fn fence(&self, lease: &Lease) -> Duration {
        lease.deadline.saturating_sub(self.config.safety)
    }

    /// Ends leases that may be others' by now.
    pub(super) fn fence_leases(&mut self, out: &mut Vec<Command>) {
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

    pub(super) fn insert(&mut self, lease: Lease) {
        let fence = self.fence(&lease);
        self.next_fence = Some(self.next_fence.map_or(fence, |next| next.min(fence)));
        self.waiting.insert(lease.claim.lease);
        self.leases.insert(lease.claim.lease, lease);
    }

    pub(super) fn remove(&mut self, lease: LeaseId) {
        if let Some(held) = self.leases.remove(&lease) {
            self.uncount(lease, held.state);
            self.remember_done(lease);
        }
    }

    pub(super) fn set_state(&mut self, lease: LeaseId, state: State) {
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

    pub(super) fn uncount(&mut self, lease: LeaseId, was: State) {
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
    pub(super) fn give_up(
        &mut self,
        leases: &[LeaseId],
        why: GiveBackReason,
        out: &mut Vec<Command>,
    ) {
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

    pub(super) fn give_back(&self, given: Vec<(LeaseId, GiveBackReason)>, out: &mut Vec<Command>) {
        if !given.is_empty() && matches!(self.session, Session::Open(_)) {
            out.push(Command::Send(Message::GaveBack(given)));
        }
    }

    /// Leases that are not this worker's any longer, by the coordinator: nothing of them is wanted.
    pub(super) fn refused(&mut self, refused: &[LeaseId], out: &mut Vec<Command>) {
        self.give_up(refused, GiveBackReason::Cancelled, out);
        for lease in refused {
            self.drop_result(*lease, out);
        }
    }

    pub(super) fn drop_result(&mut self, lease: LeaseId, out: &mut Vec<Command>) {
        let is_finished = |held: &Lease| matches!(held.state, State::Finished { .. });
        if self.leases.get(&lease).is_some_and(is_finished) {
            self.remove(lease);
            out.push(Command::DropResult(lease));
        }
    }

    pub(super) fn remember_done(&mut self, lease: LeaseId) {
        self.done.insert(lease);
        while self.done.len() > DONE_MAX {
            self.done_floor = self.done.pop_first().max(self.done_floor);
        }
    }

    /// Leases that were held at `sent` last until `lease` after it.
    pub(super) fn extend(&mut self, sent: Duration, lease: Duration) {
        for held in self.leases.values_mut() {
            if held.received <= sent {
                held.deadline = held.deadline.max(sent + lease);
            }
        }
    }

    pub(super) fn granted(&mut self, leases: &[Granted], lasts: Duration, out: &mut Vec<Command>) {
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

    pub(super) fn cancelled(&mut self, leases: &[LeaseId], out: &mut Vec<Command>) {
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

    pub(super) fn taken_back(&mut self, leases: &[LeaseId], out: &mut Vec<Command>) {
        self.heard();
        let waits = |lease: &&LeaseId| {
            let held = self.leases.get(lease);
            held.is_some_and(|held| held.state == State::Waiting)
        };
        let waiting: Vec<LeaseId> = leases.iter().filter(waits).copied().collect();
        self.give_up(&waiting, GiveBackReason::Cancelled, out);
    }

    pub(super) fn acknowledged(&mut self, leases: &[LeaseId], out: &mut Vec<Command>) {
        self.heard();
        for lease in leases {
            self.drop_result(*lease, out);
        }
    }

    pub(super) fn execution_ended(&mut self, result: Finished, out: &mut Vec<Command>) {
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

    pub(super) fn execution_failed(
        &mut self,
        lease: LeaseId,
        why: GiveBackReason,
        out: &mut Vec<Command>,
    ) {
        let why = match self.leases.get(&lease).map(|held| held.state) {
            Some(State::Running) => why,
            Some(State::Stopping(why)) => why,
            _ => return,
        };
        self.remove(lease);
        self.give_back(vec![(lease, why)], out);
    }
}
