//! Checkers of `channels`.

use std::collections::VecDeque;

use campanile_protocol::ids::ChannelName;

use super::channel::Channel;
use super::log::Lag;
use super::registry::Channels;
use crate::counters::ShardCounters;
use crate::invariants::{Broken, holds};
use crate::net::Net;
use crate::net::check::Tenants;
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

    /// Each subscription is in exactly one list: in that of its session once, and either at its place among its
    /// channel's subscribers or once among those who wait for the owner's log. Since none is in two lists of a kind, it
    /// is enough that each kind has as many as there are.
    pub(crate) fn check_subscriptions(
        &self,
        tenants: &Tenants<'_>,
        counters: &ShardCounters,
    ) -> Result<(), Broken> {
        const CHECKER: &str = "each subscription in exactly one list";
        let there = self.subscriptions.len();
        let (mut of_sessions, mut of_channels) = (0, 0);
        for &(slot, session) in &tenants.sessions {
            for (number, subscription) in self.subscriptions.of_session(session.membership.subscriptions) {
                of_sessions += 1;
                // A list that bites its tail has no end.
                holds(CHECKER, subscription.slot == slot && of_sessions <= there, || {
                    format!("subscription {number} of slot {} stands with slot {slot}", subscription.slot)
                })?;
            }
        }
        for (channel, state) in &self.slab {
            for (place, &number) in state.subscribers.iter().enumerate() {
                of_channels += 1;
                self.check_place(CHECKER, number, channel, place as u32)?;
            }
            for (at, joining) in state.joining.iter().enumerate() {
                of_channels += 1;
                self.check_place(CHECKER, joining.subscription, channel, NONE)?;
                let mut before = state.joining.iter().take(at);
                holds(CHECKER, before.all(|other| other.subscription != joining.subscription), || {
                    format!("subscription {} waits twice for the log of {}", joining.subscription, state.name)
                })?;
            }
        }
        holds(CHECKER, (of_sessions, of_channels) == (there, there), || {
            format!("of {there} subscriptions {of_sessions} stand with sessions, {of_channels} with channels")
        })?;
        let counted = counters.subscriptions.get();
        holds(CHECKER, counted == u64::from(there), || {
            format!("there are {there} subscriptions, counted are {counted}")
        })
    }

    fn check_place(
        &self,
        checker: &'static str,
        number: u32,
        channel: usize,
        place: u32,
    ) -> Result<(), Broken> {
        let subscription = self.subscriptions.get(number);
        let is_here = subscription.is_some_and(|subscription| {
            subscription.channel as usize == channel && subscription.place == place
        });
        holds(checker, is_here, || {
            format!("subscription {number} does not belong to place {place} of channel {channel}")
        })
    }

    /// Logs add up: what the shard counts for all logs is what they have.
    pub(crate) fn check_logs(&self) -> Result<(), Broken> {
        let bytes: usize = self.slab.iter().map(|(_, channel)| channel.log.bytes()).sum();
        holds("logs add up", bytes == self.log_bytes, || {
            format!("logs have {bytes} bytes, counted are {}", self.log_bytes)
        })
    }

    /// A channel stands in the queues that it says that it stands in, once, and so do subscriptions; whoever lacks
    /// something is brought forward by one of them, or by its socket when that has room again: nobody is forgotten.
    pub(crate) fn check_queues(&self, net: &Net) -> Result<(), Broken> {
        let (mut passes, mut feeds) = (0, 0);
        for (_, state) in &self.slab {
            passes += usize::from(state.ready);
            feeds += usize::from(state.feeding);
            let head = state.log.head_cursor();
            for &subscriber in &state.subscribers {
                let Some(subscription) = self.subscriptions.get(subscriber) else { continue };
                holds(
                    "subscriptions stand in their queue",
                    !subscription.is_behind || self.behind.contains(&subscriber),
                    || format!("subscription {subscriber} of {} is behind and does not wait", state.name),
                )?;
                let is_awaited = state.ready || subscription.is_behind;
                let is_forgotten = subscription.cursor != head
                    && !is_awaited
                    && net.session(subscription.slot).is_some_and(|session| session.wire.keeps_up());
                holds("nobody is forgotten by passes", !is_forgotten, || {
                    format!("subscription {subscriber} of {} lacks something", state.name)
                })?;
            }
        }
        self.check_queue(&self.ready, passes, |state| state.ready)?;
        self.check_queue(&self.feeding, feeds, |state| state.feeding)
    }

    /// Of so many channels that say that they wait each stands in the queue once, and nobody else.
    fn check_queue(
        &self,
        queue: &VecDeque<u32>,
        waiting: usize,
        says: impl Fn(&Channel) -> bool,
    ) -> Result<(), Broken> {
        const CHECKER: &str = "channels stand in their queues";
        holds(CHECKER, queue.len() == waiting, || {
            format!("{waiting} channels say that they wait in the queue {queue:?}")
        })?;
        for (at, &number) in queue.iter().enumerate() {
            let is_one = self.slab.get(number as usize).is_some_and(&says);
            holds(CHECKER, is_one && !queue.range(..at).any(|&before| before == number), || {
                format!("channel {number} stands in the queue {queue:?} and waits: {is_one}")
            })?;
        }
        Ok(())
    }
}
