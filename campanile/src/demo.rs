//! `campanile demo`: a gateway and virtual devices as two processes, pushes, and a table of what happened.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use campanile_engine::{DriverChoice, probe};
use campanile_gateway::capacity::{self, Wanted};
use campanile_gateway::host_limits::{Machine, raise_nofile};
use campanile_harness::{Gateway, GatewayOptions, Launch, Process, Usage, programs};
use campanile_load::report::{Latency, Report};
use campanile_load::verdict::Code;
use clap::Args;
use serde_json::{Value, json};

use crate::cli;
use crate::early::Interrupts;

/// Of five devices two share a user with one other, three with two others: 10,000 devices have 4,000 users.
const DEVICES_PER_TWO_USERS: u32 = 5;
/// Pushes per second, each to every device of a random user.
const PUSHES_PER_SECOND: u32 = 2_000;
/// With fewer devices, what the gateway allocates once outweighs what each of them takes.
const DEVICES_FOR_MEMORY_MIN: f64 = 5_000.0;
/// What the load generator has measured, in the gateway's folder.
const REPORT: &str = "load.json";
/// How long connecting may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked whether a process has ended, or we are to end.
const TICK: Duration = Duration::from_millis(20);

/// The arguments of `campanile demo`.
#[derive(Clone, Debug, Args)]
pub(crate) struct DemoArgs {
    /// Virtual devices to connect
    #[arg(long, default_value_t = 10_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) devices: u32,
    /// How long to push
    #[arg(long, default_value_t = 10, value_name = "S", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) seconds: u32,
    /// Write the figures to this file, too
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

/// Runs the demo.
///
/// # Errors
/// When a process does not start or not end as it should, or messages were lost; [`Early`](crate::early::Early) when it
/// is ended by a signal or nobody reads what it says. Its processes and its folder have gone then, too.
pub(crate) fn run(args: &DemoArgs) -> anyhow::Result<()> {
    let interrupts = Interrupts::catch().context("signals cannot be caught")?;
    demonstrate(args, &interrupts).or_else(|error| {
        // What is typed at the terminal ends the processes, too, and is why they did not do as they should.
        interrupts.check()?;
        Err(error)
    })
}

fn demonstrate(args: &DemoArgs, interrupts: &Interrupts) -> anyhow::Result<()> {
    let devices = devices_allowed(args)?;
    let users = (devices * 2).div_ceil(DEVICES_PER_TWO_USERS);
    args.say(&format!(
        "Campanile demo: a gateway and {devices} devices of {users} users, as two processes; pushes for {} s\n",
        args.seconds
    ))?;

    let mut gateway = start_gateway(devices)?;
    interrupts.check()?;
    args.say(&format!(
        "Gateway: {} driver, {} shards\n\
         Connecting, then {PUSHES_PER_SECOND} pushes per second, each to all devices of a random user:\n",
        gateway.said("driver")?,
        gateway.said("shards")?
    ))?;
    let before = gateway.process().usage()?;
    let mut load = start_load(&gateway, devices, users, args.seconds)?;
    wait_for_sessions(&gateway, devices, &mut load, interrupts)?;
    let connected = gateway.process().usage()?;
    let pushing = Instant::now();
    let status = loop {
        interrupts.check()?;
        match load.ended()? {
            Some(status) => break status,
            None => std::thread::sleep(TICK),
        }
    };
    let is_bottleneck = status.code() == Some(Code::Bottleneck.number().into());
    ensure!(status.success() || is_bottleneck, "the load generator ended with {status}");
    let (after, pushed) = (gateway.process().usage()?, pushing.elapsed());
    let load: Report = serde_json::from_slice(&fs::read(gateway.folder().join(REPORT))?)?;
    gateway.stop()?;

    let figures = figures(devices, users, &load, (before, connected, after), pushed)?;
    args.say(&table(&figures))?;
    if is_bottleneck {
        args.say("\nThe virtual devices were never idle: the latency is theirs, too.\n")?;
    }
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&figures)? + "\n";
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    ensure!(figures["lost"] == 0, "{} messages were lost", figures["lost"]);
    Ok(())
}

impl DemoArgs {
    /// Prints something. Where nobody takes it the demo is over, unless its figures are to be in a file.
    fn say(&self, text: &str) -> anyhow::Result<()> {
        match cli::print(text) {
            Err(_) if self.json.is_some() => Ok(()),
            result => result,
        }
    }
}

/// As many devices as are wanted, or as this machine allows in one process.
fn devices_allowed(args: &DemoArgs) -> anyhow::Result<u32> {
    let wanted = args.devices;
    let driver = probe::choose(DriverChoice::Auto).map_err(anyhow::Error::msg)?;
    let machine = Machine::read();
    let plan = capacity::plan(Wanted {
        driver,
        cores: machine.cores(),
        nofile: raise_nofile(),
        max_connections: wanted,
        shards: None,
    })?;
    if let Some(warning) = &plan.warning {
        let allowed = plan.connections_max;
        args.say(&format!("This machine allows {allowed} devices, not {wanted}: {warning}.\n"))?;
    }
    Ok(plan.connections_max)
}

fn figures(
    devices: u32,
    users: u32,
    load: &Report,
    (before, connected, after): (Usage, Usage, Usage),
    pushed: Duration,
) -> anyhow::Result<Value> {
    let pushes = load.pushes.as_ref().context("nothing was pushed")?;
    let deliveries = load.deliveries.as_ref().context("nothing was to be delivered")?;
    let latency = |of: fn(&Latency) -> f64| deliveries.latency_ms.as_ref().map(of);
    let grown = connected.resident_bytes.saturating_sub(before.resident_bytes);
    Ok(json!({
        "devices": devices,
        "users": users,
        "connected": load.connections.connected,
        "connects_per_second": load.connections.opened_per_second,
        "pushes": pushes.accepted,
        "received": deliveries.received,
        "lost": deliveries.lost,
        "duplicated": deliveries.duplicated,
        "latency_p50_ms": latency(|all| all.p50),
        "latency_p90_ms": latency(|all| all.p90),
        "latency_p95_ms": latency(|all| all.p95),
        "latency_p99_ms": latency(|all| all.p99),
        "latency_p999_ms": latency(|all| all.p99_9),
        "latency_max_ms": latency(|all| all.max),
        "memory_per_connection_bytes": grown / u64::from(devices),
        "memory_bytes": after.resident_bytes,
        "cpu_percent": ((after.cpu_seconds - connected.cpu_seconds) * 1e3 / pushed.as_secs_f64()).round() / 10.0,
    }))
}

fn table(figures: &Value) -> String {
    let number = |name: &str| figures[name].as_f64().unwrap_or_default();
    let row = |name: &str, value: String, note: &str| {
        format!("  {name:<22} {value:>12}  {note}").trim_end().to_owned() + "\n"
    };
    let count = |name: &str| grouped(number(name));
    let milliseconds = |name: &str| format!("{:.2} ms", number(name));
    let (memory, of_memory) = match number("memory_per_connection_bytes") {
        _ if number("devices") < DEVICES_FOR_MEMORY_MIN => {
            ("-".into(), "too few devices to tell: what it takes once outweighs them")
        }
        bytes => (format!("{} B", grouped(bytes)), "how much it grew while they connected, for each"),
    };
    let mut text = String::from("\nConnections\n");
    text += &row(
        "devices connected",
        count("connected"),
        &format!("of {} users, {} per second", count("users"), count("connects_per_second")),
    );
    text += "\nMessages\n";
    text += &row("pushes accepted", count("pushes"), "each to every device of one user");
    text += &row("messages received", count("received"), "by the devices");
    text += &row("messages lost", count("lost"), "reported as sent, and not received");
    text += &row("received twice", count("duplicated"), "");
    text += "\nLatency, from when a push was due until the device had read it\n";
    for (label, name) in [
        ("p50", "latency_p50_ms"),
        ("p90", "latency_p90_ms"),
        ("p95", "latency_p95_ms"),
        ("p99", "latency_p99_ms"),
        ("p99.9", "latency_p999_ms"),
        ("max", "latency_max_ms"),
    ] {
        text += &row(label, milliseconds(name), "");
    }
    text += "\nThe gateway's process\n";
    text += &row("memory per connection", memory, of_memory);
    let all = format!("{:.1} MB", number("memory_bytes") / 1e6);
    text += &row("memory", all, "in all; the kernel's memory for sockets comes on top");
    text += &row("CPU", format!("{:.1} %", number("cpu_percent")), "of one core, while pushing");
    text
}

/// A whole number with a comma between thousands.
fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|group| std::str::from_utf8(group).unwrap_or_default())
        .collect();
    groups.join(",")
}

fn start_gateway(devices: u32) -> anyhow::Result<Gateway> {
    let mut options = GatewayOptions::new(programs::this()?, "demo");
    options.secret = secret()?;
    options.api_key = secret()?;
    Gateway::start(options.args(["--log", "warn", "--max-connections", &devices.to_string()]))
}

/// What nobody can guess, as text.
fn secret() -> anyhow::Result<String> {
    let mut secret = [0u8; 32];
    getrandom::fill(&mut secret).context("the machine gives no random numbers")?;
    Ok(secret.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn start_load(gateway: &Gateway, devices: u32, users: u32, seconds: u32) -> anyhow::Result<Process> {
    Launch::new(programs::this()?)
        .arg("load")
        .args(gateway.load_arguments())
        .args(["--connections", &devices.to_string(), "--users", &users.to_string(), "--user-prefix", "U"])
        .args(["--to", "random-user", "--rate", &PUSHES_PER_SECOND.to_string()])
        .args(["--duration", &seconds.to_string(), "--json"])
        .arg(gateway.folder().join(REPORT))
        .start()
}

fn wait_for_sessions(
    gateway: &Gateway,
    devices: u32,
    load: &mut Process,
    interrupts: &Interrupts,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        interrupts.check()?;
        let open = gateway.metric("campanile_sessions")?;
        if open >= u64::from(devices) {
            return Ok(());
        }
        if load.ended()?.is_some() {
            bail!("the load generator ended with {open} of {devices} devices connected");
        }
        ensure!(Instant::now() < deadline, "only {open} of {devices} devices connected in time");
        std::thread::sleep(TICK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        for (number, text) in [(0.0, "0"), (999.4, "999"), (1_000.0, "1,000"), (1_234_567.0, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn with_few_devices_the_table_does_not_pretend_to_know_their_memory() {
        let figures = |devices| json!({"devices": devices, "memory_per_connection_bytes": 2_531, "latency_p99_ms": 4.128});
        let small = table(&figures(500));
        assert!(small.contains("too few devices to tell") && !small.contains("2,531"), "{small}");
        let large = table(&figures(10_000));
        assert!(
            large.contains("2,531 B") && large.contains("p99                         4.13 ms"),
            "{large}"
        );
        assert!(large.lines().all(|line| line.len() <= 110), "{large}");
    }
}
