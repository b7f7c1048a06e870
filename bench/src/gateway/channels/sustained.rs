//! As many messages a second to all subscribers of a channel as they get in time.

use std::time::Duration;

use anyhow::Context;
use campanile_harness::{Launch, programs};
use clap::Args;

use super::subscribers::{SOURCES, token};
use super::{ChannelSetup, Counted, QUIET};
use crate::compare::{Series, Step};
use crate::gateway::floor;
use crate::gateway::process::Gateway;
use crate::report::{Asked, Figures, Findings, Record};

/// `bench compare` against the gateway, then once more at the best rate to see how many bytes went out with each send,
/// then the floor with sends of as many bytes.
#[derive(Args, Debug)]
pub(crate) struct Sustained {
    /// Subscribers
    #[arg(long, default_value_t = 10_000)]
    subscribers: u32,
    /// Messages a second to begin with; twice as many each step until they come too late
    #[arg(long, default_value_t = 100.0)]
    first_rate: f64,
    /// Steps between the last load that was kept up with and the first that was not
    #[arg(long, default_value_t = 4)]
    refine: u32,
    /// Seconds of each step
    #[arg(long, default_value_t = 5)]
    seconds: u32,
    /// Latency that 95 % of the messages must not exceed, in milliseconds
    #[arg(long, default_value_t = 250.0)]
    p95_max_ms: f64,
    /// Frames per second that are asked for; 0 if nothing is
    #[arg(long, default_value_t = 8_000_000.0)]
    asked: f64,
    #[command(flatten)]
    channel: ChannelSetup,
}

/// One client publishes all messages.
const FAST_CLIENT: [&str; 3] =
    [QUIET[0], "limits.frames_per_second_max = 10000", "channels.default.publishes_per_second_max = 10000"];
/// How long a comparison may take.
const PATIENCE: Duration = Duration::from_secs(1_200);
/// Lower rates that are tried at the most after the one that a search has found.
const CONFIRMATIONS_MAX: u32 = 4;
const CONFIRMATION_STEP: f64 = 0.9;
/// Rounds of the floor.
const FLOOR_ROUNDS: u32 = 15;

impl Sustained {
    pub(in crate::gateway) fn run(self) -> anyhow::Result<()> {
        self.channel.pin()?;
        // The best rate is looked for once; every repetition measures at it.
        let mut found = None;
        self.channel.output().measure(|| self.once(&mut found))
    }

    /// Looks for the best rate that the gateway keeps up with. If there is none, the highest that it delivers is what
    /// can be said.
    fn search(&self, gateway: &Gateway) -> anyhow::Result<(f64, Series)> {
        let search = [("--first-rate", self.first_rate.to_string()), ("--refine", self.refine.to_string())];
        let mut series = self.compare(gateway, &search)?;
        let delivered =
            |a: &&Step, b: &&Step| a.delivered_frames_per_second.total_cmp(&b.delivered_frames_per_second);
        let best = series.best(self.p95_max_ms).or_else(|| series.steps.iter().max_by(delivered));
        let rate = best.context("no step was measured")?.offered_messages_per_second;
        let rate = self.confirmed(gateway, rate)?;
        series.steps.sort_by(|a, b| a.offered_messages_per_second.total_cmp(&b.offered_messages_per_second));
        Ok((rate, series))
    }

    /// A search ends at the edge, which the next run may be beyond: the highest rate below, by small steps, that the
    /// gateway keeps up with when it is asked again.
    fn confirmed(&self, gateway: &Gateway, mut rate: f64) -> anyhow::Result<f64> {
        for _ in 0..CONFIRMATIONS_MAX {
            let again = self.compare(gateway, &[("--rates", rate.to_string())])?;
            if again.best(self.p95_max_ms).is_some() {
                break;
            }
            rate *= CONFIRMATION_STEP;
        }
        Ok(rate)
    }

    fn once(&self, found: &mut Option<f64>) -> anyhow::Result<Findings> {
        let gateway = self.channel.start(self.subscribers + 1, &FAST_CLIENT)?;
        let mut report = Findings::new();
        let rate = match *found {
            Some(rate) => rate,
            None => {
                let (rate, series) = self.search(&gateway)?;
                report.set_series(series);
                *found.insert(rate)
            }
        };
        let before = Counted::read(&gateway)?;
        let best = self.compare(&gateway, &[("--rates", rate.to_string())])?;
        let used = Counted::read(&gateway)?.since(&before);
        gateway.stop()?;
        let floor = self.floor(&used)?;
        let step = best.steps.first().context("no step was measured")?;
        let known = |figure: Option<f64>| figure.unwrap_or(f64::NAN);
        let (frames, per_send) = (step.delivered_frames_per_second, used.send_bytes() / step.frame_bytes);

        report.add("subscribers", self.subscribers.into());
        report.add("payload_bytes", self.channel.bytes as f64);
        report.add("p95_max_msec", self.p95_max_ms);
        report.add("best_messages_per_second", rate);
        report.add("best_p95_msec", known(step.p95_msec));
        report.add("best_p50_msec", known(step.p50_msec));
        report.add("best_gateway_core_percent", known(step.server_core_percent));
        report.add("best_receiver_core_percent", step.receiver_core_percent);
        report.add("best_frame_cpu_usec", known(step.server_cpu_usec_per_frame));
        report.add("best_lost_frames", step.lost_frames as f64);
        report.add("frame_bytes", step.frame_bytes);
        report.add("send_bytes", used.send_bytes());
        report.add("send_frames", per_send);
        report.add("gaps", used.gaps as f64);
        let floor_frames = floor::figure(&floor, "sends_median_per_second")? * per_send;
        report.add("floor_send_cpu_usec", floor::figure(&floor, "send_server_cpu_usec")?);
        report.add("floor_frames_per_second", floor_frames);
        report.add("floor_receiver_core_percent", floor::figure(&floor, "client_core_percent")?);
        let limit = floor::figure(&floor, "client_limit_bytes_per_second")? / step.frame_bytes;
        report.add("receiver_limit_frames_per_second", limit);
        if self.asked > 0.0 {
            report.add_target("best_frames_per_second", Asked::AtLeast(self.asked), frames);
            self.limit(&mut report);
        } else {
            report.add("best_frames_per_second", frames);
        }
        report.add_target("ratio_of_floor", Asked::AtLeast(0.8), frames / floor_frames);
        self.limit(&mut report);
        report.leaves_out("of most subscribers only bytes are counted; every frame of a few is looked at");
        Ok(report)
    }

    /// Frames that come too late, or not at all, are not what was asked for.
    fn limit(&self, report: &mut Findings) {
        report.limit("best_p95_msec", Asked::AtMost(self.p95_max_ms));
        report.limit("best_lost_frames", Asked::AtMost(0.0));
    }

    /// `bench compare` in a process of its own.
    fn compare(&self, gateway: &Gateway, rates: &[(&str, String)]) -> anyhow::Result<Series> {
        let tokens = gateway.path("tokens");
        let lines: Vec<String> = (0..self.subscribers)
            .map(|number| token("S", number, &["news".into()], &[]))
            .collect::<anyhow::Result<_>>()?;
        std::fs::write(&tokens, lines.join("\n"))?;
        let (url, json) = (format!("ws://{}/v2/connect", gateway.listen()), gateway.path("compare.json"));
        let mut arguments: Vec<String> =
            ["compare", "--quiet", "--name", "campanile", "--repeat", "1"].map(Into::into).into();
        let mut option = |name: &str, value: &str| arguments.extend([name.to_owned(), value.to_owned()]);
        option("--against", &url);
        option("--header", "Authorization: Bearer {token}");
        option("--header", "Sec-WebSocket-Protocol: campanile.v2");
        option("--tokens", &tokens.display().to_string());
        option("--publish-url", &url);
        option("--publish-header", &format!("Authorization: Bearer {}", token("P", 0, &[], &["*"])?));
        option("--publish-header", "Sec-WebSocket-Protocol: campanile.v2+json");
        option("--template", r#"{"publish":{"channel":"news","payload":{"text":"{payload}"}}}"#);
        option("--subscribers", &self.subscribers.to_string());
        option("--sources", &SOURCES.to_string());
        option("--bytes", &self.channel.bytes.to_string());
        option("--seconds", &self.seconds.to_string());
        option("--p95-max-ms", &self.p95_max_ms.to_string());
        option("--server-pid", &gateway.process().pid().to_string());
        option("--json", &json.display().to_string());
        for (name, value) in rates {
            option(name, value);
        }
        match self.channel.setup.client_core() {
            Some(core) => option("--client-core", &core.to_string()),
            None => arguments.push("--unpinned".into()),
        }
        let mut compare = Launch::new(programs::this()?).args(arguments).asked_to_end().start()?;
        compare.finish(PATIENCE).context("the comparison failed")?;
        // The gateway notices that all have gone.
        std::thread::sleep(Duration::from_secs(1));
        Record::read(&json)?.series.context("the comparison has no steps")
    }

    fn floor(&self, used: &Counted) -> anyhow::Result<Figures> {
        let mut arguments = vec!["sends".to_owned(), "--counted".to_owned()];
        for (name, value) in [
            ("--connections", self.subscribers),
            ("--rounds", FLOOR_ROUNDS),
            ("--sources", SOURCES.into()),
            ("--bytes", used.send_bytes().round() as u32),
        ] {
            arguments.extend([name.to_owned(), value.to_string()]);
        }
        floor::run(&self.channel.setup, &arguments)
    }
}
