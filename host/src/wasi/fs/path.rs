//! From paths to nodes. No path leads out of the directory it starts from.

use std::borrow::Cow;

use super::{Fs, NAME_BYTES_MAX, Node, PATH_BYTES_MAX};
use crate::wasi::errno::Errno;
use crate::wasi::types::Filetype;

/// Most symbolic links on the way to one node, as on Linux.
pub(crate) const LINKS_FOLLOWED_MAX: u32 = 40;

/// When a symbolic link at the end of a path is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Follow {
    /// Never: the path names an entry to make, move or remove.
    Never,
    /// When a slash comes after it: the path names what is looked at.
    BeforeSlash,
    /// Always.
    Always,
}

impl Follow {
    /// What a lookup flag means.
    pub(crate) fn lookup(always: bool) -> Self {
        if always {
            Self::Always
        } else {
            Self::BeforeSlash
        }
    }
}

/// Where a path leads.
#[derive(Debug)]
pub(crate) struct Found<'p> {
    /// The directory that the last component was looked up in.
    pub(crate) parent: Node,
    /// The last component; `None` when it is `.` or `..`, which name no entry.
    pub(crate) name: Option<Cow<'p, str>>,
    /// What is there.
    pub(crate) node: Option<Node>,
    /// Whether a slash came last.
    pub(crate) slash: bool,
}

impl Found<'_> {
    fn into_owned(self) -> Found<'static> {
        Found {
            parent: self.parent,
            name: self.name.map(|name| Cow::Owned(name.into_owned())),
            node: self.node,
            slash: self.slash,
        }
    }
}

impl Fs {
    /// Follows `path` from the directory `base`.
    ///
    /// # Errors
    ///
    /// [`Errno::NOTCAPABLE`] where the path would leave `base`: when it is absolute, at a `..` in `base` itself, and at
    /// an absolute symbolic link unless `base` is the root.
    pub(crate) fn find<'p>(
        &self,
        base: Node,
        path: &'p str,
        follow: Follow,
    ) -> Result<Found<'p>, Errno> {
        if path.is_empty() {
            return Err(Errno::NOENT);
        }
        if path.starts_with('/') {
            return Err(Errno::NOTCAPABLE);
        }
        self.walk(base, base, path, follow, 0)
    }

    fn walk<'p>(
        &self,
        base: Node,
        mut here: Node,
        path: &'p str,
        follow: Follow,
        links: u32,
    ) -> Result<Found<'p>, Errno> {
        if path.len() > PATH_BYTES_MAX {
            return Err(Errno::NAMETOOLONG);
        }
        let mut rest = path.trim_end_matches('/');
        let slash = rest.len() < path.len();
        loop {
            let (name, tail) = match rest.split_once('/') {
                Some((name, tail)) => (name, tail.trim_start_matches('/')),
                None => (rest, ""),
            };
            let last = tail.is_empty();
            if matches!(name, "" | "." | "..") {
                if self.filetype(here)? != Filetype::Directory {
                    return Err(Errno::NOTDIR);
                }
                if name == ".." {
                    if here == base {
                        return Err(Errno::NOTCAPABLE);
                    }
                    here = self.parent(here)?;
                }
                if last {
                    return Ok(Found {
                        parent: here,
                        name: None,
                        node: Some(here),
                        slash: true,
                    });
                }
            } else {
                if name.len() > NAME_BYTES_MAX {
                    return Err(Errno::NAMETOOLONG);
                }
                let node = self.child(here, name)?;
                let followed =
                    !last || follow == Follow::Always || (slash && follow == Follow::BeforeSlash);
                match node
                    .filter(|_| followed)
                    .and_then(|node| self.symlink(node))
                {
                    Some(target) => {
                        let after = if last && slash { "/" } else { "" };
                        let joined = if last {
                            format!("{target}{after}")
                        } else {
                            format!("{target}/{tail}{}", if slash { "/" } else { "" })
                        };
                        let links = links + 1;
                        if links > LINKS_FOLLOWED_MAX {
                            return Err(Errno::LOOP);
                        }
                        let start = match joined.starts_with('/') {
                            true if base == Node::Root => base,
                            true => return Err(Errno::NOTCAPABLE),
                            false => here,
                        };
                        let joined = joined.trim_start_matches('/');
                        return self
                            .walk(base, start, joined, follow, links)
                            .map(Found::into_owned);
                    }
                    None if last => {
                        let name = Some(Cow::Borrowed(name));
                        return Ok(Found {
                            parent: here,
                            name,
                            node,
                            slash,
                        });
                    }
                    None => here = node.ok_or(Errno::NOENT)?,
                }
            }
            rest = tail;
        }
    }

    /// Follows a path to something that has to be there.
    pub(crate) fn lookup(&self, base: Node, path: &str, follow: bool) -> Result<Node, Errno> {
        let found = self.find(base, path, Follow::lookup(follow))?;
        let node = found.node.ok_or(Errno::NOENT)?;
        if found.slash && self.filetype(node)? != Filetype::Directory {
            return Err(Errno::NOTDIR);
        }
        Ok(node)
    }
}
