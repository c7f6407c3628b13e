//! How a child limits itself: what it may use of the machine, and what it may touch.
//!
//! Limits of the kernel on time, memory and files hold on every Unix. On Linux the child also gives up all files but
//! those that its work is about, and the network, as far as the kernel has Landlock (5.13 for files, 6.7 for TCP).
//! Elsewhere nothing but the parent's deadline holds; a coordinator says how far its children are shut in.

use std::io;
use std::path::Path;

/// What a child may use. Each limit is inclusive.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(
    not(unix),
    allow(dead_code, reason = "a process cannot limit itself there")
)]
pub(super) struct Limits {
    /// Processor time of the process.
    pub cpu_s: u64,
    /// Memory that it can write to. Addresses that are only reserved do not count.
    pub data_bytes: u64,
}

/// Descriptors that a child may have open: pipes, the guest's parts, memory files.
#[cfg(unix)]
const FILES_MAX: u64 = 64;
/// Bytes of one file; memory files of images are files here.
#[cfg(unix)]
const FILE_BYTES_MAX: u64 = 5 << 30;

/// How far a child is shut in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confinement {
    /// It can open nothing but what its work is about, and make no connection.
    Full,
    /// As far as an older kernel goes: no files.
    Partial,
    /// Limits of time and memory only.
    LimitsOnly,
    /// Its parent ends it in time, and that is all: this system has no limits that a process can set itself here.
    DeadlineOnly,
}

impl Confinement {
    /// Where the kernel takes nothing away but time and memory.
    const LEAST: Self = if cfg!(unix) {
        Self::LimitsOnly
    } else {
        Self::DeadlineOnly
    };

    /// Whether files that are not named cannot be opened.
    #[must_use]
    pub const fn shuts_files(self) -> bool {
        matches!(self, Self::Full | Self::Partial)
    }
}

/// Limits this process; to be called before it has read anything of its input, and has threads.
///
/// # Errors
///
/// A limit was refused. That the kernel has no Landlock is no error.
pub(super) fn confine(limits: Limits, readable: &[&Path]) -> io::Result<Confinement> {
    limit(limits)?;
    Ok(shut_in(readable))
}

#[cfg(unix)]
fn limit(limits: Limits) -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    for (resource, wanted) in [
        (Resource::Core, 0),
        (Resource::Cpu, limits.cpu_s),
        (Resource::Data, limits.data_bytes),
        (Resource::Nofile, FILES_MAX),
        (Resource::Fsize, FILE_BYTES_MAX),
    ] {
        // Who started this process may have set a lower one.
        let highest = getrlimit(resource).maximum.unwrap_or(wanted);
        let most = Some(wanted.min(highest));
        let rlimit = Rlimit {
            current: most,
            maximum: most,
        };
        setrlimit(resource, rlimit)?;
    }
    Ok(())
}

#[cfg(not(unix))]
fn limit(_limits: Limits) -> io::Result<()> {
    Ok(())
}

/// Gives up, for this thread and those that it starts, all files but `readable`, which may be read, and the network.
/// Called again it takes away more.
#[cfg(target_os = "linux")]
pub(super) fn shut_in(readable: &[&Path]) -> Confinement {
    use landlock::{
        ABI, Access, AccessFs, AccessNet, BitFlags, Ruleset, RulesetAttr, RulesetCreatedAttr,
        RulesetError, RulesetStatus, Scope, path_beneath_rules,
    };
    const NEWEST: ABI = ABI::V6;
    let reading: BitFlags<AccessFs> = AccessFs::ReadFile | AccessFs::ReadDir;
    let shut = || -> Result<RulesetStatus, RulesetError> {
        let status = Ruleset::default()
            .handle_access(AccessFs::from_all(NEWEST))?
            .handle_access(AccessNet::from_all(NEWEST))?
            .scope(Scope::from_all(NEWEST))?
            .create()?
            .add_rules(path_beneath_rules(readable, reading))?
            .restrict_self()?;
        Ok(status.ruleset)
    };
    match shut() {
        Ok(RulesetStatus::FullyEnforced) => Confinement::Full,
        Ok(RulesetStatus::PartiallyEnforced) => Confinement::Partial,
        Ok(RulesetStatus::NotEnforced) | Err(_) => Confinement::LEAST,
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn shut_in(_readable: &[&Path]) -> Confinement {
    Confinement::LEAST
}

/// How far children are shut in on this machine.
pub fn confinement() -> Confinement {
    // It holds for the thread that asks, so one is spent on it.
    let thread = std::thread::Builder::new().spawn(|| shut_in(&[]));
    thread
        .ok()
        .and_then(|thread| thread.join().ok())
        .unwrap_or(Confinement::LEAST)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::fs;
    use std::net::TcpListener;

    use super::*;

    /// Each on a thread of its own: what a thread gives up it does not get back.
    #[test]
    fn who_is_shut_in_reads_what_is_named_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let (named, other) = (folder.path().join("named"), folder.path().join("other"));
        fs::write(&named, b"yes").unwrap();
        fs::write(&other, b"no").unwrap();
        let (read_named, read_other) = (named.clone(), other.clone());
        let thread = std::thread::spawn(move || {
            let confinement = shut_in(&[&read_named]);
            let first = fs::read(&read_named).is_ok();
            let denied = fs::read(&read_other).is_err() && fs::write(&read_named, b"").is_err();
            let no_network = TcpListener::bind(("127.0.0.1", 0)).is_err();
            shut_in(&[]);
            let second = fs::read(&read_named).is_ok();
            (confinement, first, denied, no_network, second)
        });
        let (confinement, first, denied, no_network, second) = thread.join().unwrap();
        assert!(first);
        // On a kernel without Landlock there is nothing to see but that it says so.
        let files = confinement.shuts_files();
        assert_eq!((denied, second), (files, !files), "{confinement:?}");
        if confinement == Confinement::Full {
            assert!(no_network);
        }
        assert!(fs::read(&other).is_ok(), "other threads keep their rights");
        assert_eq!(confinement, super::confinement());
    }
}
