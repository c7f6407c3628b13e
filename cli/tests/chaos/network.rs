//! Workers behind a network that does what networks do.

use std::time::Duration;

use ppwasm_client::{Client, Order};

use crate::cluster::{
    Cluster, PATIENCE, PATIENT, Process, SHORT, machine, until, within, within_time,
};
use crate::relay::{Relay, Weather};
use crate::work::{all_results, all_results_of, check, id, lost_attempts, submit};

/// A hundred tasks, one with a large result, take 20 to 110 s when a third of all that is sent is lost each way.
const STORM: Duration = Duration::from_secs(400);
const NOTHING: Duration = Duration::ZERO;

/// Two workers: one near, one behind the relay.
struct Net {
    cluster: Cluster,
    client: Client,
    relay: Relay,
    _near: Option<Process>,
    far: Process,
}

impl Net {
    async fn start(seed: u64, has_near: bool) -> Self {
        Self::start_with(seed, has_near, &SHORT).await
    }

    async fn start_with(seed: u64, has_near: bool, flags: &[&str]) -> Self {
        let cluster = Cluster::start_with(flags, &[], None).await;
        let client = cluster.client("ann").await;
        let relay = Relay::start(cluster.address, seed).await;
        let near = if has_near {
            cluster.enrol("near").await;
            Some(cluster.worker("near", 1))
        } else {
            None
        };
        cluster.enrol("far").await;
        let far = cluster.worker_at("far", 1, relay.address);
        let count = 1 + usize::from(has_near);
        cluster.connected_workers(&client, count).await;
        Self {
            cluster,
            client,
            relay,
            _near: near,
            far,
        }
    }

    /// How many attempts were lost.
    async fn run(&self, job: u8, tasks: u64) -> u64 {
        self.run_within(PATIENCE, job, tasks).await
    }

    async fn run_within(&self, patience: Duration, job: u8, tasks: u64) -> u64 {
        let job = id(job);
        submit(&self.client, job, "work", tasks, NOTHING)
            .await
            .unwrap();
        let results = all_results(&self.client, job);
        let recorded = within_time(patience, "the results", results).await;
        let recorded = recorded.unwrap();
        assert_eq!(recorded.len() as u64, tasks);
        lost_attempts(&self.client, job).await
    }
}

#[tokio::test]
async fn case_22_loss_jitter_swaps_and_repeats_lose_nothing() {
    let _machine = machine().await;
    // Leases as users have them: those of the other tests are shorter than a message may take here.
    let net = Net::start_with(22, false, &[]).await;
    // The function's image is megabytes, and would take minutes in such weather.
    net.run(1, 20).await;
    net.relay.set(Weather {
        lost: 30,
        twice: 10,
        jitter: Duration::from_millis(200),
        ..Weather::default()
    });
    // The session may be lost for longer than the coordinator waits, and with it all that the worker holds. While there
    // is one, slow as it is, no lease runs out.
    let lost = net.run_within(STORM, 2, 100).await;
    let said = net.cluster.coordinator.said();
    let sessions_lost = said.matches("worker left").count() as u64;
    assert!(lost <= 100 * sessions_lost, "{lost} attempts lost: {said}");
}

#[tokio::test]
async fn case_23_a_partition_longer_than_a_lease_gives_the_tasks_to_others() {
    let _machine = machine().await;
    let net = Net::start(23, true).await;
    let job = id(1);
    let submitted = submit(&net.client, job, "long", 60, NOTHING);
    within("submitting", submitted).await.unwrap();
    let mut results = net.client.results(job, Order::Completion).await.unwrap();
    within("a result", results.next()).await.unwrap();
    net.relay.set(Weather::CUT);
    // All of it, while the far worker is away and may hold some.
    let mut count = 1;
    while let Some(result) = within("results", results.next()).await.unwrap() {
        assert!(result.attempt.is_some(), "{result:?}");
        count += 1;
    }
    assert_eq!(count, 60);
    net.relay.set(Weather::default());
    // It comes back, with results that nobody needs, and works on.
    net.cluster.connected_workers(&net.client, 2).await;
    net.run(2, 200).await;
    let mut nothing = |_: &ppwasm_client::TaskResult| {};
    let again = all_results_of(&net.client, job, Order::Task, &mut nothing);
    assert_eq!(again.await.unwrap().len(), 60);
}

#[tokio::test]
async fn case_24_a_worker_that_hears_and_is_not_heard_stops_and_others_go_on() {
    let _machine = machine().await;
    let net = Net::start(24, true).await;
    for (is_cut_up, is_cut_down) in [(true, false), (false, true)] {
        net.relay.set(Weather {
            is_cut_up,
            is_cut_down,
            ..Weather::default()
        });
        net.run(1 + u8::from(is_cut_up), 300).await;
        net.relay.set(Weather::default());
        net.cluster.connected_workers(&net.client, 2).await;
    }
}

#[tokio::test]
async fn case_25_a_link_that_comes_and_goes_uses_no_attempts_up() {
    let _machine = machine().await;
    let net = Net::start(25, false).await;
    let job = id(1);
    let client = &net.client;
    let flapping = async {
        let mut is_cut = false;
        loop {
            is_cut = !is_cut;
            let weather = if is_cut {
                Weather::CUT
            } else {
                Weather::default()
            };
            net.relay.set(weather);
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    };
    let work = async {
        let pause = Duration::from_millis(400);
        submit(client, job, "work", 2000, pause).await.unwrap();
        within("the results", all_results(client, job))
            .await
            .unwrap()
    };
    let recorded = tokio::select! {
        recorded = work => recorded,
        () = flapping => unreachable!("it goes on"),
    };
    assert_eq!(recorded.len(), 2000);
}

#[tokio::test]
async fn case_27_a_session_survives_another_address() {
    let _machine = machine().await;
    let mut net = Net::start_with(27, false, &PATIENT).await;
    assert_eq!(net.run(1, 100).await, 0);
    let sessions = |net: &Net| {
        let said = net.cluster.coordinator.said();
        said.matches("worker joined").count()
    };
    // A machine that stands still for seconds loses sessions as well: of three changes one has to leave it the session.
    let mut changes = 2..5;
    let survives = async |net: &Net, job| {
        let before = sessions(net);
        net.relay.rebind();
        assert_eq!(net.run(job, 300).await, 0, "tasks that ran again");
        sessions(net) == before
    };
    while !survives(&net, changes.next().expect("no change is survived")).await {}
    assert!(net.far.is_running());
    let joined = net.far.said().matches("serves").count();
    assert_eq!(joined, 1, "{}", net.far.said());
}

#[tokio::test]
async fn case_28_large_datagrams_that_vanish_stop_nothing() {
    let _machine = machine().await;
    let net = Net::start_with(28, false, &PATIENT).await;
    assert_eq!(net.run(1, 50).await, 0);
    // What QUIC starts with gets through. Results that are blobs fill larger ones, which do not any more.
    net.relay.set(Weather {
        bytes_max: Some(1252),
        ..Weather::default()
    });
    net.run(2, 300).await;
}

#[tokio::test]
async fn case_26_all_links_are_cut_and_come_back_one_by_one() {
    let _machine = machine().await;
    let cluster = Cluster::start().await;
    let client = cluster.client("ann").await;
    let mut links = Vec::new();
    for number in 0..3 {
        let relay = Relay::start(cluster.address, 26 + number).await;
        let name = format!("w{number}");
        cluster.enrol(&name).await;
        let worker = cluster.worker_at(&name, 1, relay.address);
        links.push((relay, worker));
    }
    cluster.connected_workers(&client, 3).await;
    let job = id(1);
    submit(&client, job, "work", 3000, NOTHING).await.unwrap();
    let mut results = client.results(job, Order::Completion).await.unwrap();
    let mut count = 0;
    for _ in 0..200 {
        let result = within("results", results.next()).await.unwrap();
        check(&result.unwrap());
        count += 1;
    }
    for (relay, _) in &links {
        relay.set(Weather::CUT);
    }
    let operator = &client;
    within("all workers away", async {
        loop {
            let workers = operator.workers(None).await.unwrap().workers;
            let is_away = |w: &ppwasm_proto::wire::WorkerSummary| {
                w.state == ppwasm_proto::wire::WorkerState::Away
            };
            if workers.iter().all(is_away) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    for (relay, _) in links.iter().rev() {
        relay.set(Weather::default());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    while let Some(result) = within("results", results.next()).await.unwrap() {
        check(&result);
        count += 1;
    }
    assert_eq!(count, 3000);
    let running = links.iter_mut().all(|(_, worker)| worker.is_running());
    until("all workers run", || running).await;
}
