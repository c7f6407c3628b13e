//! The network: messages both ways, late, lost, doubled or overtaken, and lies.

use super::*;

impl World {
    pub(super) fn latency(&mut self) -> u64 {
        let (low, high) = self.plan.latency;
        self.rng.range(low, high)
    }

    pub(super) fn arrival_up(&mut self, worker: usize) -> u64 {
        let latency = self.latency();
        let is_reordered = self.rng.percent(self.faults.reordering);
        let node = &mut self.nodes[worker];
        let at = self.now.max(node.cut_up_until) + latency;
        if is_reordered {
            return at;
        }
        node.last_up = at.max(node.last_up + 1);
        node.last_up
    }

    pub(super) fn arrival_down(&mut self, worker: usize) -> u64 {
        let latency = self.latency();
        let is_reordered = self.rng.percent(self.faults.reordering);
        let node = &mut self.nodes[worker];
        let at = self.now.max(node.cut_down_until) + latency;
        if is_reordered {
            return at;
        }
        node.last_down = at.max(node.last_down + 1);
        node.last_down
    }

    pub(super) fn connected(&mut self, worker: usize, life: u64) -> Kept {
        if self.nodes[worker].life != life {
            return Ok(());
        }
        if self.coordinator.scheduler.is_none() {
            return self.agent(worker, agent::Event::ConnectFailed);
        }
        self.next_session += 1;
        let session = SessionId(self.next_session);
        self.coordinator.sessions.insert(session, worker);
        self.nodes[worker].session = Some(session);
        self.agent(worker, agent::Event::SessionOpened)
    }

    pub(super) fn send_up(&mut self, worker: usize, message: Message) {
        let Some(session) = self.nodes[worker].session else {
            return;
        };
        if matches!(message, Message::Goodbye) {
            self.nodes[worker].has_said_goodbye = true;
            return;
        }
        let mut events = vec![self.event_of(worker, session, message)];
        if self.nodes[worker].plan.lies && self.rng.one_in(4) {
            events.extend(self.lie(worker, session));
        }
        for mut event in events {
            if self.sabotage == Some(Sabotage::TrustsEveryClaim) {
                self.vouch_for(worker, &mut event);
            }
            let is_hello = matches!(event, Event::WorkerJoined { .. });
            if !is_hello && self.rng.percent(self.faults.loss) {
                continue;
            }
            if self.sabotage == Some(Sabotage::LosesWhatIsGivenBack)
                && matches!(
                    event,
                    Event::LeasesGivenBack { .. } | Event::WorkerReported { .. }
                )
            {
                continue;
            }
            if self.rng.percent(self.faults.duplication) {
                let at = self.arrival_up(worker);
                self.at(at, Ev::ToCoordinator(session, Box::new(event.clone())));
            }
            let at = self.arrival_up(worker);
            self.at(at, Ev::ToCoordinator(session, Box::new(event)));
        }
    }

    pub(super) fn event_of(
        &mut self,
        worker: usize,
        session: SessionId,
        message: Message,
    ) -> Event {
        match message {
            Message::Hello {
                incarnation,
                slots,
                credit,
                is_draining,
                mut held,
                images,
            } => {
                if self.nodes[worker].plan.lies {
                    let claim = self.foreign_claim(worker);
                    let state = HeldState::Running;
                    held.extend(claim.map(|claim| Held { claim, state }));
                }
                Event::WorkerJoined {
                    session,
                    hello: Box::new(Hello {
                        worker: self.nodes[worker].id.clone(),
                        incarnation,
                        slots,
                        credit,
                        label: "".into(),
                        target: self.nodes[worker].plan.target.into(),
                        takes_streams: self.nodes[worker].plan.takes_streams,
                        is_draining,
                        held,
                        images,
                    }),
                }
            }
            Message::Report {
                number,
                waiting,
                running,
            } => Event::WorkerReported {
                session,
                report: number,
                waiting,
                running,
            },
            Message::Ended(results) => Event::LeasesEnded {
                session,
                ended: results
                    .into_iter()
                    .map(|(claim, result)| Ended {
                        claim,
                        outcome: result.outcome,
                        run_time: Micros::from(result.run_time),
                        outcome_bytes: result.outcome_bytes,
                        digest: self.digest(result.outcome_bytes),
                    })
                    .collect(),
            },
            Message::GaveBack(given) => Event::LeasesGivenBack { session, given },
            Message::SlotsSet { slots, credit } => Event::SlotsSet {
                session,
                slots,
                credit,
            },
            Message::ImageHeld { function, is_held } => Event::ImageHeld {
                session,
                function,
                is_held,
            },
            Message::Draining | Message::Goodbye => Event::WorkerDraining { session },
        }
    }

    /// Outcomes of a task differ in nothing but their size here.
    fn digest(&self, outcome_bytes: u64) -> Digest {
        match self.sabotage {
            Some(Sabotage::ComparesNothing) => Digest::of(b""),
            _ => Digest::of(&outcome_bytes.to_le_bytes()),
        }
    }

    /// A claim that was given to somebody else; its token is made up or stolen.
    pub(super) fn foreign_claim(&mut self, worker: usize) -> Option<Claim> {
        let id = &self.nodes[worker].id;
        let recent = self.oracle.grants.iter().rev().take(40);
        let others: Vec<_> = recent.filter(|(_, given)| given.worker != *id).collect();
        let (lease, given) = self.rng.pick(&others).copied()?;
        let stolen = given.token;
        let claim = |token| Claim {
            lease: *lease,
            identity: TaskIdentity::new(given.job, TaskId(given.task)),
            attempt: given.attempt,
            token,
        };
        let made_up = LeaseToken::from_bytes([1; 16]);
        Some(if self.rng.one_in(2) {
            claim(stolen)
        } else {
            claim(made_up)
        })
    }

    pub(super) fn lie(&mut self, worker: usize, session: SessionId) -> Option<Event> {
        let claim = self.foreign_claim(worker)?;
        Some(match self.rng.range(0, 4) {
            0 | 1 => Event::LeasesEnded {
                session,
                ended: vec![Ended {
                    claim,
                    outcome: OutcomeKind::Succeeded,
                    run_time: Micros(1),
                    outcome_bytes: 6,
                    digest: Digest::from_bytes([0; 32]),
                }],
            },
            2 => Event::LeasesGivenBack {
                session,
                given: vec![
                    (claim.lease, GiveBackReason::SlotDied),
                    (LeaseId(u64::MAX), GiveBackReason::Cancelled),
                ],
            },
            _ => Event::WorkerReported {
                session,
                report: u64::MAX,
                waiting: vec![claim.lease, claim.lease],
                running: vec![claim.lease, LeaseId(3)],
            },
        })
    }

    /// Sabotage: makes every claim genuine.
    pub(super) fn vouch_for(&self, worker: usize, event: &mut Event) {
        let id = &self.nodes[worker].id;
        if let Event::LeasesEnded { ended, .. } = event {
            for ended in ended {
                let claim = &mut ended.claim;
                claim.token = LEASE_KEY.token(id, claim.lease, claim.identity, claim.attempt);
            }
        }
    }

    pub(super) fn arrive_up(&mut self, session: SessionId, event: Event) -> Kept {
        let is_open = self.coordinator.sessions.contains_key(&session);
        if !is_open && !self.rng.percent(self.faults.stale) {
            return Ok(());
        }
        // What comes late must not make a session that the driver has closed.
        if !is_open && matches!(event, Event::WorkerJoined { .. }) {
            return Ok(());
        }
        self.scheduler(Some(event))
    }

    pub(super) fn left(&mut self, session: SessionId, how: Leaving) -> Kept {
        if self.coordinator.sessions.remove(&session).is_none() {
            return Ok(());
        }
        self.scheduler(Some(Event::WorkerLeft { session, how }))
    }

    pub(super) fn lost(&mut self, worker: usize, session: SessionId) -> Kept {
        if self.nodes[worker].session != Some(session) {
            return Ok(());
        }
        self.nodes[worker].session = None;
        self.agent(worker, agent::Event::SessionLost)
    }

    pub(super) fn send_down(&mut self, session: SessionId, event: agent::Event) {
        let Some(worker) = self.coordinator.sessions.get(&session).copied() else {
            return;
        };
        let is_welcome = matches!(event, agent::Event::Welcomed { .. });
        if !is_welcome && self.rng.percent(self.faults.loss) {
            return;
        }
        if self.rng.percent(self.faults.duplication) {
            let at = self.arrival_down(worker);
            self.at(at, Ev::ToWorker(worker, session, Box::new(event.clone())));
        }
        let at = self.arrival_down(worker);
        self.at(at, Ev::ToWorker(worker, session, Box::new(event)));
    }

    pub(super) fn arrive_down(
        &mut self,
        worker: usize,
        session: SessionId,
        event: agent::Event,
    ) -> Kept {
        let now = self.now;
        let node = &mut self.nodes[worker];
        if node.session != Some(session) {
            return Ok(());
        }
        if matches!(
            event,
            agent::Event::Renewed { .. } | agent::Event::Welcomed { .. }
        ) {
            for execution in node.executions.values_mut() {
                execution.vouched = now;
            }
        }
        if matches!(event, agent::Event::SessionClosed(_)) {
            node.session = None;
        }
        self.agent(worker, event)
    }
}
