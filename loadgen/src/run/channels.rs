//! What a run does with channels: waits until everybody is subscribed, lets devices publish, knows how many frames are
//! to come of it.

use std::sync::OnceLock;
use std::time::Duration;

use campanile_engine::Time;

use super::{GRACE, Interrupts, Run};
use crate::channels::{Subscriptions, Targets};
use crate::credentials::{Credentials, Grants};
use crate::fleet::{ChannelPublishing, ChannelSettings, DevicePublishing};
use crate::options::{Plan, Publishing};
use crate::process;
use crate::progress::Totals;
use crate::publish::Published;
use crate::roster::Roster;
use crate::stats::{Position, Reasons, Refusal, histogram, merge};

/// How long the next confirmation of a subscription may be on its way.
const SUBSCRIBE_PATIENCE: Duration = Duration::from_secs(20);

/// What fleets are told of channels; `None` if they have nothing to do with any.
pub(super) fn settings(plan: &Plan) -> Option<ChannelSettings> {
    let (channels, options) = (&plan.channels, &plan.options.channels);
    if channels.subscriptions.is_none() && channels.targets.is_none() {
        return None;
    }
    let publishing = plan.messages.as_ref().zip(channels.targets.clone()).map(|(publishing, targets)| {
        let from_devices = publishing.rate.clone().filter(|_| options.is_from_devices());
        ChannelPublishing {
            targets,
            messages: publishing.messages(),
            payload_bytes: publishing.payload_bytes,
            from_devices: from_devices.map(|rate| DevicePublishing { rate, duration: publishing.duration }),
        }
    });
    Some(ChannelSettings {
        subscriptions: channels.subscriptions.clone(),
        check_every: options.check_every,
        resume: options.stalled_resume,
        publishing,
        newest: OnceLock::new(),
    })
}

/// What tokens have to allow.
pub(super) fn grants(plan: &Plan) -> Grants {
    let channels = &plan.channels;
    let publish = channels.targets.as_ref().filter(|_| plan.options.channels.is_from_devices());
    Grants {
        channels: channels.subscriptions.as_ref().map_or(Vec::new(), |all| all.names().patterns()),
        publish: publish.map_or(Vec::new(), |targets| targets.names().patterns()),
    }
}

/// Why a subscription was refused, and what to do about it.
fn refusal(first: &Refusal, count: u64, credentials: &Credentials) -> String {
    let hint = match (first.reason.as_str(), credentials) {
        ("channel_forbidden", Credentials::Hs256 { .. }) => {
            "tokens are signed here with a claim `channels` for it: is the secret the gateway's, and is it a gateway with \
             channels?"
        }
        ("channel_forbidden", Credentials::Listed(_)) => {
            "the tokens of --tokens-file need a claim `channels` with this name or a pattern for it"
        }
        ("channel_forbidden", Credentials::None) => {
            "there are no tokens: give --jwt-hs256-file, or open the namespace in the gateway's configuration"
        }
        ("too_many_subscriptions", _) => {
            "the gateway limits the subscriptions of one session: lower --subscriptions-per-device, or raise its limit"
        }
        ("too_many_channels", _) => {
            "the gateway limits the channels of one shard: lower --channels, or raise its limit"
        }
        ("channel_reserved", _) => "the namespace is the gateway's own: choose another name",
        _ => "the gateway's protocol documentation says what this means",
    };
    let Refusal { channel, reason, message } = first;
    let message = if message.is_empty() { String::new() } else { format!(" ({message})") };
    format!("the gateway refuses {count} subscriptions, first to `{channel}`: {reason}{message}; {hint}")
}

/// How many frames are to come of what was published: of each channel its messages, for each device that has connected
/// and reads.
pub(super) fn expected_frames(plan: &Plan, roster: &Roster, positions: &[Position]) -> u64 {
    let (Some(subscriptions), Some(targets)) = (&plan.channels.subscriptions, &plan.channels.targets) else {
        return 0;
    };
    let reads = |device: &u32| {
        let is_to_read = plan.options.channels.stalled_resume || !plan.audience.is_silent(*device);
        is_to_read && roster.has_connected(*device)
    };
    let subscribers = subscriptions.subscribers((0..plan.options.connections).filter(reads));
    let each = |(channel, position): (u32, &Position)| {
        position.accepted * u64::from(subscribers_of(channel, targets, subscriptions, &subscribers))
    };
    (0..).zip(positions).map(each).sum()
}

fn subscribers_of(
    channel: u32,
    targets: &Targets,
    subscriptions: &Subscriptions,
    subscribers: &[u32],
) -> u32 {
    let index = subscriptions.names().index_of(targets.names().name(channel).as_bytes());
    index.and_then(|index| subscribers.get(index as usize)).copied().unwrap_or(0)
}

/// What devices publish, and what of it is waited for.
pub(super) struct Answers {
    messages: u64,
    settled: u64,
    until: Time,
}

impl Answers {
    /// Of so many messages.
    pub(super) fn new(messages: u64) -> Answers {
        Answers { messages, settled: 0, until: Time::monotonic() + GRACE }
    }
}

impl Run<'_> {
    /// Until every device that has connected is subscribed.
    ///
    /// # Errors
    /// In words for the operator: the gateway refuses a subscription, or does not answer.
    pub(super) async fn subscribe(&mut self, interrupts: &mut Interrupts) -> Result<(), String> {
        let start = Time::monotonic();
        let (mut before, mut until) = (None, start + SUBSCRIBE_PATIENCE);
        loop {
            let totals = Totals::of(&self.shards.stats);
            self.moments.subscribe = Time::monotonic().since(start);
            self.check_refusals(&totals)?;
            // Where devices come and go some are always on their way.
            let coming = if self.plan.options.reconnect { totals.connected / 100 } else { 0 };
            let subscribing = self.plan.channels.subscriptions.as_ref().map_or(0, Subscriptions::devices);
            let subscribing = self.settings.roster.connected_in(0..subscribing.min(self.settings.connecting));
            let wanted = totals.connected.min(subscribing.into());
            let is_over = self.ends.is_some_and(|ends| Time::monotonic() >= ends.publishing);
            if totals.subscribed + coming >= wanted || self.interrupted || is_over {
                return Ok(());
            }
            if before.replace(totals.subscriptions) != Some(totals.subscriptions) {
                until = Time::monotonic() + SUBSCRIBE_PATIENCE;
            }
            if Time::monotonic() >= until {
                return Err(format!(
                    "{} of {} devices are subscribed, and the gateway has confirmed no subscription for {} s",
                    totals.subscribed,
                    totals.connected,
                    SUBSCRIBE_PATIENCE.as_secs()
                ));
            }
            self.tick("subscribe", None, interrupts).await?;
        }
    }

    fn check_refusals(&self, totals: &Totals) -> Result<(), String> {
        if totals.refused == 0 {
            return Ok(());
        }
        let first = self.shards.stats.iter().find_map(|stats| stats.details().first_refusal.clone());
        first.map_or(Ok(()), |first| Err(refusal(&first, totals.refused, &self.settings.credentials)))
    }

    /// Lets devices publish.
    pub(super) fn let_devices_publish(&self, begin: Time, publishing: &Publishing) {
        self.control.publish(publishing.start.map_or(begin, |start| begin + start));
        self.shards.wake();
    }

    /// Whether answers are still waited for of what devices publish.
    pub(super) fn await_answers(&self, answers: &mut Answers) -> bool {
        let totals = Totals::of(&self.shards.stats);
        let (now, settled) = (Time::monotonic(), totals.accepted + totals.publish_failed);
        // Of those that have been sent the next answer may take so long.
        if totals.offered < answers.messages || std::mem::replace(&mut answers.settled, settled) != settled {
            answers.until = now + GRACE;
        }
        let is_over = self.ends.is_some_and(|ends| now >= ends.publishing);
        !self.interrupted && !is_over && settled < answers.messages && now < answers.until
    }

    pub(super) fn published_by_devices(&self) -> Published {
        let channels = self.plan.channels.targets.as_ref().map_or(0, |targets| targets.names().channels());
        let totals = Totals::of(&self.shards.stats);
        let mut published = Published {
            offered: totals.offered,
            requests: totals.publish_sent,
            delivered: Vec::new(),
            positions: vec![Position::default(); channels as usize],
            states: Reasons::new(),
            failures: Reasons::new(),
            failed_devices: Reasons::new(),
            latency: histogram(),
        };
        for stats in &self.shards.stats {
            let details = stats.details();
            merge(&mut published.failures, &details.publish_failures);
            // All have the same bounds, so there is nothing that could fail.
            let _ = published.latency.add(&details.publish_latency);
            for (&channel, position) in &details.positions {
                published.positions[channel as usize].merge(*position);
            }
        }
        let answered = published.latency.len() + published.failures.values().sum::<u64>();
        if totals.offered > answered {
            published.failures.insert("unanswered".into(), totals.offered - answered);
        }
        published
    }

    /// Publishing is over: devices that stood still read again, and all know what there was to come.
    pub(super) fn begin_drain(&mut self) {
        if let Some(channels) = &self.settings.channels {
            if let Some(published) = &self.published.messages {
                // Publishing takes place once.
                let _ = channels.newest.set(published.positions.clone());
            }
            self.control.drain();
            self.shards.wake();
        }
    }

    /// Notes when publishing begins.
    pub(super) fn publishing_begins(&mut self) -> (Time, Duration) {
        let start = Time::monotonic();
        self.moments.publish_start = start.as_nanos();
        (start, process::cpu())
    }
}
