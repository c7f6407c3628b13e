//! The scheduler and the workers' agents, the real ones, in a small world that has bad luck.
//!
//! One seed decides everything: sizes, speeds, which faults there are, when they strike. A run has two phases. In the
//! first there is chaos, and an oracle that shares nothing with the scheduler checks every promise as it is
//! made and kept. Then everything is healed, and every job has to end within a bound of virtual time.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod client;
mod coordinator;
mod node;
mod oracle;
mod plan;
mod rng;
mod world;

pub use oracle::Broken;
pub use plan::Plan;
pub use world::{Failure, Report, World};

/// A part that is broken on purpose: what the oracle is for has to be seen by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// The driver carries out commands before their records are durable.
    CommandsBeforeCommit,
    /// The driver acknowledges results before they are durable, and does the rest in order.
    AcknowledgesBeforeCommit,
    /// A restarted coordinator uses the epoch of before.
    SameEpoch,
    /// The store loses a record now and then.
    LosesRecords,
    /// The driver vouches for every claim, whoever makes it.
    TrustsEveryClaim,
    /// A worker runs one task more than it has slots.
    OverfillsSlots,
    /// Workers go on when their leases have ended.
    NeverFences,
    /// The driver forgets to commit what cancels jobs, but acts on it.
    SkipsSomeEnds,
    /// Reports of workers are thrown away, and so is what they give back.
    LosesWhatIsGivenBack,
    /// The driver does not look at outcomes: all are the same to it.
    ComparesNothing,
}

impl Sabotage {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::CommandsBeforeCommit,
        Self::AcknowledgesBeforeCommit,
        Self::SameEpoch,
        Self::LosesRecords,
        Self::TrustsEveryClaim,
        Self::OverfillsSlots,
        Self::NeverFences,
        Self::SkipsSomeEnds,
        Self::LosesWhatIsGivenBack,
        Self::ComparesNothing,
    ];
}

/// Runs one seed.
///
/// # Errors
///
/// What was promised and not kept, and when.
pub fn run(seed: u64, sabotage: Option<Sabotage>) -> Result<Report, Failure> {
    World::new(seed, Plan::of_seed(seed), sabotage).run()
}

/// Seeds that failed once. They run first, for ever.
pub fn regressions() -> impl Iterator<Item = u64> {
    let lines = include_str!("../regressions.txt").lines();
    lines.filter_map(|line| line.split('#').next()?.trim().parse().ok())
}
