//! Runs the program in a folder of its own, and never waits for ever.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Time for tasks of which one spins to its end: what the others do takes milliseconds, also on a machine that stands still
/// for two seconds.
pub(crate) const SPIN_LIMIT: &str = "4s";
/// No run says nothing for so long, not even one that compiles the guest on a slow and busy machine.
const DEADLINE: Duration = Duration::from_secs(1200);

/// A folder with the files of a test.
pub(crate) struct Folder(TempDir);

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) raw_stdout: Vec<u8>,
}

impl Folder {
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (name, contents) in files {
            folder.write(name, contents);
        }
        folder
    }

    /// A folder with one program, `job.py`.
    pub(crate) fn job(source: &str) -> Self {
        Self::new(&[("job.py", source)])
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, contents).unwrap();
        path
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ppwasm"));
        command.args(args).current_dir(self.path());
        // Whoever runs the tests may have logged in somewhere.
        command.env("PPWASM_CONFIG_DIR", self.path().join("config"));
        command
    }

    pub(crate) fn ppwasm(&self, args: &[&str]) -> Run {
        self.ppwasm_with(args, b"")
    }

    /// Runs it with something on standard input.
    pub(crate) fn ppwasm_with(&self, args: &[&str], stdin: &[u8]) -> Run {
        finish(self.command(args), stdin)
    }

    pub(crate) fn submit(&self, args: &[&str]) -> Run {
        self.ppwasm(&[&["submit"], args].concat())
    }
}

/// Runs a command to its end.
pub(crate) fn finish(mut command: Command, stdin: &[u8]) -> Run {
    let mut running = Running::start(&mut command);
    running.give(stdin);
    running.end()
}

/// A program that runs.
pub(crate) struct Running {
    child: Child,
    stdout: Collected,
    stderr: Collected,
}

/// Output as it comes.
struct Collected {
    pieces: Receiver<Vec<u8>>,
    bytes: Vec<u8>,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let piped = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        let stdout = Collected::from(child.stdout.take().unwrap());
        let stderr = Collected::from(child.stderr.take().unwrap());
        Self {
            child,
            stdout,
            stderr,
        }
    }

    /// Gives it this on standard input, and no more.
    pub(crate) fn give(&mut self, bytes: &[u8]) {
        let mut stdin = self.child.stdin.take().unwrap();
        // It may have ended without reading.
        let _ = stdin.write_all(bytes);
    }

    /// Gives it this on standard input; more may follow.
    pub(crate) fn give_some(&mut self, bytes: &[u8]) {
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(bytes).and_then(|()| stdin.flush()).unwrap();
    }

    /// Waits until it has printed this on standard output.
    pub(crate) fn wait_for(&mut self, text: &str) {
        let is_there = self.stdout.until(text);
        assert!(is_there, "ended without printing {text:?}: {}", self.text());
    }

    /// Waits until it has said this on standard error.
    pub(crate) fn wait_for_said(&mut self, text: &str) {
        let is_there = self.stderr.until(text);
        assert!(is_there, "ended without saying {text:?}: {}", self.text());
    }

    fn text(&self) -> String {
        let all = [&self.stdout.bytes[..], b"\n", &self.stderr.bytes].concat();
        String::from_utf8_lossy(&all).into_owned()
    }

    /// Closes our end of its standard output.
    pub(crate) fn close_stdout(&mut self) {
        self.stdout.pieces = channel().1;
    }

    /// The most memory that it has had so far.
    pub(crate) fn peak_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Waits until it has used the processor for 200 ms from now on: more than anything takes but a task that spins.
    pub(crate) fn wait_until_it_spins(&self) {
        const TICKS: u64 = 20;
        let start = Instant::now();
        let before = self.processor_ticks();
        while self.processor_ticks() < before + TICKS {
            assert!(start.elapsed() < DEADLINE, "it does not spin");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// The time that it has used the processor for, in hundredths of a second (proc(5), `utime` and `stime`).
    fn processor_ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        // The name is in parentheses, may have spaces, and is the second field.
        let (_, after_name) = stat.rsplit_once(") ").unwrap();
        let mut fields = after_name.split(' ').skip(11);
        (0..2)
            .map(|_| fields.next().unwrap().parse::<u64>().unwrap())
            .sum()
    }

    pub(crate) fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(
            Command::new("sh")
                .args(["-c", &kill])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Waits for its end, with nothing more on standard input.
    pub(crate) fn end(mut self) -> Run {
        drop(self.child.stdin.take());
        self.end_with_open_stdin()
    }

    /// Waits for its end while more might still come on standard input.
    pub(crate) fn end_with_open_stdin(mut self) -> Run {
        while self.stdout.more() {}
        while self.stderr.more() {}
        let status = self.child.wait().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Run {
            code: code(status),
            stdout: text(&self.stdout.bytes),
            stderr: text(&self.stderr.bytes),
            raw_stdout: std::mem::take(&mut self.stdout.bytes),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // After a failed test it may still run.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Collected {
    fn from(mut source: impl Read + Send + 'static) -> Self {
        let (sender, pieces) = channel();
        thread::spawn(move || {
            let mut buffer = vec![0; 1 << 16];
            while let Ok(length @ 1..) = source.read(&mut buffer) {
                if sender.send(buffer[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self {
            pieces,
            bytes: Vec::new(),
        }
    }

    /// Waits until this has come; false when the end comes first.
    fn until(&mut self, text: &str) -> bool {
        while !String::from_utf8_lossy(&self.bytes).contains(text) {
            if !self.more() {
                return false;
            }
        }
        true
    }

    /// Waits for more; false at the end.
    fn more(&mut self) -> bool {
        use std::sync::mpsc::RecvTimeoutError;
        match self.pieces.recv_timeout(DEADLINE) {
            Ok(piece) => {
                self.bytes.extend(piece);
                true
            }
            Err(RecvTimeoutError::Disconnected) => false,
            Err(RecvTimeoutError::Timeout) => panic!("nothing happened for {DEADLINE:?}"),
        }
    }
}

#[cfg(unix)]
fn code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| -status.signal().unwrap())
}

impl Run {
    /// Everything went well: this on standard output, nothing on standard error.
    #[track_caller]
    pub(crate) fn prints(&self, stdout: &str) {
        assert_eq!(
            (self.code, self.stdout.as_str()),
            (0, stdout),
            "{}",
            self.stderr
        );
        assert_eq!(self.said(), "");
    }

    /// What it said, but for the line of a machine's first run.
    pub(crate) fn said(&self) -> String {
        let first = "preparing the sandbox for this machine, once; this takes some seconds\n";
        self.stderr.replacen(first, "", 1)
    }

    /// It ended with this code and said this in one line.
    #[track_caller]
    pub(crate) fn fails(&self, code: i32, line: &str) {
        assert_eq!(
            (self.code, self.said().as_str()),
            (code, format!("{line}\n").as_str())
        );
    }

    /// It ended with this code, nothing on standard output, and said this among other things.
    #[track_caller]
    pub(crate) fn says(&self, code: i32, texts: &[&str]) {
        assert_eq!(self.code, code, "{}{}", self.stdout, self.stderr);
        for text in texts {
            assert!(
                self.stderr.contains(text),
                "{text:?} is not in: {}",
                self.stderr
            );
        }
    }
}
