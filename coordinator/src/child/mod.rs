//! Work in processes of their own: compiling guests, starting interpreters, and loading functions of strangers.
//!
//! A child is this program again, with a command that nobody types ([`Work`]). It limits itself before it reads what it is
//! to work on (`confine`), says that it is ready, reads its input to the end, writes one answer, and ends; it serves one
//! piece of work. The parent kills it after a deadline and takes so many bytes from it and no more. What a child that
//! loads functions says is believed about that function only.

mod answer;
mod confine;
mod parent;
mod work;

use std::ffi::OsString;
use std::path::PathBuf;

pub use confine::{Confinement, confinement};
pub use parent::{ChildArtifacts, ChildError, ChildImages};
pub use work::run;
pub(crate) use work::{load_outcome, not_a_bundle};

/// The program that works as a child, and how it is told to.
#[derive(Clone, Debug)]
pub struct ChildProgram {
    /// The program.
    pub program: PathBuf,
    /// Arguments that stand before the work's own.
    pub arguments: Vec<OsString>,
}

impl ChildProgram {
    /// This very program, whatever has become of its file, with `arguments` before the work's own.
    pub fn this(arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        let program = match cfg!(target_os = "linux") {
            true => "/proc/self/exe".into(),
            false => std::env::current_exe().unwrap_or_default(),
        };
        Self {
            program,
            arguments: arguments.into_iter().map(Into::into).collect(),
        }
    }
}

/// What a child does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// Starts the interpreter of a guest folder. The answer is the base image.
    Base {
        /// The guest folder.
        guest: PathBuf,
    },
    /// Compiles the guest with the base image that is the input. The answer is the artifact.
    Compile {
        /// The guest folder.
        guest: PathBuf,
        /// Target triple.
        triple: String,
        /// CPU profile.
        profile: String,
    },
    /// Loads the function bundle that is the input. The answer is the function image, or how loading it ended.
    Image {
        /// The manifest of the guest's parts.
        manifest: PathBuf,
        /// Native code.
        artifact: PathBuf,
        /// The base image but for its pages.
        base: PathBuf,
        /// The standard library's archive.
        library: PathBuf,
    },
}

impl Work {
    const BASE: &str = "base";
    const COMPILE: &str = "compile";
    const IMAGE: &str = "image";

    fn arguments(&self) -> Vec<OsString> {
        match self {
            Self::Base { guest } => vec![Self::BASE.into(), guest.into()],
            Self::Compile {
                guest,
                triple,
                profile,
            } => vec![
                Self::COMPILE.into(),
                guest.into(),
                triple.into(),
                profile.into(),
            ],
            Self::Image {
                manifest,
                artifact,
                base,
                library,
            } => vec![
                Self::IMAGE.into(),
                manifest.into(),
                artifact.into(),
                base.into(),
                library.into(),
            ],
        }
    }

    /// The work that these arguments tell; `None` when they tell none.
    pub fn from_arguments(arguments: &[OsString]) -> Option<Self> {
        let (word, rest) = arguments.split_first()?;
        let text = |argument: &OsString| argument.to_str().map(str::to_owned);
        match (word.to_str()?, rest) {
            (Self::BASE, [guest]) => Some(Self::Base {
                guest: guest.into(),
            }),
            (Self::COMPILE, [guest, triple, profile]) => Some(Self::Compile {
                guest: guest.into(),
                triple: text(triple)?,
                profile: text(profile)?,
            }),
            (Self::IMAGE, [manifest, artifact, base, library]) => Some(Self::Image {
                manifest: manifest.into(),
                artifact: artifact.into(),
                base: base.into(),
                library: library.into(),
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_told_by_its_arguments() {
        let all = [
            Work::Base { guest: "g".into() },
            Work::Compile {
                guest: "g".into(),
                triple: "t".into(),
                profile: "p".into(),
            },
            Work::Image {
                manifest: "m".into(),
                artifact: "a".into(),
                base: "b".into(),
                library: "l".into(),
            },
        ];
        for work in all {
            let arguments = work.arguments();
            assert_eq!(Work::from_arguments(&arguments), Some(work));
            assert_eq!(Work::from_arguments(&arguments[1..]), None);
        }
    }
}
