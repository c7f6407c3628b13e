//! Who is no longer anybody: revoked certificates and identities.

use std::collections::{BTreeMap, BTreeSet};

use crate::identity::Identity;
use crate::leaf::{Leaf, Serial};

/// Entries of one list. A certificate leaves the list when its time is over.
pub const DENIED_MAX: usize = 100_000;

/// Revoked certificates, by number, and revoked identities. Asked at every handshake; live sessions are closed by whoever
/// adds to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DenyList {
    serials: BTreeMap<Serial, u64>,
    identities: BTreeSet<Identity>,
}

impl DenyList {
    /// Nobody is denied.
    pub fn new() -> Self {
        Self::default()
    }

    /// Revokes one certificate, which ends at `not_after_s` by itself. False when the list is full.
    #[must_use]
    pub fn deny_serial(&mut self, serial: Serial, not_after_s: u64) -> bool {
        if self.len() >= DENIED_MAX && !self.serials.contains_key(&serial) {
            return false;
        }
        self.serials.insert(serial, not_after_s);
        true
    }

    /// Revokes an identity with all its certificates, those that are still to come included. False when the list is full.
    #[must_use]
    pub fn deny_identity(&mut self, identity: Identity) -> bool {
        if self.len() >= DENIED_MAX && !self.identities.contains(&identity) {
            return false;
        }
        self.identities.insert(identity);
        true
    }

    /// Takes the revocation of an identity back. Certificates that were revoked by number stay so.
    pub fn allow_identity(&mut self, identity: &Identity) -> bool {
        self.identities.remove(identity)
    }

    /// Whether a certificate is revoked.
    pub fn denies(&self, leaf: &Leaf) -> bool {
        self.identities.contains(&leaf.identity) || self.serials.contains_key(&leaf.serial)
    }

    /// Whether every certificate of an identity is revoked.
    pub fn denies_identity(&self, identity: &Identity) -> bool {
        self.identities.contains(identity)
    }

    /// Forgets certificates whose time is over.
    pub fn forget_expired(&mut self, now_s: u64) {
        self.serials.retain(|_, not_after_s| *not_after_s >= now_s);
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.serials.len() + self.identities.len()
    }

    /// Whether nobody is denied.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serial(number: u64) -> Serial {
        Serial::from_bytes(&(number + 1).to_be_bytes()).unwrap()
    }

    #[test]
    fn the_list_is_full_at_its_limit_and_forgets_what_has_expired() {
        let mut list = DenyList::new();
        for number in 0..DENIED_MAX as u64 {
            assert!(list.deny_serial(serial(number), number));
        }
        assert!(!list.deny_serial(serial(u64::MAX / 2), 9));
        assert!(list.deny_serial(serial(3), 3), "it is there already");
        let identity: Identity = "ppwasm://d/worker/n".parse().unwrap();
        assert!(!list.deny_identity(identity.clone()));
        list.forget_expired(10);
        assert_eq!(list.len(), DENIED_MAX - 10);
        assert!(list.deny_identity(identity.clone()));
        assert!(list.allow_identity(&identity));
        assert!(!list.allow_identity(&identity));
    }

    #[test]
    fn serials_do_not_depend_on_zeros_before_them() {
        assert_eq!(Serial::from_bytes(&[0, 0, 7]), Serial::from_bytes(&[7]));
        assert_eq!(Serial::from_bytes(&[0, 0]), None);
        assert!(Serial::from_bytes(&[1; 20]).is_some());
        assert_eq!(Serial::from_bytes(&[1; 21]), None);
    }
}
