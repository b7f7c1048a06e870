//! The language of scenarios: what a file may say. What it means is in `compile`.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

use crate::quantity;
use crate::thresholds::{Expression, Key};

/// A scenario file.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct File {
    /// What it is for.
    pub description: Option<String>,
    /// What is put under load.
    #[serde(default)]
    pub target: Target,
    /// What figures have to be, in k6's words: a metric, perhaps of one scenario (`errors{scenario:chat}`), and
    /// expressions (`rate<0.01`).
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "BTreeMap<String, Vec<String>>"))]
    pub thresholds: BTreeMap<Key, Vec<Asked>>,
    /// What happens, by name; all of them at once.
    pub scenario: BTreeMap<String, Table>,
}

/// What is put under load. A loopback address.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Where devices connect (ws://127.0.0.1:8080/v2/connect).
    pub url: Option<String>,
    /// Where messages are published (http://127.0.0.1:8081).
    pub api: Option<String>,
    /// File with the API key.
    pub api_key_file: Option<String>,
    /// File with the secret that the gateway checks tokens with; tokens are signed here.
    pub jwt_hs256_file: Option<String>,
    /// File with one token per line, for device 0, 1, and so on.
    pub tokens_file: Option<String>,
    /// Devices connect without a token, and count as connected when their upgrade is answered.
    #[serde(default)]
    pub anonymous: bool,
    /// protobuf (default) or json.
    pub encoding: Option<String>,
    /// Loopback addresses to connect from (127.0.0.1-8).
    pub sources: Option<String>,
    /// What users' names begin with; a random one by default.
    pub user_prefix: Option<String>,
}

/// One scenario: devices that come and go, and what is published meanwhile.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// When it begins, after the beginning of the run (0s).
    pub start: Option<Span>,
    /// How many devices are connected: the number goes to each target within its duration.
    pub stages: Vec<StageTable>,
    /// How long what is under way at the end of the stages may take (10s).
    pub graceful_stop: Option<Span>,
    /// How many users the devices are divided among.
    pub users: Option<Count>,
    /// How many devices each user has (1), instead of users.
    pub devices_per_user: Option<Count>,
    /// How long one device may take to connect (10s).
    pub connect_timeout: Option<Span>,
    /// Attempts to connect that may be under way at once (512).
    pub attempts_max: Option<Count>,
    /// Whether devices acknowledge what they are delivered (true).
    pub acknowledge: Option<bool>,
    /// A device acknowledges after so many messages (32).
    pub ack_every: Option<Count>,
    /// A device acknowledges so long after the first message that is not acknowledged (50ms).
    pub ack_within: Option<Span>,
    /// So many in a hundred devices connect and never read again (0).
    pub stalled_percent: Option<Count>,
    /// Devices that stopped reading read again when publishing to channels has ended.
    #[serde(default)]
    pub stalled_resume: bool,
    /// Each device ends its session after about this time.
    pub session: Option<Span>,
    /// A device whose connection ends connects again within a second.
    #[serde(default)]
    pub reconnect: bool,
    /// Channels that devices subscribe to; `{n}` in a name stands for the numbers below `channels`.
    #[serde(default)]
    pub subscribe: Vec<String>,
    /// So many devices subscribe, counted from the first; all by default.
    pub subscribers: Option<Count>,
    /// How many channels each name with `{n}` stands for.
    pub channels: Option<Count>,
    /// How many channels of each name with `{n}` a device has (1).
    pub subscriptions_per_device: Option<Count>,
    /// One in so many devices looks at each message of its channels (1).
    pub check_every: Option<Count>,
    /// What is published: at most one to devices, and one to channels.
    #[serde(default)]
    pub publish: Vec<PublishTable>,
}

/// Where a number goes, and within which time.
#[derive(Copy, Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct StageTable {
    /// How long it takes; `0s` is a jump.
    pub duration: Span,
    /// Where the number is then.
    pub target: Rate,
}

/// What is published.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PublishTable {
    /// Whom each message is for: random-device (default), random-user or broadcast.
    pub to: Option<String>,
    /// Channels that messages go to instead, at random; `{n}` as in subscribe.
    #[serde(default)]
    pub to_channels: Vec<String>,
    /// Who publishes to channels: api (default), or devices over their own connections.
    pub from: Option<Origin>,
    /// Messages a second.
    pub rate: Option<Rate>,
    /// Messages a second that become more and fewer, instead of rate.
    pub stages: Option<Vec<StageTable>>,
    /// When the first message is due after the scenario's start; by default when most devices are there.
    pub start: Option<Span>,
    /// For how long; by default until two seconds before the first device leaves.
    pub duration: Option<Span>,
    /// Size of each payload (128).
    pub payload: Option<Size>,
    /// durable or ephemeral; by default the gateway's own, which is durable.
    pub durability: Option<Durability>,
    /// Connections to the API, each with one request at a time (4).
    pub connections: Option<Count>,
    /// Messages in one request at most (500).
    pub batch: Option<Count>,
    /// Messages that fall due within this time go into one request (1ms).
    pub batch_time: Option<Span>,
    /// One request for each message.
    #[serde(default)]
    pub single: bool,
}

/// Who publishes to channels.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Publishers, over HTTP.
    Api,
    /// Devices, over their own connections.
    Devices,
}

/// What the gateway promises of a message.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// It is stored before it is accepted.
    Durable,
    /// It is never stored.
    Ephemeral,
}

/// A number, or a text that says one: what variables are put into is text.
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(untagged))]
enum NumberOrText {
    /// As it is.
    Number(f64),
    /// As people write it.
    Text(String),
}

impl<'de> Deserialize<'de> for NumberOrText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<NumberOrText, D::Error> {
        deserializer.deserialize_any(NumberOrTextVisitor)
    }
}

struct NumberOrTextVisitor;

impl Visitor<'_> for NumberOrTextVisitor {
    type Value = NumberOrText;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number or a text")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<NumberOrText, E> {
        Ok(NumberOrText::Number(number as f64))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<NumberOrText, E> {
        Ok(NumberOrText::Number(number as f64))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<NumberOrText, E> {
        Ok(NumberOrText::Number(number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<NumberOrText, E> {
        Ok(NumberOrText::Text(text.into()))
    }
}

impl NumberOrText {
    fn text(self) -> String {
        match self {
            NumberOrText::Number(number) => number.to_string(),
            NumberOrText::Text(text) => text,
        }
    }
}

/// A whole number.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(try_from = "NumberOrText")]
pub struct Count(pub u32);

impl TryFrom<NumberOrText> for Count {
    type Error = String;

    fn try_from(value: NumberOrText) -> Result<Count, String> {
        let text = value.text();
        text.parse().map(Count).map_err(|_| format!("`{text}` is not a whole number"))
    }
}

/// A number that is not below 0.
#[derive(Copy, Clone, Debug, PartialEq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(try_from = "NumberOrText")]
pub struct Rate(pub f64);

impl TryFrom<NumberOrText> for Rate {
    type Error = String;

    fn try_from(value: NumberOrText) -> Result<Rate, String> {
        /// More than any machine connects or publishes.
        const MAX: f64 = 10_000_000.0;
        let text = value.text();
        let number = text.parse::<f64>().ok().filter(|number| (0.0..=MAX).contains(number));
        number.map(Rate).ok_or_else(|| format!("`{text}` is not a number from 0 to 10,000,000"))
    }
}

/// A time: `10s`, `1m30s`, `250ms`, or a number of seconds.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(try_from = "NumberOrText")]
pub struct Span(pub Duration);

impl TryFrom<NumberOrText> for Span {
    type Error = String;

    fn try_from(value: NumberOrText) -> Result<Span, String> {
        quantity::duration(&value.text()).map(Span)
    }
}

/// A size: `512`, `64KiB`, `1MB`.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(try_from = "NumberOrText")]
pub struct Size(pub usize);

impl TryFrom<NumberOrText> for Size {
    type Error = String;

    fn try_from(value: NumberOrText) -> Result<Size, String> {
        quantity::bytes(&value.text()).map(Size)
    }
}

/// What is asked of a metric.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub struct Asked(pub Expression);

impl TryFrom<String> for Asked {
    type Error = String;

    fn try_from(text: String) -> Result<Asked, String> {
        text.parse().map(Asked)
    }
}
