//! One listening socket per shard on the same address.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

/// How long a driver waits before it accepts again, when the process or the machine is out of something.
pub(crate) const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// What a failed accept means for the next one.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum AcceptFailure {
    /// It concerned one connection, or the request: try again.
    Transient,
    /// Descriptors or memory are exhausted: trying again at once would spin.
    Later,
    /// The listener no longer listens.
    Never,
}

impl AcceptFailure {
    pub(crate) fn of(error: &io::Error) -> AcceptFailure {
        match error.raw_os_error() {
            Some(
                libc::EAGAIN
                | libc::ECANCELED
                | libc::ECONNABORTED
                | libc::EINTR
                | libc::EPROTO
                | libc::EPERM,
            ) => AcceptFailure::Transient,
            Some(libc::EBADF | libc::EINVAL | libc::ENOTSOCK | libc::EOPNOTSUPP) => AcceptFailure::Never,
            _ => AcceptFailure::Later,
        }
    }
}

/// How to listen.
#[derive(Copy, Clone, Debug)]
pub struct ListenOptions {
    /// The address. Port 0 lets the kernel choose one.
    pub address: SocketAddr,
    /// How many sockets share it.
    pub count: usize,
    /// Completed connections that may wait on each socket, bounded by `net.core.somaxconn`.
    pub backlog: i32,
    /// `SO_SNDBUF` of each connection in bytes; the kernel doubles it. It bounds what a reader that has stopped
    /// can make the kernel hold.
    pub send_buffer_bytes: usize,
}

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another process listens there: stop it, or choose another port.
    #[error("{0} is in use by another process")]
    InUse(SocketAddr),
    /// The kernel refused.
    #[error("cannot listen on {address}: {error}")]
    Refused {
        /// The address.
        address: SocketAddr,
        /// What the kernel said.
        #[source]
        error: io::Error,
    },
}

/// Sockets that share an address; the kernel spreads connections over them.
#[derive(Debug)]
pub struct Listeners {
    /// One for each shard.
    pub sockets: Vec<OwnedFd>,
    /// The address, with the port that was chosen.
    pub address: SocketAddr,
}

impl Listeners {
    /// Binds. A first bind without `SO_REUSEPORT` makes a second gateway on the same port an error instead of
    /// a silent division of the clients.
    ///
    /// # Errors
    /// [`ListenError`].
    pub fn bind(options: ListenOptions) -> Result<Listeners, ListenError> {
        let refused = |error: io::Error| match error.kind() {
            io::ErrorKind::AddrInUse => ListenError::InUse(options.address),
            _ => ListenError::Refused { address: options.address, error },
        };
        let mut address = options.address;
        if options.address.port() != 0 {
            let probe = new_socket(address).map_err(refused)?;
            probe.bind(&address.into()).map_err(refused)?;
        }
        let mut sockets = Vec::with_capacity(options.count);
        for _ in 0..options.count {
            let socket = new_socket(address).map_err(refused)?;
            socket.set_reuse_port(true).map_err(refused)?;
            socket.set_tcp_nodelay(true).map_err(refused)?;
            socket.set_send_buffer_size(options.send_buffer_bytes).map_err(refused)?;
            socket.bind(&address.into()).map_err(refused)?;
            socket.listen(options.backlog).map_err(refused)?;
            if let Some(bound) = socket.local_addr().ok().and_then(|bound| bound.as_socket()) {
                address = bound;
            }
            sockets.push(socket.into());
        }
        Ok(Listeners { sockets, address })
    }
}

/// How many completed connections may wait on a listening socket, as the kernel has bounded it.
pub(crate) fn backlog(listener: &OwnedFd) -> io::Result<u32> {
    // SAFETY: the structure is plain integers, for which zero is a value.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
    let (descriptor, into) = (listener.as_raw_fd(), (&raw mut info).cast());
    // SAFETY: the kernel writes at most `length` bytes to `info`, during the call.
    match unsafe { libc::getsockopt(descriptor, libc::IPPROTO_TCP, libc::TCP_INFO, into, &raw mut length) } {
        // A listening socket reports its queue where a connection reports segments (tcp_get_info).
        0 => Ok(info.tcpi_sacked),
        _ => Err(io::Error::last_os_error()),
    }
}

fn new_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(address: SocketAddr) -> ListenOptions {
        ListenOptions { address, count: 2, backlog: 16, send_buffer_bytes: 16 * 1024 }
    }

    #[test]
    fn a_second_gateway_on_the_same_port_is_an_error() {
        let first = Listeners::bind(options(SocketAddr::from(([127, 0, 0, 1], 0)))).unwrap();
        assert_eq!(first.sockets.len(), 2);
        let second = Listeners::bind(options(first.address));
        assert!(matches!(second, Err(ListenError::InUse(address)) if address == first.address));
    }

    #[test]
    fn a_listener_tells_its_backlog() {
        let listeners = Listeners::bind(options(SocketAddr::from(([127, 0, 0, 1], 0)))).unwrap();
        assert_eq!(backlog(&listeners.sockets[0]).unwrap(), 16);
    }

    #[test]
    fn an_address_of_another_machine_is_refused() {
        let elsewhere = SocketAddr::from(([192, 0, 2, 1], 4_000));
        assert!(matches!(Listeners::bind(options(elsewhere)), Err(ListenError::Refused { .. })));
    }
}
