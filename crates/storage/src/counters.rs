//! What the store counts.

use campanile_mailbox::executor::Counts;
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

impl StoreCounters {
    /// Says what the store has counted. Only the thread of the store calls it.
    pub(super) fn publish(&self, counts: &Counts) {
        self.envelopes_appended.set(counts.envelopes_appended);
        self.envelopes_spared.set(counts.envelopes_spared);
        self.envelopes_refused_mailbox.set(counts.envelopes_refused_mailbox);
        self.envelopes_refused_storage.set(counts.envelopes_refused_storage);
        self.messages_expired.set(counts.messages_expired);
        self.messages_read.set(counts.messages_read);
        self.trims.set(counts.trims);
        self.commits.set(counts.commits);
        self.failures.set(counts.failures);
        self.damages.set(counts.storage.damages);
        self.storage_bytes.set(counts.storage.bytes);
        self.storage_full.set(counts.storage.full.into());
        self.failed.set(counts.failed.into());
    }
}
