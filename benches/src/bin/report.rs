//! Measures and writes `target/bench/report.json`: `report [--quick] [--only NAME…] [--list] [--guest DIR]`.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use ppwasm_benches::figures::{FIGURES, GROUPS, Group};
use ppwasm_benches::record::{Record, table};
use ppwasm_benches::{Settings, instructions};

#[derive(Default)]
struct Arguments {
    quick: bool,
    list: bool,
    only: Vec<String>,
    guest: Option<PathBuf>,
    output: Option<PathBuf>,
    make_calls: Option<usize>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse()?;
    if arguments.list {
        FIGURES
            .iter()
            .for_each(|figure| println!("{}", figure.name));
        return Ok(());
    }
    ppwasm_benches::check_system()?;
    let settings = arguments.settings()?;
    if let Some(calls) = arguments.make_calls {
        return instructions::make_calls(&settings, calls);
    }
    eprintln!("load average {}", load_average());
    let (records, failures) = measure(&arguments, &settings);
    eprintln!("load average {}", load_average());
    print!("{}", table(&records));
    let output = arguments
        .output
        .unwrap_or_else(|| settings.checkout.join("target/bench/report.json"));
    if let Some(folder) = output.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let json = serde_json::to_string_pretty(&records)?;
    std::fs::write(&output, json + "\n")
        .with_context(|| format!("could not write {}", output.display()))?;
    ensure!(
        failures.is_empty(),
        "not measured:\n  {}",
        failures.join("\n  ")
    );
    Ok(())
}

/// A record for each figure, taken or not, and what went wrong.
fn measure(arguments: &Arguments, settings: &Settings) -> (Vec<Record>, Vec<String>) {
    let mut records: Vec<_> = FIGURES.iter().map(Record::missing).collect();
    let mut failures = Vec::new();
    for group in &GROUPS {
        let note = if arguments.wants(group) {
            eprintln!("measuring {}", group.names.join(", "));
            match (group.measure)(settings) {
                Ok(found) => {
                    for record in found {
                        records
                            .iter_mut()
                            .filter(|known| known.name == record.name)
                            .for_each(|known| *known = record.clone());
                    }
                    "not to be had here".to_owned()
                }
                Err(error) => {
                    failures.push(format!("{}: {error:#}", group.names.join(", ")));
                    format!("failed: {error:#}")
                }
            }
        } else {
            "not asked for".to_owned()
        };
        for record in records
            .iter_mut()
            .filter(|record| group.names.contains(&record.name))
        {
            if record.value.is_none() && record.note.is_none() {
                record.note = Some(note.clone());
            }
        }
    }
    (records, failures)
}

fn load_average() -> String {
    std::fs::read_to_string("/proc/loadavg")
        .unwrap_or_default()
        .trim()
        .to_owned()
}

impl Arguments {
    fn parse() -> anyhow::Result<Self> {
        let mut parsed = Self::default();
        let mut arguments = std::env::args().skip(1).peekable();
        while let Some(argument) = arguments.next() {
            let mut value = || {
                arguments
                    .next()
                    .with_context(|| format!("{argument} needs a value"))
            };
            match argument.as_str() {
                "--quick" => parsed.quick = true,
                "--list" => parsed.list = true,
                "--guest" => parsed.guest = Some(value()?.into()),
                "--output" => parsed.output = Some(value()?.into()),
                "--make-calls" => parsed.make_calls = Some(value()?.parse()?),
                "--only" => {
                    while let Some(name) = arguments.next_if(|next| !next.starts_with("--")) {
                        parsed.only.push(name);
                    }
                }
                other => bail!(
                    "unknown argument {other}; there are --quick, --only NAME…, --list, --guest DIR, --output FILE"
                ),
            }
        }
        let is_known =
            |wanted: &&String| FIGURES.iter().any(|figure| figure.name == wanted.as_str());
        if let Some(unknown) = parsed.only.iter().find(|wanted| !is_known(wanted)) {
            bail!("no figure {unknown}; --list shows them");
        }
        Ok(parsed)
    }

    fn wants(&self, group: &Group) -> bool {
        if self.only.is_empty() {
            return !(group.long && self.quick);
        }
        group
            .names
            .iter()
            .any(|name| self.only.iter().any(|wanted| wanted == name))
    }

    fn settings(&self) -> anyhow::Result<Settings> {
        let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let variable = |name: &str| std::env::var(name).ok();
        Ok(Settings {
            quick: self.quick,
            guest: self.guest.clone(),
            python: variable("PPWASM_BENCH_NATIVE").map_or_else(|| "python3".into(), PathBuf::from),
            python_kind: variable("PPWASM_BENCH_NATIVE_KIND")
                .unwrap_or_else(|| "python3 on PATH".into()),
            peers: variable("PPWASM_BENCH_PEERS").map(PathBuf::from),
            counter: variable("PPWASM_BENCH_COUNTER").map(PathBuf::from),
            checkout: crate_folder
                .parent()
                .context("the crate is in a checkout")?
                .to_owned(),
        })
    }
}
