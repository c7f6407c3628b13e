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
    equal: bool,
}

/// The geometric mean over pyperformance's pure-Python benchmarks.
///
/// # Errors
///
/// The comparison could not be made, or a benchmark computed something else in the guest.
pub fn geomean(settings: &Settings) -> anyhow::Result<Vec<Record>> {
    let (time, note) = compare(settings, "time")?;
    let record = Record::lower("guest_slowdown_geomean", time, "ratio")
        .reach(2.0)
        .note(note);
    Ok(vec![record])
}

fn compare(settings: &Settings, cost: &str) -> anyhow::Result<(f64, String)> {
    let json = settings
        .checkout
        .join(format!("target/bench/slowdown-{cost}.json"));
    let mut command = Command::new("python3");
    command
        .current_dir(&settings.checkout)
        .arg("benches/slowdown.py")
        .arg("--json")
        .arg(&json);
    if let Some(guest) = &settings.guest {
        command.arg("--guest").arg(guest);
    }
    if settings.quick {
        command
            .args(["--quick", "--rounds", "1", "--only"])
            .args(QUICK);
    }
    let status = command.status().context("could not start python3")?;
    let text = std::fs::read(&json)
        .with_context(|| format!("slowdown.py left no figures and ended with {status}"))?;
    let comparison: Comparison = serde_json::from_slice(&text)?;
    ensure!(
        comparison.rows.iter().all(|row| row.equal),
        "a benchmark computed something else in the guest"
    );
    let mut note = format!(
        "against {}, {} benchmarks",
        comparison.before,
        comparison.rows.len()
    );
    if !comparison.failed.is_empty() {
        let names: Vec<_> = comparison.failed.keys().map(String::as_str).collect();
        note += &format!("; failed: {}", names.join(", "));
    }
    Ok((comparison.geomean, note))
}
