//! What the coordinator says.

use std::time::{Duration, Instant};

use ppwasm_link::{Dialer, LinkSender};
use ppwasm_proto::wire::{ErrorCode, Failed, Message, Pong, Unwatch};

use super::Connection;
use super::handle::Item;
use super::opening::End;
use crate::ClientError;
use crate::question::answered;

impl<D: Dialer> Connection<D> {
    pub(super) async fn take<S: LinkSender>(
        &mut self,
        message: Message,
        sender: &mut S,
    ) -> Result<(), End> {
        match message {
            Message::JobOpened(opened) => {
                if let Some(submission) = self.submissions.get_mut(&opened.request) {
                    submission.opened(&opened);
                }
            }
            Message::TasksAppended(appended) => {
                if let Some(submission) = self.submissions.get_mut(&appended.request) {
                    submission.appended(appended.next, appended.credit.value());
                }
            }
            Message::Results(results) => {
                let request = results.request;
                let Some(watch) = self.watches.get_mut(&request) else {
                    return Ok(());
                };
                if !watch.take(results) {
                    self.watches.remove(&request);
                    sender.send(Unwatch { request }.into()).await?;
                } else if let Some(credit) = watch.credit_again(request) {
                    sender.send(credit).await?;
                }
            }
            Message::JobProgress(progress) => {
                let (request, is_last) = (progress.request, progress.is_last);
                if let Some(watch) = self.watches.get(&request) {
                    watch.progress(progress);
                }
                if is_last {
                    self.watches.remove(&request);
                }
            }
            Message::Failed(failed) => self.failed(failed),
            Message::Ping(ping) => {
                let number = ping.number;
                sender.send(Pong { number }.into()).await?;
            }
            message => {
                let Some(request) = answered(&message) else {
                    return Ok(());
                };
                if let Some((_, answer)) = self.asks.remove(&request) {
                    let _ = answer.send(Ok(message));
                } else if let Some(submission) = self.submissions.remove(&request) {
                    submission.done();
                }
            }
        }
        Ok(())
    }

    fn failed(&mut self, failed: Failed) {
        let request = failed.request;
        let retry_after = failed.retry_after_ms.map(Duration::from_millis);
        let retry_at = retry_after.map(|after| Instant::now() + after);
        let error = ClientError::Refused {
            code: failed.code,
            reason: failed.reason.into_string(),
            retry_after,
        };
        if let Some((_, answer)) = self.asks.remove(&request) {
            let _ = answer.send(Err(error));
        } else if let Some(watch) = self.watches.get_mut(&request) {
            watch.retry_at = retry_at;
            if retry_at.is_none() {
                let _ = watch.items.try_send(Item::Failed(error));
                self.watches.remove(&request);
            }
        } else if let Some(submission) = self.submissions.get_mut(&request) {
            let is_wrong_order = failed.code == ErrorCode::WrongOrder;
            if let Some(at) = retry_at {
                submission.refused_until(at);
            } else if is_wrong_order && submission.misses_refused() {
                // It was on its way when those before it were refused.
            } else if submission.fail(error) {
                self.submissions.remove(&request);
            }
        }
    }
}
