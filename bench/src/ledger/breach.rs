//! What can be wrong, precisely.

use std::fmt;

use super::records::{Forgery, Number};

/// A promise that was not kept. Devices are counted from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Breach {
    /// Accepted, and never received.
    Lost { number: Number, user: u32, device: u32, id: u128 },
    /// Accepted, and received only under another id than the one that was answered.
    OtherIdOnly { number: Number, user: u32, device: u32, id: u128 },
    /// The answer leaves out a device that was meant, or names one that was not.
    WrongDevices { number: Number, user: u32, device: u32, asked: bool },
    /// A number that is not higher than the one before it in the session.
    NotGrowing { user: u32, device: u32, session: u32, seqs: (u64, u64) },
    /// Received for the first time, after a higher number had been.
    Reordered { user: u32, device: u32, session: u32, seqs: (u64, u64) },
    /// Numbers are not in the order in which the messages were published.
    PublishOrder { user: u32, device: u32, seqs: (u64, u64), numbers: (Number, Number) },
    /// The message was stored twice, or redelivered under another id.
    IdChanged { number: Number, user: u32, device: u32, ids: (u128, u128), incarnations: (u32, u32) },
    /// The message was redelivered under another number.
    SeqChanged { number: Number, user: u32, device: u32, id: u128, seqs: (u64, u64) },
    /// Two messages have the same id.
    SharedId { id: u128, numbers: (Number, Number) },
    /// Two messages have the same number at one device.
    SharedSeq { user: u32, device: u32, seq: u64, numbers: (Number, Number) },
    /// Nobody published this.
    Forged { user: u32, device: u32, session: u32, seq: u64, id: u128, forgery: Forgery },
    /// It was for somebody else.
    Astray { number: Number, user: u32, device: u32, session: u32, seq: u64 },
}

impl Breach {
    /// What kind it is, for counting.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Breach::Lost { .. } => "lost",
            Breach::OtherIdOnly { .. } => "other_id_only",
            Breach::WrongDevices { .. } => "wrong_devices",
            Breach::NotGrowing { .. } => "not_growing",
            Breach::Reordered { .. } => "reordered",
            Breach::PublishOrder { .. } => "publish_order",
            Breach::IdChanged { .. } => "id_changed",
            Breach::SeqChanged { .. } => "seq_changed",
            Breach::SharedId { .. } => "shared_id",
            Breach::SharedSeq { .. } => "shared_seq",
            Breach::Forged { .. } => "forged",
            Breach::Astray { .. } => "astray",
        }
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.kind())?;
        match *self {
            Breach::Lost { number, user, device, id } => write!(
                f,
                "message {number} ({id:032x}) was accepted and never reached device {device} of user {user}"
            ),
            Breach::OtherIdOnly { number, user, device, id } => write!(
                f,
                "message {number} was accepted as {id:032x} and reached device {device} of user {user} only under \
                 another id"
            ),
            Breach::WrongDevices { number, user, device, asked: true } => {
                write!(f, "the answer to message {number} says nothing of device {device} of user {user}")
            }
            Breach::WrongDevices { number, user, device, asked: false } => write!(
                f,
                "the answer to message {number} names device {device} of user {user}, which it was not for"
            ),
            Breach::NotGrowing { user, device, session, seqs: (before, seq) } => write!(
                f,
                "device {device} of user {user} was delivered {seq} after {before} in its session {session}"
            ),
            Breach::Reordered { user, device, session, seqs: (before, seq) } => write!(
                f,
                "device {device} of user {user} was delivered {seq} for the first time (session {session}) after it \
                 had {before}"
            ),
            Breach::PublishOrder { user, device, seqs, numbers } => write!(
                f,
                "at device {device} of user {user} message {} has number {} and message {}, published before, has {}",
                numbers.0, seqs.0, numbers.1, seqs.1
            ),
            Breach::IdChanged { number, user, device, ids, incarnations } => write!(
                f,
                "message {number} is {:032x} and was seen as {:032x} by device {device} of user {user} in \
                 incarnations {} to {}",
                ids.0, ids.1, incarnations.0, incarnations.1
            ),
            Breach::SeqChanged { number, user, device, id, seqs } => write!(
                f,
                "message {number} ({id:032x}) was delivered to device {device} of user {user} as {} and as {}",
                seqs.0, seqs.1
            ),
            Breach::SharedId { id, numbers } => {
                write!(f, "messages {} and {} both are {id:032x}", numbers.0, numbers.1)
            }
            Breach::SharedSeq { user, device, seq, numbers } => write!(
                f,
                "messages {} and {} both were delivered to device {device} of user {user} as {seq}",
                numbers.0, numbers.1
            ),
            Breach::Forged { user, device, session, seq, id, forgery } => {
                let what = match forgery {
                    Forgery::Foreign => "a content of nobody".into(),
                    Forgery::Damaged(number) => format!("a content that is not that of message {number}"),
                };
                write!(
                    f,
                    "device {device} of user {user} was delivered {what} (number {seq}, {id:032x}, session {session})"
                )
            }
            Breach::Astray { number, user, device, session, seq } => write!(
                f,
                "message {number} was not for device {device} of user {user}, which was delivered it (number {seq}, \
                 session {session})"
            ),
        }
    }
}
