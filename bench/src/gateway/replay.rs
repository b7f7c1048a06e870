//! Everything that waited for a device, delivered when it connects, and what others on its shard notice of it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use campanile_engine::Time;
use campanile_load::report as load;
use clap::Args;

use super::process::Gateway;
use super::{Setup, deliveries, measured, pushes, replay, words};
use crate::report::{Asked, Findings, Spread};

/// One shard. Messages are stored for one device after another, none of which is connected. Then, while other devices
/// are pushed to at a steady rate, each of them connects, acknowledging every 32 messages, until it has caught up.
#[derive(Args, Debug)]
pub(crate) struct ReplayBench {
    /// Messages that wait for each device
    #[arg(long, default_value_t = 100_000)]
    messages: u64,
    /// Bytes of each payload: a series for each size
    #[arg(long, value_delimiter = ',', default_value = "512,64")]
    bytes: Vec<u32>,
    /// Devices of each series, one after another
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    replays: u32,
    /// Other devices, which are connected all the time
    #[arg(long, default_value_t = 1_000)]
    others: u32,
    /// Messages per second to the others
    #[arg(long, default_value_t = 1_000)]
    others_rate: u32,
    /// Seconds of messages to the others before anything is replayed, to compare with
    #[arg(long, default_value_t = 10)]
    quiet_seconds: u64,
    #[command(flatten)]
    setup: Setup,
}

/// How long storing one device's messages, or delivering them, may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// The others are pushed to for no longer than this, in seconds; they are stopped when all is replayed.
const LIVE_SECONDS_MAX: u64 = 900;
/// Between two replays.
const PAUSE: Duration = Duration::from_millis(500);

/// From and to, on the machine's monotonic clock in nanoseconds.
type Period = (u64, u64);

/// The replays of one size.
#[derive(Default)]
struct Series {
    messages_per_second: Vec<f64>,
    bytes_per_second: Vec<f64>,
    seconds: Vec<f64>,
    periods: Vec<Period>,
}

impl ReplayBench {
    pub(super) fn run(self) -> anyhow::Result<()> {
        self.setup.output.measure(|| self.once())
    }

    fn once(&self) -> anyhow::Result<Findings> {
        let gateway = Gateway::start_with(&self.setup, &[], &["--shards", "1"])?;
        for &bytes in &self.bytes {
            for turn in 0..self.replays {
                self.store(&gateway, bytes, turn)?;
            }
        }
        let samples = gateway.path("samples");
        let others = words(&format!(
            "--connections {} --user-prefix L --rate {} --duration {LIVE_SECONDS_MAX} --durability durable \
             --payload-bytes 512 --samples {}",
            self.others,
            self.others_rate,
            samples.display()
        ));
        let mut live = gateway.start_named_load("live", false, &others)?;
        gateway.wait_for_sessions(self.others.into(), Duration::from_secs(60))?;
        std::thread::sleep(Duration::from_secs(2));
        let quiet_from = Time::monotonic().as_nanos();
        std::thread::sleep(Duration::from_secs(self.quiet_seconds));
        let quiet = (quiet_from, Time::monotonic().as_nanos());
        let mut series = Vec::new();
        for &bytes in &self.bytes {
            series.push((bytes, self.replay(&gateway, bytes)?));
        }
        live.terminate()?;
        let live = live.finish(Duration::from_secs(60))?;
        let samples = read_samples(&samples)?;
        gateway.stop()?;
        self.report(&series, &samples, quiet, &live)
    }

    fn report(
        &self,
        series: &[(u32, Series)],
        samples: &[Sample],
        quiet: Period,
        live: &load::Report,
    ) -> anyhow::Result<Findings> {
        let mut report = Findings::new();
        report.add("messages", self.messages as f64);
        report.add("others", self.others.into());
        report.add("others_rate_per_second", self.others_rate.into());
        let (quiet_p99, count) = p99_msec(samples, &[quiet]);
        report.add("others_quiet_p99_msec", quiet_p99);
        report.add("others_quiet_samples", count as f64);
        for (bytes, series) in series {
            let median = |values: &[f64]| Spread::of(values).median;
            let name = |what: &str| format!("replay_{bytes}_bytes_{what}");
            report.add_spread(&name("time"), "seconds", &series.seconds);
            report.add(name("messages_per_second"), median(&series.messages_per_second));
            report.add(name("payload_megabytes_per_second"), median(&series.bytes_per_second) / 1e6);
            // Either is enough: what is reported is how much of it was reached.
            let of_messages = median(&series.messages_per_second) / 300_000.0;
            let of_bytes = median(&series.bytes_per_second) / 200e6;
            report.add_target(name("share_of_target"), Asked::AtLeast(1.0), of_messages.max(of_bytes));
            let (p99, count) = p99_msec(samples, &series.periods);
            report.add(name("others_p99_msec"), p99);
            report.add(name("others_samples"), count as f64);
            report.add_target(name("others_p99_more_msec"), Asked::AtMost(5.0), p99 - quiet_p99);
        }
        let lost = deliveries(live)?.lost;
        report.must(lost == 0, || format!("{lost} messages to the others were lost"));
        report.leaves_out(
            "the load generators of the replay and of the others share their core, and what waits there counts too",
        );
        Ok(report)
    }

    /// Names of the users whose devices are replayed.
    fn prefix(bytes: u32, turn: u32) -> String {
        format!("R{bytes}-{turn}-")
    }

    fn store(&self, gateway: &Gateway, bytes: u32, turn: u32) -> anyhow::Result<()> {
        let found = gateway.load(
            &words(&format!(
                "--offline --connections 1 --user-prefix {} --payload-bytes {bytes} --durability durable --max \
                 --messages {} --batch 200 --publishers 4 --duration 1000",
                Self::prefix(bytes, turn),
                self.messages
            )),
            PATIENCE,
        )?;
        let pushes = pushes(&found)?;
        ensure!(
            pushes.accepted == self.messages,
            "only {} of {} messages were stored ({:?}): a mailbox may have to be larger, see --set",
            pushes.accepted,
            self.messages,
            pushes.failed_by_reason
        );
        Ok(())
    }

    fn replay(&self, gateway: &Gateway, bytes: u32) -> anyhow::Result<Series> {
        let mut series = Series::default();
        for turn in 0..self.replays {
            std::thread::sleep(PAUSE);
            let arguments = words(&format!(
                "--connections 1 --user-prefix {} --until-caught-up --ack-every 32",
                Self::prefix(bytes, turn)
            ));
            // It has the core to itself only when the others do not want it: they are to wait for the gateway alone.
            let found = gateway.start_named_load("replay", true, &arguments)?.finish(PATIENCE)?;
            let found = replay(&found)?;
            ensure!(
                found.messages == self.messages && found.out_of_order == 0 && found.caught_up == 1,
                "of {} messages {} were delivered, {} of them out of order, to {} sessions",
                self.messages,
                found.messages,
                found.out_of_order,
                found.caught_up
            );
            series.messages_per_second.push(measured(found.messages_per_second)?);
            series.bytes_per_second.push(measured(found.payload_bytes_per_second)?);
            series.seconds.push(measured(found.seconds)?);
            series.periods.push((measured(found.began_monotonic_ns)?, measured(found.ended_monotonic_ns)?));
        }
        Ok(series)
    }
}

/// When a message was due, and how long it took, in nanoseconds.
type Sample = (u64, u64);

fn read_samples(file: &Path) -> anyhow::Result<Vec<Sample>> {
    let text = std::fs::read_to_string(file).context("the load generator wrote no samples")?;
    let sample = |line: &str| {
        let (due, took) = line.split_once(' ').context("not a sample")?;
        Ok((due.parse()?, took.parse()?))
    };
    text.lines().map(sample).collect()
}

/// The 99th percentile of the messages that were on their way in one of these periods, in milliseconds, and how many
/// they are; NaN of none.
fn p99_msec(samples: &[Sample], periods: &[Period]) -> (f64, usize) {
    let on_its_way = |&&(due, took): &&Sample| {
        periods.iter().any(|&(from, to)| due <= to && due.saturating_add(took) >= from)
    };
    let mut times: Vec<u64> = samples.iter().filter(on_its_way).map(|&(_, took)| took).collect();
    times.sort_unstable();
    let index = (times.len() * 99).div_ceil(100).saturating_sub(1);
    (times.get(index).map_or(f64::NAN, |&nanos| nanos as f64 / 1e6), times.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_on_its_way_in_a_period_counts() {
        let ms = 1_000_000;
        let samples: Vec<Sample> = (0..200).map(|due| (due * ms, (due + 1) * ms / 2)).collect();
        // Due from 0 to 99 ms, taking up to 50 ms.
        let (p99, count) = p99_msec(&samples, &[(0, 99 * ms)]);
        assert_eq!((p99, count), (49.5, 100));
        // What was due before and is still on its way counts too.
        assert_eq!(p99_msec(&[(0, 10 * ms), (0, 20 * ms)], &[(15 * ms, 16 * ms)]), (20.0, 1));
        assert_eq!(p99_msec(&samples, &[]).1, 0);
        assert!(p99_msec(&samples, &[]).0.is_nan());
    }
}
