//! A worker: the real agent, a host that only takes time, and what may be wrong with it.

use std::collections::BTreeMap;
use std::time::Duration;

use ppwasm_proto::fabric::{Incarnation, LeaseId, SessionId, WorkerId};
use ppwasm_worker::agent::{Agent, Config};

use crate::plan::WorkerPlan;

#[derive(Debug)]
pub(crate) struct Node {
    pub id: WorkerId,
    pub plan: WorkerPlan,
    /// `None` while its process is dead.
    pub agent: Option<Agent>,
    /// Counts its processes; what is scheduled for an older one is void.
    pub life: u64,
    pub slots: u32,
    pub started: u64,
    /// What its clock has jumped by.
    pub clock: u64,
    pub paused_until: u64,
    pub cut_up_until: u64,
    pub cut_down_until: u64,
    /// Its end of the connection.
    pub session: Option<SessionId>,
    pub has_said_goodbye: bool,
    pub last_up: u64,
    pub last_down: u64,
    pub timer: Option<u64>,
    pub executions: BTreeMap<LeaseId, Execution>,
    /// Its clock or its process was stopped: nobody can hold it to times.
    pub is_tampered: bool,
    pub has_left: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Execution {
    /// When the coordinator's word for it last came.
    pub vouched: u64,
    pub is_stopping: bool,
}

impl Node {
    pub(crate) fn new(index: usize, plan: WorkerPlan) -> Self {
        Self {
            id: format!("w{index}")
                .parse()
                .unwrap_or_else(|_| unreachable!("it is a name")),
            slots: plan.slots,
            plan,
            agent: None,
            life: 0,
            started: 0,
            clock: 0,
            paused_until: 0,
            cut_up_until: 0,
            cut_down_until: 0,
            session: None,
            has_said_goodbye: false,
            last_up: 0,
            last_down: 0,
            timer: None,
            executions: BTreeMap::new(),
            is_tampered: false,
            has_left: false,
        }
    }

    pub(crate) fn start(&mut self, now: u64, seed: u64) {
        self.life += 1;
        let incarnation = Incarnation(seed ^ self.life);
        let mut config = Config::new(incarnation, seed, self.slots);
        config.waiting_max = 64;
        self.agent = Some(Agent::new(config));
        self.started = now;
        self.clock = 0;
        self.session = None;
        self.has_said_goodbye = false;
        self.timer = None;
        self.executions.clear();
        self.is_tampered = false;
    }

    /// What its clock shows.
    pub(crate) fn local(&self, now: u64) -> Duration {
        Duration::from_micros(now - self.started + self.clock)
    }

    /// When its clock will show this.
    pub(crate) fn global(&self, local: Duration) -> u64 {
        let micros = u64::try_from(local.as_micros()).unwrap_or(u64::MAX);
        micros
            .saturating_sub(self.clock)
            .saturating_add(self.started)
    }
}
