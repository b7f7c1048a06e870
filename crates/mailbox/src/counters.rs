//! What the store counts.

use campanile_telemetry::counters;

counters! {
    /// The counters of the store.
    StoreCounters

    /// Envelopes appended, those that were spared included.
    Counter envelopes_appended
    /// Envelopes that were confirmed before they would have been written.
    Counter envelopes_spared
    /// Envelopes refused because the device's mailbox is full.
    Counter envelopes_refused_mailbox
    /// Envelopes refused because the storage is full.
    Counter envelopes_refused_storage
    /// Messages removed because their time was over.
    Counter messages_expired
    /// Messages read for replay and for devices that poll.
    Counter messages_read
    /// Watermarks moved.
    Counter trims
    /// Commits: syncs that somebody waited for, or that were due.
    Counter commits
    /// Times that the store failed and was reopened or is to be.
    Counter failures
    /// Damaged places of the store that were passed over since the start.
    Gauge damages
    /// Bytes in use on disk.
    Gauge storage_bytes
    /// 1 while appends are refused for want of room.
    Gauge storage_full
    /// 1 while the store does not work.
    Gauge failed
}
