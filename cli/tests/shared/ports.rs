//! Addresses for coordinators that are started again where they were.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the ports that Linux gives to whoever asks for any: while a coordinator is down, none of the many sockets of a test
/// gets its port by chance.
const FIRST: u16 = 20_000;
const COUNT: u16 = 10_000;

/// An address on this machine that nobody has, and that this process gives once.
pub(crate) fn free_address() -> SocketAddr {
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    // Test programs that run beside each other begin at different places.
    let begin = u16::try_from(std::process::id() % u32::from(COUNT)).unwrap_or_default();
    loop {
        let given = GIVEN.fetch_add(1, Ordering::Relaxed);
        assert!(given < COUNT, "no port is free");
        let port = FIRST + (begin + given) % COUNT;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
}
