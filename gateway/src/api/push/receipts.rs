//! Read receipts: messages of kind `receipt` to all devices of whoever sent the messages that were read.

use std::sync::Arc;

use axum::extract::{Extension, Request, State};
use axum::response::{IntoResponse, Response};
use campanile_core::names::{DedupId, Name};
use campanile_core::push::{Durability, Envelopes, PushDraft};
use campanile_protocol::ids::UserId;
use campanile_protocol::messages::{Device, Payload};
use serde::{Deserialize, Serialize};

use super::{PushApi, PushRequest};
use crate::api::auth::Publisher;
use crate::api::body;
use crate::api::clock::now_ms;
use crate::api::error::{ApiError, invalid};
use crate::api::fields::{self, Bounded, From, PayloadField};

/// Messages that one receipt may name.
pub const RECEIPT_MESSAGES_MAX: usize = 1_000;
/// The longest message id in a receipt, in bytes.
pub const RECEIPT_ID_BYTES_MAX: usize = 64;
/// The kind of a receipt.
const KIND: &str = "receipt";

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ReceiptBody {
    #[serde(deserialize_with = "fields::text")]
    to: UserId,
    from: From,
    #[serde(default)]
    message_ids: Option<Bounded<String, RECEIPT_MESSAGES_MAX>>,
    #[serde(default)]
    read_at_ms: Option<u64>,
    #[serde(default)]
    payload: Option<PayloadField>,
    #[serde(default)]
    ttl_seconds: u32,
    #[serde(default, deserialize_with = "fields::some_text")]
    dedup_id: Option<DedupId>,
}

/// A receipt as a publisher asks for it, over HTTP or gRPC.
pub(super) struct Receipt {
    pub(super) to: UserId,
    pub(super) from: Device,
    pub(super) message_ids: Option<Vec<String>>,
    pub(super) read_at_ms: Option<u64>,
    pub(super) payload: Option<Payload>,
    pub(super) ttl_seconds: u32,
    pub(super) dedup_id: Option<DedupId>,
}

/// The payload of a receipt that is not opaque.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Read<'a> {
    message_ids: &'a [String],
    read_at_ms: u64,
}

/// `POST /v2/receipts`
pub(super) async fn receipt(
    State(room): State<Arc<PushApi>>,
    Extension(publisher): Extension<Publisher>,
    request: Request,
) -> Result<Response, ApiError> {
    let body: ReceiptBody = body::json(request, room.body_bytes_max()).await?;
    let now_ms = now_ms();
    let receipt = Receipt {
        to: body.to,
        from: body.from.into_device(),
        message_ids: body.message_ids.map(|ids| ids.0),
        read_at_ms: body.read_at_ms,
        payload: body.payload.map(|payload| payload.0),
        ttl_seconds: body.ttl_seconds,
        dedup_id: body.dedup_id,
    };
    let push = receipt.into_request(now_ms)?.into_push(&room.rules, publisher, now_ms)?;
    Ok(room.one(push).await?.into_response())
}

impl Receipt {
    /// The push that brings the receipt.
    ///
    /// # Errors
    /// [`ApiError::InvalidField`].
    pub(super) fn into_request(self, now_ms: u64) -> Result<PushRequest, ApiError> {
        let (asked, sent) = match (self.payload, self.message_ids) {
            (Some(payload), None) if self.read_at_ms.is_none() => (payload, None),
            (Some(_), _) => {
                return Err(invalid(
                    "payload",
                    "goes without `messageIds` and `readAtMs`: it takes their place",
                ));
            }
            (None, None) => {
                return Err(invalid("messageIds", "is missing; or give a `payload` in its place"));
            }
            (None, Some(ids)) => {
                check(&ids)?;
                // A retry may leave the time out again, and is the same request later.
                let asked = read(&ids, self.read_at_ms.unwrap_or(0))?;
                let sent = self.read_at_ms.is_none().then(|| read(&ids, now_ms)).transpose()?;
                (asked, sent)
            }
        };
        let draft = PushDraft {
            user: self.to,
            envelopes: Envelopes::All(asked),
            kind: Some(kind()),
            topic: None,
            from: Some(self.from),
            ttl_seconds: self.ttl_seconds,
            durability: Durability::Durable,
            dedup: None,
        };
        let mut request = PushRequest { draft, dedup_id: self.dedup_id, digest: None };
        if let Some(sent) = sent {
            request.digest = Some(request.draft.digest());
            request.draft.envelopes = Envelopes::All(sent);
        }
        Ok(request)
    }
}

fn kind() -> Name {
    KIND.parse().expect("the kind of a receipt is a name")
}

fn check(ids: &[String]) -> Result<(), ApiError> {
    if !(1..=RECEIPT_MESSAGES_MAX).contains(&ids.len()) {
        let problem = format!("{} items, 1 to {RECEIPT_MESSAGES_MAX} are allowed", ids.len());
        return Err(invalid("messageIds", problem));
    }
    let bad = ids.iter().enumerate().find(|(_, id)| !(1..=RECEIPT_ID_BYTES_MAX).contains(&id.len()));
    bad.map_or(Ok(()), |(place, id)| {
        let problem = format!("{} bytes, 1 to {RECEIPT_ID_BYTES_MAX} are allowed", id.len());
        Err(invalid(format_args!("messageIds[{place}]"), problem))
    })
}

fn read(message_ids: &[String], read_at_ms: u64) -> Result<Payload, ApiError> {
    let json = serde_json::to_string(&Read { message_ids, read_at_ms });
    // Texts and numbers are always JSON.
    Payload::json(json.unwrap_or_default()).map_err(|error| invalid("messageIds", error))
}
