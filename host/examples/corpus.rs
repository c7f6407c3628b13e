//! Runs a corpus of programs and prints what each came to: equal lines on every architecture.
//!
//! ```text
//! corpus PARTS FILE…              the guest is what `compile` wrote to the folder PARTS
//! corpus --local FILE…            the guest is compiled here
//! corpus PARTS --random FROM-TO   random programs of these seeds, TO not included
//! corpus PARTS --calls COUNT      so many calls of a function that adds one: what a benchmark counts instructions of
//! ```
//!
//! A file has a function `call(name)`; `call("programs")` is the list of the names.

#[path = "../../tests/it/random_programs.rs"]
mod random_programs;

use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::Duration;

use ppwasm_host::{Function, GuestParts, Host, Part, Report, Task, TrustedManifest};
use ppwasm_proto::wire::encode_outcome;
use ppwasm_proto::{ArtifactManifest, Call, Digest, FunctionBundle, Limits, Outcome, Value};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let guest = args.next().ok_or("usage: corpus PARTS|--local FILE…")?;
    let host = match guest.as_str() {
        "--local" => Host::builder().slots(1).build()?,
        parts => received(Path::new(parts))?,
    };
    eprintln!("{} for {}", host.guest_digest(), host.target());
    println!("base {}", host.base_digest());
    while let Some(file) = args.next() {
        if file == "--random" {
            let usage = "usage: --random FROM-TO";
            let seeds = args.next().ok_or(usage)?;
            let (first, end) = seeds.split_once('-').ok_or(usage)?;
            run_random(&host, first.parse()?..end.parse()?)?;
        } else if file == "--calls" {
            let count = args.next().ok_or("usage: --calls COUNT")?;
            make_calls(&host, count.parse()?)?;
        } else {
            run(&host, Path::new(&file))?;
        }
    }
    Ok(())
}

/// Runs a random program.
const RUNNER: &str = "def run(source):
    scope = {'__name__': 'program'}
    exec(compile(source, 'program.py', 'exec'), scope)
    return scope['run']()
";

fn run_random(host: &Host, seeds: std::ops::Range<u64>) -> Result<(), Box<dyn Error>> {
    let bundle = FunctionBundle::function("runner", "runner.py", RUNNER, "run")?;
    let function = host.load(&bundle)?;
    let mut succeeded = 0;
    for seed in seeds.clone() {
        let report = call(host, &function, &random_programs::program(seed))?;
        succeeded += u64::from(matches!(report.outcome, Outcome::Succeeded { .. }));
        print("random", &seed.to_string(), &report);
    }
    // Programs that only fail would prove little.
    if succeeded * 10 < (seeds.end - seeds.start) * 9 {
        return Err(
            format!("only {succeeded} of the random programs {seeds:?} ran to their end").into(),
        );
    }
    Ok(())
}

fn make_calls(host: &Host, count: i64) -> Result<(), Box<dyn Error>> {
    let source = "def f(x):\n    return x + 1\n";
    let function = host.load(&FunctionBundle::function("job", "job.py", source, "f")?)?;
    for x in 0..count {
        let report = host.run(&function, Task::new(Call::with_args([x])))?;
        match &report.outcome {
            Outcome::Succeeded { value } if value.decode()? == Value::from(x + 1) => {}
            other => return Err(format!("f({x}) came to {other:?}").into()),
        }
    }
    println!("{count} calls");
    Ok(())
}

fn print(module: &str, program: &str, report: &Report) {
    println!(
        "{module}.{program} {} {} {} {} {} {}",
        kind(&report.outcome),
        short(&encode_outcome(&report.outcome)),
        short(&report.stdout),
        short(&report.stderr),
        report.usage.memory_bytes,
        report
            .memory_digest
            .map_or_else(String::new, |digest| digest.to_string()),
    );
}

fn received(folder: &Path) -> Result<Host, Box<dyn Error>> {
    let manifest = fs::read(folder.join("manifest"))?;
    // Whoever runs this has compiled it.
    let manifest = TrustedManifest::vouch_for(ArtifactManifest::from_bytes(&manifest)?);
    let mut parts = GuestParts::new(manifest)?;
    for (part, name) in [
        (Part::Artifact, "artifact"),
        (Part::Base, "base"),
        (Part::Library, "library"),
    ] {
        parts.add_file(part, &folder.join(name))?;
    }
    Ok(Host::builder().parts(parts).slots(1).build()?)
}

fn run(host: &Host, file: &Path) -> Result<(), Box<dyn Error>> {
    let module = file
        .file_stem()
        .and_then(|name| name.to_str())
        .ok_or("a name")?;
    let name = format!("{module}.py");
    let bundle = FunctionBundle::function(module, &name, fs::read(file)?, "call")?;
    let function = host.load(&bundle)?;
    println!("{module} image {}", function.image().digest());
    let Outcome::Succeeded { value } = call(host, &function, "programs")?.outcome else {
        return Err("no list of programs".into());
    };
    let Value::List(programs) = value.decode()? else {
        return Err("no list of programs".into());
    };
    for program in programs {
        let Value::Str(program) = program else {
            return Err("the name of a program is no text".into());
        };
        let program = program.to_string();
        let report = call(host, &function, &program)?;
        print(module, &program, &report);
    }
    Ok(())
}

fn call(host: &Host, function: &Function, program: &str) -> Result<Report, Box<dyn Error>> {
    let limits = Limits {
        memory_bytes_max: 160 << 20,
        wall_time_max: Duration::from_secs(1800),
        cpu_time_max: Duration::from_secs(1800),
        ..Limits::default()
    };
    let task = Task::new(Call::with_args([program])).limits(limits);
    Ok(host.run(function, task.hash_memory(true))?)
}

fn short(bytes: &[u8]) -> String {
    Digest::of(bytes).to_string().chars().take(16).collect()
}

const fn kind(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Succeeded { .. } => "succeeded",
        Outcome::Raised(_) => "raised",
        Outcome::Trapped { .. } => "trapped",
        Outcome::LimitExceeded { .. } => "limit-exceeded",
        Outcome::Cancelled => "cancelled",
        Outcome::Abandoned => "abandoned",
    }
}
