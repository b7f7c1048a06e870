//! Addresses on the command line. What is no URL with a port of its own is refused here, where it is read: the API key
//! must not go where nobody meant it to go. Only loopback addresses are put under load.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hyper::Uri;

/// The port of a URL without one, of both `ws` and `http`.
const PORT_DEFAULT: u16 = 80;

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

impl Endpoint {
    /// Reads where devices connect.
    ///
    /// # Errors
    /// In words for the operator.
    pub fn of_devices(url: &str) -> Result<Endpoint, String> {
        endpoint(url, "ws")
    }

    /// Reads where pushes are published.
    ///
    /// # Errors
    /// In words for the operator.
    pub fn of_api(url: &str) -> Result<Endpoint, String> {
        endpoint(url, "http")
    }
}

/// Reads `127.0.0.1-8`, `127.0.0.1`, or several of either with commas between them.
pub(crate) fn sources(text: &str) -> Result<Sources, String> {
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

fn endpoint(url: &str, scheme: &str) -> Result<Endpoint, String> {
    let uri: Uri = url.parse().map_err(|error| format!("not a URL: {error}"))?;
    if !uri.scheme_str().is_some_and(|given| given.eq_ignore_ascii_case(scheme)) {
        return Err(format!("the scheme must be {scheme}"));
    }
    if url.contains('#') {
        return Err("a fragment (`#`) has no meaning here".into());
    }
    let authority = uri.authority().ok_or("there is no host in it")?.as_str();
    if authority.contains('@') {
        return Err("a user name has no meaning here".into());
    }
    let (name, port) = split_port(authority)?;
    let address = address_of(name)
        .filter(IpAddr::is_loopback)
        .ok_or("only loopback addresses (127.0.0.0/8, ::1, localhost) are put under load")?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    Ok(Endpoint {
        address: SocketAddr::new(address, port),
        host: authority.to_owned(),
        path: path.to_owned(),
    })
}

/// The host and the port of an authority (RFC 3986 §3.2).
fn split_port(authority: &str) -> Result<(&str, u16), String> {
    let end = authority.find(']').map_or(0, |bracket| bracket + 1);
    let Some(colon) = authority[end..].find(':') else { return Ok((authority, PORT_DEFAULT)) };
    let (name, port) = (&authority[..end + colon], &authority[end + colon + 1..]);
    let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
    match port.parse().ok().filter(|port| is_number && *port != 0) {
        Some(port) => Ok((name, port)),
        None => Err(format!("`{port}` is not a port: expected a number from 1 to 65535")),
    }
}

/// The address of a host, if it is one or the name of this machine: names do not tell small letters from capitals, and
/// a dot at the end says that nothing is to be added (RFC 1034 §3.1).
fn address_of(name: &str) -> Option<IpAddr> {
    if let Some(inner) = name.strip_prefix('[') {
        return inner.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::from);
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.eq_ignore_ascii_case("localhost") {
        return Some(Ipv4Addr::LOCALHOST.into());
    }
    name.parse::<Ipv4Addr>().ok().map(IpAddr::from)
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

    #[test]
    fn a_port_is_as_it_was_written_or_refused() {
        for port in ["99999", "65536", "808O", "-1", "0", "+80", "", "80:80", " 80"] {
            for url in [format!("http://127.0.0.1:{port}/"), format!("http://[::1]:{port}")] {
                assert!(Endpoint::of_api(&url).is_err(), "{url}: {:?}", Endpoint::of_api(&url));
            }
        }
        for (url, address) in [
            ("http://127.0.0.1:65535", "127.0.0.1:65535"),
            ("http://[::1]:1/a", "[::1]:1"),
            ("http://127.0.0.1", "127.0.0.1:80"),
            ("http://[::1]", "[::1]:80"),
        ] {
            assert_eq!(Endpoint::of_api(url).unwrap().address.to_string(), address, "{url}");
        }
    }

    #[test]
    fn neither_schemes_nor_hosts_tell_capitals_from_small_letters() {
        for url in ["WS://LOCALHOST.", "ws://LocalHost:80/", "Ws://127.0.0.1.:80"] {
            let endpoint = Endpoint::of_devices(url).unwrap_or_else(|error| panic!("{url}: {error}"));
            assert_eq!(endpoint.address, (Ipv4Addr::LOCALHOST, 80).into());
        }
        for url in [
            "http://127.0.0.1/",
            "ws://",
            "127.0.0.1:80",
            "ws://u@127.0.0.1/",
            "ws://127.0.0.1/#a",
            "ws://[::1/",
        ] {
            assert!(Endpoint::of_devices(url).is_err(), "{url}");
        }
    }
}
