//! URLs on the command line: only servers on this machine are put under load.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::{Context, bail, ensure};

/// Where something listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// The scheme, `ws` or `http`.
    pub(super) scheme: Scheme,
    /// A loopback address.
    pub(super) address: SocketAddrV4,
    /// `Host` of requests.
    pub(super) host: String,
    /// Path and query, from the leading slash.
    pub(super) path: String,
}

/// What is spoken there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    WebSocket,
    Http,
}

impl Endpoint {
    /// Reads `ws://127.0.0.1:9001/path` or the same with `http`. `option` is named in errors.
    pub(super) fn parse(option: &str, url: &str) -> anyhow::Result<Self> {
        let (scheme, rest) = url.split_once("://").with_context(|| {
            format!("{option} {url}: not a URL, which would be like ws://127.0.0.1:9001/subscribe")
        })?;
        let scheme = match scheme {
            "ws" => Scheme::WebSocket,
            "http" => Scheme::Http,
            "wss" | "https" => bail!("{option} {url}: TLS is not measured here: use ws:// or http://"),
            _ => bail!("{option} {url}: the scheme must be ws or http"),
        };
        let (host, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        ensure!(
            path.bytes().all(|byte| byte.is_ascii_graphic()),
            "{option} {url}: spaces and other than ASCII must be percent-encoded"
        );
        let (name, port) = match host.rsplit_once(':') {
            Some((name, port)) => {
                (name, port.parse().with_context(|| format!("{option} {url}: {port:?} is no port"))?)
            }
            None => (host, 80),
        };
        let ip = if name == "localhost" { Some(Ipv4Addr::LOCALHOST) } else { name.parse().ok() };
        let ip = ip.filter(Ipv4Addr::is_loopback).with_context(|| {
            format!(
                "{option} {url}: only servers on this machine (127.0.0.0/8, localhost) are put under load"
            )
        })?;
        Ok(Self { scheme, address: SocketAddrV4::new(ip, port), host: host.into(), path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_this_machine_are_taken() {
        let endpoint = |url| Endpoint::parse("--against", url).expect("a good URL");
        let full = endpoint("ws://127.0.0.3:9001/subscribe?user={n}");
        assert_eq!((full.scheme, full.address.to_string().as_str()), (Scheme::WebSocket, "127.0.0.3:9001"));
        assert_eq!((full.host.as_str(), full.path.as_str()), ("127.0.0.3:9001", "/subscribe?user={n}"));
        let short = endpoint("http://localhost");
        assert_eq!((short.address.to_string().as_str(), short.path.as_str()), ("127.0.0.1:80", "/"));
        assert_eq!(endpoint("ws://localhost:1?a=b").path, "/?a=b");
    }

    #[test]
    fn what_is_wrong_with_a_url_is_said() {
        for (url, words) in [
            ("127.0.0.1:9001", "not a URL"),
            ("wss://127.0.0.1", "TLS is not measured"),
            ("ftp://127.0.0.1", "must be ws or http"),
            ("ws://192.0.2.1:80/", "only servers on this machine"),
            ("ws://example.org/", "only servers on this machine"),
            ("ws://127.0.0.1:99999/", "is no port"),
            ("ws://127.0.0.1/a b", "percent-encoded"),
        ] {
            let error = Endpoint::parse("--against", url).expect_err(url).to_string();
            assert!(error.contains(words) && error.starts_with("--against "), "{error}");
        }
    }
}
