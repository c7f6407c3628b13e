//! What goes into the agent and what comes out.

use std::time::Duration;

use ppwasm_proto::Digest;
use ppwasm_proto::fabric::{Claim, GiveBackReason, Held, Incarnation, LeaseId, OutcomeKind};

/// Something that happened, on the session's side or the host's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The connection that [`Command::Connect`] asked for is there.
    SessionOpened,
    /// It could not be had.
    ConnectFailed,
    /// It is gone.
    SessionLost,
    /// The coordinator has ended the session.
    SessionClosed(Closed),
    /// The coordinator has answered the hello.
    Welcomed {
        /// Duration of leases, from when the hello was sent.
        lease: Duration,
        /// Time between reports.
        report_every: Duration,
        /// Leases of the hello that are not this worker's any longer.
        refused: Vec<LeaseId>,
    },
    /// The coordinator gives leases.
    Granted {
        /// The leases.
        leases: Vec<Granted>,
        /// How long they last from now.
        lasts: Duration,
    },
    /// The coordinator has answered a report.
    Renewed {
        /// Which.
        report: u64,
        /// Duration of leases, from when the report was sent.
        lease: Duration,
        /// Time between reports.
        report_every: Duration,
        /// Leases of the report that are not this worker's any longer.
        refused: Vec<LeaseId>,
    },
    /// The coordinator wants these stopped, whether they run or wait.
    Cancelled(Vec<LeaseId>),
    /// The coordinator wants those of these that wait.
    TakenBack(Vec<LeaseId>),
    /// The coordinator has these results, or has no use for them.
    Acknowledged(Vec<LeaseId>),
    /// The host has run a task to its end.
    ExecutionEnded(Finished),
    /// The host could not run a task, and why.
    ExecutionFailed(LeaseId, GiveBackReason),
    /// The host has stopped a task.
    ExecutionStopped(LeaseId),
    /// The worker shall run so many tasks at once.
    SlotsSet(u32),
    /// The worker shall finish what runs, and leave.
    DrainRequested,
    /// The host holds the image of a function now, or no longer.
    ImageHeld {
        /// The function.
        function: Digest,
        /// Whether it does.
        is_held: bool,
    },
}

/// Why the coordinator ended a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// The same worker has a newer session: this process, or a clone of it, is one too many.
    Replaced,
    /// The certificate is no longer good.
    Revoked,
    /// Another reason, which may pass.
    Other,
}

/// A lease as it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// What it is for.
    pub claim: Claim,
    /// Run it while nothing else runs.
    pub alone: bool,
}

/// A result. Its body is the driver's, under the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finished {
    /// The lease that it ran under.
    pub lease: LeaseId,
    /// How it ended.
    pub outcome: OutcomeKind,
    /// How long it ran.
    pub run_time: Duration,
    /// Size of the encoded outcome.
    pub outcome_bytes: u64,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Open a session. Answered with [`Event::SessionOpened`] or [`Event::ConnectFailed`].
    Connect,
    /// End the session.
    Disconnect,
    /// Send this in the session.
    Send(Message),
    /// Run a task. Answered with [`Event::ExecutionEnded`] or [`Event::ExecutionFailed`].
    Start(Granted),
    /// Stop a task. Answered with [`Event::ExecutionStopped`], unless it has ended.
    Stop(LeaseId),
    /// Drop the result of a lease.
    DropResult(LeaseId),
    /// End the process: nothing is left to do, or the coordinator wants it no more.
    Exit(ExitReason),
}

/// Why the worker ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitReason {
    /// It was drained.
    Drained,
    /// Another process has its name.
    Replaced,
    /// Its certificate is no longer good.
    Revoked,
}

/// What a worker says to the coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The first message of a session.
    Hello {
        /// The life of this process.
        incarnation: Incarnation,
        /// Tasks that run at once.
        slots: u32,
        /// Leases that it holds at most.
        credit: u32,
        /// It will leave soon.
        is_draining: bool,
        /// Leases and results from before.
        held: Vec<Held>,
        /// Functions whose image it holds.
        images: Vec<Digest>,
    },
    /// The leases that it holds. Those that it does not name are not renewed.
    Report {
        /// Grows with each report of a session.
        number: u64,
        /// Leases that wait for a slot.
        waiting: Vec<LeaseId>,
        /// Leases that occupy one.
        running: Vec<LeaseId>,
    },
    /// Results. They are kept until they are acknowledged.
    Ended(Vec<(Claim, Finished)>),
    /// Leases that bring no result.
    GaveBack(Vec<(LeaseId, GiveBackReason)>),
    /// It has another number of slots.
    SlotsSet {
        /// Tasks that run at once.
        slots: u32,
        /// Leases that it holds at most.
        credit: u32,
    },
    /// It holds the image of a function, or no longer.
    ImageHeld {
        /// The function.
        function: Digest,
        /// Whether it does.
        is_held: bool,
    },
    /// It takes nothing new and leaves when everything is delivered.
    Draining,
    /// It leaves: nothing runs, nothing is undelivered.
    Goodbye,
}
