//! What is asked about jobs and workers, answered from the directory and the scheduler. Every answer is bounded.

use ppwasm_proto::fabric::{ClientName, SessionId, WorkerId};
use ppwasm_proto::wire::{
    Done, ErrorCode, FunctionSummary, Functions, JobShown, JobState, JobSummary, Jobs, List,
    ListFunctions, ListJobs, ListWorkers, Message, OPERATOR, SetSlots, SetWorkerSlots, TaskCounts,
    TaskShown, Text, WorkerState, WorkerSummary, Workers,
};
use ppwasm_proto::{JobId, TaskId};
use ppwasm_scheduler::{DrainReason, JobEnd, Obstacle, WorkerView};

use tokio::sync::oneshot;

use super::directory::{Kinds, Listed};
use super::effects::Effect;
use super::explain::explained;
use super::input::failed;
use super::{Core, wall_ms};
use crate::store::Write;

/// Workers whose slots the operator has set.
const SLOTS_SET_MAX: usize = 20_000;

const NO_JOB: &str = "there is no such job";

impl Core {
    /// Answers a client. What only the store knows is left out: the session adds it.
    pub(super) fn answer_query(&mut self, client: &ClientName, query: Message) -> Message {
        match query {
            Message::ListJobs(ask) => self.jobs(client, &ask),
            Message::ShowJob(ask) => self.show_job(client, ask.request, ask.job),
            Message::ExplainTask(ask) => match self.sees(client, ask.job) {
                Some(_) => {
                    let explanation = self.scheduler.explain(ask.job, ask.task);
                    let attempts = self.scheduler.attempts(ask.job, ask.task);
                    explained(
                        ask.request,
                        explanation,
                        attempts.unwrap_or_default(),
                        self.now(),
                    )
                    .into()
                }
                None => failed(ask.request, ErrorCode::NotFound, NO_JOB, None),
            },
            Message::ShowTask(ask) => self.show_task(client, ask.request, ask.job, ask.task),
            Message::ListWorkers(ask) => self.workers(&ask),
            Message::ListFunctions(ask) => self.functions(client, &ask),
            _ => failed(0, ErrorCode::UnknownMessage, "not a question", None),
        }
    }

    /// The job, when it is the client's or the client is the operator. Another's is as if it were not there.
    pub(super) fn sees(&self, client: &ClientName, job: JobId) -> Option<&Listed> {
        let listed = self.directory.job(job)?;
        (listed.owner == *client || client.as_str() == OPERATOR).then_some(listed)
    }

    /// Whose job it is, when the client may act on it.
    pub(super) fn owner_for(&self, client: &ClientName, job: JobId) -> Option<&ClientName> {
        let owner = &self.scheduler.job_spec(job)?.owner;
        (owner == client || client.as_str() == OPERATOR).then_some(owner)
    }

    fn jobs(&self, client: &ClientName, ask: &ListJobs) -> Message {
        let below = match ask.after.map(|after| self.sees(client, after)) {
            None => None,
            Some(Some(listed)) => Some(listed.number),
            Some(None) => {
                let reason = "the last job of that page is gone; begin again";
                return failed(ask.request, ErrorCode::NotFound, reason, None);
            }
        };
        let owner = (client.as_str() != OPERATOR).then_some(client);
        let page = usize::try_from(ask.page.value()).unwrap_or(1);
        let mut found = self.directory.newest(owner, below, ask.only_live);
        let jobs: Vec<_> = (found.by_ref().take(page))
            .map(|(job, listed)| self.summary(job, listed))
            .collect();
        Jobs {
            request: ask.request,
            has_more: found.next().is_some(),
            jobs: List::try_from(jobs).unwrap_or_default(),
        }
        .into()
    }

    fn show_job(&self, client: &ClientName, request: u32, job: JobId) -> Message {
        let spec = self.scheduler.job_spec(job);
        let (Some(listed), Some(spec)) = (self.sees(client, job), spec) else {
            return failed(request, ErrorCode::NotFound, NO_JOB, None);
        };
        let load_failure = match listed.end {
            Some((JobEnd::ImageFailed, _)) => self.load_failure(&spec.function),
            _ => None,
        };
        JobShown {
            request,
            job: self.summary(job, listed),
            limits: spec.limits,
            used_us: 0,
            load_failure,
            time: None,
            stream: None,
            verification: (spec.verify_percent > 0).then(|| {
                let waiting = self.scheduler.job(job).map_or(0, |view| view.unconfirmed);
                listed.verified.told(spec.verify_percent, waiting)
            }),
        }
        .into()
    }

    fn show_task(&self, client: &ClientName, request: u32, job: JobId, task: TaskId) -> Message {
        let attempts = self.scheduler.attempts(job, task);
        match (self.sees(client, job), attempts) {
            (Some(_), Some(attempts)) => TaskShown {
                request,
                result: None,
                attempts,
            }
            .into(),
            (Some(_), None) => {
                let reason = "the job has no such task";
                failed(request, ErrorCode::NotFound, reason, None)
            }
            (None, _) => failed(request, ErrorCode::NotFound, NO_JOB, None),
        }
    }

    pub(super) fn summary(&self, job: JobId, listed: &Listed) -> JobSummary {
        let view = self.scheduler.job(job);
        let now = wall_ms();
        let state = match (listed.end, view) {
            (Some((end, _)), _) => state_of(end),
            (None, Some(view)) if view.is_closed => JobState::Closed,
            (None, _) => JobState::Open,
        };
        let tasks = view.map_or(0, |view| view.tasks);
        let mut counts = counts_of(&listed.kinds, tasks, listed.end.map(|(end, _)| end));
        counts.lost_attempts = listed.lost_attempts;
        counts.from_cache = listed.cached();
        if let (None, Some(view)) = (listed.end, view) {
            counts.leased = view.leased;
            counts.queued = tasks.saturating_sub(view.ended + view.leased);
        }
        let until = listed.end.map_or(now, |(_, at_ms)| at_ms);
        let spec = self.scheduler.job_spec(job);
        JobSummary {
            job,
            name: listed.name.clone(),
            owner: listed.owner.clone(),
            function: listed.function.digest,
            state,
            counts,
            priority: spec.map(|spec| spec.priority).unwrap_or_default(),
            age_ms: now.saturating_sub(listed.submitted_ms),
            run_ms: listed
                .first_grant_ms
                .map(|since| until.saturating_sub(since)),
            number: Some(listed.number),
        }
    }

    fn workers(&self, ask: &ListWorkers) -> Message {
        let page = usize::try_from(ask.page.value()).unwrap_or(1);
        let mut found = self.scheduler.workers_after(ask.after.as_ref(), page + 1);
        let has_more = found.len() > page;
        found.truncate(page);
        let workers: Vec<_> = found
            .into_iter()
            .map(|view| self.worker_summary(view))
            .collect();
        Workers {
            request: ask.request,
            workers: List::try_from(workers).unwrap_or_default(),
            has_more,
        }
        .into()
    }

    fn worker_summary(&self, view: WorkerView) -> WorkerSummary {
        let seen = self.directory.worker(&view.worker);
        let silent = seen.map(|seen| self.now().since(seen.last_message).0 / 1000);
        WorkerSummary {
            state: match view.obstacle {
                Some(Obstacle::Away) => WorkerState::Away,
                Some(Obstacle::Drained(
                    DrainReason::FailsTasks | DrainReason::GivesWrongResults,
                )) => WorkerState::Distrusted,
                Some(Obstacle::Drained(_) | Obstacle::Draining) => WorkerState::Draining,
                _ => WorkerState::Serving,
            },
            target: seen.map(|seen| seen.target.clone()).unwrap_or_default(),
            cpu_profile: seen
                .map(|seen| seen.cpu_profile.clone())
                .unwrap_or_default(),
            slots: u64::from(view.slots),
            leases: u64::from(view.leases),
            speed_permille: view.run_time.map(|_| view.speed_percent * 10),
            tasks_ended: seen.map_or(0, |seen| seen.tasks_ended),
            // One that was not here since the start has been silent since then at least.
            silent_ms: silent.unwrap_or(self.now().0 / 1000),
            label: seen.and_then(|seen| seen.label.clone()),
            build: seen.map(|seen| seen.build.clone()),
            contradicted: (view.contradicted > 0).then_some(view.contradicted.into()),
            name: view.worker,
        }
    }

    fn functions(&self, client: &ClientName, ask: &ListFunctions) -> Message {
        let owner = (client.as_str() != OPERATOR).then_some(client);
        let page = usize::try_from(ask.page.value()).unwrap_or(1);
        let mut found = self.directory.functions(owner, ask.after);
        let functions: Vec<_> = (found.by_ref().take(page))
            .map(|(function, jobs)| FunctionSummary {
                function,
                entry: Text::default(),
                image: None,
                jobs,
                workers: self.scheduler.image_holders(&function.digest),
            })
            .collect();
        Functions {
            request: ask.request,
            has_more: found.next().is_some(),
            functions: List::try_from(functions).unwrap_or_default(),
        }
        .into()
    }

    /// The session has made sure that the operator asks. It is answered, and told to the worker, when it is durable.
    pub(super) fn set_worker_slots(
        &mut self,
        ask: SetWorkerSlots,
        answer: oneshot::Sender<Message>,
    ) {
        let request = ask.request;
        let is_set = self.slots.contains_key(&ask.worker);
        let refusal = if !self.scheduler.knows_worker(&ask.worker) && !is_set {
            Some((ErrorCode::NotFound, "there is no such worker"))
        } else if !is_set && self.slots.len() >= SLOTS_SET_MAX {
            Some((
                ErrorCode::QuotaExceeded,
                "the slots of too many workers are set",
            ))
        } else {
            None
        };
        if let Some((code, reason)) = refusal {
            // Whoever asked may be gone.
            let _ = answer.send(failed(request, code, reason, None));
            return;
        }
        self.open.writes.push(Write::SlotsWished {
            worker: ask.worker.clone(),
            slots: u32::try_from(ask.slots.value()).unwrap_or(u32::MAX),
        });
        self.open.push_effect(Effect::SlotsWished(ask, answer));
    }

    /// As [`Core::set_worker_slots`] asked, which is durable now.
    pub(super) fn tell_slots(&mut self, ask: SetWorkerSlots, answer: oneshot::Sender<Message>) {
        self.slots.insert(ask.worker.clone(), ask.slots.value());
        if let Some(session) = self.session_of(&ask.worker) {
            let message = SetSlots { slots: ask.slots };
            self.send(session, message.into());
        }
        let request = ask.request;
        let _ = answer.send(Done { request }.into());
    }

    fn session_of(&self, worker: &WorkerId) -> Option<SessionId> {
        let mut sessions = self.sessions.iter();
        let found = sessions.find(|(_, connected)| connected.worker.as_ref() == Some(worker));
        found.map(|(session, _)| *session)
    }
}

/// How a job that ended in this way is called.
pub(super) const fn state_of(end: JobEnd) -> JobState {
    match end {
        JobEnd::Finished => JobState::Ended,
        JobEnd::Cancelled => JobState::Cancelled,
        JobEnd::ImageFailed => JobState::FunctionInvalid,
    }
}

/// Ended tasks, counted. Those of a cancelled job that had not ended were cancelled.
pub(super) fn counts_of(kinds: &Kinds, tasks: u64, end: Option<JobEnd>) -> TaskCounts {
    let ended = kinds.iter().sum::<u64>();
    let [
        succeeded,
        raised,
        trapped,
        limit_exceeded,
        cancelled,
        abandoned,
    ] = *kinds;
    TaskCounts {
        succeeded,
        raised,
        trapped,
        limit_exceeded,
        cancelled: match end {
            Some(JobEnd::Cancelled) => cancelled + tasks.saturating_sub(ended),
            _ => cancelled,
        },
        abandoned,
        ..TaskCounts::default()
    }
}
