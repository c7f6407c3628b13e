//! The folder of what was compiled, and for whom.

use std::fs;
use std::path::PathBuf;

use ppwasm_host::Target;
use ppwasm_proto::Digest;

use super::ArtifactsError;
use crate::files::write_whole;

/// Targets for which something was asked at some time, a line each: triple and profile.
const TARGETS_FILE: &str = "targets";

const MANIFEST_SUFFIX: &str = ".manifest";

fn manifest_name(key: Digest) -> String {
    format!("{key}{MANIFEST_SUFFIX}")
}

/// The folder.
pub(super) struct Kept {
    folder: PathBuf,
}

impl Kept {
    pub(super) const fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Those that were asked for, in that order.
    pub(super) fn targets(&self) -> Vec<Target> {
        // Without it nothing is lost: whoever asks again is remembered again.
        let lines = fs::read_to_string(self.folder.join(TARGETS_FILE)).unwrap_or_default();
        let target = |line: &str| {
            let (triple, profile) = line.split_once(' ')?;
            Target::by_name(triple, profile)
        };
        lines.lines().filter_map(target).collect()
    }

    /// Remembers that a target was asked for.
    pub(super) fn remember(&self, target: Target) -> Result<(), ArtifactsError> {
        let mut targets = self.targets();
        if targets.contains(&target) {
            return Ok(());
        }
        targets.push(target);
        let line = |target: &Target| format!("{} {}\n", target.triple(), target.name());
        let lines: String = targets.iter().map(line).collect();
        self.write_file(TARGETS_FILE, lines.as_bytes())
    }

    /// The manifest of what was made from all that `key` stands for.
    pub(super) fn read(&self, key: Digest) -> Option<Vec<u8>> {
        fs::read(self.folder.join(manifest_name(key))).ok()
    }

    /// Keeps the manifest for a target.
    pub(super) fn write(&self, key: Digest, bytes: &[u8]) -> Result<(), ArtifactsError> {
        self.write_file(&manifest_name(key), bytes)
    }

    /// Removes manifests of what is of no use any more.
    pub(super) fn retain(&self, is_used: impl Fn(Digest) -> bool) {
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let key = name
                .to_str()
                .and_then(|name| name.strip_suffix(MANIFEST_SUFFIX));
            let key = key.and_then(|key| key.parse().ok());
            if key.is_some_and(|key| !is_used(key)) {
                // One that stays costs a few hundred bytes.
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn write_file(&self, name: &str, bytes: &[u8]) -> Result<(), ArtifactsError> {
        let path = self.folder.join(name);
        write_whole(&path, bytes).map_err(|source| ArtifactsError::File { path, source })
    }
}
