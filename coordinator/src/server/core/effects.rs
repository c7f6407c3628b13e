//! What follows once a step is durable: messages to sessions, images, watches.

use std::sync::Arc;

use ppwasm_proto::fabric::{OutcomeKind, SessionId, WorkerId};
use ppwasm_proto::wire::{
    Acknowledge, Cancel, CloseCode, Done, ErrorCode, INLINE_BYTES_MAX, JobOpened, List, MINOR,
    Message, Payload, Ranged, RecordedResult, Renewed, SetWorkerSlots, TakeBack, TaskCounts,
    TasksAppended, Text, Verification, Welcome, encode_outcome,
};
use ppwasm_proto::{Digest, JobId, TaskId};
use ppwasm_scheduler::{
    Accepted, CloseReason, Command, Event, JobEnd, Lease, Micros, Refusal, RequestId,
};

use tokio::sync::oneshot;
use tracing::{debug, info, warn};

use super::directory::{Listed, place};
use super::input::failed;
use super::queries::{counts_of, state_of};
use super::{
    APPEND_CREDIT, AskKind, Asker, BUILD_PAUSE, BUILD_TRIES, Bodies, Core, Input, JOB_WATCHES_MAX,
    chain, list, wall_ms,
};
use crate::server::Shared;
use crate::server::images::{LoadOutput, not_loaded};
use crate::server::session::Outgoing;
use crate::server::watch::{Watch, WatchEnd};
use crate::store::Body;

pub(super) enum Effect {
    Command(Command),
    JobSubmitted(JobId),
    TaskEnded {
        job: JobId,
        task: TaskId,
        kind: OutcomeKind,
        worker: Option<WorkerId>,
        /// For those who watch, when it is small.
        told: Option<Arc<RecordedResult>>,
        verification: Option<Box<Verification>>,
        /// It did not run: its outcome was known.
        is_cached: bool,
    },
    /// So many more, or fewer.
    AttemptsLost(JobId, i64),
    WorkerGone(WorkerId),
    JobEnded(JobId, JobEnd),
    JobRetried(JobId),
    JobForgotten(JobId),
    SlotsWished(SetWorkerSlots, oneshot::Sender<Message>),
    Watch(SessionId, Arc<Watch>),
    Send(SessionId, Box<Message>),
}

impl Core {
    pub(super) fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Command(command) => self.carry_out_command(command),
            Effect::JobSubmitted(job) => {
                self.shared.figures.jobs_submitted.add_one();
                self.list_job(job);
            }
            Effect::AttemptsLost(job, change) => {
                if let Some(listed) = self.directory.job_mut(job) {
                    listed.lost_attempts = listed.lost_attempts.saturating_add_signed(change);
                }
            }
            Effect::WorkerGone(worker) => {
                if !self.scheduler.knows_worker(&worker) {
                    self.directory.forget_worker(&worker);
                }
            }
            Effect::TaskEnded {
                job,
                task,
                kind,
                worker,
                told,
                verification,
                is_cached,
            } => {
                if let Some(worker) = worker.and_then(|name| self.directory.worker_mut(&name)) {
                    worker.tasks_ended += 1;
                }
                self.shared.figures.ended(kind);
                let mut fails = false;
                if let Some(listed) = self.directory.job_mut(job) {
                    listed.kinds[place(kind)] += 1;
                    if let Some(verification) = &verification {
                        listed.verified.add(kind, verification);
                    }
                    if is_cached {
                        listed.count_cached(kind);
                    }
                    fails = kind != OutcomeKind::Succeeded && listed.stops_at_failure;
                }
                for odd in verification.iter().flat_map(|of| of.odd()) {
                    let (worker, verdict) =
                        (&odd.worker, verification.as_ref().map(|of| of.verdict));
                    warn!(%job, %task, %worker, ?verdict, "a worker's outcome differs from the others'");
                }
                if fails {
                    self.stop_job(job);
                }
                for watch in self.watches.get(&job).into_iter().flatten() {
                    if !watch.has_begun() {
                        watch.begin(self.progress_of(job));
                    }
                    watch.tell(task.0, told.clone());
                }
            }
            Effect::JobEnded(job, how) => {
                info!(%job, ?how, "job ended");
                self.directory.set_end(job, Some((how, wall_ms())));
                let end = self.end_of(job, how);
                for watch in self.watches.remove(&job).unwrap_or_default() {
                    watch.end(end.clone());
                }
            }
            Effect::JobRetried(job) => {
                self.directory.set_end(job, None);
                if let Some(listed) = self.directory.job_mut(job) {
                    listed.forget_failures();
                }
            }
            Effect::JobForgotten(job) => {
                self.shared.catalog.forget(job);
                self.shared.recent.forget(job);
                if let Some(function) = self.directory.remove(job) {
                    self.shared.shelf.forget(&function);
                }
                self.watches.remove(&job);
            }
            Effect::SlotsWished(ask, answer) => self.tell_slots(ask, answer),
            Effect::Watch(session, watch) => self.add_watch(session, watch),
            Effect::Send(session, message) => self.send(session, *message),
        }
    }

    pub(super) fn add_watch(&mut self, session: SessionId, watch: Arc<Watch>) {
        // What ended before it was told anything is in the store.
        watch.miss();
        let ended = self.shared.store.job(&watch.job);
        match ended.map(|entry| entry.and_then(|entry| entry.ended)) {
            Ok(Some((how, _))) => watch.end(self.end_of(watch.job, how)),
            Ok(None) => {
                let watches = self.watches.entry(watch.job).or_default();
                // Whose session is over has let go of it.
                watches.retain(|watch| Arc::strong_count(watch) > 1);
                if watches.len() < JOB_WATCHES_MAX {
                    watches.push(Arc::clone(&watch));
                    let kinds = self.directory.job(watch.job).map(|listed| listed.kinds);
                    if kinds.unwrap_or_default().iter().sum::<u64>() > 0 {
                        watch.begin(self.progress_of(watch.job));
                    }
                } else {
                    let reason = "too many watch this job";
                    let message = failed(watch.request, ErrorCode::Busy, reason, Some(1000));
                    self.send(session, message);
                }
            }
            Err(_) => {
                let reason = "the store could not be read";
                let message = failed(watch.request, ErrorCode::Internal, reason, Some(1000));
                self.send(session, message);
            }
        }
    }

    /// A job is durable: it is listed as the store has it.
    fn list_job(&mut self, job: JobId) {
        // One that cannot be read is not listed; the next start of the coordinator says why.
        if let Ok(Some(entry)) = self.shared.store.job(&job)
            && let Some(terms) = self.shared.catalog.remember(&entry)
        {
            let (owner, name) = (&entry.spec.owner, &terms.open.name);
            info!(%job, number = entry.number, %owner, name = ?name, "job submitted");
            self.directory.add(&entry, &terms, false);
        }
    }

    /// Ends a job that shall not go on after a failure.
    fn stop_job(&mut self, job: JobId) {
        let Some(listed) = self.directory.job(job).filter(|job| job.end.is_none()) else {
            return;
        };
        let client = listed.owner.clone();
        // Nobody waits for the answer.
        self.next_request += 1;
        let request = RequestId(self.next_request);
        let event = Event::JobCancelled {
            request,
            client,
            job,
        };
        self.handle(event, &mut Bodies::default());
    }

    /// As [`Core::stop_job`], those whose failure was durable when the coordinator ended and their own end was not.
    pub(super) fn stop_failed_jobs(&mut self) {
        let failed = |listed: &Listed| listed.stops_at_failure && listed.failures() > 0;
        let jobs: Vec<_> = (self.directory.jobs())
            .filter(|(_, listed)| listed.end.is_none() && failed(listed))
            .map(|(job, _)| job)
            .collect();
        for job in jobs {
            self.stop_job(job);
        }
    }

    /// How far a job is that has not ended, with what loading its function wrote.
    fn progress_of(&self, job: JobId) -> WatchEnd {
        let mut progress = self.end_of(job, JobEnd::Finished);
        if let Some(listed) = self.directory.job(job) {
            let summary = self.summary(job, listed);
            (progress.state, progress.counts) = (summary.state, summary.counts);
        }
        progress
    }

    fn end_of(&self, job: JobId, how: JobEnd) -> WatchEnd {
        let listed = self.directory.job(job);
        let kinds = listed.map(|listed| listed.kinds).unwrap_or_default();
        let ended = kinds.iter().sum::<u64>();
        let tasks = self.scheduler.job(job).map_or(ended, |view| view.tasks);
        let function = self.scheduler.job_spec(job).map(|spec| spec.function);
        let output = function.and_then(|f| self.shared.shelf.output(&f));
        let written = |stream: fn(&LoadOutput) -> &[u8]| {
            let bytes = stream(output.as_deref()?);
            // The end of it is what tells most.
            let start = bytes.len().saturating_sub(INLINE_BYTES_MAX);
            let bytes = bytes.get(start..).filter(|bytes| !bytes.is_empty())?;
            Some(Payload::Inline(bytes.try_into().ok()?))
        };
        WatchEnd {
            load_stdout: written(|output| &output.stdout),
            load_stderr: written(|output| &output.stderr),
            state: state_of(how),
            counts: TaskCounts {
                from_cache: listed.and_then(Listed::cached),
                ..counts_of(&kinds, tasks, Some(how))
            },
            load_failure: match how {
                JobEnd::ImageFailed => function.and_then(|f| self.load_failure(&f)),
                _ => None,
            },
        }
    }

    /// How loading a function ended, when it did not succeed.
    pub(super) fn load_failure(&self, function: &Digest) -> Option<Payload> {
        let bytes = (self.shared.shelf.failure(function)).unwrap_or_else(|| {
            // It is not kept with the job.
            encode_outcome(&not_loaded(
                "the coordinator was started again since and does not know any more why; submit it again to see",
            ))
            .into()
        });
        Some(Payload::Inline((&bytes[..]).try_into().ok()?))
    }

    /// Sends leases of one job, with their calls if these are at hand.
    pub(super) fn grant(
        &mut self,
        session: SessionId,
        leases: Vec<Lease>,
        lasts: Micros,
        calls: Option<Vec<Body>>,
    ) {
        let job = leases.first().map(|lease| lease.claim.identity.job);
        if let Some(listed) = job.and_then(|job| self.directory.job_mut(job))
            && listed.first_grant_ms.is_none()
            && !listed.ran_before
        {
            listed.first_grant_ms = Some(wall_ms());
        }
        let grant = Outgoing::Grant {
            leases,
            lasts,
            calls,
        };
        self.send_out(session, grant);
    }

    pub(super) fn carry_out_command(&mut self, command: Command) {
        match command {
            Command::Accept { request, accepted } => self.accept(request, accepted),
            Command::Refuse {
                request,
                why,
                retry_after,
            } => {
                let asker = self.askers.remove(&request);
                // Why its beginning was refused was told: this is missing for the same reason.
                let is_told = |asker: &Asker| {
                    asker.kind == AskKind::AppendRest && matches!(why, Refusal::TasksMissing { .. })
                };
                if let Some(asker) = asker.filter(|asker| !is_told(asker)) {
                    let (code, reason) = refusal(why);
                    let retry = retry_after.map(|after| after.0.div_ceil(1000));
                    self.send(asker.session, failed(asker.request, code, reason, retry));
                }
            }
            Command::BuildImage { function } => self.build(function),
            Command::SendImage { session, function } => {
                self.send_out(session, Outgoing::Image(function));
            }
            Command::Welcome {
                session,
                pace,
                refused,
            } => {
                let connected = self.sessions.get(&session);
                let minor = connected.map_or(MINOR, |connected| connected.minor);
                let worker = connected.and_then(|connected| connected.worker.as_ref());
                let welcome = Welcome {
                    slots: worker.and_then(|worker| self.slots.get(worker).copied()),
                    lease_ms: pace.lease.0 / 1000,
                    report_every_ms: pace.report_every.0 / 1000,
                    refused: list(refused),
                    ..self.shared.welcome(session, minor)
                };
                self.send(session, welcome.into());
            }
            Command::Renew {
                session,
                report,
                pace,
                refused,
            } => {
                let renewed = Renewed {
                    number: report,
                    lease_ms: Ranged::clamped(pace.lease.0 / 1000),
                    report_every_ms: Ranged::clamped(pace.report_every.0 / 1000),
                    refused: list(refused),
                };
                self.send(session, renewed.into());
            }
            Command::Grant {
                session,
                leases,
                lasts,
            } => self.grant(session, leases, lasts, None),
            Command::Cancel { session, leases } => {
                for leases in List::chunks_of(leases) {
                    self.send(session, Cancel { leases }.into());
                }
            }
            Command::TakeBack { session, leases } => {
                for leases in List::chunks_of(leases) {
                    self.send(session, TakeBack { leases }.into());
                }
            }
            Command::Acknowledge { session, leases } => {
                for leases in List::chunks_of(leases) {
                    self.send(session, Acknowledge { leases }.into());
                }
            }
            Command::CloseSession { session, why } => {
                let (code, reason) = match why {
                    CloseReason::Replaced => {
                        (CloseCode::Superseded, "a newer session of the same worker")
                    }
                    CloseReason::Revoked => (CloseCode::Revoked, "the certificate is revoked"),
                    CloseReason::TooManyWorkers => {
                        (CloseCode::TooManyConnections, "too many workers")
                    }
                };
                self.send_out(session, Outgoing::Close(code, reason));
                self.sessions.remove(&session);
            }
        }
    }

    pub(super) fn accept(&mut self, request: RequestId, accepted: Accepted) {
        let Some(asker) = self.askers.remove(&request) else {
            return;
        };
        let request = asker.request;
        let message = match (asker.kind, accepted) {
            (AskKind::Open, Accepted::Job { tasks, is_known }) => {
                let view = self.scheduler.job(asker.job);
                JobOpened {
                    request,
                    is_duplicate: is_known,
                    next: TaskId(tasks),
                    credit: Ranged::clamped(APPEND_CREDIT),
                    is_closed: view.is_none_or(|view| view.is_closed || view.end.is_some()),
                }
                .into()
            }
            (AskKind::Append | AskKind::AppendRest, Accepted::Job { tasks, .. }) => TasksAppended {
                request,
                next: TaskId(tasks),
                credit: Ranged::clamped(APPEND_CREDIT),
            }
            .into(),
            (AskKind::Append | AskKind::AppendRest, _) => {
                failed(request, ErrorCode::JobClosed, "the job has ended", None)
            }
            _ => Done { request }.into(),
        };
        self.send(asker.session, message);
    }

    pub(super) fn build(&mut self, function: Digest) {
        let (shared, may_build) = (Arc::clone(&self.shared), Arc::clone(&self.may_build));
        self.builds.spawn(async move {
            let mut bytes = None;
            let mut why = None;
            for _ in 0..BUILD_TRIES {
                let Ok(_permit) = may_build.acquire().await else {
                    return;
                };
                let shared = Arc::clone(&shared);
                let build = move || shared.shelf.build(&*shared.store, function);
                match tokio::task::spawn_blocking(build).await {
                    Ok(Ok(built)) => {
                        (bytes, why) = (built, None);
                        break;
                    }
                    Ok(Err(error)) => {
                        let error = chain(&error);
                        warn!(%function, error, "an image could not be built");
                        why = Some(error);
                    }
                    Err(_) => {
                        warn!(%function, "building an image met a bug");
                        why = Some("building its image met a bug".to_owned());
                    }
                }
                tokio::time::sleep(BUILD_PAUSE).await;
            }
            if let Some(why) = why {
                let told = format!("the coordinator tried {BUILD_TRIES} times: {why}");
                shared.shelf.give_up(function, &told);
            }
            match bytes {
                Some(bytes) => {
                    debug!(%function, bytes, "image built");
                    shared.figures.images_built.add_one();
                }
                None => {
                    info!(%function, "a function cannot be loaded");
                    shared.figures.images_failed.add_one();
                }
            }
            let _ = shared.inputs.send(Input::Built { function, bytes }).await;
        });
    }

    pub(super) fn send(&mut self, session: SessionId, message: Message) {
        self.send_out(session, Outgoing::Message(message));
    }

    /// Whose queue is full does not read: its session ends, and nobody else waits for it.
    pub(super) fn send_out(&mut self, session: SessionId, outgoing: Outgoing) {
        if let Some(connected) = self.sessions.get(&session)
            && connected.outgoing.try_send(outgoing).is_err()
        {
            self.sessions.remove(&session);
        }
    }
}

const fn refusal(why: Refusal) -> (ErrorCode, &'static str) {
    match why {
        Refusal::UnknownJob => (ErrorCode::NotFound, "there is no such job"),
        Refusal::UnknownWorker => (ErrorCode::NotFound, "there is no such worker"),
        Refusal::JobDiffers => (ErrorCode::Conflict, "another job has this id"),
        Refusal::JobIsClosed => (ErrorCode::JobClosed, "the job takes no more tasks"),
        Refusal::JobHasEnded => (ErrorCode::JobClosed, "the job has ended"),
        Refusal::JobRuns => (ErrorCode::Conflict, "the job has not ended"),
        Refusal::TasksMissing { .. } => (ErrorCode::WrongOrder, "tasks before these are missing"),
        Refusal::OutOfRange => (ErrorCode::InvalidValue, "a number is out of range"),
        Refusal::TooManyJobs => (ErrorCode::QuotaExceeded, "too many jobs"),
        Refusal::TooManyTasks => (ErrorCode::Busy, "too many tasks are queued"),
    }
}

impl Shared {
    /// What every welcome says.
    pub(crate) fn welcome(&self, session: SessionId, minor: u64) -> Welcome {
        Welcome {
            minor,
            session: session.0,
            epoch: u64::from(self.store.epoch().number()),
            report_every_ms: self.config.scheduler.report_every.0 / 1000,
            lease_ms: self.config.scheduler.lease.0 / 1000,
            refused: List::new(),
            build: Text::truncated(concat!("ppwasm ", env!("CARGO_PKG_VERSION"))),
            guest: Some(self.shelf.guest()),
            renew_certificate: None,
            wall_clock_s: None,
            slots: None,
        }
    }
}
