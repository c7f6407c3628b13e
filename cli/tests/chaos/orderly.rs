//! What people do on purpose, and what stops without an end: drains, stops, restarts, processes that stand still.

use std::time::Duration;

use ppwasm_client::{Client, Order, Results};

use crate::cluster::{Cluster, Process, machine, within};
use crate::work::{Recorded, all_results, check, id, lost_attempts, submit};

const NOTHING: Duration = Duration::ZERO;

/// A client of a cluster, and so many workers of one slot.
async fn populated(cluster: Cluster, workers: usize) -> (Cluster, Client, Vec<Process>) {
    let client = cluster.client("ann").await;
    let mut running = Vec::new();
    for number in 0..workers {
        let name = format!("w{number}");
        cluster.enrol(&name).await;
        running.push(cluster.worker(&name, 1));
    }
    cluster.connected_workers(&client, workers).await;
    (cluster, client, running)
}

async fn some(results: &mut Results, count: usize, recorded: &mut Recorded) {
    for _ in 0..count {
        let result = within("results", results.next()).await.unwrap();
        let result = result.expect("more results");
        check(&result);
        assert_eq!(recorded.insert(result.task.0, result.attempt), None);
    }
}

async fn rest(results: &mut Results, recorded: &mut Recorded) {
    while let Some(result) = within("results", results.next()).await.unwrap() {
        check(&result);
        assert_eq!(recorded.insert(result.task.0, result.attempt), None);
    }
}

#[tokio::test]
async fn case_13_a_drain_under_load_loses_and_repeats_nothing() {
    let _machine = machine().await;
    let (_cluster, client, mut workers) = populated(Cluster::start_patiently().await, 2).await;
    submit(&client, id(1), "work", 3000, NOTHING).await.unwrap();
    let mut results = client.results(id(1), Order::Completion).await.unwrap();
    let mut recorded = Recorded::new();
    some(&mut results, 300, &mut recorded).await;
    workers[0].signal("TERM");
    let status = workers[0].end().await;
    assert!(status.success(), "{status}: {}", workers[0].said());
    rest(&mut results, &mut recorded).await;
    assert_eq!(recorded.len(), 3000);
    assert_eq!(lost_attempts(&client, id(1)).await, 0);
}

#[tokio::test]
async fn case_13_a_coordinator_that_stops_and_starts_under_load_repeats_nothing() {
    let _machine = machine().await;
    let (mut cluster, client, mut workers) = populated(Cluster::start_patiently().await, 2).await;
    submit(&client, id(1), "work", 3000, NOTHING).await.unwrap();
    let mut results = client.results(id(1), Order::Completion).await.unwrap();
    let mut recorded = Recorded::new();
    for _ in 0..2 {
        some(&mut results, 300, &mut recorded).await;
        cluster.stop().await;
        cluster.restart_coordinator().await;
    }
    rest(&mut results, &mut recorded).await;
    // The workers had their tasks, and the results of those, all the time.
    assert_eq!(recorded.len(), 3000);
    assert_eq!(lost_attempts(&client, id(1)).await, 0);
    assert!(workers.iter_mut().all(Process::is_running));
    drop(client);
    cluster.stop().await;
    cluster.check_store().await;
}

#[tokio::test]
async fn case_10_a_worker_that_stood_still_beyond_its_lease_changes_nothing() {
    let _machine = machine().await;
    let (cluster, client, workers) = populated(Cluster::start().await, 2).await;
    submit(&client, id(1), "work", 1500, NOTHING).await.unwrap();
    let mut results = client.results(id(1), Order::Completion).await.unwrap();
    let mut recorded = Recorded::new();
    some(&mut results, 200, &mut recorded).await;
    workers[0].signal("STOP");
    rest(&mut results, &mut recorded).await;
    workers[0].signal("CONT");
    assert_eq!(recorded.len(), 1500);
    // It comes back and works.
    cluster.connected_workers(&client, 2).await;
    submit(&client, id(2), "work", 300, NOTHING).await.unwrap();
    let more = all_results(&client, id(2)).await.unwrap();
    assert_eq!(more.len(), 300);
    let again = all_results(&client, id(1)).await.unwrap();
    assert_eq!(again, recorded);
}

#[tokio::test]
async fn case_09_a_coordinator_that_stood_still_beyond_all_leases_gives_nothing_out_again() {
    let _machine = machine().await;
    // What ends here are leases. How soon workers are back afterwards is the machine's affair.
    let flags = ["--lease=6s", "--reconnect-grace=5m", "--restart-grace=5m"];
    let cluster = Cluster::start_with(&flags, &[], None).await;
    let (cluster, client, mut workers) = populated(cluster, 2).await;
    submit(&client, id(1), "work", 1500, NOTHING).await.unwrap();
    let mut results = client.results(id(1), Order::Completion).await.unwrap();
    let mut recorded = Recorded::new();
    some(&mut results, 200, &mut recorded).await;
    cluster.coordinator.signal("STOP");
    // Longer than leases last (6 s), and than sessions without a sign of life.
    tokio::time::sleep(Duration::from_secs(8)).await;
    cluster.coordinator.signal("CONT");
    rest(&mut results, &mut recorded).await;
    assert_eq!(recorded.len(), 1500);
    // What ran at the two workers was stopped there at most: they fence themselves.
    let lost = lost_attempts(&client, id(1)).await;
    assert!(lost <= 4, "{lost}");
    assert!(workers.iter_mut().all(Process::is_running));
}

#[tokio::test]
async fn case_11_a_second_coordinator_on_the_same_folder_does_not_start() {
    let _machine = machine().await;
    let (cluster, client, _workers) = populated(Cluster::start().await, 1).await;
    let kept = cluster.kept.to_str().unwrap();
    let args = [
        "coordinator",
        "start",
        "--dir",
        kept,
        "--listen",
        "127.0.0.1:0",
    ];
    let mut second = cluster.command(&args);
    let output = tokio::task::spawn_blocking(move || second.output().unwrap());
    let output = within("its refusal", output).await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("in use"), "{said}");
    // The first does not notice, and its address is still told.
    submit(&client, id(1), "work", 100, NOTHING).await.unwrap();
    let recorded = all_results(&client, id(1)).await.unwrap();
    assert_eq!(recorded.len(), 100);
    let told = std::fs::read_to_string(cluster.kept.join("address")).unwrap();
    assert_eq!(told.trim(), cluster.address.to_string());
}

#[tokio::test]
async fn case_01_a_killed_workers_tasks_run_elsewhere_soon() {
    let _machine = machine().await;
    let (cluster, client, mut workers) = populated(Cluster::start().await, 2).await;
    submit(&client, id(1), "work", 1500, NOTHING).await.unwrap();
    let mut results = client.results(id(1), Order::Completion).await.unwrap();
    let mut recorded = Recorded::new();
    some(&mut results, 200, &mut recorded).await;
    workers[0].kill();
    rest(&mut results, &mut recorded).await;
    assert_eq!(recorded.len(), 1500);
    drop((results, cluster));
}
