//! A job that takes tasks.

use std::sync::Arc;

use ppwasm_proto::{Call, JobId};
use tokio::sync::{Semaphore, oneshot};

use crate::ClientError;
use crate::connection::{Command, Handle};

/// Tasks that are appended and not durable.
pub const UNACKNOWLEDGED_MAX: usize = 8192;
/// Bytes of their calls, in units of [`UNIT_BYTES`].
const UNITS_MAX: u32 = 64 << 10;
/// Bytes that are counted as one.
const UNIT_BYTES: usize = 1 << 10;

/// Room for what is appended and not durable, by number and by bytes.
#[derive(Debug)]
pub(crate) struct Room {
    tasks: Semaphore,
    units: Semaphore,
}

/// What a call takes of the room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Units(u32);

impl Units {
    fn of(call: &[u8]) -> Self {
        let units = u32::try_from(call.len() / UNIT_BYTES).unwrap_or(u32::MAX);
        // One that is larger than all of the room takes all of it.
        Self(units.min(UNITS_MAX))
    }
}

impl Room {
    fn new() -> Self {
        Self {
            tasks: Semaphore::new(UNACKNOWLEDGED_MAX),
            units: Semaphore::new(UNITS_MAX as usize),
        }
    }

    /// Waits until there is room for a call; false when nothing more is taken.
    async fn take(&self, units: Units) -> bool {
        let taken = tokio::try_join!(self.tasks.acquire(), self.units.acquire_many(units.0));
        match taken {
            Ok((task, units)) => {
                task.forget();
                units.forget();
                true
            }
            Err(_) => false,
        }
    }

    pub(crate) fn give_back(&self, units: Units) {
        self.tasks.add_permits(1);
        self.units.add_permits(units.0 as usize);
    }

    /// Nothing more is taken: nobody is kept waiting.
    pub(crate) fn close(&self) {
        self.tasks.close();
        self.units.close();
    }
}

/// A job that takes tasks. Dropping it leaves the job open: submitting it again goes on with it.
#[derive(Debug)]
pub struct Submission {
    handle: Handle,
    job: JobId,
    request: u32,
    is_known: bool,
    room: Arc<Room>,
}

impl Submission {
    pub(crate) fn room() -> Arc<Room> {
        Arc::new(Room::new())
    }

    pub(crate) const fn new(
        handle: Handle,
        job: JobId,
        (request, is_known): (u32, bool),
        room: Arc<Room>,
    ) -> Self {
        Self {
            handle,
            job,
            request,
            is_known,
            room,
        }
    }

    /// The job.
    pub const fn job(&self) -> JobId {
        self.job
    }

    /// It was there before, with the same content. Its tasks are appended from the first on all the same.
    pub const fn is_known(&self) -> bool {
        self.is_known
    }

    /// Appends the next task. Waits while too many are not durable.
    ///
    /// # Errors
    ///
    /// The job was refused or has ended, or an argument cannot travel.
    pub async fn append(&mut self, call: &Call) -> Result<(), ClientError> {
        self.append_encoded(call.to_bytes()?).await
    }

    /// Appends the next task by its encoded call.
    ///
    /// # Errors
    ///
    /// As [`Submission::append`].
    pub async fn append_encoded(&mut self, call: Vec<u8>) -> Result<(), ClientError> {
        let units = Units::of(&call);
        if !self.room.take(units).await {
            return Err(self.why_closed().await);
        }
        let request = self.request;
        let append = Command::Append {
            request,
            call,
            units,
        };
        self.handle.tell(append).await
    }

    /// No more tasks follow. Returns when all are durable: how many there are.
    ///
    /// # Errors
    ///
    /// The job was refused.
    pub async fn finish(mut self) -> Result<u64, ClientError> {
        self.close().await
    }

    async fn close(&mut self) -> Result<u64, ClientError> {
        let (closed, answer) = oneshot::channel();
        let request = self.request;
        let close = Command::Close { request, closed };
        self.handle.tell(close).await?;
        answer.await.map_err(|_| self.handle.ended())?
    }

    /// Why nothing more is taken. A job that was refused says so when it is closed.
    async fn why_closed(&mut self) -> ClientError {
        match self.close().await {
            Ok(_) => ClientError::Ended,
            Err(error) => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_takes_room_by_its_bytes_and_never_more_than_there_is() {
        let of = |bytes: usize| Units::of(&vec![0; bytes]);
        assert_eq!((of(0), of(1023)), (Units(0), Units(0)));
        assert_eq!(of(10 << 10), Units(10));
        assert_eq!(of(65 << 20), Units(UNITS_MAX));
        let room = Room::new();
        room.give_back(Units(0));
        assert_eq!(room.tasks.available_permits(), UNACKNOWLEDGED_MAX + 1);
    }
}
