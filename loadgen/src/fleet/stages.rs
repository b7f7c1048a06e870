//! Stages of connections: devices come and go so that there are as many as the stages say, whatever the gateway does.
//! Who came last goes first.

use std::time::Duration;

use campanile_engine::{CloseMode, Commands, Conn, Time};

use super::{Fleet, PER_TURN_MAX, State};

/// How long a turn waits at least for the next change: several devices are let go or begun at once rather than each at
/// its own microsecond.
const GRAIN: Duration = Duration::from_micros(100);
/// Stands for no slot.
const NOWHERE: u32 = u32::MAX;

/// Where each device is, which is kept only if devices are let go by their numbers.
#[derive(Default)]
pub(super) struct Places {
    /// By place: the slot of the device's latest connection.
    slots: Vec<u32>,
    /// The first device that has never been begun: its token is signed already.
    fresh: u32,
}

impl Fleet {
    /// Whether a device is one of those that are to be there now.
    pub(super) fn is_to_be_there(&self, number: u32) -> bool {
        number < self.next_device
    }

    /// Notes where a device's latest connection is.
    pub(super) fn note_place(&mut self, number: u32, slot: u32) {
        if self.settings.stages.is_none() {
            return;
        }
        let place = self.place(number);
        if self.places.slots.len() <= place {
            self.places.slots.resize(place + 1, NOWHERE);
        }
        self.places.slots[place] = slot;
    }

    /// The device's latest connection, if it has any.
    fn connection_of(&self, number: u32) -> Option<Conn> {
        let slot = *self.places.slots.get(self.place(number))?;
        let device = self.devices.get(slot as usize)?;
        let is_its = device.number == number && !matches!(device.state, State::Free | State::Closing);
        is_its.then_some(Conn { slot, generation: device.generation })
    }

    /// Whether the stages have brought a device back that was to come back by itself.
    pub(super) fn is_there(&self, number: u32) -> bool {
        self.attempts.contains_key(&number) || self.connection_of(number).is_some()
    }

    /// Lets devices come and go as the stages have it. When to look again; `None` if that is not a matter of time.
    pub(super) fn follow_stages(&mut self, now: Time, commands: &mut Commands<()>) -> Option<Time> {
        let start = self.control.start();
        let stages = self.settings.stages.clone()?;
        if now < start {
            return Some(start);
        }
        let passed = now.since(start);
        let wanted = stages.count(passed).min(self.settings.connecting);
        let mut changed = 0;
        while self.next_device < wanted && changed < PER_TURN_MAX {
            if self.attempts.len() >= self.settings.attempts_max {
                break;
            }
            self.begin_next(now, commands);
            changed += 1;
        }
        while self.next_device >= wanted.saturating_add(self.count) && changed < PER_TURN_MAX {
            self.next_device -= self.count;
            self.let_go(self.next_device, commands);
            changed += 1;
        }
        if changed == PER_TURN_MAX {
            return Some(now);
        }
        if self.next_device < wanted {
            // An attempt that ends makes room.
            return None;
        }
        let low = self.next_device.checked_sub(self.count);
        let next = stages.leaves(passed, low, self.next_device)?;
        Some(start + next.max(passed + GRAIN))
    }

    fn begin_next(&mut self, now: Time, commands: &mut Commands<()>) {
        let number = self.next_device;
        self.next_device += self.count;
        let token = if number >= self.places.fresh {
            self.places.fresh = self.next_device;
            let token = self.tokens.next().flatten();
            if self.tokens.len() == 0 {
                // Gives the memory of the tokens back.
                self.tokens = Vec::new().into_iter();
            }
            Ok(token)
        } else {
            self.settings.credentials.token(&self.settings.audience, number)
        };
        match token {
            // Who has not gone yet when it is called again stays.
            _ if self.is_there(number) => {}
            Ok(token) => self.begin(number, token, now, commands),
            Err(reason) => *self.stats.details().failures.entry(reason).or_default() += 1,
        }
    }

    /// A device goes. An attempt that is under way has neither failed nor succeeded.
    fn let_go(&mut self, number: u32, commands: &mut Commands<()>) {
        let conn = self.connection_of(number);
        let is_on_its_way = self.attempts.remove(&number).is_some();
        let Some(conn) = conn else { return };
        if is_on_its_way {
            self.forget(conn.slot);
            return commands.close(conn, CloseMode::Abort);
        }
        self.acknowledge(conn);
        self.part_with(conn);
    }
}
