//! Registering devices that do not connect.

use std::cell::Cell;
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;

use super::all;
use super::http::{Api, ApiError};
use crate::audience::Audience;
use crate::options::Endpoint;

/// Who is registered, and where.
pub struct RegisterSettings {
    /// The API.
    pub api: Endpoint,
    /// The key to it.
    pub api_key: String,
    /// The devices.
    pub audience: Audience,
    /// What users' names begin with.
    pub user_prefix: String,
    /// Connections, each with one request at a time.
    pub connections: u32,
    /// From a request to its answer.
    pub timeout: Duration,
}

/// Registers every device of the audience over the API. Blocks; runs its own event loop. A device that is registered
/// already is as good.
///
/// # Errors
/// In words for the operator: the first device that could not be registered, and why.
pub fn register(settings: &RegisterSettings) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("the publisher cannot be set up: {error}"))?;
    let (next, failure) = (Cell::new(0), Cell::new(None));
    runtime.block_on(all((0..settings.connections).map(|_| one_after_another(settings, &next, &failure))));
    failure.take().map_or(Ok(()), Err)
}

/// Registers devices until there are no more, or one could not be.
async fn one_after_another(settings: &RegisterSettings, next: &Cell<u32>, failure: &Cell<Option<String>>) {
    let mut api = Api::new(&settings.api, &settings.api_key);
    let audience = &settings.audience;
    while next.get() < audience.devices {
        let device = next.replace(next.get() + 1);
        let (user, id) =
            (format!("{}{}", settings.user_prefix, audience.user_of(device)), audience.device_id(device));
        let path = format!("/v2/users/{}/devices", in_path(&user));
        let body = Bytes::from(format!(r#"{{"device":{id}}}"#));
        let answer = tokio::time::timeout(settings.timeout, api.post(&path, body)).await;
        let reason = match answer {
            Ok(Ok(_) | Err(ApiError::Refused(StatusCode::CONFLICT, _))) => continue,
            Ok(Err(error)) => error.reason(),
            Err(_) => "timed_out".into(),
        };
        failure.set(Some(format!("device {id} of `{user}` cannot be registered: {reason}")));
        next.set(audience.devices);
    }
}

/// A name as one segment of a path (RFC 3986 §3.3): everything but unreserved characters is encoded.
pub(super) fn in_path(name: &str) -> String {
    let mut path = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => path.push(byte.into()),
            _ => path.push_str(&format!("%{byte:02X}")),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_place_in_the_path() {
        assert_eq!(in_path("U-1._~"), "U-1._~");
        assert_eq!(in_path("a/../b?c ä"), "a%2F..%2Fb%3Fc%20%C3%A4");
    }
}
