//! `doctor`, `completions`, `man`, and machines that cannot run anything.

use serde_json::Value;

use crate::support::{Folder, finish};

#[test]
fn the_doctor_looks_at_everything() {
    let folder = Folder::new(&[]);
    let run = folder.ppwasm(&["doctor"]);
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    let run = folder.ppwasm(&["doctor", "--output", "json"]);
    let document: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(document["version"], 1);
    let checks = document["checks"].as_array().unwrap();
    let names: Vec<_> = checks
        .iter()
        .map(|check| check["name"].as_str().unwrap())
        .collect();
    for name in [
        "target",
        "CPU profile",
        "cores",
        "memory",
        "swap",
        "address space",
        "cache",
        "guest",
        "memory files",
        "changed pages",
        "start path",
        "a call",
    ] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    for check in checks {
        assert_ne!(check["state"], "problem", "{check}");
    }
}

#[test]
fn programs_with_known_results_come_to_them() {
    let folder = Folder::new(&[]);
    let run = folder.ppwasm(&["doctor", "--self-test", "--output", "json"]);
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    let document: Value = serde_json::from_str(&run.stdout).unwrap();
    let checks = document["checks"].as_array().unwrap();
    let found = checks.iter().find(|check| check["name"] == "self-test");
    assert_eq!(found.unwrap()["state"], "ok", "{found:?}");
}

/// With a limit on its addresses a process has no room for sandboxes of 4 GiB.
#[cfg(target_os = "linux")]
#[test]
fn a_small_address_space_gets_sandboxes_that_reserve_little() {
    let folder = Folder::job("def f(x): return [x, len(bytearray(200 << 20))]");
    let limited = |gib: u64, args: &[&str]| {
        let mut command = std::process::Command::new("prlimit");
        command
            .arg(format!("--as={}", gib << 30))
            .arg(env!("CARGO_BIN_EXE_ppwasm"))
            .args(args)
            .current_dir(folder.path());
        finish(command, b"")
    };
    let range = ["submit", "job.py:f", "--range", "1-8", "--local"];
    let run = limited(3, &[&range[..], &["--slots", "2"]].concat());
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(run.stdout, folder.ppwasm(&range).stdout);
    let run = limited(3, &["doctor", "--self-test"]);
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    for text in ["limited to 3 GiB", "room for 2 slots", "-checked, digest"] {
        assert!(run.stdout.contains(text), "{text}: {}", run.stdout);
    }
    let run = limited(1, &["doctor"]);
    assert_eq!(run.code, 5, "{}", run.stdout);
    assert!(
        run.stdout.contains("PROBLEM: 47 bits, limited to 1 GiB"),
        "{}",
        run.stdout
    );
}

#[test]
fn without_a_guest_it_says_where_it_looked() {
    let folder = Folder::job("def f(): pass");
    let mut command = folder.command(&["submit", "job.py:f"]);
    command.env("PPWASM_GUEST_DIR", folder.path().join("gone"));
    let run = finish(command, b"");
    run.says(
        5,
        &[
            "error: could not prepare the sandbox: could not read ",
            "gone/guest.json",
        ],
    );
    let mut command = folder.command(&["doctor"]);
    command.env("PPWASM_GUEST_DIR", folder.path().join("gone"));
    let run = finish(command, b"");
    assert_eq!(run.code, 5);
    assert!(
        run.stdout.contains("PROBLEM: could not read "),
        "{}",
        run.stdout
    );
}

#[test]
fn completions_know_the_flags() {
    let folder = Folder::new(&[]);
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let run = folder.ppwasm(&["completions", shell]);
        assert_eq!((run.code, run.said().as_str()), (0, ""), "{shell}");
        for word in ["submit", "doctor", "keep-going", "each-line"] {
            assert!(run.stdout.contains(word), "{shell}: {word}");
        }
    }
    assert_eq!(folder.ppwasm(&["completions", "tcsh"]).code, 2);
}

#[test]
fn bash_accepts_its_completions() {
    let folder = Folder::new(&[]);
    let script = folder.ppwasm(&["completions", "bash"]).stdout;
    let path = folder.write("ppwasm.bash", script);
    let mut bash = std::process::Command::new("bash");
    let test = "source \"$0\"; COMP_WORDS=(ppwasm submit --ra); COMP_CWORD=2; _ppwasm ppwasm --ra submit; echo \"${COMPREPLY[@]}\"";
    let run = finish(
        {
            bash.args(["--norc", "-c", test]).arg(path);
            bash
        },
        b"",
    );
    assert_eq!(
        (run.code, run.stdout.as_str()),
        (0, "--range\n"),
        "{}",
        run.stderr
    );
}

#[test]
fn the_manual_pages_are_written() {
    let folder = Folder::new(&[]);
    let run = folder.ppwasm(&["man"]);
    assert!(
        run.stdout.contains(".TH ppwasm 1") && run.code == 0,
        "{}",
        run.stdout
    );
    folder.ppwasm(&["man", "--dir", "man1"]).prints("");
    let page = std::fs::read_to_string(folder.path().join("man1/ppwasm-submit.1")).unwrap();
    assert!(
        page.contains("keep\\-going") && page.contains("Exit codes"),
        "{page}"
    );
    let mut names: Vec<_> = std::fs::read_dir(folder.path().join("man1"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "ppwasm-certs.1",
            "ppwasm-completions.1",
            "ppwasm-config.1",
            "ppwasm-coordinator.1",
            "ppwasm-doctor.1",
            "ppwasm-function.1",
            "ppwasm-job.1",
            "ppwasm-login.1",
            "ppwasm-logout.1",
            "ppwasm-man.1",
            "ppwasm-submit.1",
            "ppwasm-task.1",
            "ppwasm-worker.1",
            "ppwasm.1"
        ]
    );
    folder.write("file", "");
    folder
        .ppwasm(&["man", "--dir", "file/x"])
        .says(2, &["error: --dir: could not create file/x"]);
}

#[test]
fn the_first_run_says_what_it_does_and_the_second_has_it() {
    let folder = Folder::job("def f(): return 1");
    let run = |args: &[&str]| {
        let mut command = folder.command(args);
        command.env("PPWASM_CACHE_DIR", folder.path().join("cache"));
        finish(command, b"")
    };
    let first = run(&["submit", "job.py:f"]);
    let said = "preparing the sandbox for this machine, once; this takes some seconds\n";
    assert_eq!(
        (first.code, first.stdout.as_str(), first.stderr.as_str()),
        (0, "1\n", said)
    );
    let second = run(&["submit", "job.py:f"]);
    assert_eq!(
        (second.code, second.stdout.as_str(), second.stderr.as_str()),
        (0, "1\n", "")
    );
}

#[test]
fn a_cache_that_cannot_be_written_is_told() {
    let folder = Folder::job("def f(): return 1");
    let file = folder.write("file", "");
    let run = |args: &[&str]| {
        let mut command = folder.command(args);
        command.env("PPWASM_CACHE_DIR", file.join("cache"));
        finish(command, b"")
    };
    let submit = run(&["submit", "job.py:f"]);
    assert_eq!(
        (submit.code, submit.stdout.as_str()),
        (0, "1\n"),
        "{}",
        submit.stderr
    );
    assert!(
        submit
            .stderr
            .contains("warning: every run has to prepare the sandbox anew: could not "),
        "{}",
        submit.stderr
    );
}
