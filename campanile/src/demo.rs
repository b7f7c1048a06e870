//! `campanile demo`: a gateway and virtual devices as two processes, pushes, and a table of what happened.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use campanile_engine::{DriverChoice, probe};
use clap::Args;
use serde_json::{Value, json};

use campanile_gateway::capacity::{self, Wanted};
use campanile_gateway::host_limits::{Machine, raise_nofile};
use campanile_gateway::node::ProcessUsage;

use crate::cli;
use crate::early::Interrupts;
use crate::scratch::Scratch;

/// Of five devices two share a user with one other, three with two others: 10,000 devices have 4,000 users.
const DEVICES_PER_TWO_USERS: u32 = 5;
/// Pushes per second, each to every device of a random user.
const PUSHES_PER_SECOND: u32 = 2_000;
/// With fewer devices, what the gateway allocates once outweighs what each of them takes.
const DEVICES_FOR_MEMORY_MIN: f64 = 5_000.0;
/// How long starting, connecting and ending may take.
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
/// When a process does not start or not end as it should, or messages were lost; [`Early`](crate::early::Early) when it is ended
/// by a signal or nobody reads what it says. Its processes and its folder have gone then, too.
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
    let folder = Scratch::new("campanile-demo").context("cannot make a folder for temporary files")?;
    args.say(&format!(
        "Campanile demo: a gateway and {devices} devices of {users} users, as two processes; pushes for {} s\n",
        args.seconds
    ))?;

    let mut gateway = Gateway::start(&folder, devices)?;
    args.say(&format!(
        "Gateway: {} driver, {} shards\n\
         Connecting, then {PUSHES_PER_SECOND} pushes per second, each to all devices of a random user:\n",
        gateway.said("driver")?,
        gateway.said("shards")?
    ))?;
    let before = gateway.usage();
    let mut load = gateway.start_load(&folder, devices, users, args.seconds)?;
    gateway.wait_for_sessions(devices, &mut load, interrupts)?;
    let connected = gateway.usage();
    let pushing = Instant::now();
    let status = loop {
        interrupts.check()?;
        match load.0.try_wait()? {
            Some(status) => break status,
            None => std::thread::sleep(TICK),
        }
    };
    ensure!(status.success(), "the load generator ended with {status}");
    let (after, pushed) = (gateway.usage(), pushing.elapsed());
    let load: Value = serde_json::from_slice(&fs::read(folder.path("load.json"))?)?;
    gateway.stop(interrupts)?;

    let figures = figures(devices, users, &load, (before, connected, after), pushed);
    args.say(&table(&figures))?;
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
    load: &Value,
    (before, connected, after): (ProcessUsage, ProcessUsage, ProcessUsage),
    pushed: Duration,
) -> Value {
    let (pushes, deliveries) = (&load["pushes"], &load["deliveries"]);
    let latency = &deliveries["latency_ms"];
    let grown = connected.resident_bytes.saturating_sub(before.resident_bytes);
    json!({
        "devices": devices,
        "users": users,
        "connected": load["connections"]["opened"],
        "connects_per_second": load["connections"]["opened_per_second"],
        "pushes": pushes["accepted"],
        "received": deliveries["received"],
        "lost": deliveries["lost"],
        "duplicated": deliveries["duplicated"],
        "latency_p50_ms": latency["p50"],
        "latency_p90_ms": latency["p90"],
        "latency_p95_ms": latency["p95"],
        "latency_p99_ms": latency["p99"],
        "latency_p999_ms": latency["p99_9"],
        "latency_max_ms": latency["max"],
        "memory_per_connection_bytes": grown / u64::from(devices),
        "memory_bytes": after.resident_bytes,
        "cpu_percent": ((after.cpu_seconds - connected.cpu_seconds) * 1e3 / pushed.as_secs_f64()).round() / 10.0,
    })
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

/// A process that is ended when this is dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

struct Gateway {
    process: Process,
    /// What the gateway said when it was ready.
    ready: String,
    /// Kept open, so that what it prints has a reader.
    _stdout: BufReader<ChildStdout>,
}

impl Gateway {
    fn start(folder: &Scratch, devices: u32) -> anyhow::Result<Gateway> {
        for name in ["jwt", "key"] {
            let mut secret = [0u8; 32];
            getrandom::fill(&mut secret).context("the machine gives no random numbers")?;
            let secret: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
            fs::write(folder.path(name), secret)?;
        }
        let mut program = Command::new(this_program()?);
        folder.adopt(&mut program)?;
        let mut child = program
            .args(["serve", "--listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0", "--log", "warn"])
            .args(["--admin-listen", "127.0.0.1:0", "--devices-listen", "127.0.0.1:0"])
            .args(["--max-connections", &devices.to_string()])
            .arg("--jwt-hs256-file")
            .arg(folder.path("jwt"))
            .arg("--api-key-file")
            .arg(folder.path("key"))
            .arg("--data-dir")
            .arg(folder.path("data"))
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().context("the gateway has no output")?;
        let process = Process(child);
        let mut stdout = BufReader::new(stdout);
        let mut ready = String::new();
        stdout.read_line(&mut ready)?;
        ensure!(ready.starts_with("ready "), "the gateway did not start");
        Ok(Gateway { process, ready: ready.trim_end().to_owned(), _stdout: stdout })
    }

    /// The value of a word of the ready line.
    fn said(&self, name: &str) -> anyhow::Result<&str> {
        let value = self.ready.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        value.with_context(|| format!("the gateway did not say its {name}"))
    }

    fn usage(&self) -> ProcessUsage {
        ProcessUsage::of(&self.process.0.id().to_string())
    }

    fn start_load(
        &self,
        folder: &Scratch,
        devices: u32,
        users: u32,
        seconds: u32,
    ) -> anyhow::Result<Process> {
        let mut program = Command::new(this_program()?);
        folder.adopt(&mut program)?;
        let load = program
            .arg("load")
            .args(["--url", &format!("ws://{}/v2/connect", self.said("listen")?)])
            .args(["--api", &format!("http://{}", self.said("api")?)])
            .arg("--api-key-file")
            .arg(folder.path("key"))
            .arg("--jwt-hs256-file")
            .arg(folder.path("jwt"))
            .args(["--connections", &devices.to_string(), "--users", &users.to_string()])
            .args(["--to", "random-user", "--rate", &PUSHES_PER_SECOND.to_string()])
            .args(["--duration", &seconds.to_string(), "--json"])
            .arg(folder.path("load.json"))
            .stdout(Stdio::null())
            .spawn()?;
        Ok(Process(load))
    }

    fn wait_for_sessions(
        &self,
        devices: u32,
        load: &mut Process,
        interrupts: &Interrupts,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            interrupts.check()?;
            let open = self.sessions()?;
            if open >= u64::from(devices) {
                return Ok(());
            }
            if load.0.try_wait()?.is_some() {
                bail!("the load generator ended with {open} of {devices} devices connected");
            }
            ensure!(Instant::now() < deadline, "only {open} of {devices} devices connected in time");
            std::thread::sleep(TICK);
        }
    }

    /// The sessions that are open, from the metrics page.
    fn sessions(&self) -> anyhow::Result<u64> {
        let mut stream = TcpStream::connect(self.said("admin")?)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n")?;
        let mut page = String::new();
        stream.read_to_string(&mut page)?;
        let shard =
            |line: &str| line.strip_prefix("campanile_sessions{")?.rsplit_once(' ')?.1.parse::<u64>().ok();
        Ok(page.lines().filter_map(shard).sum())
    }

    fn stop(&mut self, interrupts: &Interrupts) -> anyhow::Result<()> {
        let pid = rustix::process::Pid::from_child(&self.process.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let deadline = Instant::now() + PATIENCE;
        while self.process.0.try_wait()?.is_none() {
            interrupts.check()?;
            ensure!(Instant::now() < deadline, "the gateway does not end");
            std::thread::sleep(TICK);
        }
        Ok(())
    }
}

fn this_program() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("this program cannot be found again")
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
