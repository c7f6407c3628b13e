//! The set of tasks of a job that have ended: a bit each, and nothing for those before the first that has not.

use std::collections::VecDeque;

/// A growing set of numbers that fills up roughly in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct EndedSet {
    /// Words before the first of `words`, all full.
    full: u64,
    words: VecDeque<u64>,
    count: u64,
}

const BITS: u64 = u64::BITS as u64;

impl EndedSet {
    /// How many are in it.
    pub(crate) const fn len(&self) -> u64 {
        self.count
    }

    pub(crate) fn contains(&self, number: u64) -> bool {
        let Some(word) = (number / BITS).checked_sub(self.full) else {
            return true;
        };
        let word = usize::try_from(word)
            .ok()
            .and_then(|word| self.words.get(word));
        word.is_some_and(|word| word & (1 << (number % BITS)) != 0)
    }

    /// Adds a number; false when it was there.
    pub(crate) fn insert(&mut self, number: u64) -> bool {
        if self.contains(number) {
            return false;
        }
        let Ok(word) = usize::try_from(number / BITS - self.full) else {
            return false;
        };
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        if let Some(word) = self.words.get_mut(word) {
            *word |= 1 << (number % BITS);
        }
        self.count += 1;
        while self.words.front() == Some(&u64::MAX) {
            self.words.pop_front();
            self.full += 1;
        }
        true
    }

    /// The first number from `from` on that is not in it.
    pub(crate) fn first_absent(&self, from: u64) -> u64 {
        let mut number = from.max(self.full.saturating_mul(BITS));
        loop {
            let index = usize::try_from(number / BITS - self.full).ok();
            let Some(word) = index.and_then(|index| self.words.get(index)) else {
                return number;
            };
            let absent = !word >> (number % BITS);
            if absent != 0 {
                return number + u64::from(absent.trailing_zeros());
            }
            number = (number / BITS + 1) * BITS;
        }
    }

    /// How many from `from` on are in it.
    pub(crate) fn count_from(&self, from: u64) -> u64 {
        let Some(first) = (from / BITS).checked_sub(self.full) else {
            let words = self.words.iter().map(|word| u64::from(word.count_ones()));
            return self.full * BITS - from + words.sum::<u64>();
        };
        let first = usize::try_from(first).unwrap_or(usize::MAX);
        let rest = self.words.iter().skip(first).enumerate();
        rest.map(|(index, word)| match index {
            0 => u64::from((word >> (from % BITS)).count_ones()),
            _ => u64::from(word.count_ones()),
        })
        .sum()
    }

    /// Takes a number out; false when it was not there.
    pub(crate) fn remove(&mut self, number: u64) -> bool {
        if !self.contains(number) {
            return false;
        }
        while self.full > number / BITS {
            self.words.push_front(u64::MAX);
            self.full -= 1;
        }
        let word = usize::try_from(number / BITS - self.full).ok();
        if let Some(word) = word.and_then(|word| self.words.get_mut(word)) {
            *word &= !(1 << (number % BITS));
        }
        self.count -= 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_the_set_that_a_set_would_be(steps in prop::collection::vec((0_u64..300, prop::bool::weighted(0.8)), 0..600)) {
            let (mut set, mut model) = (EndedSet::default(), BTreeSet::new());
            for (number, adds) in steps {
                if adds {
                    prop_assert_eq!(set.insert(number), model.insert(number));
                } else {
                    prop_assert_eq!(set.remove(number), model.remove(&number));
                }
                prop_assert_eq!(set.len(), model.len() as u64);
            }
            for number in 0..400 {
                prop_assert_eq!(set.contains(number), model.contains(&number));
                prop_assert_eq!(set.count_from(number), model.range(number..).count() as u64);
                let absent = (number..).find(|number| !model.contains(number));
                prop_assert_eq!(Some(set.first_absent(number)), absent);
            }
        }
    }

    #[test]
    fn a_full_start_needs_no_room() {
        let mut set = EndedSet::default();
        for number in 0..1_000_000 {
            set.insert(number);
            assert!(set.words.len() <= 1);
        }
        assert!(set.contains(999_999) && !set.contains(1_000_000));
    }
}
