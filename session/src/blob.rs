//! Blobs on streams of their own, hashed on the way.
//!
//! Who connected asks: [`Blobs`] gets and puts. Who accepted answers: [`BlobRequests`] are what peers ask for. Bytes go
//! through in pieces, so neither side holds a whole blob unless it wants to.

use std::sync::Arc;
use std::time::Duration;

use blake3::Hasher;
use bytes::Bytes;
use ppwasm_proto::Digest;
use ppwasm_proto::wire::{
    BlobFound, BlobRef, BlobStored, BlobWanted, ErrorCode, FRAME_HEAD_BYTES, Failed, GetBlob,
    Message, PutBlob, Text, WireError, encode_frame, frame_length,
};
use quinn::{Connection, ReadError, ReadExactError, RecvStream, SendStream, VarInt, WriteError};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::control::Shared;
use crate::error::{BlobError, SessionError};
use crate::limits::{BLOB_HEAD_BYTES_MAX, BLOB_IDLE, STREAMS_MAX};

/// Bytes that are read at a time.
const CHUNK_BYTES: usize = 256 << 10;
/// Largest blob that [`Blobs::get`] gives back whole without more words about it.
const RESERVED_BYTES_MAX: u64 = 1 << 20;
/// The code with which a stream of a blob is given up.
const GIVEN_UP: VarInt = VarInt::from_u32(1);

/// Asks for blobs and offers them. Clones ask over the same connection; it lives until all are gone.
#[derive(Clone, Debug)]
pub struct Blobs {
    connection: Connection,
}

impl Blobs {
    pub(crate) const fn new(connection: Connection) -> Self {
        Self { connection }
    }

    /// A whole blob of at most `bytes_max` bytes. Its digest was checked.
    ///
    /// # Errors
    ///
    /// When the peer has it not, it is larger, it is another one, or the session ended.
    pub async fn get(&self, digest: Digest, bytes_max: u64) -> Result<Vec<u8>, BlobError> {
        let mut reader = self.open(digest, 0, Hasher::new(), bytes_max).await?;
        let mut bytes = Vec::with_capacity(reader.remaining().min(RESERVED_BYTES_MAX) as usize);
        while let Some(chunk) = reader.next().await? {
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    /// A blob from an offset on: `hasher` has taken the bytes before it.
    ///
    /// # Errors
    ///
    /// As [`Blobs::get`].
    pub async fn open(
        &self,
        digest: Digest,
        offset: u64,
        hasher: Hasher,
        bytes_max: u64,
    ) -> Result<BlobReader, BlobError> {
        let (mut send, mut receive) = self.connection.open_bi().await?;
        write_head(&mut send, &GetBlob { digest, offset }.into()).await?;
        // Nothing more is sent; that the peer has closed its side already shows when its answer is read.
        let _ = send.finish();
        let bytes = match read_head(&mut receive, BLOB_IDLE).await? {
            Message::BlobFound(found) if found.offset == offset && found.bytes >= offset => {
                found.bytes
            }
            Message::BlobFound(found) => {
                let (found, wanted) = (found.offset, offset);
                return Err(BlobError::Length { found, wanted });
            }
            message => return Err(refused(&message)),
        };
        if bytes > bytes_max {
            let _ = receive.stop(GIVEN_UP);
            return Err(BlobError::TooLarge { bytes, bytes_max });
        }
        Ok(BlobReader {
            stream: receive,
            hasher,
            digest,
            remaining: bytes - offset,
            bytes,
            idle: BLOB_IDLE,
        })
    }

    /// Gives the peer a whole blob. It is durable there when this returns.
    ///
    /// # Errors
    ///
    /// When the peer does not take it, or the session ended.
    pub async fn put(&self, bytes: &[u8]) -> Result<BlobRef, BlobError> {
        let blob = BlobRef::of(bytes);
        match self.offer(blob).await? {
            Offer::Stored => {}
            Offer::Wanted(mut writer) => {
                let start = usize::try_from(writer.offset()).unwrap_or(usize::MAX);
                writer.write(bytes.get(start..).unwrap_or_default()).await?;
                writer.stored().await?;
            }
        }
        Ok(blob)
    }

    /// Offers a blob; the peer says whether it has it, or from where on it wants it.
    ///
    /// # Errors
    ///
    /// As [`Blobs::put`].
    pub async fn offer(&self, blob: BlobRef) -> Result<Offer, BlobError> {
        let (mut send, mut receive) = self.connection.open_bi().await?;
        write_head(&mut send, &PutBlob { blob }.into()).await?;
        match read_head(&mut receive, BLOB_IDLE).await? {
            Message::BlobStored(stored) if stored.digest == blob.digest => Ok(Offer::Stored),
            Message::BlobWanted(BlobWanted { offset }) if offset <= blob.bytes => {
                Ok(Offer::Wanted(BlobWriter {
                    send,
                    receive: Some(receive),
                    blob,
                    offset,
                    remaining: blob.bytes - offset,
                }))
            }
            Message::BlobWanted(BlobWanted { offset: found }) => {
                let wanted = blob.bytes;
                Err(BlobError::Length { found, wanted })
            }
            message => Err(refused(&message)),
        }
    }
}

/// What the peer says to an offer.
#[derive(Debug)]
pub enum Offer {
    /// It has the blob.
    Stored,
    /// It wants the bytes from the writer's offset on.
    Wanted(BlobWriter),
}

/// Receives a blob, and hashes it.
#[derive(Debug)]
pub struct BlobReader {
    stream: RecvStream,
    hasher: Hasher,
    digest: Digest,
    remaining: u64,
    bytes: u64,
    idle: Duration,
}

impl BlobReader {
    /// Bytes of the whole blob.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes that are still to come.
    pub const fn remaining(&self) -> u64 {
        self.remaining
    }

    /// The next bytes; `None` when all have come and their digest is right. Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// When fewer or more bytes come than were said, they are another blob's, or nothing comes for [`BLOB_IDLE`]. What was
    /// received before stays good for another try from there, unless the digest was wrong.
    pub async fn next(&mut self) -> Result<Option<Bytes>, BlobError> {
        let read = timeout(self.idle, self.stream.read_chunk(CHUNK_BYTES, true)).await;
        let chunk = match read {
            Err(_) => {
                let _ = self.stream.stop(GIVEN_UP);
                return Err(BlobError::Stalled);
            }
            Ok(Err(error)) => return Err(of_read(error)),
            Ok(Ok(chunk)) => chunk,
        };
        let Some(chunk) = chunk else {
            if self.remaining > 0 {
                let (found, wanted) = (self.bytes - self.remaining, self.bytes);
                return Err(BlobError::Length { found, wanted });
            }
            if Digest::from(self.hasher.finalize()) != self.digest {
                let digest = self.digest;
                return Err(BlobError::OtherContent { digest });
            }
            return Ok(None);
        };
        let length = chunk.bytes.len() as u64;
        if length > self.remaining {
            let _ = self.stream.stop(GIVEN_UP);
            let (found, wanted) = (self.bytes - self.remaining + length, self.bytes);
            return Err(BlobError::Length { found, wanted });
        }
        self.remaining -= length;
        self.hasher.update(&chunk.bytes);
        Ok(Some(chunk.bytes))
    }

    #[cfg(test)]
    pub(crate) const fn set_idle(&mut self, idle: Duration) {
        self.idle = idle;
    }
}

/// Sends a blob.
#[derive(Debug)]
pub struct BlobWriter {
    send: SendStream,
    /// For a put: where the peer says that it has stored it.
    receive: Option<RecvStream>,
    blob: BlobRef,
    offset: u64,
    remaining: u64,
}

impl BlobWriter {
    /// Offset of the first byte that is wanted.
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes that are still to be written.
    pub const fn remaining(&self) -> u64 {
        self.remaining
    }

    /// Writes the next bytes. Waits while the peer does not read.
    ///
    /// # Errors
    ///
    /// When they are more than the blob has, the peer gave up, or does not read for [`BLOB_IDLE`].
    pub async fn write(&mut self, mut bytes: &[u8]) -> Result<(), BlobError> {
        let length = bytes.len() as u64;
        if length > self.remaining {
            let (found, wanted) = (length, self.remaining);
            return Err(BlobError::Length { found, wanted });
        }
        while !bytes.is_empty() {
            let written = match timeout(BLOB_IDLE, self.send.write(bytes)).await {
                Ok(written) => written.map_err(of_write)?,
                Err(_) => {
                    let _ = self.send.reset(GIVEN_UP);
                    return Err(BlobError::Stalled);
                }
            };
            self.remaining -= written as u64;
            bytes = bytes.get(written..).unwrap_or_default();
        }
        Ok(())
    }

    /// Ends a put: waits until the peer has stored it.
    ///
    /// # Errors
    ///
    /// When bytes are missing, or the peer did not store it.
    pub async fn stored(mut self) -> Result<(), BlobError> {
        self.end()?;
        let digest = self.blob.digest;
        match &mut self.receive {
            None => Ok(()),
            Some(receive) => match read_head(receive, BLOB_IDLE).await? {
                Message::BlobStored(stored) if stored.digest == digest => Ok(()),
                message => Err(refused(&message)),
            },
        }
    }

    /// Ends the answer to a get.
    ///
    /// # Errors
    ///
    /// When bytes are missing.
    pub fn finish(mut self) -> Result<(), BlobError> {
        self.end()
    }

    fn end(&mut self) -> Result<(), BlobError> {
        if self.remaining > 0 {
            let _ = self.send.reset(GIVEN_UP);
            let (found, wanted) = (self.blob.bytes - self.remaining, self.blob.bytes);
            return Err(BlobError::Length { found, wanted });
        }
        self.send.finish().map_err(|_| BlobError::Reset)
    }
}

/// What a peer asks for, one after the other.
#[derive(Debug)]
pub struct BlobRequests {
    connection: Connection,
    /// Keeps the connection's place.
    _shared: Arc<Shared>,
    /// Streams whose first message has not come: as many as a peer may open at most.
    heads: JoinSet<Option<BlobRequest>>,
    idle: Duration,
}

impl BlobRequests {
    pub(crate) fn new(connection: Connection, shared: Arc<Shared>) -> Self {
        Self {
            connection,
            _shared: shared,
            heads: JoinSet::new(),
            idle: BLOB_IDLE,
        }
    }

    #[cfg(test)]
    pub(crate) const fn set_idle(&mut self, idle: Duration) {
        self.idle = idle;
    }

    /// The next request. Streams that do not begin with one in time are reset. Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// When the session has ended.
    pub async fn next(&mut self) -> Result<BlobRequest, SessionError> {
        loop {
            let has_room = self.heads.len() < STREAMS_MAX as usize;
            tokio::select! {
                accepted = self.connection.accept_bi(), if has_room => {
                    let (send, receive) = accepted?;
                    self.heads.spawn(request(send, receive, self.idle));
                }
                Some(head) = self.heads.join_next() => {
                    if let Ok(Some(request)) = head {
                        return Ok(request);
                    }
                }
            }
        }
    }
}

async fn request(
    mut send: SendStream,
    mut receive: RecvStream,
    idle: Duration,
) -> Option<BlobRequest> {
    match read_head(&mut receive, idle).await {
        Ok(Message::GetBlob(GetBlob { digest, offset })) => Some(BlobRequest::Get(GetRequest {
            send,
            digest,
            offset,
        })),
        Ok(Message::PutBlob(PutBlob { blob })) => Some(BlobRequest::Put(PutRequest {
            send,
            receive,
            blob,
        })),
        _ => {
            let _ = send.reset(GIVEN_UP);
            let _ = receive.stop(GIVEN_UP);
            None
        }
    }
}

/// What a peer wants with a blob. Dropping it ends its stream: the peer sees that no answer came.
#[derive(Debug)]
pub enum BlobRequest {
    /// It wants one.
    Get(GetRequest),
    /// It has one to give.
    Put(PutRequest),
}

/// A peer wants a blob.
#[derive(Debug)]
pub struct GetRequest {
    send: SendStream,
    digest: Digest,
    offset: u64,
}

impl GetRequest {
    /// Which.
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// From where on.
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// Answers with a blob of so many bytes: those from the offset on are written next.
    ///
    /// # Errors
    ///
    /// When the offset is past its end, which the peer is told, or the session ended.
    pub async fn answer(mut self, bytes: u64) -> Result<BlobWriter, BlobError> {
        let (digest, offset) = (self.digest, self.offset);
        if offset > bytes {
            self.refuse(ErrorCode::InvalidValue).await?;
            let (found, wanted) = (offset, bytes);
            return Err(BlobError::Length { found, wanted });
        }
        write_head(&mut self.send, &BlobFound { bytes, offset }.into()).await?;
        Ok(BlobWriter {
            send: self.send,
            receive: None,
            blob: BlobRef { digest, bytes },
            offset,
            remaining: bytes - offset,
        })
    }

    /// Answers with the whole of a blob that is in memory.
    ///
    /// # Errors
    ///
    /// As [`GetRequest::answer`] and [`BlobWriter::write`].
    pub async fn answer_with(self, blob: &[u8]) -> Result<(), BlobError> {
        let start = usize::try_from(self.offset).unwrap_or(usize::MAX);
        let mut writer = self.answer(blob.len() as u64).await?;
        writer.write(blob.get(start..).unwrap_or_default()).await?;
        writer.finish()
    }

    /// Says why not.
    ///
    /// # Errors
    ///
    /// When the session ended.
    pub async fn refuse(mut self, code: ErrorCode) -> Result<(), BlobError> {
        refuse(&mut self.send, code).await
    }
}

/// A peer offers a blob.
#[derive(Debug)]
pub struct PutRequest {
    send: SendStream,
    receive: RecvStream,
    blob: BlobRef,
}

impl PutRequest {
    /// Which, and how large it is.
    pub const fn blob(&self) -> BlobRef {
        self.blob
    }

    /// Asks for the bytes from an offset on: `hasher` has taken those before it.
    ///
    /// # Errors
    ///
    /// When the session ended.
    pub async fn want(
        mut self,
        offset: u64,
        hasher: Hasher,
    ) -> Result<(BlobReader, StoredAnswer), BlobError> {
        let offset = offset.min(self.blob.bytes);
        write_head(&mut self.send, &BlobWanted { offset }.into()).await?;
        let reader = BlobReader {
            stream: self.receive,
            hasher,
            digest: self.blob.digest,
            remaining: self.blob.bytes - offset,
            bytes: self.blob.bytes,
            idle: BLOB_IDLE,
        };
        let answer = StoredAnswer {
            send: self.send,
            digest: self.blob.digest,
        };
        Ok((reader, answer))
    }

    /// Takes the whole blob, when it is not larger than that. Its digest was checked. Refused when it is.
    ///
    /// # Errors
    ///
    /// When it is larger, what came is another one, or the session ended.
    pub async fn take(self, bytes_max: u64) -> Result<(Vec<u8>, StoredAnswer), BlobError> {
        let bytes = self.blob.bytes;
        if bytes > bytes_max {
            self.refuse(ErrorCode::TooLarge).await?;
            return Err(BlobError::TooLarge { bytes, bytes_max });
        }
        let (mut reader, answer) = self.want(0, Hasher::new()).await?;
        let mut taken = Vec::with_capacity(bytes.min(RESERVED_BYTES_MAX) as usize);
        loop {
            match reader.next().await {
                Ok(Some(chunk)) => taken.extend_from_slice(&chunk),
                Ok(None) => return Ok((taken, answer)),
                Err(error) => {
                    if matches!(error, BlobError::OtherContent { .. }) {
                        answer.refuse(ErrorCode::DigestMismatch).await?;
                    }
                    return Err(error);
                }
            }
        }
    }

    /// Says that it is there already.
    ///
    /// # Errors
    ///
    /// When the session ended.
    pub async fn stored(self) -> Result<(), BlobError> {
        let digest = self.blob.digest;
        let send = self.send;
        StoredAnswer { send, digest }.stored().await
    }

    /// Says why not.
    ///
    /// # Errors
    ///
    /// When the session ended.
    pub async fn refuse(mut self, code: ErrorCode) -> Result<(), BlobError> {
        let _ = self.receive.stop(GIVEN_UP);
        refuse(&mut self.send, code).await
    }
}

/// The answer to a put, once its bytes have come. Dropping it ends the stream: the peer sees that no answer came.
#[derive(Debug)]
pub struct StoredAnswer {
    send: SendStream,
    digest: Digest,
}

impl StoredAnswer {
    /// The blob is durable.
    ///
    /// # Errors
    ///
    /// When the session ended.
    pub async fn stored(mut self) -> Result<(), BlobError> {
        let digest = self.digest;
        write_head(&mut self.send, &BlobStored { digest }.into()).await?;
        self.send.finish().map_err(|_| BlobError::Reset)
    }

    /// It is not, and why.
    ///
    /// # Errors
    ///
    /// When the session ended.
    pub async fn refuse(mut self, code: ErrorCode) -> Result<(), BlobError> {
        refuse(&mut self.send, code).await
    }
}

async fn refuse(send: &mut SendStream, code: ErrorCode) -> Result<(), BlobError> {
    let failed = Failed {
        request: 0,
        code,
        reason: Text::default(),
        retry_after_ms: None,
    };
    write_head(send, &failed.into()).await?;
    send.finish().map_err(|_| BlobError::Reset)
}

fn refused(message: &Message) -> BlobError {
    match message {
        Message::Failed(failed) => BlobError::Refused { code: failed.code },
        other => BlobError::WrongMessage {
            message: other.name(),
        },
    }
}

async fn write_head(send: &mut SendStream, message: &Message) -> Result<(), BlobError> {
    let mut frame = Vec::new();
    encode_frame(message, &mut frame).map_err(SessionError::from)?;
    match timeout(BLOB_IDLE, send.write_all(&frame)).await {
        Ok(written) => written.map_err(of_write),
        Err(_) => Err(BlobError::Stalled),
    }
}

async fn read_head(receive: &mut RecvStream, idle: Duration) -> Result<Message, BlobError> {
    let read = async {
        let mut head = [0; FRAME_HEAD_BYTES];
        receive.read_exact(&mut head).await.map_err(of_read_exact)?;
        let length = frame_length(head).map_err(BlobError::Head)?;
        if length > BLOB_HEAD_BYTES_MAX {
            let bytes = length as u64;
            return Err(BlobError::Head(WireError::FrameTooLong { bytes }));
        }
        let mut body = vec![0; length];
        receive.read_exact(&mut body).await.map_err(of_read_exact)?;
        Message::from_body(&body).map_err(BlobError::Head)
    };
    match timeout(idle, read).await {
        Ok(message) => message,
        Err(_) => Err(BlobError::Stalled),
    }
}

fn of_read_exact(error: ReadExactError) -> BlobError {
    match error {
        ReadExactError::FinishedEarly(at) => BlobError::Head(WireError::Truncated { at }),
        ReadExactError::ReadError(error) => of_read(error),
    }
}

fn of_read(error: ReadError) -> BlobError {
    match error {
        ReadError::ConnectionLost(error) => error.into(),
        _ => BlobError::Reset,
    }
}

fn of_write(error: WriteError) -> BlobError {
    match error {
        WriteError::ConnectionLost(error) => error.into(),
        _ => BlobError::Reset,
    }
}
