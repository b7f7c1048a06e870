//! What a publisher hears about a push.

use campanile_core::requests::{Outcome, Pushed};
use campanile_protocol::ids::{DeviceId, MessageId};
use serde::{Serialize, Serializer};

use crate::api::error::{ApiError, ErrorDetail};

/// What became of a push, as JSON.
pub(in crate::api) struct PushAnswer(pub(in crate::api) Pushed);

impl PushAnswer {
    /// Why no device has the message or will get it, if that is an error: the node's storage is full, else mailboxes
    /// are full, else none of the devices exists. That an ephemeral message reaches nobody is none.
    pub(in crate::api) fn failure(&self) -> Option<ApiError> {
        let devices = &self.0.devices;
        let any = |wanted| devices.iter().any(|&(_, outcome)| outcome == wanted);
        match () {
            () if self.success() || devices.is_empty() => None,
            () if any(Outcome::StorageFull) => Some(ApiError::StorageFull),
            () if any(Outcome::MailboxFull) => Some(ApiError::MailboxFull),
            () if devices.iter().all(|&(_, outcome)| outcome == Outcome::UnknownDevice) => {
                Some(ApiError::UnknownDevice)
            }
            () => None,
        }
    }

    /// At least one device has the message or will get it.
    pub(in crate::api) fn success(&self) -> bool {
        self.0.devices.iter().any(|(_, outcome)| outcome.is_success())
    }

    /// How many devices have confirmed the message or were sent it.
    pub(in crate::api) fn delivered_count(&self) -> usize {
        let delivered = |outcome| matches!(outcome, Outcome::Confirmed | Outcome::Sent);
        self.0.devices.iter().filter(|&&(_, outcome)| delivered(outcome)).count()
    }

    /// The devices that failed.
    pub(in crate::api) fn failed(&self) -> impl Iterator<Item = (DeviceId, &'static str)> {
        self.0.devices.iter().filter_map(|&(device, outcome)| Some((device, outcome.reason()?)))
    }

    /// What went wrong, if anything did, in words.
    pub(in crate::api) fn error_message(&self) -> Option<String> {
        match (self.failed().count(), self.0.devices.len()) {
            (_, 0) => Some("the user has no connected device".into()),
            (0, _) => None,
            (failed, all) if failed == all => Some("none of the devices could be reached".into()),
            (failed, all) => Some(format!("{failed} of {all} devices could not be reached")),
        }
    }
}

impl Serialize for PushAnswer {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Shown<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            error: Option<ErrorDetail>,
            message_id: Id,
            success: bool,
            delivered_count: usize,
            devices: Devices<'a>,
            failed_devices: Failed<'a>,
            #[serde(skip_serializing_if = "Option::is_none")]
            error_message: Option<String>,
            #[serde(skip_serializing_if = "std::ops::Not::not")]
            duplicate: bool,
        }
        Shown {
            error: self.failure().map(|failure| failure.detail()),
            message_id: Id(self.0.id),
            success: self.success(),
            delivered_count: self.delivered_count(),
            devices: Devices(self),
            failed_devices: Failed(self),
            error_message: self.error_message(),
            duplicate: self.0.duplicate,
        }
        .serialize(to)
    }
}

struct Id(MessageId);

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&self.0)
    }
}

struct Devices<'a>(&'a PushAnswer);

impl Serialize for Devices<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Device {
            device: u32,
            state: &'static str,
            #[serde(skip_serializing_if = "Option::is_none")]
            reason: Option<&'static str>,
        }
        to.collect_seq(self.0.0.devices.iter().map(|&(device, outcome)| {
            let (state, reason) = (outcome.state(), outcome.reason());
            Device { device: device.get(), state, reason }
        }))
    }
}

struct Failed<'a>(&'a PushAnswer);

impl Serialize for Failed<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Device {
            device: u32,
            reason: &'static str,
        }
        to.collect_seq(self.0.failed().map(|(device, reason)| Device { device: device.get(), reason }))
    }
}
