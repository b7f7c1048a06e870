//! What the machine must have, with advice when it has not.

use std::fs;

use anyhow::{Context, bail, ensure};
use campanile_floor::sockets_per_ring_max;

use super::Setup;
use crate::kernel_memory::available_bytes;

/// Kernel memory to expect for both ends of a connection that is polled, generously.
const BYTES_PER_CONNECTION: u64 = 12 * 1024;

/// Divides the connections among rings, after checking that tables, memory and ports suffice.
pub(super) fn connections_per_ring(connections: u32, setup: &Setup) -> anyhow::Result<Vec<u32>> {
    ensure!(connections > 0, "at least one connection is needed");
    let per_ring_max = sockets_per_ring_max();
    ensure!(per_ring_max > 0, "nofile is too small to hold any socket: raise it with `ulimit -n`");
    let needed = connections.div_ceil(per_ring_max);
    let rings = setup.rings.unwrap_or(needed);
    if rings < needed {
        bail!(
            "{rings} rings hold {} sockets under this nofile limit ({per_ring_max} each): use --rings {needed}, \
             fewer connections, or raise nofile",
            u64::from(rings) * u64::from(per_ring_max)
        );
    }
    let (each, rest) = (connections / rings, connections % rings);
    ensure!(each > 0, "{rings} rings are too many for {connections} connections");
    check_memory(connections)?;
    check_ports(each + 1, setup.sources)?;
    Ok((0..rings).map(|ring| each + u32::from(ring < rest)).collect())
}

fn check_memory(connections: u32) -> anyhow::Result<()> {
    let needed = u64::from(connections) * BYTES_PER_CONNECTION;
    let available = available_bytes()?;
    ensure!(
        needed <= available,
        "{connections} connections may take {} MiB of kernel memory and {} MiB are available: use fewer connections",
        needed >> 20,
        available >> 20
    );
    Ok(())
}

/// Each source address gives as many connections to one listener as there are ephemeral ports.
fn check_ports(connections_per_listener: u32, sources: u8) -> anyhow::Result<()> {
    let range =
        fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").context("cannot read the port range")?;
    let ports: Vec<u32> = range.split_whitespace().filter_map(|port| port.parse().ok()).collect();
    let [low, high] = ports[..] else { bail!("the port range is not two numbers: {range}") };
    let available = high.saturating_sub(low).saturating_add(1).saturating_mul(sources.into());
    ensure!(
        connections_per_listener <= available,
        "{connections_per_listener} connections to one listener need more ports than the {available} of {sources} \
         source addresses: use more --sources or --rings, or widen net.ipv4.ip_local_port_range"
    );
    Ok(())
}
