//! Connects sockets, upgrades them and sends their first frames, many at once.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::plan::{ACCEPT, Plan};

/// Connects and upgrades on their way at once: far below any listener's backlog.
const IN_FLIGHT_MAX: usize = 256;
/// How long nothing at all may become of them.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often that is looked at.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// How large the head of an answer may be.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// How much of what a server says is shown, in characters.
const EXCERPT_CHARS_MAX: usize = 300;

/// Why the sockets cannot be connected.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    /// Nobody listens.
    #[error("nothing listens at {0}: is the server running, on that port?")]
    NobodyListens(SocketAddrV4),
    /// The server has stopped to accept or to answer.
    #[error("{done} of {of} subscribers are connected, and the server has not answered the next for {} seconds", PATIENCE.as_secs())]
    TimedOut { done: u32, of: u32 },
    /// The connection ended before the upgrade was answered.
    #[error(
        "the server closes the connection instead of answering the upgrade ({done} of {of} are connected)"
    )]
    Closed { done: u32, of: u32 },
    /// Something that is no HTTP, or that is HTTP and no 101.
    #[error("the server refuses the upgrade: {0}")]
    Refused(String),
    /// A 101 of somebody who did not read the request.
    #[error("the server's answer does not belong to the request (Sec-WebSocket-Accept): {0}")]
    NotUpgraded(String),
    /// No socket, no port, or a connection broke.
    #[error("{step} failed: {source}")]
    Io { step: &'static str, source: Errno },
}

/// A socket on its way.
struct Dial {
    index: u32,
    socket: OwnedFd,
    connected: bool,
    answer: Vec<u8>,
}

/// Opens all sockets of the plan and gives each with its index and what came after the answer to its upgrade.
pub(super) fn connect(plan: &Plan, mut on_open: impl FnMut(u32, OwnedFd, &[u8])) -> Result<(), ConnectError> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(io("epoll"))?;
    let mut events = Vec::with_capacity(IN_FLIGHT_MAX);
    let mut dials: HashMap<u64, Dial> = HashMap::new();
    let (mut started, mut done) = (0, 0);
    let mut last_progress = Instant::now();
    while done < plan.connections {
        while started < plan.connections && dials.len() < IN_FLIGHT_MAX {
            let dial = Dial::start(plan, started)?;
            let flags = epoll::EventFlags::OUT;
            let data = epoll::EventData::new_u64(started.into());
            epoll::add(&epoll, &dial.socket, data, flags).map_err(io("epoll"))?;
            dials.insert(started.into(), dial);
            started += 1;
        }
        events.clear();
        match epoll::wait(&epoll, spare_capacity(&mut events), Some(&TICK)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(io("epoll")(error)),
        }
        for event in &events {
            let key = event.data.u64();
            let Some(dial) = dials.get_mut(&key) else { continue };
            let Some(rest) = dial.advance(plan, done, &epoll)? else { continue };
            let dial = dials.remove(&key).expect("it was there");
            epoll::delete(&epoll, &dial.socket).map_err(io("epoll"))?;
            on_open(dial.index, dial.socket, &dial.answer[rest..]);
            done += 1;
            last_progress = Instant::now();
        }
        if last_progress.elapsed() > PATIENCE {
            return Err(ConnectError::TimedOut { done, of: plan.connections });
        }
    }
    Ok(())
}

impl Dial {
    fn start(plan: &Plan, index: u32) -> Result<Self, ConnectError> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)
            .map_err(io("making a socket"))?;
        rustix::net::sockopt::set_tcp_nodelay(&socket, true).map_err(io("TCP_NODELAY"))?;
        let number = plan.first + index;
        let source = Ipv4Addr::new(127, 0, 0, 1 + (number % u32::from(plan.sources.max(1))) as u8);
        rustix::net::bind(&socket, &SocketAddrV4::new(source, 0))
            .map_err(io("binding a socket to a source address (more of them: --sources)"))?;
        match rustix::net::connect(&socket, &plan.target) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(Errno::CONNREFUSED) => return Err(ConnectError::NobodyListens(plan.target)),
            Err(error) => return Err(io("connecting")(error)),
        }
        Ok(Self { index, socket, connected: false, answer: Vec::new() })
    }

    /// Goes on now that the socket is ready. Gives how long the answer's head was once the socket is open.
    fn advance(&mut self, plan: &Plan, done: u32, epoll: &OwnedFd) -> Result<Option<usize>, ConnectError> {
        let number = plan.first + self.index;
        if !self.connected {
            match rustix::net::sockopt::socket_error(&self.socket).map_err(io("SO_ERROR"))? {
                Ok(()) => self.connected = true,
                Err(Errno::CONNREFUSED) => return Err(ConnectError::NobodyListens(plan.target)),
                Err(error) => return Err(io("connecting")(error)),
            }
            let Some(opening) = &plan.opening else { return Ok(Some(0)) };
            self.send(&opening.request(self.index, number))?;
            let data = epoll::EventData::new_u64(self.index.into());
            epoll::modify(epoll, &self.socket, data, epoll::EventFlags::IN).map_err(io("epoll"))?;
            return Ok(None);
        }
        self.answer.reserve(4096);
        match rustix::net::recv(&self.socket, spare_capacity(&mut self.answer), RecvFlags::empty()) {
            Ok((_, 0)) | Err(Errno::CONNRESET) => return Err(self.ended(done, plan.connections)),
            Ok(_) => {}
            Err(Errno::AGAIN | Errno::INTR) => return Ok(None),
            Err(error) => return Err(io("reading the answer to the upgrade")(error)),
        }
        let Some(head) = check_answer(&self.answer)? else { return Ok(None) };
        if let Some(frame) = plan.opening.as_ref().and_then(|opening| opening.first_frame(self.index, number))
        {
            self.send(&frame)?;
        }
        Ok(Some(head))
    }

    /// A new socket takes a few hundred bytes whole.
    fn send(&self, bytes: &[u8]) -> Result<(), ConnectError> {
        match rustix::net::send(&self.socket, bytes, SendFlags::NOSIGNAL) {
            Ok(sent) if sent == bytes.len() => Ok(()),
            Ok(_) => Err(io("sending the request at once")(Errno::NOBUFS)),
            Err(error) => Err(io("sending to a socket that has just been connected")(error)),
        }
    }

    /// The server has ended the connection: if it said something, that is the reason.
    fn ended(&self, done: u32, of: u32) -> ConnectError {
        if self.answer.is_empty() {
            ConnectError::Closed { done, of }
        } else {
            ConnectError::Refused(excerpt(&self.answer))
        }
    }
}

/// The length of the answer's head, once it is whole and is an upgrade.
fn check_answer(answer: &[u8]) -> Result<Option<usize>, ConnectError> {
    let is_http = answer.starts_with(b"HTTP/1.1 ") || b"HTTP/1.1 ".starts_with(answer);
    if !is_http || answer.len() > HEAD_BYTES_MAX {
        return Err(ConnectError::Refused(format!("it does not speak HTTP/1.1: {}", excerpt(answer))));
    }
    let Some(end) = memchr::memmem::find(answer, b"\r\n\r\n") else { return Ok(None) };
    let head = String::from_utf8_lossy(&answer[..end]);
    if !head.starts_with("HTTP/1.1 101") {
        return Err(ConnectError::Refused(excerpt(answer)));
    }
    let accepted = head.lines().filter_map(|line| line.split_once(':')).any(|(name, value)| {
        name.trim().eq_ignore_ascii_case("sec-websocket-accept") && value.trim() == ACCEPT
    });
    if !accepted {
        return Err(ConnectError::NotUpgraded(excerpt(answer)));
    }
    Ok(Some(end + 4))
}

/// The first line, and after the head as much of the rest as is readable at a glance.
fn excerpt(answer: &[u8]) -> String {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let line = head.lines().next().unwrap_or_default().trim();
    let said = format!("{line} {}", body.split_whitespace().collect::<Vec<_>>().join(" "));
    said.trim().chars().take(EXCERPT_CHARS_MAX).collect()
}

fn io(step: &'static str) -> impl FnOnce(Errno) -> ConnectError {
    move |source| ConnectError::Io { step, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(answer: &str) -> String {
        check_answer(answer.as_bytes()).expect_err("no upgrade").to_string()
    }

    #[test]
    fn an_upgrade_ends_where_its_head_ends() {
        let head = format!("HTTP/1.1 101 Switching Protocols\r\nsec-websocket-accept: {ACCEPT}\r\n\r\n");
        let with_frame = [head.as_bytes(), b"\x81\x00"].concat();
        assert_eq!(check_answer(&with_frame).expect("an upgrade"), Some(head.len()));
        for cut in 0..head.len() {
            assert_eq!(check_answer(&head.as_bytes()[..cut]).expect("not yet wrong"), None);
        }
    }

    #[test]
    fn a_refusal_is_shown_as_the_server_said_it() {
        let said = error("HTTP/1.1 401 Unauthorized\r\nContent-Length: 13\r\n\r\nno token\nsent");
        assert_eq!(said, "the server refuses the upgrade: HTTP/1.1 401 Unauthorized no token sent");
        assert!(error("SSH-2.0-OpenSSH_9.2\r\n").contains("does not speak HTTP/1.1: SSH-2.0-OpenSSH_9.2"));
        assert!(error("HTTP/1.1 101 Ok\r\nSec-WebSocket-Accept: x\r\n\r\n").contains("does not belong"));
    }
}
