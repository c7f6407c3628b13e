//! An input tree as bytes: how inputs travel to the machine that runs the job.
//!
//! Eight bytes that say what it is, the number of entries, the entries, and the contents of the files one after the
//! other. An entry is the length of its path and the path, a byte that is 0 for a directory and 1 for a file, and for a
//! file the length of its contents. Numbers are little-endian: paths' lengths of two bytes, the number of entries of four,
//! contents' lengths of eight. Entries come depth first, by name: one tree has one encoding. What is not such bytes is
//! refused, and makes nothing that is larger than they are.

use std::ops::Range;
use std::sync::Arc;

use thiserror::Error;

use super::bytes::SharedBytes;
use super::input::{INPUT_NODES_MAX, InputTree, InputTreeError};

const MAGIC: &[u8; 8] = b"PPWINP1\n";
const DIRECTORY: u8 = 0;
const FILE: u8 = 1;

/// Bytes that are no input tree.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum PackedTreeError {
    /// They do not begin as one, or end before it does.
    #[error("not an input tree, or cut short")]
    CutShort,
    /// More follows.
    #[error("something follows the input tree")]
    Trailing,
    /// More than [`INPUT_NODES_MAX`] entries.
    #[error("{found} inputs, allowed are {INPUT_NODES_MAX}")]
    TooMany {
        /// How many.
        found: u32,
    },
    /// An entry that is neither file nor directory.
    #[error("an input of the unknown kind {kind}")]
    Kind {
        /// Its kind.
        kind: u8,
    },
    /// A path that is not UTF-8.
    #[error("the path of an input is not UTF-8")]
    NotUtf8,
    /// An entry that has no place in the tree.
    #[error("an input has no place in the tree")]
    Place(#[from] InputTreeError),
}

impl InputTree {
    /// The tree as bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut entries = Vec::new();
        let mut contents: Vec<&[u8]> = Vec::new();
        let mut count = 0_u32;
        // Last in, first out, so the children are put in from the last to the first.
        let mut waiting: Vec<(String, u32)> = Vec::new();
        let queue = |directory: &str, index: u32, waiting: &mut Vec<(String, u32)>| {
            for &child in self.children(index).unwrap_or_default().iter().rev() {
                let name = self.name(child).unwrap_or_default();
                let path = match directory {
                    "" => name.to_owned(),
                    directory => format!("{directory}/{name}"),
                };
                waiting.push((path, child));
            }
        };
        queue("", 0, &mut waiting);
        while let Some((path, index)) = waiting.pop() {
            count += 1;
            // Paths are shorter than two bytes can say.
            entries.extend((path.len() as u16).to_le_bytes());
            entries.extend(path.as_bytes());
            match self.contents(index) {
                Some(bytes) => {
                    entries.push(FILE);
                    entries.extend((bytes.len() as u64).to_le_bytes());
                    contents.push(bytes);
                }
                None => {
                    entries.push(DIRECTORY);
                    queue(&path, index, &mut waiting);
                }
            }
        }
        let mut out = Vec::with_capacity(
            MAGIC.len()
                + 4
                + entries.len()
                + contents.iter().map(|bytes| bytes.len()).sum::<usize>(),
        );
        out.extend(MAGIC);
        out.extend(count.to_le_bytes());
        out.extend(entries);
        for bytes in contents {
            out.extend(bytes);
        }
        out
    }

    /// Reads what [`InputTree::to_bytes`] wrote. The contents of files are not copied.
    ///
    /// # Errors
    ///
    /// When the bytes are not a tree.
    pub fn from_bytes(bytes: Arc<[u8]>) -> Result<Self, PackedTreeError> {
        let mut rest = Rest(&bytes);
        if rest.take(MAGIC.len())? != MAGIC {
            return Err(PackedTreeError::CutShort);
        }
        let found = u32::from_le_bytes(rest.array()?);
        if found as usize > INPUT_NODES_MAX {
            return Err(PackedTreeError::TooMany { found });
        }
        let mut tree = Self::new();
        let mut files: Vec<(String, u64)> = Vec::new();
        for _ in 0..found {
            let length = u16::from_le_bytes(rest.array()?);
            let path = rest.take(length.into())?;
            let path = std::str::from_utf8(path).map_err(|_| PackedTreeError::NotUtf8)?;
            match rest.array()? {
                [DIRECTORY] => tree.add_directory(path)?,
                [FILE] => files.push((path.to_owned(), u64::from_le_bytes(rest.array()?))),
                [kind] => return Err(PackedTreeError::Kind { kind }),
            }
        }
        let mut start = bytes.len() - rest.0.len();
        for (path, length) in files {
            let length = usize::try_from(length).map_err(|_| PackedTreeError::CutShort)?;
            rest.take(length)?;
            let range = start..start + length;
            start = range.end;
            let part = Part {
                all: Arc::clone(&bytes),
                range,
            };
            tree.add_file(&path, SharedBytes::new(Arc::new(part)))?;
        }
        if rest.0.is_empty() {
            Ok(tree)
        } else {
            Err(PackedTreeError::Trailing)
        }
    }
}

/// A file's contents within the bytes of the tree.
struct Part {
    all: Arc<[u8]>,
    range: Range<usize>,
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        self.all.get(self.range.clone()).unwrap_or_default()
    }
}

/// What has not been read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], PackedTreeError> {
        let (taken, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(PackedTreeError::CutShort)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], PackedTreeError> {
        let (array, rest) = self
            .0
            .split_first_chunk()
            .ok_or(PackedTreeError::CutShort)?;
        self.0 = rest;
        Ok(*array)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> InputTree {
        let mut tree = InputTree::new();
        tree.add_file("b/data.csv", b"1,2\n"[..].into()).unwrap();
        tree.add_file("a", b"first"[..].into()).unwrap();
        tree.add_file("b/ö/deep", SharedBytes::EMPTY).unwrap();
        tree.add_directory("empty").unwrap();
        tree
    }

    fn read(bytes: &[u8]) -> Result<InputTree, PackedTreeError> {
        InputTree::from_bytes(bytes.into())
    }

    fn file<'a>(tree: &'a InputTree, path: &str) -> Option<&'a [u8]> {
        let step = |at, name| tree.child(at, name);
        tree.contents(path.split('/').try_fold(0, step)?)
    }

    #[test]
    fn a_tree_survives_and_has_one_encoding() {
        let bytes = tree().to_bytes();
        let back = read(&bytes).unwrap();
        assert_eq!(back.len(), tree().len());
        assert_eq!(file(&back, "a"), Some(&b"first"[..]));
        assert_eq!(file(&back, "b/data.csv"), Some(&b"1,2\n"[..]));
        assert_eq!(file(&back, "b/ö/deep"), Some(&b""[..]));
        assert_eq!(file(&back, "empty"), None);
        assert!(back.child(0, "empty").is_some());
        assert_eq!(back.to_bytes(), bytes);
        let mut other_order = InputTree::new();
        other_order.add_directory("empty").unwrap();
        other_order
            .graft("b", &{
                let mut b = InputTree::new();
                b.add_file("ö/deep", SharedBytes::EMPTY).unwrap();
                b.add_file("data.csv", b"1,2\n"[..].into()).unwrap();
                b
            })
            .unwrap();
        other_order.add_file("a", b"first"[..].into()).unwrap();
        assert_eq!(other_order.to_bytes(), bytes);
        assert!(read(&InputTree::new().to_bytes()).unwrap().is_empty());
    }

    #[test]
    fn cut_lengthened_and_lying_bytes_are_refused() {
        let bytes = tree().to_bytes();
        for end in 0..bytes.len() {
            assert!(read(&bytes[..end]).is_err(), "{end} bytes were taken");
        }
        let longer = [&bytes[..], b"x"].concat();
        assert_eq!(read(&longer).unwrap_err(), PackedTreeError::Trailing);
        let with = |entries: &[u8], count: u32| {
            let bytes = [&MAGIC[..], &count.to_le_bytes(), entries].concat();
            read(&bytes).map(drop)
        };
        assert_eq!(with(b"", 1), Err(PackedTreeError::CutShort));
        let found = u32::MAX;
        assert_eq!(with(b"", found), Err(PackedTreeError::TooMany { found }));
        let kind = 7;
        assert_eq!(with(b"\x01\0a\x07", 1), Err(PackedTreeError::Kind { kind }));
        assert_eq!(with(b"\x01\0\xff\0", 1), Err(PackedTreeError::NotUtf8));
        let huge = [&b"\x01\0a\x01"[..], &u64::MAX.to_le_bytes()].concat();
        assert_eq!(with(&huge, 1), Err(PackedTreeError::CutShort));
        for path in ["..", "/a", "a/../b", "", "a//b", "a\0"] {
            let entry = [&[path.len() as u8, 0], path.as_bytes(), &[DIRECTORY]].concat();
            let refused = with(&entry, 1);
            assert!(matches!(refused, Err(PackedTreeError::Place(_))), "{path}");
        }
        let empty = &[1, 0, b'a', FILE, 0, 0, 0, 0, 0, 0, 0, 0][..];
        let twice = with(&[empty, empty].concat(), 2);
        assert!(matches!(twice, Err(PackedTreeError::Place(_))));
    }
}
