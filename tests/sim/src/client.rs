//! A client with one job: asks until it is answered, and again when the answer says later.

use ppwasm_proto::fabric::{ClientName, Priority};
use ppwasm_proto::wire::{List, Origin, Text, Verdict, Verification};
use ppwasm_proto::{Attempt, Digest, JobId, Limits, TaskId};
use ppwasm_scheduler::{Accepted, Event, Found, JobSpec, OutcomeKind, Refusal, RequestId};

use crate::oracle::Promise;
use crate::plan::JobPlan;
use crate::rng::Rng;

#[derive(Debug)]
pub(crate) struct ClientJob {
    pub plan: JobPlan,
    pub id: JobId,
    pub stage: Stage,
    /// Tasks that were accepted.
    pub accepted: u64,
    /// The request that is waited for.
    pub request: Option<RequestId>,
    /// How often it has asked since something was accepted.
    pub asked: u64,
    pub cancel_at: Option<u64>,
    pub retries_left: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Submit,
    Append,
    Close,
    Cancel,
    Watch,
    Retry,
    Done,
}

impl ClientJob {
    pub(crate) fn new(index: usize, plan: JobPlan) -> Self {
        let number = u8::try_from(index).unwrap_or(0);
        Self {
            id: JobId::from_bytes([number + 1; 16]),
            retries_left: u32::from(plan.retries),
            plan,
            stage: Stage::Submit,
            accepted: 0,
            request: None,
            asked: 0,
            cancel_at: None,
        }
    }

    fn client(&self) -> ClientName {
        let name = format!("c{}", self.plan.client);
        name.parse()
            .unwrap_or_else(|_| unreachable!("it is a name"))
    }

    pub(crate) fn function(number: u8) -> Digest {
        Digest::of(&[number])
    }

    /// What it asks for now.
    pub(crate) fn ask(&self, request: RequestId) -> Option<Event> {
        let (client, job) = (self.client(), self.id);
        Some(match self.stage {
            Stage::Submit => Event::JobSubmitted {
                request,
                job,
                spec: Box::new(JobSpec {
                    owner: client,
                    priority: Priority(self.plan.priority),
                    function: if self.plan.image_fails {
                        Self::function(100)
                    } else {
                        Self::function(self.plan.function)
                    },
                    limits: Limits::default(),
                    attempts_max: 5,
                    is_deterministic: true,
                    verify_percent: self.plan.verify_percent,
                    is_cached: self.plan.known_percent.is_some(),
                    body: Digest::of(b"body"),
                }),
            },
            Stage::Append => Event::TasksAppended {
                request,
                client,
                job,
                first: self.accepted,
                count: self.batch(),
                found: (self.accepted..self.accepted + self.batch())
                    .filter_map(|task| self.found(task))
                    .collect(),
            },
            Stage::Close => Event::JobClosed {
                request,
                client,
                job,
                tasks: self.plan.tasks,
            },
            Stage::Cancel => Event::JobCancelled {
                request,
                client,
                job,
            },
            Stage::Retry => Event::RetryRequested {
                request,
                client,
                job,
            },
            Stage::Watch | Stage::Done => return None,
        })
    }

    fn batch(&self) -> u64 {
        self.plan.batch.min(self.plan.tasks - self.accepted)
    }

    /// What the driver has found of a task: the same each time, or nothing at the first time, when another job ends
    /// only then.
    fn found(&self, task: u64) -> Option<Found> {
        if self.plan.is_known_later && self.asked == 0 {
            return None;
        }
        let mut dice = Rng::new(task ^ u64::from(self.id.as_bytes()[0]) << 32);
        if !dice.percent(self.plan.known_percent?) {
            return None;
        }
        let digest = Digest::of(b"known");
        let confirmed = Verification {
            verdict: Verdict::Confirmed,
            testimonies: List::default(),
        };
        let worker = format!("w{}", dice.range(0, 4));
        let origin = Origin {
            key: digest,
            function: digest,
            call: digest,
            guest: digest,
            result: digest,
            job: JobId::from_bytes([0xff; 16]),
            number: 1,
            task: TaskId(task),
            attempt: Attempt(1),
            worker: worker
                .parse()
                .unwrap_or_else(|_| unreachable!("it is a name")),
            target: Text::default(),
            cpu_profile: Text::default(),
            build: Text::default(),
            recorded_ms: 1,
            run_us: 1,
            verification: dice.one_in(2).then_some(confirmed),
        };
        Some(Found {
            task,
            outcome: match dice.range(0, 12) {
                0 => OutcomeKind::Raised,
                // Whoever offers that is not heard.
                1 => OutcomeKind::LimitExceeded,
                _ => OutcomeKind::Succeeded,
            },
            origin: Box::new(origin),
        })
    }

    /// What an acceptance promises.
    pub(crate) fn promise(&self, accepted: Accepted) -> Option<Promise> {
        match (self.stage, accepted) {
            (_, Accepted::Ended(_)) | (Stage::Cancel, _) => Some(Promise::Over),
            (Stage::Submit, _) => Some(Promise::Submitted),
            (Stage::Append, Accepted::Job { tasks, .. }) => Some(Promise::Tasks(tasks)),
            (Stage::Close, _) => Some(Promise::Closed),
            _ => None,
        }
    }

    pub(crate) fn accepted(&mut self, now: u64, accepted: Accepted) {
        self.request = None;
        self.asked = 0;
        match (self.stage, accepted) {
            (_, Accepted::Ended(_)) | (Stage::Cancel, _) => self.stage = Stage::Watch,
            (Stage::Submit | Stage::Append, Accepted::Job { tasks, .. }) => {
                if self.stage == Stage::Submit {
                    self.cancel_at = self.plan.cancel_after.map(|after| now + after);
                }
                self.accepted = self.accepted.max(tasks);
                self.stage = if self.accepted < self.plan.tasks {
                    Stage::Append
                } else {
                    Stage::Close
                };
            }
            (Stage::Close | Stage::Retry, _) => self.stage = Stage::Watch,
            _ => {}
        }
    }

    /// An answer that may not be: something that was accepted is gone.
    pub(crate) fn refused(&mut self, why: Refusal) -> Result<(), String> {
        self.request = None;
        match (self.stage, why) {
            (Stage::Append, Refusal::TasksMissing { tasks }) if tasks >= self.accepted => Ok(()),
            (Stage::Retry, Refusal::JobRuns | Refusal::JobHasEnded) => {
                self.stage = Stage::Watch;
                Ok(())
            }
            (_, Refusal::TooManyJobs | Refusal::TooManyTasks) => Ok(()),
            (stage, why) => Err(format!("{:?}: {stage:?} is refused: {why:?}", self.id)),
        }
    }
}
