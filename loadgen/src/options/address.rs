//! Addresses on the command line: only loopback ones are put under load.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use hyper::Uri;

/// Addresses to connect from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources(pub Vec<Ipv4Addr>);

/// Where something listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// A loopback address.
    pub address: SocketAddr,
    /// `Host` of requests.
    pub host: String,
    /// Path and query; `/` if the URL has none.
    pub path: String,
}

/// Reads `127.0.0.1-8`, `127.0.0.1`, or several of either with commas between them.
pub(super) fn sources(text: &str) -> Result<Sources, String> {
    let mut addresses = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').map_or((part, None), |(first, last)| (first, Some(last)));
        let first: Ipv4Addr = first.parse().map_err(|_| format!("`{first}` is not an IPv4 address"))?;
        let [a, b, c, from] = first.octets();
        let to = last.map_or(Ok(from), str::parse).map_err(|_| format!("`{part}` is not a range"))?;
        addresses.extend((from..=to).map(|d| Ipv4Addr::new(a, b, c, d)));
        if from > to {
            return Err(format!("`{part}` is an empty range"));
        }
    }
    match addresses.iter().find(|address| !address.is_loopback()) {
        Some(address) => Err(format!("{address} is not a loopback address")),
        None => Ok(Sources(addresses)),
    }
}

/// Reads a URL. Load goes to this machine only: a typing error must not flood somebody else's.
pub(super) fn endpoint(option: &str, url: &str, scheme: &str, default_port: u16) -> Result<Endpoint, String> {
    let uri: Uri = url.parse().map_err(|error| format!("{option} {url}: not a URL: {error}"))?;
    if uri.scheme_str() != Some(scheme) {
        return Err(format!("{option} {url}: the scheme must be {scheme}"));
    }
    let authority = uri.authority().ok_or_else(|| format!("{option} {url}: no host"))?;
    let port = authority.port_u16().unwrap_or(default_port);
    let name = authority.host().trim_matches(['[', ']']);
    let address: IpAddr = match name {
        "localhost" => Ipv4Addr::LOCALHOST.into(),
        _ => name.parse().map_err(|_| not_here(option, url))?,
    };
    if !address.is_loopback() {
        return Err(not_here(option, url));
    }
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    Ok(Endpoint {
        address: SocketAddr::new(address, port),
        host: authority.as_str().to_owned(),
        path: path.to_owned(),
    })
}

fn not_here(option: &str, url: &str) -> String {
    format!("{option} {url}: only loopback addresses (127.0.0.0/8, ::1, localhost) are put under load")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_addresses_and_ranges() {
        let addresses = |text| sources(text).map(|sources| sources.0.iter().map(|a| a.octets()[3]).collect());
        assert_eq!(addresses("127.0.0.1-8"), Ok(vec![1, 2, 3, 4, 5, 6, 7, 8]));
        assert_eq!(addresses("127.0.0.9,127.0.0.1-2"), Ok(vec![9, 1, 2]));
        for bad in ["", "127.0.0.1-", "127.0.0.8-1", "127.0.0.1-256", "10.0.0.1", "x"] {
            assert!(addresses(bad).is_err(), "{bad}");
        }
    }
}
