//! Scratch space from what was saved, and the check that it is one that a guest could have made.

use std::cmp::Reverse;

use super::scratch::{Body, Inode, LINKS_MAX, Scratch, ScratchLimits, TMP, WORK};
use crate::wasi::types::Filetype;

impl Scratch {
    /// Inodes as saved. Their link counts and parents are worked out from the directories; how often each is open is
    /// what `open` counts.
    ///
    /// `None` unless they are a tree below `/work` and `/tmp` and files, links and empty directories that are only open.
    pub(crate) fn from_slots(mut inodes: Vec<Option<Inode>>, open: &[u32]) -> Option<Self> {
        let mut parents = vec![None; inodes.len()];
        let mut links = vec![0u32; inodes.len()];
        for (at, node) in inodes.iter().enumerate() {
            let Some(Inode {
                body: Body::Directory(directory),
                ..
            }) = node
            else {
                continue;
            };
            for entry in directory.after(0) {
                let child = usize::try_from(entry.inode).ok()?;
                inodes.get(child)?.as_ref()?;
                *links.get_mut(child)? += 1;
                *parents.get_mut(child)? = Some(u32::try_from(at).ok()?);
            }
        }
        let mut scratch = Self::new(ScratchLimits::default(), 0);
        for (at, slot) in inodes.iter_mut().enumerate() {
            let inode = u32::try_from(at).ok()?;
            let (links, parent) = (*links.get(at)?, *parents.get(at)?);
            let Some(node) = slot else {
                scratch.free.push(Reverse(inode));
                continue;
            };
            let fixed = inode <= TMP;
            node.open = open.get(at).copied().filter(|_| !fixed).unwrap_or(0);
            node.links = if fixed { 1 } else { links };
            if let Body::Directory(directory) = &mut node.body {
                directory.parent = parent.unwrap_or(inode);
                let lost = links == 0 && !directory.is_empty();
                if links > 1 || (fixed && links > 0) || (!fixed && lost) {
                    return None;
                }
            } else if fixed || links > LINKS_MAX {
                return None;
            }
            if node.links == 0 && node.open == 0 {
                return None;
            }
            scratch.bytes_used = scratch.bytes_used.checked_add(node.size())?;
            if !fixed {
                scratch.nodes_used = scratch.nodes_used.checked_add(links.max(1))?;
            }
        }
        if inodes.len() < 2 || matches!(inodes.last(), Some(None)) {
            return None;
        }
        scratch.inodes = inodes;
        scratch.is_tree().then_some(scratch)
    }

    /// Whether every directory that has entries is below `/work` or `/tmp`.
    fn is_tree(&self) -> bool {
        let mut waiting = vec![WORK, TMP];
        let mut seen = 0usize;
        while let Some(inode) = waiting.pop() {
            let Ok(directory) = self.directory(inode) else {
                continue;
            };
            seen += 1;
            waiting.extend(directory.after(0).map(|entry| entry.inode));
        }
        let linked = |node: &&Inode| node.links > 0 && node.filetype() == Filetype::Directory;
        self.inodes.iter().flatten().filter(linked).count() == seen
    }

    /// Checks that counts agree with what is there; `open` has how often each inode is open.
    #[cfg(test)]
    pub(crate) fn check(&self, open: &std::collections::BTreeMap<u32, u32>) {
        let (mut bytes, mut nodes) = (0, 0);
        for (at, node) in self.inodes.iter().enumerate() {
            let inode = u32::try_from(at).expect("a number");
            let Some(node) = node else {
                assert_eq!(self.free.iter().filter(|free| free.0 == inode).count(), 1);
                continue;
            };
            bytes += node.size();
            if inode <= TMP {
                assert_eq!((node.links, node.open), (1, 0));
                continue;
            }
            nodes += node.links.max(1);
            assert_eq!(
                node.open,
                open.get(&inode).copied().unwrap_or(0),
                "opens of {inode}"
            );
            assert!(node.links > 0 || node.open > 0, "{inode} is lost");
            let directories = self
                .inodes
                .iter()
                .flatten()
                .filter_map(|node| match &node.body {
                    Body::Directory(directory) => Some(directory),
                    _ => None,
                });
            let entries = directories.flat_map(|directory| directory.after(0));
            let links = entries.filter(|entry| entry.inode == inode).count();
            assert_eq!(
                usize::try_from(node.links).ok(),
                Some(links),
                "links of {inode}"
            );
        }
        assert_eq!((self.bytes_used, self.nodes_used), (bytes, nodes));
        assert!(bytes <= self.limits.bytes_max && nodes <= self.limits.nodes_max);
        let free = self.inodes.iter().filter(|node| node.is_none()).count();
        assert_eq!(self.free.len(), free);
        assert!(self.is_tree());
    }
}
