//! What a subscription costs beyond the session.

use clap::Args;

use super::subscribers::{Subscribers, Wanted};
use super::{ChannelSetup, QUIET};
use crate::report::{Asked, Findings};

/// The gateway's private memory with sessions that are subscribed to nothing, to one channel, to ten and to sixty that
/// all share, and to ten of many; each in a process of its own.
#[derive(Args, Debug)]
pub(crate) struct Memory {
    /// Sessions
    #[arg(long, default_value_t = 15_000)]
    sessions: u32,
    #[command(flatten)]
    channel: ChannelSetup,
}

/// Channels of each session where there are some and where there are many; a token may name 64.
const SOME: u32 = 10;
const MANY: u32 = 60;
/// In the last case there are so many sets of channels, and each session is subscribed to those of one.
const SETS: u32 = 100;

impl Memory {
    pub(in crate::gateway) fn run(self) -> anyhow::Result<()> {
        self.channel.pin()?;
        self.channel.output().measure(|| self.once())
    }

    fn once(&self) -> anyhow::Result<Findings> {
        let names = |from: u32, count: u32| (from..from + count).map(|number| format!("c{number}")).collect();
        let cases: [&dyn Fn(u32) -> Vec<String>; 5] =
            [&|_| Vec::new(), &|_| names(0, 1), &|_| names(0, SOME), &|_| names(0, MANY), &|number| {
                names(number % SETS * SOME, SOME)
            }];
        let sessions = f64::from(self.sessions);
        let mut all = [0.0; 5];
        for (case, bytes) in cases.iter().zip(&mut all) {
            *bytes = self.bytes(case)? / sessions;
        }
        let [none, one, some, many, spread] = all;
        let mut report = Findings::new();
        report.add("sessions", sessions);
        report.add("session_bytes", none);
        report.add("subscription_to_one_bytes", one - none);
        let (some_more, many_more) = (some - none, many - none);
        let asked = Asked::AtMost(32.0);
        report.add_target("subscription_to_ten_bytes", asked, some_more / f64::from(SOME));
        report.add_target("subscription_to_sixty_bytes", asked, many_more / f64::from(MANY));
        let further = (many_more - some_more) / f64::from(MANY - SOME);
        report.add_target("subscription_beyond_ten_bytes", asked, further);
        // Of each channel there are few subscribers, so what the channel itself takes is seen.
        report.add("spread_over_channels", (SETS * SOME).into());
        report.add("subscription_spread_bytes", (spread - none) / f64::from(SOME));
        Ok(report)
    }

    /// The growth of the gateway's private memory with all sessions.
    fn bytes(&self, channels: &dyn Fn(u32) -> Vec<String>) -> anyhow::Result<f64> {
        let gateway = self.channel.start(self.sessions, QUIET)?;
        let before = gateway.private_bytes()?;
        let wanted = Wanted { sessions: self.sessions, sampled: 0, channels, gives_way: false };
        let subscribers = Subscribers::connect(&gateway, &self.channel.setup, &wanted)?;
        gateway.wait_for_sessions(self.sessions.into(), std::time::Duration::from_secs(30))?;
        // What was only needed for connecting is given back within a moment.
        std::thread::sleep(std::time::Duration::from_secs(3));
        let after = gateway.private_bytes()?;
        subscribers.stop()?;
        gateway.stop()?;
        Ok(after as f64 - before as f64)
    }
}
