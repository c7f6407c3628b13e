//! `docs/cli.md` says what the program does: every flag, every code, and its examples.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::support::Folder;

fn manual() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cli.md");
    fs::read_to_string(path).unwrap()
}

/// The flags in a help text: `--long` and `-s` at the beginning of a line.
fn flags(help: &str) -> BTreeSet<String> {
    let words = help
        .lines()
        .filter(|line| line.trim_start().starts_with('-'))
        .flat_map(|line| {
            let flags = line.trim_start().split("  ").next().unwrap_or_default();
            flags
                .split([' ', ',', '=', '['])
                .filter(|word| word.starts_with('-'))
                .map(str::to_owned)
        });
    words.collect()
}

#[test]
fn every_flag_and_command_is_in_the_manual() {
    let folder = Folder::new(&[]);
    let manual = manual();
    let top = folder.ppwasm(&["--help"]);
    assert_eq!(top.code, 0);
    for command in [
        "submit",
        "job",
        "task",
        "function",
        "worker",
        "login",
        "logout",
        "config",
        "doctor",
        "completions",
        "man",
    ] {
        assert!(
            top.stdout.contains(&format!("\n  {command} ")),
            "{}",
            top.stdout
        );
        assert!(
            manual.contains(&format!("\n## ppwasm {command}\n")),
            "{command}"
        );
        let help = folder.ppwasm(&[command, "--help"]);
        let flags = flags(&help.stdout);
        assert!(flags.contains("--help"), "{}", help.stdout);
        for flag in flags {
            let is_there = ["`", " ", "=", "["]
                .iter()
                .any(|end| manual.contains(&format!("{flag}{end}")));
            assert!(is_there, "{command} {flag}");
        }
    }
    let submit = flags(&folder.ppwasm(&["submit", "--help"]).stdout);
    assert!(
        submit.len() > 20 && submit.contains("--keep-going") && submit.contains("-q"),
        "{submit:?}"
    );
}

#[test]
fn no_flag_in_the_manual_is_unknown() {
    let folder = Folder::new(&[]);
    let commands = [
        "submit",
        "job list",
        "job show",
        "job wait",
        "job results",
        "job logs",
        "worker start",
        "login",
        "certs token",
        "config show",
        "doctor",
        "man",
    ];
    let mut known: BTreeSet<String> = commands
        .iter()
        .flat_map(|command| {
            let words: Vec<_> = command.split(' ').chain(["--help"]).collect();
            flags(&folder.ppwasm(&words).stdout)
        })
        .collect();
    known.extend(["--version".into(), "--verbose".into()]);
    for word in manual().split(|c: char| !c.is_ascii_alphanumeric() && c != '-') {
        if word.starts_with("--") && word.len() > 2 && !word.trim_start_matches('-').is_empty() {
            let is_range = word
                .trim_start_matches('-')
                .chars()
                .all(|c| c.is_ascii_digit() || c == '-');
            let is_rule = word.chars().all(|c| c == '-');
            assert!(is_range || is_rule || known.contains(word), "{word}");
        }
    }
}

#[test]
fn the_exit_codes_are_the_same_in_help_and_manual() {
    let help = Folder::new(&[]).ppwasm(&["submit", "--help"]).stdout;
    let (_, table) = help.split_once("Exit codes:\n").unwrap();
    let manual = manual();
    for code in ["0", "1", "2", "3", "4", "5", "6", "130", "141", "143"] {
        assert!(manual.contains(&format!("\n| {code} | ")), "{code}");
        assert!(table.contains(code), "{code}");
    }
}

#[test]
fn the_manuals_example_does_what_it_shows() {
    let manual = manual();
    let (_, example) = manual.split_once("$ cat job.py\n").unwrap();
    let (source, example) = example.split_once("$ ppwasm ").unwrap();
    let (first, example) = example.split_once("$ ppwasm ").unwrap();
    let (second, _) = example.split_once("```").unwrap();
    let folder = Folder::job(source);
    for run in [first, second] {
        let (command, printed) = run.split_once('\n').unwrap();
        folder
            .ppwasm(&command.split(' ').collect::<Vec<_>>())
            .prints(printed);
    }
}
