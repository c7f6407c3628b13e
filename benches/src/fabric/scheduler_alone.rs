//! The scheduler without anything around it: its example, which checks that every task ends once.

use std::process::Command;

use anyhow::{Context, ensure};

use crate::Settings;
use crate::record::Record;

const TASKS: usize = 1_000_000;
const WORKERS: usize = 1_000;

/// Tasks per second with a thousand simulated workers.
///
/// # Errors
///
/// The example does not run, or a task did not end once.
pub fn tasks(settings: &Settings) -> anyhow::Result<Vec<Record>> {
    let name = "workers_1000_sim";
    let program = std::env::current_exe()?.with_file_name("examples/throughput");
    if !program.exists() {
        let why = "not built: cargo build -p ppwasm-scheduler --example throughput";
        return Ok(vec![Record::absent(name, why)]);
    }
    let tasks = settings.repetitions(TASKS);
    let output = Command::new(&program)
        .args([tasks.to_string(), WORKERS.to_string()])
        .output()
        .with_context(|| format!("could not start {}", program.display()))?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8_lossy(&output.stdout);
    let rate = text.split_whitespace().nth(2).context("it said nothing")?;
    let note = format!("{tasks} tasks, {WORKERS} workers, no I/O");
    Ok(vec![Record::new(name, rate.parse()?).note(note)])
}
