//! Why a command ended before it could do its work: one line for the user, one exit code.

use std::fmt;

use crate::exit_code::ExitCode;
use crate::visible;

/// A command that could not be carried out.
#[derive(Debug)]
pub(crate) enum Failure {
    /// What the user gave is wrong, and how.
    Usage(anyhow::Error),
    /// This machine could not do it.
    Machine(anyhow::Error),
    /// The coordinator could not be reached, or refused.
    Cluster(anyhow::Error),
    /// Whoever read the output has gone; there is nobody to tell.
    OutputClosed,
    /// Told already.
    Told(ExitCode),
}

/// What most of this crate gives back.
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    /// A usage error from its text.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self::Usage(anyhow::anyhow!("{message}"))
    }

    /// A failure of the cluster from its text.
    pub(crate) fn cluster(message: impl fmt::Display) -> Self {
        Self::Cluster(anyhow::anyhow!("{message}"))
    }

    /// Prints the line and gives the exit code.
    pub(crate) fn tell(self) -> ExitCode {
        let (error, code) = match self {
            Self::Usage(error) => (error, ExitCode::Usage),
            Self::Machine(error) => (error, ExitCode::Machine),
            Self::Cluster(error) => (error, ExitCode::Cluster),
            Self::OutputClosed => return ExitCode::OutputClosed,
            Self::Told(code) => return code,
        };
        visible::note(&format!("error: {}", visible::line(&format!("{error:#}"))));
        code
    }
}

/// An error and its causes as one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    let mut line = error.to_string();
    for cause in causes.map(ToString::to_string) {
        // A transparent error is its cause.
        if !line.ends_with(&cause) {
            line = format!("{line}: {cause}");
        }
    }
    line
}

/// Says of an error what it means for the command.
pub(crate) trait Because<T> {
    /// The user's input is at fault.
    fn usage(self, what: impl fmt::Display) -> Result<T>;
    /// This machine is.
    fn machine(self, what: impl fmt::Display) -> Result<T>;
}

impl<T, E: Into<anyhow::Error>> Because<T> for std::result::Result<T, E> {
    fn usage(self, what: impl fmt::Display) -> Result<T> {
        self.map_err(|error| Failure::Usage(error.into().context(what.to_string())))
    }

    fn machine(self, what: impl fmt::Display) -> Result<T> {
        self.map_err(|error| Failure::Machine(error.into().context(what.to_string())))
    }
}
