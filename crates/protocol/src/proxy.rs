//! PROXY protocol version 2: the client's address, in front of everything else on a connection from a load balancer.
//!
//! Binary format (HAProxy's `proxy-protocol.txt`, §2.2):
//!
//! ```text
//! 0  12 bytes  \r\n\r\n\0\r\nQUIT\n
//! 12 1 byte    version (2) and command (0 LOCAL, 1 PROXY)
//! 13 1 byte    address family (1 IPv4, 2 IPv6, 3 Unix) and transport (1 stream, 2 datagram)
//! 14 2 bytes   length of what follows, big endian: addresses, then TLVs
//! ```
//!
//! Callers must not guess: a trusted address always sends the header, any other address must not be asked for it.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use thiserror::Error;

/// Largest header, TLVs included, in bytes. What the specification lets a sender assume to arrive in one piece.
pub const HEADER_BYTES_MAX: usize = 536;

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
const PREFIX_BYTES: usize = 16;

/// What the beginning of a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// More bytes are needed. Never with [`HEADER_BYTES_MAX`] bytes or more.
    Incomplete,
    /// Not a PROXY header of version 2; nothing is consumed.
    NotProxy,
    /// A header.
    Header {
        /// Its length; what the client sent follows.
        len: usize,
        /// The client's address. `None` if the proxy speaks for itself (LOCAL: a health check) or has no address of a
        /// known family to give: then the connection's own address stands.
        source: Option<SocketAddr>,
    },
}

/// A header that begins correctly and then breaks the format. The connection is to be closed without an answer.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ProxyError {
    /// A version other than 2.
    #[error("unknown PROXY protocol version")]
    Version,
    /// A command other than LOCAL and PROXY.
    #[error("unknown PROXY command")]
    Command,
    /// A header above [`HEADER_BYTES_MAX`].
    #[error("PROXY header too large")]
    TooLarge,
    /// Less room than the addresses of the family need.
    #[error("PROXY addresses truncated")]
    Truncated,
}

/// Reads the header at the start of `bytes`. Call again with more bytes from the start while
/// [`Parsed::Incomplete`]; the work per call does not depend on the length.
///
/// # Errors
/// See [`ProxyError`].
pub fn parse(bytes: &[u8]) -> Result<Parsed, ProxyError> {
    let start = bytes.len().min(SIGNATURE.len());
    if bytes[..start] != SIGNATURE[..start] {
        return Ok(Parsed::NotProxy);
    }
    let Some((prefix, rest)) = bytes.split_first_chunk::<PREFIX_BYTES>() else {
        return Ok(Parsed::Incomplete);
    };
    if prefix[12] >> 4 != 2 {
        return Err(ProxyError::Version);
    }
    let body_len = usize::from(u16::from_be_bytes([prefix[14], prefix[15]]));
    let len = PREFIX_BYTES + body_len;
    if len > HEADER_BYTES_MAX {
        return Err(ProxyError::TooLarge);
    }
    let local = match prefix[12] & 0x0f {
        0 => true,
        1 => false,
        _ => return Err(ProxyError::Command),
    };
    let Some(body) = rest.get(..body_len) else {
        return Ok(Parsed::Incomplete);
    };
    let source = if local { None } else { source(prefix[13], body)? };
    Ok(Parsed::Header { len, source })
}

/// The source address; the layout is source, destination, source port, destination port.
fn source(family: u8, body: &[u8]) -> Result<Option<SocketAddr>, ProxyError> {
    match family >> 4 {
        1 => {
            let addresses = body.first_chunk::<12>().ok_or(ProxyError::Truncated)?;
            let &[a, b, c, d, _, _, _, _, high, low, ..] = addresses;
            Ok(Some((Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low])).into()))
        }
        2 => {
            let addresses = body.first_chunk::<36>().ok_or(ProxyError::Truncated)?;
            let mut address = [0; 16];
            address.copy_from_slice(&addresses[..16]);
            let port = u16::from_be_bytes([addresses[32], addresses[33]]);
            Ok(Some((Ipv6Addr::from(address), port).into()))
        }
        // Unspecified and Unix addresses, and families to come, are to be accepted and ignored.
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::{HEADER_BYTES_MAX, Parsed, ProxyError, SIGNATURE, parse};

    fn header(version_command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([version_command, family]);
        bytes.extend((body.len() as u16).to_be_bytes());
        bytes.extend_from_slice(body);
        bytes
    }

    const IPV4: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 1, 0x30, 0x39, 0x01, 0xbb];

    fn done(len: usize, source: Option<&str>) -> Result<Parsed, ProxyError> {
        let source = source.map(|source| source.parse().unwrap());
        Ok(Parsed::Header { len, source })
    }

    #[test]
    fn addresses_of_both_families() {
        assert_eq!(parse(&header(0x21, 0x11, &IPV4)), done(28, Some("192.0.2.7:12345")));
        let mut ipv6 = [0; 36];
        ipv6[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
        ipv6[15] = 9;
        ipv6[32..34].copy_from_slice(&[0x30, 0x39]);
        assert_eq!(parse(&header(0x21, 0x21, &ipv6)), done(52, Some("[2001:db8::9]:12345")));
    }

    #[test]
    fn tlvs_are_skipped_and_what_follows_is_left() {
        let mut bytes = header(0x21, 0x11, &[&IPV4[..], &[0x04, 0, 2, 9, 9]].concat());
        let len = bytes.len();
        bytes.extend_from_slice(b"GET /");
        assert_eq!(parse(&bytes), done(len, Some("192.0.2.7:12345")));
    }

    #[test]
    fn local_and_unknown_families_give_no_address() {
        assert_eq!(parse(&header(0x20, 0x00, &[])), done(16, None));
        assert_eq!(parse(&header(0x20, 0x11, &[])), done(16, None));
        assert_eq!(parse(&header(0x21, 0x00, &[1, 2, 3])), done(19, None));
        assert_eq!(parse(&header(0x21, 0x31, &[0; 216])), done(232, None));
    }

    #[test]
    fn every_prefix_is_incomplete() {
        let bytes = header(0x21, 0x11, &IPV4);
        for len in 0..bytes.len() {
            assert_eq!(parse(&bytes[..len]), Ok(Parsed::Incomplete), "{len}");
        }
    }

    #[test]
    fn anything_else_is_not_a_header() {
        assert_eq!(parse(b"G"), Ok(Parsed::NotProxy));
        assert_eq!(parse(b"PROXY TCP4 "), Ok(Parsed::NotProxy));
        let mut bytes = header(0x21, 0x11, &IPV4);
        bytes[11] = b'\r';
        assert_eq!(parse(&bytes), Ok(Parsed::NotProxy));
    }

    #[test]
    fn broken_headers_are_refused() {
        assert_eq!(parse(&header(0x11, 0x11, &IPV4)), Err(ProxyError::Version));
        assert_eq!(parse(&header(0x22, 0x11, &IPV4)), Err(ProxyError::Command));
        assert_eq!(parse(&header(0x21, 0x11, &IPV4[..11])), Err(ProxyError::Truncated));
        assert_eq!(parse(&header(0x21, 0x21, &[0; 35])), Err(ProxyError::Truncated));
        let body = vec![0; HEADER_BYTES_MAX - 16 + 1];
        assert_eq!(parse(&header(0x21, 0x11, &body)), Err(ProxyError::TooLarge));
        // The declared length alone decides: nobody waits for 64 KiB.
        assert_eq!(parse(&header(0x21, 0x11, &body)[..16]), Err(ProxyError::TooLarge));
        assert!(matches!(parse(&header(0x21, 0x11, &body[1..])), Ok(Parsed::Header { .. })));
    }
}
