//! Stories of one agent: something happens, and exactly these commands come of it.

use ppwasm_proto::fabric::{Claim, Held, HeldState, Incarnation, LeaseToken, OutcomeKind};
use ppwasm_proto::{Attempt, JobId, TaskId, TaskIdentity};

use super::*;

const LEASE: Duration = Duration::from_secs(30);
const EVERY: Duration = Duration::from_secs(5);

struct Stage {
    agent: Agent,
    now: Duration,
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn claim(number: u64) -> Claim {
    Claim {
        lease: LeaseId(number),
        identity: TaskIdentity::new(JobId::from_bytes([1; 16]), TaskId(number)),
        attempt: Attempt(1),
        token: LeaseToken::from_bytes([0; 16]),
    }
}

fn grant(number: u64) -> Granted {
    let (claim, alone) = (claim(number), false);
    Granted { claim, alone }
}

fn result(number: u64) -> Finished {
    Finished {
        lease: LeaseId(number),
        outcome: OutcomeKind::Succeeded,
        run_time: EVERY,
        outcome_bytes: 3,
    }
}

fn leases(numbers: &[u64]) -> Vec<LeaseId> {
    numbers.iter().copied().map(LeaseId).collect()
}

fn start(number: u64) -> Command {
    Command::Start(grant(number))
}

fn gave_back(numbers: &[u64], why: GiveBackReason) -> Command {
    let given = leases(numbers).into_iter().map(|lease| (lease, why));
    Command::Send(Message::GaveBack(given.collect()))
}

fn ended(numbers: &[u64]) -> Command {
    let results = numbers
        .iter()
        .map(|number| (claim(*number), result(*number)));
    Command::Send(Message::Ended(results.collect()))
}

impl Stage {
    fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::new(Incarnation(1), 7, 2);
        change(&mut config);
        let agent = Agent::new(config);
        let now = Duration::ZERO;
        Self { agent, now }
    }

    /// An agent with two slots and a session.
    fn open() -> Self {
        let mut stage = Self::with(|_| {});
        assert_eq!(stage.tick(), [Command::Connect]);
        stage.connect(&[]);
        stage
    }

    fn connect(&mut self, refused: &[u64]) -> (Vec<Held>, Vec<Command>) {
        let hello = self.happens(Event::SessionOpened);
        let Some(Command::Send(Message::Hello { held, .. })) = hello.first() else {
            panic!("{hello:?}")
        };
        let held = held.clone();
        let commands = self.happens(Event::Welcomed {
            lease: LEASE,
            report_every: EVERY,
            refused: leases(refused),
        });
        (held, commands)
    }

    fn happens(&mut self, event: Event) -> Vec<Command> {
        let mut out = Vec::new();
        self.agent.handle(self.now, event, &mut out);
        self.agent.check_invariants().unwrap();
        out
    }

    fn tick(&mut self) -> Vec<Command> {
        let mut out = Vec::new();
        self.agent.tick(self.now, &mut out);
        self.agent.check_invariants().unwrap();
        out
    }

    fn grants(&mut self, numbers: &[u64]) -> Vec<Command> {
        let leases = numbers.iter().copied().map(grant).collect();
        let lasts = LEASE;
        self.happens(Event::Granted { leases, lasts })
    }

    /// Time passes, without a word from the coordinator.
    fn waits(&mut self, time: Duration) -> Vec<Command> {
        let until = self.now + time;
        let mut all = Vec::new();
        while let Some(due) = self.agent.next_deadline().filter(|due| *due <= until) {
            self.now = due.max(self.now);
            all.extend(self.tick());
        }
        self.now = until;
        all
    }

    /// Time passes, and every report is answered at once.
    fn waits_renewed(&mut self, time: Duration) -> Vec<Command> {
        let until = self.now + time;
        let mut all = Vec::new();
        while let Some(due) = self.agent.next_deadline().filter(|due| *due <= until) {
            self.now = due.max(self.now);
            for command in self.tick() {
                if let Command::Send(Message::Report { number, .. }) = command {
                    all.extend(self.happens(Event::Renewed {
                        report: number,
                        lease: LEASE,
                        report_every: EVERY,
                        refused: Vec::new(),
                    }));
                } else {
                    all.push(command);
                }
            }
        }
        self.now = until;
        all
    }
}

#[test]
fn the_oldest_leases_run_first_and_never_more_than_there_are_slots() {
    let mut stage = Stage::open();
    assert_eq!(stage.grants(&[5, 3, 4, 6]), [start(3), start(4)]);
    assert_eq!(
        stage.happens(Event::ExecutionEnded(result(4))),
        [ended(&[4]), start(5)]
    );
    let slots = |stage: &mut Stage, slots| stage.happens(Event::SlotsSet(slots));
    let credit = 512;
    let told = |slots| {
        Command::Send(Message::SlotsSet {
            slots,
            credit: credit + slots,
        })
    };
    assert_eq!(slots(&mut stage, 1), [told(1)]);
    assert_eq!(
        stage.happens(Event::ExecutionEnded(result(3))),
        [ended(&[3])]
    );
    assert_eq!(slots(&mut stage, 3), [told(3), start(6)]);
    assert_eq!(slots(&mut stage, u32::MAX), [told(SLOTS_MAX)]);
}

#[test]
fn a_lease_that_is_to_run_alone_runs_alone() {
    let mut stage = Stage::open();
    stage.grants(&[1]);
    let alone = Granted {
        claim: claim(2),
        alone: true,
    };
    let out = stage.happens(Event::Granted {
        leases: vec![alone, grant(3)],
        lasts: LEASE,
    });
    assert_eq!(out, []);
    let out = stage.happens(Event::ExecutionEnded(result(1)));
    assert_eq!(out, [ended(&[1]), Command::Start(alone)]);
    let out = stage.happens(Event::ExecutionEnded(result(2)));
    assert_eq!(out, [ended(&[2]), start(3)]);
}

#[test]
fn a_grant_that_comes_twice_is_one_grant() {
    let mut stage = Stage::open();
    assert_eq!(stage.grants(&[1, 1]), [start(1)]);
    assert_eq!(stage.grants(&[1]), []);
    stage.happens(Event::ExecutionEnded(result(1)));
    assert_eq!(stage.grants(&[1]), []);
    stage.happens(Event::Acknowledged(leases(&[1])));
    assert_eq!(stage.grants(&[1]), []);
}

#[test]
fn leases_past_the_credit_are_given_back() {
    let mut stage = Stage::with(|config| config.waiting_max = 1);
    stage.tick();
    stage.connect(&[]);
    let out = stage.grants(&[1, 2, 3, 4]);
    assert_eq!(
        out,
        [gave_back(&[4], GiveBackReason::NoSlot), start(1), start(2)]
    );
}

#[test]
fn nothing_new_starts_while_too_many_results_wait_for_their_acknowledgement() {
    let mut stage = Stage::with(|config| config.results_max = 2);
    stage.tick();
    stage.connect(&[]);
    stage.grants(&[1, 2, 3]);
    assert_eq!(
        stage.happens(Event::ExecutionEnded(result(1))),
        [ended(&[1]), start(3)]
    );
    stage.happens(Event::ExecutionEnded(result(2)));
    assert_eq!(stage.grants(&[4]), []);
    let out = stage.happens(Event::Acknowledged(leases(&[1])));
    assert_eq!(out, [Command::DropResult(LeaseId(1)), start(4)]);
}

#[test]
fn case_02_a_result_is_offered_in_every_session_until_it_is_acknowledged() {
    let mut stage = Stage::open();
    stage.grants(&[1]);
    assert_eq!(
        stage.happens(Event::ExecutionEnded(result(1))),
        [ended(&[1])]
    );
    for _ in 0..3 {
        stage.happens(Event::SessionLost);
        assert_eq!(stage.waits(secs(15)), [Command::Connect]);
        let (held, out) = stage.connect(&[]);
        assert_eq!(
            held,
            [Held {
                claim: claim(1),
                state: HeldState::Finished
            }]
        );
        assert_eq!(out, [ended(&[1])]);
    }
    // And again within a session, when nothing comes.
    assert_eq!(stage.waits_renewed(secs(10)), [ended(&[1])]);
    assert_eq!(
        stage.happens(Event::Acknowledged(leases(&[1]))),
        [Command::DropResult(LeaseId(1))]
    );
    stage.happens(Event::SessionLost);
    stage.waits(secs(15));
    assert_eq!(stage.connect(&[]), (vec![], vec![]));
}

#[test]
fn case_10_worker_stopped_beyond_its_lease() {
    let mut stage = Stage::open();
    stage.grants(&[1, 2, 3]);
    // Stopped as a process: the next thing that it sees is that a task has ended.
    stage.now += secs(60);
    let out = stage.happens(Event::ExecutionEnded(result(1)));
    assert_eq!(
        out[..2],
        [Command::Stop(LeaseId(1)), Command::Stop(LeaseId(2))]
    );
    assert!(
        out.contains(&gave_back(&[3], GiveBackReason::LeaseEnded)),
        "{out:?}"
    );
    assert!(!out.contains(&start(3)));
    // What is done is done, and offered; what could be stopped is not.
    let out = stage.happens(Event::ExecutionStopped(LeaseId(2)));
    assert_eq!(out, []);
    stage.waits(secs(15));
    let (held, out) = stage.connect(&[]);
    assert_eq!(
        held,
        [Held {
            claim: claim(1),
            state: HeldState::Finished
        }]
    );
    assert_eq!(out, [ended(&[1])]);
}

#[test]
fn case_23_a_short_partition_stops_nothing() {
    let mut stage = Stage::open();
    stage.grants(&[1]);
    stage.happens(Event::SessionLost);
    assert_eq!(stage.waits(secs(15)), [Command::Connect]);
    let (held, out) = stage.connect(&[]);
    assert_eq!(
        held,
        [Held {
            claim: claim(1),
            state: HeldState::Running
        }]
    );
    assert_eq!(out, []);
    assert_eq!(stage.waits_renewed(secs(100)), []);
}

/// Case 24: it hears everything and is not heard. No report is answered.
#[test]
fn case_24_a_worker_that_is_not_heard_fences_itself() {
    let mut stage = Stage::open();
    stage.grants(&[1]);
    // Grants still come in; what was granted first is not renewed by that.
    let mut commands = Vec::new();
    for number in 2..8 {
        commands.extend(stage.waits(Duration::from_millis(4600)));
        commands.extend(stage.grants(&[number]));
    }
    assert!(
        !commands.contains(&Command::Stop(LeaseId(1))),
        "{:?}",
        stage.now
    );
    let commands = stage.waits(Duration::from_millis(500));
    assert!(
        commands.contains(&Command::Stop(LeaseId(1))),
        "{commands:?}"
    );
    assert!(
        !commands.contains(&Command::Stop(LeaseId(2))),
        "{commands:?}"
    );
}

#[test]
fn a_session_without_an_answer_is_given_up() {
    let mut stage = Stage::with(|_| {});
    stage.tick();
    stage.happens(Event::SessionOpened);
    assert_eq!(
        stage.waits(secs(21)),
        [Command::Disconnect, Command::Connect]
    );
    stage.connect(&[]);
    // From the first report on.
    let commands = stage.waits(EVERY + secs(21));
    let ends: Vec<_> = commands
        .iter()
        .filter(|command| !matches!(command, Command::Send(_)))
        .collect();
    assert_eq!(ends, [&Command::Disconnect, &Command::Connect]);
}

#[test]
fn a_session_in_which_no_answer_is_due_is_kept() {
    let mut stage = Stage::open();
    for _ in 0..2 {
        let [Command::Send(Message::Report { number, .. })] = stage.waits(EVERY)[..] else {
            panic!("no report")
        };
        stage.happens(Event::Renewed {
            report: number,
            lease: secs(3600),
            report_every: secs(600),
            refused: vec![],
        });
    }
    // Reports are wanted every ten minutes. Between them nobody says anything.
    assert_eq!(stage.waits(secs(599)), []);
    let reported = stage.waits(secs(1));
    assert!(
        matches!(reported[..], [Command::Send(Message::Report { .. })]),
        "{reported:?}"
    );
    assert_eq!(stage.waits(secs(19)), []);
    let given_up = stage.waits(secs(2));
    assert_eq!(given_up, [Command::Disconnect, Command::Connect]);
}

#[test]
fn case_25_pauses_grow_while_sessions_do_not_last() {
    let mut stage = Stage::with(|_| {});
    let mut pauses = Vec::new();
    stage.tick();
    for _ in 0..12 {
        let from = stage.now;
        stage.happens(Event::ConnectFailed);
        stage.now = stage.agent.next_deadline().unwrap();
        pauses.push(stage.now - from);
        assert_eq!(stage.tick(), [Command::Connect]);
    }
    assert!(pauses[0] >= Duration::from_millis(200) && pauses[0] <= Duration::from_millis(250));
    assert!(pauses[..6].is_sorted(), "{pauses:?}");
    assert!(pauses[11] >= secs(10) && pauses[11] <= Duration::from_millis(12_500));
    // One that flaps does not count as a session, one that lasts does.
    for (lasts, is_short) in [(secs(3), false), (secs(10), true)] {
        stage.connect(&[]);
        stage.waits_renewed(lasts);
        stage.happens(Event::SessionLost);
        let pause = stage.agent.next_deadline().unwrap() - stage.now;
        assert_eq!(pause < secs(1), is_short, "{pause:?}");
        stage.waits(pause);
    }
}

#[test]
fn a_late_answer_renews_only_from_when_its_report_was_sent() {
    let mut stage = Stage::open();
    stage.grants(&[1]);
    let out = stage.waits(EVERY);
    let [
        Command::Send(Message::Report {
            number, running, ..
        }),
    ] = &out[..]
    else {
        panic!("{out:?}")
    };
    assert_eq!(*running, leases(&[1]));
    let report = *number;
    let sent = stage.now;
    stage.waits(secs(4));
    // A lease that came after the report is not in it.
    let refused = vec![];
    stage.happens(Event::Renewed {
        report,
        lease: LEASE,
        report_every: secs(50),
        refused,
    });
    let fence = stage.agent.leases[&LeaseId(1)].deadline;
    assert_eq!(fence, sent + LEASE);
    let refused = vec![LeaseId(1)];
    let out = stage.happens(Event::Renewed {
        report,
        lease: LEASE,
        report_every: EVERY,
        refused,
    });
    assert_eq!(out, [], "an answer counts once");
}

#[test]
fn case_83_a_cancelled_lease_is_stopped_and_given_back_wherever_it_is() {
    let mut stage = Stage::open();
    stage.grants(&[1, 2, 3, 4]);
    stage.happens(Event::ExecutionEnded(result(2)));
    let out = stage.happens(Event::Cancelled(leases(&[1, 2, 4, 9])));
    let expected = [
        Command::Stop(LeaseId(1)),
        gave_back(&[4], GiveBackReason::Cancelled),
        Command::DropResult(LeaseId(2)),
        gave_back(&[9], GiveBackReason::Cancelled),
    ];
    assert_eq!(out, expected);
    // It ended before the host could stop it: nobody wants to know.
    let out = stage.happens(Event::ExecutionEnded(result(1)));
    assert_eq!(
        out,
        [
            Command::DropResult(LeaseId(1)),
            gave_back(&[1], GiveBackReason::Cancelled)
        ]
    );
    // The grant that the cancel had overtaken.
    assert_eq!(stage.grants(&[9]), []);
}

#[test]
fn only_what_waits_is_taken_back() {
    let mut stage = Stage::open();
    stage.grants(&[1, 2, 3]);
    let out = stage.happens(Event::TakenBack(leases(&[1, 3, 7])));
    assert_eq!(out, [gave_back(&[3], GiveBackReason::Cancelled)]);
}

#[test]
fn what_is_refused_at_the_welcome_is_stopped_or_dropped() {
    let mut stage = Stage::open();
    stage.grants(&[1, 2, 3]);
    stage.happens(Event::ExecutionEnded(result(1)));
    stage.happens(Event::SessionLost);
    stage.waits(secs(1));
    let (held, out) = stage.connect(&[1, 2]);
    assert_eq!(held.len(), 3);
    assert_eq!(
        out,
        [Command::Stop(LeaseId(2)), Command::DropResult(LeaseId(1))]
    );
}

#[test]
fn case_13_a_drained_worker_finishes_delivers_and_leaves() {
    let mut stage = Stage::open();
    stage.grants(&[1, 2, 3]);
    let out = stage.happens(Event::DrainRequested);
    let draining = Command::Send(Message::Draining);
    assert_eq!(out, [draining, gave_back(&[3], GiveBackReason::Draining)]);
    assert_eq!(
        stage.grants(&[4]),
        [gave_back(&[4], GiveBackReason::Draining)]
    );
    assert_eq!(
        stage.happens(Event::ExecutionEnded(result(1))),
        [ended(&[1])]
    );
    assert_eq!(
        stage.happens(Event::ExecutionEnded(result(2))),
        [ended(&[2])]
    );
    stage.happens(Event::Acknowledged(leases(&[1])));
    let out = stage.happens(Event::Acknowledged(leases(&[2])));
    let leaving = [
        Command::DropResult(LeaseId(2)),
        Command::Send(Message::Goodbye),
        Command::Disconnect,
        Command::Exit(ExitReason::Drained),
    ];
    assert_eq!(out, leaving);
    assert_eq!(stage.agent.next_deadline(), None);
    assert_eq!(stage.grants(&[5]), []);
}

#[test]
fn case_50_a_replaced_or_revoked_worker_stops_everything_and_does_not_come_back() {
    for (closed, exit) in [
        (Closed::Replaced, ExitReason::Replaced),
        (Closed::Revoked, ExitReason::Revoked),
    ] {
        let mut stage = Stage::open();
        stage.grants(&[1]);
        let out = stage.happens(Event::SessionClosed(closed));
        assert_eq!(out, [Command::Stop(LeaseId(1)), Command::Exit(exit)]);
        assert_eq!(stage.waits(secs(100)), []);
    }
    let mut stage = Stage::open();
    stage.happens(Event::SessionClosed(Closed::Other));
    assert_eq!(stage.waits(secs(1)), [Command::Connect]);
}

#[test]
fn a_host_that_cannot_run_a_task_is_told_of() {
    let mut stage = Stage::open();
    stage.grants(&[1, 2, 3]);
    let out = stage.happens(Event::ExecutionFailed(
        LeaseId(1),
        GiveBackReason::HostFailed,
    ));
    assert_eq!(out, [gave_back(&[1], GiveBackReason::HostFailed), start(3)]);
    assert_eq!(
        stage.happens(Event::ExecutionFailed(
            LeaseId(8),
            GiveBackReason::HostFailed
        )),
        []
    );
}

#[test]
fn images_are_told_once() {
    let mut stage = Stage::open();
    let function = Digest::of(b"f");
    let held = |is_held| Event::ImageHeld { function, is_held };
    let told = |is_held| [Command::Send(Message::ImageHeld { function, is_held })];
    assert_eq!(stage.happens(held(true)), told(true));
    assert_eq!(stage.happens(held(true)), []);
    assert_eq!(stage.happens(held(false)), told(false));
}
