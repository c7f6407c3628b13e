//! The guest against a native interpreter: `slowdown.py` measures, this reads what it found.

use std::process::Command;

use anyhow::{Context, ensure};
use serde::Deserialize;

use crate::Settings;
use crate::record::Record;

/// Benchmarks of a quick run: a few of different kinds.
const QUICK: [&str; 5] = [
    "^nbody$",
    "^richards$",
    "^deltablue$",
    "^json_loads$",
    "^regex_v8$",
];

#[derive(Deserialize)]
struct Comparison {
    before: String,
    geomean: f64,
    rows: Vec<Row>,
    failed: std::collections::BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Row {
    name: String,
    equal: bool,
}

/// The geometric mean over pyperformance's pure-Python benchmarks, by CPU time.
///
/// # Errors
///
/// The comparison could not be made, or a benchmark computed something else in the guest.
pub fn by_time(settings: &Settings) -> anyhow::Result<Vec<Record>> {
    compare(settings, "guest_slowdown_geomean", &[])
}

/// The same by instructions, which no other load of the machine changes.
///
/// # Errors
///
/// As for [`by_time`].
pub fn by_instructions(settings: &Settings) -> anyhow::Result<Vec<Record>> {
    let name = "guest_slowdown_instructions_geomean";
    if !crate::instructions::can_count() {
        return Ok(vec![Record::absent(name, "valgrind is not installed")]);
    }
    compare(settings, name, &["--instructions"])
}

fn compare(settings: &Settings, name: &str, options: &[&str]) -> anyhow::Result<Vec<Record>> {
    let json = settings.checkout.join(format!("target/bench/{name}.json"));
    let mut command = Command::new("python3");
    command
        .current_dir(&settings.checkout)
        .arg("benches/slowdown.py")
        .arg("--json")
        .arg(&json);
    command.args(options);
    if let Some(guest) = &settings.guest {
        command.arg("--guest").arg(guest);
    }
    if settings.quick {
        command
            .args(["--quick", "--rounds", "1", "--only"])
            .args(QUICK);
    }
    // Figures of an earlier run are not this one's. There need not be any.
    let _ = std::fs::remove_file(&json);
    let status = command
        .stdout(std::io::stderr())
        .status()
        .context("could not start python3")?;
    let text = std::fs::read(&json)
        .with_context(|| format!("slowdown.py left no figures and ended with {status}"))?;
    let comparison: Comparison = serde_json::from_slice(&text)?;
    let different: Vec<_> = comparison
        .rows
        .iter()
        .filter(|row| !row.equal)
        .map(|row| row.name.as_str())
        .collect();
    ensure!(
        different.is_empty(),
        "computed something else in the guest: {}",
        different.join(", ")
    );
    let failed: Vec<_> = comparison.failed.keys().map(String::as_str).collect();
    ensure!(
        failed.is_empty(),
        "did not run in the guest: {}",
        failed.join(", ")
    );
    let note = format!(
        "against {}, {} benchmarks",
        comparison.before,
        comparison.rows.len()
    );
    Ok(vec![Record::new(name, comparison.geomean).note(note)])
}
