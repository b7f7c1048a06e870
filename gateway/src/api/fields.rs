//! Fields of requests, checked while they are read, so that an error names its field.

use std::fmt::{self, Display};
use std::marker::PhantomData;
use std::str::FromStr;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use campanile_protocol::ids::{DeviceId, UserId};
use campanile_protocol::messages::{Device, Payload};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A text that is parsed where it lies.
pub(super) fn text<'de, D: Deserializer<'de>, T: FromStr<Err: Display>>(from: D) -> Result<T, D::Error> {
    from.deserialize_str(TextVisitor(PhantomData))
}

pub(super) fn some_text<'de, D: Deserializer<'de>, T: FromStr<Err: Display>>(
    from: D,
) -> Result<Option<T>, D::Error> {
    text(from).map(Some)
}

struct TextVisitor<T>(PhantomData<T>);

impl<T: FromStr<Err: Display>> Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

pub(super) fn device<'de, D: Deserializer<'de>>(from: D) -> Result<DeviceId, D::Error> {
    u32::deserialize(from)?.try_into().map_err(D::Error::custom)
}

pub(super) fn some_device<'de, D: Deserializer<'de>>(from: D) -> Result<Option<DeviceId>, D::Error> {
    device(from).map(Some)
}

/// A device within a list, so that an error names its place.
#[derive(serde::Deserialize)]
#[serde(transparent)]
pub(super) struct Listed(#[serde(deserialize_with = "device")] pub(super) DeviceId);

/// Who sent a message.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct From {
    #[serde(deserialize_with = "text")]
    user: UserId,
    #[serde(default, deserialize_with = "some_device")]
    device: Option<DeviceId>,
}

impl From {
    pub(super) fn into_device(self) -> Device {
        Device { user: self.user.as_str().into(), device: self.device.map_or(0, DeviceId::get) }
    }
}

/// A list of 1 to `MAX` items. A longer one is given up where it becomes too long.
pub(super) struct Bounded<T, const MAX: usize>(pub(super) Vec<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for Bounded<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_seq(BoundedVisitor(PhantomData))
    }
}

struct BoundedVisitor<T, const MAX: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for BoundedVisitor<T, MAX> {
    type Value = Bounded<T, MAX>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of 1 to {MAX} items")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            if items.len() == MAX {
                return Err(A::Error::custom(format!("more than {MAX} items, 1 to {MAX} are allowed")));
            }
            items.push(item);
        }
        if items.is_empty() {
            return Err(A::Error::custom(format!("0 items, 1 to {MAX} are allowed")));
        }
        Ok(Bounded(items))
    }
}

/// A payload that says exactly one of `data`, `text` and `json`.
#[derive(Debug)]
pub(super) struct PayloadField(pub(super) Payload);

impl<'de> Deserialize<'de> for PayloadField {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(PayloadVisitor)
    }
}

#[derive(serde::Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum PayloadForm {
    Data,
    Text,
    Json,
}

struct PayloadVisitor;

impl<'de> Visitor<'de> for PayloadVisitor {
    type Value = PayloadField;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with `data` (base64), `text` or `json`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<PayloadField, A::Error> {
        let mut payload = None;
        while let Some(form) = map.next_key()? {
            let next = match form {
                PayloadForm::Data => map.next_value::<Base64>()?.0,
                PayloadForm::Text => Payload::text(map.next_value::<String>()?),
                PayloadForm::Json => map.next_value::<Json>()?.0,
            };
            if payload.replace(next).is_some() {
                return Err(A::Error::custom("either `data`, `text` or `json`, not several"));
            }
        }
        payload.map(PayloadField).ok_or_else(|| A::Error::custom("`data`, `text` or `json` is missing"))
    }
}

/// Bytes in base64 of either alphabet (RFC 4648 §4 and §5), with or without padding.
#[derive(Debug)]
pub(super) struct Base64(pub(super) Payload);

impl FromStr for Base64 {
    type Err = String;

    fn from_str(text: &str) -> Result<Base64, String> {
        const CONFIG: GeneralPurposeConfig =
            GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
        const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, CONFIG);
        const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, CONFIG);
        let engine = if text.contains(['-', '_']) { URL_SAFE } else { STANDARD };
        let data = engine.decode(text).map_err(|error| format!("not base64: {error}"))?;
        Ok(Base64(Payload::data(data)))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        text(from)
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
