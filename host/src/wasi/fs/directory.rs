//! A scratch directory: sorted by name, with cookies that stay valid while entries come and go.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

/// Labels are below this, so that they and the cookies made from them have room in 64 bits.
pub(crate) const LABEL_MAX: u64 = 1 << 61;

/// The distance kept from the entry at either end, so that names in rising or falling order never run out of labels.
const STEP: u64 = 1 << 30;

/// An entry as listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Listed<'a> {
    pub(crate) label: u64,
    pub(crate) name: &'a str,
    pub(crate) inode: u32,
}

/// The entries of a directory.
///
/// Each entry has a label, and labels are in the order of the names. A label is what a listing remembers, so a listing
/// goes on at the right place whatever happened to the entry that it stopped at. Labels change only when a gap between
/// two neighbours has been halved until nothing is left of it; then all are dealt anew.
#[derive(Clone, Debug)]
pub(crate) struct Directory {
    pub(crate) parent: u32,
    by_name: BTreeMap<Arc<str>, u64>,
    by_label: BTreeMap<u64, (Arc<str>, u32)>,
}

impl Directory {
    pub(crate) const fn new(parent: u32) -> Self {
        Self {
            parent,
            by_name: BTreeMap::new(),
            by_label: BTreeMap::new(),
        }
    }

    /// A directory with entries as saved, in order; `None` when names or labels do not rise.
    pub(crate) fn from_entries(entries: Vec<(Arc<str>, u64, u32)>) -> Option<Self> {
        let mut directory = Self::new(0);
        for (name, label, inode) in entries {
            let last = directory.by_label.last_key_value();
            let rises = last.is_none_or(|(before, (above, _))| *before < label && *above < name);
            if !rises || label == 0 || label >= LABEL_MAX {
                return None;
            }
            directory.by_name.insert(Arc::clone(&name), label);
            directory.by_label.insert(label, (name, inode));
        }
        Some(directory)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_name.len()
    }

    pub(crate) fn child(&self, name: &str) -> Option<u32> {
        let label = self.by_name.get(name)?;
        self.by_label.get(label).map(|(_, inode)| *inode)
    }

    /// Sets what `name` stands for.
    pub(crate) fn set(&mut self, name: &str, inode: u32) {
        if let Some(entry) = self
            .by_name
            .get(name)
            .and_then(|label| self.by_label.get_mut(label))
        {
            entry.1 = inode;
            return;
        }
        let label = self.free_label(name).unwrap_or_else(|| {
            self.deal_labels();
            self.free_label(name).unwrap_or(LABEL_MAX - 1)
        });
        let name: Arc<str> = name.into();
        self.by_name.insert(Arc::clone(&name), label);
        self.by_label.insert(label, (name, inode));
    }

    /// Takes the entry away and returns what it stood for.
    pub(crate) fn remove(&mut self, name: &str) -> Option<u32> {
        let label = self.by_name.remove(name)?;
        self.by_label.remove(&label).map(|(_, inode)| inode)
    }

    /// The entries after a label, in order; after label 0 are all of them.
    pub(crate) fn after(&self, label: u64) -> impl Iterator<Item = Listed<'_>> {
        self.by_label
            .range((Bound::Excluded(label), Bound::Unbounded))
            .map(|(label, (name, inode))| Listed {
                label: *label,
                name,
                inode: *inode,
            })
    }

    /// A label for a new name, between those of its neighbours.
    fn free_label(&self, name: &str) -> Option<u64> {
        let below = (Bound::Unbounded, Bound::Excluded(name));
        let above = (Bound::Excluded(name), Bound::Unbounded);
        let before = self
            .by_name
            .range::<str, _>(below)
            .next_back()
            .map(|(_, label)| *label);
        let after = self
            .by_name
            .range::<str, _>(above)
            .next()
            .map(|(_, label)| *label);
        let label = match (before, after) {
            (None, None) => LABEL_MAX / 2,
            (Some(before), None) => before
                .checked_add(STEP)
                .filter(|label| *label < LABEL_MAX)
                .unwrap_or(before.midpoint(LABEL_MAX)),
            (None, Some(after)) => after.checked_sub(STEP).unwrap_or(after / 2),
            (Some(before), Some(after)) => before.midpoint(after),
        };
        let free = label > before.unwrap_or(0) && label < after.unwrap_or(LABEL_MAX);
        free.then_some(label)
    }

    fn deal_labels(&mut self) {
        let gap = LABEL_MAX / (u64::try_from(self.len()).unwrap_or(u64::MAX - 2) + 2);
        let mut dealt = BTreeMap::new();
        let mut next = gap;
        for (name, label) in &mut self.by_name {
            if let Some((_, inode)) = self.by_label.get(label) {
                dealt.insert(next, (Arc::clone(name), *inode));
            }
            *label = next;
            next += gap;
        }
        self.by_label = dealt;
    }
}
