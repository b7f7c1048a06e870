//! One run, from the ramp to the report: the control thread.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use campanile_engine::{Time, probe};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;

use crate::credentials::Credentials;
use crate::fleet::FleetSettings;
use crate::fleet::control::Control;
use crate::ledger::Ledger;
use crate::options::{Options, Plan, Publishing};
use crate::process;
use crate::progress::{Progress, Totals};
use crate::publish::{PublishProgress, PublishSettings, Published, publish};
use crate::report::{Moments, Report};
use crate::schedule::Schedule;
use crate::shards::{self, Shards};

/// How often the control thread looks around.
const TICK: Duration = Duration::from_millis(20);
/// How long what the gateway has sent may be on its way after the last answer.
const GRACE: Duration = Duration::from_secs(2);
/// From a request of the API to its answer.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(10);
/// How long tokens hold beyond the planned length of the run.
const TOKEN_MARGIN: Duration = Duration::from_secs(24 * 3_600);

/// Does what the plan says. Blocks.
///
/// # Errors
/// In words for the operator: why it could not run. What went wrong with single devices or messages is in the
/// report.
pub fn run(plan: &Plan) -> Result<Report, String> {
    let options = &plan.options;
    shards::pin(options.core)?;
    let kind = probe::choose_with_sources(options.driver)?;
    let count = shards::count(kind, options.connections, options.shards, shards::descriptors_max())?;
    let messages = plan.publishing.map(|publishing| publishing.messages());
    let api_key = options.api_key_file.as_deref().map(read_api_key).transpose()?;
    let settings = Arc::new(FleetSettings {
        audience: plan.audience,
        credentials: credentials(options, plan)?,
        target: plan.target.address,
        host: plan.target.host.clone(),
        path: plan.target.path.clone(),
        sources: if plan.target.address.is_ipv4() { options.sources.0.clone() } else { Vec::new() },
        encoding: options.encoding,
        ramp_per_second: options.ramp_rate,
        attempts_max: options.attempts_max.div_ceil(count) as usize,
        connect_timeout: Duration::from_secs_f64(options.connect_timeout),
        run: fastrand::u64(..),
        ledger: messages.map(|messages| Ledger::new(plan.audience, messages)),
    });
    let control = Arc::new(Control::default());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("the event loop cannot be set up: {error}"))?;
    let shards = Shards::start(kind, count, options.core, &settings, &control)?;
    let mut run = Run {
        plan,
        progress: Progress::new(options.connections, !options.quiet),
        settings,
        control,
        shards,
        moments: Moments::default(),
        published: None,
        interrupted: false,
    };
    let result = runtime.block_on(run.phases(api_key.unwrap_or_default()));
    run.moments.connected_at_end = Totals::of(&run.shards.stats).connected;
    run.control.close();
    run.shards.wake();
    let joined = run.shards.join();
    result.and(joined)?;
    Ok(Report::new(plan, kind, &run.shards.stats, run.settings.ledger.as_ref(), run.published, run.moments))
}

struct Run<'a> {
    plan: &'a Plan,
    settings: Arc<FleetSettings>,
    control: Arc<Control>,
    shards: Shards,
    progress: Progress,
    moments: Moments,
    published: Option<Published>,
    interrupted: bool,
}

/// What asks us to end early.
struct Interrupts([Signal; 2]);

impl Interrupts {
    fn new() -> Result<Interrupts, String> {
        let on = |kind| signal(kind).map_err(|error| format!("signals cannot be caught: {error}"));
        Ok(Interrupts([on(SignalKind::interrupt())?, on(SignalKind::terminate())?]))
    }

    /// Waits for a tick. Whether we are to end.
    async fn tick(&mut self) -> bool {
        let [interrupt, terminate] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => true,
            _ = terminate.recv() => true,
            () = sleep(TICK) => false,
        }
    }
}

impl Run<'_> {
    async fn phases(&mut self, api_key: String) -> Result<(), String> {
        let mut interrupts = Interrupts::new()?;
        self.ramp(&mut interrupts).await?;
        if let Some(publishing) = self.plan.publishing
            && !self.interrupted
        {
            self.publish(publishing, api_key, &mut interrupts).await?;
        }
        let until = Time::monotonic() + self.plan.hold;
        while !self.interrupted && Time::monotonic() < until {
            self.tick("hold", None, &mut interrupts).await?;
        }
        self.moments.interrupted = self.interrupted;
        Ok(())
    }

    async fn tick(
        &mut self,
        phase: &str,
        publishing: Option<&PublishProgress>,
        interrupts: &mut Interrupts,
    ) -> Result<(), String> {
        self.interrupted |= interrupts.tick().await;
        if self.shards.any_ended() {
            self.shards.join()?;
            return Err("a shard has ended".into());
        }
        self.progress.show(phase, &self.shards.stats, publishing);
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
            if totals.opened + totals.failed >= self.plan.options.connections.into() || self.interrupted {
                return Ok(());
            }
        }
    }

    async fn publish(
        &mut self,
        publishing: Publishing,
        api_key: String,
        interrupts: &mut Interrupts,
    ) -> Result<(), String> {
        let (start, cpu) = (Time::monotonic(), process::cpu());
        let progress = Arc::new(PublishProgress::default());
        let publisher = self.start_publisher(publishing, api_key, &progress)?;
        while !publisher.is_finished() {
            self.tick("publish", Some(&progress), interrupts).await?;
            if self.interrupted {
                progress.stop.store(true, Ordering::Relaxed);
            }
        }
        let published =
            publisher.join().unwrap_or_else(|_| Err("the publishing thread has panicked".into()))?;
        self.moments.publish = Time::monotonic().since(start);
        self.moments.publish_cpu = process::cpu().saturating_sub(cpu);
        let reported: u64 = published.delivered.iter().copied().map(u64::from).sum();
        let until = Time::monotonic() + GRACE;
        while Totals::of(&self.shards.stats).received < reported && Time::monotonic() < until {
            self.tick("drain", Some(&progress), interrupts).await?;
        }
        self.published = Some(published);
        Ok(())
    }

    fn start_publisher(
        &self,
        publishing: Publishing,
        api_key: String,
        progress: &Arc<PublishProgress>,
    ) -> Result<JoinHandle<Result<Published, String>>, String> {
        let options = &self.plan.options;
        let settings = PublishSettings {
            api: self.plan.api.clone(),
            api_key,
            audience: self.plan.audience,
            user_prefix: options.user_prefix.clone(),
            run: self.settings.run,
            payload_bytes: options.payload_bytes,
            batch: Duration::from_secs_f64(options.batch_ms / 1_000.0),
            single: options.single,
            publishers: options.publishers,
            timeout: PUBLISH_TIMEOUT,
        };
        let (progress, core) = (Arc::clone(progress), options.core);
        let body = move || {
            shards::pin(core)?;
            let schedule = Schedule::new(Time::monotonic(), publishing.per_second, publishing.duration);
            publish(&settings, schedule, &progress)
        };
        std::thread::Builder::new()
            .name("publishers".into())
            .spawn(body)
            .map_err(|error| format!("a thread cannot be started: {error}"))
    }
}

fn credentials(options: &Options, plan: &Plan) -> Result<Credentials, String> {
    match (&options.jwt_hs256_file, &options.tokens_file) {
        (Some(file), _) => {
            let publishing = plan.publishing.map_or(Duration::ZERO, |publishing| publishing.duration);
            let lifetime = plan.hold.saturating_add(publishing).saturating_add(TOKEN_MARGIN);
            Credentials::hs256(file, options.user_prefix.clone(), lifetime)
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
