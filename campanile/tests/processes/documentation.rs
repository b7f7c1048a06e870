//! What the documentation tells people to type works: the commands of the README, and the frames of `docs/`.

use std::fs;
use std::io::BufReader;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use campanile_harness::Folder;
use campanile_harness::ports::free_address;
use campanile_protocol::frame::Message;
use campanile_protocol::messages::{ClientFrame, Encoding, ServerFrame};
use serde_json::{Deserializer, Value, json};

use crate::node::{PATIENCE, folder};

const README: &str = include_str!("../../../README.md");
const FRAMES: [(&str, &str); 3] = [
    ("docs/protocol.md", include_str!("../../../docs/protocol.md")),
    ("docs/delivery.md", include_str!("../../../docs/delivery.md")),
    ("docs/channels.md", include_str!("../../../docs/channels.md")),
];

/// The code blocks of a text: what stands behind the fence, and the content.
pub(crate) fn all_blocks(text: &str) -> impl Iterator<Item = (&str, &str)> {
    // Every second part is code.
    let code = text.split("\n```").skip(1).step_by(2);
    code.map(|block| block.split_once('\n').expect("a block has lines"))
}

/// The code blocks of a text whose fence says this, or this and whose it is.
fn blocks<'a>(text: &'a str, first: &str) -> Vec<&'a str> {
    let is_meant =
        |fence: &str| fence.strip_prefix(first).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '));
    all_blocks(text).filter(|(fence, _)| is_meant(fence)).map(|(_, content)| content).collect()
}

/// A folder with the README's commands, which run as they are but for the addresses, the build and the installation.
struct Terminal {
    folder: Folder,
    replacements: Vec<(&'static str, String)>,
    groups: Vec<Child>,
}

impl Terminal {
    fn new() -> Terminal {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let (listen, api) = (free_address().unwrap(), free_address().unwrap());
        let programs = Path::new(env!("CARGO_BIN_EXE_campanile")).parent().unwrap();
        let replacements = vec![
            ("cargo build --release --bins && export PATH=\"$PWD/target/release:$PATH\"", String::new()),
            ("campanile serve", {
                let others = "--admin-listen 127.0.0.1:0 --devices-listen 127.0.0.1:0";
                format!("campanile serve --listen {listen} --api-listen {api} {others}")
            }),
            (
                "python3 -m venv venv && venv/bin/pip install websockets",
                format!("ln -s {}/.venv venv", root.display()),
            ),
            ("127.0.0.1:8080", listen.to_string()),
            ("127.0.0.1:8081", api.to_string()),
            ("campanile ", format!("{}/campanile ", programs.display())),
        ];
        for (written, _) in &replacements {
            assert!(README.contains(written), "the README no longer says: {written}");
        }
        Terminal { folder: folder(), replacements, groups: Vec::new() }
    }

    /// The block of the README in which this stands.
    fn block(&self, says: &str) -> String {
        let found: Vec<_> = blocks(README, "sh").into_iter().filter(|block| block.contains(says)).collect();
        let [block] = found[..] else { panic!("{} blocks of the README say {says}", found.len()) };
        let replace = |block: String, (from, to): &(&str, String)| block.replace(from, to);
        self.replacements.iter().fold(block.to_owned(), replace)
    }

    fn shell(&self, commands: &str) -> Command {
        let mut shell = Command::new("bash");
        shell.args(["-e", "-c", commands]).current_dir(self.folder.path()).stdin(Stdio::null());
        shell
    }

    /// Runs a block to its end; what it prints.
    fn run(&self, says: &str) -> Vec<Value> {
        let output = self.shell(&self.block(says)).stderr(Stdio::inherit()).output().unwrap();
        assert!(output.status.success(), "{says}: {:?}", output.status);
        Deserializer::from_slice(&output.stdout).into_iter().map(Result::unwrap).collect()
    }

    /// Starts the gateway and waits until it is ready. Gives its place among the groups.
    fn serve(&mut self) -> usize {
        let mut shell = self.shell(&self.block("campanile serve"));
        // Among the groups at once, so that it is killed whatever happens.
        self.groups.push(shell.process_group(0).stdout(Stdio::null()).spawn().unwrap());
        let group = self.groups.len() - 1;
        let deadline = Instant::now() + PATIENCE;
        while self.groups[group].try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "the gateway does not become ready");
            std::thread::sleep(Duration::from_millis(20));
        }
        group
    }

    /// Waits until a gateway that was killed has let go of its data: a signal is only the beginning of an end.
    fn wait_for_the_end(&self) {
        let lock = fs::File::open(self.folder.join("data/mailbox/lock")).unwrap();
        let deadline = Instant::now() + PATIENCE;
        while rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
            assert!(Instant::now() < deadline, "the gateway does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Starts a block that goes on, and gives what it prints.
    fn start(&mut self, says: &str) -> impl Iterator<Item = Value> + use<> {
        let mut shell = self.shell(&self.block(says));
        let mut shell = shell.process_group(0).stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(shell.stdout.take().unwrap());
        self.groups.push(shell);
        Deserializer::from_reader(out).into_iter().map(Result::unwrap)
    }

    /// Kills the processes that a block has started, with SIGKILL.
    fn kill(&mut self, group: usize) {
        let shell = rustix::process::Pid::from_child(&self.groups[group]);
        let _ = rustix::process::kill_process_group(shell, rustix::process::Signal::KILL);
        let _ = self.groups[group].wait();
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        (0..self.groups.len()).for_each(|group| self.kill(group));
    }
}

#[test]
fn the_readmes_secrets_are_for_nobody_else_to_read() {
    let terminal = Terminal::new();
    assert!(terminal.run("jwt.secret      #").is_empty());
    for name in ["jwt.secret", "api.key"] {
        let mode = fs::metadata(terminal.folder.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name}: {mode:o}");
    }
}

#[test]
#[ignore = "needs the Python environment that scripts/test makes"]
fn the_readmes_commands_store_a_message_and_deliver_it_when_the_device_connects() {
    let mut terminal = Terminal::new();
    assert!(terminal.run("jwt.secret      #").is_empty());
    let gateway = terminal.serve();
    let registered = terminal.run("/v2/users/ada/devices");
    assert_eq!(registered[0]["device"], 1, "{registered:?}");
    let stored = terminal.run("/v2/push");
    assert_eq!(stored[0]["devices"], json!([{"device": 1, "state": "stored"}]), "{stored:?}");
    // The README says that this may happen.
    terminal.kill(gateway);
    terminal.wait_for_the_end();
    terminal.serve();
    let mut device = terminal.start("venv/bin/python");
    let mut next = || device.next().expect("the device has ended");
    assert_eq!(next()["welcome"]["waiting"], "1");
    let delivered = next();
    assert_eq!(delivered["deliver"]["id"], stored[0]["messageId"], "{delivered}");
    assert_eq!(delivered["deliver"]["payload"], json!({"json": {"hello": "world"}}));
    assert!(next()["caughtUp"].is_object());
    let sent = terminal.run("/v2/push");
    let state = sent[0]["devices"][0]["state"].as_str().unwrap();
    assert!(["sent", "confirmed"].contains(&state), "{sent:?}");
    assert_eq!(next()["deliver"]["id"], sent[0]["messageId"]);
}

#[test]
fn the_frames_of_the_documentation_are_of_the_schema() {
    let decoded = |frame: &str, from_client: bool| {
        let message = Message::Text(frame);
        if from_client {
            ClientFrame::decode(Encoding::Json, &message).map(|frame| {
                written(|out| {
                    frame.encode_frame(Encoding::Json, [0; 4], out).unwrap();
                })
            })
        } else {
            ServerFrame::decode(Encoding::Json, &message).map(|frame| {
                written(|out| {
                    frame.encode_frame(Encoding::Json, out).unwrap();
                })
            })
        }
    };
    for (file, text) in FRAMES {
        for (kind, from_client) in [("json client", true), ("json server", false)] {
            let blocks = blocks(text, kind);
            assert!(!blocks.is_empty(), "{file} has no {kind}");
            for frame in blocks.iter().flat_map(|block| Deserializer::from_str(block).into_iter::<Value>()) {
                let frame = frame.unwrap_or_else(|error| panic!("{file}: {error}"));
                let back = decoded(&frame.to_string(), from_client);
                let back = back.unwrap_or_else(|error| panic!("{file}: {error}: {frame}"));
                // A field that does not exist would be passed over.
                assert_eq!(back, frame, "{file}");
            }
        }
    }
}

/// The JSON in a WebSocket frame.
fn written(write: impl FnOnce(&mut Vec<u8>)) -> Value {
    let mut bytes = Vec::new();
    write(&mut bytes);
    let start = bytes.windows(2).position(|pair| pair == b"{\"").unwrap();
    serde_json::from_slice(&bytes[start..]).unwrap()
}
