//! Messages in order: the first stream of a connection, cut into frames.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ppwasm_proto::wire::{
    CloseCode, FrameDecoder, Message, MessageTooLong, WireError, encode_frame,
};
use quinn::{Connection, ConnectionError, ReadError, RecvStream, SendStream, WriteError};
use tokio::time::{Instant, timeout, timeout_at};

use crate::error::{Lost, SessionError, code_of};
use crate::limits::{
    FRAME_DEADLINE, HANDSHAKE_DEADLINE, LINGER, SEND_BUFFER_BYTES, SEND_DEADLINE,
    UNKNOWN_MESSAGES_MAX,
};
use crate::order::{Order, OutOfOrder};
use crate::registry::Registered;

/// Bytes that are read at a time.
const READ_BYTES: usize = 64 << 10;

/// Shared of one connection that both halves keep.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) messages_sent: AtomicU64,
    pub(crate) messages_received: AtomicU64,
    pub(crate) messages_unknown: AtomicU64,
    /// The connection's place at the listener, for as long as any part is left.
    pub(crate) _registered: Option<Registered>,
}

/// Sends messages, in order.
///
/// Dropping a future of it loses nothing: what has not gone yet goes with the next call.
#[derive(Debug)]
pub struct Sender {
    connection: Connection,
    stream: SendStream,
    shared: Arc<Shared>,
    /// Frames that are not all given to the stream, and how many bytes of them are.
    buffer: Vec<u8>,
    given: usize,
    deadline: Duration,
}

impl Sender {
    pub(crate) fn new(connection: Connection, stream: SendStream, shared: Arc<Shared>) -> Self {
        Self {
            connection,
            stream,
            shared,
            buffer: Vec::new(),
            given: 0,
            deadline: SEND_DEADLINE,
        }
    }

    /// Sends a message, with those that were gathered before it. Waits while the peer does not read.
    ///
    /// # Errors
    ///
    /// When the message does not fit a frame, the session has ended, or the peer does not read for [`SEND_DEADLINE`],
    /// upon which the session is closed.
    pub async fn send(&mut self, message: &Message) -> Result<(), SessionError> {
        self.gather(message)?;
        self.flush().await
    }

    /// Adds a message to those that go together with the next [`Sender::send`] or [`Sender::flush`]: cheaper than one by
    /// one. The caller flushes when [`Sender::gathered`] passes [`SEND_BUFFER_BYTES`], and before it waits for anything.
    ///
    /// # Errors
    ///
    /// When the message does not fit a frame.
    pub fn gather(&mut self, message: &Message) -> Result<(), MessageTooLong> {
        if self.given == self.buffer.len() {
            self.buffer.clear();
            self.buffer.shrink_to(2 * SEND_BUFFER_BYTES);
            self.given = 0;
        }
        encode_frame(message, &mut self.buffer)?;
        self.shared.messages_sent.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Bytes that are gathered and not sent.
    pub fn gathered(&self) -> usize {
        self.buffer.len() - self.given
    }

    /// Sends what was gathered.
    ///
    /// # Errors
    ///
    /// As [`Sender::send`].
    pub async fn flush(&mut self) -> Result<(), SessionError> {
        while let Some(rest) = self
            .buffer
            .get(self.given..)
            .filter(|rest| !rest.is_empty())
        {
            match timeout(self.deadline, self.stream.write(rest)).await {
                Ok(Ok(bytes)) => self.given += bytes,
                Ok(Err(error)) => return Err(of_write(error)),
                Err(_) => {
                    self.close(CloseCode::TooSlow, "what is sent is not read");
                    return Err(SessionError::TooSlow { what: "read" });
                }
            }
        }
        Ok(())
    }

    /// Sends what was gathered, waits a moment for the peer to have it, and closes the session with a reason.
    pub async fn finish(mut self, code: CloseCode, reason: &str) {
        let delivered = async {
            self.flush().await.ok()?;
            self.stream.finish().ok()?;
            self.stream.stopped().await.ok()
        };
        // A peer that does not acknowledge in time does not get to read the last words.
        let _ = timeout(LINGER, delivered).await;
        self.close(code, reason);
    }

    /// Closes the session at once. What was sent and has not arrived is lost.
    pub fn close(&self, code: CloseCode, reason: &str) {
        close(&self.connection, code, reason);
    }

    #[cfg(test)]
    pub(crate) fn set_deadline(&mut self, deadline: Duration) {
        self.deadline = deadline;
    }

    #[cfg(test)]
    pub(crate) async fn send_raw(&mut self, bytes: &[u8]) -> Result<(), SessionError> {
        self.buffer.extend_from_slice(bytes);
        self.flush().await
    }
}

pub(crate) fn close(connection: &Connection, code: CloseCode, reason: &str) {
    let mut end = reason.len().min(crate::limits::CLOSE_REASON_BYTES_MAX);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let reason = reason.get(..end).unwrap_or_default();
    connection.close(code_of(code), reason.as_bytes());
}

/// Receives messages, in order.
#[derive(Debug)]
pub struct Receiver {
    connection: Connection,
    stream: RecvStream,
    shared: Arc<Shared>,
    frames: FrameDecoder,
    order: Order,
    /// When the first message, or the rest of a frame, has to be there.
    due: Option<Instant>,
    frame_deadline: Duration,
}

impl Receiver {
    pub(crate) fn new(
        connection: Connection,
        stream: RecvStream,
        shared: Arc<Shared>,
        order: Order,
    ) -> Self {
        Self {
            connection,
            stream,
            shared,
            frames: FrameDecoder::new(),
            order,
            due: Some(Instant::now() + HANDSHAKE_DEADLINE),
            frame_deadline: FRAME_DEADLINE,
        }
    }

    /// The next message. Those of unknown kinds are skipped and counted. Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// When the session has ended, or the peer sent what it should not have, upon which the session is closed with a code
    /// that says so.
    pub async fn receive(&mut self) -> Result<Message, SessionError> {
        loop {
            if let Some(message) = self.next_buffered()? {
                return Ok(message);
            }
            self.read().await?;
        }
    }

    /// The next message if it is here already.
    ///
    /// # Errors
    ///
    /// As [`Receiver::receive`].
    pub fn next_buffered(&mut self) -> Result<Option<Message>, SessionError> {
        loop {
            match self.frames.next_message() {
                Ok(Some(message)) => return self.take(message).map(Some),
                Ok(None) => return Ok(None),
                Err(WireError::UnknownKind { .. }) => self.skip()?,
                Err(error) => return Err(self.refuse(error)),
            }
        }
    }

    fn take(&mut self, message: Message) -> Result<Message, SessionError> {
        match self.order.take(&message) {
            Ok(()) => {
                self.shared
                    .messages_received
                    .fetch_add(1, Ordering::Relaxed);
                // What follows in the buffer began with the last read at the earliest.
                self.due = None;
                Ok(message)
            }
            Err(OutOfOrder) => {
                let message = message.name();
                close(&self.connection, CloseCode::WrongMessage, message);
                Err(SessionError::WrongMessage { message })
            }
        }
    }

    fn skip(&mut self) -> Result<(), SessionError> {
        let before = self.shared.messages_unknown.fetch_add(1, Ordering::Relaxed);
        self.due = None;
        if before < UNKNOWN_MESSAGES_MAX && self.order.has_begun() {
            return Ok(());
        }
        close(
            &self.connection,
            CloseCode::Malformed,
            "too many unknown messages",
        );
        Err(SessionError::UnknownMessages)
    }

    fn refuse(&self, error: WireError) -> SessionError {
        let code = match error {
            WireError::FrameTooLong { .. } => CloseCode::FrameTooLong,
            _ => CloseCode::Malformed,
        };
        close(&self.connection, code, &error.to_string());
        SessionError::Malformed(error)
    }

    async fn read(&mut self) -> Result<(), SessionError> {
        if self.frames.pending() > 0 {
            let deadline = self.frame_deadline;
            self.due.get_or_insert_with(|| Instant::now() + deadline);
        }
        let read = self.stream.read_chunk(READ_BYTES, true);
        let read = match self.due {
            None => read.await,
            Some(due) => match timeout_at(due, read).await {
                Ok(read) => read,
                Err(_) => {
                    let what = match self.order.has_begun() {
                        true => "finish a message",
                        false => "say who it is",
                    };
                    close(&self.connection, CloseCode::TooSlow, what);
                    return Err(SessionError::TooSlow { what });
                }
            },
        };
        match read {
            Ok(Some(chunk)) => {
                self.frames.push(&chunk.bytes);
                Ok(())
            }
            // The peer finishes its stream before it closes; the reason comes with the close.
            Ok(None) => Err(self.ended().await),
            Err(ReadError::ConnectionLost(error)) => Err(error.into()),
            Err(_) => Err(self.ended().await),
        }
    }

    async fn ended(&self) -> SessionError {
        match timeout(LINGER, self.connection.closed()).await {
            Ok(error) => error.into(),
            Err(_) => {
                close(
                    &self.connection,
                    CloseCode::Malformed,
                    "the stream of messages ended",
                );
                SessionError::Lost {
                    reason: Lost::Stream,
                }
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn set_deadline(&mut self, deadline: Duration) {
        self.frame_deadline = deadline;
        if self.due.is_some() {
            self.due = Some(Instant::now() + deadline);
        }
    }
}

fn of_write(error: WriteError) -> SessionError {
    match error {
        WriteError::ConnectionLost(error) => error.into(),
        WriteError::Stopped(_) => SessionError::Lost {
            reason: Lost::Stream,
        },
        _ => SessionError::from(ConnectionError::LocallyClosed),
    }
}
