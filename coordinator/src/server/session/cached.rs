//! Looks up what is known of the tasks that a client appends to a job that is cached. Off the core: it reads the store.

use std::sync::Arc;
use std::time::SystemTime;

use ppwasm_link::LinkReceiver;
use ppwasm_proto::fabric::ClientName;
use ppwasm_proto::wire::{Origin, Text};
use ppwasm_proto::{Digest, JobId};
use ppwasm_scheduler::{Found, TaskEnd};
use tracing::warn;

use super::{End, Reader};
use crate::cache::{PROGRAM, Recipe, key};
use crate::server::core::{Ask, Input, LookedUp, result_digest};
use crate::server::terms::JobTerms;
use crate::server::{Shared, chain};
use crate::store::{Body, CachedOutcome, TaskResult};

/// Bytes of outcomes that were found from which the tasks that they are for are appended before more is looked up.
const FOUND_BYTES: usize = 4 << 20;

/// How outcomes of a job's tasks are looked up.
#[derive(Debug)]
pub(super) struct Lookup {
    /// The digest of the job's terms.
    body: Digest,
    function: Digest,
    /// A digest of everything but the call that an outcome follows from.
    setting: Digest,
}

impl<R: LinkReceiver> Reader<'_, R> {
    /// Appends calls with what is known of them; in pieces when that is much.
    pub(super) async fn append_cached(
        &mut self,
        client: ClientName,
        (request, job, mut first): (u32, JobId, u64),
        mut calls: Vec<Body>,
        lookup: Arc<Lookup>,
    ) -> Result<(), End> {
        let mut is_rest = false;
        loop {
            let known = self.shared.known(&lookup, &calls).await;
            let count = known.len().min(calls.len());
            let rest = calls.split_off(count);
            let found = (first..).zip(known).filter_map(|(task, known)| {
                let (mut found, result) = known?;
                found.task = task;
                Some((found, result))
            });
            let looked_up = LookedUp {
                body: lookup.body,
                found: found.collect(),
            };
            let asks = Ask::Append {
                job,
                first,
                calls,
                looked_up: Some(looked_up),
                is_rest,
            };
            self.tell(Input::Client {
                session: self.session,
                client: client.clone(),
                request,
                asks,
            })
            .await?;
            if rest.is_empty() {
                return Ok(());
            }
            first += count as u64;
            calls = rest;
            is_rest = true;
        }
    }
}

/// What a task may end with, by a number of its own that is set later.
type Known = Option<(Found, TaskResult)>;

impl Shared {
    /// How outcomes of a job's tasks are looked up; `None` when it is not cached.
    pub(super) fn lookup(&self, terms: &JobTerms, owner: &ClientName) -> Option<Arc<Lookup>> {
        let recipe = Recipe::of(&terms.open, owner)?;
        Some(Arc::new(Lookup {
            body: terms.digest(),
            function: terms.open.function.digest,
            setting: recipe.setting(&self.shelf.guest(), PROGRAM),
        }))
    }

    /// What is known of these calls, or of the first ones when that is much; of one at least, if there is one.
    async fn known(self: &Arc<Self>, lookup: &Arc<Lookup>, calls: &[Body]) -> Vec<Known> {
        let calls: Vec<_> = calls.iter().map(Body::digest).collect();
        let (shared, lookup, count) = (Arc::clone(self), Arc::clone(lookup), calls.len());
        let look = move || {
            let keys: Vec<_> = (calls.iter())
                .map(|call| key(&lookup.setting, call))
                .collect();
            let found = shared.store.cached(&keys, FOUND_BYTES)?;
            let all = found.into_iter().zip(keys.into_iter().zip(calls));
            let known = all.map(|(found, (key, call))| {
                let found = found.filter(|found| shared.keeps_blobs(&found.ended.result))?;
                from_cache(found, key, call, lookup.function)
            });
            Ok::<_, crate::store::ReadError>(known.collect::<Vec<_>>())
        };
        match tokio::task::spawn_blocking(look).await {
            Ok(Ok(known)) if !known.is_empty() || count == 0 => known,
            Ok(Err(error)) => {
                // What is not found is run.
                warn!(error = %chain(&error), "the cache could not be read");
                vec![None; count]
            }
            _ => vec![None; count],
        }
    }

    /// Whether the blobs of an outcome are here. They count as new then, so that they stay until they are named again.
    fn keeps_blobs(&self, result: &TaskResult) -> bool {
        let is_here = |body: &Body| match body {
            Body::Inline(_) => true,
            Body::Blob { digest, size } => {
                let found = self.store.blobs().renew(digest, SystemTime::now());
                found.is_ok_and(|found| found == Some(*size))
            }
        };
        [&result.outcome, &result.stdout, &result.stderr]
            .into_iter()
            .all(is_here)
    }
}

/// What a task ends with whose outcome was found. It took no time.
fn from_cache(found: CachedOutcome, key: Digest, call: Digest, function: Digest) -> Known {
    let ended = found.ended;
    let TaskEnd::Outcome {
        outcome,
        attempt,
        worker,
        verification,
        ..
    } = ended.end
    else {
        return None;
    };
    let [target, cpu_profile, build] = found.machine.map(|text| Text::truncated(&text));
    let origin = Origin {
        key,
        function,
        call,
        guest: found.guest,
        result: result_digest(&ended.result),
        job: found.job,
        number: found.number,
        task: ended.task,
        attempt,
        worker,
        target,
        cpu_profile,
        build,
        recorded_ms: ended.at_ms,
        run_us: ended.result.run_time_us,
        verification: verification.map(|verification| *verification),
    };
    let found = Found {
        task: 0,
        outcome,
        origin: Box::new(origin),
    };
    let result = TaskResult {
        run_time_us: 0,
        ..ended.result
    };
    Some((found, result))
}
