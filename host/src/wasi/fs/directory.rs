//! A scratch directory: sorted by name, with cookies that stay valid while entries come and go.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

/// Labels are below this, so that they and the cookies made from them have room in 64 bits.
pub(crate) const LABEL_MAX: u64 = 1 << 61;

/// The distance kept from the entry at either end, so that names in rising or falling order never run out of labels.
const STEP: u64 = 1 << 30;

/// The distance that labels get when they are dealt anew, at least.
const GAP_MIN: u64 = 1 << 20;

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
/// two neighbours has been halved until nothing is left of it; then those around it are dealt anew.
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
        let label = self
            .free_label(name)
            .unwrap_or_else(|| self.make_room(name));
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

    /// A label for a new name between neighbours that leave no gap: deals the labels around there anew, of so many
    /// entries that there is a wide gap between any two of them.
    fn make_room(&mut self, name: &str) -> u64 {
        let below = (Bound::Unbounded, Bound::Excluded(name));
        let before = self
            .by_name
            .range::<str, _>(below)
            .next_back()
            .map_or(0, |(_, label)| *label);
        let mut reach = 32;
        loop {
            let first = self
                .by_label
                .range(..=before)
                .rev()
                .nth(reach)
                .map(|(label, _)| *label);
            let last = self
                .by_label
                .range(before + 1..)
                .nth(reach)
                .map(|(label, _)| *label);
            let whole = first.is_none() && last.is_none();
            let (low, high) = (first.unwrap_or(0), last.unwrap_or(LABEL_MAX));
            let inside = (Bound::Excluded(low), Bound::Excluded(high));
            let labels: Vec<u64> = self
                .by_label
                .range(inside)
                .map(|(label, _)| *label)
                .collect();
            let gap = (high - low) / (u64::try_from(labels.len()).unwrap_or(u64::MAX - 2) + 2);
            if gap >= GAP_MIN || whole {
                return self.deal_labels(&labels, low, gap.max(1), before);
            }
            reach *= 2;
        }
    }

    /// Deals labels that are `gap` apart, from above `low` on, to the entries that have `labels`, and leaves one out
    /// after the entry that has label `before`: that one is returned.
    fn deal_labels(&mut self, labels: &[u64], low: u64, gap: u64, before: u64) -> u64 {
        let taken: Vec<_> = labels
            .iter()
            .filter_map(|label| self.by_label.remove(label).map(|entry| (*label, entry)))
            .collect();
        let mut label = low;
        let mut next = || {
            label += gap;
            label
        };
        let mut left_out = if before == 0 { next() } else { 0 };
        for (old, (name, inode)) in taken {
            let label = next();
            if let Some(known) = self.by_name.get_mut(&name) {
                *known = label;
            }
            self.by_label.insert(label, (name, inode));
            if old == before {
                left_out = next();
            }
        }
        left_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Puts names between two neighbours until labels have been dealt several times.
    #[test]
    fn labels_stay_in_order_and_far_ones_stay_the_same() {
        let mut directory = Directory::new(0);
        for number in 0..2_000 {
            directory.set(&format!("{number:04}"), number);
        }
        let label = |directory: &Directory, name: &str| directory.by_name[name];
        let far = ["0000", "0001", "1998", "1999"].map(|name| (name, label(&directory, name)));
        let mut low = "0999".to_owned();
        for number in 0..500 {
            // Now just above the last one, now just below the next one.
            let name = format!("{low}{}", if number % 2 == 0 { "a" } else { "z" });
            directory.set(&name, number);
            if number % 2 == 0 {
                low = name;
            }
            let order: Vec<_> = directory
                .after(0)
                .map(|entry| entry.name.to_owned())
                .collect();
            assert!(order.is_sorted(), "{number}");
            assert_eq!(order.len(), directory.len());
            for entry in directory.after(0) {
                assert_eq!(label(&directory, entry.name), entry.label);
                assert!(entry.label > 0 && entry.label < LABEL_MAX);
            }
        }
        for (name, before) in far {
            assert_eq!(label(&directory, name), before, "{name}");
        }
    }

    #[test]
    fn names_before_all_others_get_labels_too() {
        let mut directory = Directory::new(0);
        let mut name = "m".to_owned();
        for number in 0..2_500u32 {
            directory.set(&name, number);
            // Each one is less than all before: the labels at the lower end are used up by halving.
            name.insert(0, if number % 2 == 0 { 'b' } else { 'a' });
            name.truncate(200);
        }
        assert!(
            directory
                .after(0)
                .map(|entry| entry.name.to_owned())
                .is_sorted()
        );
        let mut low = Directory::from_entries(vec![("m".into(), 1, 0)]).expect("a directory");
        low.set("a", 1);
        low.set("z", 2);
        let names: Vec<_> = low.after(0).map(|entry| entry.name).collect();
        assert_eq!(names, ["a", "m", "z"]);
        let top = vec![("m".into(), LABEL_MAX - 1, 0)];
        let mut high = Directory::from_entries(top).expect("a directory");
        high.set("z", 2);
        assert_eq!(high.after(0).last().map(|entry| entry.name), Some("z"));
    }
}
