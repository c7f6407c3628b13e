//! What one task may use, and the names of those limits in outcomes.
//!
//! The host enforces them. The depth of recursion is Python's own limit and not here.

use std::fmt;
use std::time::Duration;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// The limits of one task. Each is inclusive: using exactly as much is allowed.
///
/// ```
/// use std::time::Duration;
/// use ppwasm_proto::Limits;
///
/// let limits = Limits { wall_time_max: Duration::from_secs(30), ..Limits::default() };
/// assert!(limits.check().is_ok());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Linear memory of the guest, the interpreter included. From 64 MiB, with which the guest starts, to
    /// 4 GiB, the end of its address space. Default 512 MiB.
    pub memory_bytes_max: u64,
    /// Time from start to end on the wall, sleeping included. From 1 ms to 30 days. Default 1 hour.
    pub wall_time_max: Duration,
    /// Time that the task's thread computes. From 1 ms to 30 days. Default 1 hour.
    pub cpu_time_max: Duration,
    /// Bytes written to stdout. Up to 1 GiB. Default 16 MiB.
    pub stdout_bytes_max: u64,
    /// Bytes written to stderr. Up to 1 GiB. Default 16 MiB.
    pub stderr_bytes_max: u64,
    /// Bytes of the encoded reply: the value returned, or the exception with its traceback. From 1 KiB, so
    /// that an error can be told, to 1 GiB. Default 64 MiB.
    pub result_bytes_max: u64,
    /// Bytes in files of the scratch directories. Up to 4 GiB. Default 256 MiB.
    pub scratch_bytes_max: u64,
    /// Files and directories in the scratch directories. Up to 1,000,000. Default 10,000.
    pub scratch_files_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes_max: 512 * MIB,
            wall_time_max: Duration::from_secs(60 * 60),
            cpu_time_max: Duration::from_secs(60 * 60),
            stdout_bytes_max: 16 * MIB,
            stderr_bytes_max: 16 * MIB,
            result_bytes_max: 64 * MIB,
            scratch_bytes_max: 256 * MIB,
            scratch_files_max: 10_000,
        }
    }
}

impl Limits {
    /// Says whether every limit lies in the range that its kind allows.
    ///
    /// # Errors
    ///
    /// The first limit that does not, with its range.
    pub fn check(&self) -> Result<(), LimitsError> {
        LimitKind::ALL.into_iter().try_for_each(|limit| {
            let (value, (min, max)) = (self.allowed(limit), limit.range());
            if (min..=max).contains(&value) {
                Ok(())
            } else {
                Err(LimitsError {
                    limit,
                    value,
                    min,
                    max,
                })
            }
        })
    }

    /// The value of one limit in the unit of its kind: what an outcome reports as `allowed`.
    pub fn allowed(&self, limit: LimitKind) -> u64 {
        match limit {
            LimitKind::Memory => self.memory_bytes_max,
            LimitKind::WallTime => millis(self.wall_time_max),
            LimitKind::CpuTime => millis(self.cpu_time_max),
            LimitKind::Stdout => self.stdout_bytes_max,
            LimitKind::Stderr => self.stderr_bytes_max,
            LimitKind::Result => self.result_bytes_max,
            LimitKind::ScratchBytes => self.scratch_bytes_max,
            LimitKind::ScratchFiles => self.scratch_files_max,
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Which limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LimitKind {
    /// [`Limits::memory_bytes_max`], in bytes.
    Memory,
    /// [`Limits::wall_time_max`], in milliseconds.
    WallTime,
    /// [`Limits::cpu_time_max`], in milliseconds.
    CpuTime,
    /// [`Limits::stdout_bytes_max`], in bytes.
    Stdout,
    /// [`Limits::stderr_bytes_max`], in bytes.
    Stderr,
    /// [`Limits::result_bytes_max`], in bytes.
    Result,
    /// [`Limits::scratch_bytes_max`], in bytes.
    ScratchBytes,
    /// [`Limits::scratch_files_max`], a number of files and directories.
    ScratchFiles,
}

impl LimitKind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Memory,
        Self::WallTime,
        Self::CpuTime,
        Self::Stdout,
        Self::Stderr,
        Self::Result,
        Self::ScratchBytes,
        Self::ScratchFiles,
    ];

    /// The smallest and largest value that [`Limits::check`] accepts, in the unit of the kind.
    pub const fn range(self) -> (u64, u64) {
        match self {
            Self::Memory => (64 * MIB, 4 * GIB),
            Self::WallTime | Self::CpuTime => (1, 30 * DAY_MS),
            Self::Stdout | Self::Stderr => (0, GIB),
            Self::Result => (1024, GIB),
            Self::ScratchBytes => (0, 4 * GIB),
            Self::ScratchFiles => (0, 1_000_000),
        }
    }

    /// The unit in which a value of this kind is told.
    pub const fn unit(self) -> LimitUnit {
        match self {
            Self::WallTime | Self::CpuTime => LimitUnit::Milliseconds,
            Self::ScratchFiles => LimitUnit::Files,
            _ => LimitUnit::Bytes,
        }
    }

    /// The name in logs and JSON: `memory`, `wall_time`, …
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::WallTime => "wall_time",
            Self::CpuTime => "cpu_time",
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Result => "result",
            Self::ScratchBytes => "scratch_bytes",
            Self::ScratchFiles => "scratch_files",
        }
    }
}

impl fmt::Display for LimitKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The unit of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LimitUnit {
    /// Bytes.
    Bytes,
    /// Milliseconds.
    Milliseconds,
    /// Files and directories.
    Files,
}

impl fmt::Display for LimitUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Bytes => "bytes",
            Self::Milliseconds => "ms",
            Self::Files => "files",
        })
    }
}

/// A limit that is outside the range of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("limit {limit} is {value} {unit}, allowed are {min} to {max}", unit = limit.unit())]
pub struct LimitsError {
    /// Which one.
    pub limit: LimitKind,
    /// Its value.
    pub value: u64,
    /// The smallest value that is allowed.
    pub min: u64,
    /// The largest.
    pub max: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(limit: LimitKind, value: u64) -> Limits {
        let mut limits = Limits::default();
        match limit {
            LimitKind::Memory => limits.memory_bytes_max = value,
            LimitKind::WallTime => limits.wall_time_max = Duration::from_millis(value),
            LimitKind::CpuTime => limits.cpu_time_max = Duration::from_millis(value),
            LimitKind::Stdout => limits.stdout_bytes_max = value,
            LimitKind::Stderr => limits.stderr_bytes_max = value,
            LimitKind::Result => limits.result_bytes_max = value,
            LimitKind::ScratchBytes => limits.scratch_bytes_max = value,
            LimitKind::ScratchFiles => limits.scratch_files_max = value,
        }
        limits
    }

    #[test]
    fn defaults_are_allowed() {
        assert_eq!(Limits::default().check(), Ok(()));
    }

    #[test]
    fn each_limit_is_checked_at_its_ends_and_one_past() {
        for limit in LimitKind::ALL {
            let (min, max) = limit.range();
            assert_eq!(with(limit, min).check(), Ok(()));
            assert_eq!(with(limit, max).check(), Ok(()));
            let past = max + 1;
            assert_eq!(
                with(limit, past).check(),
                Err(LimitsError {
                    limit,
                    value: past,
                    min,
                    max
                })
            );
            if let Some(below) = min.checked_sub(1) {
                let error = LimitsError {
                    limit,
                    value: below,
                    min,
                    max,
                };
                assert_eq!(with(limit, below).check(), Err(error));
            }
        }
    }

    #[test]
    fn the_message_names_limit_unit_and_range() {
        let error = with(LimitKind::WallTime, 0).check().unwrap_err();
        assert_eq!(
            error.to_string(),
            "limit wall_time is 0 ms, allowed are 1 to 2592000000"
        );
    }

    #[test]
    fn endless_times_do_not_wrap() {
        let limits = Limits {
            wall_time_max: Duration::MAX,
            ..Limits::default()
        };
        assert!(limits.check().is_err());
    }
}
