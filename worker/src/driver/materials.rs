//! What the tasks of a job are given beside their arguments: standard input and files. Got once for all of them.

use std::collections::HashMap;
use std::sync::Arc;

use ppwasm_host::wasi::{InputTree, SharedBytes};
use ppwasm_proto::Digest;
use ppwasm_proto::wire::{BlobRef, GrantGroup};

/// Bytes of materials that are kept for tasks to come.
const KEPT_BYTES_MAX: u64 = 1 << 30;
/// Bytes of one material that is taken: what a client may put.
pub(super) const MATERIAL_BYTES_MAX: u64 = 1 << 30;

/// What a blob is to a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Use {
    Stdin,
    Inputs,
}

/// A blob by what it is to a task.
pub(super) type Key = (Use, Digest);

/// A blob that has been got and read.
#[derive(Clone, Debug)]
pub(super) enum Material {
    Stdin(SharedBytes),
    Inputs(Arc<InputTree>),
}

/// What a task is given.
#[derive(Clone, Debug, Default)]
pub(super) struct Given {
    pub(super) stdin: SharedBytes,
    pub(super) inputs: Option<Arc<InputTree>>,
}

/// The materials that are here, or on their way.
#[derive(Debug, Default)]
pub(super) struct Materials {
    /// For those whose job names nothing.
    always: Given,
    held: HashMap<Key, Held>,
    used: u64,
}

#[derive(Debug)]
struct Held {
    bytes: u64,
    used: u64,
    /// Absent while it is on its way.
    material: Option<Material>,
}

/// Not everything is here.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// This has to be got.
    Wanted(Key, BlobRef),
    /// It is on its way.
    Awaited,
}

impl Material {
    /// Reads a blob; `None` when it is not what it should be.
    pub(super) fn read(usage: Use, bytes: Arc<[u8]>) -> Option<Self> {
        Some(match usage {
            Use::Stdin => Self::Stdin(SharedBytes::new(Arc::new(bytes))),
            Use::Inputs => Self::Inputs(Arc::new(InputTree::from_bytes(bytes).ok()?)),
        })
    }
}

impl Materials {
    /// What the tasks of a group are given, or the first thing that is missing.
    pub(super) fn of(&mut self, group: &GrantGroup) -> Result<Given, Missing> {
        let mut given = self.always.clone();
        let wanted = [(Use::Stdin, group.stdin), (Use::Inputs, group.inputs)];
        for (usage, blob) in wanted {
            let Some(blob) = blob else { continue };
            let key = (usage, blob.digest);
            self.used += 1;
            let Some(held) = self.held.get_mut(&key) else {
                let held = Held {
                    bytes: blob.bytes,
                    used: self.used,
                    material: None,
                };
                self.held.insert(key, held);
                return Err(Missing::Wanted(key, blob));
            };
            held.used = self.used;
            match &held.material {
                None => return Err(Missing::Awaited),
                Some(Material::Stdin(bytes)) => given.stdin = bytes.clone(),
                Some(Material::Inputs(tree)) => given.inputs = Some(Arc::clone(tree)),
            }
        }
        Ok(given)
    }

    /// Gives every task these, unless its job names others.
    pub(super) fn give_always(&mut self, stdin: SharedBytes, inputs: Option<Arc<InputTree>>) {
        self.always = Given { stdin, inputs };
    }

    /// A material has come, or cannot be had.
    pub(super) fn came(&mut self, key: Key, material: Option<Material>) {
        match material {
            None => drop(self.held.remove(&key)),
            Some(_) => {
                if let Some(held) = self.held.get_mut(&key) {
                    held.material = material;
                }
                self.drop_oldest(key);
            }
        }
    }

    /// Forgets what was on its way: the session that it was to come by is over.
    pub(super) fn forget_awaited(&mut self) {
        self.held.retain(|_, held| held.material.is_some());
    }

    /// Makes room. Those that run keep what they were given.
    fn drop_oldest(&mut self, newest: Key) {
        while self.held.values().map(|held| held.bytes).sum::<u64>() > KEPT_BYTES_MAX {
            let others = self
                .held
                .iter()
                .filter(|(key, held)| **key != newest && held.material.is_some());
            let oldest = others
                .min_by_key(|(_, held)| held.used)
                .map(|(key, _)| *key);
            let Some(oldest) = oldest else { return };
            self.held.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use ppwasm_proto::wire::TimeSource;
    use ppwasm_proto::{JobId, Limits};

    use super::*;

    fn group(stdin: Option<BlobRef>, inputs: Option<BlobRef>) -> GrantGroup {
        GrantGroup {
            job: JobId::from_bytes([1; 16]),
            function: Digest::of(b"f"),
            limits: Limits::default(),
            time: TimeSource::Real {},
            stdin,
            inputs,
            keep_instance: None,
            hash_memory: None,
            tasks: Default::default(),
            stream: None,
        }
    }

    fn blob(bytes: &[u8]) -> BlobRef {
        BlobRef::of(bytes)
    }

    #[test]
    fn what_is_missing_is_wanted_once_and_then_given() {
        let mut materials = Materials::default();
        let tree = InputTree::new().to_bytes();
        let group = group(Some(blob(b"in")), Some(blob(&tree)));
        let stdin = (Use::Stdin, Digest::of(b"in"));
        let inputs = (Use::Inputs, Digest::of(&tree));
        let wanted = materials.of(&group).unwrap_err();
        assert_eq!(wanted, Missing::Wanted(stdin, blob(b"in")));
        assert_eq!(materials.of(&group).unwrap_err(), Missing::Awaited);
        materials.came(stdin, Material::read(Use::Stdin, b"in"[..].into()));
        let wanted = materials.of(&group).unwrap_err();
        assert_eq!(wanted, Missing::Wanted(inputs, blob(&tree)));
        // The session is lost; the next one wants it again.
        materials.forget_awaited();
        assert!(matches!(materials.of(&group), Err(Missing::Wanted(..))));
        materials.came(inputs, Material::read(Use::Inputs, tree.into()));
        let given = materials.of(&group).unwrap();
        assert_eq!(given.stdin.as_slice(), b"in");
        assert!(given.inputs.is_some());
    }

    #[test]
    fn what_cannot_be_had_is_wanted_again() {
        let mut materials = Materials::default();
        let group = group(None, Some(blob(b"no tree")));
        assert!(matches!(materials.of(&group), Err(Missing::Wanted(..))));
        let read = Material::read(Use::Inputs, b"no tree"[..].into());
        assert!(read.is_none());
        materials.came((Use::Inputs, Digest::of(b"no tree")), read);
        assert!(matches!(materials.of(&group), Err(Missing::Wanted(..))));
    }

    #[test]
    fn the_one_used_longest_ago_makes_room() {
        let mut materials = Materials::default();
        let half = |byte: u8| BlobRef {
            digest: Digest::of(&[byte]),
            bytes: KEPT_BYTES_MAX / 2,
        };
        for byte in 0..3 {
            let group = group(Some(half(byte)), None);
            assert!(matches!(materials.of(&group), Err(Missing::Wanted(..))));
            let key = (Use::Stdin, half(byte).digest);
            materials.came(key, Material::read(Use::Stdin, b"x"[..].into()));
            if byte == 1 {
                assert!(materials.of(&self::group(Some(half(0)), None)).is_ok());
            }
        }
        assert!(materials.of(&group(Some(half(0)), None)).is_ok());
        let dropped = materials.of(&group(Some(half(1)), None));
        assert!(matches!(dropped, Err(Missing::Wanted(..))));
    }
}
