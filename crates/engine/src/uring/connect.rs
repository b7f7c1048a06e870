//! Outgoing connections: a socket in a slot that the kernel chooses, options and address, then the connect.
//!
//! Options, address and connect are one linked chain. A member that fails cancels those behind it; since the
//! members before the connect post no completion when they succeed, the kernel keeps quiet about what it
//! cancels, too. So every member's failure ends the attempt, and whichever completion comes first does.

use std::collections::HashMap;
use std::net::SocketAddr;

use io_uring::types::{DestinationSlot, Fixed};
use io_uring::{opcode, squeue};
use socket2::SockAddr;

use super::ring::Completion;
use super::token::{self, Request};
use super::{Conn, Driver, Event, Now, Uring};

static ON: i32 = 1;

/// A connection on its way: its addresses must stay where they are while requests name them.
struct Attempt {
    tag: u64,
    from: Option<SockAddr>,
    to: SockAddr,
}

#[derive(Default)]
pub(super) struct Connecting {
    /// Attempts that wait for their socket, by a number of their own.
    sockets: HashMap<u32, Box<Attempt>>,
    next: u32,
    /// Attempts that wait for their connect.
    attempts: HashMap<Conn, Box<Attempt>>,
}

impl<P: Send + 'static> Uring<P> {
    pub(super) fn connect(&mut self, tag: u64, from: Option<SocketAddr>, to: SocketAddr) {
        let number = self.connecting.next;
        self.connecting.next = number.wrapping_add(1);
        let attempt = Attempt { tag, from: from.map(SockAddr::from), to: to.into() };
        self.connecting.sockets.insert(number, Box::new(attempt));
        let domain = if to.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        let entry = opcode::Socket::new(domain, libc::SOCK_STREAM, libc::IPPROTO_TCP)
            .file_index(Some(DestinationSlot::auto_target()))
            .build();
        self.push(entry, token::of_index(Request::Socket, number as usize));
    }

    pub(super) fn socket_made(&mut self, done: Completion, report: &mut dyn FnMut(Now, Event<'_, P>)) {
        let number = token::index(done.token) as u32;
        let Some(attempt) = self.connecting.sockets.remove(&number) else { return };
        if done.result < 0 {
            let error = std::io::Error::from_raw_os_error(-done.result).kind();
            return report(self.now(), Event::ConnectFailed { tag: attempt.tag, error });
        }
        let conn = self.slots.open(done.result as u32);
        let attempt = self.connecting.attempts.entry(conn).insert_entry(attempt);
        let attempt = attempt.get();
        let slot = Fixed(conn.slot);
        let option = |level: i32, name: i32| {
            let value = (&raw const ON).cast();
            opcode::SetSockOpt::new(slot, level as u32, name as u32, value, size_of::<i32>() as u32).build()
        };
        let mut chain = vec![option(libc::IPPROTO_TCP, libc::TCP_NODELAY)];
        if let Some(from) = &attempt.from {
            // The port is then chosen by the connect, which knows the destination.
            chain.push(option(libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT));
            chain.push(opcode::Bind::new(slot, from.as_ptr().cast(), from.len()).build());
        }
        let connect = opcode::Connect::new(slot, attempt.to.as_ptr().cast(), attempt.to.len())
            .build()
            .user_data(token::of_conn(Request::Connect, conn));
        for entry in chain {
            let flags = squeue::Flags::IO_LINK | squeue::Flags::SKIP_SUCCESS;
            let entry = entry.flags(flags).user_data(token::of_conn(Request::ConnectStep, conn));
            // SAFETY: the option's value is static; the attempt is boxed and kept until the connect, the last
            // of the chain, has completed, or until a member failed, after which none behind it is begun.
            unsafe { self.ring.push(&entry) };
        }
        // SAFETY: as above.
        unsafe { self.ring.push(&connect) };
    }

    /// The connect completed, or a member of the chain before it failed.
    pub(super) fn connected(&mut self, done: Completion, report: &mut dyn FnMut(Now, Event<'_, P>)) {
        let conn: Conn = token::conn(done.token);
        let Some(attempt) = self.connecting.attempts.remove(&conn) else { return };
        let now = self.now();
        if done.result >= 0 {
            return report(now, Event::Connected { conn, tag: attempt.tag });
        }
        let step = self.slots.close(conn, super::CloseMode::Abort);
        self.take_step(conn, step);
        let error = std::io::Error::from_raw_os_error(-done.result).kind();
        report(now, Event::ConnectFailed { tag: attempt.tag, error });
    }
}
