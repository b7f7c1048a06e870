//! Sessions that are subscribed by their tokens from the beginning and never say anything.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail, ensure};
use campanile_core::tokens::{Grants, Pattern, Signer};
use campanile_protocol::ids::{ChannelName, DeviceId, UserId};

use super::publisher::Publisher;
use crate::gateway::Setup;
use crate::gateway::process::{Gateway, SECRET};
use crate::receiver::{Fleet, Opening, Plan, Sample};

/// Source addresses: 127.0.0.1 to 127.0.0.64. With few of them a port is hard to find while those of the last run wait
/// for their end (TIME-WAIT, RFC 9293 §3.3.2).
pub(super) const SOURCES: u8 = 64;
/// How long tokens hold.
const TOKEN_SECONDS: u64 = 86_400;
/// How long all may take until they are subscribed, or until a message has come to all.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often that is looked at.
const STEP: Duration = Duration::from_millis(100);

/// Who subscribes to what.
pub(super) struct Wanted<'a> {
    /// How many sessions.
    pub(super) sessions: u32,
    /// Of so many every frame is looked at.
    pub(super) sampled: u32,
    /// What subscriber `n` is subscribed to.
    pub(super) channels: &'a dyn Fn(u32) -> Vec<String>,
    /// The receiver leaves its core to others whenever they want it.
    pub(super) gives_way: bool,
}

/// The sessions' other end.
pub(super) struct Subscribers {
    fleet: Fleet,
    sampled: u32,
}

impl Subscribers {
    /// Connects all, and waits until they are subscribed.
    pub(super) fn connect(gateway: &Gateway, setup: &Setup, wanted: &Wanted<'_>) -> anyhow::Result<Self> {
        let tokens = (0..wanted.sessions).map(|number| token("S", number, &(wanted.channels)(number), &[]));
        let tokens = tokens.collect::<anyhow::Result<Vec<_>>>()?;
        let subscriptions: usize = (0..wanted.sessions).map(|number| (wanted.channels)(number).len()).sum();
        let SocketAddr::V4(target) = gateway.listen() else { bail!("the gateway listens on IPv4") };
        let headers = [("Authorization", "Bearer {token}"), ("Sec-WebSocket-Protocol", "campanile.v2")];
        let opening = Opening {
            host: target.to_string(),
            path: "/v2/connect".into(),
            headers: headers.map(|(name, value)| (name.into(), value.into())).into(),
            first_frame: None,
            tokens,
        };
        let plan = Plan {
            target,
            connections: wanted.sessions,
            first: 0,
            sources: SOURCES,
            core: setup.client_core(),
            opening: Some(opening),
            sampled: wanted.sampled,
            pong_seconds: 0,
        };
        let before = gateway.metric("campanile_subscriptions")?;
        let mut fleet = Fleet::start_as(std::slice::from_ref(&plan), wanted.gives_way)?;
        fleet.connect()?;
        let start = Instant::now();
        loop {
            let now = gateway.metric("campanile_subscriptions")? - before;
            if now == subscriptions as u64 {
                break;
            }
            ensure!(start.elapsed() < PATIENCE, "only {now} of {subscriptions} subscriptions");
            std::thread::sleep(STEP);
        }
        Ok(Self { fleet, sampled: wanted.sampled })
    }

    /// Publishes to `channel` until every sampled subscriber has got something, then forgets what was counted.
    pub(super) fn probe(&mut self, publisher: &mut Publisher, channel: &str) -> anyhow::Result<()> {
        let start = Instant::now();
        loop {
            publisher.publish(channel)?;
            std::thread::sleep(2 * STEP);
            let reached = self.sample()?.reached;
            if reached == self.sampled {
                break;
            }
            ensure!(start.elapsed() < PATIENCE, "only {reached} of {} subscribers are reached", self.sampled);
        }
        self.settle()
    }

    /// Waits until nothing comes any more, and forgets what was counted.
    pub(super) fn settle(&mut self) -> anyhow::Result<()> {
        while self.reset()?.bytes > 0 {
            std::thread::sleep(STEP);
        }
        Ok(())
    }

    /// Waits until the sampled ones together have got `messages` since the last reset, looking every `step`.
    pub(super) fn wait_for(&mut self, messages: u64, step: Duration) -> anyhow::Result<Sample> {
        let start = Instant::now();
        loop {
            let sample = self.sample()?;
            if sample.sampled_messages >= messages {
                return Ok(sample);
            }
            let came = sample.sampled_messages;
            ensure!(start.elapsed() < PATIENCE, "{came} of {messages} messages came to sampled subscribers");
            std::thread::sleep(step);
        }
    }

    /// Of how many every frame is looked at.
    pub(super) fn sampled(&self) -> u32 {
        self.sampled
    }

    /// What came since the last reset.
    pub(super) fn sample(&mut self) -> anyhow::Result<Sample> {
        ensure_open(self.fleet.sample()?)
    }

    /// Forgets what was counted.
    pub(super) fn reset(&mut self) -> anyhow::Result<Sample> {
        ensure_open(self.fleet.reset()?)
    }

    pub(super) fn stop(self) -> anyhow::Result<()> {
        self.fleet.stop()
    }
}

fn ensure_open(sample: Sample) -> anyhow::Result<Sample> {
    let why = sample.closed_why.as_deref().unwrap_or("not known, since only bytes were counted");
    ensure!(sample.closed == 0, "{} subscribers were disconnected: {why}", sample.closed);
    Ok(sample)
}

/// The token of a user `prefix` `number` that may subscribe everywhere, and is subscribed and may publish as given.
pub(super) fn token(
    prefix: &str,
    number: u32,
    subscribe: &[String],
    publish: &[&str],
) -> anyhow::Result<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let pattern = |text: &str| Pattern::parse(text).with_context(|| format!("{text:?} is no pattern"));
    let grants = Grants {
        channels: vec![pattern("*")?],
        publish: publish.iter().map(|text| pattern(text)).collect::<anyhow::Result<_>>()?,
        subscribe: subscribe
            .iter()
            .map(|name| Ok(ChannelName::try_from(name.as_str())?))
            .collect::<anyhow::Result<_>>()?,
    };
    let (user, device) = (UserId::try_from(format!("{prefix}{number}").as_str())?, DeviceId::try_from(1)?);
    Ok(Signer::hs256(SECRET.as_bytes())?.sign_with(&user, device, now, now + TOKEN_SECONDS, &grants))
}
