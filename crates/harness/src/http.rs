//! A small HTTP/1.1 client (RFC 9112) for servers on this machine: one connection that is kept, one request at a time.
//!
//! A request is sent once: whether one without an answer was executed is for the caller to find out.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail, ensure};

/// How long a connection, a request or an answer may take, unless said otherwise.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// How large an answer may be.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// How much is read at once.
const READ_BYTES: usize = 16 << 10;
/// How much of a refusal is shown.
const EXCERPT_CHARS_MAX: usize = 300;

/// What a server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Names, in lower case, and values of the header's fields.
    pub fields: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

impl Answer {
    /// The body, if the status says that all is well.
    ///
    /// # Errors
    /// With the status and the beginning of the body, if it does not.
    pub fn good(self) -> anyhow::Result<String> {
        ensure!((200..300).contains(&self.status), "answered {}: {}", self.status, self.excerpt());
        Ok(self.body)
    }

    /// The beginning of the body, for people.
    #[must_use]
    pub fn excerpt(&self) -> String {
        let words = self.body.split_whitespace().collect::<Vec<_>>().join(" ");
        words.chars().take(EXCERPT_CHARS_MAX).collect()
    }

    /// A field of the header by its name in lower case.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Asks one server, over a connection that it keeps and makes anew when it has ended. Threads wait for each other.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    fields: Vec<(String, String)>,
    patience: Duration,
    connection: Mutex<Option<Connection>>,
}

impl Client {
    /// Asks the server at an address.
    #[must_use]
    pub fn new(address: SocketAddr) -> Client {
        Client { address, fields: Vec::new(), patience: PATIENCE, connection: Mutex::new(None) }
    }

    /// Sends this field with every request.
    #[must_use]
    pub fn with_field(mut self, name: &str, value: impl Into<String>) -> Client {
        self.fields.push((name.into(), value.into()));
        self
    }

    /// Authorizes every request with a key (RFC 6750).
    #[must_use]
    pub fn with_bearer(self, key: &str) -> Client {
        self.with_field("Authorization", format!("Bearer {key}"))
    }

    /// How long a connection, a request or an answer may take.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Client {
        self.patience = patience;
        self
    }

    /// Whom it asks.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A GET.
    ///
    /// # Errors
    /// When there is no answer, or none that is understood; what it says is up to the caller.
    pub fn get(&self, path: &str) -> anyhow::Result<Answer> {
        self.request("GET", path, "")
    }

    /// A POST of JSON.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn post(&self, path: &str, body: &str) -> anyhow::Result<Answer> {
        self.request("POST", path, body)
    }

    /// Any request; a body is JSON unless a field of the client says otherwise.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn request(&self, method: &str, path: &str, body: &str) -> anyhow::Result<Answer> {
        let mut kept = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let mut connection = match kept.take().filter(Connection::is_idle) {
            Some(connection) => connection,
            None => Connection::open(self.address, self.patience)?,
        };
        let answer = connection.request(method, path, &self.fields, body)?;
        if !connection.ends {
            *kept = Some(connection);
        }
        Ok(answer)
    }
}

/// One connection.
#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    answer: Vec<u8>,
    /// The server has said that this was its last answer.
    ends: bool,
}

/// Where the body of an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    Length(usize),
    Chunked,
    UntilTheEnd,
}

impl Connection {
    fn open(address: SocketAddr, patience: Duration) -> anyhow::Result<Connection> {
        let stream = TcpStream::connect_timeout(&address, patience)
            .with_context(|| format!("nothing listens at {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        Ok(Connection { stream, request: Vec::new(), answer: Vec::new(), ends: false })
    }

    /// Whether it can be used once more: the server has neither ended it nor said anything unasked.
    fn is_idle(&self) -> bool {
        let look = || -> std::io::Result<bool> {
            self.stream.set_nonblocking(true)?;
            let nothing =
                self.stream.peek(&mut [0]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
            self.stream.set_nonblocking(false)?;
            Ok(nothing)
        };
        look().unwrap_or(false)
    }

    fn request(
        &mut self,
        method: &str,
        path: &str,
        fields: &[(String, String)],
        body: &str,
    ) -> anyhow::Result<Answer> {
        self.request.clear();
        let named = |name: &str| fields.iter().any(|(key, _)| key.eq_ignore_ascii_case(name));
        write!(self.request, "{method} {path} HTTP/1.1\r\n")?;
        if !named("host") {
            write!(self.request, "Host: {}\r\n", self.stream.peer_addr()?)?;
        }
        for (name, value) in fields {
            write!(self.request, "{name}: {value}\r\n")?;
        }
        if !body.is_empty() && !named("content-type") {
            write!(self.request, "Content-Type: application/json\r\n")?;
        }
        if method != "GET" {
            write!(self.request, "Content-Length: {}\r\n", body.len())?;
        }
        write!(self.request, "\r\n{body}")?;
        self.stream.write_all(&self.request).context("the server takes no request")?;
        self.answer.clear();
        let (head, status) = loop {
            self.read_more()?;
            match find(&self.answer, b"\r\n\r\n") {
                // An interim answer (RFC 9110 §15.2) comes before the final one.
                Some(end) if self.answer.get(9) == Some(&b'1') => drop(self.answer.drain(..end + 4)),
                Some(end) => break (end + 4, status(&self.answer)?),
                None => {}
            }
        };
        let fields = fields_of(&self.answer[..head])?;
        self.ends =
            fields.iter().any(|(name, value)| name == "connection" && value.eq_ignore_ascii_case("close"));
        let body = self.body(head, body_kind(status, &fields)?)?;
        let body = String::from_utf8(body).context("an answer that is not text")?;
        Ok(Answer { status, fields, body })
    }

    fn body(&mut self, head: usize, kind: Body) -> anyhow::Result<Vec<u8>> {
        match kind {
            Body::Length(length) => {
                while self.answer.len() < head + length {
                    self.read_more()?;
                }
                Ok(self.answer[head..head + length].to_vec())
            }
            Body::UntilTheEnd => {
                self.ends = true;
                while self.read()? > 0 {}
                Ok(self.answer[head..].to_vec())
            }
            Body::Chunked => loop {
                if let Some(body) = unchunked(&self.answer[head..])? {
                    return Ok(body);
                }
                self.read_more()?;
            },
        }
    }

    fn read_more(&mut self) -> anyhow::Result<()> {
        ensure!(self.read()? > 0, "the server has ended the connection in the middle of an answer");
        Ok(())
    }

    fn read(&mut self) -> anyhow::Result<usize> {
        ensure!(self.answer.len() < ANSWER_BYTES_MAX, "an answer without an end");
        let start = self.answer.len();
        self.answer.resize(start + READ_BYTES, 0);
        let read = self.stream.read(&mut self.answer[start..]);
        self.answer.truncate(start + read.as_ref().map_or(0, |&read| read));
        read.context("no answer")
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

fn status(head: &[u8]) -> anyhow::Result<u16> {
    let digits = head.strip_prefix(b"HTTP/1.").and_then(|rest| rest.get(2..5));
    let status = digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    status.context("an answer that is not HTTP/1.1")
}

fn fields_of(head: &[u8]) -> anyhow::Result<Vec<(String, String)>> {
    let head = std::str::from_utf8(head).context("a head that is not text")?;
    let fields = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    Ok(fields.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect())
}

fn body_kind(status: u16, fields: &[(String, String)]) -> anyhow::Result<Body> {
    let field = |name: &str| fields.iter().find(|(key, _)| key == name).map(|(_, value)| value);
    Ok(match (status, field("transfer-encoding"), field("content-length")) {
        (204 | 304, ..) => Body::Length(0),
        (_, Some(coding), _) if coding.eq_ignore_ascii_case("chunked") => Body::Chunked,
        (_, Some(coding), _) => bail!("a body in {coding}"),
        (_, None, Some(length)) => Body::Length(length.parse().context("a length that is no number")?),
        (_, None, None) => Body::UntilTheEnd,
    })
}

/// The content of a chunked body (RFC 9112 §7.1), once it is whole.
fn unchunked(mut rest: &[u8]) -> anyhow::Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    loop {
        let Some(end) = find(rest, b"\r\n") else { return Ok(None) };
        let line = std::str::from_utf8(&rest[..end]).context("a chunk without a size")?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).context("a chunk without a size")?;
        if size == 0 {
            // Trailers may follow; the whole ends with an empty line.
            let is_whole = rest[end..].starts_with(b"\r\n\r\n") || find(&rest[end..], b"\r\n\r\n").is_some();
            return Ok(is_whole.then_some(body));
        }
        let Some(chunk) = rest.get(end + 2..end + 2 + size) else { return Ok(None) };
        body.extend_from_slice(chunk);
        let Some(next) = rest.get(end + 2 + size + 2..) else { return Ok(None) };
        rest = next;
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Answers each connection's requests with these, one after another, and ends it.
    fn server(connections: Vec<Vec<&'static str>>) -> (SocketAddr, std::thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let serving = std::thread::spawn(move || {
            let mut requests = Vec::new();
            for answers in connections {
                let (mut stream, _) = listener.accept().expect("a connection");
                for answer in answers {
                    let mut request = vec![0; 4096];
                    let read = stream.read(&mut request).expect("a request");
                    requests.push(String::from_utf8_lossy(&request[..read]).into_owned());
                    // In pieces, as a network may deliver them.
                    for piece in answer.as_bytes().chunks(7) {
                        stream.write_all(piece).expect("a reader");
                        stream.flush().expect("a reader");
                    }
                }
            }
            requests
        });
        (address, serving)
    }

    #[test]
    fn bodies_end_where_their_heads_say() {
        let (address, serving) = server(vec![vec![
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 Busy\r\ntransfer-encoding: chunked\r\n\r\n\
                 5;x=1\r\nplease\r\n6\r\nno",
        ]]);
        let client = Client::new(address).with_bearer("k");
        assert_eq!(client.get("/a").expect("an answer").good().expect("a good one"), "hello");
        // The chunk's size is wrong, and so is what follows.
        assert!(client.post("/b", "{}").is_err());
        let requests = serving.join().expect("no panic");
        assert!(requests[0].starts_with("GET /a HTTP/1.1\r\nHost: 127.0.0.1:"), "{}", requests[0]);
        assert!(
            requests[0].contains("\r\nAuthorization: Bearer k\r\n")
                && !requests[0].contains("Content-Length")
        );
        assert!(requests[1].ends_with("Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"));
    }

    #[test]
    fn a_connection_that_the_server_ends_is_made_anew() {
        let (address, serving) = server(vec![
            vec![
                "HTTP/1.1 429 Slow\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nslower\r\n2\r\n !\r\n0\r\nT: x\r\n\r\n",
            ],
            vec!["HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\na"],
            vec!["HTTP/1.1 200 OK\r\n\r\nall of it"],
        ]);
        let client = Client::new(address);
        let refused = client.get("/").expect("an answer");
        assert_eq!((refused.status, refused.body.as_str()), (429, "slower !"));
        assert_eq!(refused.field("transfer-encoding"), Some("chunked"));
        assert!(refused.good().expect_err("refused").to_string().contains("429: slower !"));
        // Whether the end has come by now is up to the scheduler.
        while client.connection.lock().expect("no panic").as_ref().is_some_and(Connection::is_idle) {
            std::thread::yield_now();
        }
        assert_eq!(client.get("/").expect("an answer").body, "a");
        assert_eq!(client.get("/").expect("an answer").body, "all of it");
        assert_eq!(serving.join().expect("no panic").len(), 3);
    }

    #[test]
    fn half_an_answer_is_none() {
        let (address, serving) = server(vec![vec!["HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"]]);
        assert!(Client::new(address).get("/").is_err());
        serving.join().expect("no panic");
    }
}
