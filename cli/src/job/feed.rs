//! Submits a job's tasks, as their items come and as far as there is room.

use ppwasm_client::{ClientError, Submission};
use ppwasm_proto::wire::ErrorCode;

use super::Job;
use super::window::{Limits, Window};
use crate::failure::{Because, Failure};
use crate::items::{Item, Items};

/// Why no more tasks are submitted.
pub(super) enum Fed {
    /// All were.
    All,
    /// The items ran into this; what came before was submitted.
    Broken(Failure),
    /// The job has ended, and takes no more.
    Over,
    /// Something is wrong with the job or the coordinator.
    Failed(ClientError),
}

/// Submits every item.
pub(super) async fn feed(
    job: &Job,
    mut items: Items,
    mut submission: Submission,
    window: &Window,
) -> Fed {
    let mut broken = None;
    loop {
        window.room().await;
        let item = match items.next().await {
            Ok(Some(item)) => item,
            Ok(None) => break,
            Err(failure) => {
                broken = Some(failure);
                break;
            }
        };
        let bytes = item.bytes;
        let call = match encoded(job, item) {
            Ok(call) => call,
            Err(failure) => {
                broken = Some(failure);
                break;
            }
        };
        window.submit(bytes);
        if let Err(error) = submission.append_encoded(call).await {
            return ended(error);
        }
    }
    match (submission.finish().await, broken) {
        (Ok(_), Some(failure)) => Fed::Broken(failure),
        (Ok(_), None) => Fed::All,
        (Err(error), _) => ended(error),
    }
}

fn encoded(job: &Job, item: Item) -> Result<Vec<u8>, Failure> {
    let mut call = job.call.clone();
    if let Some(value) = item.value {
        call.args.insert(0, value);
    }
    call.to_bytes().usage("an item cannot travel")
}

fn ended(error: ClientError) -> Fed {
    match error {
        ClientError::Refused {
            code: ErrorCode::JobClosed,
            ..
        } => Fed::Over,
        error => Fed::Failed(error),
    }
}

/// Submits every item of a job that nobody watches.
///
/// # Errors
///
/// The items were found to be wrong on the way, or the job was refused. What was submitted is cancelled by nobody.
pub(crate) async fn submit_all(
    job: &Job,
    items: Items,
    submission: Submission,
    failed: impl Fn(ClientError) -> Failure,
) -> Result<(), Failure> {
    let window = Window::new(Limits::None);
    match feed(job, items, submission, &window).await {
        Fed::All | Fed::Over => Ok(()),
        Fed::Broken(failure) => Err(failure),
        Fed::Failed(error) => Err(failed(error)),
    }
}
