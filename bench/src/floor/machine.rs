//! What the machine must have, with advice when it has not, and the clocks.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use campanile_floor::sockets_per_ring_max;
use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

use super::Setup;
use crate::kernel_memory::available_bytes;

/// Kernel memory to expect for both ends of a connection that is polled, generously.
const BYTES_PER_CONNECTION: u64 = 12 * 1024;

/// Keeps this thread, and those that it starts from now on, on `core`.
pub(super) fn pin_to(core: usize) -> anyhow::Result<()> {
    ensure!(core < CpuSet::MAX_CPU, "there is no core {core}");
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores).with_context(|| {
        format!("cannot run on core {core}: choose others with --server-core and --client-core")
    })
}

/// CPU time of this process so far.
pub(crate) fn process_cpu() -> Duration {
    cpu(ClockId::ProcessCPUTime)
}

/// CPU time of this thread so far.
pub(super) fn thread_cpu() -> Duration {
    cpu(ClockId::ThreadCPUTime)
}

fn cpu(clock: ClockId) -> Duration {
    Duration::try_from(clock_gettime(clock)).unwrap_or_default()
}

/// Watches how much CPU others took while something was measured, so that spoilt figures are seen to be spoilt.
pub(crate) struct OtherLoad {
    start: Instant,
    busy: Duration,
    own: Duration,
}

impl OtherLoad {
    /// Starts to watch.
    pub(crate) fn watch() -> anyhow::Result<Self> {
        Ok(Self { start: Instant::now(), busy: machine_cpu()?, own: process_cpu() })
    }

    /// What processes other than this one and the client, which took `client_seconds`, have taken since, and what
    /// the hypervisor has withheld, on all cores together: in percent of one core, to about 1 % a second.
    pub(crate) fn core_percent(&self, client_seconds: f64) -> anyhow::Result<f64> {
        let wall = self.start.elapsed().as_secs_f64();
        let busy = machine_cpu()?.saturating_sub(self.busy).as_secs_f64();
        let own = (process_cpu() - self.own).as_secs_f64() + client_seconds;
        Ok((busy - own).max(0.0) / wall * 100.0)
    }
}

/// CPU time that was not idle so far, of all cores.
fn machine_cpu() -> anyhow::Result<Duration> {
    let stat = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
    let ticks = busy_ticks(&stat).context("/proc/stat has no line for all cores")?;
    Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
}

/// user, nice, system, irq, softirq and steal of the first line, without idle and iowait; guest time is part of user.
fn busy_ticks(stat: &str) -> Option<u64> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line.split_whitespace().map_while(|number| number.parse().ok()).collect();
    Some(ticks.get(0..3)?.iter().sum::<u64>() + ticks.get(5..8)?.iter().sum::<u64>())
}

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

#[cfg(test)]
mod tests {
    use super::busy_ticks;

    #[test]
    fn waiting_is_not_work() {
        let stat = "cpu  1 20 300 9999 8888 4000 50000 600000 7 7\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
        assert_eq!(busy_ticks(stat), Some(654_321));
        assert_eq!(busy_ticks("cpu  1 2 3 4\n"), None);
    }
}
