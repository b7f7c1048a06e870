//! What a shard counts.

use campanile_telemetry::counters;
pub use campanile_telemetry::{Counter, Kind};

counters! {
    /// The counters of one shard.
    ShardCounters

    /// Connections, those that shake hands or close included.
    Gauge connections
    /// Sessions: connections that have authenticated.
    Gauge sessions
    /// Users with at least one session.
    Gauge users
    /// Handshakes that are not finished.
    Gauge handshakes
    /// Connections accepted.
    Counter connections_accepted
    /// Sessions opened.
    Counter sessions_opened
    /// Connections handed to another shard.
    Counter hand_offs
    /// Hand-offs that the other shard could not take.
    Counter hand_offs_failed
    /// Upgrade requests refused because they were malformed or not an upgrade.
    Counter upgrades_malformed
    /// Upgrade requests refused because of the path.
    Counter upgrades_not_found
    /// Upgrade requests refused because of their origin.
    Counter upgrades_forbidden_origin
    /// Upgrade requests refused because the shard or the node is full.
    Counter upgrades_refused_full
    /// Upgrade requests refused because their address has too many handshakes under way.
    Counter upgrades_refused_address
    /// Upgrade requests refused because the node is draining.
    Counter upgrades_refused_draining
    /// Upgrade requests refused because the store does not work.
    Counter upgrades_refused_store
    /// PROXY headers that were malformed, missing or not allowed.
    Counter proxy_headers_malformed
    /// Tokens refused: malformed, a wrong signature or a missing claim.
    Counter tokens_refused
    /// Tokens refused because they have expired.
    Counter tokens_expired
    /// Devices refused because the user has too many, or because they are not registered.
    Counter devices_refused
    /// Handshakes that were too slow.
    Counter handshakes_timed_out
    /// Sessions closed because the device opened a newer one.
    Counter sessions_replaced
    /// Sessions closed because their token expired.
    Counter sessions_expired
    /// Sessions closed because no pong came.
    Counter sessions_timed_out
    /// Sessions closed by an operator.
    Counter sessions_disconnected
    /// Sessions closed because they broke RFC 6455 or the frame schema.
    Counter sessions_malformed
    /// Sessions closed because a message was too large or in too many fragments.
    Counter sessions_too_large
    /// Sessions closed because they sent too many frames.
    Counter sessions_too_many_frames
    /// Sessions closed because they did not read what was sent.
    Counter sessions_not_reading
    /// Sessions closed because they did not acknowledge what was delivered.
    Counter sessions_not_acknowledging
    /// Sessions closed because their mail could not be read.
    Counter sessions_unreadable
    /// Sessions closed because they did not finish a message in time.
    Counter sessions_message_unfinished
    /// Sessions closed because they held the most when their shard held too many bytes.
    Counter sessions_over_budget
    /// Sessions whose connection broke during a send.
    Counter sessions_broken
    /// Sessions ended by the client.
    Counter sessions_ended_by_client
    /// Bytes received.
    Counter bytes_received
    /// Bytes sent.
    Counter bytes_sent
    /// Messages received from clients.
    Counter frames_received
    /// Pings sent.
    Counter pings_sent
    /// Pongs received.
    Counter pongs_received
    /// Messages sent to a device when they were pushed.
    Counter messages_sent
    /// Messages sent to a device from its mailbox.
    Counter messages_replayed
    /// Acknowledgements.
    Counter acknowledgements
    /// Acknowledgements of another epoch, or of numbers that were never handed out.
    Counter acknowledgements_refused
    /// Sync frames received.
    Counter syncs_received
    /// Pushes that the store could not take because it did not work.
    Counter pushes_failed_store
    /// Pushes that were known by their deduplication id.
    Counter pushes_duplicate
    /// Messages that could not be put into the encoding of a session.
    Counter messages_not_encodable
    /// Ephemeral messages, one for each device that they were for: sent, or one of the following.
    Counter messages_ephemeral
    /// Ephemeral messages not sent because the device has no session.
    Counter messages_not_connected
    /// Ephemeral messages not sent because the device does not keep up.
    Counter messages_not_keeping_up
    /// Ephemeral messages lost because the connection broke while they were sent; they are counted as sent, too.
    Counter messages_broken
    /// Events sent to sessions by a broadcast.
    Counter broadcast_sent
    /// Sessions that a broadcast passed over because they do not keep up.
    Counter broadcast_skipped
    /// Channels that the shard knows: those that it owns, and those of which it has subscribers.
    Gauge channels
    /// Subscriptions to channels.
    Gauge subscriptions
    /// Bytes of the logs of channels, those that are another shard's included; of each entry one encoding counts.
    Gauge channel_log_bytes
    /// Messages published to channels that the shard owns.
    Counter channel_messages_published
    /// Sends of passes over the subscribers of channels; each carries all that its subscriber lacks.
    Counter channel_sends
    /// Bytes of these sends.
    Counter channel_bytes_sent
    /// Gaps told to subscribers that fell behind the log of their channel.
    Counter channel_gaps_too_slow
    /// Gaps told to subscribers that keep up, because more was published at once than the log of their channel holds.
    Counter channel_gaps_overrun
    /// Gaps told to subscribers that got only the newest message after they had been slow.
    Counter channel_gaps_conflated
    /// Sessions closed because they fell behind the log of a channel whose policy is to close.
    Counter sessions_too_slow_for_channel
    /// Logs of channels that were cut because those of the shard have too many bytes.
    Counter channel_logs_cut
    /// Times that a shard could not be fed at once because its queue was full.
    Counter channel_feeds_delayed
    /// Subscriptions refused.
    Counter subscriptions_refused
    /// Subscriptions with a position since which nothing was missed.
    Counter subscriptions_recovered
    /// Subscriptions with a position since which the history had not everything.
    Counter subscriptions_not_recovered
    /// Messages of clients to channels that were refused.
    Counter client_publishes_refused
    /// States of users that were told to the subscribers of a channel.
    Counter states_announced
    /// States of users that were not told because the same was told a moment ago, or because something else was to be
    /// told soon.
    Counter states_coalesced
    /// Sends that went out in part or not at all.
    Counter sends_incomplete
    /// Bytes held for sessions: unfinished messages and what sockets did not take.
    Gauge bytes_held
    /// Turns of the shard's loop.
    Counter turns
}
