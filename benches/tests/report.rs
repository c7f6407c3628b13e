//! The report is valid: every figure that was promised, in the documented form.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// What issue and README promise, whatever else is measured.
const PROMISED: [&str; 21] = [
    "fresh_call_p50_us",
    "fresh_call_p99_us",
    "fresh_call_page_faults",
    "fresh_calls_per_s_1_slot",
    "fresh_calls_per_s_2_slots",
    "fresh_calls_per_s_2_slots_over_1_slot",
    "same_instance_call_us",
    "first_call_over_later_call",
    "slot_idle_rss_kib",
    "submit_local_first_result_ms",
    "guest_slowdown_geomean",
    "process_pool_tasks_per_s",
    "fabric_tasks_per_s",
    "fabric_round_trip_p50_us",
    "coordinator_cpu_us_per_task",
    "coordinator_queued_bytes_per_task",
    "restart_100k_queued_s",
    "worker_join_to_first_result_ms",
    "kill_worker_to_restart_s",
    "balance_ratio",
    "workers_1000_sim",
];

fn report(arguments: &[&str], output: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_report"))
        .args(arguments)
        .arg("--output")
        .arg(output)
        .output()
        .expect("the program was built with this test")
}

#[test]
fn a_quick_run_gives_a_record_for_every_figure() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.json");
    // Those that need nothing but the guest.
    let taken = [
        "fresh_call_p50_us",
        "first_call_over_later_call",
        "restart_100k_queued_s",
    ];
    let ran = report(&["--quick", "--only", taken[0], taken[1], taken[2]], &path);
    assert!(
        ran.status.success(),
        "{}",
        String::from_utf8_lossy(&ran.stderr)
    );

    let report: Vec<Value> = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let named = |name: &str| report.iter().find(|record| record["name"] == name).unwrap();
    for name in PROMISED {
        let record = named(name);
        assert!(
            record["value"].is_f64() || record["note"].is_string(),
            "{record}"
        );
        assert!(
            record["unit"].is_string() && record["baseline"].is_string(),
            "{record}"
        );
        assert!(
            record["better"] == "lower" || record["better"] == "higher",
            "{record}"
        );
        assert!(record.get("baseline_value").is_some(), "{record}");
    }
    for name in taken {
        assert!(named(name)["value"].as_f64().unwrap() > 0.0);
    }
    let table = String::from_utf8(ran.stdout).unwrap();
    assert_eq!(table.lines().count(), report.len());
}

#[test]
fn a_figure_that_does_not_exist_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.json");
    let ran = report(&["--only", "fresh_call_p5_us"], &path);
    assert!(!ran.status.success() && !path.exists());
    assert!(String::from_utf8_lossy(&ran.stderr).contains("no figure fresh_call_p5_us"));
}
