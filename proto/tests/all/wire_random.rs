//! Messages of the kinds that carry most of the traffic, with any content.

use std::time::Duration;

use ppwasm_proto::fabric::{
    Claim, Held, HeldState, Incarnation, LeaseId, LeaseToken, OutcomeKind, Priority,
};
use ppwasm_proto::wire::*;
use ppwasm_proto::{Attempt, JobId, Limits, TaskId, TaskIdentity};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::wire_samples::{digest, job, limits, list, open_job, worker_offer};

fn any_payload() -> impl Strategy<Value = Payload> {
    prop_oneof![
        vec(any::<u8>(), 0..300).prop_map(|bytes| Payload::Inline(bytes.try_into().unwrap())),
        any_blob().prop_map(Payload::Blob),
    ]
}

fn any_blob() -> impl Strategy<Value = BlobRef> {
    (any::<[u8; 32]>(), any::<u64>()).prop_map(|(digest, bytes)| BlobRef {
        digest: digest.into(),
        bytes,
    })
}

fn any_claim() -> impl Strategy<Value = Claim> {
    let ids = (
        any::<u64>(),
        any::<[u8; 16]>(),
        any::<u64>(),
        any::<u32>(),
        any::<[u8; 16]>(),
    );
    ids.prop_map(|(lease, job, task, attempt, token)| Claim {
        lease: LeaseId(lease),
        identity: TaskIdentity::new(JobId::from_bytes(job), TaskId(task)),
        attempt: Attempt(attempt),
        token: LeaseToken::from_bytes(token),
    })
}

fn any_kind() -> impl Strategy<Value = OutcomeKind> {
    prop_oneof![
        Just(OutcomeKind::Succeeded),
        Just(OutcomeKind::Raised),
        Just(OutcomeKind::Trapped),
        Just(OutcomeKind::LimitExceeded),
        Just(OutcomeKind::Cancelled),
        Just(OutcomeKind::Abandoned),
    ]
}

fn any_usage() -> impl Strategy<Value = Usage> {
    (any::<u64>(), any::<u64>(), option::of(any::<[u8; 32]>())).prop_map(
        |(wall_us, memory_bytes, digest)| Usage {
            wall_us,
            memory_bytes,
            memory_digest: digest.map(Into::into),
        },
    )
}

fn any_leases() -> impl Strategy<Value = Vec<LeaseId>> {
    vec(any::<u64>().prop_map(LeaseId), 0..40)
}

/// All of them.
pub(crate) fn strategies() -> impl Strategy<Value = Message> {
    let report =
        (any::<u64>(), any_leases(), any_leases()).prop_map(|(number, waiting, running)| {
            Message::from(Report {
                number,
                waiting: list(waiting),
                running: list(running),
            })
        });
    let output = || option::of(any_payload());
    let result = (
        any_claim(),
        any_kind(),
        any_payload(),
        output(),
        output(),
        any_usage(),
    )
        .prop_map(|(claim, kind, outcome, stdout, stderr, usage)| TaskResult {
            claim,
            kind,
            outcome,
            stdout,
            stderr,
            usage,
        });
    let ended = vec(result, 0..10).prop_map(|results| {
        Message::from(Ended {
            results: list(results),
        })
    });
    let task =
        (any_claim(), any_payload(), option::of(any::<bool>())).prop_map(|(claim, call, alone)| {
            GrantedTask {
                lease: claim.lease,
                task: claim.identity.task,
                attempt: claim.attempt,
                token: claim.token,
                call,
                alone,
                stream: None,
            }
        });
    let blobs = (option::of(any_blob()), option::of(any_blob()), any::<u64>());
    let grant = (vec(task, 0..10), blobs, 0..u64::MAX).prop_map(
        |(tasks, (stdin, inputs, start_ns), lease_ms)| {
            let group = GrantGroup {
                job: job(),
                function: digest(1),
                limits: limits(),
                time: TimeSource::Deterministic { start_ns },
                stdin,
                inputs,
                keep_instance: None,
                hash_memory: Some(true),
                tasks: list(tasks),
                stream: None,
            };
            Message::from(Grant {
                groups: list([group]),
                lease_ms: Ranged::clamped(lease_ms),
            })
        },
    );
    let append = (any::<u32>(), any::<u64>(), vec(any_payload(), 0..10)).prop_map(
        |(request, first, calls)| {
            Message::from(AppendTasks {
                request,
                first: TaskId(first),
                calls: list(calls),
            })
        },
    );
    let open = (
        any::<u32>(),
        any::<[u8; 16]>(),
        "\\PC{0,60}",
        any::<i8>(),
        1_u64..=30 * 86_400_000,
    )
        .prop_map(|(request, job, name, priority, wall_ms)| {
            Message::from(OpenJob {
                request,
                job: JobId::from_bytes(job),
                name: Text::truncated(&name),
                priority: Priority(priority),
                limits: Limits {
                    wall_time_max: Duration::from_millis(wall_ms),
                    ..Limits::default()
                },
                ..open_job()
            })
        });
    let failed = (
        any::<u32>(),
        any::<u32>(),
        "\\PC{0,200}",
        option::of(any::<u64>()),
    )
        .prop_map(|(request, code, reason, retry_after_ms)| {
            Message::from(Failed {
                request,
                code: ErrorCode::from_number(code),
                reason: Text::truncated(&reason),
                retry_after_ms,
            })
        });
    let state = prop_oneof![
        Just(HeldState::Waiting),
        Just(HeldState::Running),
        Just(HeldState::Finished)
    ];
    let held = vec(
        (any_claim(), state).prop_map(|(claim, state)| Held { claim, state }),
        0..20,
    );
    let hello = (any::<[u64; 5]>(), held).prop_map(
        |([minor_min, minor_max, slots, credit, incarnation], held)| {
            Message::from(Hello {
                minor_min,
                minor_max,
                build: Text::default(),
                worker: Some(WorkerOffer {
                    slots,
                    credit,
                    incarnation: Incarnation(incarnation),
                    held: list(held),
                    ..worker_offer()
                }),
            })
        },
    );
    prop_oneof![report, ended, grant, append, open, failed, hello]
}
