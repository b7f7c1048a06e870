//! Publishing at a steady rate over HTTP, on a thread of its own.
//!
//! The loop is open: when a message is due is fixed beforehand and stands in its payload. A publisher that becomes
//! free takes everything that has fallen due, so a gateway that stalls is sent the backlog when it answers again, and
//! the wait counts as latency (no coordinated omission).

mod answer;
mod body;
mod http;

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use campanile_engine::Time;
use hdrhistogram::Histogram;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::unix::AsyncFd;
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
/// The pacer looks at the clock no more often than this.
const TICK_MIN: Duration = Duration::from_micros(50);
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
    let shared = Shared {
        settings,
        schedule,
        progress,
        cursor: Cell::new(0),
        batch_pushes_max: batch_pushes_max(settings),
        ticks: Notify::new(),
        over: Cell::new(false),
        published: RefCell::new(Published {
            offered: 0,
            requests: 0,
            delivered: vec![0; schedule.messages() as usize],
            failures: Reasons::new(),
            failed_devices: Reasons::new(),
            latency: histogram(),
        }),
    };
    let shared = Rc::new(shared);
    runtime.block_on(async {
        let publishers = (0..settings.publishers).map(|_| publisher(&shared));
        let (paced, ()) = tokio::join!(pace(&shared), all(publishers));
        paced
    })?;
    let mut published = match Rc::try_unwrap(shared) {
        Ok(shared) => shared.published.into_inner(),
        Err(_) => return Err("a publisher has not ended".into()),
    };
    published.offered = match progress.stop.load(Ordering::Relaxed) {
        true => schedule.due_by(Time::monotonic()),
        false => schedule.messages(),
    };
    Ok(published)
}

struct Shared<'a> {
    settings: &'a PublishSettings,
    schedule: Schedule,
    progress: &'a PublishProgress,
    /// The next message that nobody has taken.
    cursor: Cell<u64>,
    batch_pushes_max: u64,
    /// Something is due.
    ticks: Notify,
    over: Cell<bool>,
    published: RefCell<Published>,
}

impl Shared<'_> {
    /// Takes messages that are due, as many as one request may have.
    fn take(&self) -> Range<u64> {
        let first = self.cursor.get();
        let due = self.schedule.due_by(Time::monotonic()).max(first);
        let end = due.min(first + self.batch_pushes_max);
        self.cursor.set(end);
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

/// Says when something is due. The timer is the kernel's: the runtime's own has a grain of a millisecond.
async fn pace(shared: &Shared<'_>) -> Result<(), String> {
    let refused = |error: std::io::Error| format!("no timer: {error}");
    let apart = shared.schedule.due(1).since(shared.schedule.due(0));
    let tick = match shared.batch_pushes_max {
        1 => apart.min(Duration::from_millis(100)),
        _ => shared.settings.batch,
    }
    .max(TICK_MIN);
    let interval = Timespec { tv_sec: tick.as_secs() as i64, tv_nsec: tick.subsec_nanos().into() };
    let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)
        .map_err(|error| refused(error.into()))?;
    let every_tick = Itimerspec { it_interval: interval, it_value: interval };
    timerfd_settime(&timer, TimerfdTimerFlags::empty(), &every_tick)
        .map_err(|error| refused(error.into()))?;
    let timer = AsyncFd::register(timer).map_err(|error| refused(error.into()))?;
    while shared.cursor.get() < shared.schedule.messages() && !shared.progress.stop.load(Ordering::Relaxed) {
        let mut ready = timer.readable().await.map_err(refused)?;
        let _ = ready.try_io(|timer| Ok(rustix::io::read(timer, &mut [0; 8])?));
        if shared.schedule.due_by(Time::monotonic()) > shared.cursor.get() {
            shared.ticks.notify_one();
        }
    }
    shared.over.set(true);
    // Whoever does not wait now looks before it waits.
    shared.ticks.notify_waiters();
    Ok(())
}

/// One connection: takes what is due, sends it, notes the answer.
async fn publisher(shared: &Shared<'_>) {
    let mut api = Api::new(&shared.settings.api, &shared.settings.api_key);
    let mut body = BodyWriter::new(shared.settings);
    loop {
        let stopped = shared.progress.stop.load(Ordering::Relaxed);
        let numbers = if stopped { 0..0 } else { shared.take() };
        if numbers.is_empty() {
            if stopped || shared.over.get() {
                return;
            }
            shared.ticks.notified().await;
            continue;
        }
        let count = numbers.end - numbers.start;
        let request = body.write(&shared.schedule, numbers.clone());
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
                let took = now.since(shared.schedule.due(number));
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
