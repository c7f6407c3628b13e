//! Exact counts of instructions, by running under valgrind.
//!
//! Counters of the processor are out of reach on most virtual machines; valgrind counts everywhere, and what it counts
//! is the same whatever else runs. It does not see the kernel.

use std::io::Read;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use crate::record::Record;
use crate::{Settings, noop, with_guest_stack};

const FEW_CALLS: usize = 300;
const MANY_CALLS: usize = 1_300;

/// Whether there is a valgrind.
#[must_use]
pub fn can_count() -> bool {
    let quiet = || Stdio::null();
    Command::new("valgrind")
        .arg("--version")
        .stdout(quiet())
        .stderr(quiet())
        .status()
        .is_ok_and(|status| status.success())
}

/// Instructions of one fresh call: of many calls, less those of few.
///
/// # Errors
///
/// No guest runs under valgrind, or an answer was wrong.
pub fn fresh_call(settings: &Settings) -> anyhow::Result<Vec<Record>> {
    let name = "fresh_call_instructions";
    if !can_count() {
        return Ok(vec![Record::absent(name, "valgrind is not installed")]);
    }
    // Compiling the guest takes an hour under valgrind: it has to be in the cache.
    drop(settings.host(0)?);
    let few = count(settings, FEW_CALLS)?;
    let many = count(settings, MANY_CALLS)?;
    let each = many.saturating_sub(few) as f64 / (MANY_CALLS - FEW_CALLS) as f64;
    Ok(vec![Record::new(name, each).note("user space")])
}

/// Makes so many calls: what runs under valgrind.
///
/// # Errors
///
/// No guest runs here, or an answer was wrong.
pub fn make_calls(settings: &Settings, calls: usize) -> anyhow::Result<()> {
    let host = settings.host(0)?;
    let function = noop::load(&host)?;
    let answer = noop::answer(41)?;
    with_guest_stack(|| {
        let mut slot = host.slot()?;
        (0..calls).try_for_each(|_| noop::check(&slot.run(&function, noop::task(41))?, &answer))
    })
}

fn count(settings: &Settings, calls: usize) -> anyhow::Result<u64> {
    let mut log = tempfile::NamedTempFile::new()?;
    let mut command = Command::new("valgrind");
    command
        .args([
            "--tool=cachegrind",
            "--cache-sim=no",
            "--cachegrind-out-file=/dev/null",
        ])
        .arg(format!("--log-file={}", log.path().display()))
        .arg(std::env::current_exe()?)
        .arg("--make-calls")
        .arg(calls.to_string());
    if let Some(guest) = &settings.guest {
        command.arg("--guest").arg(guest);
    }
    let status = command.status().context("could not start valgrind")?;
    ensure!(status.success(), "valgrind ended with {status}");
    let mut text = String::new();
    log.read_to_string(&mut text)?;
    let (_, rest) = text
        .split_once("refs:")
        .context("valgrind did not tell how many instructions there were")?;
    let digits = rest
        .split_whitespace()
        .next()
        .unwrap_or_default()
        .replace(',', "");
    Ok(digits.parse()?)
}
