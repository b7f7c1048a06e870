//! What the API answers.

use serde::Deserialize;

use super::PublishSettings;
use crate::audience::To;
use crate::stats::Reasons;

/// What a request says about its messages.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answers {
    /// By message: to how many devices it was sent, or why it was not accepted.
    pub(super) outcomes: Vec<Result<u32, String>>,
    /// Devices that were named as failed, by reason.
    pub(super) failed_devices: Reasons,
}

#[derive(Deserialize)]
struct Batch {
    results: Vec<Item>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    success: Option<bool>,
    #[serde(default)]
    delivered_count: u32,
    #[serde(default)]
    failed_devices: Vec<FailedDevice>,
    error: Option<ItemError>,
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
        let malformed = |_| "malformed_answer".to_owned();
        if settings.audience.to == To::Broadcast {
            let Broadcast { sent } = serde_json::from_slice(body).map_err(malformed)?;
            return Ok(Answers { outcomes: vec![Ok(sent)], failed_devices: Reasons::new() });
        }
        let items = match settings.single {
            true => vec![serde_json::from_slice(body).map_err(malformed)?],
            false => serde_json::from_slice::<Batch>(body).map_err(malformed)?.results,
        };
        if items.len() as u64 != count {
            return Err("malformed_answer".into());
        }
        let mut failed_devices = Reasons::new();
        let outcomes = items
            .into_iter()
            .map(|item| {
                let reason = item.failed_devices.first().map(|failed| failed.reason.clone());
                for failed in item.failed_devices {
                    *failed_devices.entry(failed.reason).or_default() += 1;
                }
                match (item.success, item.error) {
                    (Some(true), _) => Ok(item.delivered_count),
                    (_, Some(error)) => Err(error.code),
                    // A user without a connected device has no failed device either.
                    (Some(false), None) => Err(reason.unwrap_or_else(|| "no_connected_device".into())),
                    (None, None) => Err("malformed_answer".into()),
                }
            })
            .collect();
        Ok(Answers { outcomes, failed_devices })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::tests::settings;

    #[test]
    fn each_message_has_its_own_outcome() {
        let body = br#"{"results":[
            {"messageId":"1","success":true,"deliveredCount":2,"devices":[],"failedDevices":[{"device":3,"reason":"broken"}]},
            {"messageId":"2","success":false,"deliveredCount":0,"devices":[],"failedDevices":[{"device":1,"reason":"not_connected"}],"errorMessage":"x"},
            {"messageId":"3","success":false,"deliveredCount":0,"devices":[],"failedDevices":[]},
            {"error":{"code":"invalid_field","message":"y"}}]}"#;
        let answers = Answers::parse(&settings(To::RandomUser), 4, body).unwrap();
        let failed = |reason: &str| Err(reason.to_owned());
        let expected =
            [Ok(2), failed("not_connected"), failed("no_connected_device"), failed("invalid_field")];
        assert_eq!(answers.outcomes, expected);
        assert_eq!(answers.failed_devices, [("broken".into(), 1), ("not_connected".into(), 1)].into());
    }

    #[test]
    fn broadcasts_and_single_pushes_have_one_outcome() {
        let answers = Answers::parse(&settings(To::Broadcast), 1, br#"{"sent":7,"skipped":1}"#).unwrap();
        assert_eq!(answers.outcomes, [Ok(7)]);
        let mut settings = settings(To::RandomDevice);
        settings.single = true;
        let answers = Answers::parse(&settings, 1, br#"{"success":true,"deliveredCount":1}"#).unwrap();
        assert_eq!(answers.outcomes, [Ok(1)]);
    }

    #[test]
    fn what_is_no_answer_to_the_request_fails_every_message() {
        for body in [&b"{}"[..], b"", br#"{"results":[]}"#, br#"{"results":[{"success":true}]}"#] {
            let answer = Answers::parse(&settings(To::RandomDevice), 2, body);
            assert_eq!(answer, Err("malformed_answer".into()));
        }
    }
}
