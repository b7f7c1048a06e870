//! A client that speaks the real protocol over a simulated connection.

use campanile_engine::sim::{Client, Ending};
use campanile_protocol::frame::{self, Decoder, Limits, Message, Opcode};
use campanile_protocol::messages::{ClientFrame, Deliver, Encoding, Event, Hello, ServerFrame, Welcome};
use campanile_protocol::upgrade::{self, Request, ResponseError};

/// The mask of every client frame; what it is makes no difference to the server.
const MASK: [u8; 4] = [0x12, 0x34, 0x56, 0x78];
const PATH: &str = "/v2/connect";

/// How a device says who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// In the upgrade request.
    Header(String),
    /// In its first frame.
    Hello(String),
    /// Not at all.
    Nothing,
}

/// What a device was sent, in order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Seen {
    Frame(ServerFrame),
    Ping,
    Pong(Vec<u8>),
    Text(String),
    Binary(Vec<u8>),
}

/// One connection of a device.
pub(crate) struct Device {
    pub(crate) client: Client,
    pub(crate) encoding: Encoding,
    pub(crate) entry: Entry,
    /// What it has got before, and of which epoch: part of its first frame, if it is above 0.
    pub(crate) resumes: (u64, u64),
    /// Bytes that the connection has not taken yet.
    pub(crate) outgoing: Vec<u8>,
    /// Everything received, as it came, piece by piece.
    pub(crate) pieces: Vec<Vec<u8>>,
    pub(crate) seen: Vec<Seen>,
    /// The status of the answer to the upgrade.
    pub(crate) status: Option<u16>,
    pub(crate) retry_after: Option<u32>,
    pub(crate) subprotocol: Option<String>,
    /// The close frame: its code (1005 for none) and reason.
    pub(crate) closed: Option<(u16, String)>,
    pub(crate) ending: Ending,
    /// Whether it reads.
    pub(crate) reads: bool,
    /// Whether it answers pings.
    pub(crate) pongs: bool,
    /// What it said in pings.
    pub(crate) pinged: Vec<Vec<u8>>,
    /// Bytes that it writes at a time.
    pub(crate) step_bytes: usize,
    key: String,
    head: Vec<u8>,
    decoder: Decoder,
    left: bool,
}

impl Device {
    pub(crate) fn new(client: Client, encoding: Encoding, entry: Entry) -> Device {
        Device {
            client,
            encoding,
            entry,
            resumes: (0, 0),
            outgoing: Vec::new(),
            pieces: Vec::new(),
            seen: Vec::new(),
            status: None,
            retry_after: None,
            subprotocol: None,
            closed: None,
            ending: Ending::Open,
            reads: true,
            pongs: true,
            pinged: Vec::new(),
            step_bytes: usize::MAX,
            key: upgrade::client_key([7; 16]),
            head: Vec::new(),
            decoder: Decoder::new(),
            left: false,
        }
    }

    /// Writes its upgrade request.
    pub(crate) fn ask_upgrade(&mut self) {
        self.ask_upgrade_at(PATH);
    }

    /// Writes an upgrade request for this path.
    pub(crate) fn ask_upgrade_at(&mut self, path: &str) {
        let token = match &self.entry {
            Entry::Header(token) => Some(token.clone()),
            _ => None,
        };
        let mut request = Vec::new();
        upgrade::write_request(&mut request, &Request { path, ..self.request(token.as_deref()) });
        self.outgoing.extend(request);
    }

    fn request<'a>(&'a self, bearer_token: Option<&'a str>) -> Request<'a> {
        Request {
            host: "gateway",
            path: PATH,
            key: &self.key,
            protocols: self.encoding.subprotocol(),
            bearer_token,
            deflate: false,
        }
    }

    /// Writes a frame of the schema.
    pub(crate) fn say(&mut self, frame: &ClientFrame) {
        frame.encode_frame(self.encoding, MASK, &mut self.outgoing).unwrap();
    }

    pub(crate) fn say_hello(&mut self, token: &str) {
        let (last, epoch) = self.resumes;
        self.say(&ClientFrame::Hello(Hello { token: token.to_owned(), last, epoch, ..Hello::default() }));
    }

    /// Writes a WebSocket frame.
    pub(crate) fn say_raw(&mut self, opcode: Opcode, payload: &[u8]) {
        if opcode == Opcode::Ping {
            self.pinged.push(payload.to_vec());
        }
        frame::encode_masked_frame(opcode, payload, MASK, &mut self.outgoing);
    }

    pub(crate) fn say_close(&mut self, code: u16) {
        frame::encode_masked_close(code, "", MASK, &mut self.outgoing);
    }

    /// Takes bytes that arrived. Panics on a torn frame or an answer that is not one.
    pub(crate) fn take(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.pieces.push(bytes.to_vec());
        if self.status == Some(101) {
            return self.take_frames(&mut bytes.to_vec());
        }
        self.head.extend_from_slice(bytes);
        let Some(end) = self.head.windows(4).position(|four| four == b"\r\n\r\n") else { return };
        if self.status.is_some() {
            return;
        }
        let mut rest = self.head.split_off(end + 4);
        match upgrade::parse_response(&self.head, &self.request(None)) {
            Ok(answer) => {
                self.subprotocol = answer.subprotocol.map(str::to_owned);
                self.status = Some(101);
            }
            Err(ResponseError::Refused { status, retry_after_seconds }) => {
                (self.status, self.retry_after) = (Some(status), retry_after_seconds);
                self.head.append(&mut rest);
                return;
            }
            Err(error) => panic!("{error}: {}", String::from_utf8_lossy(&self.head)),
        }
        match self.entry.clone() {
            Entry::Hello(token) => self.say_hello(&token),
            _ if self.resumes.0 > 0 => self.say_hello(""),
            _ => {}
        }
        self.take_frames(&mut rest);
    }

    fn take_frames(&mut self, mut input: &mut [u8]) {
        let mut decoder = std::mem::take(&mut self.decoder);
        while let Some(message) = decoder.next(&mut input, &Limits::CLIENT).expect("a torn frame") {
            assert!(self.closed.is_none(), "a frame after the close frame");
            match message {
                Message::Ping(_) => {
                    self.seen.push(Seen::Ping);
                    if self.pongs {
                        frame::encode_masked_frame(Opcode::Pong, b"", MASK, &mut self.outgoing);
                    }
                }
                Message::Pong(payload) => self.seen.push(Seen::Pong(payload.to_vec())),
                Message::Close(code) => {
                    let (code, reason) = code.unwrap_or((1005, ""));
                    self.closed = Some((code, reason.to_owned()));
                }
                message => self.seen.push(match (ServerFrame::decode(self.encoding, &message), message) {
                    (Ok(frame), _) => Seen::Frame(frame),
                    (Err(_), Message::Text(text)) => Seen::Text(text.to_owned()),
                    (Err(_), Message::Binary(bytes)) => Seen::Binary(bytes.to_vec()),
                    (Err(error), _) => panic!("{error}"),
                }),
            }
        }
        self.decoder = decoder;
    }

    /// Whether it is to close its side now, which it does once.
    pub(crate) fn leaves(&mut self) -> bool {
        let over = self.closed.is_some() || self.ending != Ending::Open;
        over && !std::mem::replace(&mut self.left, true)
    }

    /// Closes by itself: nothing is expected any more.
    pub(crate) fn gone(&mut self) {
        self.left = true;
    }

    /// Whether, as far as it knows, it has a session.
    pub(crate) fn is_connected(&self) -> bool {
        !self.left && self.closed.is_none() && self.ending == Ending::Open && self.welcome().is_some()
    }

    pub(crate) fn code(&self) -> Option<u16> {
        self.closed.as_ref().map(|(code, _)| *code)
    }

    pub(crate) fn frames(&self) -> impl Iterator<Item = &ServerFrame> {
        self.seen.iter().filter_map(|seen| match seen {
            Seen::Frame(frame) => Some(frame),
            _ => None,
        })
    }

    pub(crate) fn welcome(&self) -> Option<&Welcome> {
        self.frames().find_map(|frame| match frame {
            ServerFrame::Welcome(welcome) => Some(welcome),
            _ => None,
        })
    }

    pub(crate) fn delivered(&self) -> Vec<&Deliver> {
        self.frames()
            .filter_map(|frame| match frame {
                ServerFrame::Deliver(deliver) => Some(deliver),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn events(&self) -> Vec<&Event> {
        self.frames()
            .filter_map(|frame| match frame {
                ServerFrame::Event(event) => Some(event),
                _ => None,
            })
            .collect()
    }

    /// What the kinds of the delivered messages are.
    pub(crate) fn kinds(&self) -> Vec<&str> {
        self.delivered().into_iter().map(|message| message.kind.as_str()).collect()
    }

    /// Whether each of its pings was answered, by its own pong or by that of a later one (RFC 6455 §5.5.3).
    pub(crate) fn has_its_pongs(&self) -> bool {
        let mut pinged = self.pinged.iter();
        let pongs = self.seen.iter().filter_map(|seen| match seen {
            Seen::Pong(payload) => Some(payload),
            _ => None,
        });
        let known = pongs.clone().all(|pong| pinged.any(|payload| payload == pong));
        known && pongs.last() == self.pinged.last()
    }

    pub(crate) fn pings(&self) -> usize {
        self.seen.iter().filter(|seen| **seen == Seen::Ping).count()
    }

    /// The whole answer to a refused upgrade.
    pub(crate) fn refusal(&self) -> String {
        String::from_utf8_lossy(&self.head).into_owned()
    }
}
