//! Workers: starts and deaths, what agents are told and what they say, and tasks that only take time.

use super::*;

/// Sizes of outcomes from here on are made up.
const MADE_UP: u64 = 1 << 32;

impl World {
    pub(super) fn worker_starts(&mut self, worker: usize) -> Kept {
        if self.nodes[worker].agent.is_some() || self.nodes[worker].has_left {
            return Ok(());
        }
        let seed = self.rng.next();
        self.nodes[worker].start(self.now, seed);
        self.nodes[worker].timer = Some(self.now);
        let life = self.nodes[worker].life;
        self.after(0, Ev::WorkerTimer(worker, life));
        Ok(())
    }

    pub(super) fn worker_timer(&mut self, worker: usize, life: u64) -> Kept {
        let now = self.now;
        let node = &mut self.nodes[worker];
        if node.life != life || node.timer.is_none_or(|timer| timer > now) {
            return Ok(());
        }
        node.timer = None;
        let local = node.local(now);
        let mut commands = Vec::new();
        if let Some(agent) = &mut node.agent {
            agent.tick(local, &mut commands);
        }
        self.obey_agent(worker, commands)
    }

    /// Tells an agent something and does what it says.
    pub(super) fn agent(&mut self, worker: usize, event: agent::Event) -> Kept {
        let now = self.now;
        let node = &mut self.nodes[worker];
        let local = node.local(now);
        let mut commands = Vec::new();
        if let Some(agent) = &mut node.agent {
            agent.handle(local, event, &mut commands);
        }
        self.obey_agent(worker, commands)
    }

    pub(super) fn obey_agent(&mut self, worker: usize, commands: Vec<agent::Command>) -> Kept {
        for command in commands {
            self.obey(worker, command)?;
        }
        let node = &mut self.nodes[worker];
        if let Some(agent) = &node.agent {
            agent.check_invariants()?;
        }
        let deadline = node.agent.as_ref().and_then(agent::Agent::next_deadline);
        if let Some(deadline) = deadline {
            let at = node.global(deadline).max(self.now);
            if node.timer.is_none_or(|timer| timer > at) {
                node.timer = Some(at);
                let life = node.life;
                self.at(at, Ev::WorkerTimer(worker, life));
            }
        }
        Ok(())
    }

    pub(super) fn obey(&mut self, worker: usize, command: agent::Command) -> Kept {
        let life = self.nodes[worker].life;
        match command {
            agent::Command::Connect => {
                let round_trip = self.latency() + self.latency();
                let node = &self.nodes[worker];
                let is_cut = node.cut_up_until > self.now || node.cut_down_until > self.now;
                if is_cut || self.coordinator.scheduler.is_none() {
                    self.after(S, Ev::ConnectFailed(worker, life));
                } else {
                    self.after(round_trip, Ev::Connected(worker, life));
                }
            }
            agent::Command::Disconnect => {
                let how = if self.nodes[worker].has_said_goodbye {
                    Leaving::Orderly
                } else {
                    Leaving::Lost
                };
                if let Some(session) = self.nodes[worker].session.take() {
                    let at = self.arrival_up(worker);
                    self.at(at + 1, Ev::Left(session, how));
                }
            }
            agent::Command::Send(message) => self.send_up(worker, message),
            agent::Command::Start(granted) => return self.start_execution(worker, &granted),
            agent::Command::Stop(_) if self.sabotage == Some(Sabotage::NeverFences) => {}
            agent::Command::Stop(lease) => {
                if let Some(execution) = self.nodes[worker].executions.get_mut(&lease) {
                    execution.is_stopping = true;
                    let time = self.rng.range(100, 10 * MS);
                    self.after(time, Ev::Stopped(worker, life, lease));
                }
            }
            agent::Command::DropResult(_) => {}
            agent::Command::Exit(_) => {
                let node = &mut self.nodes[worker];
                node.agent = None;
                node.life += 1;
                node.has_left = true;
                node.executions.clear();
                if let Some(session) = node.session.take() {
                    self.after(S, Ev::Left(session, Leaving::Lost));
                }
            }
        }
        Ok(())
    }

    pub(super) fn start_execution(&mut self, worker: usize, granted: &Granted) -> Kept {
        let identity = granted.claim.identity;
        let job = self.jobs.iter().find(|job| job.id == identity.job);
        let Some(job) = job else {
            return Err(format!("{} is run and nobody submitted it", identity.job));
        };
        let mut chance = Rng::new(identity.task.0 ^ u64::from(identity.job.as_bytes()[0]) << 32);
        let node = &mut self.nodes[worker];
        let mut slots = usize::try_from(node.slots).unwrap_or(0);
        if self.sabotage == Some(Sabotage::OverfillsSlots) {
            slots = slots.saturating_sub(1);
        }
        if node.executions.len() >= slots {
            return Err(format!(
                "{} runs {} with {slots} slots",
                node.id,
                node.executions.len() + 1
            ));
        }
        if granted.alone && !node.executions.is_empty() {
            return Err(format!("{} runs something beside what runs alone", node.id));
        }
        let vouched = self.now;
        let is_stopping = false;
        node.executions.insert(
            granted.claim.lease,
            Execution {
                vouched,
                is_stopping,
            },
        );
        let run_time = job.plan.run_time * node.plan.slowness / 100;
        let run_time = run_time * chance.range(80, 120) / 100;
        let lease = granted.claim.lease;
        let exec = if chance.one_in(job.plan.poison_one_in) {
            Exec::KillsTheWorker
        } else if node.plan.is_black_hole {
            Exec::Fails
        } else if chance.one_in(job.plan.raises_one_in) {
            Exec::Ends(OutcomeKind::Raised, run_time, 0)
        } else {
            Exec::Ends(OutcomeKind::Succeeded, run_time, 8)
        };
        let exec = self.perhaps_wrong(worker, exec);
        let time = if matches!(exec, Exec::Fails) {
            MS
        } else {
            run_time
        };
        let life = self.nodes[worker].life;
        self.after(time, Ev::Executed(worker, life, lease, exec));
        Ok(())
    }

    /// Some workers make outcomes up, no two the same.
    fn perhaps_wrong(&mut self, worker: usize, exec: Exec) -> Exec {
        let wrong_percent = self.nodes[worker].plan.wrong_percent;
        match exec {
            Exec::Ends(_, run_time, _) if wrong_percent > 0 && self.rng.percent(wrong_percent) => {
                let made_up = MADE_UP + self.rng.range(0, u64::MAX / 2);
                Exec::Ends(OutcomeKind::Succeeded, run_time, made_up)
            }
            exec => exec,
        }
    }

    pub(super) fn executed(
        &mut self,
        worker: usize,
        life: u64,
        lease: LeaseId,
        exec: Exec,
    ) -> Kept {
        let node = &mut self.nodes[worker];
        if node.life != life {
            return Ok(());
        }
        let Some(execution) = node.executions.get(&lease).copied() else {
            return Ok(());
        };
        let unvouched = self.now - execution.vouched;
        if unvouched > LEASE && !execution.is_stopping && !node.is_tampered {
            return Err(format!(
                "{} went on with {lease} for {unvouched} us without a word",
                node.id
            ));
        }
        if execution.is_stopping && self.rng.one_in(2) {
            return Ok(());
        }
        match exec {
            Exec::KillsTheWorker => self.kill(worker),
            Exec::Fails => {
                self.nodes[worker].executions.remove(&lease);
                self.agent(
                    worker,
                    agent::Event::ExecutionFailed(lease, GiveBackReason::HostFailed),
                )
            }
            Exec::Ends(outcome, run_time, outcome_bytes) => {
                self.nodes[worker].executions.remove(&lease);
                self.oracle.answered(lease, outcome_bytes < MADE_UP);
                let run_time = Duration::from_micros(run_time);
                let finished = Finished {
                    lease,
                    outcome,
                    run_time,
                    outcome_bytes,
                };
                self.agent(worker, agent::Event::ExecutionEnded(finished))
            }
        }
    }

    pub(super) fn kill(&mut self, worker: usize) -> Kept {
        let node = &mut self.nodes[worker];
        if node.agent.take().is_none() {
            return Ok(());
        }
        node.life += 1;
        node.executions.clear();
        if let Some(session) = node.session.take() {
            let noticed = if self.rng.one_in(2) {
                self.rng.range(0, S)
            } else {
                self.rng.range(S, IDLE)
            };
            self.after(noticed, Ev::Left(session, Leaving::Lost));
        }
        let dead = self.rng.range(500 * MS, 5 * S);
        self.after(dead, Ev::WorkerStarts(worker));
        Ok(())
    }
}
