//! Programs whose output cannot be written: what they print is lost, and nothing else.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, PipeReader, PipeWriter, Write as _};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use campanile_harness::Gateway;
use campanile_harness::ports::free_address;
use serde_json::{Value, json};

use crate::node::{Node, PATIENCE, SECRET, campanile, folder, options, read_json};

/// A place that takes nothing: a disk that is full, or a pipe whose reader has gone.
#[derive(Clone, Copy, Debug)]
enum Nowhere {
    Full,
    Unread,
}

const NOWHERE: [Nowhere; 2] = [Nowhere::Full, Nowhere::Unread];

impl Nowhere {
    fn open(self) -> Stdio {
        match self {
            Nowhere::Full => File::options().write(true).open("/dev/full").unwrap().into(),
            Nowhere::Unread => io::pipe().unwrap().1.into(),
        }
    }

    /// Lets a program print everything there.
    fn take(self, command: &mut Command) -> &mut Command {
        command.stdin(Stdio::null()).stdout(self.open()).stderr(self.open())
    }
}

/// How a program ends that can print nothing.
fn silenced(nowhere: Nowhere, arguments: &[&str]) -> ExitStatus {
    nowhere.take(campanile().args(arguments)).status().unwrap()
}

#[test]
fn a_gateway_whose_log_cannot_be_written_serves_and_drains() {
    for nowhere in NOWHERE {
        let mut node = Node::unheard(nowhere.open(), nowhere.open());
        let mut device = node.connect("ada", 1, "campanile.v2+json");
        assert!(read_json(&mut device)["welcome"].is_object());
        node.post("/v2/push", &json!({"user": "ada", "payload": {"text": "still here"}})).unwrap();
        assert_eq!(read_json(&mut device)["deliver"]["payload"]["text"], "still here");
        node.terminate();
        assert!(read_json(&mut device)["drain"].is_object(), "{nowhere:?}");
        assert!(node.wait().success(), "{nowhere:?}");
    }
}

/// A pipe that is full, with a reader that does not read.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    while writer.write(&[b'.'; 4096]).is_ok() {}
    rustix::io::ioctl_fionbio(&writer, false).unwrap();
    (reader, writer)
}

/// Makes a gateway that logs everything log more than there is room for: each frame of HTTP/2 makes several lines.
fn make_it_log(node: &Node) {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    const PING: &[u8] = b"\0\0\x08\x06\0\0\0\0\0whatever";
    let mut stream = TcpStream::connect(node.api).unwrap();
    stream.write_all(PREFACE).unwrap();
    node.wait_until("a line that is lost", |node| {
        stream.write_all(&PING.repeat(100)).unwrap();
        node.metric("campanile_log_lines_lost_total") > 0
    });
}

#[test]
fn a_gateway_whose_log_nobody_reads_serves_and_drains() {
    let (_reader, full) = full_pipe();
    let mut node = Node::unheard(full.try_clone().unwrap(), full);
    make_it_log(&node);
    let mut device = node.connect("ada", 1, "campanile.v2+json");
    assert!(read_json(&mut device)["welcome"].is_object());
    node.post("/v2/push", &json!({"user": "ada", "payload": {"text": "unheard"}})).unwrap();
    assert_eq!(read_json(&mut device)["deliver"]["payload"]["text"], "unheard");
    node.terminate();
    assert!(read_json(&mut device)["drain"].is_object());
    assert!(node.wait().success());
}

#[test]
fn a_log_that_is_read_again_tells_how_many_lines_are_lost() {
    let (reader, full) = full_pipe();
    let mut node = Node::unheard(Stdio::null(), full);
    make_it_log(&node);
    let log = std::thread::spawn(move || io::read_to_string(reader).unwrap());
    node.terminate();
    assert!(node.wait().success());
    let log = log.join().unwrap();
    assert!(log.contains(" ready ") && log.contains(" log_lines_lost="));
    assert!(log.trim_end().ends_with("stopped"), "the last lines are written before the process ends");
}

#[test]
fn a_reader_of_the_log_that_goes_in_the_middle_of_a_drain_does_not_end_it() {
    let (log, stderr) = io::pipe().unwrap();
    let mut node = Node::unheard(Stdio::null(), stderr);
    let (mut log, mut line) = (BufReader::new(log), String::new());
    let mut device = node.connect("ada", 1, "campanile.v2+json");
    assert!(read_json(&mut device)["welcome"].is_object());
    node.terminate();
    while !line.contains("draining") {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0, "the gateway does not drain");
    }
    drop(log);
    assert!(read_json(&mut device)["drain"].is_object());
    assert!(node.wait().success());
}

#[test]
fn every_command_ends_as_it_would_where_nothing_can_be_printed() {
    for nowhere in NOWHERE {
        // Whoever closes the output has read enough; a full disk lacks what was asked for.
        let unheard = i32::from(matches!(nowhere, Nowhere::Full));
        let code = |arguments: &[&str]| silenced(nowhere, arguments).code();
        assert_eq!(code(&["check"]), Some(unheard), "{nowhere:?}");
        assert_eq!(code(&["check", "--json"]), Some(unheard), "{nowhere:?}");
        assert_eq!(code(&["demo", "--devices", "50", "--seconds", "1"]), Some(unheard), "{nowhere:?}");
        assert_eq!(code(&["token", "--jwt-hs256-file", "/nowhere", "--user", "u", "--device", "1"]), Some(1));
        assert_eq!(code(&["serve", "--api-key-file", "/nowhere"]), Some(1));
        assert_eq!(code(&["nonsense"]), Some(2));
        assert_eq!(code(&["load"]), Some(104), "nothing to do");
        let nothing_worked = Some(91);
        assert_eq!(
            code(&["load", "--connect-only", "--anonymous", "--url", "ws://127.0.0.1:1/"]),
            nothing_worked
        );
        let folder = folder();
        let secret = folder.write_secret("jwt", SECRET).unwrap();
        let token = ["token", "--jwt-hs256-file", secret.to_str().unwrap(), "--user", "u", "--device", "1"];
        assert_eq!(code(&token), Some(unheard), "{nowhere:?}");
    }
}

#[test]
fn figures_that_go_to_a_file_do_not_need_the_table() {
    let node = Node::start(&[]);
    for nowhere in NOWHERE {
        let file = node.folder.join("load.json");
        let (url, api) = (node.url(), format!("http://{}", node.api));
        let mut load = campanile();
        load.args(["load", "--url", &url, "--api", &api, "--connections", "20", "--rate", "50"]);
        load.args(["--duration", "2", "--fail-on-loss", "--api-key-file"]).arg(node.folder.join("key"));
        load.arg("--jwt-hs256-file").arg(node.folder.join("jwt")).arg("--json").arg(&file);
        assert!(nowhere.take(&mut load).status().unwrap().success(), "{nowhere:?}");
        let found: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        assert_eq!(
            (&found["deliveries"]["received"], &found["deliveries"]["lost"]),
            (&json!(100), &json!(0))
        );
        std::fs::remove_file(&file).unwrap();
        let mut demo = campanile();
        demo.args(["demo", "--devices", "50", "--seconds", "1", "--json"]).arg(&file);
        assert!(nowhere.take(&mut demo).status().unwrap().success(), "{nowhere:?}");
        let found: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        assert_eq!(found["lost"], 0);
    }
}

#[test]
fn an_echo_that_cannot_say_that_it_is_ready_is_ready() {
    for nowhere in NOWHERE {
        let address = free_address().unwrap();
        let mut command = campanile();
        let mut echo =
            nowhere.take(command.args(["echo", "--listen", &address.to_string()])).spawn().unwrap();
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_err() {
            assert!(echo.try_wait().unwrap().is_none(), "the echo has ended");
            assert!(Instant::now() < deadline, "the echo does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        // What comes after the line is done, too.
        std::thread::sleep(Duration::from_millis(200));
        let pid = rustix::process::Pid::from_child(&echo);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let status = echo.wait().unwrap();
        assert!(status.success(), "{nowhere:?}: {status} {:?}", status.signal());
    }
}

#[test]
fn the_environment_of_another_program_does_not_keep_the_gateway_from_starting() {
    let started = |arguments: &[&str]| {
        let mut options = options(arguments);
        options.environment.push(("RUST_LOG".into(), "another=program=s".into()));
        options.has_log_file = true;
        Gateway::start(options)
    };
    let node = Node::of(started(&[]).unwrap());
    let log = std::fs::read_to_string(node.folder.join("log")).unwrap();
    assert!(log.contains("RUST_LOG is passed over") && log.contains("another=program=s"), "{log}");
    // What was given wrong is named as it was given.
    let error = started(&["--log", "campanile=loud"]).unwrap_err().to_string();
    assert!(error.contains("--log: `campanile=loud`"), "{error}");
}
