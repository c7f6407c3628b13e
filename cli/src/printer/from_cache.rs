//! Where the outcome of a task comes from that did not run.

use std::time::Duration;

use ppwasm_proto::wire::{Origin, Verdict};
use serde::Serialize;

use crate::commands::verified::OfTask;

/// In a document.
#[derive(Serialize)]
pub(crate) struct FromCache {
    key: String,
    function: String,
    call: String,
    guest: String,
    result: String,
    job: Job,
    task: u64,
    attempt: u32,
    worker: String,
    target: String,
    cpu_profile: String,
    build: String,
    recorded_ms: u64,
    wall_time_ms: f64,
    verification: Option<OfTask>,
}

#[derive(Serialize)]
struct Job {
    id: String,
    number: u64,
}

impl FromCache {
    pub(crate) fn new(origin: &Origin) -> Self {
        let run_time = Duration::from_micros(origin.run_us);
        Self {
            key: origin.key.to_string(),
            function: origin.function.to_string(),
            call: origin.call.to_string(),
            guest: origin.guest.to_string(),
            result: origin.result.to_string(),
            job: Job {
                id: origin.job.to_string(),
                number: origin.number,
            },
            task: origin.task.0,
            attempt: origin.attempt.number(),
            worker: origin.worker.to_string(),
            target: origin.target.as_str().to_owned(),
            cpu_profile: origin.cpu_profile.as_str().to_owned(),
            build: origin.build.as_str().to_owned(),
            recorded_ms: origin.recorded_ms,
            wall_time_ms: run_time.as_secs_f64() * 1e3,
            verification: origin.verification.as_ref().map(OfTask::new),
        }
    }
}

/// For people.
pub(crate) fn lines(origin: &Origin) -> Vec<String> {
    let verdict = origin.verification.as_ref().map(|of| of.verdict);
    vec![
        format!(
            "task {} of job {} ({})",
            origin.task, origin.number, origin.job
        ),
        format!(
            "it ran on {} ({} {}, {}) for {:?}, in attempt {}",
            origin.worker,
            origin.target.as_str(),
            origin.cpu_profile.as_str(),
            origin.build.as_str(),
            Duration::from_micros(origin.run_us),
            origin.attempt.number()
        ),
        match verdict {
            Some(Verdict::Confirmed) => "another worker gave the same bytes".to_owned(),
            Some(_) => "it was to be verified, and no other worker confirmed it".to_owned(),
            None => "it was not verified".to_owned(),
        },
        format!("key {}", origin.key),
    ]
}
