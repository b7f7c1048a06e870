//! The bodies of requests, written without intermediate values: at 20,000 pushes a second the generator must not be
//! what is measured.

use std::borrow::Cow;
use std::io::Write as _;
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use campanile_engine::Time;

use super::PublishSettings;
use super::register::in_path;
use crate::audience::To;
use crate::channels::Targets;
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

    /// Where a body is sent that begins with message `number`.
    pub(super) fn path(&self, number: u64) -> Cow<'static, str> {
        match (&self.settings.targets, self.settings.audience.to, self.settings.single) {
            (Some(targets), _, true) => {
                let name = targets.names().name(targets.channel_of(number));
                format!("/v2/channels/{}/publish", in_path(&name)).into()
            }
            (Some(_), _, false) => "/v2/channels/publish/batch".into(),
            (None, To::Broadcast, _) => "/v2/broadcast".into(),
            (None, _, true) => "/v2/push".into(),
            (None, _, false) => "/v2/push/batch".into(),
        }
    }

    /// A body with messages `numbers`, of which each is due at a time; only a batch may have more than one.
    pub(super) fn write(&mut self, due: impl Fn(u64) -> Time, numbers: Range<u64>) -> Bytes {
        let count = (numbers.end - numbers.start) as usize;
        let mut out = Vec::with_capacity(32 + count * (self.settings.payload_bytes.div_ceil(3) * 4 + 96));
        let channels = self.settings.targets.is_some();
        let batch = (channels || self.settings.audience.to != To::Broadcast) && !self.settings.single;
        if batch {
            out.extend_from_slice(if channels { br#"{"messages":["# } else { br#"{"pushes":["# });
        }
        for number in numbers {
            if out.last() == Some(&b'}') {
                out.push(b',');
            }
            match &self.settings.targets {
                Some(targets) => self.write_channel(targets, number, &mut out),
                None => self.write_recipient(number, &mut out),
            }
            self.write_payload(due(number), number, &mut out);
        }
        if batch {
            out.extend_from_slice(b"]}");
        }
        out.into()
    }

    /// The channel stands in the path of a message that goes alone.
    fn write_channel(&self, targets: &Targets, number: u64, out: &mut Vec<u8>) {
        out.push(b'{');
        if !self.settings.single {
            let name = targets.names().name(targets.channel_of(number));
            out.extend_from_slice(br#""channel":"#);
            out.extend_from_slice(serde_json::Value::from(name).to_string().as_bytes());
            out.push(b',');
        }
        out.extend_from_slice(br#""kind":"load""#);
    }

    fn write_recipient(&self, number: u64, out: &mut Vec<u8>) {
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
    }

    fn write_payload(&mut self, due: Time, number: u64, out: &mut Vec<u8>) {
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
    fn a_message_to_a_channel_names_it_in_the_batch_or_in_the_path() {
        let mut settings = settings(To::RandomUser);
        let targets = crate::publish::tests::targets("rö \"om/{n}", 5);
        settings.targets = Some(targets.clone());
        assert_eq!(BodyWriter::new(&settings).path(3), "/v2/channels/publish/batch");
        let body = written(&settings, 3..6);
        for (number, message) in (3..).zip(body["messages"].as_array().unwrap()) {
            assert_eq!(message["channel"], targets.names().name(targets.channel_of(number)));
            assert_eq!(message["kind"], "load");
            assert_eq!(stamp(message).number, number);
        }
        settings.single = true;
        let path = format!("/v2/channels/r%C3%B6%20%22om%2F{}/publish", targets.channel_of(3));
        assert_eq!(BodyWriter::new(&settings).path(3), path);
        let body = written(&settings, 3..4);
        assert_eq!((body["kind"].as_str(), body.get("channel")), (Some("load"), None));
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
