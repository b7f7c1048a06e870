//! Why a sync frame is refused.

use crate::push::PushRefused;

/// Why a sync is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SyncRefused {
    /// The name of the frame, its kind or its topic is none.
    #[error("ref and kind have 1 to 64 bytes, topic at most 64, without control characters")]
    Names,
    /// A `read-sync` does not say which one it replaces.
    #[error("a read-sync has a topic: the newest replaces those that wait")]
    TopicMissing,
    /// A device writes to itself.
    #[error("device is the sender's own; name a sibling, or 0 for all")]
    ToItself,
    /// A `forward` is for nobody in particular.
    #[error("a forward names its device")]
    ForwardToAll,
    /// No device can have this number.
    #[error("no such device")]
    NoDevice,
    /// The user has no device of this number.
    #[error("the user has no such device")]
    UnknownDevice,
    /// What holds of every push does not hold of this one.
    #[error(transparent)]
    Push(#[from] PushRefused),
}

impl SyncRefused {
    /// The stable name of the refusal.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            SyncRefused::UnknownDevice => "unknown_device",
            SyncRefused::Push(refused) => refused.code(),
            _ => "invalid_field",
        }
    }
}
