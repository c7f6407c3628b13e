//! Seeds that have to pass, and faults on purpose that have to be seen.

use ppwasm_sim::{Report, Sabotage, regressions, run};

/// How many seeds run by default; more with `PPWASM_SIM_SEEDS`.
const SEEDS: u64 = 10_000;

fn seeds() -> u64 {
    let more = std::env::var("PPWASM_SIM_SEEDS").ok();
    more.and_then(|seeds| seeds.parse().ok()).unwrap_or(SEEDS)
}

fn pass(seed: u64) -> Report {
    match run(seed, None) {
        Ok(report) => report,
        Err(failure) => {
            panic!("{failure}\nagain with: ppwasm-sim --seed {seed} --trace");
        }
    }
}

#[test]
fn seeds_that_failed_once_pass() {
    let mut count = 0;
    for seed in regressions() {
        pass(seed);
        count += 1;
    }
    assert!(count >= 5, "regressions.txt lists {count}");
}

#[test]
fn promises_hold_in_chaos_and_everything_ends_after_it() {
    let mut all = Report::default();
    for seed in 0..seeds() {
        let report = pass(seed);
        all.ended += report.ended;
        all.given_up += report.given_up;
        all.coordinator_starts += report.coordinator_starts;
        all.confirmed += report.confirmed;
        all.caught += report.caught;
        all.early += report.early;
        all.from_cache += report.from_cache;
    }
    // The seeds have to be worth something: work, restarts, and tasks that had to be given up.
    assert!(all.ended > seeds() * 30, "{all:?}");
    assert!(all.coordinator_starts > seeds() * 5 / 4, "{all:?}");
    assert!(all.given_up > seeds() / 100, "{all:?}");
    assert!(all.confirmed > seeds() * 5, "{all:?}");
    assert!(all.caught > seeds() / 50, "{all:?}");
    assert!(all.early > seeds(), "{all:?}");
    assert!(all.from_cache > seeds(), "{all:?}");
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..50 {
        assert_eq!(run(seed, None), run(seed, None));
    }
}

/// The oracle sees each kind of sabotage within a few hundred seeds, or it is not one.
#[test]
fn what_is_broken_on_purpose_is_seen() {
    for sabotage in Sabotage::ALL {
        let first = (0..600).find_map(|seed| run(seed, Some(sabotage)).err());
        let failure = first.unwrap_or_else(|| panic!("{sabotage:?} is not seen"));
        println!(
            "{sabotage:?}: {failure}",
            failure = failure.to_string().lines().next().unwrap_or("")
        );
    }
}
