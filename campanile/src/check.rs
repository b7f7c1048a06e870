//! `campanile check`: what this machine allows, how many connections that makes, and what to change.

use std::fmt;
use std::num::NonZeroUsize;

use campanile_engine::DriverKind;
use clap::Args;
use serde::Serialize;

use campanile_core::limits::Limits;
use campanile_gateway::capacity::{self, NOFILE_MIN, Plan, Wanted};
use campanile_gateway::host_limits::{Machine, SoftHard};

/// What an idle session takes of the kernel's and the process's memory together, roughly.
const BYTES_PER_CONNECTION: u64 = 5_000;
/// What the rings of a shard lock, roughly.
const LOCKED_BYTES_PER_SHARD: u64 = 2 << 20;
/// What a burst of new connections needs to wait in.
const SOMAXCONN_WANTED: u64 = 4_096;
/// What the kernel may hold for each connection while messages are under way.
const TCP_BYTES_PER_CONNECTION: u64 = 1_024;

/// The arguments of `campanile check`.
#[derive(Clone, Debug, Args)]
pub(crate) struct CheckArgs {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// How many connections are wanted
    #[arg(
        long, default_value_t = Limits::default().max_connections, value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=10_000_000)
    )]
    pub(crate) max_connections: u32,
    /// How many shards [default: as many as that needs]
    #[arg(long, value_name = "N")]
    pub(crate) shards: Option<NonZeroUsize>,
}

/// What was found, and what follows from it.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    machine: Machine,
    max_connections: u32,
    drivers: Vec<DriverReport>,
    /// What to change, the most important first; empty when nothing has to be.
    advice: Vec<String>,
}

#[derive(Debug, Serialize)]
struct DriverReport {
    driver: String,
    /// Why it cannot be used.
    refused: Option<String>,
    shards: usize,
    slots_per_shard: u32,
    connections: u32,
    warning: Option<String>,
}

impl DriverReport {
    fn new(driver: DriverKind, refused: Option<&str>, plan: Result<Plan, String>) -> DriverReport {
        let (plan, too_few) = match plan {
            Ok(plan) => (Some(plan), None),
            Err(why) => (None, Some(why)),
        };
        let refused = refused.map(Into::into).or(too_few);
        let (shards, slots_per_shard, connections, warning) = match plan {
            Some(plan) if refused.is_none() => {
                (plan.shards, plan.slots_per_shard, plan.connections_max, plan.warning)
            }
            _ => (0, 0, 0, None),
        };
        DriverReport { driver: driver.to_string(), refused, shards, slots_per_shard, connections, warning }
    }
}

/// Prints the report.
///
/// # Errors
/// When no gateway can run here at all.
pub(crate) fn run(args: &CheckArgs) -> anyhow::Result<()> {
    let report = Report::new(Machine::read(), args.max_connections, args.shards);
    let text = if args.json { serde_json::to_string_pretty(&report)? + "\n" } else { report.to_string() };
    crate::cli::print(&text)?;
    anyhow::ensure!(report.drivers.iter().any(|driver| driver.connections > 0), "no gateway can run here");
    Ok(())
}

impl Report {
    /// What follows from `machine` for so many connections.
    #[must_use]
    pub(crate) fn new(machine: Machine, max_connections: u32, shards: Option<NonZeroUsize>) -> Report {
        let drivers: Vec<DriverReport> = [DriverKind::Uring, DriverKind::Epoll]
            .into_iter()
            .map(|driver| {
                let (cores, nofile) = (machine.cores(), machine.nofile());
                let plan = capacity::plan(Wanted { driver, cores, nofile, max_connections, shards });
                let refused = machine.uring_refused.as_deref().filter(|_| driver == DriverKind::Uring);
                DriverReport::new(driver, refused, plan.map_err(|error| error.to_string()))
            })
            .collect();
        let advice = advice(&machine, max_connections, &drivers);
        Report { machine, max_connections, drivers, advice }
    }
}

fn advice(machine: &Machine, max_connections: u32, drivers: &[DriverReport]) -> Vec<String> {
    let wanted = u64::from(max_connections);
    let mut advice = Vec::new();
    if let Some(why) = &machine.uring_refused {
        advice.push(format!(
            "io_uring: {why}. Check `sysctl kernel.io_uring_disabled` (0 is needed); in a container allow \
             io_uring_setup, io_uring_enter and io_uring_register in the seccomp profile"
        ));
    }
    let best = drivers.iter().find(|driver| driver.refused.is_none());
    if machine.nofile() < NOFILE_MIN || best.is_some_and(|driver| driver.warning.is_some()) {
        advice.push(format!(
            "nofile: raise it, with `ulimit -Hn 1048576` as root, LimitNOFILE=1048576 in a systemd unit or \
             `--ulimit nofile=1048576` of the container: {} is too low for {max_connections} connections",
            Amount(machine.nofile.hard)
        ));
    }
    let shards = best.map_or(0, |driver| driver.shards as u64);
    if let Some(locked) = machine.memlock.soft
        && machine.uring_refused.is_none()
        && locked < shards * LOCKED_BYTES_PER_SHARD
    {
        advice.push(format!(
            "memlock: the rings of {shards} shards may need {} and {} is allowed, unless the process is \
             privileged; set LimitMEMLOCK=infinity or `ulimit -l unlimited`",
            Bytes(shards * LOCKED_BYTES_PER_SHARD),
            Bytes(locked)
        ));
    }
    let needed = wanted * BYTES_PER_CONNECTION;
    if let Some(available) = machine.memory_available_bytes
        && available < needed
    {
        advice.push(format!(
            "memory: {max_connections} idle connections take about {}, {} is available",
            Bytes(needed),
            Bytes(available)
        ));
    }
    if let Some(somaxconn) = machine.somaxconn
        && somaxconn < SOMAXCONN_WANTED
    {
        advice.push(format!(
            "somaxconn: {somaxconn} is little when many devices come back at once; \
             `sysctl net.core.somaxconn={SOMAXCONN_WANTED}`"
        ));
    }
    if let Some([_, pressure, _]) = machine.tcp_memory_bytes
        && pressure < wanted * TCP_BYTES_PER_CONNECTION
    {
        advice.push(format!(
            "tcp_mem: from {} of socket buffers on, the kernel slows all connections down; raise net.ipv4.tcp_mem",
            Bytes(pressure)
        ));
    }
    if let Some((first, last)) = machine.local_ports
        && let ports = u64::from(last.saturating_sub(first)) + 1
        && ports < wanted
    {
        advice.push(format!(
            "ports, for a load generator or proxy on this machine only: {ports} connections per source and \
             destination address; use several source addresses, or \
             `sysctl net.ipv4.ip_local_port_range=\"1024 65535\"`"
        ));
    }
    advice
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let machine = &self.machine;
        let row = |f: &mut fmt::Formatter<'_>, name: &str, value: &dyn fmt::Display| {
            writeln!(f, "  {name:<14}{value}")
        };
        writeln!(f, "This machine")?;
        row(f, "kernel", &machine.kernel)?;
        row(f, "io_uring", &machine.uring_refused.as_deref().unwrap_or("yes, everything that is needed"))?;
        match machine.cpu_quota {
            Some(quota) => row(f, "cores", &format!("{} (quota {quota:.2})", machine.cores_allowed))?,
            None => row(f, "cores", &machine.cores_allowed)?,
        }
        row(f, "nofile", &Pair(machine.nofile, false))?;
        row(f, "memlock", &Pair(machine.memlock, true))?;
        let known = |bytes: Option<u64>| bytes.map_or("unknown".into(), |bytes| Bytes(bytes).to_string());
        let available = known(machine.memory_available_bytes);
        match machine.memory_limit_bytes {
            Some(limit) => row(f, "memory", &format!("{available} available, {} at most", Bytes(limit)))?,
            None => row(f, "memory", &format!("{available} available"))?,
        }
        if let Some((first, last)) = machine.local_ports {
            row(f, "local ports", &format!("{first} to {last}"))?;
        }
        if let Some(somaxconn) = machine.somaxconn {
            row(f, "somaxconn", &somaxconn)?;
        }
        if let Some([low, pressure, high]) = machine.tcp_memory_bytes {
            row(f, "tcp_mem", &format!("{} / {} / {}", Bytes(low), Bytes(pressure), Bytes(high)))?;
        }
        let seccomp = match machine.seccomp {
            Some(0) => "none",
            Some(1) => "strict",
            Some(_) => "filtered",
            None => "unknown",
        };
        row(f, "seccomp", &seccomp)?;
        writeln!(f, "\n{} connections", self.max_connections)?;
        for driver in &self.drivers {
            match &driver.refused {
                Some(why) => row(f, &driver.driver, &format!("no: {why}"))?,
                None => row(
                    f,
                    &driver.driver,
                    &format!(
                        "{} connections on {} shards of {} slots",
                        driver.connections, driver.shards, driver.slots_per_shard
                    ),
                )?,
            }
            if let Some(warning) = &driver.warning {
                row(f, "", warning)?;
            }
        }
        if self.advice.is_empty() {
            writeln!(f, "\nNothing has to be changed.")
        } else {
            writeln!(f, "\nWhat to change")?;
            self.advice.iter().try_for_each(|line| writeln!(f, "  - {line}"))
        }
    }
}

/// A number, or none.
struct Amount(Option<u64>);

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(amount) => amount.fmt(f),
            None => f.write_str("unlimited"),
        }
    }
}

/// A soft and a hard limit; `true` for bytes.
struct Pair(SoftHard, bool);

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |amount: Option<u64>| match (amount, self.1) {
            (Some(bytes), true) => Bytes(bytes).to_string(),
            (amount, _) => Amount(amount).to_string(),
        };
        write!(f, "{} (hard limit {})", show(self.0.soft), show(self.0.hard))
    }
}

/// Bytes, for people.
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes >= 10 << 30 => write!(f, "{} GiB", bytes >> 30),
            bytes if bytes >= 10 << 20 => write!(f, "{} MiB", bytes >> 20),
            bytes => write!(f, "{} KiB", bytes >> 10),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GENEROUS: Option<u64> = Some(1 << 40);

    fn machine() -> Machine {
        Machine {
            kernel: "6.12.0".into(),
            uring_refused: None,
            cores_allowed: 2,
            cpu_quota: None,
            nofile: SoftHard { soft: Some(1_024), hard: Some(20_000) },
            memlock: SoftHard { soft: None, hard: None },
            memory_available_bytes: GENEROUS,
            memory_limit_bytes: None,
            local_ports: Some((1_024, 65_535)),
            somaxconn: Some(4_096),
            tcp_memory_bytes: Some([1 << 30; 3]),
            seccomp: Some(0),
        }
    }

    #[test]
    fn a_good_machine_has_nothing_to_change() {
        let report = Report::new(machine(), 50_000, None);
        assert_eq!(report.advice, Vec::<String>::new());
        let text = report.to_string();
        assert!(text.contains("50000 connections on 3 shards"), "{text}");
        assert!(text.contains("Nothing has to be changed"), "{text}");
    }

    #[test]
    fn each_shortage_has_its_advice() {
        type Change = fn(&mut Machine);
        let changes: [(&str, Change); 6] = [
            ("io_uring:", |m| m.uring_refused = Some("forbidden".into())),
            ("nofile:", |m| m.nofile.hard = Some(1_024)),
            ("memlock:", |m| m.memlock.soft = Some(64 << 10)),
            ("memory:", |m| m.memory_available_bytes = Some(100 << 20)),
            ("somaxconn:", |m| m.somaxconn = Some(128)),
            ("tcp_mem:", |m| m.tcp_memory_bytes = Some([1 << 20; 3])),
        ];
        for (subject, change) in changes {
            let mut poor = machine();
            // Above what 1,024 descriptors hold, below the number of ports.
            change(&mut poor);
            let advice = Report::new(poor, 60_000, None).advice;
            assert!(
                advice.iter().any(|line| line.starts_with(subject)),
                "{subject} is missing in {advice:?}"
            );
        }
        let advice = Report::new(machine(), 70_000, None).advice;
        assert!(advice.len() == 1 && advice[0].starts_with("ports"), "{advice:?}");
    }

    #[test]
    fn without_descriptors_nothing_runs() {
        let mut poor = machine();
        poor.nofile.hard = Some(100);
        let report = Report::new(poor, 10, None);
        assert!(report.drivers.iter().all(|driver| driver.refused.is_some() && driver.connections == 0));
        assert!(report.advice.iter().any(|line| line.starts_with("nofile:")));
    }

    #[test]
    fn this_machine_can_be_described_both_ways() {
        let report = Report::new(Machine::read(), 1_000, None);
        let json: serde_json::Value = serde_json::to_value(&report).unwrap();
        assert_eq!(json["max_connections"], 1_000);
        assert_eq!(json["drivers"].as_array().unwrap().len(), 2);
        assert!(report.to_string().contains("nofile"));
    }
}
