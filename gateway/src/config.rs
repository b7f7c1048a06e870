//! The configuration: a TOML file, the flags over it, and what becomes of them.
//!
//! [`FileConfig`] is what an operator writes; every key has a default and is explained in
//! `docs/campanile.example.toml`. [`FileConfig::validate`] turns it into [`Settings`], which the rest of the gateway
//! uses: what is in there has passed its checks, and secrets have been read.

mod channels;
mod secrets;
mod settings;

use std::borrow::Cow;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use campanile_core::limits::Limits;
use serde::{Deserialize, Serialize};

pub use self::channels::{ChannelsTable, DefaultTable, NamespaceTable, Slow, Subscribe};
pub use self::secrets::{ApiKeys, HmacSecret};
pub use self::settings::{DrainSettings, EdgeSettings, MailboxSettings, Settings};

/// The configuration file, before its values are checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FileConfig {
    /// Where devices connect, as `address:port`.
    pub listen: String,
    /// Where publishers connect, as `address:port`.
    pub api_listen: String,
    /// Where operators connect, as `address:port`.
    pub admin_listen: String,
    /// Where devices that poll connect, as `address:port`.
    pub devices_listen: String,
    /// How many shards; 0 leaves it to `limits.max_connections` and the cores.
    pub shards: usize,
    /// `auto`, `uring` or `epoll`.
    pub driver: String,
    /// The directory of everything durable.
    pub data_dir: PathBuf,
    /// How devices authenticate.
    pub auth: AuthTable,
    /// How publishers authenticate.
    pub api: ApiTable,
    /// Which devices there are.
    pub devices: DevicesTable,
    /// What waits for devices.
    pub mailbox: MailboxTable,
    /// What holds for channels.
    pub channels: ChannelsTable,
    /// What stands between the clients and the gateway.
    pub edge: EdgeTable,
    /// How the gateway ends.
    pub drain: DrainTable,
    /// The limits.
    pub limits: Limits,
    /// What is logged.
    pub log: LogTable,
}

/// The table `[auth]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthTable {
    /// The file with the secret of the devices' tokens that are signed with HS256.
    pub jwt_hs256_file: PathBuf,
    /// The file with the public keys of the devices' tokens that are signed with EdDSA.
    pub jwt_eddsa_public_key_file: PathBuf,
}

/// The table `[devices]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DevicesTable {
    /// Whether a device with a valid token is registered when it is first heard of.
    pub auto_register: bool,
}

/// The table `[mailbox]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MailboxTable {
    /// How many days a message waits, unless it says less.
    pub ttl_days: u32,
    /// Messages that may wait for one device.
    pub messages_per_device_max: u64,
    /// Bytes that may wait for one device.
    pub bytes_per_device_max: u64,
    /// Bytes of the whole store on disk; 0 for no limit but the disk.
    pub bytes_total_max: u64,
    /// For how many seconds the deduplication ids of publishers are remembered.
    pub dedup_window_seconds: u32,
}

/// The table `[api]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApiTable {
    /// The file with the publishers' keys.
    pub key_file: PathBuf,
}

/// The table `[edge]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EdgeTable {
    /// Origins whose pages may connect; empty for any.
    pub allowed_origins: Vec<String>,
    /// The origin of the gateway's own pages, which may always connect; empty if there are none.
    pub own_origin: String,
    /// Addresses and networks that speak PROXY protocol v2 to us.
    pub proxy_protocol_from: Vec<String>,
    /// `SO_SNDBUF` of each connection, in bytes.
    pub send_buffer_bytes: usize,
}

/// The table `[drain]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DrainTable {
    /// Clients are told to come back after a random part of so many milliseconds.
    pub reconnect_within_ms: u32,
    /// The process ends after so many milliseconds, whatever is still open.
    pub deadline_ms: u32,
}

/// The table `[log]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogTable {
    /// A level, or directives like `warn,campanile=debug`.
    pub filter: String,
}

/// Why the gateway cannot use a configuration. The operator has to change it.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}: {error}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file is not TOML, has a key that does not exist, or a value of the wrong type.
    #[error("{path}: {problem}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, what is wrong with it, and the nearest key that exists.
        problem: String,
    },
    /// A value cannot be used.
    #[error("{key}: {problem}")]
    Invalid {
        /// The key, with its table, and the flag that overrides it.
        key: Key,
        /// What is wrong, and what would be right.
        problem: String,
    },
}

/// The name of a setting: its key in the file, and its flag if there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// `table.key`.
    pub name: Cow<'static, str>,
    /// Without the dashes.
    pub flag: Option<&'static str>,
}

impl Key {
    /// A setting without a flag.
    fn new(name: impl Into<Cow<'static, str>>) -> Key {
        Key { name: name.into(), flag: None }
    }

    const fn fixed(name: &'static str, flag: Option<&'static str>) -> Key {
        Key { name: Cow::Borrowed(name), flag }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.flag {
            Some(flag) => write!(f, "{} (--{flag})", self.name),
            None => f.write_str(&self.name),
        }
    }
}

impl FileConfig {
    /// Reads a file.
    ///
    /// # Errors
    /// [`ConfigError::Unreadable`] and [`ConfigError::Malformed`].
    pub fn load(path: &Path) -> Result<FileConfig, ConfigError> {
        let text =
            fs::read_to_string(path).map_err(|error| ConfigError::Unreadable { path: path.into(), error })?;
        toml::from_str(&text).map_err(|error| {
            let suggestion = nearest_key(error.message())
                .map(|key| format!("did you mean `{key}`?\n"))
                .unwrap_or_default();
            ConfigError::Malformed { path: path.into(), problem: format!("{error}{suggestion}") }
        })
    }
}

/// From "unknown field `x`, expected one of `a`, `b`": which of the expected names is most like the unknown one.
fn nearest_key(message: &str) -> Option<&str> {
    /// Names that are less alike are no spelling mistakes.
    const LIKENESS_MIN: f64 = 0.8;
    let mut names = message.strip_prefix("unknown field `")?.split('`').step_by(2);
    let unknown = names.next()?;
    names
        .map(|name| (strsim::jaro_winkler(unknown, name), name))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

impl Default for FileConfig {
    fn default() -> Self {
        FileConfig {
            listen: "127.0.0.1:8080".into(),
            api_listen: "127.0.0.1:8081".into(),
            admin_listen: "127.0.0.1:8082".into(),
            devices_listen: "127.0.0.1:8083".into(),
            shards: 0,
            driver: "auto".into(),
            data_dir: "data".into(),
            auth: AuthTable::default(),
            api: ApiTable::default(),
            devices: DevicesTable::default(),
            mailbox: MailboxTable::default(),
            channels: ChannelsTable::default(),
            edge: EdgeTable::default(),
            drain: DrainTable::default(),
            limits: Limits::default(),
            log: LogTable::default(),
        }
    }
}

impl Default for DevicesTable {
    fn default() -> Self {
        DevicesTable { auto_register: true }
    }
}

impl Default for MailboxTable {
    fn default() -> Self {
        MailboxTable {
            ttl_days: 30,
            messages_per_device_max: 200_000,
            bytes_per_device_max: 256 << 20,
            bytes_total_max: 0,
            dedup_window_seconds: 600,
        }
    }
}

impl Default for EdgeTable {
    fn default() -> Self {
        EdgeTable {
            allowed_origins: Vec::new(),
            own_origin: String::new(),
            proxy_protocol_from: Vec::new(),
            send_buffer_bytes: 16 * 1024,
        }
    }
}

impl Default for DrainTable {
    fn default() -> Self {
        DrainTable { reconnect_within_ms: 10_000, deadline_ms: 10_000 }
    }
}

impl Default for LogTable {
    fn default() -> Self {
        LogTable { filter: "info,fjall=warn,lsm_tree=warn".into() }
    }
}

#[cfg(test)]
mod tests;
