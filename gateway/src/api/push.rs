//! Pushes to users' devices, and events to everybody.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::{Request, State};
use campanile_protocol::ids::{DeviceId, UserId};
use campanile_protocol::messages::{Deliver, Device, Event};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::error::{ApiError, ErrorBody};
use super::fields::{self, PayloadField};
use super::{Context, body};
use crate::shard::requests::Unavailable;
use crate::shard::requests::{Durability, Envelopes, Outcome, Push, PushError, Pushed};

/// Pushes that one batch may have.
pub const BATCH_PUSHES_MAX: usize = 1_000;
/// The largest batch, in bytes of its body, unless one push alone may be larger.
pub const BATCH_BYTES_MAX: usize = 8 << 20;
/// Devices that a push may list.
pub const DEVICES_LISTED_MAX: usize = 1_000;
/// The longest time to live, in seconds: 30 days.
pub const TTL_SECONDS_MAX: u32 = 30 * 24 * 3_600;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct PushBody {
    #[serde(deserialize_with = "fields::user")]
    user: UserId,
    #[serde(default, deserialize_with = "fields::some_device")]
    device: Option<DeviceId>,
    #[serde(default, deserialize_with = "fields::some_devices")]
    devices: Option<Vec<DeviceId>>,
    payload: PayloadField,
    #[serde(default, deserialize_with = "fields::some_name")]
    kind: Option<String>,
    #[serde(default, deserialize_with = "fields::some_name")]
    topic: Option<String>,
    #[serde(default)]
    from: Option<FromField>,
    #[serde(default)]
    ttl_seconds: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FromField {
    #[serde(deserialize_with = "fields::user")]
    user: UserId,
    #[serde(default, deserialize_with = "fields::some_device")]
    device: Option<DeviceId>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchBody {
    pushes: Vec<Box<RawValue>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BroadcastBody {
    #[serde(deserialize_with = "fields::name")]
    name: String,
    payload: PayloadField,
    #[serde(default)]
    from: Option<FromField>,
}

/// What became of a push.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PushAnswer {
    message_id: String,
    success: bool,
    delivered_count: usize,
    devices: Vec<DeviceAnswer>,
    failed_devices: Vec<FailedDevice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_message: Option<String>,
}

#[derive(Serialize)]
struct DeviceAnswer {
    device: u32,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

#[derive(Serialize)]
struct FailedDevice {
    device: u32,
    reason: &'static str,
}

#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum BatchItem {
    Answered(PushAnswer),
    Refused(ErrorBody),
}

#[derive(Serialize)]
pub(super) struct BatchAnswer {
    results: Vec<BatchItem>,
}

#[derive(Serialize)]
pub(super) struct BroadcastAnswer {
    sent: u64,
    skipped: u64,
}

/// `POST /v2/push`
pub(super) async fn push(
    State(context): State<Arc<Context>>,
    request: Request,
) -> Result<Json<PushAnswer>, ApiError> {
    let body: PushBody = body::json(request, context.push_body_bytes_max()).await?;
    let push = body.into_push(context.push_bytes_max, now_ms())?;
    let user = push.user.clone();
    let pushed = context
        .shards
        .push(vec![push])
        .await?
        .pop()
        .unwrap_or(Err(PushError::Unavailable(Unavailable::Stopping)))?;
    Ok(Json(PushAnswer::new(&user, &pushed)))
}

/// `POST /v2/push/batch`
pub(super) async fn batch(
    State(context): State<Arc<Context>>,
    request: Request,
) -> Result<Json<BatchAnswer>, ApiError> {
    let bytes_max = context.push_body_bytes_max().max(BATCH_BYTES_MAX);
    let body: BatchBody = body::json(request, bytes_max).await?;
    if !(1..=BATCH_PUSHES_MAX).contains(&body.pushes.len()) {
        let count = body.pushes.len();
        return Err(ApiError::InvalidField(format!(
            "pushes: {count} items, 1 to {BATCH_PUSHES_MAX} are allowed"
        )));
    }
    let now_ms = now_ms();
    let mut valid = Vec::with_capacity(body.pushes.len());
    let checked: Vec<Result<UserId, ApiError>> = body
        .pushes
        .iter()
        .map(|item| {
            let push = body::parse::<PushBody>(item.get().as_bytes())?;
            let push = push.into_push(context.push_bytes_max, now_ms)?;
            let user = push.user.clone();
            valid.push(push);
            Ok(user)
        })
        .collect();
    let mut pushed = match valid.is_empty() {
        true => Vec::new(),
        false => context.shards.push(valid).await?,
    }
    .into_iter();
    let answer = |user: UserId| {
        let pushed = pushed.next().unwrap_or(Err(PushError::Unavailable(Unavailable::Stopping)))?;
        Ok(PushAnswer::new(&user, &pushed))
    };
    let mut answer = answer;
    let results = checked
        .into_iter()
        .map(|item: Result<UserId, ApiError>| match item.and_then(&mut answer) {
            Ok(answer) => BatchItem::Answered(answer),
            Err(error) => BatchItem::Refused(error.body()),
        })
        .collect();
    Ok(Json(BatchAnswer { results }))
}

/// `POST /v2/broadcast`
pub(super) async fn broadcast(
    State(context): State<Arc<Context>>,
    request: Request,
) -> Result<Json<BroadcastAnswer>, ApiError> {
    let body: BroadcastBody = body::json(request, context.push_body_bytes_max()).await?;
    let event = Event {
        name: body.name,
        from: body.from.map(FromField::into_device),
        at_ms: now_ms(),
        payload: Some(body.payload.checked(context.push_bytes_max)?),
    };
    let (sent, skipped) = context.shards.broadcast(event).await?;
    Ok(Json(BroadcastAnswer { sent, skipped }))
}

impl PushBody {
    fn into_push(self, payload_bytes_max: usize, now_ms: i64) -> Result<Push, ApiError> {
        let devices = match (self.device, self.devices) {
            (Some(_), Some(_)) => {
                return Err(ApiError::InvalidField("device: either `device` or `devices`, not both".into()));
            }
            (Some(device), None) => Some(vec![device]),
            (None, Some(devices)) => Some(listed(devices)?),
            (None, None) => None,
        };
        let expires_at_ms = match self.ttl_seconds {
            Some(seconds) if seconds > TTL_SECONDS_MAX => {
                return Err(ApiError::InvalidField(format!(
                    "ttlSeconds: {seconds} is more than {TTL_SECONDS_MAX} (30 days)"
                )));
            }
            Some(seconds) => now_ms + i64::from(seconds) * 1_000,
            None => 0,
        };
        let message = Deliver {
            kind: self.kind.unwrap_or_else(|| "message".into()),
            from: self.from.map(FromField::into_device),
            sent_at_ms: now_ms,
            expires_at_ms,
            topic: self.topic.unwrap_or_default(),
            // The shard gives the id and the sequence number.
            ..Deliver::default()
        };
        let payload = self.payload.checked(payload_bytes_max)?;
        let envelopes = match devices {
            Some(devices) => Envelopes::Listed(devices, payload),
            None => Envelopes::All(payload),
        };
        Ok(Push { user: self.user, envelopes, message, durability: Durability::Ephemeral, dedup: None })
    }
}

/// The devices once each, in order.
fn listed(mut devices: Vec<DeviceId>) -> Result<Vec<DeviceId>, ApiError> {
    if !(1..=DEVICES_LISTED_MAX).contains(&devices.len()) {
        return Err(ApiError::InvalidField(format!(
            "devices: {} devices, 1 to {DEVICES_LISTED_MAX} are allowed; leave it out to reach all that are \
             connected",
            devices.len()
        )));
    }
    devices.sort_unstable();
    devices.dedup();
    Ok(devices)
}

impl FromField {
    fn into_device(self) -> Device {
        Device { user: self.user.as_str().into(), device: self.device.map_or(0, DeviceId::get) }
    }
}

impl PushAnswer {
    fn new(user: &UserId, pushed: &Pushed) -> PushAnswer {
        let devices: Vec<DeviceAnswer> = pushed
            .devices
            .iter()
            .map(|&(device, outcome)| {
                let reason = reason(outcome);
                let state = if reason.is_none() { "sent" } else { "failed" };
                DeviceAnswer { device: device.get(), state, reason }
            })
            .collect();
        let failed_devices: Vec<FailedDevice> = devices
            .iter()
            .filter_map(|answer| Some(FailedDevice { device: answer.device, reason: answer.reason? }))
            .collect();
        let delivered_count = devices.len() - failed_devices.len();
        let error_message = match (delivered_count, failed_devices.len()) {
            (0, 0) => Some(format!("user `{user}` has no connected device")),
            (_, 0) => None,
            (0, _) => Some("none of the devices could be reached".into()),
            (_, failed) => Some(format!("{failed} of {} devices could not be reached", devices.len())),
        };
        PushAnswer {
            message_id: pushed.id.to_string(),
            success: delivered_count > 0,
            delivered_count,
            devices,
            failed_devices,
            error_message,
        }
    }
}

fn reason(outcome: Outcome) -> Option<&'static str> {
    match outcome {
        Outcome::Sent => None,
        Outcome::NotConnected => Some("not_connected"),
        Outcome::NotKeepingUp => Some("not_keeping_up"),
        Outcome::Broken => Some("connection_broken"),
        Outcome::NotEncodable => Some("not_encodable"),
        _ => None,
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
