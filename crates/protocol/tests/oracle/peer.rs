//! `tungstenite` over bytes in memory.

use std::io::{self, Read, Write};

use campanile_protocol::frame::{Opcode, Role};
use tungstenite::protocol::{
    CloseFrame, Role as PeerRole, WebSocket, WebSocketConfig,
    frame::{
        Frame,
        coding::{CloseCode, Control, Data, OpCode},
    },
};

use crate::{MESSAGE_BYTES_MAX, common::Owned, streams::Stream};

/// Bytes to read, then "would block"; what is written is kept.
struct Wire<'a> {
    input: &'a [u8],
    output: Vec<u8>,
}

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.input.read(buffer)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn peer(input: &[u8], role: PeerRole) -> WebSocket<Wire<'_>> {
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    let output = Vec::new();
    WebSocket::from_raw_socket(Wire { input, output }, role, Some(config))
}

/// The messages that `tungstenite` takes from `bytes`, and whether it then refuses them.
pub(crate) fn peer_decode(bytes: &[u8], role: Role) -> (Vec<Owned>, bool) {
    let role = match role {
        Role::Server => PeerRole::Server,
        Role::Client => PeerRole::Client,
    };
    let mut socket = peer(bytes, role);
    let mut messages = Vec::new();
    loop {
        use tungstenite::Message;
        let message = match socket.read() {
            Ok(Message::Text(text)) => Owned::Text(text.to_string()),
            Ok(Message::Binary(bytes)) => Owned::Binary(bytes.to_vec()),
            Ok(Message::Ping(bytes)) => Owned::Ping(bytes.to_vec()),
            Ok(Message::Pong(bytes)) => Owned::Pong(bytes.to_vec()),
            // This is how it reports a close code that it does not allow.
            Ok(Message::Close(Some(close))) if close.reason.as_str() == "Protocol violation" => {
                return (messages, true);
            }
            Ok(Message::Close(close)) => {
                messages.push(Owned::Close(close.map(|close| (close.code.into(), close.reason.to_string()))));
                return (messages, false);
            }
            Ok(Message::Frame(_)) => unreachable!("never read"),
            Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                return (messages, false);
            }
            Err(_) => return (messages, true),
        };
        messages.push(message);
    }
}

/// The encoding of `tungstenite`, for a reader of the given role.
pub(crate) fn peer_encode(stream: &Stream, reader: Role) -> Vec<u8> {
    let role = match reader {
        Role::Server => PeerRole::Client,
        Role::Client => PeerRole::Server,
    };
    let mut socket = peer(&[], role);
    for piece in &stream.pieces {
        let payload = piece.payload.clone();
        let frame = match piece.opcode {
            Opcode::Text => Frame::message(payload, OpCode::Data(Data::Text), piece.fin),
            Opcode::Binary => Frame::message(payload, OpCode::Data(Data::Binary), piece.fin),
            Opcode::Continuation => Frame::message(payload, OpCode::Data(Data::Continue), piece.fin),
            Opcode::Ping => Frame::ping(payload),
            Opcode::Pong => Frame::pong(payload),
            Opcode::Close => {
                let Some(Owned::Close(close)) = stream.messages.last() else {
                    unreachable!("a close frame is the last message")
                };
                let close = close
                    .clone()
                    .map(|(code, reason)| CloseFrame { code: CloseCode::from(code), reason: reason.into() });
                let frame = Frame::close(close);
                assert_eq!(frame.header().opcode, OpCode::Control(Control::Close));
                frame
            }
        };
        socket.send(tungstenite::Message::Frame(frame)).unwrap();
    }
    std::mem::take(&mut socket.get_mut().output)
}
