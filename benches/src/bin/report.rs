//! Measures and writes `target/bench/report.json`: `report [--quick] [--only NAME…] [--list] [--guest DIR]`.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use ppwasm_benches::record::{Record, table};
use ppwasm_benches::{Settings, footprint, fresh, programs, slowdown, throughput};

/// Figures that are taken together, because they are interleaved.
struct Group {
    names: &'static [&'static str],
    measure: fn(&Settings) -> anyhow::Result<Vec<Record>>,
    /// Takes minutes: not in a quick run unless it is named.
    long: bool,
}

const GROUPS: [Group; 7] = [
    Group {
        names: &[
            "fresh_call_p50_us",
            "fresh_call_p99_us",
            "fresh_call_page_faults",
            "fresh_call_pooled_p50_us",
            "fresh_call_pooled_page_faults",
        ],
        measure: fresh::calls,
        long: false,
    },
    Group {
        names: &[
            "fresh_calls_per_s_1_slot",
            "fresh_calls_per_s_2_slots",
            "fresh_calls_per_s_2_slots_over_1_slot",
            "process_pool_tasks_per_s",
        ],
        measure: throughput::calls_per_second,
        long: false,
    },
    Group {
        names: &["same_instance_call_us"],
        measure: fresh::same_instance,
        long: false,
    },
    Group {
        names: &["first_call_over_later_call", "first_call_us"],
        measure: fresh::first_call,
        long: false,
    },
    Group {
        names: &["slot_idle_rss_kib"],
        measure: footprint::idle_slot,
        long: false,
    },
    Group {
        names: &[
            "submit_local_first_result_ms",
            "python_start_ms",
            "system_python_start_ms",
        ],
        measure: programs::first_result,
        long: false,
    },
    Group {
        names: &["guest_slowdown_geomean"],
        measure: slowdown::geomean,
        long: false,
    },
];

const FIRST_START: Group = Group {
    names: &[
        "first_start_s",
        "host_start_ms",
        "guest_module_mib",
        "guest_library_mib",
        "artifact_mib",
        "base_image_mib",
    ],
    measure: footprint::first_start,
    long: true,
};

struct Arguments {
    quick: bool,
    list: bool,
    only: Vec<String>,
    guest: Option<PathBuf>,
    output: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let arguments = arguments()?;
    let groups = GROUPS.iter().chain([&FIRST_START]);
    if arguments.list {
        for name in groups.flat_map(|group| group.names) {
            println!("{name}");
        }
        return Ok(());
    }
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("the crate is in a checkout")?
        .to_owned();
    let variable = |name: &str| std::env::var(name).ok();
    let settings = Settings {
        quick: arguments.quick,
        guest: arguments.guest,
        python: variable("PPWASM_BENCH_NATIVE").map_or_else(|| "python3".into(), PathBuf::from),
        python_kind: variable("PPWASM_BENCH_NATIVE_KIND")
            .unwrap_or_else(|| "python3 on PATH".into()),
        checkout,
    };
    let output = arguments
        .output
        .unwrap_or_else(|| settings.checkout.join("target/bench/report.json"));
    if let Some(folder) = output.parent() {
        std::fs::create_dir_all(folder)?;
    }
    eprintln!(
        "load average {}",
        std::fs::read_to_string("/proc/loadavg")
            .unwrap_or_default()
            .trim()
    );
    let mut records = Vec::new();
    let mut failures = Vec::new();
    for group in groups {
        let named = |name: &&str| arguments.only.iter().any(|wanted| wanted == name);
        let wanted = if arguments.only.is_empty() {
            !(group.long && settings.quick)
        } else {
            group.names.iter().any(|name| named(name))
        };
        if !wanted {
            continue;
        }
        eprintln!("measuring {}", group.names.join(", "));
        match (group.measure)(&settings) {
            Ok(found) => records.extend(found),
            Err(error) => failures.push(format!("{}: {error:#}", group.names.join(", "))),
        }
    }
    let mut json = serde_json::to_string_pretty(&records)?;
    json.push('\n');
    std::fs::write(&output, json)
        .with_context(|| format!("could not write {}", output.display()))?;
    print!("{}", table(&records));
    eprintln!(
        "load average {}",
        std::fs::read_to_string("/proc/loadavg")
            .unwrap_or_default()
            .trim()
    );
    if !failures.is_empty() {
        bail!("not measured:\n  {}", failures.join("\n  "));
    }
    Ok(())
}

fn arguments() -> anyhow::Result<Arguments> {
    let mut parsed = Arguments {
        quick: false,
        list: false,
        only: Vec::new(),
        guest: None,
        output: None,
    };
    let mut arguments = std::env::args().skip(1).peekable();
    while let Some(argument) = arguments.next() {
        let mut path = || {
            arguments
                .next()
                .map(PathBuf::from)
                .with_context(|| format!("{argument} needs a path"))
        };
        match argument.as_str() {
            "--quick" => parsed.quick = true,
            "--list" => parsed.list = true,
            "--guest" => parsed.guest = Some(path()?),
            "--output" => parsed.output = Some(path()?),
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
    let known: Vec<_> = GROUPS
        .iter()
        .chain([&FIRST_START])
        .flat_map(|group| group.names)
        .collect();
    if let Some(unknown) = parsed
        .only
        .iter()
        .find(|name| !known.iter().any(|known| known == name))
    {
        bail!("no figure {unknown}; --list shows them");
    }
    Ok(parsed)
}
