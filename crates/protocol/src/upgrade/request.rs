//! The request, as the server sees it.

use std::mem::MaybeUninit;

use httparse::{Header, Status};
use thiserror::Error;

use super::{DeflateOffer, HEADERS_MAX, extensions, key};

/// Most `Sec-WebSocket-Protocol` lines in a request; each may offer several.
pub const SUBPROTOCOL_HEADERS_MAX: usize = 4;

/// Why a request is refused. Each has an HTTP status and a short code for the answer; the message is its `Display`.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum UpgradeError {
    /// The head is longer than [`HEAD_BYTES_MAX`](super::HEAD_BYTES_MAX). 431.
    #[error("the request head is too large")]
    HeadTooLarge,
    /// More than [`HEADERS_MAX`] header lines. 431.
    #[error("too many header lines")]
    TooManyHeaders,
    /// Not HTTP. 400.
    #[error("not an HTTP request")]
    Malformed,
    /// HTTP/1.0 or HTTP/2: only HTTP/1.1 can be upgraded. 505.
    #[error("only HTTP/1.1 can be upgraded")]
    Version,
    /// A method other than GET (RFC 6455 §4.1). 405.
    #[error("only GET can be upgraded")]
    Method,
    /// A request target that is neither a path nor an absolute URI (RFC 9112 §3.2). 400.
    #[error("the request target is not a path")]
    Target,
    /// No `Host`, or an empty one (RFC 9112 §3.2). 400.
    #[error("the Host header is missing")]
    HostMissing,
    /// A header that may appear once appears again. 400.
    #[error("a header is repeated")]
    Duplicate,
    /// A header that this server reads is not ASCII text. 400.
    #[error("a header value is not text")]
    HeaderValue,
    /// `Content-Length` or `Transfer-Encoding`: an upgrade has no body. 400.
    #[error("an upgrade request must not have a body")]
    Body,
    /// No `Upgrade: websocket` or no `Connection: upgrade` (RFC 6455 §4.2.1). 426.
    #[error("this address speaks WebSocket only")]
    NotUpgrade,
    /// `Sec-WebSocket-Version` is not 13 (RFC 6455 §4.4). 426.
    #[error("only WebSocket version 13 is supported")]
    WebSocketVersion,
    /// `Sec-WebSocket-Key` is missing or is not the base64 of 16 bytes (RFC 6455 §4.2.1). 400.
    #[error("Sec-WebSocket-Key must be 16 bytes in base64")]
    Key,
    /// `Sec-WebSocket-Protocol` is not a list of tokens, or comes in too many lines (RFC 6455 §4.1). 400.
    #[error("Sec-WebSocket-Protocol is not a list of tokens")]
    Subprotocol,
}

impl UpgradeError {
    /// The HTTP status of the answer.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::HeadTooLarge | Self::TooManyHeaders => 431,
            Self::Version => 505,
            Self::Method => 405,
            Self::NotUpgrade | Self::WebSocketVersion => 426,
            _ => 400,
        }
    }

    /// The short code in the answer's body, stable for programs.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::HeadTooLarge => "head_too_large",
            Self::TooManyHeaders => "too_many_headers",
            Self::Malformed => "malformed",
            Self::Version => "http_version",
            Self::Method => "method_not_allowed",
            Self::Target => "bad_target",
            Self::HostMissing => "host_missing",
            Self::Duplicate => "duplicate_header",
            Self::HeaderValue => "bad_header_value",
            Self::Body => "body_not_allowed",
            Self::NotUpgrade => "upgrade_required",
            Self::WebSocketVersion => "websocket_version",
            Self::Key => "bad_key",
            Self::Subprotocol => "bad_subprotocol",
        }
    }
}

/// A request to upgrade that has passed every check; borrowed from the head.
#[derive(Clone, Copy, Debug)]
pub struct UpgradeRequest<'a> {
    /// The path, from its leading slash; not percent-decoded.
    pub path: &'a str,
    /// What follows the question mark; not percent-decoded.
    pub query: Option<&'a str>,
    /// The host, with the port if one was given.
    pub host: &'a str,
    /// `Origin`; browsers send it always.
    pub origin: Option<&'a str>,
    /// `Sec-WebSocket-Key`: the base64 of 16 bytes.
    pub key: &'a str,
    /// `Authorization`, scheme and credentials. A secret: do not log it.
    pub authorization: Option<&'a str>,
    /// The last `Forwarded` line (RFC 7239), written by the nearest proxy. Not to be trusted unless the peer is.
    pub forwarded: Option<&'a str>,
    /// The last `X-Forwarded-For` line, written by the nearest proxy. Not to be trusted unless the peer is.
    pub x_forwarded_for: Option<&'a str>,
    /// The first offer of permessage-deflate that can be accepted (RFC 7692 §7.1). Offers that cannot be, of this or
    /// of any other extension, are no error.
    pub deflate: Option<DeflateOffer>,
    protocols: [Option<&'a str>; SUBPROTOCOL_HEADERS_MAX],
}

impl<'a> UpgradeRequest<'a> {
    /// Parses a whole head, as [`HeadReader`](super::HeadReader) gives it.
    ///
    /// # Errors
    /// The request is to be refused; see [`UpgradeError`].
    pub fn parse(head: &'a [u8]) -> Result<Self, UpgradeError> {
        let mut headers = [const { MaybeUninit::uninit() }; HEADERS_MAX];
        let mut request = httparse::Request::new(&mut []);
        match request.parse_with_uninit_headers(head, &mut headers) {
            Ok(Status::Complete(len)) if len == head.len() => {}
            Ok(_) => return Err(UpgradeError::Malformed),
            Err(httparse::Error::TooManyHeaders) => return Err(UpgradeError::TooManyHeaders),
            Err(httparse::Error::Version) => return Err(UpgradeError::Version),
            Err(_) => return Err(UpgradeError::Malformed),
        }
        if request.version != Some(1) {
            return Err(UpgradeError::Version);
        }
        if request.method != Some("GET") {
            return Err(UpgradeError::Method);
        }
        let target = request.path.ok_or(UpgradeError::Malformed)?;
        Fields::collect(request.headers)?.check(target)
    }

    /// The subprotocols that the client offers, in its order of preference.
    pub fn protocols(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.protocols.into_iter().flatten().flat_map(list)
    }

    /// The token of `Authorization: Bearer …`. A secret: do not log it.
    #[must_use]
    pub fn bearer_token(&self) -> Option<&'a str> {
        let (scheme, token) = self.authorization?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_start_matches(' '))
    }
}

/// The path of a head that is a `GET` without an upgrade to WebSocket, as probes send it; without the query. HTTP/1.0
/// will do.
#[must_use]
pub fn plain_path(head: &[u8]) -> Option<&str> {
    let mut headers = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut []);
    let parsed = request.parse_with_uninit_headers(head, &mut headers);
    if !parsed.is_ok_and(|status| status.is_complete()) || request.method != Some("GET") {
        return None;
    }
    let asks = |header: &Header<'_>| header.name.eq_ignore_ascii_case("upgrade");
    let upgrades = request.headers.iter().filter(|header| asks(header)).any(|header| {
        value(header).is_ok_and(|value| list(value).any(|token| token.eq_ignore_ascii_case("websocket")))
    });
    let path = request.path.filter(|_| !upgrades)?;
    Some(path.split_once('?').map_or(path, |(path, _)| path))
}

/// The headers that matter, before they are judged.
#[derive(Default)]
struct Fields<'a> {
    host: Option<&'a str>,
    origin: Option<&'a str>,
    key: Option<&'a str>,
    version: Option<&'a str>,
    authorization: Option<&'a str>,
    forwarded: Option<&'a str>,
    x_forwarded_for: Option<&'a str>,
    deflate: Option<DeflateOffer>,
    protocols: [Option<&'a str>; SUBPROTOCOL_HEADERS_MAX],
    upgrade: bool,
    connection: bool,
    body: bool,
}

impl<'a> Fields<'a> {
    fn collect(headers: &[Header<'a>]) -> Result<Self, UpgradeError> {
        let mut fields = Self::default();
        for header in headers {
            fields.add(header)?;
        }
        Ok(fields)
    }

    fn add(&mut self, header: &Header<'a>) -> Result<(), UpgradeError> {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        // Other names are the greater part and are told by their length before any comparison.
        match header.name.len() {
            4 if is("host") => once(&mut self.host, header),
            6 if is("origin") => once(&mut self.origin, header),
            7 if is("upgrade") => {
                self.upgrade |= list(value(header)?).any(|token| token.eq_ignore_ascii_case("websocket"));
                Ok(())
            }
            9 if is("forwarded") => {
                self.forwarded = Some(value(header)?);
                Ok(())
            }
            10 if is("connection") => {
                self.connection |= list(value(header)?).any(|token| token.eq_ignore_ascii_case("upgrade"));
                Ok(())
            }
            13 if is("authorization") => once(&mut self.authorization, header),
            14 if is("content-length") => {
                self.body = true;
                Ok(())
            }
            15 if is("x-forwarded-for") => {
                self.x_forwarded_for = Some(value(header)?);
                Ok(())
            }
            17 if is("sec-websocket-key") => once(&mut self.key, header),
            17 if is("transfer-encoding") => {
                self.body = true;
                Ok(())
            }
            21 if is("sec-websocket-version") => once(&mut self.version, header),
            22 if is("sec-websocket-protocol") => {
                let value = value(header)?;
                let free = self.protocols.iter_mut().find(|slot| slot.is_none());
                *free.filter(|_| list(value).all(is_token)).ok_or(UpgradeError::Subprotocol)? = Some(value);
                Ok(())
            }
            24 if is("sec-websocket-extensions") => {
                if let (None, Ok(value)) = (self.deflate, value(header)) {
                    self.deflate = extensions::acceptable_offer(value);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Judges in the order from general to special, so that a plain HTTP request hears what this address is.
    fn check(self, target: &'a str) -> Result<UpgradeRequest<'a>, UpgradeError> {
        let (authority, target) = split_target(target)?;
        let host = self.host.filter(|host| !host.is_empty()).ok_or(UpgradeError::HostMissing)?;
        if self.body {
            return Err(UpgradeError::Body);
        }
        if !(self.upgrade && self.connection) {
            return Err(UpgradeError::NotUpgrade);
        }
        if self.version != Some("13") {
            return Err(UpgradeError::WebSocketVersion);
        }
        let key = self.key.filter(|key| key::is_valid(key)).ok_or(UpgradeError::Key)?;
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        Ok(UpgradeRequest {
            path,
            query,
            // An absolute URI's authority goes before the header (RFC 9112 §3.2.2).
            host: authority.unwrap_or(host),
            origin: self.origin,
            key,
            authorization: self.authorization,
            forwarded: self.forwarded,
            x_forwarded_for: self.x_forwarded_for,
            deflate: self.deflate,
            protocols: self.protocols,
        })
    }
}

/// Splits an absolute URI into authority and path (RFC 9112 §3.2.2); a path has no authority.
fn split_target(target: &str) -> Result<(Option<&str>, &str), UpgradeError> {
    if target.starts_with('/') {
        return Ok((None, target));
    }
    let (scheme, rest) = target.split_once("://").ok_or(UpgradeError::Target)?;
    if !["http", "https", "ws", "wss"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return Err(UpgradeError::Target);
    }
    match rest.find(['/', '?']) {
        Some(0) | None => Err(UpgradeError::Target),
        Some(end) if rest.as_bytes()[end] == b'?' => Err(UpgradeError::Target),
        Some(end) => Ok((Some(&rest[..end]), &rest[end..])),
    }
}

/// Takes a header that may appear once.
fn once<'a>(slot: &mut Option<&'a str>, header: &Header<'a>) -> Result<(), UpgradeError> {
    match slot.replace(value(header)?) {
        None => Ok(()),
        Some(_) => Err(UpgradeError::Duplicate),
    }
}

/// A header's value as text, without the white space around it.
pub(super) fn value<'a>(header: &Header<'a>) -> Result<&'a str, UpgradeError> {
    match std::str::from_utf8(header.value) {
        Ok(value) if value.is_ascii() => Ok(value.trim_matches([' ', '\t'])),
        _ => Err(UpgradeError::HeaderValue),
    }
}

/// The elements of a comma-separated list; empty ones are skipped (RFC 9110 §5.6.1).
pub(super) fn list(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(|element| element.trim_matches([' ', '\t'])).filter(|element| !element.is_empty())
}

/// Whether `text` is a token (RFC 9110 §5.6.2).
fn is_token(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}
