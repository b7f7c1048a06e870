//! The bodies of requests, written without intermediate values: at 20,000 pushes a second the generator must not be
//! what is measured.

use std::io::Write as _;
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use campanile_engine::Time;

use super::PublishSettings;
use crate::audience::To;
use crate::payload::{PAYLOAD_BYTES_MIN, Stamp};

/// Payloads are cut out of so many random bytes, since ciphertext does not compress either.
const NOISE_BYTES: usize = 1 << 20;

/// Writes request bodies.
pub(super) struct BodyWriter<'a> {
    settings: &'a PublishSettings,
    /// The prefix of users' names as it stands inside a JSON string.
    user_prefix: String,
    /// `"durability":…`, if anything is said about it.
    durability: String,
    noise: Vec<u8>,
    payload: Vec<u8>,
    base64: String,
}

impl<'a> BodyWriter<'a> {
    pub(super) fn new(settings: &'a PublishSettings) -> BodyWriter<'a> {
        let quoted = serde_json::Value::from(settings.user_prefix.as_str()).to_string();
        let user_prefix = quoted[1..quoted.len() - 1].to_owned();
        let durability =
            settings.durability.map(|durability| format!(r#","durability":"{}""#, durability.name()));
        let mut noise = vec![0; NOISE_BYTES + settings.payload_bytes];
        fastrand::Rng::with_seed(settings.run).fill(&mut noise);
        BodyWriter {
            settings,
            user_prefix,
            durability: durability.unwrap_or_default(),
            noise,
            payload: Vec::new(),
            base64: String::new(),
        }
    }

    /// Where the bodies are sent.
    pub(super) fn path(&self) -> &'static str {
        match (self.settings.audience.to, self.settings.single) {
            (To::Broadcast, _) => "/v2/broadcast",
            (_, true) => "/v2/push",
            (_, false) => "/v2/push/batch",
        }
    }

    /// A body with messages `numbers`, of which each is due at a time; only a batch may have more than one.
    pub(super) fn write(&mut self, due: impl Fn(u64) -> Time, numbers: Range<u64>) -> Bytes {
        let count = (numbers.end - numbers.start) as usize;
        let mut out = Vec::with_capacity(32 + count * (self.settings.payload_bytes.div_ceil(3) * 4 + 96));
        let batch = self.settings.audience.to != To::Broadcast && !self.settings.single;
        if batch {
            out.extend_from_slice(br#"{"pushes":["#);
        }
        for number in numbers {
            if out.last() == Some(&b'}') {
                out.push(b',');
            }
            self.write_push(due(number), number, &mut out);
        }
        if batch {
            out.extend_from_slice(b"]}");
        }
        out.into()
    }

    fn write_push(&mut self, due: Time, number: u64, out: &mut Vec<u8>) {
        let audience = &self.settings.audience;
        let first = audience.recipients(number).start;
        let (prefix, user) = (&self.user_prefix, audience.user_of(first));
        let written = match audience.to {
            To::RandomDevice => {
                let device = audience.device_id(first);
                write!(out, r#"{{"user":"{prefix}{user}","device":{device}"#)
            }
            To::RandomUser => write!(out, r#"{{"user":"{prefix}{user}""#),
            To::Broadcast => write!(out, r#"{{"name":"load""#),
        };
        debug_assert!(written.is_ok(), "writing to a vector cannot fail");
        if audience.to != To::Broadcast {
            out.extend_from_slice(self.durability.as_bytes());
        }
        let stamp = Stamp { run: self.settings.run, number, due };
        stamp.write(self.settings.payload_bytes, &mut self.payload);
        // Steps by a prime, so that the same bytes do not come again soon.
        let from = number.wrapping_mul(7_919) as usize % NOISE_BYTES;
        let padding = &mut self.payload[PAYLOAD_BYTES_MIN..];
        padding.copy_from_slice(&self.noise[from..from + padding.len()]);
        self.base64.clear();
        STANDARD.encode_string(&self.payload, &mut self.base64);
        out.extend_from_slice(br#","payload":{"data":""#);
        out.extend_from_slice(self.base64.as_bytes());
        out.extend_from_slice(br#""}}"#);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::options::Durability;
    use crate::publish::tests::settings;

    fn written(settings: &PublishSettings, numbers: Range<u64>) -> Value {
        let due = |number| Time(7_000 + number * 1_000_000);
        serde_json::from_slice(&BodyWriter::new(settings).write(due, numbers)).unwrap()
    }

    fn stamp(push: &Value) -> Stamp {
        let bytes = STANDARD.decode(push["payload"]["data"].as_str().unwrap()).unwrap();
        assert_eq!(bytes.len(), 40);
        Stamp::read(&bytes).unwrap()
    }

    #[test]
    fn a_batch_names_each_messages_device_and_when_it_was_due() {
        let mut settings = settings(To::RandomDevice);
        settings.user_prefix = "a\"b".into();
        let body = written(&settings, 3..6);
        let pushes = body["pushes"].as_array().unwrap();
        assert_eq!(pushes.len(), 3);
        // Ten devices of four users: who has which.
        let users = [0, 0, 0, 1, 1, 2, 2, 2, 3, 3];
        let numbers = [1, 2, 3, 1, 2, 1, 2, 3, 1, 2];
        for (number, push) in (3..).zip(pushes) {
            let device = settings.audience.recipients(number).start as usize;
            assert_eq!(push["user"], format!("a\"b{}", users[device]));
            assert_eq!(push["device"], numbers[device]);
            assert_eq!(stamp(push), Stamp { run: 99, number, due: Time(7_000 + number * 1_000_000) });
        }
    }

    #[test]
    fn durability_is_said_only_when_it_is_asked_for() {
        let mut settings = settings(To::RandomUser);
        assert!(written(&settings, 0..1)["pushes"][0]["durability"].is_null());
        settings.durability = Some(Durability::Ephemeral);
        assert_eq!(written(&settings, 0..2)["pushes"][1]["durability"], "ephemeral");
        settings.audience.to = To::Broadcast;
        assert!(written(&settings, 0..1)["durability"].is_null(), "an event is never stored");
    }

    #[test]
    fn payloads_are_noise_and_differ() {
        let mut settings = settings(To::RandomUser);
        settings.payload_bytes = 512;
        let body = written(&settings, 0..2);
        let bytes =
            |push: usize| STANDARD.decode(body["pushes"][push]["payload"]["data"].as_str().unwrap()).unwrap();
        let (one, other) = (bytes(0), bytes(1));
        assert_eq!((one.len(), other.len()), (512, 512));
        let alike = one[24..].iter().zip(&other[24..]).filter(|(a, b)| a == b).count();
        assert!(alike < 30, "{alike} of 488 bytes are the same");
    }

    #[test]
    fn single_pushes_and_broadcasts_stand_alone() {
        let mut settings = settings(To::RandomUser);
        settings.single = true;
        let body = written(&settings, 1..2);
        assert!(body["user"].is_string() && body["device"].is_null(), "{body}");
        assert_eq!(stamp(&body).number, 1);
        let body = written(&super::super::tests::settings(To::Broadcast), 2..3);
        assert_eq!(body["name"], "load");
        assert_eq!(stamp(&body).number, 2);
    }
}
