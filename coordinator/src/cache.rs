//! What makes two tasks the same call, as digests. Pure.
//!
//! The key of a task is a digest over everything that its outcome follows from: who owns the job, the function bundle, the
//! encoded call, the guest, the version of this program, the limits, standard input and input tree, when its clock starts, and what its random bytes
//! follow from. What is not in it changes nothing: name, priority, attempts, for how long results are kept, the task's
//! number, the job's identity. The owner is in it so that nobody learns from how long a task takes what others have run.
//!
//! The random bytes of such a task follow from function and call, and from the stream that the client chose, if it did: not
//! from job and number, which differ each time, and not from owner, guest and limits, so that more memory is no other dice.

use ppwasm_proto::fabric::ClientName;
use ppwasm_proto::wire::{BlobRef, OpenJob, TimeSource};
use ppwasm_proto::{Digest, JobId, LimitKind, Limits};

/// Separates keys from every other digest. Its date changes whenever equal fields come to mean something else.
const KEY_CONTEXT: &str = "ppwasm 2026-11-28 key of a cached call";
/// Separates settings from every other digest.
const SETTING_CONTEXT: &str = "ppwasm 2026-11-28 setting of cached calls";
/// Separates random streams from every other digest.
const STREAM_CONTEXT: &str = "ppwasm 2026-11-28 random stream of a cached call";

/// Everything but guest and call that the tasks of a job have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recipe {
    owner: ClientName,
    function: Digest,
    limits: Limits,
    start_ns: u64,
    stream: Option<JobId>,
    stdin: Option<Digest>,
    inputs: Option<Digest>,
}

impl Recipe {
    /// That of a job; `None` when it is not cached, or may give something else each time.
    pub(crate) fn of(open: &OpenJob, owner: &ClientName) -> Option<Self> {
        let digest = |blob: BlobRef| blob.digest;
        match open.time {
            TimeSource::Deterministic { start_ns }
                if open.cache == Some(true) && refusal(open).is_none() =>
            {
                Some(Self {
                    owner: owner.clone(),
                    function: open.function.digest,
                    limits: open.limits,
                    start_ns,
                    stream: open.stream,
                    stdin: open.stdin.map(digest),
                    inputs: open.inputs.map(digest),
                })
            }
            _ => None,
        }
    }

    /// A digest of it, with the guest that runs it and the version of this program, which is what the guest sees of the
    /// world.
    pub(crate) fn setting(&self, guest: &Digest, program: &str) -> Digest {
        let mut hasher = blake3::Hasher::new_derive_key(SETTING_CONTEXT);
        // What has no fixed length goes first, with its length.
        for text in [self.owner.as_str(), program] {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        hasher.update(guest.as_bytes());
        hasher.update(self.function.as_bytes());
        for kind in LimitKind::ALL {
            hasher.update(&self.limits.allowed(kind).to_le_bytes());
        }
        hasher.update(&self.start_ns.to_le_bytes());
        option(&mut hasher, self.stream.as_ref().map(JobId::as_bytes));
        option(&mut hasher, self.stdin.as_ref().map(Digest::as_bytes));
        option(&mut hasher, self.inputs.as_ref().map(Digest::as_bytes));
        hasher.finalize().into()
    }
}

/// What the random bytes of a task with this call follow from; `None` when the job is not cached.
pub(crate) fn stream(open: &OpenJob, call: &Digest) -> Option<JobId> {
    if open.cache != Some(true) || refusal(open).is_some() {
        return None;
    }
    let mut hasher = blake3::Hasher::new_derive_key(STREAM_CONTEXT);
    hasher.update(open.function.digest.as_bytes());
    hasher.update(call.as_bytes());
    option(&mut hasher, open.stream.as_ref().map(JobId::as_bytes));
    let digest = hasher.finalize();
    let stream = digest.as_bytes().first_chunk::<16>();
    Some(JobId::from_bytes(*stream.unwrap_or(&[0; 16])))
}

/// The key of a call under a setting.
pub(crate) fn key(setting: &Digest, call: &Digest) -> Digest {
    let mut hasher = blake3::Hasher::new_derive_key(KEY_CONTEXT);
    hasher.update(setting.as_bytes());
    hasher.update(call.as_bytes());
    hasher.finalize().into()
}

/// The version of this program, as it is a part of keys.
pub(crate) const PROGRAM: &str = concat!("ppwasm ", env!("CARGO_PKG_VERSION"));

/// Why the tasks of a job cannot be cached, if they cannot.
pub(crate) fn refusal(open: &OpenJob) -> Option<&'static str> {
    if open.time == (TimeSource::Real {}) {
        Some("tasks with real clocks and randomness cannot be cached: they may differ each time")
    } else if open.keep_instance == Some(true) {
        Some("tasks that see what others left cannot be cached: they may differ each time")
    } else if open.hash_memory == Some(true) {
        Some("tasks whose memory is hashed cannot be cached: the hash is not kept with the outcome")
    } else {
        None
    }
}

/// `None` differs from all bytes.
fn option<const N: usize>(hasher: &mut blake3::Hasher, bytes: Option<&[u8; N]>) {
    match bytes {
        Some(bytes) => hasher.update(&[1]).update(bytes),
        None => hasher.update(&[0]),
    };
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use ppwasm_proto::fabric::Priority;
    use ppwasm_proto::wire::{Ranged, Text};

    use super::*;

    const GUEST: Digest = Digest::from_bytes([2; 32]);
    const CALL: Digest = Digest::from_bytes([3; 32]);

    fn blob(byte: u8) -> BlobRef {
        BlobRef {
            digest: Digest::from_bytes([byte; 32]),
            bytes: 7,
        }
    }

    fn open() -> OpenJob {
        OpenJob {
            request: 1,
            job: JobId::from_bytes([9; 16]),
            function: blob(1),
            name: Text::truncated("a"),
            priority: Priority(0),
            limits: Limits::default(),
            time: TimeSource::Deterministic { start_ns: 5 },
            attempts_max: None,
            stdin: None,
            inputs: None,
            keep_instance: None,
            hash_memory: None,
            stop_at_failure: None,
            keep_for_s: None,
            stream: None,
            verify_percent: None,
            cache: Some(true),
        }
    }

    fn of(open: &OpenJob, owner: &str, guest: &Digest, call: &Digest) -> Digest {
        let recipe = Recipe::of(open, &owner.parse().unwrap()).unwrap();
        key(&recipe.setting(guest, "ppwasm 1"), call)
    }

    /// The same key over versions of this program: what is in the store is found again, or the contexts have new dates.
    #[test]
    fn keys_and_streams_are_what_they_were() {
        let open = OpenJob {
            stdin: Some(blob(4)),
            inputs: Some(blob(5)),
            stream: Some(JobId::from_bytes([6; 16])),
            ..open()
        };
        let recipe = Recipe::of(&open, &"ann".parse().unwrap()).unwrap();
        let key = key(&recipe.setting(&GUEST, "ppwasm 1"), &CALL);
        assert_eq!(
            key.to_string(),
            "7ff4e7beaefd9b0f7c589c6f519884bbaa6e7e2d5cdaf4941ae8469dde948c3d"
        );
        assert_eq!(
            stream(&open, &CALL).unwrap().to_string(),
            "07bd5532db08d5f0fb4b3ead0cb765f5"
        );
    }

    #[test]
    fn each_field_changes_the_key_and_what_changes_no_outcome_does_not() {
        let with = |change: fn(&mut OpenJob)| {
            let mut open = open();
            change(&mut open);
            of(&open, "ann", &GUEST, &CALL)
        };
        let changes: [fn(&mut OpenJob); 16] = [
            |_| (),
            |open| open.function.digest = CALL,
            |open| open.time = TimeSource::Deterministic { start_ns: 6 },
            |open| open.stream = Some(JobId::from_bytes([0; 16])),
            |open| open.stdin = Some(blob(0)),
            |open| open.inputs = Some(blob(0)),
            |open| (open.stdin, open.inputs) = (Some(blob(1)), Some(blob(2))),
            |open| (open.stdin, open.inputs) = (Some(blob(2)), Some(blob(1))),
            |open| open.limits.memory_bytes_max += 1,
            |open| open.limits.wall_time_max += Duration::from_millis(1),
            |open| open.limits.cpu_time_max += Duration::from_millis(1),
            |open| open.limits.stdout_bytes_max += 1,
            |open| open.limits.stderr_bytes_max += 1,
            |open| open.limits.result_bytes_max += 1,
            |open| open.limits.scratch_bytes_max += 1,
            |open| open.limits.scratch_files_max += 1,
        ];
        let mut keys: BTreeSet<_> = changes.into_iter().map(with).collect();
        assert!(keys.insert(of(&open(), "bob", &GUEST, &CALL)), "owner");
        assert!(keys.insert(of(&open(), "ann", &CALL, &CALL)), "guest");
        assert!(keys.insert(of(&open(), "ann", &GUEST, &GUEST)), "call");
        let newer = Recipe::of(&open(), &"ann".parse().unwrap()).unwrap();
        assert!(
            keys.insert(key(&newer.setting(&GUEST, "ppwasm 2"), &CALL)),
            "version"
        );
        assert_eq!(keys.len(), changes.len() + 4);

        let plain = with(|_| ());
        let without_effect: [fn(&mut OpenJob); 8] = [
            |open| open.request = 7,
            |open| open.job = JobId::from_bytes([7; 16]),
            |open| open.name = Text::truncated("b"),
            |open| open.priority = Priority(3),
            |open| open.attempts_max = Some(Ranged::clamped(9)),
            |open| open.stop_at_failure = Some(true),
            |open| open.keep_for_s = Some(9),
            |open| open.verify_percent = Some(Ranged::clamped(9)),
        ];
        assert!(without_effect.into_iter().map(with).all(|key| key == plain));
    }

    #[test]
    fn random_bytes_follow_from_function_call_and_chosen_stream_alone() {
        let plain = stream(&open(), &CALL);
        assert!(plain.is_some());
        let mut other = open();
        (other.limits.memory_bytes_max, other.job) = (1 << 27, JobId::from_bytes([1; 16]));
        other.time = TimeSource::Deterministic { start_ns: 8 };
        assert_eq!(stream(&other, &CALL), plain);
        assert_ne!(stream(&open(), &GUEST), plain);
        other.function.digest = GUEST;
        assert_ne!(stream(&other, &CALL), plain);
        let mut chosen = open();
        chosen.stream = Some(JobId::from_bytes([0; 16]));
        assert_ne!(stream(&chosen, &CALL), plain);
        chosen.cache = None;
        assert_eq!(stream(&chosen, &CALL), None);
    }

    #[test]
    fn what_may_differ_each_time_has_no_recipe() {
        let ann = "ann".parse().unwrap();
        let changes: [fn(&mut OpenJob); 3] = [
            |open| open.time = TimeSource::Real {},
            |open| open.keep_instance = Some(true),
            |open| open.hash_memory = Some(true),
        ];
        for change in changes {
            let mut open = open();
            change(&mut open);
            assert!(refusal(&open).is_some());
            assert_eq!(Recipe::of(&open, &ann), None);
        }
        for cache in [None, Some(false)] {
            let open = OpenJob { cache, ..open() };
            assert_eq!((Recipe::of(&open, &ann), refusal(&open)), (None, None));
        }
    }
}
