//! How many handshakes a network may begin: a bucket of tokens for each. Pure.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::limits::{HANDSHAKES_PER_S, NETWORKS_MAX};

/// A /24 of IPv4 or a /64 of IPv6; `None` for all beyond those that are told apart.
type Network = Option<[u8; 8]>;

/// Shared handshakes by network.
#[derive(Debug, Default)]
pub(crate) struct HandshakeRate {
    buckets: HashMap<Network, Bucket>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl HandshakeRate {
    /// Whether one more from this address may begin.
    pub(crate) fn admits(&mut self, address: IpAddr, now: Instant) -> bool {
        let full = f64::from(HANDSHAKES_PER_S);
        let mut network = Some(network(address));
        if !self.buckets.contains_key(&network) && self.buckets.len() >= NETWORKS_MAX {
            // Full buckets say nothing that a new one does not.
            let second = Duration::from_secs(1);
            self.buckets
                .retain(|_, bucket| now.saturating_duration_since(bucket.filled) < second);
            if self.buckets.len() >= NETWORKS_MAX {
                network = None;
            }
        }
        let bucket = self.buckets.entry(network).or_insert(Bucket {
            tokens: full,
            filled: now,
        });
        let since = now.saturating_duration_since(bucket.filled).as_secs_f64();
        bucket.tokens = (bucket.tokens + since * full).min(full);
        bucket.filled = now;
        let admits = bucket.tokens >= 1.0;
        if admits {
            bucket.tokens -= 1.0;
        }
        admits
    }
}

fn network(address: IpAddr) -> [u8; 8] {
    let mut network = [0; 8];
    match address.to_canonical() {
        IpAddr::V4(address) => {
            // A prefix that no /64 has in use: 0100::/64 discards.
            let [a, b, c, _] = address.octets();
            network = [1, 0, 0, 0, 0, a, b, c];
        }
        IpAddr::V6(address) => network.copy_from_slice(&address.octets()[..8]),
    }
    network
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn a_network_gets_its_share_and_no_more() {
        let mut rate = HandshakeRate::default();
        let now = Instant::now();
        let address = |last| IpAddr::from(Ipv4Addr::new(10, 0, 0, last));
        for n in 0..HANDSHAKES_PER_S {
            assert!(rate.admits(address(n as u8), now));
        }
        assert!(!rate.admits(address(1), now));
        assert!(
            rate.admits(Ipv4Addr::new(10, 0, 1, 1).into(), now),
            "another network"
        );
        assert!(!rate.admits(Ipv4Addr::new(10, 0, 0, 9).to_ipv6_mapped().into(), now));
        let later = now + Duration::from_millis(500);
        let admitted = (0..HANDSHAKES_PER_S)
            .filter(|_| rate.admits(address(1), later))
            .count();
        assert_eq!(admitted, HANDSHAKES_PER_S as usize / 2);
    }

    #[test]
    fn case_32_the_number_of_networks_is_bounded() {
        let mut rate = HandshakeRate::default();
        let now = Instant::now();
        let address = |n: u32| IpAddr::from(Ipv6Addr::from(u128::from(n) << 64));
        for n in 0..NETWORKS_MAX as u32 + HANDSHAKES_PER_S {
            assert!(rate.admits(address(n), now));
        }
        assert_eq!(rate.buckets.len(), NETWORKS_MAX + 1);
        assert!(
            !rate.admits(address(u32::MAX), now),
            "the rest share one allowance"
        );
        let later = now + Duration::from_secs(1);
        assert!(rate.admits(address(u32::MAX), later));
        assert!(rate.buckets.len() <= 2);
    }
}
