//! Pushes and receipts over gRPC: requests become those that HTTP's become.

use std::sync::Arc;

use campanile_core::push::{Durability, PushDraft};
use campanile_protocol::ids::DeviceId;
use campanile_protocol::messages::Payload;
use prost::Message as _;
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status, Streaming};

use super::json::Sent;
use super::receipts::Receipt;
use super::{PushAnswer, PushApi, PushRequest};
use crate::api::auth::Publisher;
use crate::api::clock::now_ms;
use crate::api::error::{ApiError, invalid};
use crate::api::grpc::batch::{Answers, Batch, results};
use crate::api::grpc::convert::{dedup_id, device, name, payload, sender, user};
use crate::api::grpc::wire::{
    DeviceEnvelope, Durability as WireDurability, PushBatchRequest, PushBatchResponse, PushFailure,
    PushMessageRequest, PushMessageResponse, PushReadReceiptRequest, PushResult, PushedDevice,
};

/// The metadata of an error that has the encoded answer: what became of each device when none took the message.
const ANSWER_METADATA: &str = "campanile-answer-bin";

impl PushApi {
    /// `PushMessage`
    pub(in crate::api) async fn push_message(
        &self,
        request: Request<PushMessageRequest>,
    ) -> Result<Response<PushMessageResponse>, Status> {
        let publisher = Publisher::of(request.extensions())?;
        self.answer(PushRequest::try_from(request.into_inner())?, publisher, now_ms()).await
    }

    /// `PushReadReceipt`
    pub(in crate::api) async fn push_read_receipt(
        &self,
        request: Request<PushReadReceiptRequest>,
    ) -> Result<Response<PushMessageResponse>, Status> {
        let (publisher, now_ms) = (Publisher::of(request.extensions())?, now_ms());
        let request = Receipt::try_from(request.into_inner())?.into_request(now_ms)?;
        self.answer(request, publisher, now_ms).await
    }

    /// `PushBatch`
    pub(in crate::api) fn push_batch(
        self: &Arc<PushApi>,
        request: Request<Streaming<PushBatchRequest>>,
    ) -> Result<Response<Answers<PushBatchRequest>>, Status> {
        let publisher = Publisher::of(request.extensions())?;
        Ok(Response::new(Answers::new(Arc::clone(self), publisher, request.into_inner())))
    }

    async fn answer(
        &self,
        request: PushRequest,
        publisher: Publisher,
        now_ms: u64,
    ) -> Result<Response<PushMessageResponse>, Status> {
        let answer = self.one(request.into_push(&self.rules, publisher, now_ms)?).await?;
        match answer.failure() {
            None => Ok(Response::new(answer.into())),
            Some(failure) => Err(failed(failure, answer)),
        }
    }
}

impl Batch for PushBatchRequest {
    type Room = PushApi;
    type Response = PushBatchResponse;

    const ITEMS: &'static str = "pushes";

    fn items(&self) -> usize {
        self.pushes.len()
    }

    async fn carry_out(self, room: Arc<PushApi>, publisher: Publisher) -> PushBatchResponse {
        let (now_ms, count) = (now_ms(), self.pushes.len());
        let pushes = self
            .pushes
            .into_iter()
            .map(|push| PushRequest::try_from(push)?.into_push(&room.rules, publisher, now_ms))
            .collect();
        PushBatchResponse { results: results(room.many(pushes).await, count) }
    }
}

impl TryFrom<PushMessageRequest> for PushRequest {
    type Error = ApiError;

    fn try_from(request: PushMessageRequest) -> Result<PushRequest, ApiError> {
        let durability = match request.durability() {
            WireDurability::Unspecified | WireDurability::Durable => Durability::Durable,
            WireDurability::Ephemeral => Durability::Ephemeral,
        };
        if WireDurability::try_from(request.durability).is_err() {
            return Err(invalid("durability", format_args!("{} is unknown", request.durability)));
        }
        let listed = |(place, number)| device(format_args!("devices[{place}]"), number);
        let devices: Vec<DeviceId> =
            request.devices.into_iter().enumerate().map(listed).collect::<Result<_, _>>()?;
        let one = |(place, envelope): (usize, DeviceEnvelope)| {
            let name = |field| format!("deviceEnvelopes[{place}].{field}");
            Ok((device(name("device"), envelope.device)?, payload(&name("payload"), envelope.payload)?))
        };
        let per_device: Vec<(DeviceId, Payload)> =
            request.device_envelopes.into_iter().enumerate().map(one).collect::<Result<_, ApiError>>()?;
        let sent = Sent {
            version: request.protocol_version,
            encrypted_envelope: request.encrypted_envelope.map(Payload::data),
            device_envelopes: (!per_device.is_empty()).then_some(per_device),
            payload: request.payload.map(|sent| payload("payload", Some(sent))).transpose()?,
            devices: (!devices.is_empty()).then_some(devices),
        };
        let draft = PushDraft {
            user: user("user", &request.user)?,
            envelopes: sent.resolve()?,
            kind: name("kind", request.kind)?,
            topic: name("topic", request.topic)?,
            from: request.from.map(sender).transpose()?,
            ttl_seconds: request.ttl_seconds,
            durability,
            dedup: None,
        };
        Ok(PushRequest { draft, dedup_id: dedup_id(&request.dedup_id)?, digest: None })
    }
}

impl TryFrom<PushReadReceiptRequest> for Receipt {
    type Error = ApiError;

    fn try_from(request: PushReadReceiptRequest) -> Result<Receipt, ApiError> {
        let from = request.from.ok_or_else(|| invalid("from", "is missing"))?;
        let read_at_ms = match u64::try_from(request.read_at_ms) {
            Ok(0) => None,
            Ok(ms) => Some(ms),
            Err(_) => return Err(invalid("readAtMs", "is before 1970")),
        };
        Ok(Receipt {
            to: user("to", &request.to)?,
            from: sender(from)?,
            message_ids: (!request.message_ids.is_empty()).then_some(request.message_ids),
            read_at_ms,
            payload: request.payload.map(|sent| payload("payload", Some(sent))).transpose()?,
            ttl_seconds: request.ttl_seconds,
            dedup_id: dedup_id(&request.dedup_id)?,
        })
    }
}

impl From<PushAnswer> for PushMessageResponse {
    fn from(answer: PushAnswer) -> PushMessageResponse {
        let pushed = |device: DeviceId, state: &str, reason: Option<&str>| PushedDevice {
            device: device.get(),
            state: state.into(),
            reason: reason.unwrap_or_default().into(),
        };
        let devices = answer.0.devices.iter().map(|&(device, outcome)| {
            let (state, reason) = (outcome.state(), outcome.reason());
            pushed(device, state, reason)
        });
        PushMessageResponse {
            message_id: answer.0.id.to_string(),
            success: answer.success(),
            delivered_count: u32::try_from(answer.delivered_count()).unwrap_or(u32::MAX),
            devices: devices.collect(),
            failed_devices: answer
                .failed()
                .map(|(device, reason)| pushed(device, "failed", Some(reason)))
                .collect(),
            error_message: answer.error_message().unwrap_or_default(),
            duplicate: answer.0.duplicate,
        }
    }
}

/// The status of a message that no device took, with what became of each.
fn failed(failure: ApiError, answer: PushAnswer) -> Status {
    let mut status = Status::from(failure);
    let answer = PushMessageResponse::from(answer).encode_to_vec();
    status.metadata_mut().insert_bin(ANSWER_METADATA, MetadataValue::from_bytes(&answer));
    status
}

impl From<Result<PushAnswer, ApiError>> for PushResult {
    fn from(result: Result<PushAnswer, ApiError>) -> PushResult {
        match result {
            Ok(answer) => PushResult { error: answer.failure().map(Into::into), answer: Some(answer.into()) },
            Err(error) => PushResult { error: Some(error.into()), answer: None },
        }
    }
}

impl From<ApiError> for PushFailure {
    fn from(error: ApiError) -> PushFailure {
        PushFailure {
            code: error.code().into(),
            status: i32::from(error.grpc()).unsigned_abs(),
            message: error.to_string(),
        }
    }
}
