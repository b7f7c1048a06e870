//! Publishes messages at a steady rate, over WebSocket connections or HTTP requests.
//!
//! When a message is due does not depend on what the server does, and its stamp says when it was due, not when it was
//! sent: what waits for a slow server is seen as latency. With several publishers each has a numbering of its own.

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use campanile_harness::http::Client;
use campanile_protocol::frame::{Opcode, encode_masked_frame};

use super::endpoint::{Endpoint, Scheme};
use crate::receiver::{CLOSE, Frames, Stamp, close_reason, now_nanos};

/// Stands for the message in a template.
const PAYLOAD: &str = "{payload}";
/// How long the server may take for the upgrade, for one request, or to take what is written.
const PATIENCE: Duration = Duration::from_secs(20);
/// Messages that are late go out together, up to so many.
const BATCH_MAX: u64 = 256;
/// For how long after the end of a step what is still due is published.
const OVERTIME: Duration = Duration::from_secs(5);

/// How messages get to the server.
#[derive(Clone, Debug)]
pub(super) struct Publishing {
    pub(super) endpoint: Endpoint,
    /// Further headers.
    pub(super) headers: Vec<(String, String)>,
    /// The frame or body; `{payload}` in it becomes the message.
    pub(super) template: String,
    /// Whether frames are binary.
    pub(super) binary: bool,
    pub(super) publishers: u8,
    pub(super) payload_bytes: usize,
}

/// What was published in one step.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Published {
    pub(super) messages: u64,
    /// Not taken by the server.
    pub(super) refused: u64,
    /// Why the first of them was not.
    pub(super) refusal: Option<String>,
    /// By how much a message left too late, at most.
    pub(super) late_max: Duration,
}

/// The connections of all publishers.
pub(super) struct Publishers {
    all: Vec<Publisher>,
}

struct Publisher {
    number: u8,
    next: u64,
    publishing: Publishing,
    channel: Channel,
}

enum Channel {
    Socket { stream: TcpStream, ended: Arc<Mutex<Option<String>>>, frames: Vec<u8> },
    Requests(Client),
}

/// How one message went.
enum Outcome {
    Taken,
    Refused(String),
}

impl Publishers {
    /// Connects all of them.
    pub(super) fn connect(publishing: &Publishing) -> anyhow::Result<Self> {
        let connect = |number| {
            let channel = match publishing.endpoint.scheme {
                Scheme::WebSocket => Channel::socket(publishing)?,
                Scheme::Http => Channel::requests(publishing),
            };
            Ok(Publisher { number, next: 0, publishing: publishing.clone(), channel })
        };
        Ok(Self { all: (0..publishing.publishers).map(connect).collect::<anyhow::Result<_>>()? })
    }

    /// One message of each publisher, at once.
    pub(super) fn publish_once(&mut self) -> anyhow::Result<()> {
        for publisher in &mut self.all {
            if let Outcome::Refused(why) = publisher.publish(now_nanos(), 1)? {
                bail!("the server refuses what is published: {why}");
            }
        }
        Ok(())
    }

    /// `rate` messages a second for `duration`, evenly spread, by all publishers in turn. Calls `meanwhile` until then.
    pub(super) fn publish(
        &mut self,
        rate: f64,
        duration: Duration,
        meanwhile: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<Published> {
        let share = self.all.len() as f64;
        std::thread::scope(|scope| {
            let start = Schedule::now();
            let threads: Vec<_> = self
                .all
                .iter_mut()
                .enumerate()
                .map(|(number, publisher)| {
                    let schedule =
                        Schedule { offset: number as f64 / rate, period: share / rate, duration, ..start };
                    scope.spawn(move || publisher.run(&schedule))
                })
                .collect();
            let watched = meanwhile();
            let mut sum = Published::default();
            for thread in threads {
                sum.add(thread.join().expect("publishing does not panic")?);
            }
            watched.map(|()| sum)
        })
    }
}

/// When one publisher's messages are due.
#[derive(Clone, Copy, Debug)]
struct Schedule {
    start: Instant,
    start_nanos: u64,
    /// Of the first message after the start, in seconds.
    offset: f64,
    /// Between two messages, in seconds.
    period: f64,
    duration: Duration,
}

impl Schedule {
    fn now() -> Self {
        let (start, start_nanos) = (Instant::now(), now_nanos());
        Self { start, start_nanos, offset: 0.0, period: 1.0, duration: Duration::ZERO }
    }

    /// How many messages there are in all.
    fn messages(&self) -> u64 {
        ((self.duration.as_secs_f64() - self.offset) / self.period).ceil().max(0.0) as u64
    }

    /// When message `index` is due, after the start.
    fn due(&self, index: u64) -> Duration {
        Duration::from_secs_f64(self.offset + index as f64 * self.period)
    }
}

impl Published {
    fn add(&mut self, other: Self) {
        self.messages += other.messages;
        self.refused += other.refused;
        self.refusal = self.refusal.take().or(other.refusal);
        self.late_max = self.late_max.max(other.late_max);
    }
}

impl Publisher {
    fn run(&mut self, schedule: &Schedule) -> anyhow::Result<Published> {
        let mut published = Published::default();
        let messages = schedule.messages();
        let mut index = 0;
        while index < messages {
            let due = schedule.due(index);
            std::thread::sleep(due.saturating_sub(schedule.start.elapsed()));
            let now = schedule.start.elapsed();
            published.late_max = published.late_max.max(now.saturating_sub(due));
            if now > schedule.duration + OVERTIME {
                published.refused += messages - index;
                published.refusal.get_or_insert("publishing took longer than the step".into());
                break;
            }
            let batch = (index + 1..messages).take_while(|&next| schedule.due(next) <= now).count() as u64;
            let batch = (batch + 1).min(if self.is_socket() { BATCH_MAX } else { 1 });
            for message in index..index + batch {
                let nanos = schedule.start_nanos + schedule.due(message).as_nanos() as u64;
                let left = index + batch - message;
                match self.publish(nanos, left)? {
                    Outcome::Taken => published.messages += 1,
                    Outcome::Refused(why) => {
                        published.refused += 1;
                        published.refusal.get_or_insert(why);
                    }
                }
            }
            index += batch;
        }
        Ok(published)
    }

    fn is_socket(&self) -> bool {
        matches!(self.channel, Channel::Socket { .. })
    }

    /// Sends a message; over a socket, with all before it once it is the last of the `left` that are due.
    fn publish(&mut self, due_nanos: u64, left: u64) -> anyhow::Result<Outcome> {
        let stamp = Stamp { publisher: self.number, sequence: self.next, nanos: due_nanos };
        let Publishing { template, payload_bytes, binary, .. } = &self.publishing;
        let message = template.replace(PAYLOAD, &stamp.payload(*payload_bytes));
        let outcome = match &mut self.channel {
            Channel::Socket { stream, ended, frames } => {
                let opcode = if *binary { Opcode::Binary } else { Opcode::Text };
                encode_masked_frame(opcode, message.as_bytes(), fastrand::u32(..).to_ne_bytes(), frames);
                if left <= 1 {
                    let written = stream.write_all(frames);
                    frames.clear();
                    written.map_err(|error| not_taken(&error, ended))?;
                }
                Outcome::Taken
            }
            Channel::Requests(server) => post(server, &self.publishing, &message)?,
        };
        if matches!(outcome, Outcome::Taken) {
            self.next += 1;
        }
        Ok(outcome)
    }
}

impl Channel {
    fn socket(publishing: &Publishing) -> anyhow::Result<Self> {
        let endpoint = &publishing.endpoint;
        let stream = TcpStream::connect_timeout(&endpoint.address.into(), PATIENCE)
            .with_context(|| format!("nothing listens at --publish-url {}", endpoint.address))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let uri = format!("ws://{}{}", endpoint.host, endpoint.path);
        let mut request = tungstenite::ClientRequestBuilder::new(uri.parse().context("--publish-url")?);
        for (name, value) in &publishing.headers {
            request = request.with_header(name, value);
        }
        let (socket, _) = tungstenite::client::client(request, stream).map_err(|error| {
            anyhow::anyhow!("the server refuses the publisher's upgrade at {uri}: {error}")
        })?;
        let stream = socket.into_inner();
        stream.set_read_timeout(None)?;
        let ended = Arc::new(Mutex::new(None));
        let (reading, why) = (stream.try_clone()?, Arc::clone(&ended));
        std::thread::spawn(move || discard(reading, &why));
        Ok(Self::Socket { stream, ended, frames: Vec::new() })
    }

    fn requests(publishing: &Publishing) -> Self {
        let endpoint = &publishing.endpoint;
        let server = Client::new(endpoint.address.into()).with_patience(PATIENCE);
        let server = server.with_field("Host", &endpoint.host);
        let fields = publishing.headers.iter();
        Self::Requests(fields.fold(server, |server, (name, value)| server.with_field(name, value)))
    }
}

/// Reads what the server says to a publisher until it ends, and notes why it did.
fn discard(mut stream: TcpStream, why: &Mutex<Option<String>>) {
    let (mut frames, mut buffer) = (Frames::default(), vec![0; 64 << 10]);
    let mut close = None;
    let end = loop {
        match std::io::Read::read(&mut stream, &mut buffer) {
            Ok(0) => break "without a close frame".into(),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => break error.to_string(),
            Ok(bytes) => {
                let on_frame = |frame: crate::receiver::Frame<'_>| {
                    if frame.opcode == CLOSE {
                        close = Some(close_reason(frame.payload));
                    }
                };
                if let Err(error) = frames.push(&buffer[..bytes], on_frame) {
                    break error.to_string();
                }
            }
        }
    };
    why.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(close.unwrap_or(end));
}

fn not_taken(error: &std::io::Error, ended: &Mutex<Option<String>>) -> anyhow::Error {
    let why = ended.lock().unwrap_or_else(PoisonError::into_inner);
    match (&*why, error.kind()) {
        (Some(why), _) => anyhow::anyhow!("the server has ended the publisher's connection: {why}"),
        (None, ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            anyhow::anyhow!("the server has read nothing from the publisher for {} s", PATIENCE.as_secs())
        }
        (None, _) => anyhow::anyhow!("the publisher's connection has broken: {error}"),
    }
}

fn post(server: &Client, publishing: &Publishing, body: &str) -> anyhow::Result<Outcome> {
    let path = &publishing.endpoint.path;
    let answer = server
        .post(path, body)
        .with_context(|| format!("cannot publish to http://{}{path}", publishing.endpoint.host))?;
    if (200..300).contains(&answer.status) {
        return Ok(Outcome::Taken);
    }
    Ok(Outcome::Refused(format!("{} {}", answer.status, answer.excerpt()).trim_end().into()))
}

impl Publishing {
    /// Checks what no server could be asked.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        ensure!(
            self.template.contains(PAYLOAD),
            "--template {}: needs {PAYLOAD} where the message belongs",
            self.template
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publishers_share_the_messages_of_a_step() {
        let (rate, duration) = (7.0, Duration::from_secs(3));
        for publishers in [1, 2, 5] {
            let mut all = Vec::new();
            for number in 0..publishers {
                let period = f64::from(publishers) / rate;
                let offset = f64::from(number) / rate;
                let schedule = Schedule { offset, period, duration, ..Schedule::now() };
                all.extend((0..schedule.messages()).map(|index| schedule.due(index)));
            }
            all.sort();
            assert_eq!(all.len(), 21, "{publishers} publishers: {all:?}");
            let gaps = all.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64());
            assert!(gaps.clone().all(|gap| (gap - 1.0 / 7.0).abs() < 1e-6), "{all:?}");
        }
    }
}
