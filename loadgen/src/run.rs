//! One run, from the ramp to the report: the control thread.

mod channels;
mod staged;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use campanile_engine::{Time, probe};
use hdrhistogram::Histogram;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;

use self::channels::Answers;
use self::staged::Ends;
use crate::credentials::Credentials;
use crate::fleet::FleetSettings;
use crate::fleet::control::Control;
use crate::ledger::Ledger;
use crate::measured::Measured;
use crate::options::{Options, Plan, Publishing};
use crate::process;
use crate::progress::{Progress, Totals};
use crate::publish::{
    GRACEFUL_STOP, Pace, PublishProgress, PublishSettings, Published, RegisterSettings, publish, register,
};
use crate::report::{Known, Moments, Report};
use crate::roster::Roster;
use crate::saturation::Watch;
use crate::shards::{self, Shards};
use crate::stats::histogram;

/// How often the control thread looks around.
const TICK: Duration = Duration::from_millis(20);
/// How long the next of what the gateway has taken may be on its way after the last answer.
const GRACE: Duration = Duration::from_secs(2);
/// How long the next message that waited may be on its way.
const REPLAY_PATIENCE: Duration = Duration::from_secs(20);
/// How long the gateway's side of the goodbyes is waited for.
const GOODBYE: Duration = Duration::from_secs(3);
/// From a request of the API to its answer.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(10);
/// How long tokens hold beyond the planned length of the run.
const TOKEN_MARGIN: Duration = Duration::from_secs(24 * 3_600);

/// What a run has found.
#[derive(Debug)]
pub struct Finished {
    /// The results.
    pub report: Report,
    /// Why the run did not go to its end, in words for the operator, if it did not.
    pub broken_off: Option<String>,
    /// What it has measured, for thresholds.
    pub measured: Measured,
    /// When each arrival was due and how long it took, in nanoseconds, if that was kept.
    pub samples: Vec<(u64, u64)>,
}

/// Does what the plan says. Blocks.
///
/// # Errors
/// In words for the operator: why it could not run. What went wrong with single devices or messages is in the
/// report.
pub fn run(plan: &Plan) -> Result<Finished, String> {
    let options = &plan.options;
    shards::pin(options.core)?;
    let kind = probe::choose_with_sources(options.driver)?;
    let connecting = if options.offline { 0 } else { options.connections };
    let count = shards::count(kind, connecting, options.shards, shards::descriptors_max())?;
    let api_key = options.api_key_file.as_deref().map(read_api_key).transpose()?;
    let settings = Arc::new(FleetSettings {
        audience: plan.audience,
        connecting,
        acks: options.acks(),
        reconnect: options.reconnect,
        session: options.session_seconds,
        samples: options.samples.is_some(),
        credentials: credentials(options, plan)?.with_grants(channels::grants(plan)),
        target: options.url.address,
        host: options.url.host.clone(),
        path: options.url.path.clone(),
        sources: if options.url.address.is_ipv4() { options.sources.0.clone() } else { Vec::new() },
        encoding: options.encoding,
        ramp_per_second: options.ramp_rate,
        stages: plan.staging.as_ref().map(|staging| staging.connections.clone()),
        goodbye: plan.staging.as_ref().map_or(GOODBYE, staged::goodbye),
        attempts_max: options.attempts_max.div_ceil(count) as usize,
        connect_timeout: options.connect_timeout,
        is_welcomed: !options.anonymous,
        roster: Roster::new(connecting),
        run: fastrand::u64(..),
        ledger: plan.pushes.as_ref().map(|pushes| Ledger::new(plan.audience, pushes.messages())),
        channels: channels::settings(plan),
    });
    let control = Arc::new(Control::default());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("the event loop cannot be set up: {error}"))?;
    // From here on a signal ends the run, and not the program.
    let mut interrupts = {
        let _entered = runtime.enter();
        Interrupts::new()?
    };
    let shards = Shards::start(kind, count, options.core, &settings, &control)?;
    let mut run = Run {
        plan,
        progress: Progress::new(options.connections, !options.quiet),
        settings,
        control,
        shards,
        moments: Moments::default(),
        watch: Watch::default(),
        published: Publications::default(),
        at_most: None,
        ends: None,
        interrupted: false,
        hurried: false,
    };
    let start = Time::monotonic();
    let result = runtime.block_on(run.phases(&api_key.unwrap_or_default(), &mut interrupts));
    let time = Time::monotonic().since(start);
    let totals = run.at_most.unwrap_or_else(|| Totals::of(&run.shards.stats));
    (run.moments.connected_at_end, run.moments.subscribed_at_end) = (totals.connected, totals.subscribed);
    run.control.close();
    run.shards.wake();
    run.shards.join()?;
    (run.moments.interrupted, run.moments.saturation) = (run.interrupted, run.watch.found());
    let stats = &run.shards.stats;
    let known = Known { ledger: run.settings.ledger.as_ref(), roster: &run.settings.roster };
    let answers = run.published.latency();
    let mut report = Report::new(plan, kind, stats, known, run.published, run.moments);
    let measured = Measured::of(&report, stats, answers, time);
    report.thresholds = plan.thresholds.iter().map(|threshold| threshold.check(&measured)).collect();
    Ok(Finished {
        report,
        broken_off: result.err(),
        measured,
        samples: stats.iter().flat_map(|stats| std::mem::take(&mut stats.details().samples)).collect(),
    })
}

struct Run<'a> {
    plan: &'a Plan,
    settings: Arc<FleetSettings>,
    control: Arc<Control>,
    shards: Shards,
    progress: Progress,
    moments: Moments,
    watch: Watch,
    published: Publications,
    /// What there was when the first devices were about to be let go, if that has come.
    at_most: Option<Totals>,
    /// When what has to end, if the run has stages.
    ends: Option<Ends>,
    interrupted: bool,
    /// A second signal: nothing is waited for any more.
    hurried: bool,
}

/// What has become of everything that was published.
#[derive(Default)]
pub struct Publications {
    /// To devices.
    pub pushes: Option<Published>,
    /// To channels.
    pub messages: Option<Published>,
}

impl Publications {
    /// From when messages were due to the answers of their requests.
    fn latency(&self) -> Option<Histogram<u64>> {
        let mut latency: Option<Histogram<u64>> = None;
        for published in self.pushes.iter().chain(&self.messages) {
            // All have the same bounds, so there is nothing that could fail.
            let _ = latency.get_or_insert_with(histogram).add(&published.latency);
        }
        latency
    }
}

/// What asks us to end early.
struct Interrupts([Signal; 3]);

impl Interrupts {
    fn new() -> Result<Interrupts, String> {
        let on = |kind| signal(kind).map_err(|error| format!("signals cannot be caught: {error}"));
        // Whose terminal goes wants the results all the more.
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let [interrupt, terminate, hangup] = kinds.map(on);
        Ok(Interrupts([interrupt?, terminate?, hangup?]))
    }

    /// Waits for a tick. Whether we are to end.
    async fn tick(&mut self) -> bool {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => true,
            _ = terminate.recv() => true,
            _ = hangup.recv() => true,
            () = sleep(TICK) => false,
        }
    }
}

impl Run<'_> {
    async fn phases(&mut self, api_key: &str, interrupts: &mut Interrupts) -> Result<(), String> {
        let plan = self.plan;
        if let Some(staging) = &plan.staging {
            return self.staged(staging, api_key, interrupts).await;
        }
        if self.plan.options.offline {
            self.register(api_key, interrupts).await?;
        } else {
            self.ramp(interrupts).await?;
        }
        if self.plan.channels.subscriptions.is_some() {
            self.subscribe(interrupts).await?;
        }
        if self.plan.options.until_caught_up {
            self.replay(interrupts).await?;
        }
        if self.plan.publishings().next().is_some() {
            self.wait("pause", self.plan.options.pause, interrupts).await?;
            if !self.interrupted {
                self.publish(Time::monotonic(), api_key, interrupts).await?;
            }
        }
        self.wait("hold", self.plan.hold, interrupts).await?;
        Ok(())
    }

    async fn wait(&mut self, phase: &str, time: Duration, interrupts: &mut Interrupts) -> Result<(), String> {
        self.wait_until(phase, Time::monotonic() + time, interrupts).await
    }

    async fn wait_until(
        &mut self,
        phase: &str,
        until: Time,
        interrupts: &mut Interrupts,
    ) -> Result<(), String> {
        while !self.interrupted && Time::monotonic() < until {
            self.tick(phase, None, interrupts).await?;
        }
        Ok(())
    }

    /// Until every device is registered.
    async fn register(&mut self, api_key: &str, interrupts: &mut Interrupts) -> Result<(), String> {
        let settings = RegisterSettings {
            api: self.plan.options.api.clone(),
            api_key: api_key.to_owned(),
            audience: self.plan.audience,
            user_prefix: self.plan.user_prefix.clone(),
            connections: self.plan.options.publishers,
            timeout: PUBLISH_TIMEOUT,
        };
        let thread = spawn("registrar", move || register(&settings))?;
        while !thread.is_finished() && !self.interrupted {
            self.tick("register", None, interrupts).await?;
        }
        if self.interrupted { Ok(()) } else { joined(thread) }
    }

    /// Until every device that has connected has been delivered what waited for it, or nothing more comes.
    async fn replay(&mut self, interrupts: &mut Interrupts) -> Result<(), String> {
        let (mut before, mut until) = (None, Time::monotonic() + REPLAY_PATIENCE);
        loop {
            let totals = Totals::of(&self.shards.stats);
            if totals.caught_up >= totals.opened || self.interrupted || Time::monotonic() >= until {
                return Ok(());
            }
            if before.replace(totals.delivered) != Some(totals.delivered) {
                until = Time::monotonic() + REPLAY_PATIENCE;
            }
            self.tick("replay", None, interrupts).await?;
        }
    }

    async fn tick(
        &mut self,
        phase: &str,
        published: Option<u64>,
        interrupts: &mut Interrupts,
    ) -> Result<(), String> {
        if interrupts.tick().await {
            self.hurried = self.interrupted;
            self.interrupted = true;
        }
        if self.shards.any_ended() {
            // The others would go on without the one that has failed.
            self.control.close();
            self.shards.wake();
            self.shards.join()?;
            return Err("a shard has ended".into());
        }
        self.progress.show(phase, &self.shards.stats, published);
        Ok(())
    }

    /// Until every device has connected or failed.
    async fn ramp(&mut self, interrupts: &mut Interrupts) -> Result<(), String> {
        let (start, cpu) = (Time::monotonic(), process::cpu());
        self.control.connect(start);
        self.shards.wake();
        loop {
            self.tick("ramp", None, interrupts).await?;
            let totals = Totals::of(&self.shards.stats);
            self.moments.ramp = Time::monotonic().since(start);
            self.moments.ramp_cpu = process::cpu().saturating_sub(cpu);
            self.moments.ramp_opened = totals.opened;
            let settled = self.settings.roster.devices_settled();
            if settled >= self.settings.connecting.into() || self.interrupted {
                return Ok(());
            }
        }
    }

    /// Publishes everything, and waits for what comes of it; `begin` is what the starts of publishers count from.
    async fn publish(
        &mut self,
        begin: Time,
        api_key: &str,
        interrupts: &mut Interrupts,
    ) -> Result<(), String> {
        let (start, cpu) = self.publishing_begins();
        let is_from_devices = self.plan.options.channels.is_from_devices();
        let mut publishers = Vec::new();
        for (to_channels, publishing) in [(false, &self.plan.pushes), (true, &self.plan.messages)] {
            if let Some(publishing) = publishing.clone().filter(|_| !(to_channels && is_from_devices)) {
                publishers.push(self.start_publisher(publishing, to_channels, begin, api_key)?);
            }
        }
        let from_devices = self.plan.messages.clone().filter(|_| is_from_devices);
        if let Some(publishing) = &from_devices {
            self.let_devices_publish(begin, publishing);
        }
        let mut answers = Answers::new(from_devices.map_or(0, |publishing| publishing.messages()));
        while publishers.iter().any(|publisher| !publisher.thread.is_finished())
            || self.await_answers(&mut answers)
        {
            let sent = publishers.iter().map(|publisher| publisher.progress.sent.value()).sum();
            self.tick("publish", Some(sent), interrupts).await?;
            self.watch_threads(publishers.iter().map(|publisher| publisher.progress.thread.value()));
            if self.interrupted || self.ends.is_some_and(|ends| Time::monotonic() >= ends.publishing) {
                publishers.iter().for_each(|one| one.progress.stop.store(true, Ordering::Relaxed));
            }
        }
        for publisher in publishers {
            let published = Some(joined(publisher.thread)?);
            if publisher.to_channels {
                self.published.messages = published;
            } else {
                self.published.pushes = published;
            }
        }
        if is_from_devices && self.plan.messages.is_some() {
            self.published.messages = Some(self.published_by_devices());
        }
        self.moments.publish = Time::monotonic().since(start);
        self.moments.publish_cpu = process::cpu().saturating_sub(cpu);
        self.begin_drain();
        self.drain(interrupts).await
    }

    /// Until everything that the gateway has taken has arrived, or nothing more comes.
    async fn drain(&mut self, interrupts: &mut Interrupts) -> Result<(), String> {
        let (ledger, roster) = (self.settings.ledger.as_ref(), &self.settings.roster);
        let expected =
            |(number, &reported)| ledger.map_or(0, |ledger| ledger.expected(number, reported, roster));
        let delivered = self.published.pushes.iter().flat_map(|published| (0..).zip(&published.delivered));
        let pushed: u64 = delivered.map(expected).sum();
        let positions =
            self.published.messages.as_ref().map_or(&[][..], |published| &published.positions[..]);
        let expected = pushed + channels::expected_frames(self.plan, roster, positions);
        self.moments.expected_frames = expected - pushed;
        let hard_end = self.ends.map_or(Time(u64::MAX), |ends| ends.waiting);
        let (mut before, mut until) = (0, Time::monotonic() + GRACE);
        // Who interrupts a run still wants to know whether what was under way has arrived.
        while !self.hurried && Time::monotonic() < until.min(hard_end) {
            let totals = Totals::of(&self.shards.stats);
            // What came twice does not stand for another.
            let frames = (totals.frames + totals.frames_late).saturating_sub(totals.duplicates);
            let received = totals.received + frames;
            if received >= expected {
                break;
            }
            if std::mem::replace(&mut before, received) != received {
                until = Time::monotonic() + GRACE;
            }
            self.tick("drain", None, interrupts).await?;
        }
        let totals = Totals::of(&self.shards.stats);
        self.moments.gone_when_drained = totals.ended + totals.left;
        Ok(())
    }

    /// Notes how busy those are who publish and receive.
    fn watch_threads(&mut self, publishers: impl Iterator<Item = u64>) {
        let shards = self.shards.stats.iter().map(|stats| stats.thread.value());
        self.watch.look(Time::monotonic(), shards.chain(publishers));
    }

    fn start_publisher(
        &self,
        publishing: Publishing,
        to_channels: bool,
        begin: Time,
        api_key: &str,
    ) -> Result<Publisher, String> {
        let (progress, core) = (Arc::new(PublishProgress::default()), self.plan.options.core);
        let settings = PublishSettings {
            targets: self.plan.channels.targets.clone().filter(|_| to_channels),
            ..self.publish_settings(&publishing, api_key)
        };
        let own_progress = Arc::clone(&progress);
        let thread = spawn("publishers", move || {
            shards::pin(core)?;
            let now = Time::monotonic();
            let planned = publishing.start.map_or(now, |start| begin + start);
            let start = planned.max(now);
            let messages_max = publishing.messages_max;
            // Devices that came late cost time in which nothing is published, and do not move the end.
            let duration = publishing.duration.saturating_sub(start.since(planned));
            let pace = match &publishing.rate {
                Some(rate) => Pace::Open(rate.schedule(start, duration).limited(messages_max)),
                None => Pace::Closed { until: start + publishing.duration, messages_max },
            };
            publish(&settings, pace, &own_progress)
        })?;
        Ok(Publisher { to_channels, thread, progress })
    }

    fn publish_settings(&self, publishing: &Publishing, api_key: &str) -> PublishSettings {
        let options = &self.plan.options;
        let graceful_stop = self.plan.staging.as_ref().map(|staging| staging.graceful_stop);
        PublishSettings {
            api: options.api.clone(),
            api_key: api_key.to_owned(),
            audience: self.plan.audience,
            user_prefix: self.plan.user_prefix.clone(),
            run: self.settings.run,
            payload_bytes: publishing.payload_bytes,
            batch: publishing.batch_time,
            batch_pushes_max: publishing.batch,
            single: publishing.single,
            durability: publishing.durability,
            publishers: publishing.connections,
            timeout: graceful_stop.map_or(PUBLISH_TIMEOUT, staged::publish_timeout),
            graceful_stop: graceful_stop.unwrap_or(GRACEFUL_STOP),
            targets: None,
        }
    }
}

/// Publishers of one kind, on their thread.
struct Publisher {
    to_channels: bool,
    thread: JoinHandle<Result<Published, String>>,
    progress: Arc<PublishProgress>,
}

fn spawn<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<JoinHandle<Result<T, String>>, String> {
    let thread = std::thread::Builder::new().name(name.into()).spawn(body);
    thread.map_err(|error| format!("a thread cannot be started: {error}"))
}

fn joined<T>(thread: JoinHandle<Result<T, String>>) -> Result<T, String> {
    thread.join().unwrap_or_else(|_| Err("the publishing thread has panicked".into()))
}

fn credentials(options: &Options, plan: &Plan) -> Result<Credentials, String> {
    match (&options.jwt_hs256_file, &options.tokens_file) {
        (Some(file), _) => {
            let publishing: Duration = plan.publishings().map(|publishing| publishing.duration).sum();
            let stages = plan
                .staging
                .as_ref()
                .map_or(Duration::ZERO, |staging| staging.start + staging.connections.length());
            let lifetime =
                [publishing, stages, TOKEN_MARGIN].into_iter().fold(plan.hold, Duration::saturating_add);
            Credentials::hs256(file, plan.user_prefix.clone(), lifetime)
        }
        (None, Some(file)) => Credentials::listed(file, options.connections),
        (None, None) => Ok(Credentials::None),
    }
}

fn read_api_key(file: &Path) -> Result<String, String> {
    let text =
        std::fs::read_to_string(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    let mut keys = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    keys.next()
        .filter(|key| key.bytes().all(|byte| byte.is_ascii_graphic()))
        .map(str::to_owned)
        .ok_or_else(|| format!("{}: there is no API key in it", file.display()))
}
