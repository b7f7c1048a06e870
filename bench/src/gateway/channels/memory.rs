//! What a subscription costs beyond the session.

use clap::Args;

use super::subscribers::{Subscribers, Wanted};
use super::{ChannelSetup, QUIET};
use crate::report::{Asked, Report, Spread};

/// The gateway's private memory with sessions that are subscribed to nothing, to one channel, to ten that all share, and
/// to ten of many; each in a process of its own.
#[derive(Args, Debug)]
pub(crate) struct Memory {
    /// Sessions
    #[arg(long, default_value_t = 15_000)]
    sessions: u32,
    /// Channels of each session in the last two cases
    #[arg(long, default_value_t = 10)]
    channels: u32,
    /// Repetitions
    #[arg(long, default_value_t = 3)]
    repeat: u32,
    #[command(flatten)]
    channel: ChannelSetup,
}

/// What all are subscribed to in the last case, in channels for each of one session.
const SPREAD: u32 = 100;

impl Memory {
    pub(in crate::gateway) fn run(self) -> anyhow::Result<()> {
        self.channel.pin()?;
        let names = |from: u32, count: u32| (from..from + count).map(|number| format!("c{number}")).collect();
        let cases: [&dyn Fn(u32) -> Vec<String>; 4] =
            [&|_| Vec::new(), &|_| names(0, 1), &|_| names(0, self.channels), &|number| {
                names(number % SPREAD * self.channels, self.channels)
            }];
        let mut all: [Vec<f64>; 4] = Default::default();
        for _ in 0..self.repeat {
            for (case, found) in cases.iter().zip(&mut all) {
                found.push(self.bytes(case)?);
            }
        }
        let mut report = Report::new();
        report.add("sessions", self.sessions.into());
        report.add("channels_of_each", self.channels.into());
        let sessions = f64::from(self.sessions);
        let [none, one, same, spread] = all.map(|bytes| {
            let per_session: Vec<f64> = bytes.iter().map(|bytes| bytes / sessions).collect();
            Spread::of(&per_session)
        });
        report.add("session_bytes", none.median);
        report.add("session_min_bytes", none.min);
        report.add("session_max_bytes", none.max);
        let many = f64::from(self.channels);
        let at_most = Asked::AtMost(32.0);
        report.add_target("subscription_to_one_bytes", at_most, one.median - none.median);
        report.add_target("subscription_of_ten_bytes", at_most, (same.median - none.median) / many);
        report.add_target(
            "subscription_beyond_first_bytes",
            at_most,
            (same.median - one.median) / (many - 1.0),
        );
        report.add("spread_over_channels", (SPREAD * self.channels).into());
        report.add_target("subscription_spread_bytes", at_most, (spread.median - none.median) / many);
        report.publish(self.channel.json())
    }

    /// The growth of the gateway's private memory with all sessions.
    fn bytes(&self, channels: &dyn Fn(u32) -> Vec<String>) -> anyhow::Result<f64> {
        let gateway = self.channel.start(self.sessions, QUIET)?;
        let before = gateway.process.private_bytes()?;
        let wanted = Wanted { sessions: self.sessions, sampled: 0, channels, gives_way: false };
        let subscribers = Subscribers::connect(&gateway, &self.channel.setup, &wanted)?;
        gateway.wait_for_sessions(self.sessions.into(), std::time::Duration::from_secs(30))?;
        // What was only needed for connecting is given back within a moment.
        std::thread::sleep(std::time::Duration::from_secs(3));
        let after = gateway.process.private_bytes()?;
        subscribers.stop()?;
        gateway.stop()?;
        Ok(after as f64 - before as f64)
    }
}
