//! Which message has arrived where: the evidence for what was lost, duplicated or went astray.

use std::sync::atomic::{AtomicU8, Ordering};

use crate::audience::Audience;
use crate::roster::Roster;

/// Memory that a ledger may take, in bytes.
pub const LEDGER_BYTES_MAX: u64 = 1 << 30;

/// What an arrival was.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The first of this message at this device.
    First,
    /// The device has had this message before.
    Duplicate,
    /// The message was not for this device, or does not exist.
    Astray,
}

/// One bit for each message and recipient.
pub struct Ledger {
    audience: Audience,
    messages: u64,
    bytes_per_message: usize,
    seen: Box<[AtomicU8]>,
}

/// What became of the messages that the gateway said it had sent.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// Deliveries that the gateway reported to devices that have connected and read.
    pub expected: u64,
    /// Of those, what arrived nowhere.
    pub lost: u64,
    /// Deliveries that arrived though the gateway had not reported them: a publish that failed on the way back.
    pub unreported: u64,
}

impl Ledger {
    /// How much memory a ledger takes, in bytes.
    pub fn bytes(audience: &Audience, messages: u64) -> u64 {
        messages.saturating_mul(u64::from(audience.recipients_max().div_ceil(8)))
    }

    /// A ledger for messages 0 to `messages`.
    pub fn new(audience: Audience, messages: u64) -> Ledger {
        let bytes = usize::try_from(Ledger::bytes(&audience, messages)).unwrap_or(usize::MAX);
        Ledger {
            audience,
            messages,
            bytes_per_message: audience.recipients_max().div_ceil(8) as usize,
            seen: (0..bytes).map(|_| AtomicU8::new(0)).collect(),
        }
    }

    /// Notes that message `number` has arrived at `device`.
    pub fn arrived(&self, number: u64, device: u32) -> Arrival {
        if number >= self.messages {
            return Arrival::Astray;
        }
        let recipients = self.audience.recipients(number);
        if !recipients.contains(&device) {
            return Arrival::Astray;
        }
        let bit = (device - recipients.start) as usize;
        let byte = number as usize * self.bytes_per_message + bit / 8;
        let mask = 1 << (bit % 8);
        match self.seen[byte].fetch_or(mask, Ordering::Relaxed) & mask {
            0 => Arrival::First,
            _ => Arrival::Duplicate,
        }
    }

    /// At how many devices message `number` has arrived.
    pub fn arrivals(&self, number: u64) -> u64 {
        let first = number as usize * self.bytes_per_message;
        let seen = self.seen.get(first..first + self.bytes_per_message).unwrap_or_default();
        seen.iter().map(|byte| u64::from(byte.load(Ordering::Relaxed).count_ones())).sum()
    }

    /// Compares what the gateway reported, message by message, with what arrived. Nothing arrives where nobody reads.
    pub fn balance(&self, reported: &[u32], roster: &Roster) -> Balance {
        let mut balance = Balance::default();
        for (number, &reported) in (0..).zip(reported) {
            let (expected, arrived) = (self.expected(number, reported, roster), self.arrivals(number));
            balance.expected += expected;
            balance.lost += expected.saturating_sub(arrived);
            balance.unreported += arrived.saturating_sub(reported.into());
        }
        balance
    }

    /// At how many devices a message will arrive that the gateway has taken for so many. It may wait for others, who
    /// have not connected.
    pub fn expected(&self, number: u64, reported: u32, roster: &Roster) -> u64 {
        reported.min(roster.readers(self.audience.recipients(number))).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audience::To;

    fn ledger(to: To) -> Ledger {
        Ledger::new(Audience { to, devices: 20, users: 5, seed: 1, silent_percent: 0 }, 3)
    }

    /// These devices have connected.
    fn roster(audience: &Audience, devices: impl IntoIterator<Item = u32>) -> Roster {
        let roster = Roster::new(audience.devices);
        devices.into_iter().for_each(|device| roster.connected(device, !audience.is_silent(device)));
        roster
    }

    #[test]
    fn arrivals_are_told_apart() {
        let ledger = ledger(To::RandomUser);
        let recipients = ledger.audience.recipients(1);
        let stranger = (recipients.end) % 20;
        assert_eq!(ledger.arrived(1, recipients.start), Arrival::First);
        assert_eq!(ledger.arrived(1, recipients.start), Arrival::Duplicate);
        assert_eq!(ledger.arrived(1, recipients.start + 1), Arrival::First);
        assert_eq!(ledger.arrived(1, stranger), Arrival::Astray);
        assert_eq!(ledger.arrived(3, recipients.start), Arrival::Astray, "there is no message 3");
        assert_eq!([0, 1, 2].map(|number| ledger.arrivals(number)), [0, 2, 0]);
    }

    #[test]
    fn nothing_is_expected_of_those_who_do_not_read() {
        let audience = Audience { to: To::Broadcast, devices: 20, users: 5, seed: 1, silent_percent: 10 };
        let ledger = Ledger::new(audience, 1);
        for device in (0..20).filter(|&device| !audience.is_silent(device)).skip(1) {
            ledger.arrived(0, device);
        }
        let balance = ledger.balance(&[20], &roster(&audience, 0..20));
        assert_eq!(balance, Balance { expected: 18, lost: 1, unreported: 0 });
    }

    #[test]
    fn nothing_is_expected_of_those_who_never_connected() {
        let ledger = ledger(To::Broadcast);
        for device in 0..5 {
            ledger.arrived(0, device);
        }
        let balance = |devices| ledger.balance(&[20], &roster(&ledger.audience, devices));
        assert_eq!(balance(0..6), Balance { expected: 6, lost: 1, unreported: 0 });
        assert_eq!(balance(0..0), Balance { expected: 0, lost: 0, unreported: 0 });
    }

    #[test]
    fn a_duplicate_does_not_hide_a_loss() {
        let ledger = ledger(To::Broadcast);
        for device in (0..19).chain([3, 3]) {
            ledger.arrived(0, device);
        }
        ledger.arrived(2, 5);
        let balance = ledger.balance(&[20, 0, 0], &roster(&ledger.audience, 0..20));
        assert_eq!(balance, Balance { expected: 20, lost: 1, unreported: 1 });
        assert_eq!(Ledger::bytes(&ledger.audience, 3), 9);
    }
}
