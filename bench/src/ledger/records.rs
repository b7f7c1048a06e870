//! What publishers and devices have seen, as plain facts.
//!
//! *Incarnations* are the gateway's lives, counted from 0: each ends with a kill. Devices of a user are counted from 0
//! here, so that a set of them is a mask.

/// A message's number: unique, and growing in the order in which a user's messages were published.
pub(crate) type Number = u64;

/// What a publisher knows of a message.
#[derive(Clone, Debug)]
pub(crate) struct Publication {
    pub(crate) number: Number,
    pub(crate) user: u32,
    /// The devices that it was meant for: bit `n` for device `n`.
    pub(crate) asked: u32,
    /// Of the devices that will have it, those that the answer called `confirmed`, and those that it called `stored`.
    pub(crate) confirmed: u32,
    pub(crate) stored: u32,
    /// Attempts without an answer: the first and last incarnation that may have seen each of them.
    pub(crate) unanswered: Vec<(u32, u32)>,
    pub(crate) outcome: Outcome,
}

/// What the gateway answered.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// It is durable.
    Accepted {
        id: u128,
        /// The devices that will have it: confirmed, sent or stored.
        taken: u32,
        /// The devices that will not.
        failed: u32,
        /// The incarnation that answered, or an earlier one.
        incarnation: u32,
    },
    /// It may be stored or not.
    Refused,
}

/// A message that a device was delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Receipt {
    /// The device's sessions are counted over all incarnations.
    pub(crate) session: u32,
    /// Whether the session acknowledges promptly, slowly or never, and had been told that it has caught up.
    pub(crate) manner: Manner,
    pub(crate) caught_up: bool,
    pub(crate) incarnation: u32,
    pub(crate) seq: u64,
    pub(crate) id: u128,
    /// From the content, or what is wrong with it.
    pub(crate) content: Result<Number, Forgery>,
}

/// When a session acknowledges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    Promptly,
    Slowly,
    Never,
}

/// Why a content is not what was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forgery {
    /// Not of this run, or not one of its contents at all.
    Foreign,
    /// Names a message and differs from what it must be.
    Damaged(Number),
}

/// What a device has seen, in the order in which it saw it.
#[derive(Clone, Debug)]
pub(crate) struct Device {
    pub(crate) user: u32,
    pub(crate) device: u32,
    pub(crate) receipts: Vec<Receipt>,
}

/// Everything that everybody has seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Records {
    pub(crate) publications: Vec<Publication>,
    pub(crate) devices: Vec<Device>,
}
