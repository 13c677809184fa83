//! The coordinator's ports, which `trawl up` holds as long as it runs. Workers and users send tokens to these ports. So no other user
//! may take them when the coordinator dies.

use std::net::SocketAddr;

use tokio::net::TcpSocket;

use crate::error::Error;

/// A port that is bound and not listened on, so that only processes of the same user, which say so, may listen on it.
#[derive(Debug)]
pub(super) struct Port {
    addr: SocketAddr,
    _socket: TcpSocket,
}

impl Port {
    /// Takes a port; any free one where `addr` says 0.
    ///
    /// # Errors
    /// Somebody has it.
    pub(super) fn hold(flag: &str, addr: SocketAddr) -> Result<Self, Error> {
        let hold = || {
            let socket = if addr.is_ipv4() {
                TcpSocket::new_v4()
            } else {
                TcpSocket::new_v6()
            }?;
            // Connections of an earlier run may still be there, and are in nobody's way.
            socket.set_reuseaddr(true)?;
            socket.bind(addr)?;
            // Not before: nobody's port is taken, not even one that this user shares.
            socket.set_reuseaddr(false)?;
            socket.set_reuseport(true)?;
            Ok(Self {
                addr: socket.local_addr()?,
                _socket: socket,
            })
        };
        hold().map_err(|error: std::io::Error| Error::Failed(format!("cannot listen on {addr} ({flag}): {error}")))
    }

    /// What it is.
    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen(addr: SocketAddr, shares: bool) -> std::io::Result<tokio::net::TcpListener> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.set_reuseport(shares)?;
        socket.bind(addr)?;
        socket.listen(1)
    }

    #[tokio::test]
    async fn a_port_is_the_coordinators_whether_or_not_it_lives() {
        let port = Port::hold("--listen", "127.0.0.1:0".parse().unwrap()).unwrap();
        for _ in 0..2 {
            assert!(Port::hold("--listen", port.addr()).is_err());
            assert!(listen(port.addr(), false).is_err());
            let coordinator = listen(port.addr(), true).unwrap();
            let (called, accepted) = tokio::join!(tokio::net::TcpStream::connect(port.addr()), coordinator.accept());
            assert!(called.is_ok() && accepted.is_ok());
        }
        let addr = port.addr();
        drop(port);
        assert!(Port::hold("--listen", addr).is_ok());
    }
}
