//! From what was typed to what holds: limits with their defaults and ranges checked.

use ppwasm_proto::{LimitKind, LimitUnit, Limits};

use crate::args::Submit;
use crate::failure::{Failure, Result};
use crate::units::{Size, Time};

/// The limits of each task.
pub(crate) fn limits(args: &Submit) -> Result<Limits> {
    let mut limits = Limits::default();
    let sizes = [
        (args.memory, &mut limits.memory_bytes_max),
        (args.output_limit, &mut limits.stdout_bytes_max),
        (args.output_limit, &mut limits.stderr_bytes_max),
        (args.result_limit, &mut limits.result_bytes_max),
        (args.scratch, &mut limits.scratch_bytes_max),
    ];
    for (given, limit) in sizes {
        if let Some(Size(bytes)) = given {
            *limit = bytes;
        }
    }
    limits.scratch_files_max = args.scratch_files.unwrap_or(limits.scratch_files_max);
    // Who raises one of the times does not want to be stopped by the other's default.
    if let Some(Time(time)) = args.time_limit {
        (limits.wall_time_max, limits.cpu_time_max) = (time, time);
    }
    if let Some(Time(time)) = args.cpu_time_limit {
        limits.cpu_time_max = time;
        if args.time_limit.is_none() {
            limits.wall_time_max = limits.wall_time_max.max(time);
        }
    }
    limits.check().map_err(|error| {
        let (min, max) = (
            amount(error.limit, error.min),
            amount(error.limit, error.max),
        );
        let value = amount(error.limit, error.value);
        Failure::usage(format!(
            "{}: {value} is not from {min} to {max}",
            flag(error.limit)
        ))
    })?;
    Ok(limits)
}

/// The flag that sets a limit.
pub(crate) fn flag(limit: LimitKind) -> &'static str {
    match limit {
        LimitKind::Memory => "--memory",
        LimitKind::WallTime => "--time-limit",
        LimitKind::CpuTime => "--cpu-time-limit",
        LimitKind::Stdout | LimitKind::Stderr => "--output-limit",
        LimitKind::Result => "--result-limit",
        LimitKind::ScratchBytes => "--scratch",
        LimitKind::ScratchFiles => "--scratch-files",
    }
}

/// A value of a limit with its unit.
pub(crate) fn amount(limit: LimitKind, value: u64) -> String {
    match limit.unit() {
        LimitUnit::Bytes => Size(value).to_string(),
        LimitUnit::Milliseconds => Time(std::time::Duration::from_millis(value)).to_string(),
        LimitUnit::Files => format!("{value} files"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;

    use super::*;
    use crate::args::{Args, Command};

    fn of(flags: &[&str]) -> Result<Limits> {
        let words = ["ppwasm", "submit", "job.py"].iter().chain(flags);
        let Command::Submit(submit) = Args::parse_from(words).command else {
            panic!()
        };
        limits(&submit)
    }

    #[test]
    fn each_flag_sets_its_limit() {
        assert_eq!(of(&[]).unwrap(), Limits::default());
        let set = of(&[
            "--memory=1GiB",
            "--time-limit=10s",
            "--cpu-time-limit=5s",
            "--output-limit=1KiB",
            "--result-limit=2KiB",
            "--scratch=3KiB",
            "--scratch-files=4",
        ]);
        let wanted = Limits {
            memory_bytes_max: 1 << 30,
            wall_time_max: Duration::from_secs(10),
            cpu_time_max: Duration::from_secs(5),
            stdout_bytes_max: 1 << 10,
            stderr_bytes_max: 1 << 10,
            result_bytes_max: 2 << 10,
            scratch_bytes_max: 3 << 10,
            scratch_files_max: 4,
        };
        assert_eq!(set.unwrap(), wanted);
    }

    #[test]
    fn one_time_raises_the_others_default() {
        let wall = of(&["--time-limit=2h"]).unwrap();
        assert_eq!(wall.cpu_time_max, Duration::from_secs(7200));
        let cpu = of(&["--cpu-time-limit=2h"]).unwrap();
        assert_eq!(cpu.wall_time_max, Duration::from_secs(7200));
        let less = of(&["--cpu-time-limit=1s"]).unwrap();
        assert_eq!(less.wall_time_max, Limits::default().wall_time_max);
    }

    #[test]
    fn a_limit_out_of_range_names_its_flag_and_range() {
        let Err(Failure::Usage(error)) = of(&["--memory=1MiB"]) else {
            panic!()
        };
        assert_eq!(
            error.to_string(),
            "--memory: 1 MiB is not from 64 MiB to 4 GiB"
        );
        let Err(Failure::Usage(error)) = of(&["--time-limit=31d"]) else {
            panic!()
        };
        assert_eq!(
            error.to_string(),
            "--time-limit: 31 d is not from 1 ms to 30 d"
        );
    }
}
