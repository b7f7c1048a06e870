//! Publishes stamped messages over HTTP.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use campanile_harness::http::Client;

use crate::gateway::process::{Gateway, KEY};
use crate::receiver::{STAMP_BYTES, Stamp, now_nanos};

/// One connection to the API.
pub(super) struct Publisher {
    api: Client,
    number: u8,
    next: u64,
    bytes: usize,
    body: String,
}

impl Publisher {
    /// A publisher whose messages have so many bytes of text.
    pub(super) fn connect(gateway: &Gateway, number: u8, bytes: usize) -> anyhow::Result<Self> {
        ensure!(bytes >= STAMP_BYTES, "--bytes {bytes}: the time stamp in each message needs {STAMP_BYTES}");
        let api = Client::new(gateway.api_listen()).with_bearer(KEY);
        Ok(Self { api, number, next: 0, bytes, body: String::new() })
    }

    /// Publishes a message that is due now.
    pub(super) fn publish(&mut self, channel: &str) -> anyhow::Result<()> {
        self.publish_due(channel, now_nanos())
    }

    /// Publishes a message that was due at `nanos`.
    pub(super) fn publish_due(&mut self, channel: &str, nanos: u64) -> anyhow::Result<()> {
        self.body.clear();
        let payload = self.payload(nanos);
        write!(self.body, r#"{{"kind":"bench","payload":{{"text":"{payload}"}}}}"#)?;
        self.post(&format!("/v2/channels/{channel}/publish"))?;
        Ok(())
    }

    /// Publishes a message to each of the channels, all due at `nanos`, in one request.
    pub(super) fn publish_batch(
        &mut self,
        channels: impl Iterator<Item = String>,
        nanos: u64,
    ) -> anyhow::Result<()> {
        self.body.clear();
        self.body.push_str(r#"{"messages":["#);
        for (place, channel) in channels.enumerate() {
            let comma = if place == 0 { "" } else { "," };
            let payload = self.payload(nanos);
            write!(
                self.body,
                r#"{comma}{{"channel":"{channel}","kind":"bench","payload":{{"text":"{payload}"}}}}"#
            )?;
        }
        self.body.push_str("]}");
        let answer = self.post("/v2/channels/publish/batch")?;
        ensure!(!answer.contains(r#""error""#), "the gateway refuses messages of a batch: {answer}");
        Ok(())
    }

    fn post(&self, path: &str) -> anyhow::Result<String> {
        self.api.post(path, &self.body)?.good().context("the gateway refuses to publish")
    }

    fn payload(&mut self, nanos: u64) -> String {
        let stamp = Stamp { publisher: self.number, sequence: self.next, nanos };
        self.next += 1;
        stamp.payload(self.bytes)
    }
}

/// Moments that are evenly spread: what is done at one of them is late if the one before takes too long, and nothing is
/// left out.
pub(super) struct Schedule {
    start: Instant,
    start_nanos: u64,
    period: Duration,
    next: u32,
}

impl Schedule {
    /// The first is `offset` from now.
    pub(super) fn start(offset: Duration, period: Duration) -> Self {
        let start_nanos = now_nanos() + offset.as_nanos() as u64;
        Self { start: Instant::now() + offset, start_nanos, period, next: 0 }
    }

    /// Waits for the next and gives it as [`now_nanos`] has it; nothing if it lies `duration` after the first or later.
    pub(super) fn wait(&mut self, duration: Duration) -> Option<u64> {
        let due = self.period * self.next;
        if due >= duration {
            return None;
        }
        self.next += 1;
        std::thread::sleep((self.start + due).saturating_duration_since(Instant::now()));
        Some(self.start_nanos + due.as_nanos() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_evenly_spread_and_end_in_time() {
        let mut schedule = Schedule::start(Duration::ZERO, Duration::from_micros(300));
        let moments: Vec<u64> = std::iter::from_fn(|| schedule.wait(Duration::from_millis(1))).collect();
        assert_eq!(moments.len(), 4);
        assert!(moments.windows(2).all(|pair| pair[1] - pair[0] == 300_000), "{moments:?}");
    }
}
