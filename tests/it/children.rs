//! Tests in processes of their own: this test program, started again for one test, which finds out by its environment
//! that it is to be the child.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// Set in a child: which test it is to be the child of.
const TEST: &str = "PPWASM_TEST_CHILD";
/// Set in a child: what its parent has to tell it.
const TOLD: &str = "PPWASM_TEST_TOLD";

/// In the child of this test, what the parent said; nothing in the test itself.
pub(crate) fn child_of(test: &str) -> Option<String> {
    if std::env::var(TEST).ok()? != test {
        return None;
    }
    std::env::var(TOLD).ok()
}

/// Runs the body of a test in a process that does nothing else. `test` is the path of the test that calls this.
pub(crate) fn alone(test: &'static str, body: impl FnOnce()) {
    match child_of(test) {
        Some(_) => body(),
        None => {
            Child::of_test(test).succeeds();
        }
    }
}

/// A process that runs one test of this program.
pub(crate) struct Child {
    test: &'static str,
    command: Command,
}

impl Child {
    /// A process for the test of this path, which has to ask whether it is its own child.
    pub(crate) fn of_test(test: &'static str) -> Self {
        Self::of(std::env::current_exe().expect("a path"), test)
    }

    /// The same with the program at another path.
    pub(crate) fn of(program: PathBuf, test: &'static str) -> Self {
        let mut command = Command::new(program);
        command
            .args([test, "--exact", "--nocapture", "--test-threads=1"])
            .env(TEST, test)
            .env(TOLD, "")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Self { test, command }
    }

    /// Tells it something.
    pub(crate) fn told(mut self, what: impl AsRef<OsStr>) -> Self {
        self.command.env(TOLD, what);
        self
    }

    /// Sets a variable of its environment.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Leaves it so many addresses.
    #[cfg(all(target_os = "linux", not(feature = "portable")))]
    pub(crate) fn with_addresses(mut self, bytes: u64) -> Self {
        let mut shell = Command::new("sh");
        shell
            .args(["-c", "ulimit -v \"$0\" && exec \"$@\""])
            .arg((bytes >> 10).to_string())
            .arg(self.command.get_program())
            .args(self.command.get_args())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        for (name, value) in self.command.get_envs() {
            if let Some(value) = value {
                shell.env(name, value);
            }
        }
        self.command = shell;
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
