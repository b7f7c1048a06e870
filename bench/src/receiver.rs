//! A client for very many WebSocket subscribers on one core, which costs as little as can be: of most sockets it only
//! counts bytes, of some it looks at every frame.
//!
//! The sockets of which it only counts are read in turn, all of them once in `fleet::scan`, with `MSG_TRUNC`, which
//! for TCP discards what has come without copying it; no poll is armed on them, so nothing is woken for what they get.
//! The *sampled* sockets, spread evenly over the order of connecting, are read as soon as they are readable. Every
//! message in them is looked at: how long ago its [`stamp`] was written, and whether its number follows. How many
//! messages all sockets got is what they got in bytes, divided by what a message took in the sampled ones.
//!
//! The receiver is a process of its own ([`process`]), or several where one descriptor table does not hold the
//! sockets; a [`Fleet`] is the measuring side's handle on them. Without an upgrade in its [`Plan`] it counts bytes
//! of bare TCP connections: `bench floor sends --counted` measures it so, which shows its limit.
//!
//! What always holds:
//! - Only loopback addresses are dialled.
//! - A message counts once for each sampled socket that got it, however the server cut messages into frames.

mod connect;
mod fleet;
mod frames;
mod plan;
mod process;
mod reader;
mod stamp;
mod tally;
mod turns;

pub(crate) use fleet::Fleet;
pub(crate) use frames::{CLOSE, Frame, Frames, close_reason};
pub(crate) use plan::{FirstFrame, Opening, Plan};
pub(crate) use process::ReceiverProcess;
pub(crate) use stamp::{STAMP_BYTES, Stamp, now_nanos};
pub(crate) use tally::Sample;
