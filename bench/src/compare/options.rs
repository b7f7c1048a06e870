//! The command line of `bench compare`, and what it means.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use campanile_harness::ports::free_address;
use clap::Args;

use super::endpoint::{Endpoint, Scheme};
use super::publisher::Publishing;
use super::ramp::Ramp;
use crate::receiver::{FirstFrame, Opening, Plan, STAMP_BYTES};
use crate::report::Output;

/// Stands for a free port in URLs and in the server's command.
const PORT: &str = "{port}";
/// HTTP publishers wait for each answer, so there are several.
const HTTP_PUBLISHERS: u8 = 8;

/// Any WebSocket server that sends what is published to all subscribers, under more and more load.
///
/// `{n}` in the URL, a header or the first frame becomes the subscriber's number, `{token}` its line of --tokens, and
/// `{port}` in URLs and --server a free port.
#[derive(Args, Clone, Debug)]
pub(crate) struct Compare {
    /// Where subscribers connect, like ws://127.0.0.1:9001/subscribe
    #[arg(long, value_name = "URL")]
    pub(super) against: String,
    /// Header of the subscribers' upgrade, like "Authorization: Bearer {token}"; repeat for more
    #[arg(long, value_name = "NAME: VALUE")]
    header: Vec<String>,
    /// File with a token for each subscriber, one on each line
    #[arg(long, value_name = "FILE")]
    tokens: Option<PathBuf>,
    /// Text frame that each subscriber sends first
    #[arg(long, value_name = "TEXT")]
    first_frame: Option<String>,
    /// Binary frame that each subscriber sends first, in hexadecimal digits
    #[arg(long, value_name = "DIGITS", conflicts_with = "first_frame")]
    first_frame_hex: Option<String>,
    /// Where messages are published: ws:// sends a frame, http:// POSTs
    #[arg(long, value_name = "URL")]
    publish_url: String,
    /// Header of the publisher's upgrade or requests; repeat for more
    #[arg(long, value_name = "NAME: VALUE")]
    publish_header: Vec<String>,
    /// Frame or body of a publish
    #[arg(long, default_value = "{payload}")]
    template: String,
    /// Publish binary frames
    #[arg(long)]
    binary: bool,
    /// Connections that publish, each with an order of its own [default: 1 for ws, 8 for http]
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..))]
    publishers: Option<u8>,
    /// Subscribers
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) subscribers: u32,
    /// Subscribers of which every frame is looked at; of the others bytes are counted
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    sampled: u32,
    /// Bytes of each message
    #[arg(long, default_value_t = 128)]
    pub(super) bytes: usize,
    /// Messages per second, one step each [default: twice as many each step until --p95-max-ms is passed]
    #[arg(long, value_delimiter = ',', value_parser = rate)]
    rates: Vec<f64>,
    /// Where doubling begins
    #[arg(long, default_value = "1", value_parser = rate, conflicts_with = "rates")]
    first_rate: f64,
    /// Steps between the last load that was kept up with and the first that was not
    #[arg(long, default_value_t = 3, conflicts_with = "rates")]
    refine: u32,
    /// Latency that 95 % of the messages must not exceed, in milliseconds
    #[arg(long, default_value_t = 250.0)]
    pub(super) p95_max_ms: f64,
    /// Seconds of each step
    #[arg(long, default_value = "5", value_parser = seconds)]
    pub(super) seconds: Duration,
    /// The server's name in the plot
    #[arg(long)]
    pub(super) name: String,
    /// Command that starts the server; it is ended afterwards
    #[arg(long, value_name = "COMMAND")]
    pub(super) server: Option<String>,
    /// Process number of a server that runs already: its CPU and memory are measured
    #[arg(long, value_name = "PID", conflicts_with = "server")]
    pub(super) server_pid: Option<u32>,
    /// Core that a server started here is kept on
    #[arg(long, default_value_t = 0)]
    server_core: usize,
    /// Core that subscribers and publishers are kept on
    #[arg(long, default_value_t = 1)]
    client_core: usize,
    /// Keep neither on a core of its own
    #[arg(long)]
    unpinned: bool,
    /// Source addresses of the subscribers: 127.0.0.1 to 127.0.0.n
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=254))]
    sources: u8,
    /// Each subscriber sends a pong once in so many seconds, unasked; 0 for never
    #[arg(long, default_value_t = 20)]
    pong_seconds: u32,
    /// No line a second on standard error
    #[arg(long)]
    pub(super) quiet: bool,
    #[command(flatten)]
    pub(super) output: Output,
}

impl Compare {
    /// The same with a free port wherever one is asked for.
    pub(super) fn with_port(mut self) -> anyhow::Result<Self> {
        let mut places = vec![&mut self.against, &mut self.publish_url];
        places.extend(&mut self.server);
        if places.iter().any(|place| place.contains(PORT)) {
            let port = free_address()?.port().to_string();
            for place in places {
                *place = place.replace(PORT, &port);
            }
        }
        Ok(self)
    }

    /// Where subscribers connect and what they say.
    pub(super) fn plan(&self) -> anyhow::Result<Plan> {
        let endpoint = Endpoint::parse("--against", &self.against)?;
        ensure!(endpoint.scheme == Scheme::WebSocket, "--against {}: subscribers need ws://", self.against);
        let first_frame = match (&self.first_frame, &self.first_frame_hex) {
            (Some(text), _) => Some(FirstFrame::Text(text.clone())),
            (None, Some(digits)) => Some(FirstFrame::Binary(from_hex(digits)?)),
            (None, None) => None,
        };
        let mut opening = Opening {
            host: endpoint.host,
            path: endpoint.path,
            headers: headers("--header", &self.header)?,
            first_frame,
            tokens: Vec::new(),
        };
        ensure!(
            opening.wants_tokens() == self.tokens.is_some(),
            "--tokens FILE and {{token}} in the URL, a --header or --first-frame belong together"
        );
        opening.tokens = self.read_tokens()?;
        Ok(Plan {
            target: endpoint.address,
            connections: self.subscribers,
            first: 0,
            sources: self.sources,
            core: self.client_core(),
            opening: Some(opening),
            sampled: self.sampled.min(self.subscribers),
            pong_seconds: self.pong_seconds,
        })
    }

    /// How messages get to the server.
    pub(super) fn publishing(&self) -> anyhow::Result<Publishing> {
        let endpoint = Endpoint::parse("--publish-url", &self.publish_url)?;
        ensure!(
            self.bytes >= STAMP_BYTES,
            "--bytes {}: the time stamp in each message needs {STAMP_BYTES}",
            self.bytes
        );
        let usual = if endpoint.scheme == Scheme::Http { HTTP_PUBLISHERS } else { 1 };
        let publishing = Publishing {
            endpoint,
            headers: headers("--publish-header", &self.publish_header)?,
            template: self.template.clone(),
            binary: self.binary,
            publishers: self.publishers.unwrap_or(usual),
            payload_bytes: self.bytes,
        };
        publishing.check()?;
        Ok(publishing)
    }

    /// The loads.
    pub(super) fn ramp(&self) -> Ramp {
        if self.rates.is_empty() {
            Ramp::Search { first: self.first_rate, good: None, bad: None, refinements: self.refine }
        } else {
            Ramp::Fixed(self.rates.clone().into_iter())
        }
    }

    pub(super) fn server_core(&self) -> Option<usize> {
        (!self.unpinned).then_some(self.server_core)
    }

    pub(super) fn client_core(&self) -> Option<usize> {
        (!self.unpinned).then_some(self.client_core)
    }

    fn read_tokens(&self) -> anyhow::Result<Vec<String>> {
        let Some(file) = &self.tokens else { return Ok(Vec::new()) };
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("--tokens {}: cannot be read", file.display()))?;
        let tokens: Vec<String> =
            text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
        ensure!(
            tokens.len() >= self.subscribers as usize,
            "--tokens {}: {} tokens for {} subscribers",
            file.display(),
            tokens.len(),
            self.subscribers
        );
        Ok(tokens)
    }
}

/// `Name: value`, without line ends.
fn headers(option: &str, lines: &[String]) -> anyhow::Result<Vec<(String, String)>> {
    let parse = |line: &String| {
        let (name, value) =
            line.split_once(':').with_context(|| format!("{option} {line:?}: not like \"Name: value\""))?;
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        ensure!(
            !name.is_empty() && name.bytes().all(is_name),
            "{option} {line:?}: {name:?} is no header's name"
        );
        ensure!(!value.contains(['\r', '\n']), "{option} {line:?}: a header is one line");
        Ok((name.to_owned(), value.trim().to_owned()))
    };
    lines.iter().map(parse).collect()
}

fn from_hex(digits: &str) -> anyhow::Result<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let pair = |pair: &[u8]| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?);
    let bytes: Option<Vec<u8>> = digits.as_bytes().chunks(2).map(pair).collect();
    bytes.with_context(|| format!("--first-frame-hex {digits}: not pairs of hexadecimal digits"))
}

fn rate(text: &str) -> anyhow::Result<f64> {
    let rate: f64 = text.parse()?;
    ensure!(rate.is_finite() && rate > 0.0, "must be more than 0 messages a second");
    Ok(rate)
}

fn seconds(text: &str) -> anyhow::Result<Duration> {
    let duration = Duration::try_from_secs_f64(text.parse()?)?;
    ensure!(!duration.is_zero(), "must be more than 0 seconds");
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct CommandLine {
        #[command(flatten)]
        compare: Compare,
    }

    const GOOD: [&str; 4] =
        ["--against=ws://127.0.0.1:1/", "--publish-url=ws://127.0.0.1:1/", "--name=x", "--bytes=64"];

    fn options(more: &[&str]) -> Result<Compare, String> {
        let all = ["compare"].iter().chain(&GOOD).chain(more);
        CommandLine::try_parse_from(all).map(|line| line.compare).map_err(|error| error.to_string())
    }

    /// What is said about a command line that makes no sense.
    fn error(more: &[&str]) -> String {
        let checked = options(more).and_then(|options| {
            let checked = options.plan().and_then(|_| options.publishing());
            checked.map_err(|error| format!("{error:#}"))
        });
        checked.expect_err("an error")
    }

    #[test]
    fn a_good_command_line_is_taken() {
        let options =
            options(&["--header=Authorization: Bearer x:y", "--first-frame-hex=0aFF"]).expect("good");
        let plan = options.plan().expect("good");
        let opening = plan.opening.expect("WebSocket");
        assert_eq!(opening.headers, [("Authorization".to_owned(), "Bearer x:y".to_owned())]);
        assert_eq!(opening.first_frame, Some(FirstFrame::Binary(vec![0x0a, 0xff])));
        assert_eq!((plan.connections, plan.sampled, plan.core), (10_000, 256, Some(1)));
        assert_eq!(options.publishing().expect("good").publishers, 1);
    }

    #[test]
    fn what_is_wrong_with_the_command_line_is_said() {
        assert!(error(&["--template={}"]).contains("needs {payload}"));
        assert!(error(&["--header=nonsense"]).contains("not like"));
        assert!(error(&["--header=a b: c"]).contains("no header's name"));
        assert!(error(&["--header=a: b\r\nc: d"]).contains("one line"));
        assert!(error(&["--first-frame-hex=0g"]).contains("hexadecimal"));
        assert!(error(&["--first-frame-hex=123"]).contains("hexadecimal"));
        assert!(error(&["--rates=10,-1"]).contains("more than 0"));
        assert!(error(&["--rates=10,NaN"]).contains("more than 0"));
        assert!(error(&["--seconds=0"]).contains("more than 0"));
        assert!(error(&["--subscribers=0"]).contains("--subscribers"));
        assert!(error(&["--first-frame={token}"]).contains("belong together"));
        assert!(error(&["--first-frame={token}", "--tokens=/nonexistent"]).contains("cannot be read"));
        let few = tempfile::NamedTempFile::new().expect("a file");
        let tokens = format!("--tokens={}", few.path().display());
        assert!(error(&["--header=A: {token}", &tokens]).contains("0 tokens for 10000 subscribers"));
    }

    #[test]
    fn messages_must_have_room_for_the_stamp() {
        let mut options = options(&[]).expect("good");
        options.bytes = STAMP_BYTES - 1;
        let error = options.publishing().expect_err("too short").to_string();
        assert!(error.contains("time stamp"), "{error}");
        options.bytes += 1;
        options.publishing().expect("room enough");
        options.against = "http://127.0.0.1:1/".into();
        assert!(options.plan().expect_err("no WebSocket").to_string().contains("ws://"));
    }

    #[test]
    fn one_free_port_is_put_wherever_it_is_asked_for() {
        let mut options = options(&["--server=serve {port}"]).expect("good");
        options.against = "ws://127.0.0.1:{port}/".into();
        let options = options.with_port().expect("a port");
        let port = options.against.trim_start_matches("ws://127.0.0.1:").trim_end_matches('/');
        assert!(port.parse::<u16>().is_ok_and(|port| port > 0), "{port}");
        assert_eq!(options.server, Some(format!("serve {port}")));
        assert_eq!(options.publish_url, "ws://127.0.0.1:1/");
    }
}
