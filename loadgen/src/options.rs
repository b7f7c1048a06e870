//! The command line, and what it means.

mod address;
mod channels;
mod threshold;

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use campanile_engine::{DriverChoice, thread};
use campanile_protocol::messages::Encoding;
use clap::{Parser, ValueEnum};

pub(crate) use self::address::sources;
pub use self::address::{Endpoint, Sources};
pub use self::channels::{ChannelOptions, ChannelPlan, PublishFrom};
pub use self::threshold::FailAbove;
use crate::audience::{Audience, To};
use crate::fleet::AckSettings;
use crate::ledger::{LEDGER_BYTES_MAX, Ledger};
use crate::payload::PAYLOAD_BYTES_MIN;
use crate::quantity;
use crate::schedule::{Rate, Schedule};
use crate::stages::Stages;
use crate::thresholds::Threshold;

/// Most devices of one user.
const DEVICES_PER_USER_MAX: u32 = 1_000;
/// What users' names begin with.
const USER_PREFIX: &str = "U";
/// Random letters behind it, which tell the users of one run from those of others.
const RUN_NAME_LENGTH: usize = 8;
/// Local ports that the kernel gives out for one source address, at its default settings.
pub const PORTS_PER_SOURCE: u32 = 28_000;
/// Messages per second beyond which `--max` does not count: room for each is made beforehand.
const MESSAGES_PER_SECOND_MAX: f64 = 500_000.0;
/// The shortest and the longest time that pushes may wait for others of their request.
const BATCH_TIME: RangeInclusive<Duration> = Duration::from_micros(50)..=Duration::from_secs(10);
/// The largest payload, in bytes.
const PAYLOAD_BYTES_MAX: usize = 1 << 20;

/// Connects virtual devices to a gateway on this machine, pushes to them at a steady rate, and says how long the
/// messages took and whether all arrived.
#[derive(Clone, Debug, Parser)]
#[command(name = "campanile-load", version)]
pub struct Options {
    /// Where devices connect; a loopback address
    #[arg(
        long,
        value_name = "URL",
        default_value = "ws://127.0.0.1:8080/v2/connect",
        value_parser = Endpoint::of_devices
    )]
    pub url: Endpoint,
    /// Where pushes are published; a loopback address
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8081", value_parser = Endpoint::of_api)]
    pub api: Endpoint,
    /// File with the API key (the first line that is neither empty nor a comment)
    #[arg(long, value_name = "FILE")]
    pub api_key_file: Option<PathBuf>,
    /// File with the secret that the gateway checks tokens with; tokens are signed here
    #[arg(long, value_name = "FILE", conflicts_with = "tokens_file")]
    pub jwt_hs256_file: Option<PathBuf>,
    /// File with one token per line, for device 0, 1, and so on
    #[arg(long, value_name = "FILE")]
    pub tokens_file: Option<PathBuf>,
    /// Devices connect without a token, and count as connected when their upgrade is answered: for servers that have no
    /// sessions
    #[arg(long, conflicts_with_all = ["jwt_hs256_file", "tokens_file"])]
    pub anonymous: bool,
    /// How many devices connect
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1_000,
        value_parser = clap::value_parser!(u32).range(1..=4_000_000)
    )]
    pub connections: u32,
    /// How many devices each user has
    #[arg(
        long,
        value_name = "D",
        default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(DEVICES_PER_USER_MAX))
    )]
    pub devices_per_user: u32,
    /// How many users the devices are divided among, instead of --devices-per-user
    #[arg(
        long,
        value_name = "N",
        conflicts_with = "devices_per_user",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub users: Option<u32>,
    /// What users' names begin with; their number follows. By default a random one, so that two runs do not throw each
    /// other's devices out; U with --tokens-file
    #[arg(long, value_name = "TEXT")]
    pub user_prefix: Option<String>,
    /// Connections begun per second; 0 for as fast as the gateway answers
    #[arg(long, value_name = "PER_SECOND", default_value_t = 0.0)]
    pub ramp_rate: f64,
    /// Connection attempts that may be under way at once, over all shards
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..))]
    pub attempts_max: u32,
    /// How long one device may take to connect
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = quantity::duration)]
    pub connect_timeout: Duration,
    /// Ends once all devices have connected or failed
    #[arg(long, conflicts_with_all = ["hold", "rate", "max"])]
    pub connect_only: bool,
    /// Registers the devices over the API instead of connecting them; what is pushed to them waits in their mailboxes
    #[arg(long, conflicts_with_all = ["connect_only", "until_caught_up", "stalled_percent"])]
    pub offline: bool,
    /// Ends once what waited for each device has been delivered, and says how fast that was
    #[arg(long)]
    pub until_caught_up: bool,
    /// A device whose connection ends connects again within a second, and says what it has processed
    #[arg(long)]
    pub reconnect: bool,
    /// Each device ends its session after about this time; with --reconnect it comes back
    #[arg(long, value_name = "TIME", value_parser = quantity::duration)]
    pub session_seconds: Option<Duration>,
    /// So many in a hundred devices connect and never read again
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub stalled_percent: u32,
    /// Whether devices acknowledge what they are delivered
    #[arg(long, value_name = "WHETHER", value_enum, default_value_t)]
    pub ack: Ack,
    /// A device acknowledges after so many messages …
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    pub ack_every: u32,
    /// … or so many milliseconds after the first that is not acknowledged, whichever comes first
    #[arg(long, value_name = "MS", default_value = "50", value_parser = quantity::milliseconds)]
    pub ack_within_ms: Duration,
    /// Waits so long between connecting and publishing
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = quantity::duration)]
    pub pause: Duration,
    /// Stays connected for so long, after publishing if there is a rate
    #[arg(long, value_name = "TIME", value_parser = quantity::duration)]
    pub hold: Option<Duration>,
    /// Pushes per second, whether the gateway keeps up or not
    #[arg(long, value_name = "PER_SECOND")]
    pub rate: Option<f64>,
    /// Publishes as fast as the gateway answers, each publisher with one request at a time
    #[arg(long, conflicts_with = "rate")]
    pub max: bool,
    /// Publishes no more than so many messages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub messages: Option<u64>,
    /// For how long pushes are published: 10s, 2m, 1m30s; a plain number is one of seconds
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = quantity::duration)]
    pub duration: Duration,
    /// Size of each payload: 512, 64KiB, 1MB
    #[arg(long, value_name = "BYTES", default_value = "128", value_parser = quantity::bytes)]
    pub payload_bytes: usize,
    /// Pushes that fall due within so many milliseconds go into one request
    #[arg(long, value_name = "MS", default_value = "1", value_parser = quantity::milliseconds)]
    pub batch_ms: Duration,
    /// Pushes in one request: with --max exactly, with --rate at most
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub batch: u32,
    /// One request for each push
    #[arg(long)]
    pub single: bool,
    /// durable or ephemeral; by default the gateway's own, which is durable
    #[arg(long, value_name = "DURABILITY", value_enum)]
    pub durability: Option<Durability>,
    /// Connections to the API, each with one request at a time
    #[arg(
        long,
        visible_alias = "publish-connections",
        value_name = "N",
        default_value_t = 4,
        value_parser = clap::value_parser!(u32).range(1..=1_024)
    )]
    pub publishers: u32,
    /// Whom each message is for: random-device, random-user or broadcast
    #[arg(long, value_name = "WHOM", default_value_t)]
    pub to: To,
    /// Channels
    #[command(flatten)]
    pub channels: ChannelOptions,
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
    /// Writes the results to this file; - is standard output, and the table then goes to standard error
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Writes a line for each arrival to this file: when it was due and how long it took, in nanoseconds
    #[arg(long, value_name = "FILE")]
    pub samples: Option<PathBuf>,
    /// Fails (exit code 99) if a device could not connect or was disconnected, or a message was lost
    #[arg(long)]
    pub fail_on_loss: bool,
    /// Fails (exit code 99) if the latency is higher, as p95=250 in milliseconds: p50, p90, p95, p99, p99.9 or max.
    /// Repeatable
    #[arg(long, value_name = "QUANTILE=MS")]
    pub fail_above: Vec<FailAbove>,
    /// Fails (exit code 99) if a figure is not as is asked, in k6's words, as deliver_latency=p(95)<250 or
    /// errors=rate<0.01. Repeatable
    #[arg(long, value_name = "METRIC=EXPRESSION")]
    pub threshold: Vec<Threshold>,
    /// No progress lines and no table
    #[arg(long)]
    pub quiet: bool,
}

/// Whether devices acknowledge.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Ack {
    /// They do.
    #[default]
    On,
    /// They do not.
    None,
}

/// What the gateway promises of a push.
#[derive(Copy, Clone, Debug, PartialEq, Eq, ValueEnum)]
pub enum Durability {
    /// It is stored before it is accepted.
    Durable,
    /// It is never stored.
    Ephemeral,
}

impl Durability {
    /// As in the API.
    pub fn name(self) -> &'static str {
        match self {
            Durability::Durable => "durable",
            Durability::Ephemeral => "ephemeral",
        }
    }
}

/// What is published.
#[derive(Clone, Debug)]
pub struct Publishing {
    /// Messages per second, whether the gateway keeps up or not; `None` for as many as it takes.
    pub rate: Option<Rate>,
    /// When the first is due after devices have begun to connect; `None` for as soon as they have connected.
    pub start: Option<Duration>,
    /// For how long.
    pub duration: Duration,
    /// How many messages there may be.
    pub messages_max: u64,
    /// Size of each payload.
    pub payload_bytes: usize,
    /// What is asked for; `None` for the gateway's default.
    pub durability: Option<Durability>,
    /// Connections to the API, each with one request at a time.
    pub connections: u32,
    /// Messages that fall due within this time go into one request.
    pub batch_time: Duration,
    /// Most messages of one request.
    pub batch: u32,
    /// One request for each message.
    pub single: bool,
}

impl Publishing {
    /// Checks what its types cannot.
    ///
    /// # Errors
    /// In words for the operator.
    pub fn check(&self) -> Result<(), String> {
        if !BATCH_TIME.contains(&self.batch_time) {
            return Err(format!("--batch-ms: {:?} is not between {BATCH_TIME:?}", self.batch_time));
        }
        if !(PAYLOAD_BYTES_MIN..=PAYLOAD_BYTES_MAX).contains(&self.payload_bytes) {
            return Err(format!(
                "--payload-bytes: {} is not between {PAYLOAD_BYTES_MIN} (run, number and time) and {PAYLOAD_BYTES_MAX}",
                self.payload_bytes
            ));
        }
        match self.messages() {
            0 => Err(format!("no message falls due within {:?}: raise --rate or --duration", self.duration)),
            _ => Ok(()),
        }
    }

    /// How many messages there are, or may be.
    pub fn messages(&self) -> u64 {
        match &self.rate {
            Some(rate) => rate.messages(self.duration).min(self.messages_max),
            None => self.messages_max,
        }
    }
}

/// Options that have passed their checks.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The options.
    pub options: Options,
    /// What users' names begin with; their number follows.
    pub user_prefix: String,
    /// What is published to devices, if anything.
    pub pushes: Option<Publishing>,
    /// What is published to channels, if anything.
    pub messages: Option<Publishing>,
    /// When devices come and go; `None` if all come at the ramp's rate, and stay.
    pub staging: Option<Staging>,
    /// How long everybody stays connected after that.
    pub hold: Duration,
    /// Who connects, and whom messages are for.
    pub audience: Audience,
    /// What they have to do with channels.
    pub channels: ChannelPlan,
    /// What the figures have to be.
    pub thresholds: Vec<Threshold>,
}

/// When devices come and go, and what ends the run.
#[derive(Clone, Debug)]
pub struct Staging {
    /// When they begin to come, after the beginning of the run.
    pub start: Duration,
    /// How many there are.
    pub connections: Stages,
    /// How long what is under way at the end of the stages may take.
    pub graceful_stop: Duration,
}

impl Plan {
    /// Everything that is published.
    pub fn publishings(&self) -> impl Iterator<Item = &Publishing> {
        self.pushes.iter().chain(&self.messages)
    }
}

impl Options {
    /// Checks what the types of the options cannot.
    ///
    /// # Errors
    /// In words for the operator.
    pub fn plan(self) -> Result<Plan, String> {
        let publishing = self.publishing()?;
        if self.channels.publish_to.is_empty() {
            self.plan_to_publish(publishing, None)
        } else {
            self.plan_to_publish(None, publishing)
        }
    }

    /// The same, but what is published to devices and to channels is known already.
    ///
    /// # Errors
    /// In words for the operator.
    pub fn plan_to_publish(
        self,
        pushes: Option<Publishing>,
        messages: Option<Publishing>,
    ) -> Result<Plan, String> {
        let publishes = pushes.is_some() || messages.is_some();
        let hold = self.hold.unwrap_or_default();
        if self.connect_timeout.is_zero() {
            return Err("--connect-timeout: nobody connects in no time".into());
        }
        if let Some(core) = self.core.filter(|core| !thread::allowed_cores().contains(core)) {
            return Err(format!(
                "--core: this program may not run on core {core}, only on {:?}",
                thread::allowed_cores()
            ));
        }
        let connects = self.connect_only || self.offline || self.until_caught_up || self.hold.is_some();
        if !connects && !publishes {
            return Err("nothing to do: give --connect-only, --hold TIME, --rate PER_SECOND, or --max".into());
        }
        let has_tokens = self.jwt_hs256_file.is_some() || self.tokens_file.is_some();
        if !(has_tokens || self.anonymous || self.offline) {
            return Err("devices need tokens: give --jwt-hs256-file or --tokens-file, or --anonymous for a server that \
                        has no sessions"
                .into());
        }
        if self.offline && self.api_key_file.is_none() {
            return Err("--offline needs --api-key-file".into());
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
            silent_percent: if self.offline { 100 } else { self.stalled_percent },
        };
        let user_prefix = self.user_prefix(&audience)?;
        self.check_sources()?;
        let channels = self.channels.plan(&audience, messages.is_some())?;
        if self.reconnect && self.channels.check_every > 1 {
            return Err("--check-every cannot be used with --reconnect: a device that comes back says what it has, so it \
                        has to look at each message"
                .into());
        }
        if self.channels.is_from_devices() && self.max {
            return Err("--publish-from devices needs a --rate".into());
        }
        if !self.fail_above.is_empty() && !publishes {
            return Err("--fail-above needs --rate or --max".into());
        }
        if let Some(key) =
            self.threshold.iter().map(|threshold| &threshold.key).find(|key| key.scenario().is_some())
        {
            return Err(format!(
                "--threshold: `{key}` names a scenario, and there is none without a scenario file"
            ));
        }
        let limits = self.fail_above.iter().map(|limit| &limit.0);
        let thresholds = limits.chain(&self.threshold).cloned().collect();
        if let Some(publishing) = &pushes {
            let messages = publishing.messages();
            let bytes = Ledger::bytes(&audience, messages);
            if bytes > LEDGER_BYTES_MAX || messages > u64::from(u32::MAX) {
                return Err(format!(
                    "{messages} messages need {bytes} bytes to note what arrives, at most {LEDGER_BYTES_MAX} are \
                     allowed: lower --rate or --duration"
                ));
            }
        }
        Ok(Plan {
            user_prefix,
            pushes,
            messages,
            staging: None,
            hold,
            audience,
            channels,
            thresholds,
            options: self,
        })
    }

    /// When devices acknowledge, if they do.
    pub fn acks(&self) -> Option<AckSettings> {
        (self.ack == Ack::On).then_some(AckSettings { every: self.ack_every, within: self.ack_within_ms })
    }

    fn publishing(&self) -> Result<Option<Publishing>, String> {
        if self.rate.is_none() && !self.max {
            return Ok(None);
        }
        if let Some(per_second) = self.rate
            && !(per_second > 0.0 && per_second <= 10_000_000.0)
        {
            return Err(format!("--rate: {per_second} is not a rate above 0 and up to 10,000,000"));
        }
        let duration = self.duration;
        if self.api_key_file.is_none() && !self.channels.is_from_devices() {
            return Err("--rate and --max need --api-key-file".into());
        }
        let room = Schedule::count(MESSAGES_PER_SECOND_MAX, duration);
        let messages_max = match self.rate {
            Some(_) => self.messages.unwrap_or(u64::MAX),
            None => self.messages.unwrap_or(u64::MAX).min(room),
        };
        let publishing = Publishing {
            rate: self.rate.map(Rate::Constant),
            start: None,
            duration,
            messages_max,
            payload_bytes: self.payload_bytes,
            durability: self.durability,
            connections: self.publishers,
            batch_time: self.batch_ms,
            batch: self.batch,
            single: self.single,
        };
        publishing.check().map(|()| Some(publishing))
    }

    fn user_prefix(&self, audience: &Audience) -> Result<String, String> {
        let prefix = match &self.user_prefix {
            Some(prefix) => prefix.clone(),
            // Whoever has issued the tokens has named the users.
            None if self.tokens_file.is_some() => USER_PREFIX.into(),
            None => {
                let random: String =
                    std::iter::repeat_with(fastrand::alphanumeric).take(RUN_NAME_LENGTH).collect();
                format!("{USER_PREFIX}{random}-")
            }
        };
        campanile_protocol::ids::UserId::try_from(format!("{prefix}{}", audience.users).as_str())
            .map(|_| prefix)
            .map_err(|error| format!("--user-prefix: {error}"))
    }

    fn check_sources(&self) -> Result<(), String> {
        let count = u32::try_from(self.sources.0.len()).unwrap_or(u32::MAX);
        if self.url.address.is_ipv4() && self.connections > count.saturating_mul(PORTS_PER_SOURCE * 2) {
            return Err(format!(
                "{count} source addresses do not have {} ports: give more --sources",
                self.connections
            ));
        }
        Ok(())
    }
}

pub(crate) fn encoding(name: &str) -> Result<Encoding, String> {
    match name {
        "protobuf" => Ok(Encoding::Protobuf),
        "json" => Ok(Encoding::Json),
        _ => Err(format!("unknown encoding `{name}`: expected protobuf or json")),
    }
}

#[cfg(test)]
mod tests;
