//! As many messages a second to all subscribers of a channel as they get in time.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Args;

use super::subscribers::{SOURCES, token};
use super::{ChannelSetup, Counted, QUIET};
use crate::compare::{Series, Step};
use crate::gateway::floor;
use crate::gateway::process::Gateway;
use crate::report::{Asked, Report};

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
/// How often the best rate is repeated.
const BEST_TIMES: u32 = 3;
/// Rounds of the floor.
const FLOOR_ROUNDS: u32 = 15;

impl Sustained {
    pub(in crate::gateway) fn run(self) -> anyhow::Result<()> {
        self.channel.pin()?;
        let gateway = self.channel.start(self.subscribers + 1, &FAST_CLIENT)?;
        let search = [("--first-rate", self.first_rate.to_string()), ("--refine", self.refine.to_string())];
        let series = self.compare(&gateway, &search)?;
        let best = series.best(self.p95_max_ms);
        let keeps_up = best.is_some();
        // If it keeps up with no rate, the highest that it delivers is what can be said.
        let delivered =
            |a: &&Step, b: &&Step| a.delivered_frames_per_second.total_cmp(&b.delivered_frames_per_second);
        let best = best.or_else(|| series.steps.iter().max_by(delivered)).context("no step was measured")?;
        let rate = best.offered_messages_per_second;
        let rates = [("--rates", vec![rate.to_string(); BEST_TIMES as usize].join(","))];
        let (before, start) = (Counted::read(&gateway)?, Instant::now());
        let again = self.compare(&gateway, &rates)?;
        let used = Counted::read(&gateway)?.since(&before);
        let wall = start.elapsed();
        gateway.stop()?;
        let floor = self.floor(&used)?;

        let mut report = Report::new();
        report.add("subscribers", self.subscribers.into());
        report.add("payload_bytes", self.channel.bytes as f64);
        report.add("p95_max_msec", self.p95_max_ms);
        report.add("keeps_up", f64::from(u8::from(keeps_up)));
        report.add("best_messages_per_second", rate);
        let each = |what: fn(&Step) -> f64| again.steps.iter().map(what).collect::<Vec<_>>();
        let frames = crate::report::Spread::of(&each(|step| step.delivered_frames_per_second)).median;
        report.add_spread("best_p95", "msec", &each(|step| step.p95_msec.unwrap_or(f64::NAN)));
        report.add_spread("best_p50", "msec", &each(|step| step.p50_msec.unwrap_or(f64::NAN)));
        report.add_spread(
            "best_gateway_core",
            "percent",
            &each(|step| step.server_core_percent.unwrap_or(f64::NAN)),
        );
        report.add_spread("best_receiver_core", "percent", &each(|step| step.receiver_core_percent));
        report.add_spread(
            "best_frame_cpu",
            "usec",
            &each(|step| step.server_cpu_usec_per_frame.unwrap_or(f64::NAN)),
        );
        let frame_bytes = again.steps.first().map_or(f64::NAN, |step| step.frame_bytes);
        let per_send = used.send_bytes() / frame_bytes;
        report.add("frame_bytes", frame_bytes);
        report.add("send_bytes", used.send_bytes());
        report.add("send_frames", per_send);
        report.add("gaps", used.gaps as f64);
        let floor_frames = floor::figure(&floor, "sends_median_per_second")? * per_send;
        report.add("floor_send_cpu_usec", floor::figure(&floor, "send_server_cpu_usec")?);
        report.add("floor_frames_per_second", floor_frames);
        report.add("floor_receiver_core_percent", floor::figure(&floor, "client_core_percent")?);
        let limit = floor::figure(&floor, "client_limit_bytes_per_second")? / frame_bytes;
        report.add("receiver_limit_frames_per_second", limit);
        match self.asked > 0.0 {
            true => report.add_target("best_frames_median_per_second", Asked::AtLeast(self.asked), frames),
            false => report.add("best_frames_median_per_second", frames),
        }
        report.add_target("ratio_of_floor", Asked::AtLeast(0.8), frames / floor_frames);
        report.add("best_repeated_seconds", wall.as_secs_f64());
        let mut series = series;
        series.steps.sort_by(|a, b| a.offered_messages_per_second.total_cmp(&b.offered_messages_per_second));
        report.set_series(series);
        report.publish(self.channel.json())
    }

    /// `bench compare` in a process of its own.
    fn compare(&self, gateway: &Gateway, rates: &[(&str, String)]) -> anyhow::Result<Series> {
        let tokens = gateway.path("tokens");
        let lines: Vec<String> = (0..self.subscribers)
            .map(|number| token("S", number, &["news".into()], &[]))
            .collect::<anyhow::Result<_>>()?;
        std::fs::write(&tokens, lines.join("\n"))?;
        let (url, json) = (format!("ws://{}/v2/connect", gateway.address()), gateway.path("compare.json"));
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["compare", "--quiet", "--name", "campanile"]);
        let mut option = |name: &str, value: &str| {
            command.args([name, value]);
        };
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
        option("--server-pid", &gateway.process.pid().to_string());
        option("--json", &json.display().to_string());
        for (name, value) in rates {
            option(name, value);
        }
        match self.channel.setup.client_core() {
            Some(core) => option("--client-core", &core.to_string()),
            None => {
                command.arg("--unpinned");
            }
        }
        let status = command.stdout(Stdio::null()).status()?;
        ensure!(status.success(), "the comparison failed: {status}");
        // The gateway notices that all have gone.
        std::thread::sleep(Duration::from_secs(1));
        let mut report: serde_json::Value = serde_json::from_slice(&std::fs::read(&json)?)?;
        Ok(serde_json::from_value(report["series"].take())?)
    }

    fn floor(&self, used: &Counted) -> anyhow::Result<serde_json::Value> {
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
