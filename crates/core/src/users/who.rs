//! What `users` keeps of one session: which device of which user it is.

use crate::net::wire::NONE;

/// Which device of which user, as the user's home has named it.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Who {
    /// Higher than that of every earlier session of the device.
    generation: u64,
    /// The user's number at its home, or [`NONE`] for an echo.
    user: u32,
    /// 0 for an echo.
    device: u32,
    /// When the token ends, in seconds since the Unix epoch.
    expires_at: u32,
    /// Seconds since the Unix epoch.
    connected_at: u32,
}

impl Who {
    /// A session of a device that begins now.
    pub(crate) fn new(generation: u64, user: u32, device: u32, expires_at: u64, unix_ms: u64) -> Who {
        let expires_at = u32::try_from(expires_at).unwrap_or(u32::MAX);
        Who { generation, user, device, expires_at, connected_at: (unix_ms / 1_000) as u32 }
    }

    /// Nobody: a connection whose messages are sent back.
    pub(crate) fn echo(unix_ms: u64) -> Who {
        Who::new(0, NONE, 0, u64::MAX, unix_ms)
    }

    pub(crate) fn is_echo(&self) -> bool {
        self.user == NONE
    }

    /// The user's number at its home.
    pub(crate) fn user(&self) -> u32 {
        self.user
    }

    /// The device's number.
    pub(crate) fn device(&self) -> u32 {
        self.device
    }

    /// The session's generation.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// When it began, in milliseconds since the Unix epoch.
    pub(crate) fn connected_at_ms(&self) -> u64 {
        u64::from(self.connected_at) * 1_000
    }

    /// In how many milliseconds the token ends.
    pub(crate) fn token_ends_in_ms(&self, unix_ms: u64) -> u64 {
        (u64::from(self.expires_at) * 1_000).saturating_sub(unix_ms)
    }

    /// A new token for the same device.
    pub(crate) fn renew(&mut self, expires_at: u64) {
        self.expires_at = u32::try_from(expires_at).unwrap_or(u32::MAX);
    }
}
