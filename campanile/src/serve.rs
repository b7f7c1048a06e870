//! `campanile serve`

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread;

use anyhow::Context as _;
use campanile_engine::DriverChoice;
use clap::Args;

use campanile_gateway::config::FileConfig;
use campanile_gateway::node::Node;
use campanile_gateway::panics;

use crate::log;

/// The arguments of `campanile serve`. Each flag overrides the configuration file.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ServeArgs {
    /// The configuration file; docs/campanile.example.toml has every key with its default
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where devices connect [default: 127.0.0.1:8080]; port 0 lets the kernel choose one
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<SocketAddr>,
    /// Where publishers connect [default: 127.0.0.1:8081]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) api_listen: Option<SocketAddr>,
    /// Where operators connect [default: 127.0.0.1:8082]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) admin_listen: Option<SocketAddr>,
    /// Where devices that poll connect [default: 127.0.0.1:8083]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) devices_listen: Option<SocketAddr>,
    /// How many shards [default: 0, from --max-connections and the cores]
    #[arg(long, value_name = "N")]
    pub(crate) shards: Option<usize>,
    /// auto, uring or epoll [default: auto]
    #[arg(long, value_name = "DRIVER")]
    pub(crate) driver: Option<DriverChoice>,
    /// The file with the secret of devices' tokens that are signed with HS256; this or the next is required, here or in
    /// the configuration file
    #[arg(long, value_name = "FILE")]
    pub(crate) jwt_hs256_file: Option<PathBuf>,
    /// The file with the public keys of devices' tokens that are signed with EdDSA: PEM, a JWK or a JWK set
    #[arg(long, value_name = "FILE")]
    pub(crate) jwt_eddsa_public_key_file: Option<PathBuf>,
    /// The file with the publishers' keys, one on each line (required, here or in the configuration file)
    #[arg(long, value_name = "FILE")]
    pub(crate) api_key_file: Option<PathBuf>,
    /// Where messages wait and devices are registered [default: data]
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Connections of the node [default: 100000]
    #[arg(long, value_name = "N")]
    pub(crate) max_connections: Option<u32>,
    /// An origin whose pages may connect; repeat for more [default: any]
    #[arg(long, value_name = "ORIGIN")]
    pub(crate) allowed_origin: Vec<String>,
    /// An address or network that speaks PROXY protocol v2; repeat for more
    #[arg(long, value_name = "NETWORK")]
    pub(crate) proxy_protocol_from: Vec<String>,
    /// A level, or directives like warn,campanile=debug [default: RUST_LOG, or info without the database's]
    #[arg(long, value_name = "FILTER")]
    pub(crate) log: Option<String>,
}

impl ServeArgs {
    /// The configuration file with the flags over it.
    ///
    /// # Errors
    /// As [`FileConfig::load`].
    pub(crate) fn configuration(&self) -> Result<FileConfig, campanile_gateway::config::ConfigError> {
        let mut config = match &self.config {
            Some(path) => FileConfig::load(path)?,
            None => FileConfig::default(),
        };
        let flags = self.clone();
        set(&mut config.listen, flags.listen.map(|address| address.to_string()));
        set(&mut config.api_listen, flags.api_listen.map(|address| address.to_string()));
        set(&mut config.admin_listen, flags.admin_listen.map(|address| address.to_string()));
        set(&mut config.devices_listen, flags.devices_listen.map(|address| address.to_string()));
        set(&mut config.shards, flags.shards);
        set(&mut config.driver, flags.driver.map(|driver| driver.to_string()));
        set(&mut config.auth.jwt_hs256_file, flags.jwt_hs256_file);
        set(&mut config.auth.jwt_eddsa_public_key_file, flags.jwt_eddsa_public_key_file);
        set(&mut config.api.key_file, flags.api_key_file);
        set(&mut config.data_dir, flags.data_dir);
        set(&mut config.limits.max_connections, flags.max_connections);
        set(&mut config.edge.allowed_origins, Some(flags.allowed_origin).filter(|list| !list.is_empty()));
        set(
            &mut config.edge.proxy_protocol_from,
            Some(flags.proxy_protocol_from).filter(|list| !list.is_empty()),
        );
        set(&mut config.log.filter, flags.log);
        Ok(config)
    }
}

fn set<T>(value: &mut T, flag: Option<T>) {
    if let Some(flag) = flag {
        *value = flag;
    }
}

/// Runs a gateway until SIGTERM or SIGINT. Once it is ready it prints one line to standard output:
/// `ready listen=ADDRESS api=ADDRESS admin=ADDRESS devices=ADDRESS driver=NAME shards=N max_connections=N`.
///
/// # Errors
/// When the configuration cannot be used, the node does not start, or a shard breaks.
pub(crate) fn run(args: &ServeArgs) -> anyhow::Result<()> {
    let config = args.configuration()?;
    log::begin(args.log.as_deref(), &config.log.filter)?;
    panics::end_the_process();
    let settings = config.validate()?;
    let node = Node::start(&settings)?;
    // Before it says that it is ready: from then on it may be asked to drain.
    let signals = node.catch_signals().context("signals cannot be caught")?;
    let ready = format!(
        "ready listen={} api={} admin={} devices={} driver={} shards={} max_connections={}\n",
        node.listen(),
        node.api_listen(),
        node.admin_listen(),
        node.devices_listen(),
        node.status().driver,
        node.plan().shards,
        node.plan().connections_max
    );
    // Whoever does not read it does not want it; who has stopped to read must not keep the node from its signals.
    thread::Builder::new().name("ready".into()).spawn(move || {
        let mut out = io::stdout();
        let _ = out.write_all(ready.as_bytes()).and_then(|()| out.flush());
    })?;
    node.serve_until_signal(signals).context("the node broke")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn parse(line: &str) -> ServeArgs {
        match Cli::parse_from(line.split_whitespace()).command {
            Command::Serve(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn flags_override_the_file_and_leave_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("campanile.toml");
        std::fs::write(&path, "shards = 3\ndriver = 'uring'\n[limits]\nmax_connections = 7").unwrap();
        let line = format!(
            "campanile serve --config {} --listen 127.0.0.1:1 --api-listen [::1]:2 --admin-listen \
             127.0.0.1:3 --devices-listen 127.0.0.1:4 --driver epoll --jwt-hs256-file j \
             --jwt-eddsa-public-key-file e --api-key-file k --data-dir d --allowed-origin https://a --allowed-origin https://b \
             --proxy-protocol-from 10.0.0.0/8 --log debug",
            path.display()
        );
        let config = parse(&line).configuration().unwrap();
        let mut expected = FileConfig {
            listen: "127.0.0.1:1".into(),
            api_listen: "[::1]:2".into(),
            admin_listen: "127.0.0.1:3".into(),
            devices_listen: "127.0.0.1:4".into(),
            shards: 3,
            driver: "epoll".into(),
            data_dir: "d".into(),
            ..FileConfig::default()
        };
        expected.auth.jwt_hs256_file = "j".into();
        expected.auth.jwt_eddsa_public_key_file = "e".into();
        expected.api.key_file = "k".into();
        expected.edge.allowed_origins = vec!["https://a".into(), "https://b".into()];
        expected.edge.proxy_protocol_from = vec!["10.0.0.0/8".into()];
        expected.limits.max_connections = 7;
        expected.log.filter = "debug".into();
        assert_eq!(config, expected);
    }

    #[test]
    fn no_flags_and_no_file_are_the_defaults() {
        assert_eq!(parse("campanile serve").configuration().unwrap(), FileConfig::default());
    }
}
