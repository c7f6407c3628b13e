//! What clients ask for: jobs submitted, filled, closed, cancelled, retried, forgotten; and the images they wait for.

use std::ops::Range;

use ppwasm_proto::fabric::{ClientName, LeaseId, SessionId};
use ppwasm_proto::{Digest, JobId};

use crate::command::{Accepted, Command, Outbox, Refusal};
use crate::config::{ATTEMPTS_MAX, JOB_TASKS_MAX};
use crate::event::{Found, RequestId};
use crate::fleet::WorkerKey;
use crate::job::{Job, JobKey, Place, Touched};
use crate::queue::ClientKey;
use crate::record::{JobEnd, JobSpec, Record};
use crate::scheduler::{Cancels, Function, Scheduler};
use crate::time::Micros;

/// Images that the scheduler remembers of one worker.
const IMAGES_HELD_MAX: usize = 1000;
/// When a client that has too much queued shall try again, at the least.
const RETRY_AFTER_MIN: Micros = Micros::from_millis(100);
/// And at the most.
const RETRY_AFTER_MAX: Micros = Micros::from_secs(30);

type Answer = Result<Accepted, Refusal>;

impl Scheduler {
    pub(crate) fn submit(
        &mut self,
        request: RequestId,
        job: JobId,
        spec: Box<JobSpec>,
        out: &mut Outbox,
    ) {
        let answer = self.try_submit(job, spec, out);
        self.answer(request, answer, out);
    }

    fn try_submit(&mut self, id: JobId, spec: Box<JobSpec>, out: &mut Outbox) -> Answer {
        if let Some((_, job)) = self.find_job(id) {
            if job.spec.owner != spec.owner {
                return Err(Refusal::JobDiffers);
            }
            return if job.spec == spec {
                Ok(Accepted::Job {
                    tasks: job.count,
                    is_known: true,
                })
            } else {
                Err(Refusal::JobDiffers)
            };
        }
        if spec.attempts_max == 0 || spec.attempts_max > ATTEMPTS_MAX {
            return Err(Refusal::OutOfRange);
        }
        let open = self
            .queue
            .find(&spec.owner)
            .map_or(0, |client| client.open_jobs);
        if open >= self.config.client_jobs_max || self.jobs.len() >= self.config.jobs_max {
            return Err(Refusal::TooManyJobs);
        }
        out.records.push(Record::JobSubmitted {
            job: id,
            spec: spec.clone(),
        });
        self.add_job(id, spec, out);
        Ok(Accepted::Job {
            tasks: 0,
            is_known: false,
        })
    }

    /// Makes a job known. Asks for its image if nobody has.
    pub(crate) fn add_job(&mut self, id: JobId, spec: Box<JobSpec>, out: &mut Outbox) -> JobKey {
        let key = self.new_job_key();
        let client_key = self.queue.client(&spec.owner);
        if let Some(client) = self.queue.clients.get_mut(&client_key) {
            client.jobs += 1;
            client.open_jobs += 1;
        }
        let function = spec.function;
        self.job_keys.insert(id, key);
        self.jobs.insert(key, Job::new(id, spec, client_key));
        self.need_image(function, key, out);
        key
    }

    pub(crate) fn need_image(&mut self, function: Digest, job: JobKey, out: &mut Outbox) {
        let known = self.functions.entry(function).or_insert_with(Function::new);
        let is_new = known.jobs.is_empty();
        known.jobs.insert(job);
        if is_new {
            out.commands.push(Command::BuildImage { function });
        }
    }

    fn no_longer_need_image(&mut self, function: Digest, job: JobKey) {
        if let Some(known) = self.functions.get_mut(&function) {
            known.jobs.remove(&job);
            if known.jobs.is_empty() {
                // The driver may drop the image now, so it is asked for it again.
                known.is_ready = false;
                if known.holders.is_empty() {
                    self.functions.remove(&function);
                }
            }
        }
    }

    pub(crate) fn append(
        &mut self,
        request: RequestId,
        client: &ClientName,
        job: JobId,
        tasks: Range<u64>,
        found: Vec<Found>,
        out: &mut Outbox,
    ) {
        let answer = self.try_append(client, job, tasks, found, out);
        self.answer(request, answer, out);
    }

    fn try_append(
        &mut self,
        client: &ClientName,
        id: JobId,
        tasks: Range<u64>,
        found: Vec<Found>,
        out: &mut Outbox,
    ) -> Answer {
        let (key, job) = self.own_job(client, id)?;
        if let Some(end) = job.end {
            return Ok(Accepted::Ended(end));
        }
        let (first, end) = (tasks.start, tasks.end);
        if first > job.count {
            return Err(Refusal::TasksMissing { tasks: job.count });
        }
        if end > JOB_TASKS_MAX {
            return Err(Refusal::OutOfRange);
        }
        let Some(added) = end.checked_sub(job.count).filter(|added| *added > 0) else {
            return Ok(Accepted::Job {
                tasks: job.count,
                is_known: true,
            });
        };
        if job.is_closed {
            return Err(Refusal::JobIsClosed);
        }
        let (client_key, known) = (job.client, job.count);
        let of_client = self
            .queue
            .clients
            .get(&client_key)
            .map_or(0, |client| client.tasks);
        if of_client.saturating_add(added) > self.config.client_tasks_max
            || self.queue.tasks.saturating_add(added) > self.config.tasks_max
        {
            return Err(Refusal::TooManyTasks);
        }
        out.records.push(Record::TasksAdded {
            job: id,
            first: known,
            count: added,
        });
        self.add_tasks(key, added);
        self.end_found(key, known, found, out);
        Ok(Accepted::Job {
            tasks: end,
            is_known: false,
        })
    }

    pub(crate) fn add_tasks(&mut self, key: JobKey, count: u64) {
        let Some(job) = self.jobs.get_mut(&key) else {
            return;
        };
        job.count += count;
        job.patience_until = None;
        let client = job.client;
        self.count_tasks(client, count);
        self.refresh_job(key);
    }

    fn count_tasks(&mut self, client: ClientKey, more: u64) {
        self.queue.tasks += more;
        if let Some(client) = self.queue.clients.get_mut(&client) {
            client.tasks += more;
        }
    }

    pub(crate) fn uncount_tasks(&mut self, client: ClientKey, fewer: u64) {
        self.queue.tasks -= fewer;
        if let Some(client) = self.queue.clients.get_mut(&client) {
            client.tasks -= fewer;
        }
    }

    pub(crate) fn close(
        &mut self,
        request: RequestId,
        client: &ClientName,
        job: JobId,
        tasks: u64,
        out: &mut Outbox,
    ) {
        let answer = self.try_close(client, job, tasks, out);
        self.answer(request, answer, out);
    }

    fn try_close(
        &mut self,
        client: &ClientName,
        id: JobId,
        tasks: u64,
        out: &mut Outbox,
    ) -> Answer {
        let (key, job) = self.own_job(client, id)?;
        if let Some(end) = job.end {
            return Ok(Accepted::Ended(end));
        }
        if tasks > job.count {
            return Err(Refusal::TasksMissing { tasks: job.count });
        }
        if tasks < job.count {
            return Err(Refusal::OutOfRange);
        }
        if !job.is_closed {
            out.records.push(Record::JobClosed { job: id, tasks });
            if let Some(job) = self.jobs.get_mut(&key) {
                job.is_closed = true;
            }
            self.end_job_if_complete(key, out);
        }
        Ok(Accepted::Done)
    }

    pub(crate) fn cancel(
        &mut self,
        request: RequestId,
        client: &ClientName,
        id: JobId,
        out: &mut Outbox,
    ) {
        let answer = match self.own_job(client, id) {
            Err(refusal) => Err(refusal),
            Ok((_, job)) if job.end.is_some() => {
                Ok(job.end.map_or(Accepted::Done, Accepted::Ended))
            }
            Ok((key, _)) => {
                self.end_job(key, JobEnd::Cancelled, out);
                Ok(Accepted::Done)
            }
        };
        self.answer(request, answer, out);
    }

    pub(crate) fn retry(
        &mut self,
        request: RequestId,
        client: &ClientName,
        id: JobId,
        out: &mut Outbox,
    ) {
        let answer = self.try_retry(client, id, out);
        self.answer(request, answer, out);
    }

    fn try_retry(&mut self, client: &ClientName, id: JobId, out: &mut Outbox) -> Answer {
        let (key, job) = self.own_job(client, id)?;
        match job.end {
            None => return Err(Refusal::JobRuns),
            Some(JobEnd::Cancelled | JobEnd::ImageFailed) => return Err(Refusal::JobHasEnded),
            Some(JobEnd::Finished) if job.failed.is_empty() => return Ok(Accepted::Done),
            Some(JobEnd::Finished) => {}
        }
        let lease_floor = LeaseId::new(self.epoch, self.next_lease).ok_or(Refusal::OutOfRange)?;
        out.records.push(Record::JobRetried {
            job: id,
            lease_floor,
        });
        self.reopen(key, lease_floor, out);
        Ok(Accepted::Done)
    }

    /// Queues the failed tasks of an ended job again.
    pub(crate) fn reopen(&mut self, key: JobKey, lease_floor: LeaseId, out: &mut Outbox) {
        let Some(job) = self.jobs.get_mut(&key) else {
            return;
        };
        job.end = None;
        job.lease_floor = lease_floor;
        if job.released < job.count {
            // Some never were with workers: their outcome was known. What runs again may be.
            job.released = job.count;
            out.records.push(Record::TasksReleased {
                job: job.id,
                below: job.released,
            });
        }
        job.patience_until = None;
        let failed = std::mem::take(&mut job.failed);
        for (task, was) in failed {
            job.ended.remove(task);
            job.ready.insert(task);
            let mut touched = Touched::new(Place::Ready);
            touched.tries = was.tries;
            job.touched.insert(task, touched);
        }
        let count = job.open_tasks();
        let (client, function) = (job.client, job.spec.function);
        if let Some(client) = self.queue.clients.get_mut(&client) {
            client.open_jobs += 1;
        }
        self.count_tasks(client, count);
        self.need_image(function, key, out);
        self.refresh_job(key);
    }

    pub(crate) fn forget(&mut self, request: RequestId, id: JobId, out: &mut Outbox) {
        let answer = match self.find_job(id) {
            None => Err(Refusal::UnknownJob),
            Some((_, job)) if job.end.is_none() => Err(Refusal::JobRuns),
            Some((key, _)) => {
                out.records.push(Record::JobForgotten { job: id });
                self.remove_job(key);
                Ok(Accepted::Done)
            }
        };
        self.answer(request, answer, out);
    }

    pub(crate) fn remove_job(&mut self, key: JobKey) {
        let Some(job) = self.jobs.remove(&key) else {
            return;
        };
        self.job_keys.remove(&job.id);
        if let Some(client) = self.queue.clients.get_mut(&job.client) {
            client.jobs -= 1;
        }
        self.queue.forget_if_empty(job.client);
    }

    pub(crate) fn end_job_if_complete(&mut self, key: JobKey, out: &mut Outbox) {
        let is_due = |job: &Job| job.end.is_none() && job.is_complete();
        if self.jobs.get(&key).is_some_and(is_due) {
            self.end_job(key, JobEnd::Finished, out);
        }
    }

    /// Ends a job, and with it every task that has not ended.
    pub(crate) fn end_job(&mut self, key: JobKey, how: JobEnd, out: &mut Outbox) {
        let Some(job) = self.jobs.get_mut(&key) else {
            return;
        };
        out.records.push(Record::JobEnded { job: job.id, how });
        let open = job.open_tasks();
        job.end = Some(how);
        job.ready.clear();
        if how == JobEnd::Finished {
            job.next_fresh = job.count;
            job.ended_ahead = 0;
        }
        job.doubled = 0;
        let touched = std::mem::take(&mut job.touched);
        let (client, function) = (job.client, job.spec.function);
        if let Some(client) = self.queue.clients.get_mut(&client) {
            client.open_jobs -= 1;
        }
        self.uncount_tasks(client, open);
        let mut cancels = Cancels::new();
        for (task, touched) in touched {
            if touched.place == Place::Alone {
                self.alone.remove(&(key, task));
            }
            self.unconfirmed.remove(&(key, task));
            for (worker, lease) in touched.leases.iter() {
                self.revoke_lease(worker, lease);
                cancels.entry(worker).or_default().push(lease);
            }
        }
        self.send_cancels(cancels, out);
        self.no_longer_need_image(function, key);
        self.refresh_job(key);
    }

    pub(crate) fn image_ready(&mut self, function: Digest) {
        let Some(known) = self.functions.get_mut(&function) else {
            return;
        };
        known.is_ready = true;
        for job in known.jobs.clone() {
            self.refresh_job(job);
        }
    }

    pub(crate) fn image_failed(&mut self, function: Digest, out: &mut Outbox) {
        let Some(known) = self.functions.get(&function) else {
            return;
        };
        if known.is_ready {
            return;
        }
        for job in known.jobs.clone() {
            self.end_job(job, JobEnd::ImageFailed, out);
        }
        self.functions.remove(&function);
    }

    pub(crate) fn image_held(&mut self, session: SessionId, function: Digest, is_held: bool) {
        let Some(worker) = self.of_session(session) else {
            return;
        };
        self.set_image_held(worker, function, is_held);
    }

    pub(crate) fn set_image_held(&mut self, worker: WorkerKey, function: Digest, is_held: bool) {
        let Some(of_worker) = self.fleet.workers.get_mut(&worker) else {
            return;
        };
        if is_held {
            if of_worker.images.len() >= IMAGES_HELD_MAX || !of_worker.images.insert(function) {
                return;
            }
            let known = self.functions.entry(function).or_insert_with(Function::new);
            known.holders.insert(worker);
        } else if of_worker.images.remove(&function)
            && let Some(known) = self.functions.get_mut(&function)
        {
            known.holders.remove(&worker);
            if known.holders.is_empty() && known.jobs.is_empty() {
                self.functions.remove(&function);
            }
        }
    }

    pub(crate) fn drop_images_of(&mut self, worker: WorkerKey) {
        let images = match self.fleet.workers.get(&worker) {
            Some(worker) => worker.images.clone(),
            None => return,
        };
        for function in images {
            self.set_image_held(worker, function, false);
        }
    }

    fn own_job(&self, client: &ClientName, id: JobId) -> Result<(JobKey, &Job), Refusal> {
        self.find_job(id)
            .filter(|(_, job)| job.spec.owner == *client)
            .ok_or(Refusal::UnknownJob)
    }

    pub(crate) fn answer(&mut self, request: RequestId, answer: Answer, out: &mut Outbox) {
        out.commands.push(match answer {
            Ok(accepted) => Command::Accept { request, accepted },
            Err(why) => Command::Refuse {
                request,
                why,
                retry_after: self.retry_after(why),
            },
        });
    }

    /// How long it takes until a refusal may be over: a tenth of what is queued has to be gone.
    fn retry_after(&self, why: Refusal) -> Option<Micros> {
        if !matches!(why, Refusal::TooManyJobs | Refusal::TooManyTasks) {
            return None;
        }
        let guess = self.config.run_time_guess.0;
        let time = (self.queue.tasks / 10).saturating_mul(guess) / self.fleet.slots.max(1);
        Some(Micros(time).clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX))
    }
}

impl Function {
    fn new() -> Self {
        Self {
            is_ready: false,
            jobs: Default::default(),
            holders: Default::default(),
        }
    }
}
