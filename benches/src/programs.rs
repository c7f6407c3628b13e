//! Whole programs from start to first result: `ppwasm submit`, and an interpreter that only starts.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, ensure};

use crate::Settings;
use crate::record::Record;
use crate::stats::median;

const JOB: &str = "def f(x):\n    return x + 1\n";

/// From process start to the first result on stdout, caches warm, beside `python3 -c`.
///
/// # Errors
///
/// A program does not run, or prints something else.
pub fn first_result(settings: &Settings) -> anyhow::Result<Vec<Record>> {
    let program = settings.checkout.join("target/debug/ppwasm");
    let name = "submit_local_first_result_ms";
    if !program.exists() {
        return Ok(vec![Record::absent(name, "the command line is not built")]);
    }
    let folder = tempfile::tempdir()?;
    let job = folder.path().join("job.py");
    std::fs::write(&job, JOB)?;
    let submit = || {
        let mut command = Command::new(&program);
        command
            .arg("submit")
            .arg(format!("{}:f", job.display()))
            .arg("41");
        if let Some(guest) = &settings.guest {
            command.env("PPWASM_GUEST_DIR", guest);
        }
        command
    };
    let python = || {
        let mut command = Command::new(&settings.python);
        command.arg("-c").arg("print(41 + 1)");
        command
    };
    let (mut submits, mut pythons, mut twos) = (Vec::new(), Vec::new(), Vec::new());
    let system = system_python();
    for round in 0..settings.repetitions(30).max(4) {
        let one = until_first_line(&mut submit(), "42")?;
        let other = until_first_line(&mut python(), "42")?;
        let third = system
            .as_ref()
            .map(|path| until_first_line(Command::new(path).args(["-c", "print(42)"]), "42"));
        // The first round warms the caches.
        if round > 0 {
            submits.push(one);
            pythons.push(other);
            twos.extend(third.transpose()?);
        }
    }
    let mut records = vec![
        Record::new(name, median(&mut submits)),
        Record::new("python_start_ms", median(&mut pythons))
            .note(format!("{} -c, the same sum", settings.python_kind)),
    ];
    if !twos.is_empty() {
        records
            .push(Record::new("system_python_start_ms", median(&mut twos)).note("python3 on PATH"));
    }
    Ok(records)
}

fn system_python() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join("python3"))
        .find(|path: &PathBuf| is_program(path))
}

fn is_program(path: &Path) -> bool {
    path.is_file()
}

fn until_first_line(command: &mut Command, wanted: &str) -> anyhow::Result<f64> {
    let started = Instant::now();
    let mut process = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut line = String::new();
    BufReader::new(process.stdout.take().context("no stdout")?).read_line(&mut line)?;
    let time = started.elapsed();
    let status = process.wait()?;
    ensure!(
        status.success() && line.trim() == wanted,
        "{} printed {line:?} and ended with {status}",
        command.get_program().display(),
    );
    Ok(time.as_secs_f64() * 1e3)
}
