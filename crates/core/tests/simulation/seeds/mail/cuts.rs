//! The power is cut: the gateway, requests under way and all, is gone, and another one begins with what is on the disk.

use std::time::Duration;

use super::ledger::{Item, To};
use super::sessions::Habit;
use super::{AMPLE, Mail, Rules, started};
use crate::support::store::StoreFaults;
use campanile_core::requests::Durability;

impl Mail {
    /// Another gateway, perhaps with another number of shards, begins with what is left.
    pub(super) fn power_cut(mut self) -> Mail {
        match self.rng.u32(0..5) {
            0 => self.is_synced(),
            1 => {
                self.gateway.world.steps(self.shards);
                let now_ms = self.now_ms();
                self.gateway.store.execute(now_ms);
            }
            2 => {
                let now_ms = self.now_ms();
                self.gateway.store.execute(now_ms);
                // The answers are lost.
                self.gateway.store.commit(now_ms);
            }
            3 => {
                // What was sent before it is durable arrives, but nothing is synced.
                let now_ms = self.now_ms();
                for _ in 0..3 {
                    self.gateway.world.steps(2 * self.shards);
                    self.gateway.store.execute(now_ms);
                    self.gateway.pump();
                    self.look();
                }
            }
            _ => {}
        }
        let shards = self.rng.usize(1..=3);
        self.begins_again(shards)
    }

    /// So long that what was confirmed is durable, unless the store fails.
    fn is_synced(&mut self) {
        if self.rules.store_slowness > 500 {
            return;
        }
        let mut heard = Vec::new();
        for session in self.sessions.iter().filter(|session| session.life == self.life) {
            heard.push((session.owner, session.heard));
        }
        self.wait(Duration::from_millis(1_500));
        if self.store_failed() {
            return;
        }
        for (owner, heard) in heard {
            let durable = self.durable.entry(owner).or_default();
            *durable = heard.max(*durable);
        }
    }

    pub(super) fn begins_again(mut self, shards: usize) -> Mail {
        for session in &mut self.sessions {
            session.at = None;
            session.syncs.clear();
        }
        self.ledger.tickets.clear();
        self.questions.clear();
        self.life += 1;
        let mut born_ms = self.now_ms() + self.rng.u64(0..2_000);
        if self.rules.faults.clock_jump > 0 && self.rng.bool() {
            born_ms -= 10_000;
        }
        self.gateway.store.mailbox().set_faults(StoreFaults::NONE);
        self.gateway.store.mailbox().fail_for(0);
        let left = self.gateway.store.cut();
        let seed = self.seed.wrapping_mul(1_000).wrapping_add(self.life.into());
        self.gateway = started(&self.rules, seed, shards, Some(left), Some(born_ms));
        self.gateway.store.mailbox().set_faults(self.rules.store_faults);
        self.shards = shards;
        self
    }
}

/// Deliver n, acknowledge n, cut the power before that is synced, publish again, come back with n: nothing is lost, and
/// no number is given twice.
#[test]
fn what_is_published_after_a_power_cut_is_not_taken_for_acknowledged() {
    for (shards, stored_again) in [(1, 1), (3, 2), (2, 300)] {
        let calm = Rules { store_faults: StoreFaults::NONE, store_slowness: 0, cuts: 0, ..Rules::of(11) };
        let mut mail = Mail::begin(
            11,
            Rules { window_messages_max: 256, window_bytes_max: 48 * 1024, mailbox: AMPLE, ..calm },
        );
        mail.rules.faults = campanile_engine::sim::Faults::NONE;
        mail.gateway.world.set_faults(mail.rules.faults);
        let owner = (0, 1);
        let push = |mail: &mut Mail| {
            let (durability, expires_at_ms) = (Durability::Durable, u64::MAX >> 1);
            let item = Item {
                user: 0,
                to: To::All,
                from: None,
                kind: "message",
                topic: "",
                bytes: 10,
                durability,
                expires_at_ms,
                key: None,
            };
            mail.ledger.items.push(item);
            mail.pushes(mail.ledger.items.len() - 1);
        };
        let first = mail.connects(owner);
        mail.sessions[first].habit = Habit::Never;
        mail.wait(Duration::from_millis(200));
        for _ in 0..5 {
            push(&mut mail);
        }
        // Delivered and acknowledged, and the store has heard of both, but nothing of it is synced.
        for _ in 0..20 {
            mail.gateway.world.steps(2 * mail.shards);
            mail.gateway.pump();
            mail.look();
            let now_ms = mail.now_ms();
            mail.gateway.store.execute(now_ms);
        }
        let last = mail.sessions[first].last();
        assert_eq!(mail.sessions[first].received.len(), 5);
        let at = mail.sessions[first].at.unwrap();
        mail.sessions[first].acknowledge(&mut mail.gateway[at], last, None);
        for _ in 0..30 {
            mail.gateway.world.steps(2 * mail.shards);
            mail.gateway.pump();
            let now_ms = mail.now_ms();
            mail.gateway.store.execute(now_ms);
        }
        assert!(mail.gateway.store.mailbox().unsynced() > 5);
        let mut mail = mail.begins_again(shards);
        // The device is registered, whatever became of that.
        let again = mail.connects(owner);
        let at = mail.sessions[again].at.unwrap();
        mail.gateway.hang_up(at, true);
        mail.wait(Duration::from_millis(200));
        for _ in 0..stored_again {
            push(&mut mail);
        }
        mail.wait(Duration::from_millis(200));
        let back = mail.comes_back_with(owner, last);
        mail.wait(Duration::from_millis(500));
        assert_eq!(mail.sessions[back].received.len(), stored_again);
        mail.comes_to_rest();
        mail.check();
        mail.ends();
    }
}
