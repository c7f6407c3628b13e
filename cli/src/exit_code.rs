//! What the shell is told. The table is part of the interface: `docs/cli.md`.

use ppwasm_proto::{Exception, Outcome, TrapCause};

/// How the command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExitCode {
    /// Every task succeeded.
    Succeeded,
    /// A task, or loading the file, raised an exception.
    Raised,
    /// A check found something that is wrong.
    Found,
    /// The command line, a file or an input is wrong; no task ran.
    Usage,
    /// A task went past a limit.
    LimitExceeded,
    /// A task's sandbox stopped.
    Trapped,
    /// This machine could not run the job.
    Machine,
    /// The coordinator could not be reached, or refused, or the job was cancelled by somebody else.
    Cluster,
    /// A signal cancelled the job: 2 for Ctrl-C, 15 for SIGTERM.
    Cancelled(u8),
    /// Whoever read the output has gone.
    OutputClosed,
    /// The script's own code, 1 to 255.
    Script(u8),
}

/// The table as `--help` shows it.
pub(crate) const HELP: &str = "\
Exit codes:
    0  every task succeeded
    1  a task raised an exception, or loading the file did
    2  the command line, a file or an input is wrong; nothing ran
    3  a task went past a limit
    4  a task's sandbox stopped (abort, stack overflow, os._exit)
    5  this machine could not run the job
    6  the coordinator could not be reached or refused, or somebody else cancelled the job
  130  cancelled by Ctrl-C (143 by SIGTERM, 141 because the reader of the output has gone)
When tasks end in several ways, the first one in task order that did not succeed counts.
A script that ends with sys.exit(N) or os._exit(N), N from 1 to 255, gives N.";

impl From<ExitCode> for i32 {
    fn from(code: ExitCode) -> Self {
        match code {
            ExitCode::Succeeded => 0,
            ExitCode::Raised | ExitCode::Found => 1,
            ExitCode::Usage => 2,
            ExitCode::LimitExceeded => 3,
            ExitCode::Trapped => 4,
            ExitCode::Machine => 5,
            ExitCode::Cluster => 6,
            ExitCode::Cancelled(signal) => 128 + Self::from(signal),
            ExitCode::OutputClosed => 141,
            ExitCode::Script(code) => code.into(),
        }
    }
}

impl ExitCode {
    /// What a task's outcome means, had it been the only one.
    pub(crate) fn of(outcome: &Outcome, is_script: bool) -> Self {
        match outcome {
            Outcome::Succeeded { .. } => Self::Succeeded,
            Outcome::Raised(Exception {
                exit_code: Some(code),
                ..
            }) if is_script => Self::of_script(*code),
            Outcome::Raised(_) => Self::Raised,
            Outcome::Trapped {
                cause: TrapCause::Exit {
                    code: code @ 1..=255,
                },
            } if is_script => Self::of_script((*code).into()),
            Outcome::Trapped { .. } => Self::Trapped,
            Outcome::LimitExceeded { .. } => Self::LimitExceeded,
            // Only a signal or another task's failure cancels, and those decide.
            Outcome::Cancelled => Self::Succeeded,
            Outcome::Abandoned => Self::Machine,
        }
    }

    /// As a process's: the low 8 bits count.
    fn of_script(code: i64) -> Self {
        match code.rem_euclid(256) {
            0 if code == 0 => Self::Succeeded,
            0 => Self::Raised,
            code => u8::try_from(code).map_or(Self::Raised, Self::Script),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scripts_own_code_counts_and_a_functions_does_not() {
        let exit = |code| {
            Outcome::Raised(Exception {
                type_name: "SystemExit".into(),
                exit_code: Some(code),
                ..Exception::default()
            })
        };
        let cases = [(0, 0), (1, 1), (3, 3), (255, 255), (256, 1), (-1, 255)];
        for (code, wanted) in cases {
            assert_eq!(i32::from(ExitCode::of(&exit(code), true)), wanted, "{code}");
            assert_eq!(ExitCode::of(&exit(code), false), ExitCode::Raised, "{code}");
        }
    }

    #[test]
    fn os_exit_is_a_scripts_code_unless_it_is_zero() {
        let exit = |code| Outcome::Trapped {
            cause: TrapCause::Exit { code },
        };
        assert_eq!(ExitCode::of(&exit(3), true), ExitCode::Script(3));
        assert_eq!(ExitCode::of(&exit(0), true), ExitCode::Trapped);
        assert_eq!(ExitCode::of(&exit(3), false), ExitCode::Trapped);
    }

    #[test]
    fn every_code_is_in_the_help() {
        let codes = [
            ExitCode::Succeeded,
            ExitCode::Raised,
            ExitCode::Usage,
            ExitCode::LimitExceeded,
            ExitCode::Trapped,
            ExitCode::Machine,
            ExitCode::Cluster,
            ExitCode::Cancelled(2),
            ExitCode::Cancelled(15),
            ExitCode::OutputClosed,
        ];
        for code in codes.map(i32::from) {
            let words = || HELP.split(|c: char| !c.is_ascii_digit());
            assert!(words().any(|word| word == code.to_string()), "{code}");
        }
    }
}
