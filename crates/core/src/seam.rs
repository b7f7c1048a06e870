//! The seam between a user's home and a device's session: all that the two say to each other.
//!
//! The home decides what is decided in one place for a user: numbers, generations, who is the newest session of a
//! device, whether a device is live or reads its mailbox. It knows nothing of windows, replays and sockets. The session
//! holds these, and the generation that its home has given it. Both are on the same shard today and the calls are
//! direct: no message is built and no body copied.
//!
//! What both may rely on, and what neither may: a call can come late or twice, and for a session that is over. The home
//! tells them apart by the generation, the session's side by the connection and the generation.

use campanile_engine::Conn;
use campanile_mailbox::Waiting;

use crate::delivery::frames::Frames;
use crate::requests::Outcome;
use crate::turn::Turn;
use crate::users::who::Who;

/// Where to read on in a mailbox.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReadOn {
    /// After this number.
    pub(crate) after: u64,
    /// At most so many messages.
    pub(crate) messages_max: usize,
    /// At most so many bytes, but one message.
    pub(crate) bytes_max: usize,
}

/// A session may begin.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    /// The user's number at its home.
    pub(crate) user: u32,
    /// Higher than that of every earlier session of the device.
    pub(crate) generation: u64,
    /// Messages that wait for the device.
    pub(crate) waiting: u64,
    /// The number up to which the device has confirmed, 0 if it never has.
    pub(crate) acknowledged: u64,
    /// The highest number that was handed out: what waits has no higher one.
    pub(crate) last_number: u64,
    /// Whether the device is not live: it has to read its mailbox first.
    pub(crate) may_wait: bool,
}

/// Why a home opens no session.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum OpenRefused {
    /// The node is draining.
    Draining,
    /// The store does not work.
    StoreFailed,
    /// The store does not keep up.
    Overloaded,
    /// The device is not registered, and was not to be.
    DeviceUnknown,
    /// The user has as many devices as allowed.
    DeviceLimit,
}

/// What became of a message that a live session was given.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Delivered {
    /// It is sent in this turn.
    Sent,
    /// It is sent in this turn, and the session confirms nothing: being sent is its confirmation.
    Confirmed,
    /// The session does not take it now. It will read it from its mailbox.
    Behind,
}

/// How far a session is with a message.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It has confirmed it.
    Confirmed,
    /// It was sent.
    Sent,
    /// It was not sent.
    Waiting,
}

/// Why a home ends a session.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum EndedBy {
    /// A newer session of the device has opened.
    Newer,
    /// An operator.
    Operator,
}

/// A session as its home names it.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct SessionRef {
    /// Where it is.
    pub(crate) slot: u32,
    /// Which session of the device.
    pub(crate) generation: u64,
}

/// What a session says to its user's home.
pub(crate) trait Home {
    /// Whether the number was ever given to a message or a session.
    fn was_handed_out(&self, number: u64) -> bool;

    /// The device has confirmed everything up to a number; the store is told `soon`, or when it suits the home. Without
    /// effect for any but the newest session of the device.
    fn acknowledge(&mut self, turn: &mut Turn<'_>, who: &Who, up_to: u64, soon: bool);

    /// Whether the home reads for sessions now. If not, they ask again later.
    fn may_read(&self) -> bool;

    /// The session reads its mailbox, and is live no more until a page reaches the end: [`Sessions::page`]. Without
    /// effect for any but the newest session of the device.
    fn read(&mut self, turn: &mut Turn<'_>, conn: Conn, who: &Who, read_on: ReadOn);

    /// The session is over. Without effect on a newer session of the device.
    fn ended(&mut self, turn: &mut Turn<'_>, who: &Who);
}

/// What a home says to the sessions of its user's devices.
pub(crate) trait Sessions {
    /// Whether the connection still waits for its session.
    fn is_opening(&self, conn: Conn) -> bool;

    /// The session begins, or is refused.
    fn opened(&mut self, turn: &mut Turn<'_>, conn: Conn, opened: Result<Opened, OpenRefused>);

    /// A durable message for a session that is live. Without frames it cannot be sent now.
    fn deliver(
        &mut self,
        turn: &mut Turn<'_>,
        to: SessionRef,
        number: u64,
        bytes: usize,
        frames: Option<&mut Frames>,
    ) -> Delivered;

    /// Messages of the mailbox, in order; `live` if they reach the end of what there is. `None` if they could not be
    /// read.
    fn page(&mut self, turn: &mut Turn<'_>, conn: Conn, who: &Who, page: Option<Vec<Waiting>>, live: bool);

    /// How far the session is with a message that was assigned to it; `None` if it is over.
    fn progress(&self, of: SessionRef, number: u64) -> Option<Progress>;

    /// Whether the session is sent as much as one turn allows already, while it keeps up.
    fn is_busy(&self, of: SessionRef) -> bool;

    /// An ephemeral message, which is sent now or never.
    fn event(&mut self, turn: &mut Turn<'_>, to: SessionRef, frames: &mut Frames) -> Outcome;

    /// The session is over.
    fn end(&mut self, turn: &mut Turn<'_>, of: SessionRef, why: EndedBy);
}

#[cfg(test)]
mod tests;
