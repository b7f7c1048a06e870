//! One WebSocket session of one device, with an ordinary client (`tungstenite`) and the ordinary decoder.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use anyhow::{Context, ensure};
use campanile_protocol::frame;
use campanile_protocol::messages::{Ack, ClientFrame, DecodeError, Encoding, Hello, ServerFrame};
use tungstenite::client::IntoClientRequest as _;
use tungstenite::error::ProtocolError;
use tungstenite::{Bytes, Message, WebSocket};

/// From the connect to the 101 answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Why nothing more can be read.
#[derive(Debug)]
pub(super) enum End {
    /// The connection has ended, as connections do.
    Gone,
    /// The gateway closed it and said why, or sent what it must not.
    Wrong(String),
}

/// An open session.
pub(super) struct Session {
    socket: WebSocket<TcpStream>,
}

impl Session {
    /// Connects and upgrades.
    ///
    /// # Errors
    /// The gateway is away, or refuses.
    pub(super) fn open(gateway: SocketAddr, token: &str) -> anyhow::Result<Session> {
        let stream = TcpStream::connect_timeout(&gateway, CONNECT_TIMEOUT)?;
        stream.set_read_timeout(Some(CONNECT_TIMEOUT))?;
        stream.set_write_timeout(Some(CONNECT_TIMEOUT))?;
        stream.set_nodelay(true)?;
        let mut request = format!("ws://{gateway}/v2/connect").into_client_request()?;
        let headers = request.headers_mut();
        headers.insert("Authorization", format!("Bearer {token}").parse()?);
        headers.insert("Sec-WebSocket-Protocol", Encoding::Protobuf.subprotocol().parse()?);
        let (socket, _) = tungstenite::client(request, stream).map_err(|error| anyhow::anyhow!("{error}"))?;
        socket.get_ref().set_nonblocking(true)?;
        Ok(Session { socket })
    }

    /// Reads everything that is there.
    ///
    /// # Errors
    /// See [`End`]; the frames before it are valid.
    pub(super) fn read(&mut self, frames: &mut Vec<ServerFrame>) -> Result<(), End> {
        loop {
            let message = match self.socket.read() {
                Ok(message) => message,
                Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => {
                    return Err(End::Gone);
                }
                Err(error @ (tungstenite::Error::Protocol(_) | tungstenite::Error::Capacity(_))) => {
                    return Err(End::Wrong(error.to_string()));
                }
                Err(_) => return Err(End::Gone),
            };
            match message {
                Message::Binary(bytes) => {
                    match ServerFrame::decode(Encoding::Protobuf, &frame::Message::Binary(&bytes)) {
                        Ok(frame) => frames.push(frame),
                        Err(DecodeError::Unknown) => {}
                        Err(error) => return Err(End::Wrong(error.to_string())),
                    }
                }
                Message::Ping(_) | Message::Pong(_) => {}
                Message::Close(close) => return Err(End::Wrong(format!("closed: {close:?}"))),
                other => return Err(End::Wrong(format!("a message of the wrong kind: {other:?}"))),
            }
        }
    }

    /// Confirms everything up to a number.
    pub(super) fn acknowledge(&mut self, seq: u64) -> anyhow::Result<()> {
        self.say(&ClientFrame::Ack(Ack { seq }))
    }

    /// Says what was processed before this session.
    pub(super) fn hello(&mut self, last: u64, epoch: u64) -> anyhow::Result<()> {
        self.say(&ClientFrame::Hello(Hello { last, epoch, ..Hello::default() }))
    }

    fn say(&mut self, frame: &ClientFrame) -> anyhow::Result<()> {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        self.socket.write(Message::Binary(Bytes::from(bytes)))?;
        self.flush()
    }

    /// Sends what has not left yet.
    pub(super) fn flush(&mut self) -> anyhow::Result<()> {
        match self.socket.flush() {
            Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            result => Ok(result?),
        }
    }

    /// Ends the session: with a close frame, or without a word.
    pub(super) fn end(mut self, politely: bool) {
        if politely && self.socket.close(None).is_ok() {
            // It is over either way.
            let _ = self.socket.flush();
        }
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.get_ref().as_fd()
    }
}

/// A message's id from its 32 hexadecimal digits.
pub(super) fn id(text: &str) -> anyhow::Result<u128> {
    ensure!(text.len() == 32, "`{text}` is not a message id");
    u128::from_str_radix(text, 16).with_context(|| format!("`{text}` is not a message id"))
}
