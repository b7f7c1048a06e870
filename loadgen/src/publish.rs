//! Publishing over HTTP, at a steady rate or as fast as the gateway answers, on a thread of its own.
//!
//! With a rate the loop is open: when a message is due is fixed beforehand and stands in its payload. A publisher that
//! becomes free takes everything that has fallen due, so a gateway that stalls is sent the backlog when it answers
//! again, and the wait counts as latency (no coordinated omission). Without one the loop is closed, and latency counts
//! from the request.

mod answer;
mod body;
mod http;
mod pace;
mod register;

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use campanile_engine::Time;
use hdrhistogram::Histogram;

use self::answer::{Answers, Taken};
use self::body::BodyWriter;
use self::http::{Api, ApiError};
pub use self::pace::Pace;
use self::pace::Pacer;
pub use self::register::{RegisterSettings, register};
use crate::audience::{Audience, To};
use crate::channels::Targets;
use crate::options::{Durability, Endpoint};
use crate::saturation;
use crate::stats::{Counter, Position, Reasons, histogram};

/// About how many bytes one request may have.
const BATCH_BYTES_MAX: usize = 1 << 20;
/// How long what has fallen due is still sent after the last message of an open loop fell due: as long as in k6.
pub const GRACEFUL_STOP: Duration = Duration::from_secs(30);
/// How long a publisher waits after a request that failed as a whole.
const RETRY_DELAY: Duration = Duration::from_millis(20);

/// What is published, and how.
pub struct PublishSettings {
    /// The API.
    pub api: Endpoint,
    /// The key to it.
    pub api_key: String,
    /// Whom messages are for.
    pub audience: Audience,
    /// What users' names begin with.
    pub user_prefix: String,
    /// Which run the payloads are of.
    pub run: u64,
    /// Size of each payload.
    pub payload_bytes: usize,
    /// Pushes that fall due within this time go into one request.
    pub batch: Duration,
    /// Most pushes of one request.
    pub batch_pushes_max: u32,
    /// One request for each push.
    pub single: bool,
    /// What is asked for; `None` for the gateway's default.
    pub durability: Option<Durability>,
    /// Connections, each with one request at a time.
    pub publishers: u32,
    /// From a request to its answer.
    pub timeout: Duration,
    /// How long what has fallen due is still begun after the last message was due.
    pub graceful_stop: Duration,
    /// The channels that messages go to; `None` if they go to the audience.
    pub targets: Option<Targets>,
}

/// What others may look at meanwhile.
#[derive(Debug, Default)]
pub struct PublishProgress {
    /// The number of the publishers' thread.
    pub thread: Counter,
    /// Messages that have been put into a request.
    pub sent: Counter,
    /// Messages that the gateway has accepted.
    pub accepted: Counter,
    /// Messages that it has not.
    pub failed: Counter,
    /// Set from outside: publish nothing more.
    pub stop: AtomicBool,
}

/// What became of the messages.
pub struct Published {
    /// Messages that fell due.
    pub offered: u64,
    /// Requests made.
    pub requests: u64,
    /// By message: for how many devices the gateway has taken it: sent, stored, or confirmed by them already. Empty if
    /// messages go to channels.
    pub delivered: Vec<u32>,
    /// By channel: what it has been sent. Empty if messages go to devices.
    pub positions: Vec<Position>,
    /// Devices by what the gateway says became of the message for them.
    pub states: Reasons,
    /// Why messages were not accepted.
    pub failures: Reasons,
    /// Devices that the gateway named as failed, by reason, in pushes accepted or not.
    pub failed_devices: Reasons,
    /// From when a message was due to the gateway's answer to its request.
    pub latency: Histogram<u64>,
}

/// Publishes at this pace and waits for the answers. Blocks; runs its own event loop.
///
/// # Errors
/// In words for the operator: the event loop cannot be set up.
pub fn publish(
    settings: &PublishSettings,
    pace: Pace,
    progress: &Arc<PublishProgress>,
) -> Result<Published, String> {
    progress.thread.raise(saturation::this_thread());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("the publisher cannot be set up: {error}"))?;
    let messages = pace.messages() as usize;
    let pacer = Pacer::new(pace, settings.graceful_stop);
    let shared = Shared {
        settings,
        progress,
        pacer: &pacer,
        batch_pushes_max: batch_pushes_max(settings),
        published: RefCell::new(Published {
            offered: 0,
            requests: 0,
            delivered: match settings.targets {
                Some(_) => Vec::new(),
                None => vec![0; messages],
            },
            positions: settings
                .targets
                .as_ref()
                .map_or(Vec::new(), |targets| vec![Position::default(); targets.names().channels() as usize]),
            states: Reasons::new(),
            failures: Reasons::new(),
            failed_devices: Reasons::new(),
            latency: histogram(),
        }),
    };
    let batch = (shared.batch_pushes_max > 1).then_some(settings.batch);
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("pacer".into())
            .spawn_scoped(scope, || pacer.run(batch, progress))
            .map_err(|error| format!("a thread cannot be started: {error}"))?;
        runtime.block_on(all((0..settings.publishers).map(|_| publisher(&shared))));
        Ok::<(), String>(())
    })?;
    let mut published = shared.published.into_inner();
    let is_stopped = progress.stop.load(Ordering::Relaxed);
    published.offered = pacer.offered(is_stopped);
    let not_begun = pacer.not_begun();
    if not_begun > 0 && !is_stopped {
        published.failures.insert("not_sent".into(), not_begun);
        progress.failed.add(not_begun);
    }
    Ok(published)
}

struct Shared<'a> {
    settings: &'a PublishSettings,
    progress: &'a PublishProgress,
    pacer: &'a Pacer,
    batch_pushes_max: u64,
    published: RefCell<Published>,
}

fn batch_pushes_max(settings: &PublishSettings) -> u64 {
    if settings.single || (settings.targets.is_none() && settings.audience.to == To::Broadcast) {
        return 1;
    }
    let push_bytes = settings.payload_bytes.div_ceil(3) * 4 + 128;
    (BATCH_BYTES_MAX / push_bytes).clamp(1, settings.batch_pushes_max as usize) as u64
}

async fn all(futures: impl Iterator<Item = impl Future<Output = ()>>) {
    let mut futures: Vec<_> = futures.map(Box::pin).collect();
    std::future::poll_fn(|context| {
        futures.retain_mut(|future| future.as_mut().poll(context).is_pending());
        if futures.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

/// One connection: takes what is due, sends it, notes the answer.
async fn publisher(shared: &Shared<'_>) {
    let mut api = Api::new(&shared.settings.api, &shared.settings.api_key);
    let mut body = BodyWriter::new(shared.settings);
    loop {
        // It hears of the end from here on, however late it is polled.
        let tick = shared.pacer.ticks.notified();
        let over = shared.pacer.is_over();
        let stopped = shared.progress.stop.load(Ordering::Relaxed);
        let numbers = if stopped { 0..0 } else { shared.pacer.take(shared.batch_pushes_max) };
        if numbers.is_empty() {
            if stopped || over {
                return;
            }
            tick.await;
            continue;
        }
        let count = numbers.end - numbers.start;
        let (taken, pace) = (Time::monotonic(), shared.pacer.pace());
        let due = |number| pace.due(number, taken);
        let request = body.write(due, numbers.clone());
        shared.progress.sent.add(count);
        shared.published.borrow_mut().requests += 1;
        let path = body.path(numbers.start);
        let answer = match tokio::time::timeout(shared.settings.timeout, api.post(&path, request)).await {
            Ok(answer) => answer,
            Err(_) => {
                api.disconnect();
                Err(ApiError::Broken("timed_out".into()))
            }
        };
        note(shared, numbers, due, &answer);
        if answer.is_err() {
            tokio::time::sleep(RETRY_DELAY).await;
        }
    }
}

/// Notes what became of messages `numbers`.
fn note(
    shared: &Shared<'_>,
    numbers: Range<u64>,
    due: impl Fn(u64) -> Time,
    answer: &Result<bytes::Bytes, ApiError>,
) {
    let published = &mut *shared.published.borrow_mut();
    let now = Time::monotonic();
    let answers = match answer {
        Ok(body) => Answers::parse(shared.settings, numbers.end - numbers.start, body),
        Err(error) => Err(error.reason()),
    };
    let answers = match answers {
        Ok(answers) => answers,
        Err(reason) => {
            let count = numbers.end - numbers.start;
            *published.failures.entry(reason).or_default() += count;
            return shared.progress.failed.add(count);
        }
    };
    for (number, outcome) in numbers.zip(answers.outcomes) {
        match outcome {
            Ok(taken) => {
                match (taken, &shared.settings.targets) {
                    (Taken::ByDevices(count), _) => published.delivered[number as usize] = count,
                    (Taken::ByChannel { epoch, offset }, Some(targets)) => {
                        published.positions[targets.channel_of(number) as usize].accepted(epoch, offset);
                    }
                    (Taken::ByChannel { .. }, None) => {}
                }
                let took = now.since(due(number));
                published.latency.saturating_record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
                shared.progress.accepted.add(1);
            }
            Err(reason) => {
                *published.failures.entry(reason).or_default() += 1;
                shared.progress.failed.add(1);
            }
        }
    }
    crate::stats::merge(&mut published.states, &answers.states.reasons());
    crate::stats::merge(&mut published.failed_devices, &answers.failed_devices);
}

#[cfg(test)]
mod tests;
