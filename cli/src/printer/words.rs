//! Outcomes in words: what happened, what was allowed, and what can be done about it.

use ppwasm_host::LoadError;
use ppwasm_proto::{Exception, LimitKind, Limits, Outcome, TrapCause};

use crate::exit_code::ExitCode;
use crate::failure::chain;
use crate::settings::{amount, flag};

/// What went wrong with a task, as the end of a sentence that begins with the task. `None` for an exception,
/// which tells itself, and for what did not go wrong.
pub(crate) fn fault(outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::Succeeded { .. } | Outcome::Raised(_) | Outcome::Cancelled => None,
        Outcome::Trapped { cause } => Some(trap(*cause)),
        Outcome::LimitExceeded { limit, allowed } => Some(past_limit(*limit, *allowed)),
        Outcome::Abandoned => {
            Some("was given up: no worker could run it, or it took those down that tried".into())
        }
    }
}

fn past_limit(limit: LimitKind, allowed: u64) -> String {
    let of = amount(limit, allowed);
    let what = match limit {
        LimitKind::Memory => format!("needed more memory than its limit of {of}"),
        LimitKind::WallTime => format!("did not end within its time limit of {of}"),
        LimitKind::CpuTime => format!("computed for longer than its CPU time limit of {of}"),
        LimitKind::Stdout => format!("printed more to standard output than its limit of {of}"),
        LimitKind::Stderr => format!("printed more to standard error than its limit of {of}"),
        LimitKind::Result => format!("gave a result larger than its limit of {of}"),
        LimitKind::ScratchBytes => format!("wrote more to files than its limit of {of}"),
        LimitKind::ScratchFiles => format!("made more files than its limit of {of}"),
    };
    let max = limit.range().1;
    let flag = flag(limit);
    if allowed < max {
        format!("{what}; {flag} can raise it, up to {}", amount(limit, max))
    } else {
        format!("{what}, the most that {flag} allows")
    }
}

fn trap(cause: TrapCause) -> String {
    match cause {
        TrapCause::Exit { code } => {
            format!("ended its interpreter with os._exit({code}), so that there is no result")
        }
        TrapCause::Abort => {
            "aborted: its interpreter called abort(), so that there is no result".into()
        }
        TrapCause::StackOverflow => {
            "was stopped because its stack overflowed; recurse less deeply, or use a loop".into()
        }
        other => format!("was stopped: {other}"),
    }
}

/// Why a function could not be loaded.
#[derive(Debug)]
pub(crate) enum NotLoaded {
    /// Loading it ended so.
    Ended(Outcome),
    /// This machine could not load it.
    Failed(String),
}

impl From<Outcome> for NotLoaded {
    /// From how loading ended somewhere else, as a coordinator tells it.
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Raised(exception) if exception.type_name == Exception::NOT_LOADED => {
                Self::Failed(exception.message)
            }
            outcome => Self::Ended(outcome),
        }
    }
}

impl From<LoadError> for NotLoaded {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Raised(exception) => Self::Ended(Outcome::Raised(exception)),
            LoadError::Trapped(cause) => Self::Ended(Outcome::Trapped { cause }),
            LoadError::LimitExceeded { limit } => {
                let allowed = Limits::default().allowed(limit);
                Self::Ended(Outcome::LimitExceeded { limit, allowed })
            }
            // The enum may grow.
            other => Self::Failed(chain(&other)),
        }
    }
}

/// Whether loading failed because of what the user wrote on the command line or in the file, and not in the
/// course of running it; and what to say.
pub(crate) fn load_error(error: &NotLoaded, file: &str) -> (ExitCode, String) {
    let outcome = match error {
        NotLoaded::Ended(outcome) => outcome,
        NotLoaded::Failed(why) => {
            let text = format!("error: could not load {file}: {why}");
            return (ExitCode::Machine, text);
        }
    };
    match outcome {
        Outcome::Raised(exception) => raised_while_loading(exception, file),
        Outcome::Trapped { cause } => (
            ExitCode::Trapped,
            format!(
                "error: loading {file} failed: the interpreter {}",
                trap(*cause)
            ),
        ),
        Outcome::LimitExceeded { limit, .. } => {
            let text = format!(
                "error: loading {file} went past the {limit} limit of loading; move the work into the function"
            );
            (ExitCode::LimitExceeded, text)
        }
        Outcome::Succeeded { .. } | Outcome::Cancelled | Outcome::Abandoned => {
            (ExitCode::Machine, format!("error: could not load {file}"))
        }
    }
}

fn raised_while_loading(exception: &Exception, file: &str) -> (ExitCode, String) {
    let traceback = exception.traceback.trim_end();
    match exception.type_name.as_str() {
        "ppwasm.NoSuchFunction" | "ppwasm.NotAFunction" => {
            (ExitCode::Usage, format!("error: {}", exception.message))
        }
        // Compiling the file itself leaves no frame above the place of the error.
        "SyntaxError" | "IndentationError" | "TabError" if !traceback.starts_with("Traceback") => (
            ExitCode::Usage,
            format!("error: {file} is not valid Python\n{traceback}"),
        ),
        name => (
            ExitCode::Raised,
            format!("error: loading {file} raised {name}\n{traceback}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_names_its_value_and_its_flag() {
        for limit in LimitKind::ALL {
            let allowed = limit.range().0 + 1;
            let text = past_limit(limit, allowed);
            assert!(
                text.contains(&amount(limit, allowed)) && text.contains(flag(limit)),
                "{text}"
            );
            let most = past_limit(limit, limit.range().1);
            assert!(most.contains("the most that --"), "{most}");
        }
    }
}
