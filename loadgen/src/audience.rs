//! Who is who, and whom each message is for.
//!
//! Devices are numbered from 0 and divided among users in order and as evenly as can be: of `d` devices user `u` of `n`
//! has those from `u * d / n`, rounded up, on. Whom a message is for follows from its number, so that every receiver
//! can tell whether it should have got it, without a list.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

/// Whom messages are for.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum To {
    /// One device, chosen for each message.
    #[default]
    RandomDevice,
    /// All connected devices of one user, chosen for each message.
    RandomUser,
    /// Every connected device.
    Broadcast,
}

impl FromStr for To {
    type Err = String;

    fn from_str(name: &str) -> Result<To, String> {
        match name {
            "random-device" => Ok(To::RandomDevice),
            "random-user" => Ok(To::RandomUser),
            "broadcast" => Ok(To::Broadcast),
            _ => Err(format!("unknown audience `{name}`: expected random-device, random-user or broadcast")),
        }
    }
}

impl fmt::Display for To {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            To::RandomDevice => "random-device",
            To::RandomUser => "random-user",
            To::Broadcast => "broadcast",
        })
    }
}

/// The devices of a run.
#[derive(Copy, Clone, Debug)]
pub struct Audience {
    /// Whom messages are for.
    pub to: To,
    /// How many devices there are.
    pub devices: u32,
    /// How many users they belong to; at least one, and no more than there are devices.
    pub users: u32,
    /// Decides whom a message is for.
    pub seed: u64,
    /// So many in a hundred devices never read what is sent to them.
    pub silent_percent: u32,
}

impl Audience {
    /// The user of a device, by number.
    pub fn user_of(&self, device: u32) -> u32 {
        let (device, devices, users) = (u64::from(device), u64::from(self.devices), u64::from(self.users));
        (device * users / devices) as u32
    }

    /// The device's id at the gateway, from 1.
    pub fn device_id(&self, device: u32) -> u32 {
        device - self.first_of(self.user_of(device)) + 1
    }

    /// The first device of a user.
    fn first_of(&self, user: u32) -> u32 {
        (u64::from(user) * u64::from(self.devices)).div_ceil(u64::from(self.users)) as u32
    }

    /// The devices that message `number` is for.
    pub fn recipients(&self, number: u64) -> Range<u32> {
        let chosen = |among: u32| {
            // The top bits of a 64-bit hash, scaled: no bias that matters below 2^32.
            ((u128::from(mix(self.seed ^ mix(number))) * u128::from(among)) >> 64) as u32
        };
        match self.to {
            To::RandomDevice => {
                let device = chosen(self.devices);
                device..device + 1
            }
            To::RandomUser => {
                let user = chosen(self.users);
                self.first_of(user)..self.first_of(user + 1)
            }
            To::Broadcast => 0..self.devices,
        }
    }

    /// Whether a device never reads.
    pub fn is_silent(&self, device: u32) -> bool {
        self.silent_before(device) != self.silent_before(device + 1)
    }

    /// How many of these devices read.
    pub fn readers(&self, devices: Range<u32>) -> u32 {
        let silent = self.silent_before(devices.end) - self.silent_before(devices.start);
        devices.len() as u32 - silent
    }

    fn silent_before(&self, device: u32) -> u32 {
        (u64::from(device) * u64::from(self.silent_percent) / 100) as u32
    }

    /// How many devices one message can have as recipients.
    pub fn recipients_max(&self) -> u32 {
        match self.to {
            To::RandomDevice => 1,
            To::RandomUser => self.devices.div_ceil(self.users),
            To::Broadcast => self.devices,
        }
    }
}

/// A bijection that spreads its input over all 64 bits (the finaliser of `SplitMix64`).
pub(crate) fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn audience(to: To) -> Audience {
        Audience { to, devices: 11, users: 4, seed: 42, silent_percent: 0 }
    }

    #[test]
    fn users_have_whole_and_nearly_equal_shares() {
        let audience = audience(To::RandomUser);
        let named: Vec<_> =
            (0..11).map(|device| (audience.user_of(device), audience.device_id(device))).collect();
        let expected =
            [(0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3), (3, 1), (3, 2)];
        assert_eq!(named, expected);
        let mut sizes: Vec<u32> =
            (0..1_000).map(|number| audience.recipients(number)).map(|r| r.end - r.start).collect();
        sizes.sort_unstable();
        sizes.dedup();
        assert_eq!(sizes, [2, 3], "whole users, and never a device that does not exist");
    }

    #[test]
    fn every_device_is_chosen_about_equally_often() {
        let audience = audience(To::RandomDevice);
        let mut chosen = [0u32; 11];
        for number in 0..11_000 {
            let recipients = audience.recipients(number);
            assert_eq!(recipients.len(), 1);
            chosen[recipients.start as usize] += 1;
        }
        assert!(chosen.iter().all(|&count| (850..1_150).contains(&count)), "{chosen:?}");
    }

    #[test]
    fn those_who_do_not_read_are_spread_evenly() {
        let audience = Audience { devices: 1_000, silent_percent: 10, ..audience(To::Broadcast) };
        for start in (0..1_000).step_by(50) {
            let silent = (start..start + 50).filter(|&device| audience.is_silent(device)).count();
            assert_eq!((silent, audience.readers(start..start + 50)), (5, 45), "from {start}");
        }
        let nobody = Audience { silent_percent: 100, ..audience };
        assert_eq!((nobody.readers(3..9), nobody.is_silent(3)), (0, true));
    }

    #[test]
    fn a_broadcast_is_for_all() {
        assert_eq!(audience(To::Broadcast).recipients(7), 0..11);
    }
}
