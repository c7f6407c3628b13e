//! Carries out writes, and takes them back when one of their batch is refused.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use ppwasm_proto::fabric::{LeaseId, WorkerId};
use ppwasm_proto::{Digest, JobId, TaskId};
use ppwasm_scheduler::{DrainReason, JOB_TASKS_MAX, JobEnd, JobSpec, Record, TaskEnd};

use super::calls::Calls;
use super::{Bundle, Job, Loss, Tables, index};
use crate::blobs::{BlobError, Blobs};
use crate::store::limits::{
    check_batch, check_certificate, check_denied, check_details, check_event,
};
use crate::store::{
    Answer, Batch, Body, Certificate, CommitError, Denied, DeniedSubject, EndedTask, Maintained,
    Maintenance, Refusal, TaskResult, Token, Write,
};

/// Takes back what a write did.
pub(super) type Undo = Box<dyn FnOnce(&mut Tables)>;

impl Tables {
    pub(super) fn find(&self, job: &JobId) -> Option<&Job> {
        self.jobs.get(self.ids.get(job)?)
    }

    fn find_mut(&mut self, job: &JobId) -> Result<&mut Job, Refusal> {
        let number = self.ids.get(job);
        let found = number.and_then(|number| self.jobs.get_mut(number));
        found.ok_or(Refusal::UnknownJob(*job))
    }

    pub(super) fn batch(
        &mut self,
        batch: Batch,
        blobs: &Blobs,
    ) -> Result<Vec<Answer>, CommitError> {
        let refused = |index, why| CommitError::Refused { index, why };
        check_batch(&batch).map_err(|why| refused(0, why))?;
        let (mut answers, mut undo) = (Vec::with_capacity(batch.writes.len()), Vec::new());
        for (index, write) in batch.writes.into_iter().enumerate() {
            match self.write(write, batch.at_ms, blobs, &mut undo) {
                Ok(answer) => answers.push(answer),
                Err(why) => {
                    undo.into_iter().rev().for_each(|undo: Undo| undo(self));
                    return Err(refused(index, why));
                }
            }
        }
        Ok(answers)
    }

    fn write(
        &mut self,
        write: Write,
        at_ms: u64,
        blobs: &Blobs,
        undo: &mut Vec<Undo>,
    ) -> Result<Answer, Refusal> {
        match write {
            Write::Record(record) => self.record(record, at_ms, undo),
            Write::JobSubmitted { job, spec, details } => {
                check_details(&details)?;
                self.job_submitted(job, spec, details, at_ms, undo)
            }
            Write::TasksAdded { job, first, calls } => {
                self.tasks_added(job, first, calls, blobs, undo)
            }
            Write::TaskEnded {
                job,
                task,
                end,
                result,
                cache,
            } => {
                let result = *result;
                let note = cache.map(|note| (note, end.clone()));
                let ended = EndedTask {
                    task,
                    end,
                    at_ms,
                    result,
                };
                let answer = self.task_ended(job, ended, blobs, undo)?;
                if let Some((note, end)) = note.filter(|_| answer == Answer::Done) {
                    self.remember(&job, task, &end, &note, undo);
                }
                Ok(answer)
            }
            Write::Bundle { digest, body } => self.bundle(digest, body, at_ms, blobs, undo),
            Write::TokenIssued(token) => self.token_issued(token, undo),
            Write::TokenRedeemed { hash } => {
                let token = self.tokens.get(&hash).ok_or(Refusal::UnknownToken)?;
                if token.expires_ms <= at_ms {
                    return Err(Refusal::TokenExpired);
                }
                let token = self.tokens.remove(&hash).ok_or(Refusal::UnknownToken)?;
                let again = token.clone();
                undo.push(Box::new(move |tables| {
                    tables.tokens.insert(hash, again);
                }));
                Ok(Answer::Redeemed(token))
            }
            Write::CertificateIssued(certificate) => self.certificate(certificate, undo),
            Write::Denied(denied) => self.denied(denied, undo),
            Write::Audited(event) => {
                check_event(&event)?;
                self.events.push(event);
                undo.push(Box::new(|tables| {
                    tables.events.pop();
                }));
                Ok(Answer::Done)
            }
            Write::SlotsWished { worker, slots } => {
                let before = self.wished_slots.insert(worker.clone(), slots);
                if before == Some(slots) {
                    return Ok(Answer::Known);
                }
                undo.push(Box::new(move |tables| {
                    match before {
                        Some(slots) => tables.wished_slots.insert(worker, slots),
                        None => tables.wished_slots.remove(&worker),
                    };
                }));
                Ok(Answer::Done)
            }
        }
    }

    fn record(
        &mut self,
        record: Record,
        at_ms: u64,
        undo: &mut Vec<Undo>,
    ) -> Result<Answer, Refusal> {
        match record {
            Record::JobSubmitted { job, spec } => {
                self.job_submitted(job, spec, Vec::new(), at_ms, undo)
            }
            Record::TasksAdded { .. }
            | Record::TaskEnded {
                end: TaskEnd::Outcome { .. } | TaskEnd::Cached { .. },
                ..
            } => Err(Refusal::BodyMissing),
            Record::TaskEnded { job, task, end } => {
                let result = TaskResult::default();
                let ended = EndedTask {
                    task,
                    end,
                    at_ms,
                    result,
                };
                self.put_outcome(job, ended, undo)
            }
            Record::JobClosed { job, tasks } => {
                let found = self.find_mut(&job)?;
                let have = found.calls.len();
                if have != tasks {
                    return Err(Refusal::TasksMissing { job, tasks: have });
                }
                self.change(job, undo, |job| &mut job.is_closed, true)
            }
            Record::TasksReleased { job, below } => {
                let below = below.max(self.find_mut(&job)?.released);
                self.change(job, undo, |job| &mut job.released, below)
            }
            Record::AttemptLost {
                job,
                task,
                attempt,
                worker,
                suspect,
            } => {
                self.with_task(&job, task)?;
                self.worker(&worker, undo);
                let found = self.find_mut(&job)?;
                let key = (task.0, attempt);
                if found.losses.contains_key(&key) {
                    return Ok(Answer::Known);
                }
                let round = found.round;
                let loss = Loss {
                    round,
                    worker,
                    suspect,
                };
                found.losses.insert(key, loss);
                undo.push(Box::new(move |tables| {
                    if let Ok(found) = tables.find_mut(&job) {
                        found.losses.remove(&key);
                    }
                }));
                Ok(Answer::Done)
            }
            Record::AttemptFound { job, task, attempt } => {
                let found = self.with_task(&job, task)?;
                let key = (task.0, attempt);
                let Some(loss) = found.losses.remove(&key) else {
                    return Ok(Answer::Known);
                };
                undo.push(Box::new(move |tables| {
                    if let Ok(found) = tables.find_mut(&job) {
                        found.losses.insert(key, loss);
                    }
                }));
                Ok(Answer::Done)
            }
            Record::JobEnded { job, how } => match self.find_mut(&job)?.ended {
                None => self.change(job, undo, |job| &mut job.ended, Some((how, at_ms))),
                Some((ended, _)) if ended == how => Ok(Answer::Known),
                Some(_) => Err(Refusal::JobStands(job)),
            },
            Record::JobRetried { job, lease_floor } => {
                let found = self.find_mut(&job)?;
                match found.ended {
                    Some((JobEnd::Finished, _)) => {}
                    None if found.round > 0 && found.lease_floor == lease_floor => {
                        return Ok(Answer::Known);
                    }
                    _ => return Err(Refusal::JobStands(job)),
                }
                let round = found.round + 1;
                self.change(job, undo, |job| &mut job.ended, None)?;
                self.change(job, undo, |job| &mut job.round, round)?;
                self.change(job, undo, |job| &mut job.lease_floor, lease_floor)?;
                Ok(Answer::Done)
            }
            Record::JobForgotten { job } => self.job_forgotten(job, at_ms, undo),
            Record::WorkerJoined { worker } => {
                Ok(self.set_worker(&worker, undo, |row| row.1 = true))
            }
            Record::WorkerGone { worker } => {
                Ok(self.set_worker(&worker, undo, |row| row.1 = false))
            }
            Record::WorkerDrained { worker, why } => {
                if matches!(why, DrainReason::GivesWrongResults | DrainReason::Revoked) {
                    self.disbelieve(&worker, undo);
                }
                Ok(self.set_worker(&worker, undo, |row| row.2 = Some(why)))
            }
            Record::WorkerUndrained { worker } => {
                Ok(self.set_worker(&worker, undo, |row| row.2 = None))
            }
        }
    }

    /// Puts a new value in a job's field; `Known` when it is the old one.
    fn change<T: PartialEq + 'static>(
        &mut self,
        job: JobId,
        undo: &mut Vec<Undo>,
        field: fn(&mut Job) -> &mut T,
        value: T,
    ) -> Result<Answer, Refusal> {
        let place = field(self.find_mut(&job)?);
        if *place == value {
            return Ok(Answer::Known);
        }
        let before = std::mem::replace(place, value);
        undo.push(Box::new(move |tables| {
            if let Ok(found) = tables.find_mut(&job) {
                *field(found) = before;
            }
        }));
        Ok(Answer::Done)
    }

    fn with_task(&mut self, job: &JobId, task: TaskId) -> Result<&mut Job, Refusal> {
        let found = self.find_mut(job)?;
        match task.0 < found.calls.len() {
            true => Ok(found),
            false => Err(Refusal::UnknownTask { job: *job, task }),
        }
    }

    fn job_submitted(
        &mut self,
        id: JobId,
        spec: Box<JobSpec>,
        details: Vec<u8>,
        at_ms: u64,
        undo: &mut Vec<Undo>,
    ) -> Result<Answer, Refusal> {
        if let Some(there) = self.find(&id) {
            return match there.spec == spec && there.details == details {
                true => Ok(Answer::Known),
                false => Err(Refusal::JobDiffers(id)),
            };
        }
        let function = spec.function;
        let bundle = self.bundles.get_mut(&function);
        let bundle = bundle.ok_or(Refusal::UnknownBundle(function))?;
        let used_ms = std::mem::replace(&mut bundle.used_ms, at_ms);
        bundle.jobs += 1;
        let number = self.last_job + 1;
        self.last_job = number;
        self.ids.insert(id, number);
        let job = Job {
            id,
            spec,
            details,
            submitted_ms: at_ms,
            calls: Calls::default(),
            released: 0,
            is_closed: false,
            ended: None,
            round: 0,
            lease_floor: LeaseId(0),
            outcomes: BTreeMap::new(),
            losses: BTreeMap::new(),
        };
        self.jobs.insert(number, job);
        undo.push(Box::new(move |tables| {
            tables.last_job = number - 1;
            tables.ids.remove(&id);
            tables.jobs.remove(&number);
            if let Some(bundle) = tables.bundles.get_mut(&function) {
                bundle.used_ms = used_ms;
                bundle.jobs -= 1;
            }
        }));
        Ok(Answer::Done)
    }

    fn tasks_added(
        &mut self,
        job: JobId,
        first: u64,
        mut calls: Vec<Body>,
        blobs: &Blobs,
        undo: &mut Vec<Undo>,
    ) -> Result<Answer, Refusal> {
        let found = self.find_mut(&job)?;
        let tasks = found.calls.len();
        if first > tasks {
            return Err(Refusal::TasksMissing { job, tasks });
        }
        if first.saturating_add(calls.len() as u64) > JOB_TASKS_MAX {
            let (what, max) = ("a job's number of tasks", JOB_TASKS_MAX);
            return Err(Refusal::TooLarge { what, max });
        }
        let (from, there) = found.calls.from(first);
        // Those that were let go are not compared any more.
        let mut same = index(from - first).min(calls.len());
        for (place, (ours, theirs)) in (from..).zip(calls.iter().skip(same).zip(there)) {
            if ours != theirs {
                let task = TaskId(place);
                return Err(Refusal::CallDiffers { job, task });
            }
            same += 1;
        }
        let new = calls.split_off(same);
        if new.is_empty() {
            return Ok(Answer::Known);
        }
        if found.is_closed || found.ended.is_some() {
            return Err(Refusal::JobIsClosed(job));
        }
        found.calls.extend(new.iter().cloned());
        undo.push(Box::new(move |tables| {
            if let Ok(found) = tables.find_mut(&job) {
                found.calls.truncate(tasks);
            }
        }));
        self.hold(&new, blobs, undo)?;
        Ok(Answer::Done)
    }

    fn task_ended(
        &mut self,
        job: JobId,
        ended: EndedTask,
        blobs: &Blobs,
        undo: &mut Vec<Undo>,
    ) -> Result<Answer, Refusal> {
        self.with_task(&job, ended.task)?;
        if let TaskEnd::Outcome { worker, .. } = &ended.end {
            self.worker(worker, undo);
        }
        let bodies = ended.result.bodies().map(Body::clone);
        let answer = self.put_outcome(job, ended, undo)?;
        if answer == Answer::Done {
            self.hold(&bodies, blobs, undo)?;
        }
        Ok(answer)
    }

    fn put_outcome(
        &mut self,
        job: JobId,
        ended: EndedTask,
        undo: &mut Vec<Undo>,
    ) -> Result<Answer, Refusal> {
        let task = ended.task;
        let found = self.with_task(&job, task)?;
        let is_over = found.ended.is_some();
        let stands = match is_over {
            true => Refusal::JobStands(job),
            false => Refusal::OutcomeStands { job, task },
        };
        let before = match found.outcomes.get(&task.0) {
            Some((round, there)) if found.counts(*round, &there.end) => {
                let same = there.end == ended.end && there.result == ended.result;
                return if same { Ok(Answer::Known) } else { Err(stands) };
            }
            _ if is_over => return Err(stands),
            _ => found.outcomes.remove(&task.0),
        };
        found.outcomes.insert(task.0, (found.round, ended));
        let bodies = before
            .as_ref()
            .map(|(_, there)| there.result.bodies().map(Body::clone));
        undo.push(Box::new(move |tables| {
            if let Ok(found) = tables.find_mut(&job) {
                match before {
                    Some(before) => found.outcomes.insert(task.0, before),
                    None => found.outcomes.remove(&task.0),
                };
            }
        }));
        if let Some(bodies) = bodies {
            self.release(&bodies, undo);
        }
        Ok(Answer::Done)
    }

    fn job_forgotten(
        &mut self,
        id: JobId,
        at_ms: u64,
        undo: &mut Vec<Undo>,
    ) -> Result<Answer, Refusal> {
        match self.find(&id) {
            None => return Ok(Answer::Known),
            Some(job) if job.ended.is_none() => return Err(Refusal::JobStands(id)),
            Some(_) => {}
        }
        let Some((number, job)) =
            (self.ids.remove(&id)).and_then(|number| Some((number, self.jobs.remove(&number)?)))
        else {
            return Ok(Answer::Known);
        };
        let outcomes = job.outcomes.values();
        let results = outcomes.flat_map(|(_, ended)| ended.result.bodies());
        let (_, calls) = job.calls.from(0);
        let held: Vec<_> = calls.chain(results).cloned().collect();
        self.release(&held, undo);
        let function = job.spec.function;
        if let Some(bundle) = self.bundles.get_mut(&function) {
            bundle.jobs -= 1;
            let used_ms = std::mem::replace(&mut bundle.used_ms, at_ms);
            undo.push(Box::new(move |tables| {
                if let Some(bundle) = tables.bundles.get_mut(&function) {
                    bundle.jobs += 1;
                    bundle.used_ms = used_ms;
                }
            }));
        }
        undo.push(Box::new(move |tables| {
            tables.ids.insert(id, number);
            tables.jobs.insert(number, job);
        }));
        Ok(Answer::Done)
    }

    fn bundle(
        &mut self,
        digest: Digest,
        body: Body,
        at_ms: u64,
        blobs: &Blobs,
        undo: &mut Vec<Undo>,
    ) -> Result<Answer, Refusal> {
        let is_right = match &body {
            Body::Inline(bytes) => Digest::of(bytes) == digest,
            Body::Blob { digest: named, .. } => *named == digest,
        };
        if !is_right {
            return Err(Refusal::BundleDiffers(digest));
        }
        if let Some(bundle) = self.bundles.get_mut(&digest) {
            let used_ms = std::mem::replace(&mut bundle.used_ms, at_ms);
            undo.push(Box::new(move |tables| {
                if let Some(bundle) = tables.bundles.get_mut(&digest) {
                    bundle.used_ms = used_ms;
                }
            }));
            return Ok(Answer::Known);
        }
        self.hold(std::slice::from_ref(&body), blobs, undo)?;
        let bundle = Bundle {
            jobs: 0,
            used_ms: at_ms,
            body,
        };
        self.bundles.insert(digest, bundle);
        undo.push(Box::new(move |tables| {
            tables.bundles.remove(&digest);
        }));
        Ok(Answer::Done)
    }

    fn token_issued(&mut self, token: Token, undo: &mut Vec<Undo>) -> Result<Answer, Refusal> {
        check_details(&token.details)?;
        let hash = token.hash;
        match self.tokens.get(&hash) {
            Some(there) if *there == token => return Ok(Answer::Known),
            Some(_) => return Err(Refusal::NameTaken),
            None => self.tokens.insert(hash, token),
        };
        undo.push(Box::new(move |tables| {
            tables.tokens.remove(&hash);
        }));
        Ok(Answer::Done)
    }

    fn certificate(
        &mut self,
        certificate: Certificate,
        undo: &mut Vec<Undo>,
    ) -> Result<Answer, Refusal> {
        check_certificate(&certificate)?;
        let mut all = self.certificates.iter();
        match all.find(|there| there.serial == certificate.serial) {
            Some(there) if *there == certificate => return Ok(Answer::Known),
            Some(_) => return Err(Refusal::NameTaken),
            None => self.certificates.push(certificate),
        }
        undo.push(Box::new(|tables| {
            tables.certificates.pop();
        }));
        Ok(Answer::Done)
    }

    fn denied(&mut self, denied: Denied, undo: &mut Vec<Undo>) -> Result<Answer, Refusal> {
        check_denied(&denied)?;
        let key = match &denied.subject {
            DeniedSubject::Serial(serial) => (false, serial.clone()),
            DeniedSubject::Identity(identity) => (true, identity.clone().into_bytes()),
        };
        if self.denied.contains_key(&key) {
            return Ok(Answer::Known);
        }
        self.denied.insert(key.clone(), denied);
        undo.push(Box::new(move |tables| {
            tables.denied.remove(&key);
        }));
        Ok(Answer::Done)
    }

    fn worker(&mut self, worker: &WorkerId, undo: &mut Vec<Undo>) -> usize {
        if let Some(place) = self.worker_places.get(worker) {
            return *place;
        }
        let place = self.workers.len();
        self.workers.push((worker.clone(), false, None));
        self.worker_places.insert(worker.clone(), place);
        let worker = worker.clone();
        undo.push(Box::new(move |tables| {
            tables.workers.truncate(place);
            tables.worker_places.remove(&worker);
        }));
        place
    }

    fn set_worker(
        &mut self,
        worker: &WorkerId,
        undo: &mut Vec<Undo>,
        change: impl FnOnce(&mut (WorkerId, bool, Option<DrainReason>)),
    ) -> Answer {
        let place = self.worker(worker, undo);
        let Some(row) = self.workers.get_mut(place) else {
            return Answer::Known;
        };
        let before = row.clone();
        change(row);
        if *row == before {
            return Answer::Known;
        }
        undo.push(Box::new(move |tables| {
            if let Some(row) = tables.workers.get_mut(place) {
                *row = before;
            }
        }));
        Answer::Done
    }

    /// Counts one more reference to each body that is a blob, which has to be there.
    fn hold(
        &mut self,
        bodies: &[Body],
        blobs: &Blobs,
        undo: &mut Vec<Undo>,
    ) -> Result<(), Refusal> {
        for body in bodies {
            let Body::Blob { digest, size } = body else {
                continue;
            };
            let digest = *digest;
            if blobs.size(&digest).ok().flatten() != Some(*size) {
                return Err(Refusal::BlobMissing(digest));
            }
            *self.blob_refs.entry(digest).or_insert(0) += 1;
            undo.push(Box::new(move |tables| tables.unref(&digest)));
        }
        Ok(())
    }

    fn release(&mut self, bodies: &[Body], undo: &mut Vec<Undo>) {
        for body in bodies {
            if let Body::Blob { digest, .. } = body {
                let digest = *digest;
                self.unref(&digest);
                undo.push(Box::new(move |tables| {
                    *tables.blob_refs.entry(digest).or_insert(0) += 1;
                }));
            }
        }
    }

    pub(super) fn let_go(&mut self, job: &JobId, below: u64) {
        let Ok(found) = self.find_mut(job) else {
            return;
        };
        let mut gone = found.calls.let_go(below);
        let rest = found.outcomes.split_off(&below);
        let ended = std::mem::replace(&mut found.outcomes, rest);
        let results = ended.values().flat_map(|(_, ended)| ended.result.bodies());
        gone.extend(results.cloned());
        self.release(&gone, &mut Vec::new());
    }

    fn unref(&mut self, digest: &Digest) {
        if let Some(refs) = self.blob_refs.get_mut(digest) {
            *refs -= 1;
            if *refs == 0 {
                self.blob_refs.remove(digest);
            }
        }
    }

    pub(super) fn maintain(&mut self, work: &Maintenance, blobs: &Blobs) -> Maintained {
        let rows = |tables: &Self| tables.tokens.len() + tables.bundles.len();
        let before = rows(self);
        self.tokens
            .retain(|_, token| token.expires_ms > work.now_ms);
        let age_ms = u64::try_from(work.bundle_age.as_millis()).unwrap_or(u64::MAX);
        let unused_ms = work.now_ms.saturating_sub(age_ms);
        let mut released = Vec::new();
        self.bundles.retain(|_, bundle| {
            let stays = bundle.jobs > 0 || bundle.used_ms >= unused_ms;
            if !stays {
                released.push(bundle.body.clone());
            }
            stays
        });
        self.release(&released, &mut Vec::new());
        self.evict(work.cached_max);
        let mut maintained = Maintained {
            rows: (before - rows(self)) as u64,
            ..Maintained::default()
        };
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(work.now_ms);
        let mut cursor = self.cursor;
        let named = |digest: &Digest| Ok::<_, BlobError>(self.blob_refs.contains_key(digest));
        // What is not removed now is removed later, or with the folder.
        let removals = work.blobs_max.into();
        if let Ok(done) = blobs.collect(&mut cursor, now, work.blob_age, removals, named) {
            maintained.blobs = done.blobs + done.uploads;
            maintained.blob_bytes = done.bytes;
            maintained.more = !done.finished;
        }
        self.cursor = cursor;
        maintained
    }
}
