//! A process that a benchmark has started, watched from outside.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, ensure};

use crate::Settings;
use crate::system::{Running, other_process_cpu_ns, set_running};

/// A process that ends with this value.
pub struct Process {
    child: Child,
    /// It ends by itself when this is closed.
    input: Option<ChildStdin>,
}

/// The program that coordinators and workers are run with.
pub(super) fn fabric_side(settings: &Settings) -> anyhow::Result<Command> {
    let own = std::env::current_exe()?;
    let mut command = Command::new(own.with_file_name("fabric-side"));
    if let Some(guest) = &settings.guest {
        command.env("PPWASM_GUEST_DIR", guest);
    }
    Ok(command)
}

impl Process {
    /// Starts it and waits for its first line.
    pub(super) fn start(mut command: Command) -> anyhow::Result<(Self, String)> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command
            .spawn()
            .with_context(|| format!("could not start {}", command.get_program().display()))?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let process = Self { child, input };
        let mut line = String::new();
        BufReader::new(output.context("it has no stdout")?).read_line(&mut line)?;
        ensure!(
            !line.is_empty(),
            "{} has ended",
            command.get_program().display()
        );
        Ok((process, line.trim().to_owned()))
    }

    /// Its number in the system.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended by itself.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        let path = format!("/proc/{}/stat", self.number());
        // The name stands in parentheses and may hold anything. What has ended and was not waited for is a zombie.
        let state = std::fs::read_to_string(path).ok();
        let state = state.as_deref().and_then(|line| line.rsplit_once(") "));
        state.is_none_or(|(_, rest)| rest.starts_with('Z'))
    }

    /// CPU time that it has used, in microseconds.
    ///
    /// # Errors
    ///
    /// It has ended.
    pub fn cpu_us(&self) -> anyhow::Result<f64> {
        Ok(other_process_cpu_ns(self.number())? as f64 / 1e3)
    }

    /// Memory of its own that it has in use, in bytes.
    ///
    /// # Errors
    ///
    /// It has ended, or the kernel does not tell.
    pub fn memory_bytes(&self) -> anyhow::Result<u64> {
        let path = format!("/proc/{}/status", self.number());
        let text = std::fs::read_to_string(path)?;
        let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kib = line.and_then(|line| line.split_whitespace().next());
        let kib: u64 = kib.context("the kernel does not tell")?.parse()?;
        Ok(kib * 1024)
    }

    /// Stops it, or lets it go on.
    ///
    /// # Errors
    ///
    /// It has ended.
    pub fn set_running(&self, running: Running) -> anyhow::Result<()> {
        Ok(set_running(self.number(), running)?)
    }

    /// Lets it end by itself.
    ///
    /// # Errors
    ///
    /// It fails.
    pub fn stop(mut self) -> anyhow::Result<()> {
        drop(self.input.take());
        let status = self.child.wait()?;
        ensure!(status.success(), "it ended with {status}");
        Ok(())
    }

    /// Ends it with SIGKILL.
    ///
    /// # Errors
    ///
    /// The system does not let it.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
