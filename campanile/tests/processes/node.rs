//! A real gateway process with secrets of its own, for tests that need one.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use campanile_core::tokens::{Grants, Signer};
use campanile_protocol::ids::{DeviceId, UserId};
use serde_json::Value;
use tungstenite::client::IntoClientRequest;
use tungstenite::{Message, WebSocket};

pub(crate) const SECRET: &str = "a-secret-for-tests-with-more-than-32-bytes";
pub(crate) const KEY: &str = "an-api-key-for-tests-0123456789abcdef";
/// Only there to turn a hang into a failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How often a gateway is started whose address is taken.
const STARTS_MAX: usize = 3;

pub(crate) type Socket = WebSocket<TcpStream>;

/// A running gateway; killed when dropped.
pub(crate) struct Node {
    child: Child,
    pub(crate) listen: SocketAddr,
    pub(crate) api: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) devices: SocketAddr,
    /// Where it is started, with its secrets.
    pub(crate) folder: PathBuf,
}

pub(crate) fn campanile() -> Command {
    Command::new(env!("CARGO_BIN_EXE_campanile"))
}

pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A folder with the secrets in it.
pub(crate) fn folder() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("campanile-test-{}-{number}", std::process::id()));
    fs::create_dir_all(&path).unwrap();
    fs::write(path.join("jwt"), SECRET).unwrap();
    fs::write(path.join("key"), KEY).unwrap();
    path
}

/// Where a gateway listens.
#[derive(Copy, Clone)]
pub(crate) struct Addresses {
    pub(crate) listen: SocketAddr,
    pub(crate) api: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) devices: SocketAddr,
}

impl Addresses {
    /// Addresses that nobody has at the moment.
    pub(crate) fn free() -> Addresses {
        let [listen, api, admin, devices] = [(); 4].map(|()| free_address());
        Addresses { listen, api, admin, devices }
    }
}

pub(crate) fn serve(folder: &Path, addresses: Addresses, arguments: &[&str]) -> Command {
    let Addresses { listen, api, admin, devices } = addresses;
    let mut command = campanile();
    command
        .arg("serve")
        .args(["--listen", &listen.to_string(), "--api-listen", &api.to_string()])
        .args(["--admin-listen", &admin.to_string(), "--devices-listen", &devices.to_string()])
        .arg("--jwt-hs256-file")
        .arg(folder.join("jwt"))
        .arg("--api-key-file")
        .arg(folder.join("key"))
        .arg("--data-dir")
        .arg(folder.join("data"))
        .args(arguments);
    command
}

impl Node {
    pub(crate) fn start(arguments: &[&str]) -> Node {
        Node::configured("", arguments)
    }

    /// One that has been started already.
    pub(crate) fn of(child: Child, addresses: Addresses, folder: PathBuf) -> Node {
        let Addresses { listen, api, admin, devices } = addresses;
        Node { child, listen, api, admin, devices, folder }
    }

    /// With this as its configuration file.
    pub(crate) fn configured(configuration: &str, arguments: &[&str]) -> Node {
        for _ in 0..STARTS_MAX {
            let (folder, addresses) = (folder(), Addresses::free());
            let file = folder.join("campanile.toml");
            fs::write(&file, configuration).unwrap();
            let mut command = serve(&folder, addresses, arguments);
            let child = command.arg("--config").arg(file).stdin(Stdio::null()).spawn().unwrap();
            let mut node = Node::of(child, addresses, folder);
            let deadline = Instant::now() + PATIENCE;
            // Whoever else is about may have taken the address that was free: then it ends, and is started again.
            while node.child.try_wait().unwrap().is_none() {
                if node.get("/readyz").is_ok() {
                    return node;
                }
                assert!(Instant::now() < deadline, "the gateway does not become ready");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        panic!("the gateway does not start");
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}/v2/connect", self.listen)
    }

    /// A session with the token in the header.
    pub(crate) fn connect(&self, user: &str, device: u32, subprotocol: &str) -> Socket {
        self.connect_with(Some(&token(user, device)), subprotocol)
    }

    /// A connection with this token in the header, or one that is still to be authenticated.
    pub(crate) fn connect_with(&self, token: Option<&str>, subprotocol: &str) -> Socket {
        let mut request = self.url().into_client_request().unwrap();
        let headers = request.headers_mut();
        if let Some(token) = token {
            headers.insert("Authorization", format!("Bearer {token}").parse().unwrap());
        }
        headers.insert("Sec-WebSocket-Protocol", subprotocol.parse().unwrap());
        let stream = TcpStream::connect(self.listen).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let (socket, response) = tungstenite::client(request, stream).unwrap();
        assert_eq!(response.headers()["Sec-WebSocket-Protocol"], subprotocol);
        socket
    }

    pub(crate) fn get(&self, path: &str) -> Result<String, ureq::Error> {
        self.get_at(self.api, path)
    }

    /// Asks one of its listeners with the key.
    pub(crate) fn get_at(&self, listener: SocketAddr, path: &str) -> Result<String, ureq::Error> {
        let mut response = agent()
            .get(format!("http://{listener}{path}"))
            .header("Authorization", format!("Bearer {KEY}"))
            .call()?;
        response.body_mut().read_to_string()
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Result<Value, ureq::Error> {
        let mut response = agent()
            .post(format!("http://{}{path}", self.api))
            .header("Authorization", format!("Bearer {KEY}"))
            .header("Content-Type", "application/json")
            .send(body.to_string())?;
        Ok(serde_json::from_str(&response.body_mut().read_to_string()?).unwrap())
    }

    /// The sum of a metric over all shards.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let text = self.get_at(self.admin, "/metrics").unwrap();
        let value = |line: &str| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap();
        let named = |line: &&str| line.split(['{', ' ']).next() == Some(name);
        let values: Vec<f64> = text.lines().filter(named).map(value).collect();
        assert!(!values.is_empty(), "no metric {name} in\n{text}");
        values.iter().sum::<f64>() as u64
    }

    pub(crate) fn wait_until(&self, what: &str, mut condition: impl FnMut(&Node) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition(self) {
            assert!(Instant::now() < deadline, "{what} did not come true");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn terminate(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the gateway does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).build().into()
}

pub(crate) fn token(user: &str, device: u32) -> String {
    token_with(user, device, &Grants::default())
}

/// A token that allows something with channels.
pub(crate) fn token_with(user: &str, device: u32, grants: &Grants) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let (user, device) = (UserId::try_from(user).unwrap(), DeviceId::try_from(device).unwrap());
    Signer::hs256(SECRET.as_bytes()).unwrap().sign_with(&user, device, now, now + 3_600, grants)
}

/// The next frame. The end of a replay is passed over: it follows every welcome.
pub(crate) fn read_json(socket: &mut Socket) -> Value {
    loop {
        let frame: Value = match socket.read().unwrap() {
            Message::Text(text) => serde_json::from_str(&text).unwrap(),
            other => panic!("expected a text message, got {other:?}"),
        };
        if frame.get("caughtUp").is_none() {
            return frame;
        }
    }
}

/// What a process prints, when it is expected to end by itself.
pub(crate) fn output(mut command: Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap()
}
