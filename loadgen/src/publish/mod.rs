//! Publishing at a steady rate over HTTP, on a thread of its own.
//!
//! The loop is open: when a message is due is fixed beforehand and stands in its payload. A publisher that becomes
//! free takes everything that has fallen due, so a gateway that stalls is sent the backlog when it answers again, and
//! the wait counts as latency (no coordinated omission).

mod answer;
mod body;
mod http;

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use campanile_engine::Time;
use hdrhistogram::Histogram;
use tokio::sync::Notify;

use self::answer::Answers;
use self::body::BodyWriter;
use self::http::{Api, ApiError};
use crate::audience::{Audience, To};
use crate::options::Endpoint;
use crate::schedule::Schedule;
use crate::stats::{Counter, Reasons, histogram};

/// Pushes in one request.
const BATCH_PUSHES_MAX: u64 = 500;
/// About how many bytes one request may have.
const BATCH_BYTES_MAX: usize = 1 << 20;
/// The pacer sleeps no shorter than this …
const TICK_MIN: Duration = Duration::from_micros(20);
/// … and looks so often whether it is over.
const STOP_CHECK: Duration = Duration::from_millis(50);
/// How long a publisher waits before it connects again.
const RECONNECT_DELAY: Duration = Duration::from_millis(20);

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
    /// One request for each push.
    pub single: bool,
    /// Connections, each with one request at a time.
    pub publishers: u32,
    /// From a request to its answer.
    pub timeout: Duration,
}

/// What others may look at meanwhile.
#[derive(Debug, Default)]
pub struct PublishProgress {
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
    /// By message: to how many devices the gateway says it was sent.
    pub delivered: Vec<u32>,
    /// Why messages were not accepted.
    pub failures: Reasons,
    /// Devices that the gateway named as failed, by reason, in pushes accepted or not.
    pub failed_devices: Reasons,
    /// From when a message was due to the gateway's answer to its request.
    pub latency: Histogram<u64>,
}

/// Publishes `schedule` and waits for the answers. Blocks; runs its own event loop.
///
/// # Errors
/// In words for the operator: the event loop cannot be set up.
pub fn publish(
    settings: &PublishSettings,
    schedule: Schedule,
    progress: &Arc<PublishProgress>,
) -> Result<Published, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("the publisher cannot be set up: {error}"))?;
    let pacer =
        Pacer { schedule, taken: AtomicU64::new(0), ticks: Notify::new(), over: AtomicBool::new(false) };
    let shared = Shared {
        settings,
        progress,
        pacer: &pacer,
        batch_pushes_max: batch_pushes_max(settings),
        published: RefCell::new(Published {
            offered: 0,
            requests: 0,
            delivered: vec![0; schedule.messages() as usize],
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
    published.offered = match progress.stop.load(Ordering::Relaxed) {
        true => schedule.due_by(Time::monotonic()),
        false => schedule.messages(),
    };
    Ok(published)
}

/// Says when something is due, from a thread of its own: the runtime's timers have a grain of a millisecond, and its
/// thread is busy.
struct Pacer {
    schedule: Schedule,
    /// Messages that publishers have taken.
    taken: AtomicU64,
    /// Something is due.
    ticks: Notify,
    /// There will be no more ticks.
    over: AtomicBool,
}

struct Shared<'a> {
    settings: &'a PublishSettings,
    progress: &'a PublishProgress,
    pacer: &'a Pacer,
    batch_pushes_max: u64,
    published: RefCell<Published>,
}

impl Pacer {
    /// Says what is due: together every `batch`, or each message by itself.
    fn run(&self, batch: Option<Duration>, progress: &PublishProgress) {
        let messages = self.schedule.messages();
        let mut at = batch.map_or(self.schedule.due(0), |batch| Time::monotonic() + batch);
        while self.taken.load(Ordering::Relaxed) < messages && !progress.stop.load(Ordering::Relaxed) {
            let wait = at.since(Time::monotonic());
            // In pieces, so that it hears of the end.
            std::thread::sleep(wait.clamp(TICK_MIN, STOP_CHECK));
            let now = Time::monotonic();
            if now < at {
                continue;
            }
            let due = self.schedule.due_by(now);
            if due > self.taken.load(Ordering::Relaxed) {
                self.ticks.notify_one();
            }
            // Ticks that have been missed are not made up for: one takes everything that is due.
            at = match batch {
                Some(batch) => (at + batch).max(now),
                None => self.schedule.due(due),
            };
        }
        self.over.store(true, Ordering::SeqCst);
        self.ticks.notify_waiters();
    }

    /// Takes messages that are due, at most `count`. Only the publishers' thread may call it.
    fn take(&self, count: u64) -> Range<u64> {
        let first = self.taken.load(Ordering::Relaxed);
        let due = self.schedule.due_by(Time::monotonic()).max(first);
        let end = due.min(first + count);
        self.taken.store(end, Ordering::Relaxed);
        if end < due {
            // More than one request takes: somebody else may begin at once.
            self.ticks.notify_one();
        }
        first..end
    }
}

fn batch_pushes_max(settings: &PublishSettings) -> u64 {
    if settings.single || settings.audience.to == To::Broadcast {
        return 1;
    }
    let push_bytes = settings.payload_bytes.div_ceil(3) * 4 + 128;
    (BATCH_BYTES_MAX / push_bytes).clamp(1, BATCH_PUSHES_MAX as usize) as u64
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
        let over = shared.pacer.over.load(Ordering::SeqCst);
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
        let request = body.write(&shared.pacer.schedule, numbers.clone());
        shared.progress.sent.add(count);
        shared.published.borrow_mut().requests += 1;
        let path = body.path();
        let answer = match tokio::time::timeout(shared.settings.timeout, api.post(path, request)).await {
            Ok(answer) => answer,
            Err(_) => {
                api.disconnect();
                Err(ApiError::Broken("timed_out".into()))
            }
        };
        note(shared, numbers, &answer);
        if let Err(ApiError::Broken(_)) = answer {
            tokio::time::sleep(RECONNECT_DELAY).await;
        }
    }
}

/// Notes what became of messages `numbers`.
fn note(shared: &Shared<'_>, numbers: Range<u64>, answer: &Result<bytes::Bytes, ApiError>) {
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
            Ok(delivered) => {
                published.delivered[number as usize] = delivered;
                let took = now.since(shared.pacer.schedule.due(number));
                published.latency.saturating_record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
                shared.progress.accepted.add(1);
            }
            Err(reason) => {
                *published.failures.entry(reason).or_default() += 1;
                shared.progress.failed.add(1);
            }
        }
    }
    crate::stats::merge(&mut published.failed_devices, &answers.failed_devices);
}

#[cfg(test)]
mod tests;
