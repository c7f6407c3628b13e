//! What sessions tell the core, and the events that the scheduler is told of it.

use std::sync::Arc;
use std::time::Instant;

use ppwasm_proto::fabric::{ClientName, SessionId, WorkerId};
use ppwasm_proto::wire::{ErrorCode, Failed, LABEL_BYTES_MAX, MINOR, Message, Payload, Text};
use ppwasm_proto::{Digest, JobId, TaskId};
use ppwasm_scheduler::{Ended, Event, Found, Hello, Leaving, Micros, RequestId};
use tokio::sync::{mpsc, oneshot};
use tracing::{info, warn};

use super::directory::Seen;
use super::effects::Effect;
use super::withheld;
use super::{
    AskKind, Asker, Bodies, Connected, Core, JOBS_PER_STEP, SPACE_EVERY, SPACE_MARGIN, pin, wall_ms,
};
use crate::server::Snapshot;
use crate::server::session::Outgoing;
use crate::server::terms::JobTerms;
use crate::server::watch::{Watch, body};
use crate::store::{Body, TaskResult};

/// When a client may try again after the disk was full.
const SPACE_RETRY_MS: u64 = 5000;

/// What sessions tell the core.
#[allow(
    clippy::large_enum_variant,
    reason = "nearly all are messages, which are moved"
)]
pub(crate) enum Input {
    /// What there is at this moment.
    Snapshot(oneshot::Sender<Snapshot>),
    /// Jobs whose time is over: some are forgotten, and how many is told.
    ForgetExpired(oneshot::Sender<u64>),
    /// What jobs from this number on name is said again; where to go on is told.
    RenewPins {
        from: u64,
        answer: oneshot::Sender<Option<u64>>,
    },
    /// A question, and where the answer goes.
    Query {
        client: ClientName,
        query: Message,
        answer: oneshot::Sender<Message>,
    },
    /// A client has a session, or a worker is about to say hello.
    Opened {
        session: SessionId,
        outgoing: mpsc::Sender<Outgoing>,
    },
    Joined {
        session: SessionId,
        hello: Box<Hello>,
        /// What is listed of it.
        offer: Box<Offer>,
    },
    /// A worker's message.
    Worker {
        session: SessionId,
        message: Message,
    },
    Client {
        session: SessionId,
        client: ClientName,
        request: u32,
        asks: Ask,
    },
    Left {
        session: SessionId,
        how: Leaving,
    },
    /// A worker is nobody any more.
    Revoked {
        worker: WorkerId,
    },
    /// An image is ready, with its size, or cannot be built.
    Built {
        function: Digest,
        bytes: Option<u64>,
    },
}

/// What a worker says of itself for people.
pub(crate) struct Offer {
    pub target: Text<LABEL_BYTES_MAX>,
    pub cpu_profile: Text<LABEL_BYTES_MAX>,
    pub label: Option<Text<LABEL_BYTES_MAX>>,
    pub build: Text<LABEL_BYTES_MAX>,
    /// The minor version that both speak.
    pub minor: u64,
}

/// What was found of the tasks that a client appends, by the terms under which it was looked for.
#[derive(Debug)]
pub(crate) struct LookedUp {
    /// The digest of those terms.
    pub body: Digest,
    /// Tasks with what they end with.
    pub found: Vec<(Found, TaskResult)>,
}

/// What a client asks for.
pub(crate) enum Ask {
    /// The operator's to ask.
    Drain {
        worker: WorkerId,
        drain: bool,
    },
    Open {
        job: JobId,
        terms: Box<JobTerms>,
    },
    Append {
        job: JobId,
        first: u64,
        calls: Vec<Body>,
        /// For a job that is cached.
        looked_up: Option<LookedUp>,
        /// It follows what the same message appended.
        is_rest: bool,
    },
    Close {
        job: JobId,
        tasks: u64,
    },
    Cancel {
        job: JobId,
    },
    Retry {
        job: JobId,
    },
    Forget {
        job: JobId,
    },
    Watch {
        watch: Arc<Watch>,
    },
}

impl Core {
    pub(super) fn take(&mut self, input: Input) {
        match input {
            Input::Opened { session, outgoing } => {
                let (worker, minor) = (None, MINOR);
                let connected = Connected {
                    outgoing,
                    worker,
                    minor,
                };
                self.sessions.insert(session, connected);
            }
            Input::Joined {
                session,
                hello,
                offer,
            } => self.join(session, hello, *offer),
            Input::Snapshot(answer) => {
                let _ = answer.send(self.snapshot());
            }
            Input::ForgetExpired(answer) => {
                let _ = answer.send(self.forget_expired());
            }
            Input::RenewPins { from, answer } => {
                let _ = answer.send(self.renew_pins(from));
            }
            Input::Query {
                query: Message::SetWorkerSlots(ask),
                answer,
                ..
            } => self.set_worker_slots(ask, answer),
            Input::Query {
                client,
                query,
                answer,
            } => {
                // Whoever asked may be gone.
                let _ = answer.send(self.answer_query(&client, query));
            }
            Input::Worker { session, message } => self.take_from_worker(session, message),
            Input::Client {
                session,
                client,
                request,
                asks,
            } => self.take_from_client(session, client, request, asks),
            Input::Left { session, how } => {
                let connected = self.sessions.remove(&session);
                if let Some(worker) = connected.and_then(|connected| connected.worker) {
                    info!(%worker, ?how, "worker left");
                }
                self.handle(Event::WorkerLeft { session, how }, &mut Bodies::default());
            }
            Input::Revoked { worker } => {
                self.handle(Event::WorkerRevoked { worker }, &mut Bodies::default());
            }
            Input::Built { function, bytes } => {
                let event = match bytes {
                    Some(bytes) => Event::ImageReady { function, bytes },
                    None => Event::ImageFailed { function },
                };
                self.handle(event, &mut Bodies::default());
            }
        }
    }

    fn snapshot(&self) -> Snapshot {
        let root = self.shared.store.blobs().root();
        Snapshot {
            totals: self.scheduler.totals(),
            counters: *self.scheduler.counters(),
            jobs: self.directory.states(),
            watches: self.watches.values().map(Vec::len).sum::<usize>() as u64,
            groups_waiting: (self.waiting.len() + self.in_flight.len()) as u64,
            free_bytes: crate::disk::free_bytes(root).ok(),
        }
    }

    fn renew_pins(&mut self, from: u64) -> Option<u64> {
        if !self.has_space() {
            // The store would refuse it, and there is time.
            return None;
        }
        let (blobs, next) = self.directory.pinned(from, JOBS_PER_STEP);
        self.open.writes.extend(blobs.into_iter().map(pin));
        next
    }

    fn forget_expired(&mut self) -> u64 {
        let jobs = self.directory.expired(wall_ms(), JOBS_PER_STEP);
        let count = jobs.len() as u64;
        for job in jobs {
            // Nobody waits for the answer.
            self.next_request += 1;
            let request = RequestId(self.next_request);
            self.handle(Event::JobForgotten { request, job }, &mut Bodies::default());
        }
        self.shared.figures.jobs_expired.add(count);
        count
    }

    /// Whether there is room to begin something new.
    fn has_space(&mut self) -> bool {
        match self.space {
            Some((at, has_space)) if at.elapsed() < SPACE_EVERY => has_space,
            _ => {
                let blobs = self.shared.store.blobs();
                // Who cannot say how much is free is asked by writing.
                let free = crate::disk::free_bytes(blobs.root()).unwrap_or(u64::MAX);
                let kept = blobs.limits().free_bytes_min;
                let has_space = kept == 0 || free >= kept.saturating_add(SPACE_MARGIN.min(kept));
                if let Some((_, had_space)) = self.space
                    && had_space != has_space
                {
                    warn!(free, has_space, "space on the disk");
                }
                self.space = Some((Instant::now(), has_space));
                has_space
            }
        }
    }

    fn join(&mut self, session: SessionId, hello: Box<Hello>, offer: Offer) {
        let worker = hello.worker.clone();
        if let Some(connected) = self.sessions.get_mut(&session) {
            connected.worker = Some(worker.clone());
            connected.minor = offer.minor;
        }
        self.handle(
            Event::WorkerJoined { session, hello },
            &mut Bodies::default(),
        );
        if self.scheduler.knows_worker(&worker) {
            info!(%worker, target = ?offer.target, profile = ?offer.cpu_profile, build = ?offer.build, "worker joined");
            let seen = Seen {
                target: offer.target,
                cpu_profile: offer.cpu_profile,
                label: offer.label,
                build: offer.build,
                last_message: self.now(),
                tasks_ended: 0,
            };
            self.directory.greet(worker, seen);
        }
    }

    pub(super) fn take_from_worker(&mut self, session: SessionId, message: Message) {
        let now = self.now();
        let connected = self.sessions.get(&session);
        let worker = connected.and_then(|connected| connected.worker.as_ref());
        if let Some(seen) = worker.and_then(|worker| self.directory.worker_mut(worker)) {
            seen.last_message = now;
        }
        let mut bodies = Bodies::default();
        let event = match message {
            Message::Report(report) => Event::WorkerReported {
                session,
                report: report.number,
                waiting: report.waiting.into_vec(),
                running: report.running.into_vec(),
            },
            Message::Ended(ended) => {
                let mut attempts = Vec::with_capacity(ended.results.len());
                bodies.results.reserve(ended.results.len());
                let mut verified = Vec::new();
                for result in ended.results {
                    let (claim, kind) = (result.claim, result.kind);
                    let outcome_bytes = result.outcome.byte_count();
                    let optional = |one: Option<Payload>| one.map(body).unwrap_or_default();
                    let stored = TaskResult {
                        outcome: body(result.outcome),
                        stdout: optional(result.stdout),
                        stderr: optional(result.stderr),
                        run_time_us: result.usage.wall_us,
                        memory_bytes: result.usage.memory_bytes,
                    };
                    let spec = self.scheduler.job_spec(claim.identity.job);
                    let is_verified = spec.is_some_and(|spec| spec.verify_percent > 0);
                    attempts.push(Ended {
                        claim,
                        outcome: kind,
                        run_time: Micros(stored.run_time_us),
                        outcome_bytes,
                        digest: match is_verified {
                            true => withheld::digest(&stored),
                            false => Digest::from_bytes([0; 32]),
                        },
                    });
                    if is_verified {
                        verified.push(claim);
                    }
                    bodies.results.push((claim.lease, stored));
                }
                let ended = Event::LeasesEnded {
                    session,
                    ended: attempts,
                };
                self.handle(ended, &mut bodies);
                for claim in verified {
                    if self.scheduler.is_withheld(session, &claim) {
                        let (job, task) = (claim.identity.job, claim.identity.task);
                        let result = bodies.result(claim.lease);
                        self.withheld.keep(job, task, claim.lease, result);
                    }
                }
                return;
            }
            Message::GiveBack(back) => Event::LeasesGivenBack {
                session,
                given: (back.leases.iter().map(|given| (given.lease, given.why))).collect(),
            },
            Message::SlotsSet(set) => {
                let number = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
                Event::SlotsSet {
                    session,
                    slots: number(set.slots.value()),
                    credit: number(set.credit.value()),
                }
            }
            Message::Draining(_) => Event::WorkerDraining { session },
            Message::ImagesHeld(images) => {
                for (functions, is_held) in [(images.held, true), (images.dropped, false)] {
                    for function in functions {
                        let event = Event::ImageHeld {
                            session,
                            function,
                            is_held,
                        };
                        self.handle(event, &mut bodies);
                    }
                }
                return;
            }
            _ => return,
        };
        self.handle(event, &mut bodies);
    }

    pub(super) fn take_from_client(
        &mut self,
        session: SessionId,
        client: ClientName,
        number: u32,
        asks: Ask,
    ) {
        if matches!(asks, Ask::Open { .. } | Ask::Append { .. }) && !self.has_space() {
            let reason = "the coordinator's disk is nearly full";
            let message = failed(number, ErrorCode::NoSpace, reason, Some(SPACE_RETRY_MS));
            self.send(session, message);
            return;
        }
        self.next_request += 1;
        let request = RequestId(self.next_request);
        let mut bodies = Bodies::default();
        let (job, kind, event) = match asks {
            Ask::Open { job, terms } => {
                bodies.details = terms.to_bytes();
                let open = &terms.open;
                let blobs = [Some(open.function), open.stdin, open.inputs];
                bodies.blobs = blobs.into_iter().flatten().collect();
                let spec = Box::new(terms.spec(client));
                (
                    job,
                    AskKind::Open,
                    Event::JobSubmitted { request, job, spec },
                )
            }
            Ask::Append {
                job,
                first,
                calls,
                looked_up,
                is_rest,
            } => {
                let count = calls.len() as u64;
                bodies.first = first;
                bodies.calls = calls;
                // What another job was opened with under this id, and refused, finds nothing for this one.
                let spec = self.scheduler.job_spec(job);
                let looked_up =
                    looked_up.filter(|looked| spec.is_some_and(|spec| spec.body == looked.body));
                let mut found = Vec::new();
                for (one, result) in looked_up.into_iter().flat_map(|looked| looked.found) {
                    bodies.found.insert(TaskId(one.task), result);
                    found.push(one);
                }
                let event = Event::TasksAppended {
                    request,
                    client,
                    job,
                    first,
                    count,
                    found,
                };
                let kind = match is_rest {
                    true => AskKind::AppendRest,
                    false => AskKind::Append,
                };
                (job, kind, event)
            }
            Ask::Close { job, tasks } => {
                let event = Event::JobClosed {
                    request,
                    client,
                    job,
                    tasks,
                };
                (job, AskKind::Other, event)
            }
            Ask::Drain { worker, drain } => {
                let event = match drain {
                    true => Event::DrainRequested { request, worker },
                    false => Event::UndrainRequested { request, worker },
                };
                // It is about no job.
                (JobId::from_bytes([0; 16]), AskKind::Other, event)
            }
            Ask::Cancel { job } => {
                let event = Event::JobCancelled {
                    request,
                    client: self.acting(client, job),
                    job,
                };
                (job, AskKind::Other, event)
            }
            Ask::Retry { job } => {
                let event = Event::RetryRequested {
                    request,
                    client: self.acting(client, job),
                    job,
                };
                (job, AskKind::Other, event)
            }
            Ask::Forget { job } if self.owner_for(&client, job).is_some() => {
                (job, AskKind::Other, Event::JobForgotten { request, job })
            }
            Ask::Watch { watch } if self.owner_for(&client, watch.job).is_some() => {
                self.open.push_effect(Effect::Watch(session, watch));
                return;
            }
            Ask::Forget { .. } | Ask::Watch { .. } => {
                let message = failed(number, ErrorCode::NotFound, "there is no such job", None);
                let answer = Effect::Send(session, Box::new(message));
                self.open.push_effect(answer);
                return;
            }
        };
        let asker = Asker {
            session,
            request: number,
            job,
            kind,
        };
        self.askers.insert(request, asker);
        self.handle(event, &mut bodies);
    }

    /// Who acts on a job: its owner, when the operator does.
    fn acting(&self, client: ClientName, job: JobId) -> ClientName {
        self.owner_for(&client, job).cloned().unwrap_or(client)
    }
}

pub(crate) fn failed(request: u32, code: ErrorCode, reason: &str, retry: Option<u64>) -> Message {
    Failed {
        request,
        code,
        reason: Text::truncated(reason),
        retry_after_ms: retry,
    }
    .into()
}
