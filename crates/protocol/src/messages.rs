//! What is in the frames: the schema `proto/campanile/v2/frames.proto`, as protobuf and as JSON.
//!
//! The structs here are generated from the schema (by `crates/schema`). [`ClientFrame`] and [`ServerFrame`] are the
//! frames; everything else is a part of one. A frame has the same content in every [`Encoding`]. Payloads are opaque:
//! nothing here looks into them, except that a payload which claims to be JSON is JSON of bounded depth before it is
//! put into JSON.
//!
//! The JSON form is protobuf's JSON mapping (lowerCamelCase, bytes in base64, 64-bit integers as strings, defaults left
//! out), except for `Payload.json`, which is embedded as it is:
//! `{"deliver":{"id":"…","seq":"7","payload":{"json":{"a":1}}}}`. Unknown fields are ignored, nested too deep or not.

mod codec;
mod encoding;
mod payload;

/// What prost and pbjson make of the schema, written by `campanile-schema`.
#[allow(missing_docs, unreachable_pub, clippy::all)]
mod wire {
    include!("messages/generated/campanile.v2.rs");
    include!("messages/generated/campanile.v2.serde.rs");
}

pub use codec::{DecodeError, DeliverError, EncodeError, encode_deliver_frame};
pub use encoding::Encoding;
pub use payload::{JSON_DEPTH_MAX, JsonError};
pub use wire::{
    Ack, CaughtUp, ChannelMessage, Deliver, Device, DeviceState, Drain, Error, Event, Gap, Hello, Limits,
    ListMembers, Members, Payload, Ping, Pong, Position, Publish, Published, Receipt, SetState, Subscribe,
    Subscribed, Sync, Unsubscribe, Unsubscribed, Welcome, client_frame::Frame as ClientFrame,
    payload::Content, server_frame::Frame as ServerFrame,
};
