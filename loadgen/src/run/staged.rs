//! Runs whose connections have stages. Everything has its time, counted from the first connect, and a hard end: a run
//! never lasts longer than its stages and its graceful stop.

use std::time::Duration;

use campanile_engine::Time;

use super::{GOODBYE, Interrupts, PUBLISH_TIMEOUT, Run};
use crate::options::Staging;
use crate::process;
use crate::progress::Totals;

/// When what has to end at the latest.
#[derive(Copy, Clone, Debug)]
pub(super) struct Ends {
    /// Nothing more is published.
    pub(super) publishing: Time,
    /// Nothing is waited for any more.
    pub(super) waiting: Time,
}

/// How much of the graceful stop there is for goodbyes.
pub(super) fn goodbye(staging: &Staging) -> Duration {
    GOODBYE.min(staging.graceful_stop / 4)
}

/// How long a request may take, of a graceful stop.
pub(super) fn publish_timeout(graceful_stop: Duration) -> Duration {
    PUBLISH_TIMEOUT.min(graceful_stop / 2).max(Duration::from_millis(1))
}

impl Run<'_> {
    /// Does everything at its time.
    pub(super) async fn staged(
        &mut self,
        staging: &Staging,
        api_key: &str,
        interrupts: &mut Interrupts,
    ) -> Result<(), String> {
        self.wait("before", staging.start, interrupts).await?;
        let (begin, cpu) = (Time::monotonic(), process::cpu());
        let end = begin + staging.connections.length();
        let waiting = end + (staging.graceful_stop - goodbye(staging));
        self.ends = Some(Ends { publishing: end, waiting });
        self.control.connect(begin);
        self.shards.wake();
        let (most_are_there, first_goes) = staging.connections.plateau();
        let first = self.plan.publishings().filter_map(|publishing| publishing.start).min();
        let first = first.unwrap_or(most_are_there);
        let until = begin + first;
        // Who is to be there by then is waited for, but not longer than a device may take.
        let latest = (until + self.plan.options.connect_timeout).min(end);
        while !self.interrupted && Time::monotonic() < latest {
            let now = Time::monotonic();
            let settled = self.settings.roster.devices_settled();
            if now >= until && settled >= staging.connections.count(first).into() {
                break;
            }
            self.tick("ramp", None, interrupts).await?;
            self.moments.ramp = Time::monotonic().since(begin);
            self.moments.ramp_cpu = process::cpu().saturating_sub(cpu);
            self.moments.ramp_opened = Totals::of(&self.shards.stats).opened;
        }
        if self.plan.channels.subscriptions.is_some() {
            self.subscribe(interrupts).await?;
        }
        if self.plan.publishings().next().is_some() && !self.interrupted {
            self.publish(begin, api_key, interrupts).await?;
        }
        // What there was before the first is let go; afterwards it would be one or two fewer.
        while !self.interrupted && Time::monotonic() < begin + first_goes {
            self.at_most = Some(Totals::of(&self.shards.stats));
            self.tick("stages", None, interrupts).await?;
        }
        self.wait_until("stages", end, interrupts).await
    }
}
