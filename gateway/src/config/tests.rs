use std::fs;
use std::time::Duration;

use campanile_core::namespaces::{Namespace, Namespaces, SlowPolicy};
use tempfile::TempDir;

use super::*;

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/campanile.example.toml");

/// A directory with the two secrets, and a configuration that names them.
fn valid() -> (TempDir, FileConfig) {
    let dir = tempfile::tempdir().unwrap();
    let mut config = FileConfig { data_dir: dir.path().join("new/data"), ..FileConfig::default() };
    config.auth.jwt_hs256_file = dir.path().join("jwt.secret");
    config.api.key_file = dir.path().join("api.keys");
    fs::write(&config.auth.jwt_hs256_file, "0123456789abcdef0123456789abcdef\n").unwrap();
    fs::write(&config.api.key_file, "0123456789abcdef\n").unwrap();
    (dir, config)
}

fn load(text: &str) -> Result<FileConfig, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("campanile.toml");
    fs::write(&path, text).unwrap();
    FileConfig::load(&path)
}

#[test]
fn the_example_has_every_key_with_its_default() {
    assert_eq!(FileConfig::load(Path::new(EXAMPLE)).unwrap(), FileConfig::default());
    let example: toml::Table = fs::read_to_string(EXAMPLE).unwrap().parse().unwrap();
    assert_eq!(example, toml::Table::try_from(FileConfig::default()).unwrap());
}

#[test]
fn an_empty_file_means_the_defaults() {
    assert_eq!(load("").unwrap(), FileConfig::default());
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_nearest_one() {
    for (text, key, nearest, line) in [
        ("shard = 2", "`shard`", "`shards`", "line 1"),
        ("\n[limits]\nmax_conections = 2", "`max_conections`", "`max_connections`", "line 3"),
        ("[api]\nkeyfile = 'x'", "`keyfile`", "`key_file`", "line 2"),
    ] {
        let error = load(text).unwrap_err().to_string();
        for part in [key, line, &format!("did you mean {nearest}"), "campanile.toml"] {
            assert!(error.contains(part), "{part} is missing in: {error}");
        }
    }
    let error = load("[quantum]\nentangled = true").unwrap_err().to_string();
    assert!(error.contains("`quantum`") && !error.contains("did you mean"), "{error}");
}

#[test]
fn a_value_of_the_wrong_type_is_an_error_with_its_line() {
    for text in ["shards = 'two'", "listen = 8080", "[limits]\nfragments_max = -1", "shards = ", "[limits"] {
        let error = load(text).unwrap_err().to_string();
        assert!(error.contains("line "), "{error}");
    }
}

#[test]
fn a_file_that_is_missing_is_named() {
    let error = FileConfig::load(Path::new("/nowhere/campanile.toml")).unwrap_err().to_string();
    assert!(error.contains("/nowhere/campanile.toml"), "{error}");
}

#[test]
fn a_complete_configuration_becomes_settings() {
    let (_dir, mut config) = valid();
    config.edge.allowed_origins = vec!["https://Chat.Example.com".into(), "http://localhost:3000".into()];
    config.edge.proxy_protocol_from = vec!["10.0.0.0/8".into(), "192.0.2.1".into(), "::1".into()];
    config.shards = 3;
    let settings = config.validate().unwrap();
    assert_eq!(settings.listen, "127.0.0.1:8080".parse().unwrap());
    assert_eq!(settings.shards.map(|count| count.get()), Some(3));
    assert_eq!(format!("{:?}", settings.verifier), "Verifier(1 HS256 and 0 EdDSA keys)");
    assert!(settings.api_keys.fingerprint(b"0123456789abcdef").is_some());
    assert_eq!(settings.mailbox.ttl, Duration::from_secs(2_592_000));
    assert_eq!(settings.mailbox.dedup_window, Duration::from_secs(600));
    assert_eq!(settings.mailbox.limits.bytes_total_max, u64::MAX, "0 is no limit");
    assert!(settings.auto_register);
    assert_eq!(settings.edge.allowed_origins, ["https://chat.example.com", "http://localhost:3000"]);
    let networks: Vec<String> = settings.edge.proxy_protocol_from.iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["10.0.0.0/8", "192.0.2.1/32", "::1/128"]);
    assert!(settings.data_dir.is_dir(), "the data directory is created");
}

type Change = fn(&mut FileConfig);

#[test]
fn every_wrong_value_is_refused_by_its_key() {
    let changes: &[(&str, &str, Change)] = &[
        ("listen (--listen)", "`nonsense`", |c| c.listen = "nonsense".into()),
        ("listen (--listen)", "`localhost`", |c| c.listen = "localhost".into()),
        ("api_listen (--api-listen)", "`:8081`", |c| c.api_listen = ":8081".into()),
        ("api_listen (--api-listen)", "another port", |c| c.api_listen = "127.0.0.1:8080".into()),
        ("api_listen (--api-listen)", "another port", |c| c.api_listen = "0.0.0.0:8080".into()),
        ("api_listen (--api-listen)", "`listen`", |c| c.api_listen = "127.0.0.1:8080".into()),
        ("admin_listen (--admin-listen)", "`:8082`", |c| c.admin_listen = ":8082".into()),
        ("admin_listen (--admin-listen)", "`api_listen`", |c| c.admin_listen = "[::]:8081".into()),
        ("devices_listen (--devices-listen)", "`x`", |c| c.devices_listen = "x".into()),
        ("devices_listen (--devices-listen)", "`listen`", |c| c.devices_listen = "0.0.0.0:8080".into()),
        ("devices_listen (--devices-listen)", "`admin_listen`", |c| {
            c.devices_listen = "127.0.0.1:8082".into()
        }),
        ("shards (--shards)", "100000", |c| c.shards = 100_000),
        ("driver (--driver)", "`kqueue`", |c| c.driver = "kqueue".into()),
        ("data_dir (--data-dir)", "needed", |c| c.data_dir = "".into()),
        ("data_dir (--data-dir)", "cannot create", |c| c.data_dir = "/proc/nowhere".into()),
        ("auth.jwt_hs256_file (--jwt-hs256-file)", "needed", |c| c.auth.jwt_hs256_file = "".into()),
        ("auth.jwt_eddsa_public_key_file", "/nowhere/key", |c| {
            c.auth.jwt_eddsa_public_key_file = "/nowhere/key".into()
        }),
        ("auth.jwt_eddsa_public_key_file", "neither PEM nor", |c| {
            c.auth.jwt_eddsa_public_key_file = c.api.key_file.clone()
        }),
        ("auth.jwt_hs256_file", "/nowhere/secret", |c| c.auth.jwt_hs256_file = "/nowhere/secret".into()),
        ("auth.jwt_hs256_file", "at least 32", |c| c.auth.jwt_hs256_file = c.api.key_file.clone()),
        ("api.key_file (--api-key-file)", "needed", |c| c.api.key_file = "".into()),
        ("api.key_file", "/nowhere/keys", |c| c.api.key_file = "/nowhere/keys".into()),
        ("edge.allowed_origins", "`chat.example.com`", |c| {
            c.edge.allowed_origins = vec!["chat.example.com".into()]
        }),
        ("edge.allowed_origins", "`https://a/`", |c| c.edge.allowed_origins = vec!["https://a/".into()]),
        ("edge.allowed_origins", "`*`", |c| c.edge.allowed_origins = vec!["*".into()]),
        ("edge.own_origin", "`chat.example.com`", |c| c.edge.own_origin = "chat.example.com".into()),
        ("edge.proxy_protocol_from", "`10.0.0.0/40`", |c| {
            c.edge.proxy_protocol_from = vec!["10.0.0.0/40".into()]
        }),
        ("edge.send_buffer_bytes", "0 is not", |c| c.edge.send_buffer_bytes = 0),
        ("drain.reconnect_within_ms", "3600001", |c| c.drain.reconnect_within_ms = 3_600_001),
        ("drain.deadline_ms", "0 is not", |c| c.drain.deadline_ms = 0),
        ("limits.max_connections (--max-connections)", "0 is not", |c| c.limits.max_connections = 0),
        ("limits.devices_per_user_max", "0 is not", |c| c.limits.devices_per_user_max = 0),
        ("limits.message_bytes_max", "0 is not", |c| c.limits.message_bytes_max = 0),
        ("limits.push_bytes_max", "0 is not", |c| c.limits.push_bytes_max = 0),
        ("limits.push_bytes_max", "1048576", |c| c.limits.push_bytes_max = 2 << 20),
        ("limits.fragments_max", "0 is not", |c| c.limits.fragments_max = 0),
        ("limits.frames_per_second_max", "0 is not", |c| c.limits.frames_per_second_max = 0),
        ("limits.frames_per_second_max", "100001", |c| c.limits.frames_per_second_max = 100_001),
        ("limits.handshake_timeout_ms", "0 is not", |c| c.limits.handshake_timeout_ms = 0),
        ("limits.handshakes_per_address_max", "0 is not", |c| c.limits.handshakes_per_address_max = 0),
        ("limits.ping_interval_ms", "0 is not", |c| c.limits.ping_interval_ms = 0),
        ("limits.pong_timeout_ms", "0 is not", |c| c.limits.pong_timeout_ms = 0),
        ("limits.window_messages_max", "0 is not", |c| c.limits.window_messages_max = 0),
        ("limits.window_bytes_max", "0 is not", |c| c.limits.window_bytes_max = 0),
        ("limits.acknowledge_timeout_ms", "0 is not", |c| c.limits.acknowledge_timeout_ms = 0),
        ("channels.subscriptions_per_session_max", "0 is not", |c| {
            c.channels.subscriptions_per_session_max = 0
        }),
        ("channels.subscriptions_per_session_max", "65536", |c| {
            c.channels.subscriptions_per_session_max = 65_537
        }),
        ("channels.channels_per_shard_max", "0 is not", |c| c.channels.channels_per_shard_max = 0),
        ("channels.log_bytes_per_shard_max", "0 is not", |c| c.channels.log_bytes_per_shard_max = 0),
        ("channels.offline_after_seconds", "0 is not", |c| c.channels.offline_after_seconds = 0),
        ("channels.offline_after_seconds", "86400", |c| c.channels.offline_after_seconds = 86_401),
        ("channels.default.history_messages_max", "1000000", |c| {
            c.channels.default.history_messages_max = 1_000_001
        }),
        ("channels.default.history_ttl_seconds", "0 is not", |c| c.channels.default.history_ttl_seconds = 0),
        ("channels.default.log_bytes_max", "4095 is not", |c| c.channels.default.log_bytes_max = 4_095),
        ("channels.default.log_bytes_max", "more than channels.log_bytes_per_shard_max", |c| {
            c.channels.log_bytes_per_shard_max = 1 << 20;
            c.channels.default.log_bytes_max = (1 << 20) + 1;
        }),
        ("channels.default.publishes_per_second_max", "0 is not", |c| {
            c.channels.default.publishes_per_second_max = 0
        }),
        ("mailbox.ttl_days", "0 is not", |c| c.mailbox.ttl_days = 0),
        ("mailbox.ttl_days", "366 is not", |c| c.mailbox.ttl_days = 366),
        ("mailbox.messages_per_device_max", "0 is not", |c| c.mailbox.messages_per_device_max = 0),
        ("mailbox.bytes_per_device_max", "65535 is not", |c| c.mailbox.bytes_per_device_max = 65_535),
        ("mailbox.bytes_total_max", "1 is not", |c| c.mailbox.bytes_total_max = 1),
        ("mailbox.dedup_window_seconds", "0 is not", |c| c.mailbox.dedup_window_seconds = 0),
        ("mailbox.dedup_window_seconds", "86401 is not", |c| c.mailbox.dedup_window_seconds = 86_401),
    ];
    let (_dir, config) = valid();
    config.validate().unwrap();
    for (key, part, change) in changes {
        let mut wrong = config.clone();
        change(&mut wrong);
        let error = wrong.validate().unwrap_err().to_string();
        assert!(error.starts_with(key) && error.contains(part), "expected {key} … {part}, not: {error}");
    }
}

#[test]
fn tokens_of_either_kind_are_enough() {
    const KEY: &str = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    let (dir, mut config) = valid();
    let path = dir.path().join("public.jwk");
    fs::write(&path, KEY).unwrap();
    config.auth.jwt_eddsa_public_key_file = path;
    let both = config.validate().unwrap();
    assert_eq!(format!("{:?}", both.verifier), "Verifier(1 HS256 and 1 EdDSA keys)");
    config.auth.jwt_hs256_file = "".into();
    let one = config.validate().unwrap();
    assert_eq!(format!("{:?}", one.verifier), "Verifier(0 HS256 and 1 EdDSA keys)");
}

#[test]
fn all_listeners_may_let_the_kernel_choose_a_port() {
    let (_dir, mut config) = valid();
    for listen in
        [&mut config.listen, &mut config.api_listen, &mut config.admin_listen, &mut config.devices_listen]
    {
        *listen = "127.0.0.1:0".into();
    }
    config.validate().unwrap();
}

#[test]
fn the_gateways_own_pages_may_connect_wherever_others_are_listed() {
    let (_dir, mut config) = valid();
    let allowed = |config: &FileConfig| config.validate().unwrap().edge.allowed_origins;
    config.edge.own_origin = "https://Push.Example.com".into();
    assert_eq!(allowed(&config), [""; 0], "any may connect still");
    config.edge.allowed_origins = vec!["https://chat.example.com".into()];
    assert_eq!(allowed(&config), ["https://chat.example.com", "https://push.example.com"]);
    config.edge.allowed_origins = vec!["https://push.example.com".into()];
    assert_eq!(allowed(&config), ["https://push.example.com"]);
}

fn channels(text: &str) -> Result<Namespaces, ConfigError> {
    let (_dir, valid) = valid();
    let config = FileConfig { channels: load(text)?.channels, ..valid };
    Ok(config.validate()?.namespaces)
}

#[test]
fn channels_are_by_default_what_the_shards_take_for_the_default() {
    assert_eq!(channels("").unwrap(), Namespaces::default());
    assert_eq!(channels("[channels.default]").unwrap(), Namespaces::default());
}

#[test]
fn a_namespace_has_what_it_says_and_the_rest_from_the_default() {
    let text = r#"
        [channels]
        subscriptions_per_session_max = 7
        channels_per_shard_max = 8
        log_bytes_per_shard_max = 9000000
        offline_after_seconds = 10
        [channels.default]
        history_messages_max = 11
        slow = "close"
        subscribe = "anyone"
        [channels.namespaces.chat]
        history_ttl_seconds = 12
        log_bytes_max = 13000
        deflate = true
        publishes_per_second_max = 14
        [channels.namespaces."live scores"]
        history_messages_max = 0
        slow = "conflate"
        members = true
        states = true
        subscribe = "token"
        [channels.namespaces.all]
        [channels.namespaces.presence]
        members = true
        subscribe = "token"
        publishes_per_second_max = 2
    "#;
    let namespaces = channels(text).unwrap();
    let default =
        Namespace { history_messages_max: 11, slow: SlowPolicy::Close, open: true, ..Namespace::default() };
    let chat = Namespace {
        history_ttl: Duration::from_secs(12),
        log_bytes_max: 13_000,
        deflate: true,
        publishes_per_second_max: 14,
        ..default.clone()
    };
    let scores = Namespace {
        history_messages_max: 0,
        slow: SlowPolicy::Conflate,
        members: true,
        states: true,
        open: false,
        ..default.clone()
    };
    let presence = Namespace { members: true, open: false, publishes_per_second_max: 2, ..default.clone() };
    let expected = Namespaces {
        named: [("chat", chat), ("live scores", scores), ("all", default.clone()), ("presence", presence)]
            .map(|(name, namespace)| (name.to_owned(), namespace))
            .into(),
        default,
        subscriptions_per_session_max: 7,
        channels_per_shard_max: 8,
        log_bytes_per_shard_max: 9_000_000,
        offline_after: Duration::from_secs(10),
    };
    assert_eq!(namespaces, expected);
}

#[test]
fn a_wrong_namespace_is_refused_by_its_key() {
    let long = "x".repeat(254);
    for (table, line, key, part) in [
        ("a:b", "", "a:b", "leave the `:` out"),
        ("a*", "", "a*", "`*`"),
        ("", "", "", "has a name"),
        (r"a\tb", "", "a\tb", "control characters"),
        (&*long, "", &*long, "at most 253"),
        ("chat", "history_messages_max = 1000001", "chat.history_messages_max", "1000001 is not"),
        ("chat", "history_ttl_seconds = 2592001", "chat.history_ttl_seconds", "2592001 is not"),
        ("chat", "log_bytes_max = 1", "chat.log_bytes_max", "1 is not"),
        ("chat", "log_bytes_max = 268435457", "chat.log_bytes_max", "channels.log_bytes_per_shard_max"),
        ("chat", "publishes_per_second_max = 10001", "chat.publishes_per_second_max", "10001 is not"),
        ("presence", "history_messages_max = 0", "presence.history_messages_max", "no messages"),
        ("presence", "history_ttl_seconds = 1", "presence.history_ttl_seconds", "no messages"),
        ("presence", "log_bytes_max = 5000", "presence.log_bytes_max", "no messages"),
        ("presence", "slow = 'skip'", "presence.slow", "no messages"),
        ("presence", "deflate = false", "presence.deflate", "no messages"),
        ("presence", "publishes_per_second_max = 0", "presence.publishes_per_second_max", "0 is not"),
    ] {
        let error = channels(&format!("[channels.namespaces.\"{table}\"]\n{line}")).unwrap_err().to_string();
        let start = format!("channels.namespaces.{key}: ");
        assert!(error.starts_with(&start) && error.contains(part), "expected {start}… {part}, not: {error}");
    }
}

#[test]
fn what_is_no_setting_of_a_namespace_is_named_with_its_line() {
    for (text, parts) in [
        (
            "[channels]\nsubscriptions_max = 1",
            ["`subscriptions_max`", "line 2", "`subscriptions_per_session_max`"],
        ),
        (
            "[channels.default]\nhistory_mesages_max = 1",
            ["`history_mesages_max`", "line 2", "did you mean `history_messages_max`"],
        ),
        ("[channels.namespaces.chat]\n\nmember = true", ["`member`", "line 3", "did you mean `members`"]),
        ("[channels.namespaces.chat]\nslow = 'drop'", ["`drop`", "line 2", "`skip`, `conflate`, `close`"]),
        ("[channels.default]\nsubscribe = true", ["true", "line 2", "subscribe"]),
        ("[channels.default]\nsubscribe = 'all'", ["`all`", "line 2", "`token` or `anyone`"]),
        ("[channels.namespaces]\nchat = 1", ["integer `1`", "line 2", "chat"]),
    ] {
        let error = load(text).unwrap_err().to_string();
        for part in parts {
            assert!(error.contains(part), "{part} is missing in: {error}");
        }
    }
}
