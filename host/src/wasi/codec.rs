//! Snapshots as bytes.
//!
//! CBOR. The top is `[format, monotonic_ns, descriptors, scratch]`. A descriptor is null or
//! `[kind, number, rights, inheriting, flags, preopen, offset]`. `scratch` is null or the inodes by number; an inode is
//! null or `[accessed, modified, changed, body]`, and a body is bytes (a file), text (a symbolic link) or an array of
//! `[name, label, inode]` (a directory). One snapshot has one encoding.
//!
//! What is read is checked to be a state that a guest could have reached.

use std::convert::Infallible;
use std::sync::Arc;

use minicbor::data::Type;
use minicbor::{Decoder, Encoder};

use super::calls_io::OFFSET_MAX;
use super::fd::{Descriptor, Descriptors, Open};
use super::fs::{
    Body, Directory, Inode, Library, NAME_BYTES_MAX, Node, PATH_BYTES_MAX, Scratch, TMP,
};
use super::snapshot::{Inconsistency, SnapshotError, WasiSnapshot};
use super::stdio::Stream;
use super::types::{Times, fdflags, rights};

/// The version of the format.
pub(crate) const FORMAT: u32 = 1;

/// All rights that a descriptor can have.
const RIGHTS: u64 = rights::FILE | rights::DIRECTORY;

type Written = Result<(), minicbor::encode::Error<Infallible>>;

impl WasiSnapshot {
    /// The snapshot as bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut encoder = Encoder::new(Vec::new());
        match self.encode(&mut encoder) {
            Ok(()) => encoder.into_writer(),
            // Writing to memory does not fail.
            Err(_) => Vec::new(),
        }
    }

    fn encode(&self, encoder: &mut Encoder<Vec<u8>>) -> Written {
        encoder.array(4)?.u32(FORMAT)?.u64(self.monotonic_ns)?;
        let slots = self.descriptors.slots();
        encoder.array(length(slots.len()))?;
        for slot in slots {
            match slot {
                Some(descriptor) => encode_descriptor(descriptor, encoder)?,
                None => drop(encoder.null()?),
            }
        }
        let Some(scratch) = &self.scratch else {
            encoder.null()?;
            return Ok(());
        };
        let slots = scratch.slots();
        let used = slots
            .iter()
            .rposition(Option::is_some)
            .map_or(0, |last| last + 1);
        encoder.array(length(used))?;
        for slot in slots.iter().take(used) {
            match slot {
                Some(inode) => encode_inode(inode, encoder)?,
                None => drop(encoder.null()?),
            }
        }
        Ok(())
    }

    /// Reads a snapshot. `library` is the one that the sandbox had.
    ///
    /// # Errors
    ///
    /// [`SnapshotError`] unless [`WasiSnapshot::to_bytes`] could have written the bytes.
    pub fn from_bytes(bytes: &[u8], library: &Library) -> Result<Self, SnapshotError> {
        let mut decoder = Decoder::new(bytes);
        let parts = decoder.array()?;
        let found = decoder.u32()?;
        if found != FORMAT {
            return Err(SnapshotError::Format { found });
        }
        expect_length(parts, 4)?;
        let monotonic_ns = decoder.u64()?;
        let slots = decode_slots(&mut decoder, decode_descriptor)?;
        let scratch = match decoder.datatype()? {
            Type::Null => {
                decoder.null()?;
                None
            }
            _ => {
                let inodes = decode_slots(&mut decoder, decode_inode)?;
                let open = open_counts(&slots, inodes.len());
                let scratch = Scratch::from_slots(inodes, &open);
                Some(Box::new(
                    scratch.ok_or(SnapshotError::Inconsistent(Inconsistency::Tree))?,
                ))
            }
        };
        if decoder.position() != bytes.len() {
            return Err(SnapshotError::Inconsistent(Inconsistency::Rest));
        }
        let fits = slots
            .iter()
            .flatten()
            .all(|slot| fits(slot, library, scratch.as_deref()));
        let descriptors = Descriptors::from_slots(slots).filter(|_| fits);
        let descriptors =
            descriptors.ok_or(SnapshotError::Inconsistent(Inconsistency::Descriptors))?;
        Ok(Self {
            descriptors,
            scratch,
            monotonic_ns,
        })
    }
}

fn length(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

fn encode_descriptor(descriptor: &Descriptor, encoder: &mut Encoder<Vec<u8>>) -> Written {
    let (kind, number) = match descriptor.open {
        Open::Stdin => (0, 0),
        Open::Output(Stream::Stdout) => (0, 1),
        Open::Output(Stream::Stderr) => (0, 2),
        Open::Directory(Node::Root) => (1, 0),
        Open::Directory(Node::Lib) => (1, 1),
        Open::File(Node::Library(index)) => (2, index),
        Open::Directory(Node::Library(index)) => (3, index),
        Open::File(Node::Scratch(inode)) => (4, inode),
        Open::Directory(Node::Scratch(inode)) => (5, inode),
        // No path leads to these: the frame has no files, and a snapshot has no inputs.
        Open::File(_) | Open::Directory(Node::Input(_)) => (6, 0),
    };
    encoder.array(7)?.u8(kind)?.u32(number)?;
    encoder
        .u64(descriptor.rights)?
        .u64(descriptor.inheriting)?
        .u16(descriptor.flags)?;
    encoder.bool(descriptor.preopen)?.u64(descriptor.offset)?;
    Ok(())
}

fn encode_inode(inode: &Inode, encoder: &mut Encoder<Vec<u8>>) -> Written {
    encoder.array(4)?;
    encoder
        .u64(inode.times.accessed)?
        .u64(inode.times.modified)?
        .u64(inode.times.changed)?;
    match &inode.body {
        Body::File(contents) => drop(encoder.bytes(contents)?),
        Body::Symlink(target) => drop(encoder.str(target)?),
        Body::Directory(directory) => {
            encoder.array(length(directory.len()))?;
            for entry in directory.after(0) {
                encoder
                    .array(3)?
                    .str(entry.name)?
                    .u64(entry.label)?
                    .u32(entry.inode)?;
            }
        }
    }
    Ok(())
}

fn expect_length(found: Option<u64>, expected: u64) -> Result<(), SnapshotError> {
    if found == Some(expected) {
        return Ok(());
    }
    Err(minicbor::decode::Error::message("array of another length").into())
}

/// An array of nulls and things.
fn decode_slots<T>(
    decoder: &mut Decoder<'_>,
    decode: impl Fn(&mut Decoder<'_>) -> Result<T, SnapshotError>,
) -> Result<Vec<Option<T>>, SnapshotError> {
    let count = decoder
        .array()?
        .ok_or_else(|| minicbor::decode::Error::message("no length"))?;
    let mut slots = Vec::new();
    for _ in 0..count {
        slots.push(match decoder.datatype()? {
            Type::Null => {
                decoder.null()?;
                None
            }
            _ => Some(decode(decoder)?),
        });
    }
    Ok(slots)
}

fn decode_descriptor(decoder: &mut Decoder<'_>) -> Result<Descriptor, SnapshotError> {
    expect_length(decoder.array()?, 7)?;
    let (kind, number) = (decoder.u8()?, decoder.u32()?);
    let open = match (kind, number) {
        (0, 0) => Open::Stdin,
        (0, 1) => Open::Output(Stream::Stdout),
        (0, 2) => Open::Output(Stream::Stderr),
        (1, 0) => Open::Directory(Node::Root),
        (1, 1) => Open::Directory(Node::Lib),
        (2, index) => Open::File(Node::Library(index)),
        (3, index) => Open::Directory(Node::Library(index)),
        (4, inode) => Open::File(Node::Scratch(inode)),
        (5, inode) => Open::Directory(Node::Scratch(inode)),
        _ => return Err(SnapshotError::Inconsistent(Inconsistency::Descriptors)),
    };
    let mut descriptor = Descriptor::new(open, decoder.u64()?);
    descriptor.inheriting = decoder.u64()?;
    descriptor.flags = decoder.u16()?;
    descriptor.preopen = decoder.bool()?;
    descriptor.offset = decoder.u64()?;
    Ok(descriptor)
}

fn decode_inode(decoder: &mut Decoder<'_>) -> Result<Inode, SnapshotError> {
    let bad = || SnapshotError::Inconsistent(Inconsistency::Entries);
    expect_length(decoder.array()?, 4)?;
    let times = Times {
        accessed: decoder.u64()?,
        modified: decoder.u64()?,
        changed: decoder.u64()?,
    };
    let body = match decoder.datatype()? {
        Type::Bytes => Body::File(Arc::new(decoder.bytes()?.to_vec())),
        Type::String => {
            let target = decoder.str()?;
            if target.is_empty() || target.len() > PATH_BYTES_MAX || target.contains('\0') {
                return Err(bad());
            }
            Body::Symlink(target.into())
        }
        _ => {
            let count = decoder.array()?.ok_or_else(bad)?;
            let mut entries = Vec::new();
            for _ in 0..count {
                expect_length(decoder.array()?, 3)?;
                let name = decoder.str()?;
                let wrong = matches!(name, "" | "." | "..") || name.contains(['/', '\0']);
                if wrong || name.len() > NAME_BYTES_MAX {
                    return Err(bad());
                }
                entries.push((name.into(), decoder.u64()?, decoder.u32()?));
            }
            Body::Directory(Directory::from_entries(entries).ok_or_else(bad)?)
        }
    };
    Ok(Inode {
        links: 0,
        open: 0,
        times,
        body,
    })
}

/// How often each of the inodes is open.
fn open_counts(slots: &[Option<Descriptor>], inodes: usize) -> Vec<u32> {
    let mut counts = vec![0; inodes];
    for descriptor in slots.iter().flatten() {
        if let Open::File(Node::Scratch(inode)) | Open::Directory(Node::Scratch(inode)) =
            descriptor.open
            && let Some(count) = usize::try_from(inode)
                .ok()
                .and_then(|at| counts.get_mut(at))
        {
            *count += 1;
        }
    }
    counts
}

/// Whether a guest could have opened this.
fn fits(descriptor: &Descriptor, library: &Library, scratch: Option<&Scratch>) -> bool {
    let kind = |node, directory| match node {
        Node::Root | Node::Lib => directory,
        Node::Library(index) if directory => library.children(index).is_some(),
        Node::Library(index) => library.contents(index).is_some(),
        Node::Scratch(inode) => match scratch {
            Some(scratch) => scratch.inode(inode).is_some_and(|inode| match inode.body {
                Body::File(_) => !directory,
                Body::Directory(_) => directory,
                Body::Symlink(_) => false,
            }),
            None => directory && inode <= TMP,
        },
        Node::Input(_) => false,
    };
    let (there, applicable) = match descriptor.open {
        Open::Stdin => (true, rights::STDIN),
        Open::Output(_) => (true, rights::STDOUT),
        Open::File(node) => (kind(node, false), rights::FILE),
        Open::Directory(node) => (kind(node, true), rights::DIRECTORY),
    };
    there
        && descriptor.rights & !applicable == 0
        && descriptor.inheriting & !RIGHTS == 0
        && descriptor.flags & !fdflags::ALL == 0
        && descriptor.offset <= OFFSET_MAX
        && (!descriptor.preopen || descriptor.open == Open::Directory(Node::Root))
}
