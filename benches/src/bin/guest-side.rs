//! Runs pyperformance's benchmarks in the guest: one JSON object per line in, one per line out.
//!
//! `{"script": "bm_nbody/run_benchmark.py", "benchmark": "nbody", "loops": 3, "options": []}` is answered with
//! `{"names": […], "fingerprint": "…", "cpu_ns": …, "wall_ns": …}` or with `{"error": "…"}`. The time is taken by the
//! host between two marks that the script writes, so that loading the script is not in it.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use ppwasm_benches::system::thread_cpu_ns;
use ppwasm_host::wasi::inputs::{InputLimits, InputReader};
use ppwasm_host::wasi::{InputTree, Sink};
use ppwasm_host::{CpuProfile, Function, Host, Slot, StartPath, Task};
use ppwasm_proto::{Call, FunctionBundle, Limits, Outcome, Value};
use serde::{Deserialize, Serialize};

const DRIVE: &str = include_str!("../../pyperformance/drive.py");
const PYPERF: &str = include_str!("../../pyperformance/pyperf.py");
const MARK: &[u8] = b"\x01ppwasm-mark\n";

#[derive(Deserialize)]
struct Request {
    script: String,
    benchmark: Option<String>,
    loops: u32,
    options: Vec<String>,
}

#[derive(Serialize)]
struct Answer {
    names: Vec<String>,
    fingerprint: BTreeMap<String, String>,
    cpu_ns: Option<u64>,
    wall_ns: Option<u64>,
}

/// The clocks at each mark.
type Marks = Arc<Mutex<Vec<(u64, Instant)>>>;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (mut guest, mut folders, mut profile) = (None, Vec::new(), None);
    while let Some(argument) = arguments.next() {
        let mut value = || {
            arguments
                .next()
                .with_context(|| format!("{argument} needs a value"))
        };
        match argument.as_str() {
            "--guest" => guest = Some(PathBuf::from(value()?)),
            "--folder" => folders.push(PathBuf::from(value()?)),
            "--profile" => profile = Some(value()?),
            other => bail!("unknown argument {other}"),
        }
    }
    let mut host = Host::builder().slots(0);
    if let Some(guest) = guest {
        host = host.guest(guest);
    }
    if let Some(name) = profile {
        let known = CpuProfile::ALL
            .into_iter()
            .find(|profile| profile.name() == name);
        host = host.cpu_profile(known.with_context(|| format!("no CPU profile {name}"))?);
    }
    let host = host.build()?;
    let bundle = FunctionBundle::function("drive", "drive.py", DRIVE, "run")?.with_module(
        "pyperf",
        "pyperf.py",
        PYPERF,
    )?;
    let function = host.load(&bundle)?;
    ppwasm_benches::with_guest_stack(|| serve(&host, &function, &folders))
}

fn serve(host: &Host, function: &Function, folders: &[PathBuf]) -> anyhow::Result<()> {
    let mut slot = host.slot_with(StartPath::Best)?;
    let mut stdout = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let request: Request = serde_json::from_str(&line?)?;
        let answer = match run(&mut slot, function, folders, request) {
            Ok(answer) => serde_json::to_value(answer)?,
            Err(error) => serde_json::json!({ "error": format!("{error:#}") }),
        };
        writeln!(stdout, "{answer}")?;
        stdout.flush()?;
    }
    Ok(())
}

fn run(
    slot: &mut Slot,
    function: &Function,
    folders: &[PathBuf],
    request: Request,
) -> anyhow::Result<Answer> {
    let marks = Marks::default();
    let call = Call {
        args: vec![
            format!("/work/{}", request.script).into(),
            request.benchmark.into(),
            i64::from(request.loops).into(),
            Value::list(request.options),
        ],
        kwargs: Vec::new(),
    };
    let limits = Limits {
        memory_bytes_max: 2 << 30,
        wall_time_max: Duration::from_secs(600),
        scratch_files_max: 100_000,
        ..Limits::default()
    };
    let task = Task::new(call)
        .limits(limits)
        .inputs(Arc::new(inputs(folders, &request.script)?))
        .output_sink(watch(&marks));
    let report = slot.run(function, task)?;
    let value = match report.outcome {
        Outcome::Succeeded { value } => value.decode()?,
        Outcome::Raised(exception) => bail!("{}", exception.traceback),
        other => bail!("{other:?}"),
    };
    let names = value
        .get("names")
        .and_then(Value::as_items)
        .context("no names")?;
    let fingerprint = value
        .get("fingerprint")
        .and_then(Value::as_pairs)
        .context("no fingerprint")?;
    let marks = marks.lock().unwrap_or_else(PoisonError::into_inner);
    let times = match marks.as_slice() {
        [(cpu_begin, begin), (cpu_end, end)] => Some((
            cpu_end - cpu_begin,
            u64::try_from((*end - *begin).as_nanos())?,
        )),
        _ => None,
    };
    Ok(Answer {
        names: names
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        fingerprint: fingerprint
            .iter()
            .filter_map(|(name, digest)| {
                Some((name.as_str()?.to_owned(), digest.as_str()?.to_owned()))
            })
            .collect(),
        cpu_ns: times.map(|(cpu, _)| cpu),
        wall_ns: times.map(|(_, wall)| wall),
    })
}

fn watch(marks: &Marks) -> Sink {
    let marks = Arc::clone(marks);
    Box::new(move |_, bytes| {
        if bytes == MARK {
            let now = (thread_cpu_ns(), Instant::now());
            marks
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(now);
        }
    })
}

/// The script's own folder: it may read data that is beside it.
fn inputs(folders: &[PathBuf], script: &str) -> anyhow::Result<InputTree> {
    let name = Path::new(script)
        .parent()
        .context("a script is in a folder")?;
    let mut reader = InputReader::new(InputLimits::default());
    for folder in folders {
        let path = folder.join(name);
        if path.is_dir() {
            reader.add(&path, name.to_str())?;
        }
    }
    Ok(reader.finish())
}
