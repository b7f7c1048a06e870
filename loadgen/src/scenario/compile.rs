//! What a scenario file means: for each scenario a plan, as options make one.

use std::time::Duration;

use clap::Parser as _;

use super::Overrides;
use super::file::{Durability, File, Origin, PublishTable, StageTable, Table, Target};
use crate::channels::Template;
use crate::near::did_you_mean;
use crate::options::{
    self, Ack, Endpoint, Options, Plan, PublishFrom, Publishing, Staging, encoding, sources,
};
use crate::schedule::Rate;
use crate::stages::{Stage, Stages};
use crate::thresholds::Threshold;

/// How long before the first device leaves nothing more is published, so that what is under way still arrives.
const MARGIN: Duration = Duration::from_secs(2);
/// How long what is under way at the end of the stages may take.
const GRACEFUL_STOP: Duration = Duration::from_secs(10);

/// What a file means.
#[derive(Clone, Debug)]
pub struct Scenarios {
    /// What it is for.
    pub description: Option<String>,
    /// All of them, by name; they run at once.
    pub scenarios: Vec<Scenario>,
    /// What the figures have to be.
    pub thresholds: Vec<Threshold>,
}

/// One of a file's scenarios.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// What it does.
    pub plan: Plan,
    /// Its staging, which is in the plan, too.
    pub staging: Staging,
}

impl Scenarios {
    /// Checks that thresholds name scenarios that there are.
    ///
    /// # Errors
    /// In words for the operator.
    pub fn check_thresholds(&self) -> Result<(), String> {
        let names = || self.scenarios.iter().map(|scenario| scenario.name.as_str());
        for key in self.thresholds.iter().map(|threshold| &threshold.key) {
            if let Some(scenario) = key.scenario().filter(|scenario| !names().any(|name| name == *scenario)) {
                let near = did_you_mean(scenario, names());
                return Err(format!("thresholds.\"{key}\": there is no scenario `{scenario}`{near}"));
            }
        }
        Ok(())
    }

    /// How long they take at most, from the beginning of the run.
    pub fn length_max(&self) -> Duration {
        let end = |scenario: &Scenario| {
            let Staging { start, connections, graceful_stop } = &scenario.staging;
            *start + connections.length() + *graceful_stop
        };
        self.scenarios.iter().map(end).max().unwrap_or_default()
    }
}

/// By how much counts of devices and times are changed.
#[derive(Copy, Clone, Debug)]
struct Scale {
    devices: f64,
    time: f64,
}

impl Scale {
    fn of(file: &File, overrides: &Overrides) -> Scale {
        let peak = |table: &Table| table.stages.iter().map(|stage| stage.target.0).fold(0.0, f64::max);
        let devices: f64 = file.scenario.values().map(peak).sum();
        let length = |table: &Table| {
            let start = table.start.map_or(Duration::ZERO, |start| start.0);
            table.stages.iter().map(|stage| stage.duration.0).fold(start, Duration::saturating_add)
        };
        let time = file.scenario.values().map(length).max().unwrap_or_default().as_secs_f64();
        let ratio =
            |wanted: Option<f64>, is: f64| wanted.filter(|_| is > 0.0).map_or(1.0, |wanted| wanted / is);
        Scale {
            devices: ratio(overrides.devices.map(f64::from), devices),
            time: ratio(overrides.duration.map(|duration| duration.as_secs_f64()), time),
        }
    }

    /// A number of devices, or of something that they are divided among: never 0 where it was not.
    fn devices(&self, count: f64) -> f64 {
        if count > 0.0 { (count * self.devices).round().max(1.0) } else { 0.0 }
    }

    fn count(&self, count: u32) -> u32 {
        self.devices(count.into()) as u32
    }

    fn time(&self, time: Duration) -> Duration {
        time.mul_f64(self.time)
    }

    fn connections(&self, stages: &[StageTable]) -> Stages {
        let stage = |stage: &StageTable| Stage {
            duration: self.time(stage.duration.0),
            target: self.devices(stage.target.0),
        };
        Stages::new(0.0, stages.iter().map(stage))
    }

    fn rates(&self, stages: &[StageTable]) -> Stages {
        let stage =
            |stage: &StageTable| Stage { duration: self.time(stage.duration.0), target: stage.target.0 };
        Stages::new(0.0, stages.iter().map(stage))
    }
}

/// Works out what a file means.
///
/// # Errors
/// In words for the operator, with the key.
pub(super) fn compile(file: &File, overrides: &Overrides) -> Result<Scenarios, String> {
    if file.scenario.is_empty() {
        return Err("there is no scenario in it: begin one with [scenario.NAME]".into());
    }
    let scale = Scale::of(file, overrides);
    let mut scenarios = Vec::new();
    for (name, table) in &file.scenario {
        if name.is_empty() || name.contains(['{', '}', ',', ':']) {
            return Err(format!("scenario.{name}: a scenario's name has none of `{{`, `}}`, `,` and `:`"));
        }
        let (plan, staging) =
            scenario(&file.target, table, scale).map_err(|problem| format!("scenario.{name}: {problem}"))?;
        scenarios.push(Scenario { name: name.clone(), plan, staging });
    }
    let mut thresholds = Vec::new();
    for (key, expressions) in &file.thresholds {
        for asked in expressions {
            let threshold = Threshold::new(key.clone(), asked.0);
            thresholds.push(threshold.map_err(|problem| format!("thresholds.\"{key}\": {problem}"))?);
        }
    }
    let scenarios = Scenarios { description: file.description.clone(), scenarios, thresholds };
    scenarios.check_thresholds()?;
    Ok(scenarios)
}

fn scenario(target: &Target, table: &Table, scale: Scale) -> Result<(Plan, Staging), String> {
    let connections = scale.connections(&table.stages);
    let peak = connections.peak();
    if peak < 1.0 {
        return Err(
            "stages: no device ever connects: give stages like [{ duration = \"10s\", target = 100 }]".into(),
        );
    }
    let staging = Staging {
        start: table.start.map_or(Duration::ZERO, |start| scale.time(start.0)),
        connections,
        graceful_stop: table.graceful_stop.map_or(GRACEFUL_STOP, |stop| stop.0),
    };
    let mut options = defaults()?;
    aim(&mut options, target)?;
    options.connections = peak as u32;
    options.hold = Some(Duration::ZERO);
    options.users = table.users.map(|users| scale.count(users.0).max(1));
    options.devices_per_user =
        table.devices_per_user.map_or(options.devices_per_user, |count| count.0.max(1));
    if table.users.is_some() && table.devices_per_user.is_some() {
        return Err("users and devices_per_user exclude each other".into());
    }
    options.connect_timeout = table.connect_timeout.map_or(options.connect_timeout, |time| time.0);
    options.attempts_max = table.attempts_max.map_or(options.attempts_max, |count| count.0.max(1));
    options.ack = if table.acknowledge.unwrap_or(true) { Ack::On } else { Ack::None };
    options.ack_every = table.ack_every.map_or(options.ack_every, |count| count.0.max(1));
    options.ack_within_ms = table.ack_within.map_or(options.ack_within_ms, |time| time.0);
    options.stalled_percent = table.stalled_percent.map_or(0, |percent| percent.0);
    if options.stalled_percent > 100 {
        return Err(format!("stalled_percent: {} is more than 100", options.stalled_percent));
    }
    options.session_seconds = table.session.map(|time| scale.time(time.0));
    options.reconnect = table.reconnect;
    subscribe(&mut options, table)?;
    let (mut pushes, mut messages) = (None, None);
    for (index, publish) in table.publish.iter().enumerate() {
        let at = |problem: String| format!("publish[{index}]: {problem}");
        let publishing = publishing(publish, &staging, &options, scale).map_err(at)?;
        let (place, whom) = if publish.to_channels.is_empty() {
            (&mut pushes, "devices")
        } else {
            (&mut messages, "channels")
        };
        if place.replace(publishing).is_some() {
            return Err(at(format!("a second one to {whom}: put it into a scenario of its own")));
        }
        target_of(&mut options, publish).map_err(at)?;
    }
    if options.api_key_file.is_none()
        && (pushes.is_some() || (messages.is_some() && !options.channels.is_from_devices()))
    {
        return Err("publish needs target.api_key_file".into());
    }
    let mut plan = options.plan_to_publish(pushes, messages).map_err(|problem| in_file_words(&problem))?;
    plan.channels.subscriptions = plan.channels.subscriptions.map(|subscriptions| match table.subscribers {
        Some(subscribers) => subscriptions.of_the_first(scale.count(subscribers.0)),
        None => subscriptions,
    });
    plan.staging = Some(staging.clone());
    Ok((plan, staging))
}

/// The options' own defaults.
fn defaults() -> Result<Options, String> {
    Options::try_parse_from(["campanile-load"]).map_err(|error| error.to_string())
}

/// What an option is called in a file.
fn in_file_words(problem: &str) -> String {
    const WORDS: [(&str, &str); 10] = [
        ("--payload-bytes", "payload"),
        ("--batch-ms", "batch_time"),
        ("--jwt-hs256-file", "target.jwt_hs256_file"),
        ("--tokens-file", "target.tokens_file"),
        ("--anonymous", "target.anonymous"),
        ("--user-prefix", "target.user_prefix"),
        ("--sources", "target.sources"),
        ("--session-seconds", "session"),
        ("--publish-to", "publish.to_channels"),
        ("--publish-from", "publish.from"),
    ];
    let words = WORDS.iter().fold(problem.to_owned(), |text, (option, key)| text.replace(option, key));
    // The others differ by their dashes only.
    let mut pieces = words.split("--");
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |text, piece| {
        let end = piece
            .find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-')
            .unwrap_or(piece.len());
        text + &piece[..end].replace('-', "_") + &piece[end..]
    })
}

fn aim(options: &mut Options, target: &Target) -> Result<(), String> {
    let at = |key: &'static str| move |problem: String| format!("target.{key}: {problem}");
    if let Some(url) = &target.url {
        options.url = Endpoint::of_devices(url).map_err(at("url"))?;
    }
    if let Some(api) = &target.api {
        options.api = Endpoint::of_api(api).map_err(at("api"))?;
    }
    if let Some(name) = &target.encoding {
        options.encoding = encoding(name).map_err(at("encoding"))?;
    }
    if let Some(addresses) = &target.sources {
        options.sources = sources(addresses).map_err(at("sources"))?;
    }
    if target.jwt_hs256_file.is_some() && target.tokens_file.is_some() {
        return Err("target: jwt_hs256_file and tokens_file exclude each other".into());
    }
    options.api_key_file = target.api_key_file.as_ref().map(Into::into);
    options.jwt_hs256_file = target.jwt_hs256_file.as_ref().map(Into::into);
    options.tokens_file = target.tokens_file.as_ref().map(Into::into);
    options.anonymous = target.anonymous;
    options.user_prefix = target.user_prefix.clone();
    Ok(())
}

fn templates(key: &str, names: &[String]) -> Result<Vec<Template>, String> {
    names
        .iter()
        .map(|name| Template::parse(name))
        .collect::<Result<_, _>>()
        .map_err(|problem| format!("{key}: {problem}"))
}

fn subscribe(options: &mut Options, table: &Table) -> Result<(), String> {
    let channels = &mut options.channels;
    channels.subscribe = templates("subscribe", &table.subscribe)?;
    channels.channels = table.channels.map(|count| count.0.max(1));
    channels.subscriptions_per_device = table.subscriptions_per_device.map_or(1, |count| count.0.max(1));
    channels.check_every = table.check_every.map_or(1, |count| count.0.max(1));
    channels.stalled_resume = table.stalled_resume;
    if table.subscribers.is_some() && table.subscribe.is_empty() {
        return Err("subscribers without subscribe".into());
    }
    Ok(())
}

fn target_of(options: &mut Options, publish: &PublishTable) -> Result<(), String> {
    if publish.to_channels.is_empty() {
        options.to = publish
            .to
            .as_deref()
            .map_or(Ok(options.to), str::parse)
            .map_err(|problem| format!("to: {problem}"))?;
        return match publish.from {
            Some(Origin::Devices) => Err("from: devices publish to channels only".into()),
            _ => Ok(()),
        };
    }
    if publish.to.is_some() {
        return Err("to and to_channels exclude each other".into());
    }
    options.channels.publish_to = templates("to_channels", &publish.to_channels)?;
    options.channels.publish_from = match publish.from {
        Some(Origin::Devices) => PublishFrom::Devices,
        Some(Origin::Api) | None => PublishFrom::Api,
    };
    Ok(())
}

fn publishing(
    publish: &PublishTable,
    staging: &Staging,
    options: &Options,
    scale: Scale,
) -> Result<Publishing, String> {
    let (most_are_there, first_goes) = staging.connections.plateau();
    let start = publish.start.map_or(most_are_there, |start| scale.time(start.0));
    if !publish.to_channels.is_empty() && start < most_are_there {
        return Err(
            "start: devices still come then, and who is not subscribed yet would miss what is published"
                .into(),
        );
    }
    // Who publishes while devices come or go knows what it does.
    let until = if start < most_are_there { staging.connections.length() } else { first_goes };
    let room = until.saturating_sub(start);
    let duration = match publish.duration {
        Some(duration) => scale.time(duration.0),
        None => room - MARGIN.min(room / 2),
    };
    if start + duration > staging.connections.length() {
        return Err(format!(
            "it would last until {:?}, and the stages until {:?}",
            start + duration,
            staging.connections.length()
        ));
    }
    let rate = match (&publish.rate, &publish.stages) {
        (Some(rate), None) => Rate::Constant(rate.0),
        (None, Some(stages)) => Rate::Stages(scale.rates(stages)),
        (Some(_), Some(_)) => return Err("rate and stages exclude each other".into()),
        (None, None) => return Err("rate, or stages, say how many messages there are".into()),
    };
    if let Rate::Stages(stages) = &rate
        && start + stages.length() > staging.connections.length()
    {
        return Err("its stages last longer than those of the devices".into());
    }
    let publishing = Publishing {
        rate: Some(rate),
        start: Some(start),
        duration,
        messages_max: u64::MAX,
        payload_bytes: publish.payload.map_or(options.payload_bytes, |size| size.0),
        durability: publish.durability.map(|durability| match durability {
            Durability::Durable => options::Durability::Durable,
            Durability::Ephemeral => options::Durability::Ephemeral,
        }),
        connections: publish.connections.map_or(options.publishers, |count| count.0.clamp(1, 1_024)),
        batch_time: publish.batch_time.map_or(options.batch_ms, |time| time.0),
        batch: publish.batch.map_or(options.batch, |count| count.0.clamp(1, 1_000)),
        single: publish.single,
    };
    publishing.check().map_err(|problem| in_file_words(&problem))?;
    Ok(publishing)
}
