//! The half of a session that writes: what the core wants sent, and results of watches.

use ppwasm_certs::Leaf;
use ppwasm_link::LinkSender;
use ppwasm_proto::wire::{
    BATCH_BYTES, CloseCode, ErrorCode, Grant, GrantGroup, GrantedTask, ImageMissing, ImageReady,
    List, Message, Ranged,
};
use ppwasm_proto::{Digest, JobId};
use ppwasm_scheduler::{Lease, Micros};
use tokio::sync::mpsc;

use super::{End, Outgoing, SEND_TIME, identity};
use crate::cache;
use crate::server::Shared;
use crate::server::terms::JobTerms;
use crate::server::watch::payload;
use crate::store::Body;

/// Calls that are read at a time for a grant.
const CALLS_PER_READ: usize = 64;

pub(super) async fn write<S: LinkSender>(
    shared: &Shared,
    sender: &mut S,
    mut queue: mpsc::Receiver<Outgoing>,
    mut results: mpsc::Receiver<Message>,
    certificate: Option<&Leaf>,
) -> End {
    loop {
        let messages = tokio::select! {
            biased;
            next = queue.recv() => match next {
                Some(Outgoing::Message(message)) => vec![message],
                Some(Outgoing::Grant { leases, lasts, calls }) => shared.grants(&leases, lasts, calls),
                Some(Outgoing::Image(function)) => vec![shared.image_message(function)],
                Some(Outgoing::Close(code, reason)) => return End::Close(code, reason),
                None => return End::Close(CloseCode::TooSlow, "too much waits to be read"),
            },
            Some(message) = results.recv() => vec![message],
        };
        for mut message in messages {
            if let Message::Welcome(welcome) = &mut message {
                identity::complete(welcome, &shared.identities, certificate);
            }
            shared.figures.sent(&message);
            match tokio::time::timeout(SEND_TIME, sender.send(message)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return End::Lost,
                Err(_) => return End::Close(CloseCode::TooSlow, "a message was not read"),
            }
        }
    }
}

impl Shared {
    /// The calls of leases, when they were appended a moment ago.
    pub(crate) fn recent_calls(&self, leases: &[Lease]) -> Option<Vec<Body>> {
        let first = leases.first()?.claim.identity;
        let follows = |(task, lease): (u64, &Lease)| lease.claim.identity.task.0 == task;
        if !(first.task.0..).zip(leases).all(follows) {
            return None;
        }
        self.recent.calls(first.job, first.task.0, leases.len())
    }

    /// The leases with their calls, in messages of bounded size. Calls that are not given are read.
    pub(super) fn grants(
        &self,
        leases: &[Lease],
        lasts: Micros,
        mut given: Option<Vec<Body>>,
    ) -> Vec<Message> {
        let Some(job) = leases.first().map(|lease| lease.claim.identity.job) else {
            return Vec::new();
        };
        // A job that is gone takes its leases with it: they are not renewed.
        let Some(terms) = self.catalog.terms(&*self.store, job) else {
            return Vec::new();
        };
        let mut messages = Vec::new();
        let (mut tasks, mut bytes) = (Vec::new(), 0);
        let mut rest = leases;
        while let Some(first) = rest.first() {
            let from = first.claim.identity.task.0;
            let follows = |(task, lease): &(u64, &Lease)| lease.claim.identity.task.0 == *task;
            let run = (from..).zip(rest).take_while(follows).count();
            // So that not everything is in memory at once.
            let run = run.min(CALLS_PER_READ);
            let (these, others) = rest.split_at(run);
            rest = others;
            let known = || self.recent.calls(job, from, run);
            let calls = match given.take().or_else(known) {
                Some(calls) => calls,
                None => match self.store.calls(&job, from, run as u64) {
                    Ok(calls) => calls,
                    Err(_) => continue,
                },
            };
            for (lease, call) in these.iter().zip(calls) {
                bytes += match &call {
                    Body::Inline(bytes) => bytes.len(),
                    Body::Blob { .. } => 40,
                };
                let stream = match terms.open.cache {
                    Some(true) => cache::stream(&terms.open, &call.digest()),
                    _ => None,
                };
                tasks.push(GrantedTask {
                    lease: lease.claim.lease,
                    task: lease.claim.identity.task,
                    attempt: lease.claim.attempt,
                    token: lease.claim.token,
                    call: payload(call),
                    alone: lease.alone.then_some(true),
                    stream,
                });
                if bytes >= BATCH_BYTES || tasks.len() >= ppwasm_proto::wire::BATCH_MAX {
                    messages.push(grant(job, &terms, std::mem::take(&mut tasks), lasts));
                    bytes = 0;
                }
            }
        }
        if !tasks.is_empty() {
            messages.push(grant(job, &terms, tasks, lasts));
        }
        messages
    }

    pub(super) fn image_message(&self, function: Digest) -> Message {
        match self.shelf.image(&function) {
            Some(image) => ImageReady {
                function,
                guest: self.shelf.guest(),
                image,
                base: None,
            }
            .into(),
            None => ImageMissing {
                function,
                code: ErrorCode::NotFound,
            }
            .into(),
        }
    }
}

fn grant(job: JobId, terms: &JobTerms, tasks: Vec<GrantedTask>, lasts: Micros) -> Message {
    let open = &terms.open;
    let group = GrantGroup {
        job,
        function: open.function.digest,
        limits: open.limits,
        time: open.time,
        stdin: open.stdin,
        inputs: open.inputs,
        keep_instance: open.keep_instance,
        hash_memory: open.hash_memory,
        stream: open.stream,
        tasks: List::try_from(tasks).unwrap_or_default(),
    };
    Grant {
        groups: List::try_from(vec![group]).unwrap_or_default(),
        lease_ms: Ranged::clamped(lasts.0 / 1000),
    }
    .into()
}
