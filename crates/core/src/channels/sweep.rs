//! Channels are looked through now and then: logs lose what is too old, and a channel that nobody needs is forgotten.

use std::sync::Arc;
use std::time::Duration;

use campanile_engine::Time;

use super::mail::Mail;
use super::owner::CUT_LOG_BYTES;
use super::{Channels, Role};
use crate::Shard;

/// How often channels are looked through.
const SWEEP_EVERY: Duration = Duration::from_millis(500);
/// How many of them each time.
const CHANNELS_PER_SWEEP: usize = 2_048;
/// How long a channel that nobody needs is kept, for somebody who may come back.
const IDLE_AFTER: Duration = Duration::from_secs(10);

impl Channels {
    /// When channels are to be looked through; `None` if there are none.
    pub(crate) fn sweep_due(&self) -> Option<Time> {
        (!self.slab.is_empty()).then_some(self.sweep_at)
    }
}

impl Shard {
    /// Looks through some channels, when it is time.
    pub(crate) fn sweep_channels(&mut self) {
        let now = self.now;
        if self.channels.sweep_at > now.time {
            return;
        }
        self.channels.sweep_at = now.time + SWEEP_EVERY;
        let settings = Arc::clone(&self.settings);
        let end = self.channels.slab.capacity();
        for _ in 0..CHANNELS_PER_SWEEP.min(end) {
            let number = self.channels.sweep_from;
            self.channels.sweep_from = if number as usize + 1 < end { number + 1 } else { 0 };
            let channels = &mut self.channels;
            let Some(channel) = channels.slab.get_mut(number as usize) else { continue };
            let before = channel.log.bytes();
            if !channel.is_status {
                channel.log.trim(settings.namespaces.of(&channel.name), now.unix_ms);
            }
            if channels.log_bytes > settings.namespaces.log_bytes_per_shard_max
                && channel.log.bytes() > CUT_LOG_BYTES
            {
                channel.log.cut(CUT_LOG_BYTES);
                self.counters.channel_logs_cut.add(1);
            }
            channels.log_bytes = channels.log_bytes - before + channel.log.bytes();
            let is_idle = channel.subscribers.is_empty()
                && channel.joining.is_empty()
                && channel.used + IDLE_AFTER <= now.time;
            let forgotten = match &channel.role {
                Role::Owner { readers } => {
                    is_idle && readers.is_empty() && (channel.is_status || channel.log.is_empty())
                }
                Role::Replica { .. } => is_idle,
            };
            if forgotten {
                self.forget_channel(number);
            }
        }
        self.counters.channel_log_bytes.set(self.channels.log_bytes as u64);
    }

    /// A channel of which nobody has heard anything is not kept for those who may come back.
    pub(super) fn forget_if_unheard(&mut self, number: u32) {
        let unheard = self.channels.get(number).is_some_and(|channel| {
            let is_read = matches!(&channel.role, Role::Owner { readers } if !readers.is_empty());
            channel.subscribers.is_empty()
                && channel.joining.is_empty()
                && channel.log.head() == 0
                && !is_read
        });
        if unheard {
            self.forget_channel(number);
        }
    }

    fn forget_channel(&mut self, number: u32) {
        let Some(channel) = self.channels.remove(number) else { return };
        self.counters.channels.set(self.channels.len() as u64);
        match channel.role {
            Role::Owner { .. } => self.channels.statuses.forget(&channel.name),
            Role::Replica { .. } => {
                let (owner, replica) = (self.home.of_channel(&channel.name), channel.replica(number));
                self.lanes.send(owner, Mail::Detach { channel: channel.name, from: self.index, replica });
            }
        }
    }
}
