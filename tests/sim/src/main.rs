//! `ppwasm-sim [--seed N | --seeds A..B] [--trace]`: runs seeds of the simulation, the ones that failed before first.

use std::process::ExitCode;
use std::time::Instant;

use ppwasm_sim::{Plan, World, regressions};

fn main() -> ExitCode {
    let mut seeds = 0..1000;
    let mut is_traced = false;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let value = match argument.as_str() {
            "--trace" => {
                is_traced = true;
                continue;
            }
            "--seed" | "--seeds" => arguments.next().unwrap_or_default(),
            _ => return usage(),
        };
        let range = match value.split_once("..") {
            Some((first, end)) => first.parse().ok().zip(end.parse().ok()),
            None => value.parse().ok().map(|seed: u64| (seed, seed + 1)),
        };
        match range {
            Some((first, end)) => seeds = first..end,
            None => return usage(),
        }
    }
    if seeds.end - seeds.start == 1 {
        println!("seed {}: {:#?}", seeds.start, Plan::of_seed(seeds.start));
    } else {
        println!("seeds {seeds:?}, after those in regressions.txt");
    }
    let (started, mut events, mut ended, mut failures) = (Instant::now(), 0, 0, 0);
    let count = seeds.end - seeds.start;
    let first = regressions().filter(|_| count > 1);
    for seed in first.chain(seeds) {
        let mut world = World::new(seed, Plan::of_seed(seed), None);
        world.is_traced = is_traced;
        match world.run() {
            Ok(report) => {
                events += report.events;
                ended += report.ended;
                if count == 1 {
                    println!("{report:?}");
                }
            }
            Err(failure) => {
                println!("{failure}");
                failures += 1;
                if failures >= 20 {
                    break;
                }
            }
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{count} seeds, {events} events, {ended} tasks, {failures} failures in {seconds:.1} s"
    );
    ExitCode::from(u8::from(failures > 0))
}

fn usage() -> ExitCode {
    println!("usage: ppwasm-sim [--seed N | --seeds A..B] [--trace]");
    ExitCode::from(2)
}
