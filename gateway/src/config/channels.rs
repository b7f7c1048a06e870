//! The table `[channels]`, and what becomes of it.

use std::collections::BTreeMap;
use std::time::Duration;

use campanile_core::namespaces::{Namespace, Namespaces, PRESENCE_NAMESPACE, SlowPolicy};
use campanile_protocol::ids::CHANNEL_NAME_BYTES_MAX;
use serde::{Deserialize, Serialize};

use super::settings::{invalid, within};
use super::{ConfigError, Key};

/// The largest history of a channel, in messages.
const HISTORY_MESSAGES_MAX: u64 = 1_000_000;
/// The longest that a channel keeps a message, in seconds: it is in memory.
const HISTORY_TTL_SECONDS_MAX: u64 = 30 * 86_400;
/// The least and the most that the log of a channel may have, in bytes.
const LOG_BYTES_MIN: u64 = 4 << 10;
const LOG_BYTES_MAX: u64 = 1 << 30;
/// The least that the logs of a shard may have together, in bytes.
const LOG_BYTES_PER_SHARD_MIN: u64 = 1 << 20;

/// The table `[channels]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChannelsTable {
    /// Channels that one session may be subscribed to.
    pub subscriptions_per_session_max: u32,
    /// Channels that one shard may know of.
    pub channels_per_shard_max: u32,
    /// Bytes that the logs of one shard may have together.
    pub log_bytes_per_shard_max: usize,
    /// How many seconds after the end of a user's last session the user is said to be offline.
    pub offline_after_seconds: u32,
    /// What holds for channels of no namespace that is configured.
    pub default: DefaultTable,
    /// What holds for the channels of a namespace, by its name.
    pub namespaces: BTreeMap<String, NamespaceTable>,
}

/// The table `[channels.default]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DefaultTable {
    /// Messages that a channel keeps; 0 for no history.
    pub history_messages_max: u32,
    /// For how many seconds it keeps them.
    pub history_ttl_seconds: u32,
    /// Bytes of recent messages that a channel keeps.
    pub log_bytes_max: usize,
    /// What becomes of a subscriber that does not keep up.
    pub slow: Slow,
    /// Whether subscribers may ask who else is subscribed.
    pub members: bool,
    /// Whether every subscriber may tell the others what its user is doing; otherwise only who may publish.
    pub states: bool,
    /// Whether messages are compressed for clients that have negotiated it.
    pub deflate: bool,
    /// Who may subscribe.
    pub subscribe: Subscribe,
    /// Messages and states that one session may publish per second on average.
    pub publishes_per_second_max: u32,
}

/// A table `[channels.namespaces.NAME]`: what differs from `[channels.default]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NamespaceTable {
    /// As in [`DefaultTable`].
    pub history_messages_max: Option<u32>,
    /// As in [`DefaultTable`].
    pub history_ttl_seconds: Option<u32>,
    /// As in [`DefaultTable`].
    pub log_bytes_max: Option<usize>,
    /// As in [`DefaultTable`].
    pub slow: Option<Slow>,
    /// As in [`DefaultTable`].
    pub members: Option<bool>,
    /// As in [`DefaultTable`].
    pub states: Option<bool>,
    /// As in [`DefaultTable`].
    pub deflate: Option<bool>,
    /// As in [`DefaultTable`].
    pub subscribe: Option<Subscribe>,
    /// As in [`DefaultTable`].
    pub publishes_per_second_max: Option<u32>,
}

/// What becomes of a subscriber that does not keep up: see [`SlowPolicy`].
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Slow {
    /// `"skip"`
    Skip,
    /// `"conflate"`
    Conflate,
    /// `"close"`
    Close,
}

/// Who may subscribe to a channel.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Subscribe {
    /// `"token"`: sessions whose token allows it, or that show a token for the subscription.
    Token,
    /// `"anyone"`: any session.
    Anyone,
}

impl Default for ChannelsTable {
    fn default() -> Self {
        let defaults = Namespaces::default();
        ChannelsTable {
            subscriptions_per_session_max: defaults.subscriptions_per_session_max,
            channels_per_shard_max: defaults.channels_per_shard_max,
            log_bytes_per_shard_max: defaults.log_bytes_per_shard_max,
            offline_after_seconds: seconds(defaults.offline_after),
            default: DefaultTable::default(),
            namespaces: BTreeMap::new(),
        }
    }
}

impl Default for DefaultTable {
    fn default() -> Self {
        let defaults = Namespace::default();
        DefaultTable {
            history_messages_max: defaults.history_messages_max,
            history_ttl_seconds: seconds(defaults.history_ttl),
            log_bytes_max: defaults.log_bytes_max,
            slow: match defaults.slow {
                SlowPolicy::Skip => Slow::Skip,
                SlowPolicy::Conflate => Slow::Conflate,
                SlowPolicy::Close => Slow::Close,
            },
            members: defaults.members,
            states: defaults.states,
            deflate: defaults.deflate,
            subscribe: if defaults.open { Subscribe::Anyone } else { Subscribe::Token },
            publishes_per_second_max: defaults.publishes_per_second_max,
        }
    }
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

impl ChannelsTable {
    /// Checks everything.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`].
    pub(super) fn validate(&self) -> Result<Namespaces, ConfigError> {
        within(
            "channels.subscriptions_per_session_max",
            self.subscriptions_per_session_max.into(),
            1,
            65_536,
        )?;
        within("channels.channels_per_shard_max", self.channels_per_shard_max.into(), 1, 10_000_000)?;
        within(
            "channels.log_bytes_per_shard_max",
            self.log_bytes_per_shard_max as u64,
            LOG_BYTES_PER_SHARD_MIN,
            1 << 40,
        )?;
        within("channels.offline_after_seconds", self.offline_after_seconds.into(), 1, 86_400)?;
        self.check("channels.default", &self.default)?;
        let mut namespaces = Namespaces {
            default: self.default.namespace(),
            subscriptions_per_session_max: self.subscriptions_per_session_max,
            channels_per_shard_max: self.channels_per_shard_max,
            log_bytes_per_shard_max: self.log_bytes_per_shard_max,
            offline_after: Duration::from_secs(self.offline_after_seconds.into()),
            ..Namespaces::default()
        };
        for (name, table) in &self.namespaces {
            let at = format!("channels.namespaces.{name}");
            check_name(name).map_err(|problem| invalid(Key::new(at.clone()), problem))?;
            if name == PRESENCE_NAMESPACE {
                table.refuse_messages(&at)?;
            }
            let whole = table.over(&self.default);
            self.check(&at, &whole)?;
            namespaces.named.insert(name.clone(), whole.namespace());
        }
        Ok(namespaces)
    }

    /// Checks the values of one namespace, whose keys stand under `at`.
    fn check(&self, at: &str, table: &DefaultTable) -> Result<(), ConfigError> {
        let log_bytes_max = self.log_bytes_per_shard_max as u64;
        for (key, value, min, max) in [
            ("history_messages_max", table.history_messages_max.into(), 0, HISTORY_MESSAGES_MAX),
            ("history_ttl_seconds", table.history_ttl_seconds.into(), 1, HISTORY_TTL_SECONDS_MAX),
            ("log_bytes_max", table.log_bytes_max as u64, LOG_BYTES_MIN, LOG_BYTES_MAX),
            ("publishes_per_second_max", table.publishes_per_second_max.into(), 1, 10_000),
        ] {
            within(format!("{at}.{key}"), value, min, max)?;
        }
        if table.log_bytes_max as u64 > log_bytes_max {
            let problem = format!(
                "{} is more than channels.log_bytes_per_shard_max, which is {log_bytes_max}",
                table.log_bytes_max
            );
            return Err(invalid(Key::new(format!("{at}.log_bytes_max")), problem));
        }
        Ok(())
    }
}

/// What a namespace may be called: what can stand before the first `:` of a channel's name.
fn check_name(name: &str) -> Result<(), String> {
    match name {
        "" => Err("a namespace has a name: what stands before the first `:` of its channels' names".into()),
        _ if name.contains(':') => {
            Err("a namespace ends before the first `:` of its channels' names: leave the `:` out".into())
        }
        _ if name.contains('*') => Err("no channel's name has a `*`, so no namespace has one".into()),
        _ if name.chars().any(char::is_control) => {
            Err("a channel's name has no control characters, so no namespace has any".into())
        }
        // Its channels have a `:` and something after it.
        _ if name.len() > CHANNEL_NAME_BYTES_MAX - 2 => Err(format!(
            "{} bytes, at most {} are allowed: a channel's name has at most {CHANNEL_NAME_BYTES_MAX}",
            name.len(),
            CHANNEL_NAME_BYTES_MAX - 2
        )),
        _ => Ok(()),
    }
}

impl NamespaceTable {
    /// With what it does not say from the default.
    fn over(&self, default: &DefaultTable) -> DefaultTable {
        DefaultTable {
            history_messages_max: self.history_messages_max.unwrap_or(default.history_messages_max),
            history_ttl_seconds: self.history_ttl_seconds.unwrap_or(default.history_ttl_seconds),
            log_bytes_max: self.log_bytes_max.unwrap_or(default.log_bytes_max),
            slow: self.slow.unwrap_or(default.slow),
            members: self.members.unwrap_or(default.members),
            states: self.states.unwrap_or(default.states),
            deflate: self.deflate.unwrap_or(default.deflate),
            subscribe: self.subscribe.unwrap_or(default.subscribe),
            publishes_per_second_max: self
                .publishes_per_second_max
                .unwrap_or(default.publishes_per_second_max),
        }
    }

    /// Refuses what is about messages: users' statuses have none.
    fn refuse_messages(&self, at: &str) -> Result<(), ConfigError> {
        let keys = [
            ("history_messages_max", self.history_messages_max.is_some()),
            ("history_ttl_seconds", self.history_ttl_seconds.is_some()),
            ("log_bytes_max", self.log_bytes_max.is_some()),
            ("slow", self.slow.is_some()),
            ("states", self.states.is_some()),
            ("deflate", self.deflate.is_some()),
        ];
        match keys.into_iter().find(|(_, is_set)| *is_set) {
            None => Ok(()),
            Some((key, _)) => Err(invalid(
                Key::new(format!("{at}.{key}")),
                "channels of the namespace `presence` are users' statuses, which have no messages: only \
                 `members`, `subscribe` and `publishes_per_second_max` hold for them",
            )),
        }
    }
}

impl DefaultTable {
    fn namespace(&self) -> Namespace {
        Namespace {
            history_messages_max: self.history_messages_max,
            history_ttl: Duration::from_secs(self.history_ttl_seconds.into()),
            log_bytes_max: self.log_bytes_max,
            slow: match self.slow {
                Slow::Skip => SlowPolicy::Skip,
                Slow::Conflate => SlowPolicy::Conflate,
                Slow::Close => SlowPolicy::Close,
            },
            members: self.members,
            states: self.states,
            deflate: self.deflate,
            open: self.subscribe == Subscribe::Anyone,
            publishes_per_second_max: self.publishes_per_second_max,
        }
    }
}
