//! `poll_oneoff`: waiting for time to pass or for descriptors, which are always ready.

use super::Wasi;
use super::clock::ClockId;
use super::errno::{Answer, Errno, Fail};
use super::fd::Open;
use super::memory;
use super::types::rights;

/// Most subscriptions of one call, one for each descriptor that can be open and as many timers.
pub const SUBSCRIPTIONS_MAX: u32 = 2048;

/// Bytes of a `subscription` record.
const SUBSCRIPTION_BYTES: u32 = 48;
/// Bytes of an `event` record.
const EVENT_BYTES: u32 = 32;
/// The flag that says that a timeout is a point in time.
const ABSTIME: u16 = 1;

const CLOCK: u8 = 0;
const FD_READ: u8 = 1;
const FD_WRITE: u8 = 2;

/// What a subscription waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// So many nanoseconds have to pass.
    Time(u64),
    /// Ready, with so many bytes to read.
    Ready(u64),
    /// It makes no sense.
    Failed(Errno),
}

struct Subscription {
    userdata: u64,
    kind: u8,
    wait: Wait,
}

impl Wasi {
    /// `poll_oneoff`
    pub fn poll_oneoff(
        &mut self,
        memory: &mut [u8],
        subscriptions: i32,
        events: i32,
        count: i32,
        done: i32,
    ) -> Answer {
        let (subscriptions, events) = (subscriptions.cast_unsigned(), events.cast_unsigned());
        let count = count.cast_unsigned();
        if count == 0 || count > SUBSCRIPTIONS_MAX {
            return Err(Errno::INVAL.into());
        }
        memory::bytes(memory, subscriptions, count * SUBSCRIPTION_BYTES)?;
        memory::bytes(memory, events, count * EVENT_BYTES)?;
        memory::bytes(memory, done.cast_unsigned(), 4)?;

        let mut waits = Vec::new();
        for index in 0..count {
            let at = memory::offset(subscriptions, index * SUBSCRIPTION_BYTES)?;
            waits.push(self.subscription(memory, at)?);
        }
        let wait_ns = waits.iter().map(|subscription| match subscription.wait {
            Wait::Time(wait_ns) => wait_ns,
            Wait::Ready(_) | Wait::Failed(_) => 0,
        });
        let wait_ns = wait_ns.min().unwrap_or(0);
        if wait_ns > 0 {
            self.clock.sleep(wait_ns)?;
        }
        let mut written = 0;
        for subscription in &waits {
            let (error, bytes) = match subscription.wait {
                Wait::Time(due) if due > wait_ns => continue,
                Wait::Time(_) => (Errno::SUCCESS, 0),
                Wait::Ready(bytes) => (Errno::SUCCESS, bytes),
                Wait::Failed(error) => (error, 0),
            };
            let head = u64::from(error.code()) | u64::from(subscription.kind) << 16;
            let mut record = [0u8; EVENT_BYTES as usize];
            let words = [subscription.userdata, head, bytes, 0];
            for (chunk, word) in record.chunks_exact_mut(8).zip(words) {
                chunk.copy_from_slice(&word.to_le_bytes());
            }
            memory::write(
                memory,
                memory::offset(events, written * EVENT_BYTES)?,
                &record,
            )?;
            written += 1;
        }
        memory::write_u32(memory, done.cast_unsigned(), written)?;
        Ok(())
    }

    fn subscription(&self, memory: &[u8], at: u32) -> Result<Subscription, Fail> {
        let field = |by| memory::offset(at, by);
        let kind = memory::read_u8(memory, field(8)?)?;
        let wait = match kind {
            CLOCK => {
                let id = memory::read_u32(memory, field(16)?)?;
                let timeout = memory::read_u64(memory, field(24)?)?;
                let flags = memory::read_u16(memory, field(40)?)?;
                self.time(id, timeout, flags)
            }
            FD_READ | FD_WRITE => {
                let fd = memory::read_u32(memory, field(16)?)?;
                self.ready(fd.cast_signed(), kind == FD_READ)
            }
            _ => return Err(Errno::INVAL.into()),
        };
        let wait = wait.unwrap_or_else(Wait::Failed);
        Ok(Subscription {
            userdata: memory::read_u64(memory, at)?,
            kind,
            wait,
        })
    }

    fn time(&self, id: u32, timeout: u64, flags: u16) -> Result<Wait, Errno> {
        let id = ClockId::new(id)?;
        match flags {
            0 => Ok(Wait::Time(timeout)),
            ABSTIME => Ok(Wait::Time(timeout.saturating_sub(self.clock.peek(id)))),
            _ => Err(Errno::INVAL),
        }
    }

    fn ready(&self, fd: i32, reads: bool) -> Result<Wait, Errno> {
        let descriptor = self.descriptors.descriptor(fd)?;
        let right = if reads {
            rights::FD_READ
        } else {
            rights::FD_WRITE
        };
        descriptor.require(right | rights::POLL_FD_READWRITE)?;
        let size = match descriptor.open {
            _ if !reads => return Ok(Wait::Ready(0)),
            Open::Stdin => self.stdin.len().saturating_sub(self.stdin_read),
            Open::File(node) => {
                let offset = usize::try_from(descriptor.offset).unwrap_or(usize::MAX);
                self.fs.contents(node)?.len().saturating_sub(offset)
            }
            Open::Output(_) | Open::Directory(_) => 0,
        };
        Ok(Wait::Ready(u64::try_from(size).unwrap_or(u64::MAX)))
    }
}
