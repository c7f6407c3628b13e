//! A scheduler, a clock, and short words for what happens to it.

use ppwasm_proto::fabric::{
    Claim, ClientName, Epoch, GiveBackReason, Held, HeldState, Incarnation, LeaseId, LeaseKey,
    OutcomeKind, Priority, SessionId, WorkerId,
};
use ppwasm_proto::wire::{List, Origin, Text, Verdict, Verification};
use ppwasm_proto::{Attempt, Digest, JobId, Limits, TaskId};
use ppwasm_scheduler::{
    Command, Config, Ended, Event, Found, Hello, JobSpec, Leaving, Micros, Outbox, Record,
    RequestId, Scheduler, TaskEnd, Timestamp,
};

pub(crate) const KEY: LeaseKey = LeaseKey::from_bytes([5; 32]);

pub(crate) struct Stage {
    pub scheduler: Scheduler,
    pub config: Config,
    pub epoch: Epoch,
    pub now: Timestamp,
    pub log: Vec<Record>,
    sessions: u64,
    requests: u64,
}

pub(crate) fn job(number: u8) -> JobId {
    JobId::from_bytes([number; 16])
}

pub(crate) fn function() -> Digest {
    Digest::of(b"f")
}

pub(crate) fn client(name: &str) -> ClientName {
    name.parse().unwrap()
}

pub(crate) fn worker(name: &str) -> WorkerId {
    name.parse().unwrap()
}

pub(crate) fn spec(owner: &str) -> JobSpec {
    JobSpec {
        owner: client(owner),
        priority: Priority(0),
        function: function(),
        limits: Limits::default(),
        attempts_max: 5,
        is_deterministic: true,
        verify_percent: 0,
        is_cached: false,
        body: Digest::of(b"body"),
    }
}

/// A task whose outcome is known, and whether another worker had confirmed it.
pub(crate) fn found(task: u64, is_confirmed: bool) -> Found {
    let confirmed = Verification {
        verdict: Verdict::Confirmed,
        testimonies: List::default(),
    };
    let digest = Digest::from_bytes([4; 32]);
    let origin = Origin {
        key: digest,
        function: function(),
        call: digest,
        guest: digest,
        result: digest,
        job: job(99),
        number: 1,
        task: TaskId(task),
        attempt: Attempt(1),
        worker: worker("w0"),
        target: Text::default(),
        cpu_profile: Text::default(),
        build: Text::default(),
        recorded_ms: 1,
        run_us: 1,
        verification: is_confirmed.then_some(confirmed),
    };
    Found {
        task,
        outcome: match task % 5 {
            4 => OutcomeKind::Raised,
            _ => OutcomeKind::Succeeded,
        },
        origin: Box::new(origin),
    }
}

pub(crate) fn hello(name: &str, slots: u32) -> Hello {
    Hello {
        worker: worker(name),
        incarnation: Incarnation(1),
        slots,
        credit: slots.saturating_add(64),
        label: "x86_64-linux".into(),
        target: "".into(),
        takes_streams: true,
        is_draining: false,
        held: Vec::new(),
        images: vec![function()],
    }
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::new(KEY, 1);
        change(&mut config);
        Self {
            scheduler: Scheduler::new(config.clone(), Epoch::FIRST),
            config,
            epoch: Epoch::FIRST,
            now: Timestamp::ZERO,
            log: Vec::new(),
            sessions: 0,
            requests: 0,
        }
    }

    pub(crate) fn wait(&mut self, time: Micros) -> Outbox {
        let until = self.now + time;
        let mut all = Outbox::default();
        loop {
            let due = self.scheduler.next_deadline().filter(|due| *due <= until);
            self.now = due.unwrap_or(until).max(self.now);
            let out = self.step(None);
            all.records.extend(out.records);
            all.commands.extend(out.commands);
            if due.is_none() {
                return all;
            }
        }
    }

    pub(crate) fn happens(&mut self, event: Event) -> Outbox {
        self.step(Some(event))
    }

    fn step(&mut self, event: Option<Event>) -> Outbox {
        let mut out = Outbox::default();
        match event {
            Some(event) => self.scheduler.handle(self.now, event, &mut out),
            None => self.scheduler.tick(self.now, &mut out),
        }
        self.scheduler.check_invariants().unwrap();
        self.log.extend(out.records.iter().cloned());
        out
    }

    pub(crate) fn request(&mut self) -> RequestId {
        self.requests += 1;
        RequestId(self.requests)
    }

    /// A job with its tasks, closed, whose image is there.
    pub(crate) fn submit(&mut self, id: JobId, owner: &str, tasks: u64) -> Outbox {
        self.submit_spec(id, spec(owner), tasks)
    }

    pub(crate) fn submit_spec(&mut self, job: JobId, spec: JobSpec, tasks: u64) -> Outbox {
        self.submit_known(job, spec, tasks, Vec::new())
    }

    /// The same, with tasks whose outcome is known.
    pub(crate) fn submit_known(
        &mut self,
        job: JobId,
        spec: JobSpec,
        tasks: u64,
        found: Vec<Found>,
    ) -> Outbox {
        let client = spec.owner.clone();
        let request = self.request();
        let spec = Box::new(spec);
        let mut all = self.happens(Event::JobSubmitted { request, job, spec });
        let bytes = 1;
        let function = function();
        let mut events = vec![Event::ImageReady { function, bytes }];
        if tasks > 0 {
            events.push(Event::TasksAppended {
                request,
                client: client.clone(),
                job,
                first: 0,
                count: tasks,
                found,
            });
        }
        events.push(Event::JobClosed {
            request,
            client,
            job,
            tasks,
        });
        for event in events {
            let out = self.happens(event);
            all.records.extend(out.records);
            all.commands.extend(out.commands);
        }
        all
    }

    pub(crate) fn join(&mut self, name: &str, slots: u32) -> (SessionId, Outbox) {
        self.join_as(hello(name, slots))
    }

    pub(crate) fn join_as(&mut self, hello: Hello) -> (SessionId, Outbox) {
        self.sessions += 1;
        let session = SessionId(self.sessions);
        let hello = Box::new(hello);
        let out = self.happens(Event::WorkerJoined { session, hello });
        (session, out)
    }

    /// A worker with one slot in one of its lives.
    pub(crate) fn incarnation(name: &str, life: u64) -> Hello {
        let mut hello = hello(name, 1);
        hello.incarnation = Incarnation(life);
        hello
    }

    pub(crate) fn leave(&mut self, session: SessionId, how: Leaving) -> Outbox {
        self.happens(Event::WorkerLeft { session, how })
    }

    pub(crate) fn end(&mut self, session: SessionId, claims: &[Claim]) -> Outbox {
        self.end_as(session, claims, OutcomeKind::Succeeded)
    }

    /// Tasks that took so long, as their worker says.
    pub(crate) fn end_after(
        &mut self,
        session: SessionId,
        claims: &[Claim],
        run_time: Micros,
    ) -> Outbox {
        let ended = claims.iter().map(|claim| Ended {
            claim: *claim,
            outcome: OutcomeKind::Succeeded,
            run_time,
            outcome_bytes: 1,
            digest: Digest::from_bytes([0; 32]),
        });
        let ended = ended.collect();
        self.happens(Event::LeasesEnded { session, ended })
    }

    pub(crate) fn end_as(
        &mut self,
        session: SessionId,
        claims: &[Claim],
        outcome: OutcomeKind,
    ) -> Outbox {
        self.end_with(session, claims, outcome, Digest::from_bytes([0; 32]))
    }

    /// `digest` is that of all that the tasks returned.
    pub(crate) fn end_with(
        &mut self,
        session: SessionId,
        claims: &[Claim],
        outcome: OutcomeKind,
        digest: Digest,
    ) -> Outbox {
        let ended = claims.iter().map(|claim| Ended {
            claim: *claim,
            outcome,
            run_time: Micros::from_millis(10),
            outcome_bytes: 1,
            digest,
        });
        let ended = ended.collect();
        self.happens(Event::LeasesEnded { session, ended })
    }

    pub(crate) fn give_back(
        &mut self,
        session: SessionId,
        claims: &[Claim],
        why: GiveBackReason,
    ) -> Outbox {
        let given = claims.iter().map(|claim| (claim.lease, why)).collect();
        self.happens(Event::LeasesGivenBack { session, given })
    }

    pub(crate) fn report(&mut self, session: SessionId, running: &[LeaseId]) -> Outbox {
        self.happens(Event::WorkerReported {
            session,
            report: 7,
            waiting: Vec::new(),
            running: running.to_vec(),
        })
    }

    /// The coordinator dies, and comes back with what is durable.
    pub(crate) fn restart(&mut self) -> Outbox {
        self.epoch = self.epoch.next().unwrap();
        self.now = Timestamp::ZERO;
        let mut out = Outbox::default();
        self.scheduler = Scheduler::restore(
            self.config.clone(),
            self.epoch,
            self.now,
            self.log.iter().cloned(),
            &mut out,
        )
        .unwrap();
        self.scheduler.check_invariants().unwrap();
        self.log.extend(out.records.iter().cloned());
        let bytes = 1;
        let function = function();
        let ready = self.happens(Event::ImageReady { function, bytes });
        out.records.extend(ready.records);
        out.commands.extend(ready.commands);
        out
    }
}

/// The claims of all leases that were granted to a session.
pub(crate) fn granted(out: &Outbox, to: SessionId) -> Vec<Claim> {
    let grants = out.commands.iter().filter_map(|command| match command {
        Command::Grant {
            session, leases, ..
        } if *session == to => Some(leases),
        _ => None,
    });
    grants.flatten().map(|lease| lease.claim).collect()
}

pub(crate) fn all_granted(out: &Outbox) -> Vec<(SessionId, Claim)> {
    let grants = out.commands.iter().filter_map(|command| match command {
        Command::Grant {
            session, leases, ..
        } => Some(leases.iter().map(|lease| (*session, lease.claim))),
        _ => None,
    });
    grants.flatten().collect()
}

pub(crate) fn tasks(claims: &[Claim]) -> Vec<u64> {
    claims.iter().map(|claim| claim.identity.task.0).collect()
}

pub(crate) fn ended(job: JobId, claim: &Claim, by: &str) -> Record {
    Record::TaskEnded {
        job,
        task: claim.identity.task,
        end: TaskEnd::Outcome {
            outcome: OutcomeKind::Succeeded,
            attempt: claim.attempt,
            lease: claim.lease,
            worker: worker(by),
            verification: None,
        },
    }
}

pub(crate) fn lost(job: JobId, claim: &Claim, by: &str, suspect: bool) -> Record {
    Record::AttemptLost {
        job,
        task: claim.identity.task,
        attempt: claim.attempt,
        worker: worker(by),
        suspect,
    }
}

pub(crate) fn held(claim: Claim, state: HeldState) -> Held {
    Held { claim, state }
}

pub(crate) fn attempt(epoch: Epoch, number: u32) -> Attempt {
    Attempt::of_epoch(epoch, number).unwrap()
}

pub(crate) fn task_ends(out: &Outbox) -> Vec<(TaskId, TaskEnd)> {
    let ends = out.records.iter().filter_map(|record| match record {
        Record::TaskEnded { task, end, .. } => Some((*task, end.clone())),
        _ => None,
    });
    ends.collect()
}
