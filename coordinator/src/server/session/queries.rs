//! Questions about jobs, tasks, workers and functions: the core answers, and what only the store knows is added here.

use std::sync::Arc;

use ppwasm_link::LinkReceiver;
use ppwasm_proto::fabric::ClientName;
use ppwasm_proto::wire::{
    ErrorCode, List, Message, NAME_BYTES_MAX, Origin, REASONS_MAX, Reason, TaskExplained, Text,
    Verdict, Verification,
};
use ppwasm_proto::{Digest, FunctionBundle};
use ppwasm_scheduler::{Micros, TaskEnd};
use tokio::sync::oneshot;

use super::{End, Reader};
use crate::server::Shared;
use crate::server::core::{Input, failed, time, wall_ms};
use crate::server::watch::recorded;
use crate::store::{Body, EndedTask, ReadError};

/// Bytes of a bundle that is read to tell its entry point; of a larger one it is not told.
const BUNDLE_BYTES_MAX: u64 = 16 << 20;

impl<R: LinkReceiver> Reader<'_, R> {
    pub(super) async fn ask(&mut self, client: ClientName, query: Message) -> Result<(), End> {
        let about = match &query {
            Message::ShowJob(ask) => Some((ask.job, None)),
            Message::ShowTask(ask) => Some((ask.job, Some(ask.task))),
            Message::ExplainTask(ask) => Some((ask.job, Some(ask.task))),
            _ => None,
        };
        let (answer, answered) = oneshot::channel();
        self.tell(Input::Query {
            client,
            query,
            answer,
        })
        .await?;
        let Ok(answer) = answered.await else {
            return Err(End::Lost);
        };
        let shared = Arc::clone(self.shared);
        let completed = match (answer, about) {
            (Message::JobShown(mut shown), Some((job, _))) => {
                blocking(shown.request, move || {
                    shown.used_us = shared.store.run_time_us(&job)?;
                    if let Some(terms) = shared.catalog.terms(&*shared.store, job) {
                        shown.time = Some(terms.open.time);
                        shown.stream = terms.open.stream;
                    }
                    Ok(shown.into())
                })
                .await
            }
            (Message::TaskShown(mut shown), Some((job, Some(task)))) => {
                blocking(shown.request, move || {
                    let ended = shared.store.outcome(&job, task)?;
                    shown.result = ended.map(recorded);
                    let tried = shown.result.as_ref().and_then(|result| result.attempt);
                    let tried = tried.map_or(0, |attempt| attempt.number());
                    shown.attempts = shown.attempts.max(tried);
                    Ok(shown.into())
                })
                .await
            }
            (Message::TaskExplained(mut told), Some((job, Some(task)))) => {
                blocking(told.request, move || {
                    if let Some(ended) = shared.store.outcome(&job, task)? {
                        tell_end(&mut told, ended);
                    }
                    Ok(told.into())
                })
                .await
            }
            (Message::Functions(mut functions), _) => {
                blocking(functions.request, move || {
                    let mut list = functions.functions.into_vec();
                    for summary in &mut list {
                        let digest = summary.function.digest;
                        summary.image = shared.shelf.image(&digest);
                        summary.entry = shared.entry(&digest)?;
                    }
                    functions.functions = List::try_from(list).unwrap_or_default();
                    Ok(functions.into())
                })
                .await
            }
            (answer, _) => answer,
        };
        self.say(completed).await
    }
}

/// Adds what is known of a task that has ended: which attempt it was, where, and what came of verifying it. The scheduler
/// forgets that.
fn tell_end(told: &mut TaskExplained, ended: EndedTask) {
    let mut reasons = std::mem::take(&mut told.reasons).into_vec();
    if let Some(verification) = ended.end.verification() {
        reasons.extend(verified(verification));
    }
    if let Some(origin) = ended.end.origin() {
        reasons.extend(from_cache(origin, wall_ms()));
    }
    if let TaskEnd::Outcome {
        attempt, worker, ..
    } = ended.end
    {
        told.attempts = told.attempts.max(attempt.number());
        let text = format!(
            "It ran there for {}, in attempt {}.",
            time(Micros(ended.result.run_time_us)),
            attempt.number()
        );
        let reason = Reason {
            worker: Some(worker),
            text: Text::truncated(&text),
            score: None,
        };
        reasons.insert(0, reason);
    }
    reasons.truncate(REASONS_MAX);
    told.reasons = List::try_from(reasons).unwrap_or_default();
}

/// Where the outcome of a task comes from that did not run, and what shows that it is the same call.
fn from_cache(origin: &Origin, now_ms: u64) -> Vec<Reason> {
    let plain = |text: &str| Reason {
        worker: None,
        text: Text::truncated(text),
        score: None,
    };
    let age_us = now_ms
        .saturating_sub(origin.recorded_ms)
        .saturating_mul(1000);
    let ran = format!(
        "It ran there for {} as task {} of job {} ({}), in attempt {}, on {} {} with {}, and was recorded {} ago.",
        time(Micros(origin.run_us)),
        origin.task,
        origin.number,
        origin.job,
        origin.attempt.number(),
        origin.target.as_str(),
        origin.cpu_profile.as_str(),
        origin.build.as_str(),
        time(Micros(age_us))
    );
    let key = format!(
        "Its key is {}: of function {}, call {}, guest {}, and of owner, version, limits, inputs, clock and random stream.",
        origin.key, origin.function, origin.call, origin.guest
    );
    let result = format!("The digest of result and output is {}.", origin.result);
    let mut reasons = vec![
        plain("It did not run: the same call was known from an earlier job."),
        Reason {
            worker: Some(origin.worker.clone()),
            text: Text::truncated(&ran),
            score: None,
        },
    ];
    match &origin.verification {
        Some(verification) => reasons.extend(verified(verification)),
        None => reasons.push(plain("It was not verified.")),
    }
    reasons.extend([plain(&key), plain(&result)]);
    reasons
}

/// What came of verifying a task that has ended.
fn verified(of: &Verification) -> Vec<Reason> {
    let plain = |text: &str| Reason {
        worker: None,
        text: Text::truncated(text),
        score: None,
    };
    let mut reasons = vec![plain(match of.verdict {
        Verdict::Confirmed => "It was verified: another worker gave the same bytes.",
        Verdict::Alone => "It is unverified: there was no other worker.",
        Verdict::Disputed => {
            "It was given up: workers contradict each other, and there was no third to decide."
        }
        _ => "It is unverified: no other worker gave an answer that decides.",
    })];
    reasons.extend(of.testimonies.iter().map(|one| {
        let what = match one.agrees {
            true => "It gave this result",
            false => "It gave another result",
        };
        Reason {
            worker: Some(one.worker.clone()),
            text: Text::truncated(&format!("{what}, on {}.", one.target.as_str())),
            score: None,
        }
    }));
    reasons
}

/// Reads of the store that may take a while.
async fn blocking(
    request: u32,
    read: impl FnOnce() -> Result<Message, ReadError> + Send + 'static,
) -> Message {
    match tokio::task::spawn_blocking(read).await {
        Ok(Ok(message)) => message,
        Ok(Err(ReadError::TooSlow { .. })) => {
            let reason = "this takes longer than a question may";
            failed(request, ErrorCode::Busy, reason, Some(1000))
        }
        _ => {
            let reason = "the store could not be read";
            failed(request, ErrorCode::Internal, reason, Some(1000))
        }
    }
}

impl Shared {
    /// The entry point of a function, as `module:name`; empty when its bundle is gone or very large.
    fn entry(&self, function: &Digest) -> Result<Text<NAME_BYTES_MAX>, ReadError> {
        if let Some(entry) = self.catalog.entry(function) {
            return Ok(entry);
        }
        let bytes = match self.store.bundle(function)? {
            Some(Body::Inline(bytes)) => bytes,
            Some(Body::Blob { digest, size }) if size <= BUNDLE_BYTES_MAX => {
                self.store.blobs().read(&digest, BUNDLE_BYTES_MAX)?
            }
            _ => return Ok(Text::default()),
        };
        // One that is no bundle has no entry; that it cannot be loaded is told elsewhere.
        let Ok(bundle) = FunctionBundle::from_bytes(&bytes) else {
            return Ok(Text::default());
        };
        let entry = bundle.entry();
        let entry = match &entry.function {
            Some(function) => Text::truncated(&format!("{}:{function}", entry.module)),
            None => Text::truncated(&entry.module),
        };
        self.catalog.set_entry(*function, entry.clone());
        Ok(entry)
    }
}
