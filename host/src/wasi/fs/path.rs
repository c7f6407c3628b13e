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
        let follows_last = follow == Follow::Always || (slash && follow == Follow::BeforeSlash);
        loop {
            let (name, tail) = rest.split_once('/').unwrap_or((rest, ""));
            let tail = tail.trim_start_matches('/');
            let last = tail.is_empty();
            if matches!(name, "" | "." | "..") {
                here = self.dots(base, here, name)?;
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
                let followed = node.filter(|_| !last || follows_last);
                if let Some(target) = followed.and_then(|node| self.symlink(node)) {
                    let slash = if slash { "/" } else { "" };
                    let path = match last {
                        true => format!("{target}{slash}"),
                        false => format!("{target}/{tail}{slash}"),
                    };
                    let found = self.walk_link(base, here, &path, follow, links)?;
                    return Ok(found.into_owned());
                }
                if last {
                    return Ok(Found {
                        parent: here,
                        name: Some(name.into()),
                        node,
                        slash,
                    });
                }
                here = node.ok_or(Errno::NOENT)?;
            }
            rest = tail;
        }
    }

    /// Goes on with what a symbolic link stands for.
    fn walk_link<'p>(
        &self,
        base: Node,
        here: Node,
        path: &'p str,
        follow: Follow,
        links: u32,
    ) -> Result<Found<'p>, Errno> {
        if links >= LINKS_FOLLOWED_MAX {
            return Err(Errno::LOOP);
        }
        let start = match path.starts_with('/') {
            true if base == Node::Root => base,
            true => return Err(Errno::NOTCAPABLE),
            false => here,
        };
        self.walk(base, start, path.trim_start_matches('/'), follow, links + 1)
    }

    /// The directory itself, or the one above it unless that is above `base`.
    fn dots(&self, base: Node, here: Node, name: &str) -> Result<Node, Errno> {
        if self.filetype(here)? != Filetype::Directory {
            return Err(Errno::NOTDIR);
        }
        match name {
            ".." if here == base => Err(Errno::NOTCAPABLE),
            ".." => self.parent(here),
            _ => Ok(here),
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
