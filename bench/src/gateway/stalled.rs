//! Devices that stop reading while messages for them go on.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use campanile_load::report as load;
use clap::Args;

use super::process::Gateway;
use super::{Setup, deliveries, measured, pushes, words};
use crate::kernel_memory::KernelMemory;
use crate::report::{Asked, Findings};

/// The same load twice, each time on a new gateway: all devices read, then some do not. The difference is what those
/// cost: in memory, the kernel's included, and in the others' latency.
#[derive(Args, Debug)]
pub(crate) struct Stalled {
    /// Devices, each of a user of its own
    #[arg(long, default_value_t = 20_000)]
    devices: u32,
    /// So many in a hundred stop reading
    #[arg(long, default_value_t = 10)]
    percent: u32,
    /// Messages per second
    #[arg(long, default_value_t = 20_000)]
    rate: u32,
    /// Seconds of load; by its end a device should have been sent more than its window takes (48 KiB)
    #[arg(long, default_value_t = 55)]
    seconds: u64,
    /// Bytes of each payload
    #[arg(long, default_value_t = 1_024)]
    bytes: u32,
    #[command(flatten)]
    setup: Setup,
}

/// From the last session to the first message, so that the memory before can be read.
const PAUSE: Duration = Duration::from_secs(15);
/// From the last message to the goodbyes, so that the memory after can be read.
const HOLD: Duration = Duration::from_secs(20);
/// Pages that TCP accounts for.
const PAGE_BYTES: u64 = 4_096;

/// Messages that fill the store's memory, which is bounded and no device's, before anything is measured.
const WARM_UP_MESSAGES: u32 = 200_000;

/// Memory at one moment, in bytes.
struct Memory {
    resident: u64,
    /// Data in the gateway's sockets.
    sockets: u64,
    /// Data in all sockets of the machine, the devices' among them.
    tcp: u64,
    /// Everything else that the kernel has for anybody.
    kernel: u64,
}

impl Memory {
    fn read(gateway: &Gateway) -> anyhow::Result<Memory> {
        let kernel = KernelMemory::settled()?;
        Ok(Memory {
            resident: gateway.resident_bytes()?,
            sockets: gateway.socket_bytes()?,
            tcp: kernel.tcp_pages * PAGE_BYTES,
            kernel: kernel.bytes(),
        })
    }
}

/// What one run found.
struct Run {
    found: load::Report,
    resident_growth: f64,
    sockets_growth: f64,
    tcp_growth: f64,
    kernel_growth: f64,
}

impl Stalled {
    pub(super) fn run(self) -> anyhow::Result<()> {
        self.setup.output.measure(|| self.once())
    }

    fn once(&self) -> anyhow::Result<Findings> {
        ensure!((1..100).contains(&self.percent), "--percent: {} is not between 1 and 99", self.percent);
        let without = self.load(0)?;
        let with = self.load(self.percent)?;
        let mut report = Findings::new();
        report.add("devices", self.devices.into());
        report.add("rate_per_second", self.rate.into());
        report.add("payload_bytes", self.bytes.into());
        let stalled = with.found.connections.stalled as f64;
        report.add("stalled", stalled);
        let each = |growth: fn(&Run) -> f64| (growth(&with) - growth(&without)) / stalled;
        let resident = each(|run| run.resident_growth);
        let sockets = each(|run| run.sockets_growth);
        report.add("resident_bytes_per_stalled", resident);
        report.add("sockets_bytes_per_stalled", sockets);
        // The devices' own buffers are on this machine, too, and hold what the gateway has sent.
        report.add("both_ends_tcp_bytes_per_stalled", each(|run| run.tcp_growth));
        report.add("both_ends_kernel_bytes_per_stalled", each(|run| run.kernel_growth));
        report.add_target("bytes_per_stalled", Asked::AtMost(65_536.0), resident + sockets);
        for (name, run) in [("without", &without), ("with", &with)] {
            let (pushes, deliveries) = (pushes(&run.found)?, deliveries(&run.found)?);
            let (latency, answer) = (measured(deliveries.latency_ms)?, measured(pushes.answer_latency_ms)?);
            let accepted_per_second = measured(pushes.accepted_per_second)?;
            let mut add = |what: &str, value: f64| report.add(format!("{name}_{what}"), value);
            add("accepted_per_second", accepted_per_second);
            add("failed", pushes.failed as f64);
            add("received", deliveries.received as f64);
            add("latency_p50_msec", latency.p50);
            add("latency_p99_msec", latency.p99);
            add("answer_p99_msec", answer.p99);
            let lost = deliveries.lost;
            report.add_promise(format!("{name}_lost"), Asked::AtMost(0.0), lost as f64);
            report.must(lost == 0, || format!("{lost} messages for devices that read were not received"));
        }
        let p99 = |run: &Run| Ok::<_, anyhow::Error>(measured(deliveries(&run.found)?.latency_ms)?.p99);
        report.add_target("healthy_p99_ratio", Asked::AtMost(1.1), p99(&with)? / p99(&without)?);
        report.leaves_out("what a stalled device's messages take in the store, where they wait for it");
        Ok(report)
    }

    fn load(&self, percent: u32) -> anyhow::Result<Run> {
        let most = self.devices.to_string();
        // A stalled device does not answer pings; it is to stay until it has been measured.
        let config = ["limits.ping_interval_ms = 600000"];
        let gateway = Gateway::start_with(&self.setup, &config, &["--max-connections", &most])?;
        let Self { devices, rate, seconds, bytes, .. } = self;
        gateway.load(
            &words(&format!(
                "--offline --connections 1000 --user-prefix W --max --messages {WARM_UP_MESSAGES} --batch 100 \
                 --publishers 4 --payload-bytes {bytes} --durability durable"
            )),
            Duration::from_secs(180),
        )?;
        let load = gateway.start_load(&words(&format!(
            "--connections {devices} --stalled-percent {percent} --rate {rate} --duration {seconds} \
             --payload-bytes {bytes} --durability durable --publishers 8 --batch-ms 5 --pause {} --hold {}",
            PAUSE.as_secs(),
            HOLD.as_secs()
        )))?;
        gateway.wait_for_sessions(u64::from(self.devices), Duration::from_secs(120))?;
        let start = Instant::now();
        let before = Memory::read(&gateway)?;
        ensure!(start.elapsed() < PAUSE, "the kernel's memory did not settle in time");
        // The load generator sees the last session a little later than we do, and may be late with its last messages.
        let end = PAUSE + Duration::from_secs(self.seconds + 4);
        std::thread::sleep(end.checked_sub(start.elapsed()).context("the load ended before it began")?);
        let after = Memory::read(&gateway)?;
        let found = load.finish(Duration::from_secs(180))?;
        gateway.stop()?;
        let ended = &found.connections.ended_early_by_reason;
        ensure!(ended.is_empty(), "devices were disconnected: {ended:?}");
        let growth = |before: u64, after: u64| after as f64 - before as f64;
        Ok(Run {
            found,
            resident_growth: growth(before.resident, after.resident),
            sockets_growth: growth(before.sockets, after.sockets),
            kernel_growth: growth(before.kernel, after.kernel),
            tcp_growth: growth(before.tcp, after.tcp),
        })
    }
}
