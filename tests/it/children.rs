//! Tests in processes of their own: this test program, started again for one ignored test.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// Set in a child: what its parent has to tell it.
const VARIABLE: &str = "PPWASM_TEST_CHILD";

/// What the parent said, in a child; nothing in an ordinary run of the ignored tests.
pub(crate) fn child() -> Option<String> {
    std::env::var(VARIABLE).ok()
}

/// A process that runs one test of this program.
pub(crate) struct Child {
    test: &'static str,
    command: Command,
}

impl Child {
    /// A process for the ignored test of this path.
    pub(crate) fn new(test: &'static str) -> Self {
        Self::of(std::env::current_exe().expect("a path"), test)
    }

    /// The same with the program at another path.
    pub(crate) fn of(program: PathBuf, test: &'static str) -> Self {
        let mut command = Command::new(program);
        command
            .args([
                test,
                "--exact",
                "--ignored",
                "--nocapture",
                "--test-threads=1",
            ])
            .env(VARIABLE, "")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Self { test, command }
    }

    /// Tells it something.
    pub(crate) fn told(mut self, what: impl AsRef<OsStr>) -> Self {
        self.command.env(VARIABLE, what);
        self
    }

    /// Sets a variable of its environment.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Starts it.
    pub(crate) fn start(mut self) -> Started {
        let child = self.command.spawn().expect("starts");
        Started {
            test: self.test,
            child,
        }
    }

    /// Runs it to its end, which has to be a good one; what it printed.
    pub(crate) fn succeeds(self) -> String {
        self.start().succeeds()
    }
}

/// A process that runs.
pub(crate) struct Started {
    test: &'static str,
    child: std::process::Child,
}

impl Started {
    /// Waits for its end, which has to be a good one; what it printed.
    pub(crate) fn succeeds(self) -> String {
        let Output {
            status,
            stdout,
            stderr,
        } = self.child.wait_with_output().expect("ends");
        let (stdout, stderr) = (
            String::from_utf8_lossy(&stdout),
            String::from_utf8_lossy(&stderr),
        );
        assert!(
            status.success(),
            "{}: {status}\n{stdout}{stderr}",
            self.test
        );
        // A name that has changed would run nothing and succeed.
        assert!(
            stdout.contains("1 passed"),
            "{} ran nothing\n{stdout}",
            self.test
        );
        stdout.into_owned()
    }
}
