//! Outgoing connections.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use super::Epoll;
use super::slots::State;
use crate::driver::{Conn, Event};
use crate::time::Now;

impl<P: Send + 'static> Epoll<P> {
    pub(super) fn connect(&mut self, tag: u64, from: Option<SocketAddr>, to: SocketAddr) {
        if !self.peers.take_room(self.index) {
            let error = io::ErrorKind::QuotaExceeded;
            return self.caused.push(Event::ConnectFailed { tag, error });
        }
        let state = State { connecting: Some(tag), ..State::default() };
        let attempt = start_connect(from, to);
        let attempt = attempt.and_then(|socket| self.register(socket, state).map_err(|(error, _)| error));
        if let Err(error) = attempt {
            self.peers.give_room(self.index, 1);
            self.caused.push(Event::ConnectFailed { tag, error: error.kind() });
        }
    }

    pub(super) fn connected(&mut self, conn: Conn, tag: u64, report: &mut dyn FnMut(Now, Event<'_, P>)) {
        let Some(slot) = self.slots.get(conn) else { return };
        slot.state.connecting = None;
        slot.state.writable = true;
        // The edge of what the peer sent at once may have come with this one.
        slot.state.readable = true;
        match rustix::net::sockopt::socket_error(&slot.socket) {
            Ok(Ok(())) => report(Now::read(), Event::Connected { conn, tag }),
            Ok(Err(error)) | Err(error) => {
                self.release(conn);
                report(Now::read(), Event::ConnectFailed { tag, error: error.kind() });
            }
        }
    }
}

fn start_connect(from: Option<SocketAddr>, to: SocketAddr) -> io::Result<OwnedFd> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(Domain::for_address(to), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    if let Some(from) = from {
        // The port is then chosen by the connect, which knows the destination.
        set_bind_address_no_port(&socket)?;
        socket.bind(&from.into())?;
    }
    match socket.connect(&to.into()) {
        Ok(()) => Ok(socket.into()),
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok(socket.into()),
        Err(error) => Err(error),
    }
}

fn set_bind_address_no_port(socket: &impl AsRawFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    let (level, name) = (libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT);
    // SAFETY: the kernel reads `length` bytes of `on` during the call.
    match unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const on).cast(), length) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
