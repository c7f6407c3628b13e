//! Descriptors: what the guest has open.

use super::errno::Errno;
use super::fs::Node;
use super::stdio::Stream;
use super::types::rights;

/// Most descriptors that a guest can have open, the standard ones included.
pub const DESCRIPTORS_MAX: usize = 1024;

/// What a descriptor stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Open {
    Stdin,
    Output(Stream),
    File(Node),
    Directory(Node),
}

/// An open descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Descriptor {
    pub(crate) open: Open,
    pub(crate) rights: u64,
    /// Rights that descriptors opened through this one can have.
    pub(crate) inheriting: u64,
    pub(crate) flags: u16,
    /// Whether it is the preopened directory.
    pub(crate) preopen: bool,
    /// Where the next read or write starts.
    pub(crate) offset: u64,
}

impl Descriptor {
    pub(crate) const fn new(open: Open, rights: u64) -> Self {
        Self {
            open,
            rights,
            inheriting: 0,
            flags: 0,
            preopen: false,
            offset: 0,
        }
    }

    /// # Errors
    ///
    /// [`Errno::NOTCAPABLE`] when one of the rights is missing.
    pub(crate) fn require(&self, rights: u64) -> Result<(), Errno> {
        if self.rights & rights == rights {
            Ok(())
        } else {
            Err(Errno::NOTCAPABLE)
        }
    }

    /// The open file.
    ///
    /// # Errors
    ///
    /// [`Errno::ISDIR`] for a directory, [`Errno::NOTCAPABLE`] when rights are missing, [`Errno::SPIPE`] for a stream
    /// that has them all.
    pub(crate) fn file(&self, rights: u64) -> Result<Node, Errno> {
        if let Open::Directory(_) = self.open {
            return Err(Errno::ISDIR);
        }
        self.require(rights)?;
        match self.open {
            Open::File(node) => Ok(node),
            _ => Err(Errno::SPIPE),
        }
    }

    /// The open directory.
    ///
    /// # Errors
    ///
    /// [`Errno::NOTDIR`] for everything else, [`Errno::NOTCAPABLE`] when rights are missing.
    pub(crate) fn directory(&self, rights: u64) -> Result<Node, Errno> {
        let Open::Directory(node) = self.open else {
            return Err(Errno::NOTDIR);
        };
        self.require(rights)?;
        Ok(node)
    }
}

/// The open descriptors by their numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Descriptors(Vec<Option<Descriptor>>);

impl Descriptors {
    /// Standard input, output and error, and the preopened directory.
    pub(crate) fn standard() -> Self {
        let mut root = Descriptor::new(Open::Directory(Node::Root), rights::DIRECTORY);
        root.inheriting = rights::DIRECTORY | rights::FILE;
        root.preopen = true;
        Self(vec![
            Some(Descriptor::new(Open::Stdin, rights::STDIN)),
            Some(Descriptor::new(
                Open::Output(Stream::Stdout),
                rights::STDOUT,
            )),
            Some(Descriptor::new(
                Open::Output(Stream::Stderr),
                rights::STDOUT,
            )),
            Some(root),
        ])
    }

    /// Descriptors by number, as saved; `None` when there are too many or the last one is a gap.
    pub(crate) fn from_slots(slots: Vec<Option<Descriptor>>) -> Option<Self> {
        let good = slots.len() <= DESCRIPTORS_MAX && !matches!(slots.last(), Some(None));
        good.then_some(Self(slots))
    }

    /// Makes these the same as `other`, in place.
    pub(crate) fn copy_from(&mut self, other: &Self) {
        self.0.clear();
        self.0.extend_from_slice(&other.0);
    }

    /// All numbers up to the highest one used.
    pub(crate) fn slots(&self) -> &[Option<Descriptor>] {
        &self.0
    }

    fn index(fd: i32) -> Result<usize, Errno> {
        usize::try_from(fd.cast_unsigned()).map_err(|_| Errno::BADF)
    }

    pub(crate) fn descriptor(&self, fd: i32) -> Result<&Descriptor, Errno> {
        self.0
            .get(Self::index(fd)?)
            .and_then(Option::as_ref)
            .ok_or(Errno::BADF)
    }

    pub(crate) fn descriptor_mut(&mut self, fd: i32) -> Result<&mut Descriptor, Errno> {
        self.0
            .get_mut(Self::index(fd)?)
            .and_then(Option::as_mut)
            .ok_or(Errno::BADF)
    }

    /// # Errors
    ///
    /// [`Errno::MFILE`] when no number is left.
    pub(crate) fn check_room(&self) -> Result<(), Errno> {
        let full = self.0.len() >= DESCRIPTORS_MAX && self.0.iter().all(Option::is_some);
        if full { Err(Errno::MFILE) } else { Ok(()) }
    }

    /// Puts a descriptor at the lowest free number.
    pub(crate) fn insert(&mut self, descriptor: Descriptor) -> Result<u32, Errno> {
        let free = self.0.iter().position(Option::is_none);
        let at = free.unwrap_or(self.0.len());
        let fd = u32::try_from(at).map_err(|_| Errno::MFILE)?;
        match self.0.get_mut(at) {
            Some(slot) => *slot = Some(descriptor),
            None if at < DESCRIPTORS_MAX => self.0.push(Some(descriptor)),
            None => return Err(Errno::MFILE),
        }
        Ok(fd)
    }

    /// Takes a descriptor out.
    pub(crate) fn remove(&mut self, fd: i32) -> Result<Descriptor, Errno> {
        let slot = self.0.get_mut(Self::index(fd)?).ok_or(Errno::BADF)?;
        let removed = slot.take().ok_or(Errno::BADF)?;
        while let Some(None) = self.0.last() {
            self.0.pop();
        }
        Ok(removed)
    }
}
