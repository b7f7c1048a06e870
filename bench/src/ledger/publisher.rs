//! Publishers: batches at a steady rate, one after another, and again until each is answered.
//!
//! Each publisher has users of its own and one request at a time, so a user's messages are published in the order of
//! their numbers. A batch that is not answered is sent again as it is, deduplication ids and all, before anything else.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use campanile_harness::http::Client;
use serde::Deserialize;
use serde_json::json;

use super::content::Content;
use super::records::{Outcome, Publication};
use super::world::{Phase, World};

/// From a request to its answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Before a batch that was not answered is sent again.
const RETRY_DELAY: Duration = Duration::from_millis(20);
/// How long a batch may go without an answer, over all attempts.
const PATIENCE: Duration = Duration::from_secs(120);
/// Of so many messages one is for a single device.
const SINGLE_DEVICE_ONE_IN: u32 = 4;

/// What a publisher does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PublisherSettings {
    /// Which one it is, from 0.
    pub(crate) index: u32,
    /// Of how many.
    pub(crate) count: u32,
    /// Messages per second.
    pub(crate) rate: f64,
    /// Messages of a request.
    pub(crate) batch: u32,
}

/// What it has done.
#[derive(Debug, Default)]
pub(crate) struct Published {
    pub(crate) publications: Vec<Publication>,
    /// Messages that were refused, by code.
    pub(crate) refusals: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
struct Answer {
    results: Vec<Item>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    message_id: Option<String>,
    #[serde(default)]
    devices: Vec<DeviceAnswer>,
    error: Option<ItemError>,
}

#[derive(Deserialize)]
struct DeviceAnswer {
    device: u32,
    state: String,
}

#[derive(Deserialize)]
struct ItemError {
    code: String,
}

/// Publishes until the phase changes and everything is answered.
///
/// # Errors
/// The gateway answers something that is no answer, or none for very long.
pub(crate) fn publish(world: &World, settings: PublisherSettings) -> anyhow::Result<Published> {
    let mut publisher = Publisher {
        world,
        settings,
        api: Client::new(world.api).with_bearer(&world.api_key).with_patience(TIMEOUT),
        devices: (0..world.audience.users).map(|user| world.devices_of(user)).collect(),
        next: 0,
        published: Published::default(),
    };
    let period = Duration::from_secs_f64(f64::from(settings.batch) / settings.rate);
    let mut due = Instant::now();
    while world.phase() == Phase::Flow {
        let now = Instant::now();
        if due > now {
            std::thread::sleep((due - now).min(Duration::from_millis(50)));
            continue;
        }
        // What could not be published while the gateway was away is not made up for.
        due = (due + period).max(now);
        publisher.batch()?;
    }
    Ok(publisher.published)
}

struct Publisher<'a> {
    world: &'a World,
    settings: PublisherSettings,
    api: Client,
    /// Of each user, how many.
    devices: Vec<u32>,
    next: u64,
    published: Published,
}

impl Publisher<'_> {
    /// Publishes a batch and notes what became of it.
    fn batch(&mut self) -> anyhow::Result<()> {
        let mut batch: Vec<Publication> = (0..self.settings.batch).map(|_| self.compose()).collect();
        let pushes: Vec<serde_json::Value> = batch.iter().map(|publication| self.push(publication)).collect();
        let body = json!({ "pushes": pushes }).to_string();
        let mut unanswered = Vec::new();
        let start = Instant::now();
        let (answer, incarnation) = loop {
            let from = self.world.incarnation();
            self.world.asking.fetch_add(1, Ordering::SeqCst);
            let answer = self.attempt(&body);
            self.world.asking.fetch_sub(1, Ordering::SeqCst);
            match answer? {
                Some(answer) => break (answer, self.world.incarnation()),
                None => unanswered.push((from, self.world.incarnation())),
            }
            self.world.unanswered.fetch_add(1, Ordering::Relaxed);
            ensure!(
                self.world.phase() != Phase::Stop,
                "the run has ended with a batch that was not answered"
            );
            ensure!(start.elapsed() < PATIENCE, "a batch has not been answered for {PATIENCE:?}");
            std::thread::sleep(RETRY_DELAY);
        };
        ensure!(
            answer.results.len() == batch.len(),
            "{} results for {} pushes",
            answer.results.len(),
            batch.len()
        );
        for (publication, item) in batch.iter_mut().zip(answer.results) {
            publication.unanswered.clone_from(&unanswered);
            let in_state = |state| {
                let devices = item.devices.iter().filter(|answer| answer.state == state);
                devices.fold(0, |mask, answer| mask | 1u32.wrapping_shl(answer.device.wrapping_sub(1)))
            };
            (publication.confirmed, publication.stored) = (in_state("confirmed"), in_state("stored"));
            publication.outcome = self.outcome(item, incarnation)?;
        }
        self.published.publications.extend(batch);
        Ok(())
    }

    /// The next message: for a random user of this publisher, mostly for all of its devices.
    fn compose(&mut self) -> Publication {
        let PublisherSettings { index, count, .. } = self.settings;
        let number = self.next * u64::from(count) + u64::from(index);
        self.next += 1;
        let users = (self.world.audience.users - index).div_ceil(count);
        let user = fastrand::u32(0..users) * count + index;
        let devices = self.devices[user as usize];
        let asked = match fastrand::u32(0..SINGLE_DEVICE_ONE_IN) {
            0 => 1 << fastrand::u32(0..devices),
            _ => (1 << devices) - 1,
        };
        Publication {
            number,
            user,
            asked,
            confirmed: 0,
            stored: 0,
            unanswered: Vec::new(),
            outcome: Outcome::Refused,
        }
    }

    fn push(&self, publication: &Publication) -> serde_json::Value {
        let &Publication { number, user, asked, .. } = publication;
        let run = self.world.run;
        let content = Content { run, number, user, asked }.write(self.world.bytes);
        let mut push = json!({
            "user": self.world.user(user),
            "payload": {"data": STANDARD.encode(content)},
            "dedupId": format!("{run:016x}-{number}"),
        });
        if asked != (1 << self.devices[user as usize]) - 1 {
            push["device"] = (asked.trailing_zeros() + 1).into();
        }
        push
    }

    /// One attempt; nothing if it is not known what became of it.
    fn attempt(&self, body: &str) -> anyhow::Result<Option<Answer>> {
        let Ok(answer) = self.api.post("/v2/push/batch", body) else { return Ok(None) };
        let text = answer.body;
        match answer.status {
            200 => Ok(Some(serde_json::from_str(&text).with_context(|| format!("not an answer: {text}"))?)),
            // It may have been stored; the retry will tell.
            500..=599 | 429 => Ok(None),
            status => bail!("a batch was answered {status}: {text}"),
        }
    }

    fn outcome(&mut self, item: Item, incarnation: u32) -> anyhow::Result<Outcome> {
        let mut refuse = |code: String| {
            *self.published.refusals.entry(code).or_default() += 1;
            Ok(Outcome::Refused)
        };
        if let Some(error) = item.error {
            return refuse(error.code);
        }
        let id = item.message_id.context("a result has neither a messageId nor an error")?;
        ensure!(id.len() == 32, "`{id}` is not a message id");
        let id = u128::from_str_radix(&id, 16).with_context(|| format!("`{id}` is not a message id"))?;
        let (mut taken, mut failed) = (0, 0);
        for DeviceAnswer { device, state } in item.devices {
            ensure!((1..=u32::BITS).contains(&device), "device {device} does not exist");
            match state.as_str() {
                "confirmed" | "sent" | "stored" => taken |= 1 << (device - 1),
                "failed" => failed |= 1 << (device - 1),
                other => bail!("a device is said to be `{other}`"),
            }
        }
        if taken == 0 {
            return refuse("no_device_took_it".into());
        }
        self.world.accepted.fetch_add(1, Ordering::Relaxed);
        Ok(Outcome::Accepted { id, taken, failed, incarnation })
    }
}
