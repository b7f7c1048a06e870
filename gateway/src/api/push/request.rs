//! A push as a publisher asks for it, over HTTP or gRPC.

use campanile_core::names::DedupId;
use campanile_core::push::{DedupDraft, Push, PushDraft, PushRules};
use campanile_mailbox::DedupScope;

use crate::api::auth::Publisher;
use crate::api::error::ApiError;

/// A push before it is known who asks.
#[derive(Debug)]
pub(in crate::api) struct PushRequest {
    /// What is asked for, but for the deduplication id.
    pub(in crate::api) draft: PushDraft,
    /// The deduplication id, which is the publisher's own.
    pub(in crate::api) dedup_id: Option<DedupId>,
    /// The digest of what was asked, where something was added that a retry would not repeat.
    pub(in crate::api) digest: Option<[u8; 16]>,
}

impl PushRequest {
    /// What the shards are asked for.
    ///
    /// # Errors
    /// [`ApiError::PayloadTooLarge`] and [`ApiError::InvalidField`].
    pub(in crate::api) fn into_push(
        self,
        rules: &PushRules,
        publisher: Publisher,
        now_ms: u64,
    ) -> Result<Push, ApiError> {
        let dedup = self.dedup_id.map(|id| DedupDraft {
            scope: DedupScope::Publisher(publisher.fingerprint),
            id,
            digest: self.digest,
            remembered: rules.dedup_window,
        });
        Ok(Push::new(PushDraft { dedup, ..self.draft }, rules, now_ms)?)
    }
}
