//! The seal on a store at rest: a checksum for each page of the database, written when it is closed in good order.
//!
//! Rows have checksums of their own, so that damage to what is stored is found in any store, also one whose process
//! was killed. The seal finds in addition what was changed where nothing is stored: a disk that does that once does it
//! again. It costs one reading of the file at each end and at each beginning, and nothing while the store is used.
//!
//! ```text
//! "ppwasm seal 1\n"  epoch u64  bytes of a page u64  bytes of the database u64  [checksum of a page u64]…  BLAKE3 of all that
//! ```
//!
//! All numbers are little-endian. The epoch says of which closing it is: one that is older than the store's, because
//! a program that knows no seals had it open since, says nothing.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use ppwasm_proto::Digest;

use super::SEAL_FILE;
use crate::disk;
use crate::faults::{Faults, Point};
use crate::store::StoreDamage;

const MAGIC: &[u8; 14] = b"ppwasm seal 1\n";
/// Bytes for which there is one checksum: a page, in every store that this program makes.
const PAGE_BYTES: usize = 4096;
const HEAD_BYTES: usize = MAGIC.len() + 3 * 8;
const DIGEST_BYTES: usize = 32;
/// Damaged pages that are told one by one.
const PAGES_TOLD_MAX: usize = 20;

/// What a seal says about its store.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seal {
    /// There is none, or it is of an earlier closing: the store was not closed in good order.
    Absent,
    /// Every byte is as it was.
    Whole,
    /// What is not, the first first; at most [`PAGES_TOLD_MAX`].
    Broken(Vec<StoreDamage>),
}

/// The seal's file beside the database `file`.
pub(super) fn path(file: &Path) -> PathBuf {
    file.with_file_name(SEAL_FILE)
}

/// Seals the database `file`, to which nobody writes and whose log is empty.
pub(super) fn put(file: &Path, epoch: i64, faults: &Faults) -> io::Result<()> {
    put_for(file, file, epoch, faults)
}

/// Seals the database `file`, which is about to be named `name`.
pub(super) fn put_for(file: &Path, name: &Path, epoch: i64, faults: &Faults) -> io::Result<()> {
    let seal = path(name);
    let mut unfinished = seal.clone().into_os_string();
    unfinished.push(".unfinished");
    let unfinished = PathBuf::from(unfinished);
    let mut database = File::open(file)?;
    let bytes = database.metadata()?.len();
    let mut out = Sealing {
        hasher: blake3::Hasher::new(),
        file: BufWriter::new(File::create(&unfinished)?),
    };
    out.write(MAGIC)?;
    for number in [epoch.cast_unsigned(), PAGE_BYTES as u64, bytes] {
        out.write(&number.to_le_bytes())?;
    }
    pages(&mut database, |sum| out.write(&sum.to_le_bytes()))?;
    let digest = out.hasher.finalize();
    out.file.write_all(digest.as_bytes())?;
    let written = out
        .file
        .into_inner()
        .map_err(io::IntoInnerError::into_error)?;
    written.sync_all()?;
    faults.reach(Point::Seal)?;
    fs::rename(&unfinished, &seal)?;
    sync_folder(file)
}

/// Takes the seal away, before anything is written. That it is gone is durable when this returns.
pub(super) fn remove(file: &Path, faults: &Faults) -> io::Result<()> {
    match fs::remove_file(path(file)) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    faults.reach(Point::Unsealed)?;
    sync_folder(file)
}

/// Compares the database `file` with its seal. `epoch` is the store's, `None` when that cannot be read.
pub(super) fn examine(file: &Path, epoch: Option<i64>) -> io::Result<Seal> {
    let mut log = file.as_os_str().to_owned();
    log.push("-wal");
    if fs::metadata(log).is_ok_and(|log| log.len() > 0) {
        return Ok(Seal::Absent);
    }
    let seal = match File::open(path(file)) {
        Ok(seal) => seal,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Seal::Absent),
        Err(error) => return Err(error),
    };
    let broken = || Ok(Seal::Broken(vec![StoreDamage::Seal]));
    let mut database = File::open(file)?;
    let bytes = database.metadata()?.len();
    let seal_bytes = seal.metadata()?.len();
    let mut seal = Unsealing {
        hasher: blake3::Hasher::new(),
        file: BufReader::new(seal),
    };
    let mut head = [0; HEAD_BYTES];
    if seal.read(&mut head).is_err() || !head.starts_with(MAGIC) {
        return broken();
    }
    let (_, numbers) = head.split_at(MAGIC.len());
    let mut numbers = numbers.chunks_exact(8).map(number);
    let mut next = || numbers.next().unwrap_or_default();
    let (sealed_epoch, page_bytes, sealed_bytes) = (next(), next(), next());
    let sealed_pages = sealed_bytes.div_ceil(PAGE_BYTES as u64);
    let expected_bytes = (HEAD_BYTES + DIGEST_BYTES) as u64 + 8 * sealed_pages.min(1 << 56);
    if page_bytes != PAGE_BYTES as u64 || seal_bytes != expected_bytes {
        return broken();
    }
    let (mut differing, mut page, mut cut) = (Vec::new(), 0_u64, false);
    pages(&mut database, |found| {
        page += 1;
        let mut sum = [0; 8];
        if page > sealed_pages || cut {
            return Ok(());
        }
        if seal.read(&mut sum).is_err() {
            cut = true;
        } else if number(&sum) != found && differing.len() < PAGES_TOLD_MAX {
            let at = (page - 1) * PAGE_BYTES as u64;
            differing.push(StoreDamage::Page { page, at });
        }
        Ok(())
    })?;
    // Pages that the database has lost.
    for _ in page..sealed_pages {
        cut |= seal.read(&mut [0; 8]).is_err();
    }
    let mut digest = [0; DIGEST_BYTES];
    let found = *seal.hasher.finalize().as_bytes();
    if cut || seal.file.read_exact(&mut digest).is_err() || digest != found {
        return broken();
    }
    if epoch.is_some_and(|epoch| epoch.cast_unsigned() != sealed_epoch) {
        return Ok(Seal::Absent);
    }
    if bytes != sealed_bytes {
        let (recorded, found) = (sealed_bytes, bytes);
        differing.insert(0, StoreDamage::Size { recorded, found });
    }
    Ok(match differing.is_empty() {
        true => Seal::Whole,
        false => Seal::Broken(differing),
    })
}

/// Gives `each` the checksum of every page.
fn pages(database: &mut File, mut each: impl FnMut(u64) -> io::Result<()>) -> io::Result<()> {
    let mut database = BufReader::with_capacity(256 * PAGE_BYTES, database);
    let mut page = [0; PAGE_BYTES];
    loop {
        let mut filled = 0;
        while let Some(rest) = page.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match database.read(rest)? {
                0 => break,
                count => filled += count,
            }
        }
        match page.get(..filled).filter(|page| !page.is_empty()) {
            Some(page) => each(number(Digest::of(page).as_bytes()))?,
            None => return Ok(()),
        }
    }
}

/// The first eight bytes as a number.
fn number(bytes: &[u8]) -> u64 {
    let mut number = [0; 8];
    number
        .iter_mut()
        .zip(bytes)
        .for_each(|(to, from)| *to = *from);
    u64::from_le_bytes(number)
}

fn sync_folder(file: &Path) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    disk::sync_folder(folder)
}

/// A seal that is being written.
struct Sealing {
    hasher: blake3::Hasher,
    file: BufWriter<File>,
}

impl Sealing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.file.write_all(bytes)
    }
}

/// A seal that is being read.
struct Unsealing {
    hasher: blake3::Hasher,
    file: BufReader<File>,
}

impl Unsealing {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        self.file.read_exact(bytes)?;
        self.hasher.update(bytes);
        Ok(())
    }
}
