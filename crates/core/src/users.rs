//! The homes of the users who live on this shard: what is decided in one place for a user. Who its devices are, which
//! session of each is the newest, how its messages are numbered, and whether it is here at all.
//!
//! A home knows a session by its [`Who`](who::Who) and talks to it through the [`seam`](crate::seam) only: nothing here
//! knows of windows, replays and sockets.

pub(crate) mod appending;
mod check;
mod devices;
pub(crate) mod directory;
mod ephemeral;
pub(crate) mod home;
mod opening;
mod parked;
mod parking;
pub(crate) mod presence;
mod pushing;
mod recent;
mod registry;
pub(crate) mod state;
mod submission;
pub(crate) mod sync;
pub(crate) mod sync_refused;
pub(crate) mod who;
