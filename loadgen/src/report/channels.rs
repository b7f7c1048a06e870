//! What came of channels.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::flaws::occurred;
use super::{Flaw, Latency, Moments, per_second, seconds, sum};
use crate::channels::{Subscriptions, Targets};
use crate::options::Plan;
use crate::stats::{ChannelStats, Counter, Reasons, Stats, histogram, merge};

/// Subscriptions, and the messages that came of them. *Checked* devices look at each message (`--check-every`, and all
/// that stood still); the others count frames.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Channels {
    /// Channels that devices subscribe to.
    pub channels: u32,
    /// Channels that messages are published to.
    pub published_channels: u32,
    /// Who published: `api` or `devices`; null if nothing was published to channels.
    pub publish_from: Option<String>,
    /// Channels that each device subscribes to.
    pub subscriptions_per_device: u32,
    /// Devices that had all of theirs at the end of the run.
    pub subscribed_at_end: u64,
    /// From the end of the ramp until all were subscribed; null if nobody subscribes.
    pub subscribe_seconds: Option<f64>,
    /// Subscriptions that were refused, or ended by the gateway.
    pub refused: u64,
    /// Why: `channel_forbidden`, `too_many_subscriptions`, …
    pub refused_by_reason: Reasons,
    /// Subscriptions of devices that came back and were promised all that they had missed.
    pub recovered: u64,
    /// Those that were not.
    pub not_recovered: u64,
    /// One in so many devices was checked.
    pub check_every: u32,
    /// Messages that were to come: of each channel those that the gateway accepted, for each subscriber that reads.
    pub expected: u64,
    /// Messages at devices that read.
    pub frames: u64,
    /// Messages at devices that stood still for a while.
    pub frames_late: u64,
    /// Bytes of the former, as WebSocket messages.
    pub bytes: u64,
    /// From the first message until the last frame; null if there was none.
    pub seconds: Option<f64>,
    /// Frames per second in that time.
    pub frames_per_second: Option<f64>,
    /// Messages that checked devices have looked at.
    pub checked: u64,
    /// Of these, those that devices which came back had missed.
    pub replayed: u64,
    /// `gap` frames at devices that read.
    pub gaps_told: u64,
    /// `gap` frames at devices that stood still for a while.
    pub gaps_told_late: u64,
    /// Messages that checked devices were told would not come.
    pub missed_told: u64,
    /// Holes that nobody told checked devices of.
    pub gaps_not_told: u64,
    /// Messages in these holes.
    pub missed_not_told: u64,
    /// Messages that a checked device had.
    pub duplicated: u64,
    /// Messages that came after later ones.
    pub out_of_order: u64,
    /// Messages that reached a checked device that was not subscribed, or came on another channel.
    pub astray: u64,
    /// Messages that are not of this run.
    pub foreign: u64,
    /// Messages that were to come and did not, when nothing had come for 2 s: what checked devices lacked at the end
    /// without having been told, or, where nobody left and no gap was told, what was missing of all.
    pub lost: u64,
    /// From when a message was due until a checked device that reads had it; without what was recovered.
    pub latency_ms: Option<Latency>,
}

impl Channels {
    /// `None` if nobody has anything to do with channels.
    pub(super) fn new(plan: &Plan, stats: &[Arc<Stats>], moments: &Moments) -> Option<Channels> {
        let (subscriptions, targets) = (&plan.channels.subscriptions, &plan.channels.targets);
        if subscriptions.is_none() && targets.is_none() {
            return None;
        }
        let count = |counter: fn(&ChannelStats) -> &Counter| sum(stats, |stats| counter(&stats.channels));
        let (mut latency, mut refused_by_reason) = (histogram(), Reasons::new());
        for stats in stats {
            let details = stats.details();
            // All have the same bounds, so there is nothing that could fail.
            let _ = latency.add(&details.channel_latency);
            merge(&mut refused_by_reason, &details.refusals);
        }
        let last = stats.iter().map(|stats| stats.channels.last_frame.value()).max().unwrap_or(0);
        let time = match moments.publish_start {
            0 => Duration::ZERO,
            start => Duration::from_nanos(last.saturating_sub(start)),
        };
        let frames = count(|channels| &channels.frames);
        let gaps_told = count(|channels| &channels.gaps_told);
        let came = frames + count(|channels| &channels.frames_late);
        // Of devices that went, or were told of gaps, one cannot say what was to come.
        let missing = match moments.gone_when_drained + gaps_told + count(|channels| &channels.gaps_told_late)
        {
            0 => moments.expected_frames.saturating_sub(came),
            _ => 0,
        };
        Some(Channels {
            channels: subscriptions.as_ref().map_or(0, |all| all.names().channels()),
            published_channels: targets.as_ref().map_or(0, |targets: &Targets| targets.names().channels()),
            publish_from: targets.as_ref().map(|_| plan.options.channels.publish_from.name().to_owned()),
            subscriptions_per_device: subscriptions.as_ref().map_or(0, Subscriptions::of_each),
            subscribed_at_end: moments.subscribed_at_end,
            subscribe_seconds: seconds(moments.subscribe),
            refused: count(|channels| &channels.refused),
            refused_by_reason,
            recovered: count(|channels| &channels.recovered),
            not_recovered: count(|channels| &channels.not_recovered),
            check_every: plan.options.channels.check_every,
            expected: moments.expected_frames,
            frames,
            frames_late: count(|channels| &channels.frames_late),
            bytes: count(|channels| &channels.bytes),
            seconds: seconds(time),
            frames_per_second: per_second(frames, time),
            checked: count(|channels| &channels.checked),
            replayed: count(|channels| &channels.replayed),
            gaps_told,
            gaps_told_late: count(|channels| &channels.gaps_told_late),
            missed_told: count(|channels| &channels.missed_told),
            gaps_not_told: count(|channels| &channels.gaps_not_told),
            missed_not_told: count(|channels| &channels.missed_not_told),
            duplicated: count(|channels| &channels.duplicated),
            out_of_order: count(|channels| &channels.out_of_order),
            astray: count(|channels| &channels.astray),
            foreign: count(|channels| &channels.foreign),
            lost: count(|channels| &channels.behind).max(missing),
            latency_ms: Latency::of(&latency),
        })
    }

    /// What breaks the promise that each subscriber sees each message once and in order, or is told of its gap.
    pub(super) fn broken_promises(&self) -> impl Iterator<Item = Flaw> {
        occurred([
            ("gaps that no subscriber was told of", self.gaps_not_told),
            ("messages of channels that came twice", self.duplicated),
            ("messages of channels out of order", self.out_of_order),
            ("messages of channels that came to a device they were not for", self.astray),
        ])
    }

    /// What, moreover, those who read have missed.
    pub(super) fn losses(&self) -> impl Iterator<Item = Flaw> {
        occurred([
            ("subscriptions refused", self.refused),
            ("subscriptions not recovered", self.not_recovered),
            ("gaps that subscribers were told of", self.gaps_told),
            ("messages of channels lost", self.lost),
        ])
    }
}
