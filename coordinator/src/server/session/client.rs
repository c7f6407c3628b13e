//! What a client says.

use std::sync::Arc;

use ppwasm_link::LinkReceiver;
use ppwasm_proto::fabric::ClientName;
use ppwasm_proto::wire::{BlobRef, Done, ErrorCode, Message, TimeSource};

use super::blobs::blob_of;
use super::{CONVERSATIONS_MAX, End, OpenedJob, Reader};
use crate::cache;
use crate::server::core::{Ask, Input, failed};
use crate::server::terms::JobTerms;
use crate::server::watch::{Watch, WatchSender, body};

impl<R: LinkReceiver> Reader<'_, R> {
    /// Fails when not all blobs that a message names are here.
    async fn look_for(&mut self, request: u32, named: Vec<BlobRef>) -> Result<(), Message> {
        match self.shared.has_all(named).await {
            Some(true) => Ok(()),
            Some(false) => {
                let reason = "put the bundle and other blobs first";
                Err(failed(request, ErrorCode::NotFound, reason, None))
            }
            None => {
                let reason = "blobs cannot be read";
                Err(failed(request, ErrorCode::Internal, reason, Some(1000)))
            }
        }
    }

    pub(super) async fn take_from_client(
        &mut self,
        client: ClientName,
        message: Message,
    ) -> Result<(), End> {
        let (request, asks) = match message {
            Message::OpenJob(open) => {
                let (request, job) = (open.request, open.job);
                if open.limits.check().is_err() {
                    let reason = "a limit is out of range";
                    return self
                        .say(failed(request, ErrorCode::InvalidValue, reason, None))
                        .await;
                }
                let is_repeatable = matches!(open.time, TimeSource::Deterministic { .. })
                    && open.keep_instance != Some(true);
                if open.verify_percent.is_some() && !is_repeatable {
                    let reason = "tasks with real clocks, or that see what others left, cannot be verified: \
                                  they may differ each time";
                    return self
                        .say(failed(request, ErrorCode::InvalidValue, reason, None))
                        .await;
                }
                if open.cache == Some(true)
                    && let Some(reason) = cache::refusal(&open)
                {
                    return self
                        .say(failed(request, ErrorCode::InvalidValue, reason, None))
                        .await;
                }
                let named = [Some(open.function), open.stdin, open.inputs];
                let named = named.into_iter().flatten().collect();
                if let Err(failed) = self.look_for(request, named).await {
                    return self.say(failed).await;
                }
                if self.open_jobs.len() >= CONVERSATIONS_MAX {
                    let reason = "too many jobs are open in this session";
                    return self
                        .say(failed(request, ErrorCode::Busy, reason, Some(1000)))
                        .await;
                }
                let terms = Box::new(JobTerms::new(open));
                let lookup = self.shared.lookup(&terms, &client);
                self.open_jobs.insert(request, OpenedJob { job, lookup });
                (request, Ask::Open { job, terms })
            }
            Message::AppendTasks(append) => {
                let Some(opened) = self.open_jobs.get(&append.request) else {
                    let reason = "no job was opened under this request";
                    let message = failed(append.request, ErrorCode::WrongOrder, reason, None);
                    return self.say(message).await;
                };
                let (job, lookup) = (opened.job, opened.lookup.clone());
                let named = append.calls.iter().filter_map(blob_of).collect();
                if let Err(failed) = self.look_for(append.request, named).await {
                    return self.say(failed).await;
                }
                let first = append.first.0;
                let calls: Vec<_> = append.calls.into_iter().map(body).collect();
                if let Some(lookup) = lookup {
                    let to = (append.request, job, first);
                    return self.append_cached(client, to, calls, lookup).await;
                }
                let append_all = Ask::Append {
                    job,
                    first,
                    calls,
                    looked_up: None,
                    is_rest: false,
                };
                (append.request, append_all)
            }
            Message::CloseJob(close) => {
                let Some(OpenedJob { job, .. }) = self.open_jobs.remove(&close.request) else {
                    let reason = "no job was opened under this request";
                    let message = failed(close.request, ErrorCode::WrongOrder, reason, None);
                    return self.say(message).await;
                };
                let tasks = close.tasks;
                (close.request, Ask::Close { job, tasks })
            }
            Message::CancelJob(ask) => (ask.request, Ask::Cancel { job: ask.job }),
            Message::RetryJob(ask) => (ask.request, Ask::Retry { job: ask.job }),
            Message::ForgetJob(ask) => (ask.request, Ask::Forget { job: ask.job }),
            Message::WatchJob(ask) => {
                self.watches.retain(|_, (_, task)| !task.is_finished());
                if self.watches.contains_key(&ask.request) {
                    let reason = "another watch has this request's number";
                    let message = failed(ask.request, ErrorCode::Conflict, reason, None);
                    return self.say(message).await;
                }
                if self.watches.len() >= CONVERSATIONS_MAX {
                    let reason = "too many watches";
                    let message = failed(ask.request, ErrorCode::Busy, reason, Some(1000));
                    return self.say(message).await;
                }
                let credit = ask.credit.value();
                let watch = Arc::new(Watch::new(ask.request, ask.job, ask.order, credit));
                let sender = WatchSender::new(
                    Arc::clone(&watch),
                    Arc::clone(&self.shared.store),
                    self.results.clone(),
                    ask.cursor,
                );
                // Nothing is sent before the core has said that the job is the client's.
                let entry = self.shared.store.job(&ask.job);
                let sees_all = self.is_operator();
                let is_theirs =
                    entry.is_ok_and(|e| e.is_some_and(|e| sees_all || e.spec.owner == client));
                if !is_theirs {
                    let reason = "there is no such job";
                    let message = failed(ask.request, ErrorCode::NotFound, reason, None);
                    return self.say(message).await;
                }
                let (request, results) = (ask.request, self.results.clone());
                let task = self.tasks.spawn(async move {
                    if sender.run().await.is_err() {
                        let reason = "the store could not be read";
                        let message = failed(request, ErrorCode::Internal, reason, Some(1000));
                        let _ = results.send(message).await;
                    }
                });
                self.watches.insert(request, (Arc::clone(&watch), task));
                (request, Ask::Watch { watch })
            }
            Message::WatchCredit(more) => {
                if let Some((watch, _)) = self.watches.get(&more.request) {
                    watch.add_credit(more.credit.value());
                }
                return Ok(());
            }
            Message::Unwatch(ask) => {
                if let Some((_, task)) = self.watches.remove(&ask.request) {
                    task.abort();
                }
                let request = ask.request;
                return self.say(Done { request }.into()).await;
            }
            Message::DrainWorker(ask) if self.is_operator() => {
                let (worker, drain) = (ask.worker, ask.drain);
                (ask.request, Ask::Drain { worker, drain })
            }
            Message::DrainWorker(ask) => return self.deny(ask.request, "drain a worker").await,
            Message::SetWorkerSlots(ask) if !self.is_operator() => {
                return self.deny(ask.request, "set a worker's slots").await;
            }
            query => return self.ask(client, query).await,
        };
        self.tell(Input::Client {
            session: self.session,
            client,
            request,
            asks,
        })
        .await
    }
}
