//! Ports of this machine.

use std::io;
use std::net::{SocketAddr, TcpListener};

/// An address on the loopback interface that is free now. It may be taken by the time it is used: who can, asks for
/// port 0 and reads what was given.
///
/// # Errors
/// When no port is free.
pub fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}
