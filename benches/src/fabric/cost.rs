//! What a task costs, over the number of tasks and over the number of workers: a table and a drawing of it.

use std::fmt::Write as _;

use crate::fabric::{Fabric, Job, runtime};
use crate::stats::median;
use crate::{Settings, system};

/// Tasks of a job, each with one worker of two slots.
const TASKS: [u64; 4] = [1_000, 10_000, 100_000, 1_000_000];
/// Workers, each of them with a job of so many tasks.
const WORKERS: [usize; 4] = [1, 10, 100, 1_000];
const FLEET_TASKS: usize = 100_000;
/// A point stands for at least so many tasks.
const POINT_TASKS: u64 = 100_000;
const ROUNDS_MAX: u64 = 20;

/// One measured size.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// Workers.
    pub workers: usize,
    /// They run what they are given, or answer at once.
    pub is_real: bool,
    /// Tasks of each job.
    pub tasks: u64,
    /// CPU time of coordinator and client for each task.
    pub coordinator_us: f64,
    /// The client's.
    pub client_us: f64,
    /// On the wall.
    pub wall_us: f64,
}

/// Measures all sizes.
///
/// # Errors
///
/// A process does not start, or an answer is wrong.
pub fn measure(settings: &Settings) -> anyhow::Result<Vec<Point>> {
    let mut points = Vec::new();
    let fabric = Fabric::start(settings, &[2])?;
    for tasks in TASKS {
        if !settings.quick || tasks < POINT_TASKS {
            points.push(point(&fabric, 1, true, tasks)?);
        }
    }
    drop(fabric);
    for workers in WORKERS {
        let mut fabric = Fabric::start(settings, &[])?;
        fabric.add_crowd(workers)?;
        let tasks = settings.repetitions(FLEET_TASKS) as u64;
        points.push(point(&fabric, workers, false, tasks)?);
    }
    Ok(points)
}

fn point(fabric: &Fabric, workers: usize, is_real: bool, tasks: u64) -> anyhow::Result<Point> {
    let (mut coordinator_us, mut client_us, mut wall_us) = (Vec::new(), Vec::new(), Vec::new());
    let rounds = (POINT_TASKS / tasks).clamp(1, ROUNDS_MAX);
    runtime()?.block_on(fabric.with_all_workers(async {
        let client = fabric.client()?;
        // Whoever has not had the function gets it.
        Job::adding(tasks << 20, 2_000).run(&client).await?;
        for round in 0..rounds {
            let before = (fabric.coordinator().cpu_us()?, system::process_cpu_ns());
            let time = Job::adding((tasks << 20) + 1 + round, tasks)
                .run(&client)
                .await?;
            let each = |us: f64| us / tasks as f64;
            coordinator_us.push(each(fabric.coordinator().cpu_us()? - before.0));
            client_us.push(each((system::process_cpu_ns() - before.1) as f64 / 1e3));
            wall_us.push(each(time.as_secs_f64() * 1e6));
        }
        anyhow::Ok(())
    }))?;
    let point = Point {
        workers,
        is_real,
        tasks,
        coordinator_us: median(&mut coordinator_us),
        client_us: median(&mut client_us),
        wall_us: median(&mut wall_us),
    };
    eprintln!("{point:?}");
    Ok(point)
}

/// The points as comma-separated values.
#[must_use]
pub fn table(points: &[Point]) -> String {
    let mut out = "workers,kind,tasks,coordinator_cpu_us,client_cpu_us,wall_us\n".to_owned();
    for point in points {
        let kind = if point.is_real { "real" } else { "simulated" };
        let _ = writeln!(
            out,
            "{},{kind},{},{:.2},{:.2},{:.2}",
            point.workers, point.tasks, point.coordinator_us, point.client_us, point.wall_us
        );
    }
    out
}

const LEFT: f64 = 60.0;
const TOP: f64 = 40.0;
const PANEL: (f64, f64) = (300.0, 200.0);
const GAP: f64 = 70.0;
/// Top of the scale; the goal is drawn in it.
const SCALE_US: f64 = 60.0;
const REACH_US: f64 = 40.0;

/// Two panels: over tasks, and over workers.
#[must_use]
pub fn plot(points: &[Point]) -> String {
    let width = LEFT + 2.0 * PANEL.0 + GAP + 20.0;
    let height = TOP + PANEL.1 + 60.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n"
    );
    let by_tasks = points.iter().filter(|point| point.is_real);
    let by_tasks: Vec<_> = by_tasks
        .map(|p| (p.tasks as f64, p.coordinator_us, p.client_us))
        .collect();
    let by_workers = points.iter().filter(|point| !point.is_real);
    let by_workers: Vec<_> = by_workers
        .map(|p| (p.workers as f64, p.coordinator_us, p.client_us))
        .collect();
    panel(
        &mut out,
        LEFT,
        "tasks of a job (1 worker, 2 slots)",
        &by_tasks,
    );
    panel(
        &mut out,
        LEFT + PANEL.0 + GAP,
        "workers (simulated)",
        &by_workers,
    );
    out.push_str("</svg>\n");
    out
}

/// One panel: x is logarithmic, y CPU microseconds per task.
fn panel(out: &mut String, left: f64, title: &str, points: &[(f64, f64, f64)]) {
    let (w, h) = PANEL;
    let bottom = TOP + h;
    let exponents = points.iter().map(|point| point.0.log10());
    let (low, high) = exponents.fold((f64::MAX, f64::MIN), |(a, b), x| (a.min(x), b.max(x)));
    let span = (high - low).max(1.0);
    let x = |value: f64| left + (value.log10() - low) / span * w;
    let y = |value: f64| bottom - (value / SCALE_US).min(1.0) * h;
    let _ = writeln!(
        out,
        "<rect x=\"{left}\" y=\"{TOP}\" width=\"{w}\" height=\"{h}\" fill=\"none\" stroke=\"#888\"/>\n\
         <text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"middle\">{title}</text>\n\
         <text x=\"{left}\" y=\"{:.0}\">CPU µs for each task</text>",
        left + w / 2.0,
        bottom + 38.0,
        TOP - 12.0
    );
    for mark in [0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0] {
        let _ = writeln!(
            out,
            "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{mark}</text>",
            left - 6.0,
            y(mark) + 4.0
        );
    }
    let _ = writeln!(
        out,
        "<line x1=\"{left}\" x2=\"{}\" y1=\"{reach:.1}\" y2=\"{reach:.1}\" stroke=\"#c33\" stroke-dasharray=\"4 3\"/>\n\
         <text x=\"{}\" y=\"{:.1}\" fill=\"#c33\" text-anchor=\"end\">reach: {REACH_US}</text>",
        left + w,
        left + w - 4.0,
        y(REACH_US) - 4.0,
        reach = y(REACH_US)
    );
    for point in points {
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.0}\" text-anchor=\"middle\">{}</text>",
            x(point.0),
            bottom + 16.0,
            point.0
        );
    }
    type Part = fn(&(f64, f64, f64)) -> f64;
    let series: [(&str, &str, Part); 2] = [
        ("coordinator", "#2469b3", |p| p.1),
        ("client", "#5a9e4b", |p| p.2),
    ];
    for (name, colour, of) in series {
        let line: Vec<_> = points
            .iter()
            .map(|point| format!("{:.1},{:.1}", x(point.0), y(of(point))))
            .collect();
        let _ = writeln!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            line.join(" ")
        );
        for point in points {
            let _ = writeln!(
                out,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"/>",
                x(point.0),
                y(of(point))
            );
        }
        if let Some(last) = points.last() {
            let _ = writeln!(
                out,
                "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"{colour}\" text-anchor=\"end\">{name}</text>",
                x(last.0) - 6.0,
                y(of(last)) - 7.0
            );
        }
    }
}
