//! The wire contract of Campanile, without I/O and without clocks.
//!
//! The crate owns every byte format that crosses a client's socket:
//!
//! | Module | Format |
//! |---|---|
//! | [`proxy`] | PROXY protocol version 2, in front of everything else |
//! | [`upgrade`] | the HTTP/1.1 upgrade, both sides |
//! | [`frame`] | WebSocket frames (RFC 6455), close codes |
//! | [`deflate`] | compressed messages (permessage-deflate, RFC 7692) |
//! | [`messages`] | what is in the frames: one protobuf schema, as protobuf and as JSON |
//! | [`ids`] | user, device and message ids |
//!
//! What always holds
//! - Everything that a peer can send has a limit, and every refusal is a typed error with the status or close code to
//!   answer with. Nothing that arrives can cause a panic.
//! - Readers are incremental: where the input is cut makes no difference, the work is linear in the bytes, and memory
//!   is used for bytes that have arrived, never for a declared length.
//! - Between messages a connection's [`frame::Decoder`] owns no memory. A head or frame that is whole in the input is
//!   read where it lies.
//!
//! What callers must not do
//! - Feed a reader again after it has returned an error: the connection is to be closed.
//! - Take what a payload holds for checked: payloads are opaque and are passed on as they are.
//! - Trust `Forwarded` headers or PROXY headers from addresses that are not configured as trusted.
#![forbid(unsafe_code)]

pub mod deflate;
pub mod frame;
pub mod ids;
pub mod messages;
pub mod proxy;
pub mod upgrade;
