//! The devices of a user, each with its session if it has one.

use std::ops::{Deref, DerefMut};
use std::slice;

use campanile_protocol::ids::DeviceId;

use crate::net::wire::NONE;

/// A registered device.
#[derive(Copy, Clone)]
pub(crate) struct KnownDevice {
    /// The generation of its newest session; 0 if it had none since its user stands here.
    pub(super) generation: u64,
    pub(super) device: DeviceId,
    pub(super) at: At,
}

impl KnownDevice {
    /// A device without a session.
    pub(super) fn away(device: DeviceId) -> KnownDevice {
        KnownDevice { generation: 0, device, at: At::AWAY }
    }
}

/// Where a device's session is, and whether it is live.
#[derive(Copy, Clone, PartialEq, Eq)]
pub(super) struct At(u32);

/// The session has been sent everything that there is for it, so that what comes next is sent at once.
const LIVE: u32 = 1 << 31;

impl At {
    /// The device has no session.
    pub(super) const AWAY: At = At(NONE & !LIVE);

    /// A session in a slot.
    pub(super) fn session(slot: u32, is_live: bool) -> At {
        debug_assert!(slot < NONE & !LIVE, "a table has fewer slots");
        At(slot | if is_live { LIVE } else { 0 })
    }

    /// The slot of its session.
    pub(super) fn slot(self) -> Option<u32> {
        (self.0 & !LIVE != At::AWAY.0).then_some(self.0 & !LIVE)
    }

    /// Whether it has a session that is live.
    pub(super) fn is_live(self) -> bool {
        self.0 & LIVE != 0
    }
}

/// The devices of a user. Most users have one, which stands here without memory of its own.
pub(super) struct Devices(List);

enum List {
    One(KnownDevice),
    Others(Option<Box<Many>>),
}

// One pointer, so that it fits where a device stands.
struct Many(Box<[KnownDevice]>);

// Promised, as part of a user's entry in the directory.
const _: () = assert!(size_of::<Devices>() == 16);

impl Default for Devices {
    fn default() -> Devices {
        Devices(List::Others(None))
    }
}

impl From<Vec<KnownDevice>> for Devices {
    fn from(devices: Vec<KnownDevice>) -> Devices {
        Devices(match devices[..] {
            [] => List::Others(None),
            [known] => List::One(known),
            _ => List::Others(Some(Box::new(Many(devices.into_boxed_slice())))),
        })
    }
}

impl Deref for Devices {
    type Target = [KnownDevice];

    fn deref(&self) -> &[KnownDevice] {
        match &self.0 {
            List::One(known) => slice::from_ref(known),
            List::Others(None) => &[],
            List::Others(Some(many)) => &many.0,
        }
    }
}

impl DerefMut for Devices {
    fn deref_mut(&mut self) -> &mut [KnownDevice] {
        match &mut self.0 {
            List::One(known) => slice::from_mut(known),
            List::Others(None) => &mut [],
            List::Others(Some(many)) => &mut many.0,
        }
    }
}
