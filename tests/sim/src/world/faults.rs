//! What goes wrong, when, and how it is all made well again.

use super::*;

impl World {
    pub(super) fn plan_faults(&mut self) {
        let faults = &self.faults;
        let every = [
            (Fault::Reset, faults.reset_every),
            (Fault::Partition, faults.partition_every),
            (Fault::Swizzle, faults.swizzle_every),
            (Fault::WorkerCrash, faults.worker_crash_every),
            (Fault::CoordinatorCrash, faults.coordinator_crash_every),
            (Fault::DiskFull, faults.disk_full_every),
            (Fault::WorkerPause, faults.worker_pause_every),
            (Fault::CoordinatorPause, faults.coordinator_pause_every),
            (Fault::ClockJump, faults.clock_jump_every),
            (Fault::Drain, if self.plan.drains { 20 * S } else { 0 }),
            (Fault::Slots, if self.plan.slot_changes { 5 * S } else { 0 }),
        ];
        for (fault, every) in every {
            if every == 0 {
                continue;
            }
            let mut at = self.rng.range(0, 2 * every);
            while at < self.plan.chaos {
                self.at(at, Ev::Fault(fault));
                at += self.rng.range(1, 2 * every);
            }
        }
    }

    pub(super) fn strike(&mut self, fault: Fault) -> Kept {
        let worker = usize::try_from(self.rng.range(0, self.nodes.len() as u64)).unwrap_or(0);
        let long = self.rng.range(0, 60 * S);
        match fault {
            Fault::Reset => {
                if let Some(session) = self.nodes[worker].session {
                    let (up, down) = (self.latency(), self.latency());
                    if !self.rng.one_in(4) {
                        self.after(down, Ev::Lost(worker, session));
                    }
                    self.after(up, Ev::Left(session, Leaving::Lost));
                }
            }
            Fault::Partition => self.partition(worker, long),
            Fault::Swizzle => {
                for worker in 0..self.nodes.len() {
                    let long = self.rng.range(0, 60 * S);
                    self.partition(worker, long);
                }
            }
            Fault::WorkerCrash => return self.kill(worker),
            Fault::CoordinatorCrash => {
                let is_durable = self.rng.one_in(2);
                return self.crash_coordinator(is_durable);
            }
            Fault::DiskFull => self.coordinator.disk_full_until = self.now + long / 3,
            Fault::WorkerPause => {
                let node = &mut self.nodes[worker];
                node.paused_until = self.now + long;
                node.is_tampered = true;
                if long > IDLE
                    && let Some(session) = node.session
                {
                    self.after(IDLE, Ev::Left(session, Leaving::Lost));
                }
            }
            Fault::CoordinatorPause => {
                self.coordinator.paused_until = self.now + long;
                if long > IDLE {
                    let sessions: Vec<_> = self
                        .coordinator
                        .sessions
                        .iter()
                        .map(|(s, w)| (*s, *w))
                        .collect();
                    for (session, worker) in sessions {
                        self.after(IDLE, Ev::Lost(worker, session));
                        self.after(long + 1, Ev::Left(session, Leaving::Lost));
                    }
                }
            }
            Fault::ClockJump => {
                if self.rng.one_in(3) {
                    self.coordinator.clock += long;
                    self.coordinator_deadline();
                } else {
                    let node = &mut self.nodes[worker];
                    node.clock += long;
                    node.is_tampered = true;
                    node.timer = Some(self.now);
                    let life = node.life;
                    self.after(0, Ev::WorkerTimer(worker, life));
                }
            }
            Fault::Drain => return self.drain(worker),
            Fault::Slots => {
                let slots = u32::try_from(self.rng.range(0, 6)).unwrap_or(1);
                self.nodes[worker].slots = slots.max(1);
                return self.agent(worker, agent::Event::SlotsSet(slots.max(1)));
            }
        }
        Ok(())
    }

    pub(super) fn drain(&mut self, worker: usize) -> Kept {
        self.next_request += 1;
        let request = RequestId(self.next_request);
        let id = self.nodes[worker].id.clone();
        match self.rng.range(0, 4) {
            0 => self.agent(worker, agent::Event::DrainRequested),
            1 if self.rng.one_in(3) => self.scheduler(Some(Event::WorkerRevoked { worker: id })),
            1 | 2 => self.scheduler(Some(Event::DrainRequested {
                request,
                worker: id,
            })),
            _ => self.scheduler(Some(Event::UndrainRequested {
                request,
                worker: id,
            })),
        }
    }

    pub(super) fn partition(&mut self, worker: usize, long: u64) {
        let (up, down) = if self.faults.one_way {
            let up = self.rng.one_in(2);
            (up, !up)
        } else {
            (true, true)
        };
        let until = self.now + long;
        let node = &mut self.nodes[worker];
        let session = node.session;
        if up {
            node.cut_up_until = until;
        }
        if down {
            node.cut_down_until = until;
        }
        if let Some(session) = session
            && long > IDLE
        {
            if up {
                self.after(IDLE, Ev::Left(session, Leaving::Lost));
            }
            if down {
                self.after(IDLE, Ev::Lost(worker, session));
            }
        }
    }

    /// Everything is well from now on, but for workers that are bad by nature; and there is a new good one.
    pub(super) fn heal(&mut self) -> Kept {
        self.is_healed = true;
        self.faults = Faults::default();
        self.coordinator.paused_until = 0;
        self.coordinator.disk_full_until = 0;
        let index = self.nodes.len();
        let plan = WorkerPlan {
            slots: 2,
            slowness: 100,
            joins_at: 0,
            is_black_hole: false,
            lies: false,
            target: "x",
            wrong_percent: 0,
            takes_streams: true,
        };
        self.nodes.push(Node::new(index, plan));
        for worker in 0..self.nodes.len() {
            let node = &mut self.nodes[worker];
            node.paused_until = 0;
            node.cut_up_until = 0;
            node.cut_down_until = 0;
            self.after(0, Ev::WorkerStarts(worker));
        }
        self.after(0, Ev::CoordinatorStarts);
        Ok(())
    }
}
