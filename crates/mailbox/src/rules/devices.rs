//! Who a user's devices are. Each rule takes what is known of the user and gives back what is to be known from then on.

use campanile_protocol::ids::DeviceId;

use crate::operations::RegisterError;
use crate::{DeviceRecord, UserRecord};

/// The last time that a device was seen is written down again after so many milliseconds.
pub const LAST_SEEN_GRAIN_MS: u64 = 600_000;

/// Whether a device may open a session: one that is known, or one that may be registered with it. What is to be written
/// down, if anything.
///
/// # Errors
/// [`RegisterError::Unknown`] when it is not registered and not to be, [`RegisterError::TooMany`] when there
/// is no room.
pub fn admit(
    user: &UserRecord,
    device: DeviceId,
    register: bool,
    devices_max: u32,
    now_ms: u64,
) -> Result<Option<UserRecord>, RegisterError> {
    match user.device(device) {
        Some(known) if now_ms.saturating_sub(known.last_seen_at_ms) >= LAST_SEEN_GRAIN_MS => {
            Ok(seen(user, device, now_ms))
        }
        Some(_) => Ok(None),
        None if !register => Err(RegisterError::Unknown),
        None => add(user, device, devices_max, now_ms).map(Some),
    }
}

/// Registers a device, or the next one that was never registered. Its number, and what is to be written down.
///
/// # Errors
/// [`RegisterError::Exists`] when the device is registered, [`RegisterError::TooMany`] when there is no room,
/// or no number left.
pub fn register(
    user: &UserRecord,
    device: Option<DeviceId>,
    devices_max: u32,
    now_ms: u64,
) -> Result<(DeviceId, UserRecord), RegisterError> {
    if device.is_some_and(|device| user.device(device).is_some()) {
        return Err(RegisterError::Exists);
    }
    let next = || user.last_device.checked_add(1)?.try_into().ok();
    let device = device.or_else(next).ok_or(RegisterError::TooMany)?;
    add(user, device, devices_max, now_ms).map(|user| (device, user))
}

/// A device was connected until then. What is to be written down: nothing of a device that is not registered, nor of
/// one that was seen later.
#[must_use]
pub fn seen(user: &UserRecord, device: DeviceId, at_ms: u64) -> Option<UserRecord> {
    let mut user = user.clone();
    let known = user.devices.iter_mut().find(|known| known.device == device)?;
    if known.last_seen_at_ms >= at_ms {
        return None;
    }
    known.last_seen_at_ms = at_ms;
    Some(user)
}

/// Adds a device that is not there.
fn add(
    user: &UserRecord,
    device: DeviceId,
    devices_max: u32,
    now_ms: u64,
) -> Result<UserRecord, RegisterError> {
    if user.devices.len() >= devices_max as usize {
        return Err(RegisterError::TooMany);
    }
    let mut user = user.clone();
    let record = DeviceRecord { device, created_at_ms: now_ms, last_seen_at_ms: now_ms };
    let at = user.devices.partition_point(|known| known.device < device);
    user.devices.insert(at, record);
    user.last_device = user.last_device.max(device.get());
    Ok(user)
}

impl UserRecord {
    /// What is known of one of the devices.
    #[must_use]
    pub fn device(&self, device: DeviceId) -> Option<&DeviceRecord> {
        self.devices.iter().find(|known| known.device == device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_000_000_000;

    fn device(number: u32) -> DeviceId {
        number.try_into().unwrap()
    }

    fn user(devices: &[u32], last_device: u32) -> UserRecord {
        let record =
            |&number: &u32| DeviceRecord { device: device(number), created_at_ms: NOW, last_seen_at_ms: NOW };
        UserRecord { devices: devices.iter().map(record).collect(), last_device }
    }

    #[test]
    fn a_known_device_is_admitted_whatever_the_limit_and_written_down_once_in_a_while() {
        let known = user(&[1, 2], 2);
        assert_eq!(admit(&known, device(2), false, 1, NOW + LAST_SEEN_GRAIN_MS - 1), Ok(None));
        let later = NOW + LAST_SEEN_GRAIN_MS;
        let written = admit(&known, device(2), false, 1, later).unwrap().unwrap();
        assert_eq!(written.device(device(2)).unwrap().last_seen_at_ms, later);
        assert_eq!(written.device(device(1)), known.device(device(1)));
        assert_eq!(admit(&known, device(2), false, 1, NOW / 2), Ok(None), "a clock that went back");
    }

    #[test]
    fn an_unknown_device_is_registered_with_its_session_if_it_is_to_be_and_has_room() {
        let known = user(&[1, 5], 7);
        assert_eq!(admit(&known, device(3), false, 5, NOW), Err(RegisterError::Unknown));
        assert_eq!(admit(&known, device(3), true, 2, NOW), Err(RegisterError::TooMany));
        assert_eq!(admit(&known, device(3), true, 3, NOW), Ok(Some(user(&[1, 3, 5], 7))));
        assert_eq!(admit(&UserRecord::default(), device(9), true, 1, NOW), Ok(Some(user(&[9], 9))));
    }

    #[test]
    fn the_next_device_has_a_number_that_was_never_given() {
        assert_eq!(register(&user(&[1], 4), None, 5, NOW), Ok((device(5), user(&[1, 5], 5))));
        assert_eq!(register(&user(&[], 0), Some(device(8)), 5, NOW), Ok((device(8), user(&[8], 8))));
        // One that was removed may come back by its number.
        assert_eq!(register(&user(&[1], 4), Some(device(3)), 5, NOW), Ok((device(3), user(&[1, 3], 4))));
        assert_eq!(register(&user(&[1], 4), Some(device(1)), 5, NOW), Err(RegisterError::Exists));
        assert_eq!(register(&user(&[1], 4), None, 1, NOW), Err(RegisterError::TooMany));
        assert_eq!(register(&user(&[], DeviceId::MAX), None, 5, NOW), Err(RegisterError::TooMany));
        assert_eq!(register(&user(&[], u32::MAX), None, 5, NOW), Err(RegisterError::TooMany));
    }

    #[test]
    fn the_last_time_seen_only_grows_and_nothing_is_kept_of_strangers() {
        let known = user(&[1], 1);
        let written = seen(&known, device(1), NOW + 1).unwrap();
        assert_eq!(written.device(device(1)).unwrap().last_seen_at_ms, NOW + 1);
        assert_eq!(seen(&known, device(1), NOW), None);
        assert_eq!(seen(&known, device(2), NOW + 1), None);
    }
}
