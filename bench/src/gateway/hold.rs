//! Very many connections that do nothing but answer pings.

use std::time::{Duration, Instant};

use clap::Args;

use super::process::Gateway;
use super::{Setup, floor};
use crate::kernel_memory::KernelMemory;
use crate::report::{Asked, Figures, Findings};

/// Memory per connection and idle CPU. The kernel's share is compared with bare accepted sockets, the CPU with the
/// floor's pings, measured in the same run.
#[derive(Args, Debug)]
pub(crate) struct Hold {
    /// Connections in all, each a session of a device
    #[arg(long, default_value_t = 100_000)]
    connections: u32,
    /// Devices of each user
    #[arg(long, default_value_t = 1)]
    devices_per_user: u32,
    /// Seconds over which the idle CPU is measured
    #[arg(long, default_value_t = 50)]
    seconds: u64,
    /// Leave out the floor
    #[arg(long)]
    no_floor: bool,
    #[command(flatten)]
    setup: Setup,
}

/// How long connecting may take.
const CONNECT_PATIENCE: Duration = Duration::from_secs(120);
/// The floor pings for no longer than this, in seconds.
const FLOOR_SECONDS_MAX: u64 = 30;
/// The gateway's default ping interval.
const PING_INTERVAL: Duration = Duration::from_secs(25);

impl Hold {
    pub(super) fn run(self) -> anyhow::Result<()> {
        self.setup.output.measure(|| self.once())
    }

    fn once(&self) -> anyhow::Result<Findings> {
        let connections = f64::from(self.connections);
        let most = self.connections.to_string();
        // Before the gateway: what one run leaves in the kernel's caches makes the next look smaller.
        let bare = if self.no_floor {
            None
        } else {
            Some(floor::run(&self.setup, &self.floor_arguments(&["accepts", "--hold", "--poll"]))?)
        };
        let gateway = Gateway::start(&self.setup, &["--max-connections", &most])?;
        let kernel_before = KernelMemory::settled()?;
        let ready_bytes = gateway.resident_bytes()?;
        let load = gateway.start_load(&[
            "--connections".into(),
            self.connections.to_string(),
            "--devices-per-user".into(),
            self.devices_per_user.to_string(),
            "--hold".into(),
            (self.seconds + 90).to_string(),
        ])?;
        gateway.wait_for_sessions(self.connections.into(), CONNECT_PATIENCE)?;
        let kernel_held = KernelMemory::settled()?;
        // Every connection has been pinged at least once after this, so that what pings need is counted.
        std::thread::sleep(PING_INTERVAL);
        let idle = self.idle(&gateway)?;
        let held_bytes = gateway.resident_bytes()?;
        let refused = gateway.metric("campanile_upgrades_refused_full_total")?;
        let sessions = gateway.metric("campanile_sessions")?;
        drop(load);
        gateway.stop()?;

        let mut report = Findings::new();
        report.add("connections", connections);
        report.add_promise("sessions_at_the_end", Asked::AtLeast(connections), sessions as f64);
        report.add_promise("refused", Asked::AtMost(0.0), refused as f64);
        report.add("rss_ready_bytes", ready_bytes as f64);
        report.add("rss_held_bytes", held_bytes as f64);
        let grown = (held_bytes as f64 - ready_bytes as f64) / connections;
        report.add_target("rss_per_session_bytes", Asked::AtMost(256.0), grown);
        report.add("idle_seconds", idle.seconds);
        report.add("pings", idle.pings as f64);
        report.add("pongs", idle.pongs as f64);
        report.add("idle_cpu_msec_per_second", idle.cpu_msec_per_second);
        let both_ends = kernel_held.bytes_per_connection_since(&kernel_before, self.connections);
        report.add("kernel_both_ends_bytes", both_ends);
        if let Some(bare) = bare {
            self.compare(&mut report, &bare, both_ends, idle.cpu_msec_per_second)?;
        }
        report.must(sessions == u64::from(self.connections), || format!("only {sessions} sessions lasted"));
        report.leaves_out(
            "sockets that hold no data: what is under way to a device, or waits for it, takes memory besides",
        );
        Ok(report)
    }

    fn idle(&self, gateway: &Gateway) -> anyhow::Result<Idle> {
        let read = || -> anyhow::Result<(u64, u64, f64)> {
            let pings = gateway.metric("campanile_pings_sent_total")?;
            let pongs = gateway.metric("campanile_pongs_received_total")?;
            Ok((pings, pongs, gateway.cpu_seconds()?))
        };
        let (start, before) = (Instant::now(), read()?);
        std::thread::sleep(Duration::from_secs(self.seconds));
        let after = read()?;
        let seconds = start.elapsed().as_secs_f64();
        Ok(Idle {
            seconds,
            pings: after.0 - before.0,
            pongs: after.1 - before.1,
            cpu_msec_per_second: (after.2 - before.2) * 1e3 / seconds,
        })
    }

    fn floor_arguments(&self, words: &[&str]) -> Vec<String> {
        let connections = self.connections.to_string();
        words.iter().map(|&word| word.to_owned()).chain(["--connections".into(), connections]).collect()
    }

    fn compare(
        &self,
        report: &mut Findings,
        bare: &Figures,
        both_ends: f64,
        idle_cpu: f64,
    ) -> anyhow::Result<()> {
        let bare_both_ends = floor::figure(bare, "kernel_both_ends_bytes")?;
        let poll = floor::figure(bare, "kernel_server_poll_bytes")?;
        report.add("floor_kernel_both_ends_bytes", bare_both_ends);
        report.add("floor_kernel_poll_bytes", poll);
        // The load generator polls its end too, which the floor's bare clients do not.
        let beyond = both_ends - poll - bare_both_ends;
        report.add_target("kernel_beyond_bare_socket_bytes", Asked::AtMost(350.0), beyond);
        let seconds = self.seconds.min(FLOOR_SECONDS_MAX).to_string();
        let ping = floor::run(&self.setup, &self.floor_arguments(&["ping", "--seconds", &seconds]))?;
        let ping_cpu = floor::figure(&ping, "server_cpu_msec_per_second")?;
        report.add("floor_ping_cpu_msec_per_second", ping_cpu);
        report.add_target("idle_cpu_ratio", Asked::AtMost(1.3), idle_cpu / ping_cpu);
        Ok(())
    }
}

struct Idle {
    seconds: f64,
    pings: u64,
    pongs: u64,
    cpu_msec_per_second: f64,
}
