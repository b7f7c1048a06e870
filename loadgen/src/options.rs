//! The command line, and what it means.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use campanile_engine::DriverChoice;
use campanile_protocol::messages::Encoding;
use clap::Parser;
use hyper::Uri;

use crate::audience::{Audience, To};
use crate::ledger::{LEDGER_BYTES_MAX, Ledger};
use crate::payload::PAYLOAD_BYTES_MIN;
use crate::schedule::Schedule;

/// Most devices of one user.
const DEVICES_PER_USER_MAX: u32 = 1_000;
/// Local ports that the kernel gives out for one source address, at its default settings.
const PORTS_PER_SOURCE: u32 = 28_000;
/// The largest payload, in bytes.
const PAYLOAD_BYTES_MAX: usize = 1 << 20;

/// Connects virtual devices to a gateway on this machine, pushes to them at a steady rate, and says how long the
/// messages took and whether all arrived.
#[derive(Clone, Debug, Parser)]
#[command(name = "campanile-load", version)]
pub struct Options {
    /// Where devices connect; a loopback address
    #[arg(long, value_name = "URL", default_value = "ws://127.0.0.1:8080/v2/connect")]
    pub url: String,
    /// Where pushes are published; a loopback address
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8081")]
    pub api: String,
    /// File with the API key (the first line that is neither empty nor a comment)
    #[arg(long, value_name = "FILE")]
    pub api_key_file: Option<PathBuf>,
    /// File with the secret that the gateway checks tokens with; tokens are signed here
    #[arg(long, value_name = "FILE", conflicts_with = "tokens_file")]
    pub jwt_hs256_file: Option<PathBuf>,
    /// File with one token per line, for device 0, 1, and so on
    #[arg(long, value_name = "FILE")]
    pub tokens_file: Option<PathBuf>,
    /// How many devices connect
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=4_000_000))]
    pub connections: u32,
    /// How many devices each user has
    #[arg(long, value_name = "D", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(DEVICES_PER_USER_MAX)))]
    pub devices_per_user: u32,
    /// How many users the devices are divided among, instead of --devices-per-user
    #[arg(long, value_name = "N", conflicts_with = "devices_per_user", value_parser = clap::value_parser!(u32).range(1..))]
    pub users: Option<u32>,
    /// What users' names begin with; their number follows
    #[arg(long, value_name = "TEXT", default_value = "U")]
    pub user_prefix: String,
    /// Connections begun per second; 0 for as fast as the gateway answers
    #[arg(long, value_name = "PER_SECOND", default_value_t = 0.0)]
    pub ramp_rate: f64,
    /// Connection attempts that may be under way at once, over all shards
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..))]
    pub attempts_max: u32,
    /// How long one device may take to connect, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    pub connect_timeout: f64,
    /// Ends once all devices have connected or failed
    #[arg(long, conflicts_with_all = ["hold", "rate"])]
    pub connect_only: bool,
    /// Stays connected for so many seconds, after publishing if there is a rate
    #[arg(long, value_name = "SECONDS")]
    pub hold: Option<f64>,
    /// Pushes per second, whether the gateway keeps up or not
    #[arg(long, value_name = "PER_SECOND")]
    pub rate: Option<f64>,
    /// For how many seconds pushes are published
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    pub duration: f64,
    /// Size of each payload
    #[arg(long, value_name = "BYTES", default_value_t = 128)]
    pub payload_bytes: usize,
    /// Pushes that fall due within so many milliseconds go into one request
    #[arg(long, value_name = "MS", default_value_t = 1.0)]
    pub batch_ms: f64,
    /// One request for each push
    #[arg(long)]
    pub single: bool,
    /// Connections to the API, each with one request at a time
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    pub publishers: u32,
    /// Whom each message is for: random-device, random-user or broadcast
    #[arg(long, value_name = "WHOM", default_value_t)]
    pub to: To,
    /// protobuf or json
    #[arg(long, value_name = "ENCODING", default_value = "protobuf", value_parser = encoding)]
    pub encoding: Encoding,
    /// Loopback addresses to connect from, as 127.0.0.1-8 or 127.0.0.1,127.0.0.2
    #[arg(long, value_name = "ADDRESSES", default_value = "127.0.0.1-8", value_parser = sources)]
    pub sources: Sources,
    /// Threads that hold devices; by default as many as cores and descriptor limits call for
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub shards: Option<u32>,
    /// Keeps all threads on this core
    #[arg(long, value_name = "CORE")]
    pub core: Option<usize>,
    /// What moves the bytes: auto, uring or epoll
    #[arg(long, value_name = "DRIVER", default_value_t)]
    pub driver: DriverChoice,
    /// Writes the results to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Fails (exit code 1) if a device could not connect or was disconnected, or a message was lost
    #[arg(long)]
    pub fail_on_loss: bool,
    /// No progress lines and no table
    #[arg(long)]
    pub quiet: bool,
}

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

/// What is published.
#[derive(Clone, Copy, Debug)]
pub struct Publishing {
    /// Pushes per second.
    pub per_second: f64,
    /// For how long.
    pub duration: Duration,
}

impl Publishing {
    /// How many messages that makes.
    pub fn messages(&self) -> u64 {
        Schedule::count(self.per_second, self.duration)
    }
}

/// Options that have passed their checks.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The options.
    pub options: Options,
    /// Where devices connect.
    pub target: Endpoint,
    /// Where pushes are published.
    pub api: Endpoint,
    /// What is published, if anything.
    pub publishing: Option<Publishing>,
    /// How long everybody stays connected after that.
    pub hold: Duration,
    /// Who connects, and whom messages are for.
    pub audience: Audience,
}

impl Options {
    /// Checks what the types of the options cannot.
    ///
    /// # Errors
    /// In words for the operator.
    pub fn plan(self) -> Result<Plan, String> {
        let target = endpoint("--url", &self.url, "ws", 80)?;
        let api = endpoint("--api", &self.api, "http", 80)?;
        let publishing = self.publishing()?;
        let at_least_zero = |name: &str, seconds: f64| match Duration::try_from_secs_f64(seconds) {
            Ok(duration) => Ok(duration),
            Err(_) => Err(format!("{name}: {seconds} is not a number of seconds")),
        };
        let hold = at_least_zero("--hold", self.hold.unwrap_or(0.0))?;
        at_least_zero("--connect-timeout", self.connect_timeout)?;
        if !self.connect_only && self.hold.is_none() && publishing.is_none() {
            return Err("nothing to do: give --connect-only, --hold SECONDS, or --rate PER_SECOND".into());
        }
        if !(self.ramp_rate >= 0.0 && self.ramp_rate.is_finite()) {
            return Err(format!("--ramp-rate: {} is not a rate", self.ramp_rate));
        }
        let audience = Audience {
            to: self.to,
            devices: self.connections,
            users: match self.users {
                Some(users) => users.min(self.connections),
                None => self.connections.div_ceil(self.devices_per_user),
            },
            seed: fastrand::u64(..),
        };
        self.check_user_prefix(&audience)?;
        self.check_sources(&target)?;
        if let Some(publishing) = publishing {
            let messages = publishing.messages();
            let bytes = Ledger::bytes(&audience, messages);
            if bytes > LEDGER_BYTES_MAX || messages > u64::from(u32::MAX) {
                return Err(format!(
                    "{messages} messages need {bytes} bytes to note what arrives, at most {LEDGER_BYTES_MAX} are \
                     allowed: lower --rate or --duration"
                ));
            }
        }
        Ok(Plan { target, api, publishing, hold, audience, options: self })
    }

    fn publishing(&self) -> Result<Option<Publishing>, String> {
        let Some(per_second) = self.rate else { return Ok(None) };
        if !(per_second > 0.0 && per_second <= 10_000_000.0) {
            return Err(format!("--rate: {per_second} is not a rate above 0 and up to 10,000,000"));
        }
        let duration = Duration::try_from_secs_f64(self.duration)
            .map_err(|_| format!("--duration: {} is not a number of seconds", self.duration))?;
        if !(0.05..=10_000.0).contains(&self.batch_ms) {
            return Err(format!("--batch-ms: {} is not between 0.05 and 10,000", self.batch_ms));
        }
        if !(PAYLOAD_BYTES_MIN..=PAYLOAD_BYTES_MAX).contains(&self.payload_bytes) {
            return Err(format!(
                "--payload-bytes: {} is not between {PAYLOAD_BYTES_MIN} (run, number and time) and {PAYLOAD_BYTES_MAX}",
                self.payload_bytes
            ));
        }
        if self.api_key_file.is_none() {
            return Err("--rate needs --api-key-file".into());
        }
        Ok(Some(Publishing { per_second, duration }))
    }

    fn check_user_prefix(&self, audience: &Audience) -> Result<(), String> {
        let longest = format!("{}{}", self.user_prefix, audience.users);
        campanile_protocol::ids::UserId::try_from(longest.as_str())
            .map(drop)
            .map_err(|error| format!("--user-prefix: {error}"))
    }

    fn check_sources(&self, target: &Endpoint) -> Result<(), String> {
        let count = u32::try_from(self.sources.0.len()).unwrap_or(u32::MAX);
        if target.address.is_ipv4() && self.connections > count.saturating_mul(PORTS_PER_SOURCE * 2) {
            return Err(format!(
                "{count} source addresses do not have {} ports: give more --sources",
                self.connections
            ));
        }
        Ok(())
    }
}

fn encoding(name: &str) -> Result<Encoding, String> {
    match name {
        "protobuf" => Ok(Encoding::Protobuf),
        "json" => Ok(Encoding::Json),
        _ => Err(format!("unknown encoding `{name}`: expected protobuf or json")),
    }
}

/// Reads `127.0.0.1-8`, `127.0.0.1`, or several of either with commas between them.
fn sources(text: &str) -> Result<Sources, String> {
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
fn endpoint(option: &str, url: &str, scheme: &str, default_port: u16) -> Result<Endpoint, String> {
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

    fn plan(arguments: &str) -> Result<Plan, String> {
        let arguments = ["campanile-load"].into_iter().chain(arguments.split_whitespace());
        Options::try_parse_from(arguments).map_err(|error| error.to_string())?.plan()
    }

    #[test]
    fn only_this_machine_is_put_under_load() {
        for url in ["ws://127.0.0.1:1/x", "ws://127.9.9.9/", "ws://localhost:8080", "ws://[::1]:80/"] {
            assert!(plan(&format!("--connect-only --url {url}")).is_ok(), "{url}");
        }
        for url in
            ["ws://192.0.2.1:8080/", "ws://example.com/", "ws://0.0.0.0:1/", "ws://127.0.0.1.example:1/"]
        {
            let error = plan(&format!("--connect-only --url {url}")).unwrap_err();
            assert!(error.contains("only loopback"), "{url}: {error}");
        }
        assert!(plan("--connect-only --api http://192.0.2.1/").unwrap_err().contains("only loopback"));
        assert!(plan("--connect-only --url wss://127.0.0.1/").unwrap_err().contains("must be ws"));
        assert!(plan("--connect-only --sources 192.0.2.1").unwrap_err().contains("not a loopback"));
    }

    #[test]
    fn a_plan_needs_something_to_do_and_all_that_is_needed_for_it() {
        for (arguments, word) in [
            ("", "nothing to do"),
            ("--rate 10", "--api-key-file"),
            ("--rate 0 --api-key-file k", "not a rate"),
            ("--rate NaN --api-key-file k", "not a rate"),
            ("--hold=-1", "not a number of seconds"),
            ("--hold 1 --ramp-rate inf", "not a rate"),
            ("--rate 1 --api-key-file k --payload-bytes 23", "not between 24"),
            ("--rate 1000000 --duration 10000 --api-key-file k --connections 9", "to note what arrives"),
            ("--connect-only --connections 100000 --sources 127.0.0.1", "more --sources"),
            ("--connect-only --rate 5", "cannot be used with"),
            ("--connect-only --tokens-file a --jwt-hs256-file b", "cannot be used with"),
        ] {
            let error = plan(arguments).expect_err(arguments);
            assert!(error.contains(word), "{arguments}: {error}");
        }
    }

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
    fn the_defaults_are_the_gateways_own() {
        let plan = plan("--connect-only").unwrap();
        assert_eq!(plan.target.address.to_string(), "127.0.0.1:8080");
        assert_eq!((plan.target.host.as_str(), plan.target.path.as_str()), ("127.0.0.1:8080", "/v2/connect"));
        assert_eq!(plan.api.address.to_string(), "127.0.0.1:8081");
        assert_eq!(plan.options.sources.0.len(), 8);
    }
}
