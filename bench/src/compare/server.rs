//! The server that is measured: started here on a core of its own, or running already.

use std::net::{SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use campanile_harness::{Launch, Process, Usage};

/// How long it may take to listen.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often that is looked at.
const STEP: Duration = Duration::from_millis(20);
/// How long it may take to answer one attempt to connect.
const CONNECT_PATIENCE: Duration = Duration::from_secs(1);

/// A server process, and all that it starts. One that was started here is ended when this is dropped.
pub(super) struct Server {
    pid: u32,
    process: Option<Process>,
}

impl Server {
    /// Runs `command` with the shell, on `core` if one is given, and waits until it listens at `address`.
    pub(super) fn start(command: &str, core: Option<usize>, address: SocketAddrV4) -> anyhow::Result<Self> {
        ensure!(
            TcpStream::connect_timeout(&address.into(), CONNECT_PATIENCE).is_err(),
            "something listens at {address} already: end it, leave out --server, or write {{port}} for the port"
        );
        // Asked first, since whoever has started others must end those.
        let launch = Launch::new("sh").args(["-c", &format!("exec {command}")]).on_core(core).asked_to_end();
        let process = launch.start().with_context(|| format!("cannot start --server {command}"))?;
        let mut server = Self { pid: process.pid(), process: Some(process) };
        server.wait_until_it_listens(command, address)?;
        Ok(server)
    }

    /// One that runs already.
    pub(super) fn running(pid: u32) -> anyhow::Result<Self> {
        let server = Self { pid, process: None };
        server.usage().context("--server-pid")?;
        Ok(server)
    }

    /// CPU and memory of the process and all that it has started.
    pub(super) fn usage(&self) -> anyhow::Result<Usage> {
        Ok(Usage::of_all_of(self.pid)?)
    }

    fn wait_until_it_listens(&mut self, command: &str, address: SocketAddrV4) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect_timeout(&address.into(), CONNECT_PATIENCE).is_err() {
            if let Some(process) = &mut self.process
                && let Some(status) = process.ended()?
            {
                bail!("the server ended with {status}, before it listened at {address}: {command}");
            }
            ensure!(
                Instant::now() < deadline,
                "the server does not listen at {address} after {} s: {command}",
                PATIENCE.as_secs()
            );
            std::thread::sleep(STEP);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_ends_at_once_is_reported_with_its_status() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let taken = listener.local_addr().expect("an address").to_string().parse().expect("IPv4");
        let error = |address| Server::start("false", None, address).err().expect("an error").to_string();
        assert!(error(taken).contains("listens at"), "{}", error(taken));
        drop(listener);
        assert!(error(taken).contains("exit status: 1"), "{}", error(taken));
    }

    #[test]
    fn this_process_uses_memory() {
        let usage = Server::running(std::process::id()).and_then(|server| server.usage()).expect("figures");
        assert!(usage.resident_bytes > 100_000, "{usage:?}");
        assert!(Server::running(u32::MAX).is_err());
    }
}
