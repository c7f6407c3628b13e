//! The programs of `examples/` give their known answers. Their input is fetched once by
//! `examples/prepare-inputs.sh`, which `make test` calls before.

use std::path::Path;
use std::process::Command;

fn gives_its_answer(example: &str) {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let output_folder = tempfile::tempdir().unwrap();
    let output = Command::new(examples.join(example).join("run.sh"))
        .arg(output_folder.path())
        .env("PPWASM", env!("CARGO_BIN_EXE_ppwasm"))
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{example} failed: {stderr}");
    let expected = std::fs::read_to_string(examples.join(example).join("expected.txt")).unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        expected,
        "{example}: {stderr}"
    );
}

macro_rules! examples {
    ($($name:ident),*) => { $(
        #[test]
        fn $name() {
            gives_its_answer(stringify!($name));
        }
    )* };
}

examples!(numbers, primes, mandelbrot, words, neighbours, filters);

/// The graph is that of the machine's own Debian release, so its answer is known for one of them only; `run.sh`
/// itself checks on every run that the ranks satisfy PageRank's equation.
#[test]
fn pagerank() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let output_folder = tempfile::tempdir().unwrap();
    let output = Command::new(examples.join("pagerank/run.sh"))
        .arg(output_folder.path())
        .env("PPWASM", env!("CARGO_BIN_EXE_ppwasm"))
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "pagerank failed: {stderr}");
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("libc6"),
        "pagerank: {stderr}"
    );
}

#[test]
fn a_wrong_answer_is_noticed() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let output_folder = tempfile::tempdir().unwrap();
    let liar = output_folder.path().join("liar");
    std::fs::write(&liar, "#!/bin/sh\nexec \"$REAL\" \"$@\" | sed 's/6/7/g'\n").unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&liar, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let output = Command::new(examples.join("primes/run.sh"))
        .arg(output_folder.path())
        .env("PPWASM", &liar)
        .env("REAL", env!("CARGO_BIN_EXE_ppwasm"))
        .output()
        .unwrap();
    assert!(!output.status.success());
}
