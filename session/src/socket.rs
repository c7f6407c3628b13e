//! The UDP socket below an endpoint.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use quinn::{Endpoint, EndpointConfig, ServerConfig, TokioRuntime};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::limits::{CONNECTING_SOCKET_BYTES, LISTENING_SOCKET_BYTES, SOCKET_SEND_BYTES};

/// An endpoint that accepts connections. Needs a tokio runtime.
pub(crate) fn listening(config: ServerConfig, address: SocketAddr) -> io::Result<Endpoint> {
    let socket = UdpSocket::bind(address)?;
    size(&socket, LISTENING_SOCKET_BYTES);
    let runtime = Arc::new(TokioRuntime);
    Endpoint::new(EndpointConfig::default(), Some(config), socket, runtime)
}

/// An endpoint that connects, from this address. Needs a tokio runtime.
pub(crate) fn connecting(address: SocketAddr) -> io::Result<Endpoint> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() {
        // Where one socket cannot do both, it reaches those that have the same kind of address.
        let _ = socket.set_only_v6(false);
    }
    socket.bind(&address.into())?;
    let socket = UdpSocket::from(socket);
    size(&socket, CONNECTING_SOCKET_BYTES);
    let runtime = Arc::new(TokioRuntime);
    Endpoint::new(EndpointConfig::default(), None, socket, runtime)
}

fn size(socket: &UdpSocket, receive: usize) {
    let socket = SockRef::from(socket);
    // The system may give less, or refuse; what does not fit is lost and sent again.
    let _ = socket.set_recv_buffer_size(receive);
    let _ = socket.set_send_buffer_size(SOCKET_SEND_BYTES);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_holds_more_than_the_systems_default() {
        let [plain, sized] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        size(&sized, LISTENING_SOCKET_BYTES);
        let holds = |socket: &UdpSocket| SockRef::from(socket).recv_buffer_size().unwrap();
        // A system whose limit is its default gives nothing more.
        assert!(holds(&sized) >= holds(&plain));
        #[cfg(target_os = "linux")]
        {
            let path = "/proc/sys/net/core/rmem_max";
            let max: usize = std::fs::read_to_string(path)
                .unwrap()
                .trim()
                .parse()
                .unwrap();
            // The kernel counts its own use of a buffer as well, and so takes twice what it is asked for.
            assert_eq!(holds(&sized), 2 * max.min(LISTENING_SOCKET_BYTES));
        }
    }
}
