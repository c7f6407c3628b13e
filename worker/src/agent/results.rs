//! Results, which are sent until they are acknowledged.

use super::leases::State;
use super::session::Session;
use super::{Agent, Command, Message};

impl Agent {
    /// Sends results again that were sent so long ago that they, or their acknowledgements, may be lost.
    pub(super) fn resend(&mut self, out: &mut Vec<Command>) {
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

    pub(super) fn send_results(&mut self, out: &mut Vec<Command>) {
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
}
