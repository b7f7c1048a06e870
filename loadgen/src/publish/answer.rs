//! What the API answers.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, SeqAccess, Visitor};

use super::PublishSettings;
use crate::audience::To;
use crate::stats::Reasons;

/// What a request says about its messages.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answers {
    /// By message: by whom it was taken, or why it was not accepted.
    pub(super) outcomes: Vec<Result<Taken, String>>,
    /// What became of them, device by device.
    pub(super) states: States,
    /// Devices that were named as failed, by reason.
    pub(super) failed_devices: Reasons,
}

/// Who has taken a message.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// So many devices.
    ByDevices(u32),
    /// A channel, which has given it this place.
    ByChannel {
        /// The channel's epoch.
        epoch: u64,
        /// The message's number in it.
        offset: u64,
    },
}

#[derive(Deserialize)]
struct Batch<T> {
    results: Vec<T>,
}

#[derive(Deserialize)]
struct ChannelItem {
    epoch: Option<Number>,
    offset: Option<Number>,
    error: Option<ItemError>,
}

/// A number of 64 bits, which protobuf's JSON mapping has as text.
#[derive(Copy, Clone, Deserialize)]
#[serde(untagged)]
enum Number {
    Plain(u64),
    #[serde(deserialize_with = "from_text")]
    Text(u64),
}

impl Number {
    fn get(self) -> u64 {
        match self {
            Number::Plain(number) | Number::Text(number) => number,
        }
    }
}

fn from_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    success: Option<bool>,
    #[serde(default)]
    delivered_count: u32,
    #[serde(default)]
    devices: States,
    #[serde(default)]
    failed_devices: Vec<FailedDevice>,
    error: Option<ItemError>,
}

/// Devices by state, counted without keeping them: there are as many as messages.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct States {
    confirmed: u32,
    sent: u32,
    stored: u32,
    failed: u32,
}

impl States {
    /// Devices that have it, or will.
    fn taken(&self) -> u32 {
        self.confirmed + self.sent + self.stored
    }

    fn add(&mut self, more: States) {
        self.confirmed += more.confirmed;
        self.sent += more.sent;
        self.stored += more.stored;
        self.failed += more.failed;
    }

    /// As counts by name; states that did not occur are left out.
    pub(super) fn reasons(&self) -> Reasons {
        let named = [
            ("confirmed", self.confirmed),
            ("sent", self.sent),
            ("stored", self.stored),
            ("failed", self.failed),
        ];
        named
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| (name.into(), count.into()))
            .collect()
    }
}

impl<'de> Deserialize<'de> for States {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<States, D::Error> {
        deserializer.deserialize_seq(StatesVisitor)
    }
}

struct StatesVisitor;

impl<'de> Visitor<'de> for StatesVisitor {
    type Value = States;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of devices with their states")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut devices: A) -> Result<States, A::Error> {
        let mut states = States::default();
        while let Some(DeviceAnswer { state }) = devices.next_element()? {
            *match state {
                State::Confirmed => &mut states.confirmed,
                State::Sent => &mut states.sent,
                State::Stored => &mut states.stored,
                State::Failed => &mut states.failed,
            } += 1;
        }
        Ok(states)
    }
}

#[derive(Deserialize)]
struct DeviceAnswer {
    state: State,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Confirmed,
    Sent,
    Stored,
    Failed,
}

#[derive(Deserialize)]
struct FailedDevice {
    reason: String,
}

#[derive(Deserialize)]
struct ItemError {
    code: String,
}

#[derive(Deserialize)]
struct Broadcast {
    sent: u32,
}

impl Answers {
    /// Reads the answer to a request with `count` messages.
    ///
    /// # Errors
    /// The reason to count for all of them, when it is not an answer to that request.
    pub(super) fn parse(settings: &PublishSettings, count: u64, body: &[u8]) -> Result<Answers, String> {
        if settings.targets.is_some() {
            return Answers::of_channels(settings.single, count, body);
        }
        if settings.audience.to == To::Broadcast {
            let Broadcast { sent } = serde_json::from_slice(body).map_err(malformed)?;
            let states = States { sent, ..States::default() };
            return Ok(Answers {
                outcomes: vec![Ok(Taken::ByDevices(sent))],
                states,
                failed_devices: Reasons::new(),
            });
        }
        let items: Vec<Item> = items(settings.single, count, body)?;
        let (mut failed_devices, mut states) = (Reasons::new(), States::default());
        let outcomes = items
            .into_iter()
            .map(|item| {
                let reason = item.failed_devices.first().map(|failed| failed.reason.clone());
                for failed in item.failed_devices {
                    *failed_devices.entry(failed.reason).or_default() += 1;
                }
                states.add(item.devices);
                match (item.success, item.error) {
                    // What is stored will be delivered, though it does not count as delivered yet.
                    (Some(true), _) => Ok(Taken::ByDevices(item.devices.taken().max(item.delivered_count))),
                    (_, Some(error)) => Err(error.code),
                    // An ephemeral message to a user without a connected device has no failed device either.
                    (Some(false), None) => Err(reason.unwrap_or_else(|| "no_connected_device".into())),
                    (None, None) => Err("malformed_answer".into()),
                }
            })
            .collect();
        Ok(Answers { outcomes, states, failed_devices })
    }

    fn of_channels(single: bool, count: u64, body: &[u8]) -> Result<Answers, String> {
        let items: Vec<ChannelItem> = items(single, count, body)?;
        let outcomes = items
            .into_iter()
            .map(|item| match (item.epoch.zip(item.offset), item.error) {
                (Some((epoch, offset)), None) => {
                    Ok(Taken::ByChannel { epoch: epoch.get(), offset: offset.get() })
                }
                (_, Some(error)) => Err(error.code),
                (None, None) => Err("malformed_answer".into()),
            })
            .collect();
        Ok(Answers { outcomes, states: States::default(), failed_devices: Reasons::new() })
    }
}

/// What is said of each message of a request that has `count` of them.
fn items<T: DeserializeOwned>(single: bool, count: u64, body: &[u8]) -> Result<Vec<T>, String> {
    let items = match single {
        true => vec![serde_json::from_slice(body).map_err(malformed)?],
        false => serde_json::from_slice::<Batch<T>>(body).map_err(malformed)?.results,
    };
    if items.len() as u64 == count { Ok(items) } else { Err("malformed_answer".into()) }
}

fn malformed(_: serde_json::Error) -> String {
    "malformed_answer".into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::tests::settings;

    #[test]
    fn each_message_has_its_own_outcome() {
        let body = br#"{"results":[
            {"messageId":"1","success":true,"deliveredCount":2,"devices":[
                {"device":1,"state":"sent"},{"device":2,"state":"confirmed"},{"device":4,"state":"stored"},
                {"device":3,"state":"failed","reason":"broken"}],"failedDevices":[{"device":3,"reason":"broken"}]},
            {"messageId":"2","success":false,"deliveredCount":0,"devices":[],"failedDevices":[{"device":1,"reason":"not_connected"}],"errorMessage":"x"},
            {"messageId":"3","success":false,"deliveredCount":0,"devices":[],"failedDevices":[]},
            {"error":{"code":"invalid_field","message":"y"}}]}"#;
        let answers = Answers::parse(&settings(To::RandomUser), 4, body).unwrap();
        let failed = |reason: &str| Err(reason.to_owned());
        let expected = [
            Ok(Taken::ByDevices(3)),
            failed("not_connected"),
            failed("no_connected_device"),
            failed("invalid_field"),
        ];
        assert_eq!(answers.outcomes, expected);
        assert_eq!(answers.failed_devices, [("broken".into(), 1), ("not_connected".into(), 1)].into());
        let states = ["confirmed", "failed", "sent", "stored"].map(|state| (state.to_owned(), 1));
        assert_eq!(answers.states.reasons(), states.into());
    }

    #[test]
    fn broadcasts_and_single_pushes_have_one_outcome() {
        let answers = Answers::parse(&settings(To::Broadcast), 1, br#"{"sent":7,"skipped":1}"#).unwrap();
        assert_eq!(answers.outcomes, [Ok(Taken::ByDevices(7))]);
        let mut settings = settings(To::RandomDevice);
        settings.single = true;
        let answers = Answers::parse(&settings, 1, br#"{"success":true,"deliveredCount":1}"#).unwrap();
        assert_eq!(answers.outcomes, [Ok(Taken::ByDevices(1))]);
    }

    #[test]
    fn a_channel_says_which_place_each_message_has() {
        let mut settings = settings(To::RandomUser);
        settings.targets = Some(crate::publish::tests::targets("room", 1));
        let body = br#"{"results":[{"channel":"room","epoch":7,"offset":1},
            {"channel":"room","epoch":"18446744073709551615","offset":"2"},
            {"channel":"room","error":{"code":"payload_too_large","message":"y"}}]}"#;
        let answers = Answers::parse(&settings, 3, body).unwrap();
        let taken = |epoch, offset| Ok(Taken::ByChannel { epoch, offset });
        assert_eq!(answers.outcomes, [taken(7, 1), taken(u64::MAX, 2), Err("payload_too_large".into())]);
        assert_eq!(Answers::parse(&settings, 2, body), Err("malformed_answer".into()));
        settings.single = true;
        let answers = Answers::parse(&settings, 1, br#"{"channel":"room","epoch":7,"offset":9}"#).unwrap();
        assert_eq!(answers.outcomes, [taken(7, 9)]);
    }

    #[test]
    fn what_is_no_answer_to_the_request_fails_every_message() {
        for body in [&b"{}"[..], b"", br#"{"results":[]}"#, br#"{"results":[{"success":true}]}"#] {
            let answer = Answers::parse(&settings(To::RandomDevice), 2, body);
            assert_eq!(answer, Err("malformed_answer".into()));
        }
    }
}
