//! A real gateway process, as tests see it.

use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use campanile_core::tokens::{Grants, Signer};
use campanile_harness::{Folder, Gateway, GatewayOptions};
use campanile_protocol::ids::{DeviceId, UserId};
use serde_json::Value;
use tungstenite::client::IntoClientRequest;
use tungstenite::{Message, WebSocket};

pub(crate) const SECRET: &str = "a-secret-for-tests-with-more-than-32-bytes";
pub(crate) const KEY: &str = "an-api-key-for-tests-0123456789abcdef";
/// Only there to turn a hang into a failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) type Socket = WebSocket<TcpStream>;

/// A running gateway; it goes with its folder when this is dropped.
pub(crate) struct Node {
    gateway: Gateway,
    pub(crate) listen: SocketAddr,
    pub(crate) api: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) devices: SocketAddr,
    /// Where its secrets are.
    pub(crate) folder: PathBuf,
}

pub(crate) fn campanile() -> Command {
    Command::new(env!("CARGO_BIN_EXE_campanile"))
}

/// A folder that goes when it is dropped.
pub(crate) fn folder() -> Folder {
    Folder::new("test", None).unwrap()
}

/// How a gateway is started.
pub(crate) fn options(arguments: &[&str]) -> GatewayOptions {
    let mut options = GatewayOptions::new(env!("CARGO_BIN_EXE_campanile"), "test").args(arguments);
    (options.secret, options.api_key) = (SECRET.into(), KEY.into());
    options
}

impl Node {
    pub(crate) fn start(arguments: &[&str]) -> Node {
        Node::of(Gateway::start(options(arguments)).unwrap())
    }

    /// With this as its configuration file.
    pub(crate) fn configured(configuration: &str, arguments: &[&str]) -> Node {
        Node::of(Gateway::start(options(arguments).config([configuration])).unwrap())
    }

    /// One that logs everything, and prints where this is.
    pub(crate) fn unheard(stdout: impl Into<Stdio>, stderr: impl Into<Stdio>) -> Node {
        Node::of(Gateway::start_unheard(options(&["--log", "trace"]), stdout, stderr).unwrap())
    }

    pub(crate) fn of(gateway: Gateway) -> Node {
        Node {
            listen: gateway.listen(),
            api: gateway.api_listen(),
            admin: gateway.admin_listen(),
            devices: gateway.devices_listen(),
            folder: gateway.folder().path().to_owned(),
            gateway,
        }
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

    pub(crate) fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let answer = self.gateway.api().post(path, &body.to_string())?.good()?;
        Ok(serde_json::from_str(&answer)?)
    }

    /// The sum of a metric over all shards.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        self.gateway.metric(name).unwrap()
    }

    pub(crate) fn wait_until(&self, what: &str, mut condition: impl FnMut(&Node) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition(self) {
            assert!(Instant::now() < deadline, "{what} did not come true");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn terminate(&mut self) {
        self.gateway.terminate().unwrap();
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.gateway.wait().unwrap()
    }
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
