//! Accepting, on a real ring.

use std::io::{ErrorKind, Read as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::*;
use crate::driver::{CloseMode, Command, Commands, Next};
use crate::peers::Peers;

/// `None` where the tests of `io_uring` are not wanted.
fn driver(slots: u32, backlog: i32) -> Option<(Uring<()>, SocketAddr)> {
    if std::env::var_os("CAMPANILE_NO_URING").is_some_and(|value| value == "1") {
        return None;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::listen(&listener, backlog).unwrap();
    let address = listener.local_addr().unwrap();
    let driver = Uring::new(0, Peers::new(1).unwrap(), slots, Some(listener.into())).unwrap();
    Some((driver, address))
}

#[test]
fn a_listener_that_is_gone_leaves_no_deadline_behind() {
    for failures in [[libc::EINVAL, libc::EMFILE], [libc::EMFILE, libc::EINVAL]] {
        let Some((mut driver, _)) = driver(16, 16) else { return };
        driver.accepting.armed = 2;
        for failure in failures {
            let token = token::of_index(Request::Accept, 0);
            driver.accepted(Completion { token, result: -failure, flags: 0 });
        }
        assert!(driver.accepting.listener.is_none());
        // A deadline that nobody takes away would keep the driver awake for ever.
        std::thread::sleep(ACCEPT_RETRY);
        driver.update_accepts().unwrap();
        assert!(driver.patience(Next::Event, &|| false) > Duration::from_secs(1));
    }
}

struct Node {
    driver: Uring<()>,
    address: SocketAddr,
    commands: Commands<()>,
    accepted: Vec<Conn>,
    clients: Vec<TcpStream>,
}

impl Node {
    fn turn(&mut self) {
        self.driver.submit(&mut self.commands, &mut |_| {}).unwrap();
        let soon = Next::At(self.driver.now().time + Duration::from_millis(1));
        let mut report = |_: Now, event: Event<'_, ()>| {
            if let Event::Accepted { conn, .. } = event {
                self.accepted.push(conn);
            }
        };
        self.driver.wait(soon, &|| false, &mut report).unwrap();
    }

    /// That many more clients connect while the driver does nothing. The backlog must hold them.
    fn connect(&mut self, count: usize) {
        for _ in 0..count {
            let client = TcpStream::connect(self.address).unwrap();
            client.set_nonblocking(true).unwrap();
            self.clients.push(client);
        }
    }

    fn until_accepted(&mut self, count: usize) {
        let started = Instant::now();
        while self.accepted.len() < count {
            assert!(started.elapsed() < Duration::from_secs(60), "{} of {count}", self.accepted.len());
            self.turn();
        }
    }
}

#[test]
fn accepts_are_multishot_while_there_is_room_and_lose_nobody_when_there_is_not() {
    const SLOTS: u32 = 300;
    const TAKEN_MAX: usize = (SLOTS - SLOTS_SPARE) as usize;
    let Some((driver, address)) = driver(SLOTS, 8) else { return };
    let (accepted, clients) = (Vec::new(), Vec::new());
    let mut node = Node { driver, address, commands: Commands::default(), accepted, clients };
    node.commands.push(Command::Accept { on: true });
    node.turn();
    assert!(node.driver.accepting.multishot && node.driver.accepting.armed == 1);
    let mut parts = 0;
    while node.clients.len() < TAKEN_MAX {
        // As many as can wait.
        node.connect((TAKEN_MAX - node.clients.len()).min(9));
        node.until_accepted(node.clients.len());
        parts += usize::from(node.driver.accepting.multishot);
    }
    assert!(!node.driver.accepting.multishot && parts > 10, "{parts} parts");
    // Those that find the table full wait.
    node.connect(9);
    for _ in 0..20 {
        node.turn();
    }
    assert_eq!(node.accepted.len(), TAKEN_MAX);
    for client in &mut node.clients {
        assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    }
    for conn in node.accepted.drain(..) {
        node.commands.close(conn, CloseMode::Abort);
    }
    node.until_accepted(9);
    node.turn();
    assert!(node.driver.accepting.multishot, "there is room again");
    for client in &mut node.clients.split_off(TAKEN_MAX) {
        assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    }
}
