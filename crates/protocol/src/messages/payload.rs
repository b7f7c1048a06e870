//! Payloads, and their JSON form.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, IgnoredAny, MapAccess, Visitor},
    ser::{self, SerializeMap as _},
};
use serde_json::value::RawValue;
use thiserror::Error;

use super::{Content, Payload};

/// How deep the arrays and objects of a JSON payload may be nested, so that no receiver's parser is overrun.
pub const JSON_DEPTH_MAX: usize = 100;

/// A text is not a JSON payload.
#[derive(Debug, Error)]
pub enum JsonError {
    /// Not one JSON value.
    #[error("not JSON: {0}")]
    Syntax(#[from] serde_json::Error),
    /// Nested deeper than [`JSON_DEPTH_MAX`].
    #[error("JSON nested deeper than {JSON_DEPTH_MAX}")]
    Depth,
}

impl Payload {
    /// A payload of bytes; shared, not copied, by clones.
    pub fn data(data: impl Into<Bytes>) -> Self {
        Content::Data(data.into()).into()
    }

    /// A payload of text.
    pub fn text(text: impl Into<String>) -> Self {
        Content::Text(text.into()).into()
    }

    /// A payload of one JSON value.
    ///
    /// # Errors
    /// `json` is not one, or is nested too deep.
    pub fn json(json: impl Into<String>) -> Result<Self, JsonError> {
        let json = json.into();
        raw_value(&json)?;
        Ok(Content::Json(json).into())
    }
}

impl Payload {
    /// The length of its content, in bytes.
    #[must_use]
    pub fn content_bytes(&self) -> usize {
        match &self.content {
            Some(Content::Data(data)) => data.len(),
            Some(Content::Text(text) | Content::Json(text)) => text.len(),
            None => 0,
        }
    }
}

impl From<Content> for Payload {
    fn from(content: Content) -> Self {
        Self { content: Some(content) }
    }
}

/// Checks that `json` is one JSON value of bounded depth.
fn raw_value(json: &str) -> Result<&RawValue, JsonError> {
    // The parser skips over values without recursion, so it neither overflows nor limits the depth.
    let value = serde_json::from_str(json)?;
    check_depth(json)?;
    Ok(value)
}

/// Checks the depth of valid JSON.
fn check_depth(json: &str) -> Result<(), JsonError> {
    let mut depth = 0_usize;
    let mut bytes = json.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => skip_string(&mut bytes),
            _ => {}
        }
        if depth > JSON_DEPTH_MAX {
            return Err(JsonError::Depth);
        }
    }
    Ok(())
}

/// Moves behind the closing quotation mark.
fn skip_string(bytes: &mut std::str::Bytes<'_>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => _ = bytes.next(),
            _ => {}
        }
    }
}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(usize::from(self.content.is_some())))?;
        match &self.content {
            Some(Content::Data(data)) => map.serialize_entry("data", &STANDARD.encode(data))?,
            Some(Content::Text(text)) => map.serialize_entry("text", text)?,
            Some(Content::Json(json)) => {
                map.serialize_entry("json", raw_value(json).map_err(ser::Error::custom)?)?;
            }
            None => {}
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PayloadVisitor)
    }
}

struct PayloadVisitor;

impl<'de> Visitor<'de> for PayloadVisitor {
    type Value = Payload;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a payload")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Payload, A::Error> {
        let mut content = None;
        while let Some(name) = map.next_key::<String>()? {
            let next = match name.as_str() {
                "data" => Content::Data(map.next_value::<pbjson::private::BytesDeserialize<Bytes>>()?.0),
                "text" => Content::Text(map.next_value()?),
                "json" => {
                    let value = String::from(Box::<str>::from(map.next_value::<Box<RawValue>>()?));
                    check_depth(&value).map_err(de::Error::custom)?;
                    Content::Json(value)
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            if content.replace(next).is_some() {
                return Err(de::Error::custom("a payload is either data, text or json"));
            }
        }
        Ok(Payload { content })
    }
}
