//! Removing what is confirmed: up to a watermark, or one message.

use std::ops::ControlFlow;

use super::FjallMailbox;
use super::changes::Place;
use super::keys::AddressKey;
use super::known::{REMOVALS_PENDING_MAX, Recent};
use super::tables::Tables;
use campanile_mailbox::executor::MailboxError;

/// Messages that are removed by one batch.
const REMOVALS_PER_BATCH_MAX: usize = 4_096;

impl FjallMailbox {
    pub(super) fn trim_one(
        &mut self,
        tables: &Tables,
        address: &AddressKey,
        up_to: u64,
    ) -> Result<(), MailboxError> {
        let known = self.load(tables, address)?;
        if up_to <= known.acknowledged {
            return Ok(());
        }
        if known.messages > known.recent.len() as u64 {
            self.trim_unknown(tables, address, up_to)?;
        }
        let known = self.load(tables, address)?;
        let before = known.bytes;
        while let Some(oldest) = known.recent.front().copied().filter(|oldest| oldest.seq <= up_to) {
            known.recent.pop_front();
            known.confirm(oldest);
        }
        known.acknowledged = up_to;
        known.head = known.head.max(up_to);
        known.recent_after = known.recent_after.max(up_to);
        let freed = before - known.bytes;
        let write = known.pending.len() >= REMOVALS_PENDING_MAX;
        if !write && !known.listed {
            known.listed = true;
            self.ahead.push(*address);
        }
        if write {
            self.write_checkpoint(tables, address)?;
        }
        self.reclaim.removed(freed);
        Ok(())
    }

    /// Confirms messages that have to be read first, in batches.
    fn trim_unknown(
        &mut self,
        tables: &Tables,
        address: &AddressKey,
        up_to: u64,
    ) -> Result<(), MailboxError> {
        loop {
            let known = self.load(tables, address)?;
            let (after, last) = (known.acknowledged, up_to.min(known.recent_after));
            let mut found = Vec::new();
            let damages = tables.scan(address, after, last, |message| {
                let has_topic = message.message.is_ok_and(|message| !message.topic.is_empty());
                found.push(Recent { seq: message.seq, bytes: message.bytes, has_topic });
                if found.len() < REMOVALS_PER_BATCH_MAX {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            })?;
            self.count_damages(damages);
            let known = self.load(tables, address)?;
            let done = found.len() < REMOVALS_PER_BATCH_MAX;
            let before = known.bytes;
            known.acknowledged = if done { last } else { found.last().map_or(last, |last| last.seq) };
            found.into_iter().for_each(|message| known.confirm(message));
            let freed = before - known.bytes;
            if done && last == known.recent_after {
                // What was counted and not found was damaged.
                known.messages = known.recent.len() as u64;
                known.bytes = known.recent.iter().map(|message| u64::from(message.bytes)).sum();
            }
            self.reclaim.removed(freed);
            if done {
                return Ok(());
            }
            self.write_checkpoint(tables, address)?;
            self.commit(tables)?;
        }
    }

    pub(super) fn remove_one(
        &mut self,
        tables: &Tables,
        address: &AddressKey,
        seq: u64,
        now_ms: u64,
    ) -> Result<bool, MailboxError> {
        if seq <= self.load(tables, address)?.acknowledged {
            return Ok(false);
        }
        let Some(message) = tables.message(address, seq)? else { return Ok(false) };
        let (bytes, there) = match &message {
            Ok(message) if message.expires_at_ms <= now_ms => return Ok(false),
            Ok(message) => (message.body.len() as u32, true),
            Err(_) => (0, false),
        };
        let known = self.load(tables, address)?;
        let checkpoint = known.is_counted_on_disk(seq);
        known.forget(seq, bytes);
        match message {
            Ok(message) if !message.topic.is_empty() => {
                self.changes.remove_topic(tables, address, &message.topic, seq)?;
            }
            Ok(_) => {}
            Err(_) => self.report_damage("a message"),
        }
        self.changes.remove(tables, Place::Messages, address.message(seq));
        if checkpoint {
            self.write_checkpoint(tables, address)?;
        }
        self.reclaim.removed(bytes.into());
        self.commit(tables)?;
        Ok(there)
    }
}
