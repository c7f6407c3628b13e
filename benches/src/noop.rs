//! The function that calls are measured with, and the check of what it returns.

use anyhow::{Context, bail};
use ppwasm_host::{Function, Host, Report, Task};
use ppwasm_proto::{Call, FunctionBundle, Outcome, Value};

const SOURCE: &str = "def f(x):\n    return x + 1\n";

/// A bundle of the function that adds one. Another `variant` is another function: its image is not known yet.
///
/// # Errors
///
/// Never: the names are good.
pub fn bundle(variant: usize) -> anyhow::Result<FunctionBundle> {
    let source = format!("# {variant}\n{SOURCE}");
    Ok(FunctionBundle::function("job", "job.py", source, "f")?)
}

/// The function, loaded.
///
/// # Errors
///
/// It could not be loaded.
pub fn load(host: &Host) -> anyhow::Result<Function> {
    Ok(host.load(&bundle(0)?)?)
}

/// The task that calls it with `x`.
#[must_use]
pub fn task(x: i64) -> Task {
    Task::new(Call::with_args([x]))
}

/// The bytes that a right answer to `task(x)` has.
///
/// # Errors
///
/// Never: an integer can be encoded.
pub fn answer(x: i64) -> anyhow::Result<Vec<u8>> {
    Value::from(x + 1).encode().context("an integer")
}

/// Whether a run gave that answer, compared as bytes: encoding is deterministic.
#[must_use]
pub fn is_right(report: &Report, answer: &[u8]) -> bool {
    matches!(&report.outcome, Outcome::Succeeded { value } if value.as_bytes() == answer)
}

/// Fails unless the run gave the right answer.
///
/// # Errors
///
/// It did not.
pub fn check(report: &Report, answer: &[u8]) -> anyhow::Result<()> {
    if !is_right(report, answer) {
        bail!("wrong answer: {:?}", report.outcome);
    }
    Ok(())
}
