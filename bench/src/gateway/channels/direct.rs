//! Messages to single devices while one goes to very many subscribers.

use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use super::publisher::Publisher;
use super::subscribers::{Subscribers, Wanted};
use super::{ChannelSetup, QUIET};
use crate::gateway::process::Gateway;
use crate::gateway::{deliveries, measured, words};
use crate::report::{Asked, Findings};

/// Direct pushes at a steady rate: with nothing else, while a message goes to all subscribers of a channel again and
/// again without a pause, and while one does every second.
#[derive(Args, Debug)]
pub(crate) struct Direct {
    /// Subscribers; by default as many as 2 shards have room for beside the devices, if nofile is 20,000
    #[arg(long, default_value_t = 35_000)]
    subscribers: u32,
    /// Of so many it is seen when a message comes
    #[arg(long, default_value_t = 256)]
    sampled: u32,
    /// Devices that direct pushes go to, beside the subscribers
    #[arg(long, default_value_t = 1_000)]
    devices: u32,
    /// Direct pushes per second
    #[arg(long, default_value_t = 1_000)]
    rate: u32,
    /// Seconds of each load
    #[arg(long, default_value_t = 15)]
    seconds: u32,
    #[command(flatten)]
    channel: ChannelSetup,
}

/// How often a message goes to all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Broadcasts {
    None,
    /// When the last has come to all.
    WithoutPause,
    EverySecond,
}

/// How often it is looked whether a message has come to all.
const STEP: Duration = Duration::from_millis(10);

/// What one load found.
struct Found {
    p50_msec: f64,
    p99_msec: f64,
    max_msec: f64,
    lost: f64,
    broadcasts: u32,
    /// From the publish until the last sampled subscriber has it, of the slowest; NaN without any.
    broadcast_msec: f64,
    gateway_core_percent: f64,
}

impl Direct {
    pub(in crate::gateway) fn run(self) -> anyhow::Result<()> {
        self.channel.pin()?;
        self.channel.output().measure(|| self.once())
    }

    fn once(&self) -> anyhow::Result<Findings> {
        let gateway = self.channel.start(self.subscribers + self.devices, QUIET)?;
        let sampled = self.sampled.min(self.subscribers);
        let wanted = Wanted {
            sessions: self.subscribers,
            sampled,
            channels: &|_| vec!["news".into()],
            gives_way: true,
        };
        let mut subscribers = Subscribers::connect(&gateway, &self.channel.setup, &wanted)?;
        let mut publisher = Publisher::connect(&gateway, 0, self.channel.bytes)?;
        subscribers.probe(&mut publisher, "news")?;
        let mut report = Findings::new();
        report.add("subscribers", self.subscribers.into());
        report.add("rate_pushes_per_second", self.rate.into());
        for durability in ["ephemeral", "durable"] {
            let mut run =
                |broadcasts| self.load(&gateway, &mut subscribers, &mut publisher, durability, broadcasts);
            let without = run(Broadcasts::None)?;
            add(&mut report, &format!("{durability}_without"), &without);
            for (name, broadcasts) in
                [("always", Broadcasts::WithoutPause), ("every_second", Broadcasts::EverySecond)]
            {
                let with = run(broadcasts)?;
                let name = format!("{durability}_{name}");
                add(&mut report, &name, &with);
                report.add_target(
                    format!("{name}_added_p99_msec"),
                    Asked::AtMost(10.0),
                    with.p99_msec - without.p99_msec,
                );
            }
        }
        subscribers.stop()?;
        gateway.stop()?;
        Ok(report)
    }

    fn load(
        &self,
        gateway: &Gateway,
        subscribers: &mut Subscribers,
        publisher: &mut Publisher,
        durability: &str,
        broadcasts: Broadcasts,
    ) -> anyhow::Result<Found> {
        let Self { devices, rate, seconds, .. } = self;
        subscribers.settle()?;
        let load = gateway.start_load(&words(&format!(
            "--connections {devices} --rate {rate} --duration {seconds} --durability {durability} --pause 1 --batch-ms 1"
        )))?;
        gateway.wait_for_sessions((self.subscribers + devices).into(), Duration::from_secs(30))?;
        let (start, cpu) = (Instant::now(), gateway.cpu_seconds()?);
        let mut count = 0;
        let end = Duration::from_secs((seconds + 1).into());
        while broadcasts != Broadcasts::None && start.elapsed() < end {
            let begun = Instant::now();
            publisher.publish("news")?;
            count += 1;
            subscribers.wait_for(u64::from(count) * u64::from(subscribers.sampled()), STEP)?;
            if broadcasts == Broadcasts::EverySecond {
                std::thread::sleep(Duration::from_secs(1).saturating_sub(begun.elapsed()));
            }
        }
        std::thread::sleep(end.saturating_sub(start.elapsed()));
        let broadcast_msec = subscribers.sample()?.latency_msec(&[1.0])[0];
        let cpu = (gateway.cpu_seconds()? - cpu) / start.elapsed().as_secs_f64();
        let found = load.finish(Duration::from_secs(60))?;
        let found = deliveries(&found)?;
        let latency = measured(found.latency_ms)?;
        Ok(Found {
            p50_msec: latency.p50,
            p99_msec: latency.p99,
            max_msec: latency.max,
            lost: found.lost as f64,
            broadcasts: count,
            broadcast_msec,
            gateway_core_percent: cpu * 100.0,
        })
    }
}

fn add(report: &mut Findings, name: &str, found: &Found) {
    report.add(format!("{name}_p50_msec"), found.p50_msec);
    report.add(format!("{name}_p99_msec"), found.p99_msec);
    report.add(format!("{name}_max_msec"), found.max_msec);
    report.add_promise(format!("{name}_lost"), Asked::AtMost(0.0), found.lost);
    report.add(format!("{name}_gateway_core_percent"), found.gateway_core_percent);
    if found.broadcasts > 0 {
        report.add(format!("{name}_broadcasts"), found.broadcasts.into());
        report.add(format!("{name}_broadcast_max_msec"), found.broadcast_msec);
    }
}
