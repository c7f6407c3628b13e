//! One call in a fresh instance: time, page faults, and what the first one costs.

use std::time::Instant;

use ppwasm_host::{Function, Host, HostError, Slot, StartPath};

use crate::record::Record;
use crate::stats::{median, quantile};
use crate::system::thread_counts;
use crate::{Settings, noop, with_guest_stack};

/// Calls before anything is counted, so that caches and the set of pages are what they stay.
const WARM_UP_CALLS: usize = 500;
/// Calls in a row on one path before the other's turn.
const BATCH_CALLS: usize = 500;

/// Times of single calls, in microseconds, and what the kernel counted.
#[derive(Default)]
struct Calls {
    times_us: Vec<f64>,
    page_faults: u64,
}

/// Fresh calls on both start paths, interleaved.
///
/// # Errors
///
/// No guest runs here, or an answer was wrong.
pub fn calls(settings: &Settings) -> anyhow::Result<Vec<Record>> {
    let host = settings.host(0)?;
    let function = noop::load(&host)?;
    let batches = settings.repetitions(40);
    let (overlay, pooled) = with_guest_stack(|| -> anyhow::Result<_> {
        let mut overlay = match host.slot_with(StartPath::Overlay) {
            Ok(slot) => Some((slot, Calls::default())),
            Err(HostError::System { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let mut pooled = (host.slot_with(StartPath::Pooled)?, Calls::default());
        for (slot, _) in overlay.iter_mut().chain([&mut pooled]) {
            run(slot, &function, WARM_UP_CALLS, &mut Calls::default())?;
        }
        for _ in 0..batches {
            for (slot, calls) in overlay.iter_mut().chain([&mut pooled]) {
                run(slot, &function, BATCH_CALLS, calls)?;
            }
        }
        Ok((overlay.map(|(_, calls)| calls), pooled.1))
    })?;
    let mut records = Vec::new();
    let mut pooled = pooled;
    let mut best = match overlay {
        Some(calls) => calls,
        None => std::mem::take(&mut pooled),
    };
    let faults = best.page_faults as f64 / best.times_us.len() as f64;
    records.push(Record::new("fresh_call_p50_us", median(&mut best.times_us)));
    records.push(Record::new(
        "fresh_call_p99_us",
        quantile(&mut best.times_us, 0.99),
    ));
    records.push(Record::new("fresh_call_page_faults", faults));
    if pooled.times_us.is_empty() {
        for record in &mut records {
            *record = record
                .clone()
                .note("start path D: the overlay is not available here");
        }
    } else {
        let faults = pooled.page_faults as f64 / pooled.times_us.len() as f64;
        records.push(Record::new(
            "fresh_call_pooled_p50_us",
            median(&mut pooled.times_us),
        ));
        records.push(Record::new("fresh_call_pooled_page_faults", faults));
    }
    Ok(records)
}

fn run(
    slot: &mut Slot,
    function: &Function,
    count: usize,
    calls: &mut Calls,
) -> anyhow::Result<()> {
    for index in 0..count {
        let x = i64::try_from(index)?;
        let (task, answer) = (noop::task(x), noop::answer(x)?);
        let before = thread_counts();
        let started = Instant::now();
        let report = slot.run(function, task)?;
        let time = started.elapsed();
        calls.page_faults += thread_counts().page_faults - before.page_faults;
        calls.times_us.push(time.as_secs_f64() * 1e6);
        noop::check(&report, &answer)?;
    }
    Ok(())
}

/// The first call of a function that is new to the host (bundle, image, call) over a later one.
///
/// # Errors
///
/// No guest runs here, or an answer was wrong.
pub fn first_call(settings: &Settings) -> anyhow::Result<Vec<Record>> {
    let host = settings.host(0)?;
    let functions = settings.repetitions(30).max(5);
    let (mut first, mut later) = with_guest_stack(|| first_and_later(&host, functions))?;
    let (first, later) = (median(&mut first), median(&mut later));
    Ok(vec![
        Record::new("first_call_over_later_call", first / later),
        Record::new("first_call_us", first).note("bundle, image and one call"),
    ])
}

fn first_and_later(host: &Host, functions: usize) -> anyhow::Result<(Vec<f64>, Vec<f64>)> {
    let answer = noop::answer(41)?;
    let (mut firsts, mut laters) = (Vec::new(), Vec::new());
    let mut slot = host.slot()?;
    for variant in 1..=functions {
        let bundle = noop::bundle(variant)?;
        let started = Instant::now();
        let function = host.load(&bundle)?;
        let report = slot.run(&function, noop::task(41))?;
        firsts.push(started.elapsed().as_secs_f64() * 1e6);
        noop::check(&report, &answer)?;
        for _ in 0..100 {
            let started = Instant::now();
            let report = slot.run(&function, noop::task(41))?;
            laters.push(started.elapsed().as_secs_f64() * 1e6);
            noop::check(&report, &answer)?;
        }
    }
    Ok((firsts, laters))
}

/// A call in the same instance as the one before, which a job may ask for.
///
/// # Errors
///
/// No guest runs here, or an answer was wrong.
pub fn same_instance(settings: &Settings) -> anyhow::Result<Vec<Record>> {
    let host = settings.host(0)?;
    let function = noop::load(&host)?;
    let calls = settings.repetitions(20_000).max(1_000);
    let mut times = with_guest_stack(|| -> anyhow::Result<Vec<f64>> {
        let mut slot = host.slot()?;
        let mut times = Vec::new();
        for index in 0..calls + WARM_UP_CALLS {
            let x = i64::try_from(index)?;
            let (task, answer) = (noop::task(x).keep_instance(true), noop::answer(x)?);
            let started = Instant::now();
            let report = slot.run(&function, task)?;
            let time = started.elapsed();
            noop::check(&report, &answer)?;
            if index >= WARM_UP_CALLS {
                times.push(time.as_secs_f64() * 1e6);
            }
        }
        Ok(times)
    })?;
    Ok(vec![Record::new(
        "same_instance_call_us",
        median(&mut times),
    )])
}
