//! Appending a message for one device.

use super::FjallMailbox;
use super::changes::Place;
use super::keys::AddressKey;
use super::known::Recent;
use super::records;
use super::tables::{Tables, get};
use campanile_mailbox::executor::MailboxError;
use campanile_mailbox::rules::queue::{Decision, decide, is_confirmed};
use campanile_mailbox::{Append, Envelope, Stored};

impl FjallMailbox {
    /// Makes sure that the topics of an append are seen as they are.
    pub(super) fn prepare_topics(&mut self, tables: &Tables, append: &Append) -> Result<(), MailboxError> {
        for envelope in &append.envelopes {
            let address = AddressKey::new(&append.user, envelope.device);
            let known = self.load(tables, &address)?;
            if known.pending.iter().any(|message| message.has_topic) {
                self.write_checkpoint(tables, &address)?;
                self.changes.topics = true;
            }
        }
        if self.changes.topics { self.commit(tables) } else { Ok(()) }
    }

    pub(super) fn append_one(
        &mut self,
        tables: &Tables,
        append: &Append,
        envelope: &Envelope,
    ) -> Result<Stored, MailboxError> {
        if envelope.confirmed {
            return Ok(Stored::Yes);
        }
        let address = AddressKey::new(&append.user, envelope.device);
        if is_confirmed(envelope.confirmed, append.seq, self.load(tables, &address)?.acknowledged) {
            return Ok(Stored::Yes);
        }
        if self.room.full() {
            return Ok(Stored::StorageFull);
        }
        let replaced = if append.topic.is_empty() {
            None
        } else {
            self.waiting_of_topic(tables, &address, &append.topic)?
        };
        let limits = self.limits;
        let known = self.load(tables, &address)?;
        let bytes = envelope.body.len() as u64;
        let freed = replaced.map(|replaced| u64::from(replaced.bytes));
        if let Decision::Refused(why) = decide(&known.count(), freed, bytes, &limits, false) {
            return Ok(why);
        }
        let mut checkpoint = false;
        if let Some(replaced) = replaced {
            checkpoint = known.is_counted_on_disk(replaced.seq);
            known.forget(replaced.seq, replaced.bytes);
        }
        let has_topic = !append.topic.is_empty();
        known.add(Recent { seq: append.seq, bytes: bytes as u32, has_topic }, append.expires_at_ms);
        checkpoint |= known.needs_checkpoint();
        if let Some(replaced) = replaced {
            self.changes.remove(tables, Place::Messages, address.message(replaced.seq));
            self.reclaim.removed(replaced.bytes.into());
        }
        self.changes.insert_message(tables, &address, append, &envelope.body);
        if has_topic {
            let key = address.topic(append.topic.as_bytes(), tables.secret());
            let value = records::encode_topic(&key, append.seq);
            self.changes.insert(tables, Place::Topics, key, value);
            self.changes.topics = true;
        }
        if checkpoint {
            self.write_checkpoint(tables, &address)?;
        }
        self.mail_walk.expect(append.expires_at_ms);
        Ok(Stored::Yes)
    }

    /// The message that waits under a topic.
    fn waiting_of_topic(
        &mut self,
        tables: &Tables,
        address: &AddressKey,
        topic: &str,
    ) -> Result<Option<Recent>, MailboxError> {
        let key = address.topic(topic.as_bytes(), tables.secret());
        let Some(value) = get(&tables.topics, &key)? else { return Ok(None) };
        let Ok(seq) = value.and_then(|value| records::decode_topic(&key, &value)) else {
            self.report_damage("a topic");
            return Ok(None);
        };
        if seq <= self.load(tables, address)?.acknowledged {
            return Ok(None);
        }
        Ok(match tables.message(address, seq)? {
            None => None,
            Some(Ok(message)) => Some(Recent { seq, bytes: message.body.len() as u32, has_topic: true }),
            Some(Err(_)) => {
                self.report_damage("a message");
                Some(Recent { seq, bytes: 0, has_topic: true })
            }
        })
    }
}
