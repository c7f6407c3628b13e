//! Looks through the write-ahead log before SQLite does.
//!
//! SQLite takes the log up to the first frame that does not hold for whole, and drops the rest: right for a log that was
//! torn by a loss of power, where what does not hold was never synced. But when bytes in its middle went bad, what would
//! be dropped was acknowledged. The two can be told apart: each transaction is synced before the next is written, so
//! only the last one can be torn. Two commits behind the place mean damage, and so does a page that comes twice before the
//! last commit, since one transaction writes a page to the log once.
//!
//! What cannot be told apart is damage within the last transaction; the log is emptied whenever there is nothing to do,
//! so that it rarely exists.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use crate::store::StoreDamage;

const HEAD_BYTES: usize = 32;
const FRAME_HEAD_BYTES: usize = 24;
const MAGIC: u32 = 0x377f_0682;

/// What is wrong with the log, if something is.
pub(super) fn examine(path: &Path) -> io::Result<Option<StoreDamage>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut file = BufReader::with_capacity(1 << 20, file);
    let mut head = [0; HEAD_BYTES];
    if !fill(&mut file, &mut head)? {
        return Ok(None);
    }
    let Some(log) = Head::read(&head) else {
        // The head is synced before anything follows it: a torn one has nothing behind it.
        let empty = is_zero(&mut file)?;
        return Ok((!empty).then_some(StoreDamage::Log {
            at: 0,
            transactions: 0,
        }));
    };
    let mut sums = log.sums;
    let (mut at, mut bad_at, mut behind) = (HEAD_BYTES as u64, None, Behind::default());
    let mut frame = vec![0; FRAME_HEAD_BYTES + log.page_bytes];
    while fill(&mut file, &mut frame)? {
        let is_of_this_log = word(&frame, 2) == log.salts.0 && word(&frame, 3) == log.salts.1;
        if bad_at.is_none() {
            let summed = log.sum(sums, &frame, 0..8);
            let summed = log.sum(summed, &frame, FRAME_HEAD_BYTES..frame.len());
            let holds = summed == (word(&frame, 4), word(&frame, 5)) && word(&frame, 0) != 0;
            if holds && is_of_this_log {
                sums = summed;
            } else {
                bad_at = Some(at);
            }
        }
        if bad_at.is_some() && is_of_this_log {
            behind.frame(word(&frame, 0), word(&frame, 1) != 0);
        }
        at += frame.len() as u64;
    }
    Ok(match bad_at {
        Some(at) if behind.is_more_than_one() => Some(StoreDamage::Log {
            at,
            transactions: behind.commits,
        }),
        _ => None,
    })
}

/// What there is from the first frame on that does not hold.
#[derive(Default)]
struct Behind {
    commits: u64,
    pages: HashSet<u32>,
    /// A page has come twice.
    is_repeated: bool,
    /// As it was at the last commit. Frames after that may be of transactions that were undone.
    was_repeated: bool,
}

impl Behind {
    fn frame(&mut self, page: u32, is_commit: bool) {
        self.is_repeated |= !self.pages.insert(page);
        if is_commit {
            self.commits += 1;
            self.was_repeated = self.is_repeated;
        }
    }

    const fn is_more_than_one(&self) -> bool {
        self.commits >= 2 || self.was_repeated
    }
}

struct Head {
    is_big_endian: bool,
    page_bytes: usize,
    salts: (u32, u32),
    sums: (u32, u32),
}

impl Head {
    fn read(bytes: &[u8; HEAD_BYTES]) -> Option<Self> {
        let page_bytes = usize::try_from(word(bytes, 2)).ok()?;
        if word(bytes, 0) & !1 != MAGIC
            || !page_bytes.is_power_of_two()
            || !(512..=65_536).contains(&page_bytes)
        {
            return None;
        }
        let mut head = Self {
            is_big_endian: word(bytes, 0) & 1 == 1,
            page_bytes,
            salts: (word(bytes, 4), word(bytes, 5)),
            sums: (0, 0),
        };
        head.sums = head.sum((0, 0), bytes, 0..24);
        (head.sums == (word(bytes, 6), word(bytes, 7))).then_some(head)
    }

    /// SQLite's checksum: a Fibonacci-weighted sum of words, in the byte order of the machine that began the log.
    fn sum(
        &self,
        (mut one, mut two): (u32, u32),
        bytes: &[u8],
        range: std::ops::Range<usize>,
    ) -> (u32, u32) {
        for pair in bytes.get(range).unwrap_or_default().chunks_exact(8) {
            let [a, b, c, d, e, f, g, h] = *pair else {
                break;
            };
            let read = match self.is_big_endian {
                true => u32::from_be_bytes,
                false => u32::from_le_bytes,
            };
            one = one.wrapping_add(read([a, b, c, d])).wrapping_add(two);
            two = two.wrapping_add(read([e, f, g, h])).wrapping_add(one);
        }
        (one, two)
    }
}

/// Word `index`, big-endian as all of a log's heads are; 0 beyond the end.
fn word(bytes: &[u8], index: usize) -> u32 {
    let bytes = bytes.get(4 * index..).and_then(|rest| rest.first_chunk());
    bytes.map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

/// Fills `buffer`; false when the file ends before.
fn fill(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

fn is_zero(file: &mut impl Read) -> io::Result<bool> {
    let mut buffer = [0; 4096];
    loop {
        let read = file.read(&mut buffer)?;
        match buffer.get(..read) {
            None | Some([]) => return Ok(true),
            Some(bytes) if bytes.iter().any(|byte| *byte != 0) => return Ok(false),
            Some(_) => {}
        }
    }
}
