//! Channels are looked through now and then: logs lose what is too old, and a channel that nobody needs is forgotten.

use std::time::Duration;

use super::channel::{Channel, Role};
use super::logs::{CUT_LOG_BYTES, ChannelLogs};
use crate::turn::Turn;

/// How often channels are looked through.
const SWEEP_EVERY: Duration = Duration::from_millis(500);
/// How many of them each time.
const CHANNELS_PER_SWEEP: usize = 2_048;
/// How long a channel that nobody needs is kept, for somebody who may come back.
const IDLE_AFTER: Duration = Duration::from_secs(10);

/// Looks through some channels, when it is time.
pub(super) fn sweep(logs: &mut ChannelLogs<'_>, turn: &Turn<'_>) {
    if logs.channels.sweep_at > turn.now.time {
        return;
    }
    logs.channels.sweep_at = turn.now.time + SWEEP_EVERY;
    let end = logs.channels.slab.capacity();
    for _ in 0..CHANNELS_PER_SWEEP.min(end) {
        let number = logs.channels.sweep_from;
        logs.channels.sweep_from = if number as usize + 1 < end { number + 1 } else { 0 };
        let is_too_much = logs.channels.log_bytes > turn.settings.namespaces.log_bytes_per_shard_max;
        let Some(channel) = logs.channels.get_mut(number) else { continue };
        let before = channel.log.bytes();
        if !channel.is_status {
            channel.log.trim(turn.settings.namespaces.of(&channel.name), turn.now.unix_ms);
        }
        if is_too_much && channel.log.bytes() > CUT_LOG_BYTES {
            channel.log.cut(CUT_LOG_BYTES);
            turn.counters.channel_logs_cut.add(1);
        }
        let (after, is_needed) = (channel.log.bytes(), is_needed(channel, turn));
        logs.channels.log_bytes = logs.channels.log_bytes - before + after;
        if !is_needed {
            logs.forget(turn, number);
        }
    }
    turn.counters.channel_log_bytes.set(logs.channels.log_bytes as u64);
}

/// Whether somebody has the channel, may come back to it soon, or may ask for what it keeps.
fn is_needed(channel: &Channel, turn: &Turn<'_>) -> bool {
    if !channel.is_deserted() || channel.used + IDLE_AFTER > turn.now.time {
        return true;
    }
    match &channel.role {
        Role::Owner { readers } => !readers.is_empty() || (!channel.is_status && !channel.log.is_empty()),
        Role::Replica { .. } => false,
    }
}
