//! The way from handles to the task that owns the connection.

use std::sync::{Arc, OnceLock};

use ppwasm_link::BlobFailure;
use ppwasm_proto::wire::{JobProgress, Message, RecordedResult, WatchOrder};
use ppwasm_proto::{Digest, JobId};
use tokio::sync::{mpsc, oneshot};

use crate::submission::{Room, Units};
use crate::{ClientError, JobRequest, RESULTS_MAX};

/// Commands that wait to be taken.
pub(crate) const COMMANDS_MAX: usize = 256;
/// What a watch may have waiting: results, how far it is, and its end.
pub(crate) const ITEMS_MAX: usize = RESULTS_MAX + 16;

/// Where an answer is waited for.
pub(super) type Answer<T> = oneshot::Sender<Result<T, ClientError>>;
/// Where a blob is waited for.
pub(super) type Got = oneshot::Sender<Result<Arc<[u8]>, BlobFailure>>;

/// What handles want.
pub(crate) enum Command {
    Open {
        job: Box<JobRequest>,
        room: Arc<Room>,
        opened: Answer<(u32, bool)>,
    },
    Append {
        request: u32,
        call: Vec<u8>,
        units: Units,
    },
    Close {
        request: u32,
        closed: Answer<u64>,
    },
    Watch {
        job: JobId,
        order: WatchOrder,
        items: mpsc::Sender<Item>,
        started: oneshot::Sender<u32>,
    },
    Credit {
        request: u32,
        credit: u64,
    },
    Unwatch {
        request: u32,
    },
    Ask {
        /// Makes the message when it has a number.
        question: Box<dyn FnOnce(u32) -> Message + Send>,
        answer: Answer<Message>,
    },
    Get {
        digest: Digest,
        got: Got,
    },
    /// End, saying so.
    Leave,
}

/// What a watch gives.
#[derive(Debug)]
pub(crate) enum Item {
    Result(Box<RecordedResult>),
    Progress(Box<JobProgress>),
    Failed(ClientError),
}

/// What all handles share: the way to the connection, and why there is none any more.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    commands: mpsc::Sender<Command>,
    end: Arc<OnceLock<ClientError>>,
}

impl Handle {
    pub(crate) fn new(commands: mpsc::Sender<Command>) -> Self {
        let end = Arc::default();
        Self { commands, end }
    }

    pub(crate) fn end(&self) -> Arc<OnceLock<ClientError>> {
        Arc::clone(&self.end)
    }

    pub(crate) async fn tell(&self, command: Command) -> Result<(), ClientError> {
        let told = self.commands.send(command).await;
        told.map_err(|_| self.ended())
    }

    /// Why there is no connection any more.
    pub(crate) fn ended(&self) -> ClientError {
        self.end.get().cloned().unwrap_or(ClientError::Ended)
    }

    /// Waits until there is no connection any more, nor will be.
    pub(crate) async fn gone(&self) {
        self.commands.closed().await;
    }

    /// Tells it if there is room.
    pub(crate) fn try_tell(&self, command: Command) -> bool {
        self.commands.try_send(command).is_ok()
    }

    /// Nobody wants more of a watch. When this is not heard, the next result that cannot be given says it too.
    pub(crate) fn forget_watch(&self, request: u32) {
        self.try_tell(Command::Unwatch { request });
    }
}
