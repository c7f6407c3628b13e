//! Leases on their way to a slot: what they need is got, and then they run.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ppwasm_host::{CancelToken, Function, Task};
use ppwasm_link::{BlobFailure, Dialer};
use ppwasm_proto::fabric::{GiveBackReason, LeaseId};
use ppwasm_proto::wire::{BlobRef, GrantGroup, ImageWanted, Payload};
use ppwasm_proto::{JobId, TaskId, TaskIdentity};

use crate::agent::{self, Command, Event, Granted};
use crate::messages;

use super::functions::Held;
use super::materials::{Given, Key, MATERIAL_BYTES_MAX, Material, Missing};
use super::session::Outgoing;
use super::{Done, Worker, WorkerEnd};

/// Bytes of a call that is taken.
const CALL_BYTES_MAX: u64 = 1 << 30;

pub(super) struct Lease {
    pub(super) granted: Option<Granted>,
    pub(super) group: Arc<GrantGroup>,
    pub(super) call: Payload,
    /// What its random bytes follow from, when that is not its own identity.
    pub(super) stream: Option<JobId>,
    pub(super) state: LeaseState,
}

pub(super) enum LeaseState {
    Waiting,
    /// For its image or its call.
    Preparing,
    Running(CancelToken),
    /// Its result waits for a session to put large bodies.
    Uploading,
}

impl<D: Dialer> Worker<D> {
    /// True when a connection is wanted.
    pub(super) fn carry_out(&mut self, commands: &mut Vec<Command>) -> bool {
        let mut connect = false;
        let mut next = VecDeque::from(std::mem::take(commands));
        while let Some(command) = next.pop_front() {
            match command {
                Command::Connect => connect = true,
                Command::Disconnect => {
                    if let Some(session) = &self.session {
                        let _ = session.outgoing.try_send(Outgoing::Close);
                    }
                    if self.exit.is_none() && !next.iter().any(|c| matches!(c, Command::Exit(_))) {
                        self.session = None;
                    }
                }
                Command::Send(agent::Message::Ended(results)) => self.unsent.extend(results),
                Command::Send(message @ agent::Message::Hello { .. }) => {
                    // What was to be sent in the session before is offered again by the agent.
                    self.unsent.clear();
                    if let Some(hello) = messages::hello(message, &self.label, &self.offer) {
                        self.send(hello);
                    }
                }
                Command::Send(message) => {
                    if let agent::Message::GaveBack(given) = &message {
                        for (lease, _) in given {
                            self.leases.remove(lease);
                        }
                    }
                    for message in messages::to_wire(message) {
                        self.send(message);
                    }
                }
                Command::Start(granted) => {
                    let lease = granted.claim.lease;
                    if let Some(held) = self.leases.get_mut(&lease) {
                        held.granted = Some(granted);
                        held.state = LeaseState::Preparing;
                    }
                    self.make_ready(lease, commands);
                }
                Command::Stop(lease) => self.stop(lease, commands),
                Command::DropResult(lease) => {
                    self.results.remove(&lease);
                    self.leases.remove(&lease);
                }
                Command::Exit(why) => self.exit = Some(WorkerEnd::Left(why)),
            }
            next.extend(commands.drain(..));
        }
        connect
    }

    pub(super) fn granted(
        &mut self,
        mut group: GrantGroup,
        lasts: Duration,
        commands: &mut Vec<Command>,
    ) {
        let tasks = std::mem::take(&mut group.tasks);
        let group = Arc::new(group);
        let mut leases = Vec::with_capacity(tasks.len());
        for task in tasks {
            let granted = Granted {
                claim: messages::claim(&group, &task),
                alone: task.alone == Some(true),
            };
            leases.push(granted);
            self.leases.entry(task.lease).or_insert_with(|| Lease {
                granted: None,
                group: Arc::clone(&group),
                call: task.call,
                stream: task.stream,
                state: LeaseState::Waiting,
            });
        }
        self.agent_event(Event::Granted { leases, lasts }, commands);
    }

    /// Starts a lease, or gets what is missing for that.
    pub(super) fn make_ready(&mut self, id: LeaseId, commands: &mut Vec<Command>) {
        let Some(lease) = self.leases.get(&id) else {
            let failed = Event::ExecutionFailed(id, GiveBackReason::InputUnavailable);
            return self.agent_event(failed, commands);
        };
        let group = Arc::clone(&lease.group);
        let function = match self.functions.get_mut(&group.function) {
            Some(Held::Ready(function, used)) => {
                self.used += 1;
                *used = self.used;
                function.clone()
            }
            Some(Held::Fetching) => return,
            None => {
                self.functions.insert(group.function, Held::Fetching);
                let function = group.function;
                return self.send(ImageWanted { function }.into());
            }
        };
        let given = match self.materials.of(&group) {
            Ok(given) => given,
            Err(Missing::Awaited) => return,
            Err(Missing::Wanted(key, blob)) => return self.fetch_material(key, blob),
        };
        let Some(lease) = self.leases.get(&id) else {
            return;
        };
        match &lease.call {
            Payload::Inline(bytes) => {
                let call = messages::decode_call(bytes);
                self.start(id, &group, &function, call, given, commands);
            }
            Payload::Blob(blob) => {
                let (digest, tell) = (blob.digest, self.tell.clone());
                let Some(session) = &self.session else { return };
                let getting = session.blobs.get(digest, CALL_BYTES_MAX);
                self.tasks.spawn(async move {
                    match getting.await {
                        Err(BlobFailure::Lost) => {}
                        got => drop(tell.send(Done::Call(id, got.ok())).await),
                    }
                });
            }
        }
    }

    pub(super) fn start(
        &mut self,
        id: LeaseId,
        group: &GrantGroup,
        function: &Function,
        call: Option<ppwasm_proto::Call>,
        given: Given,
        commands: &mut Vec<Command>,
    ) {
        let Some(call) = call else {
            return self.fail(id, GiveBackReason::InputUnavailable, commands);
        };
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        let Some(granted) = lease.granted else { return };
        let cancel = CancelToken::new();
        let mut stream = granted.claim.identity;
        stream.job = group.stream.unwrap_or(stream.job);
        if let Some(own) = lease.stream {
            stream = TaskIdentity::new(own, TaskId(0));
        }
        let mut task = Task::new(call)
            .limits(group.limits)
            .identity(stream)
            .time(messages::time(group.time))
            .keep_instance(group.keep_instance == Some(true))
            .hash_memory(group.hash_memory == Some(true))
            .stdin(given.stdin)
            .cancel_token(cancel.clone());
        if let Some(inputs) = given.inputs {
            task = task.inputs(inputs);
        }
        let hook = self.output.as_mut();
        if let Some(sink) = hook.and_then(|output| output(granted.claim.identity)) {
            task = task.output_sink(sink);
        }
        lease.state = LeaseState::Running(cancel);
        let tell = self.tell.clone();
        // On the slot's thread. Nobody listens any more when the worker has ended.
        self.host.start_with(function, task, move |report| {
            let _ = tell.blocking_send(Done::Ran(id, Box::new(report)));
        });
    }

    pub(super) fn fetch_material(&mut self, key: Key, blob: BlobRef) {
        let Some(session) = &self.session else { return };
        let (usage, _) = key;
        let getting = session.blobs.get(blob.digest, MATERIAL_BYTES_MAX);
        let tell = self.tell.clone();
        self.tasks.spawn(async move {
            let material = match getting.await {
                Ok(bytes) => Material::read(usage, bytes),
                // The next session gets it.
                Err(BlobFailure::Lost) => return,
                Err(_) => None,
            };
            let _ = tell.send(Done::Material(key, material)).await;
        });
    }

    pub(super) fn material_came(
        &mut self,
        key: Key,
        material: Option<Material>,
        commands: &mut Vec<Command>,
    ) {
        let is_there = material.is_some();
        self.materials.came(key, material);
        let named = |group: &GrantGroup| [group.stdin, group.inputs];
        let waiting = |lease: &Lease| {
            let mut named = named(&lease.group).into_iter().flatten();
            matches!(lease.state, LeaseState::Preparing) && named.any(|blob| blob.digest == key.1)
        };
        let waiting = self.leases.iter().filter(|(_, lease)| waiting(lease));
        let waiting: Vec<_> = waiting.map(|(lease, _)| *lease).collect();
        for lease in waiting {
            if is_there {
                self.make_ready(lease, commands);
            } else {
                self.fail(lease, GiveBackReason::InputUnavailable, commands);
            }
        }
    }

    pub(super) fn fail(
        &mut self,
        lease: LeaseId,
        why: GiveBackReason,
        commands: &mut Vec<Command>,
    ) {
        self.leases.remove(&lease);
        self.agent_event(Event::ExecutionFailed(lease, why), commands);
    }

    pub(super) fn stop(&mut self, id: LeaseId, commands: &mut Vec<Command>) {
        match self.leases.get(&id).map(|lease| &lease.state) {
            Some(LeaseState::Running(cancel)) => cancel.cancel(),
            Some(LeaseState::Uploading) => {}
            Some(LeaseState::Waiting | LeaseState::Preparing) | None => {
                self.leases.remove(&id);
                self.agent_event(Event::ExecutionStopped(id), commands);
            }
        }
    }
}
