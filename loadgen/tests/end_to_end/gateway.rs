//! A gateway for a few devices: a thread for each connection, `tungstenite` on one side and just enough HTTP on the
//! other. It does what it is told wrong.

mod channels;

use std::collections::{HashMap, HashSet};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use self::channels::Channels;
use campanile_jwt::{Algorithm, DecodingKey, Validation};
use campanile_protocol::frame::{Message as Framed, Opcode};
use campanile_protocol::messages::{
    ClientFrame, Deliver, Encoding, Event, Payload, Position, ServerFrame, Welcome,
};
use serde_json::{Value, json};
use tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Message, WebSocket};

pub(crate) const SECRET: &str = "0123456789abcdef0123456789abcdef";
pub(crate) const API_KEY: &str = "an-api-key-for-tests";

/// What the gateway does wrong.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// Every nth push is reported as sent and is not.
    pub(crate) lose_every: Option<u64>,
    /// Instead of every nth message of a channel its subscribers are told of a gap.
    pub(crate) skip_every: Option<u64>,
    /// Every nth push is sent twice.
    pub(crate) duplicate_every: Option<u64>,
    /// Every nth push goes to device 1 of user 0 too.
    pub(crate) misdeliver_every: Option<u64>,
    /// The API answers nothing for this long, once, from 200 ms after the first request.
    pub(crate) stall: Duration,
    /// Users whose devices are refused with 403.
    pub(crate) refused_user: Option<&'static str>,
    /// Nobody is welcomed before there have been so many connections.
    pub(crate) welcomes_after: usize,
    /// The gateway is gone after so many pushes, and answers none of the last request.
    pub(crate) dies_after: Option<u64>,
    /// Users whose devices are closed with 4409 at once.
    pub(crate) replaced_user: Option<&'static str>,
    /// A channel that nobody may subscribe to.
    pub(crate) forbidden_channel: Option<&'static str>,
}

type Devices = Mutex<HashMap<(String, u32), Sender<Vec<u8>>>>;

struct Gateway {
    faults: Faults,
    devices: Devices,
    /// How many there have been.
    connections: Mutex<usize>,
    /// Registered over the API.
    registered: Mutex<HashSet<(String, u32)>>,
    channels: Mutex<Channels>,
    pushes: Mutex<u64>,
    first_request: Mutex<Option<Instant>>,
}

/// Serves until the process ends; returns the addresses of the socket and of the API.
pub(crate) fn start(faults: Faults) -> (SocketAddr, SocketAddr) {
    let gateway = Arc::new(Gateway {
        faults,
        devices: Devices::default(),
        connections: Mutex::default(),
        registered: Mutex::default(),
        channels: Mutex::default(),
        pushes: Mutex::new(0),
        first_request: Mutex::new(None),
    });
    let listen = |serve: fn(&Gateway, TcpStream)| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let gateway = Arc::clone(&gateway);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let gateway = Arc::clone(&gateway);
                std::thread::spawn(move || serve(&gateway, stream));
            }
        });
        address
    };
    (listen(Gateway::serve_device), listen(Gateway::serve_publisher))
}

impl Gateway {
    #[allow(clippy::result_large_err)]
    fn serve_device(&self, stream: TcpStream) {
        let (mut identity, mut may_publish) = (None, false);
        let check = |request: &Request, mut response: Response| {
            assert_eq!(request.uri().path(), "/v2/connect");
            let token = request.headers()["authorization"].to_str().unwrap().strip_prefix("Bearer ").unwrap();
            let key = DecodingKey::from_secret(SECRET.as_bytes());
            let claims =
                campanile_jwt::decode::<Value>(token, &key, &Validation::new(Algorithm::HS256)).unwrap();
            let user = claims.claims["sub"].as_str().unwrap().to_owned();
            if Some(user.as_str()) == self.faults.refused_user {
                let mut refusal = ErrorResponse::new(None);
                *refusal.status_mut() = tungstenite::http::StatusCode::FORBIDDEN;
                return Err(refusal);
            }
            identity = Some((user, claims.claims["did"].as_u64().unwrap() as u32));
            may_publish = !claims.claims["publish"].is_null();
            let protocol = request.headers()["sec-websocket-protocol"].clone();
            response.headers_mut().insert("sec-websocket-protocol", protocol);
            Ok(response)
        };
        let Ok(socket) = tungstenite::accept_hdr(stream, check) else { return };
        let (user, device) = identity.unwrap();
        let (sender, frames) = channel();
        let welcome = ServerFrame::Welcome(Welcome { epoch: 1, ..Welcome::default() });
        sender.send(encoded(&welcome)).unwrap();
        if let Some(older) = self.devices.lock().unwrap().insert((user.clone(), device), sender.clone()) {
            // What is empty says that it is replaced; it may have gone by itself.
            let _ = older.send(Vec::new());
        }
        *self.connections.lock().unwrap() += 1;
        self.hold(socket, &user, &frames, &|frame| {
            assert!(may_publish || !matches!(frame, ClientFrame::Publish(_)), "the token does not allow it");
            let answer = self.channels.lock().unwrap().serve(&self.faults, frame, &sender);
            sender.send(encoded(&answer)).unwrap();
        });
        self.devices.lock().unwrap().remove(&(user, device));
    }

    fn hold(
        &self,
        mut socket: WebSocket<TcpStream>,
        user: &str,
        frames: &Receiver<Vec<u8>>,
        serve: &dyn Fn(ClientFrame),
    ) {
        socket.get_ref().set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        socket.send(Message::Ping(b"are you there"[..].into())).unwrap();
        if Some(user) == self.faults.replaced_user {
            socket.send(Message::text(String::from_utf8(frames.recv().unwrap()).unwrap())).unwrap();
            let frame = CloseFrame { code: CloseCode::from(4409), reason: "replaced".into() };
            socket.close(Some(frame)).unwrap();
        }
        loop {
            match socket.read() {
                Err(tungstenite::Error::Io(error))
                    if matches!(
                        error.kind(),
                        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                    ) => {}
                Ok(Message::Pong(content)) => assert_eq!(&content[..], b"are you there"),
                Ok(Message::Close(_)) => {}
                Ok(Message::Text(text)) => {
                    serve(ClientFrame::decode(Encoding::Json, &Framed::Text(text.as_str())).unwrap());
                }
                Ok(other) => panic!("a device sent {other:?}"),
                Err(_) => return,
            }
            if *self.connections.lock().unwrap() < self.faults.welcomes_after {
                continue;
            }
            for frame in frames.try_iter() {
                if frame.is_empty() {
                    let frame = CloseFrame { code: CloseCode::from(4409), reason: "replaced".into() };
                    // Whoever is gone hears nothing.
                    let _ = socket.close(Some(frame));
                    continue;
                }
                let message = match std::str::from_utf8(&frame) {
                    Ok(text) if text.starts_with('{') => Message::text(text),
                    _ => Message::binary(frame),
                };
                if socket.send(message).is_err() {
                    return;
                }
            }
            if self.is_dead() {
                return;
            }
        }
    }

    fn serve_publisher(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut stream = stream;
        loop {
            let (mut line, mut length, mut request_line) = (String::new(), 0, String::new());
            let mut authorized = false;
            loop {
                line.clear();
                if reader.read_line(&mut line).unwrap_or(0) == 0 {
                    return;
                }
                let header = line.trim_end().to_ascii_lowercase();
                if request_line.is_empty() {
                    request_line.clone_from(&line);
                } else if let Some(value) = header.strip_prefix("content-length: ") {
                    length = value.parse().unwrap();
                } else if header == format!("authorization: bearer {API_KEY}") {
                    authorized = true;
                } else if header.is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            if !authorized {
                let answer = json!({"error": {"code": "key_refused", "message": "not you"}}).to_string();
                let head = format!("HTTP/1.1 401 Unauthorized\r\nContent-Length: {}\r\n\r\n", answer.len());
                stream.write_all((head + &answer).as_bytes()).unwrap();
                continue;
            }
            if self.is_dead() {
                return;
            }
            let first = *self.first_request.lock().unwrap().get_or_insert_with(Instant::now);
            let stall = (Duration::from_millis(200), Duration::from_millis(200) + self.faults.stall);
            if first.elapsed() >= stall.0 && first.elapsed() < stall.1 {
                std::thread::sleep(stall.1 - first.elapsed());
            }
            let answer = self.answer(request_line.split(' ').nth(1).unwrap(), &body).to_string();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", answer.len());
            if stream.write_all((head + &answer).as_bytes()).is_err() {
                return;
            }
        }
    }

    fn is_dead(&self) -> bool {
        self.faults.dies_after.is_some_and(|pushes| *self.pushes.lock().unwrap() >= pushes)
    }

    fn answer(&self, path: &str, body: &[u8]) -> Value {
        let body: Value = serde_json::from_slice(body).unwrap();
        match path {
            "/v2/push" => self.push(&body),
            "/v2/push/batch" => {
                let results: Vec<Value> =
                    body["pushes"].as_array().unwrap().iter().map(|push| self.push(push)).collect();
                json!({ "results": results })
            }
            "/v2/broadcast" => {
                let event = Event { payload: Some(payload(&body)), ..Event::default() };
                let frame = encoded(&ServerFrame::Event(event));
                let devices = self.devices.lock().unwrap();
                let sent = devices.values().filter(|device| device.send(frame.clone()).is_ok()).count();
                json!({"sent": sent, "skipped": 0})
            }
            "/v2/channels/publish/batch" => {
                let messages = body["messages"].as_array().unwrap();
                let publish = |message: &Value| self.publish(message["channel"].as_str().unwrap(), message);
                json!({"results": messages.iter().map(publish).collect::<Vec<_>>()})
            }
            path if path.starts_with("/v2/channels/") => {
                let name = path.strip_prefix("/v2/channels/").and_then(|rest| rest.strip_suffix("/publish"));
                self.publish(&name.unwrap().replace("%3A", ":"), &body)
            }
            other => {
                let user = other.strip_prefix("/v2/users/").and_then(|rest| rest.strip_suffix("/devices"));
                let user = user.unwrap_or_else(|| panic!("a request to {other}")).to_owned();
                let device = body["device"].as_u64().unwrap() as u32;
                assert!(self.registered.lock().unwrap().insert((user, device)), "registered twice");
                json!({ "device": device })
            }
        }
    }

    fn publish(&self, channel: &str, message: &Value) -> Value {
        assert_eq!(message["kind"], "load");
        let mut channels = self.channels.lock().unwrap();
        let Position { epoch, offset } = channels.publish(&self.faults, channel, payload(message));
        json!({"channel": channel, "epoch": epoch, "offset": offset})
    }

    fn push(&self, push: &Value) -> Value {
        let number = {
            let mut pushes = self.pushes.lock().unwrap();
            *pushes += 1;
            *pushes
        };
        let frame =
            encoded(&ServerFrame::Deliver(Deliver { payload: Some(payload(push)), ..Deliver::default() }));
        let is_nth = |every: Option<u64>| every.is_some_and(|every| number.is_multiple_of(every));
        let copies = match (is_nth(self.faults.lose_every), is_nth(self.faults.duplicate_every)) {
            (true, _) => 0,
            (_, true) => 2,
            _ => 1,
        };
        let user = push["user"].as_str().unwrap();
        let devices = self.devices.lock().unwrap();
        if is_nth(self.faults.misdeliver_every) {
            devices[&("U0".to_owned(), 1)].send(frame.clone()).unwrap();
        }
        let mut delivered = 0;
        for ((_, _), device) in devices.iter().filter(|((name, device), _)| {
            name == user && push["device"].as_u64().is_none_or(|wanted| wanted == u64::from(*device))
        }) {
            delivered += 1;
            for _ in 0..copies {
                device.send(frame.clone()).unwrap();
            }
        }
        let (state, count) = match self.registered.lock().unwrap().len() {
            0 => ("sent", delivered),
            _ => ("stored", 1),
        };
        if state == "stored" {
            assert_eq!(push["durability"], "durable");
        }
        let states: Vec<Value> =
            (1..=count).map(|device| json!({"device": device, "state": state})).collect();
        json!({"messageId": "0", "success": count > 0, "deliveredCount": delivered, "devices": states,
            "failedDevices": []})
    }
}

/// The payload of a request, as it goes to devices.
fn payload(request: &Value) -> Payload {
    let payload: Payload = serde_json::from_value(request["payload"].clone()).unwrap();
    payload
}

/// A frame's content in JSON, without the WebSocket frame around it.
fn encoded(frame: &ServerFrame) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame.encode_frame(Encoding::Json, &mut bytes).unwrap();
    let limits = campanile_protocol::frame::Limits::CLIENT;
    let mut decoder = campanile_protocol::frame::Decoder::new();
    match decoder.next(&mut &mut bytes[..], &limits).unwrap() {
        Some(Framed::Text(text)) => text.as_bytes().to_vec(),
        other => panic!("{:?} is not {:?}", other, Opcode::Text),
    }
}
