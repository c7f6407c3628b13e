//! The session with the coordinator: how it opens, what is reported in it, and when it is given up.

use std::collections::VecDeque;
use std::time::Duration;

use ppwasm_proto::fabric::{Held, HeldState, LeaseId};

use super::leases::State;
use super::{Agent, Closed, Command, ExitReason, Message};

/// Reports whose answers are waited for.
const REPORTS_MAX: usize = 16;

#[derive(Debug)]
pub(super) enum Session {
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
pub(super) struct Open {
    pub(super) since: Duration,
    pub(super) heard: Duration,
    pub(super) report_every: Duration,
    pub(super) report_at: Duration,
    /// Reports that were sent, and when.
    pub(super) reports: VecDeque<(u64, Duration)>,
}

impl Agent {
    /// When a session that says nothing more is given up.
    pub(super) fn silent_at(&self, open: &Open) -> Duration {
        open.heard + open.report_every + self.config.silence_max
    }

    pub(super) fn greet(&mut self, out: &mut Vec<Command>) {
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

    pub(super) fn credit(&self) -> u32 {
        self.slots.saturating_add(self.config.waiting_max)
    }

    pub(super) fn welcomed(
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

    pub(super) fn lose_session(&mut self) {
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

    pub(super) fn end_session(&mut self, why: Closed, out: &mut Vec<Command>) {
        match why {
            Closed::Other => self.lose_session(),
            Closed::Replaced => self.exit(ExitReason::Replaced, out),
            Closed::Revoked => self.exit(ExitReason::Revoked, out),
        }
    }

    pub(super) fn exit(&mut self, why: ExitReason, out: &mut Vec<Command>) {
        let running = self
            .leases
            .values()
            .filter(|lease| lease.state.occupies_slot());
        out.extend(running.map(|lease| Command::Stop(lease.claim.lease)));
        out.push(Command::Exit(why));
        self.has_exited = true;
    }

    pub(super) fn heard(&mut self) {
        if let Session::Open(open) = &mut self.session {
            open.heard = self.now;
        }
    }

    pub(super) fn report(&mut self, out: &mut Vec<Command>) {
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

    pub(super) fn renewed(
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

    pub(super) fn random_below(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        if bound == 0 { 0 } else { mixed % bound }
    }
}
