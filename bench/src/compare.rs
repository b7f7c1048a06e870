//! `bench compare`: any WebSocket server that broadcasts, under more and more load, until it no longer keeps up.
//!
//! The server is one process (and what it starts), kept on one core; [`crate::receiver`] is all subscribers, on
//! another. A step publishes at one rate and waits until everything has come. What a step says:
//! - latency is from when a message was due until a sampled subscriber had read it;
//! - delivered is what came while there was publishing, of all subscribers, by the bytes that they got;
//! - lost is what the sampled subscribers did not get, message by message; undelivered is what all of them did not
//!   get, by bytes.

mod endpoint;
mod options;
mod publisher;
mod ramp;
mod series;
mod server;

use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use campanile_harness::Usage;
use campanile_harness::usage::{OtherLoad, own_cpu};

pub(crate) use options::Compare;
use publisher::{Published, Publishers};
pub(crate) use series::{Series, Step};
use server::Server;

use crate::receiver::{Fleet, Sample};
use crate::report::{Findings, note};

/// How long the first message may take to reach every sampled subscriber, and how often it is published anew.
const PROBE_PATIENCE: Duration = Duration::from_secs(10);
const PROBE_STEP: Duration = Duration::from_millis(200);
/// How long what was published may take to arrive after a step, in all, and with nothing coming at all.
const DRAIN_PATIENCE: Duration = Duration::from_secs(30);
const DRAIN_SILENCE: Duration = Duration::from_secs(2);
const DRAIN_STEP: Duration = Duration::from_millis(20);
/// Between two steps, and before memory is looked at.
const PAUSE: Duration = Duration::from_millis(500);
/// From here on a receiver's core is full.
const FULL_CORE_PERCENT: f64 = 95.0;

/// The server, its subscribers and its publishers.
struct Run<'a> {
    options: &'a Compare,
    server: Option<Server>,
    fleet: Fleet,
    publishers: Publishers,
    sampled: u32,
}

impl Compare {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        self.output.measure(|| self.once())
    }

    fn once(&self) -> anyhow::Result<Findings> {
        let options = self.clone().with_port()?;
        let (plan, publishing) = (options.plan()?, options.publishing()?);
        let server = options.start_server(plan.target)?;
        if let Some(core) = options.client_core() {
            campanile_harness::process::pin(core)?;
        }
        let mut report = Findings::new();
        report.add("subscribers", options.subscribers.into());
        report.add("payload_bytes", options.bytes as f64);
        let before = usage(server.as_ref())?;
        let mut fleet = Fleet::start(std::slice::from_ref(&plan))?;
        let start = Instant::now();
        fleet.connect()?;
        report.add("connect_seconds", start.elapsed().as_secs_f64());
        let publishers = Publishers::connect(&publishing)?;
        let mut run = Run { options: &options, server, fleet, publishers, sampled: plan.sampled };
        run.probe()?;
        std::thread::sleep(PAUSE);
        if let (Some(before), Some(after)) = (before, usage(run.server.as_ref())?) {
            let grown = after.resident_bytes as f64 - before.resident_bytes as f64;
            report.add("server_memory_per_subscriber_bytes", grown / f64::from(options.subscribers));
        }
        let series = run.steps()?;
        run.fleet.stop()?;
        add_summary(&mut report, &series, options.p95_max_ms);
        report.set_series(series);
        report.leaves_out("of most subscribers only bytes are counted; every frame of a few is looked at");
        Ok(report)
    }

    fn start_server(&self, address: std::net::SocketAddrV4) -> anyhow::Result<Option<Server>> {
        match (&self.server, self.server_pid) {
            (Some(command), _) => Server::start(command, self.server_core(), address).map(Some),
            (None, Some(pid)) => Server::running(pid).map(Some),
            (None, None) => Ok(None),
        }
    }
}

fn usage(server: Option<&Server>) -> anyhow::Result<Option<Usage>> {
    server.map(Server::usage).transpose()
}

impl Run<'_> {
    /// Publishes until every sampled subscriber has got something, so that no step begins before all are subscribed.
    fn probe(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + PROBE_PATIENCE;
        loop {
            self.publishers.publish_once()?;
            std::thread::sleep(PROBE_STEP);
            let sample = self.fleet.sample()?;
            ensure_open(&sample)?;
            if sample.reached == self.sampled {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(self.nothing_came(&sample));
            }
        }
    }

    fn nothing_came(&self, sample: &Sample) -> anyhow::Error {
        let seconds = PROBE_PATIENCE.as_secs();
        match (&sample.unstamped, sample.reached) {
            (None, 0) => anyhow::anyhow!(
                "nothing of what was published came to any subscriber within {seconds} s: is --publish-url right, \
                 and do subscribers need a --first-frame?"
            ),
            (Some(first), 0) => anyhow::anyhow!(
                "the server sends frames, and in none is what was published (within {seconds} s): does it encode or \
                 cut messages, or is --template or --first-frame wrong? The first frame began: {first}"
            ),
            (_, reached) => anyhow::anyhow!(
                "only {reached} of {} sampled subscribers got what was published within {seconds} s",
                self.sampled
            ),
        }
    }

    fn steps(&mut self) -> anyhow::Result<Series> {
        let mut ramp = self.options.ramp();
        let mut series = Series {
            name: self.options.name.clone(),
            subscribers: self.options.subscribers,
            payload_bytes: self.options.bytes,
            steps: Vec::new(),
        };
        let mut last = None;
        while let Some(rate) = ramp.next(last) {
            std::thread::sleep(PAUSE);
            let (step, drained) = self.step(rate)?;
            last = Some((rate, step.is_sustained(self.options.p95_max_ms)));
            series.steps.push(step);
            if !drained {
                note(format_args!(
                    "not everything came within {} s: no more steps",
                    DRAIN_PATIENCE.as_secs()
                ));
                break;
            }
        }
        Ok(series)
    }

    /// One load. Also says whether the server is done with it.
    fn step(&mut self, rate: f64) -> anyhow::Result<(Step, bool)> {
        let before = self.fleet.reset()?;
        let used_before = usage(self.server.as_ref())?;
        let (others, start) = (OtherLoad::watch()?, Instant::now());
        let (own_before, duration) = (own_cpu(), self.options.seconds);
        let quiet = self.options.quiet;
        let (fleet, publishers) = (&mut self.fleet, &mut self.publishers);
        let mut at_end = None;
        let published = publishers.publish(rate, duration, || {
            watch(fleet, rate, start, duration, quiet)?;
            at_end = Some((start.elapsed(), fleet.sample()?));
            Ok(())
        })?;
        let Some((published_in, at_end)) = at_end else { bail!("a step ended before it was over") };
        let (after, drained) = self.drain(&published)?;
        let wall = start.elapsed().as_secs_f64();
        let used_after = usage(self.server.as_ref())?;
        let clients = after.cpu_seconds - before.cpu_seconds;
        let server = used_before.zip(used_after);
        let server_cpu = server.map(|(before, after)| after.cpu_seconds - before.cpu_seconds);
        let latency = after.latency_msec(&[0.5, 0.95, 0.99, 1.0]);
        let known = |index: usize| latency.get(index).copied().filter(|msec: &f64| msec.is_finite());
        let sampled_frames = published.messages * u64::from(self.sampled);
        let step = Step {
            offered_messages_per_second: rate,
            offered_frames_per_second: rate * f64::from(self.options.subscribers),
            published_messages: published.messages,
            refused_messages: published.refused,
            delivered_frames_per_second: at_end.messages() / published_in.as_secs_f64(),
            p50_msec: known(0),
            p95_msec: known(1),
            p99_msec: known(2),
            max_msec: known(3),
            lost_frames: sampled_frames.saturating_sub(after.sampled_messages),
            sampled_frames,
            undelivered_percent: undelivered_percent(&published, self.options.subscribers, &after),
            out_of_order_frames: after.out_of_order,
            frame_bytes: after.sampled_bytes as f64 / after.sampled_messages.max(1) as f64,
            server_cpu_usec_per_frame: server_cpu.map(|cpu| cpu * 1e6 / after.messages().max(1.0)),
            server_core_percent: server_cpu.map(|cpu| cpu / wall * 100.0),
            server_resident_bytes: used_after.map(|usage| usage.resident_bytes),
            receiver_core_percent: (at_end.cpu_seconds - before.cpu_seconds) / published_in.as_secs_f64()
                * 100.0,
            publisher_late_max_msec: published.late_max.as_secs_f64() * 1e3,
            other_load_core_percent: others.core_percent(clients + server_cpu.unwrap_or(0.0))?,
        };
        self.warn(&step, &published, own_cpu() - own_before);
        Ok((step, drained))
    }

    /// Waits until all that was published has come to the sampled subscribers, or nothing comes any more. Says
    /// whether there is nothing left to come.
    fn drain(&mut self, published: &Published) -> anyhow::Result<(Sample, bool)> {
        let expected = published.messages * u64::from(self.sampled);
        let (start, mut last_progress, mut last_bytes) = (Instant::now(), Instant::now(), 0);
        loop {
            let sample = self.fleet.sample()?;
            ensure_open(&sample)?;
            if sample.bytes > last_bytes {
                (last_bytes, last_progress) = (sample.bytes, Instant::now());
            }
            // The others may still be on their way when the sampled ones are complete.
            let complete = sample.sampled_messages >= expected && last_progress.elapsed() >= 2 * DRAIN_STEP;
            if complete || last_progress.elapsed() >= DRAIN_SILENCE {
                return Ok((sample, true));
            }
            if start.elapsed() >= DRAIN_PATIENCE {
                return Ok((sample, false));
            }
            std::thread::sleep(DRAIN_STEP);
        }
    }

    fn warn(&self, step: &Step, published: &Published, own: Duration) {
        if step.receiver_core_percent + own.as_secs_f64() / self.options.seconds.as_secs_f64() * 100.0
            > FULL_CORE_PERCENT
        {
            note("the client's core is full: these figures are its limit, not the server's");
        }
        if let Some(why) = &published.refusal {
            note(format_args!("{} messages were not published: {why}", published.refused));
        }
    }
}

/// What is missing of all frames to all subscribers.
fn undelivered_percent(published: &Published, subscribers: u32, received: &Sample) -> f64 {
    let expected = published.messages as f64 * f64::from(subscribers);
    ((expected - received.messages()) / expected.max(1.0)).max(0.0) * 100.0
}

/// Shows once a second what is happening, until `duration` has passed.
fn watch(
    fleet: &mut Fleet,
    rate: f64,
    start: Instant,
    duration: Duration,
    quiet: bool,
) -> anyhow::Result<()> {
    let mut last = 0.0;
    for second in 1.. {
        let until = Duration::from_secs(second).min(duration);
        std::thread::sleep(until.saturating_sub(start.elapsed()));
        if until == duration {
            return Ok(());
        }
        if !quiet {
            let sample = fleet.sample()?;
            ensure_open(&sample)?;
            let messages = sample.messages();
            let p95 = sample.latency_msec(&[0.95])[0];
            let frames = messages - last;
            note(format_args!("{rate:.1} messages/s, {second} s: {frames:.0} frames/s, p95 {p95:.2} ms"));
            last = messages;
        }
    }
    Ok(())
}

fn ensure_open(sample: &Sample) -> anyhow::Result<()> {
    let why = sample.closed_why.as_deref().unwrap_or("it is not known why, since only bytes were counted");
    ensure!(
        sample.closed == 0,
        "the server has ended the connections of {} subscribers: {why}",
        sample.closed
    );
    Ok(())
}

/// The figures that are asked for most.
fn add_summary(report: &mut Findings, series: &Series, p95_msec_max: f64) {
    if let Some(usec) = series.steps.first().and_then(|step| step.server_cpu_usec_per_frame) {
        report.add("first_step_server_cpu_usec_per_frame", usec);
    }
    report.add("p95_max_msec", p95_msec_max);
    let best = series.best(p95_msec_max);
    let figure = |of: fn(&Step) -> Option<f64>| best.and_then(of);
    let figures = [
        ("best_messages_per_second", figure(|step| Some(step.offered_messages_per_second))),
        ("best_delivered_frames_per_second", figure(|step| Some(step.delivered_frames_per_second))),
        ("best_p95_msec", figure(|step| step.p95_msec)),
        ("best_server_cpu_usec_per_frame", figure(|step| step.server_cpu_usec_per_frame)),
        ("best_receiver_core_percent", figure(|step| Some(step.receiver_core_percent))),
    ];
    for (name, value) in figures {
        if let Some(value) = value {
            report.add(name, value);
        }
    }
}
