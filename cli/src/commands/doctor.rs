//! `ppwasm doctor`: what this machine has for running sandboxes, what falls back, and what is missing.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use ppwasm_host::{AddressSpace, Bounds, ChangedPages, CpuProfile, Host, StartPath, Task};
use ppwasm_proto::{Call, FunctionBundle, Outcome, Value};
use serde::Serialize;

use crate::args::{Doctor, Output};
use crate::exit_code::ExitCode;
use crate::failure::{Failure, Result, chain};
use crate::job::closed;
use crate::printer::write_json;
use crate::units::Size;
use crate::visible;

/// The JSON document's version.
const VERSION: u32 = 1;
/// Calls of which the quickest is told.
const CALLS: usize = 20;
/// With room for fewer slots than this, it is worth being told.
const MANY_SLOTS: usize = 64;

/// How good a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    /// As it should be.
    Ok,
    /// Works, but less well.
    Fallback,
    /// Tasks cannot run.
    Problem,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    state: State,
    found: String,
    /// What it means, or what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    ppwasm: &'static str,
    checks: &'a [Check],
}

impl Check {
    fn new(name: &'static str, state: State, found: impl Into<String>) -> Self {
        Self {
            name,
            state,
            found: found.into(),
            advice: None,
        }
    }

    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self::new(name, State::Ok, found)
    }

    fn advice(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }
}

/// Looks, and prints what was found.
pub(crate) fn doctor(args: &Doctor) -> Result<ExitCode> {
    let mut checks = machine();
    checks.extend(cache(&Host::default_cache()));
    checks.extend(sandbox(args));
    let mut out = io::stdout().lock();
    let printed = match args.output {
        Output::Human => checks.iter().try_for_each(|check| print(&mut out, check)),
        Output::Json => {
            let ppwasm = env!("CARGO_PKG_VERSION");
            write_json(
                &mut out,
                &Document {
                    version: VERSION,
                    ppwasm,
                    checks: &checks,
                },
            )
            .and_then(|()| out.write_all(b"\n"))
        }
    };
    printed.and_then(|()| out.flush()).map_err(closed)?;
    let has_problem = checks.iter().any(|check| check.state == State::Problem);
    Ok(if has_problem {
        ExitCode::Machine
    } else {
        ExitCode::Succeeded
    })
}

fn print(out: &mut impl Write, check: &Check) -> io::Result<()> {
    let state = match check.state {
        State::Ok => "",
        State::Fallback => "falls back: ",
        State::Problem => "PROBLEM: ",
    };
    writeln!(
        out,
        "{:<15} {state}{}",
        check.name,
        visible::line(&check.found)
    )?;
    match &check.advice {
        Some(advice) => writeln!(out, "{:<15}   {}", "", visible::line(advice)),
        None => Ok(()),
    }
}

/// What the hardware and the system are.
fn machine() -> Vec<Check> {
    let release = read("/proc/sys/kernel/osrelease");
    let target = [
        std::env::consts::ARCH,
        std::env::consts::OS,
        release.as_deref().unwrap_or(""),
    ];
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    vec![
        Check::ok("target", target.join(" ").trim_end()),
        profile(),
        Check::ok("cores", cores.to_string()),
        memory(),
        swap(),
        address_space(),
    ]
}

fn profile() -> Check {
    let Some(found) = CpuProfile::detect() else {
        return Check::new("CPU profile", State::Problem, "none")
            .advice("this machine's CPU fits none of the profiles that code is compiled for");
    };
    let is_best = CpuProfile::ALL
        .iter()
        .rev()
        .find(|profile| same_architecture(**profile, found));
    if is_best == Some(&found) {
        Check::ok("CPU profile", found.name())
    } else {
        Check::new("CPU profile", State::Fallback, found.name())
            .advice("the CPU lacks instructions of the stronger profile; computing is slower")
    }
}

fn same_architecture(one: CpuProfile, other: CpuProfile) -> bool {
    let family = |profile: CpuProfile| profile.name().get(..4).map(str::to_owned);
    family(one) == family(other)
}

fn memory() -> Check {
    let total = meminfo("MemTotal");
    let available = meminfo("MemAvailable");
    match (total, available) {
        (Some(total), Some(available)) => Check::ok(
            "memory",
            format!("{}, {} available", about(total), about(available)),
        ),
        _ => Check::ok("memory", "not known"),
    }
}

fn swap() -> Check {
    match meminfo("SwapTotal") {
        Some(0) => Check::ok("swap", "off"),
        Some(bytes) => Check::ok("swap", format!("on, {}", about(bytes))),
        None => Check::ok("swap", "not known"),
    }
}

/// How many slots the address space has room for.
fn address_space() -> Check {
    let name = "address space";
    let space = AddressSpace::probe();
    let Some(bits) = space.bits() else {
        return Check::ok(name, "not known");
    };
    let found = match space.limit_bytes() {
        None => format!("{bits} bits"),
        Some(limit) => format!("{bits} bits, limited to {}", about(limit)),
    };
    let room = |bounds| space.slots(bounds).unwrap_or(usize::MAX);
    match (room(Bounds::Guarded), room(Bounds::Checked)) {
        (0, 0) => Check::new(name, State::Problem, found)
            .advice("there is no room for a sandbox; lift the limit on address space (ulimit -v)"),
        (0, checked) => Check::new(name, State::Fallback, found).advice(format!(
            "room for {checked} slots, which check every access to memory and are slower"
        )),
        (guarded, checked) if guarded < MANY_SLOTS => Check::new(name, State::Fallback, found)
            .advice(format!(
                "room for {guarded} slots, or {checked} that check every access to memory"
            )),
        (guarded, _) => Check::ok(name, format!("{found}, room for {guarded} slots")),
    }
}

/// The cache directory: where, how full, whether it can be written.
fn cache(folder: &Path) -> Vec<Check> {
    let found = format!("{}, {}", folder.display(), about(size_of_folder(folder)));
    let probe = folder.join(format!(".doctor-{}", std::process::id()));
    let written = fs::create_dir_all(folder).and_then(|()| fs::write(&probe, b"x"));
    // It may not be there; that was the question.
    let _ = fs::remove_file(&probe);
    let check = match written {
        Ok(()) => Check::ok("cache", found),
        Err(error) => Check::new("cache", State::Fallback, found).advice(format!(
            "cannot be written ({error}), so every run prepares the sandbox anew; set PPWASM_CACHE_DIR"
        )),
    };
    vec![check]
}

fn size_of_folder(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)))
        .map(|(path, info)| {
            if info.is_dir() {
                size_of_folder(&path)
            } else {
                info.len()
            }
        })
        .sum()
}

/// The guest, how calls start, and whether one works.
fn sandbox(args: &Doctor) -> Vec<Check> {
    let host = match host(args) {
        Ok(host) => host,
        Err(check) => return vec![check],
    };
    let [memory_files, changed_pages] = kernel(&host);
    let mut checks = vec![
        guest(&host),
        memory_files,
        changed_pages,
        start_path(&host),
        call(&host),
    ];
    if args.self_test {
        checks.push(known_programs(&host));
    }
    checks
}

/// A host of what a worker has got, where there is no compiler or a worker was named; else of the guest folder.
fn host(args: &Doctor) -> std::result::Result<Host, Check> {
    let problem = |found: String, advice| Check::new("guest", State::Problem, found).advice(advice);
    if args.state.is_some() || !cfg!(feature = "coordinator") {
        let host = super::worker::provisioned_host(args.state.as_deref(), args.cpu_profile);
        return host.map_err(|failure| {
            let found = match failure {
                Failure::Machine(error) | Failure::Usage(error) => format!("{error:#}"),
                _ => "none".to_owned(),
            };
            problem(found, "start the worker once, with `ppwasm worker start`: it gets the sandbox from its coordinator")
        });
    }
    let mut builder = Host::builder().slots(1);
    if let Some(target) = args.cpu_profile {
        builder = builder
            .cpu_profile(target.profile())
            .bounds(target.bounds());
    }
    let built = builder
        .on_progress(|_| super::submit::tell_preparing())
        .build();
    built.map_err(|error| {
        problem(
            chain(&error),
            "build the guest with `make guest`, or set PPWASM_GUEST_DIR to its folder",
        )
    })
}

fn known_programs(host: &Host) -> Check {
    let name = "self-test";
    match super::self_test::run(host) {
        Ok(passed) => Check::ok(name, format!("{passed} programs came to what is known")),
        Err(found) => Check::new(name, State::Problem, found).advice(
            "results of this machine cannot be relied on: please report it, with what `ppwasm doctor` says of CPU and guest",
        ),
    }
}

/// What the better start path needs of the kernel.
fn kernel(host: &Host) -> [Check; 2] {
    let features = host.kernel_features();
    let files = "memory files";
    let files = match features.memory_file {
        Ok(()) => Check::ok(files, "memfd, sealed"),
        Err(error) => Check::new(files, State::Fallback, chain(&error)),
    };
    let pages = "changed pages";
    let pages = match features.changed_pages {
        Ok(ChangedPages::PagemapScan) => Check::ok(pages, "PAGEMAP_SCAN"),
        Ok(_) => Check::new(pages, State::Fallback, "/proc/self/pagemap")
            .advice("works as well and takes some µs more; PAGEMAP_SCAN is there from Linux 6.7"),
        Err(error) => Check::new(pages, State::Fallback, format!("not told: {error}")),
    };
    [files, pages]
}

fn guest(host: &Host) -> Check {
    let digest = host.guest_digest().to_string();
    let folder = host.guest_folder();
    let folder = folder.map_or_else(|| "received".into(), |folder| folder.display().to_string());
    Check::ok(
        "guest",
        format!(
            "Python {}, {folder}, for {}, digest {digest}",
            host.python_version(),
            host.target().name()
        ),
    )
}

fn start_path(host: &Host) -> Check {
    let name = "start path";
    match host.slot().map(|slot| slot.start_path()) {
        Ok(StartPath::Overlay) => Check::ok(name, "overlay: a slot keeps its instance"),
        Ok(_) => Check::new(name, State::Fallback, "pooled: a new instance for each call").advice(
            "calls take some 100 µs more; the overlay needs memory files and to be told of changed pages",
        ),
        Err(error) => Check::new(name, State::Problem, chain(&error)),
    }
}

/// Whether a call gives its result, and in what time when the slot is warm.
fn call(host: &Host) -> Check {
    let name = "a call";
    let called = || -> anyhow::Result<(Outcome, Duration)> {
        let bundle =
            FunctionBundle::function("doctor", "doctor.py", "def add(a, b): return a + b", "add")?;
        let function = host.load(&bundle)?;
        let mut best = Duration::MAX;
        let mut outcome = Outcome::Cancelled;
        for _ in 0..CALLS {
            let start = Instant::now();
            outcome = host
                .run(&function, Task::new(Call::with_args([40, 2])))?
                .outcome;
            best = best.min(start.elapsed());
        }
        Ok((outcome, best))
    };
    match called() {
        Ok((Outcome::Succeeded { value }, time))
            if value.decode().ok() == Some(Value::from(42)) =>
        {
            Check::ok(name, format!("works, in {} µs", time.as_micros()))
        }
        Ok((outcome, _)) => Check::new(name, State::Problem, format!("gave {outcome:?}")),
        Err(error) => Check::new(name, State::Problem, format!("{error:#}")),
    }
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path)
        .ok()
        .map(|text| text.trim_end().to_owned())
}

fn meminfo(name: &str) -> Option<u64> {
    let text = read("/proc/meminfo")?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace()
        .next()?
        .parse::<u64>()
        .ok()
        .map(|kib| kib << 10)
}

/// A size rounded down to a whole unit that leaves two digits or more.
fn about(bytes: u64) -> String {
    let unit = [30, 20, 10]
        .into_iter()
        .find(|bits| bytes >> bits >= 10)
        .unwrap_or(0);
    Size(bytes >> unit << unit).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_down() {
        assert_eq!(about(0), "0 bytes");
        assert_eq!(about((25 << 30) + 12_345), "25 GiB");
        assert_eq!(about((9 << 30) + 5), "9 GiB");
        assert_eq!(about((9 << 30) + (5 << 20) + 7), "9221 MiB");
    }
}
