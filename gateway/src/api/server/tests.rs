//! Clients that hold connections, on real sockets.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;

use tokio::sync::oneshot;

use super::*;
use crate::api::tests::fake::Api;

/// Only there to turn a hang into a failure.
const LONG: Duration = Duration::from_secs(20);
const METRICS: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: node\r\n\r\n";

/// A server with times that a test can wait for.
struct Server {
    address: SocketAddr,
    end: oneshot::Sender<()>,
    serving: thread::JoinHandle<()>,
}

impl Server {
    fn start(connections_max: usize) -> Server {
        let (end, ended) = oneshot::channel();
        let patience = Patience {
            head: LONG * 10,
            head_crowded: Duration::from_millis(100),
            write: Duration::from_secs(1),
            ..Patience::new(connections_max)
        };
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let serving = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let api = Api::new();
                let listener = TcpListener::from_std(listener).unwrap();
                let ended = async { drop(ended.await) };
                serve(listener, Arc::clone(&api.api), Listener::Admin, patience, ended).await;
            });
        });
        Server { address, end, serving }
    }

    fn connect(&self) -> TcpStream {
        let socket = TcpStream::connect(self.address).unwrap();
        socket.set_read_timeout(Some(LONG)).unwrap();
        socket.set_write_timeout(Some(LONG)).unwrap();
        socket
    }

    fn answers_a_probe(&self) {
        let mut socket = self.connect();
        socket.write_all(b"GET /healthz HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("the probe is kept out");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }

    fn end(self) {
        drop(self.end);
        self.serving.join().unwrap();
    }
}

#[test]
fn idle_connections_on_all_places_do_not_keep_a_probe_out() {
    let server = Server::start(8);
    let idle: Vec<_> = (0..16).map(|_| server.connect()).collect();
    server.answers_a_probe();
    drop(idle);
    server.end();
}

#[test]
fn devices_that_poll_do_not_take_the_places_of_publishers() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let api = Api::new();
    // Nobody who has a place loses it.
    let patience =
        Patience { connections_max: 2, head: LONG * 10, head_crowded: LONG * 10, ..Patience::new(2) };
    let [devices, publishers] = [Listener::Devices, Listener::Api].map(|listener| {
        let socket = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = socket.local_addr().unwrap();
        runtime.spawn(serve(socket, Arc::clone(&api.api), listener, patience, std::future::pending()));
        address
    });
    let polling: Vec<_> = (0..20).map(|_| TcpStream::connect(devices).unwrap()).collect();
    let mut publisher = TcpStream::connect(publishers).unwrap();
    publisher.set_read_timeout(Some(LONG)).unwrap();
    publisher.write_all(b"GET /healthz HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    publisher.read_to_string(&mut answer).expect("the publisher is kept out");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    drop(polling);
}

#[test]
fn clients_that_do_not_read_their_answers_lose_their_places() {
    let server = Server::start(2);
    let hoarders: Vec<_> = (0..2)
        .map(|_| {
            let mut hoarder = server.connect();
            let requests = METRICS.repeat(10_000);
            thread::spawn(move || {
                loop {
                    if let Err(error) = hoarder.write_all(&requests) {
                        return error.kind();
                    }
                }
            })
        })
        .collect();
    for hoarder in hoarders {
        let end = hoarder.join().unwrap();
        assert_ne!(end, io::ErrorKind::WouldBlock, "a connection that takes no answers is kept");
    }
    server.answers_a_probe();
    server.end();
}

#[test]
fn a_slow_reader_is_served_to_the_end() {
    let server = Server::start(2);
    let mut socket = server.connect();
    let mut writer = socket.try_clone().unwrap();
    let count = 400;
    let writing = thread::spawn(move || {
        writer.write_all(&METRICS.repeat(count - 1)).unwrap();
        writer.write_all(b"GET /metrics HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n").unwrap();
    });
    let (mut text, mut buffer) = (Vec::new(), vec![0; 32 << 10]);
    loop {
        // Longer altogether than the server waits, but never without taking something.
        thread::sleep(Duration::from_millis(10));
        match socket.read(&mut buffer).unwrap() {
            0 => break,
            read => text.extend_from_slice(&buffer[..read]),
        }
    }
    writing.join().unwrap();
    let text = String::from_utf8(text).unwrap();
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), count);
    server.end();
}

#[test]
fn connections_are_idle_for_less_time_when_most_places_are_taken() {
    let patience = Patience::new(10);
    assert_eq!((patience.head(5), patience.head(4)), (HEAD_TIMEOUT, HEAD_TIMEOUT_CROWDED));
}

/// The preface of HTTP/2 with empty settings.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Reads until the server ends the connection, long before it would for a ping that is not answered.
fn read_to_end(mut socket: TcpStream) -> Vec<u8> {
    let started = std::time::Instant::now();
    let mut read = Vec::new();
    match socket.read_to_end(&mut read) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
        result => _ = result.expect("the connection is kept"),
    }
    assert!(started.elapsed() < PING_INTERVAL / 2, "it was kept for {:?}", started.elapsed());
    read
}

#[test]
fn idle_connections_of_http2_do_not_keep_a_probe_out() {
    let server = Server::start(8);
    let idle: Vec<_> = (0..16)
        .map(|number| {
            let mut socket = server.connect();
            // Cut anywhere, or nothing behind it.
            let sent = if number % 2 == 0 { &PREFACE[..1 + number] } else { PREFACE };
            socket.write_all(sent).unwrap();
            socket
        })
        .collect();
    server.answers_a_probe();
    drop(idle);
    server.end();
}

#[test]
fn a_trickled_head_is_not_waited_for_in_either_version() {
    // Whoever comes last finds the places taken.
    for begin in [&b"GET /healthz HTTP/1.1\r\nHo"[..], &PREFACE[..20], PREFACE] {
        let server = Server::start(2);
        let _first = server.connect();
        let mut socket = server.connect();
        socket.write_all(begin).unwrap();
        let read = read_to_end(socket);
        assert!(!read.starts_with(b"HTTP/1.1 2"), "{read:?}");
        server.end();
    }
}

#[test]
fn a_client_of_http2_that_opens_no_window_loses_its_place() {
    let server = Server::start(4);
    let mut socket = server.connect();
    // SETTINGS_INITIAL_WINDOW_SIZE is 0.
    socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\0").unwrap();
    // HEADERS of stream 1, its last frame: :method GET, :scheme http, :path /metrics, :authority n.
    let block = b"\x82\x86\x04\x08/metrics\x01\x01n";
    socket.write_all(&[0, 0, u8::try_from(block.len()).unwrap(), 1, 5, 0, 0, 0, 1]).unwrap();
    socket.write_all(block).unwrap();
    let read = read_to_end(socket);
    assert!(!read.is_empty());
    server.end();
}

#[test]
fn the_end_of_the_server_does_not_wait_for_clients_that_say_nothing() {
    let server = Server::start(8);
    let silent = server.connect();
    let mut idle = server.connect();
    idle.write_all(PREFACE).unwrap();
    idle.read_exact(&mut [0; 9]).unwrap();
    let started = std::time::Instant::now();
    server.end();
    assert!(started.elapsed() < SHUTDOWN_TIMEOUT, "{:?}", started.elapsed());
    drop((silent, idle));
}
