//! What a receiver process is told: where to connect, how often, and what to say there.

use std::net::SocketAddrV4;

use campanile_protocol::frame::{Opcode, masked_frame};
use serde::{Deserialize, Serialize};

/// Stands for the subscriber's number in a path, a header or a first frame.
const NUMBER: &str = "{n}";
/// Stands for the subscriber's token.
const TOKEN: &str = "{token}";

/// The example key of RFC 6455 §1.3: a server may not tell clients apart by it, and the answer is known.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// What a server answers to [`KEY`].
pub(super) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The mask of first frames; masks protect proxies (RFC 6455 §10.3), of which there are none here.
const MASK: [u8; 4] = [0x1F, 0x2E, 0x3D, 0x4C];

/// The sockets of one receiver process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// The server; a loopback address.
    pub(crate) target: SocketAddrV4,
    /// How many sockets.
    pub(crate) connections: u32,
    /// Number of the first.
    pub(crate) first: u32,
    /// They are bound to 127.0.0.1 to 127.0.0.n in turn.
    pub(crate) sources: u8,
    /// Core to run on.
    pub(crate) core: Option<usize>,
    /// What every socket says once it is connected; nothing for a server that only writes bytes.
    pub(crate) opening: Option<Opening>,
    /// Of how many sockets every frame is looked at; 0 without an opening.
    pub(crate) sampled: u32,
    /// Each socket sends a pong, unasked (RFC 6455 §5.5.3), once in so many seconds: pings in the sockets of which
    /// only bytes are counted are not seen. 0 for never.
    pub(crate) pong_seconds: u32,
}

/// How a WebSocket connection begins. `{n}` and `{token}` in its path, header values and first frame become the
/// subscriber's number and token.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Opening {
    /// `Host`.
    pub(crate) host: String,
    /// Path and query.
    pub(crate) path: String,
    /// Further headers, such as `Authorization` or `Sec-WebSocket-Protocol`.
    pub(crate) headers: Vec<(String, String)>,
    /// Sent right after the upgrade.
    pub(crate) first_frame: Option<FirstFrame>,
    /// One for each subscriber of this process, or none.
    pub(crate) tokens: Vec<String>,
}

/// A subscribe command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum FirstFrame {
    /// Text, with placeholders.
    Text(String),
    /// Bytes, as they are.
    Binary(Vec<u8>),
}

impl Plan {
    /// Whether every frame of socket `index` (from 0) is looked at: `sampled` of them are, evenly spread.
    pub(super) fn is_sampled(&self, index: u32) -> bool {
        let rank =
            |index: u32| u64::from(index) * u64::from(self.sampled) / u64::from(self.connections.max(1));
        self.opening.is_some() && rank(index) != rank(index + 1)
    }
}

impl Opening {
    /// The request of the socket with that index in its process, whose number is `number`.
    pub(super) fn request(&self, index: u32, number: u32) -> Vec<u8> {
        let mut request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n",
            self.fill(&self.path, index, number),
            self.host
        );
        for (name, value) in &self.headers {
            request += &format!("{name}: {}\r\n", self.fill(value, index, number));
        }
        request += "\r\n";
        request.into_bytes()
    }

    /// The first frame, masked as a client's must be.
    pub(super) fn first_frame(&self, index: u32, number: u32) -> Option<Vec<u8>> {
        Some(match self.first_frame.as_ref()? {
            FirstFrame::Text(text) => {
                masked_frame(Opcode::Text, self.fill(text, index, number).as_bytes(), MASK)
            }
            FirstFrame::Binary(bytes) => masked_frame(Opcode::Binary, bytes, MASK),
        })
    }

    fn fill(&self, text: &str, index: u32, number: u32) -> String {
        let token = self.tokens.get(index as usize).map_or("", String::as_str);
        text.replace(NUMBER, &number.to_string()).replace(TOKEN, token)
    }

    /// Whether every subscriber needs a token.
    pub(crate) fn wants_tokens(&self) -> bool {
        let frame = match &self.first_frame {
            Some(FirstFrame::Text(text)) => text,
            Some(FirstFrame::Binary(_)) | None => "",
        };
        let headers = self.headers.iter().map(|(_, value)| value.as_str());
        headers.chain([self.path.as_str(), frame]).any(|text| text.contains(TOKEN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(connections: u32, sampled: u32) -> Plan {
        Plan {
            target: "127.0.0.1:1".parse().expect("an address"),
            connections,
            first: 0,
            sources: 1,
            core: None,
            opening: Some(Opening::default()),
            sampled,
            pong_seconds: 0,
        }
    }

    #[test]
    fn as_many_as_asked_are_sampled_and_they_are_spread_evenly() {
        for (connections, sampled) in [(10_000, 256), (20, 20), (7, 3), (5, 0), (1, 1)] {
            let plan = plan(connections, sampled);
            let chosen: Vec<u32> = (0..connections).filter(|&index| plan.is_sampled(index)).collect();
            assert_eq!(chosen.len(), sampled as usize, "{connections} sockets");
            let gaps = chosen.windows(2).map(|pair| pair[1] - pair[0]);
            let even = connections / sampled.max(1);
            assert!(
                gaps.clone().all(|gap| gap == even || gap == even + 1),
                "{connections} sockets: {chosen:?}"
            );
        }
        assert!(!Plan { opening: None, ..plan(1, 1) }.is_sampled(0), "there are no frames to look at");
    }

    #[test]
    fn every_subscriber_says_its_own_number_and_token() {
        let opening = Opening {
            host: "127.0.0.1:80".into(),
            path: "/subscribe?user={n}".into(),
            headers: vec![("Authorization".into(), "Bearer {token}".into())],
            first_frame: Some(FirstFrame::Text("hello {n}".into())),
            tokens: vec!["red".into(), "blue".into()],
        };
        assert!(opening.wants_tokens());
        let request = String::from_utf8(opening.request(1, 501)).expect("text");
        assert!(
            request.starts_with("GET /subscribe?user=501 HTTP/1.1\r\nHost: 127.0.0.1:80\r\n"),
            "{request}"
        );
        assert!(request.ends_with("\r\nAuthorization: Bearer blue\r\n\r\n"), "{request}");
        let mut frame = opening.first_frame(1, 501).expect("a frame");
        assert_eq!(frame[..6], [0x81, 0x80 | 9, 0x1F, 0x2E, 0x3D, 0x4C]);
        campanile_protocol::frame::apply_mask(&mut frame[6..], MASK, 0);
        assert_eq!(&frame[6..], b"hello 501");
    }
}
