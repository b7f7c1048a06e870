//! How fast connections are accepted, and what the kernel keeps for one.

use std::net::SocketAddrV4;
use std::time::Duration;

use campanile_floor::{Accepted, FloorError, Server};
use campanile_harness::process::pin;
use campanile_harness::usage::OtherLoad;
use clap::Args;

use super::client::{CONNECT, OPEN, Role, Sample};
use super::machine::connections_per_ring;
use super::peer::Peer;
use super::workers::{Measured, Workers, total_cpu};
use super::{CONNECT_PATIENCE, Setup};
use crate::kernel_memory::KernelMemory;
use crate::report::Findings;

/// Accepts into direct descriptors and holds; sockets are made and bound beforehand, so the clients only connect.
#[derive(Args, Debug)]
pub(crate) struct Accepts {
    /// Connections in all
    #[arg(long, default_value_t = 100_000)]
    connections: u32,
    /// Also measure the kernel memory per connection
    #[arg(long)]
    hold: bool,
    /// With --hold: what an armed multishot poll adds at the server
    #[arg(long, requires = "hold")]
    poll: bool,
    #[command(flatten)]
    setup: Setup,
}

impl Accepts {
    pub(super) fn run(self) -> anyhow::Result<()> {
        self.setup.output.measure(|| self.once())
    }

    fn once(&self) -> anyhow::Result<Findings> {
        let quotas = connections_per_ring(self.connections, &self.setup)?;
        pin(self.setup.server_core)?;
        let servers = listen(&quotas, &[])?;
        let mut peer = Peer::start(&self.setup, Role::Hold, &targets(&servers, &quotas)?)?;

        let before = self.memory()?;
        let opened = peer.command(OPEN)?;
        let memory_opened = self.memory()?;
        let others = OtherLoad::watch()?;
        let (accepted, connected) = connect(&servers, &mut peer, quotas.clone())?;
        let others = others.core_percent(connected.cpu_seconds - opened.cpu_seconds)?;
        let memory_held = self.memory()?;

        let mut report = Findings::new();
        let done: u32 = accepted.iter().map(|one| one.value.connections).sum();
        report.add("connections", done.into());
        report.add("rings", quotas.len() as f64);
        add_speed(&mut report, &accepted, &opened, &connected);
        report.add("other_load_core_percent", others);
        if self.hold {
            let per = |now: &KernelMemory, then: &KernelMemory| now.bytes_per_connection_since(then, done);
            report.add("kernel_client_end_bytes", per(&memory_opened, &before));
            report.add("kernel_server_end_bytes", per(&memory_held, &memory_opened));
            report.add("kernel_both_ends_bytes", per(&memory_held, &before));
            if self.poll {
                servers.run(|server, _| server.poll_all())?;
                let armed = self.memory()?;
                report.add("kernel_server_poll_bytes", per(&armed, &memory_held));
                report.add("kernel_server_end_polled_bytes", per(&armed, &memory_opened));
            }
        }
        close(servers)?;
        peer.stop()?;
        report
            .must(done == self.connections, || format!("only {done} of {} were accepted", self.connections));
        Ok(report)
    }

    /// The kernel's memory if it is asked for.
    fn memory(&self) -> anyhow::Result<KernelMemory> {
        if self.hold { KernelMemory::settled() } else { Ok(KernelMemory::default()) }
    }
}

fn add_speed(report: &mut Findings, accepted: &[Measured<Accepted>], opened: &Sample, connected: &Sample) {
    let first = accepted.iter().filter_map(|one| one.value.first).min();
    let last = accepted.iter().filter_map(|one| one.value.last).max();
    let wall = match (first, last) {
        (Some(first), Some(last)) => last - first,
        _ => Duration::ZERO,
    };
    let done: u32 = accepted.iter().map(|one| one.value.connections).sum();
    let server_cpu = total_cpu(accepted).as_secs_f64();
    let client_cpu = connected.cpu_seconds - opened.cpu_seconds;
    let wall = wall.as_secs_f64().max(1e-9);
    report.add("accepts_per_second", f64::from(done) / wall);
    report.add("accept_server_cpu_usec", server_cpu * 1e6 / f64::from(done));
    report.add("connect_client_cpu_usec", client_cpu * 1e6 / f64::from(done));
    report.add("accepts_per_server_cpu_second", f64::from(done) / server_cpu);
    report.add("server_core_percent", server_cpu / wall * 100.0);
    report.add("client_core_percent", client_cpu / wall * 100.0);
}

/// One server per quota, each on a thread of its own.
pub(super) fn listen(quotas: &[u32], payload: &'static [u8]) -> anyhow::Result<Workers<Server>> {
    Workers::new(quotas.iter().map(|&quota| move || Server::listen(quota, payload)).collect())
}

/// Where clients of each server go, and how many.
pub(super) fn targets(servers: &Workers<Server>, quotas: &[u32]) -> anyhow::Result<Vec<(SocketAddrV4, u32)>> {
    let addresses = servers.run(|server, _| server.address())?;
    Ok(addresses.iter().map(|address| address.value).zip(quotas.iter().copied()).collect())
}

/// Lets the peer connect while all servers accept; the peer's answer is from when its last connect was done.
pub(super) fn connect(
    servers: &Workers<Server>,
    peer: &mut Peer,
    quotas: Vec<u32>,
) -> anyhow::Result<(Vec<Measured<Accepted>>, Sample)> {
    let accepting = servers.start(move |server, number| {
        let quota = quotas[number];
        let accepted = server.accept(quota, CONNECT_PATIENCE)?;
        if accepted.connections < quota {
            let done = accepted.connections;
            return Err(FloorError::TimedOut { what: "connections were accepted", done, expected: quota });
        }
        Ok(accepted)
    });
    let connected = peer.command(CONNECT)?;
    Ok((accepting.wait()?, connected))
}

/// Resets all connections.
pub(super) fn close(servers: Workers<Server>) -> anyhow::Result<()> {
    servers.run(|server, _| server.close())?;
    Ok(())
}
