//! The read-only library: an uncompressed ustar archive, indexed once and shared by all sandboxes.

use std::collections::BTreeMap;
use std::ops::Range;

use thiserror::Error;

use super::bytes::SharedBytes;

/// Most entries that an archive may have, implied directories included.
pub const LIBRARY_ENTRIES_MAX: usize = 1 << 20;

/// Longest name of an entry that is read, in components.
const DEPTH_MAX: usize = 64;

/// Bytes of a block of the archive.
const BLOCK: usize = 512;

/// An archive that cannot be the library.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum LibraryError {
    /// The archive stops in the middle of an entry.
    #[error("library archive ends in the middle of the entry at byte {at}")]
    Truncated {
        /// Where the entry starts.
        at: usize,
    },
    /// An entry's header is not one of a ustar archive or its checksum does not fit.
    #[error("library archive has no valid ustar header at byte {at}")]
    BadHeader {
        /// Where the header is.
        at: usize,
    },
    /// An entry that is neither a file nor a directory.
    #[error("library archive's entry at byte {at} is neither a file nor a directory")]
    UnsupportedEntry {
        /// Where its header is.
        at: usize,
    },
    /// A name that is absolute, not UTF-8, too long, or has `..` in it.
    #[error("library archive's entry at byte {at} has a name that is not allowed")]
    BadName {
        /// Where its header is.
        at: usize,
    },
    /// Two entries with one name, or a file that is also a directory.
    #[error("library archive's entry at byte {at} is there twice")]
    Duplicate {
        /// Where the second one's header is.
        at: usize,
    },
    /// More than [`LIBRARY_ENTRIES_MAX`] entries.
    #[error("library archive has more than {LIBRARY_ENTRIES_MAX} entries")]
    TooManyEntries,
}

/// What an entry is. Offsets and indices are inside the archive and the index: [`Library::from_tar`] saw to it.
#[derive(Clone, Debug)]
enum Entry {
    File { start: usize, end: usize },
    Directory { children: Range<u32> },
}

#[derive(Clone, Debug)]
struct LibraryNode {
    name: Box<str>,
    parent: u32,
    entry: Entry,
}

/// The read-only library that sandboxes see under `/lib/python3.13`.
///
/// Node 0 is its top directory; a directory's children are neighbours in the index, sorted by name.
pub struct Library {
    archive: SharedBytes,
    nodes: Vec<LibraryNode>,
}

impl Library {
    /// Indexes an archive. File contents stay where they are.
    ///
    /// # Errors
    ///
    /// [`LibraryError`] when it is anything but files and directories with plain relative names.
    pub fn from_tar(archive: SharedBytes) -> Result<Self, LibraryError> {
        let mut top = Draft::directory();
        read_entries(archive.as_slice(), &mut top)?;
        let nodes = lay_out(top)?;
        Ok(Self { archive, nodes })
    }

    /// A library without any file.
    #[must_use]
    pub fn empty() -> Self {
        let top = LibraryNode {
            name: "".into(),
            parent: 0,
            entry: Entry::Directory { children: 1..1 },
        };
        Self {
            archive: SharedBytes::EMPTY,
            nodes: vec![top],
        }
    }

    fn node(&self, index: u32) -> Option<&LibraryNode> {
        self.nodes.get(usize::try_from(index).ok()?)
    }

    /// How many files and directories there are, the top directory included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is nothing but the top directory.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.len() <= 1
    }

    /// A directory's children, in order of their names.
    pub(crate) fn children(&self, index: u32) -> Option<Range<u32>> {
        match &self.node(index)?.entry {
            Entry::Directory { children } => Some(children.clone()),
            Entry::File { .. } => None,
        }
    }

    /// The child called `name`.
    pub(crate) fn child(&self, index: u32, name: &str) -> Option<u32> {
        let children = self.children(index)?;
        let range = usize::try_from(children.start).ok()?..usize::try_from(children.end).ok()?;
        let found = self
            .nodes
            .get(range)?
            .binary_search_by(|node| (*node.name).cmp(name))
            .ok()?;
        children.start.checked_add(u32::try_from(found).ok()?)
    }

    /// A node's name.
    pub(crate) fn name(&self, index: u32) -> Option<&str> {
        Some(&self.node(index)?.name)
    }

    /// The directory that a node is in; the top directory is in itself.
    pub(crate) fn parent(&self, index: u32) -> Option<u32> {
        Some(self.node(index)?.parent)
    }

    /// A file's contents; `None` for a directory.
    pub(crate) fn contents(&self, index: u32) -> Option<&[u8]> {
        match self.node(index)?.entry {
            Entry::File { start, end } => self.archive.as_slice().get(start..end),
            Entry::Directory { .. } => None,
        }
    }
}

impl std::fmt::Debug for Library {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Library({} nodes)", self.nodes.len())
    }
}

/// A tree on its way to becoming an index.
enum Draft<'a> {
    File { start: usize, end: usize },
    Directory(BTreeMap<&'a str, Self>),
}

impl<'a> Draft<'a> {
    fn directory() -> Self {
        Self::Directory(BTreeMap::new())
    }

    /// The directory `components` below this one, made where it is missing.
    fn descend(&mut self, components: &[&'a str]) -> Option<&mut BTreeMap<&'a str, Self>> {
        let mut here = match self {
            Self::Directory(children) => children,
            Self::File { .. } => return None,
        };
        for component in components {
            match here.entry(component).or_insert_with(Self::directory) {
                Self::Directory(children) => here = children,
                Self::File { .. } => return None,
            }
        }
        Some(here)
    }
}

fn read_entries<'a>(archive: &'a [u8], top: &mut Draft<'a>) -> Result<(), LibraryError> {
    let mut at = 0;
    while at < archive.len() {
        let truncated = LibraryError::Truncated { at };
        let (header, body) = archive
            .get(at..)
            .and_then(|rest| rest.split_at_checked(BLOCK))
            .ok_or(truncated)?;
        if header.iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        let header = Header::parse(header).ok_or(LibraryError::BadHeader { at })?;
        let name = header.name(at)?;
        let size = if header.directory(at)? {
            add_directory(top, &name).ok_or(LibraryError::Duplicate { at })?;
            0
        } else {
            let start = at + BLOCK;
            let end = start
                .checked_add(header.size)
                .filter(|_| header.size <= body.len())
                .ok_or(LibraryError::Truncated { at })?;
            let file = Draft::File { start, end };
            add_file(top, &name, file).ok_or(LibraryError::Duplicate { at })?;
            header.size.next_multiple_of(BLOCK)
        };
        at += BLOCK + size;
    }
    Ok(())
}

fn add_directory<'a>(top: &mut Draft<'a>, name: &[&'a str]) -> Option<()> {
    top.descend(name).map(|_| ())
}

fn add_file<'a>(top: &mut Draft<'a>, name: &[&'a str], file: Draft<'a>) -> Option<()> {
    let (last, directory) = name.split_last()?;
    let directory = top.descend(directory)?;
    if directory.contains_key(last) {
        return None;
    }
    directory.insert(last, file);
    Some(())
}

/// The parts of a ustar header that count here.
struct Header<'a> {
    name: &'a [u8],
    prefix: &'a [u8],
    size: usize,
    kind: u8,
}

impl<'a> Header<'a> {
    fn parse(block: &'a [u8]) -> Option<Self> {
        if block.get(257..262)? != b"ustar" {
            return None;
        }
        let stored = octal(block.get(148..156)?)?;
        let summed: usize = block
            .iter()
            .enumerate()
            .map(|(at, byte)| {
                usize::from(if (148..156).contains(&at) {
                    b' '
                } else {
                    *byte
                })
            })
            .sum();
        if stored != summed {
            return None;
        }
        Some(Self {
            name: until_nul(block.get(0..100)?),
            prefix: until_nul(block.get(345..500)?),
            size: octal(block.get(124..136)?)?,
            kind: *block.get(156)?,
        })
    }

    fn directory(&self, at: usize) -> Result<bool, LibraryError> {
        match self.kind {
            b'0' | 0 => Ok(false),
            b'5' => Ok(true),
            _ => Err(LibraryError::UnsupportedEntry { at }),
        }
    }

    /// The components of the name, without `.` ones.
    fn name(&self, at: usize) -> Result<Vec<&'a str>, LibraryError> {
        let bad = || LibraryError::BadName { at };
        let prefix = std::str::from_utf8(self.prefix).map_err(|_| bad())?;
        let name = std::str::from_utf8(self.name).map_err(|_| bad())?;
        if prefix.starts_with('/') || (prefix.is_empty() && name.starts_with('/')) {
            return Err(bad());
        }
        let components: Vec<&str> = prefix
            .split('/')
            .chain(name.split('/'))
            .filter(|component| !component.is_empty() && *component != ".")
            .collect();
        let longest = components
            .iter()
            .map(|component| component.len())
            .max()
            .unwrap_or(0);
        if components.contains(&"..")
            || components.len() > DEPTH_MAX
            || longest > super::NAME_BYTES_MAX
        {
            return Err(bad());
        }
        Ok(components)
    }
}

fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or(field)
}

/// An octal number, padded with spaces or NULs.
fn octal(field: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(field).ok()?.trim_matches([' ', '\0']);
    if text.is_empty() {
        Some(0)
    } else {
        usize::from_str_radix(text, 8).ok()
    }
}

/// Numbers the nodes breadth first, so that a directory's children are neighbours.
fn lay_out(top: Draft<'_>) -> Result<Vec<LibraryNode>, LibraryError> {
    let number = |count: usize| {
        u32::try_from(count)
            .ok()
            .filter(|_| count <= LIBRARY_ENTRIES_MAX)
            .ok_or(LibraryError::TooManyEntries)
    };
    let mut nodes = Vec::new();
    let mut waiting = std::collections::VecDeque::from([("", 0, top)]);
    let mut numbered = 1usize;
    while let Some((name, parent, draft)) = waiting.pop_front() {
        let index = number(nodes.len())?;
        let entry = match draft {
            Draft::File { start, end } => Entry::File { start, end },
            Draft::Directory(children) => {
                let first = number(numbered)?;
                numbered += children.len();
                waiting.extend(
                    children
                        .into_iter()
                        .map(|(name, child)| (name, index, child)),
                );
                Entry::Directory {
                    children: first..number(numbered)?,
                }
            }
        };
        nodes.push(LibraryNode {
            name: name.into(),
            parent,
            entry,
        });
    }
    Ok(nodes)
}
