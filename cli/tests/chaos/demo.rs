//! `make cluster-demo`: coordinator and workers in networks of their own.

use std::process::{Command, Output};

use crate::cluster::machine;

const NETWORKS: [&str; 3] = ["ppwasm-demo-c", "ppwasm-demo-1", "ppwasm-demo-2"];

fn ip(args: &[&str]) -> Option<Output> {
    Command::new("ip").args(args).output().ok()
}

/// Whether networks can be made here; says why not.
fn has_networks() -> bool {
    let probe = "ppwasm-probe";
    match ip(&["netns", "add", probe]) {
        Some(output) if output.status.success() => {
            ip(&["netns", "delete", probe]);
            true
        }
        Some(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            println!("skipped: network namespaces need root: {}", said.trim());
            false
        }
        None => {
            println!("skipped: there is no ip command");
            false
        }
    }
}

#[tokio::test]
async fn the_cluster_demo_counts_primes_and_takes_everything_away() {
    let _machine = machine().await;
    if !has_networks() {
        return;
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/cluster-demo.sh");
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("timeout");
    command
        .args(["--signal=TERM", "1500", script])
        // Where it makes its own folder, which its processes have among their arguments.
        .env("TMPDIR", folder.path())
        .env("PPWASM", env!("CARGO_BIN_EXE_ppwasm"));
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = output.await.unwrap();
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{shown}{said}");
    assert!(
        shown.contains("Primes up to ten million: 664579"),
        "{shown}"
    );
    for worker in ["worker-1", "worker-2"] {
        let (_, listed) = shown.split_once("worker list").unwrap();
        assert!(listed.contains(worker), "{shown}");
    }
    let left = ip(&["netns", "list"]).unwrap().stdout;
    let left = String::from_utf8_lossy(&left).into_owned();
    assert!(!NETWORKS.iter().any(|name| left.contains(name)), "{left}");
    let processes = processes_with(folder.path().to_str().unwrap());
    assert_eq!(processes, Vec::<String>::new());
    let files = std::fs::read_dir(folder.path()).unwrap();
    assert_eq!(files.count(), 0, "its folder is there");
}

/// Command lines of the processes that have this text among their arguments.
fn processes_with(text: &str) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").unwrap();
    // One that ends meanwhile cannot be read.
    let lines = processes.filter_map(|entry| {
        let line = std::fs::read(entry.ok()?.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).replace('\0', " "))
    });
    lines.filter(|line| line.contains(text)).collect()
}
