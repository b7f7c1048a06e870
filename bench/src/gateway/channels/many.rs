//! Many channels with few subscribers each.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use clap::Args;

use super::publisher::{Publisher, Schedule};
use super::subscribers::{Subscribers, Wanted};
use super::{ChannelSetup, Counted, QUIET};
use crate::gateway::process::Gateway;
use crate::report::{Asked, Findings};

/// Messages to all channels in turn, in batches and then one by one. Every session is subscribed to as many channels as
/// a channel has subscribers.
#[derive(Args, Debug)]
pub(crate) struct Many {
    /// Channels, and sessions
    #[arg(long, default_value_t = 10_000)]
    channels: u32,
    /// Subscribers of each channel
    #[arg(long, default_value_t = 10)]
    subscribers: u32,
    /// Of so many sessions every message is looked at
    #[arg(long, default_value_t = 200)]
    sampled: u32,
    /// Messages per second in batches
    #[arg(long, default_value_t = 20_000)]
    rate: u32,
    /// Messages of a batch
    #[arg(long, default_value_t = 100)]
    batch: u32,
    /// Connections that publish batches
    #[arg(long, default_value_t = 4)]
    publishers: u8,
    /// Connections that publish single messages
    #[arg(long, default_value_t = 16)]
    single_publishers: u8,
    /// Part of the highest rate of single publishes at which their latency is measured
    #[arg(long, default_value_t = 0.7)]
    single_load: f64,
    /// Seconds of each load
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    #[command(flatten)]
    channel: ChannelSetup,
}

/// How often it is looked whether everything has come.
const STEP: Duration = Duration::from_millis(20);

/// Messages at a rate.
struct Load {
    publishers: u8,
    batch: u32,
    /// Messages per second; nothing for as many as the API takes.
    rate: Option<f64>,
}

/// What one load found.
struct Found {
    messages: u64,
    per_second: f64,
    latency_msec: Vec<f64>,
    gateway_core_percent: f64,
    receiver_core_percent: f64,
    send_frames: f64,
}

impl Many {
    pub(in crate::gateway) fn run(self) -> anyhow::Result<()> {
        self.channel.pin()?;
        self.channel.output().measure(|| self.once())
    }

    fn once(&self) -> anyhow::Result<Findings> {
        ensure!(
            self.channels > 0 && self.batch > 0,
            "without channels or batches there is nothing to measure"
        );
        let gateway = self.channel.start(self.channels, QUIET)?;
        let (channels, apart) = (self.channels, (self.channels / self.subscribers.max(1)).max(1));
        let of = |session: u32| {
            (0..self.subscribers).map(|place| name((session + place * apart) % channels)).collect()
        };
        let wanted = Wanted {
            sessions: channels,
            sampled: self.sampled.min(channels),
            channels: &of,
            gives_way: false,
        };
        let mut subscribers = Subscribers::connect(&gateway, &self.channel.setup, &wanted)?;
        let batches = Load { publishers: self.publishers, batch: self.batch, rate: Some(self.rate.into()) };
        // Once for nothing: connections of publishers and first messages of channels cost more.
        self.load(&gateway, &mut subscribers, &batches)?;
        let batched = self.load(&gateway, &mut subscribers, &batches)?;
        let fastest = Load { publishers: self.single_publishers, batch: 1, rate: None };
        let fastest = self.load(&gateway, &mut subscribers, &fastest)?;
        let rate = fastest.per_second * self.single_load;
        let single = Load { publishers: self.single_publishers, batch: 1, rate: Some(rate) };
        let single = self.load(&gateway, &mut subscribers, &single)?;
        subscribers.stop()?;
        gateway.stop()?;

        let mut report = Findings::new();
        report.add("channels", channels.into());
        report.add("subscribers_of_each", self.subscribers.into());
        report.add("batch_messages", self.batch.into());
        for (name, found) in [("batched", &batched), ("single_fastest", &fastest), ("single", &single)] {
            add(&mut report, name, found);
        }
        let asked = Asked::AtMost(20.0);
        report.add_target("batched_p99_msec", asked, batched.latency_msec[2]);
        report.add("single_p99_msec", single.latency_msec[2]);
        Ok(report)
    }

    fn load(&self, gateway: &Gateway, subscribers: &mut Subscribers, load: &Load) -> anyhow::Result<Found> {
        subscribers.settle()?;
        let receiver = subscribers.reset()?.cpu_seconds;
        let (before, start) = (Counted::read(gateway)?, Instant::now());
        let next = AtomicU64::new(0);
        std::thread::scope(|scope| {
            let publish = |number| {
                let next = &next;
                scope.spawn(move || self.publish(gateway, load, number, next))
            };
            let publishing: Vec<_> = (0..load.publishers).map(publish).collect();
            publishing.into_iter().try_for_each(|thread| thread.join().expect("publishing does not panic"))
        })?;
        let wall = start.elapsed().as_secs_f64();
        let messages = next.into_inner();
        // Every subscriber of every channel gets the same number: the messages go round.
        let expected = messages / u64::from(self.channels)
            * u64::from(self.subscribers)
            * u64::from(subscribers.sampled());
        let mut sample = subscribers.wait_for(expected, STEP)?;
        if !messages.is_multiple_of(self.channels.into()) {
            std::thread::sleep(10 * STEP);
            sample = subscribers.sample()?;
        }
        let used = Counted::read(gateway)?.since(&before);
        Ok(Found {
            messages,
            per_second: messages as f64 / wall,
            latency_msec: sample.latency_msec(&[0.5, 0.95, 0.99, 1.0]),
            gateway_core_percent: used.cpu_seconds / wall * 100.0,
            receiver_core_percent: (sample.cpu_seconds - receiver) / wall * 100.0,
            send_frames: messages as f64 * f64::from(self.subscribers) / used.sends.max(1) as f64,
        })
    }

    /// One connection's part. Batches are due in turn.
    fn publish(&self, gateway: &Gateway, load: &Load, number: u8, next: &AtomicU64) -> anyhow::Result<()> {
        let mut publisher = Publisher::connect(gateway, number, self.channel.bytes)?;
        let duration = Duration::from_secs(self.seconds.into());
        let period = load.rate.map(|rate| Duration::from_secs_f64(f64::from(load.batch) / rate));
        let turns =
            period.map(|period| Schedule::start(period * number.into(), period * load.publishers.into()));
        let (mut turns, start) = (turns, Instant::now());
        loop {
            let due = match &mut turns {
                Some(turns) => turns.wait(duration),
                None => (start.elapsed() < duration).then(crate::receiver::now_nanos),
            };
            let Some(due) = due else { return Ok(()) };
            let first = next.fetch_add(load.batch.into(), Ordering::Relaxed);
            let channel = |number: u64| name((number % u64::from(self.channels)) as u32);
            match load.batch {
                1 => publisher.publish_due(&channel(first), due)?,
                batch => publisher.publish_batch((first..first + u64::from(batch)).map(channel), due)?,
            }
        }
    }
}

fn name(number: u32) -> String {
    format!("c{number}")
}

fn add(report: &mut Findings, name: &str, found: &Found) {
    report.add(format!("{name}_messages"), found.messages as f64);
    report.add(format!("{name}_messages_per_second"), found.per_second);
    report.add(format!("{name}_p50_msec"), found.latency_msec[0]);
    report.add(format!("{name}_p95_msec"), found.latency_msec[1]);
    report.add(format!("{name}_max_msec"), found.latency_msec[3]);
    report.add(format!("{name}_gateway_core_percent"), found.gateway_core_percent);
    report.add(format!("{name}_receiver_core_percent"), found.receiver_core_percent);
    report.add(format!("{name}_send_frames"), found.send_frames);
}
