//! The coordinator's side: steps made durable in groups, and commands carried out after that.

use ppwasm_scheduler::Record;

use super::*;

impl World {
    pub(super) fn coordinator_starts(&mut self) -> Kept {
        if self.coordinator.scheduler.is_some() {
            return Ok(());
        }
        if self.coordinator.disk_full_until > self.now {
            self.at(self.coordinator.disk_full_until, Ev::CoordinatorStarts);
            return Ok(());
        }
        self.starts += 1;
        self.oracle.restarted();
        let out = self.coordinator.start(self.now, &self.oracle)?;
        self.take(out)?;
        self.coordinator_deadline();
        Ok(())
    }

    pub(super) fn coordinator_timer(&mut self, epoch: u32) -> Kept {
        // One that was set for later than another that came since is void.
        let is_set = self
            .coordinator
            .timer
            .is_some_and(|timer| timer <= self.now);
        if self.coordinator.epoch.number() == epoch && is_set {
            self.coordinator.timer = None;
            self.scheduler(None)?;
        }
        Ok(())
    }

    /// Tells the scheduler something, or only the time.
    pub(super) fn scheduler(&mut self, event: Option<Event>) -> Kept {
        let now = self.coordinator.local(self.now);
        let Some(scheduler) = &mut self.coordinator.scheduler else {
            return Ok(());
        };
        let mut out = Outbox::default();
        match event {
            Some(event) => scheduler.handle(now, event, &mut out),
            None => scheduler.tick(now, &mut out),
        }
        self.coordinator.steps_made += 1;
        if self
            .coordinator
            .steps_made
            .is_multiple_of(self.plan.check_every)
        {
            scheduler.check_invariants()?;
        }
        self.take(out)?;
        self.coordinator_deadline();
        Ok(())
    }

    pub(super) fn coordinator_deadline(&mut self) {
        let coordinator = &mut self.coordinator;
        let deadline = coordinator
            .scheduler
            .as_ref()
            .and_then(|scheduler| scheduler.next_deadline());
        if let Some(deadline) = deadline {
            let at = coordinator.global(deadline).max(self.now);
            if coordinator.timer.is_none_or(|timer| timer > at) {
                coordinator.timer = Some(at);
                let epoch = coordinator.epoch.number();
                self.at(at, Ev::CoordinatorTimer(epoch));
            }
        }
    }

    /// A step: its records are to be durable before its commands go out, but for grants that overtake nothing.
    pub(super) fn take(&mut self, out: Outbox) -> Kept {
        if out.is_empty() {
            return Ok(());
        }
        let Outbox {
            mut records,
            mut commands,
        } = out;
        if self.sabotage == Some(Sabotage::CommandsBeforeCommit) {
            for record in &records {
                self.oracle.decided(record);
            }
            for command in std::mem::take(&mut commands) {
                self.carry_out(command)?;
            }
        }
        if self.sabotage == Some(Sabotage::AcknowledgesBeforeCommit) {
            let is_early = |command: &mut Command| matches!(command, Command::Acknowledge { .. });
            for command in commands.extract_if(.., is_early).collect::<Vec<_>>() {
                self.carry_out(command)?;
            }
        }
        if self.sabotage == Some(Sabotage::SkipsSomeEnds) {
            records.retain(|record| !matches!(record, Record::JobEnded { .. }));
        }
        let commands = self.grant_early(&records, commands)?;
        self.coordinator.steps.push_back(Step { records, commands });
        self.commit()
    }

    /// Carries out what need not wait, as the coordinator does. Returns the rest.
    fn grant_early(
        &mut self,
        records: &[Record],
        commands: Vec<Command>,
    ) -> Result<Vec<Command>, Broken> {
        let steps = &self.coordinator.steps;
        let mut waiting = steps.iter().flat_map(|step| &step.commands);
        let mut undone = steps.iter().flat_map(|step| &step.records).chain(records);
        let mut is_free = waiting.all(Command::is_answer) && undone.all(Record::lets_grants_pass);
        let mut rest = Vec::new();
        for mut command in commands {
            let may_be_early = is_free && command.may_be_early();
            let is_early = may_be_early
                && match &mut command {
                    Command::Grant {
                        session, leases, ..
                    } => (self.coordinator.scheduler.as_ref())
                        .is_some_and(|scheduler| scheduler.make_early(*session, leases)),
                    _ => true,
                };
            if is_early {
                self.oracle.is_early(&command);
                self.carry_out(command)?;
            } else {
                is_free &= command.is_answer();
                rest.push(command);
            }
        }
        Ok(rest)
    }

    pub(super) fn commit(&mut self) -> Kept {
        while self.coordinator.committing == 0 {
            let Some(first) = self.coordinator.steps.front() else {
                return Ok(());
            };
            if first.records.is_empty() {
                if let Some(step) = self.coordinator.steps.pop_front() {
                    for command in step.commands {
                        self.carry_out(command)?;
                    }
                }
                continue;
            }
            self.coordinator.committing = self.coordinator.steps.len();
            let (low, high) = self.plan.commit;
            let time = self.rng.range(low, high);
            let epoch = self.coordinator.epoch.number();
            self.after(time, Ev::Committed(epoch));
        }
        Ok(())
    }

    pub(super) fn committed(&mut self, epoch: u32) -> Kept {
        let is_current = self.coordinator.epoch.number() == epoch;
        if !is_current || self.coordinator.scheduler.is_none() || self.coordinator.committing == 0 {
            return Ok(());
        }
        if self.coordinator.disk_full_until > self.now || self.rng.percent(self.faults.commit_fails)
        {
            return self.crash_coordinator(false);
        }
        if self.rng.percent(self.faults.commit_lies) {
            return self.crash_coordinator(true);
        }
        let count = std::mem::take(&mut self.coordinator.committing);
        let steps: Vec<Step> = self.coordinator.steps.drain(..count).collect();
        self.make_durable(&steps)?;
        for step in steps {
            for record in &step.records {
                self.oracle.decided(record);
            }
            for command in step.commands {
                self.carry_out(command)?;
            }
        }
        self.commit()?;
        if self.rng.one_in(200) {
            self.coordinator.compare_with_restored()?;
        }
        Ok(())
    }

    pub(super) fn make_durable(&mut self, steps: &[Step]) -> Kept {
        for record in steps.iter().flat_map(|step| &step.records) {
            self.oracle.durable(record)?;
            let is_lost = self.coordinator.loses_records && self.rng.one_in(20);
            if !is_lost {
                self.coordinator.durable.push(record.clone());
            }
        }
        Ok(())
    }

    /// What was being committed is durable as a whole, or not at all.
    pub(super) fn crash_coordinator(&mut self, is_durable: bool) -> Kept {
        if self.coordinator.scheduler.is_none() {
            return Ok(());
        }
        let count = std::mem::take(&mut self.coordinator.committing);
        let steps: Vec<Step> = self.coordinator.steps.drain(..).collect();
        if is_durable {
            self.make_durable(&steps[..count])?;
        }
        self.coordinator.scheduler = None;
        self.coordinator.paused_until = 0;
        self.requests.clear();
        let sessions = std::mem::take(&mut self.coordinator.sessions);
        for (session, worker) in sessions {
            let noticed = if self.rng.one_in(2) { S } else { IDLE };
            let noticed = self.rng.range(0, noticed);
            self.after(noticed, Ev::Lost(worker, session));
        }
        let down = self.rng.range(100 * MS, 5 * S);
        self.after(down, Ev::CoordinatorStarts);
        Ok(())
    }

    pub(super) fn carry_out(&mut self, command: Command) -> Kept {
        let duration = |micros: Micros| micros.duration();
        match command {
            Command::Accept { request, accepted } => {
                if let Some(job) = self.requests.remove(&request)
                    && self.jobs[job].request == Some(request)
                {
                    if let Some(promise) = self.jobs[job].promise(accepted) {
                        let id = self.jobs[job].id;
                        self.oracle.accepted(id, promise)?;
                    }
                    self.jobs[job].accepted(self.now, accepted);
                    let time = self.latency();
                    self.after(time, Ev::Client(job));
                }
            }
            Command::Refuse {
                request,
                why,
                retry_after,
            } => {
                if let Some(job) = self.requests.remove(&request)
                    && self.jobs[job].request == Some(request)
                {
                    self.jobs[job].refused(why)?;
                    let time = retry_after.map_or(S, |after| after.0);
                    self.after(time, Ev::Client(job));
                }
            }
            Command::BuildImage { function } => {
                let epoch = self.coordinator.epoch.number();
                let time = self.rng.range(MS, S);
                self.after(time, Ev::ImageBuilt(epoch, function));
            }
            Command::SendImage { .. } => {}
            Command::Welcome {
                session,
                pace,
                refused,
            } => self.send_down(
                session,
                agent::Event::Welcomed {
                    lease: duration(pace.lease),
                    report_every: duration(pace.report_every),
                    refused,
                },
            ),
            Command::Renew {
                session,
                report,
                pace,
                refused,
            } => self.send_down(
                session,
                agent::Event::Renewed {
                    report,
                    lease: duration(pace.lease),
                    report_every: duration(pace.report_every),
                    refused,
                },
            ),
            Command::Grant {
                session,
                leases,
                lasts,
            } => {
                let Some(worker) = self.coordinator.sessions.get(&session).copied() else {
                    return Ok(());
                };
                let id = self.nodes[worker].id.clone();
                for lease in &leases {
                    let claim = &lease.claim;
                    let given = Given {
                        worker: id.clone(),
                        job: claim.identity.job,
                        task: claim.identity.task.0,
                        attempt: claim.attempt,
                        token: claim.token,
                        life: self.oracle.life(),
                    };
                    self.oracle.granted(claim.lease, given)?;
                }
                let granted = leases.iter().map(|lease| Granted {
                    claim: lease.claim,
                    alone: lease.alone,
                });
                let leases = granted.collect();
                let lasts = duration(lasts);
                self.send_down(session, agent::Event::Granted { leases, lasts });
            }
            Command::Cancel { session, leases } => {
                self.send_down(session, agent::Event::Cancelled(leases));
            }
            Command::TakeBack { session, leases } => {
                self.send_down(session, agent::Event::TakenBack(leases));
            }
            Command::Acknowledge { session, leases } => {
                if let Some(worker) = self.coordinator.sessions.get(&session) {
                    for lease in &leases {
                        self.oracle.acknowledged(&self.nodes[*worker].id, *lease)?;
                    }
                }
                self.send_down(session, agent::Event::Acknowledged(leases));
            }
            Command::CloseSession { session, why } => {
                let why = match why {
                    CloseReason::Replaced => Closed::Replaced,
                    CloseReason::Revoked => Closed::Revoked,
                    CloseReason::TooManyWorkers => Closed::Other,
                };
                self.send_down(session, agent::Event::SessionClosed(why));
                self.coordinator.sessions.remove(&session);
            }
        }
        Ok(())
    }

    pub(super) fn image_built(&mut self, epoch: u32, function: Digest) -> Kept {
        if self.coordinator.epoch.number() != epoch {
            return Ok(());
        }
        let event = if function == ClientJob::function(100) {
            Event::ImageFailed { function }
        } else {
            Event::ImageReady { function, bytes: 1 }
        };
        self.scheduler(Some(event))
    }
}
