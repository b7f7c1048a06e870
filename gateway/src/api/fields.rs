//! Fields of request bodies, checked while they are read, so that an error names its field.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use campanile_protocol::ids::{DeviceId, UserId};
use campanile_protocol::messages::{Content, Payload};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::error::ApiError;

/// The longest kind, topic and event name, in bytes.
pub const NAME_BYTES_MAX: usize = 64;

pub(super) fn user<'de, D: Deserializer<'de>>(from: D) -> Result<UserId, D::Error> {
    UserId::try_from(&*Cow::<str>::deserialize(from)?).map_err(D::Error::custom)
}

fn device<'de, D: Deserializer<'de>>(from: D) -> Result<DeviceId, D::Error> {
    u32::deserialize(from)?.try_into().map_err(D::Error::custom)
}

pub(super) fn some_device<'de, D: Deserializer<'de>>(from: D) -> Result<Option<DeviceId>, D::Error> {
    device(from).map(Some)
}

pub(super) fn some_devices<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<DeviceId>>, D::Error> {
    /// Checks each as it is read, so that the error names its place.
    #[derive(serde::Deserialize)]
    struct Listed(#[serde(deserialize_with = "device")] DeviceId);
    let devices = Vec::<Listed>::deserialize(from)?;
    Ok(Some(devices.into_iter().map(|listed| listed.0).collect()))
}

pub(super) fn name<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let name = String::deserialize(from)?;
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err(D::Error::custom(format!("{} bytes, 1 to {NAME_BYTES_MAX} are allowed", name.len())));
    }
    if name.chars().any(char::is_control) {
        return Err(D::Error::custom("must not contain control characters"));
    }
    Ok(name)
}

pub(super) fn some_name<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    name(from).map(Some)
}

/// A payload that says exactly one of `data`, `text` and `json`.
#[derive(Debug)]
pub(super) struct PayloadField(Payload);

impl PayloadField {
    /// The payload, if it is not too large.
    pub(super) fn checked(self, bytes_max: usize) -> Result<Payload, ApiError> {
        let bytes = match &self.0.content {
            Some(Content::Data(data)) => data.len(),
            Some(Content::Text(text) | Content::Json(text)) => text.len(),
            None => 0,
        };
        match bytes <= bytes_max {
            true => Ok(self.0),
            false => Err(ApiError::PayloadTooLarge { bytes, max: bytes_max }),
        }
    }
}

impl<'de> Deserialize<'de> for PayloadField {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(PayloadVisitor)
    }
}

struct PayloadVisitor;

impl<'de> Visitor<'de> for PayloadVisitor {
    type Value = PayloadField;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with `data` (base64), `text` or `json`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<PayloadField, A::Error> {
        const NAMES: &[&str] = &["data", "text", "json"];
        let mut payload = None;
        while let Some(name) = map.next_key::<Cow<'_, str>>()? {
            let next = match &*name {
                "data" => map.next_value::<Data>()?.0,
                "text" => Payload::text(map.next_value::<String>()?),
                "json" => map.next_value::<Json>()?.0,
                unknown => return Err(A::Error::unknown_field(unknown, NAMES)),
            };
            if payload.replace(next).is_some() {
                return Err(A::Error::custom("either `data`, `text` or `json`, not several"));
            }
        }
        payload.map(PayloadField).ok_or_else(|| A::Error::custom("`data`, `text` or `json` is missing"))
    }
}

/// Bytes in base64 of either alphabet (RFC 4648 §4 and §5), with or without padding.
struct Data(Payload);

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        const CONFIG: GeneralPurposeConfig =
            GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
        const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, CONFIG);
        const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, CONFIG);
        let text = Cow::<str>::deserialize(from)?;
        let engine = if text.contains(['-', '_']) { URL_SAFE } else { STANDARD };
        let data = engine
            .decode(text.as_bytes())
            .map_err(|error| D::Error::custom(format!("not base64: {error}")))?;
        Ok(Data(Payload::data(data)))
    }
}

/// One JSON value, kept as it was written.
struct Json(Payload);

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let json = Box::<RawValue>::deserialize(from)?;
        let payload = Payload::json(String::from(Box::<str>::from(json))).map_err(D::Error::custom)?;
        Ok(Json(payload))
    }
}
