//! The standard streams: bytes in, captured bytes out.

use super::errno::{Limit, LimitExceeded};

/// An output stream of the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    fn limit(self) -> Limit {
        match self {
            Self::Stdout => Limit::StdoutBytes,
            Self::Stderr => Limit::StderrBytes,
        }
    }
}

/// Sees output as it comes, after it has been captured: the stream and the bytes that were within its limit.
pub type Sink = Box<dyn FnMut(Stream, &[u8]) + Send>;

/// What happens when a stream's limit is passed. Either way the bytes up to the limit are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnExceed {
    /// The guest ends with [`LimitExceeded`].
    #[default]
    End,
    /// The rest is dropped and the guest does not notice.
    Discard,
}

/// How much capacity a capture buffer keeps from one job to the next: 64 KiB.
const KEPT_BYTES_MAX: usize = 64 * 1024;

/// What a stream has received.
#[derive(Debug)]
pub(crate) struct Capture {
    stream: Stream,
    bytes: Vec<u8>,
    /// How many more bytes are taken in.
    room: usize,
    on_exceed: OnExceed,
    exceeded: bool,
}

impl Capture {
    pub(crate) const fn new(stream: Stream) -> Self {
        Self {
            stream,
            bytes: Vec::new(),
            room: 0,
            on_exceed: OnExceed::End,
            exceeded: false,
        }
    }

    pub(crate) fn reset(&mut self, bytes_max: usize, on_exceed: OnExceed) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES_MAX);
        self.room = bytes_max;
        self.on_exceed = on_exceed;
        self.exceeded = false;
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    pub(crate) fn exceeded(&self) -> bool {
        self.exceeded
    }

    /// Takes in what fits.
    pub(crate) fn write(
        &mut self,
        data: &[u8],
        sink: Option<&mut Sink>,
    ) -> Result<(), LimitExceeded> {
        let (kept, dropped) = data.split_at_checked(self.room).unwrap_or((data, &[]));
        self.room = self.room.saturating_sub(kept.len());
        self.bytes.extend_from_slice(kept);
        if let (Some(sink), false) = (sink, kept.is_empty()) {
            sink(self.stream, kept);
        }
        if dropped.is_empty() {
            return Ok(());
        }
        self.exceeded = true;
        match self.on_exceed {
            OnExceed::End => Err(LimitExceeded {
                which: self.stream.limit(),
            }),
            OnExceed::Discard => Ok(()),
        }
    }
}
