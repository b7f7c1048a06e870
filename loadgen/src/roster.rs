//! Which devices have tried to connect, and which have had a session, known device by device: nothing is expected of
//! those who never had one, and whoever comes back does not count as another.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// One bit for each device, set once and never taken back.
struct Bits {
    words: Box<[AtomicU64]>,
    /// How many are set.
    count: AtomicU64,
}

impl Bits {
    fn new(devices: u32) -> Bits {
        let words = (0..devices.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        Bits { words, count: AtomicU64::new(0) }
    }

    fn set(&self, device: u32) {
        let Some(word) = self.words.get(device as usize / 64) else { return };
        let bit = 1 << (device % 64);
        if word.fetch_or(bit, Ordering::Relaxed) & bit == 0 {
            self.count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn has(&self, device: u32) -> bool {
        self.count_in(device..device + 1) == 1
    }

    fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// How many of these devices are set.
    fn count_in(&self, devices: Range<u32>) -> u32 {
        if devices.is_empty() {
            return 0;
        }
        let (first, last) = (devices.start as usize / 64, (devices.end as usize - 1) / 64);
        let words = self.words.get(first..=last).unwrap_or_default();
        let inner = (first..).zip(words).map(|(index, word)| {
            let mut word = word.load(Ordering::Relaxed);
            if index == first {
                word &= u64::MAX << (devices.start % 64);
            }
            if index == last {
                word &= u64::MAX >> (63 - (devices.end - 1) % 64);
            }
            word.count_ones()
        });
        inner.sum()
    }
}

/// What is known of the devices of a run. Every shard writes it, for its own devices.
pub struct Roster {
    settled: Bits,
    connected: Bits,
    reading: Bits,
}

impl Roster {
    /// So many devices, none of which has tried to connect.
    pub fn new(devices: u32) -> Roster {
        let bits = || Bits::new(devices);
        Roster { settled: bits(), connected: bits(), reading: bits() }
    }

    /// An attempt of a device has failed.
    pub fn failed(&self, device: u32) {
        self.settled.set(device);
    }

    /// A device has a session; it `reads` what comes.
    pub fn connected(&self, device: u32, reads: bool) {
        self.settled.set(device);
        self.connected.set(device);
        if reads {
            self.reading.set(device);
        }
    }

    /// Devices that have connected or failed at least once.
    pub fn devices_settled(&self) -> u64 {
        self.settled.count()
    }

    /// Devices that have had a session.
    pub fn devices_connected(&self) -> u64 {
        self.connected.count()
    }

    /// How many of these devices have had a session.
    pub fn connected_in(&self, devices: Range<u32>) -> u32 {
        self.connected.count_in(devices)
    }

    /// Whether a device has had a session.
    pub fn has_connected(&self, device: u32) -> bool {
        self.connected.has(device)
    }

    /// How many of these devices have had a session, and read.
    pub fn readers(&self, devices: Range<u32>) -> u32 {
        self.reading.count_in(devices)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn who_comes_back_is_counted_once() {
        let roster = Roster::new(100);
        roster.failed(7);
        assert_eq!((roster.devices_settled(), roster.devices_connected()), (1, 0));
        for _ in 0..3 {
            roster.connected(7, true);
            roster.connected(8, false);
        }
        assert_eq!((roster.devices_settled(), roster.devices_connected()), (2, 2));
        assert!(roster.has_connected(8) && !roster.has_connected(9));
        assert_eq!(roster.readers(0..100), 1, "one of them does not read");
        roster.connected(100_000, true);
        assert_eq!(roster.devices_connected(), 2, "there is no such device");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn readers_are_counted_in_any_range(reading: Vec<bool>, from in 0..300u32, to in 0..300u32) {
            let devices = reading.len() as u32;
            let roster = Roster::new(devices);
            for (device, _) in (0..).zip(&reading).filter(|(_, reads)| **reads) {
                roster.connected(device, true);
            }
            let (from, to) = (from.min(devices), to.min(devices));
            let expected = (from..to).filter(|&device| reading[device as usize]).count() as u32;
            prop_assert_eq!(roster.readers(from..to), expected);
        }
    }
}
