//! A publisher's connection to the API: HTTP/1.1, one request at a time, as cheap as can be.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::gateway::process::KEY;

/// How long the gateway may take to connect, or for one request.
const PATIENCE: Duration = Duration::from_secs(20);
/// How large an answer may be.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// How much of a refusal is shown.
const EXCERPT_CHARS_MAX: usize = 300;

pub(super) struct Connection {
    stream: TcpStream,
    host: SocketAddr,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Connection {
    pub(super) fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream =
            TcpStream::connect_timeout(&address, PATIENCE).context("nothing listens for publishers")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream, host: address, request: Vec::new(), answer: Vec::new() })
    }

    /// Gives the body of the answer, which must be a good one.
    pub(super) fn post(&mut self, path: &str, body: &str) -> anyhow::Result<&str> {
        self.request.clear();
        write!(
            self.request,
            "POST {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {KEY}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.host,
            body.len()
        )?;
        self.stream.write_all(&self.request).context("the gateway takes no request")?;
        self.answer.clear();
        let (head, end) = loop {
            ensure!(self.answer.len() < ANSWER_BYTES_MAX, "an answer without an end");
            let start = self.answer.len();
            self.answer.resize(start + (16 << 10), 0);
            let read = self.stream.read(&mut self.answer[start..]).context("no answer to a publish")?;
            ensure!(read > 0, "the gateway ends a publisher's connection");
            self.answer.truncate(start + read);
            if let Some(bounds) = bounds(&self.answer)?
                && self.answer.len() >= bounds.1
            {
                break bounds;
            }
        };
        let text = std::str::from_utf8(&self.answer[..end]).context("an answer that is not text")?;
        ensure!(
            text.starts_with("HTTP/1.1 200 "),
            "the gateway refuses to publish: {}",
            text.chars().take(EXCERPT_CHARS_MAX).collect::<String>()
        );
        Ok(&text[head..])
    }
}

/// Where the body of an answer begins and ends, once its head is whole.
fn bounds(answer: &[u8]) -> anyhow::Result<Option<(usize, usize)>> {
    let Some(end) = memchr::memmem::find(answer, b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&answer[..end]).context("a head that is not text")?;
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    let length = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length: usize = length.context("an answer without Content-Length")?.1.trim().parse()?;
    Ok(Some((end + 4, end + 4 + length)))
}

#[cfg(test)]
mod tests {
    use super::bounds;

    #[test]
    fn an_answer_is_whole_when_its_body_is() {
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n";
        assert_eq!(bounds(head.as_bytes()).expect("good"), Some((head.len(), head.len() + 12)));
        assert_eq!(bounds(&head.as_bytes()[..head.len() - 1]).expect("not yet wrong"), None);
        assert!(bounds(b"HTTP/1.1 200 OK\r\n\r\n").is_err(), "its end would not be known");
    }
}
