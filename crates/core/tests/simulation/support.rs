//! A gateway in the simulator, a clock and devices in a line each.
//!
//! [`Setup`] starts a [`Gateway`]: shards behind a [`watched::Watched`] core that checks every command, and devices
//! that speak the real protocol. [`store::SimStore`] is the store that shards share, on a disk that fails and loses
//! power. [`channels`] is what devices and the control plane say about channels. [`alone::Alone`] drives one shard by
//! hand, for what one turn promises.

pub(crate) mod alone;
pub(crate) mod channels;
mod checkers;
pub(crate) mod device;
pub(crate) mod gateway;
pub(crate) mod store;
mod stream;
pub(crate) mod watched;

pub(crate) use self::alone::Alone;
pub(crate) use self::device::{Device, Entry, Seen};
pub(crate) use self::gateway::{
    Gateway, Setup, Targets, a_push, listed, message, outcomes, push_as_it_is, user,
};
