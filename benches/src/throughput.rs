//! Calls per second through the host's queue, with one slot and with two, and those of Python's own pool of
//! processes, interleaved.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Instant;

use anyhow::{Context, ensure};
use ppwasm_host::{Function, Host};

use crate::record::Record;
use crate::stats::median;
use crate::system::process_cpu_ns;
use crate::{Settings, noop};

const CALLS: usize = 10_000;
const POOL_CALLS: usize = 3_000;
const SLOTS: usize = 2;

/// One measurement through the queue.
struct Rate {
    calls_per_s: f64,
    cpu_us: f64,
}

/// Calls per second.
///
/// # Errors
///
/// No guest or no Python runs here, or an answer was wrong.
pub fn calls_per_second(settings: &Settings) -> anyhow::Result<Vec<Record>> {
    let host = settings.host(1)?;
    let function = noop::load(&host)?;
    let mut pool = ProcessPool::start(settings)?;
    let (calls, pool_calls) = (
        settings.repetitions(CALLS),
        settings.repetitions(POOL_CALLS),
    );
    let (mut ones, mut twos, mut pools) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..settings.repetitions(70).max(3) {
        host.set_slots(1)?;
        let one = through_queue(&host, &function, calls)?;
        host.set_slots(SLOTS)?;
        let two = through_queue(&host, &function, calls)?;
        let processes = pool.measure(SLOTS, pool_calls)?;
        // The first round is warm-up.
        if round > 0 {
            ones.push(one);
            twos.push(two);
            pools.push(processes);
        }
    }
    pool.finish()?;
    let rate = |rates: &[Rate]| {
        median(
            &mut rates
                .iter()
                .map(|rate| rate.calls_per_s)
                .collect::<Vec<_>>(),
        )
    };
    let cpu =
        |rates: &[Rate]| median(&mut rates.iter().map(|rate| rate.cpu_us).collect::<Vec<_>>());
    let mut ratios: Vec<_> = ones
        .iter()
        .zip(&twos)
        .map(|(one, two)| two.calls_per_s / one.calls_per_s)
        .collect();
    let processes = median(&mut pools);
    let peer = format!("process_pool_tasks_per_s, {SLOTS} workers");
    let pool_note = format!(
        "{}, {SLOTS} workers; the baseline of the calls per second",
        settings.python_kind
    );
    Ok(vec![
        Record::new("fresh_calls_per_s_1_slot", rate(&ones)).against(peer.clone(), processes),
        Record::new("fresh_calls_per_s_2_slots", rate(&twos)).against(peer, processes),
        Record::new("fresh_calls_per_s_2_slots_over_1_slot", median(&mut ratios))
            .note("means something on 2 idle cores only"),
        Record::new("fresh_call_cpu_us_1_slot", cpu(&ones))
            .note("CPU time of the process, queue and check included"),
        Record::new("fresh_call_cpu_us_2_slots", cpu(&twos))
            .note("as with one slot if slots do not meet"),
        Record::new("process_pool_tasks_per_s", processes).note(pool_note),
    ])
}

/// Queues all calls at once; answers are checked where they arrive.
fn through_queue(host: &Host, function: &Function, calls: usize) -> anyhow::Result<Rate> {
    let answer: Arc<[u8]> = noop::answer(41)?.into();
    let right = Arc::new(AtomicUsize::new(0));
    let left = Arc::new(AtomicUsize::new(calls));
    let (send, finished) = sync_channel::<()>(1);
    let cpu_before = process_cpu_ns();
    let started = Instant::now();
    for _ in 0..calls {
        let (answer, right, left) = (Arc::clone(&answer), Arc::clone(&right), Arc::clone(&left));
        let send = send.clone();
        host.start_with(function, noop::task(41), move |report| {
            if report.is_ok_and(|report| noop::is_right(&report, &answer)) {
                right.fetch_add(1, Ordering::Relaxed);
            }
            if left.fetch_sub(1, Ordering::AcqRel) == 1 {
                // Nobody waits only if the benchmark is over anyway.
                let _ = send.send(());
            }
        });
    }
    drop(send);
    finished.recv().context("the host stopped")?;
    let time = started.elapsed();
    let cpu_ns = process_cpu_ns() - cpu_before;
    let right = right.load(Ordering::Relaxed);
    ensure!(
        right == calls,
        "{} of {calls} answers were wrong",
        calls - right
    );
    let calls = calls as f64;
    Ok(Rate {
        calls_per_s: calls / time.as_secs_f64(),
        cpu_us: cpu_ns as f64 / 1e3 / calls,
    })
}

/// `process_pool.py`, which keeps its pool between measurements.
struct ProcessPool {
    process: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl ProcessPool {
    fn start(settings: &Settings) -> anyhow::Result<Self> {
        let mut process = Command::new(&settings.python)
            .arg(settings.checkout.join("benches/process_pool.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("could not start {}", settings.python.display()))?;
        let requests = process.stdin.take().context("no stdin")?;
        let answers = BufReader::new(process.stdout.take().context("no stdout")?);
        Ok(Self {
            process,
            requests,
            answers,
        })
    }

    fn measure(&mut self, workers: usize, calls: usize) -> anyhow::Result<f64> {
        writeln!(self.requests, "{workers} {calls}")?;
        self.requests.flush()?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let answer: serde_json::Value =
            serde_json::from_str(&line).context("the process pool ended")?;
        answer
            .get("calls_per_s")
            .and_then(serde_json::Value::as_f64)
            .context("no figure")
    }

    fn finish(self) -> anyhow::Result<()> {
        let Self {
            mut process,
            requests,
            answers,
        } = self;
        drop(requests);
        let status = process.wait()?;
        drop(answers);
        ensure!(status.success(), "the process pool failed: {status}");
        Ok(())
    }
}
