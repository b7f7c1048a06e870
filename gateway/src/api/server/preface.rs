//! Which version of HTTP a client speaks: HTTP/2 begins with a preface that no HTTP/1 request begins with
//! (RFC 9113 §3.4).

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// What a client that speaks HTTP/2 without having asked sends first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes that are read before it is known.
const READ_BYTES: usize = 1_024;

/// A version of HTTP.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// HTTP/1.0 or HTTP/1.1.
    One,
    /// HTTP/2.
    Two,
}

/// Reads until the version is known. What was read belongs to the connection still.
///
/// # Errors
/// When the client ends or breaks the connection before it has said anything; waiting is the caller's to end.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<(Version, Bytes)> {
    let mut read = BytesMut::with_capacity(READ_BYTES);
    loop {
        if stream.read_buf(&mut read).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let common = read.len().min(PREFACE.len());
        match (read[..common] == PREFACE[..common], common == PREFACE.len()) {
            (false, _) => return Ok((Version::One, read.freeze())),
            (true, true) => return Ok((Version::Two, read.freeze())),
            (true, false) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn told(parts: &[&[u8]]) -> io::Result<(Version, Bytes)> {
        let mut stream = Parts(parts.iter().map(|part| part.to_vec()).collect());
        read(&mut stream).await
    }

    /// A stream that gives its parts one by one, and ends.
    struct Parts(std::collections::VecDeque<Vec<u8>>);

    impl AsyncRead for Parts {
        fn poll_read(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            buffer: &mut tokio::io::ReadBuf<'_>,
        ) -> std::task::Poll<io::Result<()>> {
            if let Some(part) = self.0.pop_front() {
                buffer.put_slice(&part);
            }
            std::task::Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn the_version_is_told_wherever_the_bytes_are_cut() {
        for cut in 1..PREFACE.len() {
            let (version, read) = told(&[&PREFACE[..cut], &PREFACE[cut..]]).await.unwrap();
            assert_eq!((version, &read[..]), (Version::Two, PREFACE));
        }
        for request in [&b"GET / HTTP/1.1\r\n"[..], b"P", b"PRI * HTTP/1.1\r\n\r\n", b"\0"] {
            let parts: Vec<_> = request.chunks(1).chain([&b"~"[..]]).collect();
            let (version, read) = told(&parts).await.unwrap();
            assert_eq!(version, Version::One);
            let sent = parts.concat();
            assert!(!read.is_empty() && sent.starts_with(&read), "what was read is given on");
        }
        let ended = told(&[&PREFACE[..23]]).await.unwrap_err();
        assert_eq!(ended.kind(), io::ErrorKind::UnexpectedEof);
    }
}
