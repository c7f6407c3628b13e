//! The guest for each kind of machine: what compiling it takes, how large it is, and how many instructions it executes.
//!
//! Other architectures are emulated, where times mean nothing; a plugin of qemu counts instructions
//! (`qemu/count-instructions.c`), for this machine's own architecture as well, so that all are counted alike.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, ensure};
use ppwasm_host::{GuestFolder, System, Target};

use crate::Settings;
use crate::record::Record;

const FEW_CALLS: usize = 50;
const MANY_CALLS: usize = 550;

/// A kind of machine.
struct Kind {
    profile: &'static str,
    /// As qemu calls the processor.
    architecture: &'static str,
    /// As Rust calls the target of the program, where it is not this machine's.
    cross: Option<&'static str>,
    /// The names of its figures: seconds, MiB, instructions of a call, instructions to the first result.
    figures: [&'static str; 4],
}

/// One of each kind that is not a variant of another.
const KINDS: [Kind; 4] = [
    Kind {
        profile: "x86-64-v3",
        architecture: "x86_64",
        cross: None,
        figures: [
            "compile_x86_64_v3_s",
            "artifact_x86_64_v3_mib",
            "call_x86_64_v3_instructions",
            "first_result_x86_64_v3_instructions",
        ],
    },
    Kind {
        profile: "aarch64-lse",
        architecture: "aarch64",
        cross: Some("aarch64-unknown-linux-gnu"),
        figures: [
            "compile_aarch64_lse_s",
            "artifact_aarch64_lse_mib",
            "call_aarch64_lse_instructions",
            "first_result_aarch64_lse_instructions",
        ],
    },
    Kind {
        profile: "riscv64gc",
        architecture: "riscv64",
        cross: Some("riscv64gc-unknown-linux-gnu"),
        figures: [
            "compile_riscv64gc_s",
            "artifact_riscv64gc_mib",
            "call_riscv64gc_instructions",
            "first_result_riscv64gc_instructions",
        ],
    },
    Kind {
        profile: "pulley64",
        architecture: "x86_64",
        cross: None,
        figures: [
            "compile_pulley64_s",
            "artifact_pulley64_mib",
            "call_pulley64_instructions",
            "first_result_pulley64_instructions",
        ],
    },
];

/// Compiles the guest for one profile of each kind, one after the other as a coordinator does, and runs it.
///
/// # Errors
///
/// The guest could not be compiled, or a program came to a wrong answer.
pub fn measure(settings: &Settings) -> anyhow::Result<Vec<Record>> {
    let folder = tempfile::tempdir()?;
    let guest = match &settings.guest {
        Some(guest) => GuestFolder::open(guest)?,
        None => GuestFolder::open(&GuestFolder::find()?)?,
    };
    let base = guest.base_image()?;
    let mut records = Vec::new();
    let mut seconds = 0.0;
    for kind in &KINDS {
        let target = Target::all(System::Linux)
            .find(|target| target.name() == kind.profile)
            .with_context(|| format!("there is no profile {}", kind.profile))?;
        let started = Instant::now();
        let compiled = guest.compile(target, &base)?;
        let took = started.elapsed().as_secs_f64();
        seconds += took;
        let mib = compiled.artifact.len() as f64 / f64::from(1 << 20);
        records.push(Record::new(kind.figures[0], took));
        records.push(Record::new(kind.figures[1], mib));

        let parts = folder.path().join(kind.profile);
        fs::create_dir(&parts)?;
        fs::write(parts.join("manifest"), compiled.manifest.to_bytes())?;
        fs::write(parts.join("artifact"), compiled.artifact)?;
        fs::write(parts.join("base"), compiled.base)?;
        fs::write(parts.join("library"), guest.library_archive()?)?;
    }
    records.push(Record::new("compile_all_targets_s", seconds).note(
        "one after the other, each on all cores; without signing and writing, and without the child process",
    ));
    for kind in &KINDS {
        records.extend(instructions(
            settings,
            kind,
            &folder.path().join(kind.profile),
        )?);
    }
    Ok(records)
}

fn instructions(settings: &Settings, kind: &Kind, parts: &Path) -> anyhow::Result<[Record; 2]> {
    let [_, _, of_call, of_first] = kind.figures;
    let absent = |why: &str| [of_call, of_first].map(|name| Record::absent(name, why));
    let Some(counter) = &settings.counter else {
        return Ok(absent("no qemu that counts instructions"));
    };
    let target = settings.checkout.join("target");
    let program = match kind.cross {
        None => target.join("debug/examples/corpus"),
        Some(name) => target.join(format!("cross/build/{name}/board/examples/corpus")),
    };
    if !program.exists() {
        return Ok(absent(
            "its program is not built; make test-cross builds it",
        ));
    }
    let few = count(counter, kind, &program, parts, FEW_CALLS)?;
    let many = count(counter, kind, &program, parts, MANY_CALLS)?;
    let each = many.saturating_sub(few) as f64 / (MANY_CALLS - FEW_CALLS) as f64;
    let first = few as f64 - each * (FEW_CALLS - 1) as f64;
    let note = match kind.cross {
        None => "the host's part is not optimised as a release would be",
        Some(_) => "user space, the host's part included",
    };
    Ok([
        Record::new(of_call, each).note(note),
        Record::new(of_first, first)
            .note("program start to first result, with compiled parts on disk and digests checked"),
    ])
}

/// Instructions of a program that makes so many calls.
fn count(
    counter: &Path,
    kind: &Kind,
    program: &Path,
    parts: &Path,
    calls: usize,
) -> anyhow::Result<u64> {
    let log = tempfile::NamedTempFile::new()?;
    let mut command = Command::new(format!("qemu-{}", kind.architecture));
    command.args(["-d", "plugin", "-plugin"]);
    command.arg(counter).arg("-D").arg(log.path());
    match kind.cross {
        // The processor that qemu takes by itself is older than the profile.
        None => command.args(["-cpu", "max"]),
        Some(_) => command.args(["-L", &format!("/usr/{}-linux-gnu", kind.architecture)]),
    };
    command.arg(program).arg(parts);
    let calls = calls.to_string();
    let output = command.args(["--calls", &calls]).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success() && said.contains(&format!("\n{calls} calls\n")),
        "{} on {} ended with {}: {said}{}",
        kind.profile,
        kind.architecture,
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    let text = fs::read_to_string(log.path())?;
    let (_, number) = text
        .rsplit_once("instructions: ")
        .context("qemu did not tell how many instructions there were")?;
    Ok(number.trim().parse()?)
}
