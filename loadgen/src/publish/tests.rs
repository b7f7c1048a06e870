//! Settings for the tests of the parts, and publishing against a small server.

use super::*;

pub(super) fn settings(to: To) -> PublishSettings {
    PublishSettings {
        api: Endpoint { address: ([127, 0, 0, 1], 1).into(), host: "127.0.0.1:1".into(), path: "/".into() },
        api_key: "key".into(),
        audience: Audience { to, devices: 10, users: 4, seed: 5, silent_percent: 0 },
        user_prefix: "U".into(),
        run: 99,
        payload_bytes: 40,
        batch: Duration::from_millis(1),
        batch_pushes_max: 500,
        single: false,
        durability: None,
        publishers: 2,
        timeout: Duration::from_secs(5),
        graceful_stop: GRACEFUL_STOP,
        targets: None,
    }
}

/// So many channels of this name.
pub(super) fn targets(name: &str, count: u32) -> Targets {
    let template = crate::channels::Template::parse(name).unwrap();
    Targets::new(crate::channels::Names::new(vec![template], count).unwrap(), 3)
}
