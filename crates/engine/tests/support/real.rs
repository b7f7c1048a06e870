//! Drivers in threads, clients on real sockets.

use std::io::{ErrorKind, Read, Write};
use std::marker::PhantomData;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use campanile_engine::epoll::Epoll;
use campanile_engine::uring::Uring;
use campanile_engine::{Command, Commands, Driver, ListenOptions, Listeners, Next, Peers, probe, run};

use super::probe::{Board, Parcel, Probe};
use super::{DEADLINE, End, Rig, Setup};

/// Which driver, and how it is made.
pub(crate) trait Kind: 'static {
    type Driver: Driver<Parcel = Parcel>;

    fn make(index: usize, peers: Arc<Peers<Parcel>>, slots: u32, listener: OwnedFd) -> Self::Driver;
}

pub(crate) struct UringKind;

impl Kind for UringKind {
    type Driver = Uring<Parcel>;

    fn make(index: usize, peers: Arc<Peers<Parcel>>, slots: u32, listener: OwnedFd) -> Uring<Parcel> {
        probe::uring().expect("io_uring (CAMPANILE_NO_URING=1 waives its tests)");
        Uring::new(index, peers, slots, Some(listener)).expect("a ring")
    }
}

pub(crate) struct EpollKind;

impl Kind for EpollKind {
    type Driver = Epoll<Parcel>;

    fn make(index: usize, peers: Arc<Peers<Parcel>>, slots: u32, listener: OwnedFd) -> Epoll<Parcel> {
        Epoll::new(index, peers, slots, Some(listener)).expect("an epoll")
    }
}

/// Whether the tests of `io_uring` are not wanted: without this a machine that lacks it fails them.
pub(crate) fn is_waived() -> bool {
    std::env::var_os("CAMPANILE_NO_URING").is_some_and(|value| value == "1")
}

struct Node {
    board: Arc<Board>,
    address: SocketAddr,
    listener: OwnedFd,
    thread: Option<JoinHandle<u32>>,
}

/// See [`Rig`].
pub(crate) struct Real<K> {
    peers: Arc<Peers<Parcel>>,
    nodes: Vec<Node>,
    kind: PhantomData<K>,
}

impl<K: Kind> Real<K> {
    /// The listening socket of `node`.
    pub(crate) fn listener(&self, node: usize) -> &OwnedFd {
        &self.nodes[node].listener
    }

    fn start_node(&self, index: usize, setup: &Setup) -> Node {
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let options =
            ListenOptions { address, count: 1, backlog: 512, send_buffer_bytes: setup.buffer_bytes };
        let mut listeners = Listeners::bind(options).expect("a port");
        let socket = listeners.sockets.remove(0);
        let listener = socket.try_clone().expect("a descriptor");
        let board = Arc::new(Board::default());
        let mut core = Probe { board: Arc::clone(&board), script: (setup.script)(index) };
        let (peers, slots, accept) = (Arc::clone(&self.peers), (setup.slots)(index), setup.accept);
        let (made, is_made) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new().name(format!("node {index}")).spawn(move || {
            let mut driver = K::make(index, peers, slots, socket);
            let _ = made.send(());
            core.board.order(vec![Command::Accept { on: accept }]);
            run(&mut driver, &mut core).expect("the driver works");
            // A test that is over, or failed, does not ask.
            if core.board.is_to_settle() { settle(&mut driver) } else { driver.in_use() }
        });
        // A hand-off to a driver that does not exist yet is refused.
        let _ = is_made.recv();
        Node { board, address: listeners.address, listener, thread: Some(thread.expect("a thread")) }
    }

    fn deadline_for(&self, started: Instant, what: &str) {
        for node in &self.nodes {
            assert!(node.thread.as_ref().is_none_or(|thread| !thread.is_finished()), "{what}: a driver died");
        }
        if started.elapsed() > DEADLINE {
            let seen: Vec<_> =
                self.nodes.iter().map(|node| node.board.all().into_iter().rev().take(5)).collect();
            let seen: Vec<Vec<_>> = seen.into_iter().map(Iterator::collect).collect();
            panic!("not in time: {what}; the last events were {seen:?}");
        }
    }
}

/// Lets what is closing come to its end. Returns what is still there.
fn settle<D: Driver>(driver: &mut D) -> u32 {
    let mut commands = Commands::default();
    let started = Instant::now();
    while driver.in_use() > 0 && started.elapsed() < DEADLINE {
        driver.submit(&mut commands, &mut |_| {}).expect("the driver works");
        let soon = driver.now().time + Duration::from_millis(20);
        driver.wait(Next::At(soon), &|| false, &mut |_, _| {}).expect("the driver works");
    }
    driver.in_use()
}

impl<K: Kind> Rig for Real<K> {
    type Client = TcpStream;

    fn start(setup: Setup) -> Real<K> {
        let peers = Peers::new(setup.nodes).expect("descriptors");
        let mut real = Real { peers, nodes: Vec::new(), kind: PhantomData };
        for index in 0..setup.nodes {
            let node = real.start_node(index, &setup);
            real.nodes.push(node);
        }
        real
    }

    fn board(&self, node: usize) -> &Board {
        &self.nodes[node].board
    }

    fn address(&self, node: usize) -> SocketAddr {
        self.nodes[node].address
    }

    fn nobody(&self) -> SocketAddr {
        // Bound and let go: nobody listens there now, and nobody else is likely to.
        TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port")
    }

    fn connect(&mut self, node: usize) -> TcpStream {
        let stream = TcpStream::connect(self.address(node)).expect("the backlog takes a client");
        stream.set_nodelay(true).expect("an option");
        stream.set_read_timeout(Some(DEADLINE)).expect("an option");
        stream.set_write_timeout(Some(DEADLINE)).expect("an option");
        stream
    }

    fn local(&self, client: &TcpStream) -> Option<SocketAddr> {
        client.local_addr().ok()
    }

    fn write(&mut self, client: &mut TcpStream, bytes: &[u8]) {
        client.write_all(bytes).expect("the client writes");
    }

    fn try_write(&mut self, client: &mut TcpStream, bytes: &[u8]) -> bool {
        client.write_all(bytes).is_ok()
    }

    fn read(&mut self, client: &mut TcpStream, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        client.read_exact(&mut bytes).expect("the client reads");
        bytes
    }

    fn read_to_end(&mut self, client: &mut TcpStream) -> (Vec<u8>, End) {
        let mut bytes = Vec::new();
        match client.read_to_end(&mut bytes) {
            Ok(_) => (bytes, End::Closed),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => (bytes, End::Reset),
            Err(error) => panic!("no end in time: {error}"),
        }
    }

    fn finish(&mut self, client: &mut TcpStream) {
        // It may be broken already.
        let _ = client.shutdown(Shutdown::Write);
    }

    fn reset(&mut self, client: TcpStream) {
        socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).expect("an option");
    }

    fn order(&mut self, node: usize, commands: Vec<Command<Parcel>>) {
        self.board(node).order(commands);
        self.wake(node);
    }

    fn wake(&self, node: usize) {
        self.peers.waker(node).wake();
    }

    fn until<T>(&mut self, what: &str, mut look: impl FnMut(&Self) -> Option<T>) -> T {
        let started = Instant::now();
        for round in 0.. {
            if let Some(found) = look(self) {
                return found;
            }
            match round {
                0..100 => std::thread::yield_now(),
                _ => std::thread::sleep(Duration::from_millis(1)),
            }
            self.deadline_for(started, what);
        }
        unreachable!("the deadline comes first")
    }

    fn stop(mut self) -> Vec<u32> {
        (0..self.nodes.len())
            .map(|index| {
                self.nodes[index].board.settle();
                self.nodes[index].board.stop();
                self.peers.waker(index).wake();
                let thread = self.nodes[index].thread.take().expect("stopped once");
                thread.join().expect("the thread ends well")
            })
            .collect()
    }
}

impl<K> Drop for Real<K> {
    /// A test that fails leaves no thread behind.
    fn drop(&mut self) {
        for (index, node) in self.nodes.iter_mut().enumerate() {
            if let Some(thread) = node.thread.take() {
                node.board.stop();
                self.peers.waker(index).wake();
                let _ = thread.join();
            }
        }
    }
}
