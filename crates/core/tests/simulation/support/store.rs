//! The store of a simulated gateway: the model, on a disk that fails and loses power.

pub(crate) use campanile_mailbox::model::{Call, ModelMailbox, ModelStore as SimStore, StoreFaults};
