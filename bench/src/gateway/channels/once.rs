//! One message at a time to all subscribers of a channel.

use std::time::Duration;

use clap::Args;

use super::publisher::Publisher;
use super::subscribers::{SOURCES, Subscribers, Wanted};
use super::{ChannelSetup, Counted, QUIET};
use crate::floor::OtherLoad;
use crate::gateway::floor;
use crate::gateway::process::Gateway;
use crate::report::{Asked, Report, Spread};

/// The next message is published when the last has come to all; against as many sends of as many bytes.
#[derive(Args, Debug)]
pub(crate) struct Once {
    /// Subscribers
    #[arg(long, default_value_t = 10_000)]
    subscribers: u32,
    /// Of so many it is seen when a message comes
    #[arg(long, default_value_t = 256)]
    sampled: u32,
    /// Messages, and rounds of the floor, per repetition
    #[arg(long, default_value_t = 50)]
    rounds: u32,
    /// Repetitions, gateway and floor in turn
    #[arg(long, default_value_t = 5)]
    repeat: u32,
    #[command(flatten)]
    channel: ChannelSetup,
}

/// Between two messages, so that the receivers have read the one before.
const PAUSE: Duration = Duration::from_millis(60);
/// How often it is looked whether a message has come to all.
const STEP: Duration = Duration::from_millis(5);

/// One repetition.
struct Round {
    /// From the publisher's request until the last subscriber has the message.
    per_second: f64,
    /// From the first subscriber to the last.
    pass_per_second: f64,
    send_cpu_usec: f64,
    send_bytes: f64,
    floor_per_second: f64,
    floor_cpu_usec: f64,
    /// What others took of all cores meanwhile.
    other_percent: f64,
    floor_other_percent: f64,
}

impl Once {
    pub(in crate::gateway) fn run(self) -> anyhow::Result<()> {
        self.channel.pin()?;
        let mut rounds = Vec::new();
        for _ in 0..self.repeat {
            rounds.push(self.round()?);
        }
        let each = |what: &dyn Fn(&Round) -> f64| rounds.iter().map(what).collect::<Vec<_>>();
        let mut report = Report::new();
        report.add("subscribers", self.subscribers.into());
        report.add("send_bytes", Spread::of(&each(&|round| round.send_bytes)).median);
        report.add_spread("gateway_sends", "per_second", &each(&|round| round.per_second));
        report.add_spread("gateway_pass_sends", "per_second", &each(&|round| round.pass_per_second));
        report.add_spread("floor_sends", "per_second", &each(&|round| round.floor_per_second));
        report.add_spread("gateway_send_cpu", "usec", &each(&|round| round.send_cpu_usec));
        report.add_spread("floor_send_cpu", "usec", &each(&|round| round.floor_cpu_usec));
        report.add_spread(
            "pass_ratio",
            "of_floor",
            &each(&|round| round.pass_per_second / round.floor_per_second),
        );
        let cpu = |round: &Round| round.floor_cpu_usec / round.send_cpu_usec;
        report.add_spread("cpu_ratio", "of_floor", &each(&cpu));
        report.add_spread("other_load_core", "percent", &each(&|round| round.other_percent));
        report.add_spread("floor_other_load_core", "percent", &each(&|round| round.floor_other_percent));
        let ratios = Spread::of(&each(&|round| round.per_second / round.floor_per_second));
        report.add("ratio_min_of_floor", ratios.min);
        report.add("ratio_max_of_floor", ratios.max);
        report.add_target("ratio_median_of_floor", Asked::AtLeast(0.9), ratios.median);
        report.publish(self.channel.json())
    }

    fn round(&self) -> anyhow::Result<Round> {
        let setup = &self.channel.setup;
        let gateway = self.channel.start(self.subscribers, QUIET)?;
        let (seconds, pass, used, other_percent) = self.publish(&gateway)?;
        gateway.stop()?;
        let count = |name: &str, value: u32| [format!("--{name}"), value.to_string()];
        let mut arguments = vec!["sends".to_owned(), "--counted".to_owned()];
        arguments.extend(count("connections", self.subscribers));
        arguments.extend(count("rounds", self.rounds));
        arguments.extend(count("sources", SOURCES.into()));
        arguments.extend(count("bytes", used.send_bytes().round() as u32));
        let floor = floor::run(setup, &arguments)?;
        Ok(Round {
            per_second: f64::from(self.subscribers) / seconds,
            pass_per_second: f64::from(self.subscribers) / pass,
            send_cpu_usec: used.cpu_seconds * 1e6 / used.sends as f64,
            send_bytes: used.send_bytes(),
            floor_per_second: floor::figure(&floor, "sends_median_per_second")?,
            floor_cpu_usec: floor::figure(&floor, "send_server_cpu_usec")?,
            other_percent,
            floor_other_percent: floor::figure(&floor, "other_load_core_percent")?,
        })
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
