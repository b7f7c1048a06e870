//! What the configuration means: checked values.

use std::borrow::Cow;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use campanile_core::limits::Limits;
use campanile_core::namespaces::Namespaces;
use campanile_core::tokens::{EddsaKeys, Verifier};
use campanile_engine::DriverChoice;
use campanile_mailbox::MailboxLimits;
use ipnet::IpNet;

use super::{ApiKeys, AuthTable, ConfigError, EdgeTable, FileConfig, HmacSecret, Key, MailboxTable};
use crate::capacity::SHARDS_MAX;

/// Checked settings. Secrets are in memory, directories exist.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where devices connect. Port 0 lets the kernel choose one.
    pub listen: SocketAddr,
    /// Where publishers connect.
    pub api_listen: SocketAddr,
    /// Where operators connect.
    pub admin_listen: SocketAddr,
    /// Where devices that poll connect.
    pub devices_listen: SocketAddr,
    /// How many shards; `None` leaves it to [`crate::capacity::plan`].
    pub shards: Option<NonZeroUsize>,
    /// Which driver.
    pub driver: DriverChoice,
    /// The directory of everything durable. It exists.
    pub data_dir: PathBuf,
    /// Checks the devices' tokens.
    pub verifier: Verifier,
    /// The publishers' keys.
    pub api_keys: ApiKeys,
    /// Whether a device with a valid token is registered when it is first heard of.
    pub auto_register: bool,
    /// What waits for devices.
    pub mailbox: MailboxSettings,
    /// What stands between the clients and the gateway.
    pub edge: EdgeSettings,
    /// How the gateway ends.
    pub drain: DrainSettings,
    /// The limits, each within its bounds.
    pub limits: Limits,
    /// What holds for channels.
    pub namespaces: Namespaces,
}

/// What stands between the clients and the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeSettings {
    /// Origins whose pages may connect, in lower case, the gateway's own among them; empty for any.
    pub allowed_origins: Vec<String>,
    /// Who speaks PROXY protocol v2 to us.
    pub proxy_protocol_from: Vec<IpNet>,
    /// `SO_SNDBUF` of each connection, in bytes.
    pub send_buffer_bytes: usize,
}

/// What waits for devices.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct MailboxSettings {
    /// How long a message waits, unless it says less.
    pub ttl: Duration,
    /// How much may wait.
    pub limits: MailboxLimits,
    /// For how long the deduplication ids of publishers are remembered.
    pub dedup_window: Duration,
}

/// How the gateway ends.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct DrainSettings {
    /// Clients are told to come back after a random part of so many milliseconds.
    pub reconnect_within_ms: u32,
    /// The process ends after so many milliseconds.
    pub deadline_ms: u32,
}

impl FileConfig {
    /// Checks everything, reads the secrets and creates the data directory.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`], which names the key and says what would be right.
    pub fn validate(&self) -> Result<Settings, ConfigError> {
        let [listen, api_listen, admin_listen, devices_listen] = self.addresses()?;
        check_limits(&self.limits)?;
        check_mailbox(&self.mailbox)?;
        within("edge.send_buffer_bytes", self.edge.send_buffer_bytes as u64, 2_048, 4 << 20)?;
        within("drain.reconnect_within_ms", self.drain.reconnect_within_ms.into(), 0, HOUR_MS)?;
        within("drain.deadline_ms", self.drain.deadline_ms.into(), 100, HOUR_MS)?;
        Ok(Settings {
            listen,
            api_listen,
            admin_listen,
            devices_listen,
            shards: shards(self.shards)?,
            driver: self.driver.parse().map_err(|problem| invalid(DRIVER, problem))?,
            verifier: verifier(&self.auth)?,
            api_keys: from_file(API_KEY_FILE, &self.api.key_file, ApiKeys::read)?,
            auto_register: self.devices.auto_register,
            mailbox: mailbox(&self.mailbox),
            edge: edge(&self.edge)?,
            drain: DrainSettings {
                reconnect_within_ms: self.drain.reconnect_within_ms,
                deadline_ms: self.drain.deadline_ms,
            },
            limits: self.limits.clone(),
            namespaces: self.channels.validate()?,
            // Last, so that a configuration that is refused leaves no directory behind.
            data_dir: data_dir(&self.data_dir)?,
        })
    }
}

impl FileConfig {
    /// Where the node listens, everywhere at another address.
    fn addresses(&self) -> Result<[SocketAddr; 4], ConfigError> {
        let texts = [&self.listen, &self.api_listen, &self.admin_listen, &self.devices_listen];
        let mut addresses = [SocketAddr::from(([0; 4], 0)); 4];
        for (place, (key, text)) in LISTENERS.into_iter().zip(texts).enumerate() {
            let found = address(key.clone(), text)?;
            if let Some(taken) = addresses[..place].iter().position(|&before| overlap(before, found)) {
                let problem = format!("{found} is `{}` already: choose another port", LISTENERS[taken].name);
                return Err(invalid(key, problem));
            }
            addresses[place] = found;
        }
        Ok(addresses)
    }
}

const LISTENERS: [Key; 4] = [
    Key::fixed("listen", Some("listen")),
    Key::fixed("api_listen", Some("api-listen")),
    Key::fixed("admin_listen", Some("admin-listen")),
    Key::fixed("devices_listen", Some("devices-listen")),
];
const SHARDS: Key = Key::fixed("shards", Some("shards"));
const DRIVER: Key = Key::fixed("driver", Some("driver"));
const DATA_DIR: Key = Key::fixed("data_dir", Some("data-dir"));
const JWT_FILE: Key = Key::fixed("auth.jwt_hs256_file", Some("jwt-hs256-file"));
const EDDSA_FILE: Key = Key::fixed("auth.jwt_eddsa_public_key_file", Some("jwt-eddsa-public-key-file"));
const API_KEY_FILE: Key = Key::fixed("api.key_file", Some("api-key-file"));
const ORIGINS: Key = Key::fixed("edge.allowed_origins", Some("allowed-origin"));
const OWN_ORIGIN: Key = Key::fixed("edge.own_origin", None);
const PROXIES: Key = Key::fixed("edge.proxy_protocol_from", Some("proxy-protocol-from"));

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

pub(super) fn invalid(key: Key, problem: impl Into<String>) -> ConfigError {
    ConfigError::Invalid { key, problem: problem.into() }
}

/// Whether a value is within its bounds.
pub(super) fn within(
    name: impl Into<Cow<'static, str>>,
    value: u64,
    min: u64,
    max: u64,
) -> Result<(), ConfigError> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    let mut key = Key::new(name);
    key.flag = (key.name == "limits.max_connections").then_some("max-connections");
    Err(invalid(key, format!("{value} is not between {min} and {max}")))
}

fn check_limits(limits: &Limits) -> Result<(), ConfigError> {
    for (name, value, min, max) in [
        ("limits.max_connections", limits.max_connections.into(), 1, 10_000_000),
        ("limits.devices_per_user_max", limits.devices_per_user_max.into(), 1, 1_000),
        ("limits.message_bytes_max", limits.message_bytes_max as u64, 125, 16 << 20),
        ("limits.push_bytes_max", limits.push_bytes_max as u64, 1, 1 << 20),
        ("limits.fragments_max", limits.fragments_max.into(), 1, 65_536),
        ("limits.frames_per_second_max", limits.frames_per_second_max.into(), 1, 10_000),
        ("limits.handshake_timeout_ms", limits.handshake_timeout_ms.into(), 100, HOUR_MS),
        ("limits.handshakes_per_address_max", limits.handshakes_per_address_max.into(), 1, 10_000_000),
        ("limits.ping_interval_ms", limits.ping_interval_ms.into(), 100, DAY_MS),
        ("limits.pong_timeout_ms", limits.pong_timeout_ms.into(), 100, DAY_MS),
        ("limits.window_messages_max", limits.window_messages_max.into(), 1, 65_536),
        ("limits.window_bytes_max", limits.window_bytes_max.into(), 1_024, 16 << 20),
        ("limits.acknowledge_timeout_ms", limits.acknowledge_timeout_ms.into(), 100, DAY_MS),
    ] {
        within(name, value, min, max)?;
    }
    Ok(())
}

fn check_mailbox(table: &MailboxTable) -> Result<(), ConfigError> {
    const TEBIBYTE: u64 = 1 << 40;
    within("mailbox.ttl_days", table.ttl_days.into(), 1, 365)?;
    within("mailbox.messages_per_device_max", table.messages_per_device_max, 1, 1_000_000_000)?;
    within("mailbox.bytes_per_device_max", table.bytes_per_device_max, 64 << 10, TEBIBYTE)?;
    if table.bytes_total_max != 0 {
        within("mailbox.bytes_total_max", table.bytes_total_max, 64 << 20, 1_024 * TEBIBYTE)?;
    }
    within("mailbox.dedup_window_seconds", table.dedup_window_seconds.into(), 1, 86_400)
}

fn mailbox(table: &MailboxTable) -> MailboxSettings {
    MailboxSettings {
        ttl: Duration::from_secs(u64::from(table.ttl_days) * 86_400),
        limits: MailboxLimits {
            messages_per_device_max: table.messages_per_device_max,
            bytes_per_device_max: table.bytes_per_device_max,
            bytes_total_max: if table.bytes_total_max == 0 { u64::MAX } else { table.bytes_total_max },
        },
        dedup_window: Duration::from_secs(table.dedup_window_seconds.into()),
    }
}

/// A secret, public keys, or both.
fn verifier(table: &AuthTable) -> Result<Verifier, ConfigError> {
    let (secret, eddsa) = (&table.jwt_hs256_file, &table.jwt_eddsa_public_key_file);
    let given = |path: &Path| !path.as_os_str().is_empty();
    if !given(secret) && !given(eddsa) {
        let problem = format!("a file is needed, here or in {EDDSA_FILE}");
        return Err(invalid(JWT_FILE, problem));
    }
    let secret = given(secret).then(|| from_file(JWT_FILE, secret, HmacSecret::read)).transpose()?;
    let eddsa = given(eddsa).then(|| from_file(EDDSA_FILE, eddsa, EddsaKeys::read)).transpose()?;
    Verifier::new(secret.as_ref().map(HmacSecret::as_bytes), eddsa)
        .map_err(|problem| invalid(JWT_FILE, problem.to_string()))
}

fn address(key: Key, text: &str) -> Result<SocketAddr, ConfigError> {
    text.parse().map_err(|_| {
        invalid(key, format!("`{text}` is not an IP address with a port, like 127.0.0.1:8080 or [::]:8080"))
    })
}

/// Whether the second of two listeners would find its port taken.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let any = |address: SocketAddr| address.ip().is_unspecified();
    a.port() != 0 && a.port() == b.port() && (a.ip() == b.ip() || any(a) || any(b))
}

fn shards(count: usize) -> Result<Option<NonZeroUsize>, ConfigError> {
    if count > SHARDS_MAX {
        return Err(invalid(SHARDS, format!("{count} is not between 0 (automatic) and {SHARDS_MAX}")));
    }
    Ok(NonZeroUsize::new(count))
}

fn from_file<T>(key: Key, path: &Path, read: fn(&Path) -> Result<T, String>) -> Result<T, ConfigError> {
    if path.as_os_str().is_empty() {
        return Err(invalid(key, "a file is needed"));
    }
    read(path).map_err(|problem| invalid(key, problem))
}

fn data_dir(path: &Path) -> Result<PathBuf, ConfigError> {
    if path.as_os_str().is_empty() {
        return Err(invalid(DATA_DIR, "a directory is needed"));
    }
    fs::create_dir_all(path)
        .map_err(|error| invalid(DATA_DIR, format!("cannot create {}: {error}", path.display())))?;
    Ok(path.into())
}

fn edge(table: &EdgeTable) -> Result<EdgeSettings, ConfigError> {
    let allowed = table.allowed_origins.iter().map(|text| origin(ORIGINS, text));
    let mut allowed_origins: Vec<String> = allowed.collect::<Result<_, _>>()?;
    if !table.own_origin.is_empty() {
        let own = origin(OWN_ORIGIN, &table.own_origin)?;
        // Where any may connect, it may.
        if !allowed_origins.is_empty() && !allowed_origins.contains(&own) {
            allowed_origins.push(own);
        }
    }
    Ok(EdgeSettings {
        allowed_origins,
        proxy_protocol_from: table
            .proxy_protocol_from
            .iter()
            .map(|text| network(text))
            .collect::<Result<_, _>>()?,
        send_buffer_bytes: table.send_buffer_bytes,
    })
}

/// An origin as browsers send it (RFC 6454 §6.2): scheme, host and, if it is not the scheme's own, port.
fn origin(key: Key, text: &str) -> Result<String, ConfigError> {
    let lower = text.to_ascii_lowercase();
    let good = lower.split_once("://").is_some_and(|(scheme, host)| {
        !scheme.is_empty()
            && !host.is_empty()
            && !host.contains(|c: char| matches!(c, '/' | '?' | '#' | '@' | '*') || !c.is_ascii_graphic())
    });
    if !good {
        let problem = "scheme, host and port only, like https://chat.example.com";
        return Err(invalid(key, format!("`{text}` is not an origin: {problem}")));
    }
    Ok(lower)
}

/// A network, or one address.
fn network(text: &str) -> Result<IpNet, ConfigError> {
    text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).map_err(|_| {
        invalid(PROXIES, format!("`{text}` is not an address or network, like 10.0.0.7 or 10.0.0.0/8"))
    })
}
