//! Whole nodes with real shards and sockets on both drivers.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::sync::oneshot;

use super::*;
use crate::config::FileConfig;

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

fn config(driver: &str) -> (TempDir, FileConfig) {
    let dir = tempfile::tempdir().unwrap();
    let mut config = FileConfig {
        listen: "127.0.0.1:0".into(),
        api_listen: "127.0.0.1:0".into(),
        admin_listen: "127.0.0.1:0".into(),
        devices_listen: "127.0.0.1:0".into(),
        driver: driver.into(),
        shards: 2,
        data_dir: dir.path().join("data"),
        ..FileConfig::default()
    };
    config.limits.max_connections = 100;
    config.auth.jwt_hs256_file = dir.path().join("jwt.secret");
    config.api.key_file = dir.path().join("api.keys");
    fs::write(&config.auth.jwt_hs256_file, "0123456789abcdef0123456789abcdef\n").unwrap();
    fs::write(&config.api.key_file, "0123456789abcdef\n").unwrap();
    (dir, config)
}

fn get(address: SocketAddr, path: &str) -> String {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        socket,
        "GET {path} HTTP/1.1\r\nHost: node\r\nX-Api-Key: 0123456789abcdef\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

/// The drivers that this machine allows.
fn drivers() -> Vec<&'static str> {
    match campanile_engine::probe::uring() {
        Ok(()) => vec!["epoll", "uring"],
        Err(_) => vec!["epoll"],
    }
}

#[test]
fn a_node_starts_answers_drains_and_stops() {
    for driver in drivers() {
        let (_dir, config) = config(driver);
        let node = Node::start(&config.validate().unwrap()).unwrap();
        let (listen, api) = (node.listen(), node.api_listen());
        let (admin, devices) = (node.admin_listen(), node.devices_listen());
        assert_eq!((node.plan().shards, node.status().phase()), (2, Phase::Ready));
        let (stop, stopped) = oneshot::channel::<()>();
        let (ended, end) = mpsc::channel();
        let serving = thread::spawn(move || {
            let stop = async {
                let _ = stopped.await;
            };
            ended.send(node.serve(stop, std::future::pending())).unwrap();
        });
        for listener in [listen, api, admin, devices] {
            for path in ["/healthz", "/readyz"] {
                let answer = get(listener, path);
                assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{driver}: {path}: {answer}");
            }
        }
        assert!(get(admin, "/metrics").starts_with("HTTP/1.1 200 "), "{driver}");
        assert!(get(admin, "/v2/users/ada/devices").starts_with("HTTP/1.1 404 "), "{driver}");
        assert!(get(devices, "/v2/messages").starts_with("HTTP/1.1 403 "), "{driver}: a key is no token");
        assert!(get(api, "/v2/users/ada/devices").ends_with(r#"{"user":"ada","devices":[]}"#), "{driver}");
        assert!(get(listen, "/nowhere").starts_with("HTTP/1.1 4"), "{driver}");
        stop.send(()).unwrap();
        end.recv_timeout(PATIENCE).expect("the node does not end").unwrap();
        serving.join().unwrap();
        for listener in [listen, api, admin, devices] {
            assert!(TcpStream::connect(listener).is_err(), "{driver}");
        }
    }
}

#[test]
fn idle_publishers_do_not_hold_up_the_end() {
    let (_dir, config) = config("epoll");
    let node = Node::start(&config.validate().unwrap()).unwrap();
    let _silent = TcpStream::connect(node.api_listen()).unwrap();
    let mut kept_alive = TcpStream::connect(node.api_listen()).unwrap();
    kept_alive.set_read_timeout(Some(PATIENCE)).unwrap();
    kept_alive.write_all(b"GET /healthz HTTP/1.1\r\nHost: node\r\n\r\n").unwrap();
    let (mut kept_alive, mut answer) = (BufReader::new(kept_alive), String::new());
    // It goes on when rings of other tests interrupt it, which a single read does not.
    kept_alive.read_line(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    while answer != "\r\n" {
        answer.clear();
        kept_alive.read_line(&mut answer).unwrap();
    }
    let begun = Instant::now();
    node.serve(async {}, std::future::pending()).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(8), "it took {:?}", begun.elapsed());
    let mut rest = String::new();
    let end = kept_alive.read_to_string(&mut rest).map_err(|error| error.kind());
    assert_ne!(end, Err(io::ErrorKind::WouldBlock), "the connection is closed");
    assert_eq!(rest, r#"{"status":"ok"}"#);
}

#[test]
fn a_second_node_on_any_port_is_an_error_that_names_it() {
    let (_dir, mut config) = config("epoll");
    let first = Node::start(&config.validate().unwrap()).unwrap();
    // Its own data: two processes on one directory are another error.
    let second = config.data_dir.join("second");
    let shared = std::mem::replace(&mut config.data_dir, second);
    config.listen = first.listen().to_string();
    let error = Node::start(&config.validate().unwrap()).err().unwrap();
    assert!(matches!(&error, StartError::Listen(ListenError::InUse(address)) if *address == first.listen()));
    config.listen = "127.0.0.1:0".into();
    config.api_listen = first.api_listen().to_string();
    let error = Node::start(&config.validate().unwrap()).err().unwrap().to_string();
    assert!(error.contains(&first.api_listen().to_string()), "{error}");
    config.api_listen = "127.0.0.1:0".into();
    config.admin_listen = first.admin_listen().to_string();
    let error = Node::start(&config.validate().unwrap()).err().unwrap().to_string();
    assert!(error.contains(&format!("for operators on {}", first.admin_listen())), "{error}");
    config.admin_listen = "127.0.0.1:0".into();
    config.devices_listen = first.devices_listen().to_string();
    let error = Node::start(&config.validate().unwrap()).err().unwrap().to_string();
    assert!(error.contains(&format!("for devices that poll on {}", first.devices_listen())), "{error}");
    config.devices_listen = "127.0.0.1:0".into();
    config.data_dir = shared;
    let error = Node::start(&config.validate().unwrap()).err().unwrap().to_string();
    assert!(error.contains("another process"), "{error}");
    first.serve(async {}, async {}).unwrap();
}

#[test]
fn a_shard_that_ends_by_itself_ends_the_node_as_a_failure() {
    let (_dir, config) = config("epoll");
    let node = Node::start(&config.validate().unwrap()).unwrap();
    let shards = Arc::clone(&node.threads.shards);
    let (ended, end) = mpsc::channel();
    thread::spawn(move || ended.send(node.serve(std::future::pending(), std::future::pending())));
    shards.stop();
    let error = end.recv_timeout(PATIENCE).expect("the node goes on without its shards").unwrap_err();
    assert!(error.to_string().contains("a shard has ended by itself"), "{error}");
}

#[test]
fn rings_that_cannot_be_made_are_replaced_by_epoll_only_when_it_may_choose() {
    let no_memory = |index, driver| -> StartError {
        ThreadsError::Driver { index, driver, error: io::ErrorKind::OutOfMemory.into() }.into()
    };
    let start = |choice| {
        let mut tried = Vec::new();
        let result = with_driver(choice, |driver| {
            tried.push(driver);
            match driver {
                DriverKind::Uring => Err(no_memory(3, driver)),
                DriverKind::Epoll => Ok(driver),
            }
        });
        (result, tried)
    };
    let (result, _) = start(DriverChoice::Auto);
    assert_eq!(result.unwrap(), DriverKind::Epoll);
    if drivers().contains(&"uring") {
        assert_eq!(start(DriverChoice::Auto).1, [DriverKind::Uring, DriverKind::Epoll]);
        let (result, tried) = start(DriverChoice::Force(DriverKind::Uring));
        let error = result.unwrap_err().to_string();
        assert!(error.contains("shard 3") && error.contains("uring") && tried.len() == 1, "{error}");
    }
    let refused = with_driver::<()>(DriverChoice::Auto, |_| Err(io::Error::other("no threads").into()));
    assert!(matches!(refused, Err(StartError::Refused(_))), "epoll would not help");
}
