//! Checkers of `channels`.

use std::collections::HashSet;

use campanile_protocol::ids::ChannelName;

use super::log::Lag;
use super::registry::Channels;
use crate::counters::ShardCounters;
use crate::invariants::{Broken, holds};
use crate::net::Net;
use crate::net::wire::NONE;

/// Where a subscriber of a channel is.
#[doc(hidden)]
pub struct Following<'a> {
    /// The subscriber's slot.
    pub slot: u32,
    /// The channel.
    pub channel: &'a ChannelName,
    /// The number of the last message that it was sent or told to be missing; `None` if the log no longer says.
    pub reached: Option<u64>,
    /// The number of the newest message that the shard knows.
    pub head: u64,
}

impl Channels {
    /// Where every subscriber is.
    pub(crate) fn following(&self) -> impl Iterator<Item = Following<'_>> {
        self.slab.iter().flat_map(move |(_, channel)| {
            channel.subscribers.iter().filter_map(move |&number| {
                let subscription = self.subscriptions.get(number)?;
                let is_lost = matches!(channel.log.lag(subscription.cursor), Lag::Lost);
                let reached = (!is_lost).then(|| channel.log.offset_before(subscription.cursor));
                let (slot, channel, head) = (subscription.slot, &channel.name, channel.log.offset());
                Some(Following { slot, channel, reached, head })
            })
        })
    }

    /// Each subscription is in exactly one list: in that of its session once, and either at its place among its channel's
    /// subscribers or once among those who wait for the owner's log.
    pub(crate) fn check_subscriptions(&self, net: &Net, counters: &ShardCounters) -> Result<(), Broken> {
        const CHECKER: &str = "each subscription in exactly one list";
        let mut of_sessions = HashSet::new();
        for (slot, session) in net.sessions() {
            for (number, subscription) in self.subscriptions.of_session(session.membership.subscriptions) {
                holds(CHECKER, subscription.slot == slot && of_sessions.insert(number), || {
                    format!("subscription {number} of slot {} stands with slot {slot}", subscription.slot)
                })?;
            }
        }
        let mut of_channels = HashSet::new();
        for (channel, state) in &self.slab {
            let places = state.subscribers.iter().enumerate().map(|(place, &number)| (place as u32, number));
            let joining = state.joining.iter().map(|joining| (NONE, joining.subscription));
            for (place, number) in places.chain(joining) {
                let subscription = self.subscriptions.get(number);
                let is_here = subscription.is_some_and(|subscription| {
                    subscription.channel as usize == channel && subscription.place == place
                });
                holds(CHECKER, is_here && of_channels.insert(number), || {
                    format!("subscription {number} does not belong to place {place} of {}", state.name)
                })?;
            }
        }
        holds(CHECKER, of_sessions == of_channels, || {
            let apart: Vec<u32> = of_sessions.symmetric_difference(&of_channels).copied().collect();
            format!("subscriptions {apart:?} stand with a session or a channel only")
        })?;
        let counted = (u64::from(self.subscriptions.len()), counters.subscriptions.get());
        let there = of_sessions.len() as u64;
        holds(CHECKER, counted == (there, there), || {
            format!("there are {there} subscriptions, counted are {counted:?}")
        })
    }

    /// Logs add up: what the shard counts for all logs is what they have.
    pub(crate) fn check_logs(&self) -> Result<(), Broken> {
        let bytes: usize = self.slab.iter().map(|(_, channel)| channel.log.bytes()).sum();
        holds("logs add up", bytes == self.log_bytes, || {
            format!("logs have {bytes} bytes, counted are {}", self.log_bytes)
        })
    }

    /// A channel stands in the queues that it says that it stands in, once, and so do subscriptions; whoever lacks something
    /// is brought forward by one of them, or by its socket when that has room again: nobody is forgotten.
    pub(crate) fn check_queues(&self, net: &Net) -> Result<(), Broken> {
        let behind: HashSet<u32> = self.behind.iter().copied().collect();
        for (channel, state) in &self.slab {
            let number = channel as u32;
            for &subscriber in &state.subscribers {
                let Some(subscription) = self.subscriptions.get(subscriber) else { continue };
                holds(
                    "subscriptions stand in their queue",
                    !subscription.is_behind || behind.contains(&subscriber),
                    || format!("subscription {subscriber} of {} is behind and does not wait", state.name),
                )?;
                let lacks = subscription.cursor != state.log.head_cursor();
                let keeps_up = net.session(subscription.slot).is_some_and(|session| session.wire.keeps_up());
                let is_awaited = state.ready || subscription.is_behind;
                holds("nobody is forgotten by passes", !lacks || !keeps_up || is_awaited, || {
                    format!("subscription {subscriber} of {} lacks something", state.name)
                })?;
            }
            for (queue, says, name) in
                [(&self.ready, state.ready, "pass"), (&self.feeding, state.feeding, "feed")]
            {
                let times = queue.iter().filter(|&&queued| queued == number).count();
                holds("channels stand in their queues", times == usize::from(says), || {
                    format!("{} waits {times} times for its {name}, and says {says}", state.name)
                })?;
            }
        }
        Ok(())
    }
}
