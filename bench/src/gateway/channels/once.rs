//! One message at a time to all subscribers of a channel.

use std::time::Duration;

use campanile_harness::usage::OtherLoad;
use clap::Args;

use super::publisher::Publisher;
use super::subscribers::{SOURCES, Subscribers, Wanted};
use super::{ChannelSetup, Counted, QUIET};
use crate::gateway::floor;
use crate::gateway::process::Gateway;
use crate::report::{Asked, Findings, Spread};

/// The next message is published when the last has come to all; against as many sends of as many bytes.
#[derive(Args, Debug)]
pub(crate) struct Once {
    /// Subscribers
    #[arg(long, default_value_t = 10_000)]
    subscribers: u32,
    /// Of so many it is seen when a message comes
    #[arg(long, default_value_t = 256)]
    sampled: u32,
    /// Messages, and rounds of the floor
    #[arg(long, default_value_t = 50)]
    rounds: u32,
    #[command(flatten)]
    channel: ChannelSetup,
}

/// Between two messages, so that the receivers have read the one before.
const PAUSE: Duration = Duration::from_millis(60);
/// How often it is looked whether a message has come to all.
const STEP: Duration = Duration::from_millis(5);

impl Once {
    pub(in crate::gateway) fn run(self) -> anyhow::Result<()> {
        self.channel.pin()?;
        self.channel.output().measure(|| self.once())
    }

    fn once(&self) -> anyhow::Result<Findings> {
        let gateway = self.channel.start(self.subscribers, QUIET)?;
        let (seconds, pass, used, other_percent) = self.publish(&gateway)?;
        gateway.stop()?;
        let count = |name: &str, value: u32| [format!("--{name}"), value.to_string()];
        let mut arguments = vec!["sends".to_owned(), "--counted".to_owned()];
        arguments.extend(count("connections", self.subscribers));
        arguments.extend(count("rounds", self.rounds));
        arguments.extend(count("sources", SOURCES.into()));
        arguments.extend(count("bytes", used.send_bytes().round() as u32));
        let floor = floor::run(&self.channel.setup, &arguments)?;

        let subscribers = f64::from(self.subscribers);
        let (whole, pass) = (subscribers / seconds, subscribers / pass);
        let send_usec = used.cpu_seconds * 1e6 / used.sends as f64;
        let floor_rate = floor::figure(&floor, "sends_median_per_second")?;
        let floor_usec = floor::figure(&floor, "send_server_cpu_usec")?;
        let mut report = Findings::new();
        report.add("subscribers", subscribers);
        report.add("send_bytes", used.send_bytes());
        // From the publisher's request until the last subscriber has the message.
        report.add("gateway_sends_per_second", whole);
        // From the first subscriber to the last.
        report.add("gateway_pass_sends_per_second", pass);
        report.add("floor_sends_per_second", floor_rate);
        report.add("gateway_send_cpu_usec", send_usec);
        report.add("floor_send_cpu_usec", floor_usec);
        report.add_target("ratio_of_floor", Asked::AtLeast(0.9), whole / floor_rate);
        report.add("pass_ratio_of_floor", pass / floor_rate);
        report.add("cpu_ratio_of_floor", floor_usec / send_usec);
        // What others took of all cores meanwhile.
        report.add("other_load_core_percent", other_percent);
        report.add("floor_other_load_core_percent", floor::figure(&floor, "other_load_core_percent")?);
        Ok(report)
    }

    /// How long a message takes, from the request and from the first subscriber, what all of them took, and what others
    /// took meanwhile.
    fn publish(&self, gateway: &Gateway) -> anyhow::Result<(f64, f64, Counted, f64)> {
        let wanted = Wanted {
            sessions: self.subscribers,
            sampled: self.sampled.min(self.subscribers),
            channels: &|_| vec!["news".into()],
            gives_way: false,
        };
        let mut subscribers = Subscribers::connect(gateway, &self.channel.setup, &wanted)?;
        let mut publisher = Publisher::connect(gateway, 0, self.channel.bytes)?;
        subscribers.probe(&mut publisher, "news")?;
        let (mut whole, mut passes) = (Vec::new(), Vec::new());
        // Sampled subscribers are the last of equal parts, so before the first of them there is almost a part.
        let parts = f64::from(wanted.sampled);
        let part = if wanted.sampled > 1 { parts / (parts - 1.0) } else { f64::NAN };
        let clients = subscribers.sample()?.cpu_seconds;
        let (before, others) = (Counted::read(gateway)?, OtherLoad::watch()?);
        for _ in 0..self.rounds {
            std::thread::sleep(PAUSE);
            subscribers.reset()?;
            publisher.publish("news")?;
            let sample = subscribers.wait_for(wanted.sampled.into(), STEP)?;
            let latency = sample.latency_msec(&[0.0, 1.0]);
            whole.push(latency[1] / 1e3);
            passes.push((latency[1] - latency[0]) / 1e3 * part);
        }
        subscribers.settle()?;
        let used = Counted::read(gateway)?.since(&before);
        let clients = subscribers.sample()?.cpu_seconds - clients;
        let others = others.core_percent(clients + used.cpu_seconds)?;
        subscribers.stop()?;
        Ok((Spread::of(&whole).median, Spread::of(&passes).median, used, others))
    }
}
