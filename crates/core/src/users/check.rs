//! Checkers of `users`.

use super::devices::KnownDevice;
use super::state::Users;
use super::who::Who;
use crate::counters::ShardCounters;
use crate::invariants::{Broken, holds};
use crate::net::Net;
use crate::net::check::Tenants;
use crate::store::Store;

impl Users {
    /// A user's sessions and the directory agree: every session is the newest of its device at its home, every session
    /// that a home knows is there, and the gauge counts the users who have one.
    pub(crate) fn check_directory(
        &self,
        net: &Net,
        tenants: &Tenants<'_>,
        counters: &ShardCounters,
    ) -> Result<(), Broken> {
        const CHECKER: &str = "sessions and directory agree";
        let mut connected = 0;
        for (number, user) in self.directory.all() {
            connected += u64::from(user.is_connected());
            for (device, slot) in user.sessions() {
                let who = net.session(slot).map(|session| session.who);
                let is_same = who.is_some_and(|who| {
                    let same_device = who.user() == number && who.device() == device.device.get();
                    same_device && who.generation() == device.generation
                });
                holds(CHECKER, is_same, || {
                    format!("user {number} has device {} in slot {slot}: {who:?}", device.device.get())
                })?;
            }
        }
        for &(slot, session) in &tenants.sessions {
            let is_known = self.known(slot, &session.who).is_some() || session.who.is_echo();
            holds(CHECKER, is_known, || format!("no home knows of {:?}", session.who))?;
        }
        let told = counters.users.get();
        holds(CHECKER, told == connected, || {
            format!("{connected} users are connected, the gauge says {told}")
        })
    }

    /// What is parked adds up, of all users and of each.
    pub(crate) fn check_parking(&self) -> Result<(), Broken> {
        let parked = self.directory.all().filter_map(|(_, user)| user.parked.as_ref());
        let (mut pushes, mut bytes) = (0, 0);
        for (_, push) in parked.flat_map(|parked| &parked.pushes) {
            pushes += 1;
            bytes += push.envelopes.bytes();
        }
        let counted = (self.parking.pushes, self.parking.bytes);
        holds("parked pushes add up", counted == (pushes, bytes), || {
            format!("{pushes} pushes of {bytes} bytes are parked, counted are {counted:?}")
        })
    }

    /// Watermarks belong to sessions: what a device has confirmed is passed on before its session is over, since its
    /// user's number may be another user's later.
    pub(crate) fn check_watermarks(&self, store: &Store) -> Result<(), Broken> {
        for (number, device) in store.watermarks() {
            let user = self.directory.user(number);
            let mut sessions = user.into_iter().flat_map(|user| user.sessions());
            holds(
                "watermarks belong to sessions",
                sessions.any(|(known, _)| known.device.get() == device),
                || format!("user {number} has no session of device {device}, and a watermark"),
            )?;
        }
        Ok(())
    }

    /// Windows and homes agree: a session that its home does not count as live knows that it has to read, so that
    /// nothing waits for ever.
    pub(crate) fn check_windows(&self, tenants: &Tenants<'_>) -> Result<(), Broken> {
        for &(slot, session) in &tenants.sessions {
            let Some(known) = self.known(slot, &session.who) else { continue };
            holds("windows and homes agree", known.at.is_live() || session.window.is_reading(), || {
                format!("{:?}: its home waits for a read", session.who)
            })?;
        }
        Ok(())
    }

    /// What the home knows of the session in a slot.
    fn known(&self, slot: u32, who: &Who) -> Option<&KnownDevice> {
        let user = self.directory.user(who.user())?;
        user.devices.iter().find(|known| known.device.get() == who.device() && known.at.slot() == Some(slot))
    }
}
