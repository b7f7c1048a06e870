//! Channels: logs, subscribers and their cursors.

pub(super) mod mail;
