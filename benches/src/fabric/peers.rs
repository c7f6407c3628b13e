//! The systems that the fabric is compared with: `peers/peers.py`, a new process for each measurement, so that none is
//! in another's way.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context, ensure};
use serde::Deserialize;

use crate::Settings;
use crate::record::Record;
use crate::stats::median;

/// A peer: its name in `peers.py`, its figures, how many calls it gets, how many of them one at a time.
struct Peer {
    name: &'static str,
    rate: &'static str,
    trip: &'static str,
    calls: usize,
    trips: usize,
}

const fn peer(
    name: &'static str,
    (rate, trip): (&'static str, &'static str),
    calls: usize,
    trips: usize,
) -> Peer {
    Peer {
        name,
        rate,
        trip,
        calls,
        trips,
    }
}

/// A few seconds each.
const PEERS: [Peer; 7] = [
    peer(
        "pool",
        ("pool_tasks_per_s", "pool_round_trip_us"),
        50_000,
        2_000,
    ),
    peer(
        "executor",
        ("executor_tasks_per_s", "executor_round_trip_us"),
        10_000,
        2_000,
    ),
    peer(
        "ppft",
        ("ppft_tasks_per_s", "ppft_round_trip_us"),
        2_000,
        1_000,
    ),
    peer(
        "ppft_remote",
        ("ppft_remote_tasks_per_s", "ppft_remote_round_trip_us"),
        100,
        20,
    ),
    peer(
        "ppft_nodelay",
        ("ppft_nodelay_tasks_per_s", "ppft_nodelay_round_trip_us"),
        2_000,
        1_000,
    ),
    peer(
        "dask",
        ("dask_tasks_per_s", "dask_round_trip_us"),
        1_000,
        100,
    ),
    peer("ray", ("ray_tasks_per_s", "ray_round_trip_us"), 5_000, 500),
];

/// What `peers.py` says.
#[derive(Debug, Deserialize)]
struct Measured {
    start_s: f64,
    tasks_per_s: f64,
    round_trip_us: f64,
}

/// What was measured of each peer, or why not.
#[derive(Default)]
pub(super) struct Samples(BTreeMap<&'static str, Result<Vec<Measured>, String>>);

impl Samples {
    /// Measures each once more.
    pub(super) fn take(&mut self, settings: &Settings) {
        for peer in &PEERS {
            let samples = self.0.entry(peer.name).or_insert_with(|| Ok(Vec::new()));
            let Ok(found) = samples else { continue };
            match measure(settings, peer) {
                Ok(measured) => found.push(measured),
                Err(error) => *samples = Err(format!("{error:#}")),
            }
        }
    }

    /// Records of all figures, with the fabric's own of the same run to compare with.
    pub(super) fn records(self, fabric: &[Record]) -> Vec<Record> {
        let own = |name: &str| fabric.iter().find(|record| record.name == name)?.value;
        let against = |record: Record, name: &str| match own(name) {
            Some(value) => record.against(name, value),
            None => record,
        };
        let mut records = Vec::new();
        for peer in &PEERS {
            let samples = match self.0.get(peer.name) {
                Some(Ok(samples)) if !samples.is_empty() => samples,
                Some(Err(why)) => {
                    records.extend([peer.rate, peer.trip].map(|name| Record::absent(name, why)));
                    continue;
                }
                _ => continue,
            };
            let middle =
                |of: fn(&Measured) -> f64| median(&mut samples.iter().map(of).collect::<Vec<_>>());
            let start = middle(|measured| measured.start_s);
            records.push(against(
                Record::new(peer.rate, middle(|measured| measured.tasks_per_s))
                    .note(format!("start to first result {:.0} ms", start * 1e3)),
                "fabric_tasks_per_s",
            ));
            records.push(against(
                Record::new(peer.trip, middle(|measured| measured.round_trip_us)),
                "fabric_round_trip_p50_us",
            ));
        }
        records
    }
}

fn measure(settings: &Settings, peer: &Peer) -> anyhow::Result<Measured> {
    let python = settings.peers.as_ref();
    let python = python.context("no Python with the peers: benches/prepare.sh peers makes one")?;
    // A tenth of the calls of the slow one would be none.
    let calls = settings.repetitions(peer.calls).max(50);
    let trips = settings.repetitions(peer.trips).max(10);
    let output = Command::new(python)
        .arg(settings.checkout.join("benches/peers/peers.py"))
        .args([peer.name, &calls.to_string(), &trips.to_string()])
        .output()
        .with_context(|| format!("could not start {}", python.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().last().unwrap_or_default();
    ensure!(output.status.success(), "{} failed: {last}", peer.name);
    let text = String::from_utf8_lossy(&output.stdout);
    // Some of them greet.
    let line = text.lines().last().context("it said nothing")?;
    serde_json::from_str(line).context("it said something else")
}
