//! The coordinator's driver, as simple as the rule allows: records first, in groups, then commands. Any doubt about a
//! commit, and it starts again from what is durable.

use std::collections::{BTreeMap, VecDeque};

use ppwasm_proto::fabric::{Epoch, LeaseKey, SessionId};
use ppwasm_scheduler::{Command, Config, Micros, Outbox, Record, Scheduler, Timestamp};

use crate::oracle::{Broken, Oracle};

pub(crate) const LEASE_KEY: LeaseKey = LeaseKey::from_bytes([9; 32]);

#[derive(Debug)]
pub(crate) struct Coordinator {
    pub scheduler: Option<Scheduler>,
    pub epoch: Epoch,
    pub started: u64,
    pub clock: u64,
    pub paused_until: u64,
    pub disk_full_until: u64,
    /// What would survive.
    pub durable: Vec<Record>,
    pub steps: VecDeque<Step>,
    /// How many of the steps are being committed.
    pub committing: usize,
    pub sessions: BTreeMap<SessionId, usize>,
    pub timer: Option<u64>,
    pub is_sabotaged_epoch: bool,
    pub loses_records: bool,
    pub second_attempts: bool,
    pub steps_made: u64,
    starts: u32,
}

#[derive(Debug, Default)]
pub(crate) struct Step {
    pub records: Vec<Record>,
    pub commands: Vec<Command>,
}

impl Coordinator {
    pub(crate) fn new(second_attempts: bool) -> Self {
        Self {
            scheduler: None,
            epoch: Epoch::FIRST,
            started: 0,
            clock: 0,
            paused_until: 0,
            disk_full_until: 0,
            durable: Vec::new(),
            steps: VecDeque::new(),
            committing: 0,
            sessions: BTreeMap::new(),
            timer: None,
            is_sabotaged_epoch: false,
            loses_records: false,
            second_attempts,
            steps_made: 0,
            starts: 0,
        }
    }

    pub(crate) fn local(&self, now: u64) -> Timestamp {
        Timestamp(now - self.started + self.clock)
    }

    pub(crate) fn global(&self, local: Timestamp) -> u64 {
        local
            .0
            .saturating_sub(self.clock)
            .saturating_add(self.started)
    }

    fn config(&self) -> Config {
        let mut config = Config::new(LEASE_KEY, 1);
        config.second_attempts = self.second_attempts;
        config.prefetch_max = 32;
        config.restart_grace = Micros::from_secs(60);
        // Less than the time in which all has to end after the heal; the same for how much may wait.
        config.verify_wait = Micros::from_secs(60);
        config.unconfirmed_max = 16;
        config
    }

    /// Begins a life from what is durable.
    pub(crate) fn start(&mut self, now: u64, oracle: &Oracle) -> Result<Outbox, Broken> {
        self.starts += 1;
        if !self.is_sabotaged_epoch {
            self.epoch = Epoch::new(self.starts).ok_or("too many starts")?;
        }
        self.started = now;
        self.clock = 0;
        self.timer = None;
        let mut out = Outbox::default();
        let restored = self.restore(&mut out)?;
        let again = self.restore(&mut Outbox::default())?;
        if restored.durable() != again.durable() {
            return Err("two restores differ".into());
        }
        oracle.check_restored(&restored)?;
        restored.check_invariants()?;
        self.scheduler = Some(restored);
        Ok(out)
    }

    fn restore(&self, out: &mut Outbox) -> Result<Scheduler, Broken> {
        let records = self.durable.iter().cloned();
        Scheduler::restore(self.config(), self.epoch, Timestamp::ZERO, records, out)
            .map_err(|error| error.to_string())
    }

    /// What lives equals what would be restored, when all of it is durable.
    pub(crate) fn compare_with_restored(&self) -> Result<(), Broken> {
        let Some(live) = &self.scheduler else {
            return Ok(());
        };
        if !self.steps.is_empty() {
            return Ok(());
        }
        let mut out = Outbox::default();
        let restored = self.restore(&mut out)?;
        // A restore may decide what was about to be decided; then it is not the same state.
        if out.records.is_empty() && live.durable() != restored.durable() {
            return Err(format!(
                "live and restored differ:\n{:?}\n{:?}",
                live.durable(),
                restored.durable()
            ));
        }
        Ok(())
    }
}
