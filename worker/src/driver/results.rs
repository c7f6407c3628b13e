//! What came of tasks: results are made of reports, kept until they are acknowledged, and sent together.

use std::time::{Duration, Instant};

use ppwasm_host::{HostError, Report};
use ppwasm_link::Dialer;
use ppwasm_proto::fabric::{GiveBackReason, LeaseId};
use ppwasm_proto::wire::{
    self, BATCH_BYTES, BATCH_MAX, INLINE_BYTES_MAX, List, Payload, TaskResult, encode_outcome,
};

use crate::agent::{Command, Event, Finished};
use crate::messages;

use super::session::Blobs;
use super::tasks::LeaseState;
use super::{Done, Worker};

/// How long results wait for more to go with them while other tasks run.
const LINGER: Duration = Duration::from_micros(500);

/// A result whose bodies are too large for a message, and could not be put yet.
pub(super) struct Ended(pub(super) Box<Report>);

impl<D: Dialer> Worker<D> {
    pub(super) fn ran(
        &mut self,
        lease: LeaseId,
        report: Result<Report, HostError>,
        commands: &mut Vec<Command>,
    ) {
        match report {
            Ok(report) if report.outcome == ppwasm_proto::Outcome::Cancelled => {
                self.leases.remove(&lease);
                self.agent_event(Event::ExecutionStopped(lease), commands);
            }
            Ok(report) => self.finish(lease, report, commands),
            Err(error) => {
                if let Some(hears) = &mut self.failure {
                    hears(&error);
                }
                let why = match error {
                    HostError::Limits(_) => GiveBackReason::LimitsUnsupported,
                    HostError::Stopped => GiveBackReason::Cancelled,
                    _ => GiveBackReason::HostFailed,
                };
                self.fail(lease, why, commands);
            }
        }
    }

    /// Makes a result of a report. Bodies that are too large for a message are put as blobs first.
    pub(super) fn finish(&mut self, id: LeaseId, report: Report, commands: &mut Vec<Command>) {
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        let Some(granted) = lease.granted else { return };
        let outcome = encode_outcome(&report.outcome);
        let kind = messages::kind(&report.outcome);
        let finished = Finished {
            lease: id,
            outcome: kind,
            run_time: report.usage.wall_time,
            outcome_bytes: outcome.len() as u64,
        };
        let result = TaskResult {
            claim: granted.claim,
            kind,
            outcome: Payload::empty(),
            stdout: None,
            stderr: None,
            usage: wire::Usage {
                wall_us: u64::try_from(report.usage.wall_time.as_micros()).unwrap_or(u64::MAX),
                memory_bytes: report.usage.memory_bytes,
                memory_digest: report.memory_digest,
            },
        };
        let largest = outcome
            .len()
            .max(report.stdout.len())
            .max(report.stderr.len());
        if largest <= INLINE_BYTES_MAX {
            let inline = |bytes: Vec<u8>| {
                let bytes = wire::Bytes::try_from(bytes);
                bytes.map_or_else(|_| Payload::empty(), Payload::Inline)
            };
            let some = |bytes: Vec<u8>| (!bytes.is_empty()).then(|| inline(bytes));
            let result = TaskResult {
                outcome: inline(outcome),
                stdout: some(report.stdout),
                stderr: some(report.stderr),
                ..result
            };
            self.results.insert(id, result);
            return self.agent_event(Event::ExecutionEnded(finished), commands);
        }
        lease.state = LeaseState::Uploading;
        let tell = self.tell.clone();
        let blobs = self.session.as_ref().map(|session| {
            let bodies = [outcome, report.stdout.clone(), report.stderr.clone()];
            bodies.map(|bytes| put(&*session.blobs, bytes))
        });
        self.tasks.spawn(async move {
            let uploaded = async {
                let [outcome, stdout, stderr] = blobs?;
                let (outcome, stdout, stderr) = (outcome.await?, stdout.await?, stderr.await?);
                let some = |payload: Payload| (payload.byte_count() > 0).then_some(payload);
                Some(TaskResult {
                    outcome,
                    stdout: some(stdout),
                    stderr: some(stderr),
                    ..result
                })
            };
            let uploaded = match uploaded.await {
                Some(result) => Ok((result, finished)),
                None => {
                    // There is no session, or it is lost: the next one is tried.
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    Err(Ended(Box::new(report)))
                }
            };
            let _ = tell.send(Done::Uploaded(id, Box::new(uploaded))).await;
        });
    }

    /// Sends results, unless more will come at once to go with them.
    pub(super) fn send_results(&mut self) {
        if self.unsent.is_empty() {
            self.send_at = None;
            return;
        }
        let now = Instant::now();
        let send_at = *self.send_at.get_or_insert(now + LINGER);
        let others_run = self.agent.running().next().is_some();
        if others_run && now < send_at && self.unsent.len() < BATCH_MAX {
            return;
        }
        self.send_at = None;
        let mut batch = Vec::new();
        let mut bytes = 0;
        for (claim, _) in std::mem::take(&mut self.unsent) {
            let Some(result) = self.results.get(&claim.lease) else {
                continue;
            };
            bytes += weight(result);
            batch.push(result.clone());
            if batch.len() >= BATCH_MAX || bytes >= BATCH_BYTES {
                let results = List::try_from(std::mem::take(&mut batch)).unwrap_or_default();
                self.send(wire::Ended { results }.into());
                bytes = 0;
            }
        }
        if !batch.is_empty() {
            let results = List::try_from(batch).unwrap_or_default();
            self.send(wire::Ended { results }.into());
        }
    }
}

fn weight(result: &TaskResult) -> usize {
    let inline = |payload: &Payload| match payload {
        Payload::Inline(bytes) => bytes.len(),
        Payload::Blob(_) => 0,
    };
    let optional = |payload: &Option<Payload>| payload.as_ref().map_or(0, inline);
    inline(&result.outcome) + optional(&result.stdout) + optional(&result.stderr)
}

fn put(blobs: &dyn Blobs, bytes: Vec<u8>) -> impl Future<Output = Option<Payload>> + use<> {
    let putting = (bytes.len() > INLINE_BYTES_MAX).then(|| blobs.put(bytes.clone().into()));
    async move {
        match putting {
            Some(putting) => putting.await.ok().map(Payload::Blob),
            None => wire::Bytes::try_from(bytes).ok().map(Payload::Inline),
        }
    }
}
