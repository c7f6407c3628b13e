//! How much things take: memory of an idle slot, sizes on disk, time to prepare a machine.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use ppwasm_host::{Function, Host, HostBuilder, Step, Task, TimeSource};
use ppwasm_proto::{Call, FunctionBundle, Outcome, Value};

use crate::Settings;
use crate::record::Record;

/// Slots that are added to see what one takes.
const ADDED_SLOTS: usize = 16;
const PAUSE: &str = "import time\n\ndef f(seconds):\n    time.sleep(seconds)\n    return seconds\n";

/// Private memory of a slot that has run calls and waits.
///
/// # Errors
///
/// No guest runs here, an answer was wrong, or the system does not tell.
pub fn idle_slot(settings: &Settings) -> anyhow::Result<Vec<Record>> {
    let host = settings.host(1)?;
    let function = host.load(&FunctionBundle::function("job", "job.py", PAUSE, "f")?)?;
    use_all_slots(&host, &function)?;
    let before = private_kib()?;
    host.set_slots(1 + ADDED_SLOTS)?;
    use_all_slots(&host, &function)?;
    let after = private_kib()?;
    let each = after.saturating_sub(before) as f64 / ADDED_SLOTS as f64;
    Ok(vec![Record::new("slot_idle_rss_kib", each)])
}

/// Has every slot run calls: while all of them wait inside a call, each has one.
fn use_all_slots(host: &Host, function: &Function) -> anyhow::Result<()> {
    for _ in 0..3 {
        all(host, function, host.slots(), 0.1)?;
        all(host, function, 200 * host.slots(), 0.0)?;
    }
    Ok(())
}

fn all(host: &Host, function: &Function, calls: usize, seconds: f64) -> anyhow::Result<()> {
    let task = || Task::new(Call::with_args([seconds])).time(TimeSource::Real);
    let runs: Vec<_> = (0..calls).map(|_| host.start(function, task())).collect();
    for run in runs {
        let report = run.wait()?;
        let right = matches!(&report.outcome, Outcome::Succeeded { value } if value.decode()? == Value::from(seconds));
        ensure!(right, "wrong answer: {:?}", report.outcome);
    }
    Ok(())
}

/// Pages of this process that no other mapping shares, in memory or swapped out.
fn private_kib() -> anyhow::Result<u64> {
    let text =
        std::fs::read_to_string("/proc/self/smaps_rollup").context("the kernel does not tell")?;
    let sum = text
        .lines()
        .filter(|line| {
            ["Private_Dirty:", "Swap:"]
                .iter()
                .any(|name| line.starts_with(name))
        })
        .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
        .sum();
    Ok(sum)
}

/// Sizes of what is kept on disk, and the time to make it on a machine that has nothing yet.
///
/// # Errors
///
/// No guest runs here, or the disk is full.
pub fn first_start(settings: &Settings) -> anyhow::Result<Vec<Record>> {
    let host = settings.host(0)?;
    let guest = host.guest_folder().context("no guest folder")?.to_owned();
    drop(host);
    let folder = tempfile::tempdir()?;
    let builder = || Host::builder().guest(&guest).slots(0).cache(folder.path());
    let (cold, host) = timed(builder().on_progress(|step: Step| eprintln!("  {step:?}")))?;
    let function = crate::noop::load(&host)?;
    let pages = function.image().page_bytes().len();
    drop((function, host));
    let mut warm = Vec::new();
    for _ in 0..5 {
        warm.push(timed(builder())?.0.as_secs_f64() * 1e3);
    }
    let module = std::fs::metadata(guest.join("python.wasm"))?.len();
    let library = std::fs::metadata(guest.join("library.tar"))?.len();
    Ok(vec![
        Record::new("first_start_s", cold.as_secs_f64())
            .note("compiles the guest and starts its interpreter, once for a machine"),
        Record::new("host_start_ms", crate::stats::median(&mut warm))
            .note("opens what is in the cache"),
        Record::new("guest_module_mib", mib(module)),
        Record::new("guest_library_mib", mib(library)),
        Record::new(
            "artifact_mib",
            mib(largest_below(folder.path(), "artifacts")?),
        ),
        Record::new(
            "base_image_mib",
            mib(largest_below(folder.path(), "images")?),
        )
        .note("on disk; pages of zeros left out"),
        Record::new("function_image_kib", pages as f64 / 1024.0)
            .note("pages that differ from the base image"),
    ])
}

fn timed(builder: HostBuilder) -> anyhow::Result<(Duration, Host)> {
    let started = Instant::now();
    let host = builder.build()?;
    Ok((started.elapsed(), host))
}

fn largest_below(root: &Path, folder: &str) -> anyhow::Result<u64> {
    let mut largest = 0;
    for entry in std::fs::read_dir(root.join(folder))
        .with_context(|| format!("the cache has no {folder}"))?
    {
        largest = largest.max(entry?.metadata()?.len());
    }
    ensure!(largest > 0, "nothing in the cache's {folder}");
    Ok(largest)
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
